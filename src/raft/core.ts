/**
 * RaftCore: one replica of one group, as a pure machine. Inputs are method calls, output is a Ready (types.ts says
 * what is in it and how the driver's turn goes). It does no I/O, reads no clock, and the same calls give the same
 * Readys on every engine.
 *
 * The straight way of a write through a leader and its followers:
 *
 *     leader     proposable(bytes) -> null; propose(entry)       the entry joins the log's shape and the outbox
 *                takeReady()                                     entry for the disk, appends for the followers
 *                written(lsn)                                    the driver's log ends at lsn
 *     follower   step(append)                                    compared, appended, `verified` rises
 *                takeReady(), written(lsn), persisted(lsn)       its disk has it; the next Ready acknowledges
 *     leader     persisted(lsn), step(append_reply)              a quorum of disks: commit rises
 *                takeReady().commit; the driver applies          and answers its clients
 *
 * Then in this order, each file by itself: state.ts (all there is to know), step.ts (where messages go), roles.ts,
 * election.ts, replication.ts and follower.ts (the two sides of an append), reads.ts, membership.ts, rest.ts. Underneath:
 * log.ts, durability.ts, progress.ts, quorum.ts, config.ts.
 *
 * Where this departs from the thesis:
 *   - a candidate's own vote, its requests, and every acknowledgement wait for the disk inside the core;
 *     a leader's appends do not (10.2.1)
 *   - configs are in force from appending on, as in 4.1; changes are always joint as soon as a voter is touched
 *   - replicas that hear a leader ignore candidates (4.2.3), and there is a pre-vote (9.6), and a leader that
 *     hears no quorum steps down (6.2)
 *   - a commit is told with the next append, or at the next tick; the commit index on disk is a hint, written
 *     together with other news or every COMMIT_HINT_STEP entries
 *
 * Errors: a peer may send anything that its frame decodes to. What no correct peer sends is dropped and counted
 * (`rejectedMessages`). Broken rules of this replica itself, and a leader that contradicts a committed entry, trip
 * an assertion.
 *
 * Source: Ongaro's thesis; the shape of progress, of pre-vote and of joint changes after etcd-io/raft.
 */
import { assert } from "../base/assert.ts";
import { type ConfigChange, includes } from "./config.ts";
import { campaign, countOwnVote, loseLeader, sendOwedVote } from "./election.ts";
import { sendOwedAck } from "./follower.ts";
import {
  advanceMembership,
  beginTransfer,
  type ConfigRefusal,
  proposeConfig,
  type TransferRefusal,
  tickTransfer,
} from "./membership.ts";
import type { Progress, ProgressState } from "./progress.ts";
import { advanceReads, askLeader, askRead } from "./reads.ts";
import { countOwnDisk, onSnapshotSent, sendAppends, sendCommits, sendHeartbeats } from "./replication.ts";
import { endRest, lookAtRest, silenceOf, tickRest } from "./rest.ts";
import { appendOwn, becomeFollower } from "./roles.ts";
import { RaftState } from "./state.ts";
import { settle, step } from "./step.ts";
import {
  type AppendRequest,
  ENTRY_KIND,
  type Entry,
  type GroupConfig,
  type HardState,
  type Index,
  type Lsn,
  type Message,
  type RaftOptions,
  type ReadState,
  type Ready,
  type Refusal,
  type ReplicaId,
  type Restored,
  type Role,
  type SnapshotMeta,
  type Term,
} from "./types.ts";

/** The commit hint is written at least every so many entries: what a restart may apply before it hears a leader. */
const COMMIT_HINT_STEP = 64;

const NOTHING: readonly never[] = Object.freeze([]);

const contactOf = (progress: Progress): number => progress.contactTick;

/** What a leader knows of a member, for people to look at. */
export type ProgressStatus = {
  readonly match: Index;
  readonly next: Index;
  readonly state: ProgressState;
  readonly lastContactTicks: number;
};

export class RaftCore {
  readonly #s: RaftState;
  /** What the driver was last given. */
  #handedHard: HardState;
  #handedCommit: Index;

  constructor(options: RaftOptions, restored: Restored) {
    assert(options.self >= 1, "replica ids begin at 1");
    assert(options.heartbeatTicks >= 1, "heartbeats take a tick");
    assert(
      options.heartbeatTicks < options.electionTicksMin,
      "several heartbeats fit into an election timeout",
    );
    assert(options.electionTicksMin <= options.electionTicksMax, "the election timeout is a range");
    this.#s = new RaftState(options, restored);
    assert(this.#s.commit <= this.#s.log.lastIndex, "the restored log reaches its commit index");
    assert(this.#s.log.lastTerm <= this.#s.term, "the restored term covers the log");
    this.#s.restartElectionTimer();
    this.#handedHard = restored.hardState;
    this.#handedCommit = restored.snapshot.index;
  }

  get role(): Role {
    return this.#s.role;
  }

  get term(): Term {
    return this.#s.term;
  }

  /** Leader of the term, as far as known; 0 = unknown. */
  get leader(): ReplicaId {
    return this.#s.leader;
  }

  get lastIndex(): Index {
    return this.#s.log.lastIndex;
  }

  get lastTerm(): Term {
    return this.#s.log.lastTerm;
  }

  get commitIndex(): Index {
    return this.#s.commit;
  }

  get appliedIndex(): Index {
    return this.#s.applied;
  }

  /** The config in force: the last one in the log, committed or not. */
  get config(): GroupConfig {
    return this.#s.log.config;
  }

  /** Index of the entry that brought the config in force, or of the snapshot that did. */
  get configIndex(): Index {
    return this.#s.log.configIndex;
  }

  /** Entries up to here are forgotten. */
  get snapshotIndex(): Index {
    return this.#s.log.snapshotIndex;
  }

  /** This replica leads and has committed an entry of its term: it knows every commit there is. */
  get committedInTerm(): boolean {
    return this.#s.committedInTerm;
  }

  get uncommittedBytes(): number {
    return this.#s.uncommittedBytes;
  }

  /** Highest index of which this disk holds everything up to it. */
  get durableIndex(): Index {
    return this.#s.durable.index;
  }

  /** Replica that leadership is on its way to; 0 = none. */
  get transferTarget(): ReplicaId {
    return this.#s.transferTo;
  }

  /** Since this replica last heard its leader, or the node that stands for it at rest; 0 at the leader itself. */
  get leaderSilenceTicks(): number {
    const s = this.#s;
    return s.role === "leader" ? 0 : silenceOf(s, s.leader, s.leaderSilence);
  }

  /** Messages dropped because no correct peer sends them. */
  get rejectedMessages(): number {
    return this.#s.rejectedMessages;
  }

  /** What this leader knows of the others; empty if it does not lead. Made anew at each call: for status pages. */
  get progress(): ReadonlyMap<ReplicaId, ProgressStatus> {
    const all = new Map<ReplicaId, ProgressStatus>();
    for (const { replica, match, next, state, contactTick } of this.#s.progress.values()) {
      if (replica === this.#s.self && !this.#isMember()) continue;
      const lastContactTicks = silenceOf(this.#s, replica, this.#s.ticks - contactTick);
      all.set(replica, { match, next, state, lastContactTicks });
    }
    return all;
  }

  /** (index, term, config) of a position of the log, as a snapshot taken there must name it (hazard D11). */
  metaAt(index: Index): SnapshotMeta {
    const { log, commit } = this.#s;
    assert(index <= commit, "a snapshot is taken of what is committed");
    return { index, term: log.termAt(index), config: log.configAt(index) };
  }

  /** Term of an entry of [snapshotIndex, lastIndex]. */
  termAt(index: Index): Term {
    return this.#s.log.termAt(index);
  }

  /**
   * True while an append that a Ready brought may still be filled and sent. Once the term or the leadership is
   * lost the range may hold other entries, which must not travel under the old term.
   */
  maySend(message: AppendRequest): boolean {
    return this.#s.role === "leader" && this.#s.term === message.term;
  }

  /** One tick of time went by. */
  tick(): void {
    const s = this.#s;
    if (s.atRest) return;
    s.ticks++;
    if (s.role === "leader") {
      this.#tickLeader();
      return;
    }
    s.electionElapsed++;
    s.leaderSilence++;
    if (s.electionElapsed < s.electionTimeout) return;
    s.restartElectionTimer();
    s.leader = 0; // also for those who may not campaign: they must not point to a leader that is gone
    campaign(s);
  }

  #tickLeader(): void {
    const s = this.#s;
    s.ownProgress.contactTick = s.ticks;
    if (s.ticks - s.quorumValue(contactOf) >= s.options.electionTicksMin) {
      becomeFollower(s, s.term, 0); // cut off from its quorum: others may have a leader by now (thesis 6.2)
      return;
    }
    tickTransfer(s);
    advanceMembership(s);
    tickRest(s);
    if (++s.heartbeatElapsed >= s.options.heartbeatTicks) sendHeartbeats(s);
    else sendCommits(s);
  }

  /** A message arrived. */
  step(message: Message): void {
    step(this.#s, message);
  }

  /** Why a batch of `bytes` cannot be proposed now; null = it can. Ask before sealing (hazard B10). */
  proposable(bytes: number): Refusal | null {
    const s = this.#s;
    if (s.role !== "leader") return "not_leader";
    if (s.transferTo !== 0) return "transferring";
    const uncommitted = s.uncommittedBytes;
    return uncommitted > 0 && uncommitted + bytes > s.options.uncommittedBytesMax ? "busy" : null;
  }

  /** Takes a sealed batch: `proposable` said yes in this turn, and it is sealed for the next index of this term. */
  propose(entry: Entry): void {
    const s = this.#s;
    assert(s.role === "leader" && s.transferTo === 0, "proposable was asked before");
    assert(entry.index === s.log.lastIndex + 1, "a proposal takes the next index");
    assert(entry.term === s.term, "a proposal is sealed in the leader's term");
    assert(
      entry.kind === ENTRY_KIND.commands ||
        entry.kind === ENTRY_KIND.settings ||
        entry.kind === ENTRY_KIND.move,
      "the core makes all other kinds",
    );
    appendOwn(s, entry);
  }

  /** Proposes a change of members; null = proposed, as entry `lastIndex`. */
  proposeConfig(change: ConfigChange): ConfigRefusal | null {
    return proposeConfig(this.#s, change);
  }

  /** Asks for a linearizable read; answered in a Ready's `reads` or `readsLost`. False: ask the leader. */
  readIndex(id: number): boolean {
    return askRead(this.#s, id);
  }

  /**
   * A follower asks its leader for the index that a read of its own needs; `answer` has it later, or it got
   * lost. `ask` rises, and begins with a random number in each life of the replica. False: no leader to ask.
   */
  askLeader(ask: number): boolean {
    return askLeader(this.#s, ask);
  }

  /** The newest answer to `askLeader`: it stands for all earlier asks as well. */
  get answer(): ReadState | null {
    return this.#s.answer;
  }

  /** Begins to hand leadership over; null = begun. Over when `role` changes or `transferTarget` is 0 again. */
  transfer(to: ReplicaId): TransferRefusal | null {
    return beginTransfer(this.#s, to);
  }

  /** All that the Readys so far brought was appended to the log, which now ends at `lsn`. */
  written(lsn: Lsn): void {
    this.#s.durable.written(lsn);
  }

  /** Everything below `lsn` is on the disk. */
  persisted(lsn: Lsn): void {
    const s = this.#s;
    if (!s.durable.persisted(lsn)) return;
    countOwnVote(s);
    countOwnDisk(s);
    settle(s);
  }

  /** The state machine has applied everything up to `index`. */
  applied(index: Index): void {
    const s = this.#s;
    assert(index <= s.commit, "only what is committed is applied");
    assert(index >= s.applied, "the applied index never falls");
    s.applied = index;
  }

  /**
   * The driver no longer gives out entries up to `meta.index`: a synced snapshot at or above it stands for them.
   * It may keep a tail before its newest snapshot, so that a follower a little behind needs no snapshot.
   */
  compacted(meta: SnapshotMeta): void {
    const { log, applied } = this.#s;
    if (meta.index <= log.snapshotIndex) return;
    assert(meta.index <= applied, "only what is applied is compacted");
    assert(log.termAt(meta.index) === meta.term, "the snapshot is of this log");
    log.compact(meta.index);
  }

  /** A stream begun for `snapshotsWanted` has ended: the replica has the whole snapshot at `index`, or not. */
  snapshotSent(to: ReplicaId, index: Index, ok: boolean): void {
    onSnapshotSent(this.#s, to, index, ok);
  }

  /** Stands for election now, by pre-vote, if it may. */
  campaign(): void {
    campaign(this.#s);
  }

  /** The connection to the leader's node is gone: the leader may be, too. */
  loseLeader(): void {
    loseLeader(this.#s);
  }

  /** Gives up leadership, if it has it: the node found itself unfit to lead. */
  stepDown(): void {
    const s = this.#s;
    if (s.role === "leader") becomeFollower(s, s.term, 0);
  }

  /**
   * This node itself stood still for a while, so silence proves nothing: a follower waits a whole election timeout
   * before it campaigns, without being loyal to a leader it cannot have heard; a leader gives its followers as long.
   */
  holdElection(): void {
    const s = this.#s;
    endRest(s);
    s.restartElectionTimer();
    s.leaderSilence = s.options.electionTicksMin;
    for (const progress of s.progress.values()) progress.contactTick = s.ticks;
  }

  /**
   * Nothing is under way in this group, and all its members agreed on that: it needs no ticks (rest.ts). The driver calls
   * `look` now and then, and `rouse` when a node that the group is on was not heard for too long, or comes or goes.
   */
  get atRest(): boolean {
    return this.#s.atRest;
  }

  /** In place of ticks, while it rests. */
  look(): void {
    lookAtRest(this.#s);
  }

  /** Whoever shares the rest may be gone, or another may have come: ticks and heartbeats begin again. */
  rouse(): void {
    endRest(this.#s);
  }

  /** A tick or a step left something to be sent, logged or told: `takeReady` has it. */
  get hasWork(): boolean {
    const s = this.#s;
    const isAsked = s.reads.length > 0 || s.readsLost.length > 0 || s.snapshotsWanted.length > 0;
    return s.messages.length > 0 || s.entries.length > 0 || isAsked || s.commit !== this.#handedCommit;
  }

  /** Work for the driver, or null if there is none. */
  takeReady(): Ready | null {
    const s = this.#s;
    if (s.role === "leader") {
      advanceReads(s);
      sendAppends(s);
    }
    sendOwedVote(s);
    sendOwedAck(s);
    const { hardState, mustSync } = this.#hardState();
    const idle =
      hardState === null &&
      !mustSync &&
      s.messages.length === 0 &&
      s.commit === this.#handedCommit &&
      s.reads.length === 0 &&
      s.readsLost.length === 0 &&
      s.snapshotsWanted.length === 0;
    if (idle) return null;
    if (mustSync) s.durable.handedOut(s.log.lastIndex, s.term, s.vote);
    this.#handedHard = hardState ?? this.#handedHard;
    this.#handedCommit = s.commit;
    return this.#emptyOutbox(hardState, mustSync);
  }

  /** The hard state, if it is due; and whether this Ready has anything that must be synced. */
  #hardState(): { hardState: HardState | null; mustSync: boolean } {
    const { term, vote, entries, snapshot, durable } = this.#s;
    const handed = this.#handedHard;
    // The record goes before this Ready's entries, so it claims no more than the disk already has.
    const commit = Math.max(handed.commit, Math.min(this.#s.commit, durable.index));
    const changed = term !== handed.term || vote !== handed.vote;
    const mustSync = changed || entries.length > 0 || snapshot !== null;
    const due = changed || commit - handed.commit >= COMMIT_HINT_STEP;
    return { hardState: due ? { term, vote, commit } : null, mustSync };
  }

  #emptyOutbox(hardState: HardState | null, mustSync: boolean): Ready {
    const s = this.#s;
    const ready: Ready = {
      hardState,
      truncatedFrom: s.truncatedFrom,
      entries: s.entries.length > 0 ? s.entries : NOTHING,
      mustSync,
      messages: s.messages.length > 0 ? s.messages : NOTHING,
      commit: s.commit,
      reads: s.reads.length > 0 ? s.reads : NOTHING,
      readsLost: s.readsLost.length > 0 ? s.readsLost : NOTHING,
      snapshot: s.snapshot,
      snapshotsWanted: s.snapshotsWanted.length > 0 ? s.snapshotsWanted : NOTHING,
    };
    // The lists are the driver's now; those that nothing was put into stay.
    if (s.entries.length > 0) s.entries = [];
    if (s.messages.length > 0) s.messages = [];
    if (s.reads.length > 0) s.reads = [];
    if (s.readsLost.length > 0) s.readsLost = [];
    if (s.snapshotsWanted.length > 0) s.snapshotsWanted = [];
    s.truncatedFrom = null;
    s.snapshot = null;
    return ready;
  }

  #isMember(): boolean {
    const { voters, outgoing, learners } = this.#s.log.config;
    const { self } = this.#s;
    return includes(voters, self) || includes(outgoing, self) || includes(learners, self);
  }
}

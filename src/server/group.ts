/**
 * One replica of one group: the consensus core, the state machine and the entry cache, driven by the node's turn.
 *
 *     propose()   seal the commands that are ready as one batch, ask for a round of reads
 *     advance()   take the core's Ready: messages to the peers, records to the log
 *     apply()     committed entries into the store, replies to whoever waits; reads that are safe now
 *
 * Who waits for what: proposals.ts, read_rounds.ts.
 *
 * Errors: none of its own; a log entry that cannot be read back stops the node (replay.ts).
 */
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import type { ConfigChange } from "../raft/config.ts";
import { RaftCore } from "../raft/core.ts";
import type { ConfigRefusal } from "../raft/membership.ts";
import {
  ENTRY_KIND,
  type Entry,
  type EntryKind,
  type Index,
  type Lsn,
  type Message,
  type RaftOptions,
  type ReplicaId,
  type Restored,
  type SnapshotMeta,
  type Term,
} from "../raft/types.ts";
import type { Store } from "../store/types.ts";
import type { GroupId } from "../wal/types.ts";
import { BATCH_HEADER_BYTES, batchTimeMs } from "../wire/batch.ts";
import { AppendGate } from "./append_gate.ts";
import { AppendSender } from "./append_sender.ts";
import { Bundle } from "./bundle.ts";
import { type CacheBudget, EntryCache } from "./entry_cache.ts";
import type { GroupHost } from "./group_host.ts";
import { GroupTime } from "./group_time.ts";
import { ProposalListener } from "./proposal_listener.ts";
import { Proposals } from "./proposals.ts";
import { ReadRounds } from "./read_rounds.ts";
import { Replay } from "./replay.ts";
import { type SealedPlace, sealBody, sealBundle } from "./sealing.ts";
import type { Snapshots } from "./snapshots.ts";
import { REST_LOOK_MS } from "./timing.ts";

/** Committed entries that a busy replica may have before it: a full window of appends. */
const REPLAY_ENTRIES = 64;
/** Most bytes applied in one turn, so that sockets are looked at between (about 5 ms at 0.5 us a command). */
const APPLY_BYTES_MAX = MiB;
/**
 * And for no longer than this, or one entry: cold code, right after a start, needs ten times as long for the same
 * bytes. A late tick waits for two more turns (hazard H4), so with three of these ticks are on time, and a node that
 * replays its log counts election timeouts as fast as the others.
 */
const APPLY_MS_MAX = 3;

export class GroupReplica {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly core: RaftCore;
  readonly store: Store;
  readonly #host: GroupHost;
  readonly #cache: EntryCache;
  readonly #time: GroupTime;
  readonly #proposals = new Proposals();
  readonly #listener: ProposalListener;
  readonly #reads = new ReadRounds();
  /** An empty batch is wanted, to move log time on. */
  #timeBatchWanted = false;
  /** Nothing of emptied slots is left to be given back. */
  #isTidy = false;
  /** The batch that was wanted: reads that wait for log time look again when it is applied. */
  #timeBatchIndex: Index = 0;
  readonly #gate: AppendGate;
  readonly #appends: AppendSender;
  /** Where the last record of this replica ends in the log. */
  #lastLsn: Lsn = 0;
  readonly #snapshots: Snapshots;
  #leaderSeen: ReplicaId = 0;
  #termSeen: Term = -1;
  #bundleBytes = 0;
  #slotChanges = 0;
  readonly #replay: Replay;
  /** Commands that were proposed or read here, for clients: whoever copies slots looks whether anybody uses the shard. */
  commandsTaken = 0;

  constructor(
    group: GroupId,
    replica: ReplicaId,
    options: Omit<RaftOptions, "self" | "seal">,
    restored: Restored,
    store: Store,
    cacheBudget: CacheBudget,
    host: GroupHost,
    snapshots: (group: GroupReplica) => Snapshots,
  ) {
    this.group = group;
    this.replica = replica;
    this.store = store;
    this.#host = host;
    this.#listener = new ProposalListener((bundle, i, slot) => host.onNotServed(this, bundle, i, slot, true));
    this.#cache = new EntryCache(cacheBudget);
    this.#time = new GroupTime(host, replica, store.logTimeMs);
    const { index } = restored.snapshot;
    this.#replay = new Replay(index, index + restored.log.length, {
      group,
      clock: host.clock,
      log: host.log,
      wal: host.wal,
      wake: () => host.wake(),
      fatal: (error) => host.fatal(error),
    });
    this.core = new RaftCore(
      { ...options, self: replica, seal: (kind, term, index, body) => this.#seal(kind, term, index, body) },
      restored,
    );
    this.#gate = new AppendGate(
      (bytes) => this.#hasRoom(bytes),
      (message) => {
        this.core.step(message);
        this.#host.touch();
      },
    );
    this.#appends = new AppendSender({
      group,
      cache: this.#cache,
      wal: host.wal,
      log: host.log,
      maySend: (message) => this.core.maySend(message),
      send: (message, entries) => host.send(group, message, entries),
      compacted: () => this.compactedTo(this.#snapshots.latest?.index ?? 0),
      wake: () => host.wake(),
    });
    this.#snapshots = snapshots(this);
  }

  get snapshots(): Snapshots {
    return this.#snapshots;
  }

  /** Rises whenever the state may serve other slots than before. */
  get slotChanges(): number {
    return this.#slotChanges;
  }

  get isLeader(): boolean {
    return this.core.role === "leader";
  }

  /** The state is not yet that of the last start, or far behind what is committed since. */
  get isReplaying(): boolean {
    const { appliedIndex } = this.store;
    if (this.#replay.isBefore(appliedIndex, this.core.lastIndex)) return true;
    return this.core.commitIndex - appliedIndex > REPLAY_ENTRIES;
  }

  /** Commands of former leaderships whose fate is open. */
  get hasOrphans(): boolean {
    return this.#proposals.hasOrphans;
  }

  /** Reads wait: for their index, for log time, or for a caller to take what it was answered before. */
  get hasReads(): boolean {
    return !this.#reads.isEmpty;
  }

  /** Nobody waits for an answer here, and log time need not move. */
  get isQuiet(): boolean {
    return this.#proposals.open === 0 && this.#reads.isEmpty && !this.#timeBatchWanted;
  }

  /** Commands whose fate is open. */
  get proposalsOpen(): number {
    return this.#proposals.open;
  }

  /** An idle replica is not touched by it: a turn has nothing to do for that one. */
  tick(): void {
    const { core } = this;
    core.tick();
    if (core.hasWork || core.leader !== this.#leaderSeen || core.term !== this.#termSeen) this.#host.touch();
    if (this.#gate.isWaiting && this.#gate.release()) this.advance(); // space may have come back
    this.#isTidy = !this.store.tidy(); // a piece of what FLUSHALL left behind
    this.#cache.evict(this.store.appliedIndex); // others may need the memory more
    this.#snapshots.tick(1);
    if (this.isLeader && !this.#timeBatchWanted && this.#expiresWithin(0)) {
      this.#timeBatchWanted = true;
      this.#host.wake();
    }
  }

  #expiresWithin(ms: number): boolean {
    const deadline = this.store.earliestDeadlineMs();
    return deadline >= 0 && deadline <= this.leaderTimeMs() + ms;
  }

  /** It needs no ticks: nothing is under way in the group, nor here. */
  get isAtRest(): boolean {
    const { core, store } = this;
    if (!core.atRest || !this.isQuiet || !this.#isTidy) return false;
    if (store.appliedIndex !== core.commitIndex || this.#gate.isWaiting) return false;
    return !this.isLeader || !this.#expiresWithin(REST_LOOK_MS); // ticks see to that in time
  }

  /** There is something to do that ticks are needed for. */
  rouse(): void {
    this.core.rouse();
    this.#host.wake();
  }

  /** In place of `ticks` ticks, while it is at rest. */
  look(ticks: number): void {
    const { core } = this;
    core.look();
    if (core.hasWork) this.#host.touch();
    this.#cache.evict(this.store.appliedIndex);
    this.#snapshots.tick(ticks);
  }

  step(message: Message): void {
    this.#host.touch();
    if (message.kind !== "append" || message.entries.length === 0) return this.core.step(message);
    const newest = message.entries[message.entries.length - 1] as Entry;
    // What is committed may have been stamped long ago: it is sent to one who was away.
    if (newest.index > message.commit) {
      this.#time.noteLeader(batchTimeMs(newest.bytes));
    }
    this.#gate.offer(message);
  }

  /**
   * What the core takes will be written: there must be room for it in the log's unsynced window and on the disk,
   * beside what all replicas of this node took before. So that goes to the log first.
   */
  #hasRoom(bytes: number): boolean {
    this.#host.appendAll();
    return this.#host.wal.hasRoom(bytes);
  }

  /** Something waits for the log to be synced beyond `lsn`. */
  waitsBeyond(lsn: Lsn): boolean {
    return this.#lastLsn > lsn || this.#gate.isWaiting || this.#snapshots.isMarking;
  }

  /** The log was synced: appends that waited for room go on. */
  onSynced(lsn: Lsn): void {
    this.#host.touch();
    this.core.persisted(lsn);
    this.#snapshots.onSynced(lsn);
    if (this.#gate.release()) this.advance();
  }

  /** A voter's wall clock came with its reply; one of another term says nothing for this one. */
  hearClock(term: Term, replica: ReplicaId, wallMs: number): void {
    this.#time.hear(this.core, term, replica, wallMs);
  }

  /** What the leader would stamp on a batch now. */
  leaderTimeMs(): number {
    return this.#time.now(this.core);
  }

  /** What the leader's time is about now; for `notAfter` of retries. */
  leaderTimeEstimateMs(): number {
    return this.isLeader ? this.leaderTimeMs() : this.#time.estimate(this.store.logTimeMs);
  }

  // ------------------------------------------------------------------------------------------- proposing

  /** Seals `bundle` and proposes it. False: not now, and certainly nothing was proposed. */
  propose(bundle: Bundle): boolean {
    if (!this.canPropose(bundle.bytes)) return false;
    const index = this.core.lastIndex + 1;
    const term = this.core.term;
    this.#bundleBytes = bundle.writer.length;
    const bytes = sealBundle(bundle, this.#placeOf(term, index));
    this.core.propose({ index, term, kind: ENTRY_KIND.commands, bytes });
    this.#host.touch();
    this.#proposals.add(index, term, bundle);
    this.commandsTaken += bundle.count;
    if (this.#timeBatchWanted) this.#timeBatchIndex = index;
    this.#timeBatchWanted = false;
    return true;
  }

  canPropose(bytes: number): boolean {
    return this.core.proposable(bytes) === null && !this.#proposals.full && this.#hasRoom(bytes);
  }

  /** Everything is synced, and still a batch of this size finds no place: the disk has no space for more log. */
  isDiskFull(bytes: number): boolean {
    const { wal } = this.#host;
    return !wal.hasRoom(bytes) && wal.syncedLsn === wal.endLsn;
  }

  /** An empty batch, if log time has to move although nobody writes. */
  proposeTime(): void {
    if (!this.#timeBatchWanted) return;
    if (!this.isLeader) this.#timeBatchWanted = false;
    else this.propose(new Bundle());
  }

  /** Asks for a change of members: null = proposed, else why not. */
  proposeConfig(change: ConfigChange): ConfigRefusal | null {
    const refusal = this.core.proposeConfig(change);
    this.#host.touch();
    return refusal;
  }

  /**
   * Proposes a step of a move, or a chunk of one. False: not now, and certainly nothing was proposed. `ends`: it closes the
   * move here, so that slots are served again; like no-ops and configs it may use the log's reserve. There are two of
   * these to a move, of some hundred bytes, and without room none begins.
   */
  proposeMove(body: Uint8Array, ends = false): boolean {
    if (this.core.proposable(BATCH_HEADER_BYTES + body.length) !== null) return false;
    if (!ends && !this.#hasRoom(BATCH_HEADER_BYTES + body.length)) return false;
    const index = this.core.lastIndex + 1;
    const { term } = this.core;
    const bytes = this.#seal(ENTRY_KIND.move, term, index, body);
    this.core.propose({ index, term, kind: ENTRY_KIND.move, bytes });
    this.#host.touch();
    return true;
  }

  /** Bytes of the last bundle that was sealed: a good first size for the next one. */
  get bundleBytesExpected(): number {
    return this.#bundleBytes;
  }

  /** Time moves on with what is sealed. */
  #placeOf(term: Term, index: Index): SealedPlace {
    return { group: this.group, term, index, timeMs: this.#time.stamp(this.core) };
  }

  #seal(kind: EntryKind, term: Term, index: Index, body: Uint8Array): Uint8Array {
    return sealBody(kind, body, this.#placeOf(term, index));
  }

  /** Asks for a round of reads. False: this replica does not lead; nothing was asked. */
  read(bundle: Bundle): boolean {
    this.#host.touch();
    this.commandsTaken += bundle.count;
    return this.#reads.ask(bundle, (id) => this.core.readIndex(id));
  }

  // ------------------------------------------------------------------------------------------- the core's work

  /** Carries out everything the core has ready. */
  advance(): void {
    const { core, replica, group } = this;
    const { wal } = this.#host;
    for (let ready = core.takeReady(); ready !== null; ready = core.takeReady()) {
      if (ready.truncatedFrom !== null) this.#cache.truncate(ready.truncatedFrom);
      if (ready.snapshot !== null) this.#install(ready.snapshot);
      for (const entry of ready.entries) this.#cache.push(entry);
      for (const message of ready.messages) this.#send(message);
      if (ready.hardState !== null) wal.appendHardState(replica, group, ready.hardState);
      for (const entry of ready.entries) {
        wal.appendEntry(replica, group, entry);
        this.#snapshots.logged(entry.bytes.length);
      }
      if (ready.hardState !== null || ready.mustSync) core.written(wal.endLsn);
      if (ready.hardState !== null || ready.entries.length > 0) this.#lastLsn = wal.endLsn;
      for (const to of ready.snapshotsWanted) this.#host.sendSnapshot(this, to);
      for (const read of ready.reads) this.#reads.confirm(read.id, read.index);
      for (const id of ready.readsLost) {
        const lost = this.#reads.lose(id);
        if (lost !== null) this.#host.onReadsLost(this, lost);
      }
    }
    this.noticeLeader();
  }

  /** Sees to a new role, leader or term; before commands are brought to whoever leads. */
  noticeLeader(): void {
    const { core } = this;
    if (core.leader === this.#leaderSeen && core.term === this.#termSeen) return;
    this.#leaderSeen = core.leader;
    this.#termSeen = core.term;
    this.#proposals.leadershipEnded(core.term, this.isLeader);
    if (!this.isLeader) this.#stopServing();
    this.#host.onLeaderChange(this);
  }

  #send(message: Message): void {
    if (message.kind === "append") this.#appends.send(message);
    else this.#host.send(this.group, message, []);
  }

  // ------------------------------------------------------------------------------------------- snapshots

  /**
   * A synced snapshot stands for the log up to `index`. What the cache still holds is kept in the core's view, so
   * that a follower a little behind is sent entries and not a whole snapshot.
   */
  compactedTo(index: Index): void {
    const { core } = this;
    if (index <= core.snapshotIndex) return;
    core.compacted(core.metaAt(index));
  }

  /** First index that memory still has: where the core's log may begin after a snapshot at `index`. */
  keptFrom(index: Index): Index {
    return Math.min(index, Math.max(this.core.snapshotIndex, this.#cache.firstIndex - 1));
  }

  /** The state becomes that of a snapshot whose file lasts; the log's record of it goes with this Ready. */
  #install(meta: SnapshotMeta): void {
    this.noticeLeader(); // what this replica proposed is an orphan by now
    this.#replay.clear();
    this.#cache.clear(meta.index + 1);
    this.#proposals.skip(meta.index);
    this.#host.installSnapshot(this, meta);
    assert(this.store.appliedIndex === meta.index, "the installed state is the snapshot's");
    this.#slotChanges++;
    this.#time.noteLog(this.store.logTimeMs);
    this.core.applied(meta.index);
  }

  // ------------------------------------------------------------------------------------------- applying

  /** Applies what is committed, up to a bound; true if there is more for another turn. */
  apply(): boolean {
    const { core, store } = this;
    let bytes = 0;
    let isReading = false;
    const untilMs = this.#host.clock.monotonicMs() + APPLY_MS_MAX;
    while (store.appliedIndex < core.commitIndex && bytes < APPLY_BYTES_MAX) {
      if (bytes > 0 && this.#host.clock.monotonicMs() > untilMs) break;
      const index = store.appliedIndex + 1;
      const entry = this.#cache.get(index) ?? this.#replay.take(index, this.#lastUncached(index));
      isReading = entry === null;
      if (entry === null) break;
      this.#applyEntry(entry);
      bytes += entry.bytes.length;
    }
    if (bytes > 0) core.applied(store.appliedIndex);
    this.#replay.applied(store.appliedIndex, core.lastIndex);
    this.#serveReads();
    this.#cache.evict(store.appliedIndex);
    return store.appliedIndex < core.commitIndex && !isReading;
  }

  /** The last committed entry behind `index` before those that memory has. */
  #lastUncached(index: Index): Index {
    const { firstIndex, lastIndex } = this.#cache;
    const isBehind = lastIndex >= firstIndex && firstIndex > index;
    return isBehind ? Math.min(this.core.commitIndex, firstIndex - 1) : this.core.commitIndex;
  }

  #applyEntry(entry: Entry): void {
    const { index, term } = entry;
    this.#listener.bundle = this.#proposals.decide(index, term, (bundle) =>
      this.#host.onNotExecuted(this, bundle),
    );
    this.store.apply(index, term, entry.bytes, this.#listener);
    this.#listener.bundle = null;
    if (entry.kind !== ENTRY_KIND.commands) this.#slotChanges++;
    this.#time.noteLog(this.store.logTimeMs);
    this.#host.onApplied(this, entry);
  }

  readonly #readNotServed = (bundle: Bundle, i: number, slot: number): void =>
    this.#host.onNotServed(this, bundle, i, slot, false);

  /** Reads that are safe now; some may first need log time to move. */
  #serveReads(): void {
    const timeMoves = this.#timeBatchWanted || this.store.appliedIndex < this.#timeBatchIndex;
    const waits = this.#reads.serve(this.store, () => this.leaderTimeMs(), timeMoves, this.#readNotServed);
    if (!waits || timeMoves) return;
    this.#timeBatchWanted = true;
    this.#host.wake();
  }

  /** No longer the leader: reads under way are asked again where the new one is. */
  #stopServing(): void {
    for (const bundle of this.#reads.takeUnanswered()) this.#host.onReadsLost(this, bundle);
    this.#timeBatchWanted = false;
    this.#timeBatchIndex = 0;
  }

  /** Proposals that came before `tick`: nobody is made to wait longer for them. */
  giveUpBefore(tick: number): void {
    this.#proposals.giveUpBefore(tick);
    this.#reads.giveUpBefore(tick);
  }

  /** This replica is closed for good, and its memory is the others'. */
  forgetEntries(): void {
    this.#cache.end();
  }

  /** This replica is closed for good: it answers nobody any more. */
  end(): void {
    this.#proposals.end();
    for (const reads of this.#reads.end()) this.#host.onReadsLost(this, reads);
  }
}

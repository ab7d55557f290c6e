/**
 * All that a replica knows: one object, which the files of this room share.
 *
 *     step.ts         terms, and which message goes where
 *     roles.ts        follower, precandidate, candidate, leader: the four transitions between them
 *     election.ts     votes: asked, granted, counted
 *     replication.ts  the leader's appends and what the replies say; commit by counting
 *     follower.ts     appends, heartbeats and snapshots received; what may be acknowledged
 *     reads.ts        reads confirmed by a round of heartbeats
 *     membership.ts   config changes, transfer of leadership
 *     rest.ts         groups that nobody uses: no ticks, no heartbeats
 *     core.ts         the way in and out
 *
 * The fields are grouped by who may rely on them. Everything else derives from them.
 */
import { present } from "../base/assert.ts";
import { Durability } from "./durability.ts";
import { RaftLog } from "./log.ts";
import type { Progress } from "./progress.ts";
import { jointOutcome, jointValue, type Outcome } from "./quorum.ts";
import type {
  Entry,
  Index,
  Message,
  RaftOptions,
  ReadState,
  ReplicaId,
  Restored,
  Role,
  SnapshotMeta,
  Term,
} from "./types.ts";

/** Reads that one round of heartbeats will confirm together. */
export type ReadRound = {
  readonly round: number;
  readonly index: Index;
  readonly ids: readonly number[];
  readonly asks: readonly FollowerAsk[];
};
/** A follower has reads of its own, and wants to know up to where it must have applied. */
export type FollowerAsk = { readonly from: ReplicaId; readonly ask: number };

export class RaftState {
  readonly options: RaftOptions;
  readonly self: ReplicaId;

  // What the disk must know before anyone else may rely on it.
  term: Term;
  vote: ReplicaId;
  readonly log: RaftLog;
  readonly durable: Durability;

  // Every role.
  commit: Index;
  applied: Index;
  role: Role = "follower";
  /** Leader of `term` as far as known; 0 = unknown. */
  leader: ReplicaId = 0;
  ticks = 0;
  /** No ticks come, and no heartbeats: the pulses of the nodes stand for both (rest.ts). */
  atRest = false;
  electionElapsed = 0;
  /** Drawn anew for every wait, so that candidates do not stay in step. */
  electionTimeout = 0;
  /** Ticks since the leader was heard. Another clock than the election's, which a vote or a pause restarts. */
  leaderSilence = 0;

  // Follower.
  /** The log up to here is known to be that of the leader of this term. */
  verified: Index = 0;
  /** Highest index that the leader of this term was told of, or need not be. */
  acked: Index = 0;
  /** An append wants an answer even if it says nothing new. */
  ackWanted = false;
  /** A vote was granted to this replica, and the answer waits for the disk; 0 = none. */
  voteOwed: ReplicaId = 0;
  /** Looks since the leader last spoke of the rest that this follower keeps. */
  restLooks = 0;

  // Candidate, precandidate.
  readonly votes = new Map<ReplicaId, boolean>();
  /** The campaign was asked for by the leader: voters need not be loyal to it. */
  transferCampaign = false;
  /** Requests for votes wait until this replica's own vote is on the disk. */
  requestsHeld = false;

  // Leader.
  /** One to each member, and to itself. Empty unless leader. */
  readonly progress = new Map<ReplicaId, Progress>();
  /** The same objects by their role in the config in force. */
  voterProgress: Progress[] = [];
  outgoingProgress: Progress[] = [];
  /** Index of this leader's no-op: its term's first entry. */
  termStart: Index = 0;
  heartbeatElapsed = 0;
  /** Leadership is on its way to this replica; 0 = no. */
  transferTo: ReplicaId = 0;
  transferElapsed = 0;
  /** Ticks for which nothing was asked of this leader. */
  quietTicks = 0;
  /** Number of the rest that is proposed or kept; 0: none. */
  rest = 0;
  /** The last one that was proposed. */
  lastRest = 0;
  timeoutNowSent = false;
  /** Number of the latest round of reads. Never reused, not even in another term. */
  round = 0;
  /** Asked since the last round, or before this term's first commit. */
  readsFresh: number[] = [];
  /** The same, of followers. */
  asksFresh: FollowerAsk[] = [];
  /** Waiting for a round to be confirmed, in rising order. */
  readRounds: ReadRound[] = [];
  /** The latest answer to an ask of this follower's. */
  answer: ReadState | null = null;
  /** Reads and asks in the three above together. */
  readsPending = 0;

  // Outbox: taken by the next Ready.
  messages: Message[] = [];
  entries: Entry[] = [];
  truncatedFrom: Index | null = null;
  snapshot: SnapshotMeta | null = null;
  reads: ReadState[] = [];
  readsLost: number[] = [];
  snapshotsWanted: ReplicaId[] = [];

  /** Messages dropped because no correct peer sends them. */
  rejectedMessages = 0;

  readonly #voterValues: number[] = [];
  readonly #outgoingValues: number[] = [];

  constructor(options: RaftOptions, restored: Restored) {
    this.options = options;
    this.self = options.self;
    this.term = restored.hardState.term;
    this.vote = restored.hardState.vote;
    this.log = new RaftLog(restored);
    this.durable = new Durability(this.log.lastIndex, this.term, this.vote);
    this.commit = Math.max(restored.hardState.commit, restored.snapshot.index);
    this.applied = restored.snapshot.index;
  }

  get committedInTerm(): boolean {
    return this.role === "leader" && this.commit >= this.termStart;
  }

  /** This replica's own term and vote are on its disk: it may act on them. */
  get voteIsDurable(): boolean {
    return this.durable.term === this.term && this.durable.vote === this.vote;
  }

  /** Bytes of entries that are in this log and not known to be committed. */
  get uncommittedBytes(): number {
    return this.log.bytes(this.commit + 1, this.log.lastIndex);
  }

  /** The leader's own place among the members, whose match follows its own disk. */
  get ownProgress(): Progress {
    return present(this.progress.get(this.self), "a leader has progress of its own");
  }

  send(message: Message): void {
    this.messages.push(message);
  }

  commitTo(index: Index): void {
    if (index > this.commit) this.commit = index;
  }

  /** The highest value of `of` that a quorum of the config in force has reached. Leader only. */
  quorumValue(of: (progress: Progress) => number): number {
    const { voterProgress, outgoingProgress } = this;
    this.#voterValues.length = voterProgress.length;
    for (let i = 0; i < voterProgress.length; i++) this.#voterValues[i] = of(voterProgress[i] as Progress);
    this.#outgoingValues.length = outgoingProgress.length;
    for (let i = 0; i < outgoingProgress.length; i++) {
      this.#outgoingValues[i] = of(outgoingProgress[i] as Progress);
    }
    return jointValue(this.#voterValues, this.#outgoingValues);
  }

  voteOutcome(): Outcome {
    const { voters, outgoing } = this.log.config;
    return jointOutcome(voters, outgoing, this.votes);
  }

  /** Calls `visit` once for every other replica that has a vote. */
  eachOtherVoter(visit: (replica: ReplicaId) => void): void {
    const { voters, outgoing } = this.log.config;
    for (const { replica } of voters) if (replica !== this.self) visit(replica);
    for (const { replica } of outgoing) {
      if (replica !== this.self && !voters.some((voter) => voter.replica === replica)) visit(replica);
    }
  }

  restartElectionTimer(): void {
    const { electionTicksMin, electionTicksMax, random } = this.options;
    this.electionElapsed = 0;
    this.electionTimeout = electionTicksMin + random(electionTicksMax - electionTicksMin + 1);
  }
}

/**
 * What the consensus core takes and gives.
 *
 * The core is one object to each replica of a group. It never does I/O and never reads a clock; every method is
 * synchronous, and everything it wants done comes out of `takeReady()`. It knows the *shape* of its log (term,
 * size and configuration of each entry) but holds no entry's bytes: those are with the driver, in the entry
 * cache or the write-ahead log.
 *
 * A turn of the driver:
 *
 *     step(message).. tick() propose(entry).. readIndex(id)      inputs of this turn
 *     ready = takeReady()
 *     send ready.messages                                        they promise nothing about this disk
 *     append ready.hardState and ready.entries to the log -> lsn
 *     written(lsn)                                               "all that you gave me ends at this lsn"
 *     .. later, when the log is synced up to lsn: persisted(lsn)
 *        takeReady() again: acknowledgements, votes, own match index, new commits
 *     apply entries up to ready.commit; applied(index)
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice" (thesis); section numbers in the code refer to it.
 */

/** Position in a group's log; the bootstrap is index 1, 0 stands before it. Below 2^53. */
export type Index = number;
/** Raft term; 0 before the first election. The bootstrap entry has term 0. Below 2^53. */
export type Term = number;
/** A replica's number within its group: a counter in the group's config, never reused. 0 = nobody. */
export type ReplicaId = number;
/** Byte position in a node's endless log. Never reused. */
export type Lsn = number;

/** What an entry holds. Doors can only ever produce `commands`. */
export const ENTRY_KIND = {
  noop: 0,
  commands: 1,
  /** A new GroupConfig. Its body begins with the config's own encoding (raft/config.ts). */
  config: 2,
  /** Index 1: body = config as above, then the state machine's settings and slots. */
  bootstrap: 3,
  /** Replicated limits of the state machine. */
  settings: 4,
  /** A step of moving slots between shards (wire/move_entry.ts). */
  move: 5,
} as const;
export type EntryKind = (typeof ENTRY_KIND)[keyof typeof ENTRY_KIND];

/** One sealed batch: header and body (wire/batch.ts), exactly as on the wire and in the log. */
export type Entry = {
  readonly index: Index;
  readonly term: Term;
  readonly kind: EntryKind;
  /** Owned by the entry: nobody writes into it again. */
  readonly bytes: Uint8Array;
};

export type Member = {
  readonly replica: ReplicaId;
  /** The node that holds the replica. Opaque to the core. */
  readonly node: string;
};

/**
 * Who takes part (thesis 4.3, joint consensus). `outgoing` is empty unless a change is in its joint phase; then
 * both `voters` (the new set) and `outgoing` (the old one) must agree to everything.
 */
export type GroupConfig = {
  /** Rises by one with every config entry. */
  readonly version: number;
  readonly voters: readonly Member[];
  readonly outgoing: readonly Member[];
  readonly learners: readonly Member[];
  /** The next replica id to hand out. */
  readonly nextReplica: ReplicaId;
};

export type HardState = {
  readonly term: Term;
  /** Whom this replica voted for in `term`; 0 = nobody. */
  readonly vote: ReplicaId;
  /** A hint: at least this much is committed. Needs no sync. */
  readonly commit: Index;
};

export type SnapshotMeta = { readonly index: Index; readonly term: Term; readonly config: GroupConfig };

/** Header of every message. The driver adds cluster and group and drops what is addressed to another replica. */
type Envelope = { readonly from: ReplicaId; readonly to: ReplicaId; readonly term: Term };

export type VoteRequest = Envelope & {
  readonly kind: "vote" | "prevote";
  readonly lastIndex: Index;
  readonly lastTerm: Term;
  /** Set after a leadership transfer: voters must not hold on to the leader they hear from. */
  readonly transfer: boolean;
};
export type VoteReply = Envelope & {
  readonly kind: "vote_reply" | "prevote_reply";
  readonly granted: boolean;
};
/**
 * Entries (prevIndex, lastIndex] follow entry (prevIndex, prevTerm). When the core emits one, `entries` is empty
 * and the driver fills in the bytes of that range; when it is stepped, `entries` is complete.
 */
export type AppendRequest = Envelope & {
  readonly kind: "append";
  readonly prevIndex: Index;
  readonly prevTerm: Term;
  readonly lastIndex: Index;
  readonly entries: readonly Entry[];
  readonly commit: Index;
};
export type AppendReply = Envelope & {
  readonly kind: "append_reply";
  /** True: this replica's disk holds the leader's log up to `index`. False: it does not hold (index, ..). */
  readonly accepted: boolean;
  /** Accepted: highest synced index known to match. Rejected: the prevIndex that did not match. */
  readonly index: Index;
  /** Rejected only: where the leader should look next (thesis 5.3: fast back-off over a whole term). */
  readonly hintIndex: Index;
  readonly hintTerm: Term;
};
export type Heartbeat = Envelope & {
  readonly kind: "heartbeat";
  /** min(the follower's match, the leader's commit). */
  readonly commit: Index;
  /** Number of the leader's latest round of reads; the reply returns it. Rises with every round, in this term. */
  readonly round: number;
  /** Number of the rest that the leader proposes or keeps (rest.ts); 0: heartbeats go on. */
  readonly rest: number;
};
export type HeartbeatReply = Envelope & {
  readonly kind: "heartbeat_reply";
  readonly round: number;
  /** The rest that the follower keeps now; 0: none. */
  readonly rest: number;
};
/** The driver has received a whole snapshot and holds it ready to install. */
export type SnapshotMessage = Envelope & { readonly kind: "snapshot"; readonly meta: SnapshotMeta };
/** A follower asks the leader how far it must have applied to answer a read that it has now. */
export type ReadAsk = Envelope & {
  readonly kind: "read_ask";
  /** The follower's own number for it; no answer to a former life of the replica names it. */
  readonly ask: number;
};
export type ReadAnswer = Envelope & {
  readonly kind: "read_answer";
  readonly ask: number;
  /** Everything that was acknowledged before the ask came lies at or below this index. */
  readonly index: Index;
};
export type TimeoutNow = Envelope & { readonly kind: "timeout_now" };

export type Message =
  | VoteRequest
  | VoteReply
  | AppendRequest
  | AppendReply
  | Heartbeat
  | HeartbeatReply
  | SnapshotMessage
  | TimeoutNow
  | ReadAsk
  | ReadAnswer;

export type Role = "follower" | "precandidate" | "candidate" | "leader";

/** A read that was asked for with `readIndex(id)` may be served once `index` is applied. */
export type ReadState = { readonly id: number; readonly index: Index };

/** Work for the driver; read-only, valid until the next call into the core. */
export type Ready = {
  /** Append this to the log, before the entries. */
  readonly hardState: HardState | null;
  /** Entries at or above this index were replaced: caches drop them. Before `entries`. */
  readonly truncatedFrom: Index | null;
  /** Append these to the log, in order. */
  readonly entries: readonly Entry[];
  /** False: only the commit hint moved; nothing waits for a sync. */
  readonly mustSync: boolean;
  /** May leave now: whatever had to wait for this disk has waited inside the core. */
  readonly messages: readonly Message[];
  /** Everything up to here is committed: apply it in order, then call `applied`. */
  readonly commit: Index;
  readonly reads: readonly ReadState[];
  /** Reads asked for that this replica can no longer answer; whoever waits must ask again elsewhere. */
  readonly readsLost: readonly number[];
  /** Install this snapshot, which the driver holds, before applying anything further. */
  readonly snapshot: SnapshotMeta | null;
  /** These replicas need a snapshot: begin to stream one, and end with `snapshotSent`. */
  readonly snapshotsWanted: readonly ReplicaId[];
};

/** What a replica was when it stopped, as the log's recovery found it. */
export type Restored = {
  readonly hardState: HardState;
  /** The newest snapshot; index 0 with an empty config before there is one. */
  readonly snapshot: SnapshotMeta;
  /** The entries after the snapshot, in order: term and size (bytes of the sealed batch). */
  readonly log: readonly { readonly term: Term; readonly size: number }[];
  /** The config entries among them, in order. */
  readonly configs: readonly { readonly index: Index; readonly config: GroupConfig }[];
};

/** What a group needs of its driver to rest (rest.ts). */
export type RestOptions = {
  /** A leader proposes a rest when nothing was asked of it for so long. */
  readonly afterTicks: number;
  /**
   * can: its node pulses, and is heard. away: nothing reaches it, and the driver calls `rouse` before anything does.
   * cannot: neither is certain.
   */
  of(replica: ReplicaId): "can" | "cannot" | "away";
  /** Since the node of that replica was last heard. */
  silenceTicks(replica: ReplicaId): number;
};

export type RaftOptions = {
  readonly self: ReplicaId;
  /** Null: never. */
  readonly rest: RestOptions | null;
  readonly heartbeatTicks: number;
  /** An election starts after a silence of electionTicksMin..electionTicksMax, drawn anew each time. */
  readonly electionTicksMin: number;
  readonly electionTicksMax: number;
  /** Most appends on their way to one follower, and most bytes in them. */
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** Most bytes of entries in one append message (at least one entry always goes). */
  readonly appendBytesMax: number;
  /** Most bytes proposed and not yet committed; beyond it `proposable` says "busy". */
  readonly uncommittedBytesMax: number;
  /** Uniform over [0, bound): election jitter. */
  readonly random: (bound: number) => number;
  /** Seals an entry that the core makes itself (no-op, config): gives the complete batch. */
  readonly seal: (kind: EntryKind, term: Term, index: Index, body: Uint8Array) => Uint8Array;
};

/** Why a proposal cannot be taken now. Each of them means: certainly not proposed. */
export type Refusal = "not_leader" | "transferring" | "busy";

/**
 * What the node's log takes and gives. One log to a node, shared by all its groups (design section 6).
 *
 * Within a turn the driver appends records; they collect in a buffer. At the end of the turn it calls `submit`:
 * if no sync is under way the buffer is written and synced at once, else it goes with the next one, which the
 * log starts by itself. `onSynced(lsn)` then vouches for every byte below `lsn`.
 */
import type { Task } from "../base/task.ts";
import type { Disk, Log } from "../platform/platform.ts";
import type { Entry, HardState, Index, Lsn, ReplicaId, Term } from "../raft/types.ts";

/** A group's number: 53 random bits, so that it is exact as a JS number. */
export type GroupId = number;

export type WalOptions = {
  readonly disk: Disk;
  readonly log: Log;
  /** Directory of the segments; exists. */
  readonly dir: string;
  /** 4 to 64 MiB; a cluster setting, kept in each segment's header. Tests and simulations go down to 64 KiB. */
  readonly segmentBytes: number;
  /** 64 random bits for a new segment's epoch. */
  readonly randomU32: () => number;
  /** Everything below `lsn` is on the disk. Called once to each completed sync; may append and submit. */
  readonly onSynced: (lsn: Lsn) => void;
  /**
   * What to do about damage to synced records. "refuse" (the default): an error EDAMAGED that names file and offset,
   * and nothing is changed. "setAside": close the damaged replicas for good, keep the damaged files under another
   * name, and go on with the others; only for a node whose groups have sound majorities elsewhere.
   */
  readonly onDamage?: "refuse" | "setAside";
  /** A write or sync failed: the log takes nothing any more and the node must stop (hazards D5, A11). */
  readonly onFailed: (error: Error) => void;
};

/** A group as the log remembers it. */
export type RecoveredGroup = {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly hardState: HardState;
  /** The newest synced snapshot mark; 0, 0 if there is none. */
  readonly snapshotIndex: Index;
  readonly snapshotTerm: Term;
  /** The entries after the snapshot, in order: what is still in the log of (snapshotIndex, lastIndex]. */
  readonly entries: readonly { readonly term: Term; readonly size: number; readonly kind: number }[];
};

/** A damaged place. */
export type WalDamage = {
  readonly file: string;
  readonly offset: number;
  readonly reason: string;
  /** Groups whose records are damaged; empty if that cannot be told: then all of the node's. */
  readonly groups: readonly GroupId[];
};

export type Recovered = {
  readonly groups: readonly RecoveredGroup[];
  /** Replicas that were closed for good, the highest of each group: none up to it ever comes back. */
  readonly tombstones: readonly { readonly group: GroupId; readonly replica: ReplicaId }[];
  /** What this start set aside; the replicas it hit are among the tombstones. */
  readonly damage: readonly WalDamage[];
  /** For the line that start-up prints. */
  readonly segments: number;
  readonly records: number;
  readonly tornBytes: number;
};

export interface Wal {
  /**
   * True if a batch of `bytes` (header included) is sure to find prepared room. Ask before sealing, and before taking
   * a leader's entries; count in what was admitted and is not appended yet. Hard states, no-ops and config entries
   * need not ask: a reserve is kept for them. What is appended without room ends the log.
   */
  hasRoom(bytes: number): boolean;
  /** Bytes before `hasRoom` can turn false: what the node may still admit. */
  roomBytes(): number;
  /** Adds an entry's record; returns the LSN at which the record ends. Truncates the group's entries >= its index. */
  appendEntry(replica: ReplicaId, group: GroupId, entry: Entry): Lsn;
  appendHardState(replica: ReplicaId, group: GroupId, state: HardState): Lsn;
  /**
   * A snapshot file up to (index, term) is synced under its final name: entries up to it are no longer live. The
   * ones after it stay if the log's own entry at `index` has that `term`, else all go. Append it before entries
   * that follow it. A mark below the newest one changes nothing.
   */
  appendSnapshotMark(replica: ReplicaId, group: GroupId, index: Index, term: Term): Lsn;
  /** The replica of the group that has records here and was not closed; 0: none. */
  replicaOf(group: GroupId): ReplicaId;
  /** The group is closed on this node, and this replica id with it. */
  appendTombstone(replica: ReplicaId, group: GroupId): Lsn;
  /** End of the turn: what was appended is to be written and synced. */
  submit(): void;
  /** Everything below is on the disk. */
  readonly syncedLsn: Lsn;
  /** Everything below was appended. */
  readonly endLsn: Lsn;
  /**
   * Entries [first, last] of a group, read back from the segments, up to `bytesMax` (at least one). Those not
   * yet written are served from the buffer. Errors: ECOMPACTED if the log does not hold them (any more), EDAMAGED if
   * what it holds does not verify, EBUSY if they keep being replaced meanwhile.
   */
  readEntries(group: GroupId, first: Index, last: Index, bytesMax: number): Task<Entry[]>;
  /** Groups that hold back more than 8 segments, to be snapshotted (oldest first). */
  pinningGroups(): readonly GroupId[];
  /** Once a tick: after 50 ms without records, writes and syncs a mark that vouches for all before it. */
  tick(elapsedMs: number): void;
  readonly stats: WalStats;
  /** Writes and syncs what was appended and a mark that vouches for it; closes the files. No read may be under way. */
  close(): Task<void>;
}

export type WalStats = {
  /** Completed syncs, records and bytes since start. */
  syncs: number;
  records: number;
  bytes: number;
  segments: number;
  /** Smoothed duration of a sync in ms is the driver's to measure: the log has no clock. */
};

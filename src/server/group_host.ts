/** What a replica (group.ts) needs of its node; the node's side of it is hosted.ts. */
import type { Clock, Log } from "../platform/platform.ts";
import type { Entry, Message, ReplicaId, SnapshotMeta } from "../raft/types.ts";
import type { GroupId, Wal } from "../wal/types.ts";
import type { Bundle } from "./bundle.ts";
import type { GroupReplica } from "./group.ts";
import type { HeardClock } from "./pulses.ts";

export type GroupHost = {
  readonly clock: Clock;
  readonly log: Log;
  readonly wal: Wal;
  /** A node's wall clock as its last pulse had it; null: none came. */
  clockOf(node: string): HeardClock | null;
  /** Sends a message to its addressee; `entries` are those of an append. */
  send(group: GroupId, message: Message, entries: readonly Entry[]): void;
  /** There is work for another turn. */
  wake(): void;
  /** The replica has something for the log, or to send, in this turn. */
  touch(): void;
  /** Gives the log everything that this node's replicas took so far: only then it can tell how much room is left. */
  appendAll(): void;
  /** The role, the leader or the term changed. */
  onLeaderChange(group: GroupReplica): void;
  /** Reads that must be asked again, elsewhere or later; none of them was answered. */
  onReadsLost(group: GroupReplica, reads: Bundle): void;
  /** Proposals that certainly took no effect. */
  onNotExecuted(group: GroupReplica, bundle: Bundle): void;
  /** Command `i` took no effect: the applied state does not serve this slot. `rides`: it was proposed. */
  onNotServed(group: GroupReplica, bundle: Bundle, i: number, slot: number, rides: boolean): void;
  /** The node cannot go on. */
  fatal(error: Error): void;
  /** A replica needs what the log no longer has. */
  sendSnapshot(group: GroupReplica, to: ReplicaId): void;
  /** Makes the received snapshot of `meta` the state, and appends its mark to the log. */
  installSnapshot(group: GroupReplica, meta: SnapshotMeta): void;
  /** A batch was applied: for checkers and statistics. */
  onApplied(group: GroupReplica, entry: Entry): void;
};

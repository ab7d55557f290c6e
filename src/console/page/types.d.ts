/** What the page is told (src/controlplane/map.ts makes it) and what it makes of that. Types only: nothing of this is served. */

export type Version = { readonly restore: number; readonly index: number };

export type LiveNode = {
  readonly id: string;
  readonly addr: string;
  readonly http: string;
  readonly zone: string;
  readonly state: "alive" | "suspect" | "dead" | "excluded";
  readonly silentMs: number;
  readonly draining: boolean;
  readonly replicas: number;
  readonly leads: number;
  readonly load: {
    readonly commandsPerSecond: number;
    readonly bytes: number;
    readonly diskFreeBytes: number;
  };
};

export type LiveReplica = {
  readonly node: string;
  readonly role: "leader" | "voter" | "learner" | "quarantined" | "unknown";
  readonly applied: number;
  readonly lag: number | null;
};

export type LiveShard = {
  readonly id: string;
  readonly state: "active" | "retiring" | "lost";
  readonly leader: string | null;
  readonly hint: string | null;
  readonly term: number;
  readonly voters: readonly string[];
  readonly wanted: readonly string[];
  readonly blocked: string | null;
  readonly slots: number;
  readonly keys: number;
  readonly bytes: number;
  readonly replicas: readonly LiveReplica[];
};

export type Live = {
  readonly cluster: string;
  readonly term: number;
  readonly firstLayout: string | null;
  readonly version: Version;
  readonly waitingFor: readonly string[];
  readonly nodes: readonly LiveNode[];
  readonly shards: readonly LiveShard[];
};

export type MoveRecord = { readonly keys: number; readonly bytes: number; readonly pauseMs: number };

export type Move = {
  readonly from: string;
  readonly to: string;
  readonly slots: readonly (readonly [number, number])[];
  readonly slotCount: number;
  readonly state: "waiting" | "running" | "owned" | "aborted" | "done" | "cancelled";
  readonly epoch: number;
  readonly tries: number;
  readonly keys: number;
  readonly keysTotal: number;
  readonly bytes: number;
  readonly record: MoveRecord | null;
};

export type Finished = {
  readonly epoch: number;
  readonly plan: number;
  readonly from: string;
  readonly to: string;
  readonly slotCount: number;
  readonly record: MoveRecord;
};

export type Reshard = {
  readonly active: boolean;
  readonly epoch: number;
  readonly manual: boolean;
  readonly cutover: boolean;
  readonly cancelled: boolean;
  readonly keysMoved: number;
  readonly keysTotal: number;
  readonly moves: readonly Move[];
  readonly last: {
    readonly number: number;
    readonly cancelled: boolean;
    readonly done: number;
    readonly moves: number;
  } | null;
  readonly finished: readonly Finished[];
};

/** One server-sent event. */
export type Snapshot = { readonly live: Live; readonly reshard: Reshard };

/** GET /cluster/map, as far as it is used. */
export type MapJson = {
  readonly version: Version;
  readonly ranges: readonly (readonly [number, number, string, number])[];
};

/** GET /reshard/plan: the wish. */
export type WishJson = {
  readonly vnodes: number;
  readonly shards: readonly { readonly id: string; readonly weight: number }[];
};

/** Whose each slot is, and under which epoch; `shards` names the numbers in `owner`, where 0 is nobody. */
export type Owners = {
  readonly shards: readonly string[];
  readonly owner: Uint16Array;
  readonly epoch: Float64Array;
};

/** The points of the wish, ascending by place. */
export type Points = {
  readonly place: Float64Array;
  /** Number in `shards`, from 1. */
  readonly shard: Uint16Array;
  /** The i of "shard#i". */
  readonly index: Uint32Array;
  readonly shards: readonly string[];
};

export type Level = "good" | "info" | "warn" | "bad";
export type ClusterEvent = { readonly level: Level; readonly text: string };
export type DatedEvent = ClusterEvent & { readonly key: number; readonly at: number };

export type Link = { readonly state: "connecting" | "live" | "lost"; readonly text: string };

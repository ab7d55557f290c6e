/**
 * What the control plane remembers: the wish (layout, desired replicas, plan), an index of the facts (assignment,
 * outcomes of moves), and the counters that nobody else may issue.
 *
 * A state is a value: transitions (transition.ts) make a new one and leave the old one as it was. So a snapshot keeps
 * a reference and nothing is copied for it, and a reader sees one log position.
 *
 * Not in here, because the log must not turn with the clock: who is alive, who leads, load (liveness.ts). The truth about
 * slots and members is not here either: it is in the shards' own logs, and of two claims the higher number counts.
 */
import { Assignment } from "../ring/assignment.ts";
import { compareIds, type Layout } from "../ring/layout.ts";
import type { Founder, Heard, MapVersion, MoveRecord } from "../wire/control_plane.ts";
import type { Slots } from "../wire/shapes.ts";

/** Finished moves that are remembered for people; the newest ones. */
export const RECORDS_MAX = 1024;
/** Groups that are gone, and whose replicas are still to be closed wherever they turn up; the newest ones. */
export const RETIRED_MAX = 1024;
/**
 * Answered requests that are remembered, so that one sent twice is carried out once. A sender repeats for seconds; the
 * commands that carry a request are those of people, a few in a second at most.
 */
export const REQUESTS_MAX = 1024;
/** Incarnations that a node had before: a message of one of them is late. */
export const FORMER_MAX = 16;

export type NodeRecord = {
  readonly id: string;
  readonly incarnation: string;
  readonly former: readonly string[];
  readonly address: string;
  readonly http: string;
  readonly zone: string;
  readonly capacity: number;
  /** Its replicas are to go elsewhere, and it gets no new ones. */
  readonly draining: boolean;
  /** Not waited for, not spoken to: the operator says that it is gone. */
  readonly excluded: boolean;
};

/** `lost`: its replicas are destroyed for good, an operator said. */
export type ShardState = "active" | "retiring" | "lost";

export type RetiredShard = { readonly shard: string; readonly group: number };

/** A group's first entry, in the words it is made of; issued once, and the same for all founders. */
export type Birth = {
  readonly founders: readonly Founder[];
  readonly slots: Slots;
  readonly epoch: number;
  /** The setting of that time: were it read when an order goes out, two founders could begin with different entries. */
  readonly memoryBytesMax: number;
};

export type ShardRecord = {
  readonly id: string;
  readonly group: number;
  readonly state: ShardState;
  /** The nodes that should have a replica, in order of their ids. */
  readonly replicas: readonly string[];
  readonly birth: Birth;
  /** The group has had a leader: it lives by its own log now, and its bootstrap is never given out again. */
  readonly formed: boolean;
};

/**
 *     waiting --start--> running --owned--> owned ---closed--> done
 *        ^                  `-----aborted--> aborted --closed--> waiting again, or cancelled
 *        `---- cancel ----> cancelled
 */
export type MoveState = "waiting" | "running" | "owned" | "aborted" | "done" | "cancelled";

export type MoveWish = { readonly from: string; readonly to: string; readonly slots: Slots };

export type PlannedMove = MoveWish & {
  readonly state: MoveState;
  /** Of the last attempt; 0 before the first. */
  readonly epoch: number;
  /** Attempts that were begun. */
  readonly tries: number;
  readonly record: MoveRecord | null;
};

export type Plan = {
  readonly number: number;
  /** Moves wait for `cutover` before they seal. */
  readonly manual: boolean;
  readonly cutover: boolean;
  /** The number that the cancel took, 0 if nobody cancelled. */
  readonly cancelled: number;
  /** The wish before this plan: what a cancelled plan goes back to. */
  readonly before: Layout;
  /** Shards that the plan brought. */
  readonly added: readonly string[];
  readonly moves: readonly PlannedMove[];
};

/** How the last plan that is over ended. */
export type PlanEnd = {
  readonly number: number;
  readonly cancelled: boolean;
  readonly done: number;
  readonly moves: number;
};

export type FinishedMove = {
  readonly epoch: number;
  readonly plan: number;
  readonly from: string;
  readonly to: string;
  readonly slotCount: number;
  readonly record: MoveRecord;
};

export type Settings = {
  /** Replicas of a shard that says nothing else. */
  readonly replicas: number;
  /** Put another node in the place of one that stayed dead for so long; 0 = only when asked. */
  readonly replaceDeadMs: number;
  /** Moves that run at the same time, over all shards. */
  readonly movesMax: number;
  /** Of each move's copy. */
  readonly moveBytesPerSecond: number;
  /** For the bootstraps of new shards; 0 = no limit. */
  readonly memoryBytesMax: number;
};

export const SETTINGS_DEFAULT: Settings = {
  replicas: 3,
  replaceDeadMs: 0,
  movesMax: 8,
  moveBytesPerSecond: 64 * 1024 * 1024,
  memoryBytesMax: 0,
};

/** What became of a command. */
export type Reply =
  | { readonly ok: true; readonly number: number }
  | { readonly ok: false; readonly error: string };

export type MetaState = {
  readonly cluster: string;
  /** Of the map: restore number, and index of the last entry that changed anything. */
  readonly version: MapVersion;
  /** Names the last restore, so that asking for it twice is one. */
  readonly restoreToken: string;
  /** After a restore: nodes that were not heard yet. Null: nobody is waited for, orders go out. */
  readonly awaited: readonly string[] | null;
  /** The last move epoch and plan number issued, or heard of. */
  readonly epoch: number;
  readonly planNumber: number;
  /** By id. */
  readonly nodes: ReadonlyMap<string, NodeRecord>;
  readonly shards: ReadonlyMap<string, ShardRecord>;
  readonly retired: readonly RetiredShard[];
  /** Null before the first one. Its number is that of the plan that brought it. */
  readonly layout: Layout | null;
  /** Read only: whoever changes it copies it first. */
  readonly assignment: Assignment;
  readonly plan: Plan | null;
  readonly planEnd: PlanEnd | null;
  readonly finished: readonly FinishedMove[];
  readonly settings: Settings;
  readonly requests: ReadonlyMap<string, Reply>;
  /** A backup that this state is to become: the parts of it that are there. Null: none is awaited. */
  readonly restoring: Restoring | null;
};

export type Restoring = { readonly token: string; readonly parts: readonly Uint8Array[] };

export function emptyState(cluster: string): MetaState {
  return {
    cluster,
    version: { restore: 0, index: 0 },
    restoreToken: "",
    awaited: null,
    epoch: 0,
    planNumber: 0,
    nodes: new Map(),
    shards: new Map(),
    retired: [],
    layout: null,
    assignment: new Assignment(),
    plan: null,
    planEnd: null,
    finished: [],
    settings: SETTINGS_DEFAULT,
    requests: new Map(),
    restoring: null,
  };
}

/** The values of a map in order of their ids: every walk whose order can be seen takes this one. */
export function ordered<T extends { readonly id: string }>(map: ReadonlyMap<string, T>): T[] {
  return [...map.values()].sort((a, b) => compareIds(a.id, b.id));
}

/** The map with one value put in its place. */
export function withValue<T extends { readonly id: string }>(
  map: ReadonlyMap<string, T>,
  value: T,
): ReadonlyMap<string, T> {
  return new Map(map).set(value.id, value);
}

export function without<T>(map: ReadonlyMap<string, T>, id: string): ReadonlyMap<string, T> {
  const copy = new Map(map);
  copy.delete(id);
  return copy;
}

/** The highest numbers that were issued by this state or heard of. */
export function heardOf(state: MetaState): Heard {
  return { version: state.version, epoch: state.epoch, plan: state.planNumber };
}

/** Begun, and not closed on both sides: only these take up their shards. */
export function isOpen({ state }: PlannedMove): boolean {
  return state === "running" || state === "owned" || state === "aborted";
}

export function isEnded({ state }: PlannedMove): boolean {
  return state === "done" || state === "cancelled";
}

/** Nodes that may be given a replica. */
export function takesReplicas(node: NodeRecord): boolean {
  return !node.draining && !node.excluded;
}

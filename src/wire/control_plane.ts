/**
 * What nodes and the control plane say to each other, in MessagePack (msgpack.ts).
 *
 *     node -> control    registration, once a start; then a heartbeat a second, and when something changed
 *     control -> node    the reply: whether it is known, a newer map (cluster_map.ts), orders
 *
 * Orders stand under a fence: (restore number, term of the control plane's leader). A node obeys none under a lower
 * fence than it has seen, so a deposed leader orders nothing (hazard F10). Each order also names what it was made for -
 * an incarnation, a config version, a term, an epoch -, so one that comes late or twice changes nothing.
 */
import { KiB } from "../base/units.ts";
import { bytes, choice, flag, hex, integer, list, nullable, record, text, type ValueOf } from "./msgpack.ts";
import { name, oneOf, slots } from "./shapes.ts";

export const NODES_MAX = 1024;
/** As many as the ring takes: 16 slots for each. */
export const SHARDS_MAX = 1024;
/** Replicas of one shard. More than seven never pay; 15 is what a layout file may name. */
export const REPLICAS_MAX = 15;
/** Slots of one move (design section 11), in as many ranges at worst. */
export const MOVE_SLOTS_MAX = 256;
/** Orders in one reply; what does not fit comes with the next. */
const ORDERS_MAX = 256;
/** The usual time between two heartbeats of a node. */
export const BEAT_MS_MAX = 1000;
/** Replicas on one node: a control message (control.ts) of 2 MiB has 128 bytes for each. */
export const GROUPS_MAX = 16_384;
/** One move gives and one takes at a time; the rest are memories. */
const MOVE_REPORTS_MAX = 64;
const ADDRESS_BYTES_MAX = 260;
const ID_BYTES = 16;
const HASH_BYTES = 8;
const U32_MAX = 0xffffffff;
/** A config of 15 members, settings, and 16384 slots in ranges of 8 bytes, the worst that a ring can do. */
const BOOTSTRAP_BYTES_MAX = 256 * KiB;

export const nodeId = name();
export const shardId = name();
export const incarnation = hex(ID_BYTES);
export const address = text(ADDRESS_BYTES_MAX);
export const groupId = integer(1);
export const replicaId = integer(1, U32_MAX);
/** Half of what numbers can be: no node's word brings a counter to its end. */
const COUNTER_MAX = 2 ** 52;
/** Number of a move's attempt; never issued twice (design section 8). */
export const epoch = integer(1, COUNTER_MAX);
export const moveSlots = slots(MOVE_SLOTS_MAX);

/** A version of the map: the higher restore number is the newer one, else the higher index of the control log. */
export const mapVersion = record({ restore: integer(0, COUNTER_MAX), index: integer(0, COUNTER_MAX) });
export type MapVersion = ValueOf<typeof mapVersion>;

/** The highest numbers that a node has seen, of any control plane: none may issue them again (design section 10). */
export const heard = record({
  version: mapVersion,
  epoch: integer(0, COUNTER_MAX),
  plan: integer(0, COUNTER_MAX),
});
export type Heard = ValueOf<typeof heard>;

export const registration = record({
  node: nodeId,
  /** Random, new with every empty directory: a wiped node is another one. */
  incarnation,
  address,
  http: address,
  /** "" = none: nodes of one zone may fail together. */
  zone: text(64),
  /** How much it can carry beside others; 100 is usual. */
  capacity: integer(1, 100_000),
  heard,
});
export type Registration = ValueOf<typeof registration>;

/** What a finished move was: for people, and for whoever checks that nothing got lost. */
export const moveRecord = record({
  /** Where the source's log stopped serving, and the target's began. */
  sourceIndex: integer(0),
  targetIndex: integer(0),
  keys: integer(0),
  bytes: integer(0),
  /** Of the records and of the sessions: equal on both sides. */
  recordsHash: hex(HASH_BYTES),
  sessionsHash: hex(HASH_BYTES),
  /** How long writes to these slots were held. */
  pauseMs: integer(0),
});
export type MoveRecord = ValueOf<typeof moveRecord>;

/** How far a side of a move is, in its shard's applied state (design section 11). */
const MOVE_PHASES = [
  "importing",
  "copying",
  "ready",
  "sealed",
  "owned",
  "aborted",
  "released",
  "unsealed",
] as const;

const moveReport = record({
  epoch,
  side: choice("source", "target"),
  phase: choice(...MOVE_PHASES),
  keys: integer(0),
  keysTotal: integer(0),
  bytes: integer(0),
  /** Of the target once it owns the slots. */
  record: nullable(moveRecord),
});
export type MoveReport = ValueOf<typeof moveReport>;

const member = record({ replica: replicaId, node: nodeId });

/** What only a group's leader knows. */
const leadReport = record({
  configVersion: integer(0),
  voters: list(member, 64),
  /** In the joint phase of a change. */
  joint: flag(),
  learners: list(member, 64),
  /** Slots served or sealed there in applied state, by epoch; a move that was begun has not changed them. */
  slots: list(record({ epoch, slots: slots(16_384) }), 16_384),
  /** All that are not closed, and the last closed ones (released, unsealed; of the target owned, aborted). */
  moves: list(moveReport, MOVE_REPORTS_MAX),
});
export type LeadReport = ValueOf<typeof leadReport>;

export const groupReport = record({
  group: groupId,
  shard: shardId,
  replica: replicaId,
  quarantined: flag(),
  term: integer(0),
  /** Who leads in that term as far as known here: a hint. */
  leader: nullable(nodeId),
  applied: integer(0),
  keys: integer(0),
  bytes: integer(0),
  /** Null: this replica does not lead. */
  lead: nullable(leadReport),
});
export type GroupReport = ValueOf<typeof groupReport>;

export const heartbeat = record({
  node: nodeId,
  incarnation,
  heard,
  load: record({ commandsPerSecond: integer(0), bytes: integer(0), diskFreeBytes: integer(0) }),
  /** Every replica on the node. The last field, as the rows are written and read by themselves (beat.ts). */
  groups: list(groupReport, GROUPS_MAX),
});
export type Heartbeat = ValueOf<typeof heartbeat>;

/** A replica that a group begins with, and the directory that was meant. */
export const founder = record({ node: nodeId, incarnation, replica: replicaId });
export type Founder = ValueOf<typeof founder>;

export const order = oneOf({
  /** Come into being as a founder of a group; refused by another incarnation, and where the id was ever used. */
  create: {
    group: groupId,
    shard: shardId,
    replica: replicaId,
    incarnation,
    bootstrap: bytes(BOOTSTRAP_BYTES_MAX),
  },
  /** The group is gone, or was never meant to be here: close the replica, for good. */
  close: { group: groupId, replica: replicaId },
  /**
   * For a group's leader: lead the group from config `version` to just these voters, learners first, by a joint
   * change. Refused if another config is in force.
   */
  want: { group: groupId, version: integer(1), voters: list(nodeId, REPLICAS_MAX) },
  /** For a group's leader in `term`: hand over to the replica on `to`. */
  lead: { group: groupId, term: integer(1), to: nodeId },
  /** For the leaders of both sides: carry this move out. `hold`: wait before sealing. The rate is that of the copy. */
  move: {
    epoch,
    from: shardId,
    to: shardId,
    slots: moveSlots,
    hold: flag(),
    bytesPerSecond: integer(1),
  },
  /** For the target's leader: commit `abort`, if the epoch has no outcome. */
  abort: { epoch, to: shardId },
  /**
   * For the source's leader: the epoch has an outcome; read it from the target's applied state, and release or unseal.
   * A source that never heard of the epoch writes it down as closed, so that it does not begin when it comes late.
   */
  settle: { epoch, from: shardId, to: shardId },
  /** For the source's leader: the target is lost for good, serve the slots again. */
  unseal: { epoch, from: shardId },
  /** For the source's leader: the target owned the slots, and is lost for good with them. */
  release: { epoch, from: shardId },
  /** For a shard's leader: serve these slots, empty. The shard that had them is lost for good. */
  take: { epoch, from: shardId, to: shardId, slots: moveSlots },
});
export type Order = ValueOf<typeof order>;

export const fence = record({ restore: integer(0), term: integer(0) });
export type Fence = ValueOf<typeof fence>;

/** Whether orders under `fence` may be obeyed by whoever has seen `seen`. */
export function isFenced(given: Fence, seen: Fence): boolean {
  return given.restore === seen.restore ? given.term < seen.term : given.restore < seen.restore;
}

export const heartbeatReply = record({
  fence,
  /** "unknown": register first. "stale": this incarnation was replaced, or excluded. */
  standing: choice("known", "unknown", "stale"),
  version: mapVersion,
  /** The highest that were issued. Nodes remember them for a control plane that is made from a backup. */
  issued: record({ epoch: integer(0, COUNTER_MAX), plan: integer(0, COUNTER_MAX) }),
  /** When to beat again at the latest: sooner than usual while orders are on their way. */
  beatMs: integer(10, BEAT_MS_MAX),
  orders: list(order, ORDERS_MAX),
});
export type HeartbeatReply = ValueOf<typeof heartbeatReply>;

/** -1, 0, 1: `a` is older, the same, newer. */
export function compareVersions(a: MapVersion, b: MapVersion): number {
  return Math.sign(a.restore === b.restore ? a.index - b.index : a.restore - b.restore);
}

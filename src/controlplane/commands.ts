/**
 * The commands of the control plane's log, in MessagePack, and the command frame that carries one.
 *
 * The frame is an ordinary SET of the key CONTROL_KEY: so batches, doors, forwarding and the log need to know nothing
 * of the control plane, and all its commands lie in one slot and keep their order.
 *
 * Each command may come twice: because its sender repeats it, or because two leaders of the control plane saw the same
 * thing. Those of people carry a request id and are answered from memory the second time; those that say what was seen
 * change nothing when it is known, by their own numbers (incarnation, plan number, epoch, tries).
 */
import { utf8 } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";
import { COMMAND_BYTES_MAX, type CommandView, OP } from "../wire/command.ts";
import type { CommandEncoder } from "../wire/command_encode.ts";
import {
  epoch,
  founder,
  groupId,
  heard,
  incarnation,
  moveRecord,
  moveSlots,
  nodeId,
  REPLICAS_MAX,
  registration,
  SHARDS_MAX,
  shardId,
} from "../wire/control_plane.ts";
import {
  bytes,
  choice,
  decodeShape,
  encodeShape,
  flag,
  hex,
  integer,
  list,
  nullable,
  record,
  ShapeError,
  type ValueOf,
} from "../wire/msgpack.ts";
import { oneOf, slots, weight } from "../wire/shapes.ts";

/** All slots in bundles cut by owner: 64 full ones, and for every pair of shards a rest; 64 shards at once at most. */
export const MOVES_MAX = 4096;
const VNODES_MAX = 4096;
/** Of a backup's image in one command; an image's frame of 32 of them is half as large as it may be (image.ts). */
export const RESTORE_PART_BYTES = 16 * KiB;
/** 16 MiB; the largest state is a few megabytes. */
export const RESTORE_PARTS_MAX = 1024;

const replicas = list(nodeId, REPLICAS_MAX);

/** A shard that a plan or the first layout brings into being. */
const newborn = record({ group: groupId, founders: list(founder, REPLICAS_MAX) });

const plannedShard = record({
  id: shardId,
  weight: weight(),
  /** Null: it is there already. */
  newborn: nullable(newborn),
});
export type PlannedShard = ValueOf<typeof plannedShard>;

export const settings = record({
  replicas: integer(1, REPLICAS_MAX),
  replaceDeadMs: integer(0),
  movesMax: integer(1, SHARDS_MAX),
  moveBytesPerSecond: integer(1024),
  memoryBytesMax: integer(0),
});

export const body = oneOf({
  /** The first layout; `slots[i]` are those of `shards[i]`, at epoch 1. */
  init: {
    /** Of each shard, and of those to come. */
    replicas: integer(1, REPLICAS_MAX),
    vnodes: integer(1, VNODES_MAX),
    shards: list(plannedShard, SHARDS_MAX),
    slots: list(slots(16_384), SHARDS_MAX),
  },
  register: { registration },
  /** What a known node says of numbers issued; and that it was heard after a restore. */
  heard: { node: nodeId, incarnation, heard },
  node: { node: nodeId, action: choice("drain", "undrain", "exclude", "include", "remove") },
  /** `expected`: the replicas that the asker saw; null = whatever they are. */
  desired: { shard: shardId, add: replicas, remove: replicas, expected: nullable(replicas) },
  /** A compare-and-set on the plan number, which must be the current one plus one. */
  plan: {
    number: integer(1),
    vnodes: integer(1, VNODES_MAX),
    manual: flag(),
    shards: list(plannedShard, SHARDS_MAX),
    moves: list(record({ from: shardId, to: shardId, slots: moveSlots }), MOVES_MAX),
  },
  cutover: { number: integer(1) },
  cancel: { number: integer(1) },
  /** Attempt `tries` of a move begins, and takes an epoch. */
  start: { plan: integer(1), move: integer(0, MOVES_MAX - 1), tries: integer(1) },
  /** Read from the target's applied state (owned, aborted) or the source's (closed: it has released or unsealed). */
  outcome: { epoch, phase: choice("owned", "aborted", "closed"), record: nullable(moveRecord) },
  /** What a shard's own log says it owns. */
  assign: { shard: shardId, claims: list(record({ epoch, slots: slots(16_384) }), 16_384) },
  formed: { shard: shardId },
  /** It owns nothing and its moves are closed. */
  retire: { shard: shardId },
  lost: { shard: shardId },
  /** After a restore: a shard that is younger than the backup. */
  adopt: { shard: shardId, group: groupId, replicas },
  settings: { settings },
  /** This state comes from a backup. */
  restored: { token: hex(16) },
  /** One part of a backup's image, in order; with the last one the state becomes that of the backup, and is `restored`. */
  restorePart: {
    token: hex(16),
    part: integer(0, RESTORE_PARTS_MAX - 1),
    parts: integer(1, RESTORE_PARTS_MAX),
    bytes: bytes(RESTORE_PART_BYTES),
  },
});
export type Body = ValueOf<typeof body>;
export type BodyOf<K extends Body["kind"]> = Extract<Body, { readonly kind: K }>;

export const controlCommand = record({ request: nullable(hex(16)), body });
export type ControlCommand = ValueOf<typeof controlCommand>;

/** The state machine's first entry holds this behind the group's config. */
export const metaBootstrap = record({ cluster: hex(16), settings });

export const CONTROL_KEY = "control";
const KEY = utf8(CONTROL_KEY);

/** Writes the frame of a command and gives its size; 0 and nothing written if it is too large for one. */
export function writeCommand(encoder: CommandEncoder, command: ControlCommand): number {
  encoder.begin(OP.set);
  encoder.arg(KEY);
  encoder.arg(encodeShape(controlCommand, command));
  encoder.argI64(0);
  encoder.argI64(0);
  const size = encoder.end();
  if (size <= COMMAND_BYTES_MAX) return size;
  encoder.abort();
  return 0;
}

/** The command in a frame; an error if it is none of ours. */
export function readCommand(frame: CommandView): ControlCommand | ShapeError {
  if (frame.op !== OP.set || frame.argCount !== 4)
    return new ShapeError("command: a frame of the control plane");
  // Borrowed bytes: of a command texts and numbers are kept, and copies.
  return decodeShape(controlCommand, frame.arg(1), "command");
}

/**
 * The image of the control plane's state: what its snapshots hold. A row of frames, each
 *
 *     0   u32  size      of the payload
 *     4   u32  checksum  CRC-32 of the payload
 *     8   payload        MessagePack, one of:
 *
 *     place      once, first: image version, index, term, log time, revision
 *     head       once: counters, layout, the plan without its moves, settings
 *     nodes, shards, claims, moves, finished, requests, restoring
 *                so many a frame, in this order of kinds; none if there are none
 *     end        once, last: the hash of all payloads between
 *
 * A frame holds at most ITEMS_PER_FRAME things, so making one takes a fraction of a millisecond, and a state is a value
 * (state.ts), so beginning takes nothing. Where a chunk of the transport ends says nothing about where a frame does.
 *
 * Errors: an image from elsewhere may be anything; its reader says what is wrong with it and builds nothing.
 */
import { getU32, Writer } from "../base/bytes.ts";
import { crc32 } from "../base/checksum.ts";
import { KiB, MiB } from "../base/units.ts";
import type { Assignment } from "../ring/assignment.ts";
import type { SlotRange } from "../ring/range.ts";
import {
  epoch,
  founder,
  groupId,
  incarnation,
  mapVersion,
  moveRecord,
  moveSlots,
  NODES_MAX,
  nodeId,
  REPLICAS_MAX,
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
  text,
  type ValueOf,
} from "../wire/msgpack.ts";
import { oneOf, slots, weight } from "../wire/shapes.ts";
import { RESTORE_PART_BYTES, settings } from "./commands.ts";
import { FORMER_MAX, type MetaState, ordered, type Plan, RETIRED_MAX } from "./state.ts";

/** Rises when an image's bytes change meaning; code N reads N - 1. */
export const IMAGE_VERSION = 1;
export const FRAME_HEADER_BYTES = 8;
/** The largest possible is a head: 1024 retired shards, two layouts of 1024, 1024 awaited nodes: 450 KiB. */
export const PAYLOAD_BYTES_MAX = MiB;
const ITEMS_PER_FRAME = 32;

const layout = record({
  number: integer(1),
  vnodes: integer(1, 4096),
  shards: list(record({ id: shardId, weight: weight() }), SHARDS_MAX),
});

const planHead = record({
  number: integer(1),
  manual: flag(),
  cutover: flag(),
  cancelled: integer(0),
  before: layout,
  added: list(shardId, SHARDS_MAX),
});

const node = record({
  id: nodeId,
  incarnation,
  former: list(incarnation, FORMER_MAX),
  address: text(260),
  http: text(260),
  zone: text(64),
  capacity: integer(1, 100_000),
  draining: flag(),
  excluded: flag(),
});

const shard = record({
  id: shardId,
  group: groupId,
  state: choice("active", "retiring", "lost"),
  replicas: list(nodeId, REPLICAS_MAX),
  birth: record({
    founders: list(founder, REPLICAS_MAX),
    slots: slots(16_384),
    epoch: integer(1),
    memoryBytesMax: integer(0),
  }),
  formed: flag(),
});

const move = record({
  from: shardId,
  to: shardId,
  slots: moveSlots,
  state: choice("waiting", "running", "owned", "aborted", "done", "cancelled"),
  epoch: integer(0),
  tries: integer(0),
  record: nullable(moveRecord),
});

const finished = record({
  epoch,
  plan: integer(1),
  from: shardId,
  to: shardId,
  slotCount: integer(1, 256),
  record: moveRecord,
});

const answered = record({ request: hex(16), ok: flag(), number: integer(0), error: text(2 * KiB) });
const claim = record({ shard: shardId, epoch, slots: slots(16_384) });

const place = {
  version: integer(1, 0xffff),
  index: integer(0),
  term: integer(0),
  logTimeMs: integer(0),
  revision: integer(0),
};

const frame = oneOf({
  place,
  head: {
    cluster: hex(16),
    version: mapVersion,
    restoreToken: text(32),
    awaited: nullable(list(nodeId, NODES_MAX)),
    epoch: integer(0),
    planNumber: integer(0),
    retired: list(record({ shard: shardId, group: groupId }), RETIRED_MAX),
    layout: nullable(layout),
    plan: nullable(planHead),
    planEnd: nullable(record({ number: integer(1), cancelled: flag(), done: integer(0), moves: integer(0) })),
    settings,
  },
  nodes: { items: list(node, ITEMS_PER_FRAME) },
  shards: { items: list(shard, ITEMS_PER_FRAME) },
  claims: { items: list(claim, ITEMS_PER_FRAME) },
  moves: { items: list(move, ITEMS_PER_FRAME) },
  finished: { items: list(finished, ITEMS_PER_FRAME) },
  requests: { items: list(answered, ITEMS_PER_FRAME) },
  /** Parts of a backup, in order. */
  restoring: { items: list(record({ token: hex(16), bytes: bytes(RESTORE_PART_BYTES) }), ITEMS_PER_FRAME) },
  end: { hash: hex(8) },
});
export type Frame = ValueOf<typeof frame>;
export type FrameOf<K extends Frame["kind"]> = Extract<Frame, { readonly kind: K }>;
export type Place = Omit<FrameOf<"place">, "kind" | "version">;
export type Image = { readonly place: Place; readonly state: MetaState };

export const FRAME_ORDER: readonly Frame["kind"][] = [
  "place",
  "head",
  "nodes",
  "shards",
  "claims",
  "moves",
  "finished",
  "requests",
  "restoring",
  "end",
];

/** The hash over a state's payloads: a CRC and, since that is linear, FNV-1a beside it. */
export class StateHash {
  #crc = 0;
  #fnv = 0x811c9dc5;

  add(payload: Uint8Array): void {
    this.#crc = crc32(payload, this.#crc);
    let fnv = this.#fnv;
    for (let i = 0; i < payload.length; i++) fnv = Math.imul(fnv ^ (payload[i] as number), 0x01000193);
    this.#fnv = fnv;
  }

  get hex(): string {
    return [this.#crc, this.#fnv >>> 0].map((word) => word.toString(16).padStart(8, "0")).join("");
  }
}

/** All frames that say what a state is, one after the other. */
export function* framesOf(state: MetaState): Generator<Uint8Array> {
  yield encodeShape(frame, headOf(state));
  yield* pieces("nodes", ordered(state.nodes));
  yield* pieces("shards", ordered(state.shards));
  yield* pieces("claims", claimsOf(state.assignment));
  yield* pieces("moves", state.plan?.moves ?? []);
  yield* pieces("finished", state.finished);
  const requests = [...state.requests].map(([request, reply]) => ({
    request,
    ok: reply.ok,
    number: reply.ok ? reply.number : 0,
    error: reply.ok ? "" : reply.error,
  }));
  yield* pieces("requests", requests);
  const { token, parts } = state.restoring ?? { token: "", parts: [] };
  yield* pieces(
    "restoring",
    parts.map((part) => ({ token, bytes: part })),
  );
}

function placeFrame(at: Place): Uint8Array {
  return encodeShape(frame, { kind: "place", version: IMAGE_VERSION, ...at });
}

export function endFrame(hash: StateHash): Uint8Array {
  return encodeShape(frame, { kind: "end", hash: hash.hex });
}

/** A whole image, frame by frame. */
export function* imageFrames({ place: at, state }: Image): Generator<Uint8Array, undefined, undefined> {
  const hash = new StateHash();
  yield writeFrame(placeFrame(at));
  for (const payload of framesOf(state)) {
    hash.add(payload);
    yield writeFrame(payload);
  }
  yield writeFrame(endFrame(hash));
}

export function hashOf(state: MetaState): string {
  const hash = new StateHash();
  for (const payload of framesOf(state)) hash.add(payload);
  return hash.hex;
}

function headOf(state: MetaState): FrameOf<"head"> {
  const { cluster, version, restoreToken, awaited, epoch: last, planNumber, retired } = state;
  const { layout: wish, planEnd, settings: limits } = state;
  const plan = state.plan === null ? null : planHeadOf(state.plan);
  const counters = { epoch: last, planNumber, retired };
  return {
    kind: "head",
    cluster,
    version,
    restoreToken,
    awaited,
    ...counters,
    layout: wish,
    plan,
    planEnd,
    settings: limits,
  };
}

function planHeadOf({ number, manual, cutover, cancelled, before, added }: Plan): ValueOf<typeof planHead> {
  return { number, manual, cutover, cancelled, before, added };
}

type ItemsKind = Exclude<Frame["kind"], "place" | "head" | "end">;

function* pieces<K extends ItemsKind>(kind: K, items: FrameOf<K>["items"]): Generator<Uint8Array> {
  for (let at = 0; at < items.length; at += ITEMS_PER_FRAME)
    yield encodeShape(frame, { kind, items: items.slice(at, at + ITEMS_PER_FRAME) } as Frame);
}

/** One for each shard and epoch, in the order of their first slots. */
function claimsOf(assignment: Assignment): ValueOf<typeof claim>[] {
  const all = new Map<string, { shard: string; epoch: number; slots: SlotRange[] }>();
  for (const { slots: range, shard: owner, epoch: since } of assignment.claims()) {
    const key = `${owner} ${since}`;
    const known = all.get(key);
    if (known === undefined) all.set(key, { shard: owner, epoch: since, slots: [range] });
    else known.slots.push(range);
  }
  return [...all.values()];
}

function writeFrame(payload: Uint8Array): Uint8Array {
  const writer = new Writer(FRAME_HEADER_BYTES + payload.length);
  writer.u32(payload.length);
  writer.u32(crc32(payload));
  writer.raw(payload);
  return writer.view();
}

/** Size of the frame that begins at `bytes[at]`, header included; 0 = more bytes are needed; -1 = it is none. */
export function frameSize(bytes: Uint8Array, at: number): number {
  if (bytes.length - at < FRAME_HEADER_BYTES) return 0;
  const size = getU32(bytes, at);
  if (size > PAYLOAD_BYTES_MAX) return -1;
  return bytes.length - at < FRAME_HEADER_BYTES + size ? 0 : FRAME_HEADER_BYTES + size;
}

export function readFrame(bytes: Uint8Array, at: number): { payload: Uint8Array; frame: Frame } | string {
  const payload = bytes.slice(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + getU32(bytes, at));
  if (crc32(payload) !== getU32(bytes, at + 4)) return "a frame's checksum is wrong";
  const decoded = decodeShape(frame, payload, "frame");
  return decoded instanceof ShapeError ? decoded.reason : { payload, frame: decoded };
}

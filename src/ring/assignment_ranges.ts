/**
 * An assignment as plain data, for JSON, messages and files:
 *
 *     { "shards": ["s1", "s2"], "ranges": [ [0, 5460, 0, 1], [5461, 16383, 1, 7] ] }
 *
 * A range is: first slot, last slot, place of the owner in `shards`, epoch. Ranges ascend and are disjoint; slots in none
 * have no known owner. Encoding is canonical: shards in order of ids and each used, ranges as long as can be; so equal
 * assignments are equal texts. What one shard reports of itself has the same form.
 *
 * At most 16384 ranges by their order; 16 shards of 256 points have about 3400, some 60 KB of JSON.
 *
 * Errors: who sends other data gets an AssignmentError as a value; decoding never throws.
 */
import { isName } from "../base/names.ts";
import { Assignment } from "./assignment.ts";
import type { ShardId } from "./circle.ts";
import { SLOT_COUNT } from "./slot.ts";

export type AssignmentRange = readonly [first: number, last: number, shard: number, epoch: number];

export type AssignmentRanges = {
  readonly shards: readonly ShardId[];
  readonly ranges: readonly AssignmentRange[];
};

export type AssignmentError =
  | "shape"
  | "shard_id"
  | "shard_twice"
  | "slot_range"
  | "range_order"
  | "shard_place"
  | "epoch";

export function encodeAssignment(assignment: Assignment): AssignmentRanges {
  const shards = [...assignment.counts().keys()];
  const places = new Map(shards.map((shard, place) => [shard, place]));
  const ranges = assignment
    .claims()
    .map(({ slots, shard, epoch }): AssignmentRange => [...slots, places.get(shard) as number, epoch]);
  return { shards, ranges };
}

export function decodeAssignment(value: unknown): Assignment | AssignmentError {
  if (typeof value !== "object" || value === null) return "shape";
  const { shards, ranges } = value as { shards?: unknown; ranges?: unknown };
  if (!Array.isArray(shards) || !Array.isArray(ranges)) return "shape";
  if (shards.length > SLOT_COUNT || ranges.length > SLOT_COUNT) return "shape";
  if (!shards.every(isName)) return "shard_id";
  if (new Set(shards).size < shards.length) return "shard_twice";
  const assignment = new Assignment();
  let next = 0;
  for (const range of ranges) {
    if (!Array.isArray(range) || range.length !== 4) return "shape";
    const [first, last, place, epoch] = range as unknown[];
    if (!isWhole(first) || !isWhole(last) || first > last || last >= SLOT_COUNT) return "slot_range";
    if (first < next) return "range_order";
    if (!isWhole(place) || place >= shards.length) return "shard_place";
    if (!isWhole(epoch) || epoch === 0) return "epoch";
    assignment.claim([[first, last]], shards[place] as ShardId, epoch);
    next = last + 1;
  }
  return assignment;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

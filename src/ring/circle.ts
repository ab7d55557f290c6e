/**
 * The consistent-hash circle: which shard's point comes first at or after each slot.
 *
 *     0                                                                              2^32
 *     |----o------|--o----x---|-----------|--x--------|--x-----o--|   ..   |---o-------|   wraps to 0
 *     slot 0      slot 1      slot 2      slot 3      slot 4               slot 16383
 *       -> o        -> o        -> x        -> x        -> x                 -> o
 *
 * Slot s sits at s * 2^18. Point i of a shard sits at the upper 32 bits of xxh64(utf8 "shardId#i", seed 0). A slot
 * belongs to the first point at or after its place, wrapping; of equal points, to the one of the lower shard id.
 * Slots are not hashed: neighbours mostly have one owner, so a map of all slots stays a short list of ranges.
 *
 * Each slot begins a stretch of the circle that reaches to the next slot. Only the first point of a stretch can own
 * anything, and it owns this slot and those before it whose stretches are empty. So nothing is sorted: adding a point is
 * one comparison, and the owners are read off in one walk from the end.
 *
 * Errors: none; who may be on the circle was checked by layout.ts.
 * Source: consistent hashing (Karger et al., 1997), many points a shard (Dynamo, 2007, section 6.2).
 */
import { assert, present } from "../base/assert.ts";
import { SLOT_COUNT } from "./slot.ts";

export type ShardId = string;

/** xxHash64 with seed 0 of a text's UTF-8, as `h64` of xxhash-wasm computes it: given, as it is loaded asynchronously. */
export type Hash64 = (text: string) => bigint;

/** 2^32 places / 2^14 slots. */
const STRETCH_BITS = 18;
const NO_POINT = -1;
const NO_SHARD = 0xffff;

/** The place of point `i` of a shard. `#` cannot be in an id, so no two shards spell the same text. */
export function pointOf(shard: ShardId, i: number, h64: Hash64): number {
  return Number(h64(`${shard}#${i}`) >> 32n);
}

export class Circle {
  readonly #h64: Hash64;
  readonly #shards: ShardId[] = [];
  /** Of each stretch: its first point, and the number of the shard that it is of. */
  readonly #firstPoints = new Float64Array(SLOT_COUNT).fill(NO_POINT);
  readonly #firstShards = new Uint16Array(SLOT_COUNT).fill(NO_SHARD);

  constructor(h64: Hash64) {
    this.#h64 = h64;
  }

  /** A second circle, to try a shard on. */
  copy(): Circle {
    const copy = new Circle(this.#h64);
    copy.#shards.push(...this.#shards);
    copy.#firstPoints.set(this.#firstPoints);
    copy.#firstShards.set(this.#firstShards);
    return copy;
  }

  /** Shards are numbered from 0 in the order in which they are added. */
  add(shard: ShardId, pointCount: number): void {
    assert(!this.#shards.includes(shard), "a shard is on the circle once");
    const number = this.#shards.push(shard) - 1;
    assert(number < NO_SHARD, "shard numbers fit 16 bits");
    for (let i = 0; i < pointCount; i++) this.#addPoint(pointOf(shard, i, this.#h64), number);
  }

  #addPoint(point: number, number: number): void {
    const stretch = point >>> STRETCH_BITS;
    const first = this.#firstPoints[stretch] as number;
    if (first !== NO_POINT) {
      if (first < point) return;
      if (first === point && this.#shardAt(stretch) <= (this.#shards[number] as ShardId)) return;
    }
    this.#firstPoints[stretch] = point;
    this.#firstShards[stretch] = number;
  }

  #shardAt(stretch: number): ShardId {
    return present(this.#shards[this.#firstShards[stretch] as number], "a point is of a shard");
  }

  /** Of each slot, the number of the shard that it belongs to. */
  owners(): Uint16Array {
    const owners = this.#firstShards.slice();
    const first = owners.find((number) => number !== NO_SHARD);
    let next = present(first, "somebody is on the circle"); // beyond the last stretch comes the first one
    for (let slot = SLOT_COUNT - 1; slot >= 0; slot--) {
      if (owners[slot] === NO_SHARD) owners[slot] = next;
      else next = owners[slot] as number;
    }
    return owners;
  }
}

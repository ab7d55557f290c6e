/** What the cases of this room share: the real hash, layouts in short, random wishes, a ring by the definition. */
import fc from "fast-check";
import xxhash from "xxhash-wasm";
import { pointOf, type ShardId } from "../../src/ring/circle.ts";
import { type Layout, makeLayout, pointCount, VNODES_DEFAULT } from "../../src/ring/layout.ts";
import { SLOT_COUNT } from "../../src/ring/slot.ts";

export const { h64 } = await xxhash();

/** Shards by their ids, each of weight 1 unless it says so: "s1", "s2*0.5". */
export function layoutOf(shards: readonly string[], vnodes = VNODES_DEFAULT, number = 1): Layout {
  const wishes = shards.map((text) => {
    const [id, weight = "1"] = text.split("*");
    return { id, weight: Number(weight) };
  });
  return makeLayout({ number, vnodes, shards: wishes });
}

/** s1, s2 .. */
export function numbered(count: number): ShardId[] {
  return Array.from({ length: count }, (_, i) => `s${i + 1}`);
}

const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
const id = fc
  .array(fc.constantFrom(...letters), { minLength: 1, maxLength: 8 })
  .map((picked) => picked.join(""));

/** Random ids, as many as `min` to `max`, no two alike. */
export function ids(min: number, max: number): fc.Arbitrary<ShardId[]> {
  return fc.uniqueArray(id, { minLength: min, maxLength: max, size: "max" });
}

/** Random ids of random weights, from half to triple. */
export function weighted(min: number, max: number): fc.Arbitrary<string[]> {
  const weight = fc.constantFrom("0.5", "1", "1", "1.5", "3");
  return fc
    .tuple(ids(min, max), fc.array(weight, { minLength: max, maxLength: max }))
    .map(([shards, weights]) => shards.map((shard, i) => `${shard}*${weights[i]}`));
}

/** Owners as the definition has it: all points sorted, and for each slot a search for the first at or after it. */
export function ownersBySorting({ shards, vnodes }: Layout, hash = h64): ShardId[] {
  const points = shards.flatMap(({ id, weight }) =>
    Array.from({ length: pointCount(weight, vnodes) }, (_, i) => ({ id, at: pointOf(id, i, hash) })),
  );
  points.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
  return Array.from({ length: SLOT_COUNT }, (_, slot) => {
    const found = points.find(({ at }) => at >= slot * 2 ** 18) ?? points[0];
    return (found as { id: ShardId }).id;
  });
}

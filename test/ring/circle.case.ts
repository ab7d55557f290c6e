/** The circle: against its definition, and at its seams, with a hash that puts points where the test wants them. */
import fc from "fast-check";
import t from "tap";
import { Circle, type Hash64, pointOf } from "../../src/ring/circle.ts";
import { ownerOf, ringOf } from "../../src/ring/layout.ts";
import { SLOT_COUNT } from "../../src/ring/slot.ts";
import { h64, layoutOf, ownersBySorting, weighted } from "./hash.ts";

const STRETCH = 2 ** 18;

/** Points at given places: "a#0" is at `places["a#0"]`. */
function placed(places: Readonly<Record<string, number>>): Hash64 {
  return (text) => (BigInt(places[text] as number) << 32n) | 0xffff_ffffn;
}

const ownersOf = (
  places: Readonly<Record<string, number>>,
  vnodes: number,
  ...shards: string[]
): string[] => {
  const ring = ringOf(layoutOf(shards, vnodes), placed(places));
  return Array.from({ length: SLOT_COUNT }, (_, slot) => ownerOf(ring, slot));
};

t.test("circle: a point is the upper half of xxh64 of `shardId#i`", async (t) => {
  t.equal(h64(""), 0xef46db3751d8e999n, "the hash is xxh64 with seed 0");
  t.equal(h64("abc"), 0x44bc2cf5ad770999n);
  t.equal(pointOf("s1", 0, h64), Number(h64("s1#0") / 2n ** 32n));
  t.equal(pointOf("s1", 255, h64), Number(h64("s1#255") / 2n ** 32n));
  const top: Hash64 = () => 2n ** 64n - 1n;
  t.equal(pointOf("s1", 0, top), 2 ** 32 - 1, "no sign");
});

t.test("circle: a slot belongs to the first point at its place or after it", async (t) => {
  const owners = ownersOf({ "a#0": 5 * STRETCH, "b#0": 9 * STRETCH + 1 }, 1, "a", "b");
  t.equal(owners[4], "a");
  t.equal(owners[5], "a", "a point at the place itself counts");
  t.equal(owners[6], "b");
  t.equal(owners[9], "b");
  t.equal(owners[10], "a", "after the last point comes the first one");
  t.equal(owners[SLOT_COUNT - 1], "a");
  t.equal(owners[0], "a");
});

t.test("circle: the last place of the circle is of the last slot", async (t) => {
  const owners = ownersOf({ "a#0": 2 ** 32 - 1, "b#0": 0 }, 1, "a", "b");
  t.equal(owners[0], "b");
  t.same(new Set(owners.slice(1)), new Set(["a"]));
});

t.test("circle: of equal points the lower id's wins, in whatever order they are added", async (t) => {
  const places = placed({ "s10#0": 77, "s2#0": 77, "s2#1": 3 * STRETCH, "s10#1": 3 * STRETCH });
  for (const shards of [
    ["s2", "s10"],
    ["s10", "s2"],
  ]) {
    const circle = new Circle(places);
    for (const shard of shards) circle.add(shard, 2);
    const owners = new Set([...circle.owners()].map((number) => shards[number]));
    t.same(owners, new Set(["s10"]), "by character codes s10 is below s2");
  }
});

t.test("circle: any layout has the owners of the definition", async () => {
  const hash: Hash64 = (text) => h64(text) & (0x3ffn << 50n); // few places, so that points often meet
  fc.assert(
    fc.property(weighted(1, 6), fc.constantFrom(1, 2, 7, 64), fc.boolean(), (shards, vnodes, coarse) => {
      const [layout, used] = [layoutOf(shards, vnodes), coarse ? hash : h64];
      const ring = ringOf(layout, used);
      return ownersBySorting(layout, used).every((owner, slot) => owner === ownerOf(ring, slot));
    }),
    { seed: 8, numRuns: 60 },
  );
});

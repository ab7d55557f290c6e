/** Where a key lies: the page computes what the nodes compute. */
import fc from "fast-check";
import t from "tap";
import xxhash from "xxhash-wasm";
import { utf8 } from "../../src/base/bytes.ts";
import { makeLayout, ringOf } from "../../src/ring/layout.ts";
import { SLOT_COUNT, slotOf } from "../../src/ring/slot.ts";
import { ring, slot } from "./modules.ts";

const { h64 } = await xxhash();
const PLACES_PER_SLOT = 2 ** 18;

t.test("slots of keys", async (t) => {
  t.equal(slot.crc16(utf8("123456789")), 0x31c3, "the check value of CRC-16/XMODEM");
  t.equal(slot.slotOf("hello"), 866);
  for (const [key, part] of [
    ["{user1}.a", "user1"],
    ["a{}b", "a{}b"],
    ["a{{b}}c", "{b"],
    ["a{b}{c}", "b"],
    ["a}b{c", "a}b{c"],
    ["", ""],
  ] as const)
    t.equal(slot.hashedPart(key), part, key);
  const key = fc.string({ unit: fc.constantFrom("a", "7", "{", "}", "ä", "𝄞") });
  fc.assert(
    fc.property(key, (text) => {
      const bytes = utf8(text);
      return slot.slotOf(text) === slotOf(bytes, 0, bytes.length);
    }),
    { seed: 1, numRuns: 2000 },
  );
  t.pass("as the ring has it");
});

t.test("hashes of points", async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 100 }), (text) => ring.xxh64(text) === h64(text)),
    { seed: 1, numRuns: 2000 },
  );
  t.equal(ring.xxh64("s1#0"), h64("s1#0"));
});

t.test("the first point after a slot is its owner's, for all slots", async (t) => {
  const shards = [
    { id: "s1", weight: 1 },
    { id: "s10", weight: 0.5 },
    { id: "s2", weight: 2 },
  ];
  const { owners } = ringOf(makeLayout({ number: 1, vnodes: 64, shards }), h64);
  const points = ring.pointsOf({ vnodes: 64, shards });
  if (points === null) throw new Error("there are few points");
  t.equal(points.place.length, 64 + 32 + 128);
  const found = Array.from({ length: SLOT_COUNT }, (_, slot) => {
    return (points.shard[ring.pointAfter(points, slot * PLACES_PER_SLOT)] ?? 0) - 1;
  });
  t.same(found, [...owners]);
});

t.test("too many points are not drawn, and none are no mistake", async (t) => {
  t.equal(ring.pointsOf({ vnodes: ring.POINTS_MAX + 1, shards: [{ id: "s1", weight: 1 }] }), null);
  const none = ring.pointsOf({ vnodes: 0, shards: [] });
  t.equal(none === null ? 0 : ring.pointAfter(none, 5), -1);
});

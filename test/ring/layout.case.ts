/** Layouts: what may be wished for, and how well the ring fulfils it. */
import fc from "fast-check";
import t from "tap";
import { NucleusError } from "../../src/base/errors.ts";
import {
  type Balance,
  balanceOf,
  countOwners,
  type Layout,
  makeLayout,
  ownerOf,
  rangesOfRing,
  ringOf,
  SHARDS_MAX,
} from "../../src/ring/layout.ts";
import { countSlots } from "../../src/ring/range.ts";
import { SLOT_COUNT } from "../../src/ring/slot.ts";
import { h64, ids, layoutOf, numbered, weighted } from "./hash.ts";

function balance(layout: Layout): Balance {
  const counts = countOwners(ringOf(layout, h64).owners, layout.shards.length);
  return balanceOf(layout.shards.map(({ weight }, i) => ({ weight, slots: counts[i] as number })));
}

const within = ({ min, max }: Balance, low: number, high: number): boolean => low <= min && max <= high;

t.test("layout: shards are put in order, weights default to 1, vnodes to 256", async (t) => {
  const layout = makeLayout({ number: 4, shards: [{ id: "s2" }, { id: "s10", weight: 2, nodes: ["n1"] }] });
  t.same(layout, {
    number: 4,
    vnodes: 256,
    shards: [
      { id: "s10", weight: 2 },
      { id: "s2", weight: 1 },
    ],
  });
  t.same(makeLayout(JSON.parse(JSON.stringify(layout))), layout, "it comes back from JSON");
});

t.test("layout: what cannot be laid out is refused, and the message names it", async (t) => {
  const shards = [{ id: "s1" }];
  const many = Array.from({ length: SHARDS_MAX + 1 }, (_, i) => ({ id: `s${i}` }));
  const rows: [wish: Parameters<typeof makeLayout>[0], message: RegExp][] = [
    [{ number: 0, shards }, /number must be 1 or more, not 0/],
    [{ number: 1.5, shards }, /number must be 1 or more, not 1.5/],
    [{ number: 1, vnodes: 0, shards }, /"vnodes" must be a whole number from 1 to 4096, not 0/],
    [{ number: 1, vnodes: "256", shards }, /"vnodes" .* not "256"/],
    [{ number: 1, shards: [] }, /"shards" must be a list of 1 to 1024 shards, not 0/],
    [{ number: 1, shards: undefined }, /"shards" .* not left out/],
    [{ number: 1, shards: many }, /"shards" .* not 1025/],
    [{ number: 1, shards: ["s1"] }, /shards\[0\] must be an object like \{"id": "s1"\}, not "s1"/],
    [{ number: 1, shards: [...shards, { id: "" }] }, /shards\[1\].id must be .*, not ""/],
    [{ number: 1, shards: [{ id: "a#1" }] }, /shards\[0\].id must be .*, not "a#1"/],
    [{ number: 1, shards: [{ id: "a".repeat(65) }] }, /shards\[0\].id/],
    [
      { number: 1, shards: [{ id: "s1", weight: 0 }] },
      /shards\[0\].weight must be a number above 0, .* not 0/,
    ],
    [{ number: 1, shards: [{ id: "s1", weight: Number.NaN }] }, /shards\[0\].weight/],
    [{ number: 1, shards: [{ id: "s1", weight: 101 }] }, /up to 100, not 101/],
    [{ number: 1, shards: [{ id: "s1", weight: null }] }, /not null/],
    [{ number: 1, vnodes: 10, shards: [{ id: "s1", weight: 0.04 }] }, /at least 0.05, .* not 0.04/],
    [{ number: 1, shards: [...shards, { id: "s0" }, { id: "s1" }] }, /shard "s1" is listed twice/],
    [
      { number: 1, vnodes: 4096, shards: many.slice(0, 257) },
      /round\(weight x vnodes\) must be at most 1048576; lower "vnodes", not 1052672/,
    ],
  ];
  for (const [wish, message] of rows) {
    let thrown: unknown;
    try {
      makeLayout(wish);
    } catch (error) {
      thrown = error;
    }
    t.ok(thrown instanceof NucleusError && thrown.code === "ESHARDS", String(message));
    t.match((thrown as Error | undefined)?.message, message);
  }
});

t.test("layout: the least weight has one point", async (t) => {
  const ring = ringOf(layoutOf(["s1*0.05", "s2"], 10), h64);
  t.ok(countOwners(ring.owners, 2).every((count) => count > 0));
});

t.test("layout: s1 to s16 with 256 points each have 0.90 to 1.15 of their fair share", async (t) => {
  t.ok(within(balance(layoutOf(numbered(16))), 0.9, 1.15));
  t.ok(within(balance(layoutOf(numbered(3))), 0.93, 1.06));
  t.ok(within(balance(layoutOf(numbered(8))), 0.92, 1.1));
  const worst = numbered(16).map((_, i) => balance(layoutOf(numbered(i + 1))));
  t.ok(
    worst.every((each) => within(each, 0.9, 1.19)),
    "and on the way there no more than 1.19",
  );
});

t.test("layout: shards of any ids have 0.78 to 1.25 of their fair share", async () => {
  fc.assert(
    fc.property(ids(2, 16), (shards) => within(balance(layoutOf(shards)), 0.78, 1.25)),
    { seed: 200, numRuns: 200 },
  );
});

t.test("layout: weights are honoured", async (t) => {
  const layout = layoutOf(["s1", "s2*2", "s3*4", "s4*0.5"]);
  const byWeight = countOwners(ringOf(layout, h64).owners, 4)
    .map((slots, i) => ({ slots, weight: layout.shards[i]?.weight }))
    .sort((a, b) => a.slots - b.slots);
  t.same(
    byWeight.map(({ weight }) => weight),
    [0.5, 1, 2, 4],
  );
  t.ok(within(balance(layout), 0.85, 1.15));
  // A shard of weight 0.5 has 128 points, so the load of it varies by 9 % (one deviation), not by 6 %.
  fc.assert(
    fc.property(weighted(2, 12), (shards) => within(balance(layoutOf(shards)), 0.65, 1.4)),
    { seed: 31, numRuns: 100 },
  );
});

t.test("layout: adding an equal shard moves about 1/N of the slots, all of them to it", async (t) => {
  const shares: number[] = [];
  fc.assert(
    fc.property(ids(3, 17), ([added = "", ...old]) => {
      const before = ringOf(layoutOf(old), h64);
      const after = ringOf(layoutOf([...old, added]), h64);
      let moved = 0;
      for (let slot = 0; slot < SLOT_COUNT; slot++) {
        if (ownerOf(after, slot) === ownerOf(before, slot)) continue;
        if (ownerOf(after, slot) !== added) return false; // between old shards
        moved++;
      }
      shares.push((moved / SLOT_COUNT) * (old.length + 1));
      return true;
    }),
    { seed: 5, numRuns: 200 },
  );
  t.equal(shares.length, 200);
  t.ok(
    Math.min(...shares) > 0.75 && Math.max(...shares) < 1.25,
    `${Math.min(...shares)} ${Math.max(...shares)}`,
  );
});

t.test("layout: more weight takes slots from others, and gives none", async () => {
  fc.assert(
    fc.property(ids(2, 8), ([grown = "", ...others]) => {
      const before = ringOf(layoutOf([grown, ...others]), h64);
      const after = ringOf(layoutOf([`${grown}*2`, ...others]), h64);
      const slots = Array.from({ length: SLOT_COUNT }, (_, slot) => slot);
      return slots.every((slot) => [ownerOf(before, slot), grown].includes(ownerOf(after, slot)));
    }),
    { seed: 6, numRuns: 40 },
  );
});

t.test("layout: the ranges of a ring are all slots, each once, as few as can be", async () => {
  fc.assert(
    fc.property(weighted(1, 8), fc.constantFrom(3, 64, 256), (shards, vnodes) => {
      const ring = ringOf(layoutOf(shards, vnodes), h64);
      const ranges = rangesOfRing(ring);
      let next = 0;
      for (const [i, { slots, shard }] of ranges.entries()) {
        if (slots[0] !== next || shard === ranges[i + 1]?.shard) return false;
        for (let slot = slots[0]; slot <= slots[1]; slot++) if (ownerOf(ring, slot) !== shard) return false;
        next = slots[1] + 1;
      }
      return next === SLOT_COUNT && countSlots(ranges.map(({ slots }) => slots)) === SLOT_COUNT;
    }),
    { seed: 7, numRuns: 40 },
  );
});

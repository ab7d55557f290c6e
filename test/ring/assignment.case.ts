/** Assignments: claims in any order give one answer, and data from outside is checked. */
import fc from "fast-check";
import t from "tap";
import { Assignment } from "../../src/ring/assignment.ts";
import { ownerOf, ringOf } from "../../src/ring/layout.ts";
import { countSlots, type SlotRange, slotsOfRanges } from "../../src/ring/range.ts";
import { SLOT_COUNT } from "../../src/ring/slot.ts";
import { h64, layoutOf, numbered } from "./hash.ts";

const RUNS = { seed: 41, numRuns: 100 };

type Claim = { readonly slots: SlotRange; readonly shard: string; readonly epoch: number };

/** Claims over few boundaries and epochs, so that they meet often. */
const claim: fc.Arbitrary<Claim> = fc
  .tuple(
    fc.nat({ max: 15 }),
    fc.nat({ max: 15 }),
    fc.constantFrom("s1", "s2", "s3"),
    fc.integer({ min: 1, max: 6 }),
  )
  .map(([a, b, shard, epoch]) => ({
    slots: [Math.min(a, b) * 1024, Math.max(a, b) * 1024 + 1023] as const,
    shard,
    epoch,
  }));
const claims = fc.array(claim, { maxLength: 12 });

function assignmentOf(all: readonly Claim[]): Assignment {
  const assignment = new Assignment();
  for (const { slots, shard, epoch } of all) assignment.claim([slots], shard, epoch);
  return assignment;
}

const textOf = (assignment: Assignment): string => JSON.stringify(assignment.claims());
const merged = (...all: readonly Assignment[]): Assignment => {
  const result = new Assignment();
  for (const one of all) result.merge(one);
  return result;
};

t.test("assignment: nothing is known at first", async (t) => {
  const empty = new Assignment();
  t.equal(empty.shardAt(0), null);
  t.equal(empty.epochAt(SLOT_COUNT - 1), 0);
  t.same(empty.unowned(), [[0, SLOT_COUNT - 1]]);
  t.same(empty.ranges(), []);
  t.same(empty.claims(), []);
  t.equal(empty.epochMax(), 0);
});

t.test("assignment: a cluster begins with what the ring says, at epoch 1", async (t) => {
  const ring = ringOf(layoutOf(numbered(4)), h64);
  const fact = Assignment.ofRing(ring);
  const slots = Array.from({ length: SLOT_COUNT }, (_, slot) => slot);
  t.ok(slots.every((slot) => fact.shardAt(slot) === ownerOf(ring, slot) && fact.epochAt(slot) === 1));
  t.same(fact.unowned(), []);
  t.same([...fact.counts().keys()], numbered(4));
  for (const shard of numbered(4)) t.equal(countSlots(fact.slotsOf(shard)), fact.counts().get(shard));
});

t.test("assignment: what a shard owns is what it claimed last, slot by slot", async (t) => {
  const fact = new Assignment();
  t.same(fact.claim([[0, 99]], "s1", 1), { changed: 100, contradicted: 0 });
  t.same(
    fact.claim(
      [
        [10, 19],
        [50, 50],
      ],
      "s2",
      7,
    ),
    { changed: 11, contradicted: 0 },
  );
  t.same(fact.slotsOf("s1"), [
    [0, 9],
    [20, 49],
    [51, 99],
  ]);
  t.same(fact.slotsOf("s2"), [
    [10, 19],
    [50, 50],
  ]);
  t.same(fact.slotsOf("s3"), []);
  t.equal(fact.epochMax(), 7);
  t.throws(() => fact.claim([[0, 0]], "s1", 0), /epochs begin with 1/);
  t.throws(() => fact.claim([[0, SLOT_COUNT]], "s1", 8), /range is of slots/);
});

t.test("F9: a claim of a lower epoch changes nothing, whoever repeats it, and however late", async (t) => {
  const fact = new Assignment();
  fact.claim([[0, 9]], "s1", 3);
  fact.claim([[0, 9]], "s2", 5);
  const before = textOf(fact);
  t.same(fact.claim([[0, 9]], "s1", 3), { changed: 0, contradicted: 0 });
  t.same(fact.claim([[0, 9]], "s3", 4), { changed: 0, contradicted: 0 });
  t.same(fact.claim([[0, 9]], "s2", 5), { changed: 0, contradicted: 0 });
  t.equal(textOf(fact), before);
});

t.test("F9: no merge makes any slot's epoch fall", async () => {
  fc.assert(
    fc.property(claims, claims, (a, b) => {
      const fact = assignmentOf(a);
      const earlier = fact.copy();
      const heard = assignmentOf(b);
      const late = fact.behind(heard);
      const { changed } = fact.merge(heard);
      return (
        fact.behind(earlier).length === 0 && fact.behind(heard).length === 0 && changed >= countSlots(late)
      );
    }),
    RUNS,
  );
});

t.test("F8: of two redirections a client keeps the later one, in whatever order they come", async (t) => {
  const moved: Claim = { slots: [100, 199], shard: "s2", epoch: 9 };
  const back: Claim = { slots: [150, 150], shard: "s1", epoch: 12 };
  const born: Claim = { slots: [0, SLOT_COUNT - 1], shard: "s1", epoch: 1 };
  const orders = [
    [born, moved, back],
    [back, moved, born],
    [moved, born, back, moved, born],
  ];
  const texts = orders.map((order) => textOf(assignmentOf(order)));
  t.equal(new Set(texts).size, 1);
  t.same(assignmentOf([born, moved, back]).ranges(), [
    { slots: [0, 99], shard: "s1" },
    { slots: [100, 149], shard: "s2" },
    { slots: [150, 150], shard: "s1" },
    { slots: [151, 199], shard: "s2" },
    { slots: [200, SLOT_COUNT - 1], shard: "s1" },
  ]);
});

t.test("F9: merging is commutative, associative and idempotent, contradictions included", async () => {
  fc.assert(
    fc.property(claims, claims, claims, (a, b, c) => {
      const [x, y, z] = [assignmentOf(a), assignmentOf(b), assignmentOf(c)];
      const [xy, yx] = [merged(x, y), merged(y, x)];
      const twice = merged(x, y);
      const again = twice.merge(y);
      return (
        textOf(xy) === textOf(yx) &&
        textOf(merged(xy, z)) === textOf(merged(x, merged(y, z))) &&
        again.changed === 0 &&
        textOf(twice) === textOf(xy)
      );
    }),
    RUNS,
  );
});

t.test(
  "assignment: two shards that claim a slot with one epoch are counted, and the lower id is kept",
  async (t) => {
    for (const [first, second] of [
      ["s1", "s2"],
      ["s2", "s1"],
    ] as const) {
      const fact = new Assignment();
      fact.claim([[0, 9]], first, 4);
      t.equal(fact.claim([[5, 12]], second, 4).contradicted, 5);
      t.equal(fact.shardAt(5), "s1");
    }
  },
);

t.test("assignment: a slot has one owner or is among those without", async () => {
  fc.assert(
    fc.property(claims, (all) => {
      const fact = assignmentOf(all);
      const seen = new Uint8Array(SLOT_COUNT);
      const lists = [...["s1", "s2", "s3"].map((shard) => fact.slotsOf(shard)), fact.unowned()];
      for (const slot of slotsOfRanges(lists.flat())) seen[slot] = (seen[slot] as number) + 1;
      return seen.every((count) => count === 1);
    }),
    RUNS,
  );
});

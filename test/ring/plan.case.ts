/** Plans: they reach the layout, move nothing else, and can be taken up by anybody at any point. */
import fc from "fast-check";
import t from "tap";
import { Assignment } from "../../src/ring/assignment.ts";
import { figuresOf } from "../../src/ring/figures.ts";
import { ownerOf, type Ring, ringOf } from "../../src/ring/layout.ts";
import { MOVE_SLOTS_MAX, type Move, nextMoves, type Plan, planMoves } from "../../src/ring/plan.ts";
import { countSlots, slotsOfRanges } from "../../src/ring/range.ts";
import { SLOT_COUNT } from "../../src/ring/slot.ts";
import { h64, layoutOf, numbered, weighted } from "./hash.ts";

const RUNS = { seed: 51, numRuns: 60 };
const slots = Array.from({ length: SLOT_COUNT }, (_, slot) => slot);

/** A wish and another one that shares some shards with it, which weigh the same or not. */
const change = fc
  .tuple(
    weighted(1, 12),
    fc.array(fc.constantFrom("keep", "keep", "drop", "heavier"), { minLength: 12, maxLength: 12 }),
  )
  .map(([shards, fates]) => {
    const [kept = "", ...others] = shards;
    const after = others.flatMap((shard, i) => {
      if (fates[i] === "drop") return [];
      return [fates[i] === "heavier" ? shard.replace(/\*.*/, "*2.5") : shard];
    });
    const before = shards.filter((_, i) => fates[11 - i] !== "drop");
    return { before: before.length === 0 ? [kept] : before, after: [kept, ...after] };
  });

const rings = ({ before, after }: { before: string[]; after: string[] }): [Ring, Ring] => [
  ringOf(layoutOf(before), h64),
  ringOf(layoutOf(after, undefined, 2), h64),
];

/** Runs waves of the moves that may run together; each takes the next epoch. */
function carryOut(fact: Assignment, moves: readonly Move[], waveMax = Number.POSITIVE_INFINITY): number {
  let pending = [...moves];
  let waves = 0;
  while (pending.length > 0 && waves < waveMax) {
    const wave = nextMoves(pending, []);
    for (const { slots, to } of wave) fact.claim(slots, to, fact.epochMax() + 1);
    pending = pending.filter((move) => !wave.includes(move));
    waves++;
  }
  return waves;
}

/** Slots by who gives and who takes them. */
function flows({ moves }: Plan): string[] {
  return moves
    .flatMap(({ from, to, slots }) => [...slotsOfRanges(slots)].map((slot) => `${slot} ${from} ${to}`))
    .sort();
}

const busiest = (moves: readonly Move[]): number => {
  const counts = new Map<string, number>();
  for (const { from, to } of moves) {
    for (const end of [`from ${from}`, `to ${to}`]) counts.set(end, (counts.get(end) ?? 0) + 1);
  }
  return Math.max(0, ...counts.values());
};

t.test("plan: where nothing differs there is nothing to do", async (t) => {
  const ring = ringOf(layoutOf(numbered(5)), h64);
  t.same(planMoves(Assignment.ofRing(ring), ring), { layout: 1, moves: [], unowned: [] });
});

t.test("plan: carried out it reaches the layout, and moves only what must move, each slot once", async () => {
  fc.assert(
    fc.property(change, (wishes) => {
      const [before, after] = rings(wishes);
      const fact = Assignment.ofRing(before);
      const plan = planMoves(fact, after);
      const differing = slots.filter((slot) => ownerOf(before, slot) !== ownerOf(after, slot));
      const moved = plan.moves.flatMap((move) => [...slotsOfRanges(move.slots)]).sort((a, b) => a - b);
      if (moved.join() !== differing.join()) return false;
      for (const { slots, slotCount, from, to } of plan.moves) {
        if (slotCount > MOVE_SLOTS_MAX || slotCount !== countSlots(slots) || slotCount === 0) return false;
        if (from === to) return false;
        for (const slot of slotsOfRanges(slots)) if (fact.shardAt(slot) !== from) return false;
      }
      carryOut(fact, plan.moves);
      return (
        slots.every((slot) => fact.shardAt(slot) === ownerOf(after, slot)) &&
        slots.every((slot) => fact.epochAt(slot) > 1 === (ownerOf(before, slot) !== ownerOf(after, slot))) &&
        planMoves(fact, after).moves.length === 0
      );
    }),
    RUNS,
  );
});

t.test("plan: a shard that is added only takes, one that is removed only gives", async (t) => {
  const three = ringOf(layoutOf(numbered(3)), h64);
  const four = ringOf(layoutOf(numbered(4)), h64);
  const added = planMoves(Assignment.ofRing(three), four);
  t.same(new Set(added.moves.map(({ to }) => to)), new Set(["s4"]));
  const removed = planMoves(Assignment.ofRing(four), three);
  t.same(new Set(removed.moves.map(({ from }) => from)), new Set(["s4"]));
  t.same(
    flows(removed).map((flow) => flow.split(" ")[0]),
    flows(added).map((flow) => flow.split(" ")[0]),
    "what it took is what it gives back",
  );
});

t.test("plan: moves that may run together share no source and no target, and waves are few", async () => {
  fc.assert(
    fc.property(change, (wishes) => {
      const [before, after] = rings(wishes);
      const { moves } = planMoves(Assignment.ofRing(before), after);
      let pending: readonly Move[] = moves;
      let listed = 0;
      while (pending.length > 0) {
        const wave = nextMoves(pending, []);
        const apart = (end: "from" | "to"): boolean =>
          new Set(wave.map((move) => move[end])).size === wave.length;
        if (wave.length === 0 || !apart("from") || !apart("to")) return false;
        // A wave is a stretch of the list: who takes moves from the front in order gets the same waves.
        if (wave.some((move, i) => move !== moves[listed + i])) return false;
        listed += wave.length;
        pending = pending.filter((move) => !wave.includes(move));
      }
      const waves = carryOut(Assignment.ofRing(before), moves);
      const most = busiest(moves);
      const star =
        new Set(moves.map(({ to }) => to)).size === 1 || new Set(moves.map(({ from }) => from)).size === 1;
      return waves <= (star ? most : Math.max(0, 2 * most - 1));
    }),
    RUNS,
  );
});

t.test("plan: a move begins only when its source and its target are free", async (t) => {
  const move = (from: string, to: string): Move => ({ from, to, slots: [[0, 0]], slotCount: 1 });
  const running = [move("s1", "s4")];
  t.same(nextMoves([move("s1", "s5"), move("s2", "s4")], running), []);
  t.same(nextMoves([move("s4", "s1")], running), [move("s4", "s1")], "a shard may give and take at once");
  t.same(nextMoves([move("s2", "s5"), move("s2", "s6"), move("s3", "s5"), move("s3", "s6")], running), [
    move("s2", "s5"),
    move("s3", "s6"),
  ]);
  t.throws(() => nextMoves([], [move("s1", "s2"), move("s1", "s3")]), /gives in one move/);
  t.throws(() => nextMoves([], [move("s1", "s3"), move("s2", "s3")]), /takes in one move/);
});

t.test("F3: who computes the plan again when a part of it is done gets the rest of it", async () => {
  fc.assert(
    fc.property(change, fc.nat({ max: 20 }), (wishes, waves) => {
      const [before, after] = rings(wishes);
      const fact = Assignment.ofRing(before);
      const plan = planMoves(fact, after);
      carryOut(fact, plan.moves, waves);
      const left = flows(plan).filter((flow) => {
        const [slot, , to] = flow.split(" ");
        return fact.shardAt(Number(slot)) !== to;
      });
      return flows(planMoves(fact, after)).join() === left.join();
    }),
    RUNS,
  );
});

t.test(
  "plan: the same fact and the same layout give the same plan, whatever the order they came in",
  async () => {
    fc.assert(
      fc.property(change, ({ before, after }) => {
        const [a, b] = rings({ before, after });
        const [c, d] = rings({ before: before.toReversed(), after: after.toReversed() });
        const one = planMoves(Assignment.ofRing(a), b);
        return JSON.stringify(one) === JSON.stringify(planMoves(Assignment.ofRing(c), d));
      }),
      { ...RUNS, numRuns: 20 },
    );
  },
);

t.test("plan: slots that nobody is known to own are listed and not moved", async (t) => {
  const ring = ringOf(layoutOf(numbered(2)), h64);
  const fact = new Assignment();
  fact.claim([[0, 8191]], "s1", 1);
  const plan = planMoves(fact, ring);
  t.same(plan.unowned, [[8192, SLOT_COUNT - 1]]);
  t.ok(plan.moves.every(({ slots }) => [...slotsOfRanges(slots)].every((slot) => slot < 8192)));
  const figures = figuresOf(plan, fact, ring.layout);
  t.equal(
    figures.shards.reduce((sum, shard) => sum + shard.slotsAfter, 0),
    8192,
  );
});

t.test("plan: its figures are what comes of it", async () => {
  fc.assert(
    fc.property(change, (wishes) => {
      const [before, after] = rings(wishes);
      const fact = Assignment.ofRing(before);
      const untouched = JSON.stringify(fact.claims());
      const plan = planMoves(fact, after);
      const figures = figuresOf(plan, fact, after.layout);
      if (JSON.stringify(fact.claims()) !== untouched) return false;
      const then = fact.copy();
      carryOut(then, plan.moves);
      const fair = SLOT_COUNT / after.layout.shards.reduce((sum, { weight }) => sum + weight, 0);
      const loads = after.layout.shards.map(
        ({ id, weight }) => (then.counts().get(id) ?? 0) / (fair * weight),
      );
      const near = (a: number, b: number): boolean => Math.abs(a - b) < 1e-9;
      return (
        figures.slotsMoved === flows(plan).length &&
        figures.shards.every(
          ({ id, slotsBefore, slotsAfter }) =>
            slotsBefore === (fact.counts().get(id) ?? 0) && slotsAfter === (then.counts().get(id) ?? 0),
        ) &&
        near(figures.balanceAfter.min, Math.min(...loads)) &&
        near(figures.balanceAfter.max, Math.max(...loads))
      );
    }),
    { ...RUNS, numRuns: 30 },
  );
});

t.test("plan: a shard that leaves has weight 0, one that comes has load 0 before", async (t) => {
  const fact = Assignment.ofRing(ringOf(layoutOf(["s1", "s2"]), h64));
  const after = ringOf(layoutOf(["s2", "s3"], undefined, 2), h64);
  const { shards, balanceBefore, balanceAfter } = figuresOf(planMoves(fact, after), fact, after.layout);
  t.same(
    shards.map(({ id, weight }) => [id, weight]),
    [
      ["s1", 0],
      ["s2", 1],
      ["s3", 1],
    ],
  );
  t.match(shards, [{ slotsAfter: 0 }, {}, { slotsBefore: 0 }]);
  t.equal(balanceBefore.min, 0);
  t.ok(balanceAfter.min > 0.9 && balanceAfter.max < 1.1);
});

/** The order of one connection's commands, as far as the lane keeps it. */
import fc from "fast-check";
import t from "tap";
import { SLOT_COUNT } from "../../src/ring/slot.ts";
import { Lane } from "../../src/server/lane.ts";

const A = 7;
const B = 8;
const WIDE = -1;

t.test("order: a read behind a write of the same slot rides in the log, others go beside it", (t) => {
  const lane = new Lane();
  t.notOk(lane.readRides(A));
  const write = lane.enter(A, false);
  t.ok(lane.readRides(A));
  t.notOk(lane.readRides(B));
  t.ok(lane.readRides(WIDE), "one over several slots may touch it");
  lane.leave(write);
  t.notOk(lane.readRides(A));
  t.equal(lane.outstanding, 0);
  t.end();
});

t.test("order: a write over several slots stands before every read", (t) => {
  const lane = new Lane();
  const write = lane.enter(WIDE, false);
  for (const bucket of [A, B, WIDE]) t.ok(lane.readRides(bucket));
  lane.leave(write);
  t.notOk(lane.readRides(A));
  t.end();
});

t.test("order: a write waits for reads that are under way in its slot", (t) => {
  const lane = new Lane();
  const read = lane.enter(A, true);
  t.ok(lane.writeWaits(A));
  t.notOk(lane.writeWaits(B));
  t.ok(lane.writeWaits(WIDE));
  const wide = lane.enter(WIDE, true);
  t.ok(lane.writeWaits(B));
  lane.leave(wide);
  lane.leave(read);
  for (const bucket of [A, B, WIDE]) t.notOk(lane.writeWaits(bucket));
  t.end();
});

t.test("order: a read that rides counts as a write, and few ride at once", (t) => {
  const lane = new Lane();
  const write = lane.enter(A, false);
  const marks = Array.from({ length: 64 }, () => lane.enterRiding(A));
  t.ok(lane.ridesFull);
  t.notOk(lane.writeWaits(A), "writes may follow it in the log");
  t.ok(marks.every((mark) => Lane.slotOf(mark) === A));
  for (const mark of marks) lane.leave(mark);
  t.notOk(lane.ridesFull);
  t.ok(lane.readRides(A));
  lane.leave(write);
  t.equal(lane.outstanding, 0);
  t.end();
});

t.test("every command leaves once", (t) => {
  const lane = new Lane();
  const mark = lane.enter(A, true);
  lane.leave(mark);
  t.throws(() => lane.leave(mark), /leaves once/);
  t.end();
});

t.test("order: commands of one slot never go two ways at once; those of others are not held up", (t) => {
  const lane = new Lane();
  t.ok(lane.take(A, 1));
  const first = lane.enter(A, false);
  t.notOk(lane.take(A, 2), "the first one is on its way elsewhere");
  t.ok(lane.take(A, 1));
  t.ok(lane.take(B, 2), "another slot goes where it likes");
  const other = lane.enter(B, true);
  t.notOk(lane.take(A, 2));
  t.notOk(lane.take(B, 1), "reads count as well");
  t.ok(lane.take(A, 1));
  lane.leave(first);
  t.ok(lane.take(A, 2), "everything of that slot was answered");
  t.notOk(lane.take(B, 1));
  lane.leave(other);
  t.ok(lane.take(B, 3));
  t.end();
});

t.test("order: a command over several slots goes alone, whichever way the others go", (t) => {
  const lane = new Lane();
  t.ok(lane.take(WIDE, 1));
  const wide = lane.enter(WIDE, false);
  t.equal(Lane.slotOf(wide), -1);
  for (const route of [1, 2]) t.notOk(lane.take(A, route));
  lane.leave(wide);
  t.ok(lane.take(A, 1));
  const one = lane.enter(A, true);
  for (const route of [1, 2]) t.notOk(lane.take(WIDE, route));
  lane.leave(one);
  t.ok(lane.take(WIDE, 2));
  t.end();
});

t.test("order: a command waits for those of its own slot alone, however deep the pipeline is", (t) => {
  const lane = new Lane();
  const marks: number[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (!lane.take(slot, 1 + (slot % 16))) t.fail(`slot ${slot} waits`);
    marks.push(lane.enter(slot, slot % 3 === 0));
  }
  t.equal(lane.outstanding, SLOT_COUNT);
  t.notOk(lane.take(A, 1));
  t.ok(lane.take(A, 1 + A));
  for (const mark of marks) lane.leave(mark);
  t.equal(lane.outstanding, 0);
  t.ok(lane.take(A, 3));
  t.end();
});

t.test("a lane says of each slot what counting its commands one by one says", (t) => {
  const slot = fc.oneof(fc.integer({ min: 0, max: SLOT_COUNT - 1 }), fc.integer({ min: 0, max: 7 }));
  const step = fc.record({
    leaves: fc.integer({ min: 0, max: 9 }),
    slot,
    isRead: fc.boolean(),
    route: fc.integer({ min: 1, max: 3 }),
    pick: fc.nat(),
  });
  const one = fc.tuple(fc.integer({ min: 3, max: 6 }), fc.array(step, { maxLength: 3000, size: "max" }));
  fc.assert(
    fc.property(one, ([leavesMax, steps]) => {
      const lane = new Lane();
      const open: { slot: number; isRead: boolean; route: number; mark: number }[] = [];
      for (const { leaves, slot, isRead, route, pick } of steps) {
        if (leaves < leavesMax && open.length > 0) {
          const [gone] = open.splice(pick % open.length, 1);
          lane.leave(gone?.mark ?? 0);
          continue;
        }
        const same = open.filter((other) => other.slot === slot);
        const mayGo = same.every((other) => other.route === route);
        if (lane.readRides(slot) !== same.some((other) => !other.isRead)) return false;
        if (lane.writeWaits(slot) !== same.some((other) => other.isRead)) return false;
        if (lane.take(slot, route) !== mayGo) return false;
        if (mayGo) open.push({ slot, isRead, route, mark: lane.enter(slot, isRead) });
        if (lane.outstanding !== open.length) return false;
      }
      for (const { mark } of open) lane.leave(mark);
      return lane.outstanding === 0;
    }),
    { numRuns: 60, seed: 16384 },
  );
  t.end();
});

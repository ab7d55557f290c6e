/** The order of one connection's commands, as far as the lane keeps it. */
import t from "tap";
import { Lane } from "../../src/server/lane.ts";

const A = Lane.bucket(7);
const B = Lane.bucket(8);
const WIDE = Lane.bucket(-1);

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
  t.ok(marks.every((mark) => Lane.bucketOf(mark) === A));
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

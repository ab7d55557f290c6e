/** How far a plan is: shares, rate and time left. The texts are in testdata/cli/control_reshard.txt. */
import t from "tap";
import {
  changeLines,
  type MoveStatus,
  progressText,
  RateMeter,
  type ReshardStatus,
  slotsDone,
} from "../../src/cli/reshard_status.ts";

function move(state: string, keys = 0, keysTotal = 0): MoveStatus {
  const record = { from: "s1", to: "s2", slotCount: 100, epoch: 1, tries: 1, bytes: 0, pauseMs: null };
  return { ...record, state, keys, keysTotal };
}

function status(...moves: MoveStatus[]): ReshardStatus {
  const keysMoved = moves.reduce((sum, { keys }) => sum + keys, 0);
  const flags = { active: true, manual: false, cutover: false, cancelled: false };
  return { ...flags, epoch: 2, keysMoved, keysTotal: 0, moves, last: null };
}

t.test("what is done of a plan is measured in slots, a copy under way by its keys", async (t) => {
  t.same(slotsDone([]), { done: 0, all: 0 });
  t.same(slotsDone([move("done"), move("owned"), move("waiting"), move("aborted", 9, 9)]), {
    done: 200,
    all: 400,
  });
  t.same(slotsDone([move("running", 30, 40)]), { done: 75, all: 100 });
  t.same(slotsDone([move("running", 50, 40)]), { done: 100, all: 100 }, "keys that came since count once");
  t.same(slotsDone([move("running"), move("cancelled")]), { done: 0, all: 100 });
});

t.test("rate and time left are of the last seconds", async (t) => {
  const meter = new RateMeter();
  t.equal(meter.add(0, status(move("running", 0, 100))), null, "nothing was seen yet");
  t.equal(meter.add(100, status(move("running", 1, 100))), null);
  t.same(meter.add(1000, status(move("running", 10, 100))), { keysPerSecond: 10, leftMs: 9000 });
  t.same(meter.add(1500, status(move("running", 0, 100))), { keysPerSecond: 0, leftMs: null }, "begun anew");
  for (let ms = 2000; ms < 20_000; ms += 500) meter.add(ms, status(move("running", 0, 1000)));
  const late = meter.add(20_000, status(move("running", 100, 1000)));
  t.equal(Math.round(late?.keysPerSecond ?? 0), 10, "of ten seconds");
});

t.test("the bar is as full as the plan is done", async (t) => {
  t.equal(
    progressText(status(move("done", 40), move("waiting")), { keysPerSecond: 1234.5, leftMs: 200 }),
    "[###############...............]  50 %  100 of 200 slots  40 keys  1,235 keys/s  about 1 s left",
  );
  t.match(progressText(status()), /^\[#{30}\] 100 %/);
  t.match(progressText(status(move("waiting"))), /^\[\.{30}\] {3}0 %/);
});

t.test("a line for each change of a move, and none for what stays", async (t) => {
  const before = status(move("running", 1, 2), move("waiting"));
  t.same(changeLines(null, before), ["s1 -> s2, 100 slots: running, 1 key (50 of 200 slots)"]);
  t.same(changeLines(before, before), []);
  const now = status({ ...move("done", 2, 2), pauseMs: 4 }, { ...move("running"), tries: 2 });
  t.same(changeLines(before, now), [
    "s1 -> s2, 100 slots: done, 2 keys, writes held for 4 ms (100 of 200 slots)",
    "s1 -> s2, 100 slots: running (100 of 200 slots)",
  ]);
  t.same(changeLines({ ...before, epoch: 1 }, before).length, 1, "another plan's moves are others");
});

/** Committed entries on their way out of the log: in order, one piece read ahead, nothing of the past. */
import t from "tap";
import { type Done, type Task, wait } from "../../src/base/task.ts";
import type { Clock } from "../../src/platform/platform.ts";
import type { Entry } from "../../src/raft/types.ts";
import { Replay } from "../../src/server/replay.ts";
import type { Wal } from "../../src/wal/types.ts";

function range(first: number, last: number): Entry[] {
  return Array.from({ length: last - first + 1 }, (_, i) => {
    return { index: first + i, term: 1, kind: 1, bytes: new Uint8Array(10) };
  });
}

/** A start that found a snapshot at 10 and entries 11..100; reads end when the test says so. */
function replay() {
  const reads: { first: number; last: number; done: Done<Entry[]> }[] = [];
  const said: string[] = [];
  const state = { wakes: 0, fatal: "", nowMs: 5 };
  const readEntries = function* (_group: number, first: number, last: number): Task<Entry[]> {
    return yield* wait<Entry[]>((done) => void reads.push({ first, last, done }));
  };
  const replay = new Replay(10, 100, {
    group: 1,
    clock: { monotonicMs: () => state.nowMs } as unknown as Clock,
    log: { write: (_level, message, facts) => void said.push(`${message} in ${facts?.ms}`) },
    wal: { readEntries } as unknown as Wal,
    wake: () => void state.wakes++,
    fatal: (error) => {
      state.fatal = error.message;
    },
  });
  const take = (index: number, last = 100) => replay.take(index, last)?.index ?? null;
  return { replay, reads, said, state, take };
}

t.test("the next piece is read while one is applied, and one piece ahead is enough", (t) => {
  const { reads, state, take } = replay();
  t.equal(take(11), null);
  t.equal(take(11), null, "it is being read");
  reads[0]?.done(null, range(11, 13));
  t.equal(state.wakes, 1);
  t.equal(take(11), 11);
  t.same([reads[1]?.first, reads[1]?.last], [14, 100]);
  reads[1]?.done(null, range(14, 20));
  t.same([take(12), take(13)], [12, 13]);
  t.equal(reads.length, 2, "nothing more while the second piece waits");
  t.equal(take(14), 14);
  t.equal(reads[2]?.first, 21);
  for (let index = 15; index <= 20; index++) t.equal(take(index), index);
  t.equal(take(21), null, "the disk is slower than apply here");
  reads[2]?.done(null, range(21, 100));
  t.equal(take(21), 21);
  t.equal(reads.length, 3, "what is committed ends there");
  t.end();
});

t.test("what was read before a snapshot came is not applied after it", (t) => {
  const { replay, reads, state, take } = replayAtWork();
  replay.clear();
  reads[1]?.done(null, range(14, 20));
  t.equal(state.wakes, 1, "nobody waits for it");
  t.equal(take(61), null);
  t.equal(reads[2]?.first, 61);
  reads[2]?.done(null, range(61, 70));
  t.equal(take(61), 61);
  t.end();
});

t.test("what was read and came out of the cache meanwhile is passed over", (t) => {
  const { reads, take } = replayAtWork();
  t.equal(take(40), null);
  reads[1]?.done(null, range(14, 20));
  reads[2]?.done(null, range(40, 41));
  t.same([take(40), take(41)], [40, 41]);
  t.end();
});

t.test("an entry that cannot be read back stops the node", (t) => {
  const { reads, state, take } = replay();
  take(11);
  reads[0]?.done(new Error("damaged"), []);
  t.equal(state.fatal, "damaged");
  t.end();
});

t.test("a start says once that all of its log is in the state, and how long that took", (t) => {
  const { replay: it, said, state } = replay();
  it.applied(99, 120);
  t.ok(it.isBefore(99, 120));
  t.same(said, []);
  state.nowMs = 47;
  it.applied(100, 120);
  t.notOk(it.isBefore(100, 120));
  it.applied(101, 120);
  t.same(said, ["snapshot at 10, replayed 90 entries in 42"]);
  t.end();
});

t.test("a log that lost its end to another leader's is replayed up to what is left", (t) => {
  const { replay: it, said } = replay();
  it.applied(80, 80);
  t.same(said, ["snapshot at 10, replayed 70 entries in 0"]);
  t.end();
});

/** Entries 11..13 are there, 14.. are being read, 11 was applied. */
function replayAtWork() {
  const all = replay();
  all.take(11);
  all.reads[0]?.done(null, range(11, 13));
  all.take(11);
  return all;
}

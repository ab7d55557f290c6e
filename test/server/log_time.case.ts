/** What a leader stamps on its batches. */
import fc from "fast-check";
import t from "tap";
import { LogTime } from "../../src/server/log_time.ts";

const HOUR_MS = 3_600_000;
const NOW = 1_700_000_000_000;

t.test("G2: nothing is said before a majority was heard in this term", (t) => {
  const time = new LogTime();
  t.equal(time.stamp(1, 500, [2, 3], 0, NOW), 500, "the leader alone is no majority of three");
  time.hear(1, 2, NOW, 10);
  t.equal(time.stamp(1, 500, [2, 3], 10, NOW + 10), NOW);
  t.equal(time.stamp(2, 500, [2, 3], 20, NOW + 20), NOW, "in a new term it stands still again");
  time.hear(2, 3, NOW + 40, 40);
  t.equal(time.stamp(2, 500, [2, 3], 40, NOW + 40), NOW + 40);
  t.end();
});

t.test("a lone voter's time is its own clock's", (t) => {
  const time = new LogTime();
  t.equal(time.stamp(1, 0, [], 0, NOW), NOW);
  t.equal(time.stamp(1, 0, [], 5, NOW + 5), NOW + 5);
  t.end();
});

t.test("what was heard of a former term, or of somebody without a vote, does not count", (t) => {
  const time = new LogTime();
  t.equal(time.stamp(2, 7, [2, 3], 0, NOW), 7);
  time.hear(1, 2, NOW, 0);
  time.hear(2, 9, NOW, 0);
  t.equal(time.stamp(2, 7, [2, 3], 0, NOW), 7);
  t.end();
});

t.test("clocks are carried on by the leader's monotonic clock between two replies", (t) => {
  const time = new LogTime();
  time.hear(1, 2, NOW, 1000);
  time.hear(1, 3, NOW, 1000);
  t.equal(time.stamp(1, 0, [2, 3], 1250, NOW - HOUR_MS), NOW + 250, "also when the leader's own was stepped");
  t.end();
});

t.test("G2: while the median lies behind, time runs on at half speed, until it has caught up", (t) => {
  const time = new LogTime();
  const floor = NOW + 1000; // what the former leader stamped last
  time.hear(1, 2, NOW, 0);
  time.hear(1, 3, NOW, 0);
  t.equal(time.stamp(1, floor, [2, 3], 0, NOW), floor);
  t.equal(time.stamp(1, floor, [2, 3], 500, NOW + 500), floor + 250);
  t.equal(time.stamp(1, floor, [2, 3], 1000, NOW + 1000), floor + 500, "stamping does not slow it");
  t.equal(time.stamp(1, floor, [2, 3], 2000, NOW + 2000), floor + 1000);
  t.equal(time.stamp(1, floor, [2, 3], 3000, NOW + 3000), NOW + 3000, "it has caught up");
  t.end();
});

t.test("G2: steps of a millisecond do not stop it from running on", (t) => {
  const time = new LogTime();
  time.hear(1, 2, NOW, 0);
  let last = 0;
  for (let ms = 0; ms <= 1000; ms++) last = time.stamp(1, NOW + HOUR_MS, [2, 3], ms, NOW + ms);
  t.equal(last, NOW + HOUR_MS + 500);
  t.end();
});

t.test("G2, G3: one wrong clock moves nothing forwards, and none moves it back", (t) => {
  const wrong = fc.integer({ min: -10 * HOUR_MS, max: 10 * HOUR_MS });
  const skew = fc.integer({ min: -50, max: 50 });
  fc.assert(
    fc.property(
      fc.constantFrom(3, 5),
      fc.nat(),
      wrong,
      fc.array(fc.tuple(fc.integer({ min: 1, max: 400 }), fc.nat({ max: 5 }), skew), { maxLength: 60 }),
      (voters, liarAt, lie, steps) => {
        const liar = liarAt % voters; // 0 is the leader itself
        const others = Array.from({ length: voters - 1 }, (_, i) => i + 2);
        const time = new LogTime();
        let nowMs = 0;
        let last = 0;
        for (const [waitMs, who, off] of steps) {
          nowMs += waitMs;
          const error = (replica: number): number => (replica === liar ? lie : off);
          if (who > 0 && who < voters) time.hear(1, who + 1, NOW + nowMs + error(who), nowMs);
          const stamp = time.stamp(1, 0, others, nowMs, NOW + nowMs + error(0));
          if (stamp < last || stamp > NOW + nowMs + 50) return false;
          last = stamp;
        }
        return true;
      },
    ),
    { seed: 7, numRuns: 500 },
  );
  t.pass("over 500 histories");
  t.end();
});

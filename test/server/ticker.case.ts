/** When a node ticks, and how many ticks it makes up for. */
import t from "tap";
import type { Clock } from "../../src/platform/platform.ts";
import { Ticker } from "../../src/server/ticker.ts";
import { clock } from "./doubles.ts";

const TICK_MS = 10;
const BUNCH = 10;

/** A clock with one timer, which goes off when the test lets time go by; `lateMs`: that much later than due. */
function world() {
  const state = { nowMs: 0, isIdle: true, ticks: 0, elapsedMs: 0, late: [] as number[], timers: 0 };
  let timer: { intervalMs: number; dueMs: number; onTick: (lateMs: number) => void } | null = null;
  const time: Clock = {
    ...clock,
    monotonicMs: () => state.nowMs,
    ticks: (intervalMs, onTick) => {
      const mine = { intervalMs, dueMs: state.nowMs + intervalMs, onTick };
      timer = mine;
      state.timers++;
      return () => {
        if (timer === mine) timer = null;
      };
    },
  };
  const ticker = new Ticker(time, BUNCH, {
    onLate: (lateMs) => void state.late.push(lateMs),
    tick: () => void state.ticks++,
    onTicked: (elapsedMs) => void (state.elapsedMs += elapsedMs),
    isIdle: () => state.isIdle,
  });
  /** Time goes by, and the timer goes off whenever it is due. */
  const run = (ms: number): void => {
    const endMs = state.nowMs + ms;
    while (timer !== null && timer.dueMs <= endMs) {
      state.nowMs = timer.dueMs;
      timer.dueMs += timer.intervalMs;
      timer.onTick(0);
    }
    state.nowMs = endMs;
  };
  /** The process stood still for so long, and its timer goes off late. */
  const stall = (ms: number): void => {
    state.nowMs += ms;
    if (timer === null) return;
    const lateMs = state.nowMs - timer.dueMs;
    timer.dueMs = state.nowMs + timer.intervalMs;
    timer.onTick(lateMs);
  };
  return { state, ticker, run, stall, timer: () => timer };
}

t.test("a node with something under way ticks every 10 ms, however long that is", (t) => {
  const { state, ticker, run, timer } = world();
  t.notOk(ticker.isStarted);
  ticker.start();
  t.ok(ticker.isStarted);
  state.isIdle = false;
  run(5000);
  t.equal(state.ticks, 500);
  t.equal(state.elapsedMs, 5000);
  t.equal(timer()?.intervalMs, TICK_MS);
  t.equal(state.timers, 1, "one timer for all of it");
  t.end();
});

t.test("an idle node sleeps after a fifth of a second, and does the ticks of a sleep in one go", (t) => {
  const { state, ticker, run, timer } = world();
  ticker.start();
  run(190);
  t.equal(timer()?.intervalMs, TICK_MS);
  run(10);
  t.equal(timer()?.intervalMs, BUNCH * TICK_MS);
  t.equal(state.ticks, 20);
  run(99);
  t.equal(state.ticks, 20);
  run(1);
  t.equal(state.ticks, 30);
  run(1000);
  t.equal(state.ticks, 130, "no tick is lost");
  t.equal(state.elapsedMs, 1300);
  t.end();
});

t.test("H4: what comes in ends a sleep at once, and what was slept through is made up for, once", (t) => {
  const { state, ticker, run, timer } = world();
  ticker.start();
  run(200);
  run(45); // of a sleep of 100
  ticker.hurry();
  t.equal(timer()?.intervalMs, TICK_MS);
  t.equal(state.ticks, 20, "not before the timer: what came in is seen to first");
  run(10);
  t.equal(state.ticks, 25, "four that were slept through, and this one");
  run(10);
  t.equal(state.ticks, 26);
  t.end();
});

t.test("hurrying again and again neither makes ticks nor loses those that are owed", (t) => {
  const { state, ticker, run } = world();
  ticker.start();
  run(200);
  run(95);
  for (let i = 0; i < 5; i++) ticker.hurry();
  run(10);
  t.equal(state.ticks, 20 + 10);
  for (let i = 0; i < 100; i++) {
    ticker.hurry();
    run(10);
  }
  t.equal(state.ticks, 130, "and it does not fall asleep while something comes in");
  t.equal(state.timers, 3);
  t.end();
});

t.test("H3: a stall is no time that was slept: its ticks are not made up for, and it is told of", (t) => {
  const { state, ticker, run, stall } = world();
  ticker.start();
  state.isIdle = false;
  run(100);
  stall(2000);
  t.equal(state.ticks, 11);
  t.equal(state.late.at(-1), 1990);
  t.equal(state.elapsedMs, 100 + 2000, "but whoever counts time hears how long it was");
  state.isIdle = true;
  run(200);
  const before = state.ticks;
  stall(5000); // asleep
  t.equal(state.ticks, before + BUNCH);
  run(200);
  state.nowMs += 3000; // asleep, and something comes in before the timer goes off
  ticker.hurry();
  const asleep = state.ticks;
  run(10);
  t.equal(state.ticks, asleep + BUNCH, "no more than one sleep");
  t.end();
});

t.test("work that ticks themselves find ends the sleep", (t) => {
  const { state, ticker, run, timer } = world();
  ticker.start();
  run(300);
  state.isIdle = false;
  run(100);
  t.equal(timer()?.intervalMs, TICK_MS);
  const { ticks } = state;
  run(100);
  t.equal(state.ticks, ticks + 10);
  t.end();
});

t.test("a ticker that was stopped does nothing any more, also if something comes in", (t) => {
  const { state, ticker, run } = world();
  ticker.start();
  run(250);
  const { ticks } = state;
  ticker.stop();
  ticker.hurry();
  run(1000);
  t.equal(state.ticks, ticks);
  t.end();
});

/** The real clock, on each runtime: processor time is counted while there is work, and not while there is none. */
import { createPlatform } from "../../src/platform/node.ts";
import { end, ok } from "./tap.ts";

const { clock } = createPlatform({ write: () => {} });
const GIVE_UP_MS = 20_000;

/** Works until the clock says that it took `ms`; false if it never says so. */
function work(ms: number): boolean {
  const startMs = clock.monotonicMs();
  const cpuStartMs = clock.cpuMs();
  while (clock.cpuMs() - cpuStartMs < ms) if (clock.monotonicMs() - startMs > GIVE_UP_MS) return false;
  return true;
}

ok(work(50), "work takes processor time");
work(200); // what compilers do aside is over
const steps = Array.from({ length: 50 }, () => {
  const beforeMs = clock.cpuMs();
  work(0.2);
  return clock.cpuMs() - beforeMs;
}).sort((a, b) => a - b);
ok(
  (steps[25] as number) >= 0.2 && (steps[25] as number) < 3,
  "it is counted finer than in milliseconds",
  `${steps[25]}`,
);
const beforeMs = clock.cpuMs();
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
const idleMs = clock.cpuMs() - beforeMs;
ok(idleMs < 250, "waiting takes none", `${idleMs} of 300 ms`);
end();

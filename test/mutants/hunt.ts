/**
 * Runs seeds of the simulator on a copy of the sources until one breaks a rule, and prints what it took, as JSON.
 *
 *     bun test/mutants/hunt.ts DIRECTORY SEEDS SECONDS [ASSERTION [managed]]
 *
 * A crash is no rule: it may be an accident of the edit. It counts only if its message names ASSERTION, the place
 * where the product itself is expected to notice.
 */
import { resolve } from "node:path";
import xxhash from "xxhash-wasm";

export type Hunt = {
  /** Null: none of the seeds broke a rule. */
  readonly found: { readonly seed: number; readonly rule: string; readonly message: string } | null;
  readonly seeds: number;
  readonly simulatedS: number;
  readonly cpuS: number;
  /** Seeds that ended in a crash which does not count. */
  readonly crashes: number;
  /** The first of them. */
  readonly crash: string;
};

const [directory = ".", seeds = "0", seconds = "0", assertion = "", kind = "fixed"] = process.argv.slice(2);
const { runManagedSeed, runSeed } = (await import(
  resolve(directory, "src/sim/run.ts")
)) as typeof import("../../src/sim/run.ts");

const { h64 } = await xxhash();
const run = (seed: number) =>
  kind === "managed" ? runManagedSeed(seed, { story: "never", h64 }) : runSeed(seed, { story: "never" });

const startMs = performance.now();
let simulatedUs = 0;
let crashes = 0;
let crash = "";
let seed = 0;
let found: Hunt["found"] = null;
for (
  ;
  found === null && seed < Number(seeds) && performance.now() - startMs < Number(seconds) * 1000;
  seed++
) {
  let rule = "crash";
  let message: string;
  try {
    const { violation, simulatedUs: us } = run(seed);
    simulatedUs += us;
    if (violation === null) continue;
    ({ rule, message } = violation);
  } catch (error) {
    message = String(error);
  }
  message = (message.split("\n")[0] ?? "").slice(0, 300);
  if (rule !== "crash" || (assertion !== "" && message.includes(assertion))) {
    found = { seed, rule: rule === "crash" ? `assertion: ${assertion}` : rule, message };
  } else {
    if (crashes === 0) crash = `seed ${seed}: ${message}`;
    crashes++;
  }
}
const { user, system } = process.cpuUsage();
const hunt: Hunt = {
  found,
  seeds: seed,
  simulatedS: simulatedUs / 1e6,
  cpuS: (user + system) / 1e6,
  crashes,
  crash,
};
console.log(JSON.stringify(hunt));

/**
 * Runs seeds of the whole simulated cluster and prints TAP: one line a seed, its story if it breaks a rule.
 *
 *     test/sim/seeds.run.ts [--from N] [--count N] [--seconds N]
 *
 * `--from` is the first seed (NUCLEUS_SEED_FROM otherwise, else 0), `--seconds` ends the run early. At the end it
 * demands that the seeds were worth something: traffic in each, and every kind of fault seen in all together.
 */
import { type FaultKind, planOfSeed } from "../../src/sim/plan.ts";
import { counts, type SimReport, storyOf, summaryOf } from "../../src/sim/report.ts";
import { runPlan, runSeed } from "../../src/sim/run.ts";
import { end, ok } from "../conformance/tap.ts";

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  const value = Number(at < 0 ? (otherwise ?? 0) : process.argv[at + 1]);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} must be a whole number`);
  return value;
}

const from = option("--from", Number(process.env.NUCLEUS_SEED_FROM ?? 0));
const count = option("--count", 50);
const seconds = option("--seconds", 3600);

/** Faults by the name under which their effect is counted. */
const EFFECTS: Readonly<Record<FaultKind, string>> = {
  kill: "kill",
  power: "power",
  power_all: "power",
  crash_point: "crash_point",
  cut_clients: "cut",
  stop: "stop",
  pause: "pause",
  cut: "cut",
  isolate: "cut",
  slow_link: "slow_link",
  reset: "reset",
  disk_stall: "disk_stall",
  fail_sync: "failSyncs",
  fail_write: "failWrites",
  fail_read: "failReads",
  disk_full: "disk_full",
  wall_step: "wall_step",
  swap: "swap",
  ambush: "ambush",
  snapshot: "snapshot",
  flip_bit: "bit_flip",
  wipe: "wipe",
};

const startMs = performance.now();
const effects = new Map<string, number>();
let simulatedUs = 0;
let events = 0;
let acknowledged = 0;
let undecided = 0;
let worthless = 0;
let ran = 0;

function take(report: SimReport): void {
  ran++;
  for (const [name, times] of report.faults) effects.set(name, (effects.get(name) ?? 0) + times);
  simulatedUs += report.simulatedUs;
  events += report.events;
  acknowledged += report.operations.ok;
  undecided += report.undecided;
  if (!counts(report)) worthless++;
  ok(report.violation === null, summaryOf(report), storyOf(report));
  if (report.violation !== null) {
    for (const line of storyOf(report).split("\n")) console.log(`# ${line}`);
    console.log(`# replay: nucleus sim --seed ${report.seed}`);
  }
}

for (let seed = from; seed < from + count && performance.now() - startMs < seconds * 1000; seed++) {
  take(runSeed(seed));
}

const canary = runPlan({ ...planOfSeed(from), canary: "lying_sync" }, { story: "never" });
ok(canary.violation !== null, `the canary fails: ${canary.violation?.rule}`);
ok(worthless * 10 <= ran, `${ran - worthless} of ${ran} seeds had enough traffic to count`);
if (ran >= 50) {
  const missing = Object.entries(EFFECTS).filter(([, effect]) => !effects.has(effect));
  ok(
    missing.length === 0,
    `every kind of fault took effect (${missing.map(([kind]) => kind).join(", ") || "all"})`,
  );
}
const tookS = (performance.now() - startMs) / 1000;
console.log(
  `# ${ran} seeds, ${(simulatedUs / 1e6).toFixed(0)} simulated seconds in ${tookS.toFixed(0)} s, ${events} events, ` +
    `${acknowledged} operations acknowledged, ${undecided} histories undecided`,
);
end();

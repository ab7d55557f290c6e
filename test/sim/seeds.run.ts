/**
 * Runs seeds of the whole simulated cluster and prints TAP: one line a seed, its story if it breaks a rule.
 *
 *     test/sim/seeds.run.ts [--from N] [--count N] [--seconds N] [--summary FILE]
 *
 * `--from` is the first seed (NUCLEUS_SEED_FROM otherwise, else 0), `--seconds` ends the run early, `--summary` writes
 * what it came to as JSON: runs in several processes are summed by summary.run.ts. At the end it demands that the
 * seeds were worth something: traffic in each, and every kind of fault seen in all together.
 */
import { writeFileSync } from "node:fs";
import { planOfSeed } from "../../src/sim/plan.ts";
import { type SimReport, storyOf, summaryOf } from "../../src/sim/report.ts";
import { runPlan, runSeed } from "../../src/sim/run.ts";
import { end, ok } from "../conformance/tap.ts";
import { add, missingKinds, NOTHING, summaryOfReport } from "./summary.ts";

/** From so many seeds on every kind of fault is there by more than luck; twice, for a part of the clients. */
const SEEDS_FOR_ALL_FAULTS = 50;
const SEEDS_FOR_ALL_FAULTS_BY_LIBRARY = 100;

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  const value = Number(at < 0 ? (otherwise ?? 0) : process.argv[at + 1]);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} must be a whole number`);
  return value;
}

function cpuS(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const from = option("--from", Number(process.env.NUCLEUS_SEED_FROM ?? 0));
const count = option("--count", 50);
const seconds = option("--seconds", 3600);
const startMs = performance.now();
let sum = NOTHING;

function take(report: SimReport, tookS: number): void {
  sum = add(sum, summaryOfReport(report, tookS));
  ok(report.violation === null, summaryOf(report), storyOf(report));
  if (report.violation === null) return;
  for (const line of storyOf(report).split("\n")) console.log(`# ${line}`);
  console.log(`# replay: nucleus sim --seed ${report.seed}`);
}

for (let seed = from; seed < from + count && performance.now() - startMs < seconds * 1000; seed++) {
  const beforeS = cpuS();
  take(runSeed(seed), cpuS() - beforeS);
}

const canary = runPlan({ ...planOfSeed(from), canary: "lying_sync" }, { story: "never" });
ok(canary.violation !== null, `the canary fails: ${canary.violation?.rule}`);
const ran = sum.seeds + sum.tooLittle;
ok(sum.tooLittle * 10 <= ran, `${sum.seeds} of ${ran} seeds had enough time and traffic to count`);
if (ran >= SEEDS_FOR_ALL_FAULTS) {
  const missing = missingKinds(sum.faults);
  ok(missing.length === 0, `every kind of fault took effect (missing: ${missing.join(", ") || "none"})`);
  ok(2 * (sum.happened.rests ?? 0) >= ran, `groups were put to rest ${sum.happened.rests} times`);
}
if (ran >= SEEDS_FOR_ALL_FAULTS_BY_LIBRARY) {
  const missing = missingKinds(sum.faultsMetByLibrary);
  ok(missing.length === 0, `the client library met all of them (missing: ${missing.join(", ") || "none"})`);
}
const summaryAt = process.argv.indexOf("--summary");
if (summaryAt > 0) writeFileSync(process.argv[summaryAt + 1] as string, `${JSON.stringify(sum, null, 2)}\n`);
const tookS = (performance.now() - startMs) / 1000;
console.log(
  `# ${ran} seeds, ${sum.simulatedS.toFixed(0)} simulated seconds in ${tookS.toFixed(0)} s, ${sum.events} events, ` +
    `${sum.operations.ok ?? 0} operations acknowledged, ${sum.undecided} histories undecided`,
);
end();

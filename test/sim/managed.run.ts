/**
 * Runs seeds of managed clusters - a control plane, moves of slots, operators - and prints TAP: one line a seed, its story
 * if it breaks a rule.
 *
 *     test/sim/managed.run.ts [--from N] [--count N] [--seconds N] [--moves N] [--summary FILE]
 *
 * `--moves` goes on past `--count` until so many moves of slots were decided, and demands them (`npm run sim:gate`).
 * Each of them ended or was aborted within a minute of the last fault, or its seed failed.
 */
import { writeFileSync } from "node:fs";
import xxhash from "xxhash-wasm";
import { storyOf, summaryOf } from "../../src/sim/report.ts";
import { runManagedSeed } from "../../src/sim/run.ts";
import { end, ok } from "../conformance/tap.ts";
import { add, NOTHING, summaryOfReport } from "./summary.ts";

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  const value = Number(at < 0 ? otherwise : process.argv[at + 1]);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} must be a whole number`);
  return value;
}

const { h64 } = await xxhash();
const from = option("--from", Number(process.env.NUCLEUS_SEED_FROM ?? 0));
const count = option("--count", 10);
const seconds = option("--seconds", 3600);
const movesWanted = option("--moves", 0);
const startMs = performance.now();
let sum = NOTHING;
let done = 0;
let aborted = 0;

function goesOn(seed: number): boolean {
  if (performance.now() - startMs >= seconds * 1000) return false;
  return movesWanted > 0 ? done + aborted < movesWanted : seed < from + count;
}

for (let seed = from; goesOn(seed); seed++) {
  const { user, system } = process.cpuUsage();
  const report = runManagedSeed(seed, { h64 });
  const took = process.cpuUsage({ user, system });
  sum = add(sum, summaryOfReport(report, (took.user + took.system) / 1e6));
  done += report.moves.done;
  aborted += report.moves.aborted;
  ok(report.violation === null, summaryOf(report), storyOf(report));
  if (report.violation === null) continue;
  for (const line of storyOf(report).split("\n")) console.log(`# ${line}`);
  console.log(`# replay: nucleus sim --managed --seed ${report.seed}`);
}

const ran = sum.seeds + sum.tooLittle;
ok(sum.tooLittle * 10 <= ran, `${sum.seeds} of ${ran} seeds had enough time and traffic to count`);
const moves = `${done} moves of slots were done, ${aborted} aborted`;
ok(done > aborted && done + aborted >= movesWanted, `${moves}; ${movesWanted} were asked for`);
const summaryAt = process.argv.indexOf("--summary");
if (summaryAt > 0) writeFileSync(process.argv[summaryAt + 1] as string, `${JSON.stringify(sum, null, 2)}\n`);
console.log(
  `# ${ran} seeds, ${sum.simulatedS.toFixed(0)} simulated seconds in ${sum.cpuS.toFixed(0)} s of CPU, ` +
    `${sum.operations.ok ?? 0} operations acknowledged, ${sum.undecided} histories undecided; ${moves}`,
);
end();

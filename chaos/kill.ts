/**
 * Kills and stops processes of a cluster under load, and judges what clients saw.
 *
 *     npx bun chaos/kill.ts --binary dist/nucleus --rounds 50         (or npx tsx, which loads the machine more)
 *
 *     --binary PATH      the program; dist/nucleus, or dist/nucleus.mjs with --runtime node
 *     --runtime R        bun (the compiled program) or node
 *     --rounds N         kill -9 of the leader, N times (50)
 *     --all N            kill -9 of all three nodes at once (rounds / 10)
 *     --stops N          SIGSTOP of the leader for 0.3 to 5 s (rounds / 5)
 *     --orphans N        SIGSTOP of all followers, then kill -9 of the leader (rounds / 10)
 *     --lags N           a follower away until it needs a snapshot (rounds / 25)
 *     --seed N           what is drawn: the order of faults, times, keys; timing itself is the machine's
 *     --no-figures       judge safety alone
 *     --keep             leave the directory of the cluster
 *
 * Exit code 1 if an acknowledged write is missing, a read was stale, a sum is wrong, a history is not linearizable,
 * a node ended by itself, replicas differ; or, unless --no-figures, if after a kill of the leader no write was
 * acknowledged for more than GAP_MEDIAN_MS_MAX in the median or GAP_MS_MAX at most.
 */
import { parseArgs } from "node:util";
import { formatCount } from "../src/base/units.ts";
import { ProcessCluster } from "./processes.ts";
import { chosenProgram, PROGRAM_OPTIONS, shownProgram } from "./program.ts";
import { median, SEGMENT_BYTES, STORM_DEFAULT, type StormResult, storm } from "./storm.ts";

const GAP_MEDIAN_MS_MAX = 800;
const GAP_MS_MAX = 2000;

const { values } = parseArgs({
  options: {
    ...PROGRAM_OPTIONS,
    rounds: { type: "string", default: "50" },
    all: { type: "string" },
    stops: { type: "string" },
    orphans: { type: "string" },
    lags: { type: "string" },
    seed: { type: "string" },
    "no-figures": { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});

const rounds = Number(values.rounds);
const seed = Number(values.seed ?? Math.floor(performance.timeOrigin) % 1_000_000);
const program = chosenProgram(values);

function row(name: string, text: string): void {
  console.log(`  ${name.padEnd(34)} ${text}`);
}

const FAULTS = [
  ["leader", "kill -9 of the leader"],
  ["all", "kill -9 of all"],
  ["stop", "SIGSTOP of the leader"],
  ["orphan", "kill -9 of a leader left alone"],
  ["lag", "a follower away"],
] as const;

function gaps(list: readonly number[]): string {
  if (list.length === 0) return "-";
  const times = String(list.length).padStart(3);
  return `${times} times: median ${Math.round(median(list))} ms, max ${Math.round(Math.max(...list))} ms`;
}

function printSummary({ resp, native, keys, gapsMs }: StormResult): void {
  console.log("");
  const { acked, refused, unknown } = resp;
  row("RESP writes", `${formatCount(acked)} ok, ${refused} refused, ${unknown} unknown, ${keys} keys`);
  row("RESP INCR", `${formatCount(resp.incrAcked)} ok, ${resp.incrUnknown} unknown`);
  row("RESP reads checked", formatCount(resp.reads));
  row("said by the server", [...resp.said].map(([word, count]) => `${word} ${count}`).join(", ") || "-");
  row("native INCR", `${formatCount(native.incrs)} ok`);
  row("native register operations", formatCount(native.registerOps));
  row("native writes refused, unknown", `${native.refused}, ${native.unknown}`);
  console.log("  no write acknowledged around");
  for (const [fault, name] of FAULTS) row(`  ${name}`, gaps(gapsMs[fault]));
}

function judgeFigures(result: StormResult): string[] {
  const gapsMs = result.gapsMs.leader;
  if (values["no-figures"] || gapsMs.length === 0) return [];
  const wrong: string[] = [];
  const [middle, longest] = [Math.round(median(gapsMs)), Math.round(Math.max(...gapsMs))];
  if (middle > GAP_MEDIAN_MS_MAX) wrong.push(`the median gap ${middle} ms is above ${GAP_MEDIAN_MS_MAX} ms`);
  if (longest > GAP_MS_MAX) wrong.push(`the longest gap ${longest} ms is above ${GAP_MS_MAX} ms`);
  return wrong;
}

async function main(): Promise<number> {
  const plan = {
    ...STORM_DEFAULT,
    seed,
    leaderKills: rounds,
    allKills: Number(values.all ?? Math.ceil(rounds / 10)),
    stops: Number(values.stops ?? Math.ceil(rounds / 5)),
    orphans: Number(values.orphans ?? Math.ceil(rounds / 10)),
    lags: Number(values.lags ?? Math.ceil(rounds / 25)),
  };
  console.log(`seed ${seed}, ${shownProgram(program)}`);
  const cluster = await ProcessCluster.start(program, 3, SEGMENT_BYTES);
  console.log(`three nodes in ${cluster.root}: ${cluster.url}`);
  let failed = true;
  try {
    const result = await storm(cluster, plan, (line) => console.log(line));
    printSummary(result);
    const problems = [...new Set(result.problems), ...judgeFigures(result)];
    for (const problem of problems.slice(0, 20)) console.log(`PROBLEM ${problem}`);
    failed = problems.length > 0;
    console.log(failed ? `FAILED: ${problems.length} problems, seed ${seed}` : `ok, seed ${seed}`);
  } finally {
    const keep = values.keep || failed;
    await cluster.end(keep);
    if (keep) console.log(`its files and logs are in ${cluster.root}`);
  }
  return failed ? 1 : 0;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
process.exit(await main());

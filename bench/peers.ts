/**
 * Nucleus beside redis-server, in one run: `npx tsx bench/peers.ts`.
 *
 *     --rounds N       loads of each side, in turns: A B, B A, A B .. (5)
 *     --seconds N      length of one, about (4)
 *     --binary PATH    the program (dist/nucleus)
 *     --no-figures     assert nothing
 *     --json           one JSON object
 *
 * Three nodes (every write synced by a majority) and one redis-server with `appendfsync always` and no replicas, both
 * on this machine, loaded by redis-benchmark. A row is the median of the rounds' ratios with the smallest and
 * largest, and the processor time that each process used for an operation: the node that leads, the two others,
 * redis-server, and the generator as a share of a core, once against each side. Where that share is above
 * GENERATOR_SHARE_MAX the row is marked: the generator may have been the limit. The exit code is 1 if a median lies
 * below its floor. Figures of different machines or runs do not compare.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { parseArgs } from "node:util";
import { cpuSeconds, freePorts } from "../chaos/processes.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import { median } from "./figures.ts";
import { GENERATOR_SHARE_MAX, generate, Rivals } from "./rivals.ts";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "4" },
    binary: { type: "string", default: "dist/nucleus" },
    "no-figures": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const ROUNDS = Number(options.rounds);
const SECONDS = Number(options.seconds);

/** `floor`: least median of the ratios to redis; 0 = reported only. */
type Row = { name: string; test: "set" | "get"; clients: number; pipeline: number; floor: number };
const ROWS: readonly Row[] = [
  { name: "SET 1 client", test: "set", clients: 1, pipeline: 1, floor: 0 },
  { name: "SET 64 clients", test: "set", clients: 64, pipeline: 1, floor: 0.35 },
  { name: "SET 64 x 16", test: "set", clients: 64, pipeline: 16, floor: 0.45 },
  { name: "GET 64 clients", test: "get", clients: 64, pipeline: 1, floor: 0 },
  { name: "GET 64 x 16", test: "get", clients: 64, pipeline: 16, floor: 0.4 },
];

/** `port` is that of `pids[0]`: the node that leads, or redis-server. */
type Side = { name: string; port: number; pids: number[] };
/** `cpuUsPerOp`: by process, as in `pids`. */
type Sample = { rps: number; cpuUsPerOp: number[]; generatorShare: number };

const rivals = new Rivals();

async function startNucleus(): Promise<Side> {
  const cluster = await rivals.nucleus(options.binary);
  const leader = await cluster.leader();
  const others = cluster.nodes.filter((node) => node !== leader);
  return { name: "nucleus", port: leader.port, pids: [leader, ...others].map(({ pid }) => pid) };
}

async function startRedis(): Promise<Side> {
  const [port] = (await freePorts(1)) as [number];
  const dir = path.join(rivals.dir, "redis");
  fs.mkdirSync(dir);
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", ""];
  const pid = rivals.start(
    "redis-server",
    [...args, "--appendonly", "yes", "--appendfsync", "always"],
    "redis.log",
  );
  await rivals.until("redis-server", async () => {
    const connection = await RespConnection.open({ host: "127.0.0.1", port }, 1000);
    connection.close();
    return port;
  });
  return { name: "redis", port, pids: [pid] };
}

async function measure(side: Side, row: Row, requests: number): Promise<Sample> {
  const before = side.pids.map(cpuSeconds);
  const { name, port, pids } = side;
  const load = [
    "-t",
    row.test,
    "-c",
    String(row.clients),
    "-P",
    String(row.pipeline),
    "-n",
    String(requests),
  ];
  const args = ["-p", String(port), ...load, "-r", "100000", "-d", "100", "--csv"];
  const { code, text, seconds, cpuSeconds: own } = await generate("redis-benchmark", args);
  if (code !== 0) throw new Error(`redis-benchmark failed against ${name}: ${text}`);
  const rps = Number(text.trim().split("\n").at(-1)?.split(",")[1]?.replaceAll('"', ""));
  const used = pids.map((pid, i) => cpuSeconds(pid) - (before[i] as number));
  const cpuUsPerOp = used.map((processSeconds) => (processSeconds / requests) * 1e6);
  return { rps, cpuUsPerOp, generatorShare: own / seconds };
}

type Outcome = {
  readonly name: string;
  readonly ratio: number;
  readonly least: number;
  readonly most: number;
  readonly floor: number;
  readonly rps: readonly number[];
  /** Leader, follower, follower, redis-server. */
  readonly cpuUsPerOp: readonly number[];
  /** Against nucleus, against redis-server. */
  readonly generatorShares: readonly number[];
  readonly generatorBound: boolean;
  readonly passed: boolean;
};

async function compare(row: Row, sides: readonly Side[]): Promise<Outcome> {
  const ratios: number[] = [];
  const samples: Sample[][] = [[], []];
  const requests = [0, 0];
  for (const [i, side] of sides.entries()) {
    const probe = await measure(side, row, row.clients * row.pipeline * 100); // warms up, and tells how many to ask for
    requests[i] = Math.max(1000, Math.ceil(probe.rps * SECONDS));
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) {
      (samples[i] as Sample[]).push(await measure(sides[i] as Side, row, requests[i] as number));
    }
    ratios.push((samples[0]?.at(-1)?.rps ?? 0) / (samples[1]?.at(-1)?.rps ?? 1));
  }
  const ratio = median(ratios);
  const generatorShares = samples.map((list) => median(list.map((sample) => sample.generatorShare)));
  return {
    name: row.name,
    ratio,
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    floor: row.floor,
    rps: samples.map((list) => median(list.map((sample) => sample.rps))),
    cpuUsPerOp: sides.flatMap(({ pids }, side) =>
      pids.map((_, i) => median((samples[side] as Sample[]).map((one) => one.cpuUsPerOp[i] as number))),
    ),
    generatorShares,
    generatorBound: generatorShares.some((share) => share > GENERATOR_SHARE_MAX),
    passed: ratio >= row.floor,
  };
}

const HEAD = ["", "ratio", "min-max", "floor", "n op/s", "r op/s", "n CPU us/op", "r CPU", "generator n / r"];
const WIDTHS = [14, 5, 9, 5, 8, 8, 16, 5, 15];

function line(cells: readonly string[]): string {
  const padded = cells.map((cell, i) =>
    i === 0 ? cell.padEnd(WIDTHS[0] ?? 0) : cell.padStart(WIDTHS[i] ?? 0),
  );
  return padded.join("  ").trimEnd();
}

function show(outcome: Outcome): string {
  const { ratio, least, most, floor, rps, cpuUsPerOp, generatorShares } = outcome;
  const nucleus = cpuUsPerOp.slice(0, -1).map((us) => us.toFixed(1));
  return line([
    outcome.name,
    ratio.toFixed(2),
    `${least.toFixed(2)}-${most.toFixed(2)}`,
    floor > 0 ? floor.toFixed(2) : "-",
    ...rps.map((value) => Math.round(value).toLocaleString("en-US")),
    nucleus.join(" + "),
    (cpuUsPerOp.at(-1) ?? 0).toFixed(1),
    generatorShares.map((share) => `${Math.round(share * 100)}%`).join(" / "),
    outcome.generatorBound ? "generator-bound" : "",
    outcome.passed ? "" : "BELOW FLOOR",
  ]);
}

async function main(): Promise<number> {
  const sides = [await startNucleus(), await startRedis()];
  const say = options.json ? console.error : console.log;
  say(`${ROUNDS} rounds of about ${SECONDS} s each, 100 B values, 100,000 random keys`);
  say(
    "n: nucleus, three nodes, synced on a majority, at the leader's port; CPU: leader + follower + follower",
  );
  say("r: redis-server, appendfsync always, no replicas");
  say(line(HEAD));
  const outcomes: Outcome[] = [];
  for (const row of ROWS) {
    const outcome = await compare(row, sides);
    outcomes.push(outcome);
    say(show(outcome));
  }
  const passed = outcomes.every((outcome) => outcome.passed);
  if (options.json) console.log(JSON.stringify({ passed, rows: outcomes }));
  return passed || options["no-figures"] ? 0 : 1;
}

let exitCode = 1;
try {
  exitCode = await main();
} catch (error) {
  console.error(error);
}
await rivals.end(exitCode);

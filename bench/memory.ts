/**
 * What another key costs in memory, beside redis-server in the same run: `npx bun bench/memory.ts`.
 *
 *     --from N         keys at the first look (1,000,000), of 16 bytes, values of 100
 *     --to N           keys at the second (3,000,000)
 *     --binary PATH    the program (dist/nucleus); or dist/nucleus.mjs with --runtime node
 *     --keep           leave the directory
 *     --json           one JSON object
 *
 * One node that is a cluster by itself and one redis-server (append-only file, no rewrites), filled by the same
 * generator. Looked at is the resident memory of the process, once it is calm; bytes a key are what it grew by from
 * the first look to the second. Exit code 1 if that is more than SLOPE_FACTOR_MAX of redis-server's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { freePorts, type NodeProcess, type ProcessCluster, rssBytes } from "../chaos/processes.ts";
import { MiB } from "../src/base/units.ts";
import { CLUSTER_OPTIONS, onCluster } from "./cluster.ts";
import { median, report } from "./figures.ts";
import { KEY_BYTES, load, PIPELINE, VALUE_BYTES } from "./load.ts";

const SLOPE_FACTOR_MAX = 1.2;
const START_MS_MAX = 10_000;
/** Calm: a snapshot that was due is over, and the collector had its chance. */
const CALM_MS = 5000;
const SAMPLES = 10;

const { values } = parseArgs({
  options: {
    from: { type: "string", default: "1000000" },
    to: { type: "string", default: "3000000" },
    ...CLUSTER_OPTIONS,
  },
});
const from = Number(values.from);
const to = Number(values.to);

type Side = { readonly port: number; readonly pid: number };

async function startRedis(root: string): Promise<{ side: Side; child: ChildProcess }> {
  const [port] = (await freePorts(1)) as [number];
  const dir = join(root, "redis");
  fs.mkdirSync(dir);
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", ""];
  args.push("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0");
  const child = spawn("redis-server", args, { stdio: "ignore" });
  const missing = new Promise<never>((_resolve, reject) => child.once("error", reject));
  await Promise.race([missing, isUp(port)]);
  return { side: { port, pid: child.pid as number }, child };
}

async function isUp(port: number): Promise<void> {
  for (const startMs = performance.now(); performance.now() - startMs < START_MS_MAX; await sleep(50)) {
    const open = await new Promise<boolean>((done) => {
      const socket = connect({ host: "127.0.0.1", port });
      socket.once("connect", () => done(true));
      socket.once("error", () => done(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return;
  }
  throw new Error("redis-server does not start");
}

async function fill(side: Side, first: number, last: number): Promise<number> {
  const keyAt = (i: number): number => first + i;
  await load({ port: side.port, commands: last - first, keyAt, round: 0, pipeline: PIPELINE });
  await sleep(CALM_MS);
  const samples: number[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    samples.push(rssBytes(side.pid));
    await sleep(100);
  }
  return median(samples);
}

async function run(sides: readonly Side[]): Promise<number> {
  const first: number[] = [];
  const second: number[] = [];
  for (const side of sides) first.push(await fill(side, 0, from));
  for (const side of sides) second.push(await fill(side, from, to));
  const slopes = sides.map((_, i) => ((second[i] as number) - (first[i] as number)) / (to - from));
  const [own = Number.NaN, its = Number.NaN] = slopes;
  return report(
    [
      { name: "bytes of a key and its value", value: KEY_BYTES + VALUE_BYTES },
      { name: `nucleus, ${from} keys, MiB`, value: (first[0] as number) / MiB },
      { name: `nucleus, ${to} keys, MiB`, value: (second[0] as number) / MiB },
      { name: `redis-server, ${from} keys, MiB`, value: (first[1] as number) / MiB },
      { name: `redis-server, ${to} keys, MiB`, value: (second[1] as number) / MiB },
      { name: "nucleus, bytes a further key", value: own, digits: 1 },
      { name: "redis-server, bytes a further key", value: its, digits: 1 },
      { name: "nucleus / redis-server", value: own / its, limit: { most: SLOPE_FACTOR_MAX }, digits: 2 },
    ],
    values.json,
  );
}

async function besideRedis(cluster: ProcessCluster): Promise<number> {
  const [node] = cluster.nodes as [NodeProcess];
  const { side, child } = await startRedis(cluster.root);
  try {
    return await run([{ port: node.port, pid: node.pid }, side]);
  } finally {
    child.kill("SIGKILL");
  }
}

await onCluster(1, values, besideRedis);

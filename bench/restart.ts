/**
 * How long a cluster is away if all its nodes are killed at once: `npx bun bench/restart.ts`.
 *
 *     --keys N         keys in it (500,000), of 16 bytes, values of 100
 *     --rounds N       kills (5)
 *     --binary PATH    the program (dist/nucleus); or dist/nucleus.mjs with --runtime node
 *     --keep           leave the directory
 *     --json           one JSON object
 *
 * Three nodes, killed with -9 and started again at once, nobody else using them. Measured from the start of the
 * processes to the first acknowledged write, and by the nodes' logs on the way there. Exit code 1 if the median of
 * that is above BACK_MS_MAX.
 */
import * as fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { NodeProcess, ProcessCluster } from "../chaos/processes.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import { CLUSTER_OPTIONS, onCluster } from "./cluster.ts";
import { median, report } from "./figures.ts";
import { load, PIPELINE } from "./load.ts";

/** Twice the longest election timeout, and as much again for processes that start side by side on two cores. */
const BACK_MS_MAX = 2000;
const READY_MS_MAX = 60_000;
const POLL_MS = 5;

const { values } = parseArgs({
  options: {
    keys: { type: "string", default: "500000" },
    rounds: { type: "string", default: "5" },
    ...CLUSTER_OPTIONS,
  },
});
const keys = Number(values.keys);

async function isWritten(node: NodeProcess): Promise<boolean> {
  let connection: RespConnection | null = null;
  try {
    connection = await RespConnection.open(node.address, READY_MS_MAX);
    const reply = await connection.call(["SET", "restarted", String(performance.now())], READY_MS_MAX);
    return reply.kind === "simple" && reply.text === "OK";
  } catch {
    return false;
  } finally {
    connection?.close();
  }
}

type Line = { readonly ts: string; readonly msg: string; readonly role?: string };

/** When the nodes first logged what `test` looks for, of lines after `sinceMs` by the wall clock; by node. */
function loggedAt(cluster: ProcessCluster, sinceMs: number, test: (line: Line) => boolean): number[] {
  return cluster.nodes.flatMap((node) => {
    const lines = fs.readFileSync(join(node.dir, "log"), "utf8").split("\n");
    const parsed = lines.filter((text) => text.startsWith("{")).map((text) => JSON.parse(text) as Line);
    const line = parsed.find((one) => Date.parse(one.ts) >= sinceMs && test(one));
    return line === undefined ? [] : [Date.parse(line.ts) - sinceMs];
  });
}

type Round = { listening: number; elected: number; replayed: number; written: number; cpuSeconds: number };

async function round(cluster: ProcessCluster): Promise<Round> {
  await Promise.all(cluster.nodes.map((node) => node.kill()));
  const wallMs = Date.now();
  const startMs = performance.now();
  for (const node of cluster.nodes) node.start();
  while (!(await isWritten(cluster.nodes[0] as NodeProcess))) {
    if (performance.now() - startMs > READY_MS_MAX) throw new Error("the cluster does not come back");
    await sleep(POLL_MS);
  }
  const written = performance.now() - startMs;
  const cpuSeconds = cluster.nodes.reduce((sum, node) => sum + node.cpuSeconds(), 0);
  await cluster.converge();
  return {
    written,
    cpuSeconds,
    listening: Math.max(...loggedAt(cluster, wallMs, ({ msg }) => msg === "listening")),
    elected: Math.min(...loggedAt(cluster, wallMs, ({ role }) => role === "leader")),
    replayed: Math.max(...loggedAt(cluster, wallMs, ({ msg }) => msg.startsWith("snapshot at"))),
  };
}

async function run(cluster: ProcessCluster): Promise<number> {
  const leader = await cluster.leader();
  await load({ port: leader.port, commands: keys, keyAt: (i) => i, round: 0, pipeline: PIPELINE });
  const rounds: Round[] = [];
  for (let i = 0; i < Number(values.rounds); i++) rounds.push(await round(cluster));
  const written = rounds.map((one) => one.written);
  return report(
    [
      { name: "ms until all nodes listen, median", value: median(rounds.map((one) => one.listening)) },
      { name: "ms until a node leads, median", value: median(rounds.map((one) => one.elected)) },
      { name: "ms until all logs are replayed, median", value: median(rounds.map((one) => one.replayed)) },
      {
        name: "processor seconds of all nodes until then",
        value: median(rounds.map((one) => one.cpuSeconds)),
        digits: 2,
      },
      { name: "ms until a write is acknowledged, least", value: Math.min(...written) },
      { name: "ms until a write is acknowledged, most", value: Math.max(...written) },
      {
        name: "ms until a write is acknowledged, median",
        value: median(written),
        limit: { most: BACK_MS_MAX },
      },
    ],
    values.json,
  );
}

await onCluster(3, values, run);

/**
 * How fast a node gets back what its log holds: `npx bun bench/replay.ts`.
 *
 *     --commands N     SETs in the log (5,000,000), keys of 16 bytes, values of 100
 *     --keys N         different keys among them (1,000,000)
 *     --pipeline N     commands that each of four connections sends at once (512): fewer make smaller batches
 *     --rounds N       kills and starts; the median counts (3)
 *     --binary PATH    the program (dist/nucleus); or dist/nucleus.mjs with --runtime node
 *     --keep           leave the directory, to look at or to profile a start in it
 *     --json           one JSON object
 *
 * One node, killed with -9; measured from the start of the new process to its first answered GET, which needs
 * everything before it applied. While loading, the directory for snapshots is missing, so the log holds every
 * command; the node makes it anew when it starts. Exit code 1 if fewer than COMMANDS_PER_SECOND_MIN are replayed.
 */
import * as fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { NodeProcess, ProcessCluster } from "../chaos/processes.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import { CLUSTER_OPTIONS, onCluster } from "./cluster.ts";
import { median, report } from "./figures.ts";
import { keyOf, load, PIPELINE, valueAt } from "./load.ts";

const COMMANDS_PER_SECOND_MIN = 500_000;
const READY_MS_MAX = 120_000;
const POLL_MS = 5;

const { values } = parseArgs({
  options: {
    commands: { type: "string", default: "5000000" },
    keys: { type: "string", default: "1000000" },
    pipeline: { type: "string", default: String(PIPELINE) },
    rounds: { type: "string", default: "3" },
    ...CLUSTER_OPTIONS,
  },
});
const commands = Number(values.commands);
const keys = Number(values.keys);

/** One reply as text; null if there was none, or an error. */
async function ask(node: NodeProcess, words: readonly string[]): Promise<string | null> {
  let connection: RespConnection | null = null;
  try {
    connection = await RespConnection.open(node.address, READY_MS_MAX);
    const reply = await connection.call(words, READY_MS_MAX);
    if (reply.kind === "bulk") return Buffer.from(reply.bytes).toString();
    return reply.kind === "integer" ? String(reply.value) : null;
  } catch {
    return null;
  } finally {
    connection?.close();
  }
}

type Start = { readonly seconds: number; readonly cpuSeconds: number };

/** Starts the node; how long until it answers what was written last, and how much work that was. */
async function restart(node: NodeProcess): Promise<Start> {
  const last = commands - 1;
  const expected = valueAt(last % keys, 0);
  const startMs = performance.now();
  node.start();
  for (;;) {
    const answer = await ask(node, ["GET", keyOf(last % keys)]);
    const ms = performance.now() - startMs;
    if (answer !== null && answer !== expected) throw new Error(`it answers ${answer}`);
    if (answer !== null) return { seconds: ms / 1000, cpuSeconds: node.cpuSeconds() };
    if (ms > READY_MS_MAX || !node.running) throw new Error(`it does not come back: ${node.logTail()}`);
    await sleep(POLL_MS);
  }
}

async function run(cluster: ProcessCluster): Promise<number> {
  const [node] = cluster.nodes as [NodeProcess];
  const snapshots = join(node.dir, "data", "snapshots");
  const pipeline = Number(values.pipeline);
  fs.rmSync(snapshots, { recursive: true });
  const loadSeconds = await load({ port: node.port, commands, keyAt: (i) => i % keys, round: 0, pipeline });
  const starts: Start[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    await node.kill();
    fs.rmSync(snapshots, { recursive: true, force: true });
    starts.push(await restart(node));
    fs.rmSync(snapshots, { recursive: true, force: true }); // before it takes one
    const count = Number(await ask(node, ["DBSIZE"]));
    if (count !== Math.min(keys, commands)) throw new Error(`it holds ${count} keys`);
  }
  const seconds = starts.map((one) => one.seconds);
  const rates = seconds.map((s) => commands / s);
  return report(
    [
      { name: "commands loaded a second", value: commands / loadSeconds },
      { name: "seconds from exec to the first GET", value: median(seconds), digits: 2 },
      {
        name: "processor seconds until then",
        value: median(starts.map((one) => one.cpuSeconds)),
        digits: 2,
      },
      { name: "fewest replayed a second", value: Math.min(...rates) },
      { name: "most replayed a second", value: Math.max(...rates) },
      {
        name: "commands replayed a second, median",
        value: median(rates),
        limit: { least: COMMANDS_PER_SECOND_MIN },
      },
    ],
    values.json,
  );
}

await onCluster(1, values, run);

/**
 * What a cluster that is written to for long takes of disk and memory: `npx bun bench/bounded.ts`.
 *
 *     --keys N         keys (2,000,000), of 16 bytes, values of 100
 *     --rounds N       times that each is written (5)
 *     --wipe           at the end, empty a follower's directory under load and wait until it is back
 *     --binary PATH    the program (dist/nucleus); or dist/nucleus.mjs with --runtime node
 *     --keep           leave the directory
 *     --json           one JSON object
 *
 * Three nodes. Looked at all along: the directory of each node's log. After each round: the memory of each node, when
 * all have applied the same. After the last: the longest slice of a snapshot, in processor time, since elapsed time
 * on a machine where three nodes and a generator share the cores says little. Then a node is killed and started, and
 * must say from which snapshot it came back. Exit code 1 if a limit is broken:
 *
 *     log                  3 x live data + 256 MiB, at any time
 *     memory               after the last round 1.25 x what it was after the first; below a million keys what the
 *                          collector left by chance weighs more than the data, and this says little
 *     slice of a snapshot  5 ms of processor time
 *     wiped follower       back within WIPED_BACK_MS_MAX
 */
import * as fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { NodeProcess, ProcessCluster } from "../chaos/processes.ts";
import { MiB } from "../src/base/units.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import { CLUSTER_OPTIONS, onCluster } from "./cluster.ts";
import { type Figure, median, report } from "./figures.ts";
import { KEY_BYTES, load, PIPELINE, VALUE_BYTES } from "./load.ts";

const LOG_FACTOR = 3;
const LOG_SLACK_BYTES = 256 * MiB;
const MEMORY_FACTOR = 1.25;
const SLICE_CPU_MS_MAX = 5;
const WIPED_BACK_MS_MAX = 120_000;
const SAMPLE_MS = 200;
/** After a round, until memory is looked at: a snapshot under way ends, and what it copied is given back. */
const CALM_MS = 3000;
const SAMPLES = 10;
const ASK_MS_MAX = 30_000;

const { values } = parseArgs({
  options: {
    keys: { type: "string", default: "2000000" },
    rounds: { type: "string", default: "5" },
    wipe: { type: "boolean", default: false },
    ...CLUSTER_OPTIONS,
  },
});
const keys = Number(values.keys);
const rounds = Number(values.rounds);
const liveBytes = keys * (KEY_BYTES + VALUE_BYTES);

const say = (text: string): void => console.error(text);
const max = (list: readonly number[]): number => Math.max(...list);

/** Bytes of the files in a directory; what is deleted just now counts no more. */
function directoryBytes(dir: string): number {
  let bytes = 0;
  for (const name of fs.existsSync(dir) ? fs.readdirSync(dir) : []) {
    bytes += fs.statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

class Watch {
  /** Most bytes seen, by node. */
  readonly log: number[];
  readonly snapshots: number[];
  readonly memory: number[];
  readonly #timer: NodeJS.Timeout;

  constructor(nodes: readonly NodeProcess[]) {
    this.log = nodes.map(() => 0);
    this.snapshots = nodes.map(() => 0);
    this.memory = nodes.map(() => 0);
    this.#timer = setInterval(() => {
      for (const [i, node] of nodes.entries()) {
        const data = join(node.dir, "data");
        raise(this.log, i, directoryBytes(join(data, "wal")));
        raise(this.snapshots, i, directoryBytes(join(data, "snapshots")));
        raise(this.memory, i, node.rssBytes());
      }
    }, SAMPLE_MS);
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

function raise(list: number[], at: number, value: number): void {
  list[at] = Math.max(list[at] ?? 0, value);
}

/** The first node leads: a leader holds more than its followers, and rounds are to be compared node by node. */
async function leadingFirst(cluster: ProcessCluster): Promise<NodeProcess> {
  const first = cluster.nodes[0] as NodeProcess;
  for (const startMs = performance.now(); performance.now() - startMs < ASK_MS_MAX; await sleep(100)) {
    const leader = await cluster.leader();
    if (leader === first) return first;
    const connection = await RespConnection.open(leader.address, ASK_MS_MAX);
    await connection.call(["NUCLEUS", "LEADER", first.id], ASK_MS_MAX);
    connection.close();
  }
  throw new Error(`${first.id} does not become the leader`);
}

/** Each key once, in an order of its own: a step that shares no divisor with the count visits them all. */
async function writeAll(cluster: ProcessCluster, round: number): Promise<void> {
  const { port } = await leadingFirst(cluster);
  const step = stepFor(keys);
  const keyAt = (i: number): number => (i * step + round) % keys;
  const seconds = await load({ port, commands: keys, keyAt, round, pipeline: PIPELINE });
  say(`round ${round}: ${Math.round(keys / seconds).toLocaleString("en-US")} SETs a second`);
}

function stepFor(count: number): number {
  const shares = (a: number, b: number): boolean => (b === 0 ? a > 1 : shares(b, a % b));
  let step = Math.floor(count * 0.618) | 1;
  while (shares(count, step)) step += 2;
  return step;
}

async function memoryOf(cluster: ProcessCluster): Promise<number[]> {
  const different = await cluster.converge();
  if (different !== "") throw new Error(different);
  await sleep(CALM_MS);
  const samples: number[][] = cluster.nodes.map(() => []);
  for (let i = 0; i < SAMPLES; i++) {
    for (const [at, node] of cluster.nodes.entries()) samples[at]?.push(node.rssBytes());
    await sleep(SAMPLE_MS);
  }
  return samples.map(median);
}

/** One number of a node's INFO. */
async function info(node: NodeProcess, name: string): Promise<number> {
  const connection = await RespConnection.open(node.address, ASK_MS_MAX);
  try {
    const reply = await connection.call(["INFO"], ASK_MS_MAX);
    const text = "bytes" in reply ? Buffer.from(reply.bytes).toString() : "";
    return Number(new RegExp(`^${name}:([\\d.]+)`, "m").exec(text)?.[1] ?? Number.NaN);
  } finally {
    connection.close();
  }
}

const infos = (cluster: ProcessCluster, name: string): Promise<number[]> =>
  Promise.all(cluster.nodes.map((node) => info(node, name)));

async function follower(cluster: ProcessCluster): Promise<NodeProcess> {
  const leader = await cluster.leader();
  return cluster.nodes.find((node) => node !== leader) as NodeProcess;
}

/** Kills a node and starts it again: what it says of how it came back. */
async function restarted(cluster: ProcessCluster): Promise<Figure[]> {
  const node = await follower(cluster);
  const taken = await info(node, "shard1_snapshots_taken"); // a short run needs none
  const log = join(node.dir, "log");
  const before = fs.statSync(log).size;
  await node.kill();
  const startMs = performance.now();
  node.start();
  const said = /"msg":"snapshot at (\d+), replayed (\d+) entries"/;
  let found: RegExpExecArray | null = null;
  while (found === null && performance.now() - startMs < ASK_MS_MAX) {
    await sleep(20);
    found = said.exec(fs.readFileSync(log).subarray(before).toString());
  }
  const ms = performance.now() - startMs;
  await cluster.converge();
  return [
    {
      name: `restart of ${node.id}: index of its snapshot`,
      value: Number(found?.[1] ?? Number.NaN),
      limit: { least: Math.min(1, taken) },
    },
    { name: "entries replayed behind it", value: Number(found?.[2] ?? Number.NaN) },
    { name: "ms until it had", value: ms },
  ];
}

/** Empties a follower's directory while the others are written to: ms until it has what they have. */
async function wiped(cluster: ProcessCluster): Promise<Figure> {
  const node = await follower(cluster);
  const rest = { done: false };
  const writing = (async () => {
    for (let round = rounds; !rest.done; round++) await writeAll(cluster, round);
  })();
  await node.kill();
  fs.rmSync(join(node.dir, "data"), { recursive: true });
  const startMs = performance.now();
  node.start();
  let ms = Number.NaN;
  while (Number.isNaN(ms) && node.running && performance.now() - startMs < WIPED_BACK_MS_MAX) {
    await sleep(SAMPLE_MS);
    const leader = await cluster.leader();
    const [own, its] = await Promise.all([node.status(), leader.status()]);
    const lacks = (its?.shards[0]?.commit ?? Number.NaN) - (own?.shards[0]?.applied ?? Number.NaN);
    if (lacks <= ENTRIES_BEHIND_MAX) ms = performance.now() - startMs;
  }
  rest.done = true;
  await writing;
  if (Number.isNaN(ms)) say(`${node.id} does not come back: ${node.logTail()}`);
  else if ((await cluster.converge()) !== "") ms = Number.NaN;
  return { name: `ms until ${node.id}, wiped, was back`, value: ms, limit: { most: WIPED_BACK_MS_MAX } };
}

/** A follower is never level with its leader while that is written to. */
const ENTRIES_BEHIND_MAX = 64;

function perNode(name: string, list: readonly number[], limit?: Figure["limit"]): Figure[] {
  return list.map((bytes, i) => {
    const figure = { name: `${name} of n${i + 1}, MiB`, value: bytes / MiB };
    return limit === undefined ? figure : { ...figure, limit };
  });
}

async function run(cluster: ProcessCluster): Promise<number> {
  const watch = new Watch(cluster.nodes);
  const memory: number[][] = [];
  for (let round = 0; round < rounds; round++) {
    await writeAll(cluster, round);
    memory.push(await memoryOf(cluster));
  }
  watch.end();
  const first = memory[0] ?? [];
  const last = memory.at(-1) ?? [];
  const growth = last.map((bytes, i) => bytes / (first[i] ?? Number.NaN));
  const figures: Figure[] = [
    { name: "live data, MiB", value: liveBytes / MiB },
    ...perNode("largest log", watch.log, { most: (LOG_FACTOR * liveBytes + LOG_SLACK_BYTES) / MiB }),
    ...perNode("largest snapshots directory", watch.snapshots),
    ...perNode("memory after the first round", first),
    ...perNode("memory after the last round", last),
    ...perNode("most memory", watch.memory),
    ...perNode("memory of the state itself, now", await infos(cluster, "used_memory")),
    { name: "largest growth of memory", value: max(growth), limit: { most: MEMORY_FACTOR }, digits: 2 },
    { name: "snapshots taken, all nodes", value: sum(await infos(cluster, "shard1_snapshots_taken")) },
    {
      name: "longest slice, processor ms",
      value: max(await infos(cluster, "shard1_snapshot_slice_cpu_ms_max")),
      limit: { most: SLICE_CPU_MS_MAX },
      digits: 2,
    },
    {
      name: "longest slice, elapsed ms",
      value: max(await infos(cluster, "shard1_snapshot_slice_ms_max")),
      digits: 2,
    },
    ...(await restarted(cluster)),
  ];
  if (values.wipe) figures.push(await wiped(cluster));
  if (cluster.problems.length > 0) say(cluster.problems.join("\n"));
  figures.push({
    name: "processes that ended by themselves",
    value: cluster.problems.length,
    limit: { most: 0 },
  });
  return report(figures, values.json);
}

const sum = (list: readonly number[]): number => list.reduce((total, one) => total + one, 0);

await onCluster(3, values, run);

/**
 * The control plane goes down, all of it, under load: what do clients see, and what goes on without it?
 *
 *     npx bun chaos/control_down.ts --binary dist/nucleus
 *
 *     --binary PATH      the program; dist/nucleus, or dist/nucleus.mjs with --runtime node
 *     --runtime R        bun (the compiled program) or node
 *     --seconds S        how long it is down, and how long is measured before (60)
 *     --seed N           keys and the order of reads; timing itself is the machine's
 *     --no-figures       judge safety alone
 *     --json             one line of JSON instead of the table; what happens meanwhile goes to stderr
 *     --keep             leave the directory of the cluster
 *
 * Four nodes, two shards, three control processes. A shard is being added when all three are killed. While they are down
 *
 *     a move that was begun ends, by the two shards alone
 *     the leader of s1 is killed, another one is elected, and the node is started again
 *     another node is stopped and started: it serves by the map on its disk
 *     a change is refused with exit code 4
 *
 * Then they are started again, one of them on an empty directory. The plan must end, and one more shard be added while the
 * control plane has its majority only by the process that lost its disk.
 *
 * Exit code 1 if an acknowledged write is missing, a read was stale, a sum is wrong, a history is not linearizable, a
 * process ended by itself, or anything of the above did not happen; or, unless --no-figures, if meanwhile a call of the
 * client library failed, a proxy port answered with an error, or 1 % of the calls took longer than P99_RATIO_MOST times
 * as long as before. The FAILOVER_MS after the kill of the leader are left out of that time, for its shards, and calls
 * during which the machine itself stood still (machine.ts) are not judged.
 */
import * as fs from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Figure, report } from "../bench/figures.ts";
import { messageOf } from "../src/base/errors.ts";
import { Prng } from "../src/base/prng.ts";
import { KiB, MiB } from "../src/base/units.ts";
import { EXIT } from "../src/cli/exit_codes.ts";
import { connect, type NucleusClient } from "../src/client/index.ts";
import { MachineWatch, type Span } from "./machine.ts";
import { NativeLoad } from "./native_load.ts";
import { type OperatedCluster, onOperated } from "./operated.ts";
import type { NodeProcess } from "./processes.ts";
import { chosenProgram, PROGRAM_OPTIONS, shownProgram } from "./program.ts";
import { type Kind, type LeftOut, type Percentile, ShardLoad } from "./shard_load.ts";

const P99_RATIO_MOST = 1.5;
const P99 = 0.99;
const FAILOVER_MS = 2000;
/** What a shard that is added gets some of: a move of a 64th of it takes about ten seconds at SLOW_BYTES. */
const FILL_KEYS = 6000;
const FILL_BYTES = 4 * KiB;
const FILL_LANES = 32;
const SLOW_BYTES = 32 * KiB;
const FAST_BYTES = 64 * MiB;

const { values } = parseArgs({
  options: {
    ...PROGRAM_OPTIONS,
    seconds: { type: "string", default: "60" },
    seed: { type: "string" },
    "no-figures": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});

const seed = Number(values.seed ?? Math.floor(performance.timeOrigin) % 1_000_000);
const downMs = Number(values.seconds) * 1000;
const program = chosenProgram(values);
const say = (line: string): void => (values.json ? console.error(line) : console.log(line));

type Scene = {
  readonly cluster: OperatedCluster;
  readonly load: ShardLoad;
  readonly machine: MachineWatch;
  readonly db: NucleusClient<string>;
  readonly leftOut: LeftOut[];
  before: Span;
  down: Span;
};

const padding = "x".repeat(FILL_BYTES);
const fillKey = (i: number): string => `fill:${i}`;

async function eachFilled(act: (i: number) => Promise<void>): Promise<void> {
  const lane = async (first: number): Promise<void> => {
    for (let i = first; i < FILL_KEYS; i += FILL_LANES) await act(i);
  };
  await Promise.all(Array.from({ length: FILL_LANES }, (_, first) => lane(first)));
}

const fill = (db: NucleusClient<string>): Promise<void> =>
  eachFilled(async (i) => void (await db.set(fillKey(i), `${i} ${padding}`)));

async function checkFilled(db: NucleusClient<string>, problems: string[]): Promise<void> {
  let lost = 0;
  await eachFilled(async (i) => {
    if ((await db.get(fillKey(i))) !== `${i} ${padding}`) lost++;
  });
  if (lost > 0) problems.push(`${lost} of ${FILL_KEYS} keys that were there before are lost or wrong`);
}

/** Slots that the leader of a shard serves, as it says itself. */
async function slotsOf(cluster: OperatedCluster, shard: string): Promise<number> {
  const found = await Promise.all(cluster.nodes.map((node) => node.status()));
  const told = found.flatMap((status) => status?.shards.filter(({ id }) => id === shard) ?? []);
  return Math.max(0, ...told.filter(({ role }) => role === "leader").map(({ slots }) => slots));
}

/** Begins to add a shard; resolves when some moves are under way, with how many slots it has when they have ended. */
async function beginToAdd(cluster: OperatedCluster, id: string): Promise<number> {
  await cluster.set({ moveBytesPerSecond: SLOW_BYTES });
  await cluster.must("shard", "add", "--id", id, "--json");
  let slots = 0;
  await cluster.until("a move to be under way", async () => {
    const { moves } = await cluster.reshard();
    const begun = moves.filter(({ state, keys }) => state !== "done" && keys > 0);
    const over = moves.filter(({ state }) => state === "done");
    slots = [...begun, ...over].reduce((sum, { slotCount }) => sum + slotCount, 0);
    return begun.length > 0;
  });
  return slots;
}

/** All that happens while nobody is there to be asked. */
async function whileDown(scene: Scene, slotsSoon: number): Promise<void> {
  const { cluster, leftOut } = scene;
  const startMs = performance.now();
  const at = (share: number): Promise<void> =>
    sleep(Math.max(0, startMs + share * downMs - performance.now()));
  await at(0.1);
  const { code } = await cluster.type("shard", "add", "--id", "s9", "--json");
  if (code !== EXIT.unavailable) cluster.problems.push(`shard add ended with exit code ${code}`);
  await at(0.3);
  const leader = await cluster.leaderOf("s1");
  const shards = await cluster.ledBy(leader);
  const killedMs = performance.now();
  leftOut.push({ shards, fromMs: killedMs, toMs: killedMs + FAILOVER_MS });
  await leader.kill();
  const next = await cluster.leaderOf("s1");
  say(`${leader.id} was killed, ${next.id} leads s1 after ${Math.round(performance.now() - killedMs)} ms`);
  await sleep(FAILOVER_MS);
  await cluster.startAgain(leader);
  await at(0.6);
  await restart(scene, cluster.nodes.find((node) => node !== leader && node !== next) as NodeProcess);
  await cluster.until(
    `s3 to have its ${slotsSoon} slots`,
    async () => (await slotsOf(cluster, "s3")) >= slotsSoon,
  );
  say(`the moves that were begun have ended: s3 serves ${slotsSoon} slots`);
  await at(1);
}

async function restart({ cluster }: Scene, node: NodeProcess): Promise<void> {
  const how = await node.stop();
  if (how !== "exit code 0") cluster.problems.push(`SIGTERM ended ${node.id} with ${how}`);
  const startMs = performance.now();
  await cluster.startAgain(node);
  const alone = connect(`nucleus://127.0.0.1:${node.port}`, { name: "after-restart" });
  await alone.get(fillKey(0));
  const tookMs = Math.round(performance.now() - startMs);
  await Promise.all(Array.from({ length: 100 }, (_, i) => alone.get(fillKey(i))));
  await alone.close();
  const held = (await node.status())?.shards.length ?? 0;
  if (held === 0) cluster.problems.push(`${node.id} came back without its replicas`);
  say(`${node.id} was restarted: it serves after ${tookMs} ms, ${held} replicas`);
}

/** Started again, one of them blank; resolves when the plan has ended. */
async function comeBack({ cluster }: Scene): Promise<void> {
  const [, second, blank] = cluster.controls as [NodeProcess, NodeProcess, NodeProcess];
  fs.rmSync(blank.dataDir, { recursive: true });
  const startMs = performance.now();
  for (const one of cluster.controls) one.start();
  await cluster.until("the control plane to answer", async () => {
    return (await cluster.set({ moveBytesPerSecond: FAST_BYTES }).catch(() => null)) !== null;
  });
  say(`the control plane answers ${Math.round(performance.now() - startMs)} ms after its start`);
  await cluster.until("the plan to end", async () => !(await cluster.reshard()).active);
  const { last } = await cluster.reshard();
  if (last === null || last.cancelled || last.done !== last.moves)
    cluster.problems.push(`the plan ended as ${JSON.stringify(last)}`);
  const log = (one: NodeProcess): string => fs.readFileSync(join(one.dir, "log"), "utf8");
  await cluster.until(`${blank.id} to be a voter again`, async () => {
    return cluster.controls.some((one) => /"promoted":"\d+","removed":"3"/.test(log(one)));
  });
  await second.kill();
  await cluster.until("somebody to lead the control plane and to hear all nodes", async () => {
    const live = await cluster.live().catch(() => null);
    return live?.list("nodes").every((node) => node.text("state") === "alive") === true;
  });
  await cluster.must("shard", "add", "--id", "s4", "--wait", "--json");
  say(`a shard was added while ${second.id} was down: ${blank.id}, which had lost its disk, votes`);
  second.start();
}

function figures({ load, machine, before, down, leftOut }: Scene): Figure[] {
  const judged = <T>(limit: T): { limit?: T } => (values["no-figures"] ? {} : { limit });
  const list: Figure[] = [
    {
      name: "failed calls of the client library",
      value: load.failuresIn(down, "native").length,
      ...judged({ most: 0 }),
    },
    { name: "errors on proxy ports", value: load.failuresIn(down, "resp").length, ...judged({ most: 0 }) },
    { name: "calls cut with their connection's node", value: load.cut },
    { name: "calls that a node at its start sent elsewhere (LOADING)", value: load.loading },
  ];
  for (const [kind, name] of [
    ["native", "client library"],
    ["resp", "proxy ports"],
  ] as const) {
    const p99 = (span: Span): Percentile => load.percentile(kind satisfies Kind, P99, span, leftOut, machine);
    const [then, now] = [p99(before), p99(down)];
    const value = now.ms / then.ms;
    list.push({ name: `${name}: p99 before, ms`, value: then.ms, digits: 1 });
    list.push({ name: `${name}: p99 while down, ms`, value: now.ms, digits: 1 });
    list.push({
      name: `${name}: p99 while down / before`,
      value,
      digits: 2,
      ...judged({ most: P99_RATIO_MOST }),
    });
    list.push({ name: `${name}: calls of these`, value: then.judged + now.judged });
    list.push({
      name: `${name}: calls not judged: the machine stood still`,
      value: then.notJudged + now.notJudged,
    });
  }
  list.push(
    { name: "writes acknowledged", value: load.writes },
    { name: "reads checked", value: load.reads },
  );
  list.push({ name: "load average of the machine", value: loadavg()[0] ?? Number.NaN, digits: 2 });
  return list;
}

async function play(scene: Scene): Promise<void> {
  const { cluster } = scene;
  await sleep(3000);
  scene.before = { fromMs: performance.now(), toMs: performance.now() + downMs };
  await sleep(downMs);
  const slots = await beginToAdd(cluster, "s3");
  const fromMs = performance.now();
  await Promise.all(cluster.controls.map((one) => one.kill()));
  say("all control processes were killed");
  await whileDown(scene, slots);
  scene.down = { fromMs, toMs: performance.now() };
  await comeBack(scene);
}

async function run(cluster: OperatedCluster): Promise<number> {
  const random = Prng.fromSeed(seed);
  const { problems } = cluster;
  const load = new ShardLoad(cluster.url, cluster.nodes, await cluster.map(), random.fork("load"), problems);
  const native = new NativeLoad(cluster.url, random.fork("native"), problems);
  const db = connect(cluster.url, { name: "fill" });
  await fill(db);
  load.start();
  native.start(0, 3, false);
  const machine = new MachineWatch(cluster.nodes, cluster.root);
  const never = { fromMs: 0, toMs: 0 };
  const scene: Scene = { cluster, load, machine, db, leftOut: [], before: never, down: never };
  await play(scene).catch((error) => void problems.push(`it could not go on: ${messageOf(error)}`));
  await Promise.all([load.stop(), native.stop(), machine.stop()]);
  try {
    await load.verify();
    await native.verify();
    await checkFilled(db, problems);
  } catch (error) {
    problems.push(`the judgement could not go on: ${messageOf(error)}`);
  }
  await Promise.all([load.close(), native.close(), db.close()]);
  for (const [said, times] of native.said) problems.push(`the second load, ${times} times: ${said}`);
  for (const problem of [...new Set(problems)].slice(0, 20)) say(`PROBLEM ${problem}`);
  for (const line of load.failureLines().slice(0, 10)) say(line);
  const safety = { name: "problems", value: problems.length, limit: { most: 0 } };
  const code = report([safety, ...figures(scene)], values.json);
  say(`seed ${seed}`);
  return code;
}

say(`seed ${seed}, ${shownProgram(program)}`);
const plan = { nodes: 4, controls: 3, shards: 2, replicas: 3 };
await onOperated(program, plan, { keep: values.keep, say }, run);

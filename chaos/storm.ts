/**
 * A storm: faults against a running cluster under load, and the judgement afterwards. Used by kill.ts, at length,
 * and by the tests of the compiled program, in short form.
 *
 *     leader kills    kill -9 of the leader, and its start again
 *     all kills       kill -9 of all nodes at once, and their start again
 *     stops           SIGSTOP of the leader for 0.3 to 5 s
 *     orphans         SIGSTOP of all others, kill -9 of the leader while it is alone, then everybody goes on: what
 *                     it took alone must not have been acknowledged
 *     lags            kill -9 of a follower, until the log it lacks has become a snapshot
 *
 * Between two faults the cluster is given time until writes flow again and all nodes are up.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../src/base/errors.ts";
import { Prng } from "../src/base/prng.ts";
import { MiB } from "../src/base/units.ts";
import { NativeLoad } from "./native_load.ts";
import type { NodeProcess, ProcessCluster } from "./processes.ts";
import { RespLoad } from "./resp_load.ts";

export type StormPlan = {
  readonly seed: number;
  readonly leaderKills: number;
  readonly allKills: number;
  readonly stops: number;
  readonly orphans: number;
  readonly lags: number;
  /** How long the leader is stopped. */
  readonly stopMs: readonly [least: number, most: number];
  /** How long a killed node stays down. */
  readonly downMs: readonly [least: number, most: number];
  /** Calm between faults. */
  readonly calmMs: readonly [least: number, most: number];
  readonly writers: number;
  readonly pipeline: number;
  readonly readers: number;
  readonly incrLanes: number;
  readonly registerLanes: number;
};

export const STORM_DEFAULT: Omit<StormPlan, "seed" | "leaderKills" | "allKills" | "stops"> = {
  orphans: 0,
  lags: 0,
  stopMs: [300, 5000],
  downMs: [100, 1500],
  calmMs: [200, 800],
  writers: 3,
  pipeline: 8,
  readers: 2,
  incrLanes: 2,
  registerLanes: 4,
};

type Fault = "leader" | "all" | "stop" | "orphan" | "lag";
type Gaps = Record<Fault, number[]>;

export type StormResult = {
  readonly problems: string[];
  /** Of each fault: the longest time without an acknowledged write around it, milliseconds. */
  readonly gapsMs: Readonly<Gaps>;
  readonly resp: RespLoad["counts"];
  readonly native: NativeLoad["counts"];
  readonly keys: number;
};

/** Writes have to flow again this long after a fault has ended, or something is broken. */
const FLOW_MS_MAX = 60_000;
const FLOW_ACKS = 5;
const STATUS_MS_MAX = 5000;
/** A start takes about so long: recovery, first segment, an election. */
const START_MS = 400;
/** More than the log keeps for a follower that is away: eight segments of SEGMENT_BYTES. */
const LAG_BYTES = 48 * MiB;
export const SEGMENT_BYTES = 4 * MiB;

export async function storm(
  cluster: ProcessCluster,
  plan: StormPlan,
  say: (line: string) => void,
): Promise<StormResult> {
  const random = Prng.fromSeed(plan.seed);
  const { problems } = cluster;
  const resp = new RespLoad(cluster.nodes, random.fork("resp"), problems);
  const native = new NativeLoad(cluster.url, random.fork("native"), problems);
  const gapsMs: Gaps = { leader: [], all: [], stop: [], orphan: [], lag: [] };
  resp.start(plan.writers, plan.pipeline, plan.readers);
  native.start(plan.incrLanes, plan.registerLanes);
  const faults = drawFaults(plan, random.fork("faults"));
  const draws = random.fork("times");
  try {
    await flow(native, performance.now());
    for (const [i, fault] of faults.entries()) {
      await sleep(draws.between(...plan.calmMs));
      const atMs = performance.now();
      const what = await STRIKES[fault](await cluster.leader(), { cluster, plan, random: draws, native });
      await flow(native, performance.now());
      await everybodyUp(cluster);
      const gapMs = native.longestGap(atMs, performance.now());
      gapsMs[fault].push(gapMs);
      const line = `${what}: no write acknowledged for ${Math.round(gapMs)} ms`;
      say(`${String(i + 1).padStart(3)}/${faults.length}  ${line}`);
      if (problems.length > 0) break;
    }
  } catch (error) {
    problems.push(`the storm could not go on: ${messageOf(error)}`);
  }
  await Promise.all([resp.stop(), native.stop()]);
  await judge(cluster, resp, native, problems).catch((error) => {
    problems.push(`the judgement could not go on: ${messageOf(error)}`);
  });
  await native.close();
  return {
    problems,
    gapsMs,
    resp: resp.counts,
    native: native.counts,
    keys: resp.keys.length,
  };
}

/** All faults in drawn order. */
function drawFaults(plan: StormPlan, random: Prng): Fault[] {
  const list: Fault[] = [];
  const left: [Fault, number][] = [
    ["leader", plan.leaderKills],
    ["all", plan.allKills],
    ["stop", plan.stops],
    ["orphan", plan.orphans],
    ["lag", plan.lags],
  ];
  for (let total = left.reduce((sum, [, count]) => sum + count, 0); total > 0; total--) {
    let choice = random.below(total);
    const kind = left.find((each) => (choice -= each[1]) < 0) as [Fault, number];
    kind[1]--;
    list.push(kind[0]);
  }
  return list;
}

type Scene = {
  readonly cluster: ProcessCluster;
  readonly plan: StormPlan;
  readonly random: Prng;
  readonly native: NativeLoad;
};

const STRIKES: Readonly<Record<Fault, (leader: NodeProcess, scene: Scene) => Promise<string>>> = {
  leader: async (leader, { plan, random }) => {
    const { pid } = leader;
    await leader.kill();
    await sleep(random.between(...plan.downMs));
    const again = await startAgain([leader], random);
    return `kill -9 of the leader ${leader.id} (${pid})${again}`;
  },
  all: async (_leader, { cluster: { nodes }, plan, random }) => {
    await Promise.all(nodes.map((node) => node.kill()));
    await sleep(random.between(...plan.downMs));
    const again = await startAgain(nodes, random);
    return `kill -9 of all ${nodes.length} nodes${again}`;
  },
  stop: async (leader, { plan, random }) => {
    const stopMs = random.between(...plan.stopMs);
    leader.pause();
    await sleep(stopMs);
    leader.resume();
    return `SIGSTOP of the leader ${leader.id} (${leader.pid}) for ${stopMs} ms`;
  },
  orphan: async (leader, { cluster, random }) => {
    const others = cluster.nodes.filter((node) => node !== leader);
    for (const node of others) node.pause();
    await sleep(random.between(50, 400));
    await leader.kill();
    for (const node of others) node.resume();
    await sleep(random.between(500, 1500));
    leader.start();
    return `all others stopped, then kill -9 of the leader ${leader.id}`;
  },
  lag: async (leader, { cluster, random, native }) => {
    const follower = random.pick(cluster.nodes.filter((node) => node !== leader));
    await follower.kill();
    await native.ballast(LAG_BYTES);
    follower.start();
    const { applied = 0 } = (await leader.status(STATUS_MS_MAX))?.shards[0] ?? {};
    await caughtUp(follower, applied);
    return `kill -9 of the follower ${follower.id} for ${LAG_BYTES / MiB} MiB`;
  },
};

/** Starts the nodes; one time in three they are killed once more while they start, and started again. */
async function startAgain(nodes: readonly NodeProcess[], random: Prng): Promise<string> {
  for (const node of nodes) node.start();
  if (!random.chance(1, 3)) return "";
  const afterMs = random.between(0, START_MS);
  await sleep(afterMs);
  await Promise.all(nodes.map((node) => node.kill()));
  for (const node of nodes) node.start();
  return `, and again ${afterMs} ms after the start`;
}

/** Until `node` has applied `index`. */
async function caughtUp(node: NodeProcess, index: number): Promise<void> {
  const untilMs = performance.now() + FLOW_MS_MAX;
  for (;;) {
    const status = await node.status(STATUS_MS_MAX);
    if ((status?.shards[0]?.applied ?? 0) >= index || !node.running) return;
    if (performance.now() > untilMs)
      throw new Error(`${node.id} did not reach entry ${index}:\n${node.logTail()}`);
    await sleep(50);
  }
}

/** Until writes are acknowledged again. */
async function flow(native: NativeLoad, sinceMs: number): Promise<void> {
  while (native.acksSince(sinceMs) < FLOW_ACKS) {
    if (performance.now() - sinceMs > FLOW_MS_MAX) throw new Error(`no writes within ${FLOW_MS_MAX} ms`);
    await sleep(10);
  }
}

async function everybodyUp(cluster: ProcessCluster): Promise<void> {
  const untilMs = performance.now() + FLOW_MS_MAX;
  for (const node of cluster.nodes) await upSoon(node, untilMs);
}

async function upSoon(node: NodeProcess, untilMs: number): Promise<void> {
  while ((await node.status()) === null) {
    if (!node.running) return; // it has been reported
    if (performance.now() > untilMs) throw new Error(`${node.id} does not answer:\n${node.logTail()}`);
    await sleep(20);
  }
}

async function judge(
  cluster: ProcessCluster,
  resp: RespLoad,
  native: NativeLoad,
  problems: string[],
): Promise<void> {
  if (cluster.nodes.some((node) => !node.running)) return;
  await resp.verify();
  await native.verify();
  const differs = await cluster.converge();
  if (differs !== "") problems.push(differs);
  for (const node of cluster.nodes) {
    const how = await node.stop();
    if (how !== "exit code 0") problems.push(`SIGTERM ended ${node.id} with ${how}: ${node.logTail()}`);
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

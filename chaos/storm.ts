/**
 * A storm: faults against a running cluster under load, and the judgement afterwards. Used by kill.ts, at length,
 * and by the tests of the compiled program, in short form.
 *
 *     leader kills    kill -9 of the leader, and its start again
 *     all kills       kill -9 of all nodes at once, and their start again
 *     stops           SIGSTOP of the leader for 0.3 to 5 s
 *
 * Between two faults the cluster is given time until writes flow again and all nodes are up.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Prng } from "../src/base/prng.ts";
import { NativeLoad } from "./native_load.ts";
import type { NodeProcess, ProcessCluster } from "./processes.ts";
import { RespLoad } from "./resp_load.ts";

export type StormPlan = {
  readonly seed: number;
  readonly leaderKills: number;
  readonly allKills: number;
  readonly stops: number;
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
  stopMs: [300, 5000],
  downMs: [100, 1500],
  calmMs: [200, 800],
  writers: 3,
  pipeline: 8,
  readers: 2,
  incrLanes: 2,
  registerLanes: 4,
};

type Fault = "leader" | "all" | "stop";

export type StormResult = {
  readonly problems: string[];
  /** Of each kill of the leader: milliseconds between the acknowledgements around it. */
  readonly gapsMs: number[];
  readonly allGapsMs: number[];
  readonly stopGapsMs: number[];
  readonly faults: Readonly<Record<Fault, number>>;
  readonly resp: RespLoad["counts"];
  readonly native: NativeLoad["counts"];
  readonly keys: number;
};

/** Writes have to flow again this long after a fault has ended, or something is broken. */
const FLOW_MS_MAX = 60_000;
const FLOW_ACKS = 5;

export async function storm(
  cluster: ProcessCluster,
  plan: StormPlan,
  say: (line: string) => void,
): Promise<StormResult> {
  const random = Prng.fromSeed(plan.seed);
  const { problems } = cluster;
  const resp = new RespLoad(cluster.nodes, random.fork("resp"), problems);
  const native = new NativeLoad(cluster.url, random.fork("native"), problems);
  const gaps: Record<Fault, number[]> = { leader: [], all: [], stop: [] };
  resp.start(plan.writers, plan.pipeline, plan.readers);
  native.start(plan.incrLanes, plan.registerLanes);
  const faults = drawFaults(plan, random.fork("faults"));
  const draws = random.fork("times");
  try {
    await flow(native, performance.now());
    for (const [i, fault] of faults.entries()) {
      await sleep(draws.between(...plan.calmMs));
      const line = await strike(cluster, fault, plan, draws, native, gaps);
      say(`${String(i + 1).padStart(3)}/${faults.length}  ${line}`);
      if (problems.length > 0) break;
    }
  } finally {
    await Promise.all([resp.stop(), native.stop()]);
  }
  await judge(cluster, resp, native, problems);
  await native.close();
  return {
    problems,
    gapsMs: gaps.leader,
    allGapsMs: gaps.all,
    stopGapsMs: gaps.stop,
    faults: { leader: gaps.leader.length, all: gaps.all.length, stop: gaps.stop.length },
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
  ];
  for (let total = plan.leaderKills + plan.allKills + plan.stops; total > 0; total--) {
    let choice = random.below(total);
    const kind = left.find((each) => (choice -= each[1]) < 0) as [Fault, number];
    kind[1]--;
    list.push(kind[0]);
  }
  return list;
}

async function strike(
  cluster: ProcessCluster,
  fault: Fault,
  plan: StormPlan,
  random: Prng,
  native: NativeLoad,
  gaps: Record<Fault, number[]>,
): Promise<string> {
  const leader = await cluster.leader();
  const { pid } = leader;
  const atMs = performance.now();
  let what = "";
  if (fault === "leader") {
    await leader.kill();
    await sleep(random.between(...plan.downMs));
    leader.start();
    what = `kill -9 of the leader ${leader.id} (${pid})`;
  } else if (fault === "all") {
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    await sleep(random.between(...plan.downMs));
    for (const node of cluster.nodes) node.start();
    what = `kill -9 of all ${cluster.nodes.length} nodes`;
  } else {
    const stopMs = random.between(...plan.stopMs);
    leader.pause();
    await sleep(stopMs);
    leader.resume();
    what = `SIGSTOP of the leader ${leader.id} (${pid}) for ${stopMs} ms`;
  }
  await flow(native, performance.now());
  await everybodyUp(cluster);
  const gapMs = native.longestGap(atMs, performance.now());
  gaps[fault].push(gapMs);
  return `${what}: no write acknowledged for ${Math.round(gapMs)} ms`;
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

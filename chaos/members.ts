/**
 * Changes of members under load: what do clients see while nodes come and go?
 *
 *     npx bun chaos/members.ts --binary dist/nucleus
 *
 *     --binary PATH      the program; dist/nucleus, or dist/nucleus.mjs with --runtime node
 *     --runtime R        bun (the compiled program) or node
 *     --rounds N         the steps, N times (1)
 *     --steps LIST       some of dead,grow,drain,blank (all)
 *     --calm S           seconds of load after each step, and before the first (4)
 *     --fill MiB         data that new replicas have to be sent, beside the load's own keys (8)
 *     --seed N           keys and the order of reads; timing itself is the machine's
 *     --no-figures       judge safety alone
 *     --json             one line of JSON instead of the table; what happens meanwhile goes to stderr
 *     --keep             leave the directory of the cluster
 *
 * Six nodes, two shards, one control process. The steps of a round:
 *
 *     dead      kill -9 of the leader of s1, for good; `node replace` puts another node in its place, `node remove`
 *     grow      s2 gets two replicas more, then its leader and another one are taken out
 *     drain     `node drain` of a node that leads, then SIGTERM and `node remove`
 *     blank     kill -9 of a follower's node, its directory wiped, started as always
 *
 * Nodes that were removed begin anew on empty directories, so that the next round has six again. After each step `status`
 * must say healthy, the replicas must be as wished, and every key is read back.
 *
 * Exit code 1 if an acknowledged write is missing, a read was stale, a sum is wrong, a history is not linearizable, a
 * node ended by itself, a step was not fulfilled; or, unless --no-figures, if a call of the client library failed, a
 * proxy port answered with an error outside the FAILOVER_MS after a kill of its shard's leader, or a shard had no
 * acknowledged write in more than one in a thousand windows of 100 ms outside these. Empty windows in which the machine
 * itself stood still (machine.ts) are told and not judged.
 */
import * as fs from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Figure, report } from "../bench/figures.ts";
import { messageOf } from "../src/base/errors.ts";
import { Prng } from "../src/base/prng.ts";
import { MiB } from "../src/base/units.ts";
import { EXIT } from "../src/cli/exit_codes.ts";
import { MachineWatch, type Span } from "./machine.ts";
import { NativeLoad } from "./native_load.ts";
import { type OperatedCluster, onOperated } from "./operated.ts";
import type { NodeProcess } from "./processes.ts";
import { chosenProgram, PROGRAM_OPTIONS, shownProgram } from "./program.ts";
import { type LeftOut, ShardLoad } from "./shard_load.ts";

const FILLED_LEAST = 99.9;
const FAILOVER_MS = 2000;
const NODES = 6;

const { values } = parseArgs({
  options: {
    ...PROGRAM_OPTIONS,
    rounds: { type: "string", default: "1" },
    steps: { type: "string", default: "dead,grow,drain,blank" },
    calm: { type: "string", default: "4" },
    fill: { type: "string", default: "8" },
    seed: { type: "string" },
    "no-figures": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});

const seed = Number(values.seed ?? Math.floor(performance.timeOrigin) % 1_000_000);
const calmMs = Number(values.calm) * 1000;
const program = chosenProgram(values);
const say = (line: string): void => (values.json ? console.error(line) : console.log(line));

class Scene {
  readonly cluster: OperatedCluster;
  readonly load: ShardLoad;
  readonly machine: MachineWatch;
  readonly leftOut: LeftOut[] = [];
  readonly steps: { readonly name: string; readonly span: Span; readonly tookMs: number }[] = [];
  /** Which nodes should hold which shard. */
  readonly wished = new Map<string, string[]>();

  constructor(cluster: OperatedCluster, load: ShardLoad) {
    this.cluster = cluster;
    this.machine = new MachineWatch(cluster.nodes, cluster.root);
    this.load = load;
    for (const [i, shard] of load.shards.entries())
      this.wished.set(
        shard,
        [1, 2, 3].map((j) => `n${((i + j - 1) % NODES) + 1}`),
      );
  }

  replicasOf(shard: string): string[] {
    return this.wished.get(shard) as string[];
  }

  /** Nodes that hold nothing. */
  get spare(): string[] {
    const held = new Set([...this.wished.values()].flat());
    return this.cluster.nodes.filter(({ id, isDown }) => !held.has(id) && !isDown).map(({ id }) => id);
  }

  async kill(node: NodeProcess): Promise<void> {
    const shards = await this.cluster.ledBy(node);
    const fromMs = performance.now();
    this.leftOut.push({ shards, fromMs, toMs: fromMs + FAILOVER_MS });
    await node.kill();
  }

  /** `node remove`, which is refused until the control plane has missed the node for some seconds. */
  async forget(node: NodeProcess): Promise<void> {
    await this.cluster.until(`${node.id} to be removed`, async () => {
      const { code, stderr } = await this.cluster.type("node", "remove", node.id, "--yes", "--json");
      if (code !== 0 && code !== EXIT.conflict) throw new Error(`node remove ${node.id}: ${stderr}`);
      return code === 0;
    });
  }

  /** A node that was removed, or whose disk was lost; resolves when it answers. */
  async beginAnew(node: NodeProcess): Promise<void> {
    fs.rmSync(node.dataDir, { recursive: true, force: true });
    await this.cluster.startAgain(node);
  }

  exchange(old: string, by: string | undefined): void {
    for (const [shard, nodes] of this.wished) {
      if (!nodes.includes(old)) continue;
      this.wished.set(shard, [...nodes.filter((id) => id !== old), ...(by === undefined ? [] : [by])]);
    }
  }

  /** Does it, waits until all is as wished, leaves the load alone for a while, and reads everything back. */
  async step(name: string, act: () => Promise<void>): Promise<void> {
    const fromMs = performance.now();
    await act();
    await this.cluster.settled(this.wished);
    const tookMs = performance.now() - fromMs;
    await sleep(calmMs);
    const span = { fromMs, toMs: performance.now() };
    this.steps.push({ name, span, tookMs });
    const count = await this.load.readBack();
    const parts = this.load.shards.map((shard) => {
      const { filled, emptyAtMs, notJudged } = this.load.windows(shard, span, this.leftOut, this.machine);
      const at = emptyAtMs.slice(0, 5).map((ms) => `+${Math.round(ms - fromMs)}`);
      const where = at.length === 0 ? "" : ` (at ${at.join(" ")} ms)`;
      const rest = notJudged > 0 ? `, ${notJudged} not judged` : "";
      return `${shard} ${emptyAtMs.length} of ${filled + emptyAtMs.length} windows empty${where}${rest}`;
    });
    const failed = this.load.failures.filter(({ atMs }) => atMs >= fromMs).length;
    say(
      `${name}: ${(tookMs / 1000).toFixed(1)} s; ${parts.join("; ")}; ${failed} failed; ${count} keys read back`,
    );
  }
}

async function dead(scene: Scene): Promise<void> {
  const { cluster } = scene;
  const victim = await cluster.leaderOf("s1");
  const [by] = scene.spare as [string];
  await scene.step(`kill -9 of ${victim.id}, which leads s1, for good; ${by} takes its place`, async () => {
    await scene.kill(victim);
    await cluster.must("node", "replace", victim.id, "--with", by, "--json");
    scene.exchange(victim.id, by);
    await scene.forget(victim);
  });
  await scene.beginAnew(victim);
}

async function grow(scene: Scene): Promise<void> {
  const { cluster } = scene;
  const before = scene.replicasOf("s2");
  const more = cluster.nodes.filter(({ id, isDown }) => !before.includes(id) && !isDown).slice(0, 2);
  await scene.step(`s2 from 3 to 5 replicas, with ${more.map(({ id }) => id).join(" and ")}`, async () => {
    for (const { id } of more) await cluster.must("node", "add", id, "--shard", "s2", "--wait", "--json");
    scene.wished.set("s2", [...before, ...more.map(({ id }) => id)]);
  });
  const leader = await cluster.leaderOf("s2");
  const other = before.find((id) => id !== leader.id) as string;
  const less = [leader.id, other];
  await scene.step(
    `s2 from 5 to 3 replicas, without ${less[0]}, which leads it, and ${less[1]}`,
    async () => {
      for (const id of less) await cluster.must("node", "remove", id, "--shard", "s2", "--wait", "--json");
      scene.wished.set(
        "s2",
        scene.replicasOf("s2").filter((id) => !less.includes(id)),
      );
    },
  );
}

async function drain(scene: Scene): Promise<void> {
  const { cluster } = scene;
  const victim = await cluster.leaderOf("s1");
  await scene.step(`drain of ${victim.id}, which leads s1; SIGTERM, removed`, async () => {
    await cluster.must("node", "drain", victim.id, "--wait", "--json");
    for (const shard of (await cluster.live()).list("shards"))
      scene.wished.set(shard.text("id"), [...shard.texts("wanted")]);
    const how = await victim.stop();
    if (how !== "exit code 0") cluster.problems.push(`SIGTERM ended ${victim.id} with ${how}`);
    await scene.forget(victim);
  });
  await scene.beginAnew(victim);
}

async function blank(scene: Scene): Promise<void> {
  const { cluster } = scene;
  const leader = await cluster.leaderOf("s1");
  const id = scene.replicasOf("s1").find((one) => one !== leader.id) as string;
  const victim = cluster.node(id);
  await scene.step(`kill -9 of ${id}, a follower in s1, its directory wiped, started again`, async () => {
    await scene.kill(victim);
    await scene.beginAnew(victim);
  });
}

const STEPS: Readonly<Record<string, (scene: Scene) => Promise<void>>> = { dead, grow, drain, blank };

function figures(scene: Scene): Figure[] {
  const { load, leftOut, machine, steps } = scene;
  const whole = { fromMs: steps[0]?.span.fromMs ?? 0, toMs: Number.POSITIVE_INFINITY };
  const judged = <T>(limit: T): { limit?: T } => (values["no-figures"] ? {} : { limit });
  const list: Figure[] = [
    {
      name: "failed calls of the client library",
      value: load.failuresIn(whole, "native").length,
      ...judged({ most: 0 }),
    },
    {
      name: "errors on proxy ports",
      value: load.failuresIn(whole, "resp", leftOut).length,
      ...judged({ most: 0 }),
    },
    {
      name: "errors on proxy ports after kills of leaders",
      value: load.failuresIn(whole, "resp").length - load.failuresIn(whole, "resp", leftOut).length,
    },
    { name: "calls cut with their connection's node", value: load.cut },
    { name: "calls that a node at its start sent elsewhere (LOADING)", value: load.loading },
  ];
  for (const shard of load.shards) {
    let [filled, empty, notJudged] = [0, 0, 0];
    for (const { span } of steps) {
      const part = load.windows(shard, span, leftOut, machine);
      filled += part.filled;
      empty += part.emptyAtMs.length;
      notJudged += part.notJudged;
    }
    list.push({
      ...{
        name: `${shard}: % of windows with an acknowledged write`,
        value: (filled / (filled + empty)) * 100,
      },
      ...{ digits: 2, ...judged({ least: FILLED_LEAST }) },
    });
    list.push({ name: `${shard}: empty windows`, value: empty });
    list.push({ name: `${shard}: windows not judged: the machine stood still`, value: notJudged });
  }
  list.push(
    { name: "writes acknowledged", value: load.writes },
    { name: "reads checked", value: load.reads },
  );
  list.push({ name: "load average of the machine", value: loadavg()[0] ?? Number.NaN, digits: 2 });
  return list;
}

async function run(cluster: OperatedCluster): Promise<number> {
  const steps = values.steps.split(",").map((name) => STEPS[name]);
  if (steps.includes(undefined)) throw new Error(`--steps takes some of ${Object.keys(STEPS).join()}`);
  const random = Prng.fromSeed(seed);
  const { problems } = cluster;
  const load = new ShardLoad(cluster.url, cluster.nodes, await cluster.map(), random.fork("load"), problems);
  const native = new NativeLoad(cluster.url, random.fork("native"), problems);
  await native.ballast(Number(values.fill) * MiB);
  load.start();
  native.start(0, 3, false);
  const scene = new Scene(cluster, load);
  try {
    await sleep(2000);
    await scene.step("nothing", async () => {});
    for (let round = 0; round < Number(values.rounds) && problems.length === 0; round++) {
      for (const step of steps) {
        await step?.(scene);
        await allRegistered(scene);
        if (problems.length > 0) break;
      }
    }
  } catch (error) {
    problems.push(`it could not go on: ${messageOf(error)}`);
  }
  await Promise.all([load.stop(), native.stop(), scene.machine.stop()]);
  try {
    await load.verify();
    await native.verify();
  } catch (error) {
    problems.push(`the judgement could not go on: ${messageOf(error)}`);
  }
  await Promise.all([load.close(), native.close()]);
  const { refused, unknown } = native.counts;
  if (refused + unknown > 0)
    problems.push(`${refused} calls of the second load were refused, ${unknown} unknown`);
  for (const problem of [...new Set(problems)].slice(0, 20)) say(`PROBLEM ${problem}`);
  for (const line of load.failureLines().slice(0, 10)) say(line);
  const code = report(
    [{ name: "problems", value: problems.length, limit: { most: 0 } }, ...figures(scene)],
    values.json,
  );
  say(`seed ${seed}`);
  return code;
}

/** Nodes that began anew are there before the next step picks some. */
async function allRegistered({ cluster }: Scene): Promise<void> {
  await cluster.until("all nodes to be alive", async () => {
    const nodes = (await cluster.live()).list("nodes");
    return nodes.length === NODES && nodes.every((node) => node.text("state") === "alive");
  });
}

say(`seed ${seed}, ${shownProgram(program)}`);
const plan = { nodes: NODES, controls: 1, shards: 2, replicas: 3 };
await onOperated(program, plan, { keep: values.keep, say }, run);

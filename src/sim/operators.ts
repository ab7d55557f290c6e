/**
 * Two operators of a managed cluster, as a plan has them (plan_managed.ts): they speak to nodes, as `nucleus shard add` and
 * its like do, and choose by what the control plane last knew. Not every wish can be fulfilled: what is refused is let be.
 *
 * When the time for faults is over they take back what would keep the cluster from coming to rest: plans that wait for
 * a cutover are cut over, drained nodes are taken in again.
 */
import type { Prng } from "../base/prng.ts";
import type { Platform } from "../platform/platform.ts";
import { below } from "./chance.ts";
import { type Cluster, OPERATOR_MACHINE } from "./cluster.ts";
import { Disasters } from "./disasters.ts";
import { type Answer, answerOf, askNode } from "./hotline.ts";
import type { Meddling, Reshard } from "./plan_managed.ts";
import { Machine } from "./platform.ts";
import type { Town } from "./town.ts";
import type { Process } from "./world.ts";

const SHARDS_MAX = 5;
/** Between two looks at what became of a wish. */
const LOOK_US = 250_000;

export class Operators {
  readonly #cluster: Cluster;
  readonly #town: Town;
  readonly #random: Prng;
  readonly #reshards: Reshard[];
  readonly disasters: Disasters;
  #platform: Platform | null = null;
  #process: Process | null = null;
  #isOver = false;
  /** The plan that was wished last, and when it may be cut over. */
  #holdUntilUs = 0;

  constructor(cluster: Cluster, town: Town) {
    this.#cluster = cluster;
    this.#town = town;
    this.#random = cluster.world.stream("operators");
    this.#reshards = [...(cluster.plan.managed?.reshards ?? [])];
    this.disasters = new Disasters(cluster, town, {
      later: (delayUs, run) => this.#later(delayUs, run),
      get: (path, done) => this.#ask(["NUCLEUS", "CONTROL", "GET", path], done),
      post: (path, body, done) => this.#post(path, body, done),
    });
  }

  start(): void {
    const { world, net, plan } = this.#cluster;
    const machine = new Machine(world, net, OPERATOR_MACHINE, "operator");
    machine.start((platform) => {
      this.#platform = platform;
      this.#process = machine.process;
      this.#look();
      for (const meddling of plan.managed?.meddlings ?? [])
        this.#later(meddling.atUs - world.nowUs, () => this.#meddle(meddling));
      if (plan.managed !== undefined) this.disasters.start(plan.managed);
    });
  }

  /** Nothing new is wished. */
  end(): void {
    this.#isOver = true;
    this.disasters.end();
  }

  #later(delayUs: number, run: () => void): void {
    if (this.#process !== null) this.#cluster.world.timer(Math.max(0, delayUs), this.#process, run);
  }

  #ask(words: readonly string[], done: (answer: Answer | null) => void, host: string | null = null): void {
    const { layout, world } = this.#cluster;
    const nodes = layout.nodes;
    const node = nodes.find(({ id }) => id === host) ?? nodes[below(this.#random, nodes.length)];
    if (this.#platform === null || this.#process === null || node === undefined) return;
    if (world.trace.recording) world.tell("operator", OPERATOR_MACHINE, `${node.id}: ${words.join(" ")}`);
    askNode(world, this.#process, this.#platform, node, words, (reply) => {
      const answer = answerOf(reply);
      const text = reply?.kind === "simple" ? "OK" : `${answer?.status} ${answer?.text.slice(0, 120)}`;
      if (world.trace.recording) world.tell("operator", OPERATOR_MACHINE, `is told ${text}`);
      if (answer !== null && answer.status >= 200 && answer.status < 300) this.#cluster.count("operator");
      done(answer);
    });
  }

  #post(path: string, body: object, done: (answer: Answer | null) => void = () => {}): void {
    this.#ask(["NUCLEUS", "CONTROL", "POST", path, JSON.stringify(body)], done);
  }

  // ------------------------------------------------------------------------------------------- the resharder

  #look(): void {
    const { state } = this.#town;
    const again = (): void => this.#later(LOOK_US, () => this.#look());
    if (state === null || state.layout === null) return again();
    const { plan } = state;
    if (plan !== null) {
      const isHeld = plan.manual && !plan.cutover && plan.cancelled === 0;
      const mayCut = this.#isOver || this.#cluster.world.nowUs >= this.#holdUntilUs;
      if (isHeld && mayCut) return this.#post("/reshard/cutover", { epoch: plan.number }, again);
      return again();
    }
    const lost = this.#town.shards.find((shard) => shard.state === "lost");
    if (lost !== undefined) return this.#giveAway(lost.id, again);
    if (this.#isOver) return this.#takeBack(again);
    const next = this.#reshards.shift();
    if (next === undefined) return again();
    this.#holdUntilUs = this.#cluster.world.nowUs + next.holdUs;
    this.#reshard(next, again);
  }

  #reshard({ kind, pick, manual }: Reshard, done: () => void): void {
    const { shards, state } = this.#town;
    const active = shards.filter((shard) => shard.state === "active");
    if (kind === "add" && shards.length < SHARDS_MAX) return this.#post("/shard/add", { manual }, done);
    if (kind !== "reweigh" && active.length > 2) {
      const gone = active[pick % active.length];
      return this.#post("/shard/remove", { id: gone?.id, manual }, done);
    }
    const weights = active.map(({ id }, i) => ({ id, weight: [0.5, 0.8, 1, 1.3, 2][(pick + 7 * i) % 5] }));
    this.#post("/reshard/plan", { epoch: (state?.planNumber ?? 0) + 1, shards: weights, manual }, done);
  }

  /** What a lost shard had goes to the others, or to a new one if there are none. */
  #giveAway(id: string, done: () => void): void {
    const isLast = this.#town.shards.every(({ state }) => state === "lost");
    if (isLast) this.#post("/shard/add", {}, done);
    else this.#post("/shard/remove", { id }, done);
  }

  /** A node that is drained would keep its replicas for want of others. */
  #takeBack(done: () => void): void {
    const drained = [...(this.#town.state?.nodes.values() ?? [])].find(({ draining }) => draining);
    if (drained === undefined) return done();
    this.#post("/node", { node: drained.id, action: "undrain" }, done);
  }

  // ------------------------------------------------------------------------------------------- the meddler

  #meddle({ kind, pick }: Meddling): void {
    const { state } = this.#town;
    if (this.#isOver || state === null) return;
    const number = state.plan?.number;
    switch (kind) {
      case "cancel":
      case "cutover":
        if (number !== undefined) this.#post(`/reshard/${kind}`, { epoch: number });
        return;
      case "drain":
      case "undrain":
        return this.#drain(kind, pick);
      case "lead":
        return this.#lead(pick);
      case "desired":
        return this.#desire(pick);
    }
  }

  #drain(action: "drain" | "undrain", pick: number): void {
    const nodes = [...(this.#town.state?.nodes.values() ?? [])];
    const drained = nodes.filter(({ draining }) => draining);
    if (action === "undrain") {
      if (drained[0] !== undefined) this.#post("/node", { node: drained[0].id, action });
      return;
    }
    if (nodes.length - drained.length <= 3) return;
    this.#post("/node", { node: nodes[pick % nodes.length]?.id, action });
  }

  #lead(pick: number): void {
    const { shards } = this.#town;
    const shard = shards[pick % Math.max(1, shards.length)];
    const leader = shard === undefined ? null : this.#town.leaderOf(shard.group);
    const to = shard?.replicas[pick % shard.replicas.length];
    if (shard !== undefined && to !== undefined && leader !== null)
      this.#ask(["NUCLEUS", "LEADER", to, shard.id], () => {}, leader.node.id);
  }

  /** Three replicas become five, five three; or one goes elsewhere. */
  #desire(pick: number): void {
    const { shards, state } = this.#town;
    const shard = shards[pick % Math.max(1, shards.length)];
    if (shard === undefined || state === null) return;
    const free = [...state.nodes.keys()].filter((id) => !shard.replicas.includes(id)).sort();
    const [first, second] = [
      free[pick % Math.max(1, free.length)],
      free[(pick + 1) % Math.max(1, free.length)],
    ];
    if (shard.replicas.length > 3)
      this.#post("/cluster/desired", { shard: shard.id, remove: shard.replicas.slice(0, 2) });
    else if (free.length >= 2 && pick % 2 === 0)
      this.#post("/cluster/desired", { shard: shard.id, add: [first, second] });
    else if (first !== undefined)
      this.#post("/cluster/desired", { shard: shard.id, add: [first], remove: [shard.replicas[pick % 3]] });
  }
}

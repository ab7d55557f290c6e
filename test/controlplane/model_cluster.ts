/**
 * A model cluster under a real control plane: nodes that obey its orders late, twice or not at all, that crash, come
 * back, and lose their disks; commands that reach its log late or twice; leaders of it that begin with an empty memory.
 * All in one thread, from one seed.
 */
import { Prng } from "../../src/base/prng.ts";
import type { Body } from "../../src/controlplane/commands.ts";
import { Liveness, type View } from "../../src/controlplane/liveness.ts";
import { type Addressed, reconcile } from "../../src/controlplane/reconciler.ts";
import type { MetaState } from "../../src/controlplane/state.ts";
import type { Heard, Heartbeat } from "../../src/wire/control_plane.ts";
import { NOTHING_HEARD, register } from "./bodies.ts";
import { Driver, id } from "./driver.ts";
import { ModelGroup, type World } from "./model_group.ts";

export type ModelNode = {
  id: string;
  incarnation: string;
  up: boolean;
  held: Map<number, number>;
  wiped: number;
};
type Later = { at: number; run: () => void };

export const STEP_TICKS = 25;
const BEAT_STEPS = 4;
const ROUND_STEPS = 4;

export class ModelCluster implements World {
  readonly random: Prng;
  readonly driver = new Driver();
  readonly nodes = new Map<string, ModelNode>();
  readonly groups = new Map<number, ModelGroup>();
  liveness: Liveness;
  tick = 0;
  round = 0;
  /** Share of what is sent that gets lost, in hundredths; and the longest delay in steps. */
  lossPercent = 0;
  delayMax = 1;
  /** The highest numbers that nodes have seen. */
  heard: Heard = NOTHING_HEARD;
  orders: readonly Addressed[] = [];
  commands: readonly Body[] = [];
  onOrders: (orders: readonly Addressed[], view: View) => void = () => {};
  #later: Later[] = [];
  #steps = 0;

  constructor(seed: number, nodes: number) {
    this.random = Prng.fromSeed(seed);
    this.liveness = new Liveness(0);
    for (let i = 1; i <= nodes; i++) {
      const node = { id: `n${i}`, incarnation: id(`n${i}`), up: true, held: new Map(), wiped: 0 };
      this.nodes.set(node.id, node);
      this.driver.run(register(node.id, node.incarnation));
    }
  }

  get state(): MetaState {
    return this.driver.state;
  }

  isUp(node: string): boolean {
    return this.nodes.get(node)?.up === true;
  }

  holds(node: string, group: number, replica: number): boolean {
    return this.nodes.get(node)?.held.get(group) === replica;
  }

  put(node: string, group: number, replica: number): void {
    this.nodes.get(node)?.held.set(group, replica);
  }

  drop(node: string, group: number): void {
    this.nodes.get(node)?.held.delete(group);
  }

  /** Every group has all its replicas, three or more. */
  get isWhole(): boolean {
    return [...this.groups.values()].every(({ group, voters, learners, joint }) => {
      const held = voters.every(({ node, replica }) => this.holds(node, group, replica));
      return held && joint === null && learners.length === 0 && voters.length >= 3;
    });
  }

  shard(shardId: string): ModelGroup | undefined {
    return [...this.groups.values()].find((group) => group.shard === shardId);
  }

  /** A new leader of the control plane: it remembers nothing but the state. */
  failOver(): void {
    this.liveness = new Liveness(this.tick);
    this.round = 0;
  }

  wipe(nodeId: string): void {
    const node = this.nodes.get(nodeId);
    if (node === undefined) return;
    node.held.clear();
    node.incarnation = id(`${nodeId} again ${++node.wiped}`);
    this.rename(node);
  }

  /** The node has another incarnation. */
  protected rename({ id: nodeId, incarnation }: ModelNode): void {
    const registration = register(nodeId, incarnation);
    this.send(() => void this.driver.run(registration), true);
  }

  view(): View {
    return this.liveness.view(this.state, this.tick);
  }

  step(): void {
    this.tick += STEP_TICKS;
    this.#steps++;
    const due = this.#later.filter(({ at }) => at <= this.#steps);
    this.#later = this.#later.filter(({ at }) => at > this.#steps);
    for (const { run } of due) run();
    for (const group of this.groups.values()) group.step();
    let place = 0;
    for (const node of this.nodes.values()) if ((this.#steps + place++) % BEAT_STEPS === 0) this.#beat(node);
    this.control(this.#steps % ROUND_STEPS === 0);
  }

  protected send(run: () => void, surely = false): void {
    if (!surely && this.random.chance(this.lossPercent, 100)) return;
    this.#later.push({ at: this.#steps + this.random.between(1, this.delayMax), run });
  }

  #beat(node: ModelNode): void {
    if (!node.up) return;
    const beat = this.beatOf(node);
    this.send(() => this.deliver(node, beat));
  }

  protected beatOf(node: ModelNode): Heartbeat {
    const groups = [...node.held].flatMap(
      ([group, replica]) => this.groups.get(group)?.report(node.id, replica) ?? [],
    );
    const load = { commandsPerSecond: 0, bytes: 0, diskFreeBytes: 0 };
    return { node: node.id, incarnation: node.incarnation, heard: this.heard, load, groups };
  }

  protected deliver(_node: ModelNode, beat: Heartbeat): void {
    this.liveness.hear(this.state, beat, this.tick);
  }

  /** What the control plane does in a step. */
  protected control(isRound: boolean): void {
    if (!isRound) return;
    const view = this.view();
    const now = { state: this.state, view, round: this.round++, bootstrapOf: () => new Uint8Array(0) };
    const { commands, orders } = reconcile(now);
    this.commands = commands;
    this.orders = orders;
    this.onOrders(orders, view);
    for (const body of commands) {
      this.send(() => void this.driver.run(body));
      if (this.random.chance(1, 10)) this.send(() => void this.driver.run(body));
    }
    for (const order of orders) {
      this.send(() => this.obey(order));
      if (this.random.chance(1, 10)) this.send(() => this.obey(order));
    }
  }

  protected obey({ node: nodeId, order }: Addressed): void {
    const node = this.nodes.get(nodeId);
    if (node === undefined || !node.up) return;
    switch (order.kind) {
      case "create":
        if (order.incarnation === node.incarnation) this.#create(node, order.group, order.replica);
        break;
      case "close":
        if (node.held.get(order.group) === order.replica) node.held.delete(order.group);
        break;
      case "want":
      case "lead":
        this.groups.get(order.group)?.obey(nodeId, order);
        break;
      default:
        for (const group of this.groups.values()) if (isFor(group, order)) group.obey(nodeId, order);
    }
  }

  #create(node: ModelNode, group: number, replica: number): void {
    const shard = [...this.state.shards.values()].find((one) => one.group === group);
    if (shard === undefined || node.held.has(group)) return;
    const { founders, slots, epoch } = shard.birth;
    if (!this.groups.has(group)) {
      const all: number[] = [];
      for (const [first, last] of slots) for (let slot = first; slot <= last; slot++) all.push(slot);
      const voters = founders.map((founder) => ({ replica: founder.replica, node: founder.node }));
      this.groups.set(group, new ModelGroup(this, group, shard.id, voters, all, epoch));
    }
    node.held.set(group, replica);
  }
}

function isFor({ shard }: ModelGroup, order: Addressed["order"]): boolean {
  switch (order.kind) {
    case "move":
      return order.from === shard || order.to === shard;
    case "abort":
      return order.to === shard;
    case "settle":
    case "unseal":
      return order.from === shard;
    default:
      return false;
  }
}

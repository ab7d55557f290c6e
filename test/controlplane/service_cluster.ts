/**
 * The model cluster under control processes as nodes meet them: requests and replies, late and lost, to processes that
 * lead, follow, or only believe that they lead. Nodes obey by the rules of fences; whatever reaches them is checked.
 */
import { utf8 } from "../../src/base/bytes.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { View } from "../../src/controlplane/liveness.ts";
import type { FirstLayout } from "../../src/controlplane/requests.ts";
import { ControlService } from "../../src/controlplane/service.ts";
import type { MetaState } from "../../src/controlplane/state.ts";
import type { Hash64 } from "../../src/ring/circle.ts";
import { type ClusterMap, mapProblem, mergeMaps } from "../../src/wire/cluster_map.ts";
import {
  compareVersions,
  type Fence,
  type Heartbeat,
  isFenced,
  type MapVersion,
  type Order,
} from "../../src/wire/control_plane.ts";
import type { ControlReply, ControlRequest } from "../../src/wire/control_request.ts";
import { register } from "./bodies.ts";
import { LogWorld } from "./log_world.ts";
import { ModelCluster, type ModelNode, STEP_TICKS } from "./model_cluster.ts";

/** What a node remembers of the control plane, as long as it has its disk. */
type Talk = { at: number; fence: Fence; version: MapVersion; epoch: number; map: ClusterMap | null };
export type Answered = { status: number; body: Record<string, unknown> };

/** Alive is who was heard for 350 ticks; orders are as old as a round, and a step. */
const ALIVE_TICKS = 350 + 100 + STEP_TICKS;
const NO_LOG = { write: () => {} };

export function newTalk(): Talk {
  return { at: 0, fence: { restore: 0, term: 0 }, version: { restore: 0, index: 0 }, epoch: 0, map: null };
}

export class ServiceCluster extends ModelCluster {
  readonly world: LogWorld;
  readonly services: ControlService[];
  readonly talks = new Map<string, Talk>();
  /** How often a node takes somebody else for the leader. */
  straysPercent = 0;
  /** What must never be, and was. */
  readonly wrongs: string[] = [];
  readonly seen = { orders: 0, fenced: 0, ghosts: 0, elsewhere: 0, refused: 0, maps: 0 };
  /** Former incarnations, whose late words still come. */
  readonly #ghosts: { readonly node: string; readonly incarnation: string }[] = [];
  readonly #heardAt: Map<string, number>[];

  constructor(seed: number, nodes: number, processes: number, h64: Hash64, firstLayout: FirstLayout | null) {
    super(seed, nodes);
    this.world = new LogWorld(processes, this.random.fork("log"));
    this.#heardAt = this.world.processes.map(() => new Map());
    this.services = this.world.processes.map((group, i) => {
      const random = randomOf(this.random.fork(`control ${i}`));
      const bootstrapOf = () => new Uint8Array(0);
      return new ControlService({ group, h64, random, log: NO_LOG, bootstrapOf, firstLayout, backup: null });
    });
    const [first] = this.world.processes;
    if (first !== undefined) this.world.elect(first);
  }

  override get state(): MetaState {
    return this.world.state;
  }

  override view(): View {
    const reign = this.services.find((service) => service.reign !== null && this.#leads(service))?.reign;
    return reign === undefined || reign === null ? this.liveness.view(this.state, this.tick) : reign.view();
  }

  #leads(service: ControlService): boolean {
    return this.world.processes[this.services.indexOf(service)] === this.world.leader;
  }

  protected override control(): void {
    for (let i = 0; i < STEP_TICKS; i++) for (const service of this.services) service.tick();
    this.world.step();
    if (this.#ghosts.length > 0 && this.random.chance(1, 4)) this.#haunt();
  }

  /** Every node's word, as it comes to whomever it takes for the leader. */
  protected override deliver(node: ModelNode, beat: Heartbeat): void {
    const talk = this.#talk(node.id);
    if (this.random.chance(this.straysPercent, 100)) talk.at = this.random.below(this.services.length);
    const { at } = talk;
    if (this.#isCurrent(beat)) this.#heardAt[at]?.set(node.id, this.tick);
    this.#ask(at, { kind: "beat", heartbeat: beat }, (reply) => this.#take(at, beat, reply));
  }

  #isCurrent({ node, incarnation }: Heartbeat): boolean {
    return this.state.nodes.get(node)?.incarnation === incarnation;
  }

  protected override beatOf(node: ModelNode): Heartbeat {
    const { version, epoch } = this.#talk(node.id);
    return { ...super.beatOf(node), heard: { version, epoch, plan: 0 } };
  }

  protected override rename(node: ModelNode): void {
    const before = this.state.nodes.get(node.id)?.incarnation;
    if (before !== undefined) this.#ghosts.push({ node: node.id, incarnation: before });
    this.talks.delete(node.id);
  }

  #talk(node: string): Talk {
    const known = this.talks.get(node);
    if (known !== undefined) return known;
    const talk = newTalk();
    this.talks.set(node, talk);
    return talk;
  }

  #ask(at: number, request: ControlRequest, then: (reply: ControlReply) => void): void {
    this.services[at]?.onRequest(request, (reply) => this.send(() => then(reply)));
  }

  #take(at: number, beat: Heartbeat, reply: ControlReply): void {
    const node = this.nodes.get(beat.node) as ModelNode;
    if (!node.up || node.incarnation !== beat.incarnation) return;
    const talk = this.#talk(node.id);
    if (reply.kind === "elsewhere") {
      this.seen.elsewhere++;
      talk.at = this.random.below(this.services.length);
      return;
    }
    if (reply.kind !== "beat") return void this.wrongs.push(`a heartbeat was answered with ${reply.kind}`);
    const { fence, version, standing, orders } = reply.reply;
    if (isFenced(fence, talk.fence)) {
      this.seen.fenced++;
      talk.at = this.random.below(this.services.length);
      return;
    }
    talk.fence = fence;
    if (compareVersions(version, talk.version) < 0)
      this.wrongs.push(`the version at ${node.id} went back under a fence that did not`);
    else talk.version = version;
    if (standing === "unknown") this.#register(at, node);
    if (standing !== "known" && orders.length > 0) this.wrongs.push("orders for somebody who is not known");
    for (const order of orders) {
      this.#check(at, node, order);
      this.seen.orders++;
      this.obey({ node: node.id, order });
    }
    if (compareVersions(talk.map?.version ?? { restore: 0, index: 0 }, version) < 0) this.#fetchMap(at, node);
  }

  #register(at: number, node: ModelNode): void {
    const { registration } = register(node.id, node.incarnation);
    const { version, epoch } = this.#talk(node.id);
    const heard = { version, epoch, plan: 0 };
    const cluster = this.random.chance(1, 2) ? null : this.state.cluster;
    this.#ask(at, { kind: "register", cluster, registration: { ...registration, heard } }, (reply) => {
      if (reply.kind === "refused") this.seen.refused++;
    });
  }

  #fetchMap(at: number, node: ModelNode): void {
    this.#ask(at, { kind: "map" }, (reply) => {
      if (reply.kind !== "map") return;
      this.seen.maps++;
      const talk = this.#talk(node.id);
      const problem = mapProblem(reply.map);
      if (problem !== null) this.wrongs.push(problem);
      const before = talk.map?.version ?? { restore: 0, index: 0 };
      talk.map = talk.map === null ? reply.map : mergeMaps(talk.map, reply.map);
      if (compareVersions(talk.map.version, before) < 0) this.wrongs.push(`the map at ${node.id} went back`);
    });
  }

  #check(at: number, node: ModelNode, order: Order): void {
    const talk = this.#talk(node.id);
    if ("epoch" in order) talk.epoch = Math.max(talk.epoch, order.epoch);
    if (order.kind === "create" && order.incarnation !== node.incarnation)
      this.wrongs.push(`${node.id} was told to create for another directory`);
    if (order.kind !== "want") return;
    const group = this.groups.get(order.group);
    if (group === undefined || group.version !== order.version) return; // it will not be obeyed
    const present = group.voters.map((voter) => voter.node);
    for (const nodes of [present, order.voters]) {
      const alive = nodes.filter(
        (one) => this.tick - (this.#heardAt[at]?.get(one) ?? -1e9) <= ALIVE_TICKS + 75,
      );
      if (2 * alive.length <= nodes.length) this.wrongs.push(`${order.voters.join()} would have no quorum`);
    }
  }

  /** A late word of a directory that is gone. */
  #haunt(): void {
    const { node, incarnation } = this.random.pick(this.#ghosts);
    const isGone = this.state.nodes.get(node)?.former.includes(incarnation) === true;
    if (!isGone) return;
    const load = { commandsPerSecond: 0, bytes: 0, diskFreeBytes: 0 };
    const beat: Heartbeat = { node, incarnation, heard: this.heard, load, groups: [] };
    const at = this.random.below(this.services.length);
    const service = this.services[at];
    if (service === undefined || !this.#leads(service) || this.world.leader?.state !== this.state) return;
    service.onRequest({ kind: "beat", heartbeat: beat }, (reply) => {
      if (reply.kind !== "beat") return;
      this.seen.ghosts++;
      if (reply.reply.standing !== "stale" || reply.reply.orders.length > 0)
        this.wrongs.push(`a former ${node} was taken for the present one`);
    });
    const { registration } = register(node, incarnation);
    service.onRequest({ kind: "register", cluster: null, registration }, (reply) => {
      if (reply.kind === "registered") this.wrongs.push(`a former ${node} could register`);
    });
  }

  /** One call of the HTTP surface, at the leader. */
  http(
    method: "GET" | "POST",
    path: string,
    body: unknown = null,
    then: (answer: Answered) => void = () => {},
  ): void {
    const { leader, processes } = this.world;
    const at = leader === null ? 0 : processes.indexOf(leader);
    const bytes = body === null ? new Uint8Array(0) : utf8(JSON.stringify(body));
    this.services[at]?.onRequest({ kind: "http", method, path, body: bytes }, (reply) => {
      if (reply.kind !== "http") return void this.wrongs.push("an HTTP call was answered otherwise");
      if (![200, 400, 404, 409, 503].includes(reply.status)) this.wrongs.push(`status ${reply.status}`);
      then({ status: reply.status, body: JSON.parse(new TextDecoder().decode(reply.body)) });
    });
  }
}

export function randomOf(prng: Prng): { u32: () => number; fill: (bytes: Uint8Array) => void } {
  return {
    u32: () => prng.u32(),
    fill: (bytes) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = prng.below(256);
    },
  };
}

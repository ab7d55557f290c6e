/**
 * Shards on real nodes under a real control plane, in a simulated world, for tests of moves: orders can be given by
 * hand, messages between the two sides lost, nodes killed at any step. After every step that a shard applies, each slot of
 * the move must be served by one group at most (hazard F2).
 */
import { ENTRY_KIND, type Entry } from "../../src/raft/types.ts";
import type { Hash64 } from "../../src/ring/circle.ts";
import { slotOf } from "../../src/ring/slot.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import type { Movers } from "../../src/server/movers.ts";
import type { NucleusNode } from "../../src/server/node.ts";
import { KeyValueStore } from "../../src/store/store.ts";
import type { MoveView } from "../../src/store/types.ts";
import { batchBody } from "../../src/wire/batch.ts";
import type { Order } from "../../src/wire/control_plane.ts";
import { decodeMoveStep } from "../../src/wire/move_entry.ts";
import type { MoveMessage } from "../../src/wire/move_message.ts";
import { type Inhabitant, Town } from "../controlplane/process_town.ts";
import type { SimClient } from "./client.ts";

export type Ranges = readonly (readonly [number, number])[];
export type MoveOrder = Extract<Order, { kind: "move" }>;

const CLUSTER = "cd".repeat(16);
const encoder = new TextEncoder();

export function slotOfKey(key: string): number {
  const bytes = encoder.encode(key);
  return slotOf(bytes, 0, bytes.length);
}

/** `count` keys in these slots. */
export function keysIn(slots: Ranges, count: number, prefix = "key"): string[] {
  const keys: string[] = [];
  for (let i = 0; keys.length < count; i++) {
    const slot = slotOfKey(`${prefix}${i}`);
    if (slots.some(([first, last]) => slot >= first && slot <= last)) keys.push(`${prefix}${i}`);
  }
  return keys;
}

export type MoveTownOptions = {
  readonly seed?: number;
  readonly controls?: number;
  /** By shard, the nodes of its replicas. */
  readonly shards: Readonly<Record<string, readonly string[]>>;
  readonly nodes: number;
};

export class MoveTown extends Town {
  /** Gives false for a message that is to be lost; `from` is the sending node. */
  passesMove: (from: string, to: string, message: MoveMessage) => boolean = () => true;
  /** Told of each step that a leader applies. */
  onStep: (shard: string, kind: string, node: string) => void = () => {};
  readonly #groups = new Map<string, number>();
  /** Index of the last step of a move that any replica of the group applied. */
  readonly #decided = new Map<number, number>();
  readonly #hooked = new WeakSet<NucleusNode>();

  constructor(h64: Hash64, { seed = 1, controls = 1, shards, nodes }: MoveTownOptions) {
    const wishes = Object.entries(shards).map(([id, on]) => ({ id, weight: 1, nodes: [...on] }));
    const firstLayout = { replicas: 3, vnodes: 32, shards: wishes };
    super(h64, { seed, controls, nodes, firstLayout, cluster: CLUSTER });
    this.observer = { onApplied: (group, entry) => this.#onApplied(group, entry) };
  }

  /** All up: every shard has a leader, and every node knows who leads what. */
  static started(h64: Hash64, options: MoveTownOptions): MoveTown {
    const town = new MoveTown(h64, options);
    town.startAll(true);
    town.until(
      "all shards are led",
      () => town.isServed && town.state?.shards.size === Object.keys(options.shards).length,
    );
    for (const { id, group } of town.state?.shards.values() ?? []) town.#groups.set(id, group);
    town.until("they are known", () =>
      [...(town.state?.shards.values() ?? [])].every(({ formed }) => formed),
    );
    town.settle();
    return town;
  }

  /** Until every living node knows a map with all shards, and a leader of each. */
  settle(): void {
    const shards = [...this.#groups.values()];
    this.until("all nodes know where everything is", () =>
      this.nodes.every(
        ({ server }) => server === null || shards.every((group) => server.routing.leaderOf(group) !== ""),
      ),
    );
  }

  groupOf(shard: string): number {
    return this.#groups.get(shard) ?? this.state?.shards.get(shard)?.group ?? 0;
  }

  /** The replica that leads, and is ready; null if there is none at this moment. */
  leading(shard: string): { readonly node: Inhabitant<NucleusNode>; readonly group: GroupReplica } | null {
    const id = this.groupOf(shard);
    let best: { node: Inhabitant<NucleusNode>; group: GroupReplica } | null = null;
    for (const node of this.nodes) {
      const group = node.server?.groups.find((one) => one.group === id);
      if (group === undefined || !group.isLeader || !group.core.committedInTerm) continue;
      if (best === null || group.core.term > best.group.core.term) best = { node, group };
    }
    return best;
  }

  leaderOf(shard: string): { readonly node: Inhabitant<NucleusNode>; readonly group: GroupReplica } {
    this.until(`${shard} has a leader`, () => this.leading(shard) !== null);
    return this.leading(shard) as NonNullable<ReturnType<MoveTown["leading"]>>;
  }

  /** Until two shards are led by different nodes: then what they tell each other goes over the network. */
  apart(one: string, other: string): void {
    this.until(`${one} and ${other} are led by different nodes`, () => {
      const [a, b] = [this.leading(one), this.leading(other)];
      if (a === null || b === null) return false;
      if (a.node !== b.node) return true;
      const next = a.group.core.config.voters.find(({ replica }) => replica !== a.group.replica);
      if (next !== undefined) a.group.core.transfer(next.replica);
      a.node.server?.engine.touch(a.group.group);
      return false;
    });
  }

  storeOf(shard: string): KeyValueStore {
    const { store } = this.leaderOf(shard).group;
    if (!(store instanceof KeyValueStore)) throw new Error("a shard holds keys");
    return store;
  }

  moversOf(node: Inhabitant<NucleusNode>): Movers {
    const movers = node.server?.managed?.movers;
    if (movers === undefined) throw new Error(`${node.id} is not up`);
    return movers;
  }

  /** Gives an order to the leader of a shard, as the control plane would. */
  order(shard: string, order: Order): void {
    const { node } = this.leaderOf(shard);
    this.moversOf(node).obey(order);
    node.server?.engine.wake();
  }

  /** Begins a move by hand: both leaders are told. */
  begin(epoch: number, from: string, to: string, slots: Ranges, hold = false): void {
    this.hook();
    const order = { kind: "move", epoch, from, to, slots, hold, bytesPerSecond: 2 ** 26 } as const;
    this.order(to, order);
    this.order(from, order);
  }

  /** The move in the applied state of the shard's leader. */
  moveAt(shard: string, epoch: number): MoveView | null {
    const { store } = this.leading(shard)?.group ?? {};
    return store instanceof KeyValueStore ? store.move(epoch) : null;
  }

  phase(shard: string, epoch: number): string {
    return this.moveAt(shard, epoch)?.phase ?? "none";
  }

  untilPhase(shard: string, epoch: number, phase: string, ms = 20_000): void {
    this.until(`${shard} has ${phase} of epoch ${epoch}`, () => this.phase(shard, epoch) === phase, ms);
  }

  /** The move took place: both logs say so. */
  untilMoved(from: string, to: string, epoch: number): void {
    this.untilPhase(to, epoch, "owned");
    this.untilPhase(from, epoch, "released");
  }

  /** Sends commands over one connection and gives the answers. */
  call(client: SimClient, ...commands: readonly (readonly string[])[]): string[] {
    const before = client.replies.length;
    client.pipeline(...commands);
    this.until("answers", () => client.replies.length >= before + commands.length || client.closed);
    return client.replies.slice(before);
  }

  restart(node: Inhabitant<NucleusNode>): void {
    this.startNode(this.nodes.indexOf(node));
    this.until(
      `${node.id} is up`,
      () => (node.server?.groups.length ?? 0) > 0 && node.server?.managed != null,
    );
    this.hook();
  }

  killControls(): void {
    for (const control of this.controls) if (control.server !== null) this.kill(control);
  }

  /** Messages of moves pass `passesMove` from here on. */
  hook(): void {
    for (const node of this.nodes) {
      const { server } = node;
      if (server === null || this.#hooked.has(server)) continue;
      this.#hooked.add(server);
      const { peers } = server.engine;
      const send = peers.sendMove.bind(peers);
      peers.sendMove = (to, message) => !this.passesMove(node.id, to, message) || send(to, message);
    }
  }

  // ------------------------------------------------------------------------------------------- F2

  #onApplied(group: GroupReplica, entry: Entry): void {
    if (entry.kind !== ENTRY_KIND.move || !(group.store instanceof KeyValueStore)) return;
    const step = decodeMoveStep(batchBody(entry.bytes));
    if (step === null) return;
    this.#decided.set(group.group, Math.max(entry.index, this.#decided.get(group.group) ?? 0));
    const { slots = [] } = group.store.move(step.epoch) ?? {};
    for (const [first, last] of slots) for (let slot = first; slot <= last; slot++) this.#checkServed(slot);
    if (!group.isLeader) return;
    const at = this.nodes.find(({ server }) => server?.groups.includes(group) === true);
    this.onStep(group.store.shard, step.kind, at?.id ?? "");
  }

  /**
   * What counts of a group is the newest state that any of its replicas has: what they apply later was decided. If the only
   * one died that had applied the last step, none of them counts: whoever leads next applies it before it serves.
   */
  #checkServed(slot: number): void {
    const newest = new Map<number, GroupReplica>();
    for (const { server } of this.nodes) {
      for (const group of server?.groups ?? []) {
        const known = newest.get(group.group);
        if (known === undefined || known.store.appliedIndex < group.store.appliedIndex)
          newest.set(group.group, group);
      }
    }
    const serving = [...newest.values()].filter(
      ({ store, group }) =>
        store.shard !== "" && store.appliedIndex >= (this.#decided.get(group) ?? 0) && store.isServed(slot),
    );
    if (serving.length > 1)
      throw new Error(
        `F2: slot ${slot} is served by ${serving.map(({ store }) => store.shard).join(" and ")}`,
      );
  }

  /** In the end: every slot is served by just one shard's leader. */
  checkAllServed(): void {
    const shards = [...this.#groups.keys()].map((shard) => this.storeOf(shard));
    for (let slot = 0; slot < 16_384; slot++) {
      const count = shards.filter((store) => store.isServed(slot)).length;
      if (count !== 1) throw new Error(`slot ${slot} is served by ${count} shards`);
    }
  }
}

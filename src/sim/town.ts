/**
 * What the whole world knows of a managed cluster, and nobody in it: the control plane's newest state, who leads which
 * shard, and what the newest applied state of each shard is. For faults that aim, operators' choices and checkers.
 */
import { assert, present } from "../base/assert.ts";
import { MetaStore } from "../controlplane/meta_store.ts";
import { ControlProcess } from "../controlplane/process.ts";
import { isOpen, type MetaState, ordered, type ShardRecord } from "../controlplane/state.ts";
import type { GroupReplica } from "../server/group.ts";
import { KeyValueStore } from "../store/store.ts";
import type { Cluster, SimNode } from "./cluster.ts";
import { CONTROL_LEADER, SOURCE_LEADER, TARGET_LEADER } from "./plan.ts";

export class Town {
  readonly #cluster: Cluster;
  /** As of the highest entry that any control process applied. */
  #state: MetaState | null = null;
  #index = 0;
  #turn = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get state(): MetaState | null {
    return this.#state;
  }

  /** A control process applied an entry. */
  onControl({ store }: GroupReplica): void {
    assert(store instanceof MetaStore, "a control process holds the control plane's state");
    if (store.appliedIndex <= this.#index) return;
    this.#index = store.appliedIndex;
    this.#state = store.state;
  }

  /** The control plane's disks are lost: the next one begins its log anew. */
  onControlLost(): void {
    this.#index = 0;
    this.#state = null;
  }

  get controls(): readonly SimNode[] {
    return this.#cluster.nodes.filter(({ isControl }) => isControl);
  }

  /** The control process that leads in the highest term. */
  get controlLeader(): { node: SimNode; server: ControlProcess } | null {
    let best: { node: SimNode; server: ControlProcess } | null = null;
    let highest = -1;
    for (const node of this.controls) {
      const { server } = node;
      const group = server?.groups[0];
      if (!(server instanceof ControlProcess) || group?.isLeader !== true || group.core.term <= highest)
        continue;
      best = { node, server };
      highest = group.core.term;
    }
    return best;
  }

  get shards(): readonly ShardRecord[] {
    return this.#state === null ? [] : ordered(this.#state.shards);
  }

  /** Who believes to lead the group, in the highest term. */
  leaderOf(group: number): { node: SimNode; replica: GroupReplica } | null {
    let best: { node: SimNode; replica: GroupReplica } | null = null;
    for (const node of this.#cluster.storage) {
      const replica = node.server?.groups.find((one) => one.group === group);
      if (replica?.isLeader !== true) continue;
      if (best === null || replica.core.term > best.replica.core.term) best = { node, replica };
    }
    return best;
  }

  aim(at: number): SimNode {
    this.#turn++;
    const any = present(this.#cluster.nodes[this.#turn % this.#cluster.nodes.length], "a cluster has nodes");
    if (at === CONTROL_LEADER) return this.controlLeader?.node ?? any;
    const group = this.#groupFor(at);
    return (group === null ? null : this.leaderOf(group)?.node) ?? any;
  }

  #groupFor(at: number): number | null {
    const { shards } = this;
    const move = this.#state?.plan?.moves.find(isOpen);
    if (move !== undefined && (at === SOURCE_LEADER || at === TARGET_LEADER)) {
      const side = at === SOURCE_LEADER ? move.from : move.to;
      return this.#state?.shards.get(side)?.group ?? null;
    }
    return shards[this.#turn % Math.max(1, shards.length)]?.group ?? null;
  }

  /** What still keeps the cluster from being whole and at rest; null: nothing. */
  unsettled(): string | null {
    const state = this.#state;
    if (state === null || state.layout === null) return "there is no first layout";
    if (state.awaited !== null) return `the control plane has not heard ${state.awaited.join(", ")}`;
    for (const node of this.#cluster.survivors) if (node.state !== "up") return `${node.id} is ${node.state}`;
    const { plan } = state;
    if (plan !== null) {
      const open = plan.moves.filter((move) => move.state !== "done" && move.state !== "cancelled");
      const first = open.find(isOpen) ?? open[0];
      return `plan ${plan.number} is under way: ${open.length} moves left, of ${first?.from} to ${first?.to} one is ${first?.state} (epoch ${first?.epoch}, try ${first?.tries})`;
    }
    for (const shard of this.shards) {
      const problem = this.#unsettledShard(shard);
      if (problem !== null) return `${shard.id}: ${problem}`;
    }
    return this.#controlsDiffer() ? "control processes differ" : null;
  }

  #unsettledShard({ group, replicas, state }: ShardRecord): string | null {
    if (state !== "active") return `is ${state}`;
    const leader = this.leaderOf(group);
    if (leader === null) return "nobody leads";
    const { config } = leader.replica.core;
    const voters = config.voters.map(({ node }) => node).sort();
    if (voters.join() !== [...replicas].sort().join() || config.outgoing.length > 0)
      return `its voters are ${voters.join()}, wanted are ${[...replicas].sort().join()}`;
    const { store } = leader.replica;
    assert(store instanceof KeyValueStore, "a shard holds keys");
    const open = store.moves().find(({ phase }) => ["importing", "copying", "sealed"].includes(phase));
    if (open !== undefined) return `move ${open.epoch} is ${open.phase} (${open.side})`;
    for (const id of replicas) {
      const node = this.#cluster.storage.find((one) => one.id === id);
      if (node?.state === "lost") continue;
      const own = node?.server?.groups.find((one) => one.group === group);
      if (own === undefined) return `${id} has no replica`;
      if (own.store.appliedIndex !== store.appliedIndex || own.store.stateHash() !== store.stateHash())
        return `${id} is at ${own.store.appliedIndex}, the leader at ${store.appliedIndex}`;
    }
    return null;
  }

  #controlsDiffer(): boolean {
    const leader = this.controlLeader;
    if (leader === null) return true;
    return this.controls.some(({ server, state }) => {
      if (state === "lost") return false;
      return server?.groups[0]?.store.appliedIndex !== leader.server.groups[0]?.store.appliedIndex;
    });
  }
}

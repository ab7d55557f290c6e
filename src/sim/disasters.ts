/**
 * What a managed cluster does not get over by itself, and what an operator does about it (plan_managed.ts):
 *
 *     restore   a backup is taken; later all disks of the control plane are lost, and it is made anew from that
 *     loss      the nodes that hold a shard lose their disks; it, and whatever else had its majority there, is declared lost,
 *               and the operators give its slots to others
 *
 * A shard is called destroyed only if nothing that is left can ever lead it: to declare one that lives would be the
 * operator's fault.
 */
import { present } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";
import { type Backup, parseBackup } from "../controlplane/backup.ts";
import { ordered, type ShardRecord } from "../controlplane/state.ts";
import type { GroupConfig, Member, ReplicaId } from "../raft/types.ts";
import type { Cluster, SimNode } from "./cluster.ts";
import type { Answer } from "./hotline.ts";
import type { ManagedSpec } from "./plan_managed.ts";
import type { Town } from "./town.ts";

/** Between two tries, and two looks. */
const AGAIN_US = 300_000;
/** A shard is looked at for so long before it is called dead. */
const DEAD_US = 6_000_000;
const DOWN_US = 1_500_000;

/** How an operator asks the control plane, through some node. */
export type Asks = {
  later(delayUs: number, run: () => void): void;
  get(path: string, done: (answer: Answer | null) => void): void;
  post(path: string, body: object, done: (answer: Answer | null) => void): void;
};

export class Disasters {
  /** Set by the checkers. */
  onControlLost: () => void = () => {};
  /** .. the group can never act again; `mayHold`: that is for the disks that were destroyed, so slots may be lost with it. */
  onShardLost: (group: number, mayHold: boolean) => void = () => {};
  readonly #cluster: Cluster;
  readonly #town: Town;
  readonly #asks: Asks;
  #backup: Backup | null = null;
  /** No more of it begins: all is mended. */
  #isOver = false;
  readonly #lost = new Set<number>();
  /** Storage nodes that lost their disks, and by group the first number of a replica that cannot have been on them. */
  #victims: ReadonlySet<SimNode> = new Set();
  #laterReplicas: ReadonlyMap<number, ReplicaId> = new Map();
  /** Since when a shard has looked dead. */
  readonly #deadUs = new Map<string, number>();

  constructor(cluster: Cluster, town: Town, asks: Asks) {
    this.#cluster = cluster;
    this.#town = town;
    this.#asks = asks;
  }

  start({ restore, loss }: ManagedSpec): void {
    if (restore !== undefined) {
      this.#asks.later(restore.backupUs, () => this.#takeBackup());
      this.#asks.later(restore.atUs, () => this.#loseControl(restore.downUs));
    }
    if (loss !== undefined) this.#asks.later(loss.atUs, () => this.#loseShard(loss.pick, loss.declareUs));
  }

  end(): void {
    this.#isOver = true;
  }

  // ------------------------------------------------------------------------------------------- restore

  #takeBackup(): void {
    this.#asks.get("/cluster/backup", (answer) => {
      if (answer?.status === 200) this.#backup = parseBackup(answer.text);
      else this.#asks.later(AGAIN_US, () => this.#takeBackup());
    });
  }

  #loseControl(downUs: number): void {
    if (this.#isOver) return;
    if (this.#backup === null) return this.#asks.later(AGAIN_US, () => this.#loseControl(downUs));
    const cluster = this.#cluster;
    cluster.world.note("control lost", -1);
    this.onControlLost();
    for (const node of this.#town.controls) {
      cluster.wipe(node);
      node.beginAnew();
      this.#startLater(node, downUs);
    }
    this.#town.onControlLost();
    const id = new Uint8Array(16);
    cluster.world.stream("restore id").fill(id);
    cluster.restored = { backup: this.#backup, restoreId: toHex(id) };
    cluster.happened.restores++;
    this.#asks.later(AGAIN_US, () => this.#findDead());
  }

  #startLater(node: SimNode, downUs: number): void {
    node.held = true;
    this.#cluster.world.after(downUs, null, () => {
      node.held = false;
      this.#cluster.start(node);
    });
  }

  // ------------------------------------------------------------------------------------------- dead shards

  /**
   * Shards that nobody can ever lead: those that were removed after the backup are listed again; one that was just born may
   * have had its founders' orders on disks that are gone; and one may have begun to change to members that are gone.
   */
  #findDead(): void {
    this.#asks.later(AGAIN_US, () => this.#findDead());
    const { world, storage } = this.#cluster;
    const { state } = this.#town;
    if (state === null || state.awaited !== null || storage.some(({ server }) => server === null))
      return this.#deadUs.clear();
    for (const { id, group, state: is } of ordered(state.shards)) {
      if (is === "lost" || !this.#isDead(group)) {
        this.#deadUs.delete(id);
        continue;
      }
      const sinceUs = this.#deadUs.get(id) ?? world.nowUs;
      this.#deadUs.set(id, sinceUs);
      if (world.nowUs - sinceUs < DEAD_US) continue;
      this.#deadUs.delete(id);
      this.#loseGroup(group, !this.#isDead(group, (member) => this.#isDestroyed(group, member)));
      this.#asks.post("/shard/declare-lost", { id, yes: true }, () => {});
    }
  }

  /** Its replica went with a disk. */
  #isDestroyed(group: number, { node, replica }: Member): boolean {
    const isVictim = [...this.#victims].some(({ id }) => id === node);
    return isVictim && replica < (this.#laterReplicas.get(group) ?? 0);
  }

  /** No config that a replica goes by has its majorities among the replicas that are left, and those that `counts`. */
  #isDead(group: number, counts: (member: Member) => boolean = () => false): boolean {
    const replicas = this.#cluster.storage.flatMap(({ id, server }) =>
      (server?.groups ?? []).filter((one) => one.group === group).map((replica) => ({ id, replica })),
    );
    const isThere = (member: Member): boolean =>
      counts(member) ||
      replicas.some(({ id, replica }) => id === member.node && replica.replica === member.replica);
    const acts = (members: readonly Member[]): boolean =>
      members.length === 0 || 2 * members.filter(isThere).length > members.length;
    return replicas.every(
      ({ replica: { core } }) => !acts(core.config.voters) || !acts(core.config.outgoing),
    );
  }

  #loseGroup(group: number, mayHold: boolean): void {
    if (this.#lost.has(group)) return;
    this.#lost.add(group);
    this.#cluster.happened.losses++;
    this.onShardLost(group, mayHold);
    for (const node of this.#cluster.storage) node.giveUp(group);
  }

  // ------------------------------------------------------------------------------------------- loss

  #loseShard(pick: number, declareUs: number): void {
    if (this.#isOver) return;
    const shards = this.#town.shards;
    for (let i = 0; i < shards.length; i++) {
      const shard = present(shards[(pick + i) % shards.length], "one of them");
      const victims = this.#holders(shard);
      if (victims === null) continue;
      const fates = shards.map((one) => this.#fateWithout(victims, one));
      const isClear = fates.every((fate) => fate !== "unclear") && fates.includes("lives");
      if (!isClear || fates[shards.indexOf(shard)] !== "destroyed") continue;
      return this.#destroy(
        victims,
        shards.filter((_, at) => fates[at] === "destroyed"),
        declareUs,
      );
    }
    this.#asks.later(AGAIN_US, () => this.#loseShard(pick, declareUs));
  }

  /** The nodes of its members; null: nobody leads it, so that is not known for certain. */
  #holders({ group }: ShardRecord): ReadonlySet<SimNode> | null {
    const leader = this.#town.leaderOf(group);
    if (leader === null) return null;
    const { voters, outgoing, learners } = leader.replica.core.config;
    const ids = new Set([...voters, ...outgoing, ...learners].map(({ node }) => node));
    const nodes = this.#cluster.storage.filter(({ id }) => ids.has(id));
    return nodes.some((node) => node.foreignDisk || node.diskDamaged) ? null : new Set(nodes);
  }

  /** Without these nodes a shard lives if its leader's config has its majorities elsewhere; it is destroyed if no config has. */
  #fateWithout(victims: ReadonlySet<SimNode>, { group }: ShardRecord): "lives" | "destroyed" | "unclear" {
    const leader = this.#town.leaderOf(group);
    if (leader === null) return "unclear";
    const configs = this.#cluster.storage.flatMap(({ server }) =>
      (server?.groups ?? []).filter((one) => one.group === group).map(({ core }) => core.config),
    );
    const acts = (config: GroupConfig): boolean =>
      this.#hasMajority(config.voters, victims) && this.#hasMajority(config.outgoing, victims);
    if (configs.every(acts)) return "lives";
    return configs.some(acts) ? "unclear" : "destroyed";
  }

  #hasMajority(members: readonly Member[], victims: ReadonlySet<SimNode>): boolean {
    if (members.length === 0) return true;
    const gone = new Set([...victims].map(({ id }) => id));
    return 2 * members.filter(({ node }) => !gone.has(node)).length > members.length;
  }

  #destroy(victims: ReadonlySet<SimNode>, shards: readonly ShardRecord[], declareUs: number): void {
    const cluster = this.#cluster;
    cluster.world.note("shards lost", -1);
    this.#victims = victims;
    this.#laterReplicas = this.#nextReplicas();
    for (const node of victims) {
      cluster.wipe(node);
      node.harm();
      this.#startLater(node, DOWN_US);
    }
    for (const { id, group } of shards) {
      this.#loseGroup(group, true);
      this.#asks.later(declareUs, () => this.#declare(id));
    }
    this.#asks.later(AGAIN_US, () => this.#findDead());
  }

  #nextReplicas(): Map<number, ReplicaId> {
    const next = new Map<number, ReplicaId>();
    for (const { server } of this.#cluster.storage)
      for (const { group, core } of server?.groups ?? [])
        next.set(group, Math.max(next.get(group) ?? 0, core.config.nextReplica));
    return next;
  }

  #declare(id: string): void {
    this.#asks.post("/shard/declare-lost", { id, yes: true }, (answer) => {
      const shard = this.#town.state?.shards.get(id);
      if (answer?.status !== 200 && shard?.state !== "lost")
        this.#asks.later(AGAIN_US, () => this.#declare(id));
    });
  }
}

/**
 * Numbers that never go back (hazards F9, F10): what the control plane issues, and what a node has seen.
 *
 *     control plane   epoch, plan number and map version of its newest state; an epoch is one move's for ever
 *     disk            what a node's disk says of fence, epoch, plan and map, over all of its starts
 *     process         the map that a running node routes by
 *
 * A control plane that is made anew from a backup begins with old numbers, and says nothing before it has heard all nodes.
 * By then its epochs are above all that were ever issued, plan numbers not below what any node's disk said (those that never
 * reached a disk nobody knows), and its restore number is above.
 */
import { MetaStore } from "../../controlplane/meta_store.ts";
import type { GroupReplica } from "../../server/group.ts";
import { NucleusNode } from "../../server/node.ts";
import { compareVersions, type Fence, isFenced, type MapVersion } from "../../wire/control_plane.ts";
import type { Cluster, SimNode } from "../cluster.ts";
import type { Checker } from "./checker.ts";

const EVERY_US = 50_000;
const NONE: MapVersion = { restore: 0, index: 0 };

type Seen = { fence: Fence; epoch: number; plan: number; version: MapVersion };

export class NumbersChecker implements Checker {
  readonly name = "numbers";
  judged = 0;
  readonly #cluster: Cluster;
  #index = 0;
  #issued = { epoch: 0, plan: 0, version: NONE };
  /** What each epoch was issued for. */
  readonly #epochs = new Map<number, string>();
  readonly #disks = new Map<SimNode, Seen>();
  readonly #maps = new Map<SimNode, MapVersion>();

  /** The control plane was made anew, and has said nothing yet. */
  #isAnew = false;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#lookAgain();
  }

  /** All its disks are gone: what nodes have heard is what it must go on from. */
  onControlLost(): void {
    this.#look();
    this.#index = 0;
    this.#isAnew = true;
    this.#issued = { ...this.#issued, plan: 0, version: NONE };
    for (const { plan, version } of this.#disks.values()) {
      const { restore } = this.#issued.version;
      this.#issued.plan = Math.max(this.#issued.plan, plan);
      this.#issued.version = { restore: Math.max(restore, version.restore + 1), index: 0 };
    }
  }

  onStart(node: SimNode): void {
    this.#maps.delete(node);
  }

  onDamage(node: SimNode): void {
    this.#disks.delete(node);
  }

  onApplied(node: SimNode, { store }: GroupReplica): void {
    if (!(store instanceof MetaStore) || store.appliedIndex <= this.#index) return;
    this.#index = store.appliedIndex;
    if (this.#isAnew && (store.state.layout === null || store.state.awaited !== null)) return;
    this.#isAnew = false;
    const { epoch, planNumber: plan, version, plan: now } = store.state;
    this.judged++;
    const before = this.#issued;
    if (epoch < before.epoch || plan < before.plan || compareVersions(version, before.version) < 0)
      this.#fail(
        `${node.id}: the control plane went from ${show(before)} back to ${show({ epoch, plan, version })}`,
      );
    this.#issued = { epoch, plan, version };
    for (const move of now?.moves ?? []) {
      if (move.epoch === 0) continue;
      const what = `${move.from} to ${move.to}: ${move.slots.join(" ")}`;
      const known = this.#epochs.get(move.epoch);
      if (known !== undefined && known !== what)
        this.#fail(`epoch ${move.epoch} was issued for ${known}, and again for ${what}`);
      this.#epochs.set(move.epoch, what);
    }
  }

  #lookAgain(): void {
    this.#look();
    this.#cluster.world.after(EVERY_US, null, () => this.#lookAgain());
  }

  #look(): void {
    for (const node of this.#cluster.storage) {
      const { server } = node;
      if (node.state !== "up" || !(server instanceof NucleusNode) || server.managed === null) continue;
      this.judged++;
      this.#lookAtDisk(node, server);
      this.#lookAtMap(node, server);
    }
  }

  #lookAtDisk(node: SimNode, server: NucleusNode): void {
    const kept = server.managed?.agent.lasting;
    if (kept === undefined) return;
    const { fence, epoch, plan } = kept;
    const version = kept.map?.version ?? NONE;
    const before = this.#disks.get(node);
    if (before !== undefined) {
      const isLower = isFenced(fence, before.fence) || epoch < before.epoch || plan < before.plan;
      if (isLower || compareVersions(version, before.version) < 0)
        this.#fail(
          `${node.id}: its disk went from ${show(before)} back to ${show({ fence, epoch, plan, version })}`,
        );
    }
    this.#disks.set(node, { fence, epoch, plan, version });
  }

  #lookAtMap(node: SimNode, server: NucleusNode): void {
    const version = server.routing.map?.version ?? NONE;
    const before = this.#maps.get(node) ?? NONE;
    if (compareVersions(version, before) < 0)
      this.#fail(`${node.id} routes by map ${show(version)} after ${show(before)}`);
    this.#maps.set(node, version);
  }

  #fail(text: string): void {
    this.#cluster.world.fail("numbers never go back", text);
  }
}

function show(value: object): string {
  return JSON.stringify(value);
}

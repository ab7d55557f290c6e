/** The hand that breaks things: performs a plan's faults on a cluster, each at its time, and mends everything. */
import { present } from "../base/assert.ts";
import { ENTRY_KIND, type Entry, type Message } from "../raft/types.ts";
import type { Cluster, SimNode } from "./cluster.ts";
import type { Fault } from "./plan.ts";

/** How long a stunned node is awake before it hears of the others. */
const AWAKE_ALONE_US = 200_000;

type Ambush = Fault & { readonly kind: "ambush" };

export class FaultHand {
  readonly #cluster: Cluster;
  /** The time for faults is over: what was held down comes up, what was to be undone later is undone. */
  #over = false;
  /** Pairs of nodes that have each other's disk, oldest first. */
  #swapped: [SimNode, SimNode][] = [];
  /** Laid, and not sprung yet. */
  #ambushes: { readonly fault: Ambush; left: number }[] = [];

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  schedule(faults: readonly Fault[]): void {
    for (const fault of faults) this.#later(fault.atUs, () => this.#perform(fault));
  }

  /** Ends every fault that can be ended. */
  heal(): void {
    this.#over = true;
    const { net, nodes, world } = this.#cluster;
    world.note("heal", -1);
    net.healAll();
    while (this.#swapped.length > 0) this.#swapBack();
    for (const node of nodes) {
      const { faults } = node.machine.disk;
      faults.stalledUntilUs = 0;
      faults.occupiedBytes = 0;
      faults.failReads = 0;
      faults.failWrites = 0;
      faults.failSyncs = 0;
      faults.trap = null;
      node.held = false;
      this.#cluster.start(node);
    }
  }

  #later(delayUs: number, run: () => void): void {
    this.#cluster.world.after(delayUs, null, () => {
      if (!this.#over) run();
    });
  }

  #node(index: number): SimNode {
    if (index < 0) return this.#cluster.aim(index);
    return present(this.#cluster.nodes[index], "a plan names nodes that exist");
  }

  #perform(planned: Fault): void {
    const fault = this.#aimed(planned);
    this.#cluster.world.note("fault", -1, fault.atUs, 0, fault.kind);
    switch (fault.kind) {
      case "kill":
      case "power":
        return this.#down(this.#node(fault.node), fault.kind, fault.downUs);
      case "stop":
        return this.#stop(this.#node(fault.node), fault.downUs);
      case "crash_point":
        return this.#trap(this.#node(fault.node), fault);
      case "power_all":
        this.#cluster.count("power_all");
        for (const node of this.#cluster.nodes) this.#down(node, "power", fault.downUs);
        return;
      case "pause":
        return this.#node(fault.node).machine.pause(fault.forUs);
      case "cut":
      case "isolate":
      case "cut_clients":
      case "slow_link":
      case "reset":
        return this.#performOnNet(fault);
      case "snapshot":
        return this.#snapshot(this.#node(fault.node));
      case "ambush":
        this.#ambushes.push({ fault, left: fault.nth });
        return;
      case "swap":
        return this.#swap(this.#node(fault.from), this.#node(fault.to), fault.forUs);
      case "flip_bit":
      case "wipe":
        return this.#damage(this.#node(fault.node), fault);
      case "wall_step":
        return this.#node(fault.node).machine.stepWallClock(fault.ms);
      default:
        this.#performOnDisk(this.#node(fault.node), fault);
    }
  }

  /** A cut from the leader to the leader would cut nothing. */
  #aimed(fault: Fault): Fault {
    if (!("from" in fault) || fault.from >= 0) return fault;
    const from = this.#node(fault.from).index;
    return { ...fault, from, to: fault.to === from ? (from + 1) % this.#cluster.nodes.length : fault.to };
  }

  #down(node: SimNode, how: "kill" | "power", downUs: number): void {
    this.#cluster.takeDown(node, how);
    this.#holdDown(node, downUs);
  }

  #trap(node: SimNode, { operations, how, downUs }: Fault & { kind: "crash_point" }): void {
    node.machine.disk.faults.trap = {
      left: operations,
      spring: () => {
        if (this.#over) return;
        this.#cluster.count("crash_point");
        this.#down(node, how, downUs);
      },
    };
  }

  #stop(node: SimNode, downUs: number): void {
    this.#cluster.count("stop");
    this.#cluster.stop(node, () => this.#holdDown(node, downUs));
  }

  #holdDown(node: SimNode, downUs: number): void {
    node.held = true;
    this.#later(downUs, () => {
      node.held = false;
      this.#cluster.start(node);
    });
  }

  #damage(node: SimNode, fault: Fault & { kind: "flip_bit" | "wipe" }): void {
    if (node.foreignDisk) return; // it would be another node's loss
    if (fault.kind === "wipe") this.#cluster.wipe(node);
    else {
      this.#cluster.takeDown(node, "power");
      this.#cluster.onDamage(node, fault.kind);
      node.machine.disk.flipBit((path) => path.includes("/wal/"));
    }
    node.harm();
    this.#holdDown(node, fault.downUs);
  }

  #swap(one: SimNode, other: SimNode, forUs: number): void {
    const fit = [one, other].every((node) => node.born && !node.foreignDisk && !node.diskDamaged);
    if (one === other || !fit) return;
    this.#exchange(one, other, true);
    this.#swapped.push([one, other]);
    this.#later(forUs, () => this.#swapBack());
  }

  #swapBack(): void {
    const pair = this.#swapped.shift();
    if (pair !== undefined) this.#exchange(pair[0], pair[1], false);
  }

  #exchange(one: SimNode, other: SimNode, foreign: boolean): void {
    for (const node of [one, other]) this.#cluster.takeDown(node, "power");
    one.machine.disk.swapWith(other.machine.disk);
    for (const node of [one, other]) {
      node.foreignDisk = foreign;
      node.held = false;
      this.#cluster.start(node);
    }
  }

  #snapshot({ server, machine, state }: SimNode): void {
    if (state !== "up" || machine.process === null || server === null) return;
    this.#cluster.world.call(machine.process, () => {
      for (const replica of server.groups) if (replica.snapshots.take()) this.#cluster.count("snapshot");
    });
  }

  /** `node` hands `message` to the network: what somebody may be waiting for. */
  onMessage(node: SimNode, message: Message): void {
    if (message.kind === "append" && message.entries.some((entry) => isChange(entry, message.term)))
      this.onOccasion(node, "config");
    this.onOccasion(
      node,
      message.kind === "append" && message.entries.length === 0 ? "heartbeat" : message.kind,
    );
  }

  onOccasion(node: SimNode, told: string): void {
    if (this.#over || this.#ambushes.length === 0) return;
    for (const ambush of this.#ambushes) if (ambush.fault.after === told) ambush.left--;
    for (const { fault, left } of this.#ambushes)
      if (left <= 0) this.#later(fault.delayUs, () => this.#strike(node, fault));
    this.#ambushes = this.#ambushes.filter(({ left }) => left > 0);
  }

  #strike(node: SimNode, { atUs, blow, forUs }: Ambush): void {
    this.#cluster.count("ambush");
    if (blow === "kill" || blow === "power") return this.#down(node, blow, forUs);
    const { index } = node;
    if (blow === "snapshot") return this.#snapshot(node);
    if (blow !== "stun") return this.#perform({ atUs, kind: blow, node: index, forUs });
    this.#perform({ atUs, kind: "pause", node: index, forUs });
    this.#perform({ atUs, kind: "isolate", node: index, forUs: forUs + AWAKE_ALONE_US });
  }

  #performOnDisk(node: SimNode, fault: Fault): void {
    const { disk } = node.machine;
    switch (fault.kind) {
      case "disk_stall":
        disk.faults.stalledUntilUs = this.#cluster.world.nowUs + fault.forUs;
        return;
      case "disk_full":
        disk.faults.occupiedBytes = disk.knobs.capacityBytes;
        this.#later(fault.forUs, () => {
          disk.faults.occupiedBytes = 0;
        });
        return;
      case "fail_sync":
        disk.faults.failSyncs = 1;
        break;
      case "fail_write":
        disk.faults.failWrites = 1;
        break;
      case "fail_read":
        disk.faults.failReads = 1;
        break;
    }
    node.diskFailed = true;
  }

  #performOnNet(fault: Fault): void {
    const { net, nodes } = this.#cluster;
    switch (fault.kind) {
      case "cut":
        net.setCut(fault.from, fault.to, true);
        return this.#later(fault.forUs, () => net.setCut(fault.from, fault.to, false));
      case "isolate": {
        const alone = this.#node(fault.node).index;
        this.#cluster.count("isolate");
        const setAll = (cut: boolean): void => {
          for (const { index } of nodes) {
            if (index === alone) continue;
            net.setCut(alone, index, cut);
            net.setCut(index, alone, cut);
          }
        };
        setAll(true);
        return this.#later(fault.forUs, () => setAll(false));
      }
      case "cut_clients": {
        const node = this.#node(fault.node).index;
        this.#cluster.count("cut_clients");
        const setAll = (cut: boolean): void => {
          for (const machine of this.#cluster.clientMachines) {
            net.setCut(node, machine, cut);
            net.setCut(machine, node, cut);
          }
        };
        setAll(true);
        return this.#later(fault.forUs, () => setAll(false));
      }
      case "slow_link":
        net.setSlow(fault.from, fault.to, fault.extraUs, fault.bytesPerMs);
        return this.#later(fault.forUs, () => net.setSlow(fault.from, fault.to, 0, 0));
      case "reset":
        net.resetBetween(fault.from, fault.to);
        return;
    }
  }
}

/** A change of members that this leader makes. */
function isChange({ kind, term }: Entry, leads: number): boolean {
  return kind === ENTRY_KIND.config && term === leads;
}

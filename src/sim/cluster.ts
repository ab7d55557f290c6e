/**
 * A whole cluster in one world: machines with nodes of the real server, machines with control processes if the plan has
 * any, machines with clients, and the hand that starts what has stopped.
 *
 * A node's life: `starting` (it recovers), `up`, `down` (and to be started again), `lost` (its disk is damaged or
 * empty: it refuses to start, rightly, and nobody forces it). A node may stop itself when its disk failed it;
 * stopping for anything else, or refusing to start from a disk that nobody damaged, breaks a rule.
 */
import { assert, present } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";
import { messageOf, NucleusError } from "../base/errors.ts";
import type { Backup } from "../controlplane/backup.ts";
import type { Platform } from "../platform/platform.ts";
import type { Hash64 } from "../ring/circle.ts";
import type { Layout, NodeAddress } from "../server/layout.ts";
import type { NodeObserver } from "../server/node.ts";
import type { FaultCounts } from "./disk.ts";
import { History } from "./history.ts";
import { Losses } from "./losses.ts";
import { Network } from "./net.ts";
import type { Plan } from "./plan.ts";
import { Machine } from "./platform.ts";
import { programOf, type SimServer } from "./programs.ts";
import { Town } from "./town.ts";
import { WorkloadClient } from "./workload.ts";
import { World } from "./world.ts";

export const NODE_PORT = 7001;
/** Where a node keeps its data: the same path on every machine, as swapped disks have it. */
export const NODE_DIR = "/data";
/** Machines of clients are numbered from here. */
const CLIENT_MACHINES = 100;
const CLIENT_MACHINES_END = 900;
/** Two of them. */
export const OPERATOR_MACHINE = 950;
/** How long an operator takes to look at a node that stopped by itself or refused to start. */
const RESTART_US = 1_500_000;

export type NodeState = "starting" | "up" | "down" | "lost";

export class SimNode {
  readonly index: number;
  readonly id: string;
  readonly machine: Machine;
  state: NodeState = "down";
  /** Runs a control process, and no shards. */
  readonly isControl: boolean;
  /** The running program; null unless starting or up. */
  server: SimServer | null = null;
  /** It was started to its end once: from then on the operator never says --init. */
  born = false;
  /** Its disk was damaged, emptied or swapped: it may refuse to start. */
  diskDamaged = false;
  /** Its disk failed an operation of this incarnation: it may stop itself. */
  diskFailed = false;
  /** The replica of each group that it was last seen to run. */
  readonly replicas = new Map<number, number>();
  /** Groups whose replicas here may have been harmed with the disk, and have not been replaced yet. */
  readonly harmed = new Set<number>();
  /** It has another node's disk: it must refuse to start. */
  foreignDisk = false;
  /** Nobody restarts it: the fault that took it down will. */
  held = false;

  constructor(index: number, id: string, machine: Machine, isControl: boolean) {
    this.index = index;
    this.id = id;
    this.machine = machine;
    this.isControl = isControl;
  }

  /** Its disk, whole until now, is about to be harmed. */
  harm(): void {
    this.diskDamaged = true;
    for (const group of this.replicas.keys()) this.harmed.add(group);
  }

  /** It is begun anew as part of another group, and nothing of before counts. */
  beginAnew(): void {
    this.born = false;
    this.diskDamaged = false;
    this.replicas.clear();
    this.harmed.clear();
    if (this.state === "lost") this.state = "down";
  }

  /** The group is given up: nobody will replace its replica here. */
  giveUp(group: number): void {
    this.replicas.delete(group);
    if (this.harmed.delete(group) && this.harmed.size === 0) this.diskDamaged = false;
  }
}

export class Cluster {
  readonly plan: Plan;
  readonly world: World;
  readonly net: Network;
  /** Storage nodes, then control processes. */
  readonly nodes: readonly SimNode[];
  readonly h64: Hash64 | null;
  /** Of a managed cluster: what is known of its shards. */
  readonly town: Town | null;
  readonly clients: WorkloadClient[] = [];
  readonly history = new History();
  readonly layout: Layout;
  /** Faults that took effect, by name. */
  readonly counts: FaultCounts = new Map();
  /** What the cluster went through, for statistics. */
  readonly happened = {
    elections: 0,
    rests: 0,
    restarts: 0,
    replacements: 0,
    snapshots: 0,
    snapshotsReceived: 0,
    restores: 0,
    losses: 0,
  };
  /** All disks of the control plane were lost: what it is made of anew, and the number of that; null: they were not. */
  restored: { readonly backup: Backup; readonly restoreId: string } | null = null;
  readonly losses: Losses;
  /** Set by the checkers: what the running servers report. */
  observerOf: (node: SimNode) => NodeObserver = () => ({});

  /** Set by the checkers: a new process of a node begins. */
  onStart: (node: SimNode) => void = () => {};
  /** .. has read its disk, and nobody has sent it anything yet. */
  onUp: (node: SimNode) => void = () => {};
  /** .. a snapshot of one of its groups lasts on its disk. */
  onSnapshot: (node: SimNode) => void = () => {};
  /** .. its disk, whole and without power, is about to be harmed. */
  onDamage: (node: SimNode, how: "flip_bit" | "wipe") => void = () => {};

  constructor(plan: Plan, recording: boolean, h64: Hash64 | null = null) {
    assert(plan.managed === undefined || h64 !== null, "a ring needs its hash");
    this.plan = plan;
    this.h64 = h64;
    this.world = new World(plan.seed, { recording });
    this.world.trace.nameOf = (who) =>
      who < 0
        ? ""
        : who < CLIENT_MACHINES
          ? nameOf(plan, who)
          : who < CLIENT_MACHINES_END
            ? `client${who - CLIENT_MACHINES}`
            : who === OPERATOR_MACHINE || who === OPERATOR_MACHINE + 1
              ? "operator"
              : "verifier";
    this.net = new Network(this.world, plan.net, this.counts);
    const addresses: NodeAddress[] = [];
    const nodes: SimNode[] = [];
    for (let i = 0; i < plan.nodes + (plan.managed?.controls ?? 0); i++) {
      const id = nameOf(plan, i);
      const disk = plan.canary === "lying_sync" ? { ...plan.disk, lyingSync: true } : plan.disk;
      const knobs = { disk, clock: plan.clock };
      const machine = new Machine(this.world, this.net, i, id, knobs);
      machine.clock.driftPpm = plan.driftPpm[i] ?? 0;
      machine.clock.wallOffsetMs = plan.wallOffsetMs[i] ?? 0;
      machine.disk.makeDurableDir(NODE_DIR); // as the operator did
      const isControl = i >= plan.nodes;
      const node = new SimNode(i, id, machine, isControl);
      machine.onLog = (message) => {
        if (message !== "snapshot") return;
        this.happened.snapshots++;
        this.onSnapshot(node);
      };
      nodes.push(node);
      if (!isControl) addresses.push({ id, host: id, port: NODE_PORT });
    }
    this.nodes = nodes;
    this.layout = layoutOf(plan, this.world, addresses);
    this.losses = new Losses(this.history);
    this.town = plan.managed === undefined ? null : new Town(this);
  }

  startAll(): void {
    for (const node of this.nodes) this.start(node);
    for (let i = 0; i < this.plan.workload.clients; i++) {
      const number = CLIENT_MACHINES + i;
      const machine = new Machine(this.world, this.net, number, `client${i}`);
      const client = new WorkloadClient(this.world, i, this.plan.workload, this.layout.nodes, this.history);
      client.start(machine);
      this.clients.push(client);
    }
  }

  start(node: SimNode): void {
    if (node.state !== "down") return;
    node.state = "starting";
    node.diskFailed = false;
    this.onStart(node);
    node.machine.start((platform) => this.#boot(node, platform, !node.born));
  }

  #boot(node: SimNode, platform: Platform, init: boolean): void {
    const server: SimServer = programOf(
      this,
      node,
      platform,
      init,
      (error) => this.#stoppedItself(node, server, error),
      this.observerOf(node),
    );
    node.server = server;
    server.start((error) => {
      if (node.server !== server) return;
      if (error !== null) {
        this.#refused(node, error);
        return;
      }
      if (node.foreignDisk) this.world.fail("foreign disk", `${node.id} started on the disk of another node`);
      if (node.born) this.happened.restarts++;
      if (node.born && !node.diskDamaged && this.#isForgetful(node, server))
        this.world.fail(
          "needless refusal",
          `${node.id} came up without its replica, though its disk is sound`,
        );
      node.state = "up";
      node.born = true;
      this.world.note("up", node.index);
      this.onUp(node);
    });
  }

  /** It has its disk, and does not find what was on it. */
  #isForgetful(node: SimNode, server: SimServer): boolean {
    if (this.plan.managed === undefined || node.isControl) return server.groups.length === 0;
    // Replicas are closed by order, too; but none is taken for damaged.
    return [...server.engine.seats.values()].some(({ isTaken, hosted }) => isTaken && hosted === null);
  }

  /** A node runs this replica: if it is a new one, what befell its disk is of the past. */
  onReplica(node: SimNode, group: number, replica: number): void {
    const known = node.replicas.get(group);
    if (known === replica) return;
    node.replicas.set(group, replica);
    if (known === undefined) return;
    this.happened.replacements++;
    node.harmed.delete(group);
    if (node.harmed.size === 0) node.diskDamaged = false;
  }

  /** The program ends itself: nothing of it runs on, not even the rest of what it was doing. */
  #stoppedItself(node: SimNode, server: SimServer, error: Error): void {
    if (node.server !== server) return;
    this.world.trace.say(this.world.nowUs, "stopped itself", node.index, messageOf(error));
    const mayStop = node.diskFailed || node.diskDamaged || node.state === "starting";
    if (!mayStop) this.world.fail("needless stop", `${node.id} stopped itself: ${messageOf(error)}`, error);
    this.#count("stopped itself");
    this.takeDown(node, "kill");
    this.#restartLater(node);
  }

  #refused(node: SimNode, error: Error): void {
    if (!(error instanceof NucleusError))
      return this.world.fail("crash", `${node.id}: ${messageOf(error)}`, error);
    const { code } = error;
    this.world.trace.say(this.world.nowUs, "refused to start", node.index, messageOf(error));
    this.takeDown(node, "kill");
    if (node.foreignDisk) {
      this.#count("refused to start"); // until it has its own disk again
    } else if (code === "EBORN") {
      node.born = true; // the crash came between birth and its announcement
      this.#restartLater(node);
    } else if (["EIO", "ENOSPC"].includes(code)) {
      this.#restartLater(node);
    } else if (node.diskDamaged) {
      node.state = "lost";
      this.#count("refused to start");
    } else {
      this.world.fail("needless refusal", `${node.id} refused to start: ${messageOf(error)}`, error);
    }
  }

  #restartLater(node: SimNode): void {
    this.world.after(RESTART_US, null, () => {
      if (!node.held) this.start(node);
    });
  }

  /** Its disk is replaced by an empty one. */
  wipe(node: SimNode): void {
    this.takeDown(node, "power");
    this.onDamage(node, "wipe");
    node.machine.disk.wipe();
    node.machine.disk.makeDurableDir(NODE_DIR); // the operator's, as before
  }

  /** Ends the node's process, one way or the other. */
  takeDown(node: SimNode, how: "kill" | "power"): void {
    if (how === "power") node.machine.powerFailure();
    else if (node.machine.running) node.machine.kill();
    node.server = null;
    if (node.state !== "lost") node.state = "down";
  }

  /** SIGTERM: the server ends in order, unless it takes too long. */
  stop(node: SimNode, then: () => void): void {
    const { server } = node;
    if (server === null || node.state !== "up") {
      this.takeDown(node, "kill");
      then();
      return;
    }
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      if (node.server === server) this.takeDown(node, "kill");
      then();
    };
    this.world.call(present(node.machine.process, "a server runs in a process"), () => server.stop(end));
    this.world.after(2_000_000, null, end);
  }

  get clientMachines(): readonly number[] {
    return this.clients.map((_, i) => CLIENT_MACHINES + i);
  }

  /** A fault is meant for whoever leads: of the one group, or as `town` knows. */
  aim(at: number): SimNode {
    return this.town?.aim(at) ?? this.#leader();
  }

  /** Who believes to lead in the highest term; if nobody does, the first node. */
  #leader(): SimNode {
    let leader = present(this.nodes[0], "a cluster has nodes");
    let highest = -1;
    for (const node of this.nodes) {
      const group = node.server?.groups[0];
      if (group === undefined || !group.isLeader || group.core.term <= highest) continue;
      leader = node;
      highest = group.core.term;
    }
    return leader;
  }

  /** A node whose disk is damaged or gone does not come back; the others must do without it. */
  get survivors(): readonly SimNode[] {
    return this.nodes.filter(({ state }) => state !== "lost");
  }

  /** The nodes that clients talk to. */
  get storage(): readonly SimNode[] {
    return this.nodes.slice(0, this.plan.nodes);
  }

  get majority(): number {
    return Math.floor(this.nodes.length / 2) + 1;
  }

  count(fault: string): void {
    this.#count(fault);
  }

  #count(fault: string): void {
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }
}

function nameOf({ nodes }: Plan, index: number): string {
  return index < nodes ? `n${index + 1}` : `c${index - nodes + 1}`;
}

function layoutOf(plan: Plan, world: World, nodes: readonly NodeAddress[]): Layout {
  const bits = new Uint8Array(16);
  world.stream("cluster id").fill(bits);
  const cluster = toHex(bits);
  const group = Number.parseInt(cluster.slice(0, 12), 16) + 1;
  assert(Number.isSafeInteger(group), "a group's number is exact");
  return { cluster, group, nodes, settings: { memoryBytesMax: 0, ...plan.settings } };
}

/**
 * Nodes of the real server in one simulated world, started, killed, cut off and wiped by hand, and clients that
 * speak RESP to them. Deterministic: a seed gives the same run every time.
 */
import { codeOf } from "../../src/base/errors.ts";
import { runTask, type Task } from "../../src/base/task.ts";
import type { Disk, Platform } from "../../src/platform/platform.ts";
import type { RedisMode } from "../../src/server/client.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import type { Layout } from "../../src/server/layout.ts";
import { type NodeObserver, NucleusNode } from "../../src/server/node.ts";
import { Network } from "../../src/sim/net.ts";
import { Machine } from "../../src/sim/platform.ts";
import { World } from "../../src/sim/world.ts";
import { SimClient } from "./client.ts";

const PORT = 7001;
const MS = 1000;
const MiB = 1024 * 1024;

export type ClusterOptions = {
  readonly nodes?: number;
  readonly seed?: number;
  readonly segmentBytes?: number;
  readonly electionMs?: number;
  readonly memoryBytesMax?: number;
  /** Keep the story, for `story()`. */
  readonly recording?: boolean;
};

export class TestNode {
  readonly id: string;
  readonly machine: Machine;
  /** The running server; null while it is down. */
  server: NucleusNode | null = null;
  started = false;
  /** Why it refused to start, or stopped itself. */
  error: Error | null = null;

  constructor(id: string, machine: Machine) {
    this.id = id;
    this.machine = machine;
  }

  get group(): GroupReplica {
    const group = this.server?.groups[0];
    if (group === undefined) throw new Error(`${this.id} is not up`);
    return group;
  }

  get isLeader(): boolean {
    return this.server?.groups[0]?.isLeader ?? false;
  }
}

export class Cluster {
  readonly world: World;
  readonly net: Network;
  readonly nodes: TestNode[] = [];
  layout: Layout;
  redisMode: RedisMode = "proxy";
  observer: NodeObserver = {};
  #clients = 0;

  constructor(options: ClusterOptions = {}) {
    const { nodes = 3, seed = 1, segmentBytes = 4 * MiB, electionMs = 300, memoryBytesMax = 0 } = options;
    this.world = new World(seed, { recording: options.recording === true });
    this.net = new Network(this.world);
    for (let i = 0; i < nodes; i++) {
      const machine = new Machine(this.world, this.net, i, `n${i + 1}`);
      machine.disk.makeDurableDir(`/n${i + 1}`);
      this.nodes.push(new TestNode(`n${i + 1}`, machine));
    }
    this.layout = {
      cluster: "00112233445566778899aabbccddeeff",
      group: 0x001122334456,
      nodes: this.nodes.map(({ id }) => ({ id, host: id, port: PORT })),
      settings: { segmentBytes, electionMs, memoryBytesMax },
    };
  }

  /** All nodes, born; returns when one leads and all know it. */
  static started(options: ClusterOptions = {}): Cluster {
    const cluster = new Cluster(options);
    for (let i = 0; i < cluster.nodes.length; i++) cluster.start(i, true);
    cluster.leader();
    return cluster;
  }

  node(i: number): TestNode {
    return this.nodes[i] as TestNode;
  }

  start(i: number, init = false): void {
    const node = this.node(i);
    node.started = false;
    node.error = null;
    node.machine.start((platform) => {
      const config = {
        id: node.id,
        dir: `/${node.id}`,
        host: node.id,
        port: PORT,
        cluster: { kind: "fixed", layout: this.layout, init } as const,
        redisMode: this.redisMode,
        version: "test",
        pid: i + 1,
      };
      const server = new NucleusNode(
        platform,
        config,
        (error) => {
          node.error ??= error;
          if (node.server === server) this.kill(i);
        },
        this.observer,
      );
      node.server = server;
      server.start((error) => {
        if (error !== null) node.error ??= error;
        else node.started = true;
      });
    });
  }

  /** kill -9. */
  kill(i: number): void {
    const node = this.node(i);
    node.server = null;
    if (node.machine.running) node.machine.kill();
  }

  /** The machine loses power, and its unsynced bytes. */
  power(i: number): void {
    const node = this.node(i);
    node.server = null;
    node.machine.powerFailure();
  }

  /** A new, empty disk. */
  wipe(i: number): void {
    const node = this.node(i);
    node.machine.disk.wipe();
    node.machine.disk.makeDurableDir(`/${node.id}`);
  }

  /** Cuts node `i` off from the other nodes; clients still reach it. */
  isolate(i: number, cut = true): void {
    for (let j = 0; j < this.nodes.length; j++) {
      if (j === i) continue;
      this.net.setCut(i, j, cut);
      this.net.setCut(j, i, cut);
    }
  }

  /** Does something to the disk of a node that is down. */
  onDisk(i: number, task: (disk: Disk, platform: Platform) => Task<void>): void {
    const { machine } = this.node(i);
    const ended: (Error | null)[] = [];
    machine.start((platform) => runTask(task(platform.disk, platform), (error) => void ended.push(error)));
    this.world.runUntil(this.world.nowUs + 1000 * MS, () => ended.length > 0);
    machine.kill();
    if (ended[0] !== null) throw ended[0] ?? new Error("it does not end");
  }

  /** Starts a node that should refuse to; gives the reason's code. */
  refusal(i: number, init = false): string {
    this.start(i, init);
    const node = this.node(i);
    this.world.runUntil(this.world.nowUs + 5000 * MS, () => node.started || node.error !== null);
    const code = codeOf(node.error);
    this.kill(i);
    node.error = null;
    return node.started ? "it started" : code;
  }

  run(ms: number): void {
    this.world.run(this.world.nowUs + ms * MS);
    this.check();
  }

  /** Runs until `holds`; throws if it does not within `ms`. */
  until(what: string, holds: () => boolean, ms = 10_000): void {
    const held = this.world.runUntil(this.world.nowUs + ms * MS, holds);
    this.check();
    if (!held) throw new Error(`not within ${ms} ms: ${what}`);
  }

  /** Throws what a node threw, or why one stopped. */
  check(): void {
    if (this.world.violation !== null)
      throw new Error(this.world.violation.message, { cause: this.world.violation });
    for (const { id, error } of this.nodes) if (error !== null) throw new Error(`${id}: ${error.message}`);
  }

  /** The number of the node that leads, as soon as all that are up agree. */
  leader(): number {
    let found = -1;
    this.until("a leader", () => {
      const up = this.nodes.filter(({ started, server }) => started && server !== null);
      found = this.nodes.findIndex((node) => node.isLeader && node.group.core.committedInTerm);
      if (found < 0) return false;
      const { term } = this.node(found).group.core;
      return up.every(({ group }) => group.core.term === term && group.core.leader === found + 1);
    });
    return found;
  }

  /** Has leadership handed to node `i`, or lets it stand. */
  makeLeader(i: number): void {
    for (let tries = 0; tries < 100; tries++) {
      if (this.node(i).isLeader && this.node(i).group.core.committedInTerm) return;
      const leader = this.nodes.find((node) => node.isLeader);
      if (leader === undefined) this.node(i).group.core.campaign();
      else leader.group.core.transfer(i + 1);
      for (const node of this.nodes) node.server?.engine.wake();
      this.run(100);
    }
    throw new Error(`n${i + 1} does not come to lead`);
  }

  /** Some node that is up and does not lead. */
  follower(): number {
    const leader = this.leader();
    return this.nodes.findIndex(({ server }, i) => server !== null && i !== leader);
  }

  /** A RESP connection to node `i`, from a machine of its own. */
  client(i: number): SimClient {
    const number = 100 + this.#clients++;
    const machine = new Machine(this.world, this.net, number, `client${number}`);
    return new SimClient(machine, this.node(i).id, PORT);
  }

  /** Sends one command over a connection of its own to node `i`, and waits for the answer. */
  call(i: number, ...words: string[]): string {
    const client = this.client(i);
    client.send(...words);
    this.until(`an answer to ${words.join(" ")}`, () => client.replies.length > 0 || client.closed);
    client.close();
    return client.replies[0] ?? "closed";
  }

  story(pattern: RegExp): string[] {
    return this.world.trace.lines().filter((line) => pattern.test(line));
  }
}

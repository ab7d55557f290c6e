/**
 * Engines with any number of groups and no control plane, in a simulated world: founders' orders are given by hand, so a
 * test says what comes when. Each machine is `n1`, `n2`, ..; a group's founders are those that the test names.
 */
import { runTask, type Task } from "../../src/base/task.ts";
import { MiB } from "../../src/base/units.ts";
import type { Connection } from "../../src/platform/platform.ts";
import type { ReplicaId } from "../../src/raft/types.ts";
import { foundingConfig, sealBootstrap } from "../../src/server/bootstrap.ts";
import { Engine, type EngineHost } from "../../src/server/engine.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import { type NodeAddress, storeSettings } from "../../src/server/layout.ts";
import { PeerLink } from "../../src/server/peer_link.ts";
import type { Seat } from "../../src/server/seat.ts";
import { Network } from "../../src/sim/net.ts";
import { Machine } from "../../src/sim/platform.ts";
import { World } from "../../src/sim/world.ts";
import { encodeBirth } from "../../src/store/birth_entry.ts";
import { KeyValueStore } from "../../src/store/store.ts";
import type { GroupId } from "../../src/wal/types.ts";
import type { ConnectionClass } from "../../src/wire/control.ts";

const MS = 1000;
const PORT = 7000;
const ELECTION_MS = 300;
export const CLUSTER = "ef".repeat(16);

export type TestEngine = {
  readonly id: string;
  readonly machine: Machine;
  engine: Engine | null;
  started: boolean;
  /** Why it refused to start, or stopped itself. */
  error: Error | null;
  /** Connections that others dialled. */
  readonly accepted: Connection[];
};

export class Engines {
  readonly world: World;
  readonly net: Network;
  readonly all: TestEngine[] = [];
  addresses: NodeAddress[] = [];

  constructor(count: number, seed = 1) {
    this.world = new World(seed);
    this.net = new Network(this.world);
    for (let i = 1; i <= count; i++) {
      const id = `n${i}`;
      const machine = new Machine(this.world, this.net, i, id);
      machine.disk.makeDurableDir(`/${id}`);
      this.all.push({ id, machine, engine: null, started: false, error: null, accepted: [] });
      this.addresses.push({ id, host: id, port: PORT });
    }
  }

  static started(count: number, seed = 1): Engines {
    const engines = new Engines(count, seed);
    for (let i = 0; i < count; i++) engines.start(i);
    engines.until("all are up", () => engines.all.every(({ started }) => started));
    return engines;
  }

  at(i: number): TestEngine {
    return this.all[i] as TestEngine;
  }

  engine(i: number): Engine {
    const { engine, id } = this.at(i);
    if (engine === null) throw new Error(`${id} is not up`);
    return engine;
  }

  start(i: number): void {
    const one = this.at(i);
    one.started = false;
    one.error = null;
    one.machine.start((platform) => {
      const host: EngineHost = {
        onConnection: (connection) => {
          one.accepted.push(connection);
          connection.events = {
            onOpen() {},
            onDrain() {},
            onClose() {},
            onData: (bytes) => engine.peers.accept(connection, bytes.subarray(4)), // behind the preamble
          };
        },
        onTick() {},
        afterTurn() {},
        onLeader() {},
        onApplied() {},
        onClaim() {},
        onMove() {},
        fatal: (error) => {
          one.error ??= error;
        },
      };
      const open = {
        dir: `/${one.id}`,
        node: one.id,
        cluster: CLUSTER,
        segmentBytes: 4 * MiB,
        makeStore: () => new KeyValueStore(storeSettings(0)),
        founding: null,
        groups: null,
        hasOthers: true,
        mayBeMember: () => true,
      };
      const config = { host: one.id, port: PORT, electionMs: ELECTION_MS, open };
      const engine = new Engine(platform, config, host);
      one.engine = engine;
      const { addresses } = this;
      // biome-ignore lint/correctness/useYield: the engine takes a task, and there is nothing to wait for
      const prepare = function* (): Task<void> {
        engine.setNodes(addresses);
      };
      runTask(engine.start(prepare), (error) => {
        if (error !== null) one.error ??= error;
        else one.started = true;
      });
    });
  }

  kill(i: number): void {
    const one = this.at(i);
    one.engine = null;
    if (one.machine.running) one.machine.kill();
  }

  power(i: number): void {
    const one = this.at(i);
    one.engine = null;
    one.machine.powerFailure();
  }

  restart(i: number): void {
    this.start(i);
    this.until(`${this.at(i).id} is up`, () => this.at(i).started);
  }

  /** Gives node `i` the order to be the founder of a group that begins on `founders`, by their numbers. */
  order(i: number, group: GroupId, founders: readonly number[]): void {
    const engine = this.engine(i);
    const config = foundingConfig(founders.map((one) => this.at(one).id));
    const birth = { settings: storeSettings(0), shard: `s${group}`, epoch: 1, slots: SPREAD };
    const bootstrap = sealBootstrap(group, config, encodeBirth(birth));
    const replica: ReplicaId = founders.indexOf(i) + 1;
    engine.create("a test", engine.home.identity.incarnation, { group, replica, bootstrap });
  }

  /** Orders are repeated until they were obeyed; ends when the group is led. */
  found(group: GroupId, founders: readonly number[]): void {
    this.until(`group ${group} is led`, () => {
      if (this.world.nowUs - this.#orderedUs > 100 * MS) {
        this.#orderedUs = this.world.nowUs;
        for (const i of founders) if (this.replica(i, group) === null) this.order(i, group, founders);
      }
      return this.leaderOf(group) !== null;
    });
  }

  #orderedUs = -1_000_000;

  seat(i: number, group: GroupId): Seat | null {
    return this.at(i).engine?.seats.get(group) ?? null;
  }

  replica(i: number, group: GroupId): GroupReplica | null {
    const { engine } = this.at(i);
    return engine?.isOpen === true ? engine.group(group) : null;
  }

  leaderOf(group: GroupId): GroupReplica | null {
    for (const i of this.all.keys()) {
      const replica = this.replica(i, group);
      if (replica?.isLeader === true && replica.core.committedInTerm) return replica;
    }
    return null;
  }

  /** Turns a bit over in the head of the oldest file of the log: no record in it can be believed. */
  damageLog(i: number): void {
    const files = this.at(i).machine.disk.tree.files();
    const segments = files.filter(({ path }) => path.includes("/wal/log-"));
    const [oldest] = segments.sort((a, b) => (a.path < b.path ? -1 : 1));
    if (oldest === undefined) throw new Error("there is no log");
    oldest.file.flipBit(20, 3);
  }

  /** Ends the connection of that class between two nodes; the one with the smaller number has dialled it. */
  cut(dialler: number, other: number, kind: ConnectionClass): void {
    const links = this.at(other).accepted.map(({ events }) => events);
    const link = links.find(
      (one) =>
        one instanceof PeerLink && one.kind === kind && one.peer.id === this.at(dialler).id && one.isUp,
    );
    if (!(link instanceof PeerLink)) throw new Error(`no ${kind} connection`);
    link.drop("a test");
  }

  run(ms: number): void {
    this.world.run(this.world.nowUs + ms * MS);
    this.#check();
  }

  until(what: string, holds: () => boolean, ms = 20_000): void {
    const held = this.world.runUntil(this.world.nowUs + ms * MS, holds);
    this.#check();
    if (!held) throw new Error(`not within ${ms} ms: ${what}`);
  }

  #check(): void {
    if (this.world.violation !== null) throw this.world.violation;
    for (const { id, error } of this.all)
      if (error !== null) throw new Error(`${id}: ${error.message}`, { cause: error });
  }
}

/** Ranges enough that a bootstrap has more than one sector. */
const SPREAD = Array.from({ length: 400 }, (_, i): [number, number] => [40 * i, 40 * i + 3]);

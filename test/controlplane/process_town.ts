/** Control processes and storage nodes in a simulated world: real logs, disks and connections, one thread, one seed. */
import { utf8 } from "../../src/base/bytes.ts";
import { MiB } from "../../src/base/units.ts";
import type { Backup } from "../../src/controlplane/backup.ts";
import { type ControlConfig, ControlProcess } from "../../src/controlplane/process.ts";
import type { FirstLayout } from "../../src/controlplane/requests.ts";
import type { MetaState } from "../../src/controlplane/state.ts";
import type { Hash64 } from "../../src/ring/circle.ts";
import { type NodeObserver, NucleusNode } from "../../src/server/node.ts";
import { Network } from "../../src/sim/net.ts";
import { Machine } from "../../src/sim/platform.ts";
import { World } from "../../src/sim/world.ts";
import type { ControlReply, ControlRequest } from "../../src/wire/control_request.ts";
import { SimClient } from "../server/client.ts";

const MS = 1000;
const PORT = 7000;
const ELECTION_MS = 300;
const SEGMENT_BYTES = 4 * MiB;

export type Inhabitant<T> = {
  readonly id: string;
  readonly machine: Machine;
  server: T | null;
  error: Error | null;
};

export class Town {
  readonly world: World;
  readonly net: Network;
  readonly controls: Inhabitant<ControlProcess>[] = [];
  readonly nodes: Inhabitant<NucleusNode>[] = [];
  readonly #h64: Hash64;
  readonly #firstLayout: FirstLayout | null;
  cluster: string | null;
  /** For control processes that are started from now on. */
  backup: Backup | null = null;
  /** Of that restore; "" = none is given. */
  restoreId = "";
  /** Of the nodes that are started from now on. */
  observer: NodeObserver = {};
  #clients = 0;

  constructor(
    h64: Hash64,
    options: { seed?: number; controls: number; nodes: number; firstLayout?: FirstLayout; cluster?: string },
  ) {
    this.#h64 = h64;
    this.#firstLayout = options.firstLayout ?? null;
    this.cluster = options.cluster ?? null;
    this.world = new World(options.seed ?? 1);
    this.net = new Network(this.world);
    let number = 0;
    const settle = <T>(id: string): Inhabitant<T> => {
      const machine = new Machine(this.world, this.net, number++, id);
      machine.disk.makeDurableDir(`/${id}`);
      return { id, machine, server: null, error: null };
    };
    for (let i = 1; i <= options.controls; i++) this.controls.push(settle(`c${i}`));
    for (let i = 1; i <= options.nodes; i++) this.nodes.push(settle(`n${i}`));
  }

  startControl(i: number, init = false): void {
    const one = this.controls[i] as Inhabitant<ControlProcess>;
    one.machine.start((platform) => {
      const config: ControlConfig = {
        id: one.id,
        dir: `/${one.id}`,
        peers: this.controls.map(({ id }) => ({ id, host: id, port: PORT })),
        http: null,
        cluster: this.cluster,
        init,
        firstLayout: this.#firstLayout,
        backup: this.backup,
        ...(this.restoreId === "" ? {} : { restoreId: this.restoreId }),
        electionMs: ELECTION_MS,
        segmentBytes: SEGMENT_BYTES,
      };
      const server = new ControlProcess(platform, config, this.#h64, (error) => this.#fail(one, error));
      one.server = server;
      server.start((error) => {
        if (error !== null) one.error ??= error;
      });
    });
  }

  startNode(i: number): void {
    const one = this.nodes[i] as Inhabitant<NucleusNode>;
    one.machine.start((platform) => {
      const config = {
        id: one.id,
        dir: `/${one.id}`,
        host: one.id,
        port: PORT,
        version: "test",
        pid: i + 1,
        cluster: {
          kind: "managed",
          control: this.controls.map(({ id }) => ({ host: id, port: PORT })),
          zone: "",
          capacity: 100,
          electionMs: ELECTION_MS,
          segmentBytes: SEGMENT_BYTES,
        } as const,
      };
      const server = new NucleusNode(platform, config, (error) => this.#fail(one, error), this.observer);
      one.server = server;
      server.start((error) => {
        if (error !== null) one.error ??= error;
      });
    });
  }

  startAll(init: boolean): void {
    for (let i = 0; i < this.controls.length; i++) this.startControl(i, init);
    for (let i = 0; i < this.nodes.length; i++) this.startNode(i);
  }

  #fail<T>(one: Inhabitant<T>, error: Error): void {
    one.error ??= error;
  }

  /** A RESP connection to a node. */
  client(host: string): SimClient {
    const number = 100 + this.#clients++;
    return new SimClient(new Machine(this.world, this.net, number, `client${number}`), host, PORT);
  }

  kill(one: Inhabitant<unknown>): void {
    one.server = null;
    one.machine.powerFailure();
  }

  /** It ends, and its disk is replaced by an empty one. */
  lose(one: Inhabitant<unknown>): void {
    this.kill(one);
    one.machine.disk.wipe();
    one.machine.disk.makeDurableDir(`/${one.id}`);
  }

  get leader(): ControlProcess | null {
    const leaders = this.controls.flatMap(({ server }) => (server?.service.reign == null ? [] : [server]));
    return leaders.reduce<ControlProcess | null>(
      (a, b) => (a === null || (b.service.reign?.term ?? 0) > (a.service.reign?.term ?? 0) ? b : a),
      null,
    );
  }

  get state(): MetaState | null {
    return this.leader?.service.reign?.state ?? null;
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
    for (const { id, error } of [...this.controls, ...this.nodes])
      if (error !== null) throw new Error(`${id}: ${error.message}`, { cause: error });
  }

  /** Every shard has just one leader, which is ready. */
  get isServed(): boolean {
    const { state } = this;
    if (state === null || state.shards.size === 0) return false;
    return [...state.shards.values()].every(({ group }) => this.leadersOf(group).length === 1);
  }

  leadersOf(group: number): string[] {
    return this.nodes.flatMap(({ id, server }) =>
      server?.groups.some((one) => one.group === group && one.isLeader) === true ? [id] : [],
    );
  }

  /** Asks the leader as a node's line would, and waits. */
  ask(request: ControlRequest): ControlReply {
    const answers: ControlReply[] = [];
    this.until("a leader", () => this.leader !== null);
    this.leader?.service.onRequest(request, (reply) => void answers.push(reply));
    this.until("an answer", () => answers.length > 0);
    return answers[0] as ControlReply;
  }

  http(method: "GET" | "POST", path: string, body: unknown = null): { status: number; text: string } {
    const bytes = body === null ? new Uint8Array(0) : utf8(JSON.stringify(body));
    const reply = this.ask({ kind: "http", method, path, body: bytes });
    if (reply.kind !== "http") throw new Error(`answered ${reply.kind}`);
    return { status: reply.status, text: new TextDecoder().decode(reply.body) };
  }
}

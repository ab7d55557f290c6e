/**
 * All connections of clients to one node: those that have not said who they are (opening.ts), and the clients. What
 * was answered leaves at the end of a turn, by one write to each client that has something to hear.
 *
 * Bounds: CLIENTS_MAX clients; one that is closing and does not read what it is still owed is cut after
 * LEAVING_TICKS_MAX. Who waits for room in a router is asked again after each turn; who waits for a slow reader,
 * once a tick, so that ten thousand of them cost next to nothing.
 */
import { bytesEqual } from "../base/bytes.ts";
import type { Connection } from "../platform/platform.ts";
import type { Client, ClientHost } from "./client.ts";
import type { ClusterDoor } from "./cluster_commands.ts";
import { Openings } from "./opening.ts";

/** Redis's default too. */
const CLIENTS_MAX = 10_000;
/** Ten seconds. */
const LEAVING_TICKS_MAX = 1000;
const LEAVING_EVERY_TICKS = 100;
/**
 * Clients that asked for the map hear of a new one within 100 ms; but while it changes all the time, as when slots move, no
 * more often than this: what still goes to the former place is sent on from there.
 */
const TOPOLOGY_EVERY_TICKS = 10;
const TOPOLOGY_REST_TICKS = 50;

export type DoorsHost = Pick<
  ClientHost,
  | "clock"
  | "random"
  | "info"
  | "redisMode"
  | "cluster"
  | "moveLeader"
  | "replaceNode"
  | "control"
  | "admit"
  | "reads"
> & {
  /** The connection is another node's; `bytes` came behind the preamble. */
  onPeer(connection: Connection, bytes: Uint8Array): void;
  wake(): void;
};

export class Doors {
  readonly #openings: Openings;
  readonly #clients = new Map<number, Client>();
  #clientNext = 1;
  #touched: Client[] = [];
  readonly #touchedIds = new Set<number>();
  #waiting: Client[] = [];
  #draining = new Set<Client>();
  /** Clients that are to close, and the tick at which that was seen. */
  readonly #leaving = new Map<Client, number>();
  #ticks = 0;
  readonly #cluster: ClusterDoor;
  /** Of what clients were told last. */
  #topology = -1;
  #toldTick = -TOPOLOGY_REST_TICKS;
  #mapTold: Uint8Array | null = null;

  constructor(host: DoorsHost) {
    const { clock, random, info, redisMode, cluster } = host;
    this.#cluster = cluster;
    const clientHost: ClientHost = {
      clock,
      random,
      info,
      redisMode,
      cluster,
      reads: host.reads,
      clients: () => this.#clients.values(),
      admit: (view, at, lane, origin, tag) => host.admit(view, at, lane, origin, tag),
      moveLeader: (node, shard) => host.moveLeader(node, shard),
      replaceNode: (old, node) => host.replaceNode(old, node),
      control: (call, answer) => host.control(call, answer),
      touch: (client) => {
        if (this.#touchedIds.has(client.id)) return;
        this.#touchedIds.add(client.id);
        this.#touched.push(client);
        host.wake();
      },
      waitForRoom: (client) => {
        this.#waiting.push(client); // whatever makes room comes with a turn, or the next tick does
      },
      waitForDrain: (client) => {
        this.#draining.add(client);
      },
      onGone: (client) => {
        this.#clients.delete(client.id);
        this.#draining.delete(client);
        this.#leaving.delete(client);
      },
    };
    this.#openings = new Openings({
      nextId: () => this.#clientNext++,
      host: clientHost,
      isFull: () => this.#clients.size >= CLIENTS_MAX,
      onPeer: (connection, bytes) => host.onPeer(connection, bytes),
      onClient: (client) => this.#clients.set(client.id, client),
    });
  }

  get count(): number {
    return this.#clients.size;
  }

  /** Ever. */
  get total(): number {
    return this.#clientNext - 1;
  }

  accept(connection: Connection): void {
    this.#openings.add(connection);
  }

  /** The end of a turn. */
  flush(): void {
    if (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const client of waiting) client.retry();
    }
    const touched = this.#touched;
    this.#touched = [];
    this.#touchedIds.clear();
    for (const client of touched) client.flush();
  }

  tick(): void {
    this.#ticks++;
    this.#openings.tick();
    const draining = this.#draining;
    this.#draining = new Set();
    for (const client of draining) client.retry();
    if (this.#ticks % LEAVING_EVERY_TICKS === 0) this.#cutLeaving();
    if (this.#ticks % TOPOLOGY_EVERY_TICKS === 0) this.#tellTopology();
  }

  #tellTopology(): void {
    const { topology } = this.#cluster.view;
    if (topology === this.#topology || this.#ticks - this.#toldTick < TOPOLOGY_REST_TICKS) return;
    this.#topology = topology;
    const map = this.#cluster.view.mapBytes;
    if (map === null || (this.#mapTold !== null && bytesEqual(map, this.#mapTold))) return;
    this.#mapTold = map;
    this.#toldTick = this.#ticks;
    for (const client of this.#clients.values()) client.onTopology?.();
  }

  close(): void {
    this.#openings.close();
    for (const client of this.#clients.values()) client.connection.close();
  }

  #cutLeaving(): void {
    for (const client of this.#clients.values()) {
      if (!client.closing) continue;
      const since = this.#leaving.get(client);
      if (since === undefined) this.#leaving.set(client, this.#ticks);
      else if (this.#ticks - since > LEAVING_TICKS_MAX) client.connection.destroy();
    }
  }
}

/**
 * The storage node: an engine full of replicas, doors for clients, and whoever tells it what the cluster is like.
 *
 *     fixed      a layout file: one group over fixed nodes, all slots
 *     managed    the control plane: any number of groups, created by order, and a map that changes (managed.ts)
 *
 * A command comes in at a door, the routing brings it to a replica here or on another node, and its reply goes out at
 * the end of a turn (engine.ts).
 */
import { NucleusError } from "../base/errors.ts";
import { type Done, runTask, type Task } from "../base/task.ts";
import type { Platform } from "../platform/platform.ts";
import type { Entry } from "../raft/types.ts";
import { KeyValueStore } from "../store/store.ts";
import type { Recovered, Wal } from "../wal/types.ts";
import type { CommandView } from "../wire/command.ts";
import type { OpenOptions } from "./birth.ts";
import type { Origin } from "./bundle.ts";
import type { ControlAnswer, ControlCall, RedisMode } from "./client.ts";
import { ClusterDoor } from "./cluster_commands.ts";
import { ClusterView } from "./cluster_view.ts";
import { ControlProxy } from "./control_proxy.ts";
import { Doors } from "./doors.ts";
import { Engine } from "./engine.ts";
import { NO_REPLICA } from "./fate.ts";
import type { GroupReplica } from "./group.ts";
import { type HttpAddress, HttpService } from "./http_service.ts";
import type { Lane } from "./lane.ts";
import {
  addressText,
  bootstrapEntry,
  fixedMap,
  type Layout,
  type NodeAddress,
  parseAddress,
  storeSettings,
} from "./layout.ts";
import { Managed, type ManagedOptions } from "./managed.ts";
import { loadMap } from "./map_file.ts";
import { NodeReads } from "./node_reads.ts";
import { NodeStatus } from "./node_status.ts";
import type { Peers } from "./peers.ts";
import type { Routing } from "./routing.ts";

export type FixedCluster = {
  readonly kind: "fixed";
  readonly layout: Layout;
  /** First start on an empty directory. */
  readonly init: boolean;
};
export type ManagedCluster = ManagedOptions & { readonly kind: "managed" };

export type NodeConfig = {
  readonly id: string;
  readonly dir: string;
  readonly version: string;
  readonly pid: number;
  /** Where clients and other nodes find it. */
  readonly host: string;
  readonly port: number;
  /** Where HTTP is served, if it is. */
  readonly http?: HttpAddress;
  /** Whether Redis clients are sent to the leader's node; "proxy" if not given. */
  readonly redisMode?: RedisMode;
  readonly cluster: FixedCluster | ManagedCluster;
};

const NO_CONTROL_PLANE =
  "ERR this cluster has a fixed layout and no control plane: its nodes were started with --layout";
const CONTROL_UNREACHED =
  "CLUSTERDOWN The control plane did not answer, or its leader changed: whether it was done is not known; look, then ask again";

/** For checkers: what the node did, as it happened. */
export type NodeObserver = {
  onLeader?(group: GroupReplica): void;
  onApplied?(group: GroupReplica, entry: Entry): void;
};

export class NucleusNode {
  readonly config: NodeConfig;
  readonly platform: Platform;
  readonly observer: NodeObserver;
  readonly engine: Engine;
  readonly http: HttpService;
  readonly reads: NodeReads;
  readonly #doors: Doors;
  readonly #proxy: ControlProxy;
  readonly #status: NodeStatus;
  #managed: Managed | null = null;
  /** Commands that came in at this node's doors since it started. */
  commandsTotal = 0;

  /** `fatal` ends the process: after it, nothing the node says or writes can be trusted. */
  constructor(
    platform: Platform,
    config: NodeConfig,
    fatal: (error: Error) => void,
    observer: NodeObserver = {},
  ) {
    this.platform = platform;
    this.config = config;
    this.observer = observer;
    const { host, port, cluster } = config;
    const { electionMs } = cluster.kind === "fixed" ? cluster.layout.settings : cluster;
    const open = cluster.kind === "fixed" ? fixedOptions(config, cluster) : managedOptions(config, cluster);
    this.engine = new Engine(
      platform,
      { host, port, electionMs, open },
      {
        onConnection: (connection) => this.#doors.accept(connection),
        onTick: () => {
          this.#doors.tick();
          this.#managed?.tick();
          this.#proxy.tick();
        },
        afterTurn: () => this.#endTurn(),
        onLeader: (group) => {
          this.#managed?.onLeader(group);
          observer.onLeader?.(group);
        },
        onApplied: (group, entry) => {
          this.#managed?.onApplied(group, entry);
          observer.onApplied?.(group, entry);
        },
        onClaim: (claim) => this.#managed?.onClaim(claim),
        onMove: (from, message) => this.#managed?.onMove(from, message),
        fatal,
      },
    );
    this.#status = new NodeStatus(this);
    this.reads = new NodeReads(this);
    this.http = new HttpService(this, (...command) => this.#admit(...command));
    this.#proxy = new ControlProxy((call, answer) => this.#control(call, answer));
    if (cluster.kind === "managed")
      this.http.extra = (request, answer) => this.#proxy.handle(request, answer);
    const view = new ClusterView(this.routing);
    this.#doors = new Doors({
      redisMode: this.redisMode,
      cluster: new ClusterDoor(view, config.id, () => this.cluster),
      clock: platform.clock,
      random: platform.random,
      info: this.#status,
      admit: (...command) => this.#admit(...command),
      reads: this.reads,
      moveLeader: (node, shard) => this.#moveLeader(node, shard),
      replaceNode: (old, node) => this.#replaceNode(old, node),
      control: (call, answer) => this.#control(call, answer),
      onPeer: (connection, bytes) => this.engine.peers.accept(connection, bytes),
      wake: () => this.engine.wake(),
    });
  }

  // ------------------------------------------------------------------------------------------- what is here

  get redisMode(): RedisMode {
    return this.config.redisMode ?? "proxy";
  }

  get routing(): Routing {
    return this.engine.routing;
  }

  get peers(): Peers {
    return this.engine.peers;
  }

  get groups(): readonly GroupReplica[] {
    return this.engine.groups;
  }

  /** Null while a damaged log is left as it is. */
  get wal(): Wal | null {
    return this.engine.wal;
  }

  /** What the start found in the log. */
  get recovered(): Recovered | null {
    return this.engine.recovered;
  }

  /** Why this node holds no replica, or not all that it should; null if it does. */
  get waitsBecause(): string | null {
    return this.engine.waitsBecause;
  }

  get clientCount(): number {
    return this.#doors.count;
  }

  get clientsTotal(): number {
    return this.#doors.total;
  }

  /** Null: a fixed cluster has no control plane. */
  get managed(): Managed | null {
    return this.#managed;
  }

  /** "" before it is known. */
  get cluster(): string {
    const { cluster } = this.config;
    if (cluster.kind === "fixed") return cluster.layout.cluster;
    return this.engine.isOpen ? this.engine.home.identity.cluster : "";
  }

  /** What the shard of a group is called; "" if nobody has said it yet. */
  shardOf({ group, store }: GroupReplica): string {
    if (store.shard !== "") return store.shard;
    return this.routing.map?.shards.find((shard) => shard.group === group)?.id ?? "";
  }

  /** "host:port" of this node's HTTP door; "" = it has none. */
  get httpAddress(): string {
    const { http } = this.config;
    return http === undefined ? "" : addressText(http.host, this.http.port);
  }

  /** All nodes of the cluster, as far as known. */
  get nodes(): readonly NodeAddress[] {
    const { cluster } = this.config;
    if (cluster.kind === "fixed") return cluster.layout.nodes;
    return addressesOf(this.routing);
  }

  statusJson(): string {
    return this.#status.json();
  }

  // ------------------------------------------------------------------------------------------- start and stop

  /** Done when clients can connect; there may be no leader yet. */
  start(done: Done<void>): void {
    runTask(this.#start(), (error) => {
      if (error !== null) this.http.close();
      done(error, undefined);
    });
  }

  *#start(): Task<void> {
    const { cluster, id } = this.config;
    if (cluster.kind === "fixed" && !cluster.layout.nodes.some((node) => node.id === id)) {
      const names = cluster.layout.nodes.map((node) => node.id).join(", ");
      throw new NucleusError("ELAYOUT", `the layout has no node "${id}"; it has ${names}`);
    }
    yield* this.http.listen();
    yield* this.engine.start(() => this.#prepare());
    this.http.isOpen = true;
  }

  /** The directory is open: now it is known, or heard, what the cluster is like. */
  *#prepare(): Task<void> {
    const { cluster } = this.config;
    if (cluster.kind === "fixed") {
      this.routing.setMap(fixedMap(cluster.layout));
      this.engine.setNodes(cluster.layout.nodes);
      return;
    }
    const kept = yield* loadMap(this.platform.disk, this.config.dir);
    this.#managed = new Managed(this, cluster, kept);
  }

  /**
   * Stops cleanly: hands leaderships over, lets what was begun end, then closes connections and log (engine.ts).
   */
  stop(done: Done<void>): void {
    this.#managed?.close();
    this.reads.end();
    this.http.close(); // nobody new is let in, as on the clients' port: whoever comes next may need it
    this.engine.stop((error) => {
      this.#doors.close();
      this.#proxy.close();
      done(error, undefined);
    });
  }

  #endTurn(): void {
    this.#managed?.endTurn();
    this.reads.serve();
    this.routing.endTurn();
    this.#doors.flush();
    this.http.flush();
  }

  #admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
    const isAdmitted = this.routing.admit(view, frameAt, lane, origin, tag);
    if (isAdmitted) this.commandsTotal++;
    return isAdmitted;
  }

  // ------------------------------------------------------------------------------------------- operators

  /** Null if this node leads; else why it cannot be asked for a change. */
  #leads(group: GroupReplica | undefined): string | null {
    if (group === undefined) return NO_REPLICA;
    if (group.isLeader) return null;
    const leader = this.engine.nodeOf(group, group.core.leader);
    return leader === null
      ? "CLUSTERDOWN No leader that could do it; nothing was done"
      : `TRYAGAIN this node does not lead; ask ${leader}`;
  }

  #moveLeader(node: string, shard: string | null): string | null {
    if (shard === null && this.groups.length > 1)
      return "ERR this node has replicas of several shards; say which: NUCLEUS LEADER node shard";
    const group = this.groups.find((one) => shard === null || this.shardOf(one) === shard);
    if (group === undefined && shard !== null && this.groups.length > 0)
      return `ERR this node has no replica of shard '${shard.slice(0, 64)}'; see NUCLEUS STATUS`;
    const target = group?.core.config.voters.find((voter) => voter.node === node);
    if (group !== undefined && target === undefined)
      return `ERR node '${node}' has no vote in this shard; see NUCLEUS STATUS`;
    if (target !== undefined && group?.core.leader === target.replica) return null;
    const problem = this.#leads(group);
    if (problem !== null || group === undefined || target === undefined) return problem;
    const refusal = group.core.transfer(target.replica);
    this.engine.touch(group.group);
    return refusal === null ? null : `TRYAGAIN the leader cannot hand over now: ${refusal}`;
  }

  #control({ method, path, body }: ControlCall, answer: (reply: ControlAnswer | string) => void): void {
    const managed = this.#managed;
    if (managed === null) return answer(NO_CONTROL_PLANE);
    managed.control(method, path, body, (reply) => {
      if (reply?.kind === "http") answer(reply);
      else answer(CONTROL_UNREACHED);
    });
  }

  /** `node` is to take the place of `old` in the shard; why not, as an error text, or null: it has begun. */
  #replaceNode(old: string, node: string): string | null {
    const [group] = this.groups;
    const seat = group === undefined ? undefined : this.engine.seats.get(group.group);
    return this.#leads(group) ?? seat?.replacement?.replace(old, node) ?? null;
  }
}

/** The nodes of the map, where they listen. */
export function addressesOf({ map }: Routing): NodeAddress[] {
  return (map?.nodes ?? []).flatMap(({ id, address, http }) => {
    const place = parseAddress(address);
    return place === null ? [] : [{ id, ...place, http }];
  });
}

/** The limits in force are the log's. */
function makeStore(): KeyValueStore {
  return new KeyValueStore(storeSettings(0));
}

function fixedOptions({ id, dir }: NodeConfig, { layout, init }: FixedCluster): Omit<OpenOptions, "events"> {
  const { cluster, group, nodes, settings } = layout;
  const replica = nodes.findIndex((node) => node.id === id) + 1;
  return {
    dir,
    node: id,
    cluster,
    segmentBytes: settings.segmentBytes,
    makeStore,
    founding: init ? { group, replica, entry: bootstrapEntry(layout) } : null,
    groups: [group],
    hasOthers: nodes.length > 1,
    mayBeMember: (node) => nodes.some((other) => other.id === node),
  };
}

/** What may be here, the control plane and the groups' own logs say. */
function managedOptions(
  { id, dir }: NodeConfig,
  { segmentBytes }: ManagedCluster,
): Omit<OpenOptions, "events"> {
  return {
    dir,
    node: id,
    cluster: null,
    segmentBytes,
    makeStore,
    founding: null,
    groups: null,
    hasOthers: true,
    mayBeMember: () => true,
  };
}

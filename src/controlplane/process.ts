/**
 * A control process: a replica of the control plane's group under the engine that drives shards, its service, and two
 * doors - for nodes and other control processes (admin_door.ts), and for HTTP.
 *
 *     tick       service (liveness, reconciling), doors
 *     turn       engine: commands into the log, messages, syncs, applied entries -> replies -> doors
 *
 * Its cluster's id is drawn, or given, with --init, once in the life of the cluster; all founding processes begin with
 * the same first entry, so they are given the same id.
 */
import { toHex } from "../base/bytes.ts";
import { NucleusError } from "../base/errors.ts";
import { type Done, runTask, type Task } from "../base/task.ts";
import type { Platform } from "../platform/platform.ts";
import type { Entry } from "../raft/types.ts";
import type { Hash64 } from "../ring/circle.ts";
import type { OpenOptions } from "../server/birth.ts";
import { foundingConfig, sealBootstrap } from "../server/bootstrap.ts";
import { Engine } from "../server/engine.ts";
import type { GroupReplica } from "../server/group.ts";
import { loadIdentity } from "../server/identity.ts";
import { addressText, type NodeAddress } from "../server/layout.ts";
import type { GroupId } from "../wal/types.ts";
import { encodeShape } from "../wire/msgpack.ts";
import { AdminDoor } from "./admin_door.ts";
import type { Backup } from "./backup.ts";
import { metaBootstrap } from "./commands.ts";
import { HttpDesk, type HttpPlace } from "./http_desk.ts";
import { MetaStore } from "./meta_store.ts";
import { ReplicaPort } from "./replica_port.ts";
import type { FirstLayout } from "./requests.ts";
import { ControlService } from "./service.ts";
import { bootstrapOf } from "./shard_birth.ts";
import { SETTINGS_DEFAULT } from "./state.ts";

export type ControlConfig = {
  readonly id: string;
  readonly dir: string;
  /** All control processes, this one among them, in an order that all of them are given. */
  readonly peers: readonly NodeAddress[];
  readonly http: HttpPlace | null;
  /** 32 hex digits; null: what the directory says, or a new one. */
  readonly cluster: string | null;
  /** First start of a founding process. */
  readonly init: boolean;
  /** Of the shards; null: somebody will ask for one. */
  readonly firstLayout: FirstLayout | null;
  /** What a new control plane is to begin with; null: nothing. */
  readonly backup: Backup | null;
  /** Which restore of that backup this is: hex digits, the same for all of `peers`. One that is alone draws them. */
  readonly restoreId?: string;
  readonly electionMs: number;
  readonly segmentBytes: number;
};

/** For checkers: what its replica did, as it happened. */
export type ControlObserver = {
  onLeader?(group: GroupReplica): void;
  onApplied?(group: GroupReplica, entry: Entry): void;
};

export class ControlProcess {
  readonly config: ControlConfig;
  readonly engine: Engine;
  readonly service: ControlService;
  readonly #platform: Platform;
  readonly #port: ReplicaPort;
  readonly #door: AdminDoor;
  readonly #http: HttpDesk | null;

  /** `fatal` ends the process: after it, nothing it says or writes can be trusted. */
  constructor(
    platform: Platform,
    config: ControlConfig,
    h64: Hash64,
    fatal: (error: Error) => void,
    observer: ControlObserver = {},
  ) {
    this.#platform = platform;
    const cluster = config.cluster ?? (config.init ? drawId(platform) : null);
    this.config = { ...config, cluster };
    const self = selfOf(config);
    const { electionMs } = config;
    this.engine = new Engine(
      platform,
      {
        host: self.host,
        port: self.port,
        electionMs,
        open: openOptions(config, cluster, groupOf(platform, config, cluster)),
      },
      {
        onConnection: (connection) => this.#door.accept(connection),
        onTick: () => this.#tick(),
        afterTurn: () => this.#door.flush(),
        onLeader: (group) => {
          this.service.onLeaderChange();
          observer.onLeader?.(group);
        },
        onApplied: (group, entry) => observer.onApplied?.(group, entry),
        ...OF_SHARDS,
        fatal,
      },
    );
    this.#port = new ReplicaPort(this.engine, (node) => this.#addressOf(node));
    const { random, log } = platform;
    const { firstLayout, backup } = config;
    const host = { group: this.#port, h64, random, log, bootstrapOf, firstLayout, backup };
    this.service = new ControlService(host);
    this.#door = new AdminDoor({
      onRequest: (request, reply) => this.service.onRequest(request, reply),
      onPeer: (connection, bytes) => this.engine.peers.accept(connection, bytes),
      wake: () => this.engine.wake(),
    });
    this.#http = config.http === null ? null : new HttpDesk(this.service, config.http);
  }

  get httpPort(): number {
    return this.#http?.port ?? 0;
  }

  get groups(): readonly GroupReplica[] {
    return this.engine.groups;
  }

  /** "" before the directory is open. */
  get cluster(): string {
    return this.engine.isOpen ? this.engine.home.identity.cluster : "";
  }

  #addressOf(node: string): string | null {
    const peer = this.config.peers.find(({ id }) => id === node);
    return peer === undefined ? null : addressText(peer.host, peer.port);
  }

  /** Done when others can connect; there may be no leader yet. */
  start(done: Done<void>): void {
    runTask(this.#start(), (error) => {
      if (error !== null) this.#http?.close();
      done(error, undefined);
    });
  }

  *#start(): Task<void> {
    const { id, dir, init, peers } = this.config;
    // A new cluster was drawn for nothing if this is no first start: that is what is said then, not that it is another.
    if (init) yield* loadIdentity(this.#platform.disk, dir, null, id, { init, isAlone: peers.length === 1 });
    // Before anything is written, as the engine does it with its own port.
    if (this.#http !== null) yield* this.#http.listen(this.#platform.http);
    yield* this.engine.start(() => this.#prepare());
    if (this.#http !== null) this.#http.isOpen = true;
  }

  // biome-ignore lint/correctness/useYield: the engine takes a task, and there is nothing to wait for
  *#prepare(): Task<void> {
    const { cluster } = this;
    if (cluster === "") throw new NucleusError("EBLANK", blankText(this.config));
    this.engine.setNodes(this.config.peers);
  }

  #tick(): void {
    this.service.tick();
    this.#door.tick();
    this.#http?.tick();
  }

  /** Hands leadership over, lets what was begun end, then closes connections and log. */
  stop(done: Done<void>): void {
    this.#http?.close(); // nobody new is let in: whoever comes next may need the port
    this.engine.stop((error) => {
      this.service.close();
      this.#door.close();
      done(error, undefined);
    });
  }
}

/** What an engine tells of replicas that hold slots: there are none here. */
const OF_SHARDS = { onClaim: () => {}, onMove: () => {} };

function drawId({ random }: Platform): string {
  const bytes = new Uint8Array(16);
  random.fill(bytes);
  return toHex(bytes);
}

/**
 * The number of the control plane's group, for who founds it: the first 48 bits of the cluster's id. One that is made from a
 * backup has another one each time, by the backup's content and by the number of the restore: a process of a lost control
 * plane whose disk turns up again speaks of a group that nobody else has, and is no member of the new one, whose log begins
 * anew under the same replica ids. 0: this process founds none.
 */
function groupOf(platform: Platform, config: ControlConfig, cluster: string | null): GroupId {
  const { init, backup, peers } = config;
  if (!init || cluster === null) return 0;
  const bits = (text: string): bigint => BigInt(`0x${text.slice(0, 12)}`);
  if (backup === null) return Number(bits(cluster)) + 1; // 0 is nobody's
  const restore = config.restoreId ?? (peers.length === 1 ? drawId(platform) : null);
  if (restore === null)
    throw new NucleusError("EUSAGE", "processes that restore together need one restore id");
  return Number(bits(cluster) ^ bits(backup.token) ^ bits(restore)) + 1;
}

function selfOf({ id, peers }: ControlConfig): NodeAddress {
  const self = peers.find((peer) => peer.id === id);
  if (self !== undefined) return self;
  const names = peers.map((peer) => peer.id).join(", ");
  throw new NucleusError("EUSAGE", `--peers has no "${id}"; it has ${names}`);
}

function openOptions(
  config: ControlConfig,
  cluster: string | null,
  group: GroupId,
): Omit<OpenOptions, "events"> {
  const { id, dir, peers, segmentBytes } = config;
  const names = peers.map((peer) => peer.id);
  const born = cluster !== null && group > 0 ? founding(cluster, group, names, id) : null;
  return {
    dir,
    node: id,
    cluster,
    segmentBytes,
    makeStore: () => new MetaStore(),
    founding: born,
    groups: born === null ? null : [born.group], // later the one that is there, or is given by its leader
    hasOthers: peers.length > 1,
    mayBeMember: (node) => names.includes(node),
  };
}

function founding(
  cluster: string,
  group: GroupId,
  names: readonly string[],
  id: string,
): NonNullable<OpenOptions["founding"]> {
  const state = encodeShape(metaBootstrap, { cluster, settings: SETTINGS_DEFAULT });
  const entry = sealBootstrap(group, foundingConfig(names), state);
  return { group, replica: names.indexOf(id) + 1, entry };
}

function blankText({ dir, peers }: ControlConfig): string {
  if (peers.length > 1)
    return `${dir} belongs to no cluster yet: give --cluster-id as the other control processes have it (GET /health says it), and their leader gives it a replica`;
  return `${dir} is empty: if no control process of this cluster ever ran before, start it once with --init`;
}

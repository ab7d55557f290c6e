/** A node's HTTP: where it listens, its door, and what the door is told of the node. */
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { HttpAnswer, HttpListener, HttpRequest } from "../platform/platform.ts";
import type { CommandView } from "../wire/command.ts";
import type { Origin } from "./bundle.ts";
import type { GroupReplica } from "./group.ts";
import { HttpDoor } from "./http_door.ts";
import type { HttpFacts, Metric, ShardFacts } from "./http_facts.ts";
import { isLoopbackHost } from "./http_request.ts";
import type { Lane } from "./lane.ts";
import type { NucleusNode } from "./node.ts";
import { groupOf } from "./node_reads.ts";
import { TICK_MS } from "./timing.ts";

export type HttpAddress = { readonly host: string; readonly port: number };
export type HttpExtra = (request: HttpRequest, answer: HttpAnswer) => boolean;
type Admit = (view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number) => boolean;

export class HttpService {
  readonly door: HttpDoor;
  /** Paths that are not the door's own: the control plane's, the console. */
  extra: HttpExtra = () => false;
  /** The node's log is open, and the node does not stop. */
  isOpen = false;
  readonly #node: NucleusNode;
  #listener: HttpListener | null = null;

  constructor(node: NucleusNode, admit: Admit) {
    this.#node = node;
    const at = node.config.http ?? null;
    this.door = new HttpDoor({
      clock: node.platform.clock,
      facts: new NodeFacts(node),
      reads: node.reads,
      isLoopback: at === null || isLoopbackHost(at.host),
      admit,
      isOpen: () => this.isOpen,
      bytesHeld: () => this.#listener?.bytesHeld ?? 0,
      extra: (request, answer) => this.extra(request, answer),
    });
  }

  /** The port that is listened on; 0 if none is. */
  get port(): number {
    return this.#listener?.port ?? 0;
  }

  *listen(): Task<void> {
    const { config, platform } = this.#node;
    const { http } = platform;
    if (config.http === undefined) return;
    if (http === undefined) throw new NucleusError("EUSAGE", "this platform serves no HTTP");
    const { host, port } = config.http;
    this.#listener = yield* wait<HttpListener>((done) =>
      http.listen(host, port, (request, answer) => this.door.handle(request, answer), done),
    );
  }

  /** The end of a turn. */
  flush(): void {
    this.door.flush();
  }

  close(): void {
    this.isOpen = false;
    this.#listener?.close(() => {}); // it ends when the last connection has: nothing waits for that
  }
}

class NodeFacts implements HttpFacts {
  readonly #node: NucleusNode;
  readonly #startedMs: number;

  constructor(node: NucleusNode) {
    this.#node = node;
    this.#startedMs = node.platform.clock.monotonicMs();
  }

  get node(): string {
    return this.#node.config.id;
  }

  get version(): string {
    return this.#node.config.version;
  }

  get waits(): string | null {
    return this.#node.waitsBecause;
  }

  get knowsCluster(): boolean {
    return this.#node.routing.map !== null;
  }

  shards(): readonly ShardFacts[] {
    return this.#node.groups.map((group) => this.#shard(group));
  }

  shardOf(slot: number): ShardFacts | null {
    const group = groupOf(this.#node, slot);
    return group === null ? this.#mapped(slot) : this.#shard(group);
  }

  /** A shard without a replica here, as the map has it. */
  #mapped(slot: number): ShardFacts | null {
    const { map } = this.#node.routing;
    const range = map?.ranges.find(([first, last]) => first <= slot && slot <= last);
    const shard = map?.shards[range?.[2] ?? -1];
    if (map === null || shard === undefined) return null;
    const node = map.nodes[shard.leader?.node ?? -1];
    const leader = node === undefined ? null : { id: node.id, http: node.http || null };
    const term = shard.leader?.term ?? 0;
    return { id: shard.id, role: "none", term, leader, commit: 0, applied: 0, lastContactMs: 0 };
  }

  #shard(group: GroupReplica): ShardFacts {
    const { core, store } = group;
    const leader = this.#node.engine.nodeOf(group, core.leader);
    const at = this.#node.nodes.find(({ id }) => id === leader);
    return {
      id: this.#node.shardOf(group),
      role: core.role,
      term: core.term,
      leader: leader === null ? null : { id: leader, http: at?.http || null },
      commit: core.commitIndex,
      applied: store.appliedIndex,
      lastContactMs: core.leaderSilenceTicks * TICK_MS,
    };
  }

  metrics(): readonly Metric[] {
    const node = this.#node;
    const { wal } = node;
    const uptimeMs = node.platform.clock.monotonicMs() - this.#startedMs;
    const one = (name: string, kind: Metric["kind"], help: string, value: number): Metric => ({
      name: `nucleus_${name}`,
      kind,
      help,
      samples: [[{}, value]],
    });
    const each = (
      name: string,
      kind: Metric["kind"],
      help: string,
      of: (group: GroupReplica) => number,
    ): Metric => ({
      name: `nucleus_${name}`,
      kind,
      help,
      samples: node.groups.map((group) => [{ shard: node.shardOf(group) }, of(group)]),
    });
    return [
      {
        name: "nucleus_info",
        kind: "gauge",
        help: "Always 1; the labels tell.",
        samples: [[{ node: this.node, version: this.version, cluster: node.cluster }, 1]],
      },
      one("uptime_seconds", "gauge", "Since the process started.", uptimeMs / 1000),
      one("clients", "gauge", "Connections of clients on the client port.", node.clientCount),
      one("clients_total", "counter", "Such connections ever.", node.clientsTotal),
      one("wal_syncs_total", "counter", "Syncs of the log.", wal?.stats.syncs ?? 0),
      one("wal_records_total", "counter", "Records written to the log.", wal?.stats.records ?? 0),
      one("wal_bytes_total", "counter", "Bytes written to the log.", wal?.stats.bytes ?? 0),
      one("wal_segments", "gauge", "Segments of the log on disk.", wal?.stats.segments ?? 0),
      each("shard_is_leader", "gauge", "1 if this node leads the shard.", (g) => (g.isLeader ? 1 : 0)),
      each("shard_has_leader", "gauge", "1 if a leader is known here.", (g) => (g.core.leader === 0 ? 0 : 1)),
      each("shard_term", "gauge", "Raft term.", (g) => g.core.term),
      each("shard_commit_index", "gauge", "Highest index known to be committed.", (g) => g.core.commitIndex),
      each("shard_applied_index", "gauge", "Highest index applied.", (g) => g.store.appliedIndex),
      each("shard_last_index", "gauge", "Last index of the log.", (g) => g.core.lastIndex),
      each("shard_proposals_open", "gauge", "Batches proposed here and not decided.", (g) => g.proposalsOpen),
      each("shard_keys", "gauge", "Keys.", (g) => g.store.keyCount),
      each("shard_keys_expiring", "gauge", "Keys with a deadline.", (g) => g.store.expiringCount),
      each("shard_data_bytes", "gauge", "Bytes of keys and values.", (g) => g.store.dataBytes),
      each("shard_memory_bytes", "gauge", "Bytes allocated for records.", (g) => g.store.allocatedBytes),
      each("shard_snapshots_total", "counter", "Snapshots taken.", (g) => g.snapshots.taken),
    ];
  }
}

/** What a node says of itself: INFO, NUCLEUS STATUS, the native hello. */
import { formatBytes } from "../base/units.ts";
import { WIRE_VERSION } from "../base/version.ts";
import type { Member } from "../raft/types.ts";
import { type HelloReply, helloReply } from "../wire/control.ts";
import { encodeShape } from "../wire/msgpack.ts";
import { REQUEST_FRAME_BYTES_MAX } from "../wire/native.ts";
import type { GroupReplica } from "./group.ts";
import type { NodeInfo } from "./info.ts";
import { addressText } from "./layout.ts";
import type { NucleusNode } from "./node.ts";
import { holds } from "./replacement.ts";

/** Before the control plane has said which one it is. */
const NO_CLUSTER = "0".repeat(32);

type Facts = readonly (readonly [string, string | number])[];

export class NodeStatus implements NodeInfo {
  readonly #node: NucleusNode;
  readonly #startedMs: number;

  constructor(node: NucleusNode) {
    this.#node = node;
    this.#startedMs = node.platform.clock.monotonicMs();
  }

  get address(): string {
    const { host, port } = this.#node.config;
    return addressText(host, port);
  }

  isLeader(): boolean {
    return this.#node.groups.some((group) => group.isLeader);
  }

  sections(): readonly (readonly [string, Facts])[] {
    return [
      ["Server", this.#server()],
      ["Clients", this.#clients()],
      ["Memory", this.#memory()],
      ["Persistence", this.#persistence()],
      ["Stats", this.#stats()],
      ["Replication", this.#replication()],
      ["Cluster", [["cluster_enabled", this.#node.redisMode === "cluster" ? 1 : 0]]],
      ["Keyspace", this.#keyspace()],
    ];
  }

  #uptimeMs(): number {
    return Math.floor(this.#node.platform.clock.monotonicMs() - this.#startedMs);
  }

  #server(): Facts {
    const { config } = this.#node;
    return [
      ["redis_version", "7.4.0"],
      ["server_name", "nucleus"],
      ["nucleus_version", config.version],
      ["redis_mode", this.#node.redisMode === "cluster" ? "cluster" : "standalone"],
      ["node_id", config.id],
      ["process_id", config.pid],
      ["tcp_port", Number(this.address.split(":").at(-1))],
      ["uptime_in_seconds", Math.floor(this.#uptimeMs() / 1000)],
    ];
  }

  #clients(): Facts {
    return [
      ["connected_clients", this.#node.clientCount],
      ["blocked_clients", 0],
    ];
  }

  /** Commands that a door answers by itself are not counted. */
  #stats(): Facts {
    return [
      ["total_connections_received", this.#node.clientsTotal],
      ["total_commands_processed", this.#node.commandsTotal],
    ];
  }

  #memory(): Facts {
    let data = 0;
    let allocated = 0;
    let most = 0;
    for (const { store } of this.#node.groups) {
      data += store.dataBytes;
      allocated += store.allocatedBytes;
      const { memoryBytesMax } = store.settings;
      if (memoryBytesMax < Number.MAX_SAFE_INTEGER) most += memoryBytesMax; // else there is no limit
    }
    return [
      ["used_memory", allocated],
      ["used_memory_human", formatBytes(allocated)],
      ["used_memory_dataset", data],
      ["maxmemory", most],
      ["maxmemory_policy", "noeviction"],
    ];
  }

  #persistence(): Facts {
    const { wal } = this.#node;
    return [
      ["loading", this.#node.waitsBecause === null ? 0 : 1],
      ["aof_rewrite_in_progress", 0],
      ["wal_syncs", wal?.stats.syncs ?? 0],
      ["wal_records", wal?.stats.records ?? 0],
      ["wal_bytes", wal?.stats.bytes ?? 0],
      ["wal_segments", wal?.stats.segments ?? 0],
      ["wal_synced_lsn", wal?.syncedLsn ?? 0],
      ["wal_end_lsn", wal?.endLsn ?? 0],
      ...this.#node.groups.flatMap(
        ({ snapshots }, i): Facts => [
          [`shard${i + 1}_snapshot_index`, snapshots.latest?.index ?? 0],
          [`shard${i + 1}_snapshot_bytes`, snapshots.latestBytes],
          [`shard${i + 1}_snapshots_taken`, snapshots.taken],
          [`shard${i + 1}_snapshot_slice_ms_max`, snapshots.sliceMsMax.toFixed(2)],
          [`shard${i + 1}_snapshot_slice_cpu_ms_max`, snapshots.sliceCpuMsMax.toFixed(2)],
        ],
      ),
    ];
  }

  #replication(): Facts {
    const facts: [string, string | number][] = [
      ["role", this.isLeader() ? "master" : "slave"],
      ["connected_slaves", 0],
      ["master_repl_offset", this.#node.groups[0]?.core.commitIndex ?? 0],
    ];
    for (const [i, { core }] of this.#node.groups.entries()) {
      facts.push([
        `shard${i + 1}`,
        `role=${core.role},term=${core.term},leader=${core.leader},commit=${core.commitIndex},applied=${core.appliedIndex},last=${core.lastIndex}`,
      ]);
    }
    return facts;
  }

  #keyspace(): Facts {
    let keys = 0;
    let expires = 0;
    for (const { store } of this.#node.groups) {
      keys += store.keyCount;
      expires += store.expiringCount;
    }
    return keys === 0 ? [] : [["db0", `keys=${keys},expires=${expires},avg_ttl=0`]];
  }

  /** One JSON object; its fields are stable (design section 12). */
  json(): string {
    const { config } = this.#node;
    return JSON.stringify({
      node: config.id,
      cluster: this.#node.cluster,
      addr: this.address,
      http: this.#node.httpAddress === "" ? null : this.#node.httpAddress,
      pid: config.pid,
      version: config.version,
      uptimeMs: this.#uptimeMs(),
      waits: this.#node.waitsBecause,
      map: this.#node.routing.map?.version ?? null,
      nodes: this.#node.nodes.map(({ id, host, port }) => ({ id, addr: addressText(host, port) })),
      shards: this.#node.groups.map((group) => this.#shard(group)),
    });
  }

  #shard(group: GroupReplica) {
    const { core, store } = group;
    const nodeOf = (replica: number): string | null =>
      core.config.voters.find((voter) => voter.replica === replica)?.node ?? null;
    const holdings = this.#node.peers.holdings(group.group);
    const roleOf = (member: Member, role: string): string => {
      if (member.replica === core.leader) return "leader";
      const holding = holdings.get(member.node);
      return holding === undefined || holds(holding, member) ? role : "missing";
    };
    const voters = core.config.voters.map((voter) => ({ ...voter, role: roleOf(voter, "follower") }));
    const learners = core.config.learners.map((one) => ({ ...one, role: roleOf(one, "learner") }));
    return {
      id: this.#node.shardOf(group),
      group: group.group,
      role: core.role,
      leader: nodeOf(core.leader),
      term: core.term,
      commit: core.commitIndex,
      applied: store.appliedIndex,
      replicas: [...voters, ...learners].map(({ node, replica, role }) => ({
        node,
        replica,
        role,
        lag: this.#lag(group, replica),
      })),
      slots: store.slotsServed().count,
      keys: store.keyCount,
      bytes: store.dataBytes,
      hash: store.stateHash(),
    };
  }

  /** Entries that the replica's disk lacks, as its leader knows; null on the others. */
  #lag(group: GroupReplica, replica: number): number | null {
    const { core } = group;
    if (!group.isLeader) return null;
    if (replica === group.replica) return 0;
    const progress = core.progress.get(replica);
    return progress === undefined ? null : core.lastIndex - progress.match;
  }

  helloReply(wireVersion = WIRE_VERSION): Uint8Array {
    const { config, groups, platform } = this.#node;
    // Any group's time will do, they all follow the wall clocks of most nodes; without one, this node's own clock.
    const leaderTimeMs = groups[0]?.leaderTimeEstimateMs() ?? platform.clock.wallMs();
    return encodeShape(helloReply, {
      cluster: this.#node.cluster === "" ? NO_CLUSTER : this.#node.cluster,
      node: config.id,
      version: config.version,
      wireVersion,
      leaderTimeMs: Math.max(0, Math.floor(leaderTimeMs)),
      leaders: groups.flatMap((group) => this.#leaderOf(group)),
      frameBytesMax: REQUEST_FRAME_BYTES_MAX,
    });
  }

  /** Who leads, if this replica knows, and where that node listens. */
  #leaderOf({ core, group }: GroupReplica): HelloReply["leaders"] {
    const member = core.config.voters.find(({ replica }) => replica === core.leader);
    const node = this.#node.nodes.find(({ id }) => id === member?.node);
    if (node === undefined) return [];
    return [{ group, term: core.term, node: node.id, address: addressText(node.host, node.port) }];
  }
}

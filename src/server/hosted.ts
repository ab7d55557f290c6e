/**
 * One replica on this node, with all that serves it: the core's driver, its snapshots and their traffic; the routing
 * brings it commands. Made at the start or by an order, ended when the replica is closed.
 */
import { assert } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import type { Platform } from "../platform/platform.ts";
import type { Entry, GroupConfig, Index, RaftOptions, ReplicaId, RestOptions } from "../raft/types.ts";
import type { GroupId, Wal } from "../wal/types.ts";
import type { BornReplica } from "./birth.ts";
import type { CacheBudget } from "./entry_cache.ts";
import { GroupReplica } from "./group.ts";
import type { GroupHost } from "./group_host.ts";
import { membersOf } from "./layout.ts";
import type { Peers } from "./peers.ts";
import type { Router } from "./router.ts";
import type { Routing } from "./routing.ts";
import { SnapshotTraffic } from "./snapshot_traffic.ts";
import { Snapshots } from "./snapshots.ts";
import { StateHashes } from "./state_hashes.ts";
import { timingOf } from "./timing.ts";

export type HostedHost = {
  readonly platform: Platform;
  readonly dir: string;
  readonly electionMs: number;
  readonly wal: Wal;
  readonly peers: Peers;
  readonly routing: Routing;
  readonly cacheBudget: CacheBudget;
  wake(): void;
  touch(hosted: HostedReplica): void;
  appendAll(): void;
  /** The node cannot go on. */
  fatal(error: Error): void;
  onLeader(group: GroupReplica): void;
  onApplied(group: GroupReplica, entry: Entry): void;
  /** The state is not that of a majority: the replica must not go on. */
  onDiverged(index: Index): void;
};

export class HostedReplica {
  readonly group: GroupReplica;
  readonly router: Router;
  readonly traffic: SnapshotTraffic;
  readonly hashes: StateHashes;
  readonly #host: HostedHost;
  #ended = false;
  /** A config that was applied, and that has this replica in it. */
  #configSeen: GroupConfig | null = null;

  constructor(id: GroupId, host: HostedHost, born: BornReplica) {
    this.#host = host;
    const { platform, peers, electionMs } = host;
    const { random } = platform;
    const group = new GroupReplica(
      id,
      born.replica,
      raftOptions(electionMs, this.#restOptions(id), (bound) => random.u32() % bound),
      born.restored,
      born.store,
      host.cacheBudget,
      this.#groupHost(),
      (owner) => this.#openSnapshots(born, owner),
    );
    this.group = group;
    this.traffic = new SnapshotTraffic(group, {
      platform,
      sendChunk: (chunk) => peers.sendChunk(chunk),
      sendAck: (ack) => peers.sendSnapshotAck(ack),
      wake: () => this.#wake(),
    });
    this.router = host.routing.attach(group);
    this.hashes = new StateHashes(group.replica, {
      config: () => (group.core.config.outgoing.length > 0 ? null : group.core.config),
      tell: (index, hash) => {
        const note = { group: group.group, replica: group.replica, index, hash };
        peers.tellAll({ kind: "hash", hash: note });
      },
      onDiverged: (index) => host.onDiverged(index),
      onUndecidable: (index) => host.fatal(new NucleusError("EDIVERGED", undecidable(index))),
    });
  }

  #restOptions(id: GroupId): Omit<RestOptions, "afterTicks"> {
    const { peers } = this.#host;
    return {
      of: (replica) => peers.restOf(id, replica),
      silenceTicks: (replica) => peers.pulses.silenceTicks(this.#nodeOf(replica)),
    };
  }

  /** The node of a member; "" = it is none. */
  #nodeOf(replica: ReplicaId): string {
    return membersOf(this.group.core.config).find((member) => member.replica === replica)?.node ?? "";
  }

  #groupHost(): GroupHost {
    const host = this.#host;
    const { clock, log } = host.platform;
    return {
      clock,
      log,
      wal: host.wal,
      clockOf: (node) => host.peers.pulses.clockOf(node),
      send: (group, message, entries) => host.peers.send(group, message, entries),
      wake: () => this.#wake(),
      touch: () => this.#touch(),
      appendAll: () => host.appendAll(),
      onLeaderChange: (group) => {
        this.router.onLeaderChange();
        const { term, leader, role } = group.core;
        log.write("info", "leader", { term, leader, role });
        host.onLeader(group);
      },
      onReadsLost: (_group, reads) => this.router.giveBack(reads, false),
      onNotExecuted: (_group, bundle) => this.router.giveBack(bundle, true),
      onNotServed: (_group, bundle, i, slot, rides) => this.router.notServed(bundle, i, slot, rides),
      fatal: (error) => {
        if (!this.#ended) host.fatal(error); // what a closed replica still reads back may be gone
      },
      sendSnapshot: (_group, to) => this.traffic.send(to),
      installSnapshot: (_group, meta) => this.traffic.install(meta),
      onApplied: (group, entry) => {
        if (!group.isReplaying) this.hashes.applied(entry.index, () => group.store.stateHash());
        host.onApplied(group, entry);
      },
    };
  }

  /**
   * What a closed replica still waited for of the disk comes all the same. It gives no more work: nothing of it may reach
   * the log behind its tombstone, nor anybody who takes it for a member.
   */
  #touch(): void {
    if (!this.#ended) this.#host.touch(this);
  }

  /** There is work for this replica in another turn. */
  #wake(): void {
    if (this.#ended) return;
    this.#touch();
    this.router?.touch(); // none yet while it is made
    this.#host.wake();
  }

  #openSnapshots(born: BornReplica, group: GroupReplica): Snapshots {
    const { platform, dir, wal } = this.#host;
    const snapshots = new Snapshots(`${dir}/snapshots`, {
      platform,
      wal,
      group: group.group,
      replica: group.replica,
      store: group.store,
      isReplaying: () => group.isReplaying,
      metaAt: (index) => group.core.metaAt(index),
      compacted: (meta) => group.compactedTo(group.keptFrom(meta.index)),
      wake: () => this.#wake(),
    });
    snapshots.begin(born.snapshot?.name ?? null, born.snapshot?.bytes ?? 0, born.logBytes);
    return snapshots;
  }

  /** A lone voter has nobody to hear from: it need not wait for silence. */
  get isAlone(): boolean {
    return this.group.core.config.voters.length === 1;
  }

  /** The group has gone on without this replica, and it has applied the config that says so (hazard E6). */
  get isRemoved(): boolean {
    const { core, replica, store } = this.group;
    const { config, configIndex } = core;
    // It may have to name a successor yet, or to say so, or to answer for what is committed.
    if (core.role === "leader" || core.hasWork || store.appliedIndex < core.commitIndex) return false;
    if (config === this.#configSeen || configIndex > store.appliedIndex) return false;
    this.#configSeen = config; // with this one in force it is a member for good
    if (replica >= config.nextReplica || membersOf(config).some((member) => member.replica === replica))
      return false;
    this.#configSeen = null;
    return true;
  }

  /** The replica to hand leadership to: the voter whose log reaches furthest; 0 if there is no other. */
  get successor(): ReplicaId {
    const { core } = this.group;
    let best: ReplicaId = 0;
    let bestMatch = -1;
    const { progress } = core;
    for (const { replica } of core.config.voters) {
      const match = progress.get(replica)?.match ?? -1;
      if (replica === core.leader || match <= bestMatch) continue;
      best = replica;
      bestMatch = match;
    }
    return best;
  }

  tick(): void {
    this.group.tick();
    this.traffic.tick();
  }

  /** It needs no ticks (raft/rest.ts). */
  get isAtRest(): boolean {
    return this.group.isAtRest && !this.traffic.isSending;
  }

  /** In place of `ticks` ticks, while it is at rest. */
  look(ticks: number): void {
    this.group.look(ticks);
  }

  /** Its rest hangs on that node. */
  restsWith(node: string): boolean {
    const { core, isLeader } = this.group;
    return isLeader ? membersOf(core.config).some((member) => member.node === node) : this.follows(node);
  }

  /** Its leader is there, as far as it knows. */
  follows(node: string): boolean {
    const { core, isLeader } = this.group;
    return !isLeader && this.#nodeOf(core.leader) === node;
  }

  /** The node stops. */
  stop(): void {
    this.traffic.stop();
  }

  /** The replica is closed for good: whoever waits is told, and its files are nobody's when `isQuiet`. */
  end(): void {
    assert(!this.#ended, "a replica ends once");
    this.#ended = true;
    this.#host.routing.detach(this.group);
    this.traffic.stop();
    this.group.forgetEntries();
  }

  /** Ended, and nothing of it is at work on the disk any more. */
  get isQuiet(): boolean {
    return this.#ended && !this.traffic.isBusy;
  }
}

function undecidable(index: Index): string {
  return (
    `the replicas' states differ at index ${index}, and none is a majority's: nobody can tell which one is right. ` +
    "Keep all directories, and look at the logs of all nodes"
  );
}

/**
 * Four election timeouts, a little more than a second: a group that is used now and then is not put to rest each time, since
 * that costs two messages for each member.
 */
const REST_AFTER_ELECTIONS = 4;

function raftOptions(
  electionMs: number,
  rest: Omit<RestOptions, "afterTicks">,
  random: (bound: number) => number,
): Omit<RaftOptions, "self" | "seal"> {
  const { electionTicks, beatTicks } = timingOf(electionMs);
  return {
    rest: { ...rest, afterTicks: REST_AFTER_ELECTIONS * electionTicks },
    heartbeatTicks: beatTicks,
    electionTicksMin: electionTicks,
    electionTicksMax: 2 * electionTicks,
    inflightMessagesMax: 64,
    inflightBytesMax: 16 * MiB,
    appendBytesMax: MiB,
    uncommittedBytesMax: 16 * MiB,
    random,
  };
}

/**
 * A node: one process, its replicas, its log, its peers and its clients, driven by one turn of the loop.
 *
 *     sockets, ticks, completed syncs -> wake -> turn:
 *       router.flush    commands that came in: seal and propose, ask for reads, or forward
 *       group.advance   the core's Ready: messages out, records into the log
 *       peers.flush     one write to each peer
 *       wal.submit      one write and at most one sync for everything
 *       group.apply     committed entries, replies, reads
 *       doors.flush     one write to each touched client
 *
 * A completed sync, a message or a command only marks work and asks for a turn; nothing else runs outside of it.
 */
import { assert } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { type Done, runTask, type Task, wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import type { Connection, Listener, Platform } from "../platform/platform.ts";
import type { RaftCore } from "../raft/core.ts";
import type { Entry, Message, RaftOptions, ReplicaId } from "../raft/types.ts";
import { KeyValueStore } from "../store/store.ts";
import type { GroupId, Recovered, Wal } from "../wal/types.ts";
import type { CommandView } from "../wire/command.ts";
import { type Born, openNode, storeSettings } from "./birth.ts";
import type { Origin } from "./bundle.ts";
import { Doors } from "./doors.ts";
import { Forwarder } from "./forwarder.ts";
import { type GroupHost, GroupReplica } from "./group.ts";
import { KnownPeers } from "./known_peers.ts";
import type { Lane } from "./lane.ts";
import { type Layout, membersOf } from "./layout.ts";
import { NodeStatus } from "./node_status.ts";
import { Peers } from "./peers.ts";
import { Router } from "./router.ts";
import { SnapshotTraffic } from "./snapshot_traffic.ts";
import { Snapshots } from "./snapshots.ts";

export const TICK_MS = 10;
/** An entry cache of a node (design section 6). */
const CACHE_BYTES_MAX = 16 * MiB;
/** A third of the shortest election timeout: worth knowing when elections are looked into. */
const LATE_MS_LOGGED = 100;
/** One second to hand over and drain. */
const STOP_TICKS_MAX = 100;

export type NodeConfig = {
  readonly id: string;
  readonly dir: string;
  readonly layout: Layout;
  /** First start on an empty directory. */
  readonly init: boolean;
  readonly version: string;
  readonly pid: number;
};

/** For checkers: what the node did, as it happened. */
export type NodeObserver = {
  onLeader?(group: GroupReplica): void;
  onApplied?(group: GroupReplica, entry: Entry): void;
};

export class NucleusNode {
  readonly config: NodeConfig;
  readonly platform: Platform;
  readonly observer: NodeObserver;
  readonly #fatal: (error: Error) => void;
  #wal: Wal | null = null;
  #listener: Listener | null = null;
  #peers: Peers | null = null;
  #groups: GroupReplica[] = [];
  #routers: Router[] = [];
  #born: Born | null = null;
  #traffic: SnapshotTraffic[] = [];
  readonly #doors: Doors;
  #turnAsked = false;
  /** Nothing is taken, sent or written any more. */
  #stopped = false;
  #dead = false;
  #stopping: { done: Done<void>; ticks: number } | null = null;
  #stopTicks: (() => void) | null = null;
  readonly #status: NodeStatus;

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
    this.#fatal = fatal;
    this.#status = new NodeStatus(this);
    this.#doors = new Doors({
      clock: platform.clock,
      random: platform.random,
      info: this.#status,
      admit: (view, at, lane, origin, tag) => this.#admit(view, at, lane, origin, tag),
      moveLeader: (node) => this.#moveLeader(node),
      onPeer: (connection, bytes) => this.#peers?.accept(connection, bytes),
      wake: () => this.wake(),
    });
  }

  get groups(): readonly GroupReplica[] {
    return this.#groups;
  }

  get wal(): Wal {
    assert(this.#wal !== null, "the node was started");
    return this.#wal;
  }

  get recovered(): Recovered | null {
    return this.#born?.recovered ?? null;
  }

  get clientCount(): number {
    return this.#doors.count;
  }

  get clientsTotal(): number {
    return this.#doors.total;
  }

  // ------------------------------------------------------------------------------------------- start and stop

  /** Done when clients can connect; there may be no leader yet. */
  start(done: Done<void>): void {
    runTask(this.#start(), (error) => {
      if (error !== null) this.#listener?.close(() => {});
      done(error, undefined);
    });
  }

  *#start(): Task<void> {
    const { layout, id, dir, init } = this.config;
    const self = layout.nodes.find((node) => node.id === id);
    if (self === undefined) {
      throw new NucleusError(
        "ELAYOUT",
        `the layout has no node "${id}"; it has ${layout.nodes.map((n) => n.id).join(", ")}`,
      );
    }
    // Before anything is written: a port that is taken must not leave a directory behind that is half in use.
    this.#listener = yield* wait<Listener>((done) => {
      this.platform.net.listen(self.host, self.port, (connection) => this.#onConnection(connection), done);
    });
    const store = new KeyValueStore(storeSettings(layout));
    const born = yield* openNode(this.platform, { dir, node: id, layout, init }, store, {
      onSynced: (lsn) => this.#onSynced(lsn),
      onFailed: (error) => this.#die(error),
    });
    if (this.#stopping !== null) {
      yield* born.wal.close();
      throw new NucleusError("ESTOPPED", "it was told to stop while it started");
    }
    this.#born = born;
    this.#wal = born.wal;
    this.#open(born, store);
    this.#peers?.dialAll();
    // A lone voter has nobody to hear from: it need not wait for silence.
    for (const { core } of this.#groups) if (isAlone(core)) core.campaign();
    this.#stopTicks = this.platform.clock.ticks(TICK_MS, (lateMs) => this.#tick(lateMs));
    this.wake();
  }

  #open(born: Born, store: KeyValueStore): void {
    const { platform, config } = this;
    const { layout } = config;
    const known = new KnownPeers(platform, config.dir, born.peers);
    const members = membersOf(born.config);
    const peers = new Peers(platform, config.id, born.identity.incarnation, layout, members, known, {
      onMessage: (group, message, wallMs) => this.#onMessage(group, message, wallMs),
      onChunk: (chunk) => {
        if (this.#isHere(chunk.group, chunk.to)) this.#traffic[0]?.onChunk(chunk);
      },
      onAck: (ack) => {
        if (this.#isHere(ack.group, ack.to)) this.#traffic[0]?.onAck(ack);
      },
      router: () => this.#routers[0] as Router,
      group: () => this.#groups[0] as GroupReplica,
      nodeOf: (replica) => peers.nodeOf(replica),
      wake: () => this.wake(),
    });
    this.#peers = peers;
    const random = platform.random;
    const group = new GroupReplica(
      layout.group,
      born.replica,
      raftOptions(layout.settings.electionMs, (bound) => random.u32() % bound),
      born.restored,
      store,
      CACHE_BYTES_MAX,
      this.#groupHost(born.wal, peers),
      (owner) => this.#openSnapshots(born, owner),
    );
    const traffic = new SnapshotTraffic(group, {
      platform,
      sendChunk: (chunk) => peers.sendChunk(chunk),
      sendAck: (ack) => peers.sendSnapshotAck(ack),
      wake: () => this.wake(),
    });
    this.#traffic = [traffic];
    const forwardClient = new Uint8Array(16);
    random.fill(forwardClient);
    const forwarder = new Forwarder(forwardClient, {
      canSend: (leader) => peers.canForward(leader),
      sendRequest: (leader, id, rides, resumes, bundle) =>
        peers.sendForward(leader, group.group, id, rides, resumes, bundle),
      currentLeader: () => group.core.leader,
      leaderTimeMs: () => group.leaderTimeEstimateMs(),
      giveBack: (bundle, rides) => router.giveBack(bundle, rides),
    });
    const router = new Router(group, forwarder, {
      syncing: () => born.wal.endLsn > born.wal.syncedLsn,
      wake: () => this.wake(),
    });
    peers.setForwarder(forwarder);
    this.#groups = [group];
    this.#routers = [router];
  }

  #groupHost(wal: Wal, peers: Peers): GroupHost {
    const { clock, log } = this.platform;
    return {
      clock,
      log,
      wal,
      send: (group, message, entries) => peers.send(group, message, entries),
      wake: () => this.wake(),
      onLeaderChange: (group) => {
        this.#routers[0]?.onLeaderChange();
        log.write("info", "leader", {
          term: group.core.term,
          leader: group.core.leader,
          role: group.core.role,
        });
        this.observer.onLeader?.(group);
      },
      onReadsLost: (_group, reads) => this.#routers[0]?.giveBack(reads, false),
      onNotExecuted: (_group, bundle) => this.#routers[0]?.giveBack(bundle, true),
      fatal: (error) => this.#die(error),
      sendSnapshot: (_group, to) => this.#traffic[0]?.send(to),
      installSnapshot: (_group, meta) => this.#traffic[0]?.install(meta),
      onApplied: (group, entry) => this.observer.onApplied?.(group, entry),
    };
  }

  #openSnapshots(born: Born, group: GroupReplica): Snapshots {
    const snapshots = new Snapshots(`${this.config.dir}/snapshots`, {
      platform: this.platform,
      wal: born.wal,
      group: group.group,
      replica: group.replica,
      store: group.store,
      isReplaying: () => group.isReplaying,
      metaAt: (index) => group.core.metaAt(index),
      compacted: (meta) => group.compactedTo(group.keptFrom(meta.index)),
      wake: () => this.wake(),
    });
    snapshots.begin(born.snapshot?.name ?? null, born.snapshot?.bytes ?? 0, born.logBytes);
    return snapshots;
  }

  /** The node cannot go on: whoever runs it ends the process, and nothing of it happens until then. */
  #die(error: Error): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#stopped = true;
    this.#stopTicks?.();
    this.#fatal(error);
  }

  /**
   * Stops cleanly: hands leaderships over, lets what was begun end, then closes connections and log. No longer
   * than STOP_TICKS_MAX for the first two: what is unanswered then, its callers take for unknown.
   */
  stop(done: Done<void>): void {
    if (this.#dead) return done(null, undefined);
    if (this.#stopping !== null) return;
    this.#stopping = { done, ticks: 0 };
    this.#listener?.close(() => {}); // it ends when the last connection has: nothing waits for that
    for (const { core, isLeader } of this.#groups) {
      const to = isLeader ? bestFollower(core) : 0;
      if (to !== 0) core.transfer(to);
    }
    if (this.#wal === null || this.#stopTicks === null) this.#finish();
    else this.wake();
  }

  #tickStop(): void {
    const stopping = this.#stopping;
    if (stopping === null) return;
    const open = this.#groups.some(
      (group) => group.proposalsOpen > 0 || (group.isLeader && !isAlone(group.core)),
    );
    if (!open || ++stopping.ticks > STOP_TICKS_MAX) this.#finish();
  }

  #finish(): void {
    const stopping = this.#stopping;
    assert(stopping !== null, "stop was asked for");
    if (this.#stopped) return;
    this.#stopped = true;
    this.#stopTicks?.();
    for (const traffic of this.#traffic) traffic.stop();
    this.#doors.close();
    this.#peers?.close();
    if (this.#wal === null) stopping.done(null, undefined);
    else runTask(this.#wal.close(), stopping.done);
  }

  // ------------------------------------------------------------------------------------------- inputs

  #onConnection(connection: Connection): void {
    if (this.#peers === null || this.#stopped)
      connection.destroy(); // still reading the log, or at the end
    else this.#doors.accept(connection);
  }

  #admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
    const router = this.#routers[0] as Router;
    const admitted = router.admit(view, frameAt, lane, origin, tag);
    this.wake();
    return admitted;
  }

  #moveLeader(node: string): string | null {
    const group = this.#groups[0] as GroupReplica;
    const { core } = group;
    const target = core.config.voters.find((voter) => voter.node === node);
    if (target === undefined) return `ERR node '${node}' has no vote in this shard; see NUCLEUS STATUS`;
    if (core.leader === target.replica) return null;
    if (!group.isLeader) {
      const leader = this.#peers?.nodeOf(core.leader) ?? null;
      return leader === null
        ? "CLUSTERDOWN No leader that could hand over; nothing was done"
        : `ERR this node does not lead; ask ${leader}`;
    }
    const refusal = core.transfer(target.replica);
    this.wake();
    return refusal === null ? null : `TRYAGAIN the leader cannot hand over now: ${refusal}`;
  }

  #onMessage(groupId: GroupId, message: Message, wallMs: number): void {
    const group = this.#groups.find((replica) => replica.group === groupId);
    if (group === undefined || message.to !== group.replica || this.#stopped) return; // not addressed to what is here
    if (wallMs >= 0) group.hearClock(message.term, message.from, wallMs);
    group.step(message);
    this.wake();
  }

  #isHere(groupId: GroupId, replica: number): boolean {
    return this.#groups.some((group) => group.group === groupId && group.replica === replica);
  }

  #onSynced(lsn: number): void {
    for (const group of this.#groups) group.onSynced(lsn);
    this.wake();
  }

  #tick(lateMs: number): void {
    if (this.#stopped) return;
    if (lateMs > LATE_MS_LOGGED)
      this.platform.log.write("warn", "the loop was late", { ms: Math.round(lateMs) });
    // A node that was stalled has heard nobody and knows nothing of it: it must not campaign for that. Half an
    // election timeout, since a machine that is merely busy has late ticks all the time and must fail over too.
    if (lateMs > this.config.layout.settings.electionMs / 2)
      for (const group of this.#groups) group.core.holdElection();
    for (const group of this.#groups) group.tick();
    for (const router of this.#routers) router.tick();
    for (const traffic of this.#traffic) traffic.tick();
    this.#peers?.tick();
    this.#doors.tick();
    this.#wal?.tick(TICK_MS + lateMs);
    this.#tickStop();
    this.wake();
  }

  // ------------------------------------------------------------------------------------------- the turn

  wake(): void {
    if (this.#turnAsked || this.#stopped) return;
    this.#turnAsked = true;
    this.platform.clock.turn(() => this.#turn());
  }

  #turn(): void {
    this.#turnAsked = false;
    if (this.#stopped) return;
    for (const router of this.#routers) router.flush();
    for (const group of this.#groups) group.advance();
    this.#peers?.flush();
    this.#wal?.submit();
    for (const group of this.#groups) {
      if (group.apply()) this.wake();
      group.advance(); // what applying allowed: the end of a joint change, a served transfer
    }
    this.#peers?.flush();
    this.#doors.flush();
  }

  statusJson(): string {
    return this.#status.json();
  }

  get peers(): Peers {
    assert(this.#peers !== null, "the node was started");
    return this.#peers;
  }
}

/** Heartbeats six to a shortest election timeout: five may be lost or late. */
function raftOptions(
  electionMs: number,
  random: (bound: number) => number,
): Omit<RaftOptions, "self" | "seal"> {
  const electionTicks = Math.round(electionMs / TICK_MS);
  return {
    heartbeatTicks: Math.max(1, Math.floor(electionTicks / 6)),
    electionTicksMin: electionTicks,
    electionTicksMax: 2 * electionTicks,
    inflightMessagesMax: 64,
    inflightBytesMax: 16 * MiB,
    appendBytesMax: MiB,
    uncommittedBytesMax: 16 * MiB,
    random,
  };
}

function isAlone(core: RaftCore): boolean {
  return core.config.voters.length === 1;
}

/** The voter whose log reaches furthest; 0 if there is no other. */
function bestFollower(core: RaftCore): ReplicaId {
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

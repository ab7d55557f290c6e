/**
 * A node: one process, its replica, its log, its peers and its clients, driven by one turn of the loop. It may be
 * without a replica: before its group gives it one, and after that was closed.
 *
 *     sockets, ticks, completed syncs -> wake -> turn:
 *       routing.flush   commands that came in: seal and propose, ask for reads, or forward
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
import type { Connection, Listener, Platform } from "../platform/platform.ts";
import type { Entry, Message, ReplicaId } from "../raft/types.ts";
import { KeyValueStore } from "../store/store.ts";
import type { GroupId, Recovered, Wal } from "../wal/types.ts";
import type { CommandView } from "../wire/command.ts";
import type { PeerNote } from "../wire/control.ts";
import { type Opened, type OpenOptions, openNode, storeSettings } from "./birth.ts";
import type { Origin } from "./bundle.ts";
import { Doors } from "./doors.ts";
import { NO_REPLICA } from "./fate.ts";
import type { GroupReplica } from "./group.ts";
import { type HostedReplica, TICK_MS } from "./hosted.ts";
import { type HttpAddress, HttpService } from "./http_service.ts";
import { KnownPeers } from "./known_peers.ts";
import type { Lane } from "./lane.ts";
import { fixedMap, type Layout, membersOf } from "./layout.ts";
import { NodeStatus } from "./node_status.ts";
import { Peers } from "./peers.ts";
import { Routing } from "./routing.ts";
import { Seat, type SeatHost } from "./seat.ts";

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
  /** Where HTTP is served, if it is. */
  readonly http?: HttpAddress;
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
  #listener: Listener | null = null;
  #recovered: Recovered | null = null;
  #peers: Peers | null = null;
  #routing: Routing | null = null;
  #seat: Seat | null = null;
  readonly #doors: Doors;
  readonly http: HttpService;
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
    this.http = new HttpService(this, (...command) => this.#admit(...command));
    this.#doors = new Doors({
      clock: platform.clock,
      random: platform.random,
      info: this.#status,
      admit: (view, at, lane, origin, tag) => this.#admit(view, at, lane, origin, tag),
      moveLeader: (node) => this.#moveLeader(node),
      replaceNode: (old, node) => this.#replaceNode(old, node),
      onPeer: (connection, bytes) => this.#peers?.accept(connection, bytes),
      wake: () => this.wake(),
    });
  }

  get #hosted(): HostedReplica | null {
    return this.#seat?.hosted ?? null;
  }

  get groups(): readonly GroupReplica[] {
    return this.#hosted === null ? [] : [this.#hosted.group];
  }

  /** Null while a damaged log is left as it is. */
  get wal(): Wal | null {
    return this.#seat?.wal ?? null;
  }

  /** What the start found in the log. */
  get recovered(): Recovered | null {
    return this.#recovered;
  }

  /** Why this node holds no replica; null if it does. */
  get waitsBecause(): string | null {
    return this.#seat?.waitsBecause ?? null;
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
      if (error !== null) {
        this.#listener?.close(() => {});
        this.http.close();
      }
      done(error, undefined);
    });
  }

  *#start(): Task<void> {
    const { layout, id } = this.config;
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
    yield* this.http.listen();
    const store = new KeyValueStore(storeSettings(layout));
    const opened = yield* openNode(this.platform, this.#openOptions(), store);
    if (this.#stopping !== null) {
      if (opened.log !== null) yield* opened.log.wal.close();
      throw new NucleusError("ESTOPPED", "it was told to stop while it started");
    }
    this.#open(opened, store);
    this.http.isOpen = true;
    this.#peers?.dialAll();
    if (this.#hosted?.isAlone === true) this.#hosted.group.core.campaign();
    this.#stopTicks = this.platform.clock.ticks(TICK_MS, (lateMs) => this.#tick(lateMs));
    this.wake();
  }

  #openOptions(): OpenOptions {
    const { layout, id, dir, init } = this.config;
    const events = {
      onSynced: (lsn: number) => this.#onSynced(lsn),
      onFailed: (error: Error) => this.#die(error),
    };
    return { dir, node: id, layout, init, events };
  }

  #open(opened: Opened, store: KeyValueStore): void {
    const { platform, config } = this;
    const known = new KnownPeers(platform, config.dir, opened.peers);
    const routing = new Routing({
      random: platform.random,
      node: config.id,
      wallMs: () => platform.clock.wallMs(),
      syncing: () => (this.wal?.endLsn ?? 0) > (this.wal?.syncedLsn ?? 0),
      canForward: (node) => peers.canForward(node),
      sendForward: (...request) => peers.sendForward(...request),
      leaderNode: (group) => this.nodeOf(group.core.leader),
      wake: () => this.wake(),
    });
    routing.setMap(fixedMap(config.layout));
    this.#routing = routing;
    const peers: Peers = new Peers(platform, config.id, opened.identity.incarnation, config.layout, known, {
      held: () => this.#seat?.held() ?? [],
      onMessage: (group, message, wallMs) => this.#onMessage(group, message, wallMs),
      onChunk: (chunk) => {
        if (this.#seat?.holds(chunk.group, chunk.to) === true) this.#hosted?.traffic.onChunk(chunk);
      },
      onAck: (ack) => {
        if (this.#seat?.holds(ack.group, ack.to) === true) this.#hosted?.traffic.onAck(ack);
      },
      onNote: (node, note) => this.#onNote(node, note),
      routerOf: (group) => routing.routerOf(group),
      onForwardReply: (row) => routing.onForwardReply(row),
      onForwardDown: (node) => routing.onForwardDown(node),
      wake: () => this.wake(),
    });
    const host: SeatHost = {
      platform,
      options: this.#openOptions(),
      peers,
      routing,
      known,
      wake: () => this.wake(),
      fatal: (error) => this.#die(error),
      onLeader: (group) => this.observer.onLeader?.(group),
      onApplied: (group, entry) => this.observer.onApplied?.(group, entry),
      onJoined: () => {
        if (this.#stopping === null) this.wake();
        else this.#finish(); // it was told to stop meanwhile
      },
    };
    this.#recovered = opened.log?.recovered ?? null;
    this.#peers = peers;
    this.#seat = new Seat(host, opened, store);
  }

  #onNote(node: string, { create, close, hash }: PeerNote): void {
    if (this.#stopped || this.#stopping !== null) return;
    if (hash !== null) this.#seat?.onHash(node, hash);
    if (create !== null) this.#seat?.onCreate(node, create);
    if (close !== null) this.#seat?.onClose(close);
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
    const hosted = this.#hosted;
    const to = hosted?.group.isLeader === true ? hosted.successor : 0;
    if (to !== 0) hosted?.group.core.transfer(to);
    if (this.#stopTicks === null) this.#finish();
    else this.wake();
  }

  #tickStop(): void {
    const stopping = this.#stopping;
    if (stopping === null) return;
    const hosted = this.#hosted;
    const isOpen =
      hosted !== null && (hosted.group.proposalsOpen > 0 || (hosted.group.isLeader && !hosted.isAlone));
    if (!isOpen || ++stopping.ticks > STOP_TICKS_MAX) this.#finish();
  }

  #finish(): void {
    const stopping = this.#stopping;
    assert(stopping !== null, "stop was asked for");
    if (this.#stopped || this.#seat?.isJoining === true) return; // a log that is being opened can be closed only afterwards
    this.#stopped = true;
    this.#stopTicks?.();
    this.#hosted?.stop();
    this.#doors.close();
    this.http.close();
    this.#peers?.close();
    if (this.wal === null) stopping.done(null, undefined);
    else runTask(this.wal.close(), stopping.done);
  }

  // ------------------------------------------------------------------------------------------- inputs

  #onConnection(connection: Connection): void {
    if (this.#peers === null || this.#stopped)
      connection.destroy(); // still reading the log, or at the end
    else this.#doors.accept(connection);
  }

  #admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
    assert(this.#routing !== null, "nobody is let in before the log is open");
    return this.#routing.admit(view, frameAt, lane, origin, tag);
  }

  /** The node that holds a replica, by the config or by its own word. */
  nodeOf(replica: ReplicaId): string | null {
    const group = this.#hosted?.group;
    if (group === undefined || replica === 0) return null;
    const member = membersOf(group.core.config).find((one) => one.replica === replica);
    return member?.node ?? this.#peers?.nodeOf(group.group, replica) ?? null;
  }

  /** Null if this node leads; else why it cannot be asked for a change. */
  #leads(group: GroupReplica | undefined): string | null {
    if (group === undefined) return NO_REPLICA;
    if (group.isLeader) return null;
    const leader = this.nodeOf(group.core.leader);
    return leader === null
      ? "CLUSTERDOWN No leader that could do it; nothing was done"
      : `ERR this node does not lead; ask ${leader}`;
  }

  #moveLeader(node: string): string | null {
    const group = this.#hosted?.group;
    const target = group?.core.config.voters.find((voter) => voter.node === node);
    if (group !== undefined && target === undefined)
      return `ERR node '${node}' has no vote in this shard; see NUCLEUS STATUS`;
    if (target !== undefined && group?.core.leader === target.replica) return null;
    const problem = this.#leads(group);
    if (problem !== null || group === undefined || target === undefined) return problem;
    const refusal = group.core.transfer(target.replica);
    this.wake();
    return refusal === null ? null : `TRYAGAIN the leader cannot hand over now: ${refusal}`;
  }

  /** `node` is to take the place of `old` in the shard; why not, as an error text, or null: it has begun. */
  #replaceNode(old: string, node: string): string | null {
    return this.#leads(this.#hosted?.group) ?? this.#seat?.replacement?.replace(old, node) ?? null;
  }

  #onMessage(groupId: GroupId, message: Message, wallMs: number): void {
    const group = this.#hosted?.group;
    if (group === undefined || this.#stopped || this.#seat?.holds(groupId, message.to) !== true) return;
    if (wallMs >= 0) group.hearClock(message.term, message.from, wallMs);
    group.step(message);
    this.wake();
  }

  #onSynced(lsn: number): void {
    this.#hosted?.group.onSynced(lsn);
    this.wake();
  }

  #tick(lateMs: number): void {
    if (this.#stopped) return;
    if (lateMs > LATE_MS_LOGGED)
      this.platform.log.write("warn", "the loop was late", { ms: Math.round(lateMs) });
    // A node that was stalled has heard nobody and knows nothing of it: it must not campaign for that. Half an
    // election timeout, since a machine that is merely busy has late ticks all the time and must fail over too.
    if (lateMs > this.config.layout.settings.electionMs / 2) this.#hosted?.group.core.holdElection();
    this.#seat?.tick();
    this.#routing?.tick();
    this.#peers?.tick();
    this.#doors.tick();
    this.wal?.tick(TICK_MS + lateMs);
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
    const hosted = this.#hosted;
    this.#routing?.flush();
    hosted?.group.advance();
    this.#peers?.flush();
    this.wal?.submit();
    if (hosted !== null) {
      if (hosted.group.apply()) this.wake();
      hosted.group.advance(); // what applying allowed: the end of a joint change, a served transfer
    }
    this.#peers?.flush();
    this.#seat?.endTurn();
    this.#doors.flush();
    this.http.flush();
  }

  statusJson(): string {
    return this.#status.json();
  }

  get peers(): Peers {
    assert(this.#peers !== null, "the node was started");
    return this.#peers;
  }
}

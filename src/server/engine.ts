/**
 * What drives the replicas of one process: its directory and log, its connections to other nodes, its ticks and turns.
 * The storage node (node.ts) and the control plane's process put their doors around it.
 *
 *     sockets, ticks, completed syncs -> wake -> turn:
 *       routing.flush     commands that came in: proposed, read, or sent on to the node that leads
 *       advance           each touched replica's Ready: messages out, records into the log
 *       peers.flush       one write to each peer
 *       wal.submit        one write and at most one sync for everything
 *       apply             committed entries, replies, reads
 *       host.afterTurn    one write to each touched client
 *
 * A completed sync, a message or a command only marks work and asks for a turn; nothing else runs outside of it. A turn
 * looks only at replicas that were touched, so idle ones cost their ticks alone, and those at rest not even them (roster.ts).
 */
import { assert } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { type Done, runTask, type Task, wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import type { Connection, Listener, Platform } from "../platform/platform.ts";
import type { Entry, Lsn, Message } from "../raft/types.ts";
import type { GroupId, Recovered, Wal } from "../wal/types.ts";
import type { PeerHello, PeerNote, SlotClaim } from "../wire/control.ts";
import type { MoveMessage } from "../wire/move_message.ts";
import type { SnapshotAck, SnapshotChunk } from "../wire/peer_encode.ts";
import { type JoinOrder, type Opened, type OpenOptions, openNode } from "./birth.ts";
import { CacheBudget } from "./entry_cache.ts";
import type { GroupReplica } from "./group.ts";
import type { Home } from "./home.ts";
import type { HostedReplica } from "./hosted.ts";
import { KnownPeers } from "./known_peers.ts";
import { membersOf, type NodeAddress } from "./layout.ts";
import { Peers } from "./peers.ts";
import { Roster } from "./roster.ts";
import { Routing } from "./routing.ts";
import { Seat, type SeatHost } from "./seat.ts";
import { Ticker } from "./ticker.ts";
import { TICK_MS, timingOf } from "./timing.ts";
import { Work } from "./work.ts";

/** A third of the shortest election timeout: worth knowing when elections are looked into. */
const LATE_MS_LOGGED = 100;
/** One second to hand over and drain. */
const STOP_TICKS_MAX = 100;
const STOPPED_EARLY = "it was told to stop while it started";
/** Entries in memory, of all groups together (design section 6). */
const CACHE_BYTES_MAX = 16 * MiB;

export type EngineConfig = {
  readonly host: string;
  readonly port: number;
  /** Shortest silence after which a follower starts an election. */
  readonly electionMs: number;
  readonly open: Omit<OpenOptions, "events">;
};

/** What the process adds around it. */
export type EngineHost = {
  onConnection(connection: Connection): void;
  onTick(): void;
  /** The end of a turn: replies leave. */
  afterTurn(): void;
  onLeader(group: GroupReplica): void;
  onApplied(group: GroupReplica, entry: Entry): void;
  /** Slots moved, another node says. */
  onClaim(claim: SlotClaim): void;
  /** The other side of a move speaks. */
  onMove(from: string, message: MoveMessage): void;
  /** The node cannot go on. */
  fatal(error: Error): void;
};

export class Engine {
  readonly platform: Platform;
  readonly config: EngineConfig;
  readonly #host: EngineHost;
  #listener: Listener | null = null;
  #home: Home | null = null;
  #peers: Peers | null = null;
  /** Commands, from doors and other nodes, to the replicas here and elsewhere. */
  readonly routing: Routing;
  readonly #seats = new Map<GroupId, Seat>();
  /** Which of them are ticked. */
  readonly roster = new Roster();
  readonly #work: Work;
  /** Places with something to see to when this turn's work is done. */
  readonly #ending = new Set<Seat>();
  #seatHost: SeatHost | null = null;
  #turnAsked = false;
  /** Nothing is taken, sent or written any more. */
  #stopped = false;
  #dead = false;
  #stopping: { done: Done<void>; ticks: number } | null = null;
  readonly #ticker: Ticker;

  constructor(platform: Platform, config: EngineConfig, host: EngineHost) {
    this.platform = platform;
    this.config = config;
    this.#host = host;
    const { clock, random } = platform;
    const { pulseTicks } = timingOf(config.electionMs);
    this.#work = new Work({ wal: () => this.wal, onAwake: (hosted) => this.#awake(hosted) });
    this.#ticker = new Ticker(clock, pulseTicks, {
      onLate: (lateMs) => this.#onLate(lateMs),
      tick: () => this.#tick(),
      onTicked: (elapsedMs) => this.#onTicked(elapsedMs),
      isIdle: () => this.#isIdle,
    });
    this.routing = new Routing({
      random,
      node: config.open.node,
      clockTicks: () => clock.monotonicMs() / TICK_MS,
      wallMs: () => clock.wallMs(),
      syncing: () => (this.wal?.endLsn ?? 0) > (this.wal?.syncedLsn ?? 0),
      canForward: (node) => this.#peers?.canForward(node) ?? false,
      isSilent: (node) => this.#peers?.isSilent(node) ?? false,
      sendForward: (...request) => this.peers.sendForward(...request),
      leaderNode: (group) => this.nodeOf(group, group.core.leader),
      wake: () => this.wake(),
    });
  }

  // ------------------------------------------------------------------------------------------- what is here

  get home(): Home {
    assert(this.#home !== null, "the node was started");
    return this.#home;
  }

  get isOpen(): boolean {
    return this.#home !== null && !this.#stopped;
  }

  get isStopping(): boolean {
    return this.#stopping !== null || this.#stopped;
  }

  get peers(): Peers {
    assert(this.#peers !== null, "the node was started");
    return this.#peers;
  }

  get seats(): ReadonlyMap<GroupId, Seat> {
    return this.#seats;
  }

  get groups(): readonly GroupReplica[] {
    return [...this.#seats.values()].flatMap(({ hosted }) => (hosted === null ? [] : [hosted.group]));
  }

  group(id: GroupId): GroupReplica | null {
    return this.#seats.get(id)?.hosted?.group ?? null;
  }

  /** Null while a damaged log is left as it is. */
  get wal(): Wal | null {
    return this.#home?.log?.wal ?? null;
  }

  /** What the start found in the log. */
  get recovered(): Recovered | null {
    return this.#home?.log?.recovered ?? null;
  }

  /** Why a place on this node is empty that should not be; null if none is. */
  get waitsBecause(): string | null {
    if (this.#home?.damage !== null && this.groups.length === 0) {
      for (const seat of this.#seats.values()) return seat.waitsBecause;
    }
    for (const seat of this.#seats.values()) if (this.#isExpected(seat)) return seat.waitsBecause;
    return null;
  }

  #isExpected(seat: Seat): boolean {
    if (seat.hosted !== null) return false;
    return seat.isTaken || this.config.open.groups?.includes(seat.group) === true;
  }

  /** The node that holds a replica, by the config or by its own word. */
  nodeOf(group: GroupReplica, replica: number): string | null {
    if (replica === 0) return null;
    const member = membersOf(group.core.config).find((one) => one.replica === replica);
    return member?.node ?? this.#peers?.nodeOf(group.group, replica) ?? null;
  }

  // ------------------------------------------------------------------------------------------- start and stop

  /**
   * Ends when others can connect; there may be no leader yet. `prepare` runs when the directory is open, before anything
   * happens in it.
   */
  *start(prepare: () => Task<void>): Task<void> {
    try {
      yield* this.#start(prepare);
    } catch (error) {
      this.#listener?.close(() => {});
      throw error;
    }
  }

  *#start(prepare: () => Task<void>): Task<void> {
    const { host, port } = this.config;
    // Before anything is written: a port that is taken must not leave a directory behind that is half in use.
    this.#listener = yield* wait<Listener>((done) => {
      this.platform.net.listen(host, port, (connection) => this.#onConnection(connection), done);
    });
    const options = this.#openOptions();
    const opened = yield* openNode(this.platform, options);
    if (this.#stopping !== null) {
      if (opened.home.log !== null) yield* opened.home.log.wal.close();
      throw new NucleusError("ESTOPPED", STOPPED_EARLY);
    }
    this.#open(opened, options);
    yield* prepare();
    if (this.#stopping !== null) throw new NucleusError("ESTOPPED", STOPPED_EARLY);
    for (const { hosted } of this.#seats.values()) if (hosted?.isAlone === true) hosted.group.core.campaign();
    this.#ticker.start();
    this.wake();
  }

  #openOptions(): OpenOptions {
    const events = {
      onSynced: (lsn: Lsn) => this.#onSynced(lsn),
      onFailed: (error: Error) => this.die(error),
      onIdle: () => {
        if (this.#stopping === null) this.wake();
        else this.#finish(); // it was told to stop meanwhile
      },
    };
    return { ...this.config.open, events };
  }

  #open({ home, peers: known, groups }: Opened, options: OpenOptions): void {
    const { platform } = this;
    const host = this.#host;
    const { cluster, node, incarnation } = home.identity;
    const knownPeers = new KnownPeers(platform, options.dir, known);
    this.#home = home;
    const timing = timingOf(this.config.electionMs);
    this.#peers = new Peers(platform, { cluster, node, incarnation }, knownPeers, timing, {
      held: () => this.#held(),
      onMessage: (group, message, wallMs) => this.#onMessage(group, message, wallMs),
      onChunk: (chunk) => this.#addressed(chunk)?.traffic.onChunk(chunk),
      onAck: (ack) => this.#addressed(ack)?.traffic.onAck(ack),
      onNote: (from, note) => this.#onNote(from, note),
      routerOf: (group) => this.routing.routerOf(group),
      onForwardReply: (row) => this.routing.onForwardReply(row),
      onForwardDown: (from) => this.routing.onForwardDown(from),
      onSilent: (from) => this.roster.rouse(from),
      onLost: (node) => this.roster.lose(node),
      onRoutes: (node) => this.roster.rouse(node),
      wake: () => this.wake(),
    });
    this.#seatHost = {
      platform,
      home,
      options,
      electionMs: this.config.electionMs,
      peers: this.#peers,
      known: knownPeers,
      cacheBudget: new CacheBudget(CACHE_BYTES_MAX),
      wake: () => this.wake(),
      touch: (hosted) => this.#work.touch(hosted),
      awake: (seat) => this.roster.wake(seat),
      appendAll: () => this.#work.appendAll(),
      fatal: (error) => this.die(error),
      routing: this.routing,
      onClosed: (hosted) => {
        this.#work.forget(hosted);
      },
      endTurnOf: (seat) => this.#ending.add(seat),
      onLeader: (group) => host.onLeader(group),
      onApplied: (group, entry) => host.onApplied(group, entry),
      onHeld: () => this.#peers?.heldChanged(),
    };
    for (const group of groups) this.#addSeat(group.group, group);
  }

  #addSeat(group: GroupId, opened: Opened["groups"][number]): Seat {
    assert(this.#seatHost !== null, "the node was started");
    const seat = new Seat(this.#seatHost, opened);
    this.#seats.set(group, seat);
    this.roster.add(seat);
    const { waitsBecause: reason } = seat;
    if (reason !== null && this.#isExpected(seat))
      this.platform.log.write("warn", "waiting for a replica", { group, reason });
    return seat;
  }

  #held(): PeerHello["held"] {
    return [...this.#seats.values()].flatMap((seat) => seat.held());
  }

  /** The node cannot go on: whoever runs it ends the process, and nothing of it happens until then. */
  die(error: Error): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#stopped = true;
    this.#ticker.stop();
    this.#host.fatal(error);
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
    this.#home?.changeNoMore();
    for (const { hosted } of this.#seats.values()) {
      const to = hosted?.group.isLeader === true ? hosted.successor : 0;
      if (to !== 0) hosted?.group.core.transfer(to);
      if (hosted !== null) this.#work.touch(hosted);
    }
    if (this.#ticker.isStarted) this.wake();
    else this.#finish();
  }

  #tickStop(): void {
    const stopping = this.#stopping;
    if (stopping === null) return;
    const isOpen = [...this.#seats.values()].some(
      ({ hosted }) =>
        hosted !== null && (hosted.group.proposalsOpen > 0 || (hosted.group.isLeader && !hosted.isAlone)),
    );
    if (!isOpen || ++stopping.ticks > STOP_TICKS_MAX) this.#finish();
  }

  #finish(): void {
    const stopping = this.#stopping;
    assert(stopping !== null, "stop was asked for");
    if (this.#stopped || this.#home?.isBusy === true) return; // a log that is being opened can be closed only afterwards
    this.#stopped = true;
    this.#ticker.stop();
    for (const { hosted } of this.#seats.values()) hosted?.stop();
    this.#peers?.close();
    if (this.wal === null) stopping.done(null, undefined);
    else runTask(this.wal.close(), stopping.done);
  }

  // ------------------------------------------------------------------------------------------- inputs

  #onConnection(connection: Connection): void {
    if (this.#peers === null || this.#stopped)
      connection.destroy(); // still reading the log, or at the end
    else this.#host.onConnection(connection);
  }

  /** A replica is to be here: of a founder (`bootstrap`), or for the group's leader. Only for this very directory. */
  create(from: string, incarnation: string, order: JoinOrder): void {
    if (!this.isOpen || this.isStopping || incarnation !== this.home.identity.incarnation) return;
    const { group } = order;
    const isMeant = this.config.open.groups?.includes(group) ?? true;
    if (!isMeant) return;
    const seat =
      this.#seats.get(group) ?? this.#addSeat(group, { group, born: null, damage: this.home.damage });
    seat.onCreate(from, order);
  }

  close(group: GroupId, replica: number): void {
    if (!this.isStopping) this.#seats.get(group)?.onClose({ group, replica });
  }

  #onNote(from: string, note: PeerNote): void {
    if (this.isStopping) return;
    switch (note.kind) {
      case "hash":
        return this.#seats.get(note.hash.group)?.onHash(from, note.hash);
      case "create": {
        const { group, replica, incarnation } = note.create;
        return this.create(from, incarnation, { group, replica, bootstrap: null });
      }
      case "close":
        return this.close(note.close.group, note.close.replica);
      case "claim":
        return this.#host.onClaim(note.claim);
      case "move":
        return this.#host.onMove(from, note.move);
      case "held":
        return; // peers.ts keeps it
    }
  }

  #addressed({ group, to }: SnapshotChunk | SnapshotAck): HostedReplica | null {
    const seat = this.#seats.get(group);
    return seat?.holds(to) === true ? seat.hosted : null;
  }

  #onMessage(groupId: GroupId, message: Message, wallMs: number): void {
    const seat = this.#seats.get(groupId);
    if (this.#stopped || seat?.holds(message.to) !== true) return;
    const { group } = seat.hosted as HostedReplica;
    if (wallMs >= 0) group.hearClock(message.term, message.from, wallMs);
    group.step(message);
    this.#askTurn();
  }

  #onSynced(lsn: Lsn): void {
    if (this.#stopped) return; // the log takes no records any more
    this.#work.onSynced(lsn);
    this.#askTurn();
  }

  #onLate(lateMs: number): void {
    if (lateMs > LATE_MS_LOGGED)
      this.platform.log.write("warn", "the loop was late", { ms: Math.round(lateMs) });
    // A node that was stalled has heard nobody and knows nothing of it: it must not campaign for that. Half an
    // election timeout, since a machine that is merely busy has late ticks all the time and must fail over too.
    if (lateMs > this.config.electionMs / 2) this.roster.holdElections();
  }

  #tick(): void {
    if (this.#stopped) return;
    this.roster.tick();
    this.routing.tick();
    this.#peers?.tick();
    this.#host.onTick();
    this.#tickStop();
  }

  #onTicked(elapsedMs: number): void {
    if (this.#stopped) return;
    this.roster.ticked();
    this.wal?.tick(elapsedMs);
    this.#askTurn();
  }

  get #isIdle(): boolean {
    return this.roster.awake === 0 && this.routing.isIdle && this.#work.isEmpty && !this.isStopping;
  }

  // ------------------------------------------------------------------------------------------- the turn

  /** Something came in, from clients or from elsewhere on this node. */
  wake(): void {
    if (this.#stopped) return;
    this.#ticker.hurry();
    this.#askTurn();
  }

  #askTurn(): void {
    if (this.#turnAsked || this.#stopped) return;
    this.#turnAsked = true;
    this.platform.clock.turn(() => this.#turn());
  }

  #turn(): void {
    this.#turnAsked = false;
    if (this.#stopped) return;
    this.routing.flush();
    this.#work.begin();
    this.#work.appendAll();
    this.#peers?.flush();
    this.wal?.submit();
    this.#work.applyAll();
    this.#peers?.flush();
    for (const seat of this.#ending) seat.endTurn();
    this.#ending.clear();
    this.#host.afterTurn();
    if (!this.#work.isEmpty) this.#askTurn();
  }

  #awake(hosted: HostedReplica): void {
    const seat = this.#seats.get(hosted.group.group);
    if (seat?.hosted === hosted) this.roster.wake(seat);
  }

  /** The replica of `group` has something for this turn. */
  touch(group: GroupId): void {
    const hosted = this.#seats.get(group)?.hosted ?? null;
    if (hosted === null) return;
    this.#work.touch(hosted);
    this.wake();
  }

  /** The other nodes, and where they are; the cluster is known by now. */
  setNodes(nodes: readonly NodeAddress[]): void {
    this.peers.setNodes(nodes);
    this.wake();
  }

  /** The control plane has said which cluster this is: once in the life of the directory. */
  joinCluster(cluster: string, done: Done<void>): void {
    const { home } = this;
    home.change(
      () => home.join(cluster),
      (error) => {
        if (error === null) this.peers.setCluster(cluster);
        done(error, undefined);
      },
    );
  }
}

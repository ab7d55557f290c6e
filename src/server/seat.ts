/**
 * A group's place on this node: a replica sits there, or the place waits for one.
 *
 *     start ----> replica found ------------------------------> serves
 *           `---> none, or damaged --> waits -- create -------> serves, under a new id
 *     serves -- removed, superseded, or its state differs ----> closed for good, waits
 *
 * Orders come from the group's leader (replacement.ts); of founders, from the control plane. Each names an id that was
 * never used, and this very directory; what was here before gets a tombstone, so it never comes back as itself
 * (hazards A12, E7).
 */
import { assert } from "../base/assert.ts";
import { messageOf, NucleusError } from "../base/errors.ts";
import type { Platform } from "../platform/platform.ts";
import type { Entry, Index, ReplicaId } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";
import type { CloseReplica, PeerHello, StateHash } from "../wire/control.ts";
import { type BornReplica, type JoinOrder, joinGroup, type OpenedGroup, type OpenOptions } from "./birth.ts";
import type { CacheBudget } from "./entry_cache.ts";
import type { GroupReplica } from "./group.ts";
import type { Home } from "./home.ts";
import { HostedReplica } from "./hosted.ts";
import type { KnownPeers } from "./known_peers.ts";
import type { Peers } from "./peers.ts";
import { Replacement } from "./replacement.ts";
import type { Routing } from "./routing.ts";

const BLANK =
  "this node holds no replica of the shard yet; the shard's leader gives it one. If no node of this cluster ever ran " +
  "before, stop it and start all of them once with --init";
const CLOSED =
  "the replica that was here is closed for good; if this node still has a place in the shard, its leader gives it a " +
  "new one, else another node took it";
const AFTER_DAMAGE =
  "This node takes no part; if a majority of the others is sound, their leader gives it a new replica by itself";

export type SeatHost = {
  readonly platform: Platform;
  readonly home: Home;
  readonly options: OpenOptions;
  readonly electionMs: number;
  readonly peers: Peers;
  readonly routing: Routing;
  readonly known: KnownPeers;
  readonly cacheBudget: CacheBudget;
  wake(): void;
  /** The node cannot go on. */
  fatal(error: Error): void;
  onLeader(group: GroupReplica): void;
  onApplied(group: GroupReplica, entry: Entry): void;
  /** What the node holds changed. */
  onHeld(): void;
  onClosed(hosted: HostedReplica): void;
  /** `endTurn` of this seat is to be called when the turn's work is done. */
  endTurnOf(seat: Seat): void;
  touch(hosted: HostedReplica): void;
  /** This seat is to be ticked. */
  awake(seat: Seat): void;
  appendAll(): void;
};

export class Seat {
  readonly group: GroupId;
  readonly #host: SeatHost;
  #damage: NucleusError | null;
  #hosted: HostedReplica | null = null;
  #replacement: Replacement | null = null;
  /** The replica that was closed last, until nothing of it is at work any more. */
  #closed: HostedReplica | null = null;
  /** Where the replica's state was seen not to be that of the others. */
  #diverged: Index | null = null;
  /** An order is being carried out: the highest id that was held before it. */
  #joining: { readonly heldBefore: ReplicaId } | null = null;
  /** Why the last order was not carried out: it is repeated each second, and this said once. */
  #problem = "";

  constructor(host: SeatHost, { group, born, damage }: OpenedGroup) {
    this.group = group;
    this.#host = host;
    this.#damage = damage;
    if (born !== null) this.#serve(born);
  }

  /** The replica that sits here; null: the place waits. */
  get hosted(): HostedReplica | null {
    return this.#hosted;
  }

  get replacement(): Replacement | null {
    return this.#replacement;
  }

  /** Why no replica sits here; null if one does. */
  get waitsBecause(): string | null {
    if (this.#hosted !== null) return null;
    if (this.#damage !== null) return `${messageOf(this.#damage)}. ${AFTER_DAMAGE}`;
    return this.usedUp === 0 ? BLANK : CLOSED;
  }

  /** A replica sits here, or should and cannot. */
  get isTaken(): boolean {
    return this.#hosted !== null || this.#damage !== null;
  }

  /**
   * What others are told; of a replica that is no more, its id: the leader must not mean it for this node again. One that
   * is on its way here is not told of: its id is in the directory before it is there, and would pass for used up.
   */
  held(): PeerHello["held"] {
    const { group } = this;
    const here = this.#hosted?.group.replica ?? 0;
    if (here !== 0) return [{ group, replica: here, quarantined: false }];
    const replica = this.#joining?.heldBefore ?? this.usedUp;
    return replica === 0 ? [] : [{ group, replica, quarantined: true }];
  }

  /** The highest id that a replica was ever held under in this directory; 0: none. */
  get usedUp(): ReplicaId {
    return Math.max(this.#host.home.usedUp(this.group), this.#hosted?.group.replica ?? 0);
  }

  holds(replica: ReplicaId): boolean {
    return this.#hosted?.group.replica === replica;
  }

  tick(): void {
    this.#hosted?.tick();
    this.#replacement?.tick();
    if (this.#closed?.isQuiet === true) this.#closed = null; // and all its data with it
    if (this.#hosted?.isRemoved === true) this.#close("the group goes on without it");
  }

  /** It needs no ticks: `look` is enough. */
  get isAtRest(): boolean {
    if (this.#closed !== null || this.#diverged !== null) return false;
    return this.#hosted?.isAtRest ?? true;
  }

  /** In place of `ticks` ticks, while it is at rest. */
  look(ticks: number): void {
    this.#hosted?.look(ticks);
    this.#replacement?.look(ticks);
  }

  /** What applying showed; when the turn's work is done. */
  endTurn(): void {
    if (this.#diverged !== null) this.#closeDiverged(this.#diverged);
  }

  // ------------------------------------------------------------------------------------------- orders

  onHash(node: string, { group, replica, index, hash }: StateHash): void {
    const hosted = this.#hosted;
    if (hosted === null || this.#host.peers.nodeOf(group, replica) !== node) return;
    hosted.hashes.hear(replica, index, hash);
  }

  onClose({ replica }: CloseReplica): void {
    if (this.holds(replica)) this.#close("the group goes on without it");
  }

  /**
   * Only under an id above all that were ever here, since ids are not used twice; the caller saw to it that this
   * directory is meant. A founder's order comes once in the life of its group: whoever was here already knows more.
   */
  onCreate(from: string, order: JoinOrder): void {
    if (this.#joining !== null || order.replica <= this.usedUp) return;
    if (order.bootstrap !== null && this.usedUp > 0) return;
    if (this.#hosted !== null) this.#close(`${from} gives this node another one`);
    if (this.#closed !== null && !this.#closed.isQuiet) return; // the order will be repeated
    this.#join(order);
  }

  #join(order: JoinOrder): void {
    const { home, options } = this.#host;
    const wasDamaged = this.#damage !== null;
    this.#joining = { heldBefore: this.usedUp };
    const hasRoom = (bytes: number): boolean => {
      this.#host.appendAll();
      return home.log?.wal.hasRoom(bytes) ?? false;
    };
    const task = () => joinGroup(home, options, order, wasDamaged, hasRoom);
    home.change(task, (error, born) => {
      this.#joining = null;
      if (error !== null) return this.#host.fatal(error);
      if (born instanceof Error) this.#cannotYet(born);
      else this.#begin(born);
    });
  }

  #begin(born: BornReplica): void {
    this.#damage = null;
    this.#problem = "";
    this.#serve(born);
    this.#host.awake(this);
    const { group } = this;
    this.#host.platform.log.write("info", "replica made", { group, replica: born.replica });
    this.#host.onHeld();
    if (this.#hosted?.isAlone === true) this.#hosted.group.core.campaign();
  }

  /** The order is repeated until it can be carried out. */
  #cannotYet({ message: reason }: Error): void {
    if (reason !== this.#problem)
      this.#host.platform.log.write("error", "no replica can be made yet", { reason });
    this.#problem = reason;
  }

  /** Serves the replica that was found, or made. */
  #serve(born: BornReplica): void {
    const { platform, options, peers, routing, known, home, electionMs } = this.#host;
    const { log } = home;
    assert(log !== null, "a replica was found in the log, or made there");
    const host = this.#host;
    this.#hosted = new HostedReplica(
      this.group,
      {
        platform,
        dir: options.dir,
        electionMs,
        wal: log.wal,
        peers,
        routing,
        cacheBudget: host.cacheBudget,
        wake: () => host.wake(),
        touch: (hosted) => host.touch(hosted),
        appendAll: () => host.appendAll(),
        fatal: (error) => host.fatal(error),
        onLeader: (group) => host.onLeader(group),
        onApplied: (group, entry) => host.onApplied(group, entry),
        onDiverged: (index) => {
          this.#diverged ??= index; // it may be in the middle of applying
          host.endTurnOf(this);
        },
      },
      born,
    );
    this.#replacement = new Replacement({
      group: this.#hosted.group,
      peers,
      known,
      log: (text, fields) => platform.log.write("info", text, fields),
      wake: () => host.wake(),
    });
  }

  /** It must not be served from, nor vote as what it was. */
  #closeDiverged(index: Index): void {
    this.#diverged = null;
    const hosted = this.#hosted;
    if (hosted === null) return;
    const text = `its state differs from that of a majority at index ${index}`;
    hosted.group.core.stepDown();
    hosted.group.advance(); // commands that it leads are given back
    this.#close(text);
    this.#damage = new NucleusError("EDIVERGED", `${this.#host.options.dir}: ${text}`);
  }

  /** Closes the replica for good: a tombstone keeps it from ever coming back. */
  #close(reason: string): void {
    const hosted = this.#hosted;
    const { home, platform } = this.#host;
    if (hosted === null || home.log === null) return;
    const { group, replica } = hosted.group;
    platform.log.write("warn", "replica closed", { group, replica, reason });
    this.#hosted = null;
    this.#replacement = null;
    this.#closed = hosted;
    this.#host.awake(this);
    hosted.end();
    this.#host.onClosed(hosted);
    home.log.wal.appendTombstone(replica, group);
    this.#host.onHeld();
    this.#host.wake();
  }
}

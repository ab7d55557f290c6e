/**
 * A group's place on this node: a replica sits there, or the place waits for one.
 *
 *     start ----> replica found ------------------------------> serves
 *           `---> none, or damaged --> waits -- create -------> serves, under a new id
 *     serves -- removed, superseded, or its state differs ----> closed for good, waits
 *
 * Orders come from the group's leader (replacement.ts). Each names an id that was never used, and this very
 * directory; what was here before gets a tombstone, so it never comes back as itself (hazards A12, E7).
 */
import { messageOf, NucleusError } from "../base/errors.ts";
import { runTask } from "../base/task.ts";
import type { Platform } from "../platform/platform.ts";
import type { Entry, Index, ReplicaId } from "../raft/types.ts";
import { KeyValueStore } from "../store/store.ts";
import type { Store } from "../store/types.ts";
import type { GroupId, Wal } from "../wal/types.ts";
import type { CloseReplica, CreateReplica, PeerHello, StateHash } from "../wire/control.ts";
import { joinGroup, type Opened, type OpenOptions, storeSettings } from "./birth.ts";
import type { GroupReplica } from "./group.ts";
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
  readonly options: OpenOptions;
  readonly peers: Peers;
  readonly routing: Routing;
  readonly known: KnownPeers;
  wake(): void;
  /** The node cannot go on. */
  fatal(error: Error): void;
  onLeader(group: GroupReplica): void;
  onApplied(group: GroupReplica, entry: Entry): void;
  /** A replica was made, or why none could be; only now may the log be closed. */
  onJoined(): void;
};

export class Seat {
  readonly #host: SeatHost;
  #opened: Opened;
  #hosted: HostedReplica | null = null;
  #replacement: Replacement | null = null;
  /** The replica that was closed last, until nothing of it is at work any more. */
  #closed: HostedReplica | null = null;
  /** Where the replica's state was seen not to be that of the others. */
  #diverged: Index | null = null;
  /** An order is being carried out. */
  #joining = false;
  /** Why the last order was not carried out: it is repeated each second, and this said once. */
  #problem = "";

  constructor(host: SeatHost, opened: Opened, store: Store) {
    this.#host = host;
    this.#opened = opened;
    this.#serve(opened, store);
    const { waitsBecause: reason } = this;
    if (reason !== null) host.platform.log.write("warn", "waiting for a replica", { reason });
  }

  /** The replica that sits here; null: the place waits. */
  get hosted(): HostedReplica | null {
    return this.#hosted;
  }

  get replacement(): Replacement | null {
    return this.#replacement;
  }

  /** Null while a damaged log is left as it is. */
  get wal(): Wal | null {
    return this.#opened.log?.wal ?? null;
  }

  get isJoining(): boolean {
    return this.#joining;
  }

  /** Why no replica sits here; null if one does. */
  get waitsBecause(): string | null {
    if (this.#hosted !== null) return null;
    const { damage } = this.#opened;
    if (damage !== null) return `${messageOf(damage)}. ${AFTER_DAMAGE}`;
    return this.usedUp === 0 ? BLANK : CLOSED;
  }

  /** What others are told; of a replica that is no more, its id: the leader must not mean it for this node again. */
  held(): PeerHello["held"] {
    const { group } = this.#host.options.layout;
    const here = this.#hosted?.group.replica ?? 0;
    if (here !== 0) return [{ group, replica: here, quarantined: false }];
    const { usedUp } = this;
    return usedUp === 0 ? [] : [{ group, replica: usedUp, quarantined: true }];
  }

  /** The highest id that a replica was ever held under in this directory; 0: none. */
  get usedUp(): ReplicaId {
    const { identity, log } = this.#opened;
    const { group } = this.#host.options.layout;
    const tombstone = log?.recovered.tombstones.find((one) => one.group === group)?.replica ?? 0;
    return Math.max(identity.replica, tombstone, this.#hosted?.group.replica ?? 0);
  }

  holds(group: GroupId, replica: ReplicaId): boolean {
    const here = this.#hosted?.group;
    return here?.group === group && here.replica === replica;
  }

  tick(): void {
    this.#hosted?.tick();
    this.#replacement?.tick();
    if (this.#closed?.isQuiet === true) this.#closed = null; // and all its data with it
    if (this.#hosted?.isRemoved === true) this.#close("the group goes on without it");
  }

  /** What applying showed; when the turn's work is done. */
  endTurn(): void {
    if (this.#diverged !== null) this.#closeDiverged(this.#diverged);
  }

  // ------------------------------------------------------------------------------------------- orders

  onHash(node: string, { group, replica, index, hash }: StateHash): void {
    const hosted = this.#hosted;
    if (hosted?.group.group !== group || this.#host.peers.nodeOf(group, replica) !== node) return;
    hosted.hashes.hear(replica, index, hash);
  }

  onClose({ group, replica }: CloseReplica): void {
    if (this.holds(group, replica)) this.#close("the group goes on without it");
  }

  /** Only for this directory, and only under an id above all that were ever here: ids are not used twice. */
  onCreate(node: string, { group, replica, incarnation }: CreateReplica): void {
    const { identity } = this.#opened;
    if (this.#joining || group !== this.#host.options.layout.group) return;
    if (incarnation !== identity.incarnation || replica <= this.usedUp) return;
    if (this.#hosted !== null) this.#close(`${node} gives this node another one`);
    if (this.#closed !== null && !this.#closed.isQuiet) return; // the order will be repeated
    this.#join(replica);
  }

  #join(replica: ReplicaId): void {
    const { platform, options } = this.#host;
    const store = new KeyValueStore(storeSettings(options.layout));
    this.#joining = true;
    runTask(joinGroup(platform, options, this.#opened, replica, store), (error, joined) => {
      this.#joining = false;
      if (error !== null) return this.#host.fatal(error);
      if (joined instanceof Error) this.#cannotYet(joined);
      else this.#begin(joined, store);
      this.#host.onJoined();
    });
  }

  #begin(joined: Opened, store: Store): void {
    this.#opened = joined;
    this.#problem = "";
    this.#serve(joined, store);
    const replica = this.usedUp;
    this.#host.platform.log.write("info", "replica made", { replica });
    this.#host.peers.greetAgain();
  }

  /** The order is repeated until it can be carried out. */
  #cannotYet({ message: reason }: Error): void {
    if (reason !== this.#problem)
      this.#host.platform.log.write("error", "no replica can be made yet", { reason });
    this.#problem = reason;
  }

  /** Serves the replica that was found, or made. */
  #serve({ born, log }: Opened, store: Store): void {
    if (born === null || log === null) return;
    const { platform, options, peers, routing, known } = this.#host;
    const { dir, layout } = options;
    const host = this.#host;
    this.#hosted = new HostedReplica(
      {
        platform,
        dir,
        layout,
        wal: log.wal,
        peers,
        routing,
        wake: () => host.wake(),
        fatal: (error) => host.fatal(error),
        onLeader: (group) => host.onLeader(group),
        onApplied: (group, entry) => host.onApplied(group, entry),
        onDiverged: (index) => {
          this.#diverged ??= index; // it may be in the middle of applying
          host.wake();
        },
      },
      born,
      store,
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
    const damage = new NucleusError("EDIVERGED", `${this.#host.options.dir}: ${text}`);
    this.#opened = { ...this.#opened, damage };
  }

  /** Closes the replica for good: a tombstone keeps it from ever coming back. */
  #close(reason: string): void {
    const hosted = this.#hosted;
    const { log, identity } = this.#opened;
    if (hosted === null || log === null) return;
    const { group, replica } = hosted.group;
    const { usedUp } = this;
    this.#host.platform.log.write("warn", "replica closed", { replica, reason });
    this.#hosted = null;
    this.#replacement = null;
    this.#closed = hosted;
    hosted.end();
    this.#opened = { ...this.#opened, born: null, identity: { ...identity, replica: usedUp } };
    log.wal.appendTombstone(replica, group);
    this.#host.peers.greetAgain();
    this.#host.wake();
  }
}

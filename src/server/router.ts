/**
 * The router of one group on one node: takes checked commands from the doors and brings each to where it can take
 * effect - this replica if it leads, else the leader's node - and keeps it until it is answered.
 *
 *     door --admit--> reads / writes (open bundles) --flush, once a turn--> group.read, group.propose   (leader here)
 *                                                                       --> forwarder                   (leader there)
 *                                                                       --> stay parked                 (no leader)
 *
 * What the caller is told is true of the command, not of one attempt: "CLUSTERDOWN", "TRYAGAIN", "MISCONF" only
 * if no attempt can have taken effect; otherwise the reply, or "UNCERTAIN" when time is up.
 */
import { MiB } from "../base/units.ts";
import type { ReplicaId } from "../raft/types.ts";
import { BATCH_HEADER_BYTES } from "../wire/batch.ts";
import type { CommandView } from "../wire/command.ts";
import { Bundle, type Origin } from "./bundle.ts";
import { DISK_FULL, NO_LEADER, REPLICA_GONE } from "./fate.ts";
import { FORWARD_COMMANDS_MAX, type Forwarder } from "./forwarder.ts";
import type { GroupReplica } from "./group.ts";
import { slotOfCommand } from "./keys.ts";
import { Lane } from "./lane.ts";

/**
 * A command that could not be brought to a leader, or learn its fate, within this many ticks is answered so.
 * 250 x 10 ms: below the 5 s after which common clients give up by themselves (redis.md, finding 6).
 */
export const COMMAND_TICKS_MAX = 250;
/** Bytes that wait in open bundles: 8 full batches. Beyond it connections with commands for this group wait. */
const WAITING_BYTES_MAX = 8 * MiB;
/** With no room in the log for this long, the disk is taken to be full. */
const ROOM_TICKS_MAX = 100;
/** While a sync is under way the next batch grows, up to this; then it is sent without waiting. */
const BATCH_BYTES_EARLY = 64 * 1024;

export type RouterHost = {
  /** True while the log has a sync under way. */
  syncing(): boolean;
  wake(): void;
};

export class Router {
  readonly group: GroupReplica;
  readonly #forwarder: Forwarder;
  readonly #host: RouterHost;
  /** Bundles that ride in the log, oldest first; the last one is open. */
  #writes: Bundle[] = [];
  /** Bundles of plain reads, oldest first; the last one is open. */
  #reads: Bundle[] = [];
  /**
   * Writes that waited when this node ceased to lead, behind others that it had proposed: until the log has told what
   * became of those, or nobody waits for it, they would overtake them at the new leader.
   */
  #behind: Bundle[] = [];
  #waitingBytes = 0;
  #orderNext = 1;
  #tick = 0;
  #noRoomSince = -1;
  #ended = false;
  /** Rises whenever commands begin to go somewhere else. */
  routeEpoch = 1;

  constructor(group: GroupReplica, forwarder: Forwarder, host: RouterHost) {
    this.group = group;
    this.#forwarder = forwarder;
    this.#host = host;
  }

  /** Commands that other nodes' doors forward are taken. */
  get leads(): boolean {
    return !this.#ended && this.group.isLeader;
  }

  /**
   * Takes the command in `view`, of connection `lane`. False: not now, and nothing was taken; the door stops
   * reading that connection and asks again after a turn.
   */
  admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
    if (this.#ended) {
      origin.fail(tag, lane.enter(Lane.bucket(slotOfCommand(view)), !view.isWrite), REPLICA_GONE);
      return true;
    }
    if (this.#waitingBytes > WAITING_BYTES_MAX) return false;
    // Commands of one connection are never on their way to two nodes: they could overtake each other.
    if (lane.routeEpoch !== this.routeEpoch) {
      if (lane.outstanding > 0) return false;
      lane.routeEpoch = this.routeEpoch;
    }
    const bucket = Lane.bucket(slotOfCommand(view));
    const rides = view.isWrite || lane.readRides(bucket);
    if (rides && lane.writeWaits(bucket)) return false;
    if (rides && !view.isWrite && lane.ridesFull) return false;
    const refusal = this.#refusal(view, rides);
    if (refusal !== null) {
      origin.fail(tag, lane.enter(bucket, !rides), refusal); // counted in and out again
      return true;
    }
    const size = view.end - frameAt;
    const bundle = this.#open(rides ? this.#writes : this.#reads, size);
    const start = bundle.writer.length;
    bundle.writer.range(view.bytes, frameAt, view.end);
    const mark = rides && !view.isWrite ? lane.enterRiding(bucket) : lane.enter(bucket, !rides);
    bundle.add(start, origin, tag, mark);
    this.#waitingBytes += size;
    return true;
  }

  /** Why this command must not be proposed; null if it may. */
  #refusal(view: CommandView, rides: boolean): string | null {
    if (!rides) return null;
    if (this.#noRoomSince >= 0 && this.#tick - this.#noRoomSince > ROOM_TICKS_MAX) return DISK_FULL;
    const { store } = this.group;
    return store.memoryRefusal(view) ?? store.sessionRefusal(view);
  }

  #open(list: Bundle[], size: number): Bundle {
    let bundle = list.at(-1);
    if (bundle === undefined || bundle.given || !bundle.fits(size)) {
      bundle = new Bundle(list === this.#writes ? 2 * this.group.bundleBytesExpected : 0);
      bundle.sinceTick = this.#tick;
      bundle.order = this.#orderNext++;
      list.push(bundle);
    }
    return bundle;
  }

  /** Sends on what has come in. Once a turn. */
  flush(): void {
    if (this.#ended) return;
    this.group.noticeLeader(); // before anything goes to a former one, or past what a former one left open
    if (this.#behind.length > 0 && !this.group.hasOrphans) this.#release();
    if (this.group.isLeader) this.#flushHere();
    else if (this.group.core.leader !== 0) this.#flushThere(this.group.core.leader);
  }

  #flushHere(): void {
    while (this.#writes.length > 0) {
      const bundle = this.#writes[0] as Bundle;
      if (this.#host.syncing() && this.#writes.length === 1 && bundle.bytes < BATCH_BYTES_EARLY) break;
      if (!this.group.propose(bundle)) {
        if (!this.group.isDiskFull(bundle.bytes)) this.#noRoomSince = -1;
        else if (this.#noRoomSince < 0) this.#noRoomSince = this.#tick;
        break;
      }
      this.#noRoomSince = -1;
      this.#writes.shift();
      this.#waitingBytes -= sizeOf(bundle);
    }
    while (this.#reads.length > 0 && this.group.read(this.#reads[0] as Bundle)) {
      this.#waitingBytes -= sizeOf(this.#reads.shift() as Bundle);
    }
    if (this.#writes.length === 0) this.group.proposeTime();
  }

  #flushThere(leader: ReplicaId): void {
    for (const list of [this.#writes, this.#reads]) {
      while (list.length > 0) {
        const first = list[0] as Bundle;
        if (first.count > FORWARD_COMMANDS_MAX) list.splice(0, 1, ...first.split(FORWARD_COMMANDS_MAX));
        if (!this.#forwarder.send(leader, list[0] as Bundle, list === this.#writes)) break;
        this.#waitingBytes -= sizeOf(list.shift() as Bundle);
      }
    }
  }

  /** A command that another node's door forwarded to this leader; that door keeps the order of its lanes. */
  admitForwarded(view: CommandView, frameAt: number, rides: boolean, origin: Origin, tag: number): void {
    if (this.#ended) {
      origin.takeBack(tag, true);
      return;
    }
    const refusal = this.#refusal(view, rides);
    if (refusal !== null) {
      origin.fail(tag, 0, refusal);
      return;
    }
    const size = view.end - frameAt;
    const bundle = this.#open(rides ? this.#writes : this.#reads, size);
    const start = bundle.writer.length;
    bundle.writer.range(view.bytes, frameAt, view.end);
    bundle.add(start, origin, tag, 0);
    this.#waitingBytes += size;
  }

  /**
   * Commands to be sent again when there is a leader: before all that came later, behind what was given back of
   * earlier bundles, or of the same one.
   */
  giveBack(bundle: Bundle, rides: boolean): void {
    if (this.#ended) return bundle.endAll(false);
    const own = bundle.withoutForwarded();
    if (own.count === 0) return;
    own.given = true;
    this.#waitingBytes += sizeOf(own);
    insert(rides ? this.#writes : this.#reads, inBatches(own));
    this.#host.wake();
  }

  onLeaderChange(): void {
    if (this.#ended) return;
    this.routeEpoch++;
    this.#noRoomSince = -1;
    if (!this.group.isLeader) {
      this.#writes = this.#dropForwarded(this.#writes);
      this.#reads = this.#dropForwarded(this.#reads);
      if (this.group.hasOrphans) {
        this.#behind.push(...this.#writes);
        this.#writes = [];
      }
    }
    this.#forwarder.onLeaderChange();
    this.#host.wake();
  }

  /** Nothing that came before them is open any more. */
  #release(): void {
    const behind = this.#behind;
    this.#behind = [];
    for (const bundle of behind) insert(this.#writes, [bundle]);
  }

  #dropForwarded(list: readonly Bundle[]): Bundle[] {
    const left: Bundle[] = [];
    for (const bundle of list) {
      this.#waitingBytes -= sizeOf(bundle);
      const own = bundle.withoutForwarded();
      if (own.count === 0) continue;
      left.push(own);
      this.#waitingBytes += sizeOf(own);
    }
    return left;
  }

  tick(): void {
    if (this.#ended) return;
    this.#tick++;
    const before = this.#tick - COMMAND_TICKS_MAX;
    this.group.giveUpBefore(before);
    const wanted = this.#writes[0]?.bytes ?? BATCH_BYTES_EARLY;
    if (this.#noRoomSince >= 0 && this.group.canPropose(wanted)) this.#noRoomSince = -1;
    this.#forwarder.tick();
    this.#forwarder.giveUpBefore(before);
    this.#giveUpParked(before);
  }

  /** Never proposed anywhere: it is certain that nothing happened. */
  #giveUpParked(before: number): void {
    for (const list of [this.#behind, this.#writes, this.#reads]) {
      while (list.length > 0 && (list[0] as Bundle).sinceTick < before) {
        const bundle = list.shift() as Bundle;
        this.#waitingBytes -= sizeOf(bundle);
        if (bundle.sent) bundle.failAllUnknown();
        else bundle.failAll(this.#noRoomSince >= 0 ? DISK_FULL : NO_LEADER);
      }
    }
  }

  /**
   * The replica is closed for good on this node: removed, or quarantined. Whoever waits is told what is known, and
   * nobody is taken in any more.
   */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.group.end();
    this.#forwarder.end();
    for (const list of [this.#behind, this.#writes, this.#reads]) {
      for (const bundle of list.splice(0)) bundle.endAll(false);
    }
    this.#waitingBytes = 0;
    this.#host.wake();
  }
}

/** Puts bundles of one order where they belong: behind what is older, before what came later. */
function insert(list: Bundle[], bundles: readonly Bundle[]): void {
  const order = bundles[0]?.order ?? 0;
  const place = list.findIndex((other) => other.order > order);
  list.splice(place < 0 ? list.length : place, 0, ...bundles);
}

/** Session numbers made the commands longer: what was one batch may be two by now. */
function inBatches(bundle: Bundle): Bundle[] {
  const parts: Bundle[] = [];
  let rest = bundle;
  for (let count = rest.batchCount; count < rest.count; count = rest.batchCount) {
    const [first, others] = rest.split(count);
    parts.push(first);
    rest = others;
  }
  return [...parts, rest];
}

function sizeOf(bundle: Bundle): number {
  return bundle.bytes - BATCH_HEADER_BYTES;
}

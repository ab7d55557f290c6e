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
import { DISK_FULL, NO_LEADER, UNCERTAIN } from "./fate.ts";
import type { Forwarder } from "./forwarder.ts";
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
  #waitingBytes = 0;
  #orderNext = 1;
  #tick = 0;
  #noRoomSince = -1;
  /** Rises whenever commands begin to go somewhere else. */
  routeEpoch = 1;

  constructor(group: GroupReplica, forwarder: Forwarder, host: RouterHost) {
    this.group = group;
    this.#forwarder = forwarder;
    this.#host = host;
  }

  /**
   * Takes the command in `view`, of connection `lane`. False: not now, and nothing was taken; the door stops
   * reading that connection and asks again after a turn.
   */
  admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
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
      origin.begin(tag).error(refusal);
      origin.end(tag, lane.enter(bucket, !rides)); // counted in and out again
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
    if (this.#writes.length === 0 && this.#reads.length === 0) {
      if (this.group.isLeader) this.group.proposeTime();
      return;
    }
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
  }

  #flushThere(leader: ReplicaId): void {
    while (this.#writes.length > 0 && this.#forwarder.send(leader, this.#writes[0] as Bundle, true)) {
      this.#waitingBytes -= sizeOf(this.#writes.shift() as Bundle);
    }
    while (this.#reads.length > 0 && this.#forwarder.send(leader, this.#reads[0] as Bundle, false)) {
      this.#waitingBytes -= sizeOf(this.#reads.shift() as Bundle);
    }
  }

  /** A command that another node's door forwarded to this leader; that door keeps the order of its lanes. */
  admitForwarded(view: CommandView, frameAt: number, rides: boolean, origin: Origin, tag: number): void {
    const refusal = this.#refusal(view, rides);
    if (refusal !== null) {
      origin.begin(tag).error(refusal);
      origin.end(tag, 0);
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
    const own = bundle.withoutForwarded();
    if (own.count === 0) return;
    const list = rides ? this.#writes : this.#reads;
    const place = list.findIndex((other) => other.order > own.order);
    list.splice(place < 0 ? list.length : place, 0, own);
    own.given = true;
    this.#waitingBytes += sizeOf(own);
    this.#host.wake();
  }

  onLeaderChange(): void {
    this.routeEpoch++;
    this.#noRoomSince = -1;
    if (!this.group.isLeader) {
      this.#writes = this.#dropForwarded(this.#writes);
      this.#reads = this.#dropForwarded(this.#reads);
    }
    this.#forwarder.onLeaderChange();
    this.#host.wake();
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
    this.#tick++;
    const before = this.#tick - COMMAND_TICKS_MAX;
    this.group.giveUpBefore(before, UNCERTAIN);
    if (this.#noRoomSince >= 0 && !this.group.isDiskFull(BATCH_BYTES_EARLY)) this.#noRoomSince = -1;
    this.#forwarder.tick();
    this.#forwarder.giveUpBefore(before);
    this.#giveUpParked(before);
  }

  /** Never proposed anywhere: it is certain that nothing happened. */
  #giveUpParked(before: number): void {
    for (const list of [this.#writes, this.#reads]) {
      while (list.length > 0 && (list[0] as Bundle).sinceTick < before) {
        const bundle = list.shift() as Bundle;
        this.#waitingBytes -= sizeOf(bundle);
        this.#forwarder.abandon(bundle);
        bundle.failAll(bundle.sent ? UNCERTAIN : this.#noRoomSince >= 0 ? DISK_FULL : NO_LEADER);
      }
    }
  }
}

function sizeOf(bundle: Bundle): number {
  return bundle.bytes - BATCH_HEADER_BYTES;
}

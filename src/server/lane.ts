/**
 * A lane keeps the order of one connection's commands (design section 9, Order).
 *
 * Writes take effect in log order, which is the order of arrival. Reads are answered beside the log, so two rules
 * tie them to the writes around them:
 * - a read behind a write of the same connection that is not applied yet rides in the log, behind that write;
 * - a write behind reads that are not answered yet waits until they are.
 * A third one holds for all of them: commands of one connection on one slot are never on their way to two places. A
 * route is a number for such a place (a group, as led from one node); a command waits while others on its slot went
 * by another route. What has to wait does so in `held` (held.ts), and what is behind it on other slots passes: so neither
 * an election nor a move of one slot holds up the commands on others.
 *
 * All of this matters only between commands that may touch the same key, so it is kept slot by slot (lane_slots.ts): a
 * command waits for others of its slot alone. A command over several slots that is not taken apart (slot -1; scatter.ts)
 * goes alone: it has no number that would tell the others' shard of its place among them.
 */
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import type { Held } from "./held.ts";
import { LaneSlots } from "./lane_slots.ts";

/** Routes of commands that go alone: from here downwards, each another one. Those of routers are above 0. */
const NUMBERED_ROUTE = -2;
/** In a mark, in the place of the slot. */
const WIDE = 1 << 15;
const SLOT = WIDE - 1;
const READ = 1 << 16;
const RIDES = 1 << 17;
/**
 * Reads of one connection that ride at once. Their replies are made when the batch is applied and cannot wait for
 * a slow reader: 64 of 1 MiB at worst.
 */
const RIDING_READS_MAX = 64;
/**
 * Reads of one connection that wait at followers of this node: an eighth of what one of them lets wait (local_reads.ts), so that
 * no pipeline keeps others out. With 256 a pipeline of 1,000 had 0.65 of its speed on loopback, with these 0.87.
 */
const READS_HERE_MAX = 1024;
/** .. and an eighth of their bytes. */
const READS_HERE_BYTES_MAX = 8 * MiB;

export class Lane {
  /** Null: nothing on one slot was under way yet, or so much that the table went when all was answered. */
  #slots: LaneSlots | null = null;
  #readsTotal = 0;
  #writesTotal = 0;
  #wideReads = 0;
  #wideWrites = 0;
  #ridingReads = 0;
  #readsHere = 0;
  #readsHereBytes = 0;
  #numberedRoute = NUMBERED_ROUTE;
  /**
   * A command that the client numbered itself goes alone on its slot. Whoever leads next may be given what was refused in
   * another order; the door's own numbers tell it (forwarder.ts), a native client's do too (`after`), those of HTTP do not.
   */
  numberedGoAlone = false;
  /** Commands that wait for others of this lane; null: none ever did. */
  held: Held | null = null;
  /** Answers ever: what waits is looked at again when there was one. */
  left = 0;

  /** The slot that a mark was given for; -1: several. */
  static slotOf(mark: number): number {
    return (mark & WIDE) === 0 ? mark & SLOT : -1;
  }

  get outstanding(): number {
    return this.#readsTotal + this.#writesTotal;
  }

  /** Those that wait included. */
  get open(): number {
    return this.outstanding + (this.held?.count ?? 0);
  }

  /** A read on this slot must ride in the log. */
  readRides(slot: number): boolean {
    if (this.#writesTotal === 0) return false;
    return slot < 0 || this.#wideWrites > 0 || (this.#slots as LaneSlots).writes(slot) > 0;
  }

  /** A write (or a read that rides) on this slot must wait for reads that are under way. */
  writeWaits(slot: number): boolean {
    if (this.#readsTotal === 0) return false;
    return slot < 0 || this.#wideReads > 0 || (this.#slots as LaneSlots).reads(slot) > 0;
  }

  /** No more reads may ride until some are answered. */
  get ridesFull(): boolean {
    return this.#ridingReads >= RIDING_READS_MAX;
  }

  /** False: a command on this slot must not go by this route yet. Else it is noted that one goes. */
  take(slot: number, route: number): boolean {
    if (slot < 0) return this.outstanding === 0;
    if (this.#wideReads + this.#wideWrites > 0) return false;
    this.#slots ??= new LaneSlots();
    return this.#slots.take(slot, route);
  }

  /** The route of a command that its client numbered, when others go by `route`. */
  numberedRoute(route: number): number {
    return this.numberedGoAlone ? this.#numberedRoute-- : route;
  }

  /** Counts a write, or a read beside the log, in; the mark is handed back with `leave` when it is answered. */
  enter(slot: number, isRead: boolean): number {
    const mark = (slot < 0 ? WIDE : slot) | (isRead ? READ : 0);
    this.#count(mark, 1);
    return mark;
  }

  /** Counts a read in that rides in the log. */
  enterRiding(slot: number): number {
    this.#ridingReads++;
    return this.enter(slot, false) | RIDES;
  }

  /** Counts a read in that waits at a follower of this node. */
  enterHere(slot: number, frameBytes: number): number {
    this.#readsHere++;
    this.#readsHereBytes += frameBytes;
    return this.enter(slot, true);
  }

  /** The follower has answered it, or given it back: `leave` comes besides. */
  leaveHere(frameBytes: number): void {
    this.#readsHere--;
    this.#readsHereBytes -= frameBytes;
    assert(this.#readsHere >= 0, "every read leaves its follower once");
  }

  /** Nothing more is read of the connection until some are answered. */
  get readsHereFull(): boolean {
    return this.#readsHere >= READS_HERE_MAX || this.#readsHereBytes >= READS_HERE_BYTES_MAX;
  }

  leave(mark: number): void {
    if ((mark & RIDES) !== 0) this.#ridingReads--;
    this.left++;
    this.#count(mark, -1);
  }

  #count(mark: number, by: 1 | -1): void {
    const isRead = (mark & READ) !== 0;
    const isWide = (mark & WIDE) !== 0;
    if (isRead) this.#readsTotal += by;
    else this.#writesTotal += by;
    assert(this.#readsTotal >= 0 && this.#writesTotal >= 0, "every command leaves once");
    if (isWide && isRead) this.#wideReads += by;
    else if (isWide) this.#wideWrites += by;
    else {
      this.#slots ??= new LaneSlots();
      this.#slots.count(mark & SLOT, isRead, by);
    }
    if (this.outstanding === 0 && this.#slots?.isLarge === true) this.#slots = null;
  }
}

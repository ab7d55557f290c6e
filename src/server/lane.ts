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
 * All of this matters only between commands that may touch the same key. Slots fall into BUCKETS buckets with a
 * count of outstanding reads and writes each; a shared bucket only makes a command wait without need. A command over
 * several slots that is not taken apart (slot -1; scatter.ts) goes alone: it has no number that would tell the others'
 * shard of its place among them.
 */
import { assert } from "../base/assert.ts";
import type { Held } from "./held.ts";

const BUCKETS = 1024; // 2 x 2 KiB to a connection; 16 pipelined commands meet by chance in 1.5 % of the cases
/** In a mark, in the place of the slot. */
const WIDE = 1 << 15;
const SLOT = WIDE - 1;
const READ = 1 << 16;
const RIDES = 1 << 17;
/** More than one route is in use. */
const MIXED = 0;
/**
 * Reads of one connection that ride at once. Their replies are made when the batch is applied and cannot wait for
 * a slow reader: 64 of 1 MiB at worst.
 */
const RIDING_READS_MAX = 64;

export class Lane {
  #reads: Uint16Array | null = null;
  #writes: Uint16Array | null = null;
  #readsTotal = 0;
  #writesTotal = 0;
  #wideReads = 0;
  #wideWrites = 0;
  #ridingReads = 0;
  /** The way of all outstanding commands, or MIXED: then each bucket remembers its own. */
  #route = MIXED;
  #routes: Float64Array | null = null;
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
    return slot < 0 || this.#wideWrites > 0 || (this.#writes as Uint16Array)[slot % BUCKETS] !== 0;
  }

  /** A write (or a read that rides) on this slot must wait for reads that are under way. */
  writeWaits(slot: number): boolean {
    if (this.#readsTotal === 0) return false;
    return slot < 0 || this.#wideReads > 0 || (this.#reads as Uint16Array)[slot % BUCKETS] !== 0;
  }

  /** No more reads may ride until some are answered. */
  get ridesFull(): boolean {
    return this.#ridingReads >= RIDING_READS_MAX;
  }

  /** False: a command on this slot must not go by this route yet. Else it is noted that one goes. */
  take(slot: number, route: number): boolean {
    if (this.outstanding === 0) {
      this.#route = route;
      return true;
    }
    if (slot < 0 || this.#wideReads + this.#wideWrites > 0) return false;
    if (this.#route === route) return true;
    const bucket = slot % BUCKETS;
    const isOpen = (this.#reads?.[bucket] ?? 0) + (this.#writes?.[bucket] ?? 0) > 0;
    if (this.#route !== MIXED) {
      if (isOpen) return false;
      this.#routes ??= new Float64Array(BUCKETS);
      this.#routes.fill(this.#route);
      this.#route = MIXED;
    }
    const routes = this.#routes as Float64Array;
    if (isOpen) return routes[bucket] === route;
    routes[bucket] = route;
    return true;
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

  leave(mark: number): void {
    if ((mark & RIDES) !== 0) this.#ridingReads--;
    this.left++;
    this.#count(mark, -1);
  }

  #count(mark: number, by: 1 | -1): void {
    const bucket = (mark & SLOT) % BUCKETS;
    const isWide = (mark & WIDE) !== 0;
    if ((mark & READ) !== 0) {
      this.#readsTotal += by;
      if (isWide) this.#wideReads += by;
      else {
        this.#reads ??= new Uint16Array(BUCKETS);
        this.#reads[bucket] = (this.#reads[bucket] as number) + by;
      }
    } else {
      this.#writesTotal += by;
      if (isWide) this.#wideWrites += by;
      else {
        this.#writes ??= new Uint16Array(BUCKETS);
        this.#writes[bucket] = (this.#writes[bucket] as number) + by;
      }
    }
    assert(this.#readsTotal >= 0 && this.#writesTotal >= 0, "every command leaves once");
  }
}

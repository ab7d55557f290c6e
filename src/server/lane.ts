/**
 * A lane keeps the order of one connection's commands within one group (design section 9, Order).
 *
 * Writes take effect in log order, which is the order of arrival. Reads are answered beside the log, so two rules
 * tie them to the writes around them:
 * - a read behind a write of the same connection that is not applied yet rides in the log, behind that write;
 * - a write behind reads that are not answered yet waits until they are.
 *
 * Both matter only between commands that may touch the same key. Slots fall into BUCKETS buckets with a count of
 * outstanding reads and writes each; a shared bucket only makes a command wait without need. Commands over
 * several slots count as touching everything.
 */
import { assert } from "../base/assert.ts";

const BUCKETS = 1024; // 2 x 2 KiB to a connection; 16 pipelined commands meet by chance in 1.5 % of the cases
const WIDE = BUCKETS;
const READ = 1 << 16;
const RIDES = 1 << 17;
/**
 * Reads of one connection that ride at once. Their replies are made when the batch is applied and cannot wait for
 * a slow reader: 64 of 1 MiB at worst.
 */
const RIDING_READS_MAX = 64;

export class Lane {
  /** Where the outstanding commands went (router.ts). */
  routeEpoch = 0;
  #reads: Uint16Array | null = null;
  #writes: Uint16Array | null = null;
  #readsTotal = 0;
  #writesTotal = 0;
  #wideReads = 0;
  #wideWrites = 0;
  #ridingReads = 0;

  /** The bucket of a command on `slot`, or on several slots (-1). */
  static bucket(slot: number): number {
    return slot < 0 ? WIDE : slot % BUCKETS;
  }

  /** The bucket that a mark was given for. */
  static bucketOf(mark: number): number {
    return mark & ~(READ | RIDES);
  }

  get outstanding(): number {
    return this.#readsTotal + this.#writesTotal;
  }

  /** A read in this bucket must ride in the log. */
  readRides(bucket: number): boolean {
    if (this.#writesTotal === 0) return false;
    return bucket === WIDE || this.#wideWrites > 0 || (this.#writes as Uint16Array)[bucket] !== 0;
  }

  /** A write (or a read that rides) in this bucket must wait for reads that are under way. */
  writeWaits(bucket: number): boolean {
    if (this.#readsTotal === 0) return false;
    return bucket === WIDE || this.#wideReads > 0 || (this.#reads as Uint16Array)[bucket] !== 0;
  }

  /** No more reads may ride until some are answered. */
  get ridesFull(): boolean {
    return this.#ridingReads >= RIDING_READS_MAX;
  }

  /** Counts a write, or a read beside the log, in; the mark is handed back with `leave` when it is answered. */
  enter(bucket: number, isRead: boolean): number {
    this.#count(bucket, isRead, 1);
    return isRead ? bucket | READ : bucket;
  }

  /** Counts a read in that rides in the log. */
  enterRiding(bucket: number): number {
    this.#ridingReads++;
    return this.enter(bucket, false) | RIDES;
  }

  leave(mark: number): void {
    if ((mark & RIDES) !== 0) this.#ridingReads--;
    this.#count(Lane.bucketOf(mark), (mark & READ) !== 0, -1);
  }

  #count(bucket: number, isRead: boolean, by: 1 | -1): void {
    if (isRead) {
      this.#readsTotal += by;
      if (bucket === WIDE) this.#wideReads += by;
      else {
        this.#reads ??= new Uint16Array(BUCKETS);
        this.#reads[bucket] = (this.#reads[bucket] as number) + by;
      }
    } else {
      this.#writesTotal += by;
      if (bucket === WIDE) this.#wideWrites += by;
      else {
        this.#writes ??= new Uint16Array(BUCKETS);
        this.#writes[bucket] = (this.#writes[bucket] as number) + by;
      }
    }
    assert(this.#readsTotal >= 0 && this.#writesTotal >= 0, "every command leaves once");
  }
}

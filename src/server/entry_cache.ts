/**
 * The newest entries of a group in memory, so that sending and applying rarely touch the disk. All groups of a node share
 * one budget: above it whoever has more than its share gives way, so the node never holds more than twice the budget of
 * entries that it could do without, however many groups it has. Entries that are
 * not applied yet stay whatever the budget says only if they were appended since the start; after a restart the
 * log is read back in pieces instead.
 */
import { assert } from "../base/assert.ts";
import type { Entry, Index } from "../raft/types.ts";

/** Of one node. */
export class CacheBudget {
  readonly bytesMax: number;
  /** In the caches of all groups. */
  bytes = 0;
  groups = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** What a group may keep whatever the others have. */
  get share(): number {
    return this.bytesMax / Math.max(1, this.groups);
  }
}

export class EntryCache {
  /** entries[i] has index #first + i; without gaps. */
  #entries: (Entry | null)[] = [];
  /** Entries before this position were evicted and only wait for the array to be compacted. */
  #head = 0;
  #first: Index = 1;
  #bytes = 0;
  readonly #budget: CacheBudget;

  constructor(budget: CacheBudget) {
    this.#budget = budget;
    budget.groups++;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get firstIndex(): Index {
    return this.#first;
  }

  get lastIndex(): Index {
    return this.#first + this.#entries.length - this.#head - 1;
  }

  get(index: Index): Entry | null {
    if (index < this.#first || index > this.lastIndex) return null;
    return this.#entries[this.#head + index - this.#first] as Entry;
  }

  /** Adds the next entry; one that does not follow the newest begins the cache anew. */
  push(entry: Entry): void {
    if (entry.index !== this.lastIndex + 1) {
      assert(entry.index > this.lastIndex, "truncate before a rewritten entry is cached");
      this.clear(entry.index);
    }
    this.#entries.push(entry);
    this.#count(entry.bytes.length);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.bytes += bytes;
  }

  /** Entries at or above `index` were replaced in the log (hazard B5). */
  truncate(index: Index): void {
    while (this.lastIndex >= index && this.#entries.length > this.#head) {
      this.#count(-(this.#entries.pop() as Entry).bytes.length);
    }
    if (this.#entries.length === this.#head) this.clear(Math.min(index, this.#first));
  }

  /** Lets go of the oldest applied entries until the budget holds. */
  evict(appliedIndex: Index): void {
    const { bytesMax, share } = this.#budget;
    while (this.#budget.bytes > bytesMax && this.#bytes > share) {
      if (this.#first > appliedIndex || this.#head >= this.#entries.length) break;
      this.#count(-(this.#entries[this.#head] as Entry).bytes.length);
      this.#entries[this.#head] = null;
      this.#head++;
      this.#first++;
    }
    if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }

  clear(nextIndex: Index): void {
    this.#entries = [];
    this.#head = 0;
    this.#first = nextIndex;
    this.#count(-this.#bytes);
  }

  /** The group is closed for good: its share is the others'. */
  end(): void {
    this.clear(this.lastIndex + 1);
    this.#budget.groups--;
  }
}

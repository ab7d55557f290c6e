/**
 * The newest entries of a group in memory, so that sending and applying rarely touch the disk. Entries that are
 * not applied yet stay whatever the budget says only if they were appended since the start; after a restart the
 * log is read back in pieces instead.
 */
import { assert } from "../base/assert.ts";
import type { Entry, Index } from "../raft/types.ts";

export class EntryCache {
  /** entries[i] has index #first + i; without gaps. */
  #entries: (Entry | null)[] = [];
  /** Entries before this position were evicted and only wait for the array to be compacted. */
  #head = 0;
  #first: Index = 1;
  #bytes = 0;
  readonly bytesMax: number;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
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
    this.#bytes += entry.bytes.length;
  }

  /** Entries at or above `index` were replaced in the log (hazard B5). */
  truncate(index: Index): void {
    while (this.lastIndex >= index && this.#entries.length > this.#head) {
      this.#bytes -= (this.#entries.pop() as Entry).bytes.length;
    }
    if (this.#entries.length === this.#head) this.clear(Math.min(index, this.#first));
  }

  /** Lets go of the oldest applied entries until the budget holds. */
  evict(appliedIndex: Index): void {
    while (this.#bytes > this.bytesMax && this.#first <= appliedIndex && this.#head < this.#entries.length) {
      this.#bytes -= (this.#entries[this.#head] as Entry).bytes.length;
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
    this.#bytes = 0;
  }
}

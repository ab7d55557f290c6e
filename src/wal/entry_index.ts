/**
 * Where one group's live entries are: LSN, size, kind and term for each index, without an object an entry.
 *
 * Two rings of typed arrays, 12 bytes an entry: the LSN as a double (exact below 2^53), and size | kind << 24.
 * Terms never fall along a log and seldom rise, so they are kept as runs: (first index of the run, term).
 */
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import type { Index, Lsn, Term } from "../raft/types.ts";

/** The LSN of an entry that a checkpoint names and no segment holds. */
export const LSN_MISSING = -1;
const CAPACITY_MIN = 16;
const SIZE_MAX = 16 * MiB - 1;

export class EntryIndex {
  /** Index of the first entry, or of the one that would come first. */
  first: Index;
  #count = 0;
  #head = 0;
  #lsns = new Float64Array(CAPACITY_MIN);
  #shapes = new Uint32Array(CAPACITY_MIN);
  readonly #runFirst: Index[] = [];
  readonly #runTerm: Term[] = [];

  constructor(first: Index) {
    this.first = first;
  }

  get count(): number {
    return this.#count;
  }

  /** Index of the last entry; `first` - 1 if there is none. */
  get last(): Index {
    return this.first + this.#count - 1;
  }

  lsnOf(index: Index): Lsn {
    return this.#lsns[this.#slot(index)] as number;
  }

  /** Bytes of the sealed batch. */
  sizeOf(index: Index): number {
    return (this.#shapes[this.#slot(index)] as number) & SIZE_MAX;
  }

  kindOf(index: Index): number {
    return (this.#shapes[this.#slot(index)] as number) >>> 24;
  }

  termOf(index: Index): Term {
    assert(index >= this.first && index <= this.last, "an indexed entry");
    let run = this.#runFirst.length - 1;
    while ((this.#runFirst[run] as number) > index) run--;
    return this.#runTerm[run] as number;
  }

  push(term: Term, lsn: Lsn, size: number, kind: number): void {
    assert(size <= SIZE_MAX, "an entry's size fits 24 bits");
    if (this.#count === this.#lsns.length) this.#grow();
    const slot = (this.#head + this.#count) & (this.#lsns.length - 1);
    this.#lsns[slot] = lsn;
    this.#shapes[slot] = size | (kind << 24);
    this.#count++;
    if (this.#runTerm.at(-1) !== term) {
      this.#runFirst.push(this.last);
      this.#runTerm.push(term);
    }
  }

  /** An entry that was copied stands at a new place. */
  move(index: Index, lsn: Lsn): void {
    this.#lsns[this.#slot(index)] = lsn;
  }

  /** Forgets entry `index` and those after it. */
  truncate(index: Index): void {
    if (index > this.last) return;
    this.#count = Math.max(0, index - this.first);
    while (this.#runFirst.length > 0 && (this.#runFirst.at(-1) as number) > this.last) {
      this.#runFirst.pop();
      this.#runTerm.pop();
    }
  }

  /** Forgets the entries before `index`, which becomes the first. */
  dropBefore(index: Index): void {
    assert(index >= this.first, "the first index only rises");
    const dropped = Math.min(index - this.first, this.#count);
    this.#head = (this.#head + dropped) & (this.#lsns.length - 1);
    this.#count -= dropped;
    this.first = index;
    if (this.#count === 0) {
      this.#runFirst.length = 0;
      this.#runTerm.length = 0;
      return;
    }
    let stale = 0;
    while (stale + 1 < this.#runFirst.length && (this.#runFirst[stale + 1] as number) <= index) stale++;
    this.#runFirst.splice(0, stale);
    this.#runTerm.splice(0, stale);
  }

  #slot(index: Index): number {
    assert(index >= this.first && index < this.first + this.#count, "an indexed entry");
    return (this.#head + (index - this.first)) & (this.#lsns.length - 1);
  }

  #grow(): void {
    const capacity = this.#lsns.length * 2;
    const lsns = new Float64Array(capacity);
    const shapes = new Uint32Array(capacity);
    for (let i = 0; i < this.#count; i++) {
      const slot = (this.#head + i) & (this.#lsns.length - 1);
      lsns[i] = this.#lsns[slot] as number;
      shapes[i] = this.#shapes[slot] as number;
    }
    this.#lsns = lsns;
    this.#shapes = shapes;
    this.#head = 0;
  }
}

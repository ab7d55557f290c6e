/**
 * A map from sequence numbers to refs, for the replies of one client: open addressing, at most half full. Homes are
 * multiples of the golden ratio (Knuth 6.4): numbers in a row, as clients use them, fall evenly between each other
 * and leave gaps. Were they to lie in a row, taking one out would have to look at all behind it.
 */
import type { RefList } from "./ref_list.ts";

const LENGTH_MIN = 8;

export class SeqMap {
  length = 0;
  /** Sequence number plus one; 0 = nothing here. */
  #seqs = new Float64Array(LENGTH_MIN);
  #refs = new Int32Array(LENGTH_MIN);

  get allocatedBytes(): number {
    return this.#seqs.length * 12;
  }

  /** Its ref, or 0. */
  get(seq: number): number {
    return this.#refs[this.#find(seq)] as number;
  }

  set(seq: number, ref: number): void {
    if ((this.length + 1) * 2 > this.#seqs.length) this.#resize(this.#seqs.length * 2);
    const at = this.#find(seq);
    if (this.#seqs[at] === 0) this.length++;
    this.#seqs[at] = seq + 1;
    this.#refs[at] = ref;
  }

  /** Takes it out and gives its ref, or 0. What was pushed past its home by it moves back. */
  delete(seq: number): number {
    let hole = this.#find(seq);
    const ref = this.#refs[hole] as number;
    if (ref === 0) return 0;
    this.length--;
    const mask = this.#seqs.length - 1;
    for (let at = (hole + 1) & mask; this.#seqs[at] !== 0; at = (at + 1) & mask) {
      const home = homeOf((this.#seqs[at] as number) - 1) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#seqs[hole] = this.#seqs[at] as number;
      this.#refs[hole] = this.#refs[at] as number;
      hole = at;
    }
    this.#seqs[hole] = 0;
    this.#refs[hole] = 0;
    if (this.length * 12 < this.#seqs.length && this.#seqs.length > LENGTH_MIN) {
      this.#resize(this.#seqs.length / 2);
    }
    return ref;
  }

  /** Takes out all numbers below `to`, of which none is below `from`, and adds their refs to `list`. */
  takeBelow(from: number, to: number, list: RefList): void {
    if (to - from > this.#seqs.length) {
      this.#resize(this.#seqs.length, to, list);
      return;
    }
    for (let seq = from; seq < to; seq++) {
      const ref = this.delete(seq);
      if (ref !== 0) list.push(ref);
    }
  }

  each(visit: (seq: number, ref: number) => void): void {
    for (let i = 0; i < this.#seqs.length; i++) {
      if (this.#seqs[i] !== 0) visit((this.#seqs[i] as number) - 1, this.#refs[i] as number);
    }
  }

  /** Where `seq` is, or the empty place where it would be. */
  #find(seq: number): number {
    const mask = this.#seqs.length - 1;
    let at = homeOf(seq) & mask;
    while (this.#seqs[at] !== 0 && this.#seqs[at] !== seq + 1) at = (at + 1) & mask;
    return at;
  }

  /** Moves what is at or above `from` into tables of `length`; refs of what is below go to `dropped`. */
  #resize(length: number, from = 0, dropped: RefList | null = null): void {
    const seqs = this.#seqs;
    const refs = this.#refs;
    this.#seqs = new Float64Array(length);
    this.#refs = new Int32Array(length);
    this.length = 0;
    for (let i = 0; i < seqs.length; i++) {
      if (seqs[i] === 0) continue;
      const seq = (seqs[i] as number) - 1;
      if (seq >= from) this.set(seq, refs[i] as number);
      else dropped?.push(refs[i] as number);
    }
  }
}

function homeOf(seq: number): number {
  const spread = Math.imul(seq, 0x9e3779b1);
  return spread ^ (spread >>> 15);
}

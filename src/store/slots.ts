/**
 * What is known of each of the 16384 slots, 32 bytes a slot, so that one command touches one cache line of it:
 *
 *     word 0      root of the slot's index (index.ts), 0 = empty
 *     word 1      keys
 *     words 2-3   bytes of keys and values (float64)
 *     words 4-5   hash: sums of its records' hash lanes, each modulo 2^32
 *     words 6-7   free
 */
import { SLOT_COUNT } from "../ring/slot.ts";

const SLOT_BYTES = 32;
/** From a slot to its first word. */
export const SLOT_WORDS_SHIFT = 3;

export class SlotTable {
  readonly words: Int32Array;
  readonly #floats: Float64Array;

  constructor(copied?: ArrayBuffer) {
    const buffer = copied ?? new ArrayBuffer(SLOT_COUNT * SLOT_BYTES);
    this.words = new Int32Array(buffer);
    this.#floats = new Float64Array(buffer);
  }

  get allocatedBytes(): number {
    return SLOT_COUNT * SLOT_BYTES;
  }

  /** A frozen copy: half a megabyte whatever the store holds. */
  copy(): SlotTable {
    return new SlotTable(this.words.buffer.slice(0) as ArrayBuffer);
  }

  /** Root of the slot's index, 0 = empty. */
  root(slot: number): number {
    return this.words[slot << SLOT_WORDS_SHIFT] as number;
  }

  keys(slot: number): number {
    return this.words[(slot << SLOT_WORDS_SHIFT) + 1] as number;
  }

  bytes(slot: number): number {
    return this.#floats[slot * 4 + 1] as number;
  }

  hashA(slot: number): number {
    return (this.words[(slot << SLOT_WORDS_SHIFT) + 4] as number) >>> 0;
  }

  hashB(slot: number): number {
    return (this.words[(slot << SLOT_WORDS_SHIFT) + 5] as number) >>> 0;
  }

  /** Counts a record of `bytes` and this hash in (`keys` 1) or out (-1). */
  count(slot: number, keys: number, bytes: number, hashA: number, hashB: number): void {
    const words = this.words;
    const at = slot << SLOT_WORDS_SHIFT;
    words[at + 1] = (words[at + 1] as number) + keys;
    words[at + 4] = ((words[at + 4] as number) + Math.imul(keys, hashA)) | 0;
    words[at + 5] = ((words[at + 5] as number) + Math.imul(keys, hashB)) | 0;
    const float = slot * 4 + 1;
    this.#floats[float] = (this.#floats[float] as number) + keys * bytes;
  }

  /** Sets what an image claims of a slot. */
  claim(slot: number, keys: number, bytes: number, hashA: number, hashB: number): void {
    const at = slot << SLOT_WORDS_SHIFT;
    this.words[at + 1] = keys;
    this.words[at + 4] = hashA;
    this.words[at + 5] = hashB;
    this.#floats[slot * 4 + 1] = bytes;
  }

  /** Whether both know the same of a slot: keys, bytes and hash. */
  sameAs(other: SlotTable, slot: number): boolean {
    const sameHash = this.hashA(slot) === other.hashA(slot) && this.hashB(slot) === other.hashB(slot);
    return sameHash && this.keys(slot) === other.keys(slot) && this.bytes(slot) === other.bytes(slot);
  }
}

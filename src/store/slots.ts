/**
 * What is known of each of the 16384 slots, 32 bytes a slot, so that one command touches one cache line of it:
 *
 *     word 0      root of the slot's index (index.ts), 0 = empty
 *     word 1      keys
 *     words 2-3   bytes of keys and values (float64)
 *     words 4-5   hash: sums of its records' hash lanes, each modulo 2^32
 *     word 6      state (3 bits: SLOT) | generation (5 bits) << 24 | epoch bits 32..52
 *     word 7      epoch bits 0..31
 *
 * `serving` is the sign of word 6, so that judging a command is one load and one comparison. Epochs only grow; 0 =
 * this shard never had the slot. The generation tells records of the slot from those that it was emptied of and whose
 * memory is still to be given back (keyspace.ts); it is this replica's own affair.
 */
import { assert } from "../base/assert.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import type { ServedRange, ServedSlots, SlotState } from "./types.ts";

const SLOT_BYTES = 32;
/** From a slot to its first word. */
export const SLOT_WORDS_SHIFT = 3;

/** States as word 6 has them. */
export const SLOT = { absent: 0, importing: 1, sealed: 2, serving: 4 } as const;
export type SlotCode = (typeof SLOT)[keyof typeof SLOT];

export function isSlotCode(value: number): value is SlotCode {
  return value === SLOT.absent || value === SLOT.importing || value === SLOT.sealed || value === SLOT.serving;
}

const NAMES: readonly SlotState[] = ["absent", "importing", "sealed", "absent", "serving"];
const STATE_SHIFT = 29;
const GENERATION_SHIFT = 24;
export const GENERATIONS = 32;
const GENERATION_MASK = (GENERATIONS - 1) << GENERATION_SHIFT;
const EPOCH_HIGH_MASK = 0x1fffff;
const TWO_32 = 2 ** 32;

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

  isServed(slot: number): boolean {
    return (this.words[(slot << SLOT_WORDS_SHIFT) + 6] as number) < 0;
  }

  state(slot: number): SlotCode {
    return ((this.words[(slot << SLOT_WORDS_SHIFT) + 6] as number) >>> STATE_SHIFT) as SlotCode;
  }

  stateName(slot: number): SlotState {
    return NAMES[this.state(slot)] as SlotState;
  }

  epoch(slot: number): number {
    const at = (slot << SLOT_WORDS_SHIFT) + 6;
    return ((this.words[at] as number) & EPOCH_HIGH_MASK) * TWO_32 + ((this.words[at + 1] as number) >>> 0);
  }

  generation(slot: number): number {
    return ((this.words[(slot << SLOT_WORDS_SHIFT) + 6] as number) >>> GENERATION_SHIFT) & (GENERATIONS - 1);
  }

  /** The slot gets this state and epoch. */
  own(slot: number, state: SlotCode, epoch: number): void {
    assert(Number.isSafeInteger(epoch) && epoch >= 0, "an epoch has 53 bits");
    this.#setOwnership(slot, state, this.generation(slot), epoch);
  }

  setGeneration(slot: number, generation: number): void {
    this.#setOwnership(slot, this.state(slot), generation, this.epoch(slot));
  }

  #setOwnership(slot: number, state: number, generation: number, epoch: number): void {
    const at = (slot << SLOT_WORDS_SHIFT) + 6;
    const high = Math.floor(epoch / TWO_32);
    this.words[at] = (state << STATE_SHIFT) | (generation << GENERATION_SHIFT) | high;
    this.words[at + 1] = epoch;
  }

  /** Whether state, epoch and generation of `slot` are those of `otherSlot` in `other`. */
  isOwnedAs(slot: number, other: SlotTable, otherSlot: number): boolean {
    const at = (slot << SLOT_WORDS_SHIFT) + 6;
    const otherAt = (otherSlot << SLOT_WORDS_SHIFT) + 6;
    return this.words[at] === other.words[otherAt] && this.words[at + 1] === other.words[otherAt + 1];
  }

  /** Whether the slot has state and epoch of the one before it. */
  isAsBefore(slot: number): boolean {
    const words = this.words;
    const at = (slot << SLOT_WORDS_SHIFT) + 6;
    const differs = ((words[at] as number) ^ (words[at - 8] as number)) & ~GENERATION_MASK;
    return differs === 0 && words[at + 1] === words[at - 7];
  }

  /** Takes states, epochs and generations over from `other`. */
  ownAs(other: SlotTable): void {
    for (let at = 6; at < this.words.length; at += 1 << SLOT_WORDS_SHIFT) {
      this.words[at] = other.words[at] as number;
      this.words[at + 1] = other.words[at + 1] as number;
    }
  }

  /** The slots that `has` picks, in runs with one epoch. */
  runs(has: (slots: SlotTable, slot: number) => boolean): ServedSlots {
    const ranges: ServedRange[] = [];
    let count = 0;
    for (let first = 0; first < SLOT_COUNT; ) {
      if (!has(this, first)) {
        first++;
        continue;
      }
      const epoch = this.epoch(first);
      let last = first;
      while (last + 1 < SLOT_COUNT && has(this, last + 1) && this.epoch(last + 1) === epoch) last++;
      ranges.push([first, last, epoch]);
      count += last - first + 1;
      first = last + 1;
    }
    return { count, ranges };
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

  /** Nothing is in the slot any more. */
  clear(slot: number): void {
    this.words[slot << SLOT_WORDS_SHIFT] = 0;
    this.claim(slot, 0, 0, 0, 0);
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

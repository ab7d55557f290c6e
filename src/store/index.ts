/**
 * The index: for each slot, its records in the order of their key hashes.
 *
 * A small slot is one *segment*, a sorted array of (hash, ref) pairs without gaps in a cell of a slab of its own:
 * about 9 bytes a key. The place of a hash is guessed from its value, since hashes are uniform, and found within a
 * few entries. A segment that outgrows 256 entries becomes a *node* of 16 children, by the next four bits of the
 * hash; so no insertion ever moves more than 2 KiB, no rehash exists, and an empty slot costs nothing. Under the
 * eighth node all hashes are equal; such segments chain, which only keys made to collide can bring about.
 *
 *     segment:  word 0 = entries (16 bits) | room (15 bits) << 16;  word 1 = next of the chain;  (order, ref)..
 *     node:     word 0 = -1;  word 1 = 0;  16 refs of segments or nodes, 0 = nothing there
 *
 * `order` is the hash with its top bit flipped, so that comparing signed words compares unsigned hashes.
 *
 * `find` leaves a cursor; `insert`, `replace` and `remove` work at it and must follow it without another change.
 */
import { assert } from "../base/assert.ts";
import { CELL_BYTES_MAX } from "./cell_kinds.ts";
import type { Probe } from "./hash.ts";
import type { Records } from "./records.ts";
import type { RefList } from "./ref_list.ts";
import { Slab, wordAt } from "./slab.ts";
import { SLOT_WORDS_SHIFT, type SlotTable } from "./slots.ts";

const ENTRIES_MAX = 256;
const FAN_OUT_BITS = 4;
const FAN_OUT = 1 << FAN_OUT_BITS;
const HASH_BITS = 32;
const DEPTH_MAX = HASH_BITS / FAN_OUT_BITS;
const HEAD_BYTES = 8;
const ENTRY_BYTES = 8;
const NODE_BYTES = HEAD_BYTES + FAN_OUT * 4;
const NODE_HEAD = -1;
const COUNT_MASK = 0xffff;
const ROOM_SHIFT = 16;
/** Most entries of one segment of a chain. */
const CHAIN_ENTRIES_MAX = Math.floor((CELL_BYTES_MAX - HEAD_BYTES) / ENTRY_BYTES);
/** Shorter runs are moved by a loop, which beats the call of copyWithin. */
const MOVE_LOOP_MAX = 48;
const TOP_BIT = 1 << 31;

export class KeyIndex {
  readonly slab = new Slab();
  readonly #slots: SlotTable;
  readonly #records: Records;

  // The cursor: the segment (0 = none), the entry's number there, how deep it lies and which nodes lead to it.
  #segment = 0;
  #entry = 0;
  #depth = 0;
  readonly #path = new Int32Array(DEPTH_MAX + 1);
  /** The segment before it in its chain, or 0. */
  #chainedFrom = 0;

  /** After `collect`: the hash at which to go on, or -1 at the slot's end. */
  nextHash = -1;

  constructor(slots: SlotTable, records: Records) {
    this.#slots = slots;
    this.#records = records;
  }

  /** The record with the probe's key, or 0; leaves the cursor at it or where it would be. */
  find(probe: Probe): number {
    let place = this.#slots.words[probe.slot << SLOT_WORDS_SHIFT] as number;
    let depth = 0;
    this.#chainedFrom = 0;
    while (place !== 0) {
      const words = this.slab.wordsOf(place);
      const at = wordAt(place);
      const head = words[at] as number;
      if (head !== NODE_HEAD) return this.#findInSegment(place, words, at, head, depth, probe);
      this.#path[depth] = place;
      place = words[at + 2 + ((probe.hash << (depth * FAN_OUT_BITS)) >>> 28)] as number;
      depth++;
    }
    this.#segment = 0;
    this.#depth = depth;
    return 0;
  }

  /** What `find` below `root` would look at first for this hash: a record, most likely the right one, or 0. */
  guess(root: number, hash: number): number {
    let place = root;
    for (let depth = 0; place !== 0; depth++) {
      const words = this.slab.wordsOf(place);
      const at = wordAt(place);
      const head = words[at] as number;
      if (head !== NODE_HEAD) return guessInSegment(words, at, head & COUNT_MASK, hash, depth);
      place = words[at + 2 + ((hash << (depth * FAN_OUT_BITS)) >>> 28)] as number;
    }
    return 0;
  }

  /** Puts `ref` at the cursor, where `find` has just found nothing. */
  insert(probe: Probe, ref: number): void {
    let segment = this.#segment;
    if (segment === 0) {
      segment = this.#newSegment(1);
      this.#point(probe, segment);
      this.#segment = segment;
      this.#entry = 0;
    } else {
      const head = this.slab.wordsOf(segment)[wordAt(segment)] as number;
      if ((head & COUNT_MASK) === head >>> ROOM_SHIFT) {
        if (!this.#makeRoom(probe, segment, head & COUNT_MASK)) {
          const none = this.find(probe); // the segment was split: the cursor must move into a part of it
          assert(none === 0, "a key that is inserted is not there");
          this.insert(probe, ref);
          return;
        }
        segment = this.#segment;
      }
    }
    const words = this.slab.wordsOf(segment);
    const at = wordAt(segment);
    const head = words[at] as number;
    const entryAt = at + 2 + 2 * this.#entry;
    moveWords(words, entryAt, entryAt + 2, at + 2 + 2 * (head & COUNT_MASK) - entryAt);
    words[entryAt] = probe.hash ^ TOP_BIT;
    words[entryAt + 1] = ref;
    words[at] = head + 1;
  }

  /** The record at the cursor has moved to `ref`. */
  replace(ref: number): void {
    this.slab.wordsOf(this.#segment)[wordAt(this.#segment) + 3 + 2 * this.#entry] = ref;
  }

  /** Takes out the entry at the cursor, where `find(probe)` has just found a record. */
  remove(probe: Probe): void {
    const segment = this.#segment;
    const words = this.slab.wordsOf(segment);
    const at = wordAt(segment);
    const head = (words[at] as number) - 1;
    const count = head & COUNT_MASK;
    const entryAt = at + 2 + 2 * this.#entry;
    moveWords(words, entryAt + 2, entryAt, at + 2 + 2 * (count + 1) - (entryAt + 2));
    words[at] = head;
    if (count === 0) this.#dropSegment(probe, segment, words[at + 1] as number);
    else if (count < head >>> (ROOM_SHIFT + 1) && count > 1)
      this.#resize(probe, segment, count + (count >>> 3));
  }

  /**
   * Adds refs of `slot` to `list`, in hash order, from hash `from` on, until it holds `limit`; records of one hash
   * are never parted. `nextHash` then says where to go on.
   */
  collect(slot: number, from: number, limit: number, list: RefList): void {
    this.nextHash = -1;
    const root = this.#slots.words[slot << SLOT_WORDS_SHIFT] as number;
    if (root !== 0) this.#walk(root, 0, from, limit, list);
  }

  // ---- trees that no slot leads to any more (dropped.ts) ------------------------------------------------------

  isNode(place: number): boolean {
    return this.slab.wordsOf(place)[wordAt(place)] === NODE_HEAD;
  }

  /** Adds what a node leads to. */
  childrenOf(node: number, places: number[]): void {
    const words = this.slab.wordsOf(node);
    const at = wordAt(node) + 2;
    for (let child = 0; child < FAN_OUT; child++) {
      if (words[at + child] !== 0) places.push(words[at + child] as number);
    }
  }

  countOf(segment: number): number {
    return (this.slab.wordsOf(segment)[wordAt(segment)] as number) & COUNT_MASK;
  }

  entryOf(segment: number, entry: number): number {
    return this.slab.wordsOf(segment)[wordAt(segment) + 3 + 2 * entry] as number;
  }

  nextOf(segment: number): number {
    return this.slab.wordsOf(segment)[wordAt(segment) + 1] as number;
  }

  // ---- looking ------------------------------------------------------------------------------------------------

  #findInSegment(
    segment: number,
    words: Int32Array,
    at: number,
    head: number,
    depth: number,
    probe: Probe,
  ): number {
    const count = head & COUNT_MASK;
    const order = probe.hash ^ TOP_BIT;
    // Below this depth the hash is uniform: entry i of n is expected at i / n of the range.
    let entry = (((probe.hash << (depth * FAN_OUT_BITS)) >>> 16) * count) >>> 16;
    const base = at + 2;
    if ((words[base + 2 * entry] as number) >= order) {
      while (entry > 0 && (words[base + 2 * entry - 2] as number) >= order) entry--;
    } else {
      entry++;
      while (entry < count && (words[base + 2 * entry] as number) < order) entry++;
    }
    this.#segment = segment;
    this.#depth = depth;
    this.#entry = entry;
    for (let i = entry; i < count && words[base + 2 * i] === order; i++) {
      const ref = words[base + 2 * i + 1] as number;
      if (!this.#records.keyIs(ref, probe)) continue;
      this.#entry = i;
      return ref;
    }
    const next = words[at + 1] as number;
    return next === 0 ? 0 : this.#findInChain(segment, next, depth, probe);
  }

  /** A key that is nowhere in a chain belongs into its first segment, where the cursor stays. */
  #findInChain(first: number, next: number, depth: number, probe: Probe): number {
    const entry = this.#entry;
    const words = this.slab.wordsOf(next);
    const at = wordAt(next);
    const found = this.#findInSegment(next, words, at, words[at] as number, depth, probe);
    if (found === 0) {
      this.#segment = first;
      this.#entry = entry;
    } else if (this.#segment === next) {
      this.#chainedFrom = first;
    }
    return found;
  }

  #walk(place: number, depth: number, from: number, limit: number, list: RefList): boolean {
    const words = this.slab.wordsOf(place);
    const at = wordAt(place);
    if (words[at] !== NODE_HEAD) return this.#walkSegment(place, from, limit, list);
    const first = (from << (depth * FAN_OUT_BITS)) >>> 28;
    for (let child = first; child < FAN_OUT; child++) {
      const below = words[at + 2 + child] as number;
      if (below !== 0 && this.#walk(below, depth + 1, child === first ? from : 0, limit, list)) return true;
    }
    return false;
  }

  /** True if the list is full and the walk ends here. */
  #walkSegment(segment: number, from: number, limit: number, list: RefList): boolean {
    const words = this.slab.wordsOf(segment);
    const at = wordAt(segment);
    const count = (words[at] as number) & COUNT_MASK;
    const order = from ^ TOP_BIT;
    let last = 0;
    for (let i = 0; i < count; i++) {
      const own = words[at + 2 + 2 * i] as number;
      if (own < order) continue;
      if (list.length >= limit && (i === 0 || own !== last)) {
        this.nextHash = (own ^ TOP_BIT) >>> 0;
        return true;
      }
      list.push(words[at + 3 + 2 * i] as number);
      last = own;
    }
    const next = words[at + 1] as number;
    return next === 0 ? false : this.#walkSegment(next, from, Number.POSITIVE_INFINITY, list);
  }

  // ---- changing -----------------------------------------------------------------------------------------------

  #newSegment(entries: number): number {
    const size = Math.min(HEAD_BYTES + ENTRY_BYTES * (entries + 1 + (entries >>> 3)), CELL_BYTES_MAX);
    const segment = this.slab.take(size);
    const words = this.slab.wordsOf(segment);
    const at = wordAt(segment);
    const room = Math.floor((this.slab.cellBytes(segment) - HEAD_BYTES) / ENTRY_BYTES);
    words[at] = room << ROOM_SHIFT;
    words[at + 1] = 0;
    return segment;
  }

  /** Makes what leads to the cursor's segment lead to `place`. */
  #point(probe: Probe, place: number): void {
    if (this.#chainedFrom !== 0) {
      this.slab.wordsOf(this.#chainedFrom)[wordAt(this.#chainedFrom) + 1] = place;
    } else if (this.#depth === 0) {
      this.#slots.words[probe.slot << SLOT_WORDS_SHIFT] = place;
    } else {
      const node = this.#path[this.#depth - 1] as number;
      const child = (probe.hash << ((this.#depth - 1) * FAN_OUT_BITS)) >>> 28;
      this.slab.wordsOf(node)[wordAt(node) + 2 + child] = place;
    }
  }

  /** Room for one more entry at the cursor. False: the segment was split, and the cursor is void. */
  #makeRoom(probe: Probe, segment: number, count: number): boolean {
    if (this.#depth < DEPTH_MAX && count >= ENTRIES_MAX) {
      this.#split(probe, segment, count);
      return false;
    }
    if (count < CHAIN_ENTRIES_MAX) {
      this.#resize(probe, segment, count + (count >>> 3));
      return true;
    }
    const first = this.#newSegment(1);
    this.slab.wordsOf(first)[wordAt(first) + 1] = segment;
    this.#point(probe, first);
    this.#segment = first;
    this.#entry = 0;
    return true;
  }

  /** Moves a segment into a cell with room for at least `entries` and some. */
  #resize(probe: Probe, segment: number, entries: number): void {
    const from = this.slab.wordsOf(segment);
    const fromAt = wordAt(segment);
    const count = (from[fromAt] as number) & COUNT_MASK;
    const moved = this.#newSegment(entries);
    const to = this.slab.wordsOf(moved);
    const toAt = wordAt(moved);
    to[toAt] = (to[toAt] as number) | count;
    to[toAt + 1] = from[fromAt + 1] as number;
    for (let i = 2; i < 2 + 2 * count; i++) to[toAt + i] = from[fromAt + i] as number;
    this.slab.release(segment);
    this.#point(probe, moved);
    this.#segment = moved;
  }

  /** A node takes the segment's place; its entries, which are sorted, fall into runs by the next four bits. */
  #split(probe: Probe, segment: number, count: number): void {
    const shift = 28 - this.#depth * FAN_OUT_BITS;
    const from = this.slab.wordsOf(segment);
    const entriesAt = wordAt(segment) + 2;
    const node = this.slab.take(NODE_BYTES);
    const words = this.slab.wordsOf(node);
    const at = wordAt(node);
    words.fill(0, at, at + NODE_BYTES / 4);
    words[at] = NODE_HEAD;
    let start = 0;
    while (start < count) {
      const child = (((from[entriesAt + 2 * start] as number) ^ TOP_BIT) >>> shift) & (FAN_OUT - 1);
      let end = start + 1;
      while (
        end < count &&
        ((((from[entriesAt + 2 * end] as number) ^ TOP_BIT) >>> shift) & (FAN_OUT - 1)) === child
      ) {
        end++;
      }
      words[at + 2 + child] = this.#segmentOf(from, entriesAt + 2 * start, end - start);
      start = end;
    }
    this.#point(probe, node);
    this.slab.release(segment);
  }

  #segmentOf(from: Int32Array, fromAt: number, count: number): number {
    const segment = this.#newSegment(count);
    const words = this.slab.wordsOf(segment);
    const at = wordAt(segment);
    words[at] = (words[at] as number) | count;
    for (let i = 0; i < 2 * count; i++) words[at + 2 + i] = from[fromAt + i] as number;
    return segment;
  }

  /** An empty segment goes, and with it every node above that leads nowhere any more. */
  #dropSegment(probe: Probe, segment: number, next: number): void {
    this.slab.release(segment);
    this.#point(probe, next);
    if (this.#chainedFrom !== 0) return;
    while (this.#depth > 0 && next === 0) {
      const node = this.#path[this.#depth - 1] as number;
      const words = this.slab.wordsOf(node);
      const at = wordAt(node) + 2;
      for (let child = 0; child < FAN_OUT; child++) if (words[at + child] !== 0) return;
      this.slab.release(node);
      this.#depth--;
      this.#point(probe, 0);
    }
  }
}

/** The ref of the first entry at or after `hash`, or 0. */
function guessInSegment(words: Int32Array, at: number, count: number, hash: number, depth: number): number {
  const order = hash ^ TOP_BIT;
  const base = at + 2;
  let entry = (((hash << (depth * FAN_OUT_BITS)) >>> 16) * count) >>> 16;
  if ((words[base + 2 * entry] as number) >= order) {
    while (entry > 0 && (words[base + 2 * entry - 2] as number) >= order) entry--;
  } else {
    entry++;
    while (entry < count && (words[base + 2 * entry] as number) < order) entry++;
  }
  return entry < count ? (words[base + 2 * entry + 1] as number) : 0;
}

function moveWords(words: Int32Array, from: number, to: number, count: number): void {
  if (count > MOVE_LOOP_MAX) words.copyWithin(to, from, from + count);
  else if (to > from) for (let i = count - 1; i >= 0; i--) words[to + i] = words[from + i] as number;
  else for (let i = 0; i < count; i++) words[to + i] = words[from + i] as number;
}

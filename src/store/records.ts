/**
 * Records: one key with its value, in one cell of a slab.
 *
 *     word 0    valueSize (20 bits) | type (4) | flags (3: live, deadline, large) | generation of its slot (5)
 *     word 1    keySize (16) | revision bits 32..47 (16)
 *     word 2    revision bits 0..31
 *    [words 3-5 deadline in ms (64 bits) | its node in the deadline queue (32)]    only with the deadline flag
 *     ..        value; or, with the large flag, 32 bits: its id among the large values
 *     ..        key
 *
 * That is 12 bytes beside key and value, 24 with a deadline. The value stands before the key because it is then
 * aligned: it is hashed in words on every change. 48 bits of revision last nine years at a million changes a second.
 *
 * The record hash (two lanes of 32 bits) covers key, type, revision, deadline and value, and nothing of this layout.
 */
import { assert } from "../base/assert.ts";
import type { ReplySink } from "../wire/reply.ts";
import { CELL_BYTES_MAX, kindFor } from "./cell_kinds.ts";
import { finish, MIX_A, MIX_B, type Probe } from "./hash.ts";
import { LargeValues } from "./large.ts";
import { byteAt, Slab, wordAt } from "./slab.ts";

const RECORD_TYPE = { string: 1 } as const;
/** Names by type number, as TYPE and SCAN spell them. */
export const RECORD_TYPE_NAMES: readonly string[] = ["none", "string"];

const RECORD_BYTES = 12;
const DEADLINE_BYTES = 12;
const LARGE_ID_BYTES = 4;
/** What the 20 bits of valueSize can say. */
export const VALUE_SIZE_LIMIT = 1 << 20;
export const REVISION_MAX = 2 ** 48 - 1;
const TWO_32 = 2 ** 32;
/** The upper word of the largest safe integer. */
const DEADLINE_HIGH_MAX = 0x1fffff;

const SIZE_MASK = VALUE_SIZE_LIMIT - 1;
const TYPE_SHIFT = 20;
const TYPE_MASK = 0xf;
const LIVE = 1 << 24;
const HAS_DEADLINE = 1 << 25;
const IS_LARGE = 1 << 26;
const GENERATION_SHIFT = 27;
const GENERATION_MASK = 0x1f;
const FLAGS_KNOWN = LIVE | HAS_DEADLINE | IS_LARGE | (GENERATION_MASK << GENERATION_SHIFT);
const KEY_SIZE_MASK = 0xffff;

/** Below this, copying words in a loop that also hashes them beats a native copy and a second pass. */
const COPY_LOOP_MAX = 1024;

export class Records {
  readonly slab = new Slab();
  readonly large = new LargeValues();
  /** The hash of the record that `write` or `hash` was last called for. */
  hashA = 0;
  hashB = 0;

  valueSize(ref: number): number {
    return (this.slab.wordsOf(ref)[wordAt(ref)] as number) & SIZE_MASK;
  }

  keySize(ref: number): number {
    return (this.slab.wordsOf(ref)[wordAt(ref) + 1] as number) & KEY_SIZE_MASK;
  }

  type(ref: number): number {
    return ((this.slab.wordsOf(ref)[wordAt(ref)] as number) >>> TYPE_SHIFT) & TYPE_MASK;
  }

  revision(ref: number): number {
    const words = this.slab.wordsOf(ref);
    const at = wordAt(ref);
    return ((words[at + 1] as number) >>> 16) * TWO_32 + ((words[at + 2] as number) >>> 0);
  }

  /** The generation that its slot had when it was written (slots.ts). */
  generation(ref: number): number {
    return (this.slab.wordsOf(ref)[wordAt(ref)] as number) >>> GENERATION_SHIFT;
  }

  /** The deadline in ms, or 0 if the record has none. */
  deadline(ref: number): number {
    const words = this.slab.wordsOf(ref);
    const at = wordAt(ref);
    if (((words[at] as number) & HAS_DEADLINE) === 0) return 0;
    return (words[at + 4] as number) * TWO_32 + ((words[at + 3] as number) >>> 0);
  }

  /** Its node in the deadline queue; only of a record with a deadline. */
  node(ref: number): number {
    return this.slab.wordsOf(ref)[wordAt(ref) + 5] as number;
  }

  setNode(ref: number, node: number): void {
    this.slab.guard(ref);
    this.slab.wordsOf(ref)[wordAt(ref) + 5] = node;
  }

  keyIs(ref: number, probe: Probe): boolean {
    const size = probe.end - probe.start;
    if (this.keySize(ref) !== size) return false;
    const own = this.slab.bytesOf(ref);
    const given = probe.bytes;
    let at = this.keyAt(ref);
    for (let i = probe.start; i < probe.end; i++) if (own[at++] !== given[i]) return false;
    return true;
  }

  /** Loads the lines that a small record lies on; what it gives means nothing. */
  touch(ref: number): number {
    if (ref === 0) return 0;
    const words = this.slab.wordsOf(ref);
    const at = wordAt(ref);
    const mask = words.length - 1;
    return (words[at] as number) ^ (words[(at + 16) & mask] as number) ^ (words[(at + 32) & mask] as number);
  }

  /** Where the key starts in `slab.bytesOf(ref)`. */
  keyAt(ref: number): number {
    const head = this.slab.wordsOf(ref)[wordAt(ref)] as number;
    const size = (head & IS_LARGE) === 0 ? head & SIZE_MASK : LARGE_ID_BYTES;
    return this.#valueAt(ref, head) + size;
  }

  /** The buffer that holds the value, from `valueAt(ref)` on. */
  valueBytes(ref: number): Uint8Array {
    const head = this.slab.wordsOf(ref)[wordAt(ref)] as number;
    return (head & IS_LARGE) === 0 ? this.slab.bytesOf(ref) : this.large.get(this.#largeId(ref, head));
  }

  valueAt(ref: number): number {
    const head = this.slab.wordsOf(ref)[wordAt(ref)] as number;
    return (head & IS_LARGE) === 0 ? this.#valueAt(ref, head) : 0;
  }

  /** The id of its large value, or 0 if it has none. */
  largeId(ref: number): number {
    const head = this.slab.wordsOf(ref)[wordAt(ref)] as number;
    return (head & IS_LARGE) === 0 ? 0 : this.#largeId(ref, head);
  }

  /** Points a mounted record at its large value's id here. */
  setLargeId(ref: number, id: number): void {
    const words = this.slab.wordsOf(ref);
    words[this.#valueAt(ref, words[wordAt(ref)] as number) >>> 2] = id;
  }

  /** Gives the whole value as a reply. */
  replyValue(ref: number, reply: ReplySink): void {
    const at = this.valueAt(ref);
    reply.blob(this.valueBytes(ref), at, at + this.valueSize(ref));
  }

  /** Gives the key as a reply. */
  replyKey(ref: number, reply: ReplySink): void {
    const at = this.keyAt(ref);
    reply.blob(this.slab.bytesOf(ref), at, at + this.keySize(ref));
  }

  /** Aims `probe` at the record's own key; good until the cell is released. */
  aimAtKey(ref: number, probe: Probe): void {
    const at = this.keyAt(ref);
    probe.aim(this.slab.bytesOf(ref), at, at + this.keySize(ref));
  }

  /**
   * Writes a record and gives its ref: over the cell of `old` if that fits, else in a new one (0 = there is no old
   * one). `generation` = its slot's. `deadline` 0 = none. Neither the value's bytes nor the probe's may lie in the old record. Leaves the new
   * record's hash in hashA and hashB.
   */
  write(
    old: number,
    probe: Probe,
    generation: number,
    revision: number,
    deadline: number,
    source: Uint8Array,
    start: number,
    end: number,
  ): number {
    const valueSize = end - start;
    const keySize = probe.end - probe.start;
    const headBytes = deadline === 0 ? RECORD_BYTES : RECORD_BYTES + DEADLINE_BYTES;
    assert(valueSize < VALUE_SIZE_LIMIT, "a value fits its size field");
    assert(revision <= REVISION_MAX, "a revision has 48 bits");
    let head = valueSize | (RECORD_TYPE.string << TYPE_SHIFT) | LIVE | (deadline === 0 ? 0 : HAS_DEADLINE);
    head |= generation << GENERATION_SHIFT;
    let cellBytes = headBytes + valueSize + keySize;
    if (cellBytes > CELL_BYTES_MAX) {
      head |= IS_LARGE;
      cellBytes = headBytes + LARGE_ID_BYTES + keySize;
    }
    const ref = this.#cellFor(old, cellBytes);
    const words = this.slab.wordsOf(ref);
    const at = wordAt(ref);
    words[at] = head;
    words[at + 1] = keySize | (Math.floor(revision / TWO_32) << 16);
    words[at + 2] = revision;
    if (deadline !== 0) {
      words[at + 3] = deadline;
      words[at + 4] = Math.floor(deadline / TWO_32);
    }
    this.#hashHead(probe, head, revision, deadline);
    const valueAt = at + headBytes / 4;
    if ((head & IS_LARGE) !== 0) {
      const id = this.large.put(source, start, end);
      words[valueAt] = id;
      this.#hashBytes(this.large.get(id), 0, valueSize);
    } else {
      this.#copyAndHash(words, this.slab.bytesOf(ref), valueAt, source, start, end);
    }
    const own = this.slab.bytesOf(ref);
    const given = probe.bytes;
    let keyAt = byteAt(ref) + cellBytes - keySize;
    for (let i = probe.start; i < probe.end; i++) own[keyAt++] = given[i] as number;
    return ref;
  }

  /** Computes the hash of the record whose key `probe` is aimed at. */
  hash(ref: number, probe: Probe): void {
    const words = this.slab.wordsOf(ref);
    const head = words[wordAt(ref)] as number;
    this.#hashHead(probe, head, this.revision(ref), this.deadline(ref));
    const size = head & SIZE_MASK;
    if ((head & IS_LARGE) === 0) {
      this.#hashWords(words, this.slab.bytesOf(ref), this.#valueAt(ref, head) >>> 2, size);
    } else {
      this.#hashBytes(this.large.get(this.#largeId(ref, head)), 0, size);
    }
  }

  release(ref: number): void {
    const head = this.slab.wordsOf(ref)[wordAt(ref)] as number;
    if ((head & IS_LARGE) !== 0) this.large.drop(this.#largeId(ref, head));
    this.slab.release(ref);
  }

  /** Cell for a record of `cellBytes`: the old one if it has just that size. */
  #cellFor(old: number, cellBytes: number): number {
    if (old === 0) return this.slab.take(cellBytes);
    const head = this.slab.wordsOf(old)[wordAt(old)] as number;
    if ((head & IS_LARGE) !== 0) this.large.drop(this.#largeId(old, head));
    if (this.slab.kindOf(old) === kindFor(cellBytes)) {
      this.slab.guard(old);
      return old;
    }
    this.slab.release(old);
    return this.slab.take(cellBytes);
  }

  #valueAt(ref: number, head: number): number {
    return byteAt(ref) + ((head & HAS_DEADLINE) === 0 ? RECORD_BYTES : RECORD_BYTES + DEADLINE_BYTES);
  }

  #largeId(ref: number, head: number): number {
    return this.slab.wordsOf(ref)[this.#valueAt(ref, head) >>> 2] as number;
  }

  #hashHead(probe: Probe, head: number, revision: number, deadline: number): void {
    const shape = head & ((TYPE_MASK << TYPE_SHIFT) | SIZE_MASK);
    let a = Math.imul(probe.hash ^ shape, MIX_A);
    let b = Math.imul(probe.hash2 + shape, MIX_B);
    a = Math.imul(((a << 15) | (a >>> 17)) ^ revision, MIX_A);
    b = Math.imul((b ^ (b >>> 15)) + (revision | 0), MIX_B);
    const high = Math.floor(revision / TWO_32);
    a = Math.imul(((a << 15) | (a >>> 17)) ^ high, MIX_A);
    b = Math.imul((b ^ (b >>> 15)) + high, MIX_B);
    if (deadline !== 0) {
      const deadlineHigh = Math.floor(deadline / TWO_32);
      a = Math.imul(((a << 15) | (a >>> 17)) ^ deadline, MIX_A);
      b = Math.imul((b ^ (b >>> 15)) + (deadline | 0), MIX_B);
      a = Math.imul(((a << 15) | (a >>> 17)) ^ ~deadlineHigh, MIX_A);
      b = Math.imul((b ^ (b >>> 15)) + ~deadlineHigh, MIX_B);
    }
    this.hashA = a;
    this.hashB = b;
  }

  #copyAndHash(
    words: Int32Array,
    bytes: Uint8Array,
    wordStart: number,
    source: Uint8Array,
    start: number,
    end: number,
  ): void {
    if (end - start > COPY_LOOP_MAX) {
      bytes.set(source.subarray(start, end), wordStart << 2);
      this.#hashWords(words, bytes, wordStart, end - start);
      return;
    }
    let a = this.hashA;
    let b = this.hashB;
    let at = wordStart;
    let i = start;
    for (const wordsEnd = start + ((end - start) & ~3); i < wordsEnd; i += 4) {
      const word =
        (source[i] as number) |
        ((source[i + 1] as number) << 8) |
        ((source[i + 2] as number) << 16) |
        ((source[i + 3] as number) << 24);
      words[at++] = word;
      a = Math.imul(((a << 15) | (a >>> 17)) ^ word, MIX_A);
      b = Math.imul((b ^ (b >>> 15)) + word, MIX_B);
    }
    let tail = 0;
    let byte = at << 2;
    for (let shift = 0; i < end; i++, shift += 8) {
      bytes[byte++] = source[i] as number;
      tail |= (source[i] as number) << shift;
    }
    this.#hashTail(a, b, tail);
  }

  /** Goes on hashing with the `size` bytes that start at the word `wordStart`. */
  #hashWords(words: Int32Array, bytes: Uint8Array, wordStart: number, size: number): void {
    let a = this.hashA;
    let b = this.hashB;
    const wordsEnd = wordStart + (size >>> 2);
    for (let at = wordStart; at < wordsEnd; at++) {
      const word = words[at] as number;
      a = Math.imul(((a << 15) | (a >>> 17)) ^ word, MIX_A);
      b = Math.imul((b ^ (b >>> 15)) + word, MIX_B);
    }
    this.#hashTail(a, b, tailOf(bytes, wordsEnd << 2, size & 3));
  }

  #hashBytes(bytes: Uint8Array, start: number, size: number): void {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + start, size >>> 2);
    this.#hashWords(words, bytes.subarray(start), 0, size);
  }

  #hashTail(a: number, b: number, tail: number): void {
    this.hashA = finish(((a << 15) | (a >>> 17)) ^ tail);
    this.hashB = finish((b ^ (b >>> 15)) + tail);
  }
}

function tailOf(bytes: Uint8Array, at: number, count: number): number {
  let tail = 0;
  for (let i = 0; i < count; i++) tail |= (bytes[at + i] as number) << (8 * i);
  return tail;
}

/** What is wrong with a record cell that came from elsewhere, or null. Its large value is not looked for. */
export function checkRecordCell(
  words: Int32Array,
  at: number,
  cellBytes: number,
  keySizeMax: number,
): string | null {
  const head = words[at] as number;
  if ((head & LIVE) === 0 || (head & ~(FLAGS_KNOWN | (TYPE_MASK << TYPE_SHIFT) | SIZE_MASK)) !== 0) {
    return "a record has unknown flags";
  }
  if (((head >>> TYPE_SHIFT) & TYPE_MASK) !== RECORD_TYPE.string) return "a record has an unknown type";
  const keySize = (words[at + 1] as number) & KEY_SIZE_MASK;
  const headBytes = (head & HAS_DEADLINE) === 0 ? RECORD_BYTES : RECORD_BYTES + DEADLINE_BYTES;
  const valueBytes = (head & IS_LARGE) === 0 ? head & SIZE_MASK : LARGE_ID_BYTES;
  if (keySize > keySizeMax || headBytes + valueBytes + keySize > cellBytes)
    return "a record overruns its cell";
  if ((head & HAS_DEADLINE) === 0) return null;
  const high = (words[at + 4] as number) >>> 0;
  const isTime = high <= DEADLINE_HIGH_MAX && (high !== 0 || words[at + 3] !== 0);
  return isTime ? null : "a deadline is out of range";
}

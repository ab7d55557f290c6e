/**
 * The two hashes of the store. Both work in 32-bit integer steps (Math.imul), so every runtime gets the same bits.
 *
 * - Key hash: two 32-bit lanes over the key's bytes. The first orders the keys of a slot (index.ts, SCAN), so it
 *   is part of what a cursor means and must never change. Murmur3 (Appleby) is the model for both mixers.
 * - Record hash: the key's lanes, mixed on with length, type, revision, deadline and value (records.ts). Sums of
 *   it over records are the state hash, so equal sets of records give equal sums in whatever order they were made.
 *
 * Neither is keyed: someone who picks keys to collide makes his own slot slow, never wrong.
 */
import { slotOf } from "../ring/slot.ts";

const A1 = 0xcc9e2d51;
const A2 = 0x1b873593;
const B1 = 0x9e3779b1;
export const MIX_A = 0x85ebca6b;
export const MIX_B = 0xc2b2ae35;

/** Last step of a lane, an int32: every bit of the state reaches every bit of the result. */
export function finish(lane: number): number {
  let x = lane ^ (lane >>> 16);
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** A key to look for: where its bytes are, its slot and its hash. Reused; it borrows the bytes. */
export class Probe {
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  slot = 0;
  /** Place of the key in its slot's order, as int32 bits (compared unsigned). */
  hash = 0;
  /** The second lane, for the record hash alone. */
  hash2 = 0;

  aim(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.slot = slotOf(bytes, start, end);
    this.#hash();
  }

  #hash(): void {
    const bytes = this.bytes;
    const length = this.end - this.start;
    const wordsEnd = this.start + (length & ~3);
    let a = 0x3c6ef372;
    let b = 0x1f83d9ab;
    let i = this.start;
    for (; i < wordsEnd; i += 4) {
      const word =
        (bytes[i] as number) |
        ((bytes[i + 1] as number) << 8) |
        ((bytes[i + 2] as number) << 16) |
        ((bytes[i + 3] as number) << 24);
      let k = Math.imul(word, A1);
      k = Math.imul((k << 15) | (k >>> 17), A2);
      a ^= k;
      a = (Math.imul((a << 13) | (a >>> 19), 5) + 0xe6546b64) | 0;
      b = Math.imul(b ^ word, B1);
      b ^= b >>> 15;
    }
    let tail = 0;
    for (let shift = 0; i < this.end; i++, shift += 8) tail |= (bytes[i] as number) << shift;
    let k = Math.imul(tail, A1);
    k = Math.imul((k << 15) | (k >>> 17), A2);
    b = Math.imul(b ^ tail, B1);
    this.hash = finish(a ^ k ^ length);
    this.hash2 = finish(b ^ (b >>> 15) ^ length);
  }
}

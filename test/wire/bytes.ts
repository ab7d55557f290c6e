/** Byte streams for parsers: cut in every way, spoilt in every way. */
import { Prng } from "../../src/base/prng.ts";

/** `bytes` in pieces of `size`. Each piece is a copy in a buffer of its own. */
export function pieces(bytes: Uint8Array, size: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.slice(at, at + size));
  return parts;
}

/** Every way to cut `bytes` in two, and the ways to cut it evenly. */
export function cuts(bytes: Uint8Array): Uint8Array[][] {
  const all: Uint8Array[][] = [];
  for (let at = 0; at <= bytes.length; at++) all.push([bytes.slice(0, at), bytes.slice(at)]);
  for (const size of [1, 2, 3, 7, 64]) all.push(pieces(bytes, size));
  return all;
}

/** Overwrites a chunk that its reader has promised not to look at any more (H11). */
export function poison(chunk: Uint8Array): void {
  chunk.fill(0xdd);
}

/** `count` bytes in which the letters of `alphabet` are frequent. */
export function noise(prng: Prng, count: number, alphabet: string): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    bytes[i] = prng.chance(7, 8) ? alphabet.charCodeAt(prng.below(alphabet.length)) : prng.below(256);
  }
  return bytes;
}

/** A copy with one bit turned. */
export function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice();
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

export const prng = (seed: number): Prng => Prng.fromSeed(seed);

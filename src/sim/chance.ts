/** Draws that the simulator makes by the million: plain arithmetic on one u32, the same on every engine. */
import type { Prng } from "../base/prng.ts";

const TWO_32 = 2 ** 32;

/** A span to draw from, both ends included. */
export type Span = readonly [low: number, high: number];

/** Uniform over [0, bound); the product stays below 2^53 for every bound below 2^21 and close enough above. */
export function below(random: Prng, bound: number): number {
  return Math.floor((random.u32() / TWO_32) * bound);
}

export function draw(random: Prng, span: Span): number {
  return span[0] + below(random, span[1] - span[0] + 1);
}

/** True `perMillion` times out of a million; draws nothing when it is 0, so an idle knob shifts no stream. */
export function happens(random: Prng, perMillion: number): boolean {
  return perMillion > 0 && below(random, 1_000_000) < perMillion;
}

/** Puts `list` into a random order, in place. */
export function shuffle<T>(random: Prng, list: T[]): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = below(random, i + 1);
    const kept = list[i] as T;
    list[i] = list[j] as T;
    list[j] = kept;
  }
  return list;
}

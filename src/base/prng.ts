/**
 * Seeded integer generator (sfc32, Doty-Humphrey): election jitter, client ids in tests, every choice of the
 * simulator. Integer arithmetic only, so a seed gives the same draws on every engine. Not for secrets.
 */
import { assert } from "./assert.ts";

export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  private constructor(a: number, b: number, c: number) {
    this.#a = a;
    this.#b = b;
    this.#c = c;
    for (let i = 0; i < 12; i++) this.u32(); // the first draws still show the seed
  }

  /** `seed` is any non-negative safe integer. */
  static fromSeed(seed: number): Prng {
    assert(Number.isSafeInteger(seed) && seed >= 0, "seed is a non-negative safe integer");
    return new Prng(seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, 0x9e3779b9);
  }

  /**
   * An independent stream named `name`. Drawing from it does not move this one, so taking one actor
   * out of a simulation leaves the others' choices as they were.
   */
  fork(name: string): Prng {
    let hash = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    return new Prng((this.#a ^ hash) >>> 0, (this.#b + hash) >>> 0, this.#c ^ Math.imul(hash, 0x85ebca6b));
  }

  /** Uniform over [0, 2^32). */
  u32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }

  /** Uniform over [0, bound), by multiplication; the bias is below bound / 2^32. */
  below(bound: number): number {
    assert(Number.isSafeInteger(bound) && bound >= 1 && bound <= 2 ** 32, "bound in 1..2^32");
    return Number((BigInt(this.u32()) * BigInt(bound)) >> 32n);
  }

  /** Uniform over [low, high], both included. */
  between(low: number, high: number): number {
    assert(low <= high, "low <= high");
    return low + this.below(high - low + 1);
  }

  /** True `per` times out of `outOf`. */
  chance(per: number, outOf: number): boolean {
    return this.below(outOf) < per;
  }

  pick<T>(list: readonly T[]): T {
    assert(list.length > 0, "a choice needs something to choose from");
    return list[this.below(list.length)] as T;
  }

  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32() & 0xff;
  }
}

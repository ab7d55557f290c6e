/**
 * Glob patterns as Redis has them, on bytes: `*` any run, `?` any one, `[abc]` `[a-z]` `[^x]` one of a set, `\x` the
 * byte x itself.
 *
 * Only the last star is ever tried again, at one place further: what an earlier star could take instead, the last
 * one can take as well. So the cost is at most pattern times text, however many stars there are.
 */
const STAR = 0x2a;
const QUESTION = 0x3f;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const CARET = 0x5e;
const DASH = 0x2d;
const BACKSLASH = 0x5c;

export class Glob {
  readonly #pattern: Uint8Array;
  /** Where the last element that was matched ends. */
  #next = 0;

  /** Keeps a copy of `bytes[start, end)`. */
  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#pattern = bytes.slice(start, end);
  }

  /** Whether the pattern matches every text. */
  get isAny(): boolean {
    return this.#pattern.length > 0 && this.#pattern.every((byte) => byte === STAR);
  }

  matches(text: Uint8Array, start: number, end: number): boolean {
    const pattern = this.#pattern;
    let p = 0;
    let t = start;
    let starAt = -1;
    let starText = 0;
    while (t < end) {
      if (p < pattern.length && pattern[p] === STAR) {
        starAt = p++;
        starText = t;
      } else if (p < pattern.length && this.#matchesOne(p, text[t] as number)) {
        p = this.#next;
        t++;
      } else if (starAt >= 0) {
        p = starAt + 1;
        t = ++starText;
      } else {
        return false;
      }
    }
    while (p < pattern.length && pattern[p] === STAR) p++;
    return p === pattern.length;
  }

  /** Whether the element at `p`, which is no star, matches `byte`; #next then stands behind it. */
  #matchesOne(p: number, byte: number): boolean {
    const pattern = this.#pattern;
    const first = pattern[p];
    if (first === OPEN) return this.#matchesSet(p + 1, byte);
    if (first === QUESTION) {
      this.#next = p + 1;
      return true;
    }
    const escaped = first === BACKSLASH && p + 1 < pattern.length;
    this.#next = escaped ? p + 2 : p + 1;
    return (escaped ? pattern[p + 1] : first) === byte;
  }

  /** A set that is never closed reaches to the pattern's end. */
  #matchesSet(from: number, byte: number): boolean {
    const pattern = this.#pattern;
    let p = from;
    const negated = pattern[p] === CARET;
    if (negated) p++;
    let found = false;
    while (p < pattern.length && pattern[p] !== CLOSE) {
      if (pattern[p] === BACKSLASH && p + 1 < pattern.length) {
        if (pattern[p + 1] === byte) found = true;
        p += 2;
      } else if (pattern[p + 1] === DASH && p + 2 < pattern.length) {
        const a = pattern[p] as number;
        const b = pattern[p + 2] as number;
        if (byte >= Math.min(a, b) && byte <= Math.max(a, b)) found = true;
        p += 3;
      } else {
        if (pattern[p] === byte) found = true;
        p++;
      }
    }
    this.#next = Math.min(p + 1, pattern.length);
    return found !== negated;
  }
}

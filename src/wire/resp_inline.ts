/**
 * Inline commands: a line as a person types it into telnet, split into words the way redis-cli and Redis do.
 *
 *     word        ends at a blank; quotes may begin inside it (a"b c"d is one word)
 *     "text"      \n \r \t \b \a \xHH mean what they mean in C; any other \c is c
 *     'text'      only \' is special
 *     a closing quote must be followed by a blank or the end of the line
 *
 * Errors: a quote that never closes, or is followed by something else.
 */
const SPACE = 0x20;
const DOUBLE = 0x22;
const SINGLE = 0x27;
const BACKSLASH = 0x5c;
const SMALL_X = 0x78;
const ESCAPES = new Map<number, number>([
  [0x6e, 0x0a], // n
  [0x72, 0x0d], // r
  [0x74, 0x09], // t
  [0x62, 0x08], // b
  [0x61, 0x07], // a
]);

/** Where the words of a line go; reused from line to line, grows to the longest one seen. */
export class InlineWords {
  bytes: Uint8Array = new Uint8Array(256);
  bounds: Int32Array = new Int32Array(16);
  count = 0;
  #length = 0;
  readonly #countMax: number;

  /** Lines of more than `countMax` words are not split to their end. */
  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** Splits the line `source[start, end)`, which has no line end any more. False: the quotes do not match. */
  split(source: Uint8Array, start: number, end: number): boolean {
    this.count = 0;
    this.#length = 0;
    if (this.bytes.length < end - start) this.bytes = new Uint8Array(2 * (end - start));
    // A line is text: it ends at a zero byte, as it does for Redis.
    const zero = source.subarray(start, end).indexOf(0);
    const stop = zero === -1 ? end : start + zero;
    let at = start;
    while (true) {
      while (at < stop && isBlank(source[at])) at++;
      if (at >= stop || this.count > this.#countMax) return true;
      const from = this.#length;
      at = this.#word(source, at, stop);
      if (at === -1) return false;
      this.#add(from);
    }
  }

  /** Copies the word at `at` and gives the place after it, or -1. */
  #word(source: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      const byte = source[at] as number;
      if (isBlank(byte)) return at;
      if (byte === DOUBLE || byte === SINGLE) {
        at = byte === DOUBLE ? this.#double(source, at + 1, end) : this.#single(source, at + 1, end);
        return at === -1 || (at < end && !isBlank(source[at])) ? -1 : at;
      }
      this.bytes[this.#length++] = byte;
      at++;
    }
    return at;
  }

  #double(source: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      const byte = source[at] as number;
      if (byte === DOUBLE) return at + 1;
      if (byte !== BACKSLASH || at + 1 >= end) {
        this.bytes[this.#length++] = byte;
        at++;
        continue;
      }
      const hex = source[at + 1] === SMALL_X && at + 3 < end ? hexPair(source, at + 2) : -1;
      if (hex >= 0) {
        this.bytes[this.#length++] = hex;
        at += 4;
      } else {
        const escaped = source[at + 1] as number;
        this.bytes[this.#length++] = ESCAPES.get(escaped) ?? escaped;
        at += 2;
      }
    }
    return -1;
  }

  #single(source: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      const byte = source[at] as number;
      if (byte === SINGLE) return at + 1;
      const escaped = byte === BACKSLASH && at + 1 < end && source[at + 1] === SINGLE;
      this.bytes[this.#length++] = escaped ? SINGLE : byte;
      at += escaped ? 2 : 1;
    }
    return -1;
  }

  #add(from: number): void {
    if (this.bounds.length < 2 * (this.count + 1)) {
      const grown = new Int32Array(2 * this.bounds.length);
      grown.set(this.bounds);
      this.bounds = grown;
    }
    this.bounds[2 * this.count] = from;
    this.bounds[2 * this.count + 1] = this.#length;
    this.count++;
  }
}

/** The blanks of C's isspace. */
function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
}

function hexPair(bytes: Uint8Array, at: number): number {
  const high = hexDigit(bytes[at] as number);
  const low = hexDigit(bytes[at + 1] as number);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const small = byte | 0x20;
  return small >= 0x61 && small <= 0x66 ? small - 0x61 + 10 : -1;
}

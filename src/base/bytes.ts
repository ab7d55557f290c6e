/**
 * Writer and Reader: the only two places that count byte offsets of hand-laid layouts. All numbers are
 * little-endian; a u64 is a JS number below 2^53 (asserted when written, refused when read).
 *
 * Reader never throws on bad input: a read past the end or out of range sets `failed` and gives zeros, so a
 * decoder reads straight through and tests `failed` once at the end.
 */
import { assert } from "./assert.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const TWO_32 = 2 ** 32;
/** Highest value of the upper half of a u64 that still fits a safe integer: 2^53 / 2^32 - 1. */
const HIGH_MAX = 0x1fffff;

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function fromUtf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const all = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Bytes of a hex string, or null if it is not one. */
export function fromHex(text: string): Uint8Array | null {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function getU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

export function setU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

export function getU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

export function setU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

/** A u64 that must be a safe integer; -1 says that it is not. */
export function getU64(bytes: Uint8Array, at: number): number {
  const high = getU32(bytes, at + 4);
  return high > HIGH_MAX ? -1 : high * TWO_32 + getU32(bytes, at);
}

export function setU64(bytes: Uint8Array, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, "a u64 is a safe integer >= 0");
  setU32(bytes, at, value >>> 0);
  setU32(bytes, at + 4, Math.floor(value / TWO_32));
}

/** A growing buffer with named verbs. `bytes[0, length)` is what was written. */
export class Writer {
  bytes: Uint8Array;
  length = 0;

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(new ArrayBuffer(capacity));
  }

  /** Makes room for `size` more bytes; grows by half so that repeated growth stays linear. */
  reserve(size: number): void {
    const needed = this.length + size;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(new ArrayBuffer(Math.max(needed, Math.ceil(this.bytes.length * 1.5))));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  u8(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  u16(value: number): void {
    this.reserve(2);
    setU16(this.bytes, this.length, value);
    this.length += 2;
  }

  u32(value: number): void {
    this.reserve(4);
    setU32(this.bytes, this.length, value);
    this.length += 4;
  }

  u64(value: number): void {
    this.reserve(8);
    setU64(this.bytes, this.length, value);
    this.length += 8;
  }

  /** Signed 64 bits, two's complement. */
  i64(value: bigint): void {
    this.reserve(8);
    const bits = BigInt.asUintN(64, value);
    setU32(this.bytes, this.length, Number(bits & 0xffffffffn));
    setU32(this.bytes, this.length + 4, Number(bits >> 32n));
    this.length += 8;
  }

  raw(source: Uint8Array): void {
    this.reserve(source.length);
    this.bytes.set(source, this.length);
    this.length += source.length;
  }

  /** `source[start, end)` without a view: short runs are copied by a loop, which beats `set` below ~32 bytes. */
  range(source: Uint8Array, start: number, end: number): void {
    const size = end - start;
    this.reserve(size);
    if (size <= 32) {
      const target = this.bytes;
      let at = this.length;
      for (let i = start; i < end; i++) target[at++] = source[i] as number;
    } else {
      this.bytes.set(source.subarray(start, end), this.length);
    }
    this.length += size;
  }

  /** u32 length, then the bytes. */
  blob(source: Uint8Array): void {
    this.u32(source.length);
    this.raw(source);
  }

  text(value: string): void {
    this.blob(encoder.encode(value));
  }

  /** ASCII without a length, for line protocols. */
  ascii(value: string): void {
    this.reserve(value.length);
    for (let i = 0; i < value.length; i++) this.bytes[this.length++] = value.charCodeAt(i);
  }

  zeros(size: number): void {
    this.reserve(size);
    this.bytes.fill(0, this.length, this.length + size);
    this.length += size;
  }

  /** Writes a u32 at a place that was kept free earlier. */
  patchU32(at: number, value: number): void {
    assert(at + 4 <= this.length, "patch inside what was written");
    setU32(this.bytes, at, value);
  }

  /** A borrowed view of what was written: valid until the next write. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** A copy that the caller owns. */
  copy(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }
}

/** Reads a layout from `bytes[at, end)`. Views it gives are borrowed from `bytes`. */
export class Reader {
  bytes: Uint8Array;
  at: number;
  end: number;
  failed = false;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  /** True if everything was read and nothing was wrong. */
  done(): boolean {
    return !this.failed && this.at === this.end;
  }

  fail(): void {
    this.failed = true;
    this.at = this.end;
  }

  u8(): number {
    if (this.left < 1) return this.#short();
    return this.bytes[this.at++] as number;
  }

  u16(): number {
    if (this.left < 2) return this.#short();
    const value = getU16(this.bytes, this.at);
    this.at += 2;
    return value;
  }

  u32(): number {
    if (this.left < 4) return this.#short();
    const value = getU32(this.bytes, this.at);
    this.at += 4;
    return value;
  }

  u64(): number {
    if (this.left < 8) return this.#short();
    const value = getU64(this.bytes, this.at);
    if (value < 0) return this.#short();
    this.at += 8;
    return value;
  }

  i64(): bigint {
    if (this.left < 8) {
      this.fail();
      return 0n;
    }
    const low = BigInt(getU32(this.bytes, this.at));
    const high = BigInt(getU32(this.bytes, this.at + 4));
    this.at += 8;
    return BigInt.asIntN(64, (high << 32n) | low);
  }

  /** A borrowed view of the next `size` bytes. */
  raw(size: number): Uint8Array {
    if (size > this.left) {
      this.fail();
      return this.bytes.subarray(this.end, this.end);
    }
    const view = this.bytes.subarray(this.at, this.at + size);
    this.at += size;
    return view;
  }

  /** u32 length, then a borrowed view of that many bytes. */
  blob(): Uint8Array {
    return this.raw(this.u32());
  }

  text(): string {
    return decoder.decode(this.blob());
  }

  #short(): number {
    this.fail();
    return 0;
  }
}

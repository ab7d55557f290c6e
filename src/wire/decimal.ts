/**
 * Numbers as text. Integers are as Redis writes and reads them: an optional minus, no plus, no leading zero, no
 * blanks, no "-0", 64 bits; no string is made on the way for numbers up to 15 digits.
 */
import type { Writer } from "../base/bytes.ts";
import { ERROR } from "./error_text.ts";

const MINUS = 0x2d;
const ZERO = 0x30;
/** Up to here every digit string is a safe integer, so plain number arithmetic is exact. */
const EXACT_DIGITS = 15;
/** Digits of 2^63 and of 2^64 - 1 at most. */
const I64_DIGITS = 19;
const U64_DIGITS = 20;
const I64_MIN = -(2n ** 63n);
const I64_MAX = 2n ** 63n - 1n;
const U64_MAX = 2n ** 64n - 1n;

/** The signed 64-bit integer in `bytes[start, end)`; a bigint from 16 digits on; null if it is not one. */
export function parseInteger(bytes: Uint8Array, start: number, end: number): number | bigint | null {
  const negative = start < end && bytes[start] === MINUS;
  const digitsAt = negative ? start + 1 : start;
  const first = bytes[digitsAt] as number;
  if (digitsAt >= end || end - digitsAt > I64_DIGITS) return null;
  if (first === ZERO) return end - start === 1 ? 0 : null;
  if (end - digitsAt > EXACT_DIGITS) {
    const wide = parseWide(bytes, digitsAt, end);
    if (wide === null) return null;
    const value = negative ? -wide : wide;
    return value >= I64_MIN && value <= I64_MAX ? value : null;
  }
  let value = 0;
  for (let at = digitsAt; at < end; at++) {
    const digit = (bytes[at] as number) - ZERO;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  return negative ? -value : value;
}

/** The unsigned 64-bit integer in `bytes[start, end)`, or null. Leading zeros pass: cursors may carry them. */
export function parseUnsigned(bytes: Uint8Array, start: number, end: number): bigint | null {
  if (start >= end || end - start > U64_DIGITS) return null;
  const value = parseWide(bytes, start, end);
  return value !== null && value <= U64_MAX ? value : null;
}

/** All digits as a bigint, ten or so at a time. */
function parseWide(bytes: Uint8Array, start: number, end: number): bigint | null {
  let high = 0;
  let low = 0;
  const split = Math.max(start, end - 10);
  for (let at = start; at < end; at++) {
    const digit = (bytes[at] as number) - ZERO;
    if (digit < 0 || digit > 9) return null;
    if (at < split) high = high * 10 + digit;
    else low = low * 10 + digit;
  }
  return BigInt(high) * 10_000_000_000n + BigInt(low);
}

/** Appends `value`, a safe integer or a bigint, in decimal. */
export function writeDecimal(writer: Writer, value: number | bigint): void {
  if (typeof value !== "number" || value < 0 || value > 0x7fffffff) {
    writer.ascii(String(value));
    return;
  }
  let digits = 1;
  for (let bound = 10; value >= bound; bound *= 10) digits++;
  writer.reserve(digits);
  const bytes = writer.bytes;
  writer.length += digits;
  let at = writer.length;
  let rest = value | 0;
  do {
    const next = (rest / 10) | 0;
    bytes[--at] = ZERO + rest - next * 10;
    rest = next;
  } while (rest !== 0);
}

/** A decimal number as the store reads it: digits, a point, an exponent; bounded so that summing it is cheap. */
export const FLOAT_BYTES_MAX = 64;
const FLOAT = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const INFINITE = /^[+-]?inf(?:inity)?$/i;

/** What is wrong with `text` as an increment, or null. */
export function floatError(text: string): string | null {
  if (INFINITE.test(text)) return ERROR.nanOrInfinity;
  if (text.length > FLOAT_BYTES_MAX || !FLOAT.test(text)) return ERROR.notFloat;
  return Number.isFinite(Number(text)) ? null : ERROR.nanOrInfinity;
}

/** INCRBY and INCRBYFLOAT: values that are numbers in decimal. */
import { getU32 } from "../../base/bytes.ts";
import { parseInteger } from "../../wire/decimal.ts";
import { addFixed, formatFixed, parseFixed } from "../decimal.ts";
import { STORE_ERROR } from "../errors.ts";
import type { Execution } from "../execution.ts";

const I64_MIN = -(2n ** 63n);
const I64_MAX = 2n ** 63n - 1n;
const ZERO = 0x30;
const MINUS = 0x2d;
/** "-9223372036854775808" */
const DIGITS_MAX = 20;

export function incrBy(x: Execution): void {
  const records = x.keyspace.records;
  const ref = x.lookup(0);
  let value: number | bigint | null = 0;
  if (ref !== 0) {
    const at = records.valueAt(ref);
    value = parseInteger(records.valueBytes(ref), at, at + records.valueSize(ref));
  }
  if (value === null) {
    x.reply.error(STORE_ERROR.notInteger);
    return;
  }
  const sum = add(value, deltaOf(x));
  if (sum === null) {
    x.reply.error(STORE_ERROR.overflow);
    return;
  }
  const scratch = x.keyspace.scratch(DIGITS_MAX);
  const start = writeDigits(scratch, sum);
  x.keyspace.put(x.probe, scratch, start, DIGITS_MAX, ref === 0 ? 0 : records.deadline(ref));
  x.reply.integer(sum);
}

/** All 64 bits of the delta; a bigint only where a number could not hold it. */
function deltaOf(x: Execution): number | bigint {
  const at = x.command.argStart(1);
  const high = getU32(x.command.bytes, at + 4) | 0;
  const fits = high >= -0x200000 && high < 0x200000; // 2^53 / 2^32
  return fits ? x.command.number(1) : x.command.bigint(1);
}

/** The sum, a bigint only where a number could not hold it; null if it leaves 64 bits. */
function add(a: number | bigint, b: number | bigint): number | bigint | null {
  if (typeof a === "number" && typeof b === "number") {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  const sum = BigInt(a) + BigInt(b);
  if (sum < I64_MIN || sum > I64_MAX) return null;
  const number = Number(sum);
  return Number.isSafeInteger(number) ? number : sum;
}

/** Writes `value` so that it ends at DIGITS_MAX; gives where it starts. */
function writeDigits(bytes: Uint8Array, value: number | bigint): number {
  if (typeof value === "bigint") return writeText(bytes, value.toString());
  let at = DIGITS_MAX;
  let rest = Math.abs(value);
  while (rest > 0x7fffffff) {
    const next = Math.floor(rest / 10);
    bytes[--at] = ZERO + (rest - next * 10);
    rest = next;
  }
  let small = rest | 0;
  do {
    const next = (small / 10) | 0;
    bytes[--at] = ZERO + small - next * 10;
    small = next;
  } while (small !== 0);
  if (value < 0) bytes[--at] = MINUS;
  return at;
}

function writeText(bytes: Uint8Array, text: string): number {
  const start = DIGITS_MAX - text.length;
  for (let i = 0; i < text.length; i++) bytes[start + i] = text.charCodeAt(i);
  return start;
}

/** Exact decimal arithmetic, rounded to 17 digits behind the point, as Redis prints (decimal.ts). */
export function incrByFloat(x: Execution): void {
  const records = x.keyspace.records;
  const command = x.command;
  const ref = x.lookup(0);
  let value: bigint | null = 0n;
  if (ref !== 0) {
    const at = records.valueAt(ref);
    value = parseFixed(records.valueBytes(ref), at, at + records.valueSize(ref));
  }
  const delta = parseFixed(command.bytes, command.argStart(1), command.argEnd(1));
  if (value === null || delta === null) {
    x.reply.error(STORE_ERROR.notFloat);
    return;
  }
  const sum = addFixed(value, delta);
  if (sum === null) {
    x.reply.error(STORE_ERROR.nanOrInfinity);
    return;
  }
  const text = formatFixed(sum);
  const scratch = x.keyspace.scratch(text.length);
  for (let i = 0; i < text.length; i++) scratch[i] = text.charCodeAt(i);
  x.keyspace.put(x.probe, scratch, 0, text.length, ref === 0 ? 0 : records.deadline(ref));
  x.reply.blob(scratch, 0, text.length);
}

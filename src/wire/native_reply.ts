/**
 * Native replies: the values of reply.ts as bytes, for the native protocol and for replies that travel between
 * nodes. Each value is a tag and what follows it; numbers are little-endian.
 *
 *     0 nil        nothing
 *     1 simple     u32 size, printable ASCII
 *     2 error      u32 size, UTF-8 without control characters
 *     3 integer    i64
 *     4 blob       u32 size, bytes
 *     5 array      u32 count, then that many values
 *     6 map        u32 count, then twice that many values
 *
 * Errors: bytes that come from elsewhere are checked whole before the first verb is called (`replayReply`).
 */
import { assert } from "../base/assert.ts";
import { fromUtf8, getU32, setU32, type Writer } from "../base/bytes.ts";
import type { ReplySink } from "./reply.ts";

export const REPLY_TAG = { nil: 0, simple: 1, error: 2, integer: 3, blob: 4, array: 5, map: 6 } as const;
/** Arrays and maps inside one another. SCAN needs two, CLUSTER SLOTS four. */
export const REPLY_DEPTH_MAX = 8;
const TWO_32 = 2 ** 32;
const CONTROL = /\p{Cc}/gu;

export class ReplyEncoder implements ReplySink {
  writer: Writer;

  constructor(writer: Writer) {
    this.writer = writer;
  }

  nil(): void {
    this.writer.u8(REPLY_TAG.nil);
  }

  simple(text: string): void {
    this.writer.u8(REPLY_TAG.simple);
    this.writer.u32(text.length);
    this.writer.ascii(text);
  }

  error(text: string): void {
    this.writer.u8(REPLY_TAG.error);
    this.writer.text(text.replace(CONTROL, " "));
  }

  integer(value: number | bigint): void {
    const writer = this.writer;
    writer.u8(REPLY_TAG.integer);
    if (typeof value === "bigint") {
      writer.i64(value);
      return;
    }
    assert(Number.isSafeInteger(value), "an integer reply is a safe integer or a bigint");
    writer.reserve(8);
    setU32(writer.bytes, writer.length, value >>> 0);
    setU32(writer.bytes, writer.length + 4, Math.floor(value / TWO_32));
    writer.length += 8;
  }

  blob(bytes: Uint8Array, start: number, end: number): void {
    this.writer.u8(REPLY_TAG.blob);
    this.writer.u32(end - start);
    this.writer.range(bytes, start, end);
  }

  array(count: number): void {
    this.writer.u8(REPLY_TAG.array);
    this.writer.u32(count);
  }

  map(count: number): void {
    this.writer.u8(REPLY_TAG.map);
    this.writer.u32(count);
  }
}

/**
 * Calls the verbs of the one value that fills `bytes[start, end)`. False if the bytes are not exactly one
 * well-formed value; then no verb was called.
 */
export function replayReply(bytes: Uint8Array, start: number, end: number, sink: ReplySink): boolean {
  if (start < 0 || end > bytes.length || checkValue(bytes, start, end, 0) !== end) return false;
  let at = start;
  while (at < end) at = emit(bytes, at, sink);
  return true;
}

/** One past the value at `at`, or -1 if it is malformed or reaches past `end`. */
function checkValue(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (at >= end) return -1;
  const tag = bytes[at] as number;
  const body = at + 1;
  if (tag === REPLY_TAG.nil) return body;
  if (tag === REPLY_TAG.integer) return end - body >= 8 ? body + 8 : -1;
  if (tag > REPLY_TAG.map || end - body < 4) return -1;
  const size = getU32(bytes, body);
  const left = end - body - 4;
  if (tag === REPLY_TAG.array || tag === REPLY_TAG.map) {
    // Every value has at least one byte, so a count above what is left is a lie and costs nothing.
    const count = tag === REPLY_TAG.map ? 2 * size : size;
    if (count > left || depth >= REPLY_DEPTH_MAX) return -1;
    let next = body + 4;
    for (let i = 0; i < count && next !== -1; i++) next = checkValue(bytes, next, end, depth + 1);
    return next;
  }
  if (size > left) return -1;
  if (tag !== REPLY_TAG.blob && !isLine(bytes, body + 4, body + 4 + size, tag)) return -1;
  return body + 4 + size;
}

/** Texts become lines of RESP and headers of HTTP: a line end inside would forge a second reply. */
function isLine(bytes: Uint8Array, start: number, end: number, tag: number): boolean {
  const highest = tag === REPLY_TAG.simple ? 0x7e : 0xff;
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    if (byte < 0x20 || byte === 0x7f || byte > highest) return false;
  }
  return true;
}

/** Emits the verb at `at`, which was checked, and gives the place of the next one. */
function emit(bytes: Uint8Array, at: number, sink: ReplySink): number {
  const tag = bytes[at] as number;
  const body = at + 1;
  if (tag === REPLY_TAG.nil) {
    sink.nil();
    return body;
  }
  if (tag === REPLY_TAG.integer) {
    sink.integer(readInteger(bytes, body));
    return body + 8;
  }
  const size = getU32(bytes, body);
  const from = body + 4;
  if (tag === REPLY_TAG.array) sink.array(size);
  else if (tag === REPLY_TAG.map) sink.map(size);
  else {
    if (tag === REPLY_TAG.blob) sink.blob(bytes, from, from + size);
    else if (tag === REPLY_TAG.simple) sink.simple(fromUtf8(bytes.subarray(from, from + size)));
    else sink.error(fromUtf8(bytes.subarray(from, from + size)));
    return from + size;
  }
  return from;
}

function readInteger(bytes: Uint8Array, at: number): number | bigint {
  const high = getU32(bytes, at + 4) | 0;
  const low = getU32(bytes, at);
  const value = high * TWO_32 + low;
  if (Number.isSafeInteger(value)) return value;
  return BigInt(high) * BigInt(TWO_32) + BigInt(low);
}

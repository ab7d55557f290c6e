/**
 * Writes command frames (layout: command.ts) at the end of a Writer: `begin`, arguments, `end`. Lengths and
 * counts are patched in when they are known; `abort` takes an unfinished frame back.
 */
import { assert } from "../base/assert.ts";
import { setU16, setU32, type Writer } from "../base/bytes.ts";
import { COMMAND_FLAG_SESSION, COMMAND_HEADER_BYTES, type Op, type Session } from "./command.ts";

const TWO_32 = 2 ** 32;

export class CommandEncoder {
  /** Where frames go; it may be exchanged between frames. */
  writer: Writer;
  /** Where the current or last frame starts. */
  start = 0;
  #argCount = -1;

  constructor(writer: Writer) {
    this.writer = writer;
  }

  begin(op: Op, session: Session | null = null): void {
    assert(this.#argCount === -1, "one frame at a time");
    const writer = this.writer;
    this.start = writer.length;
    this.#argCount = 0;
    writer.reserve(COMMAND_HEADER_BYTES);
    writer.length += COMMAND_HEADER_BYTES;
    writer.bytes[this.start + 4] = op;
    writer.bytes[this.start + 5] = session === null ? 0 : COMMAND_FLAG_SESSION;
    if (session !== null) this.#session(session);
  }

  arg(bytes: Uint8Array): void {
    this.argRange(bytes, 0, bytes.length);
  }

  /** `bytes[start, end)`, copied at once. */
  argRange(bytes: Uint8Array, start: number, end: number): void {
    this.#argCount++;
    this.writer.u32(end - start);
    this.writer.range(bytes, start, end);
  }

  /** A safe integer, or a bigint of 64 bits (signed or not: the bits are the same). */
  argI64(value: number | bigint): void {
    this.#argCount++;
    const writer = this.writer;
    writer.u32(8);
    if (typeof value === "bigint") {
      writer.i64(value);
      return;
    }
    assert(Number.isSafeInteger(value), "an i64 argument is a safe integer or a bigint");
    writer.reserve(8);
    setU32(writer.bytes, writer.length, value >>> 0);
    setU32(writer.bytes, writer.length + 4, Math.floor(value / TWO_32));
    writer.length += 8;
  }

  /** Completes the frame and gives its size. */
  end(): number {
    assert(this.#argCount >= 0, "a frame was begun");
    const writer = this.writer;
    const size = writer.length - this.start;
    setU32(writer.bytes, this.start, size);
    setU16(writer.bytes, this.start + 6, this.#argCount);
    this.#argCount = -1;
    return size;
  }

  /** Bytes of the current or last frame so far. */
  get size(): number {
    return this.writer.length - this.start;
  }

  /** Takes back the frame that was begun or has just ended. */
  abort(): void {
    this.writer.length = this.start;
    this.#argCount = -1;
  }

  #session(session: Session): void {
    assert(session.client.length === 16, "a client id is 16 bytes");
    this.writer.raw(session.client);
    this.writer.u64(session.seq);
    this.writer.u64(session.floor);
    this.writer.u64(session.notAfter);
    this.writer.u64(session.after);
  }
}

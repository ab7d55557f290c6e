/**
 * RESP replies: the verbs of reply.ts as the bytes that Redis clients read, in the protocol the connection
 * chose with HELLO. What differs between the two:
 *
 *                 RESP2               RESP3
 *     nil         $-1                 _
 *     map         *2n (flat)          %n
 *     set         *n                  ~n
 *     verbatim    $len, text          =len+4, "txt:" text
 *
 * Blob errors and attributes are never sent: some clients drop the connection at them.
 */
import { utf8, type Writer } from "../base/bytes.ts";
import { writeDecimal } from "./decimal.ts";
import type { ReplySink } from "./reply.ts";

const OK = utf8("+OK\r\n");
const NIL_2 = utf8("$-1\r\n");
const NIL_3 = utf8("_\r\n");
const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;

const MARK = {
  simple: 0x2b, // +
  error: 0x2d, // -
  integer: 0x3a, // :
  bulk: 0x24, // $
  array: 0x2a, // *
  map: 0x25, // %
  set: 0x7e, // ~
  verbatim: 0x3d, // =
} as const;

export class RespEncoder implements ReplySink {
  /** The connection's output; it may be exchanged between replies. */
  writer: Writer;
  protocol: 2 | 3 = 2;

  constructor(writer: Writer) {
    this.writer = writer;
  }

  nil(): void {
    const bytes = this.protocol === 3 ? NIL_3 : NIL_2;
    this.writer.range(bytes, 0, bytes.length);
  }

  simple(text: string): void {
    if (text === "OK") this.writer.range(OK, 0, OK.length);
    else this.#line(MARK.simple, text);
  }

  /** A status line; another name for `simple`, as Redis calls it. */
  status(text: string): void {
    this.simple(text);
  }

  error(text: string): void {
    this.#line(MARK.error, text);
  }

  integer(value: number | bigint): void {
    this.#header(MARK.integer, value);
  }

  blob(bytes: Uint8Array, start: number, end: number): void {
    this.#header(MARK.bulk, end - start);
    this.writer.range(bytes, start, end);
    this.#lineEnd();
  }

  /** A string as a bulk, in UTF-8. */
  text(text: string): void {
    const bytes = utf8(text);
    this.blob(bytes, 0, bytes.length);
  }

  /** Text for people (INFO, CLIENT LIST): a tool may print it as it is. */
  verbatim(text: string): void {
    if (this.protocol === 2) {
      this.text(text);
      return;
    }
    const bytes = utf8(text);
    this.#header(MARK.verbatim, bytes.length + 4);
    this.writer.ascii("txt:");
    this.writer.raw(bytes);
    this.#lineEnd();
  }

  array(count: number): void {
    this.#header(MARK.array, count);
  }

  map(count: number): void {
    if (this.protocol === 3) this.#header(MARK.map, count);
    else this.#header(MARK.array, 2 * count);
  }

  /** `count` values follow, in no particular order. */
  set(count: number): void {
    this.#header(this.protocol === 3 ? MARK.set : MARK.array, count);
  }

  #header(mark: number, value: number | bigint): void {
    const writer = this.writer;
    writer.u8(mark);
    writeDecimal(writer, value);
    this.#lineEnd();
  }

  /** One line of text. A line end inside would be read as the next reply: it becomes a blank. */
  #line(mark: number, text: string): void {
    const writer = this.writer;
    writer.u8(mark);
    const start = writer.length;
    if (isAscii(text)) writer.ascii(text);
    else writer.raw(utf8(text));
    for (let at = start; at < writer.length; at++) {
      const byte = writer.bytes[at];
      if (byte === CR || byte === LF) writer.bytes[at] = SPACE;
    }
    this.#lineEnd();
  }

  #lineEnd(): void {
    const writer = this.writer;
    writer.reserve(2);
    writer.bytes[writer.length++] = CR;
    writer.bytes[writer.length++] = LF;
  }
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

/**
 * RESP requests, read in place as they arrive.
 *
 *     *3\r\n $3\r\nSET\r\n $1\r\nk\r\n $1\r\nv\r\n      multibulk: what clients send
 *     SET k "a b"\r\n                                  inline: what people type (resp_inline.ts)
 *
 * `feed(chunk)`, then `next()` until it says "more". The words of a command lie in `bytes`, at `bounds`: inside
 * the chunk itself as long as commands are whole, else in the carry of input.ts.
 *
 * Memory: nothing is set aside for an announced size. The carry grows as bytes arrive, up to one command of
 * COMMAND_RAW_BYTES_MAX plus one chunk; a command that announces more is skipped while it arrives and ends as
 * "refused", which costs nothing and leaves the connection usable.
 *
 * Errors: a request that is not RESP ends the stream for good: "error", with Redis's text in `errorText`.
 * Numbers are as strict as there; unlike there, the line ends are checked too, so a lost byte is noticed at
 * once. Source: the protocol description at redis.io; redis networking.c for limits and texts.
 */
import { KiB, MiB } from "../base/units.ts";
import type { Args } from "./args.ts";
import { ARGS_MAX, COMMAND_BYTES_MAX } from "./command.ts";
import { parseInteger } from "./decimal.ts";
import { ERROR } from "./error_text.ts";
import { Input } from "./input.ts";
import { InlineWords } from "./resp_inline.ts";

/** Most bytes of an inline command, and of a line that announces a count or size. */
export const LINE_BYTES_MAX = 64 * KiB;
/** Redis's own bounds: above them a request is not even RESP. */
export const MULTIBULK_COUNT_MAX = 1024 * 1024;
export const BULK_BYTES_MAX = 512 * MiB;
/** Most words of a command: the arguments of a frame, and names and options that do not become arguments. */
export const WORDS_MAX = ARGS_MAX + 16;
/** Most bytes of a command as sent: a frame's, and up to 16 bytes of header and line ends for each word. */
export const COMMAND_RAW_BYTES_MAX = COMMAND_BYTES_MAX + 16 * WORDS_MAX;
/** What an idle connection may keep. */
const CARRY_KEPT_BYTES_MAX = 64 * KiB;

const CR = 0x0d;
const LF = 0x0a;
const STAR = 0x2a;
const DOLLAR = 0x24;
const ZERO = 0x30;
const NOTHING = new Uint8Array(0);

/** `errorText` when a browser or an HTTP client talks to this port: close without a word. */
export const HTTP_REFUSED = "http";

/**
 * command  the words are in `bytes` and `bounds`
 * refused  a whole command went by that this server does not take: answer `errorText`, go on
 * more     everything fed so far is used up
 * error    the stream is broken: answer `errorText` (unless HTTP_REFUSED), then close
 */
export type RespEvent = "command" | "refused" | "more" | "error";

export class RespParser implements Args {
  /** Holds the words of the current command; borrowed until the next `feed`, or next `next` of an inline one. */
  bytes: Uint8Array = NOTHING;
  argCount = 0;
  bounds: Int32Array = new Int32Array(32);
  errorText = "";

  readonly #input = new Input(CARRY_KEPT_BYTES_MAX);
  /** Words still to come of the current multibulk; 0 between commands. */
  #wordsLeft = 0;
  /** Size of the word whose header was read; -1 before. */
  #wordSize = -1;
  /** Bytes of the current line that hold no line end. */
  #searched = 0;
  /** The current command is being skipped; `errorText` says why. */
  #skipping = false;
  #broken = false;
  readonly #inline = new InlineWords(WORDS_MAX);

  /** Bytes held of a command that is not complete. */
  get bufferedBytes(): number {
    return this.#input.held;
  }

  get allocatedBytes(): number {
    return this.#input.allocatedBytes + this.bounds.byteLength + this.#inline.bytes.length;
  }

  /**
   * Gives the parser more input; it reads `chunk` in place until `next()` says "more". Who stops before that
   * feeds an empty chunk: what is left is then copied, and the former chunk is free.
   */
  feed(chunk: Uint8Array): void {
    if (this.#broken) return;
    this.#more();
    this.#input.feed(chunk);
  }

  next(): RespEvent {
    const input = this.#input;
    if (this.#broken) return "error";
    this.bytes = input.bytes;
    while (true) {
      if (this.#wordsLeft === 0) {
        input.start = input.at;
        this.argCount = 0;
        if (input.at >= input.end) return this.#more();
        if (input.bytes[input.at] !== STAR) {
          const event = this.#readInline();
          if (event !== null) return event;
          continue;
        }
        const event = this.#readCount();
        if (event !== null) return event;
        if (this.#wordsLeft === 0) continue;
      }
      const event = this.#readWords();
      if (event !== null) return event;
    }
  }

  /** Words until the command is complete or input runs out. */
  #readWords(): RespEvent | null {
    const input = this.#input;
    while (this.#wordsLeft > 0) {
      if (this.#wordSize < 0) {
        const event = this.#readSize();
        if (event !== null) return event;
      }
      if (this.#skipping) {
        if (!this.#skipWord()) return this.#broken ? "error" : this.#more();
        continue;
      }
      const wordEnd = input.at + this.#wordSize;
      if (wordEnd + 2 > input.end) return this.#more();
      if (input.bytes[wordEnd] !== CR || input.bytes[wordEnd + 1] !== LF) return this.#badBulkEnd();
      this.bounds[2 * this.argCount] = input.at;
      this.bounds[2 * this.argCount + 1] = wordEnd;
      this.argCount++;
      input.at = wordEnd + 2;
      this.#wordSize = -1;
      this.#wordsLeft--;
    }
    if (!this.#skipping) return "command";
    this.#skipping = false;
    this.argCount = 0;
    return "refused";
  }

  /** "*n": sets `#wordsLeft`; commands without words are passed over. */
  #readCount(): RespEvent | null {
    const count = this.#readNumber("too big mbulk count string", "invalid multibulk length");
    if (count === null) return this.#broken ? "error" : this.#more();
    if (count > MULTIBULK_COUNT_MAX) return this.#fail("invalid multibulk length");
    if (count <= 0) {
      this.#input.start = this.#input.at;
      return null;
    }
    this.#wordsLeft = count;
    if (count > WORDS_MAX) this.#skip(ERROR.argCount);
    return null;
  }

  /** "$n": sets `#wordSize`, and makes room for the word's bounds. */
  #readSize(): RespEvent | null {
    const input = this.#input;
    if (input.at >= input.end) return this.#more();
    const mark = input.bytes[input.at] as number;
    if (mark !== DOLLAR) return this.#fail(`expected '$', got '${printable(mark)}'`);
    const size = this.#readNumber("too big bulk count string", "invalid bulk length");
    if (size === null) return this.#broken ? "error" : this.#more();
    if (size < 0 || size > BULK_BYTES_MAX) return this.#fail("invalid bulk length");
    this.#wordSize = size;
    if (this.#skipping) return null;
    if (input.at - input.start + size + 2 > COMMAND_RAW_BYTES_MAX) {
      this.#skip(ERROR.commandSize);
    } else if (this.bounds.length < 2 * (this.argCount + 1)) {
      const grown = new Int32Array(2 * this.bounds.length);
      grown.set(this.bounds);
      this.bounds = grown;
    }
    return null;
  }

  /**
   * The number between the mark at `at` and its line end, and moves past them. Null: not here yet, or broken.
   */
  #readNumber(tooBig: string, invalid: string): number | null {
    const input = this.#input;
    const buffer = input.bytes;
    let value = 0;
    let at = input.at + 1;
    // Nearly every number is a few digits that are already here.
    const quickEnd = Math.min(input.end - 1, at + 8);
    for (; at < quickEnd; at++) {
      const digit = (buffer[at] as number) - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = at - input.at - 1;
    if (at < input.end - 1 && buffer[at] === CR && buffer[at + 1] === LF && digits > 0) {
      if (digits === 1 || buffer[input.at + 1] !== ZERO) {
        input.at = at + 2;
        this.#searched = 0;
        return value;
      }
    }
    return this.#readNumberSlowly(tooBig, invalid);
  }

  #readNumberSlowly(tooBig: string, invalid: string): number | null {
    const input = this.#input;
    const lineEnd = this.#find(CR);
    if (lineEnd === -1) {
      if (input.end - input.at > LINE_BYTES_MAX) this.#fail(tooBig);
      return null;
    }
    if (lineEnd + 1 >= input.end) return null;
    const value = parseInteger(input.bytes, input.at + 1, lineEnd);
    if (value === null || input.bytes[lineEnd + 1] !== LF) {
      this.#fail(invalid);
      return null;
    }
    input.at = lineEnd + 2;
    this.#searched = 0;
    return Number(value); // whatever a large one loses does not matter: it is out of every range
  }

  /** Place of `byte` at or after `at`, or -1; what was searched before is not searched again. */
  #find(byte: number): number {
    const input = this.#input;
    const found = input.bytes.subarray(0, input.end).indexOf(byte, input.at + this.#searched);
    this.#searched = (found === -1 ? input.end : found) - input.at;
    return found;
  }

  #readInline(): RespEvent | null {
    const input = this.#input;
    const lineEnd = this.#find(LF);
    if (lineEnd === -1) {
      return input.end - input.at > LINE_BYTES_MAX ? this.#fail("too big inline request") : this.#more();
    }
    const start = input.at;
    this.#searched = 0;
    input.at = lineEnd + 1;
    const stop = lineEnd > start && input.bytes[lineEnd - 1] === CR ? lineEnd - 1 : lineEnd;
    if (stop - start > LINE_BYTES_MAX) return this.#fail("too big inline request");
    if (isHttp(input.bytes, start, stop)) return this.#break(HTTP_REFUSED);
    if (!this.#inline.split(input.bytes, start, stop)) return this.#fail("unbalanced quotes in request");
    if (this.#inline.count === 0) {
      input.start = input.at;
      return null;
    }
    this.bytes = this.#inline.bytes;
    this.argCount = this.#inline.count;
    if (this.argCount > WORDS_MAX) {
      this.errorText = ERROR.argCount;
      return "refused";
    }
    if (this.bounds.length < 2 * this.argCount) this.bounds = new Int32Array(4 * this.argCount);
    this.bounds.set(this.#inline.bounds.subarray(0, 2 * this.argCount));
    return "command";
  }

  #skip(errorText: string): void {
    this.#skipping = true;
    this.errorText = errorText;
    this.#input.start = this.#input.at;
    this.argCount = 0;
  }

  /** Passes over what is here of the current word and its line end; true when all of it went by. */
  #skipWord(): boolean {
    const input = this.#input;
    const left = this.#wordSize;
    const here = Math.min(left, input.end - input.at);
    input.at += here;
    this.#wordSize = left - here;
    input.start = input.at;
    if (this.#wordSize > 0 || input.at + 2 > input.end) return false;
    if (input.bytes[input.at] !== CR || input.bytes[input.at + 1] !== LF) {
      this.#badBulkEnd();
      return false;
    }
    input.at += 2;
    input.start = input.at;
    this.#wordSize = -1;
    this.#wordsLeft--;
    return true;
  }

  /** Input is used up: the unfinished command moves to the carry, and its words with it. */
  #more(): "more" {
    const shift = this.#input.settle();
    if (shift > 0) for (let i = 0; i < 2 * this.argCount; i++) (this.bounds[i] as number) -= shift;
    this.bytes = this.#input.bytes;
    return "more";
  }

  #badBulkEnd(): "error" {
    return this.#fail("bulk string is not followed by a line end");
  }

  #fail(what: string): "error" {
    return this.#break(`ERR Protocol error: ${what}`);
  }

  #break(errorText: string): "error" {
    this.errorText = errorText;
    this.#broken = true;
    this.argCount = 0;
    this.#input.drop();
    this.bytes = NOTHING;
    return "error";
  }
}

function printable(byte: number): string {
  return byte >= 0x20 && byte <= 0x7e ? String.fromCharCode(byte) : " ";
}

const HTTP_STARTS: readonly string[] = ["get /", "post ", "host:"];

/** Whether the line opens an HTTP request: browsers can be made to send those to any port. */
function isHttp(bytes: Uint8Array, start: number, end: number): boolean {
  for (const opening of HTTP_STARTS) if (startsWith(bytes, start, end, opening)) return true;
  return false;
}

function startsWith(bytes: Uint8Array, start: number, end: number, small: string): boolean {
  if (end - start < small.length) return false;
  for (let i = 0; i < small.length; i++) {
    const byte = bytes[start + i] as number;
    const folded = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
    if (folded !== small.charCodeAt(i)) return false;
  }
  return true;
}

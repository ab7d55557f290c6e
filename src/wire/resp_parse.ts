/**
 * RESP requests, read in place as they arrive.
 *
 *     *3\r\n $3\r\nSET\r\n $1\r\nk\r\n $1\r\nv\r\n      multibulk: what clients send
 *     SET k "a b"\r\n                                  inline: what people type (resp_inline.ts)
 *
 * `feed(chunk)`, then `next()` until it says "more". The words of a command lie in `bytes`, at `bounds`: inside
 * the chunk itself as long as commands are whole, else in a buffer where the unfinished tail was carried over.
 *
 *     buffer   | done commands | words of this one | not read yet |      |
 *              0               #start              #at            #end   capacity
 *
 * Memory: nothing is set aside for an announced size. The carry grows by doubling as bytes arrive, up to one
 * command of COMMAND_RAW_BYTES_MAX plus one chunk; a command that announces more is skipped while it arrives
 * and ends as "refused", which costs nothing and leaves the connection usable.
 *
 * Errors: a request that is not RESP ends the stream for good: "error", with Redis's text in `errorText`.
 * Numbers are as strict as there; unlike there, the line ends are checked too, so a lost byte is noticed at
 * once. Source: the protocol description at redis.io; redis networking.c for limits and texts.
 */
import { KiB, MiB } from "../base/units.ts";
import type { Args } from "./args.ts";
import { ARGS_MAX, COMMAND_BYTES_MAX } from "./command.ts";
import { parseInteger } from "./decimal.ts";
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
const CARRY_BYTES_MIN = 1 * KiB;

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

  /** Where input is read from: the last chunk, or `#carry`. */
  #buffer: Uint8Array = NOTHING;
  #carry: Uint8Array = NOTHING;
  #start = 0;
  #at = 0;
  #end = 0;
  /** Words still to come of the current multibulk; 0 between commands. */
  #wordsLeft = 0;
  /** Size of the word whose header was read; -1 before. */
  #wordSize = -1;
  /** Bytes of the current line that hold no line end. */
  #searched = 0;
  /** The current command is being skipped; `errorText` says why. */
  #skipping = false;
  #broken = false;
  readonly #inline = new InlineWords();

  /** Bytes held for commands that are not complete. */
  get bufferedBytes(): number {
    return this.#end - this.#start;
  }

  /** Memory held between commands. */
  get allocatedBytes(): number {
    return this.#carry.length + this.bounds.byteLength + this.#inline.bytes.length;
  }

  /** Gives the parser more input; it reads `chunk` in place until `next()` says "more". */
  feed(chunk: Uint8Array): void {
    if (this.#broken) return;
    this.#more(); // what is left, if anything, stands at the front of the carry now
    const held = this.#end;
    if (held === 0) {
      this.#use(chunk, 0, 0, chunk.length);
      return;
    }
    if (this.#carry.length < held + chunk.length) {
      const grown = new Uint8Array(Math.max(held + chunk.length, 2 * this.#carry.length, CARRY_BYTES_MIN));
      grown.set(this.#carry.subarray(0, held));
      this.#carry = grown;
    }
    this.#carry.set(chunk, held);
    this.#use(this.#carry, 0, this.#at, held + chunk.length);
  }

  next(): RespEvent {
    if (this.#broken) return "error";
    this.bytes = this.#buffer;
    while (true) {
      if (this.#wordsLeft === 0) {
        this.#start = this.#at;
        this.argCount = 0;
        if (this.#at >= this.#end) return this.#more();
        if (this.#buffer[this.#at] !== STAR) {
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

  #use(buffer: Uint8Array, start: number, at: number, end: number): void {
    this.#buffer = buffer;
    this.#start = start;
    this.#at = at;
    this.#end = end;
  }

  /** Words until the command is complete or input runs out. */
  #readWords(): RespEvent | null {
    while (this.#wordsLeft > 0) {
      if (this.#wordSize < 0) {
        const event = this.#readSize();
        if (event !== null) return event;
      }
      if (this.#skipping) {
        if (!this.#skipWord()) return this.#broken ? "error" : this.#more();
        continue;
      }
      const wordEnd = this.#at + this.#wordSize;
      if (wordEnd + 2 > this.#end) return this.#more();
      if (this.#buffer[wordEnd] !== CR || this.#buffer[wordEnd + 1] !== LF) return this.#badBulkEnd();
      this.bounds[2 * this.argCount] = this.#at;
      this.bounds[2 * this.argCount + 1] = wordEnd;
      this.argCount++;
      this.#at = wordEnd + 2;
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
      this.#start = this.#at;
      return null;
    }
    this.#wordsLeft = count;
    if (count > WORDS_MAX) this.#skip(`ERR command has more than ${ARGS_MAX} arguments`);
    return null;
  }

  /** "$n": sets `#wordSize`, and makes room for the word's bounds. */
  #readSize(): RespEvent | null {
    if (this.#at >= this.#end) return this.#more();
    const mark = this.#buffer[this.#at] as number;
    if (mark !== DOLLAR) return this.#fail(`expected '$', got '${printable(mark)}'`);
    const size = this.#readNumber("too big bulk count string", "invalid bulk length");
    if (size === null) return this.#broken ? "error" : this.#more();
    if (size < 0 || size > BULK_BYTES_MAX) return this.#fail("invalid bulk length");
    this.#wordSize = size;
    if (this.#skipping) return null;
    if (this.#at - this.#start + size + 2 > COMMAND_RAW_BYTES_MAX) {
      this.#skip(`ERR command is larger than ${COMMAND_BYTES_MAX} bytes`);
    } else if (this.bounds.length < 2 * (this.argCount + 1)) {
      const grown = new Int32Array(2 * this.bounds.length);
      grown.set(this.bounds);
      this.bounds = grown;
    }
    return null;
  }

  /**
   * The number between the mark at `#at` and its line end, and moves past them. Null: not here yet, or broken.
   */
  #readNumber(tooBig: string, invalid: string): number | null {
    const buffer = this.#buffer;
    let value = 0;
    let at = this.#at + 1;
    // Nearly every number is a few digits that are already here.
    const quickEnd = Math.min(this.#end - 1, at + 8);
    for (; at < quickEnd; at++) {
      const digit = (buffer[at] as number) - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = at - this.#at - 1;
    if (at < this.#end - 1 && buffer[at] === CR && buffer[at + 1] === LF && digits > 0) {
      if (digits === 1 || buffer[this.#at + 1] !== ZERO) {
        this.#at = at + 2;
        this.#searched = 0;
        return value;
      }
    }
    return this.#readNumberSlowly(tooBig, invalid);
  }

  #readNumberSlowly(tooBig: string, invalid: string): number | null {
    const lineEnd = this.#find(CR);
    if (lineEnd === -1) {
      if (this.#end - this.#at > LINE_BYTES_MAX) this.#fail(tooBig);
      return null;
    }
    if (lineEnd + 1 >= this.#end) return null;
    const value = parseInteger(this.#buffer, this.#at + 1, lineEnd);
    if (value === null || this.#buffer[lineEnd + 1] !== LF) {
      this.#fail(invalid);
      return null;
    }
    this.#at = lineEnd + 2;
    this.#searched = 0;
    return Number(value); // whatever a large one loses does not matter: it is out of every range
  }

  /** Place of `byte` at or after `#at`, or -1; what was searched before is not searched again. */
  #find(byte: number): number {
    const found = this.#buffer.subarray(0, this.#end).indexOf(byte, this.#at + this.#searched);
    this.#searched = (found === -1 ? this.#end : found) - this.#at;
    return found;
  }

  #readInline(): RespEvent | null {
    const lineEnd = this.#find(LF);
    if (lineEnd === -1) {
      return this.#end - this.#at > LINE_BYTES_MAX ? this.#fail("too big inline request") : this.#more();
    }
    const start = this.#at;
    this.#searched = 0;
    this.#at = lineEnd + 1;
    const stop = lineEnd > start && this.#buffer[lineEnd - 1] === CR ? lineEnd - 1 : lineEnd;
    if (stop - start > LINE_BYTES_MAX) return this.#fail("too big inline request");
    if (isHttp(this.#buffer, start, stop)) return this.#break(HTTP_REFUSED);
    if (!this.#inline.split(this.#buffer, start, stop)) return this.#fail("unbalanced quotes in request");
    if (this.#inline.count === 0) {
      this.#start = this.#at;
      return null;
    }
    this.bytes = this.#inline.bytes;
    this.argCount = this.#inline.count;
    if (this.argCount > WORDS_MAX) {
      this.errorText = `ERR command has more than ${ARGS_MAX} arguments`;
      return "refused";
    }
    if (this.bounds.length < 2 * this.argCount) this.bounds = new Int32Array(4 * this.argCount);
    this.bounds.set(this.#inline.bounds.subarray(0, 2 * this.argCount));
    return "command";
  }

  #skip(errorText: string): void {
    this.#skipping = true;
    this.errorText = errorText;
    this.#start = this.#at;
    this.argCount = 0;
  }

  /** Passes over what is here of the current word and its line end; true when all of it went by. */
  #skipWord(): boolean {
    const left = this.#wordSize;
    const here = Math.min(left, this.#end - this.#at);
    this.#at += here;
    this.#wordSize = left - here;
    this.#start = this.#at;
    if (this.#wordSize > 0 || this.#at + 2 > this.#end) return false;
    if (this.#buffer[this.#at] !== CR || this.#buffer[this.#at + 1] !== LF) {
      this.#badBulkEnd();
      return false;
    }
    this.#at += 2;
    this.#start = this.#at;
    this.#wordSize = -1;
    this.#wordsLeft--;
    return true;
  }

  /** Input is used up: the unfinished command moves to the front of the carry, the chunk is let go. */
  #more(): "more" {
    const held = this.#end - this.#start;
    if (held === 0) {
      if (this.#carry.length > CARRY_KEPT_BYTES_MAX) this.#carry = NOTHING;
      this.#use(NOTHING, 0, 0, 0);
    } else if (this.#buffer !== this.#carry) {
      if (this.#carry.length < held) this.#carry = new Uint8Array(Math.max(held, CARRY_BYTES_MIN));
      this.#carry.set(this.#buffer.subarray(this.#start, this.#end));
      this.#rebase();
    } else if (this.#start > 0) {
      this.#carry.copyWithin(0, this.#start, this.#end);
      this.#rebase();
    }
    this.bytes = this.#buffer;
    return "more";
  }

  /** The bytes from `#start` on now stand at the front of the carry. */
  #rebase(): void {
    const shift = this.#start;
    if (shift > 0) for (let i = 0; i < 2 * this.argCount; i++) (this.bounds[i] as number) -= shift;
    this.#use(this.#carry, 0, this.#at - shift, this.#end - shift);
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
    this.#carry = NOTHING;
    this.#use(NOTHING, 0, 0, 0);
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

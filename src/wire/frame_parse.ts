/**
 * Cuts a stream into frames. Both our protocols begin a frame with its whole length:
 *
 *     0   u32  length     of the frame, this field included
 *     4   ..              native.ts and peer.ts say what follows
 *
 * Frames are read in place (input.ts). The length is judged when its four bytes are here, before anything is
 * kept for it. Errors: "length" breaks the stream for good.
 */
import { assert } from "../base/assert.ts";
import { getU32 } from "../base/bytes.ts";
import { Input } from "./input.ts";

const LENGTH_BYTES = 4;

/** frame: it is `bytes[start, end)`; more: everything fed is used up; error: the stream is broken. */
export type FrameEvent = "frame" | "more" | "error";

export class FrameParser {
  /** Holds the current frame; borrowed until the next `feed`. */
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  #broken = false;
  readonly #input: Input;
  readonly #frameBytesMin: number;
  readonly #frameBytesMax: number;

  /** Frames from `frameBytesMin` (their fixed head) to `frameBytesMax`; see input.ts for `keptBytesMax`. */
  constructor(limits: { frameBytesMin: number; frameBytesMax: number; keptBytesMax: number }) {
    assert(limits.frameBytesMin >= LENGTH_BYTES, "a frame holds its own length");
    this.#input = new Input(limits.keptBytesMax);
    this.#frameBytesMin = limits.frameBytesMin;
    this.#frameBytesMax = limits.frameBytesMax;
  }

  get bufferedBytes(): number {
    return this.#input.held;
  }

  get allocatedBytes(): number {
    return this.#input.allocatedBytes;
  }

  /** Gives more input; it is read in place until `next()` says "more". An empty chunk: as in resp_parse.ts. */
  feed(chunk: Uint8Array): void {
    if (this.#broken) return;
    this.#input.settle();
    this.#input.feed(chunk);
  }

  next(): FrameEvent {
    if (this.#broken) return "error";
    const input = this.#input;
    input.start = input.at;
    if (input.end - input.at < LENGTH_BYTES) return this.#more();
    const length = getU32(input.bytes, input.at);
    if (length < this.#frameBytesMin || length > this.#frameBytesMax) return this.fail();
    if (input.end - input.at < length) return this.#more();
    this.bytes = input.bytes;
    this.start = input.at;
    this.end = input.at + length;
    input.at = this.end;
    return "frame";
  }

  /** Breaks the stream: a frame's content was wrong, so what follows cannot be trusted. */
  fail(): "error" {
    this.#broken = true;
    this.#input.drop();
    return "error";
  }

  #more(): "more" {
    this.#input.settle();
    this.bytes = this.#input.bytes;
    this.start = 0;
    this.end = 0;
    return "more";
  }
}

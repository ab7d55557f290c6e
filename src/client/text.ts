/** Keys and values as the caller has them, brought into bytes without a small buffer to each. */
import { Writer } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";
import { slotOf } from "../ring/slot.ts";
import type { CommandEncoder } from "../wire/command_encode.ts";

/** Text is UTF-8. */
export type Data = string | Uint8Array;

const encoder = new TextEncoder();
/** Below it a loop over ASCII beats the encoder. */
const SHORT_CHARACTERS = 64;
const SCRATCH_KEPT_BYTES = 64 * KiB;

/** Holds one text as bytes, until the next one. */
class Scratch {
  #writer = new Writer(KiB);
  size = 0;
  #text = "";

  get bytes(): Uint8Array {
    return this.#writer.bytes;
  }

  put(text: string): void {
    if (text === this.#text) return; // a key is wanted twice: for its slot, and as an argument
    this.#text = text;
    if (this.#writer.bytes.length > SCRATCH_KEPT_BYTES) this.#writer = new Writer(KiB);
    this.#writer.clear();
    this.#writer.reserve(3 * text.length); // no UTF-16 unit becomes more bytes
    const { bytes } = this.#writer;
    let at = 0;
    if (text.length <= SHORT_CHARACTERS) {
      for (; at < text.length; at++) {
        const unit = text.charCodeAt(at);
        if (unit >= 0x80) break;
        bytes[at] = unit;
      }
    }
    this.size = at === text.length ? at : encoder.encodeInto(text, bytes).written;
  }
}

const scratch = new Scratch();

/** Writes `data` as the next argument. */
export function putArgument(to: CommandEncoder, data: Data): void {
  if (typeof data !== "string") {
    to.arg(data);
    return;
  }
  scratch.put(data);
  to.argRange(scratch.bytes, 0, scratch.size);
}

export function slotOfKey(key: Data): number {
  if (typeof key !== "string") return slotOf(key, 0, key.length);
  scratch.put(key);
  return slotOf(scratch.bytes, 0, scratch.size);
}

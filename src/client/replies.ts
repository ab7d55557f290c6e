/**
 * Native replies as values of the language: nil -> undefined, simple -> string, integer -> number (bigint beyond
 * 2^53), blob -> what the values of this client are (text or bytes), array -> array. Errors become CommandErrors.
 *
 * Errors: bytes that are no reply give a ProtocolError.
 */
import { fromUtf8 } from "../base/bytes.ts";
import { replayReply } from "../wire/native_reply.ts";
import type { ReplySink } from "../wire/reply.ts";
import { CommandError, ProtocolError } from "./errors.ts";

/** What blobs become. */
export type Blob<V> = (bytes: Uint8Array, start: number, end: number) => V;

/** A copy: what was received is only borrowed. */
export const asBytes: Blob<Uint8Array> = (bytes, start, end) => bytes.slice(start, end);

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Short ASCII, the common case, needs no decoder. */
const SHORT_BYTES = 24;

export const asText: Blob<string> = (bytes, start, end) => {
  if (end - start <= SHORT_BYTES) {
    let text = "";
    let at = start;
    for (; at < end && (bytes[at] as number) < 0x80; at++) text += String.fromCharCode(bytes[at] as number);
    if (at === end) return text;
  }
  try {
    return strict.decode(bytes.subarray(start, end));
  } catch {
    throw new ProtocolError(`the value is not UTF-8 text; connect with { values: "bytes" } to read it`);
  }
};

type Frame = { readonly list: unknown[]; left: number };

/** Builds one value; reused. */
export class ReplyReader<V> implements ReplySink {
  readonly #blob: Blob<V>;
  #value: unknown = undefined;
  #error: string | null = null;
  readonly #frames: Frame[] = [];

  constructor(blob: Blob<V>) {
    this.#blob = blob;
  }

  /** The value of the reply `bytes[start, end)`; throws CommandError or ProtocolError. */
  read(bytes: Uint8Array, start: number, end: number): unknown {
    this.#value = undefined;
    this.#error = null;
    this.#frames.length = 0;
    if (!replayReply(bytes, start, end, this)) throw new ProtocolError("malformed reply");
    if (this.#error !== null) throw new CommandError(this.#error);
    return this.#value;
  }

  nil(): void {
    this.#put(undefined);
  }

  simple(text: string): void {
    this.#put(text);
  }

  error(text: string): void {
    this.#error ??= text;
    this.#put(undefined);
  }

  integer(value: number | bigint): void {
    this.#put(value);
  }

  blob(bytes: Uint8Array, start: number, end: number): void {
    this.#put(this.#blob(bytes, start, end));
  }

  array(count: number): void {
    const list: unknown[] = [];
    this.#put(list);
    if (count > 0) this.#frames.push({ list, left: count });
  }

  /** As a list of keys and values in turn. */
  map(count: number): void {
    this.array(2 * count);
  }

  #put(value: unknown): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) {
      this.#value = value;
      return;
    }
    frame.list.push(value);
    if (--frame.left === 0) this.#frames.pop();
  }
}

export function wrongReply(wanted: string): ProtocolError {
  return new ProtocolError(`the reply is not ${wanted}`);
}

export function statusOf(bytes: Uint8Array, start: number, end: number): unknown {
  try {
    return JSON.parse(fromUtf8(bytes.subarray(start, end)));
  } catch {
    throw wrongReply("JSON");
  }
}

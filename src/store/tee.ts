/**
 * Gives one reply to two sinks: to whoever waits, and to the encoder that keeps it for a retry. The encoder gets no
 * more than may be kept: a reply of many megabytes passes by without being gathered.
 */
import type { ReplyEncoder } from "../wire/native_reply.ts";
import { DISCARD, type ReplySink } from "../wire/reply.ts";

export class Tee implements ReplySink {
  /** Who waits. */
  first: ReplySink = DISCARD;
  /** The reply had more bytes than are kept; what the encoder holds is then only its beginning. */
  overflowed = false;
  readonly #kept: ReplyEncoder;
  readonly #bytesMax: number;

  constructor(kept: ReplyEncoder, bytesMax: number) {
    this.#kept = kept;
    this.#bytesMax = bytesMax;
  }

  /** Forgets the last reply. */
  begin(first: ReplySink): void {
    this.first = first;
    this.overflowed = false;
    this.#kept.writer.clear();
  }

  nil(): void {
    this.first.nil();
    if (this.#fits(0)) this.#kept.nil();
  }

  simple(text: string): void {
    this.first.simple(text);
    if (this.#fits(text.length)) this.#kept.simple(text);
  }

  error(text: string): void {
    this.first.error(text);
    if (this.#fits(text.length)) this.#kept.error(text);
  }

  integer(value: number | bigint): void {
    this.first.integer(value);
    if (this.#fits(8)) this.#kept.integer(value);
  }

  blob(bytes: Uint8Array, start: number, end: number): void {
    this.first.blob(bytes, start, end);
    if (this.#fits(end - start)) this.#kept.blob(bytes, start, end);
  }

  array(count: number): void {
    this.first.array(count);
    if (this.#fits(4)) this.#kept.array(count);
  }

  map(count: number): void {
    this.first.map(count);
    if (this.#fits(4)) this.#kept.map(count);
  }

  #fits(size: number): boolean {
    if (this.#kept.writer.length + size > this.#bytesMax) this.overflowed = true;
    return !this.overflowed;
  }
}

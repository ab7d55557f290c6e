/** Gives one reply to two sinks: to whoever waits, and to the encoder that keeps it for a retry. */
import { DISCARD, type ReplySink } from "../wire/reply.ts";

export class Tee implements ReplySink {
  first: ReplySink = DISCARD;
  readonly #second: ReplySink;

  constructor(second: ReplySink) {
    this.#second = second;
  }

  nil(): void {
    this.first.nil();
    this.#second.nil();
  }

  simple(text: string): void {
    this.first.simple(text);
    this.#second.simple(text);
  }

  error(text: string): void {
    this.first.error(text);
    this.#second.error(text);
  }

  integer(value: number | bigint): void {
    this.first.integer(value);
    this.#second.integer(value);
  }

  blob(bytes: Uint8Array, start: number, end: number): void {
    this.first.blob(bytes, start, end);
    this.#second.blob(bytes, start, end);
  }

  array(count: number): void {
    this.first.array(count);
    this.#second.array(count);
  }

  map(count: number): void {
    this.first.map(count);
    this.#second.map(count);
  }
}

/**
 * The requests that have no answer yet, by their numbers: a ring that grows by doubling.
 *
 *     oldest                      next
 *       | r | - | r | r | - | r |       numbers rise by one; `-` = answered
 *
 * `oldest` is the floor of the session: every number below it has its answer, and is never sent again.
 */
import { assert } from "../base/assert.ts";

const CAPACITY_MIN = 64;

export class Window<T> {
  #slots: (T | undefined)[] = new Array<T | undefined>(CAPACITY_MIN);
  #count = 0;
  /** The lowest number without an answer; `next` if there is none. */
  oldest: number;
  /** The number of the next request. */
  next: number;

  constructor(first = 1) {
    this.oldest = first;
    this.next = first;
  }

  /** Requests without an answer. */
  get count(): number {
    return this.#count;
  }

  /** Gives `request` the next number. */
  add(request: T): number {
    if (this.next - this.oldest === this.#slots.length) this.#grow();
    const number = this.next++;
    this.#slots[number & (this.#slots.length - 1)] = request;
    this.#count++;
    return number;
  }

  get(number: number): T | undefined {
    return number >= this.oldest && number < this.next
      ? this.#slots[number & (this.#slots.length - 1)]
      : undefined;
  }

  /** The request has its answer. */
  remove(number: number): void {
    const mask = this.#slots.length - 1;
    assert(this.get(number) !== undefined, "a request is answered once");
    this.#slots[number & mask] = undefined;
    this.#count--;
    while (this.oldest < this.next && this.#slots[this.oldest & mask] === undefined) this.oldest++;
  }

  #grow(): void {
    const slots = new Array<T | undefined>(2 * this.#slots.length);
    for (let n = this.oldest; n < this.next; n++) slots[n & (slots.length - 1)] = this.get(n);
    this.#slots = slots;
  }
}

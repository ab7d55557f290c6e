/**
 * A bounded first-in first-out queue on a ring of slots. Its capacity is a promise to the reader of the code:
 * whoever pushes must have checked `full` and know what to do then.
 */
import { assert } from "./assert.ts";

export class RingQueue<T> {
  #slots: (T | undefined)[];
  #head = 0;
  #length = 0;
  readonly capacityMax: number;

  /** Grows by doubling up to `capacityMax`, so an idle queue costs little. */
  constructor(capacityMax: number) {
    assert(capacityMax >= 1, "a queue holds at least one");
    this.capacityMax = capacityMax;
    this.#slots = new Array<T | undefined>(Math.min(16, capacityMax));
  }

  get length(): number {
    return this.#length;
  }

  get full(): boolean {
    return this.#length === this.capacityMax;
  }

  push(value: T): void {
    assert(!this.full, "push only into a queue that is not full");
    if (this.#length === this.#slots.length) this.#grow();
    this.#slots[(this.#head + this.#length) % this.#slots.length] = value;
    this.#length++;
  }

  peek(): T | undefined {
    return this.#length === 0 ? undefined : this.#slots[this.#head];
  }

  /** The `offset`-th from the head. */
  at(offset: number): T {
    assert(offset >= 0 && offset < this.#length, "offset within the queue");
    return this.#slots[(this.#head + offset) % this.#slots.length] as T;
  }

  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const value = this.#slots[this.#head];
    this.#slots[this.#head] = undefined; // let go of it
    this.#head = (this.#head + 1) % this.#slots.length;
    this.#length--;
    return value;
  }

  clear(): void {
    this.#slots.fill(undefined);
    this.#head = 0;
    this.#length = 0;
  }

  #grow(): void {
    const size = Math.min(this.#slots.length * 2, this.capacityMax);
    const slots = new Array<T | undefined>(size);
    for (let i = 0; i < this.#length; i++) slots[i] = this.at(i);
    this.#slots = slots;
    this.#head = 0;
  }
}

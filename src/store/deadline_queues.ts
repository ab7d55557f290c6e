/**
 * The deadlines of a keyspace: several queues that look like one, in (deadline, order) order, and some that are *held*:
 * what is in them does not come up. Records of slots that this shard does not serve wait in held queues; when the slots
 * are served, or emptied, the queue is let go and takes part with all that is in it, which moves no member.
 *
 *     node = queue (4 bits) << 28 | node in that queue
 *
 * Queue 0 is the main one. The others empty into it bit by bit; one that is empty and not held is taken again.
 */
import { assert } from "../base/assert.ts";
import { DeadlineQueue, type Tie } from "./deadlines.ts";

/** Of a record whose deadline is in no queue any more. */
export const NO_NODE = -1;
export const MAIN_QUEUE = 0;
const QUEUES_MAX = 8;
const QUEUE_SHIFT = 28;
const NODE_MASK = (1 << QUEUE_SHIFT) - 1;

export class DeadlineQueues {
  readonly #tie: Tie;
  readonly #queues: DeadlineQueue[];
  readonly #held: boolean[] = [false];

  constructor(tie: Tie) {
    this.#tie = tie;
    this.#queues = [new DeadlineQueue(tie)];
  }

  /** Members of all queues. */
  get length(): number {
    let length = 0;
    for (const queue of this.#queues) length += queue.length;
    return length;
  }

  get allocatedBytes(): number {
    let bytes = 0;
    for (const queue of this.#queues) bytes += queue.allocatedBytes;
    return bytes;
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const queue of this.#queues) bytes += queue.usedBytes;
    return bytes;
  }

  /** The earliest deadline of all that are not held, or -1. */
  earliest(): number {
    if (this.#queues.length === 1) return this.#main.earliest();
    const queue = this.#first();
    return queue < 0 ? -1 : this.#queue(queue).earliest();
  }

  earliestValue(): number {
    const queue = this.#first();
    assert(queue >= 0, "an earliest member exists");
    return this.#queue(queue).earliestValue();
  }

  /** Adds a member to `queue`; gives its node. */
  add(deadline: number, order: number, value: number, queue: number): number {
    const node = this.#queue(queue).add(deadline, order, value);
    assert(node <= NODE_MASK, "a queue's nodes have 28 bits");
    return node | (queue << QUEUE_SHIFT);
  }

  /** The member now has this deadline and order, speaks for `value` and is in `queue`; gives its node. */
  update(node: number, deadline: number, order: number, value: number, queue: number): number {
    if (node >>> QUEUE_SHIFT !== queue) {
      this.remove(node);
      return this.add(deadline, order, value, queue);
    }
    this.#queue(queue).update(node & NODE_MASK, deadline, order, value);
    return node;
  }

  setValue(node: number, value: number): void {
    this.#queue(node >>> QUEUE_SHIFT).setValue(node & NODE_MASK, value);
  }

  remove(node: number): void {
    this.#queue(node >>> QUEUE_SHIFT).remove(node & NODE_MASK);
  }

  /** An empty queue, held from now on. */
  hold(): number {
    let queue = 1;
    while (queue < this.#queues.length && (this.#held[queue] === true || this.#queue(queue).length > 0))
      queue++;
    assert(queue < QUEUES_MAX, "queues were emptied before more of them are held");
    if (queue === this.#queues.length) this.#queues.push(new DeadlineQueue(this.#tie));
    this.#held[queue] = true;
    return queue;
  }

  letGo(queue: number): void {
    assert(queue !== MAIN_QUEUE && this.#held[queue] === true, "the queue is held");
    this.#held[queue] = false;
  }

  /** A queue beside the main one that is not held and has members, or 0; with `isScarce` only if few are left. */
  leftover(isScarce: boolean): number {
    let found = 0;
    let taken = 1;
    for (let queue = 1; queue < this.#queues.length; queue++) {
      if (this.#held[queue] === false && this.#queue(queue).length === 0) continue;
      taken++;
      if (this.#held[queue] === false) found = queue;
    }
    return isScarce && taken < QUEUES_MAX ? 0 : found;
  }

  earliestValueOf(queue: number): number {
    return this.#queue(queue).earliestValue();
  }

  get #main(): DeadlineQueue {
    return this.#queues[MAIN_QUEUE] as DeadlineQueue;
  }

  #queue(queue: number): DeadlineQueue {
    return this.#queues[queue] as DeadlineQueue;
  }

  /** The queue that has the earliest member, or -1. */
  #first(): number {
    let first = -1;
    for (let queue = 0; queue < this.#queues.length; queue++) {
      if (this.#held[queue] === true || this.#queue(queue).length === 0) continue;
      if (first < 0 || this.#isBefore(this.#queue(queue), this.#queue(first))) first = queue;
    }
    return first;
  }

  #isBefore(one: DeadlineQueue, other: DeadlineQueue): boolean {
    if (one.earliest() !== other.earliest()) return one.earliest() < other.earliest();
    if (one.earliestOrder() !== other.earliestOrder()) return one.earliestOrder() < other.earliestOrder();
    return this.#tie(one.earliestValue(), other.earliestValue());
  }
}

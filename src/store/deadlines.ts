/**
 * The queue of deadlines: a binary heap in (deadline, order) order that knows where each of its members stands, so
 * that a member whose deadline changes is moved or taken out at once and nothing stale is ever kept.
 *
 * Two members may have the same deadline and order; `tie` then says which of their values comes first, so that the
 * queue's order never depends on how it came to be.
 *
 * A member is a *node*, a small number that whoever it speaks for keeps (records.ts: in the record). 28 bytes a
 * node, in typed arrays of fixed size that are added as needed: growing never copies what is there.
 */
import { assert } from "../base/assert.ts";

const CHUNK_SHIFT = 10;
const CHUNK_LENGTH = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_LENGTH - 1;
const NODE_BYTES = 8 + 8 + 4 + 4 + 4;

/** Whether `value` comes before `other`. */
export type Tie = (value: number, other: number) => boolean;
const NO_TIE: Tie = () => false;

export class DeadlineQueue {
  /** Members now. */
  length = 0;

  // By node.
  readonly #deadlines: Float64Array[] = [];
  readonly #orders: Float64Array[] = [];
  readonly #values: Int32Array[] = [];
  /** Its place in the heap; of a free node: the next free node, plus one. */
  readonly #places: Int32Array[] = [];
  /** By place in the heap: the node. */
  readonly #heap: Int32Array[] = [];
  #nodeCount = 0;
  #freeNode = 0;
  readonly #tie: Tie;

  constructor(tie: Tie = NO_TIE) {
    this.#tie = tie;
  }

  get allocatedBytes(): number {
    return this.#heap.length * CHUNK_LENGTH * NODE_BYTES;
  }

  get usedBytes(): number {
    return this.length * NODE_BYTES;
  }

  /** The earliest deadline, or -1. */
  earliest(): number {
    return this.length === 0 ? -1 : get(this.#deadlines, get(this.#heap, 0));
  }

  /** Order of the earliest member. */
  earliestOrder(): number {
    assert(this.length > 0, "an earliest member exists");
    return get(this.#orders, get(this.#heap, 0));
  }

  /** What the earliest member was added for. */
  earliestValue(): number {
    assert(this.length > 0, "an earliest member exists");
    return get(this.#values, get(this.#heap, 0));
  }

  /** Adds a member for `value` and gives its node. Members of one deadline come by `order`. */
  add(deadline: number, order: number, value: number): number {
    let node = this.#freeNode - 1;
    if (node >= 0) {
      this.#freeNode = get(this.#places, node);
    } else {
      node = this.#nodeCount++;
      if (node >= this.#heap.length * CHUNK_LENGTH) this.#addChunk();
    }
    set(this.#values, node, value);
    set(this.#deadlines, node, deadline);
    set(this.#orders, node, order);
    this.#up(node, this.length++);
    return node;
  }

  /** The member now has this deadline and order, and speaks for `value`. */
  update(node: number, deadline: number, order: number, value: number): void {
    set(this.#values, node, value);
    set(this.#deadlines, node, deadline);
    set(this.#orders, node, order);
    const place = get(this.#places, node);
    if (this.#up(node, place) === place) this.#down(node, place);
  }

  /** The member now speaks for `value`; its place stays. */
  setValue(node: number, value: number): void {
    set(this.#values, node, value);
  }

  remove(node: number): void {
    const place = get(this.#places, node);
    const last = get(this.#heap, --this.length);
    if (last !== node && this.#up(last, place) === place) this.#down(last, place);
    set(this.#places, node, this.#freeNode);
    this.#freeNode = node + 1;
  }

  #before(node: number, other: number): boolean {
    const a = get(this.#deadlines, node);
    const b = get(this.#deadlines, other);
    if (a !== b) return a < b;
    const first = get(this.#orders, node);
    const second = get(this.#orders, other);
    if (first !== second) return first < second;
    return this.#tie(get(this.#values, node), get(this.#values, other));
  }

  /** Puts `node` at `place` or as far above as it belongs; gives its place. */
  #up(node: number, place: number): number {
    let at = place;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const other = get(this.#heap, above);
      if (!this.#before(node, other)) break;
      this.#seat(other, at);
      at = above;
    }
    this.#seat(node, at);
    return at;
  }

  #down(node: number, place: number): void {
    let at = place;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= this.length) break;
      let other = get(this.#heap, below);
      if (below + 1 < this.length) {
        const right = get(this.#heap, below + 1);
        if (this.#before(right, other)) {
          other = right;
          below++;
        }
      }
      if (!this.#before(other, node)) break;
      this.#seat(other, at);
      at = below;
    }
    this.#seat(node, at);
  }

  #seat(node: number, place: number): void {
    set(this.#heap, place, node);
    set(this.#places, node, place);
  }

  #addChunk(): void {
    this.#deadlines.push(new Float64Array(CHUNK_LENGTH));
    this.#orders.push(new Float64Array(CHUNK_LENGTH));
    this.#values.push(new Int32Array(CHUNK_LENGTH));
    this.#places.push(new Int32Array(CHUNK_LENGTH));
    this.#heap.push(new Int32Array(CHUNK_LENGTH));
  }
}

function get(chunks: readonly (Float64Array | Int32Array)[], at: number): number {
  return (chunks[at >> CHUNK_SHIFT] as Float64Array | Int32Array)[at & CHUNK_MASK] as number;
}

function set(chunks: readonly (Float64Array | Int32Array)[], at: number, value: number): void {
  (chunks[at >> CHUNK_SHIFT] as Float64Array | Int32Array)[at & CHUNK_MASK] = value;
}

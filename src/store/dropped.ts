/**
 * What slots were emptied of: index trees that no slot leads to any more, with their records. Emptying is a step of the
 * log and costs a few words a slot; giving the cells back happens here, a few records at a time, whenever there is time
 * for it, and nothing waits for it.
 */
import type { KeyIndex } from "./index.ts";

/** Pending trees of one slot, so that its generations (slots.ts) cannot come round: one less than there are. */
export const DROPPED_PER_SLOT_MAX = 31;

type Tree = { readonly slot: number; readonly root: number };

export class Dropped {
  readonly #index: KeyIndex;
  readonly #trees: Tree[] = [];
  readonly #perSlot = new Map<number, number>();
  /** Of the first tree: segments and nodes still to be visited, and the entry of the topmost segment. */
  #places: number[] = [];
  #entry = 0;

  constructor(index: KeyIndex) {
    this.#index = index;
  }

  get isPending(): boolean {
    return this.#trees.length > 0;
  }

  /** Trees of the slot that are pending. */
  of(slot: number): number {
    return this.#perSlot.get(slot) ?? 0;
  }

  add(slot: number, root: number): void {
    this.#trees.push({ slot, root });
    this.#perSlot.set(slot, this.of(slot) + 1);
    if (this.#trees.length === 1) this.#places = [root];
  }

  /** Gives up to `countMax` records to `release`, and their places in the index back. */
  step(countMax: number, release: (ref: number) => void): void {
    let left = countMax;
    while (left > 0 && this.#trees.length > 0) {
      const place = this.#places.pop();
      if (place === undefined) {
        this.#endTree();
        continue;
      }
      if (this.#index.isNode(place)) {
        this.#index.childrenOf(place, this.#places);
        this.#index.slab.release(place);
        left--;
        continue;
      }
      const count = this.#index.countOf(place);
      while (left > 0 && this.#entry < count) {
        release(this.#index.entryOf(place, this.#entry++));
        left--;
      }
      if (this.#entry < count) {
        this.#places.push(place);
        return;
      }
      const next = this.#index.nextOf(place);
      if (next !== 0) this.#places.push(next);
      this.#index.slab.release(place);
      this.#entry = 0;
      left--;
    }
  }

  #endTree(): void {
    const tree = this.#trees.shift() as Tree;
    const left = this.of(tree.slot) - 1;
    if (left === 0) this.#perSlot.delete(tree.slot);
    else this.#perSlot.set(tree.slot, left);
    const next = this.#trees[0];
    if (next !== undefined) this.#places = [next.root];
  }
}

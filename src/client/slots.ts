/**
 * What keeps the order of one slot's requests.
 *
 *     writes    a list of those without an answer: each names the one before it when it is sent (`after`)
 *     outlet    where its requests are, and how many: all of a slot's are at one node
 *     held      requests for another node: they go when those before them have their answers
 *
 * So a slot changes its node, or its group, only while nothing of it is under way.
 */
import { assert } from "../base/assert.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import type { Outlet } from "./outlet.ts";
import type { Request } from "./request.ts";

export class Slots {
  readonly #lastWrites: (Request | null)[] = new Array<Request | null>(SLOT_COUNT).fill(null);
  readonly #outlets: (Outlet | null)[] = new Array<Outlet | null>(SLOT_COUNT).fill(null);
  readonly #counts = new Uint32Array(SLOT_COUNT);
  readonly #held = new Map<number, Request[]>();

  /** The last write without an answer, or null. */
  lastWrite(slot: number): Request | null {
    return this.#lastWrites[slot] as Request | null;
  }

  link(write: Request): void {
    const before = this.lastWrite(write.slot);
    write.before = before;
    if (before !== null) before.behind = write;
    this.#lastWrites[write.slot] = write;
  }

  unlink({ before, behind, slot }: Request): void {
    if (before !== null) before.behind = behind;
    if (behind !== null) behind.before = before;
    else this.#lastWrites[slot] = before;
  }

  /** Counts `request` in at `outlet`. False: it is held, and `leave` will give it back. */
  enter(request: Request, outlet: Outlet): boolean {
    const { slot } = request;
    if (slot < 0) return true;
    const count = this.#counts[slot] as number;
    if ((count > 0 && this.#outlets[slot] !== outlet) || this.#held.has(slot)) {
      this.#hold(request);
      return false;
    }
    this.#outlets[slot] = outlet;
    this.#counts[slot] = count + 1;
    return true;
  }

  /** Calls keep their order: one that was refused meanwhile goes before later ones. */
  #hold(request: Request): void {
    const held = this.#held.get(request.slot);
    if (held === undefined) {
      this.#held.set(request.slot, [request]);
      return;
    }
    const later = held.findIndex(({ id }) => id > request.id);
    held.splice(later < 0 ? held.length : later, 0, request);
  }

  /** A request of `slot` is not at its outlet any more. Gives what was held, if that may go now. */
  leave(slot: number): readonly Request[] {
    if (slot < 0) return NONE;
    const count = this.#counts[slot] as number;
    assert(count > 0, "what leaves had entered");
    this.#counts[slot] = count - 1;
    if (count > 1 || this.#held.size === 0) return NONE;
    const held = this.#held.get(slot);
    if (held === undefined) return NONE;
    this.#held.delete(slot);
    return held;
  }
}

const NONE: readonly Request[] = [];

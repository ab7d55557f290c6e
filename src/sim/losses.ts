/**
 * What a lost shard takes with it, and nothing else may be gone. When the disks of a shard's majority are destroyed, its
 * slots fall silent; each of them comes back in one of three ways, which checkers of moves see and tell:
 *
 *     saved    the target of a move that had all of it owns it: nothing is gone
 *     blank    another shard takes it as empty: every key in it begins anew, with nothing
 *     back     the source of a move serves it again, which the lost shard had owned by its own word: keys are as they were
 *              before the move, which no client can tell from the outside; they are judged no further
 *
 * So the history of a key in a blank slot falls into two: that of before the loss, and that of another key of the same
 * name, which nobody has written yet. What was asked before the loss and answered after the new beginning, or never, may have
 * taken effect in either, in one of them at most.
 */
import { utf8 } from "../base/bytes.ts";
import { slotOf } from "../ring/slot.ts";
import type { History, HistoryOp } from "./history.ts";

/** In positions of the history. */
type Loss = { readonly lostAt: number; bornAt: number; isBack: boolean };

export class Losses {
  readonly #history: History;
  readonly #slots = new Map<number, Loss>();

  constructor(history: History) {
    this.#history = history;
  }

  /** A shard that served these slots, or had them sealed, is lost. */
  lose(slots: Iterable<number>): void {
    const lostAt = this.#history.position;
    for (const slot of slots) this.#slots.set(slot, { lostAt, bornAt: Infinity, isBack: false });
  }

  /** Somebody may take the slot as empty. */
  isSilent(slot: number): boolean {
    return this.#slots.get(slot)?.bornAt === Infinity;
  }

  save(slot: number): void {
    if (this.isSilent(slot)) this.#slots.delete(slot);
  }

  takeBlank(slot: number): void {
    const loss = this.#slots.get(slot);
    if (loss !== undefined) loss.bornAt = this.#history.position;
  }

  bringBack(slot: number): void {
    const loss = this.#slots.get(slot);
    if (loss !== undefined) [loss.bornAt, loss.isBack] = [this.#history.position, true];
  }

  /** Slots that were taken as empty, and those that are as they were before a move. */
  get counts(): { readonly blank: number; readonly back: number } {
    const all = [...this.#slots.values()];
    const back = all.filter(({ isBack }) => isBack).length;
    return { blank: all.filter(({ bornAt }) => bornAt < Infinity).length - back, back };
  }

  /** The history as it is to be judged. */
  judged(ops: readonly HistoryOp[]): readonly HistoryOp[] {
    return this.#slots.size === 0 ? ops : ops.flatMap((op) => this.#parts(op));
  }

  #parts(op: HistoryOp): HistoryOp[] {
    const bytes = utf8(op.key);
    const loss = this.#slots.get(slotOf(bytes, 0, bytes.length));
    if (loss === undefined) return [op];
    if (loss.isBack) return [];
    const before = { ...op, key: `${op.key} before the loss` };
    if (op.invoked >= loss.lostAt) return op.returned < loss.bornAt ? [before] : [op];
    if (op.returned < loss.bornAt) return [before];
    if (op.op.kind === "get") return [];
    // Only one of the two can have happened; both may be left out.
    return [before, op].map((half) => ({ ...half, outcome: "unknown", returned: Infinity, result: null }));
  }
}

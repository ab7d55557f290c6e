/**
 * What a lost shard takes with it, and nothing else may be gone. When the disks of a shard's majority are destroyed, its
 * slots fall silent; each of them comes back in one of three ways, which checkers of moves see and tell:
 *
 *     saved    the target of a move that had all of it owns it: nothing is gone
 *     blank    another shard takes it as empty: every key in it begins anew, with nothing
 *     back     the source of a move serves it again, which the lost shard had owned by its own word: keys are as they were
 *              before the move, which no client can tell from the outside; they are judged no further
 *
 * So the history of a key in a blank slot falls into lives: that of before the loss, and that of another key of the same
 * name, which nobody has written yet; and so on, if that is lost as well. What was asked in one life and answered in a later
 * one, or never, may have taken effect in any of them, in one at most; unless it was said not to have taken any.
 */
import { utf8 } from "../base/bytes.ts";
import { slotOf } from "../ring/slot.ts";
import type { History, HistoryOp } from "./history.ts";

/** In positions of the history. */
type Loss = { readonly lostAt: number; bornAt: number; isBack: boolean };

export class Losses {
  readonly #history: History;
  /** By slot, in their order. */
  readonly #slots = new Map<number, Loss[]>();

  constructor(history: History) {
    this.#history = history;
  }

  /** A shard that served these slots, or had them sealed, is lost. */
  lose(slots: Iterable<number>): void {
    const lostAt = this.#history.position;
    for (const slot of slots) {
      if (this.isSilent(slot)) continue; // nobody had it meanwhile
      const losses = this.#slots.get(slot) ?? [];
      losses.push({ lostAt, bornAt: Infinity, isBack: false });
      this.#slots.set(slot, losses);
    }
  }

  /** Somebody may take the slot as empty. */
  isSilent(slot: number): boolean {
    return this.#last(slot)?.bornAt === Infinity;
  }

  #last(slot: number): Loss | undefined {
    return this.#slots.get(slot)?.at(-1);
  }

  save(slot: number): void {
    if (this.isSilent(slot)) this.#slots.get(slot)?.pop();
  }

  takeBlank(slot: number): void {
    const loss = this.#last(slot);
    if (loss !== undefined) loss.bornAt = this.#history.position;
  }

  bringBack(slot: number): void {
    const loss = this.#last(slot);
    if (loss !== undefined) [loss.bornAt, loss.isBack] = [this.#history.position, true];
  }

  /** The history as it is to be judged. */
  judged(ops: readonly HistoryOp[]): readonly HistoryOp[] {
    return this.#slots.size === 0 ? ops : ops.flatMap((op) => this.#parts(op));
  }

  /** What counters held in the end, of those that are judged. */
  judgedCounters(finals: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
    return new Map([...finals].filter(([key]) => !this.#of(key).some(({ isBack }) => isBack)));
  }

  #of(key: string): readonly Loss[] {
    const bytes = utf8(key);
    return this.#slots.get(slotOf(bytes, 0, bytes.length)) ?? [];
  }

  #parts(op: HistoryOp): HistoryOp[] {
    const losses = this.#of(op.key);
    if (losses.length === 0) return [op];
    if (losses.some(({ isBack }) => isBack)) return [];
    const last = losses.filter(({ bornAt }) => bornAt <= op.returned).length;
    // What is lost answers nothing: asked after a loss, it was done in the life that answered.
    const first = Math.min(last, losses.filter(({ lostAt }) => lostAt <= op.invoked).length);
    const key = (life: number): string =>
      life === losses.length ? op.key : `${op.key} before loss ${life + 1}`;
    if (first === last) return [{ ...op, key: key(last) }];
    if (op.op.kind === "get" || op.outcome === "not_executed") return [];
    // Only one of them can have happened; all may be left out.
    const lives = Array.from({ length: last - first + 1 }, (_, i) => key(first + i));
    return lives.map((name) => ({ ...op, key: name, outcome: "unknown", returned: Infinity, result: null }));
  }
}

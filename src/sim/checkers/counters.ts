/**
 * Exactly once, by counting: each counter was incremented at least as often as clients were told so, and no more
 * often than they were told or left in the dark; what was called "not executed" never counts (hazards C7, C8).
 * The linearizability search says the same and more, but may give up on long histories; this never does.
 */
import { assert } from "../../base/assert.ts";
import type { HistoryOp } from "../history.ts";

/** `finals`: what each counter held in the end. Null if all is well. */
export function checkCounters(ops: readonly HistoryOp[], finals: ReadonlyMap<string, number>): string | null {
  const told = new Map<string, number>();
  const unknown = new Map<string, number>();
  for (const { key, op, outcome } of ops) {
    if (op.kind !== "incr") continue;
    assert(op.delta === 1, "counters count by one");
    const counts = outcome === "ok" ? told : outcome === "unknown" ? unknown : null;
    counts?.set(key, (counts.get(key) ?? 0) + 1);
  }
  for (const [key, final] of finals) {
    const low = told.get(key) ?? 0;
    const high = low + (unknown.get(key) ?? 0);
    if (final < low) return `${key} holds ${final}, but ${low} increments were acknowledged: some were lost`;
    if (final > high)
      return `${key} holds ${final}, but at most ${high} increments were asked: some ran twice`;
  }
  return null;
}

/**
 * What an epoch names. A control plane issues each number once, and one that was restored begins far above all that it
 * heard (wire/epochs.ts); yet two that run side by side by mistake may issue one number for two moves. Orders are fenced
 * at each node, but what the two sides of a move say to each other is not. So an epoch is never taken alone where two moves
 * under it could be taken for one:
 *
 *     a source      has one move under an epoch: other slots, or another target, are refused (server/move_source.ts `renew`)
 *     a target      takes offers, chunks and `own` only from the source that its import names, for the slots that it names;
 *                   to any other source a closed epoch is an aborted one, since it can never own that one's slots under it
 *     both logs     take the second of two imports, or seals, under one epoch for what it is (store/moves.ts)
 *     statuses      count only if they are of the target that is given to
 *
 * Alone an epoch is enough where nothing can be served twice by it: an abort, a decline or a note of a move that nobody
 * began only ever keeps something from happening; begin, chunk and own stand in the log of a leader that looked at the
 * import before them; and release and unseal are proposed by whoever read the outcome of this very move, or by the control
 * plane's order about a lost target, which is fenced and of an epoch that no other control plane has (wire/epochs.ts).
 */
import type { Slots } from "./shapes.ts";

/** A move but for its epoch: the group of the other side, and what moves. */
export type MoveName = { readonly group: number; readonly slots: Slots };

/** All who name a move copied its ranges from one order: the same slots are the same ranges. */
export function isSameMove(a: MoveName, b: MoveName): boolean {
  if (a.group !== b.group || a.slots.length !== b.slots.length) return false;
  return a.slots.every(([first, last], i) => b.slots[i]?.[0] === first && b.slots[i]?.[1] === last);
}

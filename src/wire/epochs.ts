/**
 * Epochs of moves: numbers that a control plane issues one after the other, and never twice. Their upper bits count eras:
 *
 *     bits 0..31    within the era, 1, 2, 3 ..      (a cluster that nothing happened to is in era 0: plain small numbers)
 *     bits 32..51   era
 *
 * An era ends where what came before cannot be known any more:
 *
 *     a restore       the restored control plane begins an era above all that it hears. What the former one issues if it
 *                     still runs is of an older era, until it hears of the newer one; then it counts as restored itself
 *     a lost shard    so every epoch under which its slots are taken by others is of a later era than what it did
 *
 * The second gives revisions a floor. Whoever takes slots of a lost shard cannot know which revisions that one had given
 * out; a client may hold one (an ETag, `ifRevision`) that must not fit another value. So the taker goes on at the era's
 * floor, and a later loss has a higher one. What must hold: no shard makes ERA_REVISIONS changes within an era. At a
 * hundred thousand a second, day and night, that is 509 days; a loss or a restore begins the next.
 */
const ERA_EPOCHS = 2 ** 32;
/** Epochs have 52 bits (control_plane.ts): no node's word brings the counter to its end. */
const ERAS_MAX = 2 ** 20;
/** Of the 48 bits that a revision has (store/records.ts), 42 within an era. */
export const ERA_REVISIONS = 2 ** 42;
/** From this era on floors rise no more: 2^42 changes must be left for the last one. */
const REVISION_ERAS_MAX = 2 ** 6 - 1;

export function eraOf(epoch: number): number {
  return Math.floor(epoch / ERA_EPOCHS);
}

/**
 * What the counter of epochs becomes when an era ends: the next one that is issued is the first of a new era. Where none was
 * issued yet there is nothing to end: the first layout begins at 1.
 */
export function eraAfter(epoch: number): number {
  const next = eraOf(epoch) + 1;
  return epoch === 0 || next >= ERAS_MAX ? epoch : next * ERA_EPOCHS;
}

/** The revision above which goes on who takes slots of a lost shard under this epoch. */
export function revisionFloor(epoch: number): number {
  return Math.min(eraOf(epoch), REVISION_ERAS_MAX) * ERA_REVISIONS;
}

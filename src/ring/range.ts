/**
 * Ranges of slots, both ends included, as Redis writes them: [0, 5460]. A list of ranges is ascending and its ranges
 * are disjoint; people, JSON and messages all get this form.
 */
import { SLOT_COUNT } from "./slot.ts";

export type SlotRange = readonly [first: number, last: number];

/** Ascending slots as ranges. */
export function rangesOfSlots(slots: Iterable<number>): SlotRange[] {
  const ranges: [number, number][] = [];
  let last: [number, number] | undefined;
  for (const slot of slots) {
    if (last !== undefined && last[1] === slot - 1) last[1] = slot;
    else ranges.push((last = [slot, slot]));
  }
  return ranges;
}

export function* slotsOfRanges(ranges: Iterable<SlotRange>): Generator<number> {
  for (const [first, last] of ranges) for (let slot = first; slot <= last; slot++) yield slot;
}

export function countSlots(ranges: Iterable<SlotRange>): number {
  let count = 0;
  for (const [first, last] of ranges) count += last - first + 1;
  return count;
}

/** All slots, cut before each one that does not belong with the one before it. */
export function runsOfSlots(belongsWithPrevious: (slot: number) => boolean): SlotRange[] {
  const runs: SlotRange[] = [];
  let first = 0;
  for (let slot = 1; slot <= SLOT_COUNT; slot++) {
    if (slot < SLOT_COUNT && belongsWithPrevious(slot)) continue;
    runs.push([first, slot - 1]);
    first = slot;
  }
  return runs;
}

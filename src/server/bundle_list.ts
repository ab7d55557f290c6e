/** Lists of bundles, as routers keep them: oldest first. */
import { BATCH_HEADER_BYTES } from "../wire/batch.ts";
import type { Bundle } from "./bundle.ts";

/** Puts bundles of one order where they belong: behind what is older, before what came later. */
export function insert(list: Bundle[], bundles: readonly Bundle[]): void {
  const order = bundles[0]?.order ?? 0;
  const place = list.findIndex((other) => other.order > order);
  list.splice(place < 0 ? list.length : place, 0, ...bundles);
}

/** Session numbers made the commands longer: what was one batch may be two by now. */
export function inBatches(bundle: Bundle): Bundle[] {
  const parts: Bundle[] = [];
  let rest = bundle;
  for (let count = rest.batchCount; count < rest.count; count = rest.batchCount) {
    const [first, others] = rest.split(count);
    parts.push(first);
    rest = others;
  }
  return [...parts, rest];
}

/** Bytes of its commands. */
export function sizeOf(bundle: Bundle): number {
  return bundle.bytes - BATCH_HEADER_BYTES;
}

/** Commands that came within a tenth of a second share a bundle, and with it a deadline: that of the first. */
const SHARED_TICKS_MAX = 10;

/** A command that came at `sinceTick` may go into the bundle. */
export function isNear(bundle: Bundle, sinceTick: number): boolean {
  return sinceTick >= bundle.sinceTick && sinceTick - bundle.sinceTick <= SHARED_TICKS_MAX;
}

/** Takes out what came before `tick`. It is not always first: what waited elsewhere stands behind younger ones. */
export function takeBefore(list: Bundle[], tick: number): readonly Bundle[] {
  const late = list.filter(({ sinceTick }) => sinceTick < tick);
  if (late.length > 0) list.splice(0, list.length, ...list.filter(({ sinceTick }) => sinceTick >= tick));
  return late;
}

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

/**
 * A call over keys of several slots, in parts: reads go to each shard once, writes to each slot once, since the numbers
 * of session writes belong to one slot. So every part is exact by itself, and the parts are not one step.
 *
 *     read      fails if a part fails
 *     write     all parts certainly not executed: neither was the call. Some were, or nobody knows: outcome unknown
 */
import { ClientError, OutcomeUnknownError, ProtocolError } from "./errors.ts";

/** The places of a list's items, by what `groupOf` says of each; in the order in which each first comes. */
export function placesBy<T>(list: readonly T[], groupOf: (item: T) => number): number[][] {
  const groups = new Map<number, number[]>();
  for (const [place, item] of list.entries()) {
    const group = groupOf(item);
    const places = groups.get(group);
    if (places === undefined) groups.set(group, [place]);
    else places.push(place);
  }
  return [...groups.values()];
}

/** What all parts gave, in their order; waits for all of them, also if one failed. */
export async function gather<T>(parts: readonly Promise<T>[], isWrite: boolean): Promise<T[]> {
  const ends = await Promise.allSettled(parts);
  const values: T[] = [];
  const errors: ClientError[] = [];
  for (const end of ends) {
    if (end.status === "fulfilled") values.push(end.value);
    else errors.push(end.reason instanceof ClientError ? end.reason : new ProtocolError(String(end.reason)));
  }
  const [first] = errors;
  if (first === undefined) return values;
  if (!isWrite) throw first;
  const unknown = errors.find((error) => error instanceof OutcomeUnknownError);
  if (unknown !== undefined) throw unknown;
  if (values.length === 0) throw first;
  throw new OutcomeUnknownError(
    `${values.length} of ${parts.length} parts were executed, the others failed: ${first.message}`,
    { cause: first },
  );
}

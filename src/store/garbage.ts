/**
 * Memory of a state that was replaced (FLUSHALL, a restored image). Emptying is instant; giving many gigabytes back
 * to the system at once would stop the process for as long as that takes, so they are let go a few extents at a
 * time. What a snapshot still reads is kept until it is done.
 */
import type { Keyspace } from "./keyspace.ts";
import type { LargeValues } from "./large.ts";
import type { Slab } from "./slab.ts";

/** Extents of 1 MiB, or large values, that one step lets go: about a millisecond of the system's work. */
const STEP = 16;

export class Garbage {
  readonly #slabs: Slab[] = [];
  readonly #large: LargeValues[] = [];

  add(keyspace: Keyspace): void {
    this.#slabs.push(keyspace.records.slab, keyspace.index.slab);
    this.#large.push(keyspace.records.large);
  }

  /** Lets go of some; true if there is more to be let go now. */
  step(): boolean {
    return releaseSome(this.#slabs) || releaseSome(this.#large);
  }
}

/** Each in turn, so that one which is still read does not hold up the others. */
function releaseSome(held: { isPinned: boolean; dismantle(count: number): boolean }[]): boolean {
  for (let i = 0; i < held.length; i++) {
    const one = held[i] as (typeof held)[0];
    if (one.isPinned) continue;
    if (one.dismantle(STEP)) held.splice(i, 1);
    return true;
  }
  return false;
}

/**
 * Pulses: each node tells each other one, several times in a shortest election timeout, that it is there. They stand for
 * the heartbeats of all groups at rest (raft/rest.ts), however many those are, and carry the sender's wall clock as
 * heartbeat replies do: log time is made of both (log_time.ts).
 */
import type { Timing } from "./timing.ts";

/** A wall clock as it was heard, and when that was by this node's monotonic clock. */
export type HeardClock = { readonly wallMs: number; readonly atMs: number };
type Heard = { silentTicks: number; clock: HeardClock };

export class Pulses {
  readonly #timing: Timing;
  readonly #heard = new Map<string, Heard>();
  #ticks = 0;

  constructor(timing: Timing) {
    this.#timing = timing;
  }

  /** `clock`: what the pulse says, as of now. */
  hear(node: string, clock: HeardClock): void {
    const heard = this.#heard.get(node);
    if (heard === undefined) {
      this.#heard.set(node, { silentTicks: 0, clock });
    } else {
      heard.silentTicks = 0;
      heard.clock = clock;
    }
  }

  forget(node: string): void {
    this.#heard.delete(node);
  }

  /** Since the node was last heard. */
  silenceTicks(node: string): number {
    return this.#heard.get(node)?.silentTicks ?? Number.POSITIVE_INFINITY;
  }

  isHeard(node: string): boolean {
    return this.silenceTicks(node) < this.#timing.silenceTicksMax;
  }

  clockOf(node: string): HeardClock | null {
    return this.#heard.get(node)?.clock ?? null;
  }

  /** `onSilent` is called once for each node that is not heard any more. True: a pulse is due. */
  tick(onSilent: (node: string) => void): boolean {
    for (const [node, heard] of this.#heard)
      if (++heard.silentTicks === this.#timing.silenceTicksMax) onSilent(node);
    return ++this.#ticks % this.#timing.pulseTicks === 0;
  }
}

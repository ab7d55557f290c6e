/** Reads that this node's own replica answers: what doors ask, and what they learn. */
import type { ReplySink } from "../wire/reply.ts";

/**
 * follower: the state holds all that was acknowledged before the read came (read index, thesis 6.4).
 * stale: the state as it is, if it is known to be no older than so many ms; -1 = of any age.
 */
export type ReplicaMode =
  | { readonly mode: "follower"; readonly stalenessMsMax: -1 }
  | { readonly mode: "stale"; readonly stalenessMsMax: number };

/** How an answer was made safe. */
export type ReadBy = {
  readonly by: "leader" | "read-index" | "stale";
  /** The state may lack what was acknowledged within this time; null: nothing is known. */
  readonly stalenessMs: number | null;
};

export const BY_LEADER: ReadBy = { by: "leader", stalenessMs: 0 };

export interface LocalRead {
  readonly frame: Uint8Array;
  readonly slot: number;
  readonly mode: ReplicaMode["mode"];
  readonly stalenessMsMax: number;
  /** Where the reply goes. What is begun and not served was not written. */
  begin(by: ReadBy): ReplySink;
  /** False: whoever asked has not taken earlier replies yet; it waits. */
  hasRoom(): boolean;
  done(outcome: LocalOutcome): void;
}

export type LocalOutcome =
  | ({ readonly kind: "served" } & ReadBy)
  /** No replica here serves the slot: ask the leader. */
  | { readonly kind: "elsewhere" }
  /** Not answered, for this reason (fate.ts). */
  | { readonly kind: "refused"; readonly text: string };

export interface ReplicaReads {
  read(read: LocalRead): void;
}

/** Reads that this node's own replica answers: what the HTTP door asks, and what it learns. */
import type { ReplySink } from "../wire/reply.ts";

export type LocalRead = {
  readonly frame: Uint8Array;
  readonly slot: number;
  /**
   * follower: the state holds all that was acknowledged before the read came (read index, thesis 6.4).
   * stale: the state as it is, if it is known to be no older than `stalenessMsMax`; -1 = of any age.
   */
  readonly mode: "follower" | "stale";
  readonly stalenessMsMax: number;
  readonly reply: ReplySink;
  done(outcome: LocalOutcome): void;
};

export type LocalOutcome =
  | {
      readonly kind: "served";
      readonly by: "leader" | "read-index" | "stale";
      /** The state may lack what was acknowledged within this time; null: nothing is known. */
      readonly stalenessMs: number | null;
    }
  /** No replica here serves the slot: ask the leader. */
  | { readonly kind: "elsewhere" }
  /** Not answered, for this reason (fate.ts). */
  | { readonly kind: "refused"; readonly text: string };

export interface ReplicaReads {
  read(read: LocalRead): void;
}

/**
 * The control plane's own group, as its service sees it: who leads, the state, and two ways to ask. What does it is the
 * same driver as of every shard (process.ts); a test has one without a network, on the same sealed entries.
 */
import type { ControlCommand } from "./commands.ts";
import type { MetaState, Reply } from "./state.ts";

export interface MetaGroup {
  readonly isLeader: boolean;
  readonly term: number;
  /** As of the last entry that was applied here. */
  readonly state: MetaState;
  /** Where the leader listens, as far as known here. */
  leaderAddress(): string | null;
  /** Puts a command into the log. Null: what became of it is not known. */
  propose(command: ControlCommand, done: (reply: Reply | null) => void): void;
  /** The state with everything in it that was acknowledged before this call; null: this replica cannot tell. */
  read(done: (state: MetaState | null) => void): void;
}

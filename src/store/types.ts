/**
 * What the replicated state machine takes and gives. One store to each replica of a group.
 *
 * `apply` is total and deterministic: the same batches give the same state, hash and replies on every replica
 * and every runtime. It reads replicated state and the batch, nothing else.
 */
import type { Index, Term } from "../raft/types.ts";
import type { CommandView } from "../wire/command.ts";
import type { MoveNote } from "../wire/move_entry.ts";
import type { ReplySink } from "../wire/reply.ts";

/** The state machine's version: which batches this code can apply. Rises by a log entry only. */
export const STATE_VERSION = 1;

/** Replicated limits; part of the bootstrap, changed by `settings` entries. */
export type StoreSettings = {
  /** Most bytes of keys, values and records; writes that grow are refused before they are proposed. */
  readonly memoryBytesMax: number;
  /** Most remembered replies of one client id; most in the shard. */
  readonly sessionRepliesMax: number;
  readonly sessionsMax: number;
};

/** What a shard has of a slot. Only `serving` slots answer commands. */
export type SlotState = "absent" | "importing" | "serving" | "sealed";

/** Where a slot went: known to the shard that gave it away, until much later. */
export type SlotFate = {
  readonly state: SlotState;
  readonly epoch: number;
  readonly movedTo: { readonly shard: string; readonly group: number } | null;
};

/** Slots `first` to `last`, both included, and the epoch that they are served under. */
export type ServedRange = readonly [first: number, last: number, epoch: number];
export type ServedSlots = { readonly count: number; readonly ranges: readonly ServedRange[] };

/**
 * What became of a read. "undecided": the answer depends on a key whose deadline has passed by the leader's time but
 * not in log time; ask again after an empty batch with that time. "not_served": `refusedSlot` is not served here.
 * Unless "done", nothing was written to the reply.
 */
export type ReadOutcome = "done" | "undecided" | "not_served";

/** A move as one side of it has it in its applied state (moves.ts). */
export type MoveView = MoveNote & {
  /** Of an open move: what this side holds of its slots now. */
  readonly keys: number;
  readonly bytes: number;
};

/** Who waits for the replies of a batch. */
export interface ApplyListener {
  /** Where the reply of command `ordinal` (0-based in its batch) goes; DISCARD if nobody waits here. */
  begin(ordinal: number): ReplySink;
  /** That reply is complete. */
  end(ordinal: number): void;
  /** Command `ordinal` changed nothing and has no reply: this slot of it is not served here. Instead of begin and end. */
  notServed(ordinal: number, slot: number): void;
}

export interface Store {
  /** Applies the entry at `index`; entries come in order without gaps. `batch` = sealed bytes, header included. */
  apply(index: Index, term: Term, batch: Uint8Array, listener: ApplyListener): void;
  /** Gives a little memory back that nobody needs; true if there is more. For ticks: `apply` does some as well. */
  tidy(): boolean;
  /** Answers a read from the state as it is, which also says whether its slots are served. `nowMs` = leader's time. */
  read(command: CommandView, nowMs: number, reply: ReplySink): ReadOutcome;
  /** The slot that the last read was refused for. */
  readonly refusedSlot: number;

  /** This shard's id, from its bootstrap; "" for a state machine without slots, or before the bootstrap. */
  readonly shard: string;
  /** What the applied state has of a slot. */
  slotFate(slot: number): SlotFate;
  /** Whether that is "serving": asked for each command. */
  isServed(slot: number): boolean;
  /** For reports: what is served in the applied state. */
  slotsServed(): ServedSlots;
  /** The same and what is sealed, under the epochs that it was served under: what this shard has not given away. */
  slotsHeld(): ServedSlots;

  /** The limits in force: the log's, not what any file says. */
  readonly settings: StoreSettings;
  readonly appliedIndex: Index;
  readonly appliedTerm: Term;
  /** Highest batch time applied. */
  readonly logTimeMs: number;
  readonly revision: number;
  /** Hash of 64 bits over records, sessions, states of slots and moves, as 16 hex digits; equal on replicas at equal indexes. */
  stateHash(): string;
  /** Earliest deadline of a live key or session, or -1. */
  earliestDeadlineMs(): number;
  readonly keyCount: number;
  readonly expiringCount: number;
  /** Keys and values alone; and everything that is allocated for them. */
  readonly dataBytes: number;
  readonly allocatedBytes: number;
  /** Why a write of this size would be refused for memory, to be asked at the door; null if it would not. */
  memoryRefusal(command: CommandView): string | null;
  /** Why a session write would be refused because too many replies are remembered; asked at the door, too. */
  sessionRefusal(command: CommandView): string | null;

  /** Begins an image of the state exactly as it is now; O(1). One at a time. */
  beginSnapshot(): SnapshotSource;
  /** Replaces the whole state by an image. Feed all chunks in order, then `finish`. */
  beginRestore(): SnapshotSink;
}

/** Gives the image in chunks while writes go on; each call does at most about one ms of work. */
export interface SnapshotSource {
  /** The next chunk, or null at the end. Its bytes are only good until the next call. */
  next(): Uint8Array | null;
  /** Ends it early or late; copies made for it are freed. */
  close(): void;
}

export interface SnapshotSink {
  /** An error text if the chunk is not what a snapshot may hold. */
  write(chunk: Uint8Array): string | null;
  /** After the last chunk: an error text if the image is not whole or its counts and hashes do not add up. */
  check(): string | null;
  /** The same, and if nothing is wrong the state is now the image. */
  finish(): string | null;
}

/**
 * Committed entries that are applied from the log instead of the cache: all that a start finds in it, and what
 * apply fell behind the cache. The next piece is read while this one is applied, so that neither disk nor processor
 * waits for the other.
 *
 * What is committed never changes, so a piece that was read stays true; only a received snapshot makes it useless.
 * Bounds: two pieces, READ_BACK_BYTES each. Errors: an entry that cannot be read back stops the node (`fatal`).
 */
import { runTask } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import type { Clock, Log } from "../platform/platform.ts";
import type { Entry, Index } from "../raft/types.ts";
import type { GroupId, Wal } from "../wal/types.ts";

/** Bytes of entries read back from the log at a time: some milliseconds of work, so that the disk can keep ahead. */
const READ_BACK_BYTES = 4 * MiB;

export type ReplayHost = {
  readonly group: GroupId;
  readonly clock: Clock;
  readonly log: Log;
  readonly wal: Wal;
  wake(): void;
  fatal(error: Error): void;
};

export class Replay {
  readonly #host: ReplayHost;
  /** The log as the start found it: (from, end]. */
  readonly #from: Index;
  readonly #end: Index;
  readonly #startedMs: number;
  #isOver = false;
  /** Being applied, from position #at on; and the piece after it. */
  #piece: readonly Entry[] = [];
  #at = 0;
  #ahead: readonly Entry[] = [];
  #loading = false;
  /** Rises when what was asked for is not wanted any more. */
  #generation = 0;

  constructor(from: Index, end: Index, host: ReplayHost) {
    this.#from = from;
    this.#end = end;
    this.#host = host;
    this.#startedMs = host.clock.monotonicMs();
  }

  /** The state is not yet that of the last start; `lastIndex`: of the log, which may have lost its end since. */
  isBefore(appliedIndex: Index, lastIndex: Index): boolean {
    return !this.#isOver && appliedIndex < Math.min(this.#end, lastIndex);
  }

  /** After something was applied: says once that everything of the last start was. */
  applied(appliedIndex: Index, lastIndex: Index): void {
    if (this.#isOver || this.isBefore(appliedIndex, lastIndex)) return;
    this.#isOver = true;
    const { clock, log } = this.#host;
    const entries = Math.min(this.#end, lastIndex) - this.#from;
    log.write("info", `snapshot at ${this.#from}, replayed ${entries} entries`, {
      ms: Math.round(clock.monotonicMs() - this.#startedMs),
    });
  }

  /**
   * Entry `index`, which is the next to be applied, of those up to `last` that are wanted of the log by now; null:
   * it is being read, and `wake` tells when it is there.
   */
  take(index: Index, last: Index): Entry | null {
    const entry = this.#piece[this.#at];
    if (entry === undefined || entry.index !== index) {
      if (entry !== undefined) this.clear(); // the cache had what is in this piece
      this.#load(index, last);
      return null;
    }
    if (this.#ahead.length === 0) this.#load(lastOf(this.#piece) + 1, last);
    this.#at++;
    if (this.#at === this.#piece.length) this.#begin(this.#ahead);
    return entry;
  }

  /** A snapshot came: what was read is of the past. */
  clear(): void {
    this.#generation++;
    this.#loading = false;
    this.#begin([]);
  }

  #begin(piece: readonly Entry[]): void {
    this.#piece = piece;
    this.#at = 0;
    this.#ahead = [];
  }

  #load(index: Index, last: Index): void {
    if (this.#loading || index > last) return;
    this.#loading = true;
    const { wal, group } = this.#host;
    const generation = this.#generation;
    runTask(wal.readEntries(group, index, last, READ_BACK_BYTES), (error, entries) => {
      if (generation !== this.#generation) return; // a snapshot came instead
      this.#loading = false;
      if (error !== null) return this.#host.fatal(error);
      if (this.#piece.length === 0) this.#begin(entries);
      else this.#ahead = entries;
      this.#host.wake();
    });
  }
}

function lastOf(piece: readonly Entry[]): Index {
  return piece[piece.length - 1]?.index ?? 0;
}

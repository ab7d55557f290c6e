/**
 * The leader's appends on their way out: a range of the log becomes a message with entries, out of the cache or,
 * for a follower that is behind it, out of the log.
 *
 * Reading takes a while. What is meant for the same follower meanwhile waits behind it: it would be refused for the
 * gap before it, and the core would start over. What arrives later than meant is still the log of that term, so a
 * message goes out as long as its leadership lasts.
 *
 * Errors: entries that the log no longer has are the core's business (`compacted`: it sends a snapshot instead).
 * What cannot be read for another reason is said, and never sent in part (hazard B4).
 */
import { codeOf, messageOf } from "../base/errors.ts";
import { runTask } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import type { Log } from "../platform/platform.ts";
import type { AppendRequest, Entry, ReplicaId } from "../raft/types.ts";
import type { GroupId, Wal } from "../wal/types.ts";
import type { EntryCache } from "./entry_cache.ts";

/** Bytes of entries read at a time: an append has a quarter of it. */
const READ_BYTES = 4 * MiB;
/** A leader's window (inflightMessagesMax): it has no more on the way to one follower. */
const WAITING_MAX = 64;

export type AppendHost = {
  readonly group: GroupId;
  readonly cache: EntryCache;
  readonly wal: Wal;
  readonly log: Log;
  /** The leadership that wanted to send this still lasts. */
  maySend(message: AppendRequest): boolean;
  send(message: AppendRequest, entries: readonly Entry[]): void;
  /** The log no longer has what was wanted of it. */
  compacted(): void;
  wake(): void;
};

export class AppendSender {
  readonly #host: AppendHost;
  /** Followers for which the log is being read, and what waits behind that. */
  readonly #reading = new Map<ReplicaId, AppendRequest[]>();
  /** Why the log could not be read last: it is tried with every heartbeat, and said once. */
  #problem = "";

  constructor(host: AppendHost) {
    this.#host = host;
  }

  send(message: AppendRequest): void {
    const waiting = this.#reading.get(message.to);
    if (waiting !== undefined) {
      if (waiting.length < WAITING_MAX) waiting.push(message);
      return;
    }
    const entries = this.#cached(message);
    if (entries === null) this.#read(message);
    else this.#host.send(message, entries);
  }

  /** Null: the cache has not all of them. */
  #cached({ prevIndex, lastIndex }: AppendRequest): Entry[] | null {
    const entries: Entry[] = [];
    for (let index = prevIndex + 1; index <= lastIndex; index++) {
      const entry = this.#host.cache.get(index);
      if (entry === null) return null;
      entries.push(entry);
    }
    return entries;
  }

  #read(message: AppendRequest): void {
    const { wal, group, log } = this.#host;
    const { to, prevIndex, lastIndex } = message;
    const waiting: AppendRequest[] = [];
    this.#reading.set(to, waiting);
    runTask(wal.readEntries(group, prevIndex + 1, lastIndex, READ_BYTES), (error, entries) => {
      this.#reading.delete(to);
      if (error !== null) {
        const problem = codeOf(error) === "ECOMPACTED" ? "" : messageOf(error);
        if (problem !== "" && problem !== this.#problem)
          log.write("error", "entries for a follower cannot be read", { to, reason: problem });
        this.#problem = problem;
        this.#host.compacted();
      } else {
        const last = entries.at(-1);
        if (last === undefined || !this.#host.maySend(message)) return;
        this.#host.send({ ...message, lastIndex: last.index }, entries);
        for (const next of waiting) if (this.#host.maySend(next)) this.send(next);
      }
      this.#host.wake();
    });
  }
}

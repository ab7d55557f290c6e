/**
 * Whose promises a replica id stands for (hazard A12). The first incarnation of a node that is heard under an id is
 * remembered, on disk before it is believed: `DIR/peers.json`. Another one under the same id has lost what the
 * first one promised, or never knew it: a wiped directory that was born anew by hand. It is not listened to; the
 * group's leader gives that node a new id instead (replacement.ts).
 */
import { messageOf } from "../base/errors.ts";
import { runTask } from "../base/task.ts";
import type { Platform } from "../platform/platform.ts";
import type { ReplicaId } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";
import { savePeers } from "./identity.ts";

/** `pending`: it is remembered, and the disk does not know yet. */
export type Standing = "sound" | "pending" | "foreign";

export class KnownPeers {
  readonly #platform: Platform;
  readonly #dir: string;
  /** Incarnation by "group/replica". */
  readonly #known: Map<string, string>;
  /** Those that last on this disk. */
  readonly #lasting: Set<string>;
  #saving = false;
  /** Why it could not be saved last: it is tried again and again, and said once. */
  #problem = "";
  /** Something that was pending is sound now. */
  onLasting: () => void = () => {};

  constructor(platform: Platform, dir: string, known: ReadonlyMap<string, string>) {
    this.#platform = platform;
    this.#dir = dir;
    this.#known = new Map(known);
    this.#lasting = new Set(known.keys());
  }

  standing(group: GroupId, replica: ReplicaId, incarnation: string): Standing {
    const id = `${group}/${replica}`;
    const known = this.#known.get(id);
    if (known === undefined) {
      this.#known.set(id, incarnation);
      this.#save();
    } else if (known !== incarnation) {
      return "foreign";
    }
    return this.#lasting.has(id) ? "sound" : "pending";
  }

  /** Somebody was heard under this id, or it was promised to somebody from here. */
  isKnown(group: GroupId, replica: ReplicaId): boolean {
    return this.#known.has(`${group}/${replica}`);
  }

  /**
   * Ids below `next` that a committed config does not name never come back, and nothing hangs on what they say: so
   * the file does not grow with replacements.
   */
  forgetOthers(group: GroupId, members: readonly ReplicaId[], next: ReplicaId): void {
    for (const id of this.#known.keys()) {
      const [of, replica] = id.split("/").map(Number) as [number, number];
      if (of !== group || replica >= next || members.includes(replica)) continue;
      this.#known.delete(id);
      this.#lasting.delete(id);
    }
  }

  #save(): void {
    if (this.#saving) return;
    this.#saving = true;
    const saved = new Map(this.#known);
    runTask(savePeers(this.#platform.disk, this.#dir, saved), (error) => {
      this.#saving = false;
      if (error !== null) {
        const reason = messageOf(error);
        if (reason !== this.#problem)
          this.#platform.log.write("error", "peers.json cannot be written", { reason });
        this.#problem = reason;
        return; // not believed, so nothing is at risk
      }
      this.#problem = "";
      for (const [id, incarnation] of saved) if (this.#known.get(id) === incarnation) this.#lasting.add(id);
      this.retry();
      this.onLasting();
    });
  }

  /**
   * Writes down what is not on the disk yet. To be called again and again: nobody greets anew because this disk was full
   * for a moment, and until it has the ids their replicas are not listened to.
   */
  retry(): void {
    if (this.#lasting.size < this.#known.size) this.#save();
  }
}

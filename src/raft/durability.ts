/**
 * What this replica's disk vouches for, and what is on its way there.
 *
 * Every Ready that must be synced leaves a tag: "the log up to `lastIndex`, and this term and vote". `written(lsn)`
 * ties open tags to a position of the node's log; `persisted(lsn)` redeems, oldest first, those at or below it.
 * Acknowledgements, votes and the leader's own match index look at what was redeemed and at nothing else.
 *
 * A late completion must never vouch for a rewritten entry (hazards A5, B8):
 *
 *     1. entries 10..12 of term 1 are handed out, tag {lsn 700, lastIndex 12}
 *     2. a new leader overwrites 12: truncated(12) lowers the tag to lastIndex 11; the new 12 gets {lsn 800, 12}
 *     3. persisted(700) now vouches for 11; only persisted(800) vouches for the new 12
 *
 * LSNs are never reused, and the log syncs in order, so a redeemed tag vouches for all tags before it.
 */
import { assert } from "../base/assert.ts";
import type { Index, Lsn, ReplicaId, Term } from "./types.ts";

type Tag = { lsn: Lsn; lastIndex: Index; term: Term; vote: ReplicaId };

/** LSN of a tag that the driver has not written yet. */
const UNWRITTEN: Lsn = Number.POSITIVE_INFINITY;

export class Durability {
  /** The log up to here, as it is now, is on the disk. */
  index: Index;
  term: Term;
  vote: ReplicaId;
  /** Oldest first; at most the last one is unwritten. As many as Readys between two syncs: a few. */
  readonly #tags: Tag[] = [];

  constructor(index: Index, term: Term, vote: ReplicaId) {
    this.index = index;
    this.term = term;
    this.vote = vote;
  }

  /** A Ready took out all of the log up to `lastIndex`, with this term and vote. */
  handedOut(lastIndex: Index, term: Term, vote: ReplicaId): void {
    const open = this.#tags.at(-1);
    if (open !== undefined && open.lsn === UNWRITTEN) {
      open.lastIndex = lastIndex;
      open.term = term;
      open.vote = vote;
    } else {
      this.#tags.push({ lsn: UNWRITTEN, lastIndex, term, vote });
    }
  }

  /** All that was handed out ends at `lsn`. */
  written(lsn: Lsn): void {
    const open = this.#tags.at(-1);
    if (open === undefined || open.lsn !== UNWRITTEN) return;
    assert(lsn >= (this.#tags.at(-2)?.lsn ?? 0), "positions in the log never fall");
    open.lsn = lsn;
  }

  /** The disk holds everything below `lsn`. True if that vouches for anything new. */
  persisted(lsn: Lsn): boolean {
    let count = 0;
    for (const tag of this.#tags) {
      if (tag.lsn > lsn) break;
      this.index = Math.max(this.index, tag.lastIndex);
      this.term = tag.term;
      this.vote = tag.vote;
      count++;
    }
    if (count > 0) this.#tags.splice(0, count);
    return count > 0;
  }

  /** Entries >= `from` are no longer those that were handed out. */
  truncated(from: Index): void {
    this.index = Math.min(this.index, from - 1);
    for (const tag of this.#tags) tag.lastIndex = Math.min(tag.lastIndex, from - 1);
  }
}

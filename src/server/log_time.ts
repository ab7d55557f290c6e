/**
 * Log time: what a leader stamps on its batches (design section 7). Pure.
 *
 * It is the lower median of the voters' wall clocks, the leader's own included, as heard in this term in vote and
 * heartbeat replies (of a group at rest, in their nodes' pulses) and carried on since then by the leader's monotonic clock. So one wrong clock moves nothing,
 * forwards or backwards. Until a majority was heard in this term the time stands still; while the median lies
 * behind the last stamp (clocks were stepped back, or the former leader's set ran ahead), time runs on at half
 * the monotonic rate, until the median has caught up.
 */
import { assert } from "../base/assert.ts";
import type { ReplicaId, Term } from "../raft/types.ts";

type Heard = { readonly wallMs: number; readonly atMs: number };

export class LogTime {
  #term: Term = -1;
  readonly #heard = new Map<ReplicaId, Heard>();
  #lastMs = 0;
  #lastAtMs = 0;

  /** A voter's wall clock, from a reply of `term` that arrived at `nowMs` (monotonic). */
  hear(term: Term, replica: ReplicaId, wallMs: number, nowMs: number): void {
    if (term < this.#term) return;
    this.#enter(term);
    this.#heard.set(replica, { wallMs, atMs: nowMs });
  }

  /** It was heard in this term, and not since `sinceMs` (monotonic). */
  isStale(replica: ReplicaId, sinceMs: number): boolean {
    const heard = this.#heard.get(replica);
    return heard !== undefined && heard.atMs < sinceMs;
  }

  /**
   * The time of a batch sealed now by the leader of `term`: never below `floorMs`, the time of the last entry.
   * `voters` without `self`; `nowMs` monotonic, `ownWallMs` the leader's wall clock.
   */
  stamp(term: Term, floorMs: number, voters: readonly ReplicaId[], nowMs: number, ownWallMs: number): number {
    this.#enter(term);
    if (floorMs > this.#lastMs) {
      this.#lastMs = floorMs;
      this.#lastAtMs = nowMs;
    }
    const median = this.#lowerMedian(voters, nowMs, ownWallMs);
    if (median === null) return this.#lastMs;
    const coasted = this.#lastMs + Math.floor((nowMs - this.#lastAtMs) / 2);
    const time = median >= this.#lastMs ? median : coasted;
    assert(time >= this.#lastMs, "log time never goes back");
    if (time > this.#lastMs) {
      this.#lastMs = time;
      this.#lastAtMs = nowMs;
    }
    return time;
  }

  #enter(term: Term): void {
    if (term === this.#term) return;
    assert(term > this.#term, "terms only rise");
    this.#term = term;
    this.#heard.clear();
  }

  /** Null until a majority of the voters, the leader among them, was heard. */
  #lowerMedian(voters: readonly ReplicaId[], nowMs: number, ownWallMs: number): number | null {
    const clocks = [ownWallMs];
    for (const voter of voters) {
      const heard = this.#heard.get(voter);
      if (heard !== undefined) clocks.push(Math.floor(heard.wallMs + (nowMs - heard.atMs)));
    }
    const total = voters.length + 1;
    if (clocks.length * 2 <= total) return null;
    clocks.sort((a, b) => a - b);
    return clocks[Math.floor((clocks.length - 1) / 2)] as number;
  }
}

/**
 * The shape of a replica's log: for every entry of (snapshotIndex, lastIndex] its term and its size, and the
 * configs among them. No bytes: those are with the driver.
 *
 *     terms     runs of equal terms, each with its first index: a handful, whatever the log's length
 *     sizes     `ends[k]` = bytes of all entries up to the k-th kept one since this replica started, so that the
 *               bytes of any range are one subtraction (8 bytes of memory an entry)
 *     configs   a stack; the top is in force from the moment it is appended (thesis 4.1), and truncation undoes it
 *
 * The position of the snapshot counts as held: its term is known, its entry is not.
 */
import { assert, present } from "../base/assert.ts";
import { configOfEntry, isVoter } from "./config.ts";
import {
  ENTRY_KIND,
  type Entry,
  type GroupConfig,
  type Index,
  type ReplicaId,
  type Restored,
  type SnapshotMeta,
  type Term,
} from "./types.ts";

type TermRun = { readonly first: Index; readonly term: Term };
type PlacedConfig = { readonly index: Index; readonly config: GroupConfig };

export class RaftLog {
  #snapshotIndex: Index;
  #snapshotTerm: Term;
  /** Ascending in both fields; empty if no entry is kept. */
  #runs: TermRun[] = [];
  #ends: number[] = [];
  /** What `ends` would hold for the snapshot's own index. */
  #endBefore = 0;
  /** Ascending; the first is the snapshot's. Never empty. */
  #configs: PlacedConfig[];

  constructor(restored: Restored) {
    const { snapshot, log, configs } = restored;
    this.#snapshotIndex = snapshot.index;
    this.#snapshotTerm = snapshot.term;
    this.#configs = [{ index: snapshot.index, config: snapshot.config }];
    for (const { term, size } of log) this.#push(term, size);
    for (const placed of configs) {
      assert(
        placed.index > this.configIndex && placed.index <= this.lastIndex,
        "restored configs lie in the log",
      );
      this.#configs.push(placed);
    }
  }

  get snapshotIndex(): Index {
    return this.#snapshotIndex;
  }

  get lastIndex(): Index {
    return this.#snapshotIndex + this.#ends.length;
  }

  get lastTerm(): Term {
    return this.#runs.at(-1)?.term ?? this.#snapshotTerm;
  }

  /** The config in force. */
  get config(): GroupConfig {
    return present(this.#configs.at(-1), "a log has a config").config;
  }

  /** Where the config in force stands; the snapshot's index if it came with the snapshot. */
  get configIndex(): Index {
    return present(this.#configs.at(-1), "a log has a config").index;
  }

  /** Term of an entry of [snapshotIndex, lastIndex]. */
  termAt(index: Index): Term {
    assert(index >= this.#snapshotIndex && index <= this.lastIndex, "the term asked for is known");
    for (let k = this.#runs.length - 1; k >= 0; k--) {
      const run = this.#runs[k] as TermRun;
      if (run.first <= index) return run.term;
    }
    return this.#snapshotTerm;
  }

  /** True if the log is known to hold this very entry (log matching: index and term name one entry). */
  holds(index: Index, term: Term): boolean {
    return index >= this.#snapshotIndex && index <= this.lastIndex && this.termAt(index) === term;
  }

  /** Config in force at `index`: what belongs into a snapshot taken there (hazard D11). */
  configAt(index: Index): GroupConfig {
    const placed = this.#configs.findLast((candidate) => candidate.index <= index);
    return present(placed, "a config is asked for at or after the snapshot").config;
  }

  /** True if `replica` has a vote in the config in force, or in one that it may fall back to as far as `commit` tells. */
  mayStillVote(replica: ReplicaId, commit: Index): boolean {
    for (let k = this.#configs.length - 1; k >= 0; k--) {
      const { index, config } = this.#configs[k] as PlacedConfig;
      if (isVoter(config, replica)) return true;
      if (index <= commit) return false;
    }
    return false;
  }

  /** Bytes of the entries [first, last]; 0 if the range is empty. */
  bytes(first: Index, last: Index): number {
    if (last < first) return 0;
    assert(first > this.#snapshotIndex && last <= this.lastIndex, "the sizes asked for are known");
    return this.#endAt(last) - this.#endAt(first - 1);
  }

  /** The last index of a run of entries from `first` that stays within `bytesMax`; one entry always fits. */
  cut(first: Index, bytesMax: number): Index {
    const limit = this.#endAt(first - 1) + bytesMax;
    if (this.#endAt(this.lastIndex) <= limit) return this.lastIndex;
    let low = first; // fits, or must go anyway
    let high = this.lastIndex; // does not fit
    while (high - low > 1) {
      const middle = low + Math.floor((high - low) / 2);
      if (this.#endAt(middle) <= limit) low = middle;
      else high = middle;
    }
    return low;
  }

  /**
   * The highest index <= `index` whose term is at most `term`: where two logs may still agree, if the other one
   * has `term` at `index` (thesis 5.3: back off over whole terms). Indexes before the snapshot come back as they are.
   */
  agreementHint(index: Index, term: Term): Index {
    let at = Math.min(index, this.lastIndex);
    for (let k = this.#runs.length - 1; k >= 0; k--) {
      const run = this.#runs[k] as TermRun;
      if (run.first > at) continue;
      if (run.term <= term) return at;
      at = run.first - 1;
    }
    return at;
  }

  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, "entries follow each other");
    this.#push(entry.term, entry.bytes.length);
    if (entry.kind !== ENTRY_KIND.config && entry.kind !== ENTRY_KIND.bootstrap) return;
    const config = present(configOfEntry(entry), "a config entry was checked before it is appended");
    this.#configs.push({ index: entry.index, config });
  }

  /** Drops entries >= `from`, and with them the configs they brought (hazard E3). */
  truncate(from: Index): void {
    assert(from > this.#snapshotIndex && from <= this.lastIndex, "truncation hits entries that are kept");
    this.#ends.length = from - this.#snapshotIndex - 1;
    while (this.#runs.length > 0 && (this.#runs.at(-1) as TermRun).first >= from) this.#runs.pop();
    while (this.#configs.length > 1 && this.configIndex >= from) this.#configs.pop();
  }

  /** Forgets entries <= `index`, which a snapshot covers. */
  compact(index: Index): void {
    const term = this.termAt(index);
    const config = this.configAt(index);
    const end = this.#endAt(index);
    const last = this.lastIndex;
    const runs = this.#runs.filter((_, k) => (this.#runs[k + 1]?.first ?? last + 1) > index + 1);
    const head = runs[0];
    if (head !== undefined && head.first <= index) runs[0] = { first: index + 1, term: head.term };
    this.#runs = runs;
    this.#ends.splice(0, index - this.#snapshotIndex);
    this.#configs = [{ index, config }, ...this.#configs.filter((placed) => placed.index > index)];
    this.#snapshotIndex = index;
    this.#snapshotTerm = term;
    this.#endBefore = end;
  }

  /** Nothing but a snapshot. */
  reset(snapshot: SnapshotMeta): void {
    this.#endBefore = this.#endAt(this.lastIndex);
    this.#snapshotIndex = snapshot.index;
    this.#snapshotTerm = snapshot.term;
    this.#runs = [];
    this.#ends = [];
    this.#configs = [{ index: snapshot.index, config: snapshot.config }];
  }

  #push(term: Term, size: number): void {
    assert(term >= this.lastTerm, "terms never fall along the log");
    if (this.#runs.length === 0 || term !== this.lastTerm)
      this.#runs.push({ first: this.lastIndex + 1, term });
    this.#ends.push(this.#endAt(this.lastIndex) + size);
  }

  #endAt(index: Index): number {
    const k = index - this.#snapshotIndex - 1;
    return k < 0 ? this.#endBefore : (this.#ends[k] as number);
  }
}

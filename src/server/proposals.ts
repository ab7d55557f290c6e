/**
 * What this replica proposed and who waits for it, until the log says what became of it:
 *
 *     the entry at its index has its term     it took effect: the reply is true
 *     .. has another term                     it certainly did not: it may be sent again
 *     a snapshot skipped over the index       not known
 *     the time is up                          not known; the log may still decide either way
 *     this replica is closed                  not known; the others' logs decide
 *
 * Proposals of former leaderships are kept apart: their indexes may be proposed again, so several can claim one.
 */
import { assert } from "../base/assert.ts";
import { RingQueue } from "../base/queue.ts";
import type { Index, Term } from "../raft/types.ts";
import { Bundle } from "./bundle.ts";

type Proposal = { readonly index: Index; readonly term: Term; bundle: Bundle };

/** uncommittedBytesMax (16 MiB) in batches of about 256 bytes. */
const PROPOSALS_MAX = 65_536;

export class Proposals {
  /** Of this leadership, by rising index. */
  readonly #current = new RingQueue<Proposal>(PROPOSALS_MAX);
  /** Of former leaderships, and not decided. */
  #orphans: Proposal[] = [];

  get full(): boolean {
    return this.#current.full;
  }

  /** Proposals whose fate is open. */
  get open(): number {
    return this.#current.length + this.#orphans.length;
  }

  /** Someone waits for a proposal of a former leadership. */
  get hasOrphans(): boolean {
    return this.#orphans.some(({ bundle }) => bundle.count > 0);
  }

  add(index: Index, term: Term, bundle: Bundle): void {
    this.#current.push({ index, term, bundle });
  }

  /** A new term, or no longer the leader: whatever was proposed before waits for the log's verdict. */
  leadershipEnded(term: Term, leads: boolean): void {
    for (let head = this.#current.peek(); head !== undefined; head = this.#current.peek()) {
      if (leads && head.term === term) return;
      this.#orphans.push(head);
      this.#current.shift();
    }
  }

  /**
   * The entry at `index`, of `term`, is applied next: who waits for its replies, if anyone here. Proposals that it
   * shows to be without effect go to `notExecuted`, the newest first.
   */
  decide(index: Index, term: Term, notExecuted: (bundle: Bundle) => void): Bundle | null {
    const head = this.#current.peek();
    let executed: Bundle | null = null;
    if (head !== undefined && head.index === index) {
      assert(head.term === term, "what a leadership proposed is what commits, while it lasts");
      this.#current.shift();
      executed = head.bundle;
    }
    if (this.#orphans.length === 0) return executed;
    for (const orphan of this.#takeOrphans(index).reverse()) {
      assert(orphan.index === index, "every index is applied in turn");
      if (orphan.term === term) executed = orphan.bundle;
      else notExecuted(orphan.bundle);
    }
    return executed;
  }

  /** A snapshot stands for everything up to `index`. A leader installs none, so these are orphans. */
  skip(index: Index): void {
    for (const { bundle } of this.#takeOrphans(index)) bundle.failAllUnknown();
  }

  #takeOrphans(index: Index): Proposal[] {
    const taken = this.#orphans.filter((orphan) => orphan.index <= index);
    if (taken.length > 0) this.#orphans = this.#orphans.filter((orphan) => orphan.index > index);
    return taken;
  }

  /** Nobody is made to wait longer for what came before `tick`. */
  giveUpBefore(tick: number): void {
    for (const orphan of this.#orphans) if (orphan.bundle.sinceTick < tick) giveUp(orphan);
    for (let i = 0; i < this.#current.length; i++) {
      const proposal = this.#current.at(i);
      if (proposal.bundle.sinceTick < tick) giveUp(proposal); // what waited before it was proposed stands behind younger ones
    }
  }

  /** This replica is closed: it will not learn what becomes of them. */
  end(): void {
    for (const orphan of this.#orphans) end(orphan);
    for (let i = 0; i < this.#current.length; i++) end(this.#current.at(i));
  }
}

/** In the place of commands that nobody waits for any more. */
const NOBODY = new Bundle();

function giveUp(proposal: Proposal): void {
  if (proposal.bundle.count === 0) return;
  proposal.bundle.failAllUnknown();
  proposal.bundle = NOBODY;
}

function end(proposal: Proposal): void {
  proposal.bundle.endAll(true);
  proposal.bundle = NOBODY;
}

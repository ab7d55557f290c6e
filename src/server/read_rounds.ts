/**
 * Reads under way at the leader: asked as a round of the core, confirmed at an index, answered when that index is
 * applied. A read that finds a key past its deadline by the leader's time, but not yet in log time, waits until
 * log time has passed it too, so that nothing seen gone comes back. A caller that does not take its replies keeps
 * its own reads waiting, in the frames they came in, and nobody else's.
 */
import { present } from "../base/assert.ts";
import type { Index } from "../raft/types.ts";
import type { Store } from "../store/types.ts";
import { CommandView } from "../wire/command.ts";
import { Bundle } from "./bundle.ts";
import { NO_ANSWER } from "./fate.ts";

export type ReadRefused = (bundle: Bundle, i: number, slot: number) => void;

export class ReadRounds {
  /** Asked of the core, by id. */
  readonly #asked = new Map<number, Bundle>();
  #next = 1;
  /** May be answered once their index is applied; indexes never fall. */
  #confirmed: { readonly index: Index; bundle: Bundle }[] = [];
  /** Wait for log time. */
  #deferred: Bundle | null = null;
  /** Confirmed, but whoever asked has not taken earlier replies yet: answered when there is room for more. */
  #stalled: Bundle | null = null;
  readonly #view = new CommandView();
  #refused: ReadRefused = () => {};

  /** Nobody waits. */
  get isEmpty(): boolean {
    return (
      this.#asked.size === 0 &&
      this.#confirmed.length === 0 &&
      this.#deferred === null &&
      this.#stalled === null
    );
  }

  /** `ask` puts the round to the core; false: nothing was asked. */
  ask(bundle: Bundle, ask: (id: number) => boolean): boolean {
    if (!ask(this.#next)) return false;
    this.#asked.set(this.#next++, bundle);
    return true;
  }

  confirm(id: number, index: Index): void {
    this.#confirmed.push({ index, bundle: present(this.#asked.get(id), "a confirmed round was asked") });
    this.#asked.delete(id);
  }

  /** The core cannot answer this round: its reads, to be asked again elsewhere. */
  lose(id: number): Bundle | null {
    const bundle = this.#asked.get(id) ?? null;
    this.#asked.delete(id);
    return bundle;
  }

  /** No longer the leader: everything that was confirmed or deferred and is not answered. */
  takeUnanswered(): Bundle[] {
    const bundles = this.#confirmed.map(({ bundle }) => bundle);
    this.#confirmed = [];
    for (const bundle of [this.#deferred, this.#stalled]) if (bundle !== null) bundles.push(bundle);
    this.#deferred = null;
    this.#stalled = null;
    return bundles;
  }

  /** Reads that came before `tick`: nobody is made to wait longer, unless for a caller that does not read. */
  giveUpBefore(tick: number): void {
    for (const [id, bundle] of this.#asked) if (isOlder(bundle, tick)) this.#asked.set(id, giveUp(bundle));
    for (const round of this.#confirmed) if (isOlder(round.bundle, tick)) round.bundle = giveUp(round.bundle);
    if (this.#deferred === null || !isOlder(this.#deferred, tick)) return;
    giveUp(this.#deferred);
    this.#deferred = null;
  }

  /** This replica is closed: everything that is not answered. What the core may still confirm has nobody waiting. */
  end(): Bundle[] {
    const bundles = [...this.#asked.values(), ...this.takeUnanswered()];
    for (const id of this.#asked.keys()) this.#asked.set(id, NOBODY);
    return bundles;
  }

  /**
   * Answers what can be answered; true if some reads wait for log time to move. `refused` gets those whose slot is not
   * served in the state that would answer them.
   */
  serve(store: Store, nowMs: () => number, timeMoves: boolean, refused: ReadRefused): boolean {
    this.#refused = refused;
    if (this.#stalled !== null) {
      const again = this.#stalled;
      this.#stalled = null;
      this.#answer(again, store, nowMs());
    }
    if (this.#deferred !== null && !timeMoves) {
      const again = this.#deferred;
      this.#deferred = null;
      this.#answer(again, store, nowMs());
    }
    let count = 0;
    for (const { index, bundle } of this.#confirmed) {
      if (index > store.appliedIndex) break;
      count++;
      this.#answer(bundle, store, nowMs());
    }
    if (count > 0) this.#confirmed.splice(0, count);
    return this.#deferred !== null;
  }

  #answer(bundle: Bundle, store: Store, nowMs: number): void {
    const view = this.#view;
    const { bytes, length } = bundle.writer;
    for (let i = 0; i < bundle.count; i++) {
      view.readGood(bytes, bundle.start(i), length);
      const origin = bundle.origin(i);
      const tag = bundle.tag(i);
      if (!origin.hasRoom(tag)) {
        this.#stalled ??= bundle.emptyTwin();
        this.#stalled.take(bundle, i);
        continue;
      }
      const sink = origin.begin(tag);
      const outcome = store.read(view, nowMs, sink);
      if (outcome === "done") {
        bundle.end(i);
        continue;
      }
      origin.undo(tag);
      if (outcome === "not_served") this.#refused(bundle, i, store.refusedSlot);
      else {
        this.#deferred ??= bundle.emptyTwin();
        this.#deferred.take(bundle, i);
      }
    }
  }
}

/** In the place of reads that nobody waits for any more. */
const NOBODY = new Bundle();

function isOlder(bundle: Bundle, tick: number): boolean {
  return bundle.count > 0 && bundle.sinceTick < tick;
}

function giveUp(bundle: Bundle): Bundle {
  bundle.failAll(NO_ANSWER);
  return NOBODY;
}

/**
 * Reads that a follower answers from its own state, and how old that state can be. One object to each replica.
 *
 *     read() --> an ask goes to the leader --> a quorum confirms the leader --> index --> applied --> answered
 *                                                                                (raft/reads.ts)
 *
 * The bound: when the leader's answer to an ask is applied, the state holds everything that was acknowledged before
 * the ask was sent (`#freshMs`, this node's monotonic clock). So a read that came `s` ms after that sees a state
 * at most `s` ms old, whatever happened to messages and clocks on the way; that a leader was heard says nothing.
 *
 *     follower    waits for an answer to an ask that is no older than the read: linearizable
 *     stale       is answered at once if the bound is good enough, else asks too; without an answer in time it is
 *                 answered with the bound as it is if any age will do, and refused if not
 *
 * Reads see the state as of log time: a key is there until its expiry is in the log, so nothing seen gone comes
 * back. An ask that gets no answer is repeated.
 *
 * Waiting reads: WAITING_MAX, with WAITING_BYTES_MAX in their frames; of one connection a share (lane.ts). Those of callers
 * that do not take their answers wait for as long as there is room for all; then they get none.
 */
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import type { Clock, Random } from "../platform/platform.ts";
import type { RaftCore } from "../raft/core.ts";
import type { Index } from "../raft/types.ts";
import type { Store } from "../store/types.ts";
import { CommandView } from "../wire/command.ts";
import type { LocalRead, ReadBy } from "./replica_reads.ts";

/** A round trip to the leader and one of it to a quorum; then the ask is taken to be lost. */
const ANSWER_MS_MAX = 100;
/** A read that must be fresh is refused after this. */
const FRESH_MS_MAX = 1000;
/** Beyond it the oldest is forgotten: the leader does not answer, and a later answer stands for it. */
const ASKED_MAX = 1024;
/** What is answered at once if the asker did not say how old an answer may be. */
const STALE_MS_USUAL = 1000;
/** Eight connections' shares (lane.ts). */
const WAITING_MAX = 8192;
/** .. and of their bytes. A frame has up to 960 KiB (wire/command.ts): many keys of one slot. */
const WAITING_BYTES_MAX = 64 * MiB;

const NOT_FRESH =
  "TRYAGAIN the leader did not confirm in time that this replica is fresh enough; read=leader may help";
const TOO_MANY = "TRYAGAIN too many reads wait on this replica";

type Waiting = {
  readonly read: LocalRead;
  readonly sinceMs: number;
  /** The first ask that is no older than the read. */
  readonly ask: number;
};

export class LocalReads {
  readonly #core: RaftCore;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /** The next ask's number; 0 before the first. */
  #next = 0;
  /** Asks without an applied answer, oldest first. */
  #asked: { readonly ask: number; atMs: number }[] = [];
  /** The newest answer that is not applied yet. */
  #answered: { readonly ask: number; readonly atMs: number; readonly index: Index } | null = null;
  /** The state holds all that was acknowledged before this; -1: nothing is known. */
  #freshMs = -1;
  /** The ask that this is known from. */
  #freshAsk = 0;
  readonly #view = new CommandView();

  constructor(core: RaftCore, store: Store, clock: Clock, random: Random) {
    this.#core = core;
    this.#store = store;
    this.#clock = clock;
    this.#random = random;
  }

  read(read: LocalRead): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#isFull) return read.done({ kind: "refused", text: TOO_MANY });
    if (this.#isFresh(read, nowMs) && read.hasRoom()) return this.#serve(read, nowMs);
    if (this.#next === 0) this.#next = 1 + this.#random.u32() * 2 ** 16; // leaves 2^48 for counting
    this.#waiting.push({ read, sinceMs: nowMs, ask: this.#next });
    this.#waitingBytes += read.frame.length;
    this.#ask(nowMs);
  }

  get #isFull(): boolean {
    return this.#waiting.length >= WAITING_MAX || this.#waitingBytes >= WAITING_BYTES_MAX;
  }

  /** A stale read that came at `sinceMs` can be answered by the bound as it is. */
  #isFresh({ mode, stalenessMsMax }: LocalRead, sinceMs: number): boolean {
    const most = stalenessMsMax < 0 ? STALE_MS_USUAL : stalenessMsMax;
    return mode === "stale" && this.#freshMs >= 0 && sinceMs - this.#freshMs <= most;
  }

  /** One ask serves all reads that come before it leaves, with the messages of the turn. */
  #ask(nowMs: number): void {
    const last = this.#asked.at(-1);
    if (last?.ask === this.#next) last.atMs = nowMs;
    else if (this.#core.askLeader(this.#next)) this.#asked.push({ ask: this.#next, atMs: nowMs });
    if (this.#asked.length > ASKED_MAX) this.#asked.shift();
  }

  /** The end of a turn. */
  serve(): void {
    if (this.#next === 0) return;
    if (this.#core.role === "leader") return this.giveBack();
    const isOut = this.#asked.at(-1)?.ask === this.#next;
    if (isOut) this.#next++; // it has left: whoever comes now is not covered by it
    this.#hear();
    if (this.#waiting.length === 0) return;
    const nowMs = this.#clock.monotonicMs();
    const isFull = this.#isFull;
    const left: Waiting[] = [];
    for (const one of this.#waiting) {
      if (!this.#settle(one, nowMs, isFull)) left.push(one);
      else this.#waitingBytes -= one.read.frame.length;
    }
    this.#waiting = left;
    const lastMs = this.#asked.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY;
    if (left.length > 0 && !isOut && nowMs - lastMs > ANSWER_MS_MAX) this.#ask(nowMs);
  }

  #hear(): void {
    const { answer } = this.#core;
    const place = answer === null ? -1 : this.#asked.findIndex(({ ask }) => ask === answer.id);
    if (answer !== null && place >= 0) {
      const { ask, atMs } = this.#asked[place] as { ask: number; atMs: number };
      this.#asked.splice(0, place + 1);
      this.#answered = { ask, atMs, index: answer.index };
    }
    if (this.#answered === null || this.#answered.index > this.#store.appliedIndex) return;
    assert(this.#answered.atMs >= this.#freshMs, "later asks are answered later");
    this.#freshMs = this.#answered.atMs;
    this.#freshAsk = this.#answered.ask;
    this.#answered = null;
  }

  /** Answers a read if it can be, or if it has waited long enough. */
  #settle({ read, sinceMs, ask }: Waiting, nowMs: number, isFull: boolean): boolean {
    const isLate = nowMs - sinceMs > FRESH_MS_MAX;
    if (!read.hasRoom()) {
      if (isFull && isLate) read.done({ kind: "refused", text: TOO_MANY });
      return isFull && isLate;
    }
    const isAnyAge = read.mode === "stale" && read.stalenessMsMax < 0;
    // Numbers, not times: a coarse clock shows the same for what came before a read and after it.
    if (this.#freshAsk >= ask) this.#serve(read, this.#freshMs);
    else if (this.#isFresh(read, sinceMs)) this.#serve(read, sinceMs);
    else if (isAnyAge && nowMs - sinceMs > ANSWER_MS_MAX) this.#serve(read, sinceMs);
    else if (isLate) read.done({ kind: "refused", text: NOT_FRESH });
    else return false;
    return true;
  }

  /** Answers from the state as it is; `asOfMs`: when its age is counted. */
  #serve(read: LocalRead, asOfMs: number): void {
    this.#view.readGood(read.frame, 0, read.frame.length);
    const stalenessMs = this.#freshMs < 0 ? null : Math.max(0, asOfMs - this.#freshMs);
    const how: ReadBy = { by: read.mode === "follower" ? "read-index" : "stale", stalenessMs };
    const outcome = this.#store.read(this.#view, this.#store.logTimeMs, read.begin(how));
    assert(outcome !== "undecided", "nothing is expired by log time and not by log time");
    read.done(outcome === "done" ? { kind: "served", ...how } : { kind: "elsewhere" });
  }

  /** The node stops. */
  refuse(text: string): void {
    for (const { read } of this.#takeAll()) read.done({ kind: "refused", text });
  }

  /** The replica is closed, or leads: whoever waits asks the leader. */
  giveBack(): void {
    for (const { read } of this.#takeAll()) read.done({ kind: "elsewhere" });
  }

  #takeAll(): readonly Waiting[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    return waiting;
  }
}

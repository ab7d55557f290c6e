/**
 * When a node ticks: every TICK_MS while anything is under way. While nothing is, all its groups being at rest, it sleeps
 * from one pulse to the next (pulses.ts) and does the ticks between them in one go: a timer that goes off costs more than
 * what an idle node has to do then. Whatever comes in ends that at once, and the ticks that were slept through are made up
 * for; not those of a stall (platform.ts).
 */
import type { Clock } from "../platform/platform.ts";
import { TICK_MS } from "./timing.ts";

/**
 * A fifth of a second without anything to do: changing the pace costs a timer, too, but the control plane is spoken to once a
 * second, and most of that second is to be slept through.
 */
const SLEEP_AFTER_TICKS = 20;

export type TickerHost = {
  /** Before ticks that come `lateMs` later than due. */
  onLate(lateMs: number): void;
  tick(): void;
  /** After them; so much time went by since the last ones. */
  onTicked(elapsedMs: number): void;
  /** Nothing is under way that ticks would be needed for. */
  isIdle(): boolean;
};

export class Ticker {
  readonly #clock: Clock;
  /** Ticks from one pulse to the next. */
  readonly #bunch: number;
  readonly #host: TickerHost;
  #stopTimer: (() => void) | null = null;
  #sleeps = false;
  #idleTicks = 0;
  /** Slept through, and not made up for yet. */
  #owed = 0;
  #tickedAtMs = 0;

  constructor(clock: Clock, bunch: number, host: TickerHost) {
    this.#clock = clock;
    this.#bunch = bunch;
    this.#host = host;
  }

  get isStarted(): boolean {
    return this.#stopTimer !== null;
  }

  start(): void {
    this.#setPace(false);
  }

  stop(): void {
    this.#stopTimer?.();
    this.#sleeps = false; // nothing hurries any more
  }

  /** Something came in. */
  hurry(): void {
    this.#idleTicks = 0;
    if (!this.#sleeps) return;
    const slept = Math.floor((this.#clock.monotonicMs() - this.#tickedAtMs) / TICK_MS);
    this.#owed = Math.min(slept, this.#bunch - 1);
    this.#setPace(false);
  }

  #setPace(sleeps: boolean): void {
    this.#stopTimer?.();
    this.#sleeps = sleeps;
    this.#idleTicks = 0;
    this.#tickedAtMs = this.#clock.monotonicMs();
    const ticks = sleeps ? this.#bunch : 1;
    this.#stopTimer = this.#clock.ticks(ticks * TICK_MS, (lateMs) => this.#onTimer(ticks, lateMs));
  }

  #onTimer(due: number, lateMs: number): void {
    const ticks = due + this.#owed;
    this.#owed = 0;
    this.#tickedAtMs = this.#clock.monotonicMs();
    this.#host.onLate(lateMs);
    for (let i = 0; i < ticks; i++) this.#host.tick();
    this.#host.onTicked(ticks * TICK_MS + lateMs);
    if (!this.#host.isIdle()) this.hurry();
    else if (!this.#sleeps && ++this.#idleTicks >= SLEEP_AFTER_TICKS) this.#setPace(true);
  }
}

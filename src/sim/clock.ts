/**
 * A machine's clocks: each runs at its own rate from its own start, and the wall clock may step.
 *
 * Monotonic time drifts by up to some hundred parts in a million against the world's and starts anew with each
 * boot; wall time is the world's plus an offset that faults move. Ticks come late by a drawn bit, one at a time.
 */
import { assert } from "../base/assert.ts";
import type { Prng } from "../base/prng.ts";
import type { Clock } from "../platform/platform.ts";
import { draw, type Span } from "./chance.ts";
import type { SimEvent } from "./heap.ts";
import type { Process, World } from "./world.ts";

/** The wall clock when a world begins: 2026-01-01T00:00:00Z in ms. */
export const WALL_START_MS = 1_767_225_600_000;

export type ClockKnobs = {
  /** How late a tick is. */
  readonly tickLateUs: Span;
  /** From `turn` until its turn: the rest of the loop's work. */
  readonly turnUs: Span;
};

export const CLOCK_DEFAULT: ClockKnobs = { tickLateUs: [0, 500], turnUs: [20, 80] };

/** What belongs to the machine and outlives its processes. */
export type MachineClock = {
  /** Parts in a million by which its seconds are too short (or long). */
  driftPpm: number;
  wallOffsetMs: number;
  bootedAtUs: number;
};

export class SimClock implements Clock {
  readonly #world: World;
  readonly #process: Process;
  readonly #machine: MachineClock;
  readonly #knobs: ClockKnobs;
  readonly #random: Prng;

  constructor(world: World, process: Process, machine: MachineClock, knobs: ClockKnobs, random: Prng) {
    this.#world = world;
    this.#process = process;
    this.#machine = machine;
    this.#knobs = knobs;
    this.#random = random;
  }

  monotonicMs(): number {
    const elapsedUs = this.#world.nowUs - this.#machine.bootedAtUs;
    return (elapsedUs + Math.floor((elapsedUs * this.#machine.driftPpm) / 1_000_000)) / 1000;
  }

  /** In here work takes no time of its own: what passes is the world's. */
  cpuMs(): number {
    return this.monotonicMs();
  }

  wallMs(): number {
    return WALL_START_MS + Math.floor(this.#world.nowUs / 1000) + this.#machine.wallOffsetMs;
  }

  ticks(intervalMs: number, onTick: (lateMs: number) => void): () => void {
    assert(intervalMs > 0, "a tick takes some time");
    let event: SimEvent | null = null;
    let dueUs = this.#world.nowUs;
    const next = (): void => {
      const intervalUs = this.#worldUs(intervalMs);
      const { nowUs } = this.#world;
      dueUs = Math.max(dueUs + intervalUs, nowUs); // ticks that were missed are not made up for
      const lateUs = draw(this.#random, this.#knobs.tickLateUs);
      event = this.#world.timer(dueUs + lateUs - nowUs, this.#process, () => {
        const lateMs = (this.#world.nowUs - dueUs) / 1000;
        next();
        onTick(lateMs);
      });
    };
    next();
    return () => {
      if (event !== null) this.#world.cancel(event);
    };
  }

  turn(run: () => void): void {
    this.#world.after(draw(this.#random, this.#knobs.turnUs), this.#process, run);
  }

  /** How long the world takes for what this clock calls `ms`. */
  #worldUs(ms: number): number {
    return Math.max(1, Math.floor((ms * 1_000_000_000) / (1_000_000 + this.#machine.driftPpm)));
  }
}

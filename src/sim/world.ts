/**
 * The world: a virtual clock, the events to come, one seed, one trace.
 *
 * Time is whole microseconds and moves only from event to event. Whatever happens in a simulation - a byte that
 * arrives, a sync that completes, a tick, a crash - is one event here, and runs to its end before the next one.
 * Events of one instant run in an order drawn from the seed. Nothing is ordered by promises, real time or
 * object keys, so a seed gives the same run on every engine.
 *
 * A `Process` is one incarnation of a program on a machine. Code of a process runs only in events that name it:
 * once it is killed none of them runs any more, while it is paused they wait (SIGSTOP).
 *
 * Source: FoundationDB's Sim2, TigerBeetle's VOPR (time as events, one seed for everything).
 */
import { assert } from "../base/assert.ts";
import { messageOf } from "../base/errors.ts";
import { Prng } from "../base/prng.ts";
import { EventHeap, type SimEvent } from "./heap.ts";
import { formatUs, NOBODY, Trace } from "./trace.ts";

/** A rule of the system was broken. The first one ends the run. */
export class Violation extends Error {
  override readonly name = "Violation";
  /** Which checker: "election safety", "crash", "linearizability" .. */
  readonly rule: string;

  constructor(rule: string, message: string, options?: { cause?: unknown }) {
    super(`${rule}: ${message}`, options);
    this.rule = rule;
  }
}

/** Ties of what waits for a paused process; others are drawn from [0, 2^32). */
const PUT_OFF_INPUT = -1;
const PUT_OFF_TIMER = 2 ** 32;

/** One incarnation of a program. */
export class Process {
  /** The machine's number. */
  readonly machine: number;
  /** Counts the starts on that machine. */
  readonly incarnation: number;
  alive = true;
  pausedUntilUs = 0;

  constructor(machine: number, incarnation: number) {
    this.machine = machine;
    this.incarnation = incarnation;
  }
}

export class World {
  readonly seed: number;
  readonly trace: Trace;
  nowUs = 0;
  /** The first broken rule; the run ends with it. */
  violation: Violation | null = null;
  /** Events run so far. */
  steps = 0;
  #events = new EventHeap();
  #root: Prng;
  #ties: Prng;
  #number = 0;

  constructor(seed: number, options: { readonly recording?: boolean } = {}) {
    this.seed = seed;
    this.trace = new Trace(options.recording === true);
    this.#root = Prng.fromSeed(seed);
    this.#ties = this.#root.fork("ties");
  }

  /** A stream of draws of its own: what one actor draws never moves another's. */
  stream(name: string): Prng {
    return this.#root.fork(name);
  }

  /** Runs `run` in `delayUs`, as code of `process` (null: of the world). */
  after(delayUs: number, process: Process | null, run: () => void): SimEvent {
    return this.#push(this.nowUs + delayUs, process, run, false);
  }

  /** Like `after`, for timers: after a pause, waiting input goes first. */
  timer(delayUs: number, process: Process, run: () => void): SimEvent {
    return this.#push(this.nowUs + delayUs, process, run, true);
  }

  cancel(event: SimEvent): void {
    event.run = null;
  }

  /** Adds a fact to the trace. */
  note(kind: string, who: number, a = 0, b = 0, text = ""): void {
    this.trace.note(this.nowUs, kind, who, a, b, text);
  }

  /** Adds a fact too small for the story. */
  count(kind: string, who: number, a: number, b: number): void {
    this.trace.count(this.nowUs, kind, who, a, b);
  }

  /** Adds a line to the story alone. */
  tell(kind: string, who: number, text: string): void {
    this.trace.tell(this.nowUs, kind, who, text);
  }

  /** Reports a broken rule; only the first counts, as the rest may follow from it. */
  fail(rule: string, message: string, cause?: unknown): void {
    if (this.violation !== null) return;
    this.violation = new Violation(rule, `${message} (at ${formatUs(this.nowUs)} s)`, { cause });
    this.trace.say(this.nowUs, "violation", NOBODY, this.violation.message);
  }

  /** Runs what happens up to `untilUs`, or until a rule broke. True: nothing is left to happen. */
  run(untilUs: number): boolean {
    while (this.violation === null) {
      const next = this.#events.peek();
      if (next === undefined || next.atUs > untilUs) {
        this.nowUs = Math.max(this.nowUs, untilUs);
        return next === undefined;
      }
      this.#events.pop();
      this.#perform(next);
    }
    return false;
  }

  /** Runs events until `holds()` or `untilUs`; says whether it holds. */
  runUntil(untilUs: number, holds: () => boolean): boolean {
    while (this.violation === null && !holds()) {
      const next = this.#events.peek();
      if (next === undefined || next.atUs > untilUs) break;
      this.#events.pop();
      this.#perform(next);
    }
    return this.violation === null && holds();
  }

  #push(atUs: number, process: Process | null, run: () => void, timer: boolean): SimEvent {
    assert(
      Number.isSafeInteger(atUs) && atUs >= this.nowUs,
      "events happen at whole microseconds, never in the past",
    );
    const event = this.#event(atUs, process, run, timer);
    this.#events.push(event);
    return event;
  }

  #event(atUs: number, process: Process | null, run: () => void, timer: boolean): SimEvent {
    return { atUs, tie: this.#ties.u32(), number: this.#number++, process, timer, run };
  }

  /** Runs code of `process` inside the present event; waits while it is paused, does nothing once it is dead. */
  call(process: Process, run: () => void): void {
    if (!process.alive) return;
    if (process.pausedUntilUs > this.nowUs) {
      this.#putOff(this.#event(process.pausedUntilUs, process, run, false), process);
    } else {
      this.#execute(process, run);
    }
  }

  #perform(event: SimEvent): void {
    assert(event.atUs >= this.nowUs, "time never runs back");
    this.nowUs = event.atUs;
    const run = event.run;
    const process = event.process;
    if (run === null || (process !== null && !process.alive)) return;
    if (process !== null && process.pausedUntilUs > event.atUs) {
      this.#putOff(event, process);
      return;
    }
    event.run = null;
    this.steps++;
    this.#execute(process, run);
  }

  #execute(process: Process | null, run: () => void): void {
    try {
      run();
    } catch (error) {
      if (error instanceof Violation) this.violation ??= error;
      else this.fail("crash", `${who(process)} threw ${messageOf(error)}`, error);
    }
  }

  /**
   * Input keeps the order in which it arrived, also if a pause is made longer; timers come after it, as the Clock
   * promises.
   */
  #putOff(event: SimEvent, process: Process): void {
    event.atUs = process.pausedUntilUs;
    const tie = event.timer ? PUT_OFF_TIMER : PUT_OFF_INPUT;
    if (event.tie !== tie) event.number = this.#number++;
    event.tie = tie;
    this.#events.push(event);
  }
}

function who(process: Process | null): string {
  return process === null ? "the world" : `process ${process.machine}.${process.incarnation}`;
}

/** Numbers that are unique in this run of a node, for all its groups together; and its clock, in ticks. */

/** Requests to other nodes stay below 2^37 (forward_server.ts); nobody has waited since they were last at 1. */
const REQUEST_MAX = 2 ** 37 - 1;

/**
 * A standstill of the process itself (SIGSTOP, a long pause) counts for so much of a command's time, half a second: what
 * came in meanwhile is looked at before anybody is told that time is up.
 */
const STANDSTILL_TICKS_MAX = 50;

export class Numbering {
  /** Since the start; deadlines are counted in it. */
  tick = 0;
  #clockTicks: number;

  /** The clock, in ticks: `advance` brings `tick` up to it. */
  constructor(clockTicks = 0) {
    this.#clockTicks = clockTicks;
  }

  /** Not one for each tick that came: on a machine that is short of time they come late, and are not made up for. */
  advance(clockTicks: number): void {
    const passed = Math.floor(clockTicks - this.#clockTicks);
    this.tick += Math.min(passed, STANDSTILL_TICKS_MAX);
    this.#clockTicks = passed > STANDSTILL_TICKS_MAX ? clockTicks : this.#clockTicks + passed;
  }

  /** Rises when something of who leads or serves what may have changed: what was made of it is made anew. */
  topology = 0;
  #order = 0;
  #route = 0;
  #request = 0;

  /** Rises with every bundle that is opened: what is given back goes before all that came later. */
  nextOrder(): number {
    return ++this.#order;
  }

  /** For another way that commands go (lane.ts). */
  nextRoute(): number {
    return ++this.#route;
  }

  nextRequest(): number {
    this.#request = this.#request < REQUEST_MAX ? this.#request + 1 : 1;
    return this.#request;
  }
}

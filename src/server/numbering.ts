/** Numbers that are unique in this run of a node, for all its groups together; and its clock, in ticks. */

/** Requests to other nodes stay below 2^37 (forward_server.ts); nobody has waited since they were last at 1. */
const REQUEST_MAX = 2 ** 37 - 1;

export class Numbering {
  /** Since the start; deadlines are counted in it. */
  tick = 0;
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

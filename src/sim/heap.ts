/** The event queue: a binary heap ordered by (time, tie, number). */
import type { Process } from "./world.ts";

/** Something that will happen. */
export type SimEvent = {
  atUs: number;
  /** Orders events of one instant. Drawn from the seed, so that every such order is explored. */
  tie: number;
  /** Creation number: makes the order total. */
  number: number;
  /** Whose code runs: skipped if that incarnation is dead, put off while it is paused. Null: the world's own. */
  process: Process | null;
  /** A timer: after a pause it runs later than the input that was waiting. */
  timer: boolean;
  /** Null once it has run or was cancelled. */
  run: (() => void) | null;
};

export class EventHeap {
  #events: SimEvent[] = [];

  get length(): number {
    return this.#events.length;
  }

  peek(): SimEvent | undefined {
    return this.#events[0];
  }

  push(event: SimEvent): void {
    const events = this.#events;
    let at = events.length;
    events.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = events[parent] as SimEvent;
      if (!before(event, above)) break;
      events[at] = above;
      at = parent;
    }
    events[at] = event;
  }

  pop(): SimEvent | undefined {
    const events = this.#events;
    const top = events[0];
    const last = events.pop();
    if (top === undefined || last === undefined || events.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && before(events[child + 1] as SimEvent, events[child] as SimEvent))
        child++;
      if (!before(events[child] as SimEvent, last)) break;
      events[at] = events[child] as SimEvent;
      at = child;
    }
    events[at] = last;
    return top;
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  if (a.atUs !== b.atUs) return a.atUs < b.atUs;
  if (a.tie !== b.tie) return a.tie < b.tie;
  return a.number < b.number;
}

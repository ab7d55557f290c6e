/**
 * Who is ticked. A place whose group is at rest (raft/rest.ts), or that is empty, is only looked at every REST_LOOK_TICKS, so
 * a thousand groups that nobody uses cost a tick of the node next to nothing.
 *
 *     awake --- at rest after a tick ------------------------> resting, in the class of its number
 *     awake <-- touched, and not at rest any more; roused ---- resting
 *
 * A place may be ticked for work of its own while its group rests: rests are looked at, and roused, wherever they are kept.
 *
 * Once a second one of the classes is looked at, all of it together: what leaders have to say for that then goes to each
 * node, and comes back, in one frame.
 */
import type { Seat } from "./seat.ts";
import { REST_LOOK_TICKS } from "./timing.ts";

const CLASSES = 4;
const CLASS_TICKS = REST_LOOK_TICKS / CLASSES;

export class Roster {
  readonly #awake = new Set<Seat>();
  readonly #resting: readonly Set<Seat>[] = Array.from({ length: CLASSES }, () => new Set<Seat>());
  readonly #numbers = new Map<Seat, number>();
  readonly #lost = new Set<string>();
  #ticks = 0;

  /** A place that is new here. */
  add(seat: Seat): void {
    this.#numbers.set(seat, this.#numbers.size);
    this.#awake.add(seat);
  }

  /** Places that are ticked. */
  get awake(): number {
    return this.#awake.size;
  }

  tick(): void {
    this.#ticks++;
    for (const seat of this.#awake) {
      seat.tick();
      if (seat.isAtRest) this.#rest(seat);
    }
    if (this.#ticks % CLASS_TICKS !== 0) return;
    const number = this.#ticks / CLASS_TICKS;
    for (const seat of this.#classOf(number)) {
      seat.look(REST_LOOK_TICKS);
      if (!seat.isAtRest) this.wake(seat);
    }
    for (const seat of this.#awake)
      if ((this.#numbers.get(seat) as number) % CLASSES === number % CLASSES) seat.hosted?.group.core.look();
  }

  #rest(seat: Seat): void {
    this.#awake.delete(seat);
    this.#classOf(this.#numbers.get(seat) as number).add(seat);
  }

  #classOf(number: number): Set<Seat> {
    return this.#resting[number % CLASSES] as Set<Seat>;
  }

  wake(seat: Seat): void {
    if (this.#awake.has(seat)) return;
    this.#classOf(this.#numbers.get(seat) as number).delete(seat);
    this.#awake.add(seat);
  }

  /** A node is not heard any more, came or went; null: any may have. Whoever rests with it is ticked again. */
  rouse(node: string | null): void {
    for (const seat of this.#numbers.keys()) {
      if (node !== null && seat.hosted?.restsWith(node) !== true) continue;
      seat.hosted?.group.rouse();
      this.wake(seat);
    }
  }

  /** No connection joins this node to that one any more: whoever follows its replica looks for another leader soon. */
  lose(node: string): void {
    this.#lost.add(node);
  }

  /** No tick is owed any more (ticker.ts): those slept through would have eaten the moment that each replica draws here. */
  ticked(): void {
    for (const node of this.#lost) {
      for (const seat of this.#numbers.keys()) {
        if (seat.hosted?.follows(node) !== true) continue;
        seat.hosted.group.core.loseLeader();
        this.wake(seat);
      }
    }
    this.#lost.clear();
  }

  /** This node itself stood still (hazard H3). */
  holdElections(): void {
    this.rouse(null);
    for (const seat of this.#awake) seat.hosted?.group.core.holdElection();
  }
}

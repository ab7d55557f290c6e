/**
 * Where the leader of a move's other side is: who answered last as one; after some silence who is said to be it, then
 * every node with a replica in turn. So a begun move finds its way through elections on both sides while nobody hands
 * out maps, and this node need not have a replica of the other shard.
 */
import type { MoveMessage } from "../wire/move_message.ts";

/** An answer takes a few milliseconds: after so long without one whoever answered last is not the only one who is asked. */
const SILENT_TICKS = 30;
/** Each is given so long to answer; then whatever is said next goes to the next one. */
const TURN_TICKS = 10;

export type MoveSideHost = {
  tick(): number;
  /** Monotonic. */
  nowMs(): number;
  /** The leader of the group, as far as known; "" = nobody. */
  leaderOf(group: number): string;
  /** Nodes with a replica of it, as far as known. */
  holdersOf(group: number): readonly string[];
  /** False: it cannot be sent now. */
  send(node: string, message: MoveMessage): boolean;
  /** Never the same in this process: what was copied under one attempt is not taken for another's. */
  nextAttempt(): number;
  /** There is something to do in another turn. */
  wake(): void;
  log(text: string, facts: Readonly<Record<string, string | number>>): void;
};

export class MoveLine {
  readonly #group: number;
  readonly #host: MoveSideHost;
  #node = "";
  /** What one that does not lead said. */
  #hint = "";
  /** Tick of the last word of a leader. */
  heardAt = Number.NEGATIVE_INFINITY;
  /**
   * Tick of the first word that no leader has answered; -1: none. Silence is counted from there: a copy that rests says
   * nothing, and whoever has just answered it is no suspect for that.
   */
  #askedAt = -1;
  /** Who is asked now while nobody answers, and since when. Counted as asked: the clock alone would go round in step with it. */
  #turn = 0;
  #turnAt = 0;

  constructor(group: number, host: MoveSideHost) {
    this.#group = group;
    this.#host = host;
  }

  /** `node` answered as the leader. */
  heard(node: string): void {
    this.#node = node;
    this.#hint = "";
    this.heardAt = this.#host.tick();
    this.#askedAt = -1;
  }

  /** `node` does not lead, and says who does. */
  sentOn(node: string, leader: string): void {
    if (node === this.#node) this.#node = "";
    if (leader !== node) this.#hint = leader;
  }

  say(message: MoveMessage): boolean {
    const node = this.#destination();
    return node !== "" && this.#host.send(node, message);
  }

  #destination(): string {
    const now = this.#host.tick();
    if (this.#askedAt < 0) this.#askedAt = now;
    const silentTicks = now - this.#askedAt;
    const candidates = [...new Set([this.#node, this.#hint, this.#host.leaderOf(this.#group)])].filter(
      (node) => node !== "",
    );
    if (silentTicks < SILENT_TICKS && candidates.length > 0) return candidates[0] as string;
    for (const node of this.#host.holdersOf(this.#group))
      if (!candidates.includes(node)) candidates.push(node);
    if (now - this.#turnAt >= TURN_TICKS) {
      this.#turn++;
      this.#turnAt = now;
    }
    return candidates[this.#turn % Math.max(1, candidates.length)] ?? "";
  }
}

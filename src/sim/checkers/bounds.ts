/**
 * What a leader has on the way to a follower stays within its window (hazards I1, I2). Counted on the wire: appends
 * with entries that a replica was sent, less those whose acknowledgement it has sent. The leader hears of that
 * later, so it never counts fewer itself. When it goes back to an earlier entry it has given up what was on the way.
 */
import type { Message } from "../../raft/types.ts";
import type { SimNode } from "../cluster.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";

/** The leader's window, and one append each with which it probed before and after. */
const APPENDS_MAX = 64 + 2;

/** Of one leader, in one term, to one replica: the last indexes of appends on the way, oldest first. */
type Way = { readonly term: number; readonly lasts: number[] };

export class BoundsChecker implements Checker {
  readonly name = "bounds";
  judged = 0;
  readonly #world: World;
  readonly #ways = new Map<string, Way>();

  constructor(world: World) {
    this.#world = world;
  }

  onMessage(node: SimNode, group: number, message: Message): void {
    if (message.kind === "append_reply" && message.accepted) {
      const way = this.#way(`${group}/${message.to}/${message.from}`, message.term);
      const kept = way.lasts.findIndex((last) => last > message.index);
      way.lasts.splice(0, kept < 0 ? way.lasts.length : kept);
    }
    if (message.kind !== "append" || message.entries.length === 0) return;
    this.judged++;
    const { lasts } = this.#way(`${group}/${message.from}/${message.to}`, message.term);
    if (message.prevIndex < (lasts.at(-1) ?? 0)) lasts.length = 0;
    lasts.push(message.lastIndex);
    if (lasts.length > APPENDS_MAX)
      this.#world.fail(
        "bounds",
        `${node.id} has ${lasts.length} appends on the way to replica ${message.to}`,
      );
  }

  #way(key: string, term: number): Way {
    let way = this.#ways.get(key);
    if (way === undefined || way.term < term) {
      way = { term, lasts: [] };
      this.#ways.set(key, way);
    }
    return way;
  }
}

/**
 * The cluster's first layout, wished before there is anyone to carry it out (`control --cluster FILE`): asked for as soon as
 * the nodes for it are there, and until then the reason why not.
 *
 * If the file names no nodes, whoever registers first would get everything. So it waits until nobody new has come for a
 * while: nodes that are started together are all given their share.
 */
import type { BodyOf } from "./commands.ts";
import { type PlanningTools, planFirst } from "./planner.ts";
import type { FirstLayout } from "./requests.ts";

/** Two seconds without another registration. Processes that are started by one command are seconds apart at most. */
const QUIET_TICKS = 200;

export class FirstLayoutWish {
  readonly #wish: FirstLayout;
  /** What it waits for. For people. */
  progress = "nobody has registered yet";
  #nodes = 0;
  #sinceTick = 0;

  constructor(wish: FirstLayout) {
    this.#wish = wish;
  }

  /** The command that brings it, once it can be; null: not now. Asked while there is no layout. */
  step(tools: PlanningTools, tick: number): BodyOf<"init"> | null {
    const { state } = tools;
    if (state.nodes.size !== this.#nodes) {
      this.#nodes = state.nodes.size;
      this.#sinceTick = tick;
    }
    const planned = planFirst(tools, this.#wish);
    if (typeof planned === "string") {
      this.progress = planned.replace(/^[A-Z]+ /, "");
      return null;
    }
    const isNamed = this.#wish.shards.every(({ nodes }) => nodes !== null);
    if (!isNamed && tick - this.#sinceTick < QUIET_TICKS) {
      this.progress = `nodes that are there: ${state.nodes.size}; looking whether more come`;
      return null;
    }
    this.progress = "it is being written down";
    return planned;
  }
}

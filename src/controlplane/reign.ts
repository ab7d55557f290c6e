/**
 * One leadership of the control plane: what its leader knows beside the state, from its first tick to its last. The next
 * leader begins with none of it, and needs none.
 *
 *     heartbeats -> liveness --.
 *                              +--> reconcile --> commands, into the log
 *     state (applied) ---------'              `-> orders, kept for each node until its next heartbeat takes them
 *
 * It reconciles once a second, and sooner when a heartbeat or the log brought something that steps follow from.
 *
 * Everything that leaves here stands under the fence of this leadership (hazard F10). It begins to speak only when it
 * has applied all that earlier leaders had acknowledged; or its orders, under the highest fence of all, would be made
 * from a state that is long past.
 */
import { assert } from "../base/assert.ts";
import type { Hash64 } from "../ring/circle.ts";
import type { ClusterMap } from "../wire/cluster_map.ts";
import {
  BEAT_MS_MAX,
  type Fence,
  type Heartbeat,
  type HeartbeatReply,
  type MapVersion,
  type Order,
} from "../wire/control_plane.ts";
import { tellsNews } from "./beat_news.ts";
import type { Body } from "./commands.ts";
import { Liveness, type View } from "./liveness.ts";
import { mapOf } from "./map.ts";
import { isNews } from "./node_transitions.ts";
import type { PlanningTools } from "./planner.ts";
import { reconcile } from "./reconciler.ts";
import { isEnded, type MetaState, type ShardRecord } from "./state.ts";

/** A second of 10 ms ticks: heartbeats come as often. */
const ROUND_TICKS = 100;
/**
 * What brings news brings it in bursts: several nodes see one election. Each step of a move waits for it three times (owned,
 * closed, the next one begins), and moves are as short as a tenth of a second.
 */
const SOON_TICKS = 2;

export type ReignTools = {
  readonly state: () => MetaState;
  /** Puts a command into the log; `done` when its fate is known, or cannot be. */
  readonly propose: (body: Body, done: () => void) => void;
  readonly bootstrapOf: (shard: ShardRecord) => Uint8Array;
  readonly h64: Hash64;
  readonly newGroup: () => number;
};

/** While something is brought about, each step of it waits for a heartbeat: these come sooner then. */
const BEAT_MS_BUSY = 40;
/**
 * The same from a node that serves clients: its moves copy slowly so as not to be felt, and what a step of them waits for is
 * told at once anyway. Beats of 40 ms took 7 % of a core at the control plane beside six nodes, these 5.
 */
const BEAT_MS_SERVING = 160;
/** So that all nodes together beat no more than 500 times a second. */
const BEAT_MS_EACH = 2;

/**
 * How soon that node is to beat again. While only slots move, that is sooner for the nodes that lead a shard which has still
 * to give or take some.
 */
export function beatMsOf({ nodes, shards, plan }: MetaState, { groups, load }: Heartbeat): number {
  const isForming = shards.size === 0 || [...shards.values()].some(({ formed }) => !formed);
  const moves = plan?.moves.filter((move) => !isEnded(move)) ?? [];
  const isPart = (shard: string): boolean => moves.some(({ from, to }) => from === shard || to === shard);
  const isBusy = isForming || groups.some(({ shard, lead }) => lead !== null && isPart(shard));
  if (!isBusy) return BEAT_MS_MAX;
  const leastMs = !isForming && load.commandsPerSecond > 0 ? BEAT_MS_SERVING : BEAT_MS_BUSY;
  return Math.min(BEAT_MS_MAX, Math.max(leastMs, BEAT_MS_EACH * nodes.size));
}

/** What a node does not obey, and learns nothing from. */
const SILENCE = {
  fence: { restore: 0, term: 0 },
  version: { restore: 0, index: 0 },
  issued: { epoch: 0, plan: 0 },
  beatMs: BEAT_MS_MAX,
  orders: [],
};

/** Orders for a node, and for which of its directories they were made. */
type Kept = { readonly incarnation: string; readonly orders: readonly Order[] };
type KeptMap = { readonly version: MapVersion; readonly hints: number; readonly map: ClusterMap };

export class Reign {
  readonly term: number;
  liveness: Liveness;
  /** Has applied what was acknowledged before it: it may speak. */
  isReady = false;
  readonly #tools: ReignTools;
  #tick: number;
  #round = 0;
  #roundTick: number;
  #reconciledTick: number;
  #seen: MetaState | null = null;
  #isPressing = false;
  /** Commands of the last reconciling whose fate is not known yet: none are added before it is. */
  #proposed = 0;
  #restore = -1;
  readonly #kept = new Map<string, Kept>();
  #map: KeptMap | null = null;

  constructor(term: number, tick: number, tools: ReignTools) {
    this.term = term;
    this.liveness = new Liveness(tick);
    this.#tools = tools;
    this.#tick = tick;
    this.#roundTick = tick - ROUND_TICKS;
    this.#reconciledTick = tick - SOON_TICKS;
  }

  get state(): MetaState {
    return this.#tools.state();
  }

  get fence(): Fence {
    return { restore: this.state.version.restore, term: this.term };
  }

  view(): View {
    return this.liveness.view(this.state, this.#tick);
  }

  planning(): PlanningTools {
    const { h64, newGroup } = this.#tools;
    return { state: this.state, view: this.view(), h64, newGroup };
  }

  tick(tick: number): void {
    assert(tick >= this.#tick, "time goes on");
    this.#tick = tick;
    if (!this.isReady) return;
    this.#followRestore();
    if (tick - this.#roundTick >= ROUND_TICKS) {
      this.#round++;
      this.#roundTick = tick;
      this.#isPressing = true;
    }
    if (this.state !== this.#seen) this.#isPressing = true;
    this.#reconcileSoon();
  }

  /** With a restore another past begins: orders of the old one are void, and all that was heard is to be heard again. */
  #followRestore(): void {
    const { restore } = this.state.version;
    if (restore === this.#restore) return;
    this.#restore = restore;
    this.#kept.clear();
    this.#map = null;
    this.liveness = new Liveness(this.#tick);
  }

  hear(beat: Heartbeat): HeartbeatReply {
    assert(this.isReady, "a leader speaks when it knows what was acknowledged before it");
    this.#followRestore();
    const { state, liveness } = this;
    const before = liveness.beatOf(beat.node);
    const standing = liveness.hear(state, beat, this.#tick);
    const isKnown = standing === "known";
    if (isKnown && (tellsNews(before, beat) || isNews(state, beat.node, beat.heard))) {
      this.#isPressing = true;
      this.#reconcileSoon();
    }
    if (this.isCounting) return { ...SILENCE, standing };
    const orders = isKnown ? this.#take(beat) : [];
    const issued = { epoch: state.epoch, plan: state.planNumber };
    return {
      fence: this.fence,
      standing,
      version: state.version,
      issued,
      beatMs: beatMsOf(state, beat),
      orders,
    };
  }

  /**
   * After a restore, until every node was heard: the number that this state will speak under is not known yet, as it must
   * be one that no node has heard. So nobody hears of it now.
   */
  get isCounting(): boolean {
    return this.state.awaited !== null;
  }

  /** A node that was refused because it knows of shards, and this state does not. */
  noteStranger(node: string): void {
    this.#followRestore();
    this.liveness.noteStranger(node);
  }

  /** What was kept for the node; each order is given once, and made again if it shows no effect. */
  #take({ node, incarnation }: Heartbeat): readonly Order[] {
    const kept = this.#kept.get(node);
    this.#kept.delete(node);
    return kept?.incarnation === incarnation ? kept.orders : [];
  }

  #reconcileSoon(): void {
    if (!this.#isPressing || this.#tick - this.#reconciledTick < SOON_TICKS) return;
    this.#isPressing = false;
    this.#reconciledTick = this.#tick;
    const { state } = this;
    this.#seen = state;
    const view = this.view();
    const { commands, orders } = reconcile({
      state,
      view,
      round: this.#round,
      bootstrapOf: this.#tools.bootstrapOf,
    });
    this.#keep(view, orders);
    if (this.#proposed === 0) for (const body of commands) this.#propose(body);
  }

  #keep(view: View, orders: readonly { readonly node: string; readonly order: Order }[]): void {
    const byNode = new Map<string, Order[]>();
    for (const { node, order } of orders) {
      const list = byNode.get(node);
      if (list === undefined) byNode.set(node, [order]);
      else list.push(order);
    }
    this.#kept.clear();
    for (const [node, list] of byNode) {
      const incarnation = view.beats.get(node)?.incarnation;
      if (incarnation !== undefined) this.#kept.set(node, { incarnation, orders: list });
    }
  }

  #propose(body: Body): void {
    this.#proposed++;
    this.#tools.propose(body, () => {
      this.#proposed--;
    });
  }

  /** The same value until something in it changes. */
  map(): ClusterMap {
    const { version } = this.state;
    const hints = this.liveness.hintChanges;
    if (this.#map === null || this.#map.version !== version || this.#map.hints !== hints) {
      const map = mapOf(this.state, (group) => this.liveness.hint(group));
      this.#map = { version, hints, map };
    }
    return this.#map.map;
  }
}

/**
 * A plan in figures for people who decide (`reshard plan`): what would move, how even it would be, how long it would take.
 *
 * Keys and bytes of slots are not counted one by one here: a shard's slots are taken to hold equal shares of what its
 * leader last reported. The time is what the rate limit allows when moves run side by side as they may; what the moves do
 * besides copying comes on top of it.
 */
import { figuresOf } from "../ring/figures.ts";
import { compareIds } from "../ring/layout.ts";
import { countSlots } from "../ring/range.ts";
import type { View } from "./liveness.ts";
import type { Planned } from "./planner.ts";
import type { MetaState } from "./state.ts";

type Held = { readonly keys: number; readonly bytes: number };

type Reported = {
  readonly plan: Pick<Planned["plan"], "number" | "manual" | "moves" | "shards">;
  readonly figures: Planned["figures"];
};

/** Of the plan that was taken under this number, as far as the state still has it. */
export function takenReport(state: MetaState, view: View, number: number): object {
  const plan = state.plan?.number === number ? state.plan : null;
  const moves = (plan?.moves ?? []).map((move) => ({ ...move, slotCount: countSlots(move.slots) }));
  const layout = state.layout ?? { number, vnodes: 1, shards: [] };
  const figures = figuresOf({ layout: number, moves, unowned: [] }, state.assignment, layout);
  return planReport(state, view, {
    plan: { number, manual: plan?.manual ?? false, moves, shards: [] },
    figures,
  });
}

export function planReport(state: MetaState, view: View, { plan, figures }: Reported): object {
  const before = state.assignment.counts();
  const gives = new Map<string, number>();
  const takes = new Map<string, number>();
  let keys = 0;
  let bytes = 0;
  for (const { from, to, slots } of plan.moves) {
    if (state.shards.get(from)?.state === "lost") continue; // nothing is carried
    const count = countSlots(slots);
    const held = heldBy(state, view, from);
    const share = count / Math.max(1, before.get(from) ?? 0);
    keys += held.keys * share;
    bytes += held.bytes * share;
    gives.set(from, (gives.get(from) ?? 0) + held.bytes * share);
    takes.set(to, (takes.get(to) ?? 0) + held.bytes * share);
  }
  const { movesMax, moveBytesPerSecond } = state.settings;
  // A shard gives in one move at a time and takes in one; and so many moves run in all.
  const longest = Math.max(bytes / movesMax, ...gives.values(), ...takes.values());
  return {
    epoch: plan.number,
    manual: plan.manual,
    moves: figures.moves,
    slots: figures.slotsMoved,
    keys: Math.round(keys),
    bytes: Math.round(bytes),
    seconds: Math.ceil(longest / moveBytesPerSecond),
    balanceBefore: figures.balanceBefore,
    balanceAfter: figures.balanceAfter,
    ...emptyOf(state, plan.moves),
    shards: figures.shards.map((shard) => ({ ...shard, nodes: nodesOf(state, plan, shard.id) })),
  };
}

/** What lost shards had: others begin with it empty. */
function emptyOf({ shards }: MetaState, moves: Reported["plan"]["moves"]): object {
  const lost = moves.filter(({ from }) => shards.get(from)?.state === "lost");
  if (lost.length === 0) return {};
  const slots = lost.reduce((sum, move) => sum + countSlots(move.slots), 0);
  return { empty: { shards: [...new Set(lost.map(({ from }) => from))].sort(compareIds), slots } };
}

function nodesOf(state: MetaState, plan: Reported["plan"], id: string): readonly string[] {
  const newborn = plan.shards.find((shard) => shard.id === id)?.newborn ?? null;
  return newborn?.founders.map(({ node }) => node) ?? state.shards.get(id)?.replicas ?? [];
}

/** As its leader says; without one, as the replica says that has the most. */
export function heldBy(state: MetaState, view: View, id: string): Held {
  const group = state.shards.get(id)?.group;
  let held: Held = { keys: 0, bytes: 0 };
  for (const beat of view.beats.values()) {
    const report = beat.groups.find((one) => one.group === group);
    if (report === undefined) continue;
    if (report.lead !== null) return report;
    if (report.keys > held.keys) held = report;
  }
  return held;
}

/**
 * What a plan would do, in figures, without doing it: for `reshard plan` and for people who decide.
 *
 * A shard's load is the slots it has as a share of those it should have by its weight: 1 is fair. Before and after are
 * both measured against the wish of the new layout, so a shard that is about to be added has load 0 before.
 */
import type { Assignment } from "./assignment.ts";
import type { ShardId } from "./circle.ts";
import { type Balance, balanceOf, compareIds, type Layout } from "./layout.ts";
import type { Plan } from "./plan.ts";

export type ShardFigures = {
  readonly id: ShardId;
  /** 0 = it is not in the layout: it gives all it has. */
  readonly weight: number;
  readonly slotsBefore: number;
  readonly slotsAfter: number;
};

export type PlanFigures = {
  readonly moves: number;
  readonly slotsMoved: number;
  /** In order of ids. */
  readonly shards: readonly ShardFigures[];
  /** Of the shards of the layout. */
  readonly balanceBefore: Balance;
  readonly balanceAfter: Balance;
};

export function figuresOf(plan: Plan, fact: Assignment, layout: Layout): PlanFigures {
  const before = fact.counts();
  const after = new Map(before);
  for (const { from, to, slotCount } of plan.moves) {
    after.set(from, (after.get(from) ?? 0) - slotCount);
    after.set(to, (after.get(to) ?? 0) + slotCount);
  }
  const weights = new Map(layout.shards.map(({ id, weight }) => [id, weight]));
  const ids = [...new Set([...weights.keys(), ...before.keys()])].sort(compareIds);
  const shards = ids.map((id) => ({
    id,
    weight: weights.get(id) ?? 0,
    slotsBefore: before.get(id) ?? 0,
    slotsAfter: after.get(id) ?? 0,
  }));
  const staying = shards.filter(({ weight }) => weight > 0);
  return {
    moves: plan.moves.length,
    slotsMoved: plan.moves.reduce((sum, { slotCount }) => sum + slotCount, 0),
    shards,
    balanceBefore: balanceOf(staying.map(({ weight, slotsBefore }) => ({ weight, slots: slotsBefore }))),
    balanceAfter: balanceOf(staying.map(({ weight, slotsAfter }) => ({ weight, slots: slotsAfter }))),
  };
}

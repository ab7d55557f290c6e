/**
 * From what a person asks for to the command that asks the log for it: which nodes a new shard begins on, which moves
 * lead from the assignment to the layout. Computed once, by the control plane's leader; the command carries the result,
 * and its transition checks that it still fits. A dry run is the same without proposing it.
 */
import { messageOf, NucleusError } from "../base/errors.ts";
import type { Hash64 } from "../ring/circle.ts";
import { figuresOf, type PlanFigures } from "../ring/figures.ts";
import { compareIds, makeLayout, rangesOfRing, ringOf } from "../ring/layout.ts";
import { planMoves } from "../ring/plan.ts";
import type { SlotRange } from "../ring/range.ts";
import { type Body, type BodyOf, MOVES_MAX, type PlannedShard } from "./commands.ts";
import type { View } from "./liveness.ts";
import { chooseNodes } from "./membership.ts";
import { orphans } from "./move_orders.ts";
import { RESTORE_IT } from "./node_transitions.ts";
import type { FirstLayout, PlanWish, ShardRequest } from "./requests.ts";
import { type MetaState, ordered, takesReplicas } from "./state.ts";
import { isSameList, placeProblem } from "./step.ts";

export type PlanningTools = {
  readonly state: MetaState;
  readonly view: View;
  readonly h64: Hash64;
  /** A random group id of 53 bits. */
  readonly newGroup: () => number;
};

/** Gives an error text as transitions do. */
export function planFirst(tools: PlanningTools, wish: FirstLayout): BodyOf<"init"> | string {
  const { strangers } = tools.view;
  if (strangers.length > 0)
    return `CONFLICT node ${listed(strangers)} has shards of this cluster already, which this control plane does not know: ${RESTORE_IT}`;
  return explained(() => {
    const layout = makeLayout({ number: 1, vnodes: wish.vnodes, shards: wish.shards });
    const owned = new Map(layout.shards.map(({ id }) => [id, [] as SlotRange[]]));
    for (const { slots, shard } of rangesOfRing(ringOf(layout, tools.h64))) owned.get(shard)?.push(slots);
    const replicas = wish.replicas ?? tools.state.settings.replicas;
    const shards = bornShards(tools, wish.shards, replicas);
    if (typeof shards === "string") return shards;
    const slots = shards.map(({ id }) => owned.get(id) ?? []);
    return { kind: "init", replicas, vnodes: wish.vnodes, shards, slots };
  });
}

export type Planned = {
  readonly plan: BodyOf<"plan">;
  /** Replicas of old shards that the request changes as well: asked for after the plan was taken. */
  readonly desired: readonly Body[];
  readonly figures: PlanFigures;
};

export function planNext(tools: PlanningTools, wish: PlanWish): Planned | string {
  const { state, h64 } = tools;
  const wait = mustWait(tools);
  if (wait !== null) return wait;
  return explained(() => {
    const { layout: before } = state;
    if (before === null) return "CONFLICT there is no first layout yet: cluster init makes it";
    const vnodes = wish.vnodes ?? before.vnodes;
    const layout = makeLayout({ number: wish.epoch, vnodes, shards: wish.shards });
    // What a lost shard owns as well: others take it over, empty.
    const { moves, unowned } = planMoves(state.assignment, ringOf(layout, h64));
    if (unowned.length > 0)
      return `CONFLICT nobody is known to own slot ${unowned[0]?.[0]}: wait, or look why`;
    if (moves.length > MOVES_MAX)
      return `LIMIT ${moves.length} moves in one plan, and at most ${MOVES_MAX} are taken`;
    const news = wish.shards.filter(({ id }) => !state.shards.has(id));
    const born = bornShards(tools, news, state.settings.replicas);
    if (typeof born === "string") return born;
    const old = wish.shards.filter(({ id }) => state.shards.has(id));
    const shards = [...born, ...old.map(({ id, weight }) => ({ id, weight, newborn: null }))];
    const { manual, epoch: number } = wish;
    const bodies = moves.map(({ from, to, slots }) => ({ from, to, slots }));
    return {
      plan: { kind: "plan", number, vnodes, manual, shards: shards.sort(byId), moves: bodies },
      desired: old.flatMap((shard) => replicasWish(state, shard)),
      figures: figuresOf({ layout: number, moves, unowned }, state.assignment, layout),
    };
  });
}

/** After a restore: what is not known yet, and would be planned wrongly. */
function mustWait({ state, view }: PlanningTools): string | null {
  const { awaited } = state;
  if (awaited !== null)
    return `TRYAGAIN the control plane was restored, and has not heard ${listed(awaited)} yet: start what is stopped, or say that it is gone (nucleus node exclude NODE)`;
  const [open] = orphans({ state, view });
  if (open === undefined) return null;
  return `TRYAGAIN a move to shard '${open.shard}' of before the restore is being ended: ask again in a second`;
}

function listed(nodes: readonly string[]): string {
  const named = nodes.slice(0, 5).join(", ");
  return nodes.length > 5 ? `${named} and ${nodes.length - 5} more` : named;
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return compareIds(a.id, b.id);
}

function explained<T>(plan: () => T | string): T | string {
  try {
    return plan();
  } catch (error) {
    if (error instanceof NucleusError) return `INVALID ${messageOf(error)}`;
    throw error;
  }
}

function replicasWish(state: MetaState, { id, nodes }: ShardRequest): Body[] {
  const now = state.shards.get(id)?.replicas ?? [];
  if (nodes === null || isSameList([...nodes].sort(compareIds), now)) return [];
  const add = nodes.filter((node) => !now.includes(node));
  const remove = now.filter((node) => !nodes.includes(node));
  return [{ kind: "desired", shard: id, add, remove, expected: now }];
}

/** New shards on the nodes that were named, or else on living ones with few replicas, in different zones. */
function bornShards(
  { state, view, newGroup }: PlanningTools,
  wishes: readonly ShardRequest[],
  replicas: number,
): PlannedShard[] | string {
  const loads = new Map<string, number>();
  for (const shard of state.shards.values()) count(loads, shard.replicas);
  const free = ordered(state.nodes).filter(
    (node) => takesReplicas(node) && view.standing(node.id) === "alive",
  );
  const born: PlannedShard[] = [];
  for (const { id, weight, nodes } of wishes) {
    const chosen = nodes ?? chooseNodes(state, free, [], replicas, loads).map((node) => node.id);
    const silent = ordered(state.nodes).filter((node) => takesReplicas(node) && view.isUnheard(node.id));
    if (nodes === null && chosen.length < replicas && silent.length > 0)
      return `TRYAGAIN shard '${id}' needs ${replicas} nodes, and this control process leads only now and has not heard ${listed(silent.map((node) => node.id))} yet`;
    if (nodes === null && chosen.length < replicas)
      return `CONFLICT shard '${id}' needs ${replicas} nodes, and ${free.length} can be used: start more, or name its nodes`;
    count(loads, chosen);
    const founders: NonNullable<PlannedShard["newborn"]>["founders"][number][] = [];
    for (const name of chosen.toSorted(compareIds)) {
      const node = state.nodes.get(name);
      const problem = placeProblem(node, name);
      if (problem !== null || node === undefined) return problem ?? "";
      founders.push({ node: name, incarnation: node.incarnation, replica: founders.length + 1 });
    }
    born.push({ id, weight, newborn: { group: newGroup(), founders } });
  }
  return born;
}

function count(loads: Map<string, number>, nodes: readonly string[]): void {
  for (const node of nodes) loads.set(node, (loads.get(node) ?? 0) + 1);
}

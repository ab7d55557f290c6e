/** How plans end: their moves one by one, by success or by cancel; then the wish is what was reached. */
import type { Layout, ShardWish } from "../ring/layout.ts";
import { countSlots } from "../ring/range.ts";
import {
  type FinishedMove,
  isEnded,
  type MetaState,
  type Plan,
  type PlanEnd,
  type PlannedMove,
  RECORDS_MAX,
  type ShardRecord,
  type ShardState,
} from "./state.ts";

/**
 * No further move begins; those that run are told to abort. The cancel takes a number of the moves' counter: so its
 * place among attempts is known.
 */
export function cancelPlan(state: MetaState): MetaState {
  const { plan } = state;
  if (plan === null || plan.cancelled > 0) return state;
  const epoch = state.epoch + 1;
  const moves = plan.moves.map((move) =>
    move.state === "waiting" ? { ...move, state: "cancelled" as const } : move,
  );
  return settled({ ...state, epoch, plan: { ...plan, cancelled: epoch, moves } });
}

/** The plan is not followed any further, whatever has become of it; the wish stays as it is. */
export function withoutPlan(state: MetaState): MetaState {
  const { plan } = state;
  if (plan === null) return state;
  return { ...state, plan: null, planEnd: planEndOf(plan, true) };
}

function planEndOf({ number, moves }: Plan, cancelled: boolean): PlanEnd {
  const done = moves.filter((move) => move.state === "done").length;
  return { number, cancelled, done, moves: moves.length };
}

/** The state with one move of the plan changed. */
export function withMove(state: MetaState, plan: Plan, at: number, move: PlannedMove): MetaState {
  return settled({ ...state, plan: { ...plan, moves: plan.moves.with(at, move) } });
}

/** Draws the conclusions: moves that a lost shard can no longer finish are over, and so is a plan without open moves. */
export function settled(state: MetaState): MetaState {
  const { plan } = state;
  if (plan === null) return state;
  const moves = plan.moves.map((move) => concluded(state, plan, move));
  const isChanged = moves.some((move, i) => move !== plan.moves[i]);
  const next = isChanged ? { ...state, plan: { ...plan, moves } } : state;
  return moves.every(isEnded) ? ended(next, { ...plan, moves }) : next;
}

function concluded(state: MetaState, plan: Plan, move: PlannedMove): PlannedMove {
  const isLost = (id: string): boolean => state.shards.get(id)?.state === "lost";
  let next = move;
  // The target's log can no longer say anything: the operator said so in its place.
  if (next.state === "running" && isLost(next.to)) next = { ...next, state: "aborted" };
  // The source can no longer close anything.
  if (next.state === "owned" && isLost(next.from)) next = { ...next, state: "done" };
  if (next.state === "aborted" && isLost(next.from)) next = closedAborted(plan, next);
  return next;
}

/** Both sides are as before the attempt: it is tried again, unless the plan was cancelled. */
export function closedAborted(plan: Plan, move: PlannedMove): PlannedMove {
  return { ...move, state: plan.cancelled > 0 ? "cancelled" : "waiting" };
}

function finishedMove(plan: Plan, { epoch, from, to, slots, record }: PlannedMove): FinishedMove[] {
  return record === null
    ? []
    : [{ epoch, plan: plan.number, from, to, slotCount: countSlots(slots), record }];
}

export function withFinished(state: MetaState, plan: Plan, move: PlannedMove): MetaState {
  return { ...state, finished: [...state.finished, ...finishedMove(plan, move)].slice(-RECORDS_MAX) };
}

function ended(state: MetaState, plan: Plan): MetaState {
  const isCancelled = plan.cancelled > 0;
  const next = { ...state, plan: null, planEnd: planEndOf(plan, isCancelled) };
  return isCancelled ? backToBefore(next, plan) : next;
}

/** The wish is again what it was, and what has come since and is not empty: by the plan, or by adoption after a restore. */
function backToBefore(state: MetaState, plan: Plan): MetaState {
  const counts = state.assignment.counts();
  const before = new Set(plan.before.shards.map(({ id }) => id));
  const kept = (state.layout?.shards ?? []).filter(
    ({ id }) => !before.has(id) && (!plan.added.includes(id) || (counts.get(id) ?? 0) > 0),
  );
  const wish = kept.length === 0 ? plan.before : mergedLayout(plan, kept);
  const wanted = new Set(wish.shards.map(({ id }) => id));
  const shards = new Map<string, ShardRecord>();
  for (const [id, shard] of state.shards) {
    const is: ShardState = shard.state === "lost" ? "lost" : wanted.has(id) ? "active" : "retiring";
    shards.set(id, is === shard.state ? shard : { ...shard, state: is });
  }
  return { ...state, layout: wish, shards };
}

function mergedLayout({ before, number }: Plan, kept: readonly ShardWish[]): Layout {
  const shards = [...before.shards, ...kept].sort((a, b) => (a.id < b.id ? -1 : 1));
  return { ...before, number, shards };
}

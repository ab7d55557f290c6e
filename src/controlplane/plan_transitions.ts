/**
 * Plans and their moves (design section 11). The control plane begins moves and writes down what became of them; the
 * two shards carry a begun one through by themselves, and the target's log alone decides whether it took place.
 *
 * A plan is made for one state of the cluster: a compare-and-set on its number, and every slot must still belong to the
 * shard that it is to leave. Every attempt of a move has an epoch of its own.
 */
import { countSlots, slotsOfRanges } from "../ring/range.ts";
import { MOVE_SLOTS_MAX } from "../wire/control_plane.ts";
import type { BodyOf } from "./commands.ts";
import { cancelPlan, closedAborted, settled, withFinished, withMove } from "./plan_end.ts";
import { birthProblem, bornShard, hasNewborn, layoutOf, withRetired } from "./shard_transitions.ts";
import { isOpen, type MetaState, type Plan, type PlannedMove, type ShardRecord } from "./state.ts";
import { done, hasTwin, noShard, refused, type Step } from "./step.ts";

type PlanBody = BodyOf<"plan">;

export function applyPlan(state: MetaState, body: PlanBody): Step {
  const { layout: before } = state;
  if (before === null) return refused(state, "CONFLICT there is no first layout yet: cluster init makes it");
  const next = state.planNumber + 1;
  if (body.number !== next)
    return refused(state, `CONFLICT the next plan has epoch ${next}, not ${body.number}: look again`);
  if (state.plan !== null)
    return refused(state, `CONFLICT plan ${state.plan.number} is under way: let it end, or cancel it`);
  if (state.awaited !== null)
    return refused(state, `CONFLICT not heard since the restore: ${state.awaited.slice(0, 5).join(", ")}`);
  const layout = layoutOf(body.number, body.vnodes, body.shards);
  if (typeof layout === "string") return refused(state, layout);
  const problem = shardsProblem(state, body) ?? movesProblem(state, body) ?? leftoverProblem(state, body);
  if (problem !== null) return refused(state, problem);
  const plan: Plan = {
    number: body.number,
    manual: body.manual,
    cutover: false,
    cancelled: 0,
    before,
    added: body.shards.filter(hasNewborn).map(({ id }) => id),
    moves: body.moves.map((move) => ({ ...move, state: "waiting", epoch: 0, tries: 0, record: null })),
  };
  const shards = shardsOf(state, body);
  return done(settled({ ...state, planNumber: body.number, layout, shards, plan }), body.number);
}

function shardsProblem(state: MetaState, { shards }: PlanBody): string | null {
  const groups = shards.filter(hasNewborn).map(({ newborn }) => newborn.group);
  if (hasTwin(groups)) return "INVALID two shards share a group";
  for (const shard of shards) {
    const known = state.shards.get(shard.id);
    if (known?.state === "lost") return `CONFLICT shard '${shard.id}' is lost`;
    if (known !== undefined && !hasNewborn(shard)) continue;
    const problem = birthProblem(state, shard);
    if (problem !== null) return problem;
  }
  return null;
}

function movesProblem(state: MetaState, { shards, moves }: PlanBody): string | null {
  const listed = new Set(shards.map(({ id }) => id));
  const moved = new Set<number>();
  for (const { from, to, slots } of moves) {
    if (from === to || !listed.has(to)) return `INVALID a move from '${from}' to '${to}'`;
    const count = countSlots(slots);
    if (count < 1 || count > MOVE_SLOTS_MAX) return `INVALID a move takes 1 to ${MOVE_SLOTS_MAX} slots`;
    for (const slot of slotsOfRanges(slots)) {
      if (state.assignment.shardAt(slot) !== from)
        return `CONFLICT slot ${slot} is not with shard '${from}': look again`;
      if (moved.has(slot)) return `INVALID slot ${slot} is in two moves`;
      moved.add(slot);
    }
  }
  return null;
}

/** Shards that the plan leaves out must own nothing in the end. */
function leftoverProblem(state: MetaState, { shards, moves }: PlanBody): string | null {
  const listed = new Set(shards.map(({ id }) => id));
  const left = state.assignment.counts();
  for (const { from, slots } of moves) left.set(from, (left.get(from) ?? 0) - countSlots(slots));
  for (const [id, count] of left) {
    if (count === 0 || listed.has(id) || state.shards.get(id)?.state === "lost") continue;
    return `INVALID shard '${id}' is left out and would still own ${count} slots`;
  }
  return null;
}

function shardsOf(state: MetaState, { shards }: PlanBody): ReadonlyMap<string, ShardRecord> {
  const listed = new Set(shards.map(({ id }) => id));
  const next = new Map<string, ShardRecord>();
  for (const [id, shard] of state.shards) {
    if (shard.state === "lost") next.set(id, shard);
    else next.set(id, { ...shard, state: listed.has(id) ? "active" : "retiring" });
  }
  for (const shard of shards)
    if (hasNewborn(shard)) next.set(shard.id, bornShard(state, shard, [], state.epoch + 1));
  return next;
}

/** The reply is the attempt's epoch, also when it has begun already. */
export function applyStart(state: MetaState, body: BodyOf<"start">): Step {
  const { plan } = state;
  const move = plan?.moves[body.move];
  if (plan === null || plan.number !== body.plan || move === undefined)
    return refused(state, `CONFLICT plan ${body.plan} is over`);
  if (isOpen(move) && move.tries === body.tries) return done(state, move.epoch);
  if (move.state !== "waiting" || move.tries + 1 !== body.tries)
    return refused(state, `CONFLICT move ${body.move} is ${move.state} after ${move.tries} tries`);
  const problem = startProblem(state, plan, move);
  if (problem !== null) return refused(state, problem);
  const epoch = state.epoch + 1;
  const begun: PlannedMove = { ...move, state: "running", epoch, tries: body.tries };
  return done(withMove(withoutLost({ ...state, epoch }, move.from), plan, body.move, begun), epoch);
}

/**
 * From the first slot on that a lost shard gives, its group counts among those that are gone: a replica of it that turns up
 * would serve what others have by now, whatever became of the plan.
 */
function withoutLost(state: MetaState, from: string): MetaState {
  const shard = state.shards.get(from);
  return shard?.state === "lost" ? { ...state, retired: withRetired(state, shard) } : state;
}

/** One move at a time gives from a shard, and one at a time takes into it. */
function startProblem(state: MetaState, plan: Plan, { from, to, slots }: PlannedMove): string | null {
  const open = plan.moves.filter(isOpen);
  if (open.length >= state.settings.movesMax) return "CONFLICT as many moves run as may";
  if (open.some((other) => other.from === from || other.to === to))
    return `CONFLICT a move from '${from}' or to '${to}' runs`;
  if (!state.shards.has(from) || !state.shards.has(to)) return noShard(state.shards.has(from) ? to : from);
  for (const slot of slotsOfRanges(slots)) {
    if (state.assignment.shardAt(slot) !== from) return `CONFLICT slot ${slot} is not with shard '${from}'`;
  }
  return null;
}

export function applyOutcome(state: MetaState, { epoch, phase, record }: BodyOf<"outcome">): Step {
  const { plan } = state;
  const at = plan?.moves.findIndex((move) => move.epoch === epoch) ?? -1;
  const move = plan?.moves[at];
  if (plan === null || move === undefined) return done(state); // over and written down, or before a restore
  switch (phase) {
    case "owned": {
      if (move.state === "owned" || move.state === "done") return done(state);
      if (move.state !== "running")
        return refused(state, `CONFLICT the move of epoch ${epoch} is ${move.state}`);
      const assignment = state.assignment.copy();
      assignment.claim(move.slots, move.to, epoch);
      return done(withMove({ ...state, assignment }, plan, at, { ...move, state: "owned", record }));
    }
    case "aborted":
      if (move.state === "owned" || move.state === "done")
        return refused(state, `CONFLICT the move of epoch ${epoch} took place`);
      if (move.state !== "running") return done(state);
      return done(withMove(state, plan, at, { ...move, state: "aborted" }));
    case "closed":
      return applyClosed(state, plan, at, move);
  }
}

function applyClosed(state: MetaState, plan: Plan, at: number, move: PlannedMove): Step {
  switch (move.state) {
    case "owned":
      return done(withMove(withFinished(state, plan, move), plan, at, { ...move, state: "done" }));
    case "aborted":
      return done(withMove(state, plan, at, closedAborted(plan, move)));
    case "running": // the source closes only on an outcome, which was not written down yet
      return refused(state, `CONFLICT the outcome of epoch ${move.epoch} is not known yet`);
    default:
      return done(state);
  }
}

export function applyCutover(state: MetaState, number: number): Step {
  const { plan } = state;
  if (plan?.number !== number) return refused(state, noPlan(state, number));
  if (plan.cancelled > 0) return refused(state, `CONFLICT plan ${number} is being cancelled`);
  if (plan.cutover) return done(state, number);
  return done({ ...state, plan: { ...plan, cutover: true } }, number);
}

export function applyCancel(state: MetaState, number: number): Step {
  const { plan, planEnd } = state;
  if (plan?.number === number) return done(cancelPlan(state), number);
  if (planEnd?.number === number && planEnd.cancelled) return done(state, number);
  return refused(state, noPlan(state, number));
}

function noPlan({ plan }: MetaState, number: number): string {
  const is = plan === null ? "none is" : `plan ${plan.number} is`;
  return `CONFLICT plan ${number} is not under way; ${is}`;
}

/**
 * The moves of the plan under way: begun when both sides are free and can act, told to the leaders of both sides until
 * they say that they know, and followed to their ends (design section 11). A move that was begun needs none of this to
 * finish; what is here starts, resumes after a change of leaders, and cancels.
 */
import { slotsOfRanges } from "../ring/range.ts";
import type { Order } from "../wire/control_plane.ts";
import type { Body } from "./commands.ts";
import type { GroupView, View } from "./liveness.ts";
import { hasQuorum } from "./membership.ts";
import { reportOf } from "./observe.ts";
import type { Addressed, Situation } from "./reconciler.ts";
import { isOpen, type MetaState, ordered, type Plan, type PlannedMove } from "./state.ts";

/** After so many failures an attempt waits no longer than after one less: 2^6 rounds. */
const BACKOFF_TRIES_MAX = 6;

export function moveStarts({ state, view, round }: Situation): Body[] {
  const { plan } = state;
  if (plan === null || plan.cancelled > 0) return [];
  const open = plan.moves.filter(isOpen);
  const giving = new Set(open.map(({ from }) => from));
  const taking = new Set(open.map(({ to }) => to));
  const starts: Body[] = [];
  for (const [at, move] of plan.moves.entries()) {
    if (open.length + starts.length >= state.settings.movesMax) break;
    if (move.state !== "waiting" || giving.has(move.from) || taking.has(move.to)) continue;
    if (!canAct(state, view, move.from) || !canAct(state, view, move.to) || mustWait(move, round)) continue;
    if (isOvertaken(state, move)) return [{ kind: "cancel", number: plan.number }];
    giving.add(move.from);
    taking.add(move.to);
    starts.push({ kind: "start", plan: plan.number, move: at, tries: move.tries + 1 });
  }
  return starts;
}

/**
 * The shard has not got all that it is to give: after a restore a shard that was heard late had taken some of it before, in
 * a move of a plan that nobody knows any more. The plan was made of what was thought then; a new one is made of what is.
 */
function isOvertaken({ assignment }: MetaState, { from, slots }: PlannedMove): boolean {
  for (const slot of slotsOfRanges(slots)) if (assignment.shardAt(slot) !== from) return true;
  return false;
}

/** What failed is tried again at once, then after 2, 4, 8 .. rounds. */
function mustWait({ tries }: PlannedMove, round: number): boolean {
  return tries > 0 && round % 2 ** Math.min(tries - 1, BACKOFF_TRIES_MAX) !== 0;
}

function canAct(state: MetaState, view: View, id: string): boolean {
  const shard = state.shards.get(id);
  const group = shard === undefined ? undefined : view.groups.get(shard.group);
  if (shard?.state === "lost") return isAbandoned(state, view, group);
  const leader = group?.leader ?? null;
  if (leader === null) return false;
  return hasQuorum(
    view,
    leader.lead.voters.map(({ node }) => node),
  );
}

/**
 * Others take what a lost shard had, when no replica of it is left that could serve it; and what a node has that this
 * leader did not hear yet, nobody knows.
 */
function isAbandoned({ nodes }: MetaState, view: View, group: GroupView | undefined): boolean {
  const isHeld = [...(group?.holders.values() ?? [])].some(({ quarantined }) => !quarantined);
  return !isHeld && ![...nodes.keys()].some((node) => view.isUnheard(node));
}

/** A move that no plan knows: of before a restore. */
export type Orphan = { readonly shard: string; readonly node: string; readonly epoch: number };

/**
 * Moves that are open at their targets and in no plan: begun after the backup of which this state was made. Those of them
 * that were held would wait for a word that nobody can give; so their targets are to abort what they do not own yet, and
 * the sources read that from there.
 */
export function orphans({ state, view }: Pick<Situation, "state" | "view">): Orphan[] {
  const planned = new Set((state.plan?.moves ?? []).filter(isOpen).map(({ epoch }) => epoch));
  return ordered(state.shards).flatMap(({ id, group }) => {
    const leader = view.groups.get(group)?.leader ?? null;
    const open = (leader?.lead.moves ?? []).filter(
      ({ epoch, side, phase }) => side === "target" && OPEN_PHASES.has(phase) && !planned.has(epoch),
    );
    return open.map(({ epoch }) => ({ shard: id, node: leader?.node ?? "", epoch }));
  });
}

const OPEN_PHASES: ReadonlySet<string> = new Set(["importing", "copying"]);

export function moveOrders(now: Situation): Addressed[] {
  const { state, view } = now;
  const { plan } = state;
  const aborts = orphans(now).map(({ shard: to, node, epoch }): Addressed => {
    return { node, order: { kind: "abort", epoch, to } };
  });
  if (plan === null) return aborts;
  const orders = plan.moves.filter(isOpen).flatMap((move) => ordersFor(state, view, plan, move));
  return [...aborts, ...orders];
}

function ordersFor(state: MetaState, view: View, plan: Plan, move: PlannedMove): Addressed[] {
  const { epoch, from, to } = move;
  const toLeader = (shard: string, order: Order): Addressed[] => {
    const group = state.shards.get(shard)?.group ?? 0;
    const leader = view.groups.get(group)?.leader ?? null;
    return leader === null ? [] : [{ node: leader.node, order }];
  };
  if (move.state !== "running") {
    const isLost = state.shards.get(to)?.state === "lost";
    if (!isLost) return toLeader(from, { kind: "settle", epoch, from, to });
    return toLeader(from, { kind: move.state === "owned" ? "release" : "unseal", epoch, from });
  }
  if (plan.cancelled > 0) return toLeader(to, { kind: "abort", epoch, to });
  if (state.shards.get(from)?.state === "lost")
    return toLeader(to, { kind: "take", epoch, from, to, slots: move.slots });
  const hold = plan.manual && !plan.cutover;
  const { moveBytesPerSecond: bytesPerSecond } = state.settings;
  const order: Order = { kind: "move", epoch, from, to, slots: move.slots, hold, bytesPerSecond };
  const source = reportOf(state, view, move, "source");
  const knows = reportOf(state, view, move, "target") !== undefined;
  const waits = source === undefined || (source.phase === "ready" && !hold);
  return [...(knows ? [] : toLeader(to, order)), ...(waits ? toLeader(from, order) : [])];
}

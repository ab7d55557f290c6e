/**
 * What the nodes' words say that the state does not know yet, as commands for its log. All of it comes from applied
 * state of the shards, so it is true for ever, only perhaps not new any more; which the numbers in it tell.
 */
import { compareIds } from "../ring/layout.ts";
import { rangesOfSlots, slotsOfRanges } from "../ring/range.ts";
import { type LeadReport, type MoveReport, REPLICAS_MAX } from "../wire/control_plane.ts";
import type { Body } from "./commands.ts";
import type { GroupView, View } from "./liveness.ts";
import { isNews } from "./node_transitions.ts";
import type { Situation } from "./reconciler.ts";
import { isOpen, type MetaState, type PlannedMove, type ShardRecord } from "./state.ts";
import { isSameList } from "./step.ts";

export function observations({ state, view }: Situation): Body[] {
  const seen: Body[] = [];
  const shards = new Map([...state.shards.values()].map((shard) => [shard.group, shard]));
  for (const group of view.groups.values()) {
    if (group.leader === null) continue;
    const shard = shards.get(group.group);
    if (shard === undefined) seen.push(...adoptions(state, group, group.leader.lead));
    else {
      if (!shard.formed) seen.push({ kind: "formed", shard: shard.id });
      if (state.awaited !== null) seen.push(...members(shard, group.leader.lead));
      // What a lost shard says does not count any more: others have its slots, or will.
      if (shard.state !== "lost") seen.push(...claims(state, shard.id, group.leader.lead));
    }
  }
  for (const move of state.plan?.moves ?? []) if (isOpen(move)) seen.push(...outcomes(state, view, move));
  // Last: when a node counts as heard after a restore, what it leads is written down.
  for (const [node, { incarnation, heard }] of view.beats) {
    if (isNews(state, node, heard)) seen.push({ kind: "heard", node, incarnation, heard });
  }
  return seen;
}

/** After a restore: the members that a shard has, where others are wished. */
function members({ id, group, replicas }: ShardRecord, { voters, joint }: LeadReport): Body[] {
  const now = nodesOf(voters);
  return joint || isSameList(now, replicas) ? [] : [{ kind: "adopt", shard: id, group, replicas: now }];
}

function nodesOf(voters: LeadReport["voters"]): string[] {
  return [...new Set(voters.map(({ node }) => node))].sort(compareIds).slice(0, REPLICAS_MAX);
}

function adoptions(state: MetaState, { group, shard }: GroupView, { voters, joint }: LeadReport): Body[] {
  if (
    state.version.restore === 0 ||
    joint ||
    state.shards.has(shard) ||
    state.retired.some((gone) => gone.group === group)
  )
    return [];
  return [{ kind: "adopt", shard, group, replicas: nodesOf(voters) }];
}

/** Slots that the shard owns under a higher epoch than is known. */
function claims({ assignment }: MetaState, shard: string, { slots: owned }: LeadReport): Body[] {
  const newer = owned.flatMap(({ epoch, slots }) => {
    const later = [...slotsOfRanges(slots)].filter((slot) => assignment.epochAt(slot) < epoch);
    return later.length === 0 ? [] : [{ epoch, slots: rangesOfSlots(later) }];
  });
  return newer.length === 0 ? [] : [{ kind: "assign", shard, claims: newer }];
}

function outcomes(state: MetaState, view: View, move: PlannedMove): Body[] {
  const { epoch } = move;
  const target = reportOf(state, view, move, "target");
  const source = reportOf(state, view, move, "source");
  if (move.state === "running") {
    if (target?.phase === "owned") return [{ kind: "outcome", epoch, phase: "owned", record: target.record }];
    return target?.phase === "aborted" ? [{ kind: "outcome", epoch, phase: "aborted", record: null }] : [];
  }
  const isClosed = source?.phase === (move.state === "owned" ? "released" : "unsealed");
  return isClosed ? [{ kind: "outcome", epoch, phase: "closed", record: null }] : [];
}

/** What the leader of one side says of a move. */
export function reportOf(
  state: MetaState,
  view: View,
  move: PlannedMove,
  side: MoveReport["side"],
): MoveReport | undefined {
  const shard = state.shards.get(side === "source" ? move.from : move.to);
  const leader = shard === undefined ? null : (view.groups.get(shard.group)?.leader ?? null);
  return leader?.lead.moves.find((report) => report.epoch === move.epoch && report.side === side);
}

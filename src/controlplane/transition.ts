/**
 * What a command does to the state: total - every command in every state has a reply - and deterministic, of the state
 * and the entry's index alone.
 *
 * Replies: a number (a plan's, an epoch, how much changed), or an error that begins with what the asker may do:
 *
 *     CONFLICT   somebody else was first, or it must not be now: look again       STALE   this node was replaced
 *     NOTFOUND   no such node, shard or plan                                      LIMIT   there are too many of these
 *     INVALID    it can never be so
 *
 * A command that is answered with an error changed nothing.
 */
import { unreachable } from "../base/assert.ts";
import type { Body, ControlCommand } from "./commands.ts";
import { applyHeard, applyNode, applyRegister, applyRestored } from "./node_transitions.ts";
import { applyCancel, applyCutover, applyOutcome, applyPlan, applyStart } from "./plan_transitions.ts";
import { applyRestorePart } from "./restore_transitions.ts";
import {
  applyAdopt,
  applyAssign,
  applyDesired,
  applyFormed,
  applyInit,
  applyLost,
  applyRetire,
} from "./shard_transitions.ts";
import { type MetaState, REQUESTS_MAX, type Reply } from "./state.ts";
import { done, type Step } from "./step.ts";

export function transition(state: MetaState, { request, body }: ControlCommand, index: number): Step {
  const known = request === null ? undefined : state.requests.get(request);
  if (known !== undefined) return { state, reply: known };
  const step = apply(state, body, index);
  let next = step.state;
  if (next !== state) next = { ...next, version: { restore: next.version.restore, index } };
  return { state: request === null ? next : remember(next, request, step.reply), reply: step.reply };
}

function apply(state: MetaState, body: Body, index: number): Step {
  switch (body.kind) {
    case "init":
      return applyInit(state, body);
    case "register":
      return applyRegister(state, body.registration, index);
    case "heard":
      return applyHeard(state, body, index);
    case "node":
      return applyNode(state, body);
    case "desired":
      return applyDesired(state, body);
    case "plan":
      return applyPlan(state, body);
    case "cutover":
      return applyCutover(state, body.number);
    case "cancel":
      return applyCancel(state, body.number);
    case "start":
      return applyStart(state, body);
    case "outcome":
      return applyOutcome(state, body);
    case "assign":
      return applyAssign(state, body);
    case "formed":
      return applyFormed(state, body.shard);
    case "retire":
      return applyRetire(state, body.shard);
    case "lost":
      return applyLost(state, body.shard);
    case "adopt":
      return applyAdopt(state, body);
    case "settings":
      return done({ ...state, settings: body.settings });
    case "restored":
      return applyRestored(state, body.token);
    case "restorePart":
      return applyRestorePart(state, body);
    default:
      return unreachable(body);
  }
}

/** Oldest first out: a map walks in the order in which it was filled. */
function remember(state: MetaState, request: string, reply: Reply): MetaState {
  const requests = new Map(state.requests).set(request, reply);
  for (const oldest of requests.keys()) {
    if (requests.size <= REQUESTS_MAX) break;
    requests.delete(oldest);
  }
  return { ...state, requests };
}

/**
 * Who takes part, and who leads (thesis 3.10, 4.2, 4.3).
 *
 * A change of voters is two entries: the joint config, under which old and new voters must both agree, and, once
 * both have committed it, the new config alone; the leader, or whoever leads next, appends the second by itself.
 * Each is in force from the moment it is in a log. One change at a time (hazard E2), and none before this term's
 * first commit (hazard E1: two leaders could each change an old config and end with disjoint majorities).
 */
import { assert } from "../base/assert.ts";
import {
  type ConfigChange,
  type ConfigProblem,
  changeConfig,
  encodeConfig,
  includes,
  isJoint,
  isVoter,
  leaveJoint,
} from "./config.ts";
import { jointValue } from "./quorum.ts";
import { rouse, silenceOf } from "./rest.ts";
import { appendSealed, becomeFollower } from "./roles.ts";
import type { RaftState } from "./state.ts";
import { ENTRY_KIND, type GroupConfig, type Member, type Refusal, type ReplicaId } from "./types.ts";

/**
 * A learner has caught up when it replicates and lags by no more entries than this. An entry is a turn's batch:
 * some thousand a second at most, so the rest is a fraction of a second (hazard E4).
 */
const PROMOTION_LAG_MAX = 128;

/** Why a change was not proposed. Each means: nothing happened. */
export type ConfigRefusal =
  | Exclude<Refusal, "busy">
  | ConfigProblem
  | "term_not_committed"
  | "change_in_flight"
  | "not_caught_up"
  | "majority_silent";

export function proposeConfig(s: RaftState, change: ConfigChange): ConfigRefusal | null {
  if (s.role !== "leader") return "not_leader";
  if (s.transferTo !== 0) return "transferring";
  if (!s.committedInTerm) return "term_not_committed";
  if (isJoint(s.log.config) || s.log.configIndex > s.commit) return "change_in_flight";
  if (
    change.promote?.some((replica) => includes(s.log.config.learners, replica) && !hasCaughtUp(s, replica))
  ) {
    return "not_caught_up";
  }
  const config = changeConfig(s.log.config, change);
  if (typeof config === "string") return config;
  if (isJoint(config) && !answers(s, config)) return "majority_silent";
  appendSealed(s, ENTRY_KIND.config, encodeConfig(config));
  return null;
}

function hasCaughtUp(s: RaftState, replica: ReplicaId): boolean {
  const progress = s.progress.get(replica);
  assert(progress !== undefined, "a leader tracks its learners");
  if (!isRecent(s, contactTickOf(s, replica))) return false;
  return progress.state === "replicate" && s.log.lastIndex - progress.match <= PROMOTION_LAG_MAX;
}

/** A joint config is in force from its append on, and both majorities end it: begun without one, it would stop the group. */
function answers(s: RaftState, { voters, outgoing }: GroupConfig): boolean {
  const contactTick = ({ replica }: Member): number => contactTickOf(s, replica);
  return isRecent(s, jointValue(voters.map(contactTick), outgoing.map(contactTick)));
}

function isRecent(s: RaftState, contactTick: number): boolean {
  return s.ticks - contactTick < s.options.electionTicksMin;
}

function contactTickOf(s: RaftState, replica: ReplicaId): number {
  if (replica === s.self) return s.ticks;
  const progress = s.progress.get(replica);
  assert(progress !== undefined, "a leader tracks its members");
  return s.ticks - silenceOf(s, replica, s.ticks - progress.contactTick);
}

/** After every input of a leader: does what a committed config asks for. */
export function advanceMembership(s: RaftState): void {
  const { config, configIndex } = s.log;
  if (configIndex > s.commit || !s.committedInTerm) return;
  if (isJoint(config)) {
    // A transfer froze the log; the second half follows when it ended, here or at the next leader.
    if (s.transferTo === 0) appendSealed(s, ENTRY_KIND.config, encodeConfig(leaveJoint(config)));
  } else if (!isVoter(config, s.self)) {
    retire(s);
  }
}

/**
 * Removed, and that is committed (hazard E6): names a successor that has everything, and steps down. While clients write nobody
 * has, so it is a transfer, which freezes the log; to another one if that takes an election timeout.
 */
function retire(s: RaftState): void {
  if (s.transferTo === 0) {
    const voters = s.voterProgress.filter(({ replica }) => isRecent(s, contactTickOf(s, replica)));
    const successor = voters.sort((a, b) => b.match - a.match)[0];
    if (successor !== undefined) beginTransfer(s, successor.replica);
  }
  if (s.transferTo === 0 || s.timeoutNowSent) becomeFollower(s, s.term, 0);
}

/** Why a transfer does not begin. */
export type TransferRefusal = Exclude<Refusal, "busy"> | "not_voter";

/**
 * Begins to hand leadership to `to`: no proposals any more, and when `to` has the whole log it is told to stand
 * for election at once. Given up after one election timeout (hazard C5). Reads need nothing special: there are
 * no leases that could outlive the transfer.
 */
export function beginTransfer(s: RaftState, to: ReplicaId): TransferRefusal | null {
  if (s.role !== "leader") return "not_leader";
  if (s.transferTo !== 0) return "transferring";
  if (to === s.self) return null;
  if (!includes(s.log.config.voters, to)) return "not_voter";
  rouse(s);
  s.transferTo = to;
  s.transferElapsed = 0;
  s.timeoutNowSent = false;
  advanceTransfer(s);
  return null;
}

/**
 * Sends the order as soon as the target has everything: with the log frozen, that point is fixed. And as soon as all of it is
 * committed: who is removed from the group would not hear any more what became of the last proposals.
 */
export function advanceTransfer(s: RaftState): void {
  if (s.transferTo === 0 || s.timeoutNowSent) return;
  if (s.progress.get(s.transferTo)?.match !== s.log.lastIndex || s.commit !== s.log.lastIndex) return;
  s.timeoutNowSent = true;
  sendTimeoutNow(s, s.transferTo);
}

export function tickTransfer(s: RaftState): void {
  if (s.transferTo === 0) return;
  s.transferElapsed++;
  if (s.transferElapsed >= s.options.electionTicksMin) s.transferTo = 0;
}

function sendTimeoutNow(s: RaftState, to: ReplicaId): void {
  s.send({ kind: "timeout_now", from: s.self, to, term: s.term });
}

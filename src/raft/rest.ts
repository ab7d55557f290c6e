/**
 * Rest: a group that nobody uses costs no ticks and no heartbeats (CockroachDB's quiescence, TiKV's hibernation; in
 * place of their timers the pulses of nodes).
 *
 *     1. nothing was asked of a leader for a while, and everybody has everything: its heartbeats propose rest n
 *     2. a follower that has all of the log, committed and on its disk, keeps it: it says so, and counts no time
 *     3. all members that can be reached keep rest n, a quorum with the leader: it rests, too
 *
 * The nodes pulse each other. As long as a node is heard, its leaders count as heard by the followers here that rest, and
 * its followers by the leaders here; that is what heartbeats would have said. When it is not heard for most of an election
 * timeout, when its connection ends or another begins, the driver rouses every group that shares a rest with it. Time goes
 * on from the last pulse, so elections come when they would have come, each at its own drawn moment; or soon, where the leader's node
 * ended the connection (election.ts, `loseLeader`).
 *
 * What must hold: **a follower rests only while its leader leads and knows of it**, or it would wait for ever for one who
 * is none. So
 *   - a leader that is asked for anything, or ceases to lead, first sends heartbeats without rest: in the old term
 *   - a follower that gives up a rest by itself (it heard of another term) says so to the leader
 *   - both travel behind what was said before over one connection, and rest ends on both sides when that ends
 *   - a rest is numbered: an answer to a former one keeps no later one
 *   - the leader repeats the rest at each `look`; a follower that heard nothing of it for REST_LOOKS_MAX looks leaves it
 *
 * A follower at rest is loyal (thesis 4.2.3): it ignores candidates as one does that heard a heartbeat just now.
 */
import { isJoint } from "./config.ts";
import type { Progress } from "./progress.ts";
import { sendHeartbeats } from "./replication.ts";
import type { RaftState } from "./state.ts";
import type { Message, ReplicaId } from "./types.ts";

/** A look is some seconds: whatever went wrong, a follower without a leader finds out. */
const REST_LOOKS_MAX = 3;

const restsOf = (progress: Progress): number => (progress.rests ? 1 : 0);

/** Each tick of a leader. */
export function tickRest(s: RaftState): void {
  const { rest } = s.options;
  if (rest === null) return;
  if (!isQuiet(s)) rouse(s);
  else if (s.rest !== 0) s.atRest = allRest(s);
  else if (++s.quietTicks >= rest.afterTicks) s.rest = ++s.lastRest;
}

/** Nothing is under way that ticks or heartbeats would be needed for. */
function isQuiet(s: RaftState): boolean {
  const { log, commit, durable } = s;
  if (!s.committedInTerm || s.transferTo !== 0 || s.readsPending > 0 || isJoint(log.config)) return false;
  return commit === log.lastIndex && durable.index === log.lastIndex;
}

function allRest(s: RaftState): boolean {
  const { rest } = s.options;
  s.ownProgress.rests = true;
  for (const { replica, rests, match } of s.progress.values()) {
    if (replica === s.self) continue;
    const state = rest?.of(replica);
    if (state === "cannot" || (state === "can" && !(rests && match === s.log.lastIndex))) return false;
  }
  return s.quorumValue(restsOf) === 1;
}

/** What a heartbeat to that replica says of rest. One that lacks something counts time: appends would take it from a rest. */
export function restFor(s: RaftState, { replica, match }: Progress): number {
  if (s.rest === 0 || match !== s.log.lastIndex) return 0;
  return s.options.rest?.of(replica) === "can" ? s.rest : 0;
}

/** A follower hears its leader propose a rest (0: none). */
export function keepRest(s: RaftState, rest: number): void {
  const { log, commit, durable } = s;
  const hasAll = commit === log.lastIndex && durable.index === log.lastIndex && s.voteIsDurable;
  s.atRest = rest !== 0 && hasAll && s.options.rest?.of(s.leader) === "can"; // else nothing would tell that it is gone
  s.restLooks = 0;
}

/** False: a leader at rest must see to this message. A follower judges by what becomes of its own message. */
export function keepsAtRest(s: RaftState, m: Message): boolean {
  if (s.role !== "leader") return true;
  return m.kind === "heartbeat_reply" && m.term === s.term && m.rest === s.rest;
}

/** Since that replica was heard: `ticks`, as counted here; at rest its node's pulses tell, if any came. */
export function silenceOf(s: RaftState, replica: ReplicaId, ticks: number): number {
  if (!s.atRest || replica === s.self) return ticks;
  const silence = s.options.rest?.silenceTicks(replica) ?? ticks;
  return Number.isFinite(silence) ? silence : ticks;
}

/** Something is asked of a leader, or it no longer leads: whoever rests with it counts time again. */
export function rouse(s: RaftState): void {
  s.quietTicks = 0;
  if (s.rest === 0) return;
  const { rest, electionTicksMin } = s.options;
  for (const progress of s.progress.values()) {
    if (s.atRest && progress.replica !== s.self) {
      const silence = rest?.silenceTicks(progress.replica) ?? 0;
      progress.contactTick = s.ticks - Math.min(silence, electionTicksMin);
    }
    progress.rests = false;
  }
  s.atRest = false;
  s.rest = 0;
  sendHeartbeats(s);
}

/** A follower counts time again, and its leader hears of that. */
export function leaveRest(s: RaftState): void {
  if (!s.atRest) return;
  const { rest, electionTicksMin } = s.options;
  s.atRest = false;
  s.leaderSilence = Math.min(rest?.silenceTicks(s.leader) ?? 0, electionTicksMin);
  s.electionElapsed = s.leaderSilence;
  s.send({ kind: "heartbeat_reply", from: s.self, to: s.leader, term: s.term, round: 0, rest: 0 });
}

/** A leader is heard at once then: whoever came back may be about to look for another one. */
export function endRest(s: RaftState): void {
  if (s.role !== "leader") return leaveRest(s);
  const isGreeted = s.rest !== 0; // `rouse` does it
  rouse(s);
  if (!isGreeted) sendHeartbeats(s);
}

/** Now and then, while it rests. */
export function lookAtRest(s: RaftState): void {
  if (!s.atRest) return;
  if (s.role === "leader") sendHeartbeats(s);
  else if (++s.restLooks >= REST_LOOKS_MAX) leaveRest(s);
}

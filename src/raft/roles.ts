/**
 * The four roles and the ways between them (thesis figure 3.3, with the pre-vote of 9.6):
 *
 *     follower -> precandidate      heard no leader for one election timeout, or its connection ended
 *     precandidate -> candidate     a quorum would vote for it; only now does the term rise
 *     candidate -> leader           a quorum voted for it, its own disk included
 *     any -> follower               a higher term, a leader, a lost vote, a leader without contact
 *
 * A vote is forgotten only when the term rises (hazard A3).
 */
import { assert } from "../base/assert.ts";
import { Progress, Window } from "./progress.ts";
import { leaveRest, rouse } from "./rest.ts";
import type { RaftState } from "./state.ts";
import { ENTRY_KIND, type Entry, type EntryKind, type Member, type ReplicaId, type Term } from "./types.ts";

const NO_BODY = new Uint8Array(0);

/** Follows `leader` (0 = unknown) in `term`, which is the present one or a higher one. */
export function becomeFollower(s: RaftState, term: Term, leader: ReplicaId): void {
  assert(term >= s.term, "terms never fall");
  if (s.role === "leader") rouse(s); // in the term that it still has: whoever rests must not go on trusting in it
  if (term > s.term) raiseTerm(s, term, 0);
  const wasFollower = s.role === "follower";
  if (s.role === "leader") leaveOffice(s);
  s.role = "follower";
  s.leader = leader;
  s.votes.clear();
  s.requestsHeld = false;
  if (!wasFollower) s.restartElectionTimer();
}

export function becomePrecandidate(s: RaftState): void {
  assert(s.role !== "leader", "a leader does not campaign");
  leaveRest(s);
  s.role = "precandidate";
  s.leader = 0;
  s.votes.clear();
  s.votes.set(s.self, true); // it would vote for itself; a pre-vote binds nobody
  s.requestsHeld = false;
  s.restartElectionTimer();
}

/** A new term, and this replica's vote in it for itself: not yet counted, the disk does not know it. */
export function becomeCandidate(s: RaftState, transfer: boolean): void {
  assert(s.role !== "leader", "a leader does not campaign");
  raiseTerm(s, s.term + 1, s.self);
  s.role = "candidate";
  s.leader = 0;
  s.votes.clear();
  s.transferCampaign = transfer;
  s.requestsHeld = true;
  s.restartElectionTimer();
}

export function becomeLeader(s: RaftState): void {
  assert(s.role === "candidate", "only a candidate is elected");
  assert(s.vote === s.self && s.voteIsDurable, "nobody leads in a term that its own disk does not know");
  s.role = "leader";
  s.leader = s.self;
  s.votes.clear();
  s.heartbeatElapsed = 0;
  s.quietTicks = 0;
  s.termStart = s.log.lastIndex + 1;
  trackMembers(s);
  s.ownProgress.match = s.durable.index;
  // Commits nothing of older terms by itself; with it they commit too (hazard A1, thesis 3.6.2).
  appendSealed(s, ENTRY_KIND.noop, NO_BODY);
}

function raiseTerm(s: RaftState, term: Term, vote: ReplicaId): void {
  s.term = term;
  leaveRest(s); // the leader of the old term learns the new one from it
  s.vote = vote;
  s.voteOwed = 0;
  s.verified = 0;
  s.acked = 0;
  s.ackWanted = false;
}

function leaveOffice(s: RaftState): void {
  for (const { ids } of s.readRounds) s.readsLost.push(...ids);
  s.readsLost.push(...s.readsFresh);
  s.readRounds = [];
  s.readsFresh = [];
  s.asksFresh = []; // whoever asked asks the next leader
  s.readsPending = 0;
  s.transferTo = 0;
  s.snapshotsWanted = [];
  s.progress.clear();
  s.voterProgress = [];
  s.outgoingProgress = [];
}

/**
 * True if this replica may stand for election (hazard A8: not a learner, nor one that was removed). While its
 * removal is not known to be committed it still may, without a vote of its own, and sometimes must (thesis 4.2.2):
 *
 *     1. leader 1 of the joint config (old: 1, new: 2) appends the new config, which drops it, and crashes
 *     2. 2 needs the old set, which is 1; but 1 has the longer log, and refuses
 *     3. so 1 leads again, with 2's vote; 2 gets the entry, it is committed, and only then 1 is gone
 */
export function mayCampaign(s: RaftState): boolean {
  return s.role !== "leader" && s.log.mayStillVote(s.self, s.commit);
}

/** Seals and appends an entry of the leader's own making. */
export function appendSealed(s: RaftState, kind: EntryKind, body: Uint8Array): void {
  const index = s.log.lastIndex + 1;
  appendOwn(s, { index, term: s.term, kind, bytes: s.options.seal(kind, s.term, index, body) });
}

/** Appends to the leader's log. It leaves with the next Ready: to the disk and to the followers at once. */
export function appendOwn(s: RaftState, entry: Entry): void {
  assert(s.role === "leader" && entry.term === s.term, "only a leader makes entries, in its own term");
  rouse(s);
  const configIndex = s.log.configIndex;
  s.log.append(entry);
  s.entries.push(entry);
  if (s.log.configIndex !== configIndex) trackMembers(s);
}

/** Brings the leader's view of its members in line with the config in force. */
function trackMembers(s: RaftState): void {
  const { voters, outgoing, learners } = s.log.config;
  const known = new Map(s.progress);
  s.progress.clear();
  const track = ({ replica }: Member): Progress => {
    const progress = s.progress.get(replica) ?? known.get(replica) ?? newProgress(s, replica);
    s.progress.set(replica, progress);
    return progress;
  };
  s.voterProgress = voters.map(track);
  s.outgoingProgress = outgoing.map(track);
  learners.forEach(track);
  // A leader that is being removed goes on leading, without a vote, until that is committed (hazard E6).
  track({ replica: s.self, node: "" }).state = "replicate";
}

/** As if just heard: a new member, like all members of a new leader, gets one election timeout to answer. */
function newProgress(s: RaftState, replica: ReplicaId): Progress {
  const { inflightMessagesMax, inflightBytesMax } = s.options;
  return new Progress(
    replica,
    s.log.lastIndex + 1,
    s.ticks,
    new Window(inflightMessagesMax, inflightBytesMax),
  );
}

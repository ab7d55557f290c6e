/**
 * Elections: pre-vote, vote, and who wins (thesis 3.4, 3.6.1, 9.6).
 *
 * A request for votes leaves only when the candidate's own vote is on its disk, and the disk keeps one order, so
 * the log that the request describes is there too. Were it to leave before, this could happen (hazard A2):
 *
 *     1. 1 has (5, t1) in memory only, asks for votes in t2 with lastIndex 5, and crashes
 *     2. 1 comes back in t1 without (5, t1), which the others had committed; it campaigns in t2 again
 *     3. the answer to the first request arrives: 1 leads t2 without a committed entry
 *
 * Replies to requests of real votes wait for the disk in the same way; pre-votes promise nothing and wait for
 * nothing.
 */
import { leaveRest } from "./rest.ts";
import { becomeCandidate, becomeFollower, becomeLeader, becomePrecandidate, mayCampaign } from "./roles.ts";
import type { RaftState } from "./state.ts";
import type { VoteReply, VoteRequest } from "./types.ts";

/** Asks whether a quorum would vote for this replica. Disturbs nobody if not. */
export function campaign(s: RaftState): void {
  if (!mayCampaign(s)) return;
  becomePrecandidate(s);
  if (s.voteOutcome() === "won") standForElection(s, false);
  else requestVotes(s, "prevote");
}

/**
 * No connection joins this node to the leader's any more, as when a process ends: a follower does not wait its time out. It asks
 * at a moment of its own within half of the shortest one, so that two seldom ask at once. If only the connection broke, whoever
 * still hears the leader refuses (`isLoyal`), and the leader's next word has this replica follow it again: a tenth of that time
 * is left for a leader whose connections all broke, and who dials at once.
 */
export function loseLeader(s: RaftState): void {
  if (s.role !== "follower" || s.leader === 0) return;
  leaveRest(s);
  const { electionTicksMin, random } = s.options;
  const waitTicks = 1 + Math.floor(electionTicksMin / 10) + random(Math.ceil(electionTicksMin / 2));
  s.leaderSilence = Math.max(s.leaderSilence, electionTicksMin);
  s.electionElapsed = Math.max(s.electionElapsed, s.electionTimeout - waitTicks);
}

/** The real election, in a new term. `transfer`: the leader itself asked for it. */
export function standForElection(s: RaftState, transfer: boolean): void {
  if (!mayCampaign(s)) return;
  becomeCandidate(s, transfer);
}

/** The disk knows more: perhaps this candidate's own vote, which counts and speaks only now. */
export function countOwnVote(s: RaftState): void {
  if (s.role !== "candidate" || !s.requestsHeld || !s.voteIsDurable) return;
  s.requestsHeld = false;
  s.votes.set(s.self, true);
  if (s.voteOutcome() === "won") becomeLeader(s);
  else requestVotes(s, "vote");
}

function requestVotes(s: RaftState, kind: VoteRequest["kind"]): void {
  const { self: from, log, transferCampaign } = s;
  const term = kind === "prevote" ? s.term + 1 : s.term;
  const transfer = kind === "vote" && transferCampaign;
  s.eachOtherVoter((to) => {
    s.send({ kind, from, to, term, lastIndex: log.lastIndex, lastTerm: log.lastTerm, transfer });
  });
}

/**
 * True if this replica has, or is, a leader in good contact: then it neither answers candidates nor raises its
 * term for them (thesis 4.2.3, 9.6), so a replica that was cut off or removed deposes nobody (hazards A6, A8).
 */
export function isLoyal(s: RaftState): boolean {
  if (s.role === "leader") return true; // it steps down by itself when it loses contact
  return s.leader !== 0 && s.leaderSilence < s.options.electionTicksMin;
}

/**
 * Answers a request whose term is not below ours; a real vote's equals ours by now. Anyone may ask: whether the
 * candidate is a voter, and whether we are, is for the candidate's log to say, which may be ahead (hazard E5).
 */
export function onVoteRequest(s: RaftState, m: VoteRequest): void {
  const free = s.vote === m.from || (s.vote === 0 && s.leader === 0) || m.term > s.term;
  const { lastIndex, lastTerm } = s.log;
  const complete = m.lastTerm > lastTerm || (m.lastTerm === lastTerm && m.lastIndex >= lastIndex);
  if (!free || !complete) {
    refuseVote(s, m);
  } else if (m.kind === "prevote") {
    s.send({ kind: "prevote_reply", from: s.self, to: m.from, term: m.term, granted: true });
  } else {
    s.vote = m.from;
    s.voteOwed = m.from;
    s.restartElectionTimer();
  }
}

/** Says no in our own term, so that a candidate that fell behind catches up with it (hazard A7). */
export function refuseVote(s: RaftState, m: VoteRequest): void {
  const kind = m.kind === "prevote" ? "prevote_reply" : "vote_reply";
  s.send({ kind, from: s.self, to: m.from, term: s.term, granted: false });
}

/**
 * The answer to our own request: one counts from each voter, the first, and only in the round that asked (hazard
 * A10). A pre-vote is granted for the term that we would enter; granted for another one, it comes from a former
 * round.
 */
export function onVoteReply(s: RaftState, m: VoteReply): void {
  const awaited = m.kind === "prevote_reply" ? "precandidate" : "candidate";
  if (s.role !== awaited || s.votes.has(m.from)) return;
  if (s.role === "precandidate" && m.granted && m.term !== s.term + 1) return;
  if (s.role === "candidate" && s.requestsHeld) return; // nobody was asked yet
  s.votes.set(m.from, m.granted);
  const outcome = s.voteOutcome();
  if (outcome === "lost") becomeFollower(s, s.term, 0);
  else if (outcome === "won" && s.role === "precandidate") standForElection(s, false);
  else if (outcome === "won") becomeLeader(s);
}

/** Sends the vote that was granted, once the disk knows it (hazard A2). */
export function sendOwedVote(s: RaftState): void {
  if (s.voteOwed === 0 || !s.voteIsDurable) return;
  s.send({ kind: "vote_reply", from: s.self, to: s.voteOwed, term: s.term, granted: true });
  s.voteOwed = 0;
}

/**
 * Where a message goes. The term comes first (thesis 3.3): a higher one is followed, a lower one is answered with
 * ours; only messages of our own term reach the parts that act on them, with two exceptions. A pre-vote asks about
 * a term that nobody is in yet, and candidates are ignored by those that are in contact with a leader.
 */
import { isLoyal, onVoteReply, onVoteRequest, refuseVote, standForElection } from "./election.ts";
import { hearLeader, onAppend, onHeartbeat, onSnapshot } from "./follower.ts";
import { advanceMembership, advanceTransfer } from "./membership.ts";
import { onReadAsk } from "./reads.ts";
import { onAppendReply, onHeartbeatReply } from "./replication.ts";
import { keepsAtRest, rouse } from "./rest.ts";
import { becomeFollower } from "./roles.ts";
import type { RaftState } from "./state.ts";
import type { Message } from "./types.ts";

export function step(s: RaftState, m: Message): void {
  if (m.to !== s.self || m.from === s.self || m.from === 0) {
    s.rejectedMessages++;
    return;
  }
  if (s.atRest && !keepsAtRest(s, m)) rouse(s);
  if (m.term < s.term) {
    answerLowerTerm(s, m);
  } else if (m.term === s.term || followsHigherTerm(s, m)) {
    dispatch(s, m);
    settle(s);
  }
}

/** False if the message is to be ignored. */
function followsHigherTerm(s: RaftState, m: Message): boolean {
  if (m.kind === "vote" || m.kind === "prevote") {
    if (!m.transfer && isLoyal(s)) return false;
    if (m.kind === "prevote") return true; // answered, but no reason to change the term
  }
  if (m.kind === "prevote_reply" && m.granted) return true; // it names the term we asked about
  becomeFollower(s, m.term, 0);
  return true;
}

/** Whoever waits for an answer learns our term from it; all else is late. */
function answerLowerTerm(s: RaftState, m: Message): void {
  switch (m.kind) {
    case "vote":
    case "prevote":
      refuseVote(s, m);
      return;
    case "append":
    case "heartbeat":
    case "snapshot":
      // Deposes a leader that the others are still loyal to, when our term ran ahead: or we would be stuck.
      s.send({ kind: "heartbeat_reply", from: s.self, to: m.from, term: s.term, round: 0, rest: 0 });
      return;
    default:
      return;
  }
}

function dispatch(s: RaftState, m: Message): void {
  switch (m.kind) {
    case "vote":
    case "prevote":
      onVoteRequest(s, m);
      return;
    case "vote_reply":
    case "prevote_reply":
      onVoteReply(s, m);
      return;
    case "append":
      if (hearLeader(s, m.from)) onAppend(s, m);
      return;
    case "heartbeat":
      if (hearLeader(s, m.from)) onHeartbeat(s, m);
      return;
    case "snapshot":
      // It came on another way, and late perhaps: the leader is whoever sends appends and heartbeats.
      if (m.from === s.leader && hearLeader(s, m.from)) onSnapshot(s, m);
      return;
    case "append_reply":
      if (s.role === "leader") onAppendReply(s, m);
      return;
    case "heartbeat_reply":
      if (s.role === "leader") onHeartbeatReply(s, m);
      return;
    case "read_ask":
      if (s.role === "leader") onReadAsk(s, m);
      return;
    case "read_answer":
      if (m.from === s.leader) s.answer = { id: m.ask, index: m.index };
      return;
    case "timeout_now":
      if (s.role === "follower" && m.from === s.leader) standForElection(s, true);
      return;
  }
}

/** What an input may have made due for a leader. */
export function settle(s: RaftState): void {
  if (s.role !== "leader") return;
  advanceTransfer(s);
  advanceMembership(s);
}

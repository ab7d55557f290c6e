/**
 * Linearizable reads without a log entry and without a clock (thesis 6.4, ReadIndex):
 *
 *     1. the leader takes its commit index, once an entry of its own term is committed (hazard C1: before that it
 *        may not know the newest commit)
 *     2. it asks every voter, by a heartbeat with a fresh round number, whether it still leads (hazard C2: a late
 *        answer names an older round and confirms nothing newer)
 *     3. a quorum answered: at the time of asking no later leader had committed anything, so state at that index
 *        or later is current enough
 *
 * All reads of one turn share one round. A lost heartbeat costs no retry of its own: every later heartbeat names
 * the latest round, and confirming it confirms all before it.
 *
 * A follower may answer reads, too: it asks the leader for 1 to 3 on its behalf, and answers once it has applied
 * the index that comes back. An ask is the beginning of the round as the follower sees it: whatever was
 * acknowledged before it asked is in that index, however long the answer took. So the time since it asked bounds
 * how old its state can be, by its own clock alone. Asks and answers that get lost are the driver's to repeat.
 */
import { isVoter } from "./config.ts";
import type { Progress } from "./progress.ts";
import { sendHeartbeat } from "./replication.ts";
import { rouse } from "./rest.ts";
import type { RaftState, ReadRound } from "./state.ts";
import type { ReadAsk } from "./types.ts";

/** Most reads that may wait for confirmation: the driver batches a turn's reads, so this is some thousand turns. */
const READS_PENDING_MAX = 65_536;

const ackedRoundOf = (progress: Progress): number => progress.ackedRound;

/** False if this replica cannot answer it: not leader, or too many are waiting. */
export function askRead(s: RaftState, id: number): boolean {
  if (s.role !== "leader" || s.readsPending >= READS_PENDING_MAX) return false;
  rouse(s);
  s.readsFresh.push(id);
  s.readsPending++;
  return true;
}

/** False if no leader is known, or this replica is it. */
export function askLeader(s: RaftState, ask: number): boolean {
  if (s.role !== "follower" || s.leader === 0) return false;
  s.send({ kind: "read_ask", from: s.self, to: s.leader, term: s.term, ask });
  return true;
}

export function onReadAsk(s: RaftState, { from, ask }: ReadAsk): void {
  if (s.readsPending >= READS_PENDING_MAX) return; // it will ask again
  rouse(s);
  s.asksFresh.push({ from, ask });
  s.readsPending++;
}

/** End of a turn: begins a round for the reads that came in it, releases those that are confirmed. */
export function advanceReads(s: RaftState): void {
  if (s.readsPending === 0) return;
  if (s.readsFresh.length + s.asksFresh.length > 0 && s.committedInTerm) beginRound(s);
  const confirmed = s.quorumValue(ackedRoundOf);
  while (s.readRounds.length > 0 && (s.readRounds[0] as ReadRound).round <= confirmed) {
    const { index, ids, asks } = s.readRounds.shift() as ReadRound;
    for (const id of ids) s.reads.push({ id, index });
    for (const { from, ask } of asks) {
      s.send({ kind: "read_answer", from: s.self, to: from, term: s.term, ask, index });
    }
    s.readsPending -= ids.length + asks.length;
  }
}

function beginRound(s: RaftState): void {
  s.round++;
  s.ownProgress.ackedRound = s.round;
  s.readRounds.push({ round: s.round, index: s.commit, ids: s.readsFresh, asks: s.asksFresh });
  s.readsFresh = [];
  s.asksFresh = [];
  for (const progress of s.progress.values()) {
    if (progress.replica !== s.self && isVoter(s.log.config, progress.replica)) sendHeartbeat(s, progress);
  }
}

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
 */
import { isVoter } from "./config.ts";
import type { Progress } from "./progress.ts";
import { sendHeartbeat } from "./replication.ts";
import type { RaftState, ReadRound } from "./state.ts";

/** Most reads that may wait for confirmation: the driver batches a turn's reads, so this is some thousand turns. */
export const READS_PENDING_MAX = 65_536;

const ackedRoundOf = (progress: Progress): number => progress.ackedRound;

/** False if this replica cannot answer it: not leader, or too many are waiting. */
export function askRead(s: RaftState, id: number): boolean {
  if (s.role !== "leader" || s.readsPending >= READS_PENDING_MAX) return false;
  s.readsFresh.push(id);
  s.readsPending++;
  return true;
}

/** End of a turn: begins a round for the reads that came in it, releases those that are confirmed. */
export function advanceReads(s: RaftState): void {
  if (s.readsPending === 0) return;
  if (s.readsFresh.length > 0 && s.committedInTerm) beginRound(s);
  const confirmed = s.quorumValue(ackedRoundOf);
  while (s.readRounds.length > 0 && (s.readRounds[0] as ReadRound).round <= confirmed) {
    const { index, ids } = s.readRounds.shift() as ReadRound;
    for (const id of ids) s.reads.push({ id, index });
    s.readsPending -= ids.length;
  }
}

function beginRound(s: RaftState): void {
  s.round++;
  s.ownProgress.ackedRound = s.round;
  s.readRounds.push({ round: s.round, index: s.commit, ids: s.readsFresh });
  s.readsFresh = [];
  for (const progress of s.progress.values()) {
    if (progress.replica !== s.self && isVoter(s.log.config, progress.replica)) sendHeartbeat(s, progress);
  }
}

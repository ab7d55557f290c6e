/**
 * The follower's side of replication: what a leader sends, and what may be acknowledged.
 *
 *     verified   the log up to here is the leader's, of this term: appends compared it
 *     durable    the log up to here is on this disk
 *     acked      min of both, as far as the leader was told or need not be
 *
 * An acknowledgement is cumulative, so one is enough however many appends and syncs came together; and it never
 * runs ahead of the disk, also when an append brings nothing new (hazard A4). The commit index never runs ahead of
 * `verified` (hazard B2).
 */
import { assert } from "../base/assert.ts";
import { configOfEntry } from "./config.ts";
import { keepRest } from "./rest.ts";
import { becomeFollower } from "./roles.ts";
import type { RaftState } from "./state.ts";
import {
  type AppendRequest,
  ENTRY_KIND,
  type Entry,
  type Heartbeat,
  type Index,
  type ReplicaId,
  type SnapshotMessage,
} from "./types.ts";

/** A message of this term's leader came. False if the term has another one: no correct peer does that. */
export function hearLeader(s: RaftState, from: ReplicaId): boolean {
  if (s.role === "leader" || (s.leader !== 0 && s.leader !== from)) {
    s.rejectedMessages++;
    return false;
  }
  if (s.role !== "follower" || s.leader === 0) becomeFollower(s, s.term, from);
  s.electionElapsed = 0;
  s.leaderSilence = 0;
  s.atRest = false; // unless this very message says that it goes on
  return true;
}

export function onAppend(s: RaftState, m: AppendRequest): void {
  if (!isWellFormed(m)) {
    s.rejectedMessages++;
    return;
  }
  const { log } = s;
  // Entries up to our commit index are the leader's too (leader completeness), compacted or not (hazard B3).
  if (m.prevIndex > s.commit && !log.holds(m.prevIndex, m.prevTerm)) {
    rejectAppend(s, m);
    return;
  }
  const known = m.prevIndex <= s.commit && m.prevIndex >= log.snapshotIndex;
  assert(!known || log.holds(m.prevIndex, m.prevTerm), "committed entries are those of every later leader");
  for (const entry of m.entries) {
    if (entry.index < log.snapshotIndex || log.holds(entry.index, entry.term)) continue;
    if (entry.index <= log.lastIndex) replaceFrom(s, entry.index);
    log.append(entry);
    s.entries.push(entry);
  }
  s.verified = Math.max(s.verified, m.lastIndex, s.commit);
  s.commitTo(Math.min(m.commit, s.verified));
  s.ackWanted = true;
  // If the disk is still at work, its completion is the answer: what it held before is not worth a message.
  if (s.durable.index < s.verified) s.acked = Math.max(s.acked, s.durable.index);
}

/** One run of entries right after prevIndex (hazard B4), of terms that this leader's log can have. */
function isWellFormed(m: AppendRequest): boolean {
  if (m.entries.length !== m.lastIndex - m.prevIndex) return false;
  let index = m.prevIndex;
  let term = m.prevTerm;
  for (const entry of m.entries) {
    if (entry.index !== ++index || entry.term < term || entry.term > m.term) return false;
    if (bringsConfig(entry) && configOfEntry(entry) === null) return false;
    term = entry.term;
  }
  return term <= m.term;
}

function bringsConfig(entry: Entry): boolean {
  return entry.kind === ENTRY_KIND.config || entry.kind === ENTRY_KIND.bootstrap;
}

/** Says where this log and the leader's may still agree: the last entry here whose term the leader's can reach. */
function rejectAppend(s: RaftState, m: AppendRequest): void {
  const hintIndex = s.log.agreementHint(m.prevIndex, m.prevTerm);
  assert(hintIndex >= s.commit, "committed entries are those of every later leader");
  s.send({
    kind: "append_reply",
    from: s.self,
    to: m.from,
    term: s.term,
    accepted: false,
    index: m.prevIndex,
    hintIndex,
    hintTerm: s.log.termAt(hintIndex),
  });
}

/** The leader has another entry at `index`: ours, and all behind it, were never committed (hazard B1). */
function replaceFrom(s: RaftState, index: Index): void {
  assert(index > s.commit, "a committed entry is never replaced");
  assert(index > s.verified, "what this term's leader sent is never replaced by it");
  s.log.truncate(index);
  s.durable.truncated(index);
  while (s.entries.length > 0 && (s.entries.at(-1) as Entry).index >= index) s.entries.pop();
  s.truncatedFrom = Math.min(s.truncatedFrom ?? index, index);
}

export function onHeartbeat(s: RaftState, m: Heartbeat): void {
  if (m.commit > s.log.lastIndex) {
    s.rejectedMessages++; // we never acknowledged that much: not our leader's doing, so no answer either
    return;
  }
  // The leader commits no further than what *we* acknowledged in this term, so that part of our log is its own:
  // a restart may have forgotten, the disk has not.
  s.verified = Math.max(s.verified, m.commit);
  s.commitTo(m.commit);
  keepRest(s, m.rest);
  const rest = s.atRest ? m.rest : 0;
  s.send({ kind: "heartbeat_reply", from: s.self, to: m.from, term: s.term, round: m.round, rest });
}

/** The driver holds a whole snapshot of the leader's. */
export function onSnapshot(s: RaftState, m: SnapshotMessage): void {
  const { log } = s;
  const { index, term } = m.meta;
  const contradicts = index > s.commit && index <= s.verified && !log.holds(index, term);
  if (term > m.term || contradicts) {
    s.rejectedMessages++; // no leader has entries of a later term, or others than it sent before
    return;
  }
  s.ackWanted = true;
  if (index <= s.commit) {
    s.verified = Math.max(s.verified, s.commit);
    return;
  }
  s.verified = Math.max(s.verified, index);
  if (!log.holds(index, term)) {
    s.truncatedFrom = Math.min(s.truncatedFrom ?? index, log.snapshotIndex + 1);
    s.durable.truncated(1);
    s.entries = [];
    s.snapshot = m.meta;
    log.reset(m.meta);
  }
  s.commitTo(index);
}

/**
 * Acknowledges what is both the leader's and on the disk. Held while the disk is still writing what was
 * verified: its completion brings the answer. An append that wants an answer gets one even if it repeats.
 */
export function sendOwedAck(s: RaftState): void {
  if (s.role !== "follower" || s.leader === 0 || s.durable.term !== s.term) return;
  const index = Math.min(s.durable.index, s.verified);
  const repeats = s.ackWanted && index === s.verified;
  if (index <= s.acked && !repeats) return;
  s.acked = Math.max(s.acked, index);
  s.ackWanted = false;
  s.send({
    kind: "append_reply",
    from: s.self,
    to: s.leader,
    term: s.term,
    accepted: true,
    index: s.acked,
    hintIndex: 0,
    hintTerm: 0,
  });
}

/**
 * The leader's side of replication (thesis 3.5, 10.2): appends out, replies in, commit by counting.
 *
 * Appends are not sent when something happens but when the turn ends (`sendAppends`, from takeReady), so one turn
 * makes one append to each follower, whatever it brought. They name ranges; the driver fills in the bytes. The
 * leader's own disk writes the same entries at the same time: it is one more member whose match follows its disk.
 *
 * What gets lost is found by heartbeats: a reply to one ends a probe's wait, and if a follower's match stood still
 * between two replies while appends were on their way, an empty append asks where it stands.
 */
import type { Progress } from "./progress.ts";
import { restFor } from "./rest.ts";
import type { RaftState } from "./state.ts";
import type { AppendReply, HeartbeatReply, Index, ReplicaId } from "./types.ts";

const matchOf = (progress: Progress): number => progress.match;

/** Sends every member what it may be sent now. */
export function sendAppends(s: RaftState): void {
  for (const progress of s.progress.values()) if (progress.replica !== s.self) feed(s, progress);
}

function feed(s: RaftState, progress: Progress): void {
  const { log } = s;
  while (progress.state !== "snapshot") {
    const probing = progress.state === "probe";
    if (probing ? progress.paused : progress.window.full || progress.next > log.lastIndex) return;
    if (progress.next <= log.snapshotIndex) {
      wantSnapshot(s, progress);
      return;
    }
    const first = progress.next;
    const last = first > log.lastIndex ? first - 1 : log.cut(first, s.options.appendBytesMax);
    sendAppend(s, progress, first - 1, last);
    if (probing) {
      progress.paused = true;
    } else {
      progress.window.add(last, log.bytes(first, last));
      progress.next = last + 1;
    }
  }
}

/** Entries (prevIndex, lastIndex]; none of them before the snapshot. */
function sendAppend(s: RaftState, progress: Progress, prevIndex: Index, lastIndex: Index): void {
  progress.commitSent = s.commit;
  s.send({
    kind: "append",
    from: s.self,
    to: progress.replica,
    term: s.term,
    prevIndex,
    prevTerm: s.log.termAt(prevIndex),
    lastIndex,
    entries: [],
    commit: s.commit,
  });
}

function wantSnapshot(s: RaftState, progress: Progress): void {
  progress.toSnapshot();
  s.snapshotsWanted.push(progress.replica);
}

export function onAppendReply(s: RaftState, m: AppendReply): void {
  const progress = s.progress.get(m.from);
  if (progress === undefined) return; // removed meanwhile
  progress.contactTick = s.ticks;
  if (m.accepted) onAccepted(s, progress, m.index);
  else onRejected(s, progress, m);
}

function onAccepted(s: RaftState, progress: Progress, index: Index): void {
  if (index > s.log.lastIndex) {
    s.rejectedMessages++; // acknowledges what this leader never had
    return;
  }
  const fresh = progress.acknowledge(index);
  const { state, match } = progress;
  if (state === "probe" && (fresh || match === index)) progress.toReplicate();
  else if (state === "snapshot" && match >= s.log.snapshotIndex) progress.toReplicate();
  if (!fresh) return;
  advanceCommit(s);
}

function onRejected(s: RaftState, progress: Progress, m: AppendReply): void {
  // Both sides skip whole terms: the follower to its last entry of a term that ours may reach, we to our last
  // entry of a term that its may reach. So a conflict costs one round trip a term, not one an entry.
  const hint = s.log.agreementHint(m.hintIndex, m.hintTerm);
  progress.backOff(m.index, hint);
}

/**
 * Commits what a quorum holds on disk, if it is of this leader's term (hazard A1: an entry of an older term may
 * be on a majority and still be overwritten, thesis figure 3.7). Older ones commit with it.
 */
function advanceCommit(s: RaftState): void {
  const index = s.quorumValue(matchOf);
  if (index > s.commit && s.log.termAt(index) === s.term) s.commitTo(index);
}

/** The leader's own disk holds more of its log. */
export function countOwnDisk(s: RaftState): void {
  if (s.role === "leader" && s.ownProgress.acknowledge(s.durable.index)) advanceCommit(s);
}

export function sendHeartbeat(s: RaftState, progress: Progress): void {
  // Not beyond its match: it would otherwise commit entries of its own that were never compared (hazard B2).
  const commit = Math.min(progress.match, s.commit);
  progress.commitSent = Math.max(progress.commitSent, commit);
  const { self: from, term, round } = s;
  s.send({ kind: "heartbeat", from, to: progress.replica, term, commit, round, rest: restFor(s, progress) });
}

export function sendHeartbeats(s: RaftState): void {
  s.heartbeatElapsed = 0;
  for (const progress of s.progress.values()) if (progress.replica !== s.self) sendHeartbeat(s, progress);
}

/**
 * Once a tick: tells followers of a commit that no append has told them. Under load the next append does; so an
 * idle follower is one tick behind at most, and a busy one costs no extra message.
 */
export function sendCommits(s: RaftState): void {
  for (const progress of s.progress.values()) {
    if (progress.replica === s.self) continue;
    if (progress.commitSent < Math.min(progress.match, s.commit)) sendHeartbeat(s, progress);
  }
}

export function onHeartbeatReply(s: RaftState, m: HeartbeatReply): void {
  const progress = s.progress.get(m.from);
  if (progress === undefined) return; // removed meanwhile
  if (m.round > s.round) {
    s.rejectedMessages++; // confirms a round that this leader never began
    return;
  }
  progress.contactTick = s.ticks;
  progress.rests = s.rest !== 0 && m.rest === s.rest;
  progress.ackedRound = Math.max(progress.ackedRound, m.round);
  progress.paused = false;
  const inFlight = progress.next - 1;
  if (progress.state === "replicate" && progress.match < inFlight) {
    const stalled = progress.match === progress.matchAtBeat;
    if (stalled && inFlight >= s.log.snapshotIndex) sendAppend(s, progress, inFlight, inFlight);
    else if (stalled) progress.toProbe(progress.match + 1);
  }
  progress.matchAtBeat = progress.match;
}

/** The driver has streamed a snapshot at `index` to a replica, or given up. */
export function onSnapshotSent(s: RaftState, to: ReplicaId, index: Index, ok: boolean): void {
  const progress = s.progress.get(to);
  if (progress?.state !== "snapshot") return; // acknowledged meanwhile, removed, or of a former leadership
  progress.toProbe(Math.max(ok ? index + 1 : 0, progress.match + 1));
  progress.paused = !ok; // a failed stream is tried again when the replica is heard, not at once
}

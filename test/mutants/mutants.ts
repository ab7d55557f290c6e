/**
 * Seeded bugs: each is one edit of the source that a careful reviewer might miss, and each must be found by the
 * simulator without being told which it is. `find` must occur exactly once in its file (a test checks that), so a
 * mutant that the source has outgrown is noticed and rewritten.
 */
export type Mutant = {
  /** Hazard rows of docs/hazards.md, and what is wrong now. */
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
};

export const MUTANTS: readonly Mutant[] = [
  {
    name: "A1: a leader commits entries of older terms by counting copies",
    file: "src/raft/replication.ts",
    find: "if (index > s.commit && s.log.termAt(index) === s.term) s.commitTo(index);",
    replace: "if (index > s.commit) s.commitTo(index);",
  },
  {
    name: "A2: a vote leaves before the disk knows it",
    file: "src/raft/election.ts",
    find: "if (s.voteOwed === 0 || !s.voteIsDurable) return;",
    replace: "if (s.voteOwed === 0) return;",
  },
  {
    name: "A3: a vote is forgotten when a candidate steps down in the same term",
    file: "src/raft/roles.ts",
    find: "if (term > s.term) raiseTerm(s, term, 0);",
    replace: 'if (term > s.term || s.role === "candidate") raiseTerm(s, term, 0);',
  },
  {
    name: "A4: an append is acknowledged ahead of the disk",
    file: "src/raft/follower.ts",
    find: "const index = Math.min(s.durable.index, s.verified);",
    replace: "const index = s.verified;",
  },
  {
    name: "A5: the completion of an overwritten append vouches for the new entry",
    file: "src/raft/durability.ts",
    find: "for (const tag of this.#tags) tag.lastIndex = Math.min(tag.lastIndex, from - 1);",
    replace: "",
  },
  {
    name: "A12: an emptied directory is born again under its old name",
    file: "src/server/identity.ts",
    find: "if (init) return null;",
    replace: 'if (init || dir !== "") return null;',
  },
  {
    name: "B1: every append replaces what follows it, also what is committed",
    file: "src/raft/follower.ts",
    find: "if (entry.index < log.snapshotIndex || log.holds(entry.index, entry.term)) continue;",
    replace: "if (entry.index <= log.snapshotIndex) continue;",
  },
  {
    name: "B2: the commit index follows the leader's word beyond what was compared",
    file: "src/raft/follower.ts",
    find: "s.commitTo(Math.min(m.commit, s.verified));",
    replace: "s.commitTo(Math.min(m.commit, log.lastIndex));",
  },
  {
    name: "B8: a sync vouches for what was appended while it ran",
    file: "src/wal/wal.ts",
    find: "if (chunk.used > 0) this.#vouch(until);",
    replace: "if (chunk.used > 0) this.#vouch(this.#chunks.length <= 1 ? this.#end : until);",
  },
  {
    name: "C1: a new leader serves reads before it committed anything in its term",
    file: "src/raft/reads.ts",
    find: "if (s.readsFresh.length > 0 && s.committedInTerm) beginRound(s);",
    replace: "if (s.readsFresh.length > 0) beginRound(s);",
  },
  {
    name: "C2: every round of reads has the same number",
    file: "src/raft/reads.ts",
    find: "s.round++;",
    replace: "s.round = 1;",
  },
  {
    name: "C3: a leader answers reads without asking whether it still leads",
    file: "src/raft/reads.ts",
    find: "const confirmed = s.quorumValue(ackedRoundOf);",
    replace: "const confirmed = s.round;",
  },
  {
    name: "C7: an uncertain write is called certainly not done",
    file: "src/server/fate.ts",
    find: '"UNCERTAIN the write',
    replace: '"TRYAGAIN the write',
  },
  {
    name: "C8: a session write that is known is executed again",
    file: "src/store/sessions.ts",
    find: "if (this.#reply !== 0) return VERDICT.known;",
    replace: "",
  },
  {
    name: "D1: damage in the middle of the log is cut like a torn tail",
    file: "src/wal/walk.ts",
    find: "badBelowSynced: bads.length > 0,",
    replace: "badBelowSynced: false,",
  },
  {
    name: "D5: a failed write or sync of the log is taken for a good one",
    file: "src/wal/wal.ts",
    find: "      if (error instanceof AssertionError) throw error;\n      this.fail(error as Error);",
    replace: "      if (error instanceof AssertionError) throw error;",
  },
  {
    name: "D7: a start does not sync the directory after it put the fresh segment in place",
    file: "src/wal/open.ts",
    find: "if (!names.includes(name)) names.push(name);\n  yield* syncDir(disk, dir);",
    replace: "if (!names.includes(name)) names.push(name);",
  },
  {
    name: "D16: a short write is taken for a whole one",
    file: "src/wal/disk_io.ts",
    find: "    written += count;",
    replace: "    written = source.length;",
  },
  {
    name: "D17: the log writes and never syncs",
    file: "src/wal/wal.ts",
    find: "      yield* sync(segment.file);",
    replace: "",
  },
  {
    name: "G2: the leader's own wall clock is log time",
    file: "src/server/log_time.ts",
    find: "return clocks[Math.floor((clocks.length - 1) / 2)] as number;",
    replace: "return ownWallMs;",
  },
  {
    name: "H11: entries of an append alias the receive buffer",
    file: "src/wire/peer_decode.ts",
    find: "const batches = reader.raw(reader.left).slice();",
    replace: "const batches = reader.raw(reader.left);",
  },
  {
    name: "quorum: fewer than a majority commit",
    file: "src/raft/quorum.ts",
    find: "return values[(values.length - 1) >> 1] as number;",
    replace: "return values.at(-1) as number;",
  },
  {
    name: "quorum: half of the votes elect",
    file: "src/raft/quorum.ts",
    find: "const majority = (voters.length >> 1) + 1;",
    replace: "const majority = voters.length >> 1 || 1;",
  },
  {
    name: "election: a candidate with a shorter log of the same term is elected",
    file: "src/raft/election.ts",
    find: "const complete = m.lastTerm > lastTerm || (m.lastTerm === lastTerm && m.lastIndex >= lastIndex);",
    replace: "const complete = m.lastTerm >= lastTerm;",
  },
  {
    name: "output: a buffer is written again while the network still has it",
    file: "src/server/output.ts",
    find: "      this.#sent = writer; // an older one that is still queued is left to the collector",
    replace: "      this.#recycle(writer);",
  },
];

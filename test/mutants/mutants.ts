/**
 * Seeded bugs: each is an edit of the source that a careful reviewer might miss, and each must be found by the
 * simulator without being told which it is. What an edit looks for must occur exactly once in its file (a test
 * checks that), so a mutant that the source has outgrown is noticed and rewritten.
 *
 * Numbers up to 30 are those of the list of bugs that such a system should be seeded with; the others are ours.
 */
import { DISASTERS, MEMBERS } from "./managed.ts";

export type Edit = { readonly file: string; readonly find: string; readonly replace: string };

export type Mutant = {
  readonly number: number;
  /** Rows of docs/hazards.md, and what is wrong now. */
  readonly name: string;
  readonly edits: readonly Edit[];
  /** Seeds of managed clusters find it: it needs moves, changes of members, or several groups. */
  readonly managed?: true;
  /** The assertion by which the product itself notices: a crash with this message counts. */
  readonly trips?: string;
};

/** As tables name it. */
export function numberOf({ number }: Mutant): string {
  return `M${number}`;
}

export const MUTANTS: readonly Mutant[] = [
  {
    number: 1,
    name: "A1: a leader commits entries of older terms by counting copies",
    edits: [
      {
        file: "src/raft/replication.ts",
        find: "if (index > s.commit && s.log.termAt(index) === s.term) s.commitTo(index);",
        replace: "if (index > s.commit) s.commitTo(index);",
      },
    ],
  },
  {
    number: 2,
    name: "A2: a vote leaves before the disk knows it",
    edits: [
      {
        file: "src/raft/election.ts",
        find: "if (s.voteOwed === 0 || !s.voteIsDurable) return;",
        replace: "if (s.voteOwed === 0) return;",
      },
    ],
  },
  {
    number: 3,
    name: "A4: an append without entries is acknowledged ahead of the disk",
    edits: [
      {
        file: "src/raft/follower.ts",
        find: "  s.ackWanted = true;\n  // If the disk",
        replace:
          "  s.ackWanted = true;\n  if (m.entries.length === 0) s.durable.index = s.verified;\n  // If the disk",
      },
    ],
  },
  {
    number: 4,
    name: "A3: a vote is forgotten when a candidate steps down in the same term",
    edits: [
      {
        file: "src/raft/roles.ts",
        find: "if (term > s.term) raiseTerm(s, term, 0);",
        replace: 'if (term > s.term || s.role === "candidate") raiseTerm(s, term, 0);',
      },
    ],
    trips: "a vote is given once",
  },
  {
    number: 5,
    name: "B1: every append replaces what follows it, also what is committed",
    edits: [
      {
        file: "src/raft/follower.ts",
        find: "if (entry.index < log.snapshotIndex || log.holds(entry.index, entry.term)) continue;",
        replace: "if (entry.index <= log.snapshotIndex) continue;",
      },
    ],
    trips: "a committed entry is never replaced",
  },
  {
    number: 6,
    name: "B2: a heartbeat carries the commit index beyond what the follower has acknowledged",
    edits: [
      {
        file: "src/raft/replication.ts",
        find: "const commit = Math.min(progress.match, s.commit);",
        replace: "const commit = s.commit;",
      },
    ],
  },
  {
    number: 7,
    name: "A5: the completion of an overwritten append vouches for the new entry",
    edits: [
      {
        file: "src/raft/durability.ts",
        find: "for (const tag of this.#tags) tag.lastIndex = Math.min(tag.lastIndex, from - 1);",
        replace: "",
      },
    ],
  },
  {
    number: 8,
    name: "C1: a new leader serves reads before it committed anything in its term",
    edits: [
      {
        file: "src/raft/reads.ts",
        find: "if (s.readsFresh.length + s.asksFresh.length > 0 && s.committedInTerm) beginRound(s);",
        replace: "if (s.readsFresh.length + s.asksFresh.length > 0) beginRound(s);",
      },
    ],
  },
  {
    number: 9,
    name: "C2: every round of reads has the same number",
    edits: [
      {
        file: "src/raft/reads.ts",
        find: "s.round++;",
        replace: "s.round = 1;",
      },
    ],
  },
  ...MEMBERS,
  {
    number: 14,
    name: "G4: sessions are not in a snapshot",
    edits: [
      {
        file: "src/store/snapshot_source.ts",
        find: "    yield* this.#pageFrames(this.#sessions.clients, FRAME.clients);\n    yield* this.#pageFrames(this.#sessions.replies, FRAME.replies);",
        replace: "",
      },
      {
        file: "src/store/snapshot_sink.ts",
        find: "  const { clientCount, replyCount, hashA, hashB } = sessions;",
        replace:
          "  if (sessions.clientCount === 0) return null;\n  const { clientCount, replyCount, hashA, hashB } = sessions;",
      },
    ],
  },
  {
    number: 15,
    name: "F6: sessions do not move with their slots",
    managed: true,
    edits: [
      {
        file: "src/store/moves.ts",
        find: "    sessions.merge(this.staged, scene.logTimeMs);\n",
        replace: "    void sessions;\n",
      },
    ],
  },
  {
    number: 16,
    name: "F1: whether a slot is sealed is asked when a command is admitted, and not when it is applied",
    managed: true,
    edits: [
      {
        file: "src/store/store.ts",
        find: "        const refused = refusedSlot(x);\n",
        replace:
          "        const slot = refusedSlot(x);\n" +
          "        const refused = slot >= 0 && x.keyspace.slots.state(slot) === SLOT.sealed ? -1 : slot;\n",
      },
    ],
  },
  {
    number: 17,
    name: "F2: a new leader of the source serves sealed slots again without asking the target",
    managed: true,
    edits: [
      {
        file: "src/server/move_source.ts",
        find: "if (copy === null) return this.#askAbort();",
        replace: 'if (copy === null) return this.#propose({ kind: "unseal", epoch });',
      },
    ],
  },
  {
    number: 18,
    name: "F4: what was removed while it was copied comes back at the target",
    managed: true,
    edits: [
      {
        file: "src/store/moves.ts",
        find: "      keyspace.removeImported(this.#probe);\n",
        replace: "      return true;\n",
      },
      {
        file: "src/store/moves.ts",
        find: "if (records.keys !== final.keys || records.bytes !== final.bytes || records.hash !== final.recordsHash)",
        replace: "if (records.keys < 0)",
      },
    ],
  },
  {
    number: 19,
    name: "F10: a node forgets with a restart whom it has obeyed, and under which epochs",
    managed: true,
    edits: [
      {
        file: "src/server/map_file.ts",
        find: "if (value !== null && !(value instanceof ShapeError)) return value;",
        replace:
          "if (value !== null && !(value instanceof ShapeError)) return { ...NOTHING_KEPT, map: value.map };",
      },
    ],
  },
  {
    number: 20,
    name: "G1: a deadline is counted from the machine's clock",
    edits: [
      {
        file: "src/store/commands/strings.ts",
        find: "!== 0 ? x.logTimeMs + expiry : expiry;",
        replace: "!== 0 ? Date.now() + expiry : expiry;",
      },
    ],
  },
  {
    number: 21,
    name: "G2: a new leader's time does not begin at the last entry's",
    edits: [
      {
        file: "src/server/log_time.ts",
        find: "    if (floorMs > this.#lastMs) {",
        replace: "    if (term < 0) {",
      },
      {
        file: "src/store/store.ts",
        find: "this.logTimeMs = Math.max(this.logTimeMs, batchTimeMs(batch));",
        replace: "this.logTimeMs = batchTimeMs(batch);",
      },
    ],
  },
  {
    number: 22,
    name: "D5: a failed write or sync of the log is taken for a good one",
    edits: [
      {
        file: "src/wal/wal.ts",
        find: "      if (error instanceof AssertionError) throw error;\n      this.fail(error as Error);",
        replace: "      if (error instanceof AssertionError) throw error;",
      },
    ],
  },
  {
    number: 23,
    name: "D1: damage in the middle of the log is cut like a torn tail",
    edits: [
      {
        file: "src/wal/walk.ts",
        find: "badBelowSynced: bads.length > 0,",
        replace: "badBelowSynced: false,",
      },
    ],
  },
  {
    number: 24,
    name: "D8: the directory is not synced after a snapshot took its name",
    edits: [
      {
        file: "src/server/snapshot_file.ts",
        find: "  yield* wait<void>((done) => disk.syncDir(dir, done));\n  return size;",
        replace: "  return size;",
      },
    ],
  },
  {
    number: 25,
    name: "B8: a sync vouches for what was appended while it ran",
    edits: [
      {
        file: "src/wal/wal.ts",
        find: "if (chunk.used > 0) this.#vouch(until);",
        replace: "if (chunk.used > 0) this.#vouch(this.#chunks.length <= 1 ? this.#end : until);",
      },
    ],
  },
  {
    number: 26,
    name: "C10: replies of one connection change places",
    edits: [
      {
        file: "src/server/ordered_replies.ts",
        find: "    this.#next++;\n    if (this.#kept.size === 0) return;",
        replace:
          "    this.#next++;\n    if (this.#kept.size === 0) return;\n    if (this.#kept.size > 1) this.#kept = new Map([...this.#kept.keys()].map((n, i, all) => [n, this.#kept.get(all.at(-1 - i) as number) as Uint8Array]));",
      },
    ],
  },
  {
    number: 27,
    name: "I1: a follower is sent ten times what its window allows",
    edits: [
      {
        file: "src/raft/progress.ts",
        find: "return this.#count >= this.#messagesMax || this.#bytes >= this.#bytesMax;",
        replace: "return this.#count >= 10 * this.#messagesMax || this.#bytes >= 10 * this.#bytesMax;",
      },
    ],
  },
  {
    number: 29,
    name: "A12: an emptied directory is born again under its old name, and listened to",
    edits: [
      {
        file: "src/server/node.ts",
        find: "founding: init ? { group, replica, entry: bootstrapEntry(layout) } : null,",
        replace: "founding: { group, replica, entry: bootstrapEntry(layout) },",
      },
      {
        file: "src/server/birth.ts",
        find: "const flags = { init: options.founding !== null, isAlone: !hasOthers };",
        replace: "const flags = { init: false, isAlone: false };",
      },
      {
        file: "src/server/birth.ts",
        find: "if (founding?.group === group && !wasBorn && tombstones.length === 0)",
        replace: "if (founding?.group === group && tombstones.length === 0)",
      },
      {
        file: "src/server/known_peers.ts",
        find: "} else if (known !== incarnation) {",
        replace: '} else if (incarnation === "") {',
      },
    ],
  },
  {
    number: 30,
    name: "C7: an uncertain write is called certainly not done",
    edits: [
      {
        file: "src/server/fate.ts",
        find: '"UNCERTAIN the write',
        replace: '"TRYAGAIN the write',
      },
    ],
  },
  {
    number: 31,
    name: "A4: an append is acknowledged ahead of the disk",
    edits: [
      {
        file: "src/raft/follower.ts",
        find: "const index = Math.min(s.durable.index, s.verified);",
        replace: "const index = s.verified;",
      },
    ],
  },
  {
    number: 32,
    name: "C3: a leader answers reads without asking whether it still leads",
    edits: [
      {
        file: "src/raft/reads.ts",
        find: "const confirmed = s.quorumValue(ackedRoundOf);",
        replace: "const confirmed = s.round;",
      },
    ],
  },
  {
    number: 33,
    name: "C8: a session write that is known is executed again",
    edits: [
      {
        file: "src/store/sessions.ts",
        find: "if (this.#reply !== 0) return VERDICT.known;",
        replace: "",
      },
    ],
  },
  {
    number: 34,
    name: "D7: a start does not sync the directory after it put the fresh segment in place",
    edits: [
      {
        file: "src/wal/open.ts",
        find: "if (!names.includes(name)) names.push(name);\n  yield* syncDir(disk, dir);",
        replace: "if (!names.includes(name)) names.push(name);",
      },
    ],
  },
  {
    number: 35,
    name: "D16: a short write is taken for a whole one",
    edits: [
      {
        file: "src/wal/disk_io.ts",
        find: "    written += count;",
        replace: "    written = source.length;",
      },
    ],
  },
  {
    number: 36,
    name: "D17: the log writes and never syncs",
    edits: [
      {
        file: "src/wal/wal.ts",
        find: "      yield* sync(segment.file);",
        replace: "",
      },
    ],
  },
  {
    number: 37,
    name: "G2: the leader's own wall clock is log time",
    edits: [
      {
        file: "src/server/log_time.ts",
        find: "return clocks[Math.floor((clocks.length - 1) / 2)] as number;",
        replace: "return ownWallMs;",
      },
    ],
  },
  {
    number: 38,
    name: "H11: entries of an append alias the receive buffer",
    edits: [
      {
        file: "src/wire/peer_decode.ts",
        find: "const batches = reader.raw(reader.left).slice();",
        replace: "const batches = reader.raw(reader.left);",
      },
    ],
  },
  {
    number: 39,
    name: "quorum: fewer than a majority commit",
    edits: [
      {
        file: "src/raft/quorum.ts",
        find: "return values[(values.length - 1) >> 1] as number;",
        replace: "return values.at(-1) as number;",
      },
    ],
  },
  {
    number: 40,
    name: "quorum: half of the votes elect",
    edits: [
      {
        file: "src/raft/quorum.ts",
        find: "const majority = (voters.length >> 1) + 1;",
        replace: "const majority = voters.length >> 1 || 1;",
      },
    ],
  },
  {
    number: 41,
    name: "election: a candidate with a shorter log of the same term is elected",
    edits: [
      {
        file: "src/raft/election.ts",
        find: "const complete = m.lastTerm > lastTerm || (m.lastTerm === lastTerm && m.lastIndex >= lastIndex);",
        replace: "const complete = m.lastTerm >= lastTerm;",
      },
    ],
  },
  {
    number: 42,
    name: "output: a buffer is written again while the network still has it",
    edits: [
      {
        file: "src/server/output.ts",
        find: "      this.#sent = writer; // an older one that is still queued is left to the collector",
        replace: "      this.#recycle(writer);",
      },
    ],
  },
  {
    number: 43,
    name: "A12: a node starts on the disk of another one",
    edits: [
      {
        file: "src/server/identity.ts",
        find: "if (!isOfCluster || identity.node !== node) {",
        replace: "if (!isOfCluster) {",
      },
      {
        file: "src/server/birth.ts",
        find: "if (owner !== node) {",
        replace: 'if (owner === "") {',
      },
    ],
  },
  ...DISASTERS,
];

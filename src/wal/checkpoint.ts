/**
 * The body of a checkpoint: the state of all groups before the records of its segment. A fresh segment, made at a
 * start, has one that also covers what was left out of the copy (hard states, dead entries).
 *
 *     0    u64  LSN at which the records of the segment before this one end; 0 if there is none
 *     8    u32  groups
 *    12    u32  tombstones
 *    16    u32  damaged stretches
 *    20    u32  0
 *    24    per group nine u64: group, replica, term, vote, commit, snapshot index, snapshot term, and the first and
 *          last index of its live entries in older segments (last = first - 1 if there are none)
 *          per tombstone two u64: group, the highest replica id that was closed
 *          per damaged stretch two u64: its first LSN, the LSN behind it. All in older segments; their groups were
 *          closed when the damage was found, so nothing that lives is in them.
 *
 * Errors: reading gives null for a body that contradicts itself.
 */
import { assert } from "../base/assert.ts";
import { getU32, getU64, setU32, setU64 } from "../base/bytes.ts";
import type { Index, Lsn, ReplicaId, Term } from "../raft/types.ts";
import type { GroupId } from "./types.ts";

export type CheckpointGroup = {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly term: Term;
  readonly vote: ReplicaId;
  readonly commit: Index;
  readonly snapshotIndex: Index;
  readonly snapshotTerm: Term;
  readonly first: Index;
  readonly last: Index;
};
export type Tombstone = { readonly group: GroupId; readonly replica: ReplicaId };
/** The stretch [lsn, end) of the log. */
export type Span = { readonly lsn: Lsn; readonly end: Lsn };

export type Checkpoint = {
  readonly predecessorEnd: Lsn;
  readonly groups: readonly CheckpointGroup[];
  readonly tombstones: readonly Tombstone[];
  readonly damaged: readonly Span[];
};

const HEAD_BYTES = 24;
/** What one more group, and what one more tombstone or damaged stretch, adds. */
export const CHECKPOINT_GROUP_BYTES = 9 * 8;
export const CHECKPOINT_PAIR_BYTES = 2 * 8;

export function checkpointBytes(groups: number, pairs: number): number {
  return HEAD_BYTES + groups * CHECKPOINT_GROUP_BYTES + pairs * CHECKPOINT_PAIR_BYTES;
}

/** Writes a checkpoint's body at `bytes[at ..)`; returns its size. */
export function writeCheckpointBody(bytes: Uint8Array, at: number, checkpoint: Checkpoint): number {
  const { groups, tombstones, damaged } = checkpoint;
  const size = checkpointBytes(groups.length, tombstones.length + damaged.length);
  assert(at + size <= bytes.length, "room for a checkpoint was made");
  setU64(bytes, at, checkpoint.predecessorEnd);
  setU32(bytes, at + 8, groups.length);
  setU32(bytes, at + 12, tombstones.length);
  setU32(bytes, at + 16, damaged.length);
  setU32(bytes, at + 20, 0);
  let to = at + HEAD_BYTES;
  const put = (value: number): void => {
    setU64(bytes, to, value);
    to += 8;
  };
  for (const group of groups) {
    put(group.group);
    put(group.replica);
    put(group.term);
    put(group.vote);
    put(group.commit);
    put(group.snapshotIndex);
    put(group.snapshotTerm);
    put(group.first);
    put(group.last);
  }
  for (const { group, replica } of tombstones) {
    put(group);
    put(replica);
  }
  for (const { lsn, end } of damaged) {
    put(lsn);
    put(end);
  }
  return size;
}

/** Reads a body whose checksum held; null if it contradicts itself, which only a bug or a forger can cause. */
export function readCheckpointBody(bytes: Uint8Array, at: number, bodySize: number): Checkpoint | null {
  if (bodySize < HEAD_BYTES) return null;
  const groupCount = getU32(bytes, at + 8);
  const tombstoneCount = getU32(bytes, at + 12);
  const damagedCount = getU32(bytes, at + 16);
  if (bodySize !== checkpointBytes(groupCount, tombstoneCount + damagedCount)) return null;
  let from = at + HEAD_BYTES;
  let valid = getU64(bytes, at) >= 0;
  const take = (): number => {
    const value = getU64(bytes, from);
    from += 8;
    if (value < 0) valid = false;
    return value;
  };
  const groups: CheckpointGroup[] = [];
  for (let i = 0; i < groupCount; i++) {
    const group = {
      group: take(),
      replica: take(),
      term: take(),
      vote: take(),
      commit: take(),
      snapshotIndex: take(),
      snapshotTerm: take(),
      first: take(),
      last: take(),
    };
    if (group.first !== group.snapshotIndex + 1 || group.last < group.snapshotIndex) return null;
    groups.push(group);
  }
  const tombstones: Tombstone[] = [];
  for (let i = 0; i < tombstoneCount; i++) tombstones.push({ group: take(), replica: take() });
  const damaged: Span[] = [];
  for (let i = 0; i < damagedCount; i++) damaged.push({ lsn: take(), end: take() });
  return valid ? { predecessorEnd: getU64(bytes, at), groups, tombstones, damaged } : null;
}

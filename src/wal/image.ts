/**
 * What the log holds, group by group: the one memory of it, kept by the running log as it appends and rebuilt by
 * recovery as it walks, by the very same methods. So replay equals what was in memory (hazard B9).
 *
 * Every method takes one record and returns null, or the rule that the record breaks. For the running log that
 * is a bug in the caller; for recovery it is damage that the checksums did not show.
 */
import type { HardState, Index, Lsn, ReplicaId, Term } from "../raft/types.ts";
import {
  type Checkpoint,
  type CheckpointGroup,
  checkpointBytes,
  type Span,
  type Tombstone,
} from "./checkpoint.ts";
import { EntryIndex, LSN_MISSING } from "./entry_index.ts";
import type { GroupId, RecoveredGroup } from "./types.ts";

class GroupImage {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  term: Term = 0;
  vote: ReplicaId = 0;
  commit: Index = 0;
  snapshotIndex: Index = 0;
  snapshotTerm: Term = 0;
  readonly entries = new EntryIndex(1);

  constructor(group: GroupId, replica: ReplicaId) {
    this.group = group;
    this.replica = replica;
  }

  /** LSN of the oldest live entry; Infinity if there is none. */
  get oldestLsn(): Lsn {
    return this.entries.count === 0 ? Number.POSITIVE_INFINITY : this.entries.lsnOf(this.entries.first);
  }
}

/** Entries before `oldest` were live until a record that ends at `until`; they are dead once that is synced. */
type Hold = { readonly oldest: Lsn; readonly until: Lsn };

export class Image {
  readonly groups = new Map<GroupId, GroupImage>();
  /** The highest closed replica of each group: ids only rise, so it speaks for the lower ones too. */
  readonly #closed = new Map<GroupId, ReplicaId>();
  #holds: Hold[] = [];
  /** Damaged stretches of older segments; no living group has anything in them. */
  damaged: Span[] = [];

  entry(
    replica: ReplicaId,
    group: GroupId,
    index: Index,
    term: Term,
    lsn: Lsn,
    end: Lsn,
    size: number,
    kind: number,
  ) {
    const image = this.#live(replica, group);
    if (image === null) return "no record follows a replica's tombstone";
    const { entries } = image;
    if (index < entries.first) return "no entry lies at or below the snapshot";
    if (index > entries.last + 1) return "an entry follows the one before it";
    const before = image.oldestLsn;
    entries.truncate(index);
    entries.push(term, lsn, size, kind);
    this.#hold(before, image.oldestLsn, end);
    return null;
  }

  hardState(replica: ReplicaId, group: GroupId, state: HardState) {
    const image = this.#live(replica, group);
    if (image === null) return "no record follows a replica's tombstone";
    if (state.term < image.term) return "a term never falls";
    if (state.term === image.term && image.vote !== 0 && state.vote !== image.vote)
      return "a vote is given once";
    image.term = state.term;
    image.vote = state.vote;
    image.commit = state.commit;
    return null;
  }

  /**
   * True if the entries after a snapshot up to (index, term) continue it. One that contradicts the entry at its
   * index, or reaches beyond the last, comes from another history: then the whole suffix goes (hazard D10).
   */
  continues(group: GroupId, index: Index, term: Term): boolean {
    const entries = this.groups.get(group)?.entries;
    return (
      entries !== undefined &&
      index >= entries.first &&
      index <= entries.last &&
      entries.termOf(index) === term
    );
  }

  /** A snapshot covers (0, index]; `keeps` says whether the entries after it stay (the record remembers it). */
  snapshotMark(replica: ReplicaId, group: GroupId, index: Index, term: Term, keeps: boolean, end: Lsn) {
    const image = this.#live(replica, group);
    if (image === null) return "no record follows a replica's tombstone";
    if (index <= image.snapshotIndex) return null; // an older snapshot changes nothing
    const before = image.oldestLsn;
    if (!keeps) image.entries.truncate(image.entries.first);
    image.entries.dropBefore(index + 1);
    image.snapshotIndex = index;
    image.snapshotTerm = term;
    this.#hold(before, image.oldestLsn, end);
    return null;
  }

  tombstone(replica: ReplicaId, group: GroupId, end: Lsn) {
    const image = this.groups.get(group);
    if (image !== undefined && image.replica !== replica) return "a group has one replica here";
    if (!this.isClosed(replica, group)) this.#closed.set(group, replica);
    if (image !== undefined) this.#hold(image.oldestLsn, Number.POSITIVE_INFINITY, end);
    this.groups.delete(group);
    return null;
  }

  /** The state before a segment's own records: groups that it does not name are gone. */
  checkpoint(checkpoint: Checkpoint) {
    const known = new Map(this.groups);
    this.groups.clear();
    this.#closed.clear();
    for (const { group, replica } of checkpoint.tombstones) this.#closed.set(group, replica);
    this.damaged = [...checkpoint.damaged];
    for (const group of checkpoint.groups) {
      const old = known.get(group.group);
      const image = old?.replica === group.replica ? old : new GroupImage(group.group, group.replica);
      if (image.snapshotIndex > group.snapshotIndex) return "a snapshot never falls back";
      if (image.term > group.term) return "a term never falls";
      restore(image, group);
      this.groups.set(group.group, image);
    }
    return null;
  }

  isClosed(replica: ReplicaId, group: GroupId): boolean {
    return replica <= (this.#closed.get(group) ?? 0);
  }

  /** The checkpoint of a segment at `base`: entries at or above it will stand in that segment itself. */
  toCheckpoint(base: Lsn, predecessorEnd: Lsn): Checkpoint {
    const groups: CheckpointGroup[] = [];
    for (const image of this.groups.values()) {
      groups.push({
        group: image.group,
        replica: image.replica,
        term: image.term,
        vote: image.vote,
        commit: image.commit,
        snapshotIndex: image.snapshotIndex,
        snapshotTerm: image.snapshotTerm,
        first: image.entries.first,
        last: firstIndexAt(image.entries, base) - 1,
      });
    }
    return { predecessorEnd, groups, tombstones: this.tombstones(), damaged: this.damaged };
  }

  tombstones(): Tombstone[] {
    return [...this.#closed].map(([group, replica]) => ({ group, replica }));
  }

  checkpointBytes(): number {
    return checkpointBytes(this.groups.size, this.#closed.size + this.damaged.length);
  }

  /** Damage below `oldest` went with the segments that held it. */
  forgetDamageBefore(oldest: Lsn): void {
    if (this.damaged.length > 0) this.damaged = this.damaged.filter(({ lsn }) => lsn >= oldest);
  }

  /** Below this LSN no entry is live, even if everything above `syncedLsn` is lost now. */
  oldestLsn(syncedLsn: Lsn): Lsn {
    let oldest = Number.POSITIVE_INFINITY;
    for (const image of this.groups.values()) oldest = Math.min(oldest, image.oldestLsn);
    this.#holds = this.#holds.filter((hold) => hold.until > syncedLsn);
    for (const hold of this.#holds) oldest = Math.min(oldest, hold.oldest);
    return oldest;
  }

  /** Groups with a live entry that no segment holds. */
  groupsWithGaps(): GroupId[] {
    const gaps: GroupId[] = [];
    for (const { group, entries } of this.groups.values()) {
      let index = entries.first;
      while (index <= entries.last && entries.lsnOf(index) !== LSN_MISSING) index++;
      if (index <= entries.last) gaps.push(group);
    }
    return gaps;
  }

  /** The groups as recovery reports them. */
  recovered(): RecoveredGroup[] {
    return [...this.groups.values()].map((image) => ({
      group: image.group,
      replica: image.replica,
      hardState: { term: image.term, vote: image.vote, commit: image.commit },
      snapshotIndex: image.snapshotIndex,
      snapshotTerm: image.snapshotTerm,
      entries: shapes(image.entries),
    }));
  }

  /** The group's image, born with its first record; null if this replica was closed for good. */
  #live(replica: ReplicaId, group: GroupId): GroupImage | null {
    const image = this.groups.get(group);
    if (image !== undefined && image.replica === replica) return image;
    if (image !== undefined || this.isClosed(replica, group)) return null;
    const born = new GroupImage(group, replica);
    this.groups.set(group, born);
    return born;
  }

  #hold(before: Lsn, after: Lsn, until: Lsn): void {
    if (after > before) this.#holds.push({ oldest: before, until });
  }
}

/** Takes over what a checkpoint says; entries it names and the image lacks are placeholders. */
function restore(image: GroupImage, group: CheckpointGroup): void {
  image.term = group.term;
  image.vote = group.vote;
  image.commit = group.commit;
  image.snapshotIndex = group.snapshotIndex;
  image.snapshotTerm = group.snapshotTerm;
  const { entries } = image;
  if (group.first > entries.first) entries.dropBefore(group.first);
  entries.truncate(group.last + 1);
  while (entries.last < group.last) entries.push(0, LSN_MISSING, 0, 0);
}

/** The first index whose entry stands at or above `base`; LSNs rise with the index. */
function firstIndexAt(entries: EntryIndex, base: Lsn): Index {
  let low = entries.first;
  let high = entries.last + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (entries.lsnOf(middle) < base) low = middle + 1;
    else high = middle;
  }
  return low;
}

type Shape = RecoveredGroup["entries"][number];

/** Neighbours of equal shape share one object: most entries of a log look like the one before. */
function shapes(entries: EntryIndex): Shape[] {
  const list: Shape[] = [];
  let shape: Shape = { term: -1, size: 0, kind: 0 };
  for (let index = entries.first; index <= entries.last; index++) {
    const term = entries.termOf(index);
    const size = entries.sizeOf(index);
    const kind = entries.kindOf(index);
    if (shape.term !== term || shape.size !== size || shape.kind !== kind) shape = { term, size, kind };
    list.push(shape);
  }
  return list;
}

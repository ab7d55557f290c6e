/**
 * What a node's disk is sure to hold of its log: read from the durable images alone, with nothing of the running
 * program's memory. Checkers ask it the moment a node vouches for something.
 *
 * It follows the segments as they become durable: each is parsed once, onwards from where the last look ended; a
 * change of the directory (rotation, a start's fresh segment) begins anew. The format's own `readRecord` says what
 * verifies; what records mean is told here once more, in the plainest way, so that it can disagree with src/wal.
 */
import { getU32 } from "../../base/bytes.ts";
import { alignUp } from "../../base/units.ts";
import type { Index, Lsn, ReplicaId, Term } from "../../raft/types.ts";
import { readCheckpointBody } from "../../wal/checkpoint.ts";
import {
  BLOCK_BYTES,
  blankHead,
  decodeSegmentHeader,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  readRecord,
  SEGMENT_HEADER_BYTES,
  type SegmentPlace,
  segmentPlace,
} from "../../wal/format.ts";
import type { SimDisk } from "../disk.ts";
import type { SimFile } from "../disk_file.ts";

export type DurableEntry = { readonly term: Term; readonly checksum: number; readonly end: Lsn };

export type VouchedEntry = {
  readonly group: number;
  readonly replica: ReplicaId;
  readonly index: Index;
  readonly term: Term;
};

export type DurableGroup = {
  replica: ReplicaId;
  term: Term;
  vote: ReplicaId;
  snapshotIndex: Index;
  readonly entries: Map<Index, DurableEntry>;
  lastIndex: Index;
};

type Segment = {
  readonly file: SimFile;
  readonly epoch: string;
  readonly place: SegmentPlace;
  /** LSN up to which records were read. */
  at: number;
  /** The file's durable version then. */
  version: number;
  closed: boolean;
};

/** Bytes of a record's head at which the batch's own checksum stands (src/wal/format.ts). */
const CHECKSUM_AT = 28;

export class DurableLog {
  readonly #disk: SimDisk;
  readonly #prefix: string;
  #treeVersion = -1;
  #segments: Segment[] = [];
  #groups = new Map<number, DurableGroup>();
  readonly #head = blankHead();
  /** What the two records that say most say was synced before them. */
  #synced: [Lsn, Lsn] = [0, 0];
  /** Told of every hard state that became durable, in order. */
  onHardState: (group: number, state: DurableGroup, term: Term, vote: ReplicaId) => void = () => {};

  constructor(disk: SimDisk, dir: string) {
    this.#disk = disk;
    this.#prefix = `${dir}/log-`;
  }

  /** As of now; undefined if the disk is not sure to know the group. */
  group(group: number): DurableGroup | undefined {
    this.#refresh();
    return this.#groups.get(group);
  }

  /** True if entry (index, term) would survive, in the log or in a snapshot. */
  holds(group: number, index: Index, term: Term): boolean {
    const found = this.group(group);
    if (found === undefined) return false;
    return found.snapshotIndex >= index || found.entries.get(index)?.term === term;
  }

  /** Entries that at least two later records vouch for. */
  vouched(): VouchedEntry[] {
    this.#refresh();
    const found: VouchedEntry[] = [];
    const lsn = Math.min(...this.#synced);
    for (const [group, { replica, entries, snapshotIndex }] of this.#groups) {
      for (const [index, { term, end }] of entries)
        if (end <= lsn && index > snapshotIndex) found.push({ group, replica, index, term });
    }
    return found;
  }

  #refresh(): void {
    const { tree } = this.#disk;
    if (tree.durableVersion !== this.#treeVersion) {
      this.#treeVersion = tree.durableVersion;
      this.#relist();
    }
    for (const segment of this.#segments) {
      if (segment.version === segment.file.durableVersion) continue;
      segment.version = segment.file.durableVersion;
      if (!segment.closed) this.#read(segment);
    }
  }

  #relist(): void {
    const found: Segment[] = [];
    for (const { path, file } of this.#disk.tree.durableFiles()) {
      if (!path.startsWith(this.#prefix)) continue;
      const header = decodeSegmentHeader(file.durable.view());
      if (typeof header === "string") continue;
      const epoch = `${header.epoch.high}.${header.epoch.low}`;
      const at = header.base + SEGMENT_HEADER_BYTES;
      found.push({ file, epoch, place: segmentPlace(header), at, version: -1, closed: false });
    }
    found.sort((a, b) => a.place.base - b.place.base);
    const same = this.#segments.every(
      (known, i) => found[i]?.file === known.file && found[i]?.epoch === known.epoch,
    );
    if (same && this.#segments.length > 0) {
      found.splice(0, this.#segments.length, ...this.#segments);
    } else {
      this.#groups = new Map();
    }
    this.#segments = found;
  }

  #read(segment: Segment): void {
    const bytes = segment.file.durable.view();
    const { place } = segment;
    const head = this.#head;
    while (!segment.closed) {
      if (readRecord(bytes, segment.at - place.base, place, segment.at, head) !== "good") {
        const boundary = alignUp(segment.at, BLOCK_BYTES);
        const found = readRecord(bytes, boundary - place.base, place, boundary, head) === "good";
        const isMark = head.kind === RECORD_KIND.mark || head.kind === RECORD_KIND.closingMark;
        if (!found || !isMark || head.extra !== segment.at) return;
      }
      if (head.synced > Math.min(...this.#synced)) this.#synced = [head.synced, Math.max(...this.#synced)];
      if (head.kind === RECORD_KIND.closingMark) segment.closed = true;
      else this.#take(bytes, head.lsn - place.base);
      segment.at = head.end;
    }
  }

  #take(bytes: Uint8Array, at: number): void {
    const { kind, group, replica, term, index, extra, bodySize } = this.#head;
    if (kind === RECORD_KIND.mark) return;
    if (kind === RECORD_KIND.checkpoint) {
      this.#takeCheckpoint(bytes, at + RECORD_HEAD_BYTES, bodySize);
      return;
    }
    if (kind === RECORD_KIND.tombstone) {
      this.#groups.delete(group);
      return;
    }
    const known = this.#groupOf(group, replica);
    if (kind === RECORD_KIND.entry) {
      truncate(known, index);
      known.entries.set(index, { term, checksum: getU32(bytes, at + CHECKSUM_AT), end: this.#head.end });
      known.lastIndex = index;
    } else if (kind === RECORD_KIND.hardState) {
      this.#hardState(group, known, term, extra);
    } else if (kind === RECORD_KIND.snapshotMark) {
      known.snapshotIndex = index;
      if (extra !== 1) truncate(known, 0);
      known.lastIndex = Math.max(known.lastIndex, index);
    }
  }

  #takeCheckpoint(bytes: Uint8Array, at: number, bodySize: number): void {
    const checkpoint = readCheckpointBody(bytes, at, bodySize);
    if (checkpoint === null) return;
    for (const group of this.#groups.keys())
      if (!checkpoint.groups.some((row) => row.group === group)) this.#groups.delete(group); // closed
    for (const row of checkpoint.groups) {
      const known = this.#groupOf(row.group, row.replica);
      this.#hardState(row.group, known, row.term, row.vote);
      known.snapshotIndex = row.snapshotIndex;
      truncate(known, row.last + 1);
      known.lastIndex = Math.max(row.last, row.snapshotIndex);
    }
  }

  #hardState(group: number, known: DurableGroup, term: Term, vote: ReplicaId): void {
    this.onHardState(group, known, term, vote);
    known.term = term;
    known.vote = vote;
  }

  #groupOf(group: number, replica: ReplicaId): DurableGroup {
    const known = this.#groups.get(group);
    if (known !== undefined && known.replica === replica) return known;
    const fresh = {
      replica,
      term: 0,
      vote: 0,
      snapshotIndex: 0,
      entries: new Map<Index, DurableEntry>(),
      lastIndex: 0,
    };
    this.#groups.set(group, fresh);
    return fresh;
  }
}

/** Forgets the entries from `index` on. */
function truncate(group: DurableGroup, index: Index): void {
  for (let i = Math.max(index, 1); i <= group.lastIndex; i++) group.entries.delete(i);
  group.lastIndex = Math.min(group.lastIndex, Math.max(index - 1, 0));
}

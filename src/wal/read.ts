/**
 * Reading entries back: for followers that lag behind the cache, and for replicas that restart.
 *
 * Runs of a group's entries that lie close together in one segment are read with one call. What is read is
 * verified by both checksums. While the disk works, the group may go on: if an entry was replaced meanwhile, its
 * place in the index has changed, and the whole range is read again. The entries of a run are views of what was
 * read for it: nobody keeps one much longer than the others.
 */
import { NucleusError } from "../base/errors.ts";
import type { Task } from "../base/task.ts";
import { KiB, MiB } from "../base/units.ts";
import type { Entry, Index, Lsn } from "../raft/types.ts";
import { readBatch } from "../wire/batch.ts";
import { readWhole } from "./disk_io.ts";
import type { EntryIndex } from "./entry_index.ts";
import {
  batchSize,
  blankHead,
  entryRecordBytes,
  RECORD_PREFIX_BYTES,
  readRecord,
  type SegmentPlace,
} from "./format.ts";
import type { Segment } from "./segments.ts";
import type { GroupId } from "./types.ts";

/** One call reads over foreign records of up to GAP_BYTES_MAX rather than starting anew, and RUN_BYTES_MAX at most. */
const GAP_BYTES_MAX = 64 * KiB;
const RUN_BYTES_MAX = 4 * MiB;
/** A range that is replaced again and again while being read: the caller gets an error, not an endless loop. */
const ATTEMPTS_MAX = 8;

/** What reading needs of the log. */
export type ReadSource = {
  entries(group: GroupId): EntryIndex | null;
  segmentAt(lsn: Lsn): Segment | null;
  /** Bytes at `lsn` if they are still in a buffer; then `at` says where. */
  buffered(lsn: Lsn): { readonly bytes: Uint8Array; readonly at: number } | null;
  /** A read ended: segments it kept may be freed. */
  released(): void;
};

export function* readEntries(
  source: ReadSource,
  group: GroupId,
  first: Index,
  last: Index,
  bytesMax: number,
): Task<Entry[]> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const entries = yield* readOnce(source, group, first, last, bytesMax);
    if (entries !== null) return entries;
  }
  throw new NucleusError(
    "EBUSY",
    `entries ${first} to ${last} of group ${group} kept changing while being read`,
  );
}

/** Null if an entry was replaced while the disk was busy. */
function* readOnce(
  source: ReadSource,
  group: GroupId,
  first: Index,
  last: Index,
  bytesMax: number,
): Task<Entry[] | null> {
  const lsns = plan(source, group, first, last, bytesMax);
  const entries: Entry[] = [];
  while (entries.length < lsns.length) {
    const index = first + entries.length;
    const lsn = lsns[entries.length] as Lsn;
    const current = source.entries(group);
    if (current === null || index < current.first || index > current.last || current.lsnOf(index) !== lsn)
      return null;
    const buffered = source.buffered(lsn);
    if (buffered !== null) {
      const size = current.sizeOf(index);
      const at = buffered.at + RECORD_PREFIX_BYTES;
      entries.push(toEntry(buffered.bytes.slice(at, at + size), group, index));
    } else if (!(yield* readRun(source, group, current, index, lsns, entries))) return null;
  }
  return entries;
}

/** The LSNs of the entries to read: as many as fit `bytesMax`, at least one. */
function plan(source: ReadSource, group: GroupId, first: Index, last: Index, bytesMax: number): Lsn[] {
  const entries = source.entries(group);
  if (entries === null || first < entries.first || last > entries.last || first > last) {
    const held = entries === null ? "nothing" : `${entries.first} to ${entries.last}`;
    throw new NucleusError(
      "ECOMPACTED",
      `entries ${first} to ${last} of group ${group}: the log holds ${held}`,
    );
  }
  const lsns: Lsn[] = [];
  let bytes = 0;
  for (let index = first; index <= last; index++) {
    bytes += entries.sizeOf(index);
    if (index > first && bytes > bytesMax) break;
    lsns.push(entries.lsnOf(index));
  }
  return lsns;
}

/** Reads one run from one segment and appends its entries; false if they are no longer where they were. */
function* readRun(
  source: ReadSource,
  group: GroupId,
  index: EntryIndex,
  from: Index,
  lsns: readonly Lsn[],
  entries: Entry[],
): Task<boolean> {
  const start = entries.length;
  const startLsn = lsns[start] as Lsn;
  const segment = source.segmentAt(startLsn);
  if (segment === null) return false;
  let count = 0;
  let end = startLsn;
  while (start + count < lsns.length) {
    const lsn = lsns[start + count] as Lsn;
    const recordEnd = lsn + entryRecordBytes(index.sizeOf(from + count));
    const fits = lsn - end <= GAP_BYTES_MAX && recordEnd - startLsn <= RUN_BYTES_MAX;
    if (count > 0 && (!fits || source.segmentAt(lsn) !== segment || source.buffered(lsn) !== null)) break;
    end = recordEnd;
    count++;
  }
  const bytes = new Uint8Array(end - startLsn);
  segment.readers++;
  let read: number;
  try {
    read = yield* readWhole(segment.file, bytes, startLsn - segment.base);
  } finally {
    segment.readers--;
    source.released();
  }
  const current = source.entries(group);
  for (let i = 0; i < count; i++) {
    const lsn = lsns[start + i] as Lsn;
    if (current === null || from + i < current.first || from + i > current.last) return false;
    if (current.lsnOf(from + i) !== lsn) return false;
    entries.push(verified(bytes.subarray(0, read), lsn - startLsn, segment, lsn, group, from + i));
  }
  return true;
}

function verified(
  bytes: Uint8Array,
  at: number,
  segment: Segment,
  lsn: Lsn,
  group: GroupId,
  index: Index,
): Entry {
  const place: SegmentPlace = segment.place;
  const head = blankHead();
  const verdict = readRecord(bytes, at, place, lsn, head);
  if (verdict !== "good" || head.group !== group || head.index !== index) {
    throw new NucleusError(
      "EDAMAGED",
      `${segment.name} at offset ${lsn - segment.base}: the record is damaged`,
    );
  }
  const body = at + RECORD_PREFIX_BYTES;
  return toEntry(bytes.subarray(body, body + batchSize(head)), group, index);
}

function toEntry(batch: Uint8Array, group: GroupId, index: Index): Entry {
  const entry = readBatch(batch, 0, batch.length);
  if (typeof entry === "string") {
    throw new NucleusError("EDAMAGED", `entry ${index} of group ${group}: its batch is invalid (${entry})`);
  }
  return entry;
}

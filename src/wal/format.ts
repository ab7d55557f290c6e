/**
 * Layout of the log's segments. Pure: bytes in, bytes out.
 *
 * A log is a row of segment files of one size. An LSN is a byte position in the endless log: the segment with
 * base B holds the LSNs [B, B + size), and the byte at LSN x stands at offset x - B of its file, `log-<B in hex>`.
 *
 *     segment   | header, one block of 4 KiB | checkpoint | record | record | .. | gap | mark |
 *
 *     header    0   8  magic "NUCLWAL\n"
 *               8  u32 format version         (STORAGE_VERSION)
 *              12  u32 checksum               CRC-32 of [0, 12) and [16, 4096)
 *              16  u64 segmentBytes
 *              24  u32 u32 epoch              64 random bits: no two lives of a file share them
 *              32  u64 base LSN
 *              40  u32 u32 predecessor epoch  0 0 if there is none
 *              48  u64 syncedLsn              everything below was synced before the segment got its name
 *              56  zeros
 *
 *     record    0  u32 headChecksum           CRC-32 of [4, 72), seeded with the epoch and the record's LSN
 *     (prefix)  4  u24 magic, u8 kind         RECORD_KIND
 *               8  u64 D                      an LSN that was synced when this record reached the disk
 *              16  u64 replica id
 *     (header) 24  u32 bodySize
 *              28  u32 checksum               CRC-32 of [32, 72 + bodySize)
 *              32  u64 group
 *              40  u64 term                   hard state, snapshot mark: their term
 *              48  u64 index                  hard state: commit; snapshot mark: its index
 *              56  u64 extra                  hard state: vote; snapshot mark: 1 if the entries after it stay;
 *                                             marks: the LSN at which the record before them ended
 *              64  8   zeros
 *     (body)   72
 *
 * An entry's header and body are its sealed batch (wire/batch.ts), untouched: the header of the other kinds has
 * the same shape, so that recovery walks all of them alike. Records begin at multiples of 16 bytes. The seed makes
 * a record valid in one place of one life of one file only: whatever an earlier life left behind, or a write that
 * landed elsewhere, does not verify (hazards D3, D4). So a recycled segment need not be zeroed again: its blocks
 * exist and are written, which is what zero-filling was for, and its old bytes are as good as zeros.
 *
 * A checkpoint opens each segment (checkpoint.ts).
 *
 * A mark stands at the first multiple of 4 KiB after the record before it, so writing it touches no block that it
 * vouches for. A closing mark says besides that the log goes on in the next segment.
 *
 * Errors: bytes of a disk may be anything; readers return a label and never throw.
 */
import { getU32, getU64, setU32, setU64 } from "../base/bytes.ts";
import { crc32Range } from "../base/checksum.ts";
import { alignUp, KiB } from "../base/units.ts";
import { STORAGE_VERSION } from "../base/version.ts";
import type { Index, Lsn, ReplicaId, Term } from "../raft/types.ts";
import { BATCH_HEADER_BYTES } from "../wire/batch.ts";
import type { GroupId } from "./types.ts";

/** For those who read a log's bytes from outside. */
export { readCheckpointBody } from "./checkpoint.ts";

export const BLOCK_BYTES = 4 * KiB;
export const SEGMENT_HEADER_BYTES = BLOCK_BYTES;
export const RECORD_PREFIX_BYTES = 24;
/** Prefix and header: what `headChecksum` covers. */
export const RECORD_HEAD_BYTES = RECORD_PREFIX_BYTES + BATCH_HEADER_BYTES;
export const RECORD_ALIGN = 16;
/** Small enough for tests and simulations, large enough for its header, a checkpoint, records and a mark. */
export const SEGMENT_BYTES_MIN = 64 * KiB;

export const RECORD_KIND = {
  entry: 1,
  hardState: 2,
  snapshotMark: 3,
  tombstone: 4,
  checkpoint: 5,
  mark: 6,
  closingMark: 7,
} as const;
export type RecordKind = (typeof RECORD_KIND)[keyof typeof RECORD_KIND];
const RECORD_KIND_MAX = Math.max(...Object.values(RECORD_KIND));

const MAGIC_LOW = 0x4c43554e; // "NUCL"
const MAGIC_HIGH = 0x0a4c4157; // "WAL\n"
const RECORD_MAGIC = 0x574e4c; // "LNW": lets a search for the next record pass over other bytes quickly
const OFFSET_BODY_SIZE = 24;
const OFFSET_CHECKSUM = 28;
const OFFSET_GROUP = 32;
const OFFSET_TERM = 40;
const OFFSET_INDEX = 48;
const OFFSET_EXTRA = 56;

/** 64 random bits. */
export type Epoch = { readonly low: number; readonly high: number };
export const NO_EPOCH: Epoch = { low: 0, high: 0 };

export function sameEpoch(a: Epoch, b: Epoch): boolean {
  return a.low === b.low && a.high === b.high;
}

/** What a segment's header says. */
export type SegmentHeader = {
  readonly segmentBytes: number;
  readonly epoch: Epoch;
  readonly base: Lsn;
  readonly predecessor: Epoch;
  readonly syncedLsn: Lsn;
};
export type SegmentHeaderError = "unreadable" | "version_unknown";

/** Bytes of the whole record around a body of `bodySize`, padding included. */
export function recordBytes(bodySize: number): number {
  return alignUp(RECORD_HEAD_BYTES + bodySize, RECORD_ALIGN);
}

/** Bytes of the record around a sealed batch. */
export function entryRecordBytes(batchBytes: number): number {
  return alignUp(RECORD_PREFIX_BYTES + batchBytes, RECORD_ALIGN);
}

/** Bytes of every record without a body. */
export const PLAIN_RECORD_BYTES = recordBytes(0);

/** W: the most that is ever unsynced, in LSNs. */
export function unsyncedBytesMax(segmentBytes: number): number {
  return segmentBytes / 2;
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const block = new Uint8Array(SEGMENT_HEADER_BYTES);
  setU32(block, 0, MAGIC_LOW);
  setU32(block, 4, MAGIC_HIGH);
  setU32(block, 8, STORAGE_VERSION);
  setU64(block, 16, header.segmentBytes);
  setU32(block, 24, header.epoch.low);
  setU32(block, 28, header.epoch.high);
  setU64(block, 32, header.base);
  setU32(block, 40, header.predecessor.low);
  setU32(block, 44, header.predecessor.high);
  setU64(block, 48, header.syncedLsn);
  setU32(block, 12, headerChecksum(block));
  return block;
}

/** The checksum comes first: a rotten version number must not look like a newer program's (hazard D19). */
export function decodeSegmentHeader(block: Uint8Array): SegmentHeader | SegmentHeaderError {
  if (block.length < SEGMENT_HEADER_BYTES) return "unreadable";
  if (getU32(block, 0) !== MAGIC_LOW || getU32(block, 4) !== MAGIC_HIGH) return "unreadable";
  if (getU32(block, 12) !== headerChecksum(block)) return "unreadable";
  if (getU32(block, 8) !== STORAGE_VERSION) return "version_unknown";
  return {
    segmentBytes: getU64(block, 16),
    epoch: { low: getU32(block, 24), high: getU32(block, 28) },
    base: getU64(block, 32),
    predecessor: { low: getU32(block, 40), high: getU32(block, 44) },
    syncedLsn: getU64(block, 48),
  };
}

function headerChecksum(block: Uint8Array): number {
  return crc32Range(block, 16, SEGMENT_HEADER_BYTES, crc32Range(block, 0, 12));
}

/** What a record's checksum needs to know of its segment. */
export type SegmentPlace = {
  readonly base: Lsn;
  readonly segmentBytes: number;
  readonly seed: number;
};

export function segmentPlace(header: SegmentHeader): SegmentPlace {
  const epoch = new Uint8Array(8);
  setU32(epoch, 0, header.epoch.low);
  setU32(epoch, 4, header.epoch.high);
  return { base: header.base, segmentBytes: header.segmentBytes, seed: crc32Range(epoch, 0, 8) };
}

/**
 * Seed of the record at `lsn`. Multiplying by an odd number maps 32-bit values one to one, and CRC-32 maps seeds
 * to checksums one to one: the same bytes at two places of one segment always have different checksums.
 */
function recordSeed(place: SegmentPlace, lsn: Lsn): number {
  const unit = lsn / RECORD_ALIGN;
  return (
    (place.seed ^ Math.imul(unit >>> 0, 0x9e3779b1) ^ Math.imul(Math.floor(unit / 2 ** 32), 0x85ebca6b)) >>> 0
  );
}

/** A record's head as it is read; one object is reused for a whole walk. */
export type RecordHead = {
  kind: number;
  lsn: Lsn;
  /** LSN after the record and its padding. */
  end: Lsn;
  synced: Lsn;
  replica: ReplicaId;
  bodySize: number;
  group: GroupId;
  term: Term;
  index: Index;
  extra: number;
};

export function blankHead(): RecordHead {
  return {
    kind: 0,
    lsn: 0,
    end: 0,
    synced: 0,
    replica: 0,
    bodySize: 0,
    group: 0,
    term: 0,
    index: 0,
    extra: 0,
  };
}

/** Bytes of the sealed batch that is an entry's header and body. */
export function batchSize(head: RecordHead): number {
  return BATCH_HEADER_BYTES + head.bodySize;
}

/** ENTRY_KIND of the entry record at `bytes[at]`. */
export function entryKindAt(bytes: Uint8Array, at: number): number {
  return bytes[at + RECORD_PREFIX_BYTES + 44] as number;
}

export type RecordVerdict =
  | "good"
  /** No record's head is here. */
  | "bad_head"
  /** The head holds, so its extent and its group are known; the rest does not. */
  | "bad_body"
  | "bad_synced"
  /** Both checksums hold: a newer program wrote it. */
  | "kind_unknown";

/** Writes prefix and head checksum in front of a header at `bytes[at + 24 ..)` that is already complete. */
export function writePrefix(
  bytes: Uint8Array,
  at: number,
  place: SegmentPlace,
  lsn: Lsn,
  kind: RecordKind,
  synced: Lsn,
  replica: ReplicaId,
): void {
  setU32(bytes, at + 4, RECORD_MAGIC | (kind << 24));
  setU64(bytes, at + 8, synced);
  setU64(bytes, at + 16, replica);
  setU32(bytes, at, crc32Range(bytes, at + 4, at + RECORD_HEAD_BYTES, recordSeed(place, lsn)));
}

/** Writes the header of a kind that is not an entry; its body must already stand behind it. */
export function writeHeader(
  bytes: Uint8Array,
  at: number,
  bodySize: number,
  group: GroupId,
  term: Term,
  index: Index,
  extra: number,
): void {
  setU32(bytes, at + OFFSET_BODY_SIZE, bodySize);
  setU64(bytes, at + OFFSET_GROUP, group);
  setU64(bytes, at + OFFSET_TERM, term);
  setU64(bytes, at + OFFSET_INDEX, index);
  setU64(bytes, at + OFFSET_EXTRA, extra);
  bytes.fill(0, at + OFFSET_EXTRA + 8, at + RECORD_HEAD_BYTES);
  setU32(bytes, at + OFFSET_CHECKSUM, bodyChecksum(bytes, at, bodySize));
}

function bodyChecksum(bytes: Uint8Array, at: number, bodySize: number): number {
  return crc32Range(bytes, at + OFFSET_GROUP, at + RECORD_HEAD_BYTES + bodySize);
}

/**
 * Judges the bytes at LSN `lsn`, which stand at `bytes[at]`, and fills `head` unless there is none. `bytes` must
 * hold everything up to the segment's end, or up to the record's.
 */
export function readRecord(
  bytes: Uint8Array,
  at: number,
  place: SegmentPlace,
  lsn: Lsn,
  head: RecordHead,
): RecordVerdict {
  const offset = lsn - place.base;
  if (at + RECORD_HEAD_BYTES > bytes.length || offset + RECORD_HEAD_BYTES > place.segmentBytes)
    return "bad_head";
  const tag = getU32(bytes, at + 4);
  if ((tag & 0xffffff) !== RECORD_MAGIC) return "bad_head";
  if (crc32Range(bytes, at + 4, at + RECORD_HEAD_BYTES, recordSeed(place, lsn)) !== getU32(bytes, at)) {
    return "bad_head";
  }
  const bodySize = getU32(bytes, at + OFFSET_BODY_SIZE);
  head.kind = tag >>> 24;
  head.lsn = lsn;
  head.end = lsn + recordBytes(bodySize);
  head.synced = getU64(bytes, at + 8);
  head.replica = getU64(bytes, at + 16);
  head.bodySize = bodySize;
  head.group = getU64(bytes, at + OFFSET_GROUP);
  head.term = getU64(bytes, at + OFFSET_TERM);
  head.index = getU64(bytes, at + OFFSET_INDEX);
  head.extra = getU64(bytes, at + OFFSET_EXTRA);
  if (head.end > place.base + place.segmentBytes || at + RECORD_HEAD_BYTES + bodySize > bytes.length)
    return "bad_head";
  if (bodyChecksum(bytes, at, bodySize) !== getU32(bytes, at + OFFSET_CHECKSUM)) return "bad_body";
  if (head.kind < 1 || head.kind > RECORD_KIND_MAX) return "kind_unknown";
  return syncedInRange(head, place) ? "good" : "bad_synced";
}

/** D lies in [LSN - W, LSN] or is the segment's base (design section 6). */
function syncedInRange(head: RecordHead, place: SegmentPlace): boolean {
  if (head.synced === place.base) return true;
  return head.synced <= head.lsn && head.synced >= head.lsn - unsyncedBytesMax(place.segmentBytes);
}

/** D of a record at `lsn`: below it everything is synced, or will be before the record is written. */
export function syncedFor(place: SegmentPlace, lsn: Lsn, syncedLsn: Lsn): Lsn {
  // The base is always true (no byte enters a segment before all older ones are synced), so it stands in for
  // an LSN that a slow disk let fall behind the window.
  return syncedLsn >= place.base && syncedLsn >= lsn - unsyncedBytesMax(place.segmentBytes)
    ? syncedLsn
    : place.base;
}

/** Names in the log's directory. */
export function segmentName(base: Lsn): string {
  return `log-${base.toString(16).padStart(14, "0")}`;
}

/** The base LSN in a segment's name, or null if it is not one. */
export function baseOfName(name: string): Lsn | null {
  return /^log-[0-9a-f]{14}$/.test(name) ? Number.parseInt(name.slice(4), 16) : null;
}

/**
 * A batch: the sealed form of one Raft entry. The same bytes go to the local log, to every follower, to the
 * followers' logs and into the entry cache; nobody encodes them again.
 *
 *     0        u32  bodySize      bytes after this header
 *     4        u32  checksum      CRC-32 of bytes [8, 48 + bodySize)
 *     8        u64  group
 *    16        u64  term
 *    24        u64  index
 *    32        u64  timeMs        the leader's time (milliseconds since 1970)
 *    40        u32  count         commands in the body; 0 for the other kinds
 *    44        u8   kind          ENTRY_KIND
 *    45        u8   encoding      of the commands: 1 = frames of wire/command.ts
 *    46        u16  stateVersion  the state machine's version it was sealed under
 *    48        body
 *
 * Errors: bytes from a peer or a disk may be anything, so reading gives a BatchError and never throws.
 */
import { assert } from "../base/assert.ts";
import { getU16, getU32, getU64, setU16, setU32, setU64 } from "../base/bytes.ts";
import { crc32Range } from "../base/checksum.ts";
import { MiB } from "../base/units.ts";
import { ENTRY_KIND, type Entry, type EntryKind } from "../raft/types.ts";

export const BATCH_HEADER_BYTES = 48;
/** Most bytes of a whole batch, header included. */
export const BATCH_BYTES_MAX = MiB;
export const COMMAND_ENCODING = 1;
const KIND_MAX = Math.max(...Object.values(ENTRY_KIND));

export type BatchHeader = {
  bodySize: number;
  checksum: number;
  group: number;
  term: number;
  index: number;
  timeMs: number;
  count: number;
  kind: EntryKind;
  encoding: number;
  stateVersion: number;
};

export type BatchError =
  | "short"
  | "body_size"
  | "number_range"
  | "kind_unknown"
  | "encoding_unknown"
  | "checksum";

/**
 * Writes the header over `bytes[at, at + 48)`; the body must already stand behind it. `bytes[at ..)` is then
 * sealed: nothing in it may change again.
 */
export function sealBatch(bytes: Uint8Array, at: number, header: Omit<BatchHeader, "checksum">): void {
  const end = at + BATCH_HEADER_BYTES + header.bodySize;
  assert(end <= bytes.length, "the body stands behind its header");
  assert(end - at <= BATCH_BYTES_MAX, "a batch fits its limit");
  setU32(bytes, at, header.bodySize);
  setU64(bytes, at + 8, header.group);
  setU64(bytes, at + 16, header.term);
  setU64(bytes, at + 24, header.index);
  setU64(bytes, at + 32, header.timeMs);
  setU32(bytes, at + 40, header.count);
  bytes[at + 44] = header.kind;
  bytes[at + 45] = header.encoding;
  setU16(bytes, at + 46, header.stateVersion);
  setU32(bytes, at + 4, crc32Range(bytes, at + 8, end));
}

/** Reads the header at `bytes[at ..)` and checks its ranges, but neither presence nor checksum of the body. */
export function readBatchHeader(bytes: Uint8Array, at: number): BatchHeader | BatchError {
  if (at + BATCH_HEADER_BYTES > bytes.length) return "short";
  const header: BatchHeader = {
    bodySize: getU32(bytes, at),
    checksum: getU32(bytes, at + 4),
    group: getU64(bytes, at + 8),
    term: getU64(bytes, at + 16),
    index: getU64(bytes, at + 24),
    timeMs: getU64(bytes, at + 32),
    count: getU32(bytes, at + 40),
    kind: bytes[at + 44] as EntryKind,
    encoding: bytes[at + 45] as number,
    stateVersion: getU16(bytes, at + 46),
  };
  if (header.bodySize > BATCH_BYTES_MAX - BATCH_HEADER_BYTES) return "body_size";
  if (header.group < 0 || header.term < 0 || header.index < 1 || header.timeMs < 0) return "number_range";
  if (header.kind > KIND_MAX) return "kind_unknown";
  if (header.encoding !== COMMAND_ENCODING) return "encoding_unknown";
  return header;
}

/** The batch that fills `bytes[at, end)` exactly, checksum verified, as an entry over a view of those bytes. */
export function readBatch(bytes: Uint8Array, at: number, end: number): Entry | BatchError {
  const header = readBatchHeader(bytes, at);
  if (typeof header === "string") return header;
  if (at + BATCH_HEADER_BYTES + header.bodySize !== end || end > bytes.length) return "body_size";
  if (crc32Range(bytes, at + 8, end) !== header.checksum) return "checksum";
  return { index: header.index, term: header.term, kind: header.kind, bytes: bytes.subarray(at, end) };
}

// ------------------------------------------------------------------------- of a sealed batch that is known to be good

/** The leader's time. */
export function batchTimeMs(batch: Uint8Array): number {
  return getU64(batch, 32);
}

/** Commands in it. */
export function batchCount(batch: Uint8Array): number {
  return getU32(batch, 40);
}

export function batchKind(batch: Uint8Array): EntryKind {
  return batch[44] as EntryKind;
}

export function batchStateVersion(batch: Uint8Array): number {
  return getU16(batch, 46);
}

/** One past its body. */
export function batchEnd(batch: Uint8Array): number {
  return Math.min(batch.length, BATCH_HEADER_BYTES + getU32(batch, 0));
}

export function batchBody(batch: Uint8Array): Uint8Array {
  return batch.subarray(BATCH_HEADER_BYTES, batchEnd(batch));
}

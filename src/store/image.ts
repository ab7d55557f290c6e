/**
 * The image of a store: what snapshots hold. A row of frames, each
 *
 *     0   u32  size      of the payload
 *     4   u32  checksum  CRC-32 of bytes [8, 12 + size)
 *     8   u8   kind      below; kinds come in this order
 *     9   3 zero bytes
 *     12  payload
 *
 *     1 head      once, first: see ImageHead
 *     8 owned     runs of slots, rising: u16 first, u16 last, u8 state, u8 generation, u16 0, u64 epoch (slots.ts);
 *                 a slot that is in no run is absent, at epoch 0
 *     2 slots     those with keys, rising: u16 slot, u16 0, u32 keys, u64 bytes, u32 hash, u32 hash
 *     3 large     u32 id, u32 size, u32 offset, bytes: a piece of a large value; all pieces of one in order
 *     4 records   u32 page, u16 cell kind, u16 cells, and the page's cells as they were in memory (records.ts)
 *     5 clients   the same of sessions' clients (sessions.ts)
 *     6 replies   the same of sessions' replies
 *     9, 10       clients and replies that came with a move which is not owned yet, like 5 and 6
 *     11 moves    notes of moves, up to 16 (wire/move_entry.ts)
 *     7 end       once, last: u64 frames before it, u32 CRC-32 over their checksums
 *
 * Version 1 had no `owned` and no shard id: such an image is of shard "s1", which served every slot at epoch 1.
 *
 * Pages are copied whole: free cells are among them (first word 0), refs inside are those of the store that wrote
 * them, and deadline nodes are void; the reader makes all of that anew (snapshot_sink.ts). Where a chunk of the
 * transport ends says nothing about where a frame does.
 */
import { assert } from "../base/assert.ts";
import { type Reader, setU32, type Writer } from "../base/bytes.ts";
import { crc32Range } from "../base/checksum.ts";
import { KiB } from "../base/units.ts";
import { PAGE_BYTES } from "./cell_kinds.ts";
import { readSettings, writeSettings } from "./settings.ts";
import type { StoreSettings } from "./types.ts";

/** Rises when an image's bytes change meaning; code N reads N - 1. */
export const IMAGE_VERSION = 2;
const IMAGE_VERSION_MIN = 1;
export const FRAME_HEADER_BYTES = 12;
export const PAGE_HEADER_BYTES = 8;
export const LARGE_HEADER_BYTES = 12;
export const SLOT_ENTRY_BYTES = 24;
/** Payload of the largest frame: a page. */
export const PAYLOAD_BYTES_MAX = PAGE_HEADER_BYTES + PAGE_BYTES;
export const SLOTS_PER_FRAME = 2048;
export const LARGE_PIECE_BYTES = 60 * KiB;

export const FRAME = {
  head: 1,
  owned: 8,
  slots: 2,
  large: 3,
  records: 4,
  clients: 5,
  replies: 6,
  stagedClients: 9,
  stagedReplies: 10,
  moves: 11,
  end: 7,
} as const;
/** By kind: its place in the order; 0 = unknown. */
export const FRAME_RANK: Uint8Array = ranks();

function ranks(): Uint8Array {
  const all = new Uint8Array(256);
  for (const [i, kind] of Object.values(FRAME).entries()) all[kind] = i + 1;
  return all;
}

export const OWNED_ENTRY_BYTES = 16;
export const OWNED_PER_FRAME = 4096;

/** The numbers of a state beside its contents. */
export type ImageHead = {
  readonly version: number;
  readonly shard: string;
  readonly index: number;
  readonly term: number;
  readonly logTimeMs: number;
  readonly revision: number;
  readonly stateVersion: number;
  readonly settings: StoreSettings;
  readonly keyCount: number;
  readonly dataBytes: number;
  readonly sessions: SessionTotals;
  /** Of the sessions of a move that is not owned yet. */
  readonly staged: SessionTotals;
  /** Of closed moves (moves.ts), and how many notes follow. */
  readonly movesFloor: number;
  readonly moveCount: number;
};

export type SessionTotals = {
  readonly clientCount: number;
  readonly clientsEver: number;
  readonly replyCount: number;
  readonly hashA: number;
  readonly hashB: number;
};
export function totalsOf({
  clientCount,
  clientsEver,
  replyCount,
  hashA,
  hashB,
}: SessionTotals): SessionTotals {
  return { clientCount, clientsEver, replyCount, hashA, hashB };
}

const NO_SESSIONS: SessionTotals = { clientCount: 0, clientsEver: 0, replyCount: 0, hashA: 0, hashB: 0 };

function writeTotals(writer: Writer, totals: SessionTotals): void {
  writer.u64(totals.clientCount);
  writer.u64(totals.clientsEver);
  writer.u64(totals.replyCount);
  writer.u32(totals.hashA);
  writer.u32(totals.hashB);
}

function readTotals(reader: Reader): SessionTotals {
  const [clientCount, clientsEver, replyCount] = [reader.u64(), reader.u64(), reader.u64()];
  return { clientCount, clientsEver, replyCount, hashA: reader.u32() | 0, hashB: reader.u32() | 0 };
}

export function writeHead(writer: Writer, head: ImageHead): void {
  assert(head.version === IMAGE_VERSION, "older images are only read");
  writer.u16(IMAGE_VERSION);
  writer.u16(head.stateVersion);
  writer.u64(head.index);
  writer.u64(head.term);
  writer.u64(head.logTimeMs);
  writer.u64(head.revision);
  writeSettings(writer, head.settings);
  writer.u64(head.keyCount);
  writer.u64(head.dataBytes);
  writeTotals(writer, head.sessions);
  writer.text(head.shard);
  writeTotals(writer, head.staged);
  writer.u64(head.movesFloor);
  writer.u32(head.moveCount);
}

export function readHead(reader: Reader): ImageHead | string {
  const version = reader.u16();
  if (version < IMAGE_VERSION_MIN || version > IMAGE_VERSION)
    return `image version ${version} is not known, this program knows ${IMAGE_VERSION}`;
  const stateVersion = reader.u16();
  const [index, term, logTimeMs, revision] = [reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  const settings = readSettings(reader);
  const [keyCount, dataBytes] = [reader.u64(), reader.u64()];
  const sessions = readTotals(reader);
  const isOld = version === 1;
  const shard = isOld ? "s1" : reader.text();
  const staged = isOld ? NO_SESSIONS : readTotals(reader);
  const [movesFloor, moveCount] = isOld ? [0, 0] : [reader.u64(), reader.u32()];
  if (settings === null || !reader.done()) return "the image's head is malformed";
  return {
    version,
    shard,
    index,
    term,
    logTimeMs,
    revision,
    stateVersion,
    settings,
    keyCount,
    dataBytes,
    sessions,
    staged,
    movesFloor,
    moveCount,
  };
}

/** Keeps room for a frame's header; `endFrame` fills it in. Gives where the frame starts. */
export function beginFrame(writer: Writer): number {
  const start = writer.length;
  writer.zeros(FRAME_HEADER_BYTES);
  return start;
}

/** Completes the frame at `start`; gives its checksum. */
export function endFrame(writer: Writer, start: number, kind: number): number {
  const size = writer.length - start - FRAME_HEADER_BYTES;
  assert(size <= PAYLOAD_BYTES_MAX, "a frame's payload is bounded");
  setU32(writer.bytes, start, size);
  writer.bytes[start + 8] = kind;
  const checksum = crc32Range(writer.bytes, start + 8, writer.length);
  setU32(writer.bytes, start + 4, checksum);
  return checksum;
}

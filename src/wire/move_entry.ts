/**
 * Entries of kind `move`: the steps of moving slots from one shard to another, each an entry in the log of the shard
 * that takes it (design section 11). The first byte of the body says which form follows:
 *
 *     1   a step, in MessagePack (msgpack.ts): `moveStep` below
 *     2   a chunk of what is moved, in fixed layout:
 *
 *     0    u8   2
 *     1    u8 0, u16 0
 *     4    u32  rows
 *     8    u64  epoch      of the move
 *     16   u64  term       of the attempt: the source's leader's
 *     24   u32  n          of the attempt
 *     28   u32  number     of the chunk in its attempt, from 0
 *     32   rows, each
 *
 *          1 record    u8 1, u8 type, u16 keySize, u32 valueSize, u64 revision, u64 deadline (0 = none), key, value
 *          2 removal   u8 2, u8 0, u16 keySize, key
 *          3 client    u8 3, u8 gone, u16 0, id (16 bytes), u64 floor, u64 notAfter
 *          4 reply     u8 4, u8 kept, u16 slot, u16 size, u16 0, client id (16 bytes), u64 seq, reply (wire/native_reply.ts)
 *
 * A key has one record row at most from one chunk on to the next that names it again; the last row counts. A client's
 * row comes before its replies.
 *
 * Errors: what a peer sent is checked with `chunkError` before it is proposed; apply reads rows up to the first that
 * makes no sense, and counts and hashes then do not agree at the end.
 */
import { Reader, setU32, Writer } from "../base/bytes.ts";
import { KEY_BYTES_MAX } from "./command.ts";
import { epoch, groupId, moveSlots, shardId } from "./control_plane.ts";
import {
  choice,
  decodeShape,
  encodeShape,
  flag,
  hex,
  integer,
  list,
  nullable,
  record,
  ShapeError,
  text,
  type ValueOf,
} from "./msgpack.ts";
import { oneOf } from "./shapes.ts";

const MOVE_FORM = { step: 1, chunk: 2 } as const;
export const ROW = { record: 1, removal: 2, client: 3, reply: 4 } as const;
const CLIENT_ID_BYTES = 16;
const U32_MAX = 0xffffffff;

/** One try to copy: numbered by the source's leader within its term. */
const attempt = { term: integer(1), n: integer(0, U32_MAX) };
/** What the target must have when it takes over: counts and hashes of the source's state at its seal. */
export const finalNumbers = {
  /** Chunks of the attempt. */
  chunks: integer(0, U32_MAX),
  keys: integer(0),
  bytes: integer(0),
  recordsHash: hex(8),
  clients: integer(0),
  replies: integer(0),
  sessionsHash: hex(8),
  /** Of the source: its log time, its revision, the index of its seal. */
  timeMs: integer(0),
  revision: integer(0, 2 ** 48 - 1),
  sourceIndex: integer(0),
};

const moveStep = oneOf({
  /** Target: the slots will come from `shard`; `hold`: not before an operator says so. */
  import: { epoch, slots: moveSlots, shard: shardId, group: groupId, hold: flag() },
  /** Target: forget what was copied, this attempt starts. */
  begin: { epoch, ...attempt },
  /** Target: all is here; serve it. */
  own: { epoch, ...attempt, ...finalNumbers },
  /** Target: never serve it under this epoch. */
  abort: { epoch },
  /** Source: refuse these slots from here on; `shard` is to have them. */
  seal: { epoch, slots: moveSlots, shard: shardId, group: groupId },
  /** Source: the target owns them; they go. */
  release: { epoch },
  /** Source: the move was aborted, or its target is lost for good; serve again. */
  unseal: { epoch },
  /** Source: never begin it; nothing, if it has begun. */
  decline: { epoch },
});
export type MoveStep = ValueOf<typeof moveStep>;
export type MoveStepOf<K extends MoveStep["kind"]> = Extract<MoveStep, { kind: K }>;
export type Attempt = { readonly term: number; readonly n: number };
/** What `own` says beside whose it is. */
export type MoveFinal = Omit<MoveStepOf<"own">, "kind" | "epoch" | "term" | "n">;

export function encodeMoveStep(step: MoveStep): Uint8Array {
  const encoded = encodeShape(moveStep, step);
  const body = new Uint8Array(1 + encoded.length);
  body[0] = MOVE_FORM.step;
  body.set(encoded, 1);
  return body;
}

/** It closes the move in the log that it is for. */
export function endsMove({ kind }: MoveStep): boolean {
  return kind === "own" || kind === "abort" || kind === "release" || kind === "unseal";
}

/** The step of a move entry's body, or null if it holds a chunk or makes no sense. */
export function decodeMoveStep(body: Uint8Array): MoveStep | null {
  if (body[0] !== MOVE_FORM.step) return null;
  const step = decodeShape(moveStep, body.subarray(1), "move");
  return step instanceof ShapeError ? null : step;
}

/** What a shard keeps of a move, in its state and in images of it; of one that it only refused, no slots. */
const moveNote = record({
  epoch,
  side: choice("source", "target"),
  phase: choice("importing", "copying", "sealed", "owned", "aborted", "released", "unsealed"),
  slots: moveSlots,
  /** The other side; "" and 0 if this one never heard. */
  shard: text(64),
  group: integer(0),
  /** Entries that began and closed it; 0 = none. */
  beginIndex: integer(0),
  endIndex: integer(0),
  /** Of the target: an operator says when it seals. */
  hold: flag(),
  /** Of the target: which attempt is copied, and the number of its next chunk. */
  attempt: nullable(record(attempt)),
  nextChunk: integer(0),
  /** Of the target, once it owns the slots. */
  final: nullable(record(finalNumbers)),
});
export type MoveNote = ValueOf<typeof moveNote>;
export const MOVE_NOTES_PER_FRAME = 16;
const moveNotes = list(moveNote, MOVE_NOTES_PER_FRAME);

export function encodeMoveNotes(notes: readonly MoveNote[]): Uint8Array {
  return encodeShape(moveNotes, notes);
}

export function decodeMoveNotes(bytes: Uint8Array): readonly MoveNote[] | null {
  const notes = decodeShape(moveNotes, bytes, "moves");
  return notes instanceof ShapeError ? null : notes;
}

export type ChunkHeader = Attempt & {
  readonly rows: number;
  readonly epoch: number;
  readonly number: number;
};

/** Head of the chunk in a move entry's body, with a reader behind it; null if it holds none. */
export function readChunk(body: Uint8Array): { header: ChunkHeader; rows: Reader } | null {
  const rows = new Reader(body);
  const [form, zero, zeros] = [rows.u8(), rows.u8(), rows.u16()];
  const count = rows.u32();
  const header = {
    rows: count,
    epoch: rows.u64(),
    term: rows.u64(),
    n: rows.u32(),
    number: rows.u32(),
  };
  const isChunk = !rows.failed && form === MOVE_FORM.chunk && zero === 0 && zeros === 0;
  return isChunk ? { header, rows } : null;
}

/** Rows, one object each kind, filled anew by `ChunkRows.next`; bytes are borrowed. */
export class ChunkRows {
  readonly #reader: Reader;
  #left: number;
  kind = 0;
  key: Uint8Array = new Uint8Array(0);
  value: Uint8Array = this.key;
  revision = 0;
  deadline = 0;
  client: Uint8Array = this.key;
  floor = 0;
  notAfter = 0;
  isGone = false;
  isKept = false;
  slot = 0;
  seq = 0;

  constructor(rows: Reader, count: number) {
    this.#reader = rows;
    this.#left = count;
  }

  /** Reads the next row. False: there is none, or it makes no sense. */
  next(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    const reader = this.#reader;
    this.kind = reader.u8();
    if (this.kind === ROW.record) this.#readRecord(reader);
    else if (this.kind === ROW.removal) this.#readRemoval(reader);
    else if (this.kind === ROW.client) this.#readClient(reader);
    else if (this.kind === ROW.reply) this.#readReply(reader);
    else reader.fail();
    if (reader.failed) this.#left = 0;
    return !reader.failed;
  }

  /** Every row was read, and nothing stands behind the last. */
  get isWhole(): boolean {
    return this.#left === 0 && this.#reader.done();
  }

  #readRecord(reader: Reader): void {
    if (reader.u8() !== 1) reader.fail(); // strings are the only type yet (store/records.ts)
    const keySize = reader.u16();
    const valueSize = reader.u32();
    this.revision = reader.u64();
    this.deadline = reader.u64();
    this.#readKey(reader, keySize);
    this.value = reader.raw(valueSize);
  }

  #readRemoval(reader: Reader): void {
    if (reader.u8() !== 0) reader.fail();
    this.#readKey(reader, reader.u16());
  }

  #readKey(reader: Reader, size: number): void {
    if (size > KEY_BYTES_MAX) reader.fail();
    else this.key = reader.raw(size);
  }

  #readClient(reader: Reader): void {
    const gone = reader.u8();
    if (gone > 1 || reader.u16() !== 0) reader.fail();
    this.isGone = gone === 1;
    this.client = reader.raw(CLIENT_ID_BYTES);
    this.floor = reader.u64();
    this.notAfter = reader.u64();
  }

  #readReply(reader: Reader): void {
    const kept = reader.u8();
    this.slot = reader.u16();
    const size = reader.u16();
    if (kept > 1 || (kept === 0 && size > 0) || reader.u16() !== 0) reader.fail();
    this.isKept = kept === 1;
    this.client = reader.raw(CLIENT_ID_BYTES);
    this.seq = reader.u64();
    this.value = reader.raw(size);
  }
}

/** Why bytes that came from a peer are no body of a chunk, or null. What its rows say is judged at the end. */
export function chunkError(body: Uint8Array): string | null {
  const chunk = readChunk(body);
  if (chunk === null) return "no chunk of a move";
  const rows = new ChunkRows(chunk.rows, chunk.header.rows);
  while (rows.next());
  return rows.isWhole ? null : "a row of a move's chunk is malformed";
}

/** Writes chunks: `begin`, rows, `end`. */
export class ChunkWriter {
  readonly writer = new Writer(64 * 1024);
  #rows = 0;

  begin(of: Omit<ChunkHeader, "rows">): void {
    const { writer } = this;
    writer.clear();
    this.#rows = 0;
    writer.u8(MOVE_FORM.chunk);
    writer.u8(0);
    writer.u16(0);
    writer.u32(0);
    writer.u64(of.epoch);
    writer.u64(of.term);
    writer.u32(of.n);
    writer.u32(of.number);
  }

  get rows(): number {
    return this.#rows;
  }

  get length(): number {
    return this.writer.length;
  }

  /** The key is `keys[keyAt, keyEnd)`, the value `values[start, end)`. */
  record(
    revision: number,
    deadline: number,
    keys: Uint8Array,
    keyAt: number,
    keyEnd: number,
    values: Uint8Array,
    start: number,
    end: number,
  ): void {
    const { writer } = this;
    this.#rows++;
    writer.u8(ROW.record);
    writer.u8(1);
    writer.u16(keyEnd - keyAt);
    writer.u32(end - start);
    writer.u64(revision);
    writer.u64(deadline);
    writer.range(keys, keyAt, keyEnd);
    writer.range(values, start, end);
  }

  removal(key: Uint8Array): void {
    const { writer } = this;
    this.#rows++;
    writer.u8(ROW.removal);
    writer.u8(0);
    writer.u16(key.length);
    writer.raw(key);
  }

  client(id: Uint8Array, floor: number, notAfter: number, isGone = false): void {
    const { writer } = this;
    this.#rows++;
    writer.u8(ROW.client);
    writer.u8(isGone ? 1 : 0);
    writer.u16(0);
    writer.raw(id);
    writer.u64(floor);
    writer.u64(notAfter);
  }

  /** `reply` null = it was not kept. */
  reply(id: Uint8Array, seq: number, slot: number, reply: Uint8Array | null): void {
    const { writer } = this;
    this.#rows++;
    writer.u8(ROW.reply);
    writer.u8(reply === null ? 0 : 1);
    writer.u16(slot);
    writer.u16(reply?.length ?? 0);
    writer.u16(0);
    writer.raw(id);
    writer.u64(seq);
    if (reply !== null) writer.raw(reply);
  }

  /** The body; it is good until the next `begin`. */
  end(): Uint8Array {
    setU32(this.writer.bytes, 4, this.#rows);
    return this.writer.view();
  }
}

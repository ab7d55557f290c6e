/**
 * Writes the image of a store as it was when this began, while changes go on (image.ts has the layout).
 *
 * Beginning costs a mark on every page (one byte for 64 KiB) and a copy of the slot table, half a megabyte. From
 * then on a marked page is copied aside before its first change, and read from the copy; a page that was read is
 * free to change. So the image is exact at one index, and costs memory only for what changes ahead of the reader.
 */
import { assert } from "../base/assert.ts";
import { setU32, Writer } from "../base/bytes.ts";
import { crc32Range } from "../base/checksum.ts";
import { KiB } from "../base/units.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { encodeMoveNotes, MOVE_NOTES_PER_FRAME, type MoveNote } from "../wire/move_entry.ts";
import { PAGE_BYTES } from "./cell_kinds.ts";
import {
  beginFrame,
  endFrame,
  FRAME,
  type ImageHead,
  LARGE_HEADER_BYTES,
  LARGE_PIECE_BYTES,
  OWNED_PER_FRAME,
  PAGE_HEADER_BYTES,
  SLOTS_PER_FRAME,
  writeHead,
} from "./image.ts";
import type { Keyspace } from "./keyspace.ts";
import type { Moves } from "./moves.ts";
import type { Sessions } from "./sessions.ts";
import type { Slab } from "./slab.ts";
import { SLOT, type SlotTable } from "./slots.ts";
import type { SnapshotSource } from "./types.ts";

/** A chunk ends with the frame that reaches this: at most 256 KiB are copied and summed in one call. */
const CHUNK_BYTES = 192 * KiB;
const CHUNK_CAPACITY = CHUNK_BYTES + PAGE_BYTES + KiB;

export class ImageWriter implements SnapshotSource {
  readonly #head: ImageHead;
  readonly #keyspace: Keyspace;
  readonly #sessions: Sessions;
  /** Sessions of an open move. */
  readonly #staged: Sessions;
  readonly #moves: readonly MoveNote[];
  readonly #slots: SlotTable;
  readonly #onClose: () => void;
  readonly #steps: Iterator<void>;
  #closed = false;
  #ended = false;
  /** One buffer for all chunks: a new one for each would make garbage of the whole image. */
  readonly #writer = new Writer(CHUNK_CAPACITY);
  #chunkEnds = false;
  #frameCount = 0;
  /** CRC-32 over the checksums of all frames so far. */
  #sum = 0;
  readonly #checksum = new Uint8Array(new ArrayBuffer(4));

  constructor(head: ImageHead, keyspace: Keyspace, sessions: Sessions, moves: Moves, onClose: () => void) {
    this.#head = head;
    this.#keyspace = keyspace;
    this.#sessions = sessions;
    this.#staged = moves.staged;
    this.#moves = moves.notes();
    this.#onClose = onClose;
    this.#slots = keyspace.slots.copy();
    keyspace.records.slab.pinAll();
    keyspace.records.large.pinAll();
    for (const one of [sessions, moves.staged]) {
      one.clients.pinAll();
      one.replies.pinAll();
    }
    this.#steps = this.#frames();
  }

  next(): Uint8Array | null {
    assert(!this.#closed, "a closed snapshot is not read");
    if (this.#ended) return null;
    this.#writer.length = 0;
    this.#chunkEnds = false;
    while (this.#writer.length < CHUNK_BYTES && !this.#chunkEnds) {
      this.#ended = this.#steps.next().done === true;
      if (this.#ended) break;
    }
    return this.#writer.view();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#keyspace.records.slab.unpinAll();
    this.#keyspace.records.large.unpinAll();
    for (const one of [this.#sessions, this.#staged]) {
      one.clients.unpinAll();
      one.replies.unpinAll();
    }
    this.#onClose();
  }

  /** Writes the image frame by frame; each step is one frame. */
  *#frames(): Generator<void> {
    const start = beginFrame(this.#writer);
    writeHead(this.#writer, this.#head);
    this.#end(start, FRAME.head);
    yield;
    yield* this.#ownedFrames();
    yield* this.#slotFrames();
    yield* this.#largeFrames();
    yield* this.#pageFrames(this.#keyspace.records.slab, FRAME.records);
    yield* this.#pageFrames(this.#sessions.clients, FRAME.clients);
    yield* this.#pageFrames(this.#sessions.replies, FRAME.replies);
    yield* this.#pageFrames(this.#staged.clients, FRAME.stagedClients);
    yield* this.#pageFrames(this.#staged.replies, FRAME.stagedReplies);
    yield* this.#moveFrames();
    const last = beginFrame(this.#writer);
    this.#writer.u64(this.#frameCount);
    this.#writer.u32(this.#sum);
    endFrame(this.#writer, last, FRAME.end);
  }

  *#ownedFrames(): Generator<void> {
    const slots = this.#slots;
    let first = 0;
    while (first < SLOT_COUNT) {
      const start = beginFrame(this.#writer);
      for (let runs = 0; first < SLOT_COUNT && runs < OWNED_PER_FRAME; ) {
        let last = first;
        while (last + 1 < SLOT_COUNT && slots.isOwnedAs(last + 1, slots, first)) last++;
        if (slots.state(first) !== SLOT.absent || slots.epoch(first) > 0 || slots.generation(first) > 0) {
          this.#writer.u16(first);
          this.#writer.u16(last);
          this.#writer.u8(slots.state(first));
          this.#writer.u8(slots.generation(first));
          this.#writer.u16(0);
          this.#writer.u64(slots.epoch(first));
          runs++;
        }
        first = last + 1;
      }
      this.#end(start, FRAME.owned);
      this.#chunkEnds = true;
      yield;
    }
  }

  *#slotFrames(): Generator<void> {
    let slot = 0;
    while (slot < SLOT_COUNT) {
      const start = beginFrame(this.#writer);
      for (let listed = 0; slot < SLOT_COUNT && listed < SLOTS_PER_FRAME; slot++) {
        if (this.#slots.keys(slot) === 0) continue;
        this.#writer.u16(slot);
        this.#writer.u16(0);
        this.#writer.u32(this.#slots.keys(slot));
        this.#writer.u64(this.#slots.bytes(slot));
        this.#writer.u32(this.#slots.hashA(slot));
        this.#writer.u32(this.#slots.hashB(slot));
        listed++;
      }
      this.#end(start, FRAME.slots);
      this.#chunkEnds = true; // numbers by the thousand, and by code that has rarely run: a millisecond's work
      yield;
    }
  }

  *#largeFrames(): Generator<void> {
    const { large } = this.#keyspace.records;
    for (let id = 1; id < large.pinnedCount; id++) {
      const value = large.unpin(id);
      if (value === null) continue;
      for (let offset = 0; offset < value.length; offset += LARGE_PIECE_BYTES) {
        const start = beginFrame(this.#writer);
        const end = Math.min(value.length, offset + LARGE_PIECE_BYTES);
        this.#writer.reserve(LARGE_HEADER_BYTES + end - offset);
        this.#writer.u32(id);
        this.#writer.u32(value.length);
        this.#writer.u32(offset);
        this.#writer.range(value, offset, end);
        this.#end(start, FRAME.large);
        yield;
      }
    }
  }

  *#pageFrames(slab: Slab, kind: number): Generator<void> {
    for (let page = 1; page < slab.pinnedCount; page++) {
      const copy = slab.unpin(page);
      if (copy === null) continue;
      const start = beginFrame(this.#writer);
      this.#writer.reserve(PAGE_HEADER_BYTES + copy.bytes.length);
      this.#writer.u32(page);
      this.#writer.u16(copy.kind);
      this.#writer.u16(copy.cells);
      this.#writer.raw(copy.bytes);
      this.#end(start, kind);
      yield;
    }
  }

  *#moveFrames(): Generator<void> {
    for (let i = 0; i < this.#moves.length; i += MOVE_NOTES_PER_FRAME) {
      const start = beginFrame(this.#writer);
      this.#writer.raw(encodeMoveNotes(this.#moves.slice(i, i + MOVE_NOTES_PER_FRAME)));
      this.#end(start, FRAME.moves);
      yield;
    }
  }

  #end(start: number, kind: number): void {
    setU32(this.#checksum, 0, endFrame(this.#writer, start, kind));
    this.#sum = crc32Range(this.#checksum, 0, 4, this.#sum);
    this.#frameCount++;
  }
}

/**
 * Rebuilds a store from an image (image.ts): pages are mounted as they are, and the index, the counts, the hashes
 * and the deadline queue are made anew from what lies in them. Every frame is checked before it is used, and at the
 * end counts and hashes must be those that the image claims, slot by slot; until then nobody sees the new state.
 *
 * Errors: an image comes from a disk or a peer, so anything may be in it: an error text, never an exception.
 */
import { getU32, Reader } from "../base/bytes.ts";
import { crc32Range } from "../base/checksum.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { KEY_BYTES_MAX } from "../wire/command.ts";
import { decodeMoveNotes, type MoveNote } from "../wire/move_entry.ts";
import { CELL_BYTES, CELLS_PER_PAGE, KIND_COUNT } from "./cell_kinds.ts";
import { Probe } from "./hash.ts";
import {
  FRAME,
  FRAME_HEADER_BYTES,
  FRAME_RANK,
  type ImageHead,
  OWNED_ENTRY_BYTES,
  PAYLOAD_BYTES_MAX,
  readHead,
  type SessionTotals,
  SLOT_ENTRY_BYTES,
} from "./image.ts";
import { Keyspace } from "./keyspace.ts";
import { Moves, slotSet } from "./moves.ts";
import { checkRecordCell, REVISION_MAX, VALUE_SIZE_LIMIT } from "./records.ts";
import { CLIENT_TAG, checkClientCell, checkReplyCell } from "./session_cells.ts";
import { Sessions } from "./sessions.ts";
import { pageOf, refOn, type Slab, wordAt } from "./slab.ts";
import { GENERATIONS, isSlotCode, SLOT, type SlotCode, SlotTable } from "./slots.ts";
import { type SnapshotSink, STATE_VERSION } from "./types.ts";

export type RestoredState = {
  readonly head: ImageHead;
  readonly keyspace: Keyspace;
  readonly sessions: Sessions;
  readonly moves: Moves;
};

/** A large value of which pieces have come. */
type Pieces = { readonly id: number; readonly bytes: Uint8Array; filled: number };

export class ImageReader implements SnapshotSink {
  readonly #install: (state: RestoredState) => void;
  readonly #keyspace = new Keyspace(0);
  readonly #sessions = new Sessions();
  readonly #moves = new Moves();
  #moveCount = 0;
  /** The slots as the image claims them. */
  readonly #claimed = new SlotTable();
  #claimedSlot = -1;
  #head: ImageHead | null = null;
  #error: string | null = null;
  #lastRank = 0;
  #ownedSlot = -1;
  /** Records of the page at hand that were dropped before the image was made. */
  readonly #dead: number[] = [];
  #pieces: Pieces | null = null;
  /** Large values that no record has asked for yet: the image's id -> ours. */
  readonly #large = new Map<number, number>();
  /** Pages of clients: the image's number -> ours. */
  readonly #clientPages = new Map<number, number>();
  readonly #stagedPages = new Map<number, number>();
  readonly #probe = new Probe();

  /** A frame that has not come whole yet. */
  readonly #partial = new Uint8Array(new ArrayBuffer(FRAME_HEADER_BYTES + PAYLOAD_BYTES_MAX));
  #partialSize = 0;
  #frameCount = 0;
  #sum = 0;

  constructor(install: (state: RestoredState) => void) {
    this.#install = install;
  }

  write(chunk: Uint8Array): string | null {
    let at = 0;
    while (at < chunk.length && this.#error === null) {
      const whole = this.#partialSize === 0 ? frameEnd(chunk, at) : 0;
      if (whole > at && whole <= chunk.length) {
        this.#error = this.#frame(chunk, at, whole);
        at = whole;
      } else {
        at = this.#gather(chunk, at);
      }
    }
    return this.#error;
  }

  check(): string | null {
    this.#error ??= this.#checkWhole();
    return this.#error;
  }

  finish(): string | null {
    const error = this.check();
    if (error !== null) return error;
    this.#error = "the image was installed already";
    const parts = { keyspace: this.#keyspace, sessions: this.#sessions, moves: this.#moves };
    this.#install({ head: this.#head as ImageHead, ...parts });
    return null;
  }

  /** Adds bytes to the frame that is not whole, and reads it once it is; gives how far the chunk is used up. */
  #gather(chunk: Uint8Array, from: number): number {
    let at = from;
    const wanted = this.#partialSize < FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES : frameEnd(this.#partial, 0);
    if (wanted < 0) {
      this.#error = "a frame of the image is too long";
      return at;
    }
    const taken = Math.min(wanted - this.#partialSize, chunk.length - at);
    this.#partial.set(chunk.subarray(at, at + taken), this.#partialSize);
    this.#partialSize += taken;
    at += taken;
    if (this.#partialSize < FRAME_HEADER_BYTES) return at;
    const end = frameEnd(this.#partial, 0);
    if (end < 0) {
      this.#error = "a frame of the image is too long";
    } else if (this.#partialSize === end) {
      this.#partialSize = 0;
      this.#error = this.#frame(this.#partial, 0, end);
    }
    return at;
  }

  /** Reads the frame at `bytes[start, end)`. */
  #frame(bytes: Uint8Array, start: number, end: number): string | null {
    const checksum = getU32(bytes, start + 4);
    if (crc32Range(bytes, start + 8, end) !== checksum) return "a frame of the image is damaged";
    const kind = bytes[start + 8] as number;
    const once = kind === FRAME.head || kind === FRAME.end;
    const rank = FRAME_RANK[kind] as number;
    const inOrder = once ? rank > this.#lastRank : rank >= this.#lastRank;
    if (rank === 0) return "the image has a frame of an unknown kind";
    if (!inOrder || (this.#head === null) !== (kind === FRAME.head))
      return "the image's frames are out of order";
    if (this.#lastRank === FRAME_RANK[FRAME.owned] && kind !== FRAME.owned) this.#beginMoves();
    this.#lastRank = rank;
    if (this.#pieces !== null && kind !== FRAME.large) return "a large value of the image is incomplete";
    const reader = new Reader(bytes, start + FRAME_HEADER_BYTES, end);
    if (kind === FRAME.end) return this.#end(reader);
    this.#frameCount++;
    this.#sum = crc32Range(bytes, start + 4, start + 8, this.#sum);
    switch (kind) {
      case FRAME.head:
        return this.#readHead(reader);
      case FRAME.owned:
        return this.#readOwned(reader);
      case FRAME.slots:
        return this.#readSlots(reader);
      case FRAME.large:
        return this.#readLarge(reader);
      case FRAME.records:
      case FRAME.clients:
      case FRAME.replies:
      case FRAME.stagedClients:
      case FRAME.stagedReplies:
        return this.#readPage(reader, kind);
      case FRAME.moves:
        return this.#readMoves(reader);
      default:
        return "the image has a frame of an unknown kind";
    }
  }

  #readHead(reader: Reader): string | null {
    const head = readHead(reader);
    if (typeof head === "string") return head;
    if (head.stateVersion > STATE_VERSION) return `state version ${head.stateVersion} is not known`;
    if (head.revision > REVISION_MAX) return "the image's revision is out of range";
    this.#head = head;
    this.#keyspace.revision = head.revision;
    this.#sessions.clientsEver = head.sessions.clientsEver;
    this.#moves.staged.clientsEver = head.staged.clientsEver;
    this.#moves.floor = head.movesFloor;
    if (head.version === 1) {
      for (let slot = 0; slot < SLOT_COUNT; slot++) this.#keyspace.slots.own(slot, SLOT.serving, 1);
    }
    return null;
  }

  #readOwned(reader: Reader): string | null {
    while (reader.left >= OWNED_ENTRY_BYTES) {
      const [first, last] = [reader.u16(), reader.u16()];
      const [state, generation, zero] = [reader.u8(), reader.u8(), reader.u16()];
      const epoch = reader.u64();
      const inOrder = first > this.#ownedSlot && last >= first && last < SLOT_COUNT;
      const isKnown = isSlotCode(state) && generation < GENERATIONS && zero === 0;
      if (reader.failed || !inOrder || !isKnown) return "the image's owned slots are malformed";
      this.#ownedSlot = last;
      for (let slot = first; slot <= last; slot++) {
        this.#keyspace.slots.own(slot, state, epoch);
        this.#keyspace.slots.setGeneration(slot, generation);
      }
    }
    return reader.done() ? null : "the image's owned slots are malformed";
  }

  /** Before the records come: those of some slots are kept apart. */
  #beginMoves(): void {
    const { slots } = this.#keyspace;
    let [importing, sealed] = [false, false];
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      importing ||= slots.state(slot) === SLOT.importing;
      sealed ||= slots.state(slot) === SLOT.sealed;
    }
    if (importing) this.#keyspace.beginImport();
    if (sealed) this.#keyspace.beginSeal();
  }

  #readMoves(reader: Reader): string | null {
    const notes = decodeMoveNotes(reader.raw(reader.left));
    if (notes === null) return "the image's moves are malformed";
    for (const note of notes) {
      this.#moveCount++;
      if (!this.#moves.adopt(note)) return "a move of the image comes twice";
    }
    return null;
  }

  #readSlots(reader: Reader): string | null {
    while (reader.left >= SLOT_ENTRY_BYTES) {
      const slot = reader.u16();
      const zero = reader.u16();
      const keys = reader.u32();
      const bytes = reader.u64();
      const [hashA, hashB] = [reader.u32() | 0, reader.u32() | 0];
      const inOrder = slot > this.#claimedSlot && slot < SLOT_COUNT;
      if (reader.failed || zero !== 0 || !inOrder || keys === 0) return "a slot of the image is malformed";
      this.#claimedSlot = slot;
      this.#claimed.claim(slot, keys, bytes, hashA, hashB);
    }
    return reader.done() ? null : "the image's slots are malformed";
  }

  #readLarge(reader: Reader): string | null {
    const id = reader.u32();
    const size = reader.u32();
    const offset = reader.u32();
    const piece = reader.raw(reader.left);
    if (reader.failed || piece.length === 0 || size >= VALUE_SIZE_LIMIT) return "a large value is malformed";
    this.#pieces ??= { id, bytes: new Uint8Array(new ArrayBuffer(size)), filled: 0 };
    const pieces = this.#pieces;
    const continues = pieces.id === id && pieces.bytes.length === size && pieces.filled === offset;
    if (!continues || offset + piece.length > size || this.#large.has(id)) {
      return "pieces of a large value do not fit together";
    }
    pieces.bytes.set(piece, offset);
    pieces.filled += piece.length;
    if (pieces.filled === size) {
      this.#large.set(id, this.#keyspace.records.large.adopt(pieces.bytes));
      this.#pieces = null;
    }
    return null;
  }

  #readPage(reader: Reader, frameKind: number): string | null {
    const page = reader.u32();
    const kind = reader.u16();
    const cells = reader.u16();
    const image = reader.raw(reader.left);
    if (reader.failed || kind < 1 || kind >= KIND_COUNT) return "a page of the image is malformed";
    const fits = cells >= 1 && cells <= (CELLS_PER_PAGE[kind] as number);
    if (!fits || image.length !== cells * (CELL_BYTES[kind] as number)) return "a page has the wrong size";
    if (frameKind === FRAME.records) {
      return this.#readCells(this.#keyspace.records.slab, kind, cells, image, (ref) => this.#readRecord(ref));
    }
    const isStaged = frameKind === FRAME.stagedClients || frameKind === FRAME.stagedReplies;
    const sessions = isStaged ? this.#moves.staged : this.#sessions;
    const pages = isStaged ? this.#stagedPages : this.#clientPages;
    if (frameKind === FRAME.replies || frameKind === FRAME.stagedReplies) {
      return this.#readCells(sessions.replies, kind, cells, image, (ref) =>
        this.#readReply(sessions, pages, ref),
      );
    }
    if (pages.has(page)) return "a page of the image comes twice";
    pages.set(page, sessions.clients.nextPage);
    return this.#readCells(sessions.clients, kind, cells, image, (ref) => this.#readClient(sessions, ref));
  }

  #readCells(
    slab: Slab,
    kind: number,
    cells: number,
    image: Uint8Array,
    readCell: (ref: number) => string | null,
  ): string | null {
    const page = slab.mount(kind, cells, image);
    this.#dead.length = 0;
    for (let cell = 0; cell < cells; cell++) {
      const ref = slab.cellRef(page, cell);
      if (slab.wordsOf(ref)[wordAt(ref)] === 0) continue;
      const error = readCell(ref);
      if (error !== null) return error;
    }
    for (const ref of this.#dead) slab.release(ref); // the page itself may go with the last one
    return null;
  }

  #readRecord(ref: number): string | null {
    const { records } = this.#keyspace;
    const cellBytes = records.slab.cellBytes(ref);
    const error = checkRecordCell(records.slab.wordsOf(ref), wordAt(ref), cellBytes, KEY_BYTES_MAX);
    if (error !== null) return error;
    const largeId = records.largeId(ref);
    if (largeId !== 0) {
      const id = this.#large.get(largeId);
      if (id === undefined || records.large.get(id).length !== records.valueSize(ref)) {
        return "a record's large value is missing";
      }
      this.#large.delete(largeId);
      records.setLargeId(ref, id);
    }
    records.aimAtKey(ref, this.#probe);
    const { slot } = this.#probe;
    if (this.#keyspace.isDropped(ref, slot)) {
      if (largeId !== 0) records.large.drop(records.largeId(ref));
      this.#dead.push(ref);
      return null;
    }
    const isImported = this.#keyspace.slots.state(slot) === SLOT.importing;
    if (records.revision(ref) > (isImported ? REVISION_MAX : (this.#head as ImageHead).revision))
      return "a record is newer than the image";
    if (this.#keyspace.find(this.#probe) !== 0) return "a key of the image comes twice";
    this.#keyspace.adopt(this.#probe, ref);
    return null;
  }

  #readClient(sessions: Sessions, ref: number): string | null {
    const { clients } = sessions;
    const error = checkClientCell(clients.wordsOf(ref), wordAt(ref), clients.cellBytes(ref));
    if (error !== null) return error;
    return sessions.adoptClient(ref) ? null : "a session client of the image comes twice";
  }

  #readReply(sessions: Sessions, pages: ReadonlyMap<number, number>, ref: number): string | null {
    const { clients, replies } = sessions;
    const words = replies.wordsOf(ref);
    const error = checkReplyCell(words, wordAt(ref), replies.cellBytes(ref));
    if (error !== null) return error;
    const imageRef = words[wordAt(ref) + 1] as number;
    const page = pages.get(pageOf(imageRef)) ?? 0;
    const client = refOn(page, imageRef);
    if (!clients.holds(client)) return "a session reply has no client";
    if (((clients.wordsOf(client)[wordAt(client)] as number) & 0xff) !== CLIENT_TAG)
      return "a reply has no client";
    return sessions.adoptReply(ref, client) ? null : "a session reply of the image comes twice";
  }

  #end(reader: Reader): string | null {
    const matches = reader.u64() === this.#frameCount && reader.u32() === this.#sum;
    return matches && reader.done() ? null : "frames of the image are missing";
  }

  /** Whether the slots in `state` are those of `note`. */
  #isMoveOf(note: MoveNote | null, state: SlotCode): boolean {
    const has = slotSet(note?.slots ?? []);
    const { slots } = this.#keyspace;
    for (let slot = 0; slot < SLOT_COUNT; slot++)
      if ((slots.state(slot) === state) !== has(slot)) return false;
    return true;
  }

  #checkWhole(): string | null {
    const head = this.#head;
    if (head === null || this.#lastRank !== FRAME_RANK[FRAME.end] || this.#partialSize !== 0)
      return "the image is incomplete";
    if (this.#large.size > 0) return "a large value of the image has no record";
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (!this.#keyspace.slots.sameAs(this.#claimed, slot))
        return `slot ${slot} is not what the image claims`;
    }
    const { keyCount, dataBytes } = this.#keyspace;
    if (keyCount !== head.keyCount || dataBytes !== head.dataBytes) return "the image's keys do not add up";
    const isWhole =
      this.#isMoveOf(this.#moves.incoming, SLOT.importing) &&
      this.#isMoveOf(this.#moves.outgoing, SLOT.sealed);
    if (this.#moveCount !== head.moveCount || !isWhole) return "its moves do not add up";
    return checkTotals(this.#sessions, head.sessions) ?? checkTotals(this.#moves.staged, head.staged);
  }
}

function checkTotals(sessions: Sessions, claimed: SessionTotals): string | null {
  const { clientCount, replyCount, hashA, hashB } = sessions;
  if (clientCount !== claimed.clientCount || replyCount !== claimed.replyCount)
    return "its sessions do not add up";
  return hashA === claimed.hashA && hashB === claimed.hashB ? null : "its sessions have another hash";
}

/** One past the frame at `at`; 0 if its header is not there yet, -1 if it is longer than a frame may be. */
function frameEnd(bytes: Uint8Array, at: number): number {
  if (at + FRAME_HEADER_BYTES > bytes.length) return 0;
  const size = getU32(bytes, at);
  return size > PAYLOAD_BYTES_MAX ? -1 : at + FRAME_HEADER_BYTES + size;
}

/**
 * Pages: the memory under a slab. Extents of 1 MiB, one ArrayBuffer each, which the system fills in as it is
 * touched, are carved into pages of 64 KiB. A page is empty, or holds cells of one kind; pages that hold some and
 * have room for more stand in a list of their kind.
 *
 * Memory goes back an extent at a time. Deleting leaves cells here and there that keep extents alive for little;
 * so when much is free, the emptiest of a few extents is *vacated*: its pages leave all lists, and whoever owns its
 * cells moves them (`Slab.nextToMove`). What is kept free for good: a page of each kind, an eighth of a full one on
 * average, and two extents.
 */
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import { CELL_BYTES, GRANULE_BYTES, KIND_COUNT, PAGE_BYTES } from "./cell_kinds.ts";

const EXTENT_BYTES = MiB;
const PAGES_PER_EXTENT = EXTENT_BYTES / PAGE_BYTES;
export const GRANULES_PER_PAGE = PAGE_BYTES / GRANULE_BYTES;
/** A ref has 32 bits and counts granules. */
const PAGES_MAX = 2 ** 32 / GRANULES_PER_PAGE;
/** Most bytes that one slab can hold. */
export const SLAB_BYTES_MAX = PAGES_MAX * PAGE_BYTES;

/** No extent is vacated while less than this is free: a page of each kind may have to be there, nearly empty. */
const FREE_BYTES_KEPT = KIND_COUNT * PAGE_BYTES + 2 * EXTENT_BYTES;
/** Nor while less than one byte in so many is free. */
const FREE_SHARE_KEPT = 4;
/** Extents that are looked at for the emptiest; and what is too full to be worth moving. */
const VACATE_LOOKS = 8;
const VACATE_BYTES_MAX = 0.75 * EXTENT_BYTES;

/** What stands for an extent that was given back. */
const NO_BYTES = new Uint8Array(new ArrayBuffer(0));
const NO_WORDS = new Int32Array(new ArrayBuffer(0));

export class Pages {
  /** Views of each extent: as bytes, and as words (little-endian, as on every machine that runs this). */
  readonly bytes: Uint8Array[] = [];
  readonly words: Int32Array[] = [];
  /** Pages there has been memory for; page 0 is never used, so that no cell has ref 0. */
  count = 1;

  // By page. `free` = the first free cell below the bump mark, plus one; cells from `bump` on are untouched.
  kind = new Uint8Array(PAGES_PER_EXTENT);
  live = new Uint16Array(PAGES_PER_EXTENT);
  bump = new Uint16Array(PAGES_PER_EXTENT);
  free = new Uint16Array(PAGES_PER_EXTENT);
  #next = new Int32Array(PAGES_PER_EXTENT);
  #previous = new Int32Array(PAGES_PER_EXTENT);

  /** By kind: the first page that has room, or 0. */
  readonly room = new Int32Array(KIND_COUNT);
  #emptyPage = 0;
  /** Bytes of cells in use: of all, and by extent. */
  usedBytes = 0;
  readonly #extentUsedBytes: number[] = [];
  readonly #absentExtents: number[] = [];
  /** The extent that is being vacated, or -1; the first page of it that was not walked yet is `vacatingPage`. */
  #vacating = -1;
  vacatingPage = 0;
  #lookAt = 0;

  get allocatedBytes(): number {
    return (this.bytes.length - this.#absentExtents.length) * EXTENT_BYTES;
  }

  /** The number that the next page to be opened will have. */
  get nextPage(): number {
    if (this.#emptyPage === 0) this.#addExtent();
    return this.#emptyPage;
  }

  /** Counts a cell in (`cells` 1) or out (-1). */
  countCell(page: number, kind: number, cells: number): void {
    const bytes = cells * (CELL_BYTES[kind] as number);
    const extent = (page / PAGES_PER_EXTENT) | 0;
    this.usedBytes += bytes;
    this.#extentUsedBytes[extent] = (this.#extentUsedBytes[extent] as number) + bytes;
  }

  /** A page for cells of `kind`, in its list. */
  open(kind: number): number {
    const page = this.nextPage;
    this.#emptyPage = this.#unlinked(page, page);
    this.kind[page] = kind;
    this.live[page] = 0;
    this.bump[page] = 0;
    this.free[page] = 0;
    this.list(page);
    return page;
  }

  /** The page, which is in its list, holds nothing any more. */
  close(page: number): void {
    this.unlist(page);
    this.kind[page] = 0;
    if (this.#isVacated(page)) return;
    this.#emptyPage = this.#linked(this.#emptyPage, page);
    const extent = (page / PAGES_PER_EXTENT) | 0;
    const isSpare = this.allocatedBytes - this.usedBytes >= FREE_BYTES_KEPT;
    if (extent > 0 && isSpare && this.#extentUsedBytes[extent] === 0) this.#drop(extent);
  }

  /** The page has room. */
  list(page: number): void {
    if (this.#isVacated(page)) return;
    const kind = this.kind[page] as number;
    this.room[kind] = this.#linked(this.room[kind] as number, page);
  }

  /** The page is full. */
  unlist(page: number): void {
    if (this.#isVacated(page)) return;
    const kind = this.kind[page] as number;
    this.room[kind] = this.#unlinked(this.room[kind] as number, page);
  }

  /** For good: nothing may be taken from here again. True: no extent is left. */
  dismantle(count: number): boolean {
    this.bytes.length = Math.max(0, this.bytes.length - count);
    this.words.length = this.bytes.length;
    return this.bytes.length === 0;
  }

  pageBytes(page: number, length: number): Uint8Array {
    const start = (page % PAGES_PER_EXTENT) * PAGE_BYTES;
    return (this.bytes[(page / PAGES_PER_EXTENT) | 0] as Uint8Array).subarray(start, start + length);
  }

  // ---- vacating -----------------------------------------------------------------------------------------------

  /** One past the last page of the extent that is being vacated; 0 if there is none and none is worth it. */
  vacatingEnd(isRoom: (page: number) => boolean): number {
    if (this.#vacating < 0) this.#beginVacating(isRoom);
    return this.#vacating < 0 ? 0 : (this.#vacating + 1) * PAGES_PER_EXTENT;
  }

  #beginVacating(isRoom: (page: number) => boolean): void {
    const free = this.allocatedBytes - this.usedBytes;
    if (free < FREE_BYTES_KEPT || free * FREE_SHARE_KEPT < this.allocatedBytes) return;
    let emptiest = -1;
    let emptiestBytes = VACATE_BYTES_MAX;
    for (let looks = 0; looks < VACATE_LOOKS; looks++) {
      this.#lookAt = (this.#lookAt + 1) % this.bytes.length;
      const used = this.#extentUsedBytes[this.#lookAt] as number;
      const isHere = this.words[this.#lookAt] !== NO_WORDS && this.#lookAt > 0;
      if (!isHere || used > emptiestBytes) continue;
      emptiest = this.#lookAt;
      emptiestBytes = used;
    }
    if (emptiest < 0) return;
    const first = emptiest * PAGES_PER_EXTENT;
    for (let page = first; page < first + PAGES_PER_EXTENT; page++) {
      if (this.kind[page] !== 0 && isRoom(page)) this.unlist(page);
    }
    this.#unlistEmpty(emptiest);
    this.#vacating = emptiest;
    this.vacatingPage = first;
  }

  /** Gives back the vacated extent, which nobody lives in any more. */
  endVacating(): void {
    const extent = this.#vacating;
    this.#vacating = -1;
    this.#giveBack(extent);
  }

  #drop(extent: number): void {
    this.#unlistEmpty(extent);
    this.#giveBack(extent);
  }

  #unlistEmpty(extent: number): void {
    const first = extent * PAGES_PER_EXTENT;
    for (let page = first; page < first + PAGES_PER_EXTENT; page++) {
      if (this.kind[page] === 0) this.#emptyPage = this.#unlinked(this.#emptyPage, page);
    }
  }

  #giveBack(extent: number): void {
    assert(this.#extentUsedBytes[extent] === 0, "an extent that is given back is empty");
    this.bytes[extent] = NO_BYTES;
    this.words[extent] = NO_WORDS;
    this.#absentExtents.push(extent);
  }

  #isVacated(page: number): boolean {
    return this.#vacating >= 0 && ((page / PAGES_PER_EXTENT) | 0) === this.#vacating;
  }

  // ---- lists and extents --------------------------------------------------------------------------------------

  /** Adds `page` at the head of a list; gives the new head. */
  #linked(head: number, page: number): number {
    this.#next[page] = head;
    this.#previous[page] = 0;
    if (head !== 0) this.#previous[head] = page;
    return page;
  }

  /** Takes `page` out of its list; gives the list's head. */
  #unlinked(head: number, page: number): number {
    const next = this.#next[page] as number;
    const previous = this.#previous[page] as number;
    if (next !== 0) this.#previous[next] = previous;
    if (previous !== 0) this.#next[previous] = next;
    return head === page ? next : head;
  }

  /** Memory for an extent that has none yet, or not any more. */
  #addExtent(): void {
    const extent = this.#absentExtents.pop() ?? this.bytes.length;
    const buffer = new ArrayBuffer(EXTENT_BYTES);
    this.bytes[extent] = new Uint8Array(buffer);
    this.words[extent] = new Int32Array(buffer);
    this.#extentUsedBytes[extent] = 0;
    const first = extent * PAGES_PER_EXTENT;
    const end = first + PAGES_PER_EXTENT;
    assert(end <= PAGES_MAX, "a slab holds at most 32 GiB");
    if (end > this.kind.length) this.#growTables(2 * this.kind.length);
    this.count = Math.max(this.count, end);
    for (let page = end - 1; page >= Math.max(first, 1); page--) {
      this.#emptyPage = this.#linked(this.#emptyPage, page);
    }
  }

  /** 15 bytes a page of 64 KiB: doubling copies 240 KiB for every GiB held. */
  #growTables(length: number): void {
    this.kind = enlarge(this.kind, new Uint8Array(length));
    this.live = enlarge(this.live, new Uint16Array(length));
    this.bump = enlarge(this.bump, new Uint16Array(length));
    this.free = enlarge(this.free, new Uint16Array(length));
    this.#next = enlarge(this.#next, new Int32Array(length));
    this.#previous = enlarge(this.#previous, new Int32Array(length));
  }
}

function enlarge<T extends Uint8Array | Uint16Array | Int32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/**
 * Slab: memory outside the JS heap, in cells of fixed sizes. A page holds cells of one size only (cell_kinds.ts), so
 * it can be walked without an index: that is what snapshots and their readers do.
 *
 * A *ref* names a cell: its place in the slab in units of 8 bytes, 32 bits wide = 32 GiB; 0 is nobody. Refs are
 * kept as int32 bit patterns (they may look negative), which engines handle without boxing.
 *
 *     ref = extent (15 bits) | page in extent (4 bits) | granule in page (13 bits)
 *
 * The slab owns the first word of a free cell (0: nobody lives here) and the second (next free cell of the page,
 * plus one). Whoever takes a cell must make its first word non-zero.
 *
 * A page is *pinned* while a snapshot still has to read it as it was; `guard` copies it aside before the first
 * change (snapshot_source.ts). Source of the ideas: memcached's slab classes, Redis' fork.
 */
import { assert } from "../base/assert.ts";
import { CELL_BYTES, CELL_BYTES_MAX, CELLS_PER_PAGE, KIND_COUNT, kindFor, PAGE_BYTES } from "./cell_kinds.ts";
import { GRANULES_PER_PAGE, Pages } from "./pages.ts";
import { release } from "./release.ts";

const EXTENT_SHIFT = 17; // granules per extent, as a shift
const PAGE_SHIFT = 13; // granules per page, as a shift
const EXTENT_MASK = (1 << EXTENT_SHIFT) - 1;
const PAGE_MASK = GRANULES_PER_PAGE - 1;

/** A page as it was when a snapshot began. */
export type PageCopy = { readonly kind: number; readonly cells: number; readonly bytes: Uint8Array };

export class Slab {
  readonly #pages = new Pages();
  readonly #bytes = this.#pages.bytes;
  readonly #words = this.#pages.words;
  /** By page: a snapshot has yet to read it as it is. */
  #pinned = new Uint8Array(0);
  /** Copies of pages that changed while pinned; null when no snapshot is being read. */
  #copies: Map<number, PageCopy> | null = null;
  /** The copy that was read last: the next page goes into its memory. */
  #spent: Uint8Array | null = null;
  /** One past the highest page that existed at `pinAll`. */
  pinnedCount = 0;
  /** Cells of the page being vacated that were walked. */
  #vacatingCell = 0;
  readonly #isRoom = (page: number): boolean =>
    (this.#pages.live[page] as number) < (CELLS_PER_PAGE[this.#pages.kind[page] as number] as number);

  get allocatedBytes(): number {
    return this.#pages.allocatedBytes + (this.#copies === null ? 0 : this.#copies.size * PAGE_BYTES);
  }

  /** Bytes of the cells in use. */
  get usedBytes(): number {
    return this.#pages.usedBytes;
  }

  bytesOf(ref: number): Uint8Array {
    return this.#bytes[ref >>> EXTENT_SHIFT] as Uint8Array;
  }

  wordsOf(ref: number): Int32Array {
    return this.#words[ref >>> EXTENT_SHIFT] as Int32Array;
  }

  kindOf(ref: number): number {
    return this.#pages.kind[ref >>> PAGE_SHIFT] as number;
  }

  cellBytes(ref: number): number {
    return CELL_BYTES[this.#pages.kind[ref >>> PAGE_SHIFT] as number] as number;
  }

  /** A cell of at least `size` bytes; what it holds is undefined. */
  take(size: number): number {
    assert(size <= CELL_BYTES_MAX, "a cell is at most a third of a page");
    const pages = this.#pages;
    const kind = kindFor(size);
    let page = pages.room[kind] as number;
    if (page === 0) page = pages.open(kind);
    this.guardPage(page);
    const free = pages.free[page] as number;
    let ref = 0;
    if (free === 0) {
      const cell = pages.bump[page] as number;
      pages.bump[page] = cell + 1;
      ref = refOf(page, kind, cell);
    } else {
      ref = refOf(page, kind, free - 1);
      pages.free[page] = this.wordsOf(ref)[wordAt(ref) + 1] as number;
    }
    const live = (pages.live[page] as number) + 1;
    pages.live[page] = live;
    if (live === CELLS_PER_PAGE[kind]) pages.unlist(page);
    pages.countCell(page, kind, 1);
    return ref;
  }

  release(ref: number): void {
    const pages = this.#pages;
    const page = ref >>> PAGE_SHIFT;
    this.guardPage(page);
    const kind = pages.kind[page] as number;
    const words = this.wordsOf(ref);
    const at = wordAt(ref);
    words[at] = 0;
    words[at + 1] = pages.free[page] as number;
    pages.free[page] = (((ref & PAGE_MASK) << 3) / (CELL_BYTES[kind] as number) + 1) | 0;
    const live = pages.live[page] as number;
    pages.live[page] = live - 1;
    pages.countCell(page, kind, -1);
    if (live === CELLS_PER_PAGE[kind]) pages.list(page);
    if (live === 1) pages.close(page);
  }

  /** Must be called before a cell's bytes change in place. */
  guard(ref: number): void {
    this.guardPage(ref >>> PAGE_SHIFT);
  }

  guardPage(page: number): void {
    if (this.#copies !== null && this.#pinned[page] === 1) this.#copyAside(page);
  }

  /** A cell that must `move` now, so that its extent can be given back (pages.ts); or 0. */
  nextToMove(): number {
    if (this.#copies !== null) return 0; // what a snapshot has pinned would be copied for nothing
    const pages = this.#pages;
    const end = pages.vacatingEnd(this.#isRoom);
    if (end === 0) return 0;
    for (; pages.vacatingPage < end; pages.vacatingPage++, this.#vacatingCell = 0) {
      const page = pages.vacatingPage;
      while (pages.kind[page] !== 0 && this.#vacatingCell < (pages.bump[page] as number)) {
        const ref = this.cellRef(page, this.#vacatingCell++);
        if (this.wordsOf(ref)[wordAt(ref)] !== 0) return ref;
      }
    }
    pages.endVacating();
    return 0;
  }

  /** Copies a cell to another page and releases it; gives its new ref. */
  move(ref: number): number {
    const size = this.cellBytes(ref);
    const to = this.take(size);
    const source = byteAt(ref);
    this.bytesOf(to).set(this.bytesOf(ref).subarray(source, source + size), byteAt(to));
    this.release(ref);
    return to;
  }

  get isPinned(): boolean {
    return this.#copies !== null;
  }

  /** Lets go of up to `count` extents of a slab that nobody uses any more. True: there is none left. */
  dismantle(count: number): boolean {
    return this.#pages.dismantle(count);
  }

  // ---- pages, for those who walk them -------------------------------------------------------------------------

  /** The ref of cell `cell` of `page`. */
  cellRef(page: number, cell: number): number {
    return refOf(page, this.#pages.kind[page] as number, cell);
  }

  /** The number that the next page to be opened or mounted will have. */
  get nextPage(): number {
    return this.#pages.nextPage;
  }

  /** Takes over a page of another slab: `image` holds its cells from the first on. Gives its number here. */
  mount(kind: number, cells: number, image: Uint8Array): number {
    const fits = kind >= 1 && kind < KIND_COUNT && cells >= 1 && cells <= (CELLS_PER_PAGE[kind] as number);
    assert(fits && image.length === cells * (CELL_BYTES[kind] as number), "a page's shape");
    const pages = this.#pages;
    const page = pages.open(kind);
    pages.bump[page] = cells;
    pages.pageBytes(page, image.length).set(image);
    let live = 0;
    for (let cell = cells - 1; cell >= 0; cell--) {
      const ref = refOf(page, kind, cell);
      const words = this.wordsOf(ref);
      const at = wordAt(ref);
      if (words[at] !== 0) {
        live++;
        pages.countCell(page, kind, 1);
        continue;
      }
      words[at + 1] = pages.free[page] as number;
      pages.free[page] = cell + 1;
    }
    pages.live[page] = live;
    if (live === CELLS_PER_PAGE[kind]) pages.unlist(page);
    if (live === 0) pages.close(page);
    return page;
  }

  /** Whether `ref`, which may be anything, is a cell in use. */
  holds(ref: number): boolean {
    const page = ref >>> PAGE_SHIFT;
    if (page === 0 || page >= this.#pages.count || this.#pages.kind[page] === 0) return false;
    const cell = ((ref & PAGE_MASK) << 3) / this.cellBytes(ref);
    const isCell = Number.isInteger(cell) && cell < (this.#pages.bump[page] as number);
    return isCell && this.wordsOf(ref)[wordAt(ref)] !== 0;
  }

  // ---- pins ---------------------------------------------------------------------------------------------------

  /** From now on every page in use is kept as it is, until `unpin` or `unpinAll`. */
  pinAll(): void {
    assert(this.#copies === null, "one snapshot at a time");
    this.#copies = new Map();
    this.pinnedCount = this.#pages.count;
    this.#pinned = this.#pages.kind.map((kind) => (kind === 0 ? 0 : 1));
  }

  /**
   * The page as it was at `pinAll`, which is done with: null if it was not in use then. The bytes are borrowed
   * until the next call or the next change of the slab.
   */
  unpin(page: number): PageCopy | null {
    assert(this.#copies !== null, "pages are pinned");
    const copy = this.#copies.get(page);
    if (copy !== undefined) {
      this.#copies.delete(page);
      if (this.#spent !== null) release(this.#spent);
      this.#spent = copy.bytes;
      return copy;
    }
    if (this.#pinned[page] !== 1) return null;
    this.#pinned[page] = 0;
    return this.#view(page);
  }

  unpinAll(): void {
    for (const { bytes } of this.#copies?.values() ?? []) release(bytes);
    if (this.#spent !== null) release(this.#spent);
    this.#spent = null;
    this.#copies = null;
    this.#pinned = new Uint8Array(0);
    this.pinnedCount = 0;
  }

  #copyAside(page: number): void {
    const { kind, cells, bytes } = this.#view(page);
    this.#pinned[page] = 0;
    const { buffer } = this.#spent ?? new Uint8Array(new ArrayBuffer(PAGE_BYTES));
    this.#spent = null;
    const copy = new Uint8Array(buffer, 0, bytes.length);
    copy.set(bytes);
    this.#copies?.set(page, { kind, cells, bytes: copy });
  }

  #view(page: number): PageCopy {
    const kind = this.#pages.kind[page] as number;
    const cells = this.#pages.bump[page] as number;
    return { kind, cells, bytes: this.#pages.pageBytes(page, cells * (CELL_BYTES[kind] as number)) };
  }
}

function refOf(page: number, kind: number, cell: number): number {
  return (page << PAGE_SHIFT) | ((cell * (CELL_BYTES[kind] as number)) >>> 3);
}

/** Index of the cell's first word in its extent's words. */
export function wordAt(ref: number): number {
  return (ref & EXTENT_MASK) << 1;
}

/** Index of the cell's first byte in its extent's bytes. */
export function byteAt(ref: number): number {
  return (ref & EXTENT_MASK) << 3;
}

export function pageOf(ref: number): number {
  return ref >>> PAGE_SHIFT;
}

/** `ref` on `page` instead: the same cell of a page that was mounted elsewhere. */
export function refOn(page: number, ref: number): number {
  return (page << PAGE_SHIFT) | (ref & PAGE_MASK);
}

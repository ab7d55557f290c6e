/**
 * Slab: memory outside the JS heap, in cells of fixed sizes.
 *
 * Extents of 1 MiB (one ArrayBuffer each, which the system fills in as it is touched) are carved into pages of
 * 64 KiB; a page holds cells of one size only, so it can be walked without an index: that is what snapshots and
 * their readers do. Sizes are the multiples of 8 up to 256, then about an eighth apart, and the largest is a third
 * of a page. A *ref* names a cell: its place in the slab in units of 8 bytes, 32 bits wide = 32 GiB; 0 is nobody.
 * Refs are kept as int32 bit patterns (they may look negative), which engines handle without boxing.
 *
 *     ref = extent (15 bits) | page in extent (4 bits) | granule in page (13 bits)
 *
 * The slab owns the first word of a free cell (0: nobody lives here) and the second (next free cell of the page,
 * plus one). Whoever takes a cell must make its first word non-zero.
 *
 * A page is *pinned* while a snapshot still has to read it as it was; `guard` copies it aside before the first
 * change (snapshot.ts). Source of the idea: Redis' fork, memcached's classes; performance.md section 5.
 */
import { assert } from "../base/assert.ts";
import { KiB, MiB } from "../base/units.ts";

export const PAGE_BYTES = 64 * KiB;
const EXTENT_BYTES = MiB;
const PAGES_PER_EXTENT = EXTENT_BYTES / PAGE_BYTES;
export const GRANULE_BYTES = 8;
const GRANULES_PER_PAGE = PAGE_BYTES / GRANULE_BYTES;
/** 2^32 granules: what a ref can name. */
const PAGES_MAX = 2 ** 32 / GRANULES_PER_PAGE;
/** Most bytes that one slab can hold. */
export const SLAB_BYTES_MAX = PAGES_MAX * PAGE_BYTES;

const EXTENT_SHIFT = 17; // granules per extent, as a shift
const PAGE_SHIFT = 13; // granules per page, as a shift
const EXTENT_MASK = (1 << EXTENT_SHIFT) - 1;
const PAGE_MASK = GRANULES_PER_PAGE - 1;

/** Bytes of a cell by kind; kind 0 = the page is not in use. */
export const CELL_BYTES: readonly number[] = cellSizes();
/** The largest cell. */
export const CELL_BYTES_MAX = CELL_BYTES[CELL_BYTES.length - 1] as number;
const KIND_COUNT = CELL_BYTES.length;
const KIND_OF_GRANULES = kindsByGranules();
const CELL_BYTES_OF = Int32Array.from(CELL_BYTES);
const CELLS_OF = Int32Array.from(CELL_BYTES, (bytes) => (bytes === 0 ? 0 : Math.floor(PAGE_BYTES / bytes)));

function cellSizes(): number[] {
  const sizes = [0];
  let last = 8;
  while (last < 256) sizes.push((last += 8));
  for (;;) {
    // The next size is the largest that lets the page hold so many cells: no page has a useless tail.
    const cells = Math.min(Math.floor(PAGE_BYTES / (last * 1.125)), Math.floor(PAGE_BYTES / last) - 1);
    if (cells < 3) return sizes;
    last = Math.floor(PAGE_BYTES / cells / GRANULE_BYTES) * GRANULE_BYTES;
    sizes.push(last);
  }
}

function kindsByGranules(): Uint8Array {
  const kinds = new Uint8Array(CELL_BYTES_MAX / GRANULE_BYTES + 1);
  let kind = 1;
  for (let granules = 0; granules < kinds.length; granules++) {
    while ((CELL_BYTES[kind] as number) < granules * GRANULE_BYTES) kind++;
    kinds[granules] = kind;
  }
  return kinds;
}

/** The kind of cell that holds `bytes`. */
export function kindFor(bytes: number): number {
  return KIND_OF_GRANULES[(bytes + 7) >>> 3] as number;
}

export function cellsPerPage(kind: number): number {
  return CELLS_OF[kind] as number;
}

/** A page as it was when a snapshot began. */
export type PageCopy = { readonly kind: number; readonly cells: number; readonly bytes: Uint8Array };

export class Slab {
  /** Views of each extent: as bytes, and as words (little-endian, as on every machine that runs this). */
  readonly bytes: Uint8Array[] = [];
  readonly words: Int32Array[] = [];
  /** Pages ever opened; page 0 is never used, so that no cell has ref 0. */
  pageCount = 1;
  /** Bytes of the cells in use. */
  usedBytes = 0;

  // One entry a page.
  #kind = new Uint8Array(PAGES_PER_EXTENT);
  #live = new Uint16Array(PAGES_PER_EXTENT);
  /** Cells that were ever used: cells at or after it are untouched. */
  #bump = new Uint16Array(PAGES_PER_EXTENT);
  /** First free cell below the bump mark, plus one. */
  #free = new Uint16Array(PAGES_PER_EXTENT);
  #next = new Int32Array(PAGES_PER_EXTENT);
  #previous = new Int32Array(PAGES_PER_EXTENT);
  #pinned = new Uint8Array(PAGES_PER_EXTENT);

  /** By kind: a list of the pages that have room, linked by #next and #previous. */
  readonly #room = new Int32Array(KIND_COUNT);
  /** Pages that hold nothing, linked by #next. */
  #emptyPage = 0;
  #emptyPageCount = 0;
  /** Copies of pages that changed while pinned; null when no snapshot is being read. */
  #copies: Map<number, PageCopy> | null = null;
  /** One past the highest page that existed at `pinAll`. */
  pinnedCount = 0;

  get allocatedBytes(): number {
    return this.bytes.length * EXTENT_BYTES + (this.#copies === null ? 0 : this.#copies.size * PAGE_BYTES);
  }

  /** Bytes of the pages in use: what the contents cost, slack inside pages included. */
  get pagedBytes(): number {
    return (this.pageCount - 1 - this.#emptyPageCount) * PAGE_BYTES;
  }

  bytesOf(ref: number): Uint8Array {
    return this.bytes[ref >>> EXTENT_SHIFT] as Uint8Array;
  }

  wordsOf(ref: number): Int32Array {
    return this.words[ref >>> EXTENT_SHIFT] as Int32Array;
  }

  kindOf(ref: number): number {
    return this.#kind[ref >>> PAGE_SHIFT] as number;
  }

  cellBytes(ref: number): number {
    return CELL_BYTES_OF[this.#kind[ref >>> PAGE_SHIFT] as number] as number;
  }

  /** A cell of at least `size` bytes; what it holds is undefined. */
  take(size: number): number {
    assert(size <= CELL_BYTES_MAX, "a cell is at most a third of a page");
    const kind = KIND_OF_GRANULES[(size + 7) >>> 3] as number;
    let page = this.#room[kind] as number;
    if (page === 0) page = this.#openPage(kind);
    this.guardPage(page);
    let cell = this.#free[page] as number;
    const cellBytes = CELL_BYTES_OF[kind] as number;
    let ref = 0;
    if (cell === 0) {
      cell = this.#bump[page] as number;
      this.#bump[page] = cell + 1;
      ref = (page << PAGE_SHIFT) | ((cell * cellBytes) >>> 3);
    } else {
      ref = (page << PAGE_SHIFT) | (((cell - 1) * cellBytes) >>> 3);
      this.#free[page] = this.wordsOf(ref)[wordAt(ref) + 1] as number;
    }
    const live = (this.#live[page] as number) + 1;
    this.#live[page] = live;
    if (live === CELLS_OF[kind]) this.#unlink(page, kind);
    this.usedBytes += cellBytes;
    return ref;
  }

  release(ref: number): void {
    const page = ref >>> PAGE_SHIFT;
    this.guardPage(page);
    const kind = this.#kind[page] as number;
    const cellBytes = CELL_BYTES_OF[kind] as number;
    const words = this.wordsOf(ref);
    const at = wordAt(ref);
    words[at] = 0;
    words[at + 1] = this.#free[page] as number;
    this.#free[page] = (((ref & PAGE_MASK) << 3) / cellBytes + 1) | 0;
    const live = this.#live[page] as number;
    this.#live[page] = live - 1;
    this.usedBytes -= cellBytes;
    if (live === CELLS_OF[kind]) this.#link(page, kind);
    if (live === 1) this.#closePage(page, kind);
  }

  /** Must be called before a cell's bytes change in place. */
  guard(ref: number): void {
    this.guardPage(ref >>> PAGE_SHIFT);
  }

  guardPage(page: number): void {
    if (this.#pinned[page] !== 0) this.#copyAside(page);
  }

  // ---- pages, for those who walk them -------------------------------------------------------------------------

  pageKind(page: number): number {
    return this.#kind[page] as number;
  }

  /** Cells of the page that may be in use: the first word of each says whether it is. */
  pageCells(page: number): number {
    return this.#bump[page] as number;
  }

  pageLive(page: number): number {
    return this.#live[page] as number;
  }

  /** The ref of cell `cell` of `page`. */
  cellRef(page: number, cell: number): number {
    const cellBytes = CELL_BYTES_OF[this.#kind[page] as number] as number;
    return (page << PAGE_SHIFT) | ((cell * cellBytes) >>> 3);
  }

  /** Whether `ref`, which may be anything, is a cell in use. */
  holds(ref: number): boolean {
    const page = ref >>> PAGE_SHIFT;
    if (page === 0 || page >= this.pageCount || this.#kind[page] === 0) return false;
    const cellBytes = CELL_BYTES_OF[this.#kind[page] as number] as number;
    const cell = ((ref & PAGE_MASK) << 3) / cellBytes;
    return (
      Number.isInteger(cell) && cell < (this.#bump[page] as number) && this.wordsOf(ref)[wordAt(ref)] !== 0
    );
  }

  /** `ref` on `page` instead: the same cell of a page that was mounted elsewhere. */
  static refOn(page: number, ref: number): number {
    return (page << PAGE_SHIFT) | (ref & PAGE_MASK);
  }

  static pageOf(ref: number): number {
    return ref >>> PAGE_SHIFT;
  }

  /** A borrowed view of the first `cells` cells of `page`. */
  pageView(page: number, kind: number, cells: number): Uint8Array {
    const start = (page % PAGES_PER_EXTENT) * PAGE_BYTES;
    const extent = this.bytes[Math.floor(page / PAGES_PER_EXTENT)] as Uint8Array;
    return extent.subarray(start, start + cells * (CELL_BYTES_OF[kind] as number));
  }

  /** The number that the next page to be opened or mounted will have. */
  get nextPage(): number {
    return this.#emptyPage === 0 ? this.pageCount : this.#emptyPage;
  }

  /** Takes over a page of another slab: `image` holds its cells from the first on. Gives its number here. */
  mount(kind: number, cells: number, image: Uint8Array): number {
    assert(kind >= 1 && kind < KIND_COUNT && cells >= 1 && cells <= cellsPerPage(kind), "a page's shape");
    const page = this.#openPage(kind);
    this.#bump[page] = cells;
    this.pageView(page, kind, cells).set(image);
    let live = 0;
    for (let cell = cells - 1; cell >= 0; cell--) {
      const ref = this.cellRef(page, cell);
      const words = this.wordsOf(ref);
      const at = wordAt(ref);
      if (words[at] !== 0) {
        live++;
        continue;
      }
      words[at + 1] = this.#free[page] as number;
      this.#free[page] = cell + 1;
    }
    this.#live[page] = live;
    this.usedBytes += live * (CELL_BYTES_OF[kind] as number);
    if (live === cellsPerPage(kind)) this.#unlink(page, kind);
    if (live === 0) this.#closePage(page, kind);
    return page;
  }

  // ---- pins ---------------------------------------------------------------------------------------------------

  /** From now on every page in use is kept as it is, until `unpin` or `unpinAll`. */
  pinAll(): void {
    assert(this.#copies === null, "one snapshot at a time");
    this.#copies = new Map();
    this.#pinned.set(this.#kind); // a page in use has a kind above 0
    this.pinnedCount = this.pageCount;
  }

  /**
   * The page as it was at `pinAll`, which is done with: null if it was not in use then. The bytes are borrowed
   * until the next change of the slab.
   */
  unpin(page: number): PageCopy | null {
    assert(this.#copies !== null, "pages are pinned");
    const copy = this.#copies.get(page);
    if (copy !== undefined) {
      this.#copies.delete(page);
      return copy;
    }
    if (this.#pinned[page] === 0) return null;
    this.#pinned[page] = 0;
    const kind = this.#kind[page] as number;
    const cells = this.#bump[page] as number;
    return { kind, cells, bytes: this.pageView(page, kind, cells) };
  }

  unpinAll(): void {
    this.#copies = null;
    this.#pinned.fill(0);
    this.pinnedCount = 0;
  }

  #copyAside(page: number): void {
    assert(this.#copies !== null, "only a snapshot pins pages");
    const kind = this.#kind[page] as number;
    const cells = this.#bump[page] as number;
    const bytes = new Uint8Array(new ArrayBuffer(cells * (CELL_BYTES_OF[kind] as number)));
    bytes.set(this.pageView(page, kind, cells));
    this.#copies.set(page, { kind, cells, bytes });
    this.#pinned[page] = 0;
  }

  // ---- lists --------------------------------------------------------------------------------------------------

  #openPage(kind: number): number {
    let page = this.#emptyPage;
    if (page !== 0) {
      this.#emptyPage = this.#next[page] as number;
      this.#emptyPageCount--;
    } else {
      page = this.pageCount++;
      assert(page < PAGES_MAX, "a slab holds at most 32 GiB");
      if (page >= this.#kind.length) this.#growTables();
      if (Math.floor(page / PAGES_PER_EXTENT) >= this.bytes.length) this.#addExtent();
    }
    this.#kind[page] = kind;
    this.#live[page] = 0;
    this.#bump[page] = 0;
    this.#free[page] = 0;
    this.#link(page, kind);
    return page;
  }

  #closePage(page: number, kind: number): void {
    this.#unlink(page, kind);
    this.#kind[page] = 0;
    this.#next[page] = this.#emptyPage;
    this.#emptyPage = page;
    this.#emptyPageCount++;
  }

  #link(page: number, kind: number): void {
    const head = this.#room[kind] as number;
    this.#next[page] = head;
    this.#previous[page] = 0;
    if (head !== 0) this.#previous[head] = page;
    this.#room[kind] = page;
  }

  #unlink(page: number, kind: number): void {
    const next = this.#next[page] as number;
    const previous = this.#previous[page] as number;
    if (next !== 0) this.#previous[next] = previous;
    if (previous !== 0) this.#next[previous] = next;
    else this.#room[kind] = next;
  }

  #addExtent(): void {
    const buffer = new ArrayBuffer(EXTENT_BYTES);
    this.bytes.push(new Uint8Array(buffer));
    this.words.push(new Int32Array(buffer));
  }

  /** About 20 bytes a page of 64 KiB: doubling copies 320 KiB for every GiB held. */
  #growTables(): void {
    const length = this.#kind.length * 2;
    this.#kind = enlarge(this.#kind, new Uint8Array(length));
    this.#live = enlarge(this.#live, new Uint16Array(length));
    this.#bump = enlarge(this.#bump, new Uint16Array(length));
    this.#free = enlarge(this.#free, new Uint16Array(length));
    this.#next = enlarge(this.#next, new Int32Array(length));
    this.#previous = enlarge(this.#previous, new Int32Array(length));
    this.#pinned = enlarge(this.#pinned, new Uint8Array(length));
  }
}

/** Index of the cell's first word in its extent's words. */
export function wordAt(ref: number): number {
  return (ref & EXTENT_MASK) << 1;
}

/** Index of the cell's first byte in its extent's bytes. */
export function byteAt(ref: number): number {
  return (ref & EXTENT_MASK) << 3;
}

function enlarge<T extends Uint8Array | Uint16Array | Int32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

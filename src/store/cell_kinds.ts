/**
 * The sizes that cells come in: the multiples of 8 up to 256 bytes, then about an eighth apart, each the largest
 * that lets a page hold so many cells, so that no page has a useless tail. The largest is a third of a page.
 */
import { KiB } from "../base/units.ts";

export const PAGE_BYTES = 64 * KiB;
export const GRANULE_BYTES = 8;

/** Bytes of a cell by kind; kind 0 = the page is not in use. */
export const CELL_BYTES: Int32Array = Int32Array.from(cellSizes());
export const KIND_COUNT = CELL_BYTES.length;
/** The largest cell. */
export const CELL_BYTES_MAX = CELL_BYTES[KIND_COUNT - 1] as number;
/** Cells of a page by kind. */
export const CELLS_PER_PAGE: Int32Array = CELL_BYTES.map((bytes) =>
  bytes === 0 ? 0 : Math.floor(PAGE_BYTES / bytes),
);
const KIND_OF_GRANULES = kindsByGranules();

function cellSizes(): number[] {
  const sizes = [0];
  let last = 8;
  while (last < 256) sizes.push((last += GRANULE_BYTES));
  for (;;) {
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

/** The kind of the smallest cell that holds `bytes`. */
export function kindFor(bytes: number): number {
  return KIND_OF_GRANULES[(bytes + 7) >>> 3] as number;
}

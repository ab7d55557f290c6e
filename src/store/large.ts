/**
 * Values too large for a cell: each has its own buffer, never changed once it is here. A record holds the value's
 * id; a change of the value is a new buffer under a new id or a reused one.
 *
 * A snapshot reads them as they were: a buffer that is dropped meanwhile is kept aside until it was read.
 */
import { assert } from "../base/assert.ts";

export class LargeValues {
  /** By id; id 0 is nobody. */
  readonly #values: (Uint8Array | null)[] = [null];
  readonly #freeIds: number[] = [];
  /** Bytes of all values held, those kept for a snapshot left out. */
  bytes = 0;

  /** Of the snapshot that is being read: ids below this existed at its start. */
  #pinnedCount = 0;
  /** Ids below this have been read. */
  #readCount = 0;
  /** What ids from #readCount on held at the start, where that has changed since. */
  readonly #before = new Map<number, Uint8Array | null>();

  get(id: number): Uint8Array {
    const value = this.#values[id];
    assert(value !== undefined && value !== null, "a record's large value exists");
    return value;
  }

  has(id: number): boolean {
    return (this.#values[id] ?? null) !== null;
  }

  /** Keeps a copy of `source[start, end)`. */
  put(source: Uint8Array, start: number, end: number): number {
    const value = new Uint8Array(new ArrayBuffer(end - start));
    value.set(source.subarray(start, end));
    return this.adopt(value);
  }

  /** Keeps `value` itself. */
  adopt(value: Uint8Array): number {
    const id = this.#freeIds.pop() ?? this.#values.length;
    this.#remember(id);
    this.#values[id] = value;
    this.bytes += value.length;
    return id;
  }

  drop(id: number): void {
    this.bytes -= this.get(id).length;
    this.#remember(id);
    this.#values[id] = null;
    this.#freeIds.push(id);
  }

  get isPinned(): boolean {
    return this.#pinnedCount > 0;
  }

  /** Lets go of up to `count` values when nobody asks for any again. True: there is none left. */
  dismantle(count: number): boolean {
    this.#values.length = Math.max(0, this.#values.length - count);
    return this.#values.length === 0;
  }

  pinAll(): void {
    this.#pinnedCount = this.#values.length;
    this.#readCount = 1;
  }

  /** One past the highest id that existed at `pinAll`. */
  get pinnedCount(): number {
    return this.#pinnedCount;
  }

  /** What `id` held at `pinAll`, or null. Ids are asked for in order, each once. */
  unpin(id: number): Uint8Array | null {
    assert(id === this.#readCount && id < this.#pinnedCount, "large values are read in order");
    this.#readCount = id + 1;
    const before = this.#before.get(id);
    if (before === undefined) return this.#values[id] ?? null;
    this.#before.delete(id);
    return before;
  }

  unpinAll(): void {
    this.#pinnedCount = 0;
    this.#readCount = 0;
    this.#before.clear();
  }

  #remember(id: number): void {
    if (id < this.#readCount || id >= this.#pinnedCount || this.#before.has(id)) return;
    this.#before.set(id, this.#values[id] ?? null);
  }
}

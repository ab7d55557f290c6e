/**
 * The keyspace: records, their index, the slots' counts and hashes and the deadline queue, kept in step. Every
 * change goes through `put`, `setDeadline` or `remove`; each takes the next revision.
 *
 * `find` says where the next `put` or `remove` acts: they follow it directly, for the same probe.
 */
import { assert } from "../base/assert.ts";
import { KiB } from "../base/units.ts";
import { DeadlineQueue } from "./deadlines.ts";
import { Probe } from "./hash.ts";
import { KeyIndex } from "./index.ts";
import { Records, VALUE_SIZE_LIMIT } from "./records.ts";
import { RefList } from "./ref_list.ts";
import { SlotTable } from "./slots.ts";

export class Keyspace {
  readonly slots = new SlotTable();
  readonly records = new Records();
  readonly index: KeyIndex = new KeyIndex(this.slots, this.records);
  readonly deadlines = new DeadlineQueue();

  keyCount = 0;
  /** Bytes of keys and values. */
  dataBytes = 0;
  /** The last revision given to a change. */
  revision: number;
  /** Sums of all record hashes, each modulo 2^32. */
  hashA = 0;
  hashB = 0;
  /** What the last `find` found: a record, expired or not, or 0. */
  found = 0;

  readonly #probe = new Probe();
  #scratch: Uint8Array = new Uint8Array(new ArrayBuffer(KiB));

  constructor(revision: number) {
    this.revision = revision;
  }

  /** An empty keyspace to take this one's place, with its slots' states. */
  successor(revision: number): Keyspace {
    const keyspace = new Keyspace(revision);
    keyspace.slots.ownAs(this.slots);
    return keyspace;
  }

  get allocatedBytes(): number {
    return (
      this.slots.allocatedBytes +
      this.records.slab.allocatedBytes +
      this.records.large.bytes +
      this.index.slab.allocatedBytes +
      this.deadlines.allocatedBytes
    );
  }

  /** What the contents cost, free memory inside pages left out: that is used again, or compacted away. */
  get usedBytes(): number {
    return (
      this.records.slab.usedBytes +
      this.records.large.bytes +
      this.index.slab.usedBytes +
      this.deadlines.usedBytes
    );
  }

  find(probe: Probe): number {
    this.found = this.index.find(probe);
    return this.found;
  }

  /** The found record, or a new one, gets this value and deadline (0 = none). The value may not lie in it. */
  put(probe: Probe, source: Uint8Array, start: number, end: number, deadline: number): void {
    const old = this.found;
    let node = -1;
    if (old !== 0) {
      if (this.records.deadline(old) !== 0) node = this.records.node(old);
      this.#count(probe, old, -1);
    }
    const revision = ++this.revision;
    const ref = this.records.write(old, probe, revision, deadline, source, start, end);
    this.#countHashed(probe, ref, 1);
    if (old === 0) this.index.insert(probe, ref);
    else if (old !== ref) this.index.replace(ref);
    if (deadline !== 0) {
      if (node < 0) node = this.deadlines.add(deadline, revision, ref);
      else this.deadlines.update(node, deadline, revision, ref);
      this.records.setNode(ref, node);
    } else if (node >= 0) {
      this.deadlines.remove(node);
    }
    this.found = ref;
  }

  /** The found record gets this deadline (0 = none) and keeps its value. */
  setDeadline(probe: Probe, deadline: number): void {
    const size = this.copyValue(this.found, 0);
    this.put(probe, this.#scratch, 0, size, deadline);
  }

  /** Removes the found record. */
  remove(probe: Probe): void {
    const ref = this.found;
    assert(ref !== 0, "a record was found");
    this.revision++;
    this.#count(probe, ref, -1);
    if (this.records.deadline(ref) !== 0) this.deadlines.remove(this.records.node(ref));
    this.index.remove(probe);
    this.records.release(ref);
    this.found = 0;
  }

  /** Takes everything out of a slot. */
  empty(slot: number): void {
    const list = new RefList();
    this.index.collect(slot, 0, Number.POSITIVE_INFINITY, list);
    const { revision } = this;
    for (let i = 0; i < list.length; i++) {
      this.records.aimAtKey(list.at(i), this.#probe);
      this.find(this.#probe);
      this.remove(this.#probe);
    }
    this.revision = revision;
  }

  /** Removes the record whose deadline comes first. */
  removeEarliest(): void {
    const ref = this.deadlines.earliestValue();
    this.records.aimAtKey(ref, this.#probe);
    const found = this.find(this.#probe);
    assert(found === ref, "the deadline queue names a record of the index");
    this.remove(this.#probe);
  }

  /** Moves up to `countMax` records off pages that are nearly empty, so that deleting gives memory back. */
  compact(countMax: number): void {
    const { slab } = this.records;
    for (let i = 0; i < countMax; i++) {
      const ref = slab.nextToMove();
      if (ref === 0) return;
      this.records.aimAtKey(ref, this.#probe);
      const found = this.find(this.#probe);
      assert(found === ref, "a record's key leads to it");
      const moved = slab.move(ref);
      this.index.replace(moved);
      if (this.records.deadline(moved) !== 0) this.deadlines.setValue(this.records.node(moved), moved);
    }
  }

  /** Copies the value of `ref` into the scratch buffer from `offset` on; gives its size. */
  copyValue(ref: number, offset: number): number {
    const size = this.records.valueSize(ref);
    this.scratch(offset + size);
    const at = this.records.valueAt(ref);
    const source = this.records.valueBytes(ref);
    if (size > 64) this.#scratch.set(source.subarray(at, at + size), offset);
    else for (let i = 0; i < size; i++) this.#scratch[offset + i] = source[at + i] as number;
    return size;
  }

  /** The buffer for values in the making, at least `size` bytes; it keeps what it holds. */
  scratch(size: number): Uint8Array {
    assert(size <= 2 * VALUE_SIZE_LIMIT, "values are bounded");
    if (this.#scratch.length < size) {
      const grown = new Uint8Array(new ArrayBuffer(Math.max(size, 2 * this.#scratch.length)));
      grown.set(this.#scratch);
      this.#scratch = grown;
    }
    return this.#scratch;
  }

  /** Counts in a record that came with its page (snapshots): its key is not in the index yet. */
  adopt(probe: Probe, ref: number): void {
    this.#count(probe, ref, 1);
    this.index.insert(probe, ref);
    const deadline = this.records.deadline(ref);
    if (deadline !== 0) {
      const node = this.deadlines.add(deadline, this.records.revision(ref), ref);
      this.records.setNode(ref, node);
    }
  }

  #count(probe: Probe, ref: number, keys: number): void {
    this.records.hash(ref, probe);
    this.#countHashed(probe, ref, keys);
  }

  #countHashed(probe: Probe, ref: number, keys: number): void {
    const records = this.records;
    const bytes = probe.end - probe.start + records.valueSize(ref);
    this.slots.count(probe.slot, keys, bytes, records.hashA, records.hashB);
    this.hashA = (this.hashA + Math.imul(keys, records.hashA)) | 0;
    this.hashB = (this.hashB + Math.imul(keys, records.hashB)) | 0;
    this.keyCount += keys;
    this.dataBytes += keys * bytes;
  }
}

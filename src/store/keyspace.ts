/**
 * The keyspace: records, their index, the slots' counts and hashes and the deadline queue, kept in step. Every
 * change goes through `put`, `setDeadline` or `remove`; each takes the next revision.
 *
 * A slot is emptied in a few words (`empty`): its index root, counts and hash go at once, and its generation moves on,
 * so that records of the old one, wherever they are still met, are known to be *dropped*. Their memory comes back later.
 *
 * Records of a slot that is being imported are kept like all others, with the revisions and deadlines that they came
 * with; nobody reads them, and their deadlines wait in a queue that is held.
 *
 * `find` says where the next `put` or `remove` acts: they follow it directly, for the same probe.
 */
import { assert } from "../base/assert.ts";
import { KiB } from "../base/units.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { DeadlineQueues, MAIN_QUEUE, NO_NODE } from "./deadline_queues.ts";
import { DROPPED_PER_SLOT_MAX, Dropped } from "./dropped.ts";
import { Probe } from "./hash.ts";
import { KeyIndex } from "./index.ts";
import { Records, VALUE_SIZE_LIMIT } from "./records.ts";
import { GENERATIONS, SLOT, SlotTable } from "./slots.ts";

/** Who follows the changes of some slots: a copy of them (copy_source.ts). */
export interface ChangeWatch {
  /** The record of this key came, went or changed. */
  changed(probe: Probe): void;
  /** A slot was emptied. */
  emptied(slot: number): void;
}

/** Members that leave a leftover queue at a time. */
const NODES_MOVED = 16;

export class Keyspace {
  readonly slots = new SlotTable();
  readonly records = new Records();
  readonly index: KeyIndex = new KeyIndex(this.slots, this.records);
  readonly deadlines = new DeadlineQueues((ref, other) => this.#slotOf(ref) < this.#slotOf(other));
  readonly #dropped = new Dropped(this.index);
  watch: ChangeWatch | null = null;

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

  /** The held queues of slots that are imported, and of sealed ones; 0 = there are none. */
  #importQueue = 0;
  #sealQueue = 0;

  readonly #probe = new Probe();
  readonly #tieProbe = new Probe();
  #scratch: Uint8Array = new Uint8Array(new ArrayBuffer(KiB));

  constructor(revision: number) {
    this.revision = revision;
  }

  /** An empty keyspace to take this one's place, with its slots' states. */
  successor(revision: number): Keyspace {
    const keyspace = new Keyspace(revision);
    keyspace.slots.ownAs(this.slots);
    if (this.#importQueue > 0) keyspace.beginImport();
    if (this.#sealQueue > 0) keyspace.beginSeal();
    keyspace.watch = this.watch;
    for (let slot = 0; slot < SLOT_COUNT; slot++) if (this.slots.keys(slot) > 0) this.watch?.emptied(slot);
    return keyspace;
  }

  // ---- slots that come and go ---------------------------------------------------------------------------------

  /** From now on deadlines of importing slots are kept apart. */
  beginImport(): void {
    assert(this.#importQueue === 0, "one move comes at a time");
    this.#importQueue = this.#hold();
  }

  /** The slots are served now, or empty: their deadlines take part. */
  endImport(): void {
    this.deadlines.letGo(this.#importQueue);
    this.#importQueue = 0;
  }

  /** From now on records of sealed slots that are past their deadlines wait apart. */
  beginSeal(): void {
    assert(this.#sealQueue === 0, "one move goes at a time");
    this.#sealQueue = this.#hold();
  }

  /** The slots are served again, or empty. */
  endSeal(): void {
    this.deadlines.letGo(this.#sealQueue);
    this.#sealQueue = 0;
  }

  #hold(): number {
    for (let queue = this.deadlines.leftover(true); queue > 0; queue = this.deadlines.leftover(true)) {
      this.#moveNode(queue);
    }
    return this.deadlines.hold();
  }

  /** Takes everything out of a slot, whatever its state. The caller sees to the revision. */
  empty(slot: number): void {
    const keys = this.slots.keys(slot);
    if (keys === 0) return;
    if (this.#dropped.of(slot) >= DROPPED_PER_SLOT_MAX) this.#giveBack(Number.POSITIVE_INFINITY);
    this.#dropped.add(slot, this.slots.root(slot));
    this.keyCount -= keys;
    this.dataBytes -= this.slots.bytes(slot);
    this.hashA = (this.hashA - this.slots.hashA(slot)) | 0;
    this.hashB = (this.hashB - this.slots.hashB(slot)) | 0;
    this.slots.clear(slot);
    this.slots.setGeneration(slot, (this.slots.generation(slot) + 1) % GENERATIONS);
    this.watch?.emptied(slot);
  }

  /** Whether `ref`, a record of `slot`, went when the slot was emptied. */
  isDropped(ref: number, slot: number): boolean {
    return this.records.generation(ref) !== this.slots.generation(slot);
  }

  /** Gives a little memory back; true if there is more. */
  tidy(countMax: number): boolean {
    if (this.records.slab.isPinned) return false; // it would be copied aside first
    if (this.#dropped.isPending) this.#giveBack(countMax);
    return this.#dropped.isPending;
  }

  #giveBack(countMax: number): void {
    this.#dropped.step(countMax, (ref) => {
      if (this.records.deadline(ref) !== 0 && this.records.node(ref) !== NO_NODE)
        this.deadlines.remove(this.records.node(ref));
      this.records.release(ref);
    });
  }

  /** The earliest member of a leftover queue goes to the main one. */
  #moveNode(queue: number): void {
    const ref = this.deadlines.earliestValueOf(queue);
    this.#requeue(ref, MAIN_QUEUE);
  }

  #requeue(ref: number, queue: number): void {
    const { records } = this;
    const node = this.deadlines.update(
      records.node(ref),
      records.deadline(ref),
      records.revision(ref),
      ref,
      queue,
    );
    records.setNode(ref, node);
  }

  #slotOf(ref: number): number {
    this.records.aimAtKey(ref, this.#tieProbe);
    return this.#tieProbe.slot;
  }

  // ---- sizes --------------------------------------------------------------------------------------------------

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
    this.#write(probe, ++this.revision, source, start, end, deadline, MAIN_QUEUE);
  }

  /** The same for a key of a slot that is imported, which keeps the revision that it came with. */
  putImported(
    probe: Probe,
    revision: number,
    source: Uint8Array,
    start: number,
    end: number,
    deadline: number,
  ): void {
    this.#write(probe, revision, source, start, end, deadline, this.#importQueue);
  }

  #write(
    probe: Probe,
    revision: number,
    source: Uint8Array,
    start: number,
    end: number,
    deadline: number,
    queue: number,
  ): void {
    const old = this.found;
    let node = -1;
    if (old !== 0) {
      if (this.records.deadline(old) !== 0) node = this.records.node(old);
      this.#count(probe, old, -1);
    }
    const generation = this.slots.generation(probe.slot);
    const ref = this.records.write(old, probe, generation, revision, deadline, source, start, end);
    this.#countHashed(probe, ref, 1);
    if (old === 0) this.index.insert(probe, ref);
    else if (old !== ref) this.index.replace(ref);
    if (deadline !== 0) {
      if (node < 0) node = this.deadlines.add(deadline, revision, ref, queue);
      else node = this.deadlines.update(node, deadline, revision, ref, queue);
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
    this.revision++;
    this.removeImported(probe);
  }

  /** The same of a slot that is imported: no change of this shard's. */
  removeImported(probe: Probe): void {
    const ref = this.found;
    assert(ref !== 0, "a record was found");
    this.#count(probe, ref, -1);
    if (this.records.deadline(ref) !== 0) this.deadlines.remove(this.records.node(ref));
    this.index.remove(probe);
    this.records.release(ref);
    this.found = 0;
  }

  /**
   * Removes the record whose deadline comes first. False: it was none that may go here, but dropped already, or of a
   * sealed slot; either is out of the way now, on this replica, and changed nothing.
   */
  removeEarliest(): boolean {
    const ref = this.deadlines.earliestValue();
    this.records.aimAtKey(ref, this.#probe);
    const { slot } = this.#probe;
    if (this.isDropped(ref, slot)) {
      this.deadlines.remove(this.records.node(ref));
      this.records.setNode(ref, NO_NODE);
      return false;
    }
    if (!this.slots.isServed(slot)) {
      assert(this.slots.state(slot) === SLOT.sealed, "deadlines of other slots are held");
      this.#requeue(ref, this.#sealQueue);
      return false;
    }
    const found = this.find(this.#probe);
    assert(found === ref, "the deadline queue names a record of the index");
    this.remove(this.#probe);
    return true;
  }

  /** Moves up to `countMax` records off pages that are nearly empty, so that deleting gives memory back. */
  compact(countMax: number): void {
    const { slab } = this.records;
    for (let i = 0, queue = this.deadlines.leftover(false); i < NODES_MOVED && queue > 0; i++) {
      this.#moveNode(queue);
      queue = this.deadlines.leftover(false);
    }
    if (this.#dropped.isPending) return void this.tidy(countMax); // its records must not move
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
      const queue = this.slots.state(probe.slot) === SLOT.importing ? this.#importQueue : MAIN_QUEUE;
      const node = this.deadlines.add(deadline, this.records.revision(ref), ref, queue);
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
    if (this.watch !== null) this.watch.changed(probe);
  }
}

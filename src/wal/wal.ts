/**
 * The running log: records collect in a buffer, one write and one sync at a time carry them to the disk.
 *
 *     append.. append.. submit     turn 1:  [chunk 1] written, syncing
 *     append.. submit              turn 2:            [chunk 2] grows meanwhile, goes when chunk 1 is synced
 *
 * A chunk is a contiguous run of records in one segment: one write. `onSynced(lsn)` names the end that the chunk
 * had when it was handed to the disk, never what was appended since (hazard B8). When a record does not fit the
 * segment any more, the chunk before it is the segment's last: after it is synced a closing mark is written and
 * synced, and only then the first chunk of the next segment, which begins with a checkpoint.
 *
 * Room. Batches of clients must leave a reserve for what the node needs in order to go on at all (hard states,
 * no-ops, config). Each segment also keeps room for a closing mark in its last block, and for the checkpoint that
 * a start puts in front of its live entries (open.ts).
 *
 * Errors: the first failed write or sync ends the log: nothing is retried, nothing is vouched for after it
 * (hazards D5, A11). A record that finds no room at all does the same.
 */
import { AssertionError, assert, present } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { runTask, type Task, wait } from "../base/task.ts";
import { alignUp, KiB, MiB } from "../base/units.ts";
import type { Entry, HardState, Index, Lsn, ReplicaId, Term } from "../raft/types.ts";
import { BATCH_BYTES_MAX } from "../wire/batch.ts";
import { CHECKPOINT_GROUP_BYTES, CHECKPOINT_PAIR_BYTES, writeCheckpointBody } from "./checkpoint.ts";
import { sync, writeWhole } from "./disk_io.ts";
import {
  BLOCK_BYTES,
  entryRecordBytes,
  PLAIN_RECORD_BYTES,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  RECORD_PREFIX_BYTES,
  type RecordKind,
  recordBytes,
  SEGMENT_BYTES_MIN,
  SEGMENT_HEADER_BYTES,
  syncedFor,
  unsyncedBytesMax,
  writeHeader,
  writePrefix,
} from "./format.ts";
import type { Image } from "./image.ts";
import { type Opened, openSegments } from "./open.ts";
import { type ReadSource, readEntries } from "./read.ts";
import type { Segment, Segments } from "./segments.ts";
import type { GroupId, Recovered, Wal, WalOptions, WalStats } from "./types.ts";

/** After this long without a record, a mark vouches for all that was synced. */
const IDLE_MS = 50;
/** A group whose oldest live entry lies further back is asked for a snapshot. */
const PINNED_SEGMENTS_MAX = 8;
const CHUNK_BYTES_MIN = 256 * KiB;
/** Buffers kept for reuse: one in flight, one growing, one more for the chunk that follows a rotation. */
const POOL_MAX = 3;
/** A buffer that one large turn has blown up is not kept. */
const POOL_BUFFER_BYTES_MAX = 4 * MiB;

/** The largest sealed batch that a log of this segment size takes (a single command is at most this large). */
export function batchBytesMax(segmentBytes: number): number {
  return Math.min(BATCH_BYTES_MAX, segmentBytes / 4);
}

/** Room that client batches must leave: thousands of hard states, or some hundred no-ops and configs. */
function reserveBytes(segmentBytes: number): number {
  return segmentBytes / 16;
}

type Chunk = {
  readonly segment: Segment;
  readonly start: Lsn;
  bytes: Uint8Array;
  used: number;
  /** It is the segment's last one: a closing mark follows. */
  closing: boolean;
};

export function* openWal(options: WalOptions): Task<{ wal: Wal; recovered: Recovered }> {
  const { segmentBytes } = options;
  assert(
    segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes % BLOCK_BYTES === 0,
    "a segment is 64 KiB or more",
  );
  const failure: { report: (error: Error) => void } = { report: options.onFailed };
  const opened = yield* openSegments({
    ...options,
    onDamage: options.onDamage ?? "refuse",
    onFailed: (error) => failure.report(error),
  });
  const wal = new SegmentedLog(options, opened);
  failure.report = (error) => wal.fail(error);
  opened.segments.work();
  return { wal, recovered: opened.recovered };
}

class SegmentedLog implements Wal {
  readonly #options: WalOptions;
  readonly #image: Image;
  readonly #segments: Segments;
  /** Oldest first; the last one grows unless it is in flight. */
  readonly #chunks: Chunk[] = [];
  readonly #pool: Uint8Array[] = [];
  readonly #source: ReadSource;
  #end: Lsn;
  #synced: Lsn;
  /** A flush is wanted up to here. */
  #submitted: Lsn;
  /** Everything below is vouched for by a mark. */
  #marked: Lsn;
  #idleMs = 0;
  #flying = false;
  #failed = false;
  #closing = false;
  /** Once this is synced, segments may have become free; Infinity = nothing happened since they were last given up. */
  #freeAt: Lsn = 0;
  #freeAgainAt: Lsn = 0;
  #onQuiet: (() => void) | null = null;
  readonly stats: WalStats = { syncs: 0, records: 0, bytes: 0, segments: 0 };

  constructor(options: WalOptions, { image, segments, end }: Opened) {
    this.#options = options;
    this.#image = image;
    this.#segments = segments;
    this.#end = end;
    this.#synced = end;
    this.#submitted = end;
    this.#marked = end; // the fresh segment's header vouches for all of it
    this.stats.segments = segments.count;
    this.#source = {
      entries: (group) => image.groups.get(group)?.entries ?? null,
      segmentAt: (lsn) => segments.segmentAt(lsn),
      buffered: (lsn) => this.#buffered(lsn),
      released: () => {
        this.#freeAt = Math.min(this.#freeAt, this.#synced);
        this.#free();
      },
    };
  }

  get syncedLsn(): Lsn {
    return this.#synced;
  }

  get endLsn(): Lsn {
    return this.#end;
  }

  hasRoom(bytes: number): boolean {
    const size = entryRecordBytes(bytes);
    if (this.#failed || this.#closing || size > this.#window()) return false;
    if (this.#segments.next === null) return size + this.#reserve <= this.#roomHere();
    return size <= this.#roomHere() || size + this.#reserve <= this.#roomNext();
  }

  roomBytes(): number {
    if (this.#failed || this.#closing) return 0;
    const here = this.#roomHere();
    // With a next segment the last batch that does not fit here leaves a rest of this one unused.
    const unusable = entryRecordBytes(batchBytesMax(this.#options.segmentBytes));
    const space =
      this.#segments.next === null
        ? here - this.#reserve
        : this.#roomNext() - this.#reserve + Math.max(0, here - unusable);
    // A rotation on the way would add a checkpoint.
    return Math.max(0, Math.min(space, this.#window() - this.#checkpointRoom()));
  }

  appendEntry(replica: ReplicaId, group: GroupId, entry: Entry): Lsn {
    const { bytes: batch } = entry;
    assert(batch.length <= batchBytesMax(this.#options.segmentBytes), "a batch fits the log");
    const chunk = this.#make(entryRecordBytes(batch.length));
    if (chunk === null) return this.#end;
    chunk.bytes.set(batch, chunk.used + RECORD_PREFIX_BYTES);
    const lsn = this.#seal(chunk, RECORD_KIND.entry, RECORD_PREFIX_BYTES + batch.length, replica);
    const { index, term, kind } = entry;
    this.#keep(this.#image.entry(replica, group, index, term, lsn, this.#end, batch.length, kind));
    return this.#end;
  }

  appendHardState(replica: ReplicaId, group: GroupId, state: HardState): Lsn {
    return this.#appendPlain(
      RECORD_KIND.hardState,
      replica,
      group,
      state.term,
      state.commit,
      state.vote,
      () => this.#image.hardState(replica, group, state),
    );
  }

  appendSnapshotMark(replica: ReplicaId, group: GroupId, index: Index, term: Term): Lsn {
    const keeps = this.#image.continues(group, index, term);
    this.#appendPlain(RECORD_KIND.snapshotMark, replica, group, term, index, keeps ? 1 : 0, () =>
      this.#image.snapshotMark(replica, group, index, term, keeps, this.#end),
    );
    return this.#mayFree();
  }

  replicaOf(group: GroupId): ReplicaId {
    return this.#image.groups.get(group)?.replica ?? 0;
  }

  appendTombstone(replica: ReplicaId, group: GroupId): Lsn {
    this.#appendPlain(RECORD_KIND.tombstone, replica, group, 0, 0, 0, () =>
      this.#image.tombstone(replica, group, this.#end),
    );
    return this.#mayFree();
  }

  submit(): void {
    if (this.#failed || this.#submitted === this.#end) return;
    this.#submitted = this.#end;
    this.#start();
  }

  *readEntries(group: GroupId, first: Index, last: Index, bytesMax: number): Task<Entry[]> {
    return yield* readEntries(this.#source, group, first, last, bytesMax);
  }

  pinningGroups(): readonly GroupId[] {
    const limit = this.#segments.active.base - PINNED_SEGMENTS_MAX * this.#options.segmentBytes;
    if ((this.#segments.live[0] as Segment).base >= limit) return [];
    return [...this.#image.groups.values()]
      .filter((image) => image.oldestLsn < limit)
      .sort((a, b) => a.oldestLsn - b.oldestLsn)
      .map((image) => image.group);
  }

  tick(elapsedMs: number): void {
    if (this.#failed || this.#closing) return;
    this.#segments.tick(elapsedMs);
    this.stats.segments = this.#segments.count;
    this.#idleMs += elapsedMs;
    const idle = !this.#flying && this.#synced === this.#end && this.#idleMs >= IDLE_MS;
    if (!idle || this.#marked === this.#end) return;
    // Marks are a comfort; on a full disk what room is left is for records that must be written.
    if (this.#segments.next === null && this.#roomHere() < this.#reserve + 2 * BLOCK_BYTES) return;
    this.#appendMark();
  }

  *close(): Task<void> {
    if (!this.#failed && !this.#closing) {
      this.#closing = true;
      this.#submitted = this.#end;
      this.#start();
      yield* this.#quiet();
      if (!this.#failed && this.#marked !== this.#end) this.#appendMark();
    }
    yield* this.#quiet();
    yield* this.#segments.close();
  }

  /** The end of this log: said once, and nothing is written or vouched for afterwards. */
  fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#options.onFailed(error);
  }

  /** What may still be appended before the next sync completes. */
  #window(): number {
    let unsynced = 0;
    for (const chunk of this.#chunks) unsynced += chunk.used;
    return unsyncedBytesMax(this.#options.segmentBytes) - unsynced;
  }

  get #reserve(): number {
    return reserveBytes(this.#options.segmentBytes);
  }

  /** A checkpoint with one group and one tombstone more than there are: a record may bring them. */
  #checkpointRoom(): number {
    return recordBytes(this.#image.checkpointBytes() + CHECKPOINT_GROUP_BYTES + CHECKPOINT_PAIR_BYTES);
  }

  /** Where the records of a segment must end: behind it there is room for a closing mark and a checkpoint. */
  #limit(base: Lsn): Lsn {
    return base + this.#options.segmentBytes - BLOCK_BYTES - this.#checkpointRoom();
  }

  #roomHere(): number {
    return Math.max(0, this.#limit(this.#segments.active.base) - this.#end);
  }

  #roomNext(): number {
    return Math.max(0, this.#limit(0) - SEGMENT_HEADER_BYTES - this.#checkpointRoom());
  }

  #appendPlain(
    kind: RecordKind,
    replica: ReplicaId,
    group: GroupId,
    term: Term,
    index: Index,
    extra: number,
    apply: () => string | null,
  ): Lsn {
    const chunk = this.#make(PLAIN_RECORD_BYTES);
    if (chunk === null) return this.#end;
    writeHeader(chunk.bytes, chunk.used, 0, group, term, index, extra);
    this.#seal(chunk, kind, RECORD_HEAD_BYTES, replica);
    this.#keep(apply());
    return this.#end;
  }

  /** What the image refused is already in the buffer, so it must never be written: the program is wrong. */
  #keep(broken: string | null): void {
    if (broken === null) return;
    this.#failed = true;
    assert(false, broken);
  }

  /** A chunk with room for a record of `size`; null if the log can take no more. */
  #make(size: number): Chunk | null {
    if (this.#failed) return null;
    assert(!this.#closing, "a closing log takes no records");
    if (this.#end + size > this.#limit(this.#segments.active.base) && !this.#rotate()) return null;
    assert(this.#end + size <= this.#limit(this.#segments.active.base), "a record fits an empty segment");
    this.#idleMs = 0;
    return this.#chunkFor(size);
  }

  #chunkFor(size: number): Chunk {
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.closing || (this.#flying && this.#chunks.length === 1)) {
      chunk = this.#newChunk(this.#end);
    }
    const needed = chunk.used + size;
    if (needed > chunk.bytes.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * chunk.bytes.length));
      grown.set(chunk.bytes.subarray(0, chunk.used));
      chunk.bytes = grown;
    }
    return chunk;
  }

  #newChunk(start: Lsn): Chunk {
    const bytes = this.#pool.pop() ?? new Uint8Array(CHUNK_BYTES_MIN);
    const chunk = { segment: this.#segments.active, start, bytes, used: 0, closing: false };
    this.#chunks.push(chunk);
    return chunk;
  }

  /** Ends the record of `size` bytes whose header and body stand in the chunk; gives its LSN. */
  #seal(chunk: Chunk, kind: RecordKind, size: number, replica: ReplicaId): Lsn {
    const lsn = this.#end;
    assert(lsn === chunk.start + chunk.used, "a chunk is contiguous");
    const { place } = chunk.segment;
    writePrefix(chunk.bytes, chunk.used, place, lsn, kind, syncedFor(place, lsn, this.#synced), replica);
    const padded = alignUp(size, 16);
    chunk.bytes.fill(0, chunk.used + size, chunk.used + padded);
    chunk.used += padded;
    this.#end += padded;
    this.stats.records++;
    this.stats.bytes += padded;
    return lsn;
  }

  /** Goes on in the next segment; false, and the log has failed, if there is none. */
  #rotate(): boolean {
    if (this.#segments.next === null) {
      this.fail(
        new NucleusError(
          "ENOSPC",
          `${this.#options.dir}: the log is full and the disk has no room for another segment of ` +
            `${this.#options.segmentBytes} bytes; free space and start again`,
        ),
      );
      return false;
    }
    const before = this.#end;
    this.#chunkFor(0).closing = true;
    const { base } = this.#segments.advance();
    this.stats.segments = this.#segments.count;
    this.#end = base + SEGMENT_HEADER_BYTES;
    const size = this.#image.checkpointBytes();
    const chunk = this.#newChunk(this.#end);
    this.#chunkFor(recordBytes(size));
    writeCheckpointBody(chunk.bytes, chunk.used + RECORD_HEAD_BYTES, this.#image.toCheckpoint(base, before));
    writeHeader(chunk.bytes, chunk.used, size, 0, 0, 0, 0);
    this.#seal(chunk, RECORD_KIND.checkpoint, RECORD_HEAD_BYTES + size, 0);
    this.#mayFree();
    return true;
  }

  /** A mark: in a block of its own, and with nothing unsynced before it. */
  #appendMark(): void {
    assert(this.#synced === this.#end, "a mark vouches for what is synced");
    const before = this.#end;
    const end = alignUp(before, BLOCK_BYTES);
    if (end + PLAIN_RECORD_BYTES > this.#limit(this.#segments.active.base)) return;
    this.#end = end;
    this.#synced = end;
    const chunk = this.#newChunk(end);
    writeHeader(chunk.bytes, 0, 0, 0, 0, 0, before);
    this.#seal(chunk, RECORD_KIND.mark, RECORD_HEAD_BYTES, 0);
    this.#submitted = this.#end;
    this.#marked = this.#end;
    this.#start();
  }

  #start(): void {
    if (this.#flying) return;
    this.#flying = true;
    runTask(this.#flush(), (error) => {
      if (error !== null) throw error; // not the disk's: those end in `fail`
      this.#flying = false;
      this.#onQuiet?.();
    });
  }

  /** Carries chunk after chunk to the disk until all that was submitted is there. */
  *#flush(): Task<void> {
    while (!this.#failed && this.#submitted > this.#synced) {
      const chunk = present(this.#chunks[0], "unsynced records are in a chunk");
      const until = chunk.start + chunk.used;
      const { segment } = chunk;
      const written = chunk.bytes.subarray(0, chunk.used);
      if (chunk.used > 0 && !(yield* this.#write(segment, written, chunk.start))) return;
      this.#chunks.shift();
      if (this.#pool.length < POOL_MAX && chunk.bytes.length <= POOL_BUFFER_BYTES_MAX)
        this.#pool.push(chunk.bytes);
      if (chunk.used > 0) this.#vouch(until);
      if (!chunk.closing) continue;
      const mark = closingMark(segment, until);
      if (!(yield* this.#write(segment, mark.bytes, mark.lsn))) return;
      this.#vouch(present(this.#chunks[0], "the next segment's first chunk waits").start);
    }
  }

  /** One write, one sync; false if the log failed meanwhile. */
  *#write(segment: Segment, bytes: Uint8Array, lsn: Lsn): Task<boolean> {
    try {
      yield* writeWhole(segment.file, bytes, lsn - segment.base);
      yield* sync(segment.file);
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      this.fail(error as Error);
    }
    return !this.#failed;
  }

  #vouch(lsn: Lsn): void {
    this.#synced = lsn;
    this.stats.syncs++;
    this.#free();
    this.#options.onSynced(lsn);
  }

  /** What was just appended may free segments once it is synced. */
  #mayFree(): Lsn {
    if (this.#freeAt === Number.POSITIVE_INFINITY) this.#freeAt = this.#end;
    this.#freeAgainAt = this.#end;
    return this.#end;
  }

  /** Gives up segments without live entries whose successor's checkpoint is synced. */
  #free(): void {
    if (this.#synced < this.#freeAt || this.#failed) return;
    const checkpointed = this.#synced - SEGMENT_HEADER_BYTES - 1;
    this.#segments.release(Math.min(this.#image.oldestLsn(this.#synced), checkpointed));
    this.stats.segments = this.#segments.count;
    this.#image.forgetDamageBefore((this.#segments.live[0] as Segment).base);
    this.#freeAt = this.#freeAgainAt > this.#synced ? this.#freeAgainAt : Number.POSITIVE_INFINITY;
  }

  #buffered(lsn: Lsn): { bytes: Uint8Array; at: number } | null {
    const chunk = this.#chunks.find(({ start, used }) => lsn >= start && lsn < start + used);
    return chunk === undefined ? null : { bytes: chunk.bytes, at: lsn - chunk.start };
  }

  *#quiet(): Task<void> {
    if (!this.#flying) return;
    yield* wait<void>((done) => {
      this.#onQuiet = () => {
        this.#onQuiet = null;
        done(null, undefined);
      };
    });
  }
}

/** The mark that ends a segment: everything before it is synced, and the log goes on in the next one. */
function closingMark(segment: Segment, recordsEnd: Lsn): { readonly lsn: Lsn; readonly bytes: Uint8Array } {
  const lsn = alignUp(recordsEnd, BLOCK_BYTES);
  const bytes = new Uint8Array(PLAIN_RECORD_BYTES);
  writeHeader(bytes, 0, 0, 0, 0, 0, recordsEnd);
  writePrefix(bytes, 0, segment.place, lsn, RECORD_KIND.closingMark, lsn, 0);
  return { lsn, bytes };
}

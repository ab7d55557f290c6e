/**
 * A start: reads what is there, judges it (recovery.ts), and makes the one segment that this life appends to.
 *
 * A start never appends to an old segment and trusts no byte that it cannot prove synced. It copies every live
 * entry of the segment that holds the log's end into a fresh one, behind a checkpoint of all groups, syncs it,
 * and only then gives it the old one's name: the rename is the moment of truth, before it nothing has changed.
 * Older segments need no copy: no byte enters a segment before all before it are synced and marked.
 *
 *     1. fresh segment written into the reserved spare, synced
 *     2. an empty segment behind the end, prepared for a rotation that never came, becomes a spare; dir synced
 *     3. spare renamed over the segment that holds the end; dir synced
 *     4. leftovers removed
 *
 * The copy leaves out dead entries and all hard states (the checkpoint has them), so it is never longer than what
 * it replaces, and restarts use up nothing. Errors: see `refuse`; after one nothing on the disk has changed.
 */
import { assert } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { DiskFile } from "../platform/platform.ts";
import type { Lsn } from "../raft/types.ts";
import {
  closeAfterError,
  closeFile,
  createZeroed,
  openFile,
  readWhole,
  rename,
  sizeOf,
  sizeOfPath,
  sync,
  syncDir,
  unlink,
  writeWhole,
} from "./disk_io.ts";
import {
  baseOfName,
  batchSize,
  blankHead,
  type Epoch,
  encodeSegmentHeader,
  NO_EPOCH,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  RECORD_PREFIX_BYTES,
  readRecord,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentPlace,
  segmentName,
  segmentPlace,
  writeCheckpointBody,
  writeHeader,
  writePrefix,
} from "./format.ts";
import type { Image } from "./image.ts";
import { newSegment, nextSpareNumber, type Segment, Segments, type SegmentsOptions } from "./segments.ts";
import type { Recovered, WalDamage } from "./types.ts";
import { type Chain, readChain, type SegmentFacts, type Tail, Walk } from "./walk.ts";

export type Opened = {
  readonly image: Image;
  readonly segments: Segments;
  /** Where the next record goes. */
  readonly end: Lsn;
  readonly recovered: Recovered;
};

export function* openSegments(options: SegmentsOptions): Task<Opened> {
  const names = yield* wait<string[]>((done) => options.disk.list(options.dir, done));
  const files = new Map<string, DiskFile>();
  try {
    return yield* recover(options, names, files);
  } catch (error) {
    for (const file of files.values()) yield* closeAfterError(file);
    throw error;
  }
}

/** `files` collects what is open, so that a refusal can close it. */
function* recover(options: SegmentsOptions, names: string[], files: Map<string, DiskFile>): Task<Opened> {
  const chain = readChain(yield* readHeaders(options, names, files), options.segmentBytes);
  refuseOtherSize(options, chain);
  const walk = new Walk(chain);
  const readable = chain.anySegment && chain.damage.length === 0 && chain.versionKnown;
  const source = readable ? yield* readAll(options, chain, files, walk) : new Uint8Array(0);
  const { verdict, label, damage } = walk.finish();
  if (verdict === "newer") refuseNewer(options, chain, walk);
  if (verdict === "corrupt") refuseDamaged(options, label, damage);

  const tail = verdict === "blank" ? null : walk.tail();
  const fresh = buildFresh(options, walk.image, tail, source);
  const file = yield* placeFresh(options, names, chain, tail, fresh, files);
  return yield* assemble(
    options,
    names,
    files,
    chain,
    walk,
    tail,
    newSegment(fresh.base, fresh.epoch, fresh.place, file),
    fresh.base + fresh.bytes.length,
  );
}

function* readHeaders(
  options: SegmentsOptions,
  names: string[],
  files: Map<string, DiskFile>,
): Task<SegmentFacts[]> {
  const facts: SegmentFacts[] = [];
  for (const name of names) {
    const base = baseOfName(name);
    if (base === null) continue;
    const file = yield* openFile(options.disk, `${options.dir}/${name}`, "read");
    files.set(name, file);
    const block = new Uint8Array(SEGMENT_HEADER_BYTES);
    const read = yield* readWhole(file, block, 0);
    facts.push({ name, base, size: yield* sizeOf(file), block: block.subarray(0, read) });
  }
  return facts;
}

/**
 * Feeds every segment to the walk and gives the bytes of the last one that holds a record: if the log's end is in
 * another one, then in an empty one behind it.
 */
function* readAll(
  options: SegmentsOptions,
  chain: Chain,
  files: Map<string, DiskFile>,
  walk: Walk,
): Task<Uint8Array> {
  let newest = new Uint8Array(0);
  let bytes = new Uint8Array(options.segmentBytes);
  for (const { name } of chain.segments) {
    const read = yield* readWhole(files.get(name) as DiskFile, bytes, 0);
    if (read < bytes.length)
      throw new NucleusError("EIO", `${name} ended after ${read} bytes while being read`);
    if (walk.add(bytes) === 0) continue;
    const former = newest;
    newest = bytes;
    bytes = former.length > 0 ? former : new Uint8Array(options.segmentBytes);
  }
  return newest;
}

type Fresh = {
  readonly base: Lsn;
  readonly epoch: Epoch;
  readonly place: SegmentPlace;
  readonly bytes: Uint8Array;
};

/** Header, checkpoint, and the live entries of the segment that it replaces. */
function buildFresh(options: SegmentsOptions, image: Image, tail: Tail | null, source: Uint8Array): Fresh {
  const { segmentBytes, randomU32 } = options;
  const base = tail?.segment.header.base ?? 0;
  const epoch = { low: randomU32(), high: randomU32() };
  const predecessor = tail?.segment.header.predecessor ?? NO_EPOCH;
  const lsns = liveLsns(image, base);
  const bytes = new Uint8Array(segmentBytes);
  const header = { segmentBytes, epoch, base, predecessor, syncedLsn: 0 };
  const place = segmentPlace(header);

  const checkpoint = image.toCheckpoint(base, tail?.predecessorEnd ?? 0);
  const size = image.checkpointBytes();
  assert(SEGMENT_HEADER_BYTES + recordBytes(size) <= segmentBytes, "a checkpoint fits a segment");
  writeCheckpointBody(bytes, SEGMENT_HEADER_BYTES + RECORD_HEAD_BYTES, checkpoint);
  writeHeader(bytes, SEGMENT_HEADER_BYTES, size, 0, 0, 0, 0);
  writePrefix(
    bytes,
    SEGMENT_HEADER_BYTES,
    place,
    base + SEGMENT_HEADER_BYTES,
    RECORD_KIND.checkpoint,
    base,
    0,
  );
  let end = SEGMENT_HEADER_BYTES + recordBytes(size);
  if (tail !== null) end = copyLive(image, lsns, tail.segment.place, source, place, bytes, end);
  bytes.set(encodeSegmentHeader({ ...header, syncedLsn: base + end }));
  return { base, epoch, place, bytes: bytes.subarray(0, end) };
}

/** Where the live entries at or above `base` stand, ascending. */
function liveLsns(image: Image, base: Lsn): Float64Array {
  const found: number[] = [];
  for (const { entries } of image.groups.values()) {
    for (let index = entries.last; index >= entries.first && entries.lsnOf(index) >= base; index--) {
      found.push(entries.lsnOf(index));
    }
  }
  return Float64Array.from(found).sort();
}

/** Copies entries in the order of the log; returns where they end. Their places in `image` move along. */
function copyLive(
  image: Image,
  lsns: Float64Array,
  from: SegmentPlace,
  source: Uint8Array,
  to: SegmentPlace,
  target: Uint8Array,
  start: number,
): number {
  const head = blankHead();
  let end = start;
  for (const lsn of lsns) {
    const at = lsn - from.base;
    assert(readRecord(source, at, from, lsn, head) === "good", "a live entry verified a moment ago");
    const size = recordBytes(head.bodySize);
    assert(end + size <= target.length, "live entries fit where they were");
    target.set(
      source.subarray(at + RECORD_PREFIX_BYTES, at + RECORD_PREFIX_BYTES + batchSize(head)),
      end + RECORD_PREFIX_BYTES,
    );
    writePrefix(target, end, to, to.base + end, RECORD_KIND.entry, to.base, head.replica);
    image.groups.get(head.group)?.entries.move(head.index, to.base + end);
    end += size;
  }
  return end;
}

/** Steps 1 to 3 of the head comment; gives the fresh segment's file. */
function* placeFresh(
  options: SegmentsOptions,
  names: string[],
  chain: Chain,
  tail: Tail | null,
  fresh: Fresh,
  files: Map<string, DiskFile>,
): Task<DiskFile> {
  const { disk, dir } = options;
  const spare = yield* takeSpare(options, names);
  const file = yield* openFile(disk, `${dir}/${spare}`, "update");
  files.set(spare, file);
  yield* writeWhole(file, fresh.bytes, 0);
  yield* sync(file);
  const behind =
    tail === null ? [] : chain.segments.filter(({ header }) => header.base > tail.segment.header.base);
  for (const { name } of behind) {
    const kept = `spare-${nextSpareNumber(names)}`;
    yield* rename(disk, `${dir}/${name}`, `${dir}/${kept}`);
    names[names.indexOf(name)] = kept;
  }
  // Behind the fresh segment nothing may stand that follows another one.
  if (behind.length > 0) yield* syncDir(disk, dir);
  const name = segmentName(fresh.base);
  yield* rename(disk, `${dir}/${spare}`, `${dir}/${name}`);
  names.splice(names.indexOf(spare), 1);
  if (!names.includes(name)) names.push(name);
  yield* syncDir(disk, dir);
  return file;
}

/** The name of a whole spare; one is made only if there is none, as at the very first start. */
function* takeSpare(options: SegmentsOptions, names: string[]): Task<string> {
  const { disk, dir, segmentBytes } = options;
  for (const name of names.filter(isSpare)) {
    if ((yield* sizeOfPath(disk, `${dir}/${name}`)) === segmentBytes) return name;
    yield* unlink(disk, `${dir}/${name}`);
    names.splice(names.indexOf(name), 1);
  }
  const number = nextSpareNumber(names);
  yield* createZeroed(disk, `${dir}/filling-${number}`, segmentBytes);
  yield* rename(disk, `${dir}/filling-${number}`, `${dir}/spare-${number}`);
  names.push(`spare-${number}`);
  return `spare-${number}`;
}

/** Step 4, and the open files of the life that begins. */
function* assemble(
  options: SegmentsOptions,
  names: string[],
  files: Map<string, DiskFile>,
  chain: Chain,
  walk: Walk,
  tail: Tail | null,
  fresh: Segment,
  end: Lsn,
): Task<Opened> {
  const { disk, dir } = options;
  const live: Segment[] = [];
  const keep = new Set<string>([fresh.name]);
  for (const { name, header, place } of chain.segments) {
    if (header.base >= fresh.base) continue;
    live.push(newSegment(header.base, header.epoch, place, files.get(name) as DiskFile));
    keep.add(name);
  }
  live.push(fresh);
  for (const [name, file] of files) {
    if (live.some((segment) => segment.file === file)) continue;
    files.delete(name);
    yield* closeFile(file);
  }
  const spares: string[] = [];
  for (const name of names) {
    if (keep.has(name)) continue;
    if (isSpare(name) && spares.length < 2) spares.push(name);
    else if (isSpare(name) || name.startsWith("filling-") || baseOfName(name) !== null)
      yield* unlink(disk, `${dir}/${name}`);
  }
  const recovered: Recovered = {
    groups: walk.image.recovered(),
    tombstones: walk.image.tombstones(),
    damage: [],
    segments: live.length,
    records: walk.records,
    tornBytes: tail?.tornBytes ?? 0,
  };
  return { image: walk.image, segments: new Segments(options, live, spares), end, recovered };
}

function isSpare(name: string): boolean {
  return /^spare-\d+$/.test(name);
}

function refuseOtherSize(options: SegmentsOptions, chain: Chain): void {
  const other = chain.segments.find(({ header }) => header.segmentBytes !== options.segmentBytes);
  if (other === undefined) return;
  throw new NucleusError(
    "ECONFIG",
    `${options.dir}/${other.name} was made with segments of ${other.header.segmentBytes} bytes, this start asks for ` +
      `${options.segmentBytes}: start with the size it was made with`,
  );
}

function refuseNewer(options: SegmentsOptions, chain: Chain, walk: Walk): never {
  const record = walk.unknownRecord();
  const where =
    record === null
      ? `${options.dir} holds segments of a newer format`
      : `${options.dir}/${record.file} holds a record of unknown kind ${record.kind} at offset ${record.offset}`;
  assert(record !== null || !chain.versionKnown, "something is newer");
  throw new NucleusError(
    "ENEWER",
    `${where}: a newer version wrote it. Start with that version; nothing was changed`,
  );
}

function refuseDamaged(options: SegmentsOptions, label: string, damage: readonly WalDamage[]): never {
  const first = damage[0];
  const where = first === undefined ? options.dir : `${options.dir}/${first.file} at offset ${first.offset}`;
  throw new NucleusError(
    "EDAMAGED",
    `${where}: ${first?.reason ?? label} (${label}). Acknowledged writes may be missing here, so this log must not ` +
      "be used; nothing was changed",
  );
}

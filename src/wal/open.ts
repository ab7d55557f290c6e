/**
 * A start: reads what is there, judges it (recovery.ts), and makes the one segment that this life appends to.
 *
 * A start never appends to an old segment and trusts no byte that it cannot prove synced. It copies every live
 * entry of the segment that holds the log's end into a fresh one (fresh.ts), syncs it, and only then gives it the
 * old one's name: the rename is the moment of truth, before it nothing has changed. Older segments need no copy:
 * no byte enters a segment before all before it are synced and marked.
 *
 *     1. fresh segment written into the reserved spare, synced
 *     2. empty segments behind the end, prepared for rotations that never came, become spares; directory synced
 *     3. spare renamed over the segment that holds the end; directory synced
 *     4. leftovers removed
 *
 * The fresh segment is never longer than what it replaces, so restarts use up nothing, and with the spare a node
 * starts on a full disk. Errors: see `refuse..` at the end; after one of those nothing on the disk has changed.
 */
import { assert, present } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { DiskFile } from "../platform/platform.ts";
import type { Lsn, ReplicaId } from "../raft/types.ts";
import { type Chain, type ChainSegment, readChain, type SegmentFacts } from "./chain.ts";
import { readCheckpointBody } from "./checkpoint.ts";
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
  blankHead,
  NO_EPOCH,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  readRecord,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  segmentName,
} from "./format.ts";
import { buildFresh, type Fresh } from "./fresh.ts";
import { Image } from "./image.ts";
import {
  baseBehindAll,
  copyAside,
  damagedFiles,
  damagedGroups,
  hintsWithout,
  imageOfTombstones,
  moveAside,
  noteReplica,
  surveyReplicas,
} from "./salvage.ts";
import { newSegment, nextSpareNumber, type Segment, Segments, type SegmentsOptions } from "./segments.ts";
import type { GroupId, Recovered, WalDamage } from "./types.ts";
import { type Findings, type Hints, hintsOf, NO_HINTS, type Tail, Walk } from "./walk.ts";

export type OpenOptions = SegmentsOptions & { readonly onDamage: "refuse" | "setAside" };

export type Opened = {
  readonly image: Image;
  readonly segments: Segments;
  /** Where the next record goes. */
  readonly end: Lsn;
  readonly recovered: Recovered;
};

/** A start under way: the directory's names as they are by now, and the files that are open. */
type Start = {
  readonly options: OpenOptions;
  readonly names: string[];
  readonly files: Map<string, DiskFile>;
};

/** The log as it was read: what is in it, where it ends, and the bytes of the segment that holds the end. */
type Reading = { readonly walk: Walk; readonly findings: Findings; readonly source: Uint8Array };

/** What to go on with. */
type Plan = {
  readonly image: Image;
  /** Null: the log begins with the fresh segment, at `base`. */
  readonly tail: Tail | null;
  readonly base: Lsn;
  readonly source: Uint8Array;
  readonly records: number;
  readonly damage: readonly WalDamage[];
  /** Segments that belong to the log no more, but are kept. */
  readonly aside: readonly string[];
};

export function* openSegments(options: OpenOptions): Task<Opened> {
  const names = yield* wait<string[]>((done) => options.disk.list(options.dir, done));
  const start: Start = { options, names, files: new Map() };
  try {
    const chain = readChain(yield* readHeaders(start), options.segmentBytes);
    refuseOtherSize(options, chain);
    return yield* proceed(start, chain, yield* decide(start, chain));
  } catch (error) {
    for (const file of start.files.values()) yield* closeAfterError(file);
    throw error;
  }
}

/** Reads and judges; nothing is changed before this returns. */
function* decide(start: Start, chain: Chain): Task<Plan> {
  const hints = yield* newestHints(start, chain);
  const reading = yield* readLog(start, chain, hints);
  const { walk, findings, source } = reading;
  const { records, image } = walk;
  const none = { damage: [], aside: [] };
  switch (findings.verdict) {
    case "blank":
      return { image: new Image(), tail: null, base: 0, source, records, ...none };
    case "clean":
    case "torn": {
      const tail = walk.tail();
      return { image, tail, base: tail.segment.header.base, source, records, ...none };
    }
    case "newer":
      return refuseNewer(start.options, chain, walk);
    case "corrupt":
      if (start.options.onDamage === "refuse") refuseDamaged(start.options, findings);
      return yield* salvage(start, chain, hints, findings);
  }
}

/** Goes on without the damaged groups, or without any. */
function* salvage(start: Start, chain: Chain, hints: Hints, findings: Findings): Task<Plan> {
  const replicas = new Map<GroupId, ReplicaId>(hints.closed);
  const bytes = new Uint8Array(start.options.segmentBytes);
  for (const { name, place } of chain.segments) {
    bytes.fill(0);
    yield* readWhole(start.files.get(name) as DiskFile, bytes, 0);
    surveyReplicas(bytes, place, replicas);
  }
  const { damage, bads } = findings;
  for (const { group, replica } of bads) if (group !== null) noteReplica(replicas, group, replica);
  const groups = damagedGroups(findings);
  if (groups !== null) {
    const {
      walk,
      source,
      findings: rest,
    } = yield* readLog(start, chain, hintsWithout(groups, findings, hints));
    if (rest.verdict === "clean" || rest.verdict === "torn") {
      const { image, records } = walk;
      const tail = walk.tail();
      const { base } = tail.segment.header;
      for (const group of groups) image.tombstone(present(replicas.get(group), "a head told it"), group, 0);
      for (const { lsn, end } of bads) if (lsn < base) image.damaged.push({ lsn, end });
      for (const name of damagedFiles(findings, chain)) {
        yield* copyAside(start.options, start.names, name, start.files.get(name) as DiskFile);
      }
      return { image, tail, base, source, records, damage, aside: [] };
    }
  }
  const aside = start.names.filter((name) => baseOfName(name) !== null);
  const base = baseBehindAll(
    aside.map((name) => baseOfName(name) as Lsn),
    start.options.segmentBytes,
  );
  const image = imageOfTombstones(replicas);
  return { image, tail: null, base, source: new Uint8Array(0), records: 0, damage, aside };
}

function* readHeaders({ options, names, files }: Start): Task<SegmentFacts[]> {
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

/** What the newest checkpoint that verifies says. */
function* newestHints({ files }: Start, chain: Chain): Task<Hints> {
  for (const { name, place } of chain.segments.toReversed()) {
    const file = files.get(name) as DiskFile;
    const head = blankHead();
    const lsn = place.base + SEGMENT_HEADER_BYTES;
    let bytes = new Uint8Array(RECORD_HEAD_BYTES);
    yield* readWhole(file, bytes, SEGMENT_HEADER_BYTES);
    readRecord(bytes, 0, place, lsn, head); // fills `head` if the head holds
    if (head.kind !== RECORD_KIND.checkpoint || head.end > place.base + place.segmentBytes) continue;
    bytes = new Uint8Array(recordBytes(head.bodySize));
    yield* readWhole(file, bytes, SEGMENT_HEADER_BYTES);
    if (readRecord(bytes, 0, place, lsn, head) !== "good") continue;
    const checkpoint = readCheckpointBody(bytes, RECORD_HEAD_BYTES, head.bodySize);
    if (checkpoint !== null) return hintsOf(checkpoint);
  }
  return NO_HINTS;
}

/** Walks every segment, and keeps the bytes of the last one with a record: if the end lies behind it, then in an
 * empty one. */
function* readLog({ options, files }: Start, chain: Chain, hints: Hints): Task<Reading> {
  const walk = new Walk(chain, hints);
  let source = new Uint8Array(0);
  const readable = chain.anySegment && chain.damage.length === 0 && chain.versionKnown;
  let bytes = new Uint8Array(readable ? options.segmentBytes : 0);
  for (const { name } of readable ? chain.segments : []) {
    const read = yield* readWhole(files.get(name) as DiskFile, bytes, 0);
    if (read < bytes.length)
      throw new NucleusError("EIO", `${name} ended after ${read} bytes while being read`);
    if (walk.add(bytes) === 0) continue;
    const former = source;
    source = bytes;
    bytes = former.length > 0 ? former : new Uint8Array(options.segmentBytes);
  }
  return { walk, findings: walk.finish(), source };
}

/** Makes the plan true on the disk. */
function* proceed(start: Start, chain: Chain, plan: Plan): Task<Opened> {
  const { options, names } = start;
  const { segmentBytes, randomU32 } = options;
  const { image, tail, base, source } = plan;
  const older = tail === null ? [] : chain.segments.filter(({ header }) => header.base < base);
  const behind = tail === null ? [] : chain.segments.filter(({ header }) => header.base > base);
  image.forgetDamageBefore(older[0]?.header.base ?? base);
  const fresh = buildFresh({
    segmentBytes,
    epoch: { low: randomU32(), high: randomU32() },
    base,
    predecessor: tail?.segment.header.predecessor ?? NO_EPOCH,
    predecessorEnd: tail?.predecessorEnd ?? 0,
    image,
    source: tail === null ? null : { place: tail.segment.place, bytes: source },
  });
  const file = yield* placeFresh(start, behind, fresh);
  if (plan.aside.length > 0) yield* moveAside(options, names, plan.aside);
  const active = newSegment(base, fresh.epoch, fresh.place, file);
  const { live, spares } = yield* tidy(start, older, active);
  const recovered: Recovered = {
    groups: image.recovered(),
    tombstones: image.tombstones(),
    damage: plan.damage,
    segments: live.length,
    records: plan.records,
    tornBytes: tail?.tornBytes ?? 0,
  };
  const segments = new Segments(options, live, spares);
  return { image, segments, end: base + fresh.bytes.length, recovered };
}

/** Steps 1 to 3 of the head comment; gives the fresh segment's file. */
function* placeFresh(start: Start, behind: readonly ChainSegment[], fresh: Fresh): Task<DiskFile> {
  const { names, files } = start;
  const { disk, dir } = start.options;
  const spare = yield* takeSpare(start);
  const file = yield* openFile(disk, `${dir}/${spare}`, "update");
  files.set(spare, file);
  yield* writeWhole(file, fresh.bytes, 0);
  yield* sync(file);
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
function* takeSpare({ options, names }: Start): Task<string> {
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

/** Step 4: only the files of the life that begins stay open, and only what it needs stays in the directory. */
function* tidy(
  { options, names, files }: Start,
  older: readonly ChainSegment[],
  active: Segment,
): Task<{ live: Segment[]; spares: string[] }> {
  const { disk, dir } = options;
  const live = older.map(({ name, header, place }) => {
    return newSegment(header.base, header.epoch, place, present(files.get(name), "a segment is open"));
  });
  live.push(active);
  for (const [name, file] of files) {
    if (live.some((segment) => segment.file === file)) continue;
    files.delete(name);
    yield* closeFile(file);
  }
  const spares: string[] = [];
  for (const name of names) {
    if (live.some((segment) => segment.name === name)) continue;
    if (isSpare(name) && spares.length < 2) spares.push(name);
    else if (isSpare(name) || name.startsWith("filling-") || baseOfName(name) !== null) {
      yield* unlink(disk, `${dir}/${name}`);
    }
  }
  return { live, spares };
}

function isSpare(name: string): boolean {
  return /^spare-\d+$/.test(name);
}

function refuseOtherSize(options: OpenOptions, chain: Chain): void {
  const other = chain.segments.find(({ header }) => header.segmentBytes !== options.segmentBytes);
  if (other === undefined) return;
  throw new NucleusError(
    "ECONFIG",
    `${options.dir}/${other.name} was made with segments of ${other.header.segmentBytes} bytes, this start asks for ` +
      `${options.segmentBytes}: start with the size it was made with`,
  );
}

function refuseNewer(options: OpenOptions, chain: Chain, walk: Walk): never {
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

function refuseDamaged(options: OpenOptions, { damage, label }: Findings): never {
  const first = damage[0];
  const where = first === undefined ? options.dir : `${options.dir}/${first.file} at offset ${first.offset}`;
  throw new NucleusError(
    "EDAMAGED",
    `${where}: ${first?.reason ?? label} (${label}). Acknowledged writes may be missing here, so this log must not ` +
      "be used; nothing was changed",
  );
}

/**
 * Snapshot files: one image of one group's state, complete or not there (hazards D8, D9).
 *
 *     DIR/snapshots/<group>-<index>.snap          under `.tmp` until it is synced
 *
 *     0    8 bytes  "NUCSNAP1"
 *     8    u32      storage version
 *    12    u32      CRC-32 of the head's body
 *    16    u32      size of the head's body
 *    20    ..       head: group u64, index u64, term u64, config (raft/config.ts)
 *     ..   chunks:  u32 size, u32 CRC-32 of the bytes, bytes            as the store gave them
 *     ..   footer:  u32 0, u32 CRC-32 over all chunk checksums, u64 number of chunks, u64 bytes of all chunks
 *
 * Order of a new one: temporary file, synced; renamed; directory synced; mark in the log, synced; only then are
 * the log before it and older snapshots let go. Errors: NucleusError "ESNAPSHOT" for a file that is not whole.
 */
import { fromUtf8, getU32, Reader, utf8, Writer } from "../base/bytes.ts";
import { crc32 } from "../base/checksum.ts";
import { codeOf, NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import { KiB, MiB } from "../base/units.ts";
import { STORAGE_VERSION } from "../base/version.ts";
import { readAll, writeAll } from "../platform/files.ts";
import type { Clock, Disk, DiskFile } from "../platform/platform.ts";
import { readConfig, writeConfig } from "../raft/config.ts";
import type { SnapshotMeta } from "../raft/types.ts";
import type { SnapshotSink, SnapshotSource } from "../store/types.ts";
import type { GroupId } from "../wal/types.ts";

const MAGIC = "NUCSNAP1";
const FIXED_BYTES = 20;
const HEAD_BYTES_MAX = 64 * KiB;
const CHUNK_HEAD_BYTES = 8;
const FOOTER_BYTES = 24;
const CHUNK_BYTES_MAX = 4 * MiB;
/** The disk is not given more than this at once, so that the log's syncs stay short. */
const SYNC_EVERY_BYTES = 4 * MiB;

export type SnapshotName = { readonly group: GroupId; readonly index: number; readonly file: string };

/** Complete snapshots in `dir`, newest first. */
export function* listSnapshots(disk: Disk, dir: string): Task<SnapshotName[]> {
  const found: SnapshotName[] = [];
  for (const file of yield* wait<string[]>((done) => disk.list(dir, done))) {
    const match = /^(\d+)-(\d+)\.snap$/.exec(file);
    if (match !== null) found.push({ group: Number(match[1]), index: Number(match[2]), file });
  }
  return found.sort((a, b) => b.index - a.index);
}

/** Before a replica begins: what was being written or received for the one before it when that ended. */
export function* removeLeftovers(disk: Disk, dir: string, group: GroupId): Task<void> {
  for (const file of yield* wait<string[]>((done) => disk.list(dir, done))) {
    const isOurs = file.startsWith(`${group}-`); // other groups may be at work in here
    if (isOurs && file.endsWith(".tmp")) yield* removeIfThere(disk, `${dir}/${file}`);
  }
}

export function snapshotName(group: GroupId, index: number): SnapshotName {
  return { group, index, file: `${group}-${index}.snap` };
}

function encodeHead(group: GroupId, meta: SnapshotMeta): Uint8Array {
  const body = new Writer();
  body.u64(group);
  body.u64(meta.index);
  body.u64(meta.term);
  writeConfig(body, meta.config);
  const head = new Writer();
  head.raw(utf8(MAGIC));
  head.u32(STORAGE_VERSION);
  head.u32(crc32(body.view()));
  head.blob(body.view());
  return head.copy();
}

/**
 * Writes the image that `source` gives; returns the file's size. It lasts when this ends. One chunk to a turn of
 * the loop: between chunks the node serves.
 */
export function* writeSnapshot(
  disk: Disk,
  clock: Clock,
  dir: string,
  group: GroupId,
  meta: SnapshotMeta,
  source: SnapshotSource,
): Task<number> {
  const { file: name } = snapshotName(group, meta.index);
  const temporary = `${dir}/${name}.tmp`;
  let size = 0;
  try {
    yield* removeIfThere(disk, temporary);
    const file = yield* wait<DiskFile>((done) => disk.open(temporary, "create", done));
    try {
      size = yield* writeChunks(file, clock, encodeHead(group, meta), source);
      yield* wait<void>((done) => file.datasync(done));
    } finally {
      yield* wait<void>((done) => file.close(done));
    }
    yield* wait<void>((done) => disk.rename(temporary, `${dir}/${name}`, done));
  } catch (error) {
    yield* removeIfThere(disk, temporary); // on a full disk its space is what the log needs
    throw error;
  } finally {
    source.close();
  }
  yield* wait<void>((done) => disk.syncDir(dir, done));
  return size;
}

function* writeChunks(file: DiskFile, clock: Clock, head: Uint8Array, source: SnapshotSource): Task<number> {
  yield* writeAll(file, head, 0);
  let position = head.length;
  let unsynced = 0;
  let chunks = 0;
  let chunkBytes = 0;
  let checksum = 0;
  const framed = new Writer(0); // one buffer for all: a write is over before the next begins
  for (let chunk = source.next(); chunk !== null; chunk = source.next()) {
    framed.length = 0;
    framed.u32(chunk.length);
    framed.u32(crc32(chunk));
    framed.raw(chunk);
    checksum = crc32(framed.bytes.subarray(4, 8), checksum);
    yield* writeAll(file, framed.view(), position);
    position += framed.length;
    chunkBytes += chunk.length;
    chunks++;
    unsynced += framed.length;
    if (unsynced >= SYNC_EVERY_BYTES) {
      unsynced = 0;
      yield* wait<void>((done) => file.datasync(done));
    }
    yield* wait<void>((done) => clock.turn(() => done(null, undefined)));
  }
  const footer = new Writer();
  footer.u32(0);
  footer.u32(checksum);
  footer.u64(chunks);
  footer.u64(chunkBytes);
  yield* writeAll(file, footer.view(), position);
  return position + footer.length;
}

export function* removeIfThere(disk: Disk, path: string): Task<void> {
  try {
    yield* wait<void>((done) => disk.unlink(path, done));
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

/**
 * Feeds the image in `name`'s file to `sink`, all of it, and returns what it is of and the file's size. The image
 * is whole and adds up then; it is not the state yet (`sink.finish`).
 */
export function* readSnapshot(
  disk: Disk,
  dir: string,
  name: SnapshotName,
  sink: SnapshotSink,
): Task<{ meta: SnapshotMeta; bytes: number }> {
  const path = `${dir}/${name.file}`;
  const file = yield* wait<DiskFile>((done) => disk.open(path, "read", done));
  try {
    const { meta, size } = yield* readSnapshotHead(file, path, name);
    const bytes = yield* readChunks(file, path, size, sink);
    const problem = sink.check();
    if (problem !== null) throw damaged(path, size, problem);
    return { meta, bytes };
  } finally {
    yield* wait<void>((done) => file.close(done));
  }
}

/** What the file is an image of; its chunks are not looked at. */
export function* readSnapshotHead(
  file: DiskFile,
  path: string,
  name: SnapshotName,
): Task<{ meta: SnapshotMeta; size: number }> {
  const bytes = new Uint8Array(FIXED_BYTES + HEAD_BYTES_MAX);
  const read = yield* readAll(file, bytes, 0);
  if (read < FIXED_BYTES || fromUtf8(bytes.subarray(0, 8)) !== MAGIC)
    throw damaged(path, 0, "not a snapshot");
  const version = getU32(bytes, 8);
  if (version !== STORAGE_VERSION) throw damaged(path, 8, `storage version ${version} is not known here`);
  const size = getU32(bytes, 16);
  if (size > HEAD_BYTES_MAX || FIXED_BYTES + size > read) throw damaged(path, 16, "the head is cut off");
  const body = bytes.subarray(FIXED_BYTES, FIXED_BYTES + size);
  if (crc32(body) !== getU32(bytes, 12)) throw damaged(path, 12, "the head's checksum is wrong");
  const reader = new Reader(body);
  const group = reader.u64();
  const index = reader.u64();
  const term = reader.u64();
  const config = readConfig(reader);
  if (config === null || !reader.done()) throw damaged(path, FIXED_BYTES, "the head is malformed");
  if (group !== name.group || index !== name.index)
    throw damaged(path, FIXED_BYTES, "it is another one's image");
  return { meta: { index, term, config }, size: FIXED_BYTES + size };
}

/** Returns the file's size. */
function* readChunks(file: DiskFile, path: string, start: number, sink: SnapshotSink): Task<number> {
  const head = new Uint8Array(FOOTER_BYTES);
  let position = start;
  let checksum = 0;
  let chunks = 0;
  let chunkBytes = 0;
  while (true) {
    const read = yield* readAll(file, head, position);
    const size = getU32(head, 0);
    if (read < CHUNK_HEAD_BYTES || (size === 0 && read < FOOTER_BYTES))
      throw damaged(path, position, "it is cut off");
    if (size === 0) break;
    if (size > CHUNK_BYTES_MAX) throw damaged(path, position, "a chunk is too large");
    const chunk = new Uint8Array(size);
    if ((yield* readAll(file, chunk, position + CHUNK_HEAD_BYTES)) < size)
      throw damaged(path, position, "it is cut off");
    if (crc32(chunk) !== getU32(head, 4)) throw damaged(path, position, "a chunk's checksum is wrong");
    checksum = crc32(head.subarray(4, 8), checksum);
    const problem = sink.write(chunk);
    if (problem !== null) throw damaged(path, position, problem);
    position += CHUNK_HEAD_BYTES + size;
    chunkBytes += size;
    chunks++;
  }
  const footer = new Reader(head, 4);
  const good =
    footer.u32() === checksum && footer.u64() === chunks && footer.u64() === chunkBytes && footer.done();
  if (!good) throw damaged(path, position, "the footer does not fit the chunks");
  const end = position + FOOTER_BYTES;
  const size = yield* wait<number>((done) => file.size(done));
  if (size !== end) throw damaged(path, end, "something follows the footer");
  return size;
}

function damaged(path: string, offset: number, reason: string): NucleusError {
  return new NucleusError("ESNAPSHOT", `${path} is damaged at byte ${offset}: ${reason}`);
}

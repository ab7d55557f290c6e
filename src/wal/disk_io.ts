/**
 * Disk operations as tasks: the verbs of platform.ts, whole reads and writes over a disk that may do less than
 * asked (hazard D16), and the making of a zero-filled file.
 */
import { assert } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import type { Disk, DiskFile, OpenMode } from "../platform/platform.ts";

/** One step of a large read or write: long enough for the disk, short enough to let others in. */
const STEP_BYTES = MiB;

export function* openFile(disk: Disk, path: string, mode: OpenMode): Task<DiskFile> {
  return yield* wait<DiskFile>((done) => disk.open(path, mode, done));
}

export function* closeFile(file: DiskFile): Task<void> {
  yield* wait<void>((done) => file.close(done));
}

/** Closes on the way out of a failure, whose own error is the one to tell. */
export function* closeAfterError(file: DiskFile): Task<void> {
  yield* wait<void>((done) => file.close(() => done(null, undefined)));
}

export function* sizeOfPath(disk: Disk, path: string): Task<number> {
  const file = yield* openFile(disk, path, "read");
  try {
    return yield* sizeOf(file);
  } finally {
    yield* closeAfterError(file);
  }
}

export function* sizeOf(file: DiskFile): Task<number> {
  return yield* wait<number>((done) => file.size(done));
}

export function* sync(file: DiskFile): Task<void> {
  yield* wait<void>((done) => file.datasync(done));
}

export function* rename(disk: Disk, from: string, to: string): Task<void> {
  yield* wait<void>((done) => disk.rename(from, to, done));
}

export function* unlink(disk: Disk, path: string): Task<void> {
  yield* wait<void>((done) => disk.unlink(path, done));
}

export function* syncDir(disk: Disk, path: string): Task<void> {
  yield* wait<void>((done) => disk.syncDir(path, done));
}

/** Fills `target` from `position`, or as much as there is; returns how many bytes. */
export function* readWhole(file: DiskFile, target: Uint8Array, position: number): Task<number> {
  let read = 0;
  while (read < target.length) {
    const at = read;
    const count = yield* wait<number>((done) => file.pread(target.subarray(at), position + at, done));
    assert(count >= 0 && count <= target.length - read, "a read fits its buffer");
    if (count === 0) break;
    read += count;
  }
  return read;
}

/** Writes all of `source` at `position`. */
export function* writeWhole(file: DiskFile, source: Uint8Array, position: number): Task<void> {
  let written = 0;
  while (written < source.length) {
    const at = written;
    const count = yield* wait<number>((done) => file.pwrite(source.subarray(at), position + at, done));
    assert(count >= 0 && count <= source.length - written, "a write fits its buffer");
    if (count === 0) throw new NucleusError("EIO", "the disk wrote nothing and reported no error");
    written += count;
  }
}

/** Creates a file of `size` zeros. Synced step by step, so that no other sync has to wait for all of it. */
export function* createZeroed(disk: Disk, path: string, size: number): Task<void> {
  const file = yield* openFile(disk, path, "create");
  try {
    const zeros = new Uint8Array(Math.min(STEP_BYTES, size));
    for (let at = 0; at < size; at += zeros.length) {
      yield* writeWhole(file, zeros.subarray(0, Math.min(zeros.length, size - at)), at);
      yield* sync(file);
    }
  } finally {
    yield* closeFile(file);
  }
}

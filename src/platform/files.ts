/**
 * Whole reads and writes over a disk that may do less than asked (hazard D16), and the one safe way to
 * replace a file. All of it as tasks; errors are the disk's own.
 */
import { assert } from "../base/assert.ts";
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { Disk, DiskFile } from "./platform.ts";

/** Fills `target` from `position`, or as much as there is; returns how many bytes. */
export function* readAll(file: DiskFile, target: Uint8Array, position: number): Task<number> {
  let read = 0;
  while (read < target.length) {
    const count = yield* wait<number>((done) => file.pread(target.subarray(read), position + read, done));
    assert(count >= 0 && count <= target.length - read, "a read fits its buffer");
    if (count === 0) break;
    read += count;
  }
  return read;
}

/** Writes all of `source` at `position`. */
export function* writeAll(file: DiskFile, source: Uint8Array, position: number): Task<void> {
  let written = 0;
  while (written < source.length) {
    const count = yield* wait<number>((done) =>
      file.pwrite(source.subarray(written), position + written, done),
    );
    assert(count >= 0 && count <= source.length - written, "a write fits its buffer");
    if (count === 0) throw new NucleusError("EIO", "the disk wrote nothing and reported no error");
    written += count;
  }
}

export function* readFile(disk: Disk, path: string, sizeMax: number): Task<Uint8Array> {
  const file = yield* wait<DiskFile>((done) => disk.open(path, "read", done));
  try {
    const size = yield* wait<number>((done) => file.size(done));
    if (size > sizeMax) throw new NucleusError("EFBIG", `${path} has ${size} bytes, more than ${sizeMax}`);
    const bytes = new Uint8Array(size);
    const read = yield* readAll(file, bytes, 0);
    if (read < size) throw new NucleusError("EIO", `${path} ended after ${read} of ${size} bytes`);
    return bytes;
  } finally {
    yield* wait<void>((done) => file.close(done));
  }
}

/**
 * Replaces `dir/name` as a whole: temporary file, sync, rename, sync of the directory. After a crash at any
 * point either the old or the new content is there, complete.
 */
export function* replaceFile(disk: Disk, dir: string, name: string, content: Uint8Array): Task<void> {
  const temporary = `${dir}/${name}.tmp`;
  const names = yield* wait<string[]>((done) => disk.list(dir, done));
  if (names.includes(`${name}.tmp`)) yield* wait<void>((done) => disk.unlink(temporary, done));
  const file = yield* wait<DiskFile>((done) => disk.open(temporary, "create", done));
  try {
    yield* writeAll(file, content, 0);
    yield* wait<void>((done) => file.datasync(done));
  } finally {
    yield* wait<void>((done) => file.close(done));
  }
  yield* wait<void>((done) => disk.rename(temporary, `${dir}/${name}`, done));
  yield* wait<void>((done) => disk.syncDir(dir, done));
}

/**
 * A disk in memory that keeps to the letter of `Disk` and to nothing beyond it.
 *
 * - Nothing happens until `step` or `pump` runs the next operation, so a test can stop the world between any two.
 * - A written sector is durable only after `datasync`; until then a crash leaves any version it ever had.
 * - A name is durable only after `syncDir`; a crash keeps or drops each operation since then by itself.
 * - A failed datasync loses what it should have written, for good, and the next one succeeds (as Linux does it).
 */
import { assert } from "../../src/base/assert.ts";
import { NucleusError } from "../../src/base/errors.ts";
import type { Prng } from "../../src/base/prng.ts";
import { type Done, runTask, type Task } from "../../src/base/task.ts";
import type { Disk, DiskFile, OpenMode } from "../../src/platform/platform.ts";

const SECTOR_BYTES = 512;

export type OpKind =
  | "open"
  | "list"
  | "makeDir"
  | "rename"
  | "unlink"
  | "syncDir"
  | "freeBytes"
  | "size"
  | "pread"
  | "pwrite"
  | "datasync"
  | "close";
export type Op = { readonly number: number; readonly kind: OpKind; readonly path: string };

class Inode {
  durable: Uint8Array;
  bytes: Uint8Array;
  /** Per sector written since the last sync: every content it had since then. */
  readonly dirty = new Map<number, Uint8Array[]>();

  constructor(bytes = new Uint8Array(0)) {
    this.durable = bytes;
    this.bytes = bytes.slice();
  }

  write(source: Uint8Array, position: number): void {
    const end = position + source.length;
    if (end > this.bytes.length) {
      const grown = new Uint8Array(end);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes.set(source, position);
    for (let at = Math.floor(position / SECTOR_BYTES); at * SECTOR_BYTES < end; at++) {
      const version = this.bytes.slice(at * SECTOR_BYTES, (at + 1) * SECTOR_BYTES);
      const versions = this.dirty.get(at);
      if (versions === undefined) this.dirty.set(at, [version]);
      else versions.push(version);
    }
  }

  sync(): void {
    this.durable = this.bytes.slice();
    this.dirty.clear();
  }

  loseUnsynced(): void {
    this.dirty.clear();
  }

  /** What is there after a power failure. */
  afterCrash(random: Prng): Inode {
    const size = random.chance(1, 2) ? this.durable.length : Math.max(this.durable.length, this.bytes.length);
    const bytes = new Uint8Array(size);
    bytes.set(this.durable.subarray(0, size));
    const keep = random.below(3); // nothing, everything, or sector by sector
    for (const [sector, versions] of this.dirty) {
      if (keep === 0) continue;
      const version = keep === 1 ? versions.length - 1 : random.below(versions.length + 1) - 1;
      const content = versions[version];
      if (content === undefined || sector * SECTOR_BYTES >= size) continue;
      bytes.set(content.subarray(0, size - sector * SECTOR_BYTES), sector * SECTOR_BYTES);
    }
    return new Inode(bytes);
  }
}

type DirOp = { readonly dir: string; readonly remove: string | null; readonly put: [string, Inode] | null };

export class MemoryDisk implements Disk {
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #dirOps: DirOp[] = [];
  readonly #queue: { readonly kind: OpKind; readonly path: string; readonly run: () => void }[] = [];
  #capacityBytes = Number.POSITIVE_INFINITY;
  #dead = false;
  openFiles = 0;
  /** Every operation, as it is carried out. */
  ops = 0;
  counts = new Map<OpKind, number>();
  /** An error to give instead of doing it; "crash" = stop the world before it. */
  fault: (op: Op) => Error | "crash" | null = () => null;
  /** Reads and writes of at most this many bytes. */
  stepBytesMax = Number.POSITIVE_INFINITY;
  /** Picks which of the waiting operations is carried out next. */
  order: ((waiting: readonly { readonly kind: OpKind; readonly path: string }[]) => number) | null = null;

  /** Total size of all files; writing more fails with ENOSPC. */
  set capacityBytes(bytes: number) {
    this.#capacityBytes = bytes;
  }

  get dead(): boolean {
    return this.#dead;
  }

  usedBytes(): number {
    let used = 0;
    for (const inode of new Set(this.#names.values())) used += inode.bytes.length;
    return used;
  }

  names(): string[] {
    return [...this.#names.keys()].sort();
  }

  /** Damages a file where it lies: what programs see of it, and what a power failure leaves. */
  harm(path: string, change: (bytes: Uint8Array) => void): void {
    const inode = this.#names.get(path);
    assert(inode !== undefined, `there is a file ${path}`);
    change(inode.bytes);
    change(inode.durable);
  }

  flip(path: string, at: number, mask = 1): void {
    this.harm(path, (bytes) => {
      bytes[at] = (bytes[at] as number) ^ mask;
    });
  }

  /** The file's bytes, to be looked at. */
  content(path: string): Uint8Array {
    const inode = this.#names.get(path);
    assert(inode !== undefined, `there is a file ${path}`);
    return inode.bytes;
  }

  setContent(path: string, bytes: Uint8Array): void {
    const inode = new Inode(bytes.slice());
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  remove(path: string): void {
    this.#names.delete(path);
    this.#durableNames.delete(path);
  }

  /** Bytes and names that would be there if nothing went wrong. */
  image(): Map<string, Uint8Array> {
    return new Map([...this.#names].map(([name, inode]) => [name, inode.bytes.slice()]));
  }

  static of(files: Map<string, Uint8Array>): MemoryDisk {
    const disk = new MemoryDisk();
    for (const [name, bytes] of files) disk.setContent(name, bytes);
    return disk;
  }

  /** The disk after a power failure now. This one does nothing any more. */
  crash(random: Prng): MemoryDisk {
    this.#dead = true;
    this.#queue.length = 0;
    const names = new Map(this.#durableNames);
    const mode = random.below(3); // none, all, or each operation by itself
    for (const op of this.#dirOps) {
      if (mode === 0 || (mode === 2 && random.chance(1, 2))) continue;
      if (op.remove !== null && (op.put === null || names.get(op.remove) === op.put[1]))
        names.delete(op.remove);
      if (op.put !== null) names.set(op.put[0], op.put[1]);
    }
    const disk = new MemoryDisk();
    const moved = new Map<Inode, Inode>();
    for (const [name, inode] of names) {
      const after = moved.get(inode) ?? inode.afterCrash(random);
      if (moved.has(inode)) continue; // a rename is atomic: never both names
      moved.set(inode, after);
      disk.#names.set(name, after);
      disk.#durableNames.set(name, after);
    }
    disk.#capacityBytes = this.#capacityBytes;
    return disk;
  }

  /** The disk after the process died and the machine did not: everything written is there. */
  kill(): MemoryDisk {
    this.#dead = true;
    this.#queue.length = 0;
    const disk = new MemoryDisk();
    disk.#names = this.#names;
    disk.#durableNames = this.#durableNames;
    disk.#dirOps = this.#dirOps;
    disk.#capacityBytes = this.#capacityBytes;
    return disk;
  }

  /** Runs one waiting operation; false if there is none. */
  step(): boolean {
    if (this.#queue.length === 0) return false;
    const next = this.order === null ? 0 : this.order(this.#queue);
    const [op] = this.#queue.splice(next, 1);
    op?.run();
    return true;
  }

  pump(): void {
    while (this.step());
  }

  /** Runs a task to its end, with everything else that waits. */
  run<T>(task: Task<T>): T {
    let outcome: { error: Error | null; value: T } | null = null;
    runTask(task, (error, value) => {
      outcome = { error, value };
    });
    while (outcome === null && this.step());
    const { error, value } = outcome ?? { error: new Error("the world stopped"), value: undefined as T };
    if (error !== null) throw error;
    return value;
  }

  open(path: string, mode: OpenMode, done: Done<DiskFile>): void {
    this.#do("open", path, done, () => {
      let inode = this.#names.get(path);
      if (mode === "create") {
        if (inode !== undefined) throw new NucleusError("EEXIST", path);
        inode = new Inode();
        this.#names.set(path, inode);
        this.#dirOps.push({ dir: dirOf(path), remove: null, put: [path, inode] });
      }
      if (inode === undefined) throw new NucleusError("ENOENT", path);
      this.openFiles++;
      return this.#file(path, inode);
    });
  }

  list(path: string, done: Done<string[]>): void {
    this.#do("list", path, done, () =>
      [...this.#names.keys()]
        .filter((name) => dirOf(name) === path)
        .map((name) => name.slice(path.length + 1)),
    );
  }

  makeDir(path: string, done: Done<void>): void {
    this.#do("makeDir", path, done, () => undefined);
  }

  rename(from: string, to: string, done: Done<void>): void {
    this.#do("rename", from, done, () => {
      const inode = this.#names.get(from);
      if (inode === undefined) throw new NucleusError("ENOENT", from);
      this.#names.delete(from);
      this.#names.set(to, inode);
      this.#dirOps.push({ dir: dirOf(from), remove: from, put: [to, inode] });
    });
  }

  unlink(path: string, done: Done<void>): void {
    this.#do("unlink", path, done, () => {
      if (!this.#names.delete(path)) throw new NucleusError("ENOENT", path);
      this.#dirOps.push({ dir: dirOf(path), remove: path, put: null });
    });
  }

  syncDir(path: string, done: Done<void>): void {
    this.#do("syncDir", path, done, () => {
      this.#durableNames = new Map(this.#names);
      this.#dirOps = [];
    });
  }

  freeBytes(path: string, done: Done<number>): void {
    this.#do("freeBytes", path, done, () => Math.max(0, this.#capacityBytes - this.usedBytes()));
  }

  #file(openedAs: string, inode: Inode): DiskFile {
    // The name it has by now: a rename takes open files along.
    const path = (): string => [...this.#names].find(([, held]) => held === inode)?.[0] ?? openedAs;
    let open = true;
    const alive = (): void => assert(open, "a closed file is not used");
    const shut = (): void => {
      alive();
      open = false;
      this.openFiles--;
    };
    return {
      size: (done) => this.#do("size", path(), done, () => inode.bytes.length),
      pread: (target, position, done) =>
        this.#do("pread", path(), done, () => {
          alive();
          const source = inode.bytes.subarray(
            position,
            position + Math.min(target.length, this.stepBytesMax),
          );
          target.set(source);
          return source.length;
        }),
      pwrite: (source, position, done) =>
        this.#do("pwrite", path(), done, () => {
          alive();
          const part = source.subarray(0, Math.min(source.length, this.stepBytesMax));
          const growth = Math.max(0, position + part.length - inode.bytes.length);
          if (growth > 0 && this.usedBytes() + growth > this.#capacityBytes) {
            throw new NucleusError("ENOSPC", "no space left on device");
          }
          inode.write(part, position);
          return part.length;
        }),
      datasync: (done) =>
        this.#do(
          "datasync",
          path(),
          done,
          () => {
            alive();
            inode.sync();
          },
          () => inode.loseUnsynced(),
        ),
      close: (done) => this.#do("close", path(), done, shut, shut), // an error does not keep it open
    };
  }

  #do<T>(kind: OpKind, path: string, done: Done<T>, act: () => T, onFault?: () => void): void {
    if (this.#dead) return;
    const run = (): void => {
      const fault = this.fault({ number: ++this.ops, kind, path });
      if (fault === "crash") {
        this.#dead = true;
        this.#queue.length = 0;
        return;
      }
      this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
      let value: T;
      try {
        if (fault !== null) {
          onFault?.();
          throw fault;
        }
        value = act();
      } catch (error) {
        done(error as Error, undefined as T);
        return;
      }
      done(null, value);
    };
    this.#queue.push({ kind, path, run });
  }
}

function dirOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

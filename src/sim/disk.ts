/**
 * A machine's disk: the Disk of the platform seam, in memory, honest only where it promised to be.
 *
 * The content (disk_file.ts, disk_tree.ts) outlives processes; `attach` gives one process its view of it. Every
 * operation takes a drawn time and has its effect at the end of it, so two operations may finish in either
 * order, and the bytes of a write are read from the caller's buffer only then. When the process dies, each
 * operation under way has happened in full, in part or not at all.
 *
 *     kill           the page cache stays: the next process reads what the last one wrote, synced or not
 *     power failure  only what was synced is sure; of the rest each sector and each name is old or new
 *
 * Faults on order (`faults`): failing reads, writes and syncs, short reads and writes, a full disk, stalls, lost
 * and misdirected writes, bits that flip. Each that takes effect is counted, as a fault that never did proves nothing.
 */
import { assert } from "../base/assert.ts";
import { crc32 } from "../base/checksum.ts";
import { NucleusError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import type { Done } from "../base/task.ts";
import type { Disk, DiskFile, OpenMode } from "../platform/platform.ts";
import { below, draw, happens, type Span } from "./chance.ts";
import { CRASH_STYLES, SECTOR_BYTES, type SimFile } from "./disk_file.ts";
import { DirTree } from "./disk_tree.ts";
import type { Process, World } from "./world.ts";

export type DiskKnobs = {
  readonly readUs: Span;
  readonly writeUs: Span;
  readonly syncUs: Span;
  /** Chances in a million, per operation. A write may be done before the call returns, as on the real platform. */
  readonly instantWritePerMillion: number;
  readonly slowPerMillion: number;
  readonly slowUs: Span;
  readonly shortPerMillion: number;
  readonly lostWritePerMillion: number;
  readonly misdirectedWritePerMillion: number;
  readonly capacityBytes: number;
  /** Syncs say that they are done, and nothing is: no product survives this, and no checker may miss it. */
  readonly lyingSync?: boolean;
};

/** A quiet SSD of one GiB. */
export const DISK_DEFAULT: DiskKnobs = {
  readUs: [20, 120],
  writeUs: [10, 60],
  syncUs: [60, 250],
  instantWritePerMillion: 500_000,
  slowPerMillion: 2_000,
  slowUs: [1_000, 20_000],
  shortPerMillion: 0,
  lostWritePerMillion: 0,
  misdirectedWritePerMillion: 0,
  capacityBytes: 2 ** 30,
};

/** Faults that wait for their operation: how many of the next ones fail. */
export type DiskFaults = {
  failReads: number;
  failWrites: number;
  failSyncs: number;
  /** Everything waits until then. */
  stalledUntilUs: number;
  /** Bytes that somebody else fills on this disk. */
  occupiedBytes: number;
  /** Springs at the start of the operation that takes `left` to 0, and lets it come to any point of it. */
  trap: { left: number; readonly spring: () => void } | null;
};

/** Faults that took effect, by name. */
export type FaultCounts = Map<string, number>;

type Operation = {
  readonly process: Process;
  readonly perform: (() => void) | null;
  readonly partly: (() => void) | null;
};

/** Checkers look at what becomes durable, when it does. */
export type DiskObserver = {
  onSynced?(machine: number, file: SimFile, position: number, size: number): void;
};

export class SimDisk {
  readonly machine: number;
  readonly world: World;
  knobs: DiskKnobs;
  readonly faults: DiskFaults = {
    failReads: 0,
    failWrites: 0,
    failSyncs: 0,
    stalledUntilUs: 0,
    occupiedBytes: 0,
    trap: null,
  };
  readonly counts: FaultCounts;
  tree = new DirTree();
  readonly observers: DiskObserver[] = [];
  /** Files open in living processes: returns to its base line when all is closed (hazard D18). */
  openHandles = 0;
  readonly random: Prng;
  #underWay = new Set<Operation>();

  constructor(
    world: World,
    machine: number,
    knobs: DiskKnobs = DISK_DEFAULT,
    counts: FaultCounts = new Map(),
  ) {
    this.world = world;
    this.machine = machine;
    this.knobs = knobs;
    this.counts = counts;
    this.random = world.stream(`disk ${machine}`);
  }

  /** The disk as `process` sees it. */
  attach(process: Process): Disk {
    return new AttachedDisk(this, process);
  }

  /**
   * Starts an operation of `process`: after a drawn time `perform` has its effect and gives what `done` gets. If
   * the process dies before, it may have happened all the same, wholly (`perform`) or in part (`partly`).
   */
  start<T>(
    process: Process,
    span: Span,
    done: Done<T>,
    perform: () => T,
    partly: (() => void) | null = null,
  ): void {
    if (!process.alive) return;
    const operation: Operation = { process, perform, partly };
    this.#underWay.add(operation);
    const durationUs = this.#duration(span);
    this.#approachTrap(durationUs);
    this.world.after(durationUs, null, () => {
      if (!this.#underWay.delete(operation)) return; // its process died; what was left of it has been settled
      const outcome = attempt(perform);
      this.world.call(process, () => done(outcome.error, outcome.value));
    });
  }

  /** Performs an operation on the spot. */
  finish<T>(process: Process, done: Done<T>, perform: () => T): void {
    if (!process.alive) return;
    this.#approachTrap(0);
    const outcome = attempt(perform);
    done(outcome.error, outcome.value);
  }

  get stalled(): boolean {
    return this.faults.stalledUntilUs > this.world.nowUs;
  }

  /** The process died (kill -9): the kernel lives on, and so does its page cache. */
  processDied(process: Process): void {
    for (const operation of this.#underWay) {
      if (operation.process !== process) continue;
      this.#underWay.delete(operation);
      const fate = below(this.random, 3);
      const effect = fate === 0 ? operation.perform : fate === 1 ? operation.partly : null;
      try {
        effect?.();
      } catch (error) {
        if (!(error instanceof NucleusError)) throw error; // it would have failed, and nobody is left to hear it
      }
    }
    this.openHandles = 0;
  }

  /** Power is gone. Call `processDied` first. */
  powerFailure(): void {
    this.tree.powerFailure(this.random);
    for (const { file } of this.tree.files()) this.#loseUnsynced(file);
    this.faults.stalledUntilUs = 0;
    this.world.note("disk.power", this.machine, this.tree.files().length);
  }

  /** Turns over one bit of some file whose path `matches`; says where, or null if there is none. */
  flipBit(matches: (path: string) => boolean): { path: string; position: number } | null {
    const files = this.tree.files().filter(({ path, file }) => file.visible.size > 0 && matches(path));
    if (files.length === 0) return null;
    const { path, file } = files[below(this.random, files.length)] as { path: string; file: SimFile };
    const position = this.#placeToFlip(file);
    file.flipBit(position, below(this.random, 8));
    this.count("bit_flip");
    this.world.note("disk.flip", this.machine, position, file.number, `${path} @${position}`);
    return { path, position };
  }

  /** Mostly where something was written: nobody misses a bit of the zeros that fill a file ahead. */
  #placeToFlip(file: SimFile): number {
    const view = file.visible.view();
    let position = below(this.random, view.length);
    for (let tries = 0; tries < 500 && view[position] === 0; tries++)
      position = below(this.random, view.length);
    return position;
  }

  /** The disk is lost or replaced by an empty one. */
  wipe(): void {
    const { durableVersion } = this.tree;
    this.tree = new DirTree();
    this.tree.durableVersion = durableVersion + 1;
    this.count("wipe");
    this.world.note("disk.wipe", this.machine);
  }

  /** The disks of two machines change places. Neither may be running. */
  swapWith(other: SimDisk): void {
    const version = Math.max(this.tree.durableVersion, other.tree.durableVersion) + 1;
    [this.tree, other.tree] = [other.tree, this.tree];
    this.tree.durableVersion = version;
    other.tree.durableVersion = version;
    this.count("swap");
    this.world.note("disk.swap", this.machine, other.machine);
  }

  /** A directory in `/` that was there before any program ran. */
  makeDurableDir(path: string): void {
    this.tree.makeDir(path);
    this.tree.sync(this.tree.root, this.tree.mark);
  }

  /** What is sure to be in the file after a power failure; null if the file itself is not sure to be there. */
  durableContent(path: string): Uint8Array | null {
    const found = this.tree.durableFiles().find((entry) => entry.path === path);
    return found === undefined ? null : found.file.durable.view();
  }

  usedBytes(): number {
    let used = this.faults.occupiedBytes;
    for (const { file } of this.tree.files()) used += roundUp(file.visible.size);
    return used;
  }

  count(fault: string): void {
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }

  #approachTrap(durationUs: number): void {
    const { trap } = this.faults;
    if (trap === null || --trap.left > 0) return;
    this.faults.trap = null;
    this.world.after(below(this.random, durationUs + 1), null, trap.spring);
  }

  #loseUnsynced(file: SimFile): void {
    if (file.unsyncedCount > 0) this.count("unsynced_lost");
    const style = CRASH_STYLES[below(this.random, CRASH_STYLES.length)] as (typeof CRASH_STYLES)[number];
    file.powerFailure(style, this.random);
  }

  #duration(span: Span): number {
    let us = draw(this.random, span);
    if (happens(this.random, this.knobs.slowPerMillion)) us += draw(this.random, this.knobs.slowUs);
    const stalledUs = this.faults.stalledUntilUs - this.world.nowUs;
    if (stalledUs > 0) {
      this.count("disk_stall");
      us += stalledUs;
    }
    return us;
  }
}

class AttachedDisk implements Disk {
  readonly #disk: SimDisk;
  readonly #process: Process;

  constructor(disk: SimDisk, process: Process) {
    this.#disk = disk;
    this.#process = process;
  }

  open(path: string, mode: OpenMode, done: Done<DiskFile>): void {
    this.#names(done, () => {
      const file = mode === "create" ? this.#disk.tree.create(path) : this.#disk.tree.file(path);
      this.#disk.openHandles++;
      return new OpenFile(this.#disk, this.#process, file, mode !== "read");
    });
  }

  list(path: string, done: Done<string[]>): void {
    this.#names(done, () => [...this.#disk.tree.dir(path).names.keys()]);
  }

  makeDir(path: string, done: Done<void>): void {
    this.#names(done, () => this.#disk.tree.makeDir(path));
  }

  rename(from: string, to: string, done: Done<void>): void {
    this.#names(done, () => this.#disk.tree.rename(from, to));
  }

  unlink(path: string, done: Done<void>): void {
    this.#names(done, () => this.#disk.tree.unlink(path));
  }

  syncDir(path: string, done: Done<void>): void {
    const mark = this.#disk.tree.mark;
    this.#disk.start(this.#process, this.#disk.knobs.syncUs, done, () => {
      const dir = this.#disk.tree.dir(path);
      takeFault(this.#disk, "failSyncs", `syncing ${path}`);
      this.#disk.tree.sync(dir, mark);
    });
  }

  freeBytes(_path: string, done: Done<number>): void {
    this.#names(done, () => {
      const free = Math.max(0, this.#disk.knobs.capacityBytes - this.#disk.usedBytes());
      if (free === 0) this.#disk.count("disk_full"); // who asks before writing has met it too
      return free;
    });
  }

  #names<T>(done: Done<T>, perform: () => T): void {
    this.#disk.start(this.#process, this.#disk.knobs.readUs, done, perform);
  }
}

class OpenFile implements DiskFile {
  readonly #disk: SimDisk;
  readonly #process: Process;
  readonly #file: SimFile;
  readonly #writable: boolean;
  #open = true;

  constructor(disk: SimDisk, process: Process, file: SimFile, writable: boolean) {
    this.#disk = disk;
    this.#process = process;
    this.#file = file;
    this.#writable = writable;
  }

  size(done: Done<number>): void {
    this.#expectOpen();
    this.#disk.start(this.#process, this.#disk.knobs.readUs, done, () => this.#file.visible.size);
  }

  pread(target: Uint8Array, position: number, done: Done<number>): void {
    this.#expectOpen();
    assert(Number.isSafeInteger(position) && position >= 0, "a read begins inside a file");
    this.#disk.start(this.#process, this.#disk.knobs.readUs, done, () => {
      takeFault(this.#disk, "failReads", "reading");
      const count = shortened(this.#disk, target.length, "short_read");
      return this.#file.visible.read(position, target.subarray(0, count));
    });
  }

  pwrite(source: Uint8Array, position: number, done: Done<number>): void {
    this.#expectOpen();
    assert(this.#writable, "the file was opened for writing");
    assert(Number.isSafeInteger(position) && position >= 0, "a write begins inside a file");
    const write = (count: number): number => {
      this.#makeRoom(position + count);
      const bytes = source.subarray(0, count);
      this.#file.write(position, bytes, this.#landing(position, count));
      this.#disk.world.count("disk.write", this.#disk.machine, position, crc32(bytes));
      return count;
    };
    const part = (): number => write(below(this.#disk.random, source.length + 1));
    const whole = (): number => {
      takeFault(this.#disk, "failWrites", "writing", part);
      return write(shortened(this.#disk, source.length, "short_write"));
    };
    if (!this.#disk.stalled && happens(this.#disk.random, this.#disk.knobs.instantWritePerMillion)) {
      this.#disk.finish(this.#process, done, whole);
    } else {
      this.#disk.start(this.#process, this.#disk.knobs.writeUs, done, whole, part);
    }
  }

  datasync(done: Done<void>): void {
    this.#expectOpen();
    const mark = this.#file.mark; // what completes from now on is not covered (hazard B8)
    this.#disk.start(this.#process, this.#disk.knobs.syncUs, done, () => {
      takeFault(this.#disk, "failSyncs", "syncing", () => this.#file.failSync(mark, this.#disk.random));
      const ranges = this.#file.sync(this.#disk.knobs.lyingSync === true ? 0 : mark);
      this.#disk.world.count("disk.sync", this.#disk.machine, this.#file.number, ranges.length);
      for (const { position, size } of ranges) {
        for (const observer of this.#disk.observers)
          observer.onSynced?.(this.#disk.machine, this.#file, position, size);
      }
    });
  }

  close(done: Done<void>): void {
    this.#expectOpen();
    this.#open = false;
    this.#disk.openHandles--;
    this.#disk.start(this.#process, this.#disk.knobs.readUs, done, () => {});
  }

  #expectOpen(): void {
    assert(this.#open, "nobody uses a file that was closed");
  }

  #makeRoom(end: number): void {
    const grows = roundUp(end) - roundUp(this.#file.visible.size);
    if (grows <= 0) return; // existing room stays usable on a full disk
    if (this.#disk.usedBytes() + grows <= this.#disk.knobs.capacityBytes) return;
    this.#disk.count("disk_full");
    throw new NucleusError("ENOSPC", "no space left on the simulated disk");
  }

  /** Where the device really puts a write; -1 = nowhere. */
  #landing(position: number, size: number): number {
    const { random, knobs } = this.#disk;
    if (happens(random, knobs.lostWritePerMillion)) {
      this.#disk.count("lost_write");
      return -1;
    }
    if (happens(random, knobs.misdirectedWritePerMillion) && this.#file.visible.size >= size + SECTOR_BYTES) {
      this.#disk.count("misdirected_write");
      const sectors = Math.floor((this.#file.visible.size - size) / SECTOR_BYTES);
      return below(random, sectors + 1) * SECTOR_BYTES + (position % SECTOR_BYTES);
    }
    return position;
  }
}

/** What the disk cannot do becomes the operation's error; bugs go on as they are. */
function attempt<T>(perform: () => T): { error: Error | null; value: T } {
  try {
    return { error: null, value: perform() };
  } catch (error) {
    if (!(error instanceof NucleusError)) throw error;
    return { error, value: undefined as T };
  }
}

/** If a fault of this kind waits, it takes effect here. */
function takeFault(
  disk: SimDisk,
  kind: "failReads" | "failWrites" | "failSyncs",
  doing: string,
  effect: () => void = () => {},
): void {
  if (disk.faults[kind] <= 0) return;
  disk.faults[kind]--;
  disk.count(kind);
  disk.world.note(`disk.${kind}`, disk.machine, disk.faults[kind], 0, doing);
  effect();
  throw new NucleusError("EIO", `the simulated disk failed ${doing}`);
}

function shortened(disk: SimDisk, asked: number, name: string): number {
  if (asked <= 1 || !happens(disk.random, disk.knobs.shortPerMillion)) return asked;
  disk.count(name);
  return 1 + below(disk.random, asked - 1);
}

/** Files take whole blocks. */
function roundUp(size: number): number {
  return Math.ceil(size / 4096) * 4096;
}

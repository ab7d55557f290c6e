/**
 * The log's files: which segments hold records, which one comes next, and the spares behind them.
 *
 *     filling-<n>   being zero-filled; worthless after a crash
 *     spare-<n>     whole and zero-filled, or recycled: all its blocks are there
 *     log-<base>    a segment; it gets this name when its header is synced
 *
 * Work on files is done in the background, one step after another, and only at rest does the log need none of it:
 * a next segment is ready, and one spare lies beside it that nobody but the next start may take. A start makes
 * its fresh segment from that spare, so a node starts on a full disk. Spares come first: on a disk that is nearly
 * full the log rather stops taking batches than uses up what its start needs.
 *
 * Errors: a full disk is no failure; the work waits and is tried again. Any other error ends the log.
 */
import { assert } from "../base/assert.ts";
import { codeOf, messageOf } from "../base/errors.ts";
import { runTask, type Task, wait } from "../base/task.ts";
import { formatBytes } from "../base/units.ts";
import type { Disk, DiskFile, Log } from "../platform/platform.ts";
import type { Lsn } from "../raft/types.ts";
import {
  closeAfterError,
  closeFile,
  createZeroed,
  openFile,
  rename,
  sync,
  syncDir,
  unlink,
  writeWhole,
} from "./disk_io.ts";
import { type Epoch, encodeSegmentHeader, type SegmentPlace, segmentName, segmentPlace } from "./format.ts";

/** Spares kept: the one that is reserved for the next start, and one that saves zero-filling a next segment. */
const SPARES_MAX = 2;
/** Free space is asked for again after this long. */
const RETRY_MS = 1000;

export type Segment = {
  readonly name: string;
  readonly base: Lsn;
  readonly epoch: Epoch;
  readonly place: SegmentPlace;
  readonly file: DiskFile;
  /** Reads under way: its file is neither closed nor recycled. */
  readers: number;
};

export type SegmentsOptions = {
  readonly disk: Disk;
  readonly log: Log;
  readonly dir: string;
  readonly segmentBytes: number;
  readonly randomU32: () => number;
  readonly onFailed: (error: Error) => void;
};

export class Segments {
  readonly #options: SegmentsOptions;
  /** Oldest first; the last one is being appended to. */
  readonly live: Segment[];
  /** Header, name and directory entry are synced: records may go there. */
  next: Segment | null = null;
  readonly #spares: string[];
  #nextNumber: number;
  readonly #dead: Segment[] = [];
  #working = false;
  #stopped = false;
  #full = false;
  #retryMs = 0;
  #onRest: (() => void) | null = null;

  constructor(options: SegmentsOptions, live: Segment[], spares: string[]) {
    assert(live.length > 0, "a log has a segment to append to");
    this.#options = options;
    this.live = live;
    this.#spares = spares;
    this.#nextNumber = nextSpareNumber(spares);
  }

  get active(): Segment {
    return this.live.at(-1) as Segment;
  }

  /** Files that hold records, or will. */
  get count(): number {
    return this.live.length + (this.next === null ? 0 : 1);
  }

  /** The next segment becomes the active one. */
  advance(): Segment {
    const segment = this.next;
    assert(segment !== null, "a next segment is ready");
    this.next = null;
    this.live.push(segment);
    this.work();
    return segment;
  }

  /** Gives up segments that end at or below `oldestLsn`, oldest first. The caller vouches for the next checkpoint. */
  release(oldestLsn: Lsn): void {
    while (this.live.length > 1) {
      const oldest = this.live[0] as Segment;
      if (oldest.base + this.#options.segmentBytes > oldestLsn || oldest.readers > 0) break;
      this.#dead.push(oldest);
      this.live.shift();
    }
    this.work();
  }

  segmentAt(lsn: Lsn): Segment | null {
    const oldest = this.live[0] as Segment;
    return this.live[Math.floor((lsn - oldest.base) / this.#options.segmentBytes)] ?? null;
  }

  tick(elapsedMs: number): void {
    if (!this.#full) return;
    this.#retryMs += elapsedMs;
    if (this.#retryMs < RETRY_MS) return;
    this.#retryMs = 0;
    this.work();
  }

  /** Starts the background work if there is any and none is under way. */
  work(): void {
    if (this.#working || this.#stopped) return;
    this.#working = true;
    runTask(this.#workAll(), (error) => {
      this.#working = false;
      if (error !== null) {
        this.#stopped = true;
        this.#options.onFailed(error);
      }
      this.#onRest?.();
    });
  }

  /** Ends the background work and closes every file. */
  *close(): Task<void> {
    this.#stopped = true;
    if (this.#working) {
      yield* wait<void>((done) => {
        this.#onRest = () => done(null, undefined);
      });
    }
    const all = this.next === null ? this.live : [...this.live, this.next];
    for (const segment of [...this.#dead, ...all]) yield* closeFile(segment.file);
  }

  *#workAll(): Task<void> {
    while (!this.#stopped) {
      const dead = this.#dead.shift();
      if (dead !== undefined) yield* this.#retire(dead);
      else if (this.#spares.length === 0 || (this.next === null && this.#spares.length === 1)) {
        if (!(yield* this.#fill())) return;
      } else if (this.next === null) {
        if (!(yield* this.#prepare())) return;
      } else return this.#rest();
    }
  }

  #rest(): void {
    if (this.#full)
      this.#options.log.write("info", "there is room for log segments again", { dir: this.#options.dir });
    this.#full = false;
  }

  /** A freed segment becomes a spare as it is: its old bytes do not verify under another epoch. */
  *#retire(segment: Segment): Task<void> {
    const { disk, dir } = this.#options;
    yield* closeFile(segment.file);
    if (this.#spares.length >= SPARES_MAX) {
      yield* unlink(disk, `${dir}/${segment.name}`);
      return;
    }
    const spare = `spare-${this.#nextNumber++}`;
    yield* rename(disk, `${dir}/${segment.name}`, `${dir}/${spare}`);
    // Only then may its bytes change: under the old name they would be a damaged segment.
    yield* syncDir(disk, dir);
    this.#spares.push(spare);
  }

  /** Makes one more spare; false if there is no room for it now. */
  *#fill(): Task<boolean> {
    const { disk, dir, segmentBytes } = this.#options;
    const free = yield* wait<number>((done) => disk.freeBytes(dir, done));
    if (free < segmentBytes) return this.#noSpace(`${formatBytes(free)} free`);
    const number = this.#nextNumber++;
    try {
      yield* createZeroed(disk, `${dir}/filling-${number}`, segmentBytes);
    } catch (error) {
      if (!isFull(error)) throw error;
      yield* unlink(disk, `${dir}/filling-${number}`);
      return this.#noSpace(messageOf(error));
    }
    yield* rename(disk, `${dir}/filling-${number}`, `${dir}/spare-${number}`);
    yield* syncDir(disk, dir);
    this.#spares.push(`spare-${number}`);
    return true;
  }

  #noSpace(reason: string): false {
    const { log, dir, segmentBytes } = this.#options;
    if (!this.#full) {
      log.write(
        "warn",
        "no room for another log segment: writes will be refused when the present ones are full",
        {
          dir,
          segmentBytes,
          reason,
        },
      );
    }
    this.#full = true;
    this.#retryMs = 0;
    return false;
  }

  /** Makes the segment that follows the active one; false if there is no room for its name now. */
  *#prepare(): Task<boolean> {
    const { disk, dir, segmentBytes, randomU32 } = this.#options;
    const spare = this.#spares.at(-1) as string;
    const header = {
      segmentBytes,
      epoch: { low: randomU32(), high: randomU32() },
      base: this.active.base + segmentBytes,
      predecessor: this.active.epoch,
      syncedLsn: 0, // the active one still grows
    };
    const file = yield* openFile(disk, `${dir}/${spare}`, "update");
    try {
      yield* writeWhole(file, encodeSegmentHeader(header), 0);
      yield* sync(file);
      yield* rename(disk, `${dir}/${spare}`, `${dir}/${segmentName(header.base)}`);
    } catch (error) {
      yield* closeAfterError(file);
      if (isFull(error)) return this.#noSpace(messageOf(error));
      throw error;
    }
    this.#spares.pop();
    yield* syncDir(disk, dir);
    this.next = newSegment(header.base, header.epoch, segmentPlace(header), file);
    return true;
  }
}

export function newSegment(base: Lsn, epoch: Epoch, place: SegmentPlace, file: DiskFile): Segment {
  return { name: segmentName(base), base, epoch, place, file, readers: 0 };
}

export function nextSpareNumber(names: readonly string[]): number {
  let next = 1;
  for (const name of names)
    next = Math.max(next, Number.parseInt(/^(?:spare|filling)-(\d+)$/.exec(name)?.[1] ?? "0", 10) + 1);
  return next;
}

export function isFull(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOSPC" || code === "EDQUOT";
}

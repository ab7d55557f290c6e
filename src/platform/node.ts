/**
 * The real world, by node:fs and node:net: one implementation for Bun, Deno and Node.
 *
 * Choices that were measured (docs/decisions.md): a write of up to WRITE_SYNC_BYTES_MAX goes to the page cache by
 * a synchronous call, since the hop to the thread pool costs more than the copy; syncs always go to the pool, so
 * that the loop goes on collecting the next batch meanwhile.
 */
import { randomFillSync } from "node:crypto";
import * as fs from "node:fs";
import { performance } from "node:perf_hooks";
import type { Done } from "../base/task.ts";
import { KiB } from "../base/units.ts";
import { createNet } from "./node_net.ts";
import type { Clock, Disk, DiskFile, Log, OpenMode, Platform, Random } from "./platform.ts";

const WRITE_SYNC_BYTES_MAX = 256 * KiB;

export function createPlatform(log: Log): Platform {
  return { clock: createClock(), random: createRandom(), disk: createDisk(), net: createNet(), log };
}

function createClock(): Clock {
  return {
    monotonicMs: () => performance.now(),
    cpuMs,
    wallMs: () => Date.now(),
    ticks: startTicks,
    turn: (run) => {
      setImmediate(run);
    },
  };
}

/** Node has it from version 23 on, and its types for version 20 know nothing of it. */
type WithThreads = { readonly threadCpuUsage?: () => NodeJS.CpuUsage };
const { threadCpuUsage } = process as WithThreads;
/** Deno's comes in steps of 10 ms. */
const isThreadExact = threadCpuUsage !== undefined && process.versions.deno === undefined;

/**
 * Of this thread where that can be had, else of the process, to the microsecond, for one to three of them. Linux
 * brings a thread's own account up to date when it is asked for the whole process: so that is asked first.
 */
function cpuMs(): number {
  const whole = process.cpuUsage();
  const { user, system } = isThreadExact ? (threadCpuUsage as () => NodeJS.CpuUsage).call(process) : whole;
  return (user + system) / 1000;
}

/**
 * One timer that re-arms itself. When it comes late (SIGSTOP, a long pause), messages may be waiting in the
 * sockets that would have spoken against what the tick is about to do, so two more rounds of the loop pass
 * first: Bun runs immediates before it polls, Node after (hazard H4).
 */
function startTicks(intervalMs: number, onTick: (lateMs: number) => void): () => void {
  let stopped = false;
  let due = performance.now() + intervalMs;
  let timer = setTimeout(fire, intervalMs);

  function fire(): void {
    const lateMs = performance.now() - due;
    if (lateMs < intervalMs) run(Math.max(0, lateMs));
    else setImmediate(() => setImmediate(() => run(performance.now() - due)));
  }
  function run(lateMs: number): void {
    if (stopped) return;
    const now = performance.now();
    due = Math.max(due + intervalMs, now); // ticks that were missed are not made up for
    timer = setTimeout(fire, Math.max(0, due - now));
    onTick(lateMs);
  }
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

function createRandom(): Random {
  const pool = new Uint32Array(256);
  let next = pool.length;
  return {
    u32: () => {
      if (next === pool.length) {
        randomFillSync(pool);
        next = 0;
      }
      return pool[next++] as number;
    },
    fill: (bytes) => {
      randomFillSync(bytes);
    },
  };
}

/** Gives node's (error, value?) callbacks the shape of Done. */
function to<T>(done: Done<T>): (error: Error | null, value?: T) => void {
  return (error, value) => done(error ?? null, value as T);
}

function createDisk(): Disk {
  return {
    open: openFile,
    list: (path, done) => fs.readdir(path, to<string[]>(done)),
    makeDir: (path, done) =>
      fs.mkdir(path, { recursive: true, mode: 0o700 }, (error) => done(error, undefined)),
    rename: (from, target, done) => fs.rename(from, target, to<void>(done)),
    unlink: (path, done) => fs.unlink(path, to<void>(done)),
    syncDir: (path, done) => {
      fs.open(path, "r", (error, handle) => {
        if (error !== null) return done(error, undefined);
        fs.fsync(handle, (syncError) => {
          fs.close(handle, (closeError) => done(syncError ?? closeError ?? null, undefined));
        });
      });
    },
    freeBytes: (path, done) => {
      fs.statfs(path, (error, stats) => done(error, error === null ? stats.bavail * stats.bsize : 0));
    },
  };
}

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: fs.constants.O_RDONLY,
  update: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
};

function openFile(path: string, mode: OpenMode, done: Done<DiskFile>): void {
  fs.open(path, OPEN_FLAGS[mode], 0o600, (error, handle) => {
    if (error !== null) done(error, undefined as unknown as DiskFile);
    else done(null, new NodeFile(handle));
  });
}

class NodeFile implements DiskFile {
  readonly #handle: number;

  constructor(handle: number) {
    this.#handle = handle;
  }

  size(done: Done<number>): void {
    fs.fstat(this.#handle, (error, stats) => done(error, error === null ? stats.size : 0));
  }

  pread(target: Uint8Array, position: number, done: Done<number>): void {
    fs.read(this.#handle, target, 0, target.length, position, (error, count) => done(error, count));
  }

  pwrite(source: Uint8Array, position: number, done: Done<number>): void {
    if (source.length > WRITE_SYNC_BYTES_MAX) {
      fs.write(this.#handle, source, 0, source.length, position, (error, count) => done(error, count));
      return;
    }
    let count = 0;
    try {
      count = fs.writeSync(this.#handle, source, 0, source.length, position);
    } catch (error) {
      done(error as Error, 0);
      return;
    }
    done(null, count);
  }

  datasync(done: Done<void>): void {
    fs.fdatasync(this.#handle, to<void>(done));
  }

  close(done: Done<void>): void {
    fs.close(this.#handle, to<void>(done));
  }
}

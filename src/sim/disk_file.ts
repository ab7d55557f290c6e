/**
 * One file of a simulated disk: what survives a power failure for certain, what a reader sees now, and the
 * writes between the two.
 *
 *     visible  = what reads give (the page cache over the medium)
 *     durable  = what was synced: survives anything but damage
 *     unsynced = writes in order; of each 512-byte sector they touch, a power failure leaves the content after
 *                some prefix of them: old, newest, or any in between, sector by sector (a sector is atomic)
 *
 * The device may also lie, write by write: a *lost* write is reported synced and never reaches the medium; a
 * *misdirected* one lands in another place of the same file. Readers see neither before the next power failure,
 * as the page cache covers it.
 */
import { assert } from "../base/assert.ts";
import type { Prng } from "../base/prng.ts";
import { Image } from "./bytes.ts";
import { below } from "./chance.ts";

export const SECTOR_BYTES = 512;

type Unsynced = {
  readonly number: number;
  readonly position: number;
  readonly bytes: Uint8Array;
  /** Where on the medium it really goes; -1 = nowhere. */
  readonly landsAt: number;
};

/** How much of what was unsynced a power failure leaves. */
export type CrashStyle = "nothing" | "everything" | "few" | "half" | "most";
export const CRASH_STYLES: readonly CrashStyle[] = ["nothing", "everything", "few", "half", "half", "most"];

export class SimFile {
  /** Identity in traces. */
  readonly number: number;
  readonly visible = new Image();
  readonly durable = new Image();
  /** Rises whenever the durable image may have changed. */
  durableVersion = 0;
  #unsynced: Unsynced[] = [];
  #writes = 0;

  constructor(number: number) {
    this.number = number;
  }

  /** A mark for `sync`: it covers the writes completed by now. */
  get mark(): number {
    return this.#writes;
  }

  get unsyncedCount(): number {
    return this.#unsynced.length;
  }

  /** A write completed: readers see it. `landsAt` as in `Unsynced`. */
  write(position: number, bytes: Uint8Array, landsAt = position): void {
    if (bytes.length === 0) return;
    const kept = keep(bytes);
    this.visible.write(position, kept);
    this.#unsynced.push({ number: this.#writes++, position, bytes: kept, landsAt });
  }

  /** A sync completed that was asked for at `mark`; returns the ranges that became durable, as they were written. */
  sync(mark: number): { position: number; size: number }[] {
    const ranges: { position: number; size: number }[] = [];
    let done = 0;
    for (const write of this.#unsynced) {
      if (write.number >= mark) break;
      done++;
      if (write.landsAt < 0) {
        this.durable.extend(Math.min(this.visible.size, write.position + write.bytes.length));
        continue;
      }
      this.durable.write(write.landsAt, write.bytes);
      ranges.push({ position: write.landsAt, size: write.bytes.length });
    }
    if (done > 0) {
      this.#unsynced.splice(0, done);
      this.durableVersion++;
    }
    return ranges;
  }

  /**
   * A sync failed (hazard D5): some of the sectors reached the medium, the others never will, and the cache calls
   * all of them clean. Readers go on seeing the new bytes; the next sync "succeeds".
   */
  failSync(mark: number, random: Prng): void {
    this.durableVersion++;
    const kept = this.#unsynced.filter((write) => write.number >= mark);
    const failed = this.#unsynced.filter((write) => write.number < mark);
    this.#settle(failed, "half", random);
    this.#unsynced = kept;
  }

  /** Power is gone: each sector keeps some version of itself, and that is the file from now on. */
  powerFailure(style: CrashStyle, random: Prng): void {
    this.durableVersion++;
    this.#settle(this.#unsynced, style, random);
    this.#unsynced = [];
    this.visible.replace(this.durable.view());
  }

  /** Turns one bit over, on the medium and in the cache. */
  flipBit(position: number, bit: number): void {
    assert(
      position < this.visible.size || position < this.durable.size,
      "a flipped bit lies inside the file",
    );
    this.durableVersion++;
    for (const image of [this.visible, this.durable]) {
      if (position >= image.size) continue;
      const view = image.view();
      view[position] = (view[position] as number) ^ (1 << bit);
    }
  }

  #settle(writes: readonly Unsynced[], style: CrashStyle, random: Prng): void {
    const landing = writes.filter((write) => write.landsAt >= 0);
    if (landing.length === 0 || style === "nothing") return;
    const touching = new Map<number, number>(); // sector -> writes that touch it
    for (const write of landing) {
      for (const sector of sectorsOf(write)) touching.set(sector, (touching.get(sector) ?? 0) + 1);
    }
    const left = new Map<number, number>(); // sector -> how many of them survive
    for (const [sector, count] of touching) left.set(sector, survivors(style, count, random));
    for (const write of landing) {
      for (const sector of sectorsOf(write)) {
        const surviving = left.get(sector) as number;
        if (surviving === 0) continue;
        left.set(sector, surviving - 1);
        this.#writeSector(write, sector);
      }
    }
    // A file system may have recorded the new size and not the new bytes: they read as zeros.
    if (below(random, 4) === 0) {
      const write = landing[below(random, landing.length)] as Unsynced;
      this.durable.extend(Math.min(this.visible.size, write.landsAt + write.bytes.length));
    }
  }

  #writeSector(write: Unsynced, sector: number): void {
    const start = Math.max(write.landsAt, sector * SECTOR_BYTES);
    const end = Math.min(write.landsAt + write.bytes.length, (sector + 1) * SECTOR_BYTES);
    this.durable.write(start, write.bytes.subarray(start - write.landsAt, end - write.landsAt));
  }
}

/** Files are filled ahead with zeros by the mebibyte: all of those share one piece of memory. */
const ZEROS = new Uint8Array(2 ** 20);

function keep(bytes: Uint8Array): Uint8Array {
  const large = bytes.length >= 65_536 && bytes.length <= ZEROS.length;
  return large && allZeros(bytes) ? ZEROS.subarray(0, bytes.length) : bytes.slice();
}

/** Four bytes at a time where they lie so; the others are not worth the effort. */
function allZeros(bytes: Uint8Array): boolean {
  if (bytes.byteOffset % 4 !== 0 || bytes.length % 4 !== 0) return false;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  return true;
}

function* sectorsOf(write: Unsynced): Generator<number> {
  const last = Math.floor((write.landsAt + write.bytes.length - 1) / SECTOR_BYTES);
  for (let sector = Math.floor(write.landsAt / SECTOR_BYTES); sector <= last; sector++) yield sector;
}

/** Of `count` writes to a sector, the first how many are on the medium. */
function survivors(style: CrashStyle, count: number, random: Prng): number {
  if (style === "everything") return count;
  if (style === "half") return below(random, count + 1);
  const rare = below(random, 8) === 0;
  if (style === "most") return rare ? below(random, count + 1) : count;
  return rare ? below(random, count + 1) : 0;
}

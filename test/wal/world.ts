/** A log on a memory disk with one call for each thing a test does to it, and a model of what it must give back. */
import { Prng } from "../../src/base/prng.ts";
import type { Log } from "../../src/platform/platform.ts";
import type { Entry, Lsn } from "../../src/raft/types.ts";
import type { Recovered, RecoveredGroup, Wal } from "../../src/wal/types.ts";
import { openWal } from "../../src/wal/wal.ts";
import { BATCH_HEADER_BYTES, sealBatch } from "../../src/wire/batch.ts";
import { MemoryDisk } from "./memory_disk.ts";

export const DIR = "/wal";
export const SEGMENT_BYTES = 64 * 1024;
export const quietLog: Log = { write: () => undefined };

/** A sealed batch whose body tells its place and term, so that a wrong one is seen. */
export function entryOf(group: number, index: number, term: number, bodySize = 40): Entry {
  const bytes = new Uint8Array(BATCH_HEADER_BYTES + bodySize);
  for (let i = 0; i < bodySize; i++)
    bytes[BATCH_HEADER_BYTES + i] = (group * 31 + index * 7 + term * 3 + i) & 0xff;
  const header = {
    bodySize,
    group,
    term,
    index,
    timeMs: 1_000 + index,
    count: 1,
    kind: 1,
    encoding: 1,
    stateVersion: 1,
  };
  sealBatch(bytes, 0, { ...header, kind: 1 });
  return { index, term, kind: 1, bytes };
}

export class World {
  disk: MemoryDisk;
  wal!: Wal;
  recovered!: Recovered;
  readonly synced: Lsn[] = [];
  readonly failures: Error[] = [];
  onSynced: (lsn: Lsn) => void = () => undefined;
  onDamage: "refuse" | "setAside" = "refuse";
  readonly log: Log;
  readonly segmentBytes: number;
  #random: Prng;

  constructor(disk = new MemoryDisk(), segmentBytes = SEGMENT_BYTES, log = quietLog, seed = 1) {
    this.disk = disk;
    this.segmentBytes = segmentBytes;
    this.log = log;
    this.#random = Prng.fromSeed(seed);
  }

  /** Opens the log and lets its background work come to rest. */
  open(): this {
    this.openOnly();
    this.disk.pump();
    return this;
  }

  openOnly(): this {
    const task = openWal({
      disk: this.disk,
      log: this.log,
      dir: DIR,
      segmentBytes: this.segmentBytes,
      onDamage: this.onDamage,
      randomU32: () => this.#random.u32(),
      onSynced: (lsn) => {
        this.synced.push(lsn);
        this.onSynced(lsn);
      },
      onFailed: (error) => this.failures.push(error),
    });
    const { wal, recovered } = this.disk.run(task);
    this.wal = wal;
    this.recovered = recovered;
    return this;
  }

  /** Power fails now; then a new start. */
  crash(seed: number): this {
    this.disk = this.disk.crash(Prng.fromSeed(seed));
    return this.open();
  }

  close(): void {
    this.disk.run(this.wal.close());
  }

  flush(): void {
    this.wal.submit();
    this.disk.pump();
  }

  /** Appends entries [first, last] of a group and flushes. */
  write(group: number, first: number, last: number, term = 1, bodySize = 40): void {
    for (let index = first; index <= last; index++) {
      this.wal.appendEntry(1, group, entryOf(group, index, term, bodySize));
    }
    this.flush();
  }

  group(group: number): RecoveredGroup {
    const found = this.recovered.groups.find((candidate) => candidate.group === group);
    if (found === undefined) throw new Error(`group ${group} was not recovered`);
    return found;
  }

  terms(group: number): number[] {
    return this.group(group).entries.map(({ term }) => term);
  }

  read(group: number, first: number, last: number, bytesMax = 1 << 20): Entry[] {
    return this.disk.run(this.wal.readEntries(group, first, last, bytesMax));
  }
}

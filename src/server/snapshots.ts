/**
 * The snapshots of one group on one node: when to take one, the file that stands for the log before it, and what
 * may be deleted.
 *
 * Taken when the log since the last one exceeds max(LOG_BYTES_MIN, the last one's size), so that the log costs at
 * most as much again as the data; when the group holds old segments back; and after IDLE_TICKS_MAX with new
 * entries. While a follower is sent the last one the next waits, so that the log still continues it when it has
 * arrived (hazard D15), but not for ever. The image is of one index; its file lasts before the mark is appended to
 * the log, and the mark is synced before the core forgets the entries or older files go (hazard D8).
 */
import { assert } from "../base/assert.ts";
import { messageOf, NucleusError } from "../base/errors.ts";
import { runTask, type Task, wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import type { Platform } from "../platform/platform.ts";
import type { Lsn, SnapshotMeta } from "../raft/types.ts";
import type { SnapshotSource, Store } from "../store/types.ts";
import type { GroupId, Wal } from "../wal/types.ts";
import {
  listSnapshots,
  readSnapshot,
  removeIfThere,
  removeLeftovers,
  type SnapshotName,
  snapshotName,
  writeSnapshot,
} from "./snapshot_file.ts";

const LOG_BYTES_MIN = 64 * MiB;
/** Five minutes. */
const IDLE_TICKS_MAX = 30_000;
/** After a failed attempt (a full disk), a minute. */
const RETRY_TICKS = 6_000;
/** While the last one is being sent, the log may grow to so many times what else makes a new one due. */
const SENDING_PATIENCE = 4;

export type SnapshotsHost = {
  readonly platform: Platform;
  readonly wal: Wal;
  readonly group: GroupId;
  readonly replica: number;
  readonly store: Store;
  /** The log is ahead of the state by more than a moment's work. */
  isReplaying(): boolean;
  /** (index, term, config) of the entry applied last. */
  metaAt(index: number): SnapshotMeta;
  /** The mark is synced: the log before `meta` may be forgotten. */
  compacted(meta: SnapshotMeta): void;
  wake(): void;
};

/** Whether one is due is looked at this often: what it hangs on grows by seconds, and there may be a thousand groups. */
const DUE_TICKS = 16;

export class Snapshots {
  readonly #host: SnapshotsHost;
  readonly #dir: string;
  /** The newest snapshot whose mark is synced; what followers are sent. */
  #latest: SnapshotName | null = null;
  #latestBytes = 0;
  #logBytes = 0;
  #ticks = 0;
  #dueIn = DUE_TICKS;
  #busy = false;
  /** Rises when a received image replaces the state: what was being written is of the past then. */
  #generation = 0;
  #stopped = false;
  /** A mark that waits for its sync. */
  #marked: { lsn: Lsn; meta: SnapshotMeta; name: SnapshotName; bytes: number } | null = null;
  /** Streams that read the latest file: until they end, nothing is deleted. */
  #readers = 0;
  #retryIn = 0;
  /** For INFO. The longest slice by the clock, and by the processor: the first grows with the machine's load. */
  taken = 0;
  sliceMsMax = 0;
  sliceCpuMsMax = 0;

  constructor(dir: string, host: SnapshotsHost) {
    this.#dir = dir;
    this.#host = host;
  }

  get latest(): SnapshotName | null {
    return this.#latest;
  }

  get latestBytes(): number {
    return this.#latestBytes;
  }

  /** A mark of it is in the log, and not synced yet. */
  get isMarking(): boolean {
    return this.#marked !== null;
  }

  get dir(): string {
    return this.#dir;
  }

  get busy(): boolean {
    return this.#busy;
  }

  /** What the start found: the file in use and its size, and the log behind it. */
  begin(latest: SnapshotName | null, bytes: number, logBytes: number): void {
    this.#latest = latest;
    this.#latestBytes = bytes;
    this.#logBytes = logBytes;
  }

  /** The node stops: what is under way ends without a trace in the log. */
  stop(): void {
    this.#stopped = true;
  }

  logged(bytes: number): void {
    this.#logBytes += bytes;
  }

  /** `ticks` went by. */
  tick(ticks: number): void {
    this.#ticks += ticks;
    this.#dueIn -= ticks;
    this.#retryIn = Math.max(0, this.#retryIn - ticks);
    if (this.#dueIn > 0 || this.#retryIn > 0) return;
    this.#dueIn = DUE_TICKS;
    if (this.#isDue()) this.take();
  }

  #isDue(): boolean {
    const { wal, group } = this.#host;
    if (this.#host.isReplaying()) return false; // an image of the past would be due again at once
    const logBytesMax = Math.max(LOG_BYTES_MIN, this.#latestBytes);
    if (this.#readers > 0) return this.#logBytes > SENDING_PATIENCE * logBytesMax;
    if (this.#logBytes > logBytesMax) return true;
    return this.#ticks > IDLE_TICKS_MAX || wal.pinningGroups().includes(group);
  }

  /** Takes one now; false if there is nothing new, or one is under way. */
  take(): boolean {
    const { platform, store, group } = this.#host;
    if (this.#busy || this.#marked !== null || store.appliedIndex <= (this.#latest?.index ?? 1)) return false;
    this.#busy = true;
    this.#ticks = 0;
    const meta = this.#host.metaAt(store.appliedIndex);
    const logBytesBefore = this.#logBytes;
    const generation = this.#generation;
    const source = this.#timed(
      this.#slice(() => store.beginSnapshot()),
      generation,
    );
    runTask(writeSnapshot(platform.disk, platform.clock, this.#dir, group, meta, source), (error, bytes) => {
      this.#busy = false;
      if (this.#stopped || this.#generation !== generation) return;
      if (error !== null) {
        platform.log.write("error", "snapshot failed; the log is kept", { reason: messageOf(error) });
        this.#retryIn = RETRY_TICKS;
        return;
      }
      this.#logBytes -= logBytesBefore;
      this.taken++;
      this.#mark(meta, bytes);
    });
    return true;
  }

  #timed(source: SnapshotSource, generation: number): SnapshotSource {
    return {
      next: () => {
        if (this.#stopped || this.#generation !== generation)
          throw new NucleusError("ESUPERSEDED", "the state was replaced meanwhile");
        return this.#slice(() => source.next());
      },
      close: () => source.close(),
    };
  }

  #slice<T>(work: () => T): T {
    const { clock } = this.#host.platform;
    const startMs = clock.monotonicMs();
    const cpuStartMs = clock.cpuMs();
    const result = work();
    this.sliceCpuMsMax = Math.max(this.sliceCpuMsMax, clock.cpuMs() - cpuStartMs);
    this.sliceMsMax = Math.max(this.sliceMsMax, clock.monotonicMs() - startMs);
    return result;
  }

  /** The state was replaced by a received image, whose file lasts: the log behind it begins anew. */
  installed(meta: SnapshotMeta, bytes: number): void {
    this.#generation++;
    this.#logBytes = 0;
    this.#ticks = 0;
    this.#mark(meta, bytes);
  }

  /** A complete file of `meta` lasts: the log says so next, and then may begin there. */
  #mark(meta: SnapshotMeta, bytes: number): void {
    const { wal, group, replica } = this.#host;
    assert(
      meta.index > (this.#marked?.meta.index ?? this.#latest?.index ?? 0),
      "snapshots only become newer",
    );
    const lsn = wal.appendSnapshotMark(replica, group, meta.index, meta.term);
    this.#marked = { lsn, meta, name: snapshotName(group, meta.index), bytes };
    this.#host.wake();
  }

  onSynced(lsn: Lsn): void {
    const marked = this.#marked;
    if (marked === null || lsn < marked.lsn) return;
    this.#marked = null;
    this.#latest = marked.name;
    this.#latestBytes = marked.bytes;
    this.#host.platform.log.write("info", "snapshot", { index: marked.meta.index, bytes: marked.bytes });
    this.#host.compacted(marked.meta);
    this.#clean();
  }

  /** Someone reads the latest file. */
  hold(): SnapshotName | null {
    if (this.#latest !== null) this.#readers++;
    return this.#latest;
  }

  release(): void {
    this.#readers--;
    this.#clean();
  }

  #clean(): void {
    const latest = this.#latest;
    if (this.#stopped || this.#readers > 0 || latest === null) return;
    runTask(removeOthers(this.#host.platform, this.#dir, latest), (error) => {
      if (error === null) return;
      this.#host.platform.log.write("warn", "an old snapshot could not be deleted", {
        reason: messageOf(error),
      });
    });
  }
}

function* removeOthers(platform: Platform, dir: string, latest: SnapshotName): Task<void> {
  for (const name of yield* listSnapshots(platform.disk, dir)) {
    if (name.group === latest.group && name.index < latest.index) {
      yield* removeIfThere(platform.disk, `${dir}/${name.file}`);
    }
  }
}

export type LoadedSnapshot = {
  readonly meta: SnapshotMeta;
  readonly name: SnapshotName;
  readonly bytes: number;
};

/** Loads the snapshot that the log's mark names into `store`; null if there was never one. */
export function* loadSnapshot(
  platform: Platform,
  dir: string,
  group: GroupId,
  index: number,
  store: Store,
): Task<LoadedSnapshot | null> {
  yield* removeLeftovers(platform.disk, dir, group);
  const names = yield* listSnapshots(platform.disk, dir);
  for (const name of names) {
    // Newer than the mark: complete, but the log never came to rely on it.
    if (name.group === group && name.index > index)
      yield* wait<void>((done) => platform.disk.unlink(`${dir}/${name.file}`, done));
  }
  if (index === 0) return null;
  const name = snapshotName(group, index);
  if (!names.some(({ file }) => file === name.file)) {
    throw new NucleusError(
      "ESNAPSHOT",
      `${dir}/${name.file} is missing, and the log begins behind it: put it back, or replace this node`,
    );
  }
  const image = store.beginRestore();
  const { meta, bytes } = yield* readSnapshot(platform.disk, dir, name, image);
  assert(image.finish() === null, "an image that was checked can be the state");
  return { meta, name, bytes };
}

/**
 * Snapshots on their way, the follower's side (snapshot_stream.ts has the whole): one transfer at a time.
 *
 *     chunk -> queue -> `.tmp` file, synced as it grows -> loaded beside the running state and checked -> renamed,
 *     lasting -> the core is told; if it takes it, the image becomes the state in that same call
 *
 * So a file that is not whole or does not add up changes nothing: it is refused, and the log never names it
 * (hazards D9, D10, D14). Chunks of a leader of the past are refused too. The last chunk is answered when all of
 * this is done; until then the sender repeats it, and hears that somebody is there.
 */
import { messageOf } from "../base/errors.ts";
import { runTask, type Task, wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import { writeAll } from "../platform/files.ts";
import type { Disk, DiskFile, Log } from "../platform/platform.ts";
import type { Index, ReplicaId, SnapshotMeta, Term } from "../raft/types.ts";
import type { SnapshotSink } from "../store/types.ts";
import type { GroupId } from "../wal/types.ts";
import { SNAPSHOT_STATUS, type SnapshotAck, type SnapshotChunk } from "../wire/peer_encode.ts";
import { readSnapshot, removeIfThere, type SnapshotName, snapshotName } from "./snapshot_file.ts";
import { WINDOW_BYTES } from "./snapshot_stream.ts";

/** The disk is not given more than this at once, so that the log's syncs stay short. */
const SYNC_EVERY_BYTES = 4 * MiB;

/** A whole snapshot: its file lasts, its image is loaded and checked, and is not the state yet. */
export type ReceivedSnapshot = {
  readonly meta: SnapshotMeta;
  readonly bytes: number;
  readonly image: SnapshotSink;
};

export type ReceiverHost = {
  readonly disk: Disk;
  readonly log: Log;
  readonly group: GroupId;
  readonly replica: ReplicaId;
  term(): Term;
  /** What is committed here needs no snapshot. */
  commitIndex(): Index;
  beginRestore(): SnapshotSink;
  sendAck(ack: SnapshotAck): void;
  /** Tells the core; true if it took the snapshot, which is the state now. */
  onReceived(from: ReplicaId, term: Term, received: ReceivedSnapshot): boolean;
};

type Incoming = {
  readonly first: SnapshotChunk;
  readonly name: SnapshotName;
  readonly temporary: SnapshotName;
  file: DiskFile | null;
  /** The temporary file exists. */
  isThere: boolean;
  /** Taken in, written, and answered for. */
  taken: number;
  written: number;
  told: number;
  unsynced: number;
};

export class SnapshotReceiver {
  readonly #host: ReceiverHost;
  readonly #dir: string;
  #incoming: Incoming | null = null;
  /** Chunks that follow each other and wait for the disk: WINDOW_BYTES at most. */
  #queue: Uint8Array[] = [];
  #queueBytes = 0;
  /** The disk is at work for `#incoming`. */
  #working = false;
  #transfers = 0;

  constructor(host: ReceiverHost, dir: string) {
    this.#host = host;
    this.#dir = dir;
  }

  onChunk(chunk: SnapshotChunk): void {
    if (chunk.term < this.#host.term()) return this.#answer(chunk, 0, "refused");
    if (chunk.index <= this.#host.commitIndex()) return this.#answer(chunk, chunk.total, "done");
    let incoming = this.#incoming;
    if (incoming === null || !isSameTransfer(incoming.first, chunk)) {
      if (this.#working) return; // that must end first; the sender repeats
      this.#abandon();
      incoming = this.#begin(chunk);
    }
    if (chunk.offset !== incoming.taken || this.#queueBytes + chunk.bytes.length > WINDOW_BYTES)
      return this.#answer(chunk, incoming.told, "receiving");
    incoming.taken += chunk.bytes.length;
    this.#queue.push(chunk.bytes.slice()); // borrowed from the connection's buffer
    this.#queueBytes += chunk.bytes.length;
    if (!this.#working) this.#work(incoming);
  }

  get isBusy(): boolean {
    return this.#working;
  }

  /** The node stops. */
  stop(): void {
    this.#abandon();
  }

  #begin(first: SnapshotChunk): Incoming {
    const name = snapshotName(first.group, first.index);
    // A path of its own: what an older transfer leaves behind is removed in its own time.
    const temporary = { ...name, file: `${name.file}.${this.#transfers++}.tmp` };
    const counts = { taken: 0, written: 0, told: 0, unsynced: 0 };
    this.#incoming = { first, name, temporary, file: null, isThere: false, ...counts };
    return this.#incoming;
  }

  #work(incoming: Incoming): void {
    this.#working = true;
    runTask(this.#store(incoming), (error, isWhole) => {
      this.#working = false;
      if (this.#incoming !== incoming) return this.#discard(incoming);
      if (error !== null) {
        const reason = messageOf(error);
        this.#host.log.write("error", "a snapshot could not be received", { reason });
        this.#answer(incoming.first, 0, "refused");
      }
      if (error !== null || isWhole) this.#abandon();
    });
  }

  /** Writes what came, and what comes meanwhile; true if that was all of the file. */
  *#store(incoming: Incoming): Task<boolean> {
    const { disk } = this.#host;
    const { first, temporary } = incoming;
    incoming.isThere = true;
    incoming.file ??= yield* wait<DiskFile>((done) =>
      disk.open(`${this.#dir}/${temporary.file}`, "create", done),
    );
    for (let bytes = this.#queue.shift(); bytes !== undefined; bytes = this.#queue.shift()) {
      this.#queueBytes -= bytes.length;
      yield* this.#write(incoming, incoming.file, bytes);
      if (this.#incoming !== incoming) return false; // abandoned: the queue is another's, or nobody's
      if (incoming.written === first.total) {
        yield* this.#complete(incoming, incoming.file);
        return true;
      }
      incoming.told = incoming.written;
      this.#answer(first, incoming.told, "receiving");
    }
    return false;
  }

  *#write(incoming: Incoming, file: DiskFile, bytes: Uint8Array): Task<void> {
    yield* writeAll(file, bytes, incoming.written);
    incoming.written += bytes.length;
    incoming.unsynced += bytes.length;
    if (incoming.unsynced < SYNC_EVERY_BYTES) return;
    incoming.unsynced = 0;
    yield* wait<void>((done) => file.datasync(done));
  }

  *#complete(incoming: Incoming, file: DiskFile): Task<void> {
    const { disk } = this.#host;
    const { first, name, temporary } = incoming;
    yield* wait<void>((done) => file.datasync(done));
    yield* wait<void>((done) => file.close(done));
    incoming.file = null;
    const image = this.#host.beginRestore();
    const { meta, bytes } = yield* readSnapshot(disk, this.#dir, temporary, image);
    if (this.#incoming !== incoming) return;
    // A snapshot of our own may have this name by now: it is of the same state, and either one will do.
    yield* wait<void>((done) =>
      disk.rename(`${this.#dir}/${temporary.file}`, `${this.#dir}/${name.file}`, done),
    );
    incoming.isThere = false;
    yield* wait<void>((done) => disk.syncDir(this.#dir, done));
    if (this.#incoming !== incoming) return;
    const isTaken = this.#host.onReceived(first.from, first.term, { meta, bytes, image });
    const isEnough = isTaken || meta.index <= this.#host.commitIndex();
    this.#answer(first, first.total, isEnough ? "done" : "refused");
  }

  #answer(to: SnapshotChunk, received: number, status: keyof typeof SNAPSHOT_STATUS): void {
    const { group, replica } = this.#host;
    this.#host.sendAck({
      group,
      from: replica,
      to: to.from,
      term: to.term,
      snapshot: to.snapshot,
      received,
      credits: WINDOW_BYTES,
      status: SNAPSHOT_STATUS[status],
    });
  }

  #abandon(): void {
    const incoming = this.#incoming;
    this.#incoming = null;
    this.#queue = [];
    this.#queueBytes = 0;
    if (incoming !== null && !this.#working) this.#discard(incoming);
  }

  /** Closes and removes what was being written. */
  #discard(incoming: Incoming): void {
    if (!incoming.isThere) return;
    incoming.isThere = false;
    const path = `${this.#dir}/${incoming.temporary.file}`;
    runTask(closeAndRemove(this.#host.disk, incoming.file, path), (error) => {
      if (error === null) return;
      const reason = messageOf(error);
      this.#host.log.write("warn", "what came of a snapshot could not be deleted", { reason });
    });
  }
}

function* closeAndRemove(disk: Disk, file: DiskFile | null, path: string): Task<void> {
  if (file !== null) yield* wait<void>((done) => file.close(done));
  yield* removeIfThere(disk, path);
}

function isSameTransfer(a: SnapshotChunk, b: SnapshotChunk): boolean {
  return (
    a.from === b.from &&
    a.term === b.term &&
    a.snapshot === b.snapshot &&
    a.index === b.index &&
    a.snapshotTerm === b.snapshotTerm &&
    a.total === b.total
  );
}

/**
 * Snapshots on their way to replicas that need entries the log no longer has: the file as it is, in chunks, over
 * the bulk connection, with at most WINDOW_BYTES unanswered (hazard I3).
 *
 *     leader    snapshotsWanted -> open the latest file -> chunk .. chunk <- ack(received) .. -> snapshotSent
 *     follower  chunk -> `.tmp` file -> last: sync, rename, sync of the directory -> the core is told
 *
 * Every chunk names its transfer, (index, term) and offset; a chunk that does not continue what is there is
 * answered with where to go on, so a broken connection resumes and chunks of two files never mix (D14).
 */
import { messageOf } from "../base/errors.ts";
import { runTask, type Task, wait } from "../base/task.ts";
import { KiB, MiB } from "../base/units.ts";
import { readAll, writeAll } from "../platform/files.ts";
import type { DiskFile, Platform } from "../platform/platform.ts";
import type { ReplicaId, SnapshotMeta, Term } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";
import { SNAPSHOT_STATUS, type SnapshotAck, type SnapshotChunk } from "../wire/peer_encode.ts";
import { readSnapshotHead, removeIfThere, type SnapshotName } from "./snapshot_file.ts";
import type { Snapshots } from "./snapshots.ts";

const CHUNK_BYTES = 256 * KiB;
const WINDOW_BYTES = 4 * MiB;
/** Without an answer for this long (10 s) the transfer is given up; the core asks for another. */
const SILENT_TICKS_MAX = 1000;

export type StreamHost = {
  readonly platform: Platform;
  readonly group: GroupId;
  readonly replica: ReplicaId;
  term(): Term;
  /** False: no connection now. */
  sendChunk(chunk: SnapshotChunk): boolean;
  sendAck(ack: SnapshotAck): void;
  snapshotSent(to: ReplicaId, index: number, ok: boolean): void;
  /** A whole file is here, lasting and named. */
  onReceived(from: ReplicaId, term: Term, meta: SnapshotMeta, name: SnapshotName, bytes: number): void;
};

type Outgoing = {
  readonly to: ReplicaId;
  readonly id: number;
  readonly name: SnapshotName;
  readonly file: DiskFile;
  readonly meta: SnapshotMeta;
  readonly total: number;
  /** Of the leadership that began it: a later one's message must not carry this one's choice, nor the reverse. */
  readonly term: Term;
  sent: number;
  acked: number;
  reading: boolean;
  silentTicks: number;
};

/** The leader's side: one transfer to each replica that needs one. */
export class SnapshotSender {
  readonly #host: StreamHost;
  readonly #snapshots: Snapshots;
  readonly #streams = new Map<ReplicaId, Outgoing | "opening">();
  #idNext = 1;

  constructor(host: StreamHost, snapshots: Snapshots) {
    this.#host = host;
    this.#snapshots = snapshots;
  }

  get active(): number {
    return this.#streams.size;
  }

  start(to: ReplicaId): void {
    if (this.#streams.has(to)) return;
    const name = this.#snapshots.hold();
    if (name === null) return this.#host.snapshotSent(to, 0, false);
    this.#streams.set(to, "opening");
    runTask(this.#open(to, name, this.#host.term()), (error, stream) => {
      if (error !== null) {
        this.#host.platform.log.write("error", "a snapshot cannot be read", { reason: messageOf(error) });
        return this.#end(to, name.index, false);
      }
      this.#streams.set(to, stream);
      this.#fill(stream);
    });
  }

  *#open(to: ReplicaId, name: SnapshotName, term: Term): Task<Outgoing> {
    const path = `${this.#snapshots.dir}/${name.file}`;
    const file = yield* wait<DiskFile>((done) => this.#host.platform.disk.open(path, "read", done));
    const total = yield* wait<number>((done) => file.size(done));
    const { meta } = yield* readSnapshotHead(file, path, name);
    const id = this.#idNext++;
    return { to, id, name, file, meta, total, term, sent: 0, acked: 0, reading: false, silentTicks: 0 };
  }

  /** Reads and sends until the window is full. */
  #fill(stream: Outgoing): void {
    if (stream.reading || stream.sent >= stream.total || stream.sent - stream.acked >= WINDOW_BYTES) return;
    stream.reading = true;
    const offset = stream.sent;
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, stream.total - offset));
    runTask(readAll(stream.file, bytes, offset), (error, read) => {
      stream.reading = false;
      if (this.#streams.get(stream.to) !== stream) return;
      if (error !== null || read < bytes.length) return this.#end(stream.to, stream.name.index, false);
      const { group, replica } = this.#host;
      const sent = this.#host.sendChunk({
        group,
        from: replica,
        to: stream.to,
        term: stream.term,
        snapshot: stream.id,
        index: stream.meta.index,
        snapshotTerm: stream.meta.term,
        offset,
        total: stream.total,
        last: offset + bytes.length === stream.total,
        meta: EMPTY,
        bytes,
      });
      if (!sent) return; // tick tries again, or gives up
      if (stream.sent === offset) stream.sent = offset + bytes.length;
      this.#fill(stream);
    });
  }

  onAck(ack: SnapshotAck): void {
    const stream = this.#streams.get(ack.from);
    if (stream === undefined || stream === "opening" || stream.id !== ack.snapshot) return;
    stream.silentTicks = 0;
    if (ack.status === SNAPSHOT_STATUS.done) return this.#end(stream.to, stream.name.index, true);
    if (ack.status === SNAPSHOT_STATUS.refused) return this.#end(stream.to, stream.name.index, false);
    if (ack.received > stream.total) return;
    if (ack.received < stream.acked || stream.sent < ack.received) stream.sent = ack.received; // it starts over
    stream.acked = ack.received;
    this.#fill(stream);
  }

  tick(leads: boolean): void {
    for (const stream of this.#streams.values()) {
      if (stream === "opening") continue;
      if (!leads || stream.term !== this.#host.term() || ++stream.silentTicks > SILENT_TICKS_MAX) {
        this.#end(stream.to, stream.name.index, false);
      } else if (stream.silentTicks % 100 === 0) {
        stream.sent = stream.acked; // what was on its way is lost: from the last answer again
        this.#fill(stream);
      }
    }
  }

  #end(to: ReplicaId, index: number, ok: boolean): void {
    const stream = this.#streams.get(to);
    this.#streams.delete(to);
    if (stream !== undefined && stream !== "opening") stream.file.close(() => {});
    this.#snapshots.release();
    this.#host.snapshotSent(to, index, ok);
  }
}

const EMPTY = new Uint8Array(0);

type Incoming = {
  readonly from: ReplicaId;
  readonly id: number;
  readonly name: SnapshotName;
  readonly snapshotTerm: Term;
  readonly path: string;
  file: DiskFile | null;
  received: number;
  busy: boolean;
};

/** The follower's side: one transfer at a time, the newest wins. */
export class SnapshotReceiver {
  readonly #host: StreamHost;
  readonly #dir: string;
  #incoming: Incoming | null = null;

  constructor(host: StreamHost, dir: string) {
    this.#host = host;
    this.#dir = dir;
  }

  onChunk(chunk: SnapshotChunk): void {
    let incoming = this.#incoming;
    if (incoming === null || incoming.from !== chunk.from || incoming.id !== chunk.snapshot) {
      if (incoming?.busy) return; // the old one's write must end first; the sender repeats
      this.#abandon();
      const file = `${chunk.group}-${chunk.index}.snap`;
      incoming = {
        from: chunk.from,
        id: chunk.snapshot,
        name: { group: chunk.group, index: chunk.index, file },
        snapshotTerm: chunk.snapshotTerm,
        path: `${this.#dir}/${file}.recv.tmp`,
        file: null,
        received: 0,
        busy: false,
      };
      this.#incoming = incoming;
    }
    if (incoming.busy) return;
    if (chunk.offset !== incoming.received)
      return this.#ack(chunk, incoming.received, SNAPSHOT_STATUS.receiving);
    const bytes = chunk.bytes.slice(); // borrowed from the connection's buffer
    const into = incoming;
    into.busy = true;
    runTask(this.#store(into, chunk, bytes), (error) => {
      into.busy = false;
      if (error === null) return;
      this.#host.platform.log.write("error", "a snapshot could not be received", {
        reason: messageOf(error),
      });
      this.#ack(chunk, 0, SNAPSHOT_STATUS.refused);
      this.#abandon();
    });
  }

  *#store(into: Incoming, chunk: SnapshotChunk, bytes: Uint8Array): Task<void> {
    const { disk } = this.#host.platform;
    if (into.file === null) {
      yield* removeIfThere(disk, into.path);
      into.file = yield* wait<DiskFile>((done) => disk.open(into.path, "create", done));
    }
    yield* writeAll(into.file, bytes, into.received);
    into.received += bytes.length;
    if (!chunk.last) {
      this.#ack(chunk, into.received, SNAPSHOT_STATUS.receiving);
      return;
    }
    const file = into.file;
    yield* wait<void>((done) => file.datasync(done));
    const { meta } = yield* readSnapshotHead(file, into.path, into.name);
    yield* wait<void>((done) => file.close(done));
    into.file = null;
    yield* wait<void>((done) => disk.rename(into.path, `${this.#dir}/${into.name.file}`, done));
    yield* wait<void>((done) => disk.syncDir(this.#dir, done));
    this.#incoming = null;
    this.#host.onReceived(chunk.from, chunk.term, meta, into.name, into.received);
    this.#ack(chunk, into.received, SNAPSHOT_STATUS.done);
  }

  #ack(chunk: SnapshotChunk, received: number, status: SnapshotAck["status"]): void {
    const { group, replica } = this.#host;
    this.#host.sendAck({
      group,
      from: replica,
      to: chunk.from,
      term: chunk.term,
      snapshot: chunk.snapshot,
      received,
      credits: WINDOW_BYTES,
      status,
    });
  }

  #abandon(): void {
    this.#incoming?.file?.close(() => {});
    this.#incoming = null;
  }
}

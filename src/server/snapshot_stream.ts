/**
 * Snapshots on their way to replicas that need entries the log no longer has, the leader's side: the file as it
 * is, in chunks, over the bulk connection, with at most WINDOW_BYTES unanswered (hazard I3).
 *
 *     leader    snapshotsWanted -> open the latest file -> chunk .. chunk <- ack(received) .. -> snapshotSent
 *     follower  chunk -> `.tmp` file -> last: sync, rename, load and check -> the core is told      (snapshot_receiver.ts)
 *
 * Every chunk names its transfer (a number drawn at random, so that a leader that was started again does not
 * continue what it began before), (index, term), size and offset; one that does not continue what is there is
 * answered with where to go on. So a broken connection resumes, and chunks of two files never mix (D14).
 */
import { messageOf } from "../base/errors.ts";
import { runTask, type Task, wait } from "../base/task.ts";
import { KiB, MiB } from "../base/units.ts";
import { readAll } from "../platform/files.ts";
import type { DiskFile, Platform } from "../platform/platform.ts";
import type { ReplicaId, SnapshotMeta, Term } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";
import { SNAPSHOT_STATUS, type SnapshotAck, type SnapshotChunk } from "../wire/peer_encode.ts";
import { readSnapshotHead, type SnapshotName } from "./snapshot_file.ts";
import type { Snapshots } from "./snapshots.ts";

const CHUNK_BYTES = 256 * KiB;
/** What is sent and not answered; what a receiver may have to keep until its disk took it. */
export const WINDOW_BYTES = 4 * MiB;
/** Without an answer for this long (10 s) the transfer is given up; the core asks for another. */
const SILENT_TICKS_MAX = 1000;
const TWO_16 = 2 ** 16;

export type SenderHost = {
  readonly platform: Platform;
  readonly group: GroupId;
  readonly replica: ReplicaId;
  term(): Term;
  /** False: no connection now. */
  sendChunk(chunk: SnapshotChunk): boolean;
  snapshotSent(to: ReplicaId, index: number, ok: boolean): void;
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
  /** A read is under way; the file is not closed under it. */
  reading: boolean;
  silentTicks: number;
};

/** The leader's side: one transfer to each replica that needs one. */
export class SnapshotSender {
  readonly #host: SenderHost;
  readonly #snapshots: Snapshots;
  readonly #streams = new Map<ReplicaId, Outgoing | "opening">();
  #idNext: number;
  /** Why the file could not be opened last: the core asks for it with every heartbeat, and it is said once. */
  #problem = "";
  #stopped = false;

  constructor(host: SenderHost, snapshots: Snapshots) {
    this.#host = host;
    this.#snapshots = snapshots;
    this.#idNext = host.platform.random.u32() * TWO_16;
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
      const problem = error === null ? "" : messageOf(error);
      if (problem !== "" && problem !== this.#problem)
        this.#host.platform.log.write("error", "a snapshot cannot be read", { reason: problem });
      this.#problem = problem;
      if (error !== null) return this.#end(to, name.index, false);
      this.#streams.set(to, stream);
      if (this.#stopped) this.#end(to, name.index, false);
      else this.#fill(stream);
    });
  }

  /** Nothing is sent any more; a file that is being opened or read is closed afterwards. */
  stop(): void {
    this.#stopped = true;
    this.tick(false);
  }

  *#open(to: ReplicaId, name: SnapshotName, term: Term): Task<Outgoing> {
    const path = `${this.#snapshots.dir}/${name.file}`;
    const file = yield* wait<DiskFile>((done) => this.#host.platform.disk.open(path, "read", done));
    try {
      const total = yield* wait<number>((done) => file.size(done));
      const { meta } = yield* readSnapshotHead(file, path, name);
      const id = this.#idNext++;
      return { to, id, name, file, meta, total, term, sent: 0, acked: 0, reading: false, silentTicks: 0 };
    } catch (error) {
      yield* wait<void>((done) => file.close(done));
      throw error;
    }
  }

  /** Reads and sends until the window is full. */
  #fill(stream: Outgoing): void {
    if (stream.reading || stream.sent >= stream.total || stream.sent - stream.acked >= WINDOW_BYTES) return;
    stream.reading = true;
    const offset = stream.sent;
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, stream.total - offset));
    runTask(readAll(stream.file, bytes, offset), (error, read) => {
      stream.reading = false;
      if (this.#streams.get(stream.to) !== stream) return stream.file.close(() => {}); // it ended meanwhile
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
    if (stream !== undefined && stream !== "opening" && !stream.reading) stream.file.close(() => {});
    this.#snapshots.release();
    this.#host.snapshotSent(to, index, ok);
  }
}

const EMPTY = new Uint8Array(0);

/**
 * The snapshots of one group that come and go: what the sender and the receiver need of their node, and the moment
 * when a received image becomes the state.
 */
import { assert } from "../base/assert.ts";
import type { Platform } from "../platform/platform.ts";
import type { ReplicaId, SnapshotMeta, Term } from "../raft/types.ts";
import type { SnapshotAck, SnapshotChunk } from "../wire/peer_encode.ts";
import type { GroupReplica } from "./group.ts";
import { type ReceivedSnapshot, SnapshotReceiver } from "./snapshot_receiver.ts";
import { SnapshotSender } from "./snapshot_stream.ts";

export type TrafficHost = {
  readonly platform: Platform;
  /** False: no connection now. */
  sendChunk(chunk: SnapshotChunk): boolean;
  sendAck(ack: SnapshotAck): void;
  wake(): void;
};

export class SnapshotTraffic {
  readonly #group: GroupReplica;
  readonly #host: TrafficHost;
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver;
  /** The snapshot that arrived whole, while the core is told of it. */
  #received: ReceivedSnapshot | null = null;
  #stopped = false;

  constructor(group: GroupReplica, host: TrafficHost) {
    this.#group = group;
    this.#host = host;
    const { platform } = host;
    const { core, snapshots, store } = group;
    const who = { group: group.group, replica: group.replica, term: () => core.term };
    this.#sender = new SnapshotSender(
      {
        ...who,
        platform,
        sendChunk: (chunk) => host.sendChunk(chunk),
        snapshotSent: (to, index, ok) => {
          core.snapshotSent(to, index, ok);
          host.wake();
        },
      },
      snapshots,
    );
    this.#receiver = new SnapshotReceiver(
      {
        ...who,
        disk: platform.disk,
        log: platform.log,
        commitIndex: () => core.commitIndex,
        beginRestore: () => store.beginRestore(),
        sendAck: (ack) => host.sendAck(ack),
        onReceived: (from, term, received) => this.#offer(from, term, received),
      },
      snapshots.dir,
    );
  }

  /** A replica needs what the log no longer has. */
  send(to: ReplicaId): void {
    this.#sender.start(to);
  }

  onChunk(chunk: SnapshotChunk): void {
    if (!this.#stopped) this.#receiver.onChunk(chunk);
  }

  onAck(ack: SnapshotAck): void {
    this.#sender.onAck(ack);
  }

  /** Ticks are needed for what is on its way. */
  get isSending(): boolean {
    return this.#sender.active > 0;
  }

  tick(): void {
    this.#sender.tick(this.#group.isLeader);
  }

  /** The core took the snapshot that it was told of: its image is the state from here on, and the log says so. */
  install(meta: SnapshotMeta): void {
    const received = this.#received;
    assert(received !== null && received.meta.index === meta.index, "the snapshot was just received");
    this.#received = null;
    assert(received.image.finish() === null, "an image that was checked can be the state");
    this.#group.snapshots.installed(meta, received.bytes);
  }

  /** Something of it still reads or writes files. */
  get isBusy(): boolean {
    return this.#group.snapshots.busy || this.#receiver.isBusy;
  }

  stop(): void {
    this.#stopped = true;
    this.#group.snapshots.stop(); // first: the files may be another replica's when the others have ended
    this.#sender.stop();
    this.#receiver.stop();
  }

  /** Tells the core; true if it took it. */
  #offer(from: ReplicaId, term: Term, received: ReceivedSnapshot): boolean {
    if (this.#stopped) return false;
    const group = this.#group;
    this.#received = received;
    group.step({ kind: "snapshot", from, to: group.replica, term, meta: received.meta });
    group.advance();
    const isTaken = this.#received === null;
    this.#received = null;
    this.#host.wake();
    return isTaken;
  }
}

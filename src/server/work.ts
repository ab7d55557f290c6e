/** Which replicas of a node have something for its turn (engine.ts): nobody else is looked at in it. */
import type { Lsn } from "../raft/types.ts";
import type { Wal } from "../wal/types.ts";
import type { HostedReplica } from "./hosted.ts";

export type WorkHost = {
  /** Null while there is no log. */
  wal(): Wal | null;
  /** The replica is not at rest. */
  onAwake(hosted: HostedReplica): void;
};

export class Work {
  readonly #host: WorkHost;
  /** Replicas with work for this turn. */
  readonly #touched = new Set<HostedReplica>();
  /** Those among them with something that the log and the peers have not seen. */
  readonly #fresh = new Set<HostedReplica>();
  /** Replicas whose reads could not all be answered: looked at in the next turn, which a tick brings at the latest. */
  readonly #reading = new Set<HostedReplica>();
  /** Replicas that wait for a sync, or for room in the log. */
  readonly #writing = new Set<HostedReplica>();

  constructor(host: WorkHost) {
    this.#host = host;
  }

  get isEmpty(): boolean {
    return this.#touched.size === 0;
  }

  touch(hosted: HostedReplica): void {
    this.#touched.add(hosted);
    this.#fresh.add(hosted);
  }

  forget(hosted: HostedReplica): void {
    for (const set of [this.#touched, this.#fresh, this.#reading, this.#writing]) set.delete(hosted);
  }

  onSynced(lsn: Lsn): void {
    for (const hosted of this.#writing) {
      hosted.group.onSynced(lsn);
      if (!hosted.group.waitsBeyond(lsn)) this.#writing.delete(hosted);
    }
  }

  /** A turn begins. */
  begin(): void {
    for (const hosted of this.#reading) this.#touched.add(hosted);
    this.#reading.clear();
  }

  /** What all replicas took goes to the log and to their peers. Each proposal asks for it, so only what is new is looked at. */
  appendAll(): void {
    for (const hosted of this.#fresh) {
      this.#fresh.delete(hosted);
      this.#advance(hosted);
    }
  }

  #advance(hosted: HostedReplica): void {
    hosted.group.advance();
    const wal = this.#host.wal();
    if (wal !== null && hosted.group.waitsBeyond(wal.syncedLsn)) this.#writing.add(hosted);
  }

  applyAll(): void {
    const touched = [...this.#touched];
    this.#touched.clear();
    this.#fresh.clear();
    for (const hosted of touched) {
      if (hosted.group.apply()) this.#touched.add(hosted);
      if (hosted.group.hasReads) this.#reading.add(hosted);
      this.#advance(hosted); // what applying allowed: the end of a joint change, a served transfer
      if (!hosted.group.core.atRest) this.#host.onAwake(hosted);
    }
  }
}

/**
 * Cores joined by a network and disks of this process's memory, moved only by whoever holds the cluster: golden
 * scripts step by step, the soak at random. It is the driver's turn of raft/types.ts and nothing else, and it
 * knows none of the core's insides.
 *
 * A disk is an image, which survives a crash, and a queue of writes, which `sync` moves into the image in order.
 * A replica's state machine is the list of what it applied, folded into one number.
 */
import { assert, present } from "../../src/base/assert.ts";
import { utf8, Writer } from "../../src/base/bytes.ts";
import { crc32 } from "../../src/base/checksum.ts";
import { configOfEntry, EMPTY_CONFIG, ENTRY_BODY_OFFSET, encodeConfig } from "../../src/raft/config.ts";
import { RaftCore } from "../../src/raft/core.ts";
import {
  ENTRY_KIND,
  type Entry,
  type EntryKind,
  type GroupConfig,
  type HardState,
  type Index,
  type Lsn,
  type Message,
  type RaftOptions,
  type ReadState,
  type Ready,
  type ReplicaId,
  type SnapshotMeta,
} from "../../src/raft/types.ts";

/** A state machine at one index. */
export type Held = { readonly meta: SnapshotMeta; readonly state: number };
/** A message on its way; a snapshot's message brings the state with it. */
export type Packet = { readonly id: number; readonly message: Message; readonly held: Held | null };

/** Told of everything that leaves a replica. */
export type Observer = {
  took(replica: Replica, ready: Ready): void;
  sent(replica: Replica, packet: Packet): void;
  applied(replica: Replica, entry: Entry): void;
  answered(replica: Replica, read: ReadState): void;
};

const EMPTY_HELD: Held = { meta: { index: 0, term: 0, config: EMPTY_CONFIG }, state: 0 };

type Write = {
  readonly lsn: Lsn;
  readonly hardState: HardState | null;
  readonly held: Held | null;
  readonly entries: readonly Entry[];
};

export class MemoryDisk {
  hardState: HardState;
  held: Held = EMPTY_HELD;
  entries: Entry[];
  readonly queue: Write[] = [];
  #lsn = 0;

  constructor(hardState: HardState, entries: readonly Entry[]) {
    this.hardState = hardState;
    this.entries = [...entries];
  }

  get lastIndex(): Index {
    return this.held.meta.index + this.entries.length;
  }

  /** True if the image has entry (index, term), or a snapshot that covers it. */
  has(index: Index, term: number): boolean {
    const { meta } = this.held;
    return index <= meta.index || this.entries[index - meta.index - 1]?.term === term;
  }

  write(hardState: HardState | null, held: Held | null, entries: readonly Entry[]): Lsn {
    this.#lsn += 10;
    this.queue.push({ lsn: this.#lsn, hardState, held, entries });
    return this.#lsn;
  }

  /** Moves the first `count` writes into the image; returns the position up to which it is synced now. */
  sync(count = this.queue.length): Lsn {
    let lsn = this.#lsn - 10 * this.queue.length;
    for (const write of this.queue.splice(0, count)) {
      lsn = write.lsn;
      this.hardState = write.hardState ?? this.hardState;
      if (write.held !== null) {
        this.held = write.held;
        this.entries = [];
      }
      for (const entry of write.entries) this.#put(entry);
    }
    return lsn;
  }

  /** The mark of a synced snapshot file. */
  keep(held: Held): void {
    assert(this.queue.length === 0, "a mark lies behind all records before it");
    this.entries = this.entries.slice(held.meta.index - this.held.meta.index);
    this.held = held;
  }

  #put(entry: Entry): void {
    const at = entry.index - this.held.meta.index - 1;
    if (at < 0) return;
    assert(at <= this.entries.length, "the disk gets entries without gaps");
    this.entries.length = at;
    this.entries.push(entry);
  }
}

/** An entry with a text as its body. The header is a number that no other entry has: contents never repeat. */
export function makeEntry(
  kind: EntryKind,
  term: number,
  index: Index,
  body: Uint8Array,
  serial: number,
): Entry {
  const writer = new Writer();
  writer.u64(serial);
  writer.zeros(ENTRY_BODY_OFFSET - 8);
  writer.raw(body);
  return { index, term, kind, bytes: writer.copy() };
}

export class Replica {
  readonly id: ReplicaId;
  readonly cluster: Cluster;
  readonly disk: MemoryDisk;
  core: RaftCore;
  up = true;
  /** The newest state machine, and the entries after it that the log has. */
  held: Held;
  entries: Entry[];
  applied: Held;
  /** Snapshots that came by message, until the core installs one. */
  #arrived: Held[] = [];

  constructor(cluster: Cluster, id: ReplicaId, disk: MemoryDisk) {
    this.cluster = cluster;
    this.id = id;
    this.disk = disk;
    this.held = disk.held;
    this.applied = disk.held;
    this.entries = [...disk.entries];
    this.core = this.#restore();
  }

  #restore(): RaftCore {
    const { hardState, held, entries } = this.disk;
    const configs = entries.flatMap((entry) => {
      if (entry.kind !== ENTRY_KIND.config && entry.kind !== ENTRY_KIND.bootstrap) return [];
      return [{ index: entry.index, config: present(configOfEntry(entry), "configs decode") }];
    });
    const log = entries.map(({ term, bytes }) => ({ term, size: bytes.length }));
    return new RaftCore(this.cluster.optionsOf(this.id), { hardState, snapshot: held.meta, log, configs });
  }

  /** Loses what was not synced; the first `kept` writes reached the disk without anyone learning of it. */
  crash(kept = 0): void {
    this.disk.sync(kept);
    this.disk.queue.length = 0;
    this.up = false;
  }

  restart(): void {
    assert(!this.up, "only what is down starts");
    this.up = true;
    this.held = this.disk.held;
    this.applied = this.held;
    this.entries = [...this.disk.entries];
    this.core = this.#restore();
  }

  entryAt(index: Index): Entry | undefined {
    return this.entries[index - this.held.meta.index - 1];
  }

  /** One turn without the sync. */
  take(): Ready | null {
    const ready = this.core.takeReady();
    if (ready === null) return null;
    const { observer } = this.cluster;
    observer.took(this, ready);
    this.#write(ready);
    for (const message of ready.messages) this.#send(message);
    this.#apply(ready.commit);
    for (const read of ready.reads) observer.answered(this, read);
    return ready;
  }

  #write(ready: Ready): void {
    let held: Held | null = null;
    if (ready.snapshot !== null) {
      held = present(
        this.#arrived.find(({ meta }) => meta === ready.snapshot),
        "a snapshot to install has arrived",
      );
      this.#arrived = [];
      this.held = held;
      this.applied = held;
      this.entries = [];
    } else if (ready.truncatedFrom !== null) {
      this.entries.length = ready.truncatedFrom - this.held.meta.index - 1;
    }
    for (const entry of ready.entries) {
      assert(entry.index === this.held.meta.index + this.entries.length + 1, "entries come without gaps");
      this.entries.push(entry);
    }
    if (ready.hardState === null && held === null && ready.entries.length === 0) return;
    this.core.written(this.disk.write(ready.hardState, held, ready.entries));
  }

  #send(message: Message): void {
    let filled = message;
    if (message.kind === "append") {
      if (!this.core.maySend(message)) return;
      const start = message.prevIndex - this.held.meta.index;
      if (start < 0) return; // compacted in this very turn: the driver cannot read it any more
      filled = { ...message, entries: this.entries.slice(start, message.lastIndex - this.held.meta.index) };
    }
    this.cluster.post(this, filled, null);
  }

  #apply(commit: Index): void {
    while (this.applied.meta.index < commit) {
      const index = this.applied.meta.index + 1;
      const entry = present(this.entryAt(index), "committed entries are in the log");
      this.applied = { meta: this.core.metaAt(index), state: crc32(entry.bytes, this.applied.state) };
      this.cluster.observer.applied(this, entry);
    }
    this.core.applied(commit);
  }

  /** The first `count` writes are synced. */
  persist(count = this.disk.queue.length): void {
    this.core.persisted(this.disk.sync(count));
  }

  receive(packet: Packet): void {
    if (packet.held !== null) this.#arrived.push(packet.held);
    this.core.step(packet.message);
  }

  propose(text: string, kind: EntryKind = ENTRY_KIND.commands): void {
    const { core, cluster } = this;
    core.propose(makeEntry(kind, core.term, core.lastIndex + 1, utf8(text), cluster.nextSerial()));
  }

  /** Snapshots what is applied, and forgets entries up to `index` (default: all of them). */
  compact(index = this.applied.meta.index): void {
    const { state } = this.applied;
    const meta = this.core.metaAt(this.applied.meta.index);
    assert(index <= meta.index, "only what is applied is compacted");
    this.persist(); // the log's mark of a snapshot lies behind all records before it, and lasts only with them
    this.disk.keep({ meta, state });
    // The log's tail before the snapshot stays readable, as a real log keeps its segments for a while.
    const tail = this.core.metaAt(index);
    this.entries = this.entries.slice(index - this.held.meta.index);
    this.held = { meta: tail, state: 0 };
    this.core.compacted(tail);
  }

  /** Streams the newest snapshot to `to`; its arrival is a message like any other. */
  stream(to: ReplicaId, ok: boolean): void {
    const { held } = this.disk;
    const { meta } = held;
    if (ok) {
      const message: Message = { kind: "snapshot", from: this.id, to, term: this.core.term, meta };
      this.cluster.post(this, message, held);
    }
    this.core.snapshotSent(to, meta.index, ok);
  }
}

/** The same for all replicas, but for the jitter of their timeouts. */
export type ClusterOptions = Omit<RaftOptions, "self" | "seal" | "random"> & {
  readonly randomOf: (self: ReplicaId) => RaftOptions["random"];
  /** In place of `rest`, if each sees another world. */
  readonly restOf?: (self: ReplicaId) => RaftOptions["rest"];
};

export class Cluster {
  readonly observer: Observer;
  readonly replicas = new Map<ReplicaId, Replica>();
  readonly options: ClusterOptions;
  readonly bootstrap: Entry;
  /** In the order they were sent. */
  packets: Packet[] = [];
  /** "1>2": what 1 sends to 2 is lost. */
  readonly cuts = new Set<string>();
  #serial = 0;
  #packet = 0;

  constructor(config: GroupConfig, options: ClusterOptions, observer: Observer) {
    this.options = options;
    this.observer = observer;
    this.bootstrap = makeEntry(ENTRY_KIND.bootstrap, 0, 1, encodeConfig(config), this.nextSerial());
    for (const { replica } of [...config.voters, ...config.learners]) this.create(replica);
  }

  nextSerial(): number {
    return ++this.#serial;
  }

  optionsOf(self: ReplicaId): RaftOptions {
    const seal: RaftOptions["seal"] = (kind, term, index, body) =>
      makeEntry(kind, term, index, body, this.nextSerial()).bytes;
    const { randomOf, restOf, ...options } = this.options;
    return { ...options, self, seal, random: randomOf(self), rest: restOf?.(self) ?? options.rest };
  }

  /** A blank replica: it knows the bootstrap and nothing else. */
  create(id: ReplicaId): Replica {
    assert(!this.replicas.has(id), "replica ids are never reused");
    const replica = new Replica(this, id, new MemoryDisk({ term: 0, vote: 0, commit: 0 }, [this.bootstrap]));
    this.replicas.set(id, replica);
    return replica;
  }

  get(id: ReplicaId): Replica {
    return present(this.replicas.get(id), `replica ${id} exists`);
  }

  post(from: Replica, message: Message, held: Held | null): void {
    const packet = { id: ++this.#packet, message, held };
    this.observer.sent(from, packet);
    if (!this.cuts.has(`${message.from}>${message.to}`)) this.packets.push(packet);
  }

  /** Takes the packet off the network and gives it to its receiver, if that is up. */
  deliver(packet: Packet): void {
    this.packets.splice(this.packets.indexOf(packet), 1);
    const to = this.replicas.get(packet.message.to);
    if (to?.up === true) to.receive(packet);
  }
}

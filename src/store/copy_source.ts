/**
 * The source's side of a copy: what a shard's leader reads from its own state to send slots elsewhere. It is no part of
 * the replicated state; a new leader begins a new one.
 *
 *     walk     the slots in SCAN's order (slot, key hash), current records
 *     rounds   what changed behind the walk: keys as they are now or as removed, clients, replies of these slots
 *     final    once the slots are sealed and nothing is left: counts and hashes of what the target must have
 *
 * The store tells of every change (keyspace.ts, sessions.ts). Of keys ahead of the walk nothing is kept: they will be
 * read as they are when it comes there. A slot that is emptied as a whole (FLUSHALL), or a state that is replaced, makes
 * the copy `stale`: begin another one. Memory: the names of keys that changed since they were sent, and a number for
 * each client and reply that did.
 */
import { assert } from "../base/assert.ts";
import type { ChunkWriter, MoveFinal, MoveNote } from "../wire/move_entry.ts";
import { Probe } from "./hash.ts";
import type { ChangeWatch, Keyspace } from "./keyspace.ts";
import { eachSlot, hex64, recordsDigest, slotSet } from "./moves.ts";
import { RefList } from "./ref_list.ts";
import type { Sessions, SessionWatch } from "./sessions.ts";
import { SLOT } from "./slots.ts";

/** Records looked up at a time on the walk. */
const WALK_RECORDS = 64;

/** What a copy reads; the keyspace and the sessions are those of the moment. */
export type CopyScene = {
  readonly keyspace: Keyspace;
  readonly sessions: Sessions;
  readonly logTimeMs: number;
};

export class CopySource implements ChangeWatch, SessionWatch {
  readonly #scene: CopyScene;
  readonly #slots: MoveNote["slots"];
  readonly #order: number[] = [];
  readonly #has: (slot: number) => boolean;
  readonly #onClose: () => void;
  /** Place in #order and key hash (unsigned) of the first record that was not walked yet. */
  #slotAt = 0;
  #hash = 0;
  #stale = false;
  /** Keys that changed since they were sent, latin1; `#keys` those of the round at hand, `#changed` of the next. */
  #keys: string[] = [];
  readonly #changed = new Set<string>();
  /** Ids of clients that went, latin1, then refs of those that came or changed. */
  readonly #gone = new Set<string>();
  readonly #clients = new Set<number>();
  readonly #replies = new Set<number>();
  #sessionsBegun = false;
  /** Clients and replies that are left of those there were when a round over them began. */
  #sessionsOfRound = 0;
  /** `rounds` when it did: one over keys and one over sessions that go side by side are one. */
  #roundsSeen = 0;
  /** Rounds begun, and keys of each. */
  rounds = 0;
  roundKeys = 0;
  keysSent = 0;
  readonly #refs = new RefList();
  readonly #probe = new Probe();
  #nameBytes = new Uint8Array(new ArrayBuffer(1024));

  constructor(slots: MoveNote["slots"], scene: CopyScene, onClose: () => void) {
    this.#slots = slots;
    this.#scene = scene;
    this.#has = slotSet(slots);
    this.#onClose = onClose;
    eachSlot(slots, (slot) => this.#order.push(slot));
  }

  /** What it read no longer stands for the state: begin another copy, in another attempt. */
  get isStale(): boolean {
    return this.#stale;
  }

  get isWalking(): boolean {
    return this.#slotAt < this.#order.length;
  }

  /** What was there when it began has not been read to its end yet: `left` says little. */
  get isFirstPass(): boolean {
    return this.isWalking || !this.#sessionsBegun;
  }

  /** Keys, clients and replies that are still to be sent, those ahead of the walk left out. */
  get left(): number {
    return this.#keys.length + this.#changed.size + this.#sessionsLeft;
  }

  get #sessionsLeft(): number {
    return this.#gone.size + this.#clients.size + this.#replies.size;
  }

  /** Nothing is left to be sent, for now; after the seal: for good. */
  get isDone(): boolean {
    return !this.isWalking && this.#sessionsBegun && this.left === 0;
  }

  /** Adds rows to a chunk that was begun, until it has `bytesMax` bytes or nothing is left; at least one if there are. */
  fill(chunk: ChunkWriter, bytesMax: number): void {
    assert(!this.#stale, "a stale copy is not sent");
    while (this.isWalking) if (!this.#walk(chunk, bytesMax)) return;
    if (!this.#sessionsBegun) this.#beginSessions();
    this.#sendKeys(chunk, bytesMax);
    this.#sendSessions(chunk, bytesMax);
  }

  /** What the target must have now; only of sealed slots, and when everything was sent in `chunks` chunks. */
  final(chunks: number, sourceIndex: number): MoveFinal {
    assert(this.isDone && !this.#stale, "everything was sent");
    const { keyspace, sessions, logTimeMs } = this.#scene;
    for (const slot of this.#order)
      assert(keyspace.slots.state(slot) === SLOT.sealed, "the slots are sealed");
    const records = recordsDigest(this.#slots, keyspace);
    const { clients, replies, hashA, hashB } = sessions.digest(logTimeMs, this.#has);
    return {
      chunks,
      keys: records.keys,
      bytes: records.bytes,
      recordsHash: records.hash,
      clients,
      replies,
      sessionsHash: hex64(hashA, hashB),
      timeMs: logTimeMs,
      revision: keyspace.revision,
      sourceIndex,
    };
  }

  close(): void {
    this.#stale = true;
    this.#onClose();
  }

  // ---- what the store tells -----------------------------------------------------------------------------------

  changed(probe: Probe): void {
    if (!this.#has(probe.slot) || this.#isAhead(probe)) return;
    this.#changed.add(nameOf(probe.bytes.subarray(probe.start, probe.end)));
  }

  emptied(slot: number): void {
    if (this.#has(slot)) this.#stale = true;
  }

  /** The whole state was replaced. */
  replaced(): void {
    this.#stale = true;
  }

  client(ref: number): void {
    if (this.#sessionsBegun) this.#clients.add(ref);
  }

  clientGone(ref: number): void {
    this.#clients.delete(ref);
    if (this.#sessionsBegun) this.#gone.add(nameOf(this.#scene.sessions.clientOf(ref).id));
  }

  reply(ref: number): void {
    if (this.#sessionsBegun && this.#has(this.#scene.sessions.replySlot(ref))) this.#replies.add(ref);
  }

  replyGone(ref: number): void {
    this.#replies.delete(ref);
  }

  // ---- sending ------------------------------------------------------------------------------------------------

  #isAhead({ slot, hash }: Probe): boolean {
    if (!this.isWalking) return false;
    const at = this.#order[this.#slotAt] as number;
    return slot > at || (slot === at && hash >>> 0 >= this.#hash);
  }

  /** Sends a slice; false: the chunk is full. */
  #walk(chunk: ChunkWriter, bytesMax: number): boolean {
    const { index, records } = this.#scene.keyspace;
    const slot = this.#order[this.#slotAt] as number;
    const refs = this.#refs;
    refs.clear();
    index.collect(slot, this.#hash, WALK_RECORDS, refs);
    let next = index.nextHash;
    let isFull = false;
    for (let i = 0; i < refs.length && !isFull; i++) {
      isFull = chunk.rows > 0 && chunk.length + rowBytes(records, refs.at(i)) > bytesMax;
      if (isFull) next = this.#stopAt(i, next);
      else this.#send(chunk, refs.at(i));
    }
    this.#hash = Math.max(next, 0);
    if (next < 0) this.#slotAt++;
    return !isFull;
  }

  /**
   * The chunk ends before entry `i` of the slice; gives the hash to go on from. The walk cannot stop between records of
   * one hash, which only keys made to collide have: those that are left of it go with the keys that changed.
   */
  #stopAt(i: number, after: number): number {
    const hash = this.#hashOf(i);
    if (i === 0 || this.#hashOf(i - 1) !== hash) return hash;
    let rest = i;
    for (; rest < this.#refs.length && this.#hashOf(rest) === hash; rest++) {
      this.#changed.add(nameOf(this.#probe.bytes.subarray(this.#probe.start, this.#probe.end)));
    }
    return rest < this.#refs.length ? this.#hashOf(rest) : after;
  }

  #hashOf(i: number): number {
    this.#scene.keyspace.records.aimAtKey(this.#refs.at(i), this.#probe);
    return this.#probe.hash >>> 0;
  }

  #send(chunk: ChunkWriter, ref: number): void {
    const { records } = this.#scene.keyspace;
    const keyAt = records.keyAt(ref);
    const valueAt = records.valueAt(ref);
    chunk.record(
      records.revision(ref),
      records.deadline(ref),
      records.slab.bytesOf(ref),
      keyAt,
      keyAt + records.keySize(ref),
      records.valueBytes(ref),
      valueAt,
      valueAt + records.valueSize(ref),
    );
    this.keysSent++;
  }

  #sendKeys(chunk: ChunkWriter, bytesMax: number): void {
    const { keyspace } = this.#scene;
    if (this.#keys.length === 0 && this.#changed.size > 0) {
      this.#keys = [...this.#changed];
      this.#changed.clear();
      this.rounds++;
      this.roundKeys = this.#keys.length;
    }
    while (this.#keys.length > 0) {
      const key = this.#bytesOf(this.#keys[this.#keys.length - 1] as string);
      this.#probe.aim(key, 0, key.length);
      const ref = keyspace.find(this.#probe);
      const size = ref === 0 ? key.length : rowBytes(keyspace.records, ref);
      if (chunk.rows > 0 && chunk.length + size > bytesMax) return;
      this.#keys.pop();
      if (ref === 0) chunk.removal(key);
      else this.#send(chunk, ref);
    }
  }

  #beginSessions(): void {
    this.#sessionsBegun = true;
    const { sessions } = this.#scene;
    sessions.each(
      (ref) => this.#clients.add(ref),
      (ref) => this.reply(ref),
    );
    this.#sessionsOfRound = this.#sessionsLeft; // they belong to the first pass
  }

  /** Clients that only write elsewhere change all the time as well: rounds over them count as those over keys do. */
  #beginSessionRound(): void {
    if (this.#sessionsOfRound > 0 || this.#sessionsLeft === 0) return;
    if (this.rounds === this.#roundsSeen) this.rounds++;
    this.#roundsSeen = this.rounds;
    this.#sessionsOfRound = this.#sessionsLeft;
  }

  #sendSessions(chunk: ChunkWriter, bytesMax: number): void {
    if (this.#keys.length > 0) return;
    this.#beginSessionRound();
    const before = this.#sessionsLeft;
    this.#addSessions(chunk, bytesMax);
    this.#sessionsOfRound = Math.max(0, this.#sessionsOfRound - (before - this.#sessionsLeft));
  }

  #addSessions(chunk: ChunkWriter, bytesMax: number): void {
    const { sessions } = this.#scene;
    for (const name of this.#gone) {
      if (chunk.rows > 0 && chunk.length > bytesMax) return;
      chunk.client(this.#bytesOf(name), 0, 0, true);
      this.#gone.delete(name);
    }
    for (const ref of this.#clients) {
      if (chunk.rows > 0 && chunk.length > bytesMax) return;
      const { id, floor, notAfter } = sessions.clientOf(ref);
      chunk.client(id, floor, notAfter);
      this.#clients.delete(ref);
    }
    for (const ref of this.#replies) {
      if (chunk.rows > 0 && chunk.length > bytesMax) return;
      const { client, seq, slot, bytes } = sessions.replyOf(ref);
      chunk.reply(sessions.clientOf(client).id, seq, slot, bytes);
      this.#replies.delete(ref);
    }
  }

  #bytesOf(name: string): Uint8Array {
    if (this.#nameBytes.length < name.length)
      this.#nameBytes = new Uint8Array(new ArrayBuffer(2 * name.length));
    for (let i = 0; i < name.length; i++) this.#nameBytes[i] = name.charCodeAt(i);
    return this.#nameBytes.subarray(0, name.length);
  }
}

function rowBytes(records: Keyspace["records"], ref: number): number {
  return 24 + records.keySize(ref) + records.valueSize(ref);
}

/** The bytes as latin1, which is one character a byte. */
function nameOf(bytes: Uint8Array): string {
  let name = "";
  for (let i = 0; i < bytes.length; i++) name += String.fromCharCode(bytes[i] as number);
  return name;
}

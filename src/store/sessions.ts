/**
 * Sessions: what makes a retried write take effect once. A session write carries (client, seq, floor, notAfter,
 * after); the shard remembers of each client the highest floor and notAfter, and the replies of seqs from the floor
 * on. Judged in this order, at apply:
 *
 *     log time > notAfter, notAfter > log time + 60 s, seq < floor     STALE: not executed now
 *     seq is known                                                     its reply, again
 *     `after` >= floor, and without a reply                            TRYAGAIN: an earlier write got lost
 *     else                                                             executed, and its reply kept
 *
 * Nothing is recorded of the first and third. A reply goes when the floor passes it, or with its client when log
 * time has passed the client's notAfter; never by count, so that what is absent was never executed. Counts are
 * capped before a write is proposed (`store.sessionRefusal`).
 *
 *     client cell   word 0 = 1 | number << 8;  1 node in the queue;  2-3 born;  4-7 id;  8-9 floor;  10-11 notAfter
 *     reply cell    word 0 = 2 | size << 8 | kept << 24;  1 ref of the client;  2-3 seq;  4 slot;  bytes from 20 on
 *
 * `born` counts the clients of the shard; it orders those that go at one time. The bytes are native replies
 * (wire/native_reply.ts). Source: thesis 6.3, RIFL.
 */
import { assert } from "../base/assert.ts";
import { getU64 } from "../base/bytes.ts";
import { ClientTable } from "./client_table.ts";
import { DeadlineQueue } from "./deadlines.ts";
import { finish, MIX_A, MIX_B } from "./hash.ts";
import { RefList } from "./ref_list.ts";
import { SeqMap } from "./seq_map.ts";
import {
  CLIENT_BYTES,
  CLIENT_TAG,
  CLIENTS_MAX,
  KEPT,
  NOT_AFTER_AHEAD_MS,
  NUMBER_SHIFT,
  REPLY_HEAD_BYTES,
  REPLY_KEPT_BYTES_MAX,
  REPLY_NOT_KEPT,
  REPLY_TAG,
  replySize,
  type SessionDigest,
  SIZE_SHIFT,
  setU53,
  u53,
  VERDICT,
  type Verdict,
} from "./session_cells.ts";
import { byteAt, Slab, wordAt } from "./slab.ts";

/** Who follows the changes of clients and replies, by their refs: a copy (copy_source.ts). */
export interface SessionWatch {
  client(ref: number): void;
  clientGone(ref: number): void;
  reply(ref: number): void;
  replyGone(ref: number): void;
}

export class Sessions {
  readonly clients = new Slab();
  readonly replies = new Slab();
  readonly #expiry = new DeadlineQueue();
  clientCount = 0;
  replyCount = 0;
  /** Clients ever: the next one's `born`. */
  clientsEver = 0;
  watch: SessionWatch | null = null;
  /** Sums of the hashes of all clients and replies. */
  hashA = 0;
  hashB = 0;

  readonly #table = new ClientTable(this.clients);
  /** By client number: its replies. */
  readonly #maps: (SeqMap | null)[] = [];
  readonly #freeNumbers: number[] = [];

  // What `judge` found of the write at hand.
  #client = 0;
  #reply = 0;
  readonly #dropped = new RefList();
  #a = 0;
  #b = 0;

  get allocatedBytes(): number {
    const pages = this.clients.allocatedBytes + this.replies.allocatedBytes;
    return pages + this.#expiry.allocatedBytes + this.#table.allocatedBytes + this.replyCount * 16;
  }

  get usedBytes(): number {
    return this.clients.usedBytes + this.replies.usedBytes + this.replyCount * 16 + this.#expiry.usedBytes;
  }

  /** Log time at which the next client goes, or -1. */
  earliestMs(): number {
    const notAfter = this.#expiry.earliest();
    return notAfter < 0 ? -1 : notAfter + 1;
  }

  /** Replies kept for the client of the session block at `at`. */
  repliesOf(bytes: Uint8Array, at: number): number {
    const client = this.#table.find(bytes, at);
    return client === 0 ? 0 : this.#mapOf(client).length;
  }

  /**
   * Whether the write at `at` leaves no more replies behind than there are: its reply is kept already, or it says
   * that its client has heard of older ones, which go.
   */
  addsNothing(bytes: Uint8Array, at: number): boolean {
    const client = this.#table.find(bytes, at);
    if (client === 0) return false;
    const floor = u53(this.clients.wordsOf(client), wordAt(client) + 8);
    return getU64(bytes, at + 24) > floor || this.knows(bytes, at);
  }

  /** Whether the reply of the write at `at` is kept: it would be given again, and nothing else would happen. */
  knows(bytes: Uint8Array, at: number): boolean {
    const client = this.#table.find(bytes, at);
    return client !== 0 && this.#mapOf(client).get(getU64(bytes, at + 16)) !== 0;
  }

  /** What becomes of the write whose session block stands at `bytes[at ..)`. */
  judge(bytes: Uint8Array, at: number, logTimeMs: number): Verdict {
    const seq = getU64(bytes, at + 16);
    const notAfter = getU64(bytes, at + 32);
    const after = getU64(bytes, at + 40);
    this.#client = this.#table.find(bytes, at);
    this.#reply = 0;
    if (logTimeMs > notAfter) return VERDICT.late;
    if (notAfter > logTimeMs + NOT_AFTER_AHEAD_MS) return VERDICT.ahead;
    const floor = this.#floorWith(bytes, at);
    if (seq < floor) return VERDICT.belowFloor;
    const map = this.#client === 0 ? null : this.#mapOf(this.#client);
    this.#reply = map === null ? 0 : map.get(seq);
    if (this.#reply !== 0) return VERDICT.known;
    if (after !== 0 && after >= floor && (map === null || map.get(after) === 0)) return VERDICT.outOfOrder;
    return VERDICT.execute;
  }

  /**
   * Records the outcome of the write that `judge` let execute: the first `size` bytes of `reply`, or that it was too
   * long (REPLY_NOT_KEPT). The write's slot is kept beside it, so that a slot can move with its replies.
   */
  record(bytes: Uint8Array, at: number, slot: number, reply: Uint8Array, size: number): void {
    this.#raise(bytes, at);
    this.#keep(getU64(bytes, at + 16), slot, reply, 0, size);
  }

  /** Keeps a reply of the client at hand: `size` bytes from `start` on, or that it was too long. */
  #keep(seq: number, slot: number, reply: Uint8Array, start: number, size: number): void {
    const kept = size >= 0 && size <= REPLY_KEPT_BYTES_MAX;
    const ref = this.replies.take(REPLY_HEAD_BYTES + (kept ? size : 0));
    const words = this.replies.wordsOf(ref);
    const word = wordAt(ref);
    words[word] = REPLY_TAG | (kept ? KEPT | (size << SIZE_SHIFT) : 0);
    words[word + 1] = this.#client;
    setU53(words, word + 2, seq);
    words[word + 4] = slot;
    if (kept) {
      const own = this.replies.bytesOf(ref);
      let to = byteAt(ref) + REPLY_HEAD_BYTES;
      for (let i = 0; i < size; i++) own[to++] = reply[start + i] as number;
    }
    this.#mapOf(this.#client).set(seq, ref);
    this.replyCount++;
    this.#countReply(ref, 1);
    this.watch?.reply(ref);
  }

  // ---- moves --------------------------------------------------------------------------------------------------

  /** There is a client of this id (16 bytes at `at`) with at least this floor and notAfter. */
  takeClient(bytes: Uint8Array, at: number, floor: number, notAfter: number): void {
    this.#client = this.#table.find(bytes, at);
    this.#raiseTo(bytes, at, floor, notAfter);
  }

  /** The client of this id goes, if there is one, and its replies. */
  dropClient(bytes: Uint8Array, at: number): void {
    const client = this.#table.find(bytes, at);
    if (client !== 0) this.#removeClient(client);
  }

  /** Takes a reply of a client in; false if that is unknown. One that is known, or below the floor, stays as it is. */
  takeReply(
    id: Uint8Array,
    at: number,
    seq: number,
    slot: number,
    reply: Uint8Array,
    start: number,
    size: number,
  ): boolean {
    this.#client = this.#table.find(id, at);
    if (this.#client === 0) return false;
    const floor = u53(this.clients.wordsOf(this.#client), wordAt(this.#client) + 8);
    if (seq >= floor && this.#mapOf(this.#client).get(seq) === 0) this.#keep(seq, slot, reply, start, size);
    return true;
  }

  /**
   * Takes over all clients of `other` whose time is not over yet, and their replies: the higher floor and notAfter
   * count. In the order in which `other` met them, so that every replica numbers them alike.
   */
  merge(other: Sessions, logTimeMs: number): void {
    for (const client of other.#byBirth()) {
      const words = other.clients.wordsOf(client);
      const word = wordAt(client);
      const notAfter = u53(words, word + 10);
      if (notAfter < logTimeMs) continue;
      const idAt = byteAt(client) + 16;
      const id = other.clients.bytesOf(client);
      this.takeClient(id, idAt, u53(words, word + 8), notAfter);
      other.#mapOf(client).each((seq, ref) => {
        const head = other.replies.wordsOf(ref)[wordAt(ref)] as number;
        const size = (head & KEPT) === 0 ? REPLY_NOT_KEPT : replySize(head);
        const slot = other.replies.wordsOf(ref)[wordAt(ref) + 4] as number;
        this.takeReply(id, idAt, seq, slot, other.replies.bytesOf(ref), byteAt(ref) + REPLY_HEAD_BYTES, size);
      });
    }
  }

  /**
   * Counts and sums of hashes of all clients whose time is not over at `timeMs` and of their replies in the slots
   * that `has` names: equal for two shards that know the same, whenever and in whatever order they learnt it.
   */
  digest(timeMs: number, has: (slot: number) => boolean): SessionDigest {
    const before = [this.hashA, this.hashB] as const;
    this.hashA = 0;
    this.hashB = 0;
    let clients = 0;
    let replies = 0;
    for (const client of this.#table.refs) {
      if (client === 0) continue;
      const words = this.clients.wordsOf(client);
      if (u53(words, wordAt(client) + 10) < timeMs) continue;
      clients++;
      this.#a = 0x2545f491;
      this.#b = 0x7f4a7c15;
      this.#mix(words, wordAt(client) + 4, 8);
      this.#sum(1);
      this.#mapOf(client).each((_, ref) => {
        if (!has(this.replies.wordsOf(ref)[wordAt(ref) + 4] as number)) return;
        replies++;
        this.#countReply(ref, 1);
      });
    }
    const [hashA, hashB] = [this.hashA, this.hashB];
    [this.hashA, this.hashB] = before;
    return { clients, replies, hashA, hashB };
  }

  /** Every client and every reply, by ref. */
  each(client: (ref: number) => void, reply: (ref: number) => void): void {
    for (const ref of this.#table.refs) {
      if (ref === 0) continue;
      client(ref);
      this.#mapOf(ref).each((_, at) => reply(at));
    }
  }

  clientOf(ref: number): { id: Uint8Array; floor: number; notAfter: number } {
    const words = this.clients.wordsOf(ref);
    const at = wordAt(ref);
    const idAt = byteAt(ref) + 16;
    const id = this.clients.bytesOf(ref).subarray(idAt, idAt + 16);
    return { id, floor: u53(words, at + 8), notAfter: u53(words, at + 10) };
  }

  replySlot(ref: number): number {
    return this.replies.wordsOf(ref)[wordAt(ref) + 4] as number;
  }

  /** `bytes` null = it was not kept. */
  replyOf(ref: number): { client: number; seq: number; slot: number; bytes: Uint8Array | null } {
    const words = this.replies.wordsOf(ref);
    const at = wordAt(ref);
    const head = words[at] as number;
    const start = byteAt(ref) + REPLY_HEAD_BYTES;
    const bytes =
      (head & KEPT) === 0 ? null : this.replies.bytesOf(ref).subarray(start, start + replySize(head));
    return { client: words[at + 1] as number, seq: u53(words, at + 2), slot: words[at + 4] as number, bytes };
  }

  #byBirth(): number[] {
    const all = [...this.#table.refs].filter((ref) => ref !== 0);
    const born = (ref: number): number => u53(this.clients.wordsOf(ref), wordAt(ref) + 2);
    return all.sort((a, b) => born(a) - born(b));
  }

  /** Notes that the known write that `judge` found was asked for again: its floor and notAfter may have risen. */
  repeated(bytes: Uint8Array, at: number): void {
    this.#raise(bytes, at);
  }

  /** Of the known write: whether its reply was kept; then where it is in `knownBytes`. */
  get knownIsKept(): boolean {
    return ((this.replies.wordsOf(this.#reply)[wordAt(this.#reply)] as number) & KEPT) !== 0;
  }

  get knownBytes(): Uint8Array {
    return this.replies.bytesOf(this.#reply);
  }

  get knownStart(): number {
    return byteAt(this.#reply) + REPLY_HEAD_BYTES;
  }

  get knownEnd(): number {
    return this.knownStart + replySize(this.replies.wordsOf(this.#reply)[wordAt(this.#reply)] as number);
  }

  /** Lets clients go whose notAfter log time has passed, until `countMax` clients and replies are gone. */
  removeExpired(logTimeMs: number, countMax: number): void {
    let left = countMax;
    while (left > 0) {
      const notAfter = this.#expiry.earliest();
      if (notAfter < 0 || notAfter >= logTimeMs) return;
      left -= 1 + this.#removeClient(this.#expiry.earliestValue());
    }
  }

  // ---- images -------------------------------------------------------------------------------------------------

  /** Takes in a client cell of a mounted page. False: there is one with its id already. */
  adoptClient(ref: number): boolean {
    const words = this.clients.wordsOf(ref);
    const at = wordAt(ref);
    const id = new Uint8Array(words.buffer, words.byteOffset + 4 * (at + 4), 16);
    if (this.#table.find(id, 0) !== 0) return false;
    this.#enter(ref, u53(words, at + 10), u53(words, at + 2));
    this.#countClient(ref, 1);
    return true;
  }

  /** Takes in a reply cell of a mounted page, whose client is now at `client`. False: its seq is known already. */
  adoptReply(ref: number, client: number): boolean {
    const words = this.replies.wordsOf(ref);
    const at = wordAt(ref);
    const seq = u53(words, at + 2);
    const map = this.#mapOf(client);
    if (map.get(seq) !== 0) return false;
    words[at + 1] = client;
    map.set(seq, ref);
    this.replyCount++;
    this.#countReply(ref, 1);
    return true;
  }

  // ---- clients ------------------------------------------------------------------------------------------------

  #floorWith(bytes: Uint8Array, at: number): number {
    const floor = getU64(bytes, at + 24);
    if (this.#client === 0) return floor;
    return Math.max(floor, u53(this.clients.wordsOf(this.#client), wordAt(this.#client) + 8));
  }

  /** The client exists and has at least this block's floor and notAfter; replies below the floor are gone. */
  #raise(bytes: Uint8Array, at: number): void {
    this.#raiseTo(bytes, at, getU64(bytes, at + 24), getU64(bytes, at + 32));
  }

  #raiseTo(bytes: Uint8Array, at: number, floor: number, notAfter: number): void {
    if (this.#client === 0) {
      this.#client = this.#newClient(bytes, at, floor, notAfter);
      return;
    }
    const ref = this.#client;
    const words = this.clients.wordsOf(ref);
    const word = wordAt(ref);
    const floorBefore = u53(words, word + 8);
    const notAfterBefore = u53(words, word + 10);
    if (floor <= floorBefore && notAfter <= notAfterBefore) return;
    this.clients.guard(ref);
    this.#countClient(ref, -1);
    if (floor > floorBefore) {
      setU53(words, word + 8, floor);
      this.#mapOf(ref).takeBelow(floorBefore, floor, this.#dropped);
      this.#releaseDropped();
    }
    if (notAfter > notAfterBefore) {
      setU53(words, word + 10, notAfter);
      this.#expiry.update(words[word + 1] as number, notAfter, u53(words, word + 2), ref);
    }
    this.#countClient(ref, 1);
    this.watch?.client(ref);
  }

  #newClient(bytes: Uint8Array, at: number, floor: number, notAfter: number): number {
    const ref = this.clients.take(CLIENT_BYTES);
    const words = this.clients.wordsOf(ref);
    const word = wordAt(ref);
    const born = this.clientsEver++;
    words[word] = CLIENT_TAG;
    setU53(words, word + 2, born);
    this.clients.bytesOf(ref).set(bytes.subarray(at, at + 16), byteAt(ref) + 16);
    setU53(words, word + 8, floor);
    setU53(words, word + 10, notAfter);
    this.#enter(ref, notAfter, born);
    this.#countClient(ref, 1);
    this.watch?.client(ref);
    return ref;
  }

  /** Gives the client its number, its place in the table and in the queue. */
  #enter(ref: number, notAfter: number, born: number): void {
    const words = this.clients.wordsOf(ref);
    const word = wordAt(ref);
    const number = this.#freeNumbers.pop() ?? this.#maps.length;
    assert(number < CLIENTS_MAX, "clients are capped before their writes are proposed");
    this.#maps[number] = new SeqMap();
    words[word] = CLIENT_TAG | (number << NUMBER_SHIFT);
    words[word + 1] = this.#expiry.add(notAfter, born, ref);
    this.clientCount++;
    this.#table.add(ref, this.clientCount);
  }

  /** Gives how many replies went with it. */
  #removeClient(ref: number): number {
    const words = this.clients.wordsOf(ref);
    const word = wordAt(ref);
    const number = (words[word] as number) >>> NUMBER_SHIFT;
    this.#mapOf(ref).takeBelow(0, Number.POSITIVE_INFINITY, this.#dropped);
    const replies = this.#releaseDropped();
    this.#countClient(ref, -1);
    this.#expiry.remove(words[word + 1] as number);
    this.#table.remove(ref);
    this.#maps[number] = null;
    this.#freeNumbers.push(number);
    this.clientCount--;
    this.watch?.clientGone(ref);
    this.clients.release(ref);
    return replies;
  }

  #releaseDropped(): number {
    const count = this.#dropped.length;
    for (let i = 0; i < count; i++) {
      const ref = this.#dropped.at(i);
      this.#countReply(ref, -1);
      this.watch?.replyGone(ref);
      this.replies.release(ref);
    }
    this.replyCount -= count;
    this.#dropped.clear();
    return count;
  }

  #mapOf(client: number): SeqMap {
    const number = (this.clients.wordsOf(client)[wordAt(client)] as number) >>> NUMBER_SHIFT;
    return this.#maps[number] as SeqMap;
  }

  // ---- hashes -------------------------------------------------------------------------------------------------

  #countClient(ref: number, times: number): void {
    this.#a = 0x2545f491;
    this.#b = 0x7f4a7c15;
    this.#mix(this.clients.wordsOf(ref), wordAt(ref) + 2, 10);
    this.#sum(times);
  }

  /** The client's id, the reply's seq and slot, and its bytes, of which the last word may be cut. */
  #countReply(ref: number, times: number): void {
    const words = this.replies.wordsOf(ref);
    const at = wordAt(ref);
    const head = words[at] as number;
    const client = words[at + 1] as number;
    this.#a = head;
    this.#b = ~head;
    this.#mix(this.clients.wordsOf(client), wordAt(client) + 4, 4);
    const size = replySize(head);
    this.#mix(words, at + 2, 3 + (size >>> 2));
    let tail = 0;
    const bytes = this.replies.bytesOf(ref);
    const end = byteAt(ref) + REPLY_HEAD_BYTES + size;
    for (let i = end - (size & 3); i < end; i++) tail = (tail << 8) | (bytes[i] as number);
    this.#a ^= tail;
    this.#b += tail;
    this.#sum(times);
  }

  #mix(words: Int32Array, start: number, count: number): void {
    let a = this.#a;
    let b = this.#b;
    for (let i = start; i < start + count; i++) {
      const word = words[i] as number;
      a = Math.imul(((a << 15) | (a >>> 17)) ^ word, MIX_A);
      b = Math.imul((b ^ (b >>> 15)) + word, MIX_B);
    }
    this.#a = a;
    this.#b = b;
  }

  #sum(times: number): void {
    this.hashA = (this.hashA + Math.imul(times, finish(this.#a))) | 0;
    this.hashB = (this.hashB + Math.imul(times, finish(this.#b | 0))) | 0;
  }
}

/**
 * What a leader knows of one replica, and how it feeds it (etcd-io/raft tracker; thesis 10.2.1 pipelining).
 *
 *     probe       where the logs agree is not known: one append at a time, `paused` until it is answered
 *     replicate   it is: appends follow each other without waiting, within the window
 *     snapshot    it needs entries that are gone: nothing is sent until the driver has streamed a snapshot
 *
 * Invariants: match < next; match never falls within a term (hazard B6).
 */
import { assert } from "../base/assert.ts";
import type { Index, ReplicaId } from "./types.ts";

export type ProgressState = "probe" | "replicate" | "snapshot";

export class Progress {
  readonly replica: ReplicaId;
  /** The replica's disk holds the leader's log up to here. */
  match: Index = 0;
  /** The next entry to send. */
  next: Index;
  state: ProgressState = "probe";
  /** Probe only: an append is on its way. Any reply, or a heartbeat's, ends the wait. */
  paused = false;
  /** Tick at which the replica was last heard. */
  contactTick: number;
  /** Highest round of reads that it confirmed. */
  ackedRound = 0;
  /** Highest commit index told to it. */
  commitSent: Index = 0;
  /** `match` when its last heartbeat reply came: standing still with appends on the way means they are lost. */
  matchAtBeat: Index = -1;
  /** It keeps the rest that the leader proposed. */
  rests = false;
  readonly window: Window;

  constructor(replica: ReplicaId, next: Index, tick: number, window: Window) {
    this.replica = replica;
    this.next = next;
    this.contactTick = tick;
    this.window = window;
  }

  /** An acknowledgement arrived. True if it says something new. */
  acknowledge(index: Index): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.window.freeTo(index);
    return true;
  }

  /**
   * A rejection of `prevIndex` arrived, and logs may agree at `hint`. False if it is an old one: overtaken by an
   * acknowledgement, or not about the append that is on its way.
   */
  backOff(prevIndex: Index, hint: Index): boolean {
    if (prevIndex <= this.match || this.state === "snapshot") return false;
    if (this.state === "replicate") {
      this.toProbe(this.match + 1);
      return true;
    }
    if (prevIndex !== this.next - 1) return false;
    this.next = Math.max(Math.min(prevIndex, hint + 1), this.match + 1);
    this.paused = false;
    return true;
  }

  toProbe(next: Index): void {
    assert(next > this.match, "what is acknowledged is not sent again");
    this.state = "probe";
    this.next = next;
    this.paused = false;
    this.window.clear();
  }

  toReplicate(): void {
    this.state = "replicate";
    this.next = this.match + 1;
    this.paused = false;
    this.window.clear();
  }

  toSnapshot(): void {
    this.state = "snapshot";
    this.paused = false;
    this.window.clear();
  }
}

/**
 * Appends on their way to one replica: a ring of (last index, bytes), freed cumulatively by acknowledgements.
 * Bounded in messages and in bytes; the last one may overshoot the bytes, so that a large entry always goes.
 */
export class Window {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  readonly #lastIndexes: number[] = [];
  readonly #sizes: number[] = [];
  #head = 0;
  #count = 0;
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    assert(messagesMax >= 1 && bytesMax >= 1, "a window lets something through");
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax;
  }

  get full(): boolean {
    return this.#count >= this.#messagesMax || this.#bytes >= this.#bytesMax;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(lastIndex: Index, bytes: number): void {
    assert(!this.full, "only an open window takes an append");
    const at = (this.#head + this.#count) % this.#messagesMax;
    this.#lastIndexes[at] = lastIndex;
    this.#sizes[at] = bytes;
    this.#count++;
    this.#bytes += bytes;
  }

  freeTo(index: Index): void {
    while (this.#count > 0 && (this.#lastIndexes[this.#head] as number) <= index) {
      this.#bytes -= this.#sizes[this.#head] as number;
      this.#head = (this.#head + 1) % this.#messagesMax;
      this.#count--;
    }
  }

  clear(): void {
    this.#head = 0;
    this.#count = 0;
    this.#bytes = 0;
  }
}

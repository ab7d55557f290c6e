/**
 * Appends that a follower was sent and the log has no room for yet: they wait here, in order, until it has. What
 * the core takes will be written, so it must not take more than that.
 */
import type { AppendRequest } from "../raft/types.ts";

/** A leader's window (inflightMessagesMax). */
const HELD_APPENDS_MAX = 64;
/** Of an entry in the log besides its batch: prefix and padding. */
const RECORD_OVERHEAD_BYTES = 40;

export class AppendGate {
  readonly #hasRoom: (bytes: number) => boolean;
  readonly #step: (message: AppendRequest) => void;
  #held: AppendRequest[] = [];

  /** `step` is called for each append in turn, right after `hasRoom` said yes to it. */
  constructor(hasRoom: (bytes: number) => boolean, step: (message: AppendRequest) => void) {
    this.#hasRoom = hasRoom;
    this.#step = step;
  }

  offer(message: AppendRequest): void {
    if (this.#held.length === 0 && this.#hasRoomFor(message)) this.#step(message);
    else if (this.#held.length < HELD_APPENDS_MAX) this.#held.push(message); // beyond: the leader sends it again
  }

  get isWaiting(): boolean {
    return this.#held.length > 0;
  }

  /** There may be room by now; true if anything was stepped. */
  release(): boolean {
    const before = this.#held.length;
    while (this.#held.length > 0 && this.#hasRoomFor(this.#held[0] as AppendRequest)) {
      this.#step(this.#held.shift() as AppendRequest);
    }
    return this.#held.length < before;
  }

  #hasRoomFor(message: AppendRequest): boolean {
    let bytes = 0;
    for (const entry of message.entries) bytes += entry.bytes.length + RECORD_OVERHEAD_BYTES;
    return this.#hasRoom(bytes);
  }
}

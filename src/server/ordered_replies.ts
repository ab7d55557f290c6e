/**
 * Replies in the order of the requests, as RESP demands, although they become ready in any order (hazard C10).
 *
 * Requests are numbered as they arrive. The reply that is next in line is written straight into the output; one
 * that is early is written beside it and kept until its turn. Commands of one connection mostly become ready in
 * order, so few are kept.
 */
import { assert } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";
import type { RespEncoder } from "../wire/resp_reply.ts";

const EARLY_CAPACITY_KEPT = 64 * KiB;

export class OrderedReplies {
  readonly encoder: RespEncoder;
  /** Output of the connection: everything in it is in order and complete. */
  out: Writer;
  #early = new Writer(64);
  readonly #kept = new Map<number, Uint8Array>();
  #keptBytes = 0;
  #next = 0;
  #assigned = 0;
  /** Where the reply that is being written starts in `out`. */
  #startedAt = 0;

  constructor(encoder: RespEncoder) {
    this.encoder = encoder;
    this.out = encoder.writer;
  }

  /** The number of the request that was just read. */
  assign(): number {
    return this.#assigned++;
  }

  /** Requests that have no complete reply yet, or one that waits for its turn. */
  get open(): number {
    return this.#assigned - this.#next;
  }

  /** Nothing else can leave before the reply to this request. */
  isNext(request: number): boolean {
    return request === this.#next;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  begin(request: number): RespEncoder {
    assert(request >= this.#next, "a request is answered once");
    if (request === this.#next) {
      this.encoder.writer = this.out;
      this.#startedAt = this.out.length;
    } else {
      if (this.#early.bytes.length > EARLY_CAPACITY_KEPT) this.#early = new Writer(64);
      this.#early.clear();
      this.encoder.writer = this.#early;
    }
    return this.encoder;
  }

  undo(request: number): void {
    if (request === this.#next) this.out.length = this.#startedAt;
  }

  end(request: number): void {
    if (request !== this.#next) {
      this.#kept.set(request, this.#early.copy());
      this.#keptBytes += this.#early.length;
      return;
    }
    this.#next++;
    if (this.#kept.size === 0) return;
    for (let bytes = this.#kept.get(this.#next); bytes !== undefined; bytes = this.#kept.get(this.#next)) {
      this.out.raw(bytes);
      this.#kept.delete(this.#next);
      this.#keptBytes -= bytes.length;
      this.#next++;
    }
  }
}

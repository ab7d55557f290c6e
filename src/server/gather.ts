/**
 * One reply made of the replies of a command's parts (scatter.ts), which are kept in native form until all are there.
 *
 * What is said of a write in parts: its reply if all of them took effect; why not if none did; else that nobody knows,
 * or that some did and some did not - with a first word that no client retries. A read fails if one part does.
 *
 * Bound: GATHERED_BYTES_MAX; a larger reply is an error instead.
 */
import { fromUtf8, getU32, Writer } from "../base/bytes.ts";
import { type CommandView, OP, type Op } from "../wire/command.ts";
import { REPLY_FRAME_BYTES_MAX } from "../wire/native.ts";
import { REPLY_TAG, ReplyEncoder, replayReply } from "../wire/native_reply.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import type { ReplySink } from "../wire/reply.ts";
import type { Origin } from "./bundle.ts";
import { PARTLY, TOO_LARGE, UNCERTAIN } from "./fate.ts";
import type { Lane } from "./lane.ts";

/** How the parts' replies become one. */
type Join = "values" | "sum" | "ok" | "lists" | "first";

export const JOINS: ReadonlyMap<Op, Join> = new Map<Op, Join>([
  [OP.mget, "values"],
  [OP.exists, "sum"],
  [OP.touch, "sum"],
  [OP.del, "sum"],
  [OP.mset, "ok"],
  [OP.dbSize, "sum"],
  [OP.keys, "lists"],
  [OP.flushAll, "ok"],
  [OP.randomKey, "first"],
]);

/** A frame of 64 MiB, with room for its head. */
const GATHERED_BYTES_MAX = REPLY_FRAME_BYTES_MAX - 1024;
/** Tag, and size or count. */
const HEAD_BYTES = 5;

/** Who made the parts of a command on the key space, and makes others of those that are refused. */
export type PartsOwner = {
  onAnswer(part: number): void;
  onRefused(part: number, refusal: NotServed): void;
};

export class Gather implements Origin {
  readonly #join: Join;
  readonly #isWrite: boolean;
  readonly lane: Lane;
  readonly #origin: Origin;
  readonly #tag: number;
  /** Of a command on keys: which of them each part has; null: the parts' number is not known before. */
  readonly #keysOf: readonly (readonly number[])[] | null;
  readonly #owner: PartsOwner | null;
  /** What the lane holds for the whole command; of one on keys it holds each part by itself. */
  readonly #mark: number;
  readonly #replies = new Writer(256);
  readonly #encoder = new ReplyEncoder(this.#replies);
  /** Start and end of each part's reply in `#replies`; -1: there is none. */
  readonly #bounds: number[] = [];
  #startedAt = 0;
  /** Parts without an answer. */
  #open = 0;
  #carriedOut = 0;
  #failure: string | null = null;
  #unknown = false;
  #tooLarge = false;

  constructor(
    view: CommandView,
    lane: Lane,
    origin: Origin,
    tag: number,
    keysOf: readonly (readonly number[])[] | null,
    owner: PartsOwner | null = null,
  ) {
    this.#join = JOINS.get(view.op) as Join;
    this.#isWrite = view.isWrite;
    this.lane = lane;
    this.#origin = origin;
    this.#tag = tag;
    this.#keysOf = keysOf;
    this.#owner = owner;
    this.#mark = keysOf === null ? lane.enter(-1, !view.isWrite) : -1;
    for (let i = 0; i < (keysOf?.length ?? 0); i++) this.add();
  }

  /** Another part; gives its number. */
  add(): number {
    this.#open++;
    return this.#bounds.push(-1, -1) / 2 - 1;
  }

  /** Others stand in this part's place. */
  drop(_part: number): void {
    this.#close();
  }

  begin(_part: number): ReplySink {
    this.#startedAt = this.#replies.length;
    return this.#encoder;
  }

  undo(_part: number): void {
    this.#replies.length = this.#startedAt;
  }

  end(part: number, mark: number): void {
    const replies = this.#replies;
    const start = this.#startedAt;
    if (replies.bytes[start] === REPLY_TAG.error) {
      this.#note(fromUtf8(replies.bytes.subarray(start + HEAD_BYTES, replies.length)));
      replies.length = start;
    } else {
      this.#carriedOut++;
      this.#keep(part, start);
      this.#owner?.onAnswer(part);
    }
    this.#leave(mark);
  }

  #keep(part: number, start: number): void {
    if (this.#replies.length > GATHERED_BYTES_MAX) this.#tooLarge = true;
    if (this.#tooLarge) {
      this.#replies.length = start;
      return;
    }
    this.#bounds[2 * part] = start;
    this.#bounds[2 * part + 1] = this.#replies.length;
  }

  fail(_part: number, mark: number, text: string): void {
    this.#note(text);
    this.#leave(mark);
  }

  /** STALE speaks of the last attempt alone. */
  #note(text: string): void {
    if (this.#isWrite && /^(UNCERTAIN|STALE) /.test(text)) this.#unknown = true;
    this.#failure ??= text;
  }

  hasRoom(): boolean {
    return this.#origin.hasRoom(this.#tag);
  }

  takeBack(part: number, _untouched: boolean, refusal?: NotServed): boolean {
    if (this.#owner === null || refusal === undefined) return false;
    this.#owner.onRefused(part, refusal);
    return true;
  }

  isNil(part: number): boolean {
    return this.#replies.bytes[this.#bounds[2 * part] as number] === REPLY_TAG.nil;
  }

  #leave(mark: number): void {
    if (this.#keysOf !== null) this.lane.leave(mark);
    this.#close();
  }

  #close(): void {
    if (--this.#open > 0) return;
    const sink = this.#origin.begin(this.#tag);
    const text = this.#fate();
    if (text !== null) sink.error(text);
    else this.#write(sink);
    // A command on keys is counted in and out again: all its parts are out.
    this.#origin.end(this.#tag, this.#mark >= 0 ? this.#mark : this.lane.enter(-1, true));
  }

  #fate(): string | null {
    if (this.#unknown) return UNCERTAIN;
    if (this.#failure !== null) return this.#isWrite && this.#carriedOut > 0 ? PARTLY : this.#failure;
    return this.#tooLarge ? TOO_LARGE : null;
  }

  #write(sink: ReplySink): void {
    switch (this.#join) {
      case "ok":
        return sink.simple("OK");
      case "sum":
        return sink.integer(this.#sum());
      case "values":
        return this.#writeValues(sink);
      case "lists":
        return this.#writeLists(sink);
      case "first":
        return this.#writeFirst(sink);
    }
  }

  /** The bounds of the replies that there are. */
  *#parts(): Generator<[start: number, end: number]> {
    for (let i = 0; i < this.#bounds.length; i += 2) {
      const start = this.#bounds[i] as number;
      if (start >= 0) yield [start, this.#bounds[i + 1] as number];
    }
  }

  #sum(): number {
    const { bytes } = this.#replies;
    let sum = 0;
    for (const [at] of this.#parts()) sum += getU32(bytes, at + 1) + getU32(bytes, at + 5) * 2 ** 32;
    return sum;
  }

  /** Values of MGET, in the order of its keys. */
  #writeValues(sink: ReplySink): void {
    const { bytes } = this.#replies;
    const places: number[] = [];
    for (const [part, keys] of (this.#keysOf ?? []).entries()) {
      let at = (this.#bounds[2 * part] as number) + HEAD_BYTES;
      for (const key of keys) {
        places[key] = at;
        at = valueEnd(bytes, at);
      }
    }
    sink.array(places.length);
    for (const at of places) replayReply(bytes, at, valueEnd(bytes, at), sink);
  }

  #writeLists(sink: ReplySink): void {
    const { bytes } = this.#replies;
    let count = 0;
    for (const [start] of this.#parts()) count += getU32(bytes, start + 1);
    sink.array(count);
    for (const [start, end] of this.#parts()) {
      for (let at = start + HEAD_BYTES; at < end; at = valueEnd(bytes, at)) {
        replayReply(bytes, at, valueEnd(bytes, at), sink);
      }
    }
  }

  /** The last one that was asked has a key, or none has. */
  #writeFirst(sink: ReplySink): void {
    let last: [number, number] | null = null;
    for (const bounds of this.#parts()) last = bounds;
    if (last === null) sink.nil();
    else replayReply(this.#replies.bytes, last[0], last[1], sink);
  }
}

/** One past a nil or a blob. */
function valueEnd(bytes: Uint8Array, at: number): number {
  return bytes[at] === REPLY_TAG.blob ? at + HEAD_BYTES + getU32(bytes, at + 1) : at + 1;
}

/**
 * Frames between nodes. After the preamble (preamble.ts) both sides send frames; the first is a `hello`.
 *
 *     0   u32  length       of the whole frame
 *     4   u32  checksum     CRC-32 of bytes [8, covered), continued from `length` as its seed
 *     8   u32  sequence     of this frame in this direction of this connection: 0, 1, 2 .. (mod 2^32)
 *    12   u8   kind         PEER_KIND
 *    13   u8   flags        of the kind; bits without meaning are 0
 *    14   u16  reserved     0
 *    16   ..   body
 *
 * `covered` is the frame's end, except for `append`: there it is where the batches begin. Batches travel
 * verbatim and carry a checksum of their own, so a leader seals them once and sends them to every follower
 * without reading them again; the length in the seed holds them to their place.
 *
 * TCP promises order and integrity, and runtimes have broken both: lost, doubled or swapped bytes show here as
 * a wrong sequence or checksum. Any error closes the connection; the sender opens a new one and starts over.
 *
 * Bodies of the kinds stand in peer_encode.ts and are read in peer_decode.ts.
 */
import { getU16, getU32 } from "../base/bytes.ts";
import { crc32Range } from "../base/checksum.ts";
import { MiB } from "../base/units.ts";
import { FrameParser } from "./frame_parse.ts";

export const PEER_HEADER_BYTES = 16;

/** Numbers of the kinds; a wire version never gives one another meaning. */
export const PEER_KIND = {
  hello: 1,
  append: 2,
  appendReply: 3,
  vote: 4,
  voteReply: 5,
  prevote: 6,
  prevoteReply: 7,
  timeoutNow: 8,
  heartbeats: 9,
  heartbeatReplies: 10,
  snapshotChunk: 11,
  snapshotAck: 12,
  forwardRequest: 13,
  forwardReplies: 14,
  readAsk: 16,
  readAnswer: 17,
  pulse: 18,
  /** One MessagePack value: orders, maps, moves; its meaning is the server's. */
  control: 15,
} as const;
export type PeerKind = (typeof PEER_KIND)[keyof typeof PEER_KIND];
const KINDS = new Set<number>(Object.values(PEER_KIND));

/** group, from, to, term: what every message about one group begins with. */
export const ENVELOPE_BYTES = 24;
/** Header, envelope, prevIndex, prevTerm, commit, count. */
export const APPEND_HEAD_BYTES = PEER_HEADER_BYTES + ENVELOPE_BYTES + 3 * 8 + 4;

/**
 * Most bytes of a peer frame: what one peer can make us hold per connection. Appends stay below it by the core's
 * appendBytesMax (asserted where frames are made), snapshot and move chunks are far smaller, and a reply that a
 * door forwards must fit: native.ts allows no more to a client.
 */
export const PEER_FRAME_BYTES_MAX = 64 * MiB + 64;
/** Kept while idle: the usual append. */
const KEPT_BYTES_MAX = MiB;

export type PeerError =
  | "length"
  | "sequence"
  | "checksum"
  | "kind"
  | "flags"
  | "reserved"
  | "number_range"
  | "replica_range"
  | "count"
  | "batch"
  | "batch_order"
  | "body";

/** Cuts the stream into frames whose header, sequence and checksum are right. */
export class PeerParser {
  error: PeerError = "length";
  kind: PeerKind = PEER_KIND.hello;
  flags = 0;
  readonly #frames = new FrameParser({
    frameBytesMin: PEER_HEADER_BYTES,
    frameBytesMax: PEER_FRAME_BYTES_MAX,
    keptBytesMax: KEPT_BYTES_MAX,
  });
  #sequence = 0;

  /** Holds the current frame, whole; borrowed until the next `feed`. */
  get bytes(): Uint8Array {
    return this.#frames.bytes;
  }

  /** Where the current frame's body starts. */
  get bodyStart(): number {
    return this.#frames.start + PEER_HEADER_BYTES;
  }

  get bodyEnd(): number {
    return this.#frames.end;
  }

  get bufferedBytes(): number {
    return this.#frames.bufferedBytes;
  }

  feed(chunk: Uint8Array): void {
    this.#frames.feed(chunk);
  }

  /** "error": see `error`, and close. */
  next(): "frame" | "more" | "error" {
    const event = this.#frames.next();
    if (event !== "frame") return event;
    const { bytes, start, end } = this.#frames;
    const error = this.#check(bytes, start, end);
    if (error !== null) {
      this.error = error;
      return this.#frames.fail();
    }
    this.kind = bytes[start + 12] as PeerKind;
    this.flags = bytes[start + 13] as number;
    this.#sequence = (this.#sequence + 1) >>> 0;
    return "frame";
  }

  #check(bytes: Uint8Array, start: number, end: number): PeerError | null {
    const kind = bytes[start + 12] as number;
    if (kind === PEER_KIND.append && end - start < APPEND_HEAD_BYTES) return "length";
    const covered = kind === PEER_KIND.append ? start + APPEND_HEAD_BYTES : end;
    if (crc32Range(bytes, start + 8, covered, end - start) !== getU32(bytes, start + 4)) return "checksum";
    if (getU32(bytes, start + 8) !== this.#sequence) return "sequence";
    if (!KINDS.has(kind)) return "kind";
    return getU16(bytes, start + 14) === 0 ? null : "reserved";
  }
}

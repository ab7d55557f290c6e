/**
 * The native client protocol. After the preamble (preamble.ts) both sides send frames:
 *
 *     0   u32  length       of the whole frame
 *     4   u8   flags        0
 *     5   u8   opcode       OPCODE
 *     6   u16  reserved     0
 *     8   u64  request id   chosen by the client; the answer carries it back
 *    16   ..   body
 *
 *     opcode        from     body                                         answered by
 *     command       client   one command frame (command.ts)               reply
 *     reply         server   one native reply (native_reply.ts)
 *     ping          client   anything, at most PING_BYTES_MAX             pong, with the same body
 *     pong          server   what the ping held
 *     hello         client   MessagePack, control.ts `clientHello`        hello_reply
 *     hello_reply   server   MessagePack, control.ts `helloReply`
 *     map           client   nothing: asks for the slot map               map_reply
 *     map_reply     server   MessagePack; also sent unasked (request id 0) when the map changes
 *     admin         client   MessagePack: what operators ask of a node    admin_reply
 *     admin_reply   server   MessagePack
 *     closing       server   UTF-8: why the connection is being closed
 *     read          client   a head (below), one command frame            read_reply
 *     read_reply    server   a head, one native reply
 *
 * A read that a follower may answer, for who named WIRE_VERSION_READS in the hello:
 *
 *     read         u32 mode: 1 follower, 2 stale           u32 0   u64 most ms of staleness; all ones = any
 *     read_reply   u32 by: 0 leader, 1 read index, 2 stale   u32 0   u64 ms that the state may lack; all ones = unknown
 *
 * Requests are pipelined; answers come in any order. Errors of a command travel inside its reply, with the
 * prefixes of error_text.ts. A malformed frame closes the connection. Nothing here is checksummed: TCP's own
 * and the length discipline serve clients, peers have more (peer.ts).
 */
import { assert } from "../base/assert.ts";
import { getU16, getU32, getU64, setU32, type Writer } from "../base/bytes.ts";
import { KiB, MiB } from "../base/units.ts";
import { COMMAND_BYTES_MAX } from "./command.ts";
import { FrameParser } from "./frame_parse.ts";

export const NATIVE_HEADER_BYTES = 16;
/** Most bytes of a frame from a client: a command and this header. */
export const REQUEST_FRAME_BYTES_MAX = NATIVE_HEADER_BYTES + COMMAND_BYTES_MAX;
/** Most bytes of a frame from a server; a longer reply (KEYS of everything) is an error instead. */
export const REPLY_FRAME_BYTES_MAX = 64 * MiB;
export const PING_BYTES_MAX = 1 * KiB;
const KEPT_BYTES_MAX = 64 * KiB;

export const OPCODE = {
  command: 1,
  reply: 2,
  ping: 3,
  pong: 4,
  hello: 5,
  helloReply: 6,
  map: 7,
  mapReply: 8,
  admin: 9,
  adminReply: 10,
  closing: 11,
  read: 12,
  readReply: 13,
} as const;
export type Opcode = (typeof OPCODE)[keyof typeof OPCODE];
/** Of `read` and `readReply`. */
export const READ_HEAD_BYTES = 16;
export const READ_MODE = { follower: 1, stale: 2 } as const;
export const READ_BY = ["leader", "read-index", "stale"] as const;

/** `ms` null: any, or unknown. */
export function writeReadHead(writer: Writer, code: number, ms: number | null): void {
  writer.u32(code);
  writer.u32(0);
  if (ms !== null) return writer.u64(ms);
  writer.u32(0xffffffff);
  writer.u32(0xffffffff);
}

/** The head at `at` of a body that ends at `end`; null: there is none such. */
export function readHead(
  bytes: Uint8Array,
  at: number,
  end: number,
): { code: number; ms: number | null } | null {
  if (end - at < READ_HEAD_BYTES || getU32(bytes, at + 4) !== 0) return null;
  const isNone = getU32(bytes, at + 8) === 0xffffffff && getU32(bytes, at + 12) === 0xffffffff;
  const ms = isNone ? null : getU64(bytes, at + 8);
  return ms !== null && ms < 0 ? null : { code: getU32(bytes, at), ms };
}

const OPCODES = new Set<number>(Object.values(OPCODE));

export type NativeFrameError = "length" | "flags" | "opcode" | "reserved" | "request_id" | "body";

/** One frame's header, checked. Reused by its owner. */
export class NativeFrame {
  bytes: Uint8Array = new Uint8Array(0);
  opcode: Opcode = OPCODE.ping;
  requestId = 0;
  bodyStart = 0;
  bodyEnd = 0;

  /** Reads the frame that fills `bytes[start, end)`. */
  read(bytes: Uint8Array, start: number, end: number): NativeFrameError | null {
    if (end - start < NATIVE_HEADER_BYTES || getU32(bytes, start) !== end - start) return "length";
    if (bytes[start + 4] !== 0) return "flags";
    const opcode = bytes[start + 5] as number;
    if (!OPCODES.has(opcode)) return "opcode";
    if (getU16(bytes, start + 6) !== 0) return "reserved";
    const requestId = getU64(bytes, start + 8);
    if (requestId < 0) return "request_id";
    this.bytes = bytes;
    this.opcode = opcode as Opcode;
    this.requestId = requestId;
    this.bodyStart = start + NATIVE_HEADER_BYTES;
    this.bodyEnd = end;
    return opcode === OPCODE.ping && this.bodyEnd - this.bodyStart > PING_BYTES_MAX ? "body" : null;
  }

  /** A borrowed view of the body. */
  body(): Uint8Array {
    return this.bytes.subarray(this.bodyStart, this.bodyEnd);
  }
}

/** For the side that listens (`from` = "client") or the side that dialled (`from` = "server"). */
export function nativeParser(from: "client" | "server"): FrameParser {
  return new FrameParser({
    frameBytesMin: NATIVE_HEADER_BYTES,
    frameBytesMax: from === "client" ? REQUEST_FRAME_BYTES_MAX : REPLY_FRAME_BYTES_MAX,
    keptBytesMax: KEPT_BYTES_MAX,
  });
}

/**
 * Begins a frame at the end of `writer` and gives its place for `endNative`; the body is what is written between.
 */
export function beginNative(writer: Writer, opcode: Opcode, requestId: number): number {
  const at = writer.length;
  writer.u32(0);
  writer.u8(0);
  writer.u8(opcode);
  writer.u16(0);
  writer.u64(requestId);
  return at;
}

export function endNative(writer: Writer, at: number): void {
  const length = writer.length - at;
  assert(length >= NATIVE_HEADER_BYTES && length <= REPLY_FRAME_BYTES_MAX, "a native frame fits its limit");
  setU32(writer.bytes, at, length);
}

/** A whole frame with `body`. */
export function writeNative(writer: Writer, opcode: Opcode, requestId: number, body: Uint8Array): void {
  const at = beginNative(writer, opcode, requestId);
  writer.raw(body);
  endNative(writer, at);
}

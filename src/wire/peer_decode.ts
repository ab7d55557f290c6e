/**
 * Reads the bodies of peer frames (layouts: peer_encode.ts) that passed PeerParser, into checked values.
 *
 * What the core keeps is copied here, once: the batches of an append become entries over one buffer of their
 * own. All other bytes in a PeerFrame are borrowed from the parser until its next `feed`.
 *
 * Errors: a PeerError, and the connection is closed. An append is right as a whole or not at all: each batch
 * must verify, belong to the group, continue the log at prevIndex + 1 without a gap, and no term may fall or
 * pass the sender's.
 */
import { fromUtf8, getU32, getU64, Reader } from "../base/bytes.ts";
import type { AppendRequest, Entry, Heartbeat, HeartbeatReply } from "../raft/types.ts";
import { BATCH_HEADER_BYTES, readBatch } from "./batch.ts";
import { COMMAND_BYTES_MAX, COMMAND_HEADER_BYTES, SLOT_SET_BYTES } from "./command.ts";
import { CONTROL_BYTES_MAX, type PeerHello, peerHello } from "./control.ts";
import { decodeShape, ShapeError } from "./msgpack.ts";
import { ENVELOPE_BYTES, PEER_KIND, type PeerError, type PeerKind } from "./peer.ts";
import {
  FORWARD_STATUS,
  type ForwardStatus,
  type GroupMessage,
  type NotServed,
  PEER_FLAG_RESUMES,
  PEER_FLAG_YES,
  type Route,
  type SingleMessage,
  SNAPSHOT_STATUS,
  type SnapshotAck,
  type SnapshotChunk,
  type SnapshotStatus,
} from "./peer_encode.ts";

export type ForwardRequest = {
  readonly request: number;
  readonly group: number;
  readonly deadlineMs: number;
  readonly count: number;
  readonly rides: boolean;
  readonly resumes: boolean;
  /** `bytes[start, end)`: `count` command frames by their sizes; what is in them is still to be checked. */
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
};

export type ForwardReply = {
  readonly request: number;
  readonly ordinal: number;
  readonly status: ForwardStatus;
  /** ok: `bytes[start, end)` is a native reply, still to be checked (`replayReply`). */
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** not_leader: the leader's node id, "" if unknown; refused, unknown: an error text. */
  readonly text: string;
  /** not_leader: the hint's term. */
  readonly term: number;
  /** not_served: why; else null. */
  readonly refusal: NotServed | null;
};

export type PeerFrame =
  | { readonly kind: "hello"; readonly hello: PeerHello }
  | {
      readonly kind: "message";
      readonly group: number;
      readonly message: AppendRequest | SingleMessage;
      readonly wallMs: number;
    }
  | { readonly kind: "heartbeats"; readonly rows: readonly GroupMessage<Heartbeat>[] }
  | {
      readonly kind: "heartbeat_replies";
      readonly wallMs: number;
      readonly rows: readonly GroupMessage<HeartbeatReply>[];
    }
  | { readonly kind: "pulse"; readonly wallMs: number }
  | { readonly kind: "snapshot_chunk"; readonly chunk: SnapshotChunk }
  | { readonly kind: "snapshot_ack"; readonly ack: SnapshotAck }
  | { readonly kind: "forward_request"; readonly request: ForwardRequest }
  | { readonly kind: "forward_replies"; readonly rows: readonly ForwardReply[] }
  /** A MessagePack value, still to be checked. */
  | { readonly kind: "control"; readonly bytes: Uint8Array };

/** Bytes of a row, to judge counts before anything is made for them. */
const HEARTBEAT_ROW_BYTES = ENVELOPE_BYTES + 16;
const HEARTBEAT_REPLY_ROW_BYTES = ENVELOPE_BYTES + 8;
/** Of rests, where a frame has them. */
const REST_BYTES = 8;
const REPLY_ROW_BYTES_MIN = 17;

/** A frame as PeerParser shows it. */
export type ReceivedFrame = {
  readonly kind: PeerKind;
  readonly flags: number;
  readonly bytes: Uint8Array;
  readonly bodyStart: number;
  readonly bodyEnd: number;
};

/** What a received frame says. */
export function decodePeerFrame(received: ReceivedFrame): PeerFrame | PeerError {
  const { kind, flags } = received;
  if ((flags & ~(FLAGS_KNOWN.get(kind) ?? 0)) !== 0) return "flags";
  const reader = new Reader(received.bytes, received.bodyStart, received.bodyEnd);
  const frame = decodeBody(kind, flags, reader);
  if (typeof frame === "string") return frame;
  return reader.done() ? frame : "body";
}

const FLAGS_KNOWN = new Map<PeerKind, number>([
  [PEER_KIND.appendReply, PEER_FLAG_YES],
  [PEER_KIND.vote, PEER_FLAG_YES],
  [PEER_KIND.prevote, PEER_FLAG_YES],
  [PEER_KIND.voteReply, PEER_FLAG_YES],
  [PEER_KIND.prevoteReply, PEER_FLAG_YES],
  [PEER_KIND.heartbeats, PEER_FLAG_YES],
  [PEER_KIND.heartbeatReplies, PEER_FLAG_YES],
  [PEER_KIND.snapshotChunk, PEER_FLAG_YES],
  [PEER_KIND.forwardRequest, PEER_FLAG_YES | PEER_FLAG_RESUMES],
]);

function decodeBody(kind: PeerKind, flags: number, reader: Reader): PeerFrame | PeerError {
  const yes = (flags & PEER_FLAG_YES) !== 0;
  switch (kind) {
    case PEER_KIND.hello:
      return decodeHello(reader);
    case PEER_KIND.append:
      return decodeAppend(reader);
    case PEER_KIND.heartbeats:
      return decodeHeartbeats(yes, reader);
    case PEER_KIND.heartbeatReplies:
      return decodeHeartbeatReplies(yes, reader);
    case PEER_KIND.pulse:
      return decodePulse(reader);
    case PEER_KIND.snapshotChunk:
      return decodeSnapshotChunk(yes, reader);
    case PEER_KIND.snapshotAck:
      return decodeSnapshotAck(reader);
    case PEER_KIND.forwardRequest:
      return decodeForwardRequest(yes, (flags & PEER_FLAG_RESUMES) !== 0, reader);
    case PEER_KIND.forwardReplies:
      return decodeForwardReplies(reader);
    case PEER_KIND.control:
      if (reader.left > CONTROL_BYTES_MAX) return "length";
      return { kind: "control", bytes: reader.raw(reader.left) };
    default:
      return decodeSingle(kind, yes, reader);
  }
}

function decodeHello(reader: Reader): PeerFrame | PeerError {
  if (reader.left > CONTROL_BYTES_MAX) return "length";
  const hello = decodeShape(peerHello, reader.raw(reader.left), "peer hello");
  return hello instanceof ShapeError ? "body" : { kind: "hello", hello };
}

/** The envelope, or null: too short, or a number that no envelope holds. */
function readRoute(reader: Reader): Route | null {
  const group = reader.u64();
  const from = reader.u32();
  const to = reader.u32();
  const term = reader.u64();
  return reader.failed || from === 0 || to === 0 ? null : { group, from, to, term };
}

function decodeAppend(reader: Reader): PeerFrame | PeerError {
  const route = readRoute(reader);
  const prevIndex = reader.u64();
  const prevTerm = reader.u64();
  const commit = reader.u64();
  const count = reader.u32();
  if (route === null || reader.failed) return "number_range";
  const { group, from, to, term } = route;
  const lastIndex = prevIndex + count;
  if (!Number.isSafeInteger(lastIndex) || prevTerm > term) return "number_range";
  const entries = readEntries(reader, count, { group, index: prevIndex + 1, term: prevTerm, termMax: term });
  if (typeof entries === "string") return entries;
  const message = {
    kind: "append",
    from,
    to,
    term,
    prevIndex,
    prevTerm,
    lastIndex,
    entries,
    commit,
  } as const;
  return { kind: "message", group, message, wallMs: 0 };
}

/** What the first batch must be: `term` is the lowest it may have. */
type Expected = {
  readonly group: number;
  readonly index: number;
  readonly term: number;
  readonly termMax: number;
};

function readEntries(reader: Reader, count: number, expected: Expected): Entry[] | PeerError {
  if (count * BATCH_HEADER_BYTES > reader.left) return "count";
  const batches = reader.raw(reader.left).slice();
  const entries: Entry[] = [];
  let term = expected.term;
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (batches.length - at < BATCH_HEADER_BYTES) return "batch";
    const end = at + BATCH_HEADER_BYTES + getU32(batches, at);
    if (end > batches.length) return "batch";
    const entry = readBatch(batches, at, end);
    if (typeof entry === "string") return "batch";
    if (getU64(batches, at + 8) !== expected.group || entry.index !== expected.index + i)
      return "batch_order";
    if (entry.term < term || entry.term > expected.termMax) return "batch_order";
    term = entry.term;
    entries.push(entry);
    at = end;
  }
  return at === batches.length ? entries : "count";
}

function decodeSingle(kind: PeerKind, yes: boolean, reader: Reader): PeerFrame | PeerError {
  const route = readRoute(reader);
  if (route === null) return "number_range";
  const { group, ...envelope } = route;
  let wallMs = 0;
  let message: SingleMessage;
  if (kind === PEER_KIND.vote || kind === PEER_KIND.prevote) {
    const lastIndex = reader.u64();
    const lastTerm = reader.u64();
    message = {
      kind: kind === PEER_KIND.vote ? "vote" : "prevote",
      ...envelope,
      lastIndex,
      lastTerm,
      transfer: yes,
    };
  } else if (kind === PEER_KIND.voteReply || kind === PEER_KIND.prevoteReply) {
    wallMs = reader.u64();
    message = {
      kind: kind === PEER_KIND.voteReply ? "vote_reply" : "prevote_reply",
      ...envelope,
      granted: yes,
    };
  } else if (kind === PEER_KIND.appendReply) {
    const index = reader.u64();
    const hintIndex = reader.u64();
    const hintTerm = reader.u64();
    message = { kind: "append_reply", ...envelope, accepted: yes, index, hintIndex, hintTerm };
  } else if (kind === PEER_KIND.readAsk) {
    message = { kind: "read_ask", ...envelope, ask: reader.u64() };
  } else if (kind === PEER_KIND.readAnswer) {
    const ask = reader.u64();
    message = { kind: "read_answer", ...envelope, ask, index: reader.u64() };
  } else {
    message = { kind: "timeout_now", ...envelope };
  }
  return reader.failed ? "number_range" : { kind: "message", group, message, wallMs };
}

function decodePulse(reader: Reader): PeerFrame | PeerError {
  const wallMs = reader.u64();
  return reader.failed ? "number_range" : { kind: "pulse", wallMs };
}

function decodeHeartbeats(hasRests: boolean, reader: Reader): PeerFrame | PeerError {
  const count = reader.u32();
  const rowBytes = HEARTBEAT_ROW_BYTES + (hasRests ? REST_BYTES : 0);
  if (reader.failed || count * rowBytes !== reader.left) return "count";
  const rows: GroupMessage<Heartbeat>[] = [];
  for (let i = 0; i < count; i++) {
    const route = readRoute(reader);
    const commit = reader.u64();
    const round = reader.u64();
    const rest = hasRests ? reader.u64() : 0;
    if (route === null || reader.failed) return "number_range";
    const { group, from, to, term } = route;
    rows.push({ group, message: { kind: "heartbeat", from, to, term, commit, round, rest } });
  }
  return { kind: "heartbeats", rows };
}

function decodeHeartbeatReplies(hasRests: boolean, reader: Reader): PeerFrame | PeerError {
  const wallMs = reader.u64();
  const count = reader.u32();
  const rowBytes = HEARTBEAT_REPLY_ROW_BYTES + (hasRests ? REST_BYTES : 0);
  if (reader.failed || count * rowBytes !== reader.left) return "count";
  const rows: GroupMessage<HeartbeatReply>[] = [];
  for (let i = 0; i < count; i++) {
    const route = readRoute(reader);
    const round = reader.u64();
    const rest = hasRests ? reader.u64() : 0;
    if (route === null || reader.failed) return "number_range";
    const { group, from, to, term } = route;
    rows.push({ group, message: { kind: "heartbeat_reply", from, to, term, round, rest } });
  }
  return { kind: "heartbeat_replies", wallMs, rows };
}

function decodeSnapshotChunk(last: boolean, reader: Reader): PeerFrame | PeerError {
  const route = readRoute(reader);
  const snapshot = reader.u64();
  const index = reader.u64();
  const snapshotTerm = reader.u64();
  const offset = reader.u64();
  const total = reader.u64();
  const meta = reader.blob();
  const bytes = reader.blob();
  if (route === null || reader.failed) return "number_range";
  const end = offset + bytes.length;
  if (end > total || last !== (end === total) || index < 1) return "number_range";
  return {
    kind: "snapshot_chunk",
    chunk: { ...route, snapshot, index, snapshotTerm, offset, total, last, meta, bytes },
  };
}

function decodeSnapshotAck(reader: Reader): PeerFrame | PeerError {
  const route = readRoute(reader);
  const snapshot = reader.u64();
  const received = reader.u64();
  const credits = reader.u32();
  const status = reader.u8();
  if (route === null || reader.failed || status > SNAPSHOT_STATUS.refused) return "number_range";
  return {
    kind: "snapshot_ack",
    ack: { ...route, snapshot, received, credits, status: status as SnapshotStatus },
  };
}

function decodeForwardRequest(rides: boolean, resumes: boolean, reader: Reader): PeerFrame | PeerError {
  const request = reader.u64();
  const group = reader.u64();
  const deadlineMs = reader.u32();
  const count = reader.u32();
  if (reader.failed) return "number_range";
  const { bytes, at: start, end } = reader;
  let at = start;
  for (let i = 0; i < count; i++) {
    if (end - at < COMMAND_HEADER_BYTES) return "count";
    const size = getU32(bytes, at);
    if (size < COMMAND_HEADER_BYTES || size > COMMAND_BYTES_MAX || size > end - at) return "count";
    at += size;
  }
  if (count === 0 || at !== end) return "count";
  reader.at = end;
  return {
    kind: "forward_request",
    request: { request, group, deadlineMs, count, rides, resumes, bytes, start, end },
  };
}

function decodeForwardReplies(reader: Reader): PeerFrame | PeerError {
  const count = reader.u32();
  if (reader.failed || count * REPLY_ROW_BYTES_MIN > reader.left) return "count";
  const rows: ForwardReply[] = [];
  for (let i = 0; i < count; i++) {
    const row = readReplyRow(reader);
    if (row === null) return "number_range";
    rows.push(row);
  }
  return { kind: "forward_replies", rows };
}

function readReplyRow(reader: Reader): ForwardReply | null {
  const request = reader.u64();
  const ordinal = reader.u32();
  const status = reader.u8() as ForwardStatus;
  const size = reader.u32();
  if (reader.failed || status > FORWARD_STATUS.notServed || size > reader.left) return null;
  const bytes = reader.bytes;
  const end = reader.at + size;
  let term = 0;
  if (status === FORWARD_STATUS.notLeader) {
    if (size < 8) return null;
    term = reader.u64();
    if (reader.failed) return null;
  }
  let refusal: NotServed | null = null;
  if (status === FORWARD_STATUS.notServed) {
    if (size < 20) return null;
    const slot = reader.u32();
    refusal = { slot, epoch: reader.u64(), group: reader.u64(), shard: "" };
    if (reader.failed || slot >= 8 * SLOT_SET_BYTES) return null;
  }
  const start = reader.at;
  reader.at = end;
  const text = status === FORWARD_STATUS.ok ? "" : fromUtf8(bytes.subarray(start, end));
  if (refusal !== null) refusal = { ...refusal, shard: text };
  return { request, ordinal, status, bytes, start, end, text, term, refusal };
}

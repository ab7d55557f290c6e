/**
 * Writes peer frames (header: peer.ts) at the end of a Writer, numbering them. Bodies, after the 16 bytes of
 * header; E = envelope: group u64, from u32, to u32, term u64.
 *
 *     hello              MessagePack, control.ts `peerHello`
 *     append             E, prevIndex u64, prevTerm u64, commit u64, count u32, then `count` batches
 *     append_reply       E, index u64, hintIndex u64, hintTerm u64           flags 1 = accepted
 *     vote, prevote      E, lastIndex u64, lastTerm u64                      flags 1 = transfer
 *     .._reply           E, wallMs u64                                       flags 1 = granted
 *     timeout_now        E
 *     read_ask           E, ask u64
 *     read_answer        E, ask u64, index u64
 *     heartbeats         count u32, rows: E, commit u64, round u64          flags 1 = .. each with rest u64
 *     heartbeat_replies  wallMs u64, count u32, rows: E, round u64          flags 1 = .. each with rest u64
 *     pulse              wallMs u64
 *     snapshot_chunk     E, snapshot u64, index u64, snapshotTerm u64, offset u64, total u64,
 *                        meta (u32 size, bytes), chunk (u32 size, bytes)     flags 1 = last
 *     snapshot_ack       E, snapshot u64, received u64, credits u32, status u8
 *     forward_request    request u64, group u64, deadlineMs u32, count u32, then `count` command frames
                                            flags 1 = all ride in the log, 2 = resumes after a refusal
 *     forward_replies    count u32, rows: request u64, ordinal u32, status u8, size u32, then by status:
 *                        ok: a native reply; not_leader: term u64, leader's node id; not_served: slot u32,
 *                        epoch u64, group u64 and shard id of who has it (0 and "" = unknown); else: an error text
 *     control            MessagePack
 *
 * A wallMs is the replier's own wall clock, milliseconds since 1970: what log time is made of. Nothing is
 * encoded here that the decoder would refuse: such a message is a bug and trips an assertion.
 */
import { assert, unreachable } from "../base/assert.ts";
import { setU32, utf8, type Writer } from "../base/bytes.ts";
import { crc32Range } from "../base/checksum.ts";
import type {
  AppendReply,
  AppendRequest,
  Heartbeat,
  HeartbeatReply,
  Message,
  ReadAnswer,
  ReadAsk,
  TimeoutNow,
  VoteReply,
  VoteRequest,
} from "../raft/types.ts";
import { type PeerHello, peerHello } from "./control.ts";
import { encodeShape } from "./msgpack.ts";
import {
  APPEND_HEAD_BYTES,
  PEER_FRAME_BYTES_MAX,
  PEER_HEADER_BYTES,
  PEER_KIND,
  type PeerKind,
} from "./peer.ts";

const U32_MAX = 0xffffffff;

/** Frame flags that more than one kind uses. */
export const PEER_FLAG_YES = 1;
/** Of a forward request. */
export const PEER_FLAG_RESUMES = 2;

export const FORWARD_STATUS = {
  /** The body is the reply. */
  ok: 0,
  /** Not proposed; the body names who leads, if known. */
  notLeader: 1,
  /** Certainly not proposed; the body says why. */
  refused: 2,
  /** Perhaps proposed; the body says what is known. */
  unknown: 3,
  /** Not executed, and nothing recorded: the group does not serve this slot; the body says who does, if known. */
  notServed: 4,
} as const;
export type ForwardStatus = (typeof FORWARD_STATUS)[keyof typeof FORWARD_STATUS];

/** Why a group did not take a command. */
export type NotServed = {
  /** This slot is not served there, */
  readonly slot: number;
  /** since this epoch; */
  readonly epoch: number;
  /** and this group has it now; 0 = not known. */
  readonly group: number;
  readonly shard: string;
};

export const SNAPSHOT_STATUS = { receiving: 0, done: 1, refused: 2 } as const;
export type SnapshotStatus = (typeof SNAPSHOT_STATUS)[keyof typeof SNAPSHOT_STATUS];

/** Whose messages they are: the driver knows, the core does not. */
export type Route = {
  readonly group: number;
  readonly from: number;
  readonly to: number;
  readonly term: number;
};

export type SnapshotChunk = Route & {
  /** Names this transfer; a new one, with a new name, makes the receiver drop the old. */
  readonly snapshot: number;
  readonly index: number;
  readonly snapshotTerm: number;
  readonly offset: number;
  readonly total: number;
  readonly last: boolean;
  /** The snapshot's configuration in raft's own form; with offset 0, else empty. */
  readonly meta: Uint8Array;
  readonly bytes: Uint8Array;
};

export type SnapshotAck = Route & {
  readonly snapshot: number;
  /** All bytes before this offset are on disk: where to go on. */
  readonly received: number;
  /** Bytes that may be on their way. */
  readonly credits: number;
  readonly status: SnapshotStatus;
};

export type GroupMessage<M extends Message> = { readonly group: number; readonly message: M };

/** Messages of the core that travel alone. Heartbeats travel together, snapshots in chunks, appends by `append`. */
export type SingleMessage = VoteRequest | VoteReply | AppendReply | TimeoutNow | ReadAsk | ReadAnswer;

const SINGLE_KINDS: Readonly<Record<SingleMessage["kind"], PeerKind>> = {
  vote: PEER_KIND.vote,
  prevote: PEER_KIND.prevote,
  vote_reply: PEER_KIND.voteReply,
  prevote_reply: PEER_KIND.prevoteReply,
  append_reply: PEER_KIND.appendReply,
  timeout_now: PEER_KIND.timeoutNow,
  read_ask: PEER_KIND.readAsk,
  read_answer: PEER_KIND.readAnswer,
};

export class PeerEncoder {
  /** Output of the connection; it may be exchanged between frames. */
  writer: Writer;
  #sequence = 0;
  #start = -1;
  /** Rows in the open frame of replies, and where the open row's size stands. */
  #rowCount = 0;
  #sizeAt = -1;

  constructor(writer: Writer) {
    this.writer = writer;
  }

  hello(hello: PeerHello): void {
    this.#begin(PEER_KIND.hello);
    this.writer.raw(encodeShape(peerHello, hello));
    this.#end();
  }

  /** `body` is a MessagePack value. */
  control(body: Uint8Array): void {
    this.#begin(PEER_KIND.control);
    this.writer.raw(body);
    this.#end();
  }

  /**
   * The head of an append whose batches, (prevIndex, lastIndex] and `batchesBytes` long, the caller sends
   * right behind it as they are: by writing them to `writer`, or by handing their buffers to the socket.
   */
  appendHead(group: number, message: AppendRequest, batchesBytes: number): void {
    const writer = this.writer;
    const count = message.lastIndex - message.prevIndex;
    assert(count >= 0 && (count === 0) === (batchesBytes === 0), "an append has the batches it announces");
    this.#begin(PEER_KIND.append);
    this.#envelope(group, message);
    writer.u64(message.prevIndex);
    writer.u64(message.prevTerm);
    writer.u64(message.commit);
    writer.u32(count);
    assert(writer.length - this.#start === APPEND_HEAD_BYTES, "the head has its declared size");
    this.#end(0, batchesBytes);
  }

  /** `wallMs` is this node's wall clock; only vote replies carry it. */
  single(group: number, message: SingleMessage, wallMs: number): void {
    this.#begin(SINGLE_KINDS[message.kind]);
    this.#envelope(group, message);
    let yes = false;
    switch (message.kind) {
      case "vote":
      case "prevote":
        this.writer.u64(message.lastIndex);
        this.writer.u64(message.lastTerm);
        yes = message.transfer;
        break;
      case "vote_reply":
      case "prevote_reply":
        this.writer.u64(wallMs);
        yes = message.granted;
        break;
      case "append_reply":
        this.writer.u64(message.index);
        this.writer.u64(message.hintIndex);
        this.writer.u64(message.hintTerm);
        yes = message.accepted;
        break;
      case "read_ask":
        this.writer.u64(message.ask);
        break;
      case "read_answer":
        this.writer.u64(message.ask);
        this.writer.u64(message.index);
        break;
      case "timeout_now":
        break;
      default:
        unreachable(message);
    }
    this.#end(yes ? PEER_FLAG_YES : 0);
  }

  heartbeats(rows: readonly GroupMessage<Heartbeat>[]): void {
    const hasRests = rows.some(({ message }) => message.rest !== 0);
    this.#begin(PEER_KIND.heartbeats);
    this.writer.u32(rows.length);
    for (const { group, message } of rows) {
      this.#envelope(group, message);
      this.writer.u64(message.commit);
      this.writer.u64(message.round);
      if (hasRests) this.writer.u64(message.rest);
    }
    this.#end(hasRests ? PEER_FLAG_YES : 0);
  }

  heartbeatReplies(wallMs: number, rows: readonly GroupMessage<HeartbeatReply>[]): void {
    const hasRests = rows.some(({ message }) => message.rest !== 0);
    this.#begin(PEER_KIND.heartbeatReplies);
    this.writer.u64(wallMs);
    this.writer.u32(rows.length);
    for (const { group, message } of rows) {
      this.#envelope(group, message);
      this.writer.u64(message.round);
      if (hasRests) this.writer.u64(message.rest);
    }
    this.#end(hasRests ? PEER_FLAG_YES : 0);
  }

  /** The node is there: it stands for heartbeats of all groups that rest. */
  pulse(wallMs: number): void {
    this.#begin(PEER_KIND.pulse);
    this.writer.u64(wallMs);
    this.#end();
  }

  snapshotChunk(chunk: SnapshotChunk): void {
    const writer = this.writer;
    assert(chunk.offset + chunk.bytes.length <= chunk.total, "a chunk lies inside its snapshot");
    assert(
      chunk.last === (chunk.offset + chunk.bytes.length === chunk.total),
      "the last chunk ends the snapshot",
    );
    this.#begin(PEER_KIND.snapshotChunk);
    this.#envelope(chunk.group, chunk);
    writer.u64(chunk.snapshot);
    writer.u64(chunk.index);
    writer.u64(chunk.snapshotTerm);
    writer.u64(chunk.offset);
    writer.u64(chunk.total);
    writer.blob(chunk.meta);
    writer.blob(chunk.bytes);
    this.#end(chunk.last ? PEER_FLAG_YES : 0);
  }

  snapshotAck(ack: SnapshotAck): void {
    const writer = this.writer;
    this.#begin(PEER_KIND.snapshotAck);
    this.#envelope(ack.group, ack);
    writer.u64(ack.snapshot);
    writer.u64(ack.received);
    writer.u32(ack.credits);
    writer.u8(ack.status);
    this.#end();
  }

  /** `frames[start, end)` holds `count` validated command frames back to back. */
  forwardRequest(
    head: {
      readonly request: number;
      readonly group: number;
      readonly deadlineMs: number;
      readonly count: number;
      /** All of it must ride in the log, reads too: they stand behind writes of the same connection. */
      readonly rides?: boolean;
      /** The door has heard of every refusal so far: what the leader refused meanwhile may come again now. */
      readonly resumes?: boolean;
    },
    frames: Uint8Array,
    start: number,
    end: number,
  ): void {
    const writer = this.writer;
    this.#begin(PEER_KIND.forwardRequest);
    writer.u64(head.request);
    writer.u64(head.group);
    writer.u32(head.deadlineMs);
    writer.u32(head.count);
    writer.range(frames, start, end);
    this.#end((head.rides === true ? PEER_FLAG_YES : 0) | (head.resumes === true ? PEER_FLAG_RESUMES : 0));
  }

  /** Opens a frame of replies; add rows, then `endReplies`. */
  beginReplies(): void {
    this.#begin(PEER_KIND.forwardReplies);
    this.writer.u32(0);
    this.#rowCount = 0;
  }

  /** A row whose reply is already encoded: `bytes[start, end)` is one native reply. */
  replyBytes(request: number, ordinal: number, bytes: Uint8Array, start: number, end: number): void {
    assert(end > start, "a reply row holds a reply");
    this.#beginRow(request, ordinal, FORWARD_STATUS.ok);
    this.writer.range(bytes, start, end);
    this.#endRow();
  }

  /** `leader` is a node id, "" if unknown; `term` orders such hints. */
  replyNotLeader(request: number, ordinal: number, term: number, leader: string): void {
    this.#beginRow(request, ordinal, FORWARD_STATUS.notLeader);
    this.writer.u64(term);
    this.writer.raw(utf8(leader));
    this.#endRow();
  }

  replyNotServed(request: number, ordinal: number, refusal: NotServed): void {
    this.#beginRow(request, ordinal, FORWARD_STATUS.notServed);
    this.writer.u32(refusal.slot);
    this.writer.u64(refusal.epoch);
    this.writer.u64(refusal.group);
    this.writer.raw(utf8(refusal.shard));
    this.#endRow();
  }

  /** `text` is a complete error text. */
  replyError(request: number, ordinal: number, status: "refused" | "unknown", text: string): void {
    this.#beginRow(request, ordinal, FORWARD_STATUS[status]);
    this.writer.raw(utf8(text));
    this.#endRow();
  }

  /** Bytes of the open frame so far: callers close it before it grows past what they want to send at once. */
  get frameBytes(): number {
    return this.#start === -1 ? 0 : this.writer.length - this.#start;
  }

  endReplies(): void {
    assert(this.#sizeAt === -1, "every row is closed");
    setU32(this.writer.bytes, this.#start + PEER_HEADER_BYTES, this.#rowCount);
    this.#end();
  }

  #beginRow(request: number, ordinal: number, status: ForwardStatus): void {
    assert(this.#start !== -1 && this.#sizeAt === -1, "one row at a time, in an open frame");
    this.writer.u64(request);
    this.writer.u32(ordinal);
    this.writer.u8(status);
    this.#sizeAt = this.writer.length;
    this.writer.u32(0);
  }

  #endRow(): void {
    this.writer.patchU32(this.#sizeAt, this.writer.length - this.#sizeAt - 4);
    this.#sizeAt = -1;
    this.#rowCount++;
  }

  #envelope(group: number, route: Omit<Route, "group">): void {
    assert(isReplica(route.from) && isReplica(route.to), "a replica id is in 1..2^32-1");
    this.writer.u64(group);
    this.writer.u32(route.from);
    this.writer.u32(route.to);
    this.writer.u64(route.term);
  }

  #begin(kind: PeerKind): void {
    assert(this.#start === -1, "one frame at a time");
    const writer = this.writer;
    this.#start = writer.length;
    writer.u32(0);
    writer.u32(0);
    writer.u32(this.#sequence);
    writer.u8(kind);
    writer.zeros(3);
  }

  /** Seals what was written; `moreBytes` follow that belong to the frame but not to its checksum. */
  #end(flags = 0, moreBytes = 0): void {
    const { bytes, length: end } = this.writer;
    const start = this.#start;
    const length = end - start + moreBytes;
    assert(length <= PEER_FRAME_BYTES_MAX, "a peer frame fits its limit");
    setU32(bytes, start, length);
    bytes[start + 13] = flags;
    setU32(bytes, start + 4, crc32Range(bytes, start + 8, end, length));
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#start = -1;
  }
}

function isReplica(id: number): boolean {
  return Number.isInteger(id) && id >= 1 && id <= U32_MAX;
}

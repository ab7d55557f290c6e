/**
 * Forwarding, at the leader's side: commands that another node's door sent over one connection. One object to
 * each connection, so that a late reply can never reach a newer one (hazard C10); when the connection is gone,
 * replies to it go nowhere, and the door asks again elsewhere. Within it one object to each group: what one group
 * refuses holds up no other.
 *
 * Replies of a turn leave together, in frames of about REPLY_BYTES; with that much on its way to the door, reads
 * wait (about 5 ms of copying, so that heartbeats are not late).
 */
import { Writer } from "../base/bytes.ts";
import { MiB } from "../base/units.ts";
import type { GroupId } from "../wal/types.ts";
import { CommandView } from "../wire/command.ts";
import { GROUPS_MAX } from "../wire/control_plane.ts";
import { ReplyEncoder } from "../wire/native_reply.ts";
import { PEER_FRAME_BYTES_MAX } from "../wire/peer.ts";
import type { ForwardRequest } from "../wire/peer_decode.ts";
import type { NotServed, PeerEncoder } from "../wire/peer_encode.ts";
import type { ReplySink } from "../wire/reply.ts";
import { validateCommand } from "../wire/validate.ts";
import type { Origin } from "./bundle.ts";
import { TOO_LARGE, UNCERTAIN } from "./fate.ts";
import type { PeerLink } from "./peer_link.ts";
import type { PeersHost } from "./peers.ts";
import type { Router } from "./router.ts";

const REPLY_BYTES = 2 * MiB;
/** Tags are request * 2^16 + ordinal: a request has at most 65,536 commands (bundle.ts), ids stay below 2^37. */
const ORDINALS = 65_536;

const OK = 0;
const NOT_LEADER = 1;
const FAILED = 2;
const NOT_SERVED = 3;
/** Most of one reply: with its row and the frame's head it must fit a frame, behind others of REPLY_BYTES. */
const REPLY_BYTES_MAX = PEER_FRAME_BYTES_MAX - 2 * REPLY_BYTES;

export class ForwardServer {
  readonly #link: PeerLink;
  readonly #host: PeersHost;
  readonly #view = new CommandView();
  readonly #replies = new Writer(4096);
  readonly #encoder = new ReplyEncoder(this.#replies);
  readonly #doors = new Map<GroupId, GroupDoor>();
  /** Answers of this turn: tag, status, start and end in `#replies` (or another detail), four numbers each. */
  #rows: number[] = [];
  readonly #fates: string[] = [];
  readonly #refusals: NotServed[] = [];
  #startedAt = 0;
  #gone = false;

  constructor(link: PeerLink, host: PeersHost) {
    this.#link = link;
    this.#host = host;
  }

  /** False: a frame in it is malformed, which no correct door sends. */
  onRequest(request: ForwardRequest): boolean {
    const door = this.#door(request.group);
    if (door === null) return false;
    const router = door.open(this.#host.routerOf(request.group), request.resumes);
    let at = request.start;
    for (let ordinal = 0; ordinal < request.count; ordinal++) {
      const bad = this.#view.read(request.bytes, at, request.end);
      if (bad !== null || validateCommand(this.#view) !== null) return false;
      const tag = request.request * ORDINALS + ordinal;
      if (router === null) door.refuse(tag);
      else router.admitForwarded(this.#view, at, request.rides || this.#view.isWrite, door, tag);
      at = this.#view.end;
    }
    return true;
  }

  #door(group: GroupId): GroupDoor | null {
    const known = this.#doors.get(group);
    if (known !== undefined) return known;
    if (this.#doors.size >= GROUPS_MAX) return null; // a node holds no more
    const door = new GroupDoor(group, this);
    this.#doors.set(group, door);
    return door;
  }

  begin(): ReplySink {
    this.#startedAt = this.#replies.length;
    return this.#encoder;
  }

  undo(): void {
    this.#replies.length = this.#startedAt;
  }

  end(tag: number): void {
    if (this.#gone) return this.#replies.clear();
    if (this.#replies.length - this.#startedAt > REPLY_BYTES_MAX) {
      this.#replies.length = this.#startedAt;
      this.#encoder.error(TOO_LARGE);
    }
    this.#rows.push(tag, OK, this.#startedAt, this.#replies.length);
    if (this.#replies.length > REPLY_BYTES) this.endFrame();
  }

  fail(tag: number, text: string): void {
    if (!this.#gone) this.#rows.push(tag, FAILED, this.#fates.push(text) - 1, 0);
  }

  notLeader(tag: number, group: GroupId): void {
    if (!this.#gone) this.#rows.push(tag, NOT_LEADER, group, 0);
  }

  notServed(tag: number, refusal: NotServed): void {
    if (!this.#gone) this.#rows.push(tag, NOT_SERVED, this.#refusals.push(refusal) - 1, 0);
  }

  hasRoom(): boolean {
    return this.#gone || this.#link.queuedBytes + this.#replies.length < REPLY_BYTES;
  }

  onDown(): void {
    this.#gone = true;
    this.#clear();
  }

  /** Writes what was answered into the connection's output. */
  endFrame(): void {
    const rows = this.#rows;
    if (rows.length === 0) return;
    const { encoder } = this.#link;
    encoder.beginReplies();
    for (let i = 0; i < rows.length; i += 4) {
      this.#writeRow(encoder, rows.slice(i, i + 4) as [number, number, number, number]);
      if (encoder.frameBytes <= REPLY_BYTES || i + 4 === rows.length) continue;
      encoder.endReplies();
      encoder.beginReplies();
    }
    encoder.endReplies();
    this.#clear();
  }

  #writeRow(encoder: PeerEncoder, [tag, status, start, end]: [number, number, number, number]): void {
    const request = Math.floor(tag / ORDINALS);
    const ordinal = tag % ORDINALS;
    if (status === OK) return encoder.replyBytes(request, ordinal, this.#replies.bytes, start, end);
    if (status === FAILED) {
      const text = this.#fates[start] as string;
      return encoder.replyError(request, ordinal, text === UNCERTAIN ? "unknown" : "refused", text);
    }
    if (status === NOT_SERVED)
      return encoder.replyNotServed(request, ordinal, this.#refusals[start] as NotServed);
    const leader = this.#host.routerOf(start)?.leader;
    encoder.replyNotLeader(request, ordinal, leader?.term ?? 0, leader?.node ?? "");
  }

  #clear(): void {
    this.#rows = [];
    this.#fates.length = 0;
    this.#refusals.length = 0;
    this.#replies.clear();
  }
}

/** The commands of one group that come over one connection. */
class GroupDoor implements Origin {
  readonly #group: GroupId;
  readonly #server: ForwardServer;
  /**
   * A request was refused, and the door may not know yet: what it sent behind that one is refused as well, even if
   * this node leads by now, or it would overtake.
   */
  #refusing = false;

  constructor(group: GroupId, server: ForwardServer) {
    this.#group = group;
    this.#server = server;
  }

  /** Who takes the commands of a request; null: they are refused. */
  open(router: Router | null, resumes: boolean): Router | null {
    if (resumes) this.#refusing = false;
    if (router?.leads !== true) this.#refusing = true;
    return this.#refusing ? null : router;
  }

  refuse(tag: number): void {
    this.#server.notLeader(tag, this.#group);
  }

  begin(): ReplySink {
    return this.#server.begin();
  }

  undo(): void {
    this.#server.undo();
  }

  end(tag: number): void {
    this.#server.end(tag);
  }

  fail(tag: number, _mark: number, text: string): void {
    this.#server.fail(tag, text);
  }

  hasRoom(): boolean {
    return this.#server.hasRoom();
  }

  takeBack(tag: number, untouched: boolean, refusal?: NotServed): boolean {
    if (refusal !== undefined) {
      this.#server.notServed(tag, refusal);
      return true;
    }
    if (!untouched) return true; // the door hears of a new leader, or loses patience
    this.#refusing = true;
    this.refuse(tag);
    return true;
  }
}

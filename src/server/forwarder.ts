/**
 * Forwarding, at the door's side: brings commands of one group that came in here to the node that leads it, and keeps
 * them until they are answered.
 *
 * A write on one slot becomes a session write of this node (client id drawn at start, its own sequence): if its
 * reply is lost with the leader it is sent again under the same number, and the state machine executes it once. A
 * write on several slots is sent once; if its fate is unknown the caller is told so. Reads are simply asked again.
 *
 * A slot may have moved to another group meanwhile. That group has its own forwarder, client id and sequence; but what
 * was numbered here keeps its numbers there, for an attempt here may have taken effect before the slot was sealed, and
 * a move carries the replies of its slots and all floors along (hazard F6):
 *
 *     executed here, reply lost      the new owner has the reply under these numbers, and gives it
 *     not executed here              it has none: the command is executed there, once
 *     never sent from here           it has no numbers; the other forwarder gives it some
 *
 * A later command of the connection on that slot gets numbers of the other forwarder, and does not name these in its
 * `after`; it is not admitted before all that went here is answered (lane.ts).
 *
 *     send(bundle) -> stamped frames -> request {id, frames, who waits} -> link
 *     reply(id, ordinal) -> origin            link lost, leader changed -> router.giveBack(what is unanswered)
 *
 * Bounds (credits): FORWARD_COMMANDS_MAX commands and FORWARD_BYTES_MAX bytes unanswered; a larger bundle goes
 * alone when nothing is outstanding. Without credit the router keeps the bundle.
 */
import { assert } from "../base/assert.ts";
import { bytesEqual } from "../base/bytes.ts";
import { MiB } from "../base/units.ts";
import {
  COMMAND_BYTES_MAX,
  COMMAND_FLAG_SESSION,
  COMMAND_HEADER_BYTES,
  CommandView,
  SESSION_BYTES,
} from "../wire/command.ts";
import { replayReply } from "../wire/native_reply.ts";
import type { ForwardReply } from "../wire/peer_decode.ts";
import { FORWARD_STATUS, type NotServed } from "../wire/peer_encode.ts";
import type { Bundle, Numbers, Origin } from "./bundle.ts";
import { slotOfCommand } from "./keys.ts";
import type { Lane } from "./lane.ts";

export const FORWARD_COMMANDS_MAX = 1024;
export const FORWARD_BYTES_MAX = MiB;
/** A retry later than this in log time is refused rather than executed twice: the log forgets its number then. */
const RETRY_MS_MAX = 50_000;

/**
 * Numbers from the oldest without an answer to the newest. The shard keeps at most 4096 replies of a client: those
 * from the floor on that its last executed write named, which is at most one such window behind.
 */
const SEQS_MAX = 2048;
/** The leader's answer may be news to it as well: two ticks pass before it is asked again. */
const PAUSE_TICKS = 2;

export type ForwardHost = {
  /** A connection to that node stands and has room. */
  canSend(node: string): boolean;
  /** A number for a request: no other forwarder of this node has it, nor had it lately (hazard C10). */
  openRequest(forwarder: Forwarder): number;
  closeRequest(id: number): void;
  /** Sends the frames of `bundle`; only after `canSend`. */
  sendRequest(node: string, requestId: number, rides: boolean, resumes: boolean, bundle: Bundle): void;
  /** What the leader's time is about now. */
  leaderTimeMs(): number;
  giveBack(bundle: Bundle, rides: boolean): void;
  /** Command `i` was not executed by this attempt: its slot is not served by the group. */
  onNotServed(bundle: Bundle, i: number, rides: boolean, refusal: NotServed): void;
  /** The node that was asked does not lead, and everything it was sent was heard of. `leader`: "" = it knows none. */
  onNotLeader(node: string, term: number, leader: string): void;
};

type Request = {
  readonly node: string;
  readonly bundle: Bundle;
  readonly rides: boolean;
  /** 1 = answered. */
  readonly answered: Uint8Array;
  open: number;
};

export class Forwarder implements Numbers {
  readonly #client: Uint8Array;
  readonly #host: ForwardHost;
  readonly #view = new CommandView();
  /** In the order they were sent. */
  readonly #requests = new Map<number, Request>();
  #seqNext = 1;
  /** Session writes without an answer; insertion order is rising, so the first one is the floor. */
  readonly #unanswered = new Set<number>();
  /**
   * The latest write of each connection and slot that has no answer: the next one must not overtake it. By slot, since two
   * slots may part, and each takes only its own answers to the next owner.
   */
  readonly #latest = new Map<Lane | Origin, Map<number, number>>();
  #openCommands = 0;
  #openBytes = 0;
  /** Ticks until something is sent again after a node said that it does not lead, or not yet. */
  #pauseTicks = 0;
  /** Something came back; the next request tells the leader that this door knows. */
  #refused = false;
  /** What a node said that does not lead. */
  #hint: { node: string; term: number; leader: string } | null = null;

  /** `client`: 16 random bytes, new at every start. */
  constructor(client: Uint8Array, host: ForwardHost) {
    assert(client.length === 16, "a client id has 128 bits");
    this.#client = client;
    this.#host = host;
  }

  /** Nothing is on its way. */
  get isIdle(): boolean {
    return this.#requests.size === 0;
  }

  /** And it may send at once. */
  get isQuiet(): boolean {
    return this.isIdle && this.#pauseTicks === 0;
  }

  /** False: not now; the bundle stays with the caller. */
  send(node: string, bundle: Bundle, rides: boolean): boolean {
    const fits =
      this.#openCommands + bundle.count <= FORWARD_COMMANDS_MAX &&
      this.#openBytes + bundle.bytes <= FORWARD_BYTES_MAX;
    if (!fits && this.#openCommands > 0) return false;
    if (this.#pauseTicks > 0 || !this.#host.canSend(node)) return false;
    if (this.#unanswered.size > 0 && this.#seqNext + bundle.count - this.#floor() > SEQS_MAX) return false;
    if (this.#refused && this.#requests.size > 0) return false; // all must be heard of before any is sent again
    // Numbered by another group's forwarder, it keeps those numbers: who serves the slot now has taken them over.
    const isForeign = bundle.numbers !== null && bundle.numbers !== this;
    const stamped = rides && !isForeign ? this.#stamp(bundle) : bundle;
    const id = this.#host.openRequest(this);
    this.#openCommands += stamped.count;
    this.#openBytes += stamped.bytes;
    const answered = new Uint8Array(stamped.count);
    this.#requests.set(id, { node, bundle: stamped, rides, answered, open: stamped.count });
    this.#host.sendRequest(node, id, rides, this.#refused, stamped);
    this.#refused = false;
    return true;
  }

  /**
   * The bundle with a session block in every command that can have one. Reads that ride are numbered too: sent
   * again they must answer as of their first place in the log, before the writes behind them.
   */
  #stamp(bundle: Bundle): Bundle {
    const stamped = bundle.emptyTwin(bundle.bytes + bundle.count * SESSION_BYTES);
    stamped.numbers = this;
    const view = this.#view;
    const notAfter = this.#host.leaderTimeMs() + RETRY_MS_MAX;
    for (let i = 0; i < bundle.count; i++) {
      const bad = view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
      assert(bad === null, "the door checked the frame");
      const fits = bundle.endOf(i) - bundle.start(i) + SESSION_BYTES <= COMMAND_BYTES_MAX;
      const slot = view.hasSession || !fits ? -1 : slotOfCommand(view);
      if (slot < 0) stamped.take(bundle, i);
      else this.#stampOne(stamped, bundle, i, slot, notAfter);
    }
    return stamped;
  }

  #stampOne(to: Bundle, from: Bundle, i: number, slot: number, notAfter: number): void {
    const { writer } = to;
    const start = writer.length;
    const frameStart = from.start(i);
    const argsAt = frameStart + COMMAND_HEADER_BYTES;
    const seq = this.#seqNext++;
    this.#unanswered.add(seq);
    writer.range(from.writer.bytes, frameStart, argsAt);
    writer.raw(this.#client);
    writer.u64(seq);
    writer.u64(this.#floor());
    writer.u64(notAfter);
    writer.u64(this.#follow(from.origin(i), slot, seq));
    writer.range(from.writer.bytes, argsAt, from.endOf(i));
    writer.patchU32(start, writer.length - start);
    writer.bytes[start + 5] = COMMAND_FLAG_SESSION;
    to.add(start, from.origin(i), from.tag(i), from.mark(i));
  }

  /** The lowest number without an answer. */
  #floor(): number {
    for (const seq of this.#unanswered) return seq;
    return this.#seqNext;
  }

  /** Notes `seq` as the latest of its connection and slot; returns the one before it, or 0. */
  #follow(origin: Origin, slot: number, seq: number): number {
    const connection = origin.lane ?? origin;
    let slots = this.#latest.get(connection);
    if (slots === undefined) {
      slots = new Map();
      this.#latest.set(connection, slots);
    }
    const before = slots.get(slot) ?? 0;
    slots.set(slot, seq);
    return before;
  }

  /** One answer; false: it is malformed, and the connection it came over must be closed. */
  onReply(row: ForwardReply): boolean {
    const request = this.#requests.get(row.request);
    if (request === undefined) return true; // given up, or sent again elsewhere
    const { ordinal } = row;
    if (ordinal >= request.answered.length || request.answered[ordinal] === 1) return false;
    if (row.status === FORWARD_STATUS.ok && !isTryAgain(row)) {
      if (!this.#answer(request, row)) return false;
    } else if (row.status === FORWARD_STATUS.unknown) {
      request.bundle.fail(ordinal, row.text);
    } else if (row.refusal !== null) {
      this.#host.onNotServed(request.bundle, ordinal, request.rides, row.refusal);
    } else if (row.status === FORWARD_STATUS.refused && !request.bundle.sent) {
      request.bundle.fail(ordinal, row.text); // by every attempt there was
    } else {
      this.#pauseTicks = PAUSE_TICKS;
      this.#refused = true;
      if (row.status === FORWARD_STATUS.notLeader)
        this.#hint = { node: request.node, term: row.term, leader: row.text };
      this.#sendAgain(request, ordinal);
    }
    request.answered[ordinal] = 1;
    this.#openCommands--;
    if (--request.open === 0) this.#close(row.request, request);
    this.#passHint();
    return true;
  }

  /** Only when all is heard of: what is still open there would be taken for lost, and it is about to be refused. */
  #passHint(): void {
    const hint = this.#hint;
    if (hint === null || this.#requests.size > 0) return;
    this.#hint = null;
    this.#host.onNotLeader(hint.node, hint.term, hint.leader);
  }

  #answer(request: Request, row: ForwardReply): boolean {
    const { bundle } = request;
    const origin = bundle.origin(row.ordinal);
    const tag = bundle.tag(row.ordinal);
    if (!replayReply(row.bytes, row.start, row.end, origin.begin(tag))) {
      origin.undo(tag);
      return false;
    }
    bundle.end(row.ordinal);
    return true;
  }

  /** Certainly not executed by this attempt; an earlier attempt's fate stays with the session's number. */
  #sendAgain(request: Request, ordinal: number): void {
    const again = request.bundle.emptyTwin();
    again.take(request.bundle, ordinal);
    this.#host.giveBack(again, request.rides);
  }

  /** The command has its answer: its number no longer holds the floor down, nor the next write back. */
  forget(bundle: Bundle, i: number): void {
    const seq = this.#seqOf(bundle, i);
    if (seq === 0) return;
    this.#unanswered.delete(seq);
    const origin = bundle.origin(i);
    const connection = origin.lane ?? origin;
    const slots = this.#latest.get(connection);
    const slot = slotOfCommand(this.#view);
    if (slots?.get(slot) !== seq) return;
    slots.delete(slot);
    if (slots.size === 0) this.#latest.delete(connection);
  }

  /** The session number that this node gave command `i`; 0 if it gave none. */
  #seqOf(bundle: Bundle, i: number): number {
    const view = this.#view;
    const bad = view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
    assert(bad === null, "the frame was good when it was sent");
    if (!view.hasSession) return 0;
    const { client, seq } = view.session();
    return bytesEqual(client, this.#client) ? seq : 0;
  }

  #close(id: number, request: Request): void {
    this.#requests.delete(id);
    this.#host.closeRequest(id);
    this.#openBytes -= request.bundle.bytes;
  }

  /** The connection to this node is gone, or it no longer leads: its answers will not come. */
  lost(node: string): void {
    this.#loseWhere((request) => request.node === node);
  }

  /** Commands go to this node from now on; null: nowhere. What others were sent, they will not answer. */
  retarget(node: string | null): void {
    this.#pauseTicks = 0;
    this.#hint = null;
    this.#loseWhere((request) => request.node !== node);
  }

  #loseWhere(isLost: (request: Request) => boolean): void {
    const lost = [...this.#requests].filter(([, request]) => isLost(request));
    for (const [id, request] of lost.reverse()) {
      this.#close(id, request);
      this.#openCommands -= request.open;
      this.#host.giveBack(this.#unansweredOf(request), request.rides);
    }
  }

  /** What may be sent again; writes that may not are told that their outcome is unknown. */
  #unansweredOf(request: Request): Bundle {
    const { bundle } = request;
    const again = bundle.emptyTwin(bundle.bytes);
    again.sent = request.rides;
    for (let i = 0; i < bundle.count; i++) {
      if (request.answered[i] === 1) continue;
      const bad = this.#view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
      assert(bad === null, "the frame was good when it was sent");
      if (request.rides && !this.#view.hasSession) bundle.failUnknown(i);
      else again.take(bundle, i);
    }
    return again;
  }

  tick(): void {
    if (this.#pauseTicks > 0) this.#pauseTicks--;
  }

  /** The group is gone: nothing is sent for it any more, and no answer reaches it. */
  end(): void {
    for (const [id, request] of this.#requests) {
      this.#close(id, request);
      this.#openCommands -= request.open;
      const open = this.#unansweredOf(request);
      open.endAll(false); // each was sent, and `open` says so
    }
  }

  /** Requests older than `tick`: nobody is made to wait longer. */
  giveUpBefore(tick: number): void {
    for (const [id, request] of this.#requests) {
      if (request.bundle.sinceTick >= tick) continue;
      this.#close(id, request);
      this.#openCommands -= request.open;
      const { bundle } = request;
      for (let i = 0; i < bundle.count; i++) {
        if (request.answered[i] !== 1) bundle.failUnknown(i);
      }
    }
  }
}

const TAG_ERROR = 2;
const TRYAGAIN = "TRYAGAIN";

/** The state machine says that an earlier write of the same connection has not taken effect yet. */
function isTryAgain({ bytes, start, end }: ForwardReply): boolean {
  if (bytes[start] !== TAG_ERROR || end - start < 5 + TRYAGAIN.length) return false;
  for (let i = 0; i < TRYAGAIN.length; i++) {
    if (bytes[start + 5 + i] !== TRYAGAIN.charCodeAt(i)) return false;
  }
  return true;
}

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
 *     reply(id, ordinal) -> origin            link lost, another node is asked -> router.giveBack(what is unanswered)
 *
 * Another node is asked when another one leads, or because the one that was asked is silent or does not answer
 * (leader_search.ts): what was sent may have taken effect there, or may yet. So what becomes of it is decided command by
 * command, and replies that come late are nobody's, since each attempt has an id of its own:
 *
 *     reads                     asked elsewhere
 *     numbered writes           sent elsewhere under their numbers, in their order: they are executed once
 *     writes on several slots   stay where they are until they are answered, the connection ends, or their time is up: then
 *                               their outcome is unknown. Whoever was only slow, or deposed, still tells it. They go alone
 *                               on their connection (lane.ts), so nothing that is sent elsewhere can overtake them
 *     other writes              too large for a number. Others on their slot may wait behind them here, and would overtake
 *                               them: so their outcome is unknown at once
 *
 * Bounds (credits): FORWARD_COMMANDS_MAX commands and FORWARD_BYTES_MAX bytes unanswered by the node that is asked; a larger
 * bundle goes alone when nothing is outstanding. Without credit the router keeps the bundle. What stays at a node that is not
 * asked any more is no more than the credit each time; a node is left for being silent after a quarter of a second, and nothing
 * waits for more than 2.5 s.
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
const FORWARD_BYTES_MAX = MiB;
/** A retry later than this in log time is refused rather than executed twice: the log forgets its number then. */
const RETRY_MS_MAX = 50_000;

/**
 * Numbers from the oldest without an answer to the newest. The shard keeps at most 4096 replies of a client: those
 * from the floor on that its last executed write named, which is at most one such window behind.
 */
const SEQS_MAX = 2048;
/** What a node says that does not lead may be news to it as well: two ticks pass before it, or the next in turn, is asked. */
const PAUSE_TICKS = 2;
/**
 * Half a second without any answer: whoever is asked may have been deposed with all that it was sent, and cut off from those
 * who could tell it what became of that. If it leads all the same, as others say, its disk is slow, and everything is sent
 * again for each such look around: so the next one comes later.
 */
const PATIENCE_TICKS_MIN = 50;
const PATIENCE_TICKS_MAX = 200;

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
  /** By command: OPEN, .. */
  readonly states: Uint8Array;
  open: number;
  /** Its node is not asked any more; what is open there is waited for. */
  isLeft: boolean;
};

const OPEN = 0;
const ANSWERED = 1;
/** It was given back, or given up: an answer to this attempt comes late. */
const TAKEN = 2;

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
  /** Of requests to the node that is asked, and not of others: how many, and what is in them. */
  #openRequests = 0;
  #openCommands = 0;
  #openBytes = 0;
  /** Ticks until something is sent again after a node said that it does not lead, or not yet. */
  #pauseTicks = 0;
  /** Since the node that is asked has answered something, or was sent something with nothing open there. */
  #unansweredTicks = 0;
  #patienceTicks = PATIENCE_TICKS_MIN;
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

  /** Whoever is asked has answered nothing for too long. */
  get isOverdue(): boolean {
    return this.#openRequests > 0 && this.#unansweredTicks >= this.#patienceTicks;
  }

  /** False: not now; the bundle stays with the caller. */
  send(node: string, bundle: Bundle, rides: boolean): boolean {
    const fits =
      this.#openCommands + bundle.count <= FORWARD_COMMANDS_MAX &&
      this.#openBytes + bundle.bytes <= FORWARD_BYTES_MAX;
    if (!fits && this.#openCommands > 0) return false;
    if (this.#pauseTicks > 0 || !this.#host.canSend(node)) return false;
    if (this.#unanswered.size > 0 && this.#seqNext + bundle.count - this.#floor() > SEQS_MAX) return false;
    if (this.#refused && this.#openRequests > 0) return false; // all must be heard of before any is sent again
    // Numbered by another group's forwarder, it keeps those numbers: who serves the slot now has taken them over.
    const isForeign = bundle.numbers !== null && bundle.numbers !== this;
    const stamped = rides && !isForeign ? this.#stamp(bundle) : bundle;
    const id = this.#host.openRequest(this);
    if (this.#openRequests === 0) this.#unansweredTicks = 0;
    this.#openRequests++;
    this.#openCommands += stamped.count;
    this.#openBytes += stamped.bytes;
    const states = new Uint8Array(stamped.count);
    this.#requests.set(id, { node, bundle: stamped, rides, states, open: stamped.count, isLeft: false });
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
      view.readGood(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
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
    const { states } = request;
    if (ordinal >= states.length || states[ordinal] === ANSWERED) return false;
    const isOpen = states[ordinal] === OPEN;
    if (isOpen && !this.#hear(request, row)) return false;
    states[ordinal] = ANSWERED;
    if (isOpen) this.#count(row.request, request);
    this.#passHint();
    return true;
  }

  #hear(request: Request, row: ForwardReply): boolean {
    const { ordinal } = row;
    const isAsked = !request.isLeft;
    if (isAsked) this.#unansweredTicks = 0;
    if (isAsked && row.status !== FORWARD_STATUS.notLeader) this.#patienceTicks = PATIENCE_TICKS_MIN;
    if (row.status === FORWARD_STATUS.ok && !isTryAgain(row)) {
      if (!this.#answer(request, row)) return false;
    } else if (row.status === FORWARD_STATUS.unknown) {
      request.bundle.fail(ordinal, row.text);
    } else if (row.refusal !== null) {
      this.#host.onNotServed(request.bundle, ordinal, request.rides, row.refusal);
    } else if (row.status === FORWARD_STATUS.refused && !request.bundle.sent) {
      request.bundle.fail(ordinal, row.text); // by every attempt there was
    } else {
      if (isAsked) this.#onRefused(request, row);
      this.#sendAgain(request, ordinal);
    }
    return true;
  }

  #onRefused({ node }: Request, row: ForwardReply): void {
    this.#pauseTicks = PAUSE_TICKS;
    this.#refused = true;
    if (row.status === FORWARD_STATUS.notLeader) this.#hint = { node, term: row.term, leader: row.text };
  }

  /** One of its commands is open no more. */
  #count(id: number, request: Request): void {
    request.open--;
    if (!request.isLeft) this.#openCommands--;
    if (request.open === 0) this.#close(id, request);
  }

  /** Only when all is heard of: what is still open there would be taken for lost, and it is about to be refused. */
  #passHint(): void {
    const hint = this.#hint;
    if (hint === null || this.#openRequests > 0) return;
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
    view.readGood(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
    if (!view.hasSession) return 0;
    const { client, seq } = view.session();
    return bytesEqual(client, this.#client) ? seq : 0;
  }

  #close(id: number, request: Request): void {
    this.#requests.delete(id);
    this.#host.closeRequest(id);
    this.#leave(request);
  }

  /** It counts no more among what the node that is asked has before it. */
  #leave(request: Request): void {
    if (request.isLeft) return;
    request.isLeft = true;
    this.#openRequests--;
    this.#openCommands -= request.open;
    this.#openBytes -= request.bundle.bytes;
  }

  /** The connection to this node is gone: its answers will not come. */
  lost(node: string): void {
    for (const [id, request] of this.#requestsWhere((one) => one.node === node)) {
      const again = this.#takeBack(request, true);
      this.#close(id, request);
      this.#host.giveBack(again, request.rides);
    }
  }

  /**
   * Commands go to this node from now on; null: nowhere. `isTold`: it is said to lead, so it is asked at once; else it is the
   * next one in turn. What others were sent that may be sent again is given back.
   */
  retarget(node: string | null, isTold: boolean): void {
    if (isTold) this.#pauseTicks = 0;
    if (this.isOverdue) this.#patienceTicks = Math.min(2 * this.#patienceTicks, PATIENCE_TICKS_MAX);
    this.#unansweredTicks = 0;
    this.#hint = null;
    for (const [id, request] of this.#requestsWhere((one) => !one.isLeft && one.node !== node)) {
      this.#refused = true; // nothing that was sent there counts any more, and it is told so if it is asked again
      const again = this.#takeBack(request, false);
      this.#leave(request);
      if (request.open === 0) this.#close(id, request);
      if (again.count > 0) this.#host.giveBack(again, request.rides);
    }
  }

  /** The newest first: what is given back goes before what was given back before it. */
  #requestsWhere(isMeant: (request: Request) => boolean): [number, Request][] {
    return [...this.#requests].filter(([, request]) => isMeant(request)).reverse();
  }

  /** What is open and may be sent again; what may not is answered, or stays open unless it `isLost`. */
  #takeBack(request: Request, isLost: boolean): Bundle {
    const { bundle, states, rides } = request;
    const again = bundle.emptyTwin(bundle.bytes);
    again.sent = rides;
    let taken = 0;
    for (let i = 0; i < bundle.count; i++) {
      if (states[i] !== OPEN) continue;
      this.#view.readGood(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
      const mayGo = !rides || this.#view.hasSession;
      if (!mayGo && !isLost && slotOfCommand(this.#view) < 0) continue;
      states[i] = TAKEN;
      taken++;
      if (mayGo) again.take(bundle, i);
      else bundle.failUnknown(i);
    }
    request.open -= taken;
    if (!request.isLeft) this.#openCommands -= taken;
    return again;
  }

  tick(): void {
    if (this.#pauseTicks > 0) this.#pauseTicks--;
    if (this.#openRequests > 0) this.#unansweredTicks++;
  }

  /** The group is gone: nothing is sent for it any more, and no answer reaches it. */
  end(): void {
    for (const [id, request] of this.#requests) {
      const open = this.#takeBack(request, true);
      this.#close(id, request);
      open.endAll(false); // each was sent, and `open` says so
    }
  }

  /** Requests older than `tick`: nobody is made to wait longer. */
  giveUpBefore(tick: number): void {
    for (const [id, request] of this.#requests) {
      if (request.bundle.sinceTick >= tick) continue;
      this.#close(id, request);
      const { bundle, states } = request;
      for (let i = 0; i < bundle.count; i++) if (states[i] === OPEN) bundle.failUnknown(i);
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

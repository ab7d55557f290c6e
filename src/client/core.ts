/**
 * The client, without promises: requests are encoded once, sent by one write a turn, and kept until they have an
 * answer or their time is up. Callbacks and ticks over the Platform seam, so it runs in the simulator as it is.
 *
 *     begin(op, slot, caller) -> arguments -> end()     caller.onReply(bytes, start, end) | caller.onError(error)
 *
 *     queued --a turn--> sent --reply--> answered
 *        ^                 |---"again", "uncertain"---> refused --pause--> queued
 *        '----link lost----'                     any of them --deadline, abort, close--> failed
 *
 * Each request goes to the node that leads its slot's shard (route.ts). It may wait before: for an earlier one of its
 * slot that is at another node (slots.ts), for the window of its client id (session.ts), for a node at all.
 *
 * A write whose keys lie in one slot is a session write: the server executes its number once, so it is sent again
 * under that number after a lost connection, until its call's time is up, wherever its slot is by then. A write over
 * several slots is sent once. What is told of a failed write is true of all its attempts: "not executed" only if each
 * was refused or never sent.
 *
 * Order: writes of one slot take effect in the order of their calls. Other calls that overlap have none.
 */
import { assert } from "../base/assert.ts";
import { setU32, setU64 } from "../base/bytes.ts";
import { MiB } from "../base/units.ts";
import { WIRE_VERSION, WIRE_VERSION_READS } from "../base/version.ts";
import type { Platform } from "../platform/platform.ts";
import {
  COMMAND_BYTES_MAX,
  COMMAND_HEADER_BYTES,
  OP_WRITE_MIN,
  type Op,
  type Session,
} from "../wire/command.ts";
import { CommandEncoder } from "../wire/command_encode.ts";
import { clientHello } from "../wire/control.ts";
import { encodeShape } from "../wire/msgpack.ts";
import {
  beginNative,
  endNative,
  NATIVE_HEADER_BYTES,
  OPCODE,
  READ_BY,
  READ_HEAD_BYTES,
  READ_MODE,
  readHead,
  writeReadHead,
} from "../wire/native.ts";
import { REPLY_TAG } from "../wire/native_reply.ts";
import type { Address } from "./address.ts";
import { type Chunk, Chunks } from "./chunks.ts";
import {
  AbortedError,
  type ClientError,
  CommandError,
  OutcomeUnknownError,
  UnavailableError,
} from "./errors.ts";
import type { Outlet } from "./outlet.ts";
import { Pending } from "./pending.ts";
import { type Caller, type Kind, lateError, mayTakeEffect, type ReplicaRead, Request } from "./request.ts";
import { Route, TICK_MS } from "./route.ts";
import { type Session as ClientSession, Sessions } from "./session.ts";
import { Slots } from "./slots.ts";
import { errorText, refusalCode, type Verdict, verdictOf } from "./verdict.ts";

export type { Caller, Request } from "./request.ts";

export type CoreOptions = {
  readonly addresses: readonly Address[];
  /** For CLIENT LIST and logs. */
  readonly name: string;
  readonly version: string;
  /** What a call gets that does not say. */
  readonly timeoutMs: number;
};

/**
 * How long a session write may be retried: the shard remembers it for so long (notAfter), and refuses what claims
 * more than 60 s. A call's time limit stays below, so that "stale" is never the answer of a first attempt.
 */
const NOT_AFTER_MS = 50_000;
export const TIMEOUT_MS_MAX = 45_000;
/** Requests and bytes that callers may have under way; beyond it calls are refused. */
const REQUESTS_MAX = 65_536;
const BYTES_MAX = 64 * MiB;
/** A request that was refused is sent again after one to three ticks. */
const RETRY_TICKS = 3;
/** Places in a request's frame that are filled in when it is sent. */
const SESSION_AT = NATIVE_HEADER_BYTES + COMMAND_HEADER_BYTES;
const FLOOR_AT = SESSION_AT + 24;
const NOT_AFTER_AT = SESSION_AT + 32;
const AFTER_AT = SESSION_AT + 40;
const OPCODE_AT = 5;
const NONE: readonly Request[] = [];

export class ClientCore {
  readonly #clock: Platform["clock"];
  readonly #random: Platform["random"];
  readonly #options: CoreOptions;
  readonly #route: Route;
  readonly #encoder: CommandEncoder;
  /** The session block of the frame being written. */
  readonly #block: Session = { client: new Uint8Array(16), seq: 0, floor: 0, notAfter: 0, after: 0 };
  readonly #sessions: Sessions;
  readonly #slots = new Slots();
  readonly #requests = new Pending();
  /** What can go nowhere yet lies here. */
  readonly #limboChunks = new Chunks(() => true);
  #limbo: Request[] = [];
  #open: Request | null = null;
  #openRefusal: ClientError | null = null;
  #bytes = 0;
  #tick = 0;
  /** No deadline lies before this tick. */
  #dueTick = Number.POSITIVE_INFINITY;
  #retryTick = Number.POSITIVE_INFINITY;
  #turnAsked = false;
  #closed = false;
  /** No new requests; these are called when the last one has its answer. */
  #draining = false;
  #drained: (() => void)[] = [];
  readonly #stopTicks: () => void;

  constructor(platform: Pick<Platform, "clock" | "random" | "net">, options: CoreOptions) {
    this.#clock = platform.clock;
    this.#random = platform.random;
    this.#options = options;
    this.#sessions = new Sessions(platform.random);
    const { name, version } = options;
    this.#route = new Route(options.addresses, {
      ...platform,
      greeting: encodeShape(clientHello, { name, version, wireVersions: [WIRE_VERSION, WIRE_VERSION_READS] }),
      onAnswer: (outlet, id, opcode, bytes, start, end) =>
        this.#onAnswer(outlet, id, opcode, bytes, start, end),
      onReady: () => this.#onReady(),
      onLost: (outlet, reason) => this.#onLost(outlet, reason),
      onGroups: () => this.#sessions.keep((group) => this.#route.atlas.names(group)),
      isWanted: (outlet) => this.#isWanted(outlet),
    });
    this.#encoder = new CommandEncoder(this.#limboChunks.open().writer);
    this.#stopTicks = platform.clock.ticks(TICK_MS, () => this.#onTick());
    this.#route.start();
  }

  /** Requests without an answer. */
  get pending(): number {
    return this.#requests.size;
  }

  /** The node that is asked what has no slot. */
  get node(): string | null {
    return this.#route.node;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Which group serves a slot, as far as known: requests of one group can be asked together. */
  groupOf(slot: number): number {
    return this.#route.groupOf(slot);
  }

  // ------------------------------------------------------------------------------------------- asking

  /**
   * Begins a command; its arguments are written with the encoder, in the order of `op` (wire/command.ts), and
   * `end` completes it, in the same turn. `slot`: where its keys lie, for a read one of them; -1 = several slots, or
   * no keys.
   */
  begin(
    op: Op,
    slot: number,
    caller: Caller,
    timeoutMs = this.#options.timeoutMs,
    replica: ReplicaRead | null = null,
  ): CommandEncoder {
    const kind = op < OP_WRITE_MIN ? "read" : slot >= 0 ? "session" : "once";
    const request = this.#take(kind, caller, slot, timeoutMs, replica);
    const { writer } = request.chunk as Chunk;
    request.start = beginNative(writer, replica === null ? OPCODE.command : OPCODE.read, request.id);
    if (replica !== null) writeReadHead(writer, READ_MODE[replica.mode], replica.stalenessMsMax);
    this.#encoder.writer = writer;
    this.#encoder.begin(op, kind === "session" ? this.#sessionOf(request) : null);
    return this.#encoder;
  }

  /** Completes the command; gives what `abort` takes. */
  end(): Request {
    const bytes = this.#encoder.end();
    const most = this.#open?.replica == null ? COMMAND_BYTES_MAX : COMMAND_BYTES_MAX - READ_HEAD_BYTES;
    if (bytes > most)
      this.#openRefusal = new CommandError(`ERR the command has ${bytes} bytes; at most ${most} fit`);
    return this.#queue();
  }

  /** Asks the node itself: a ping, or its status. */
  ask(opcode: typeof OPCODE.ping | typeof OPCODE.admin, caller: Caller, timeoutMs?: number): Request {
    const request = this.#take("read", caller, -1, timeoutMs ?? this.#options.timeoutMs);
    request.start = beginNative((request.chunk as Chunk).writer, opcode, request.id);
    return this.#queue();
  }

  #take(
    kind: Kind,
    caller: Caller,
    slot: number,
    timeoutMs: number,
    replica: ReplicaRead | null = null,
  ): Request {
    assert(this.#open === null, "one request is written at a time");
    assert(timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX, "a call's time is limited");
    const deadlineTick = this.#tick + 1 + Math.ceil(timeoutMs / TICK_MS);
    const request = new Request(kind, caller, slot, deadlineTick, replica);
    request.chunk = (this.#route.outletOf(slot)?.chunks ?? this.#limboChunks).open();
    request.chunk.live++;
    this.#requests.add(request);
    if (kind === "session") {
      // A slot keeps its client id while it has unanswered writes.
      const before = this.#slots.lastWrite(slot)?.session ?? null;
      request.session = before ?? this.#sessions.of(this.#route.groupOf(slot));
      request.seq = request.session.window.add(request);
      this.#slots.link(request);
    }
    this.#open = request;
    if (this.#closed || this.#draining)
      this.#openRefusal = new UnavailableError("CLOSED", "the client is closed");
    else if (this.#requests.size > REQUESTS_MAX || this.#bytes > BYTES_MAX) {
      this.#openRefusal = new UnavailableError(
        "OVERLOADED",
        "too many calls are under way; wait for some of them",
      );
    }
    return request;
  }

  /** The block with what is known now; `#stamp` adds the rest when it is sent. */
  #sessionOf({ session, seq }: Request): Session {
    this.#block.client = (session as ClientSession).client;
    this.#block.seq = seq;
    return this.#block;
  }

  #queue(): Request {
    const request = this.#open as Request;
    const chunk = request.chunk as Chunk;
    this.#open = null;
    endNative(chunk.writer, request.start);
    request.end = chunk.writer.length;
    this.#bytes += request.end - request.start;
    const refusal = this.#openRefusal;
    if (refusal !== null) {
      this.#openRefusal = null;
      chunk.writer.length = request.start;
      this.#fail(request, refusal);
      return request;
    }
    this.#dueTick = Math.min(this.#dueTick, request.deadlineTick);
    this.#dispatch(request);
    this.#wake();
    return request;
  }

  /** Nobody waits for it any more; `cause` is why. */
  abort(request: Request, cause: unknown): void {
    if (request.state === "done") return;
    if (mayTakeEffect(request))
      this.#fail(request, new OutcomeUnknownError("the call was aborted after it was sent", { cause }));
    else this.#fail(request, new AbortedError(cause));
  }

  /** Takes no more requests; closes, and calls `done`, when those under way have their answers. */
  drain(done: () => void): void {
    this.#draining = true;
    this.#drained.push(done);
    if (this.#requests.size === 0) this.close();
  }

  /** Ends every request and the connection, now. */
  close(): void {
    if (!this.#closed) this.#end();
    const drained = this.#drained;
    this.#drained = [];
    for (const done of drained) done();
  }

  #end(): void {
    this.#closed = true;
    this.#stopTicks();
    this.#route.close();
    this.#limbo = [];
    for (const request of this.#requests.list()) {
      if (request.state === "done") continue;
      if (mayTakeEffect(request)) this.#fail(request, new OutcomeUnknownError("the client was closed"));
      else this.#fail(request, new UnavailableError("CLOSED", "the client was closed"));
    }
  }

  // ------------------------------------------------------------------------------------------- sending

  /** Brings a request to where it goes by what is known now, or to where it waits. */
  #dispatch(request: Request): void {
    const { session, slot } = request;
    if (session !== null) {
      if (session.holdsBack(request)) return;
      if (request.before?.state === "refused") return this.#refuse(request, request.before.refusal);
      if (session.group !== this.#route.groupOf(slot)) session.hasStrayed = true;
    }
    const { replica } = request;
    const outlet = replica === null ? this.#route.outletOf(slot) : this.#route.replicaOutletOf(slot);
    if (outlet === null) this.#limbo.push(request);
    else if (replica !== null) outlet.take(request);
    else if (this.#slots.enter(request, outlet)) outlet.take(request);
  }

  /** Those that failed while they waited are left out. */
  #dispatchAll(requests: readonly Request[]): void {
    for (const request of requests) if (request.state === "queued") this.#dispatch(request);
  }

  /** It is not at its outlet any more: what waited for that goes. */
  #leave(request: Request): readonly Request[] {
    if (request.outlet === null) return NONE;
    if (request.state === "sent") request.outlet.inFlight--;
    request.outlet = null;
    return request.replica === null ? this.#slots.leave(request.slot) : NONE;
  }

  #onReady(): void {
    if (this.#closed) return;
    if (this.#limbo.length > 0 && this.#route.outletOf(-1) !== null) {
      const limbo = this.#limbo.sort((a, b) => a.id - b.id);
      this.#limbo = [];
      this.#dispatchAll(limbo);
    }
    this.#wake();
  }

  #wake(): void {
    if (this.#turnAsked || this.#closed || !this.#route.outlets.some(({ hasWork }) => hasWork)) return;
    this.#turnAsked = true;
    this.#clock.turn(() => {
      this.#turnAsked = false;
      for (const outlet of this.#route.outlets) if (outlet.hasWork) outlet.flush(this.#stamp);
    });
  }

  /** What only the moment of sending knows: floor and `after`, and, once for all attempts, notAfter. */
  readonly #stamp = (request: Request): void => {
    const { session, start } = request;
    if (request.replica !== null && request.outlet?.knowsReads !== true)
      this.#bytes -= asPlainCommand(request);
    if (session === null) return;
    const { bytes } = (request.chunk as Chunk).writer;
    setU64(bytes, start + FLOOR_AT, session.window.oldest);
    setU64(bytes, start + AFTER_AT, request.before?.seq ?? 0);
    if (request.stamped) return;
    request.stamped = true;
    setU64(bytes, start + NOT_AFTER_AT, (request.outlet as Outlet).leaderTimeMs() + NOT_AFTER_MS);
  };

  // ------------------------------------------------------------------------------------------- answers

  #onAnswer(outlet: Outlet, id: number, opcode: number, bytes: Uint8Array, start: number, end: number): void {
    const request = this.#requests.get(id);
    if (request?.state !== "sent" || request.outlet !== outlet) return; // nobody waits for it any more
    const head = opcode === OPCODE.readReply ? readHead(bytes, start, end) : null;
    const at = head === null ? start : start + READ_HEAD_BYTES;
    const isReply = opcode === OPCODE.reply || opcode === OPCODE.readReply;
    const verdict = isReply && bytes[at] === REPLY_TAG.error ? verdictOf(bytes, at, end) : "answer";
    if (verdict === "answer") {
      this.#finish(request);
      const stalenessMs = head === null ? 0 : (head.ms ?? undefined);
      request.replica?.onRead({ by: READ_BY[head?.code ?? 0] ?? "stale", stalenessMs });
      request.caller.onReply(bytes, at, end);
    } else {
      this.#onRefusal(request, verdict, errorText(bytes, at, end));
    }
    this.#wake(); // what waited behind it may go
  }

  #onRefusal(request: Request, verdict: Exclude<Verdict, "answer">, text: string): void {
    const isWrite = request.kind !== "read";
    if (isWrite && (verdict === "uncertain" || verdict === "stale")) request.maybe = true;
    if (request.kind !== "once" && (verdict === "again" || verdict === "uncertain")) {
      this.#retryLater(request, text);
      return;
    }
    if (verdict === "stale") this.#route.refreshSoon(); // what is known of the leader's time is wrong
    if (request.maybe) this.#fail(request, new OutcomeUnknownError(text));
    else this.#fail(request, new UnavailableError(refusalCode(text), text));
  }

  #retryLater(request: Request, why: string): void {
    const held = this.#leave(request);
    this.#refuse(request, why);
    this.#route.refreshSoon();
    this.#dispatchAll(held);
  }

  #refuse(request: Request, why: string): void {
    request.state = "refused";
    request.refusal = why;
    if (this.#retryTick === Number.POSITIVE_INFINITY)
      this.#retryTick = this.#tick + 1 + (this.#random.u32() % RETRY_TICKS);
  }

  #retry(): void {
    this.#retryTick = Number.POSITIVE_INFINITY;
    const refused = this.#requests.list(({ state }) => state === "refused");
    for (const request of refused) request.state = "queued";
    this.#dispatchAll(refused);
  }

  /** What was in the outlet goes elsewhere, in the old order, and what waited for it behind it. */
  #onLost(lost: Outlet, reason: string): void {
    const again: Request[] = [];
    const once: Request[] = [];
    for (const request of this.#requests.list(({ outlet }) => outlet === lost)) {
      if (request.state === "sent") {
        request.refusal = reason;
        if (request.kind !== "read") request.maybe = true;
      }
      (request.kind === "once" && request.state === "sent" ? once : again).push(request);
    }
    const held = [...again, ...once].flatMap((request) => this.#leave(request));
    for (const request of again) request.state = "queued";
    for (const request of once)
      this.#fail(request, new OutcomeUnknownError(`the connection was lost: ${reason}`));
    if (!this.#closed) this.#dispatchAll([...again, ...held].sort((a, b) => a.id - b.id));
  }

  #isWanted({ node }: Outlet): boolean {
    return this.#requests.some(
      ({ state, outlet, slot }) =>
        state === "sent" &&
        outlet?.node === node &&
        this.#route.atlas.leaderOf(this.#route.groupOf(slot))?.node === node,
    );
  }

  #finish(request: Request): void {
    const held = this.#leave(request);
    request.state = "done";
    this.#bytes -= request.end - request.start;
    this.#requests.remove(request);
    const chunk = request.chunk as Chunk;
    chunk.owner.release(chunk);
    request.chunk = null;
    const { session } = request;
    if (session !== null) {
      this.#slots.unlink(request);
      session.window.remove(request.seq);
    }
    if (this.#closed) return;
    if (session !== null) this.#dispatchAll(session.ready());
    this.#dispatchAll(held);
    if (this.#draining && this.#requests.size === 0) this.#clock.turn(() => this.close());
  }

  #fail(request: Request, error: ClientError): void {
    this.#finish(request);
    request.caller.onError(error);
  }

  // ------------------------------------------------------------------------------------------- time

  #onTick(): void {
    this.#tick++;
    if (this.#tick >= this.#dueTick) this.#expire();
    if (this.#closed) return;
    if (this.#tick >= this.#retryTick) this.#retry();
    this.#route.tick();
    this.#wake();
  }

  #expire(): void {
    const due: Request[] = [];
    this.#dueTick = Number.POSITIVE_INFINITY;
    for (const request of this.#requests.list()) {
      if (request.deadlineTick <= this.#tick) due.push(request);
      else this.#dueTick = Math.min(this.#dueTick, request.deadlineTick);
    }
    const why = this.#route.node === null ? this.#route.problem : "calls before it have no answer";
    for (const request of due) if (request.state !== "done") this.#fail(request, lateError(request, why));
  }
}

/** For a node that knows no such reads: the frame's head moves up over what only they have. By how many bytes. */
function asPlainCommand(request: Request): number {
  const { bytes } = (request.chunk as Chunk).writer;
  const { start, end } = request;
  if (bytes[start + OPCODE_AT] !== OPCODE.read) return 0;
  bytes.copyWithin(start + READ_HEAD_BYTES, start, start + NATIVE_HEADER_BYTES);
  request.start = start + READ_HEAD_BYTES;
  setU32(bytes, request.start, end - request.start);
  bytes[request.start + OPCODE_AT] = OPCODE.command;
  return READ_HEAD_BYTES;
}

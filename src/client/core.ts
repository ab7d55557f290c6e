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
 * A write whose keys lie in one slot is a session write (design section 7): the server executes its number once,
 * so it is sent again under that number after a lost connection, until its call's time is up. A write over several
 * slots is sent once. What is told of a failed write is true of all its attempts: "not executed" only if each was
 * refused or never sent.
 *
 * Order: writes of one slot take effect in the order of their calls. Other calls that overlap have none.
 */
import { assert } from "../base/assert.ts";
import { setU64 } from "../base/bytes.ts";
import { MiB } from "../base/units.ts";
import { WIRE_VERSION } from "../base/version.ts";
import type { Platform } from "../platform/platform.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
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
import { beginNative, endNative, NATIVE_HEADER_BYTES, OPCODE } from "../wire/native.ts";
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
import { type Caller, type Kind, lateError, mayTakeEffect, Request, type State } from "./request.ts";
import { Route, TICK_MS } from "./route.ts";
import { errorText, refusalCode, type Verdict, verdictOf } from "./verdict.ts";
import { Window } from "./window.ts";

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
/**
 * Requests with higher numbers than this above the oldest unanswered one wait here. The shard keeps at most 4096
 * replies of a client: those from its floor on, as the last executed write named it, which is at most one window
 * behind; so two windows must fit.
 */
export const WINDOW_MAX = 2048;
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

export class ClientCore {
  readonly #clock: Platform["clock"];
  readonly #random: Platform["random"];
  readonly #options: CoreOptions;
  readonly #route: Route;
  readonly #window = new Window<Request>();
  readonly #chunks: Chunks;
  readonly #encoder: CommandEncoder;
  /** The session block of the frame being written. */
  readonly #session: Session;
  /** By slot: the last write without an answer, which the next one must not overtake. */
  readonly #lastWrites: (Request | null)[] = new Array<Request | null>(SLOT_COUNT).fill(null);
  /** Requests to be sent, in that order, from `#outHead` on. */
  #outbox: Request[] = [];
  #outHead = 0;
  #open: Request | null = null;
  #openRefusal: ClientError | null = null;
  #inFlight = 0;
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
    const client = new Uint8Array(16);
    platform.random.fill(client);
    this.#session = { client, seq: 0, floor: 0, notAfter: 0, after: 0 };
    const { name, version } = options;
    this.#route = new Route(options.addresses, {
      ...platform,
      greeting: encodeShape(clientHello, { name, version, wireVersions: [WIRE_VERSION] }),
      onAnswer: (id, opcode, bytes, start, end) => this.#onAnswer(id, opcode, bytes, start, end),
      onReady: () => this.#wake(),
      onLost: (reason) => this.#onLost(reason),
      inFlight: () => this.#inFlight,
    });
    this.#chunks = new Chunks(() => this.#route.drained);
    this.#encoder = new CommandEncoder(this.#chunks.open().writer);
    this.#stopTicks = platform.clock.ticks(TICK_MS, () => this.#onTick());
    this.#route.start();
  }

  /** Requests without an answer. */
  get pending(): number {
    return this.#window.count;
  }

  /** The node that is talked to now. */
  get node(): string | null {
    return this.#route.node;
  }

  get closed(): boolean {
    return this.#closed;
  }

  // ------------------------------------------------------------------------------------------- asking

  /**
   * Begins a command; its arguments are written with the encoder, in the order of `op` (wire/command.ts), and
   * `end` completes it, in the same turn. `slot`: where its keys lie; -1 = several slots, or no keys.
   */
  begin(op: Op, slot: number, caller: Caller, timeoutMs = this.#options.timeoutMs): CommandEncoder {
    const kind = op < OP_WRITE_MIN ? "read" : slot >= 0 ? "session" : "once";
    const request = this.#take(kind, caller, slot, timeoutMs);
    const { writer } = request.chunk as Chunk;
    request.start = beginNative(writer, OPCODE.command, request.seq);
    this.#encoder.writer = writer;
    this.#encoder.begin(op, kind === "session" ? this.#sessionOf(request) : null);
    return this.#encoder;
  }

  /** Completes the command; gives what `abort` takes. */
  end(): Request {
    const bytes = this.#encoder.end();
    if (bytes > COMMAND_BYTES_MAX) {
      this.#openRefusal = new CommandError(
        `ERR the command has ${bytes} bytes; at most ${COMMAND_BYTES_MAX} fit`,
      );
    }
    return this.#queue();
  }

  /** Asks the node itself: a ping, or its status. */
  ask(opcode: typeof OPCODE.ping | typeof OPCODE.admin, caller: Caller, timeoutMs?: number): Request {
    const request = this.#take("read", caller, -1, timeoutMs ?? this.#options.timeoutMs);
    request.start = beginNative((request.chunk as Chunk).writer, opcode, request.seq);
    return this.#queue();
  }

  #take(kind: Kind, caller: Caller, slot: number, timeoutMs: number): Request {
    assert(this.#open === null, "one request is written at a time");
    assert(timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX, "a call's time is limited");
    const request = new Request(kind, caller, slot, this.#tick + 1 + Math.ceil(timeoutMs / TICK_MS));
    request.chunk = this.#chunks.open();
    request.chunk.live++;
    request.seq = this.#window.add(request);
    this.#open = request;
    if (this.#closed || this.#draining)
      this.#openRefusal = new UnavailableError("CLOSED", "the client is closed");
    else if (this.#window.count > REQUESTS_MAX || this.#bytes > BYTES_MAX) {
      this.#openRefusal = new UnavailableError(
        "OVERLOADED",
        "too many calls are under way; wait for some of them",
      );
    }
    return request;
  }

  /** The block with what is known now; `#stamp` adds the rest when it is sent. */
  #sessionOf(request: Request): Session {
    this.#session.seq = request.seq;
    return this.#session;
  }

  #queue(): Request {
    const request = this.#open as Request;
    const chunk = request.chunk as Chunk;
    this.#open = null;
    endNative(chunk.writer, request.start);
    request.end = chunk.writer.length;
    this.#bytes += request.end - request.start;
    if (request.kind === "session") this.#link(request);
    const refusal = this.#openRefusal;
    if (refusal !== null) {
      this.#openRefusal = null;
      chunk.writer.length = request.start;
      this.#fail(request, refusal);
      return request;
    }
    this.#dueTick = Math.min(this.#dueTick, request.deadlineTick);
    this.#outbox.push(request);
    this.#wake();
    return request;
  }

  /** The writes of a slot that have no answer form a list: each names the one before it when it is sent. */
  #link(request: Request): void {
    const before = this.#lastWrites[request.slot] as Request | null;
    request.before = before;
    if (before !== null) before.behind = request;
    this.#lastWrites[request.slot] = request;
  }

  #unlink({ before, behind, slot }: Request): void {
    if (before !== null) before.behind = behind;
    if (behind !== null) behind.before = before;
    else this.#lastWrites[slot] = before;
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
    if (this.#window.count === 0) this.close();
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
    this.#outbox = [];
    for (let seq = this.#window.oldest; seq < this.#window.next; seq++) {
      const request = this.#window.get(seq);
      if (request === undefined) continue;
      if (mayTakeEffect(request)) this.#fail(request, new OutcomeUnknownError("the client was closed"));
      else this.#fail(request, new UnavailableError("CLOSED", "the client was closed"));
    }
  }

  // ------------------------------------------------------------------------------------------- sending

  #wake(): void {
    if (this.#turnAsked || this.#closed || this.#outHead === this.#outbox.length || !this.#route.ready)
      return;
    this.#turnAsked = true;
    this.#clock.turn(() => this.#flush());
  }

  /** Sends what may go: frames that lie side by side leave by one write. */
  #flush(): void {
    this.#turnAsked = false;
    const limit = this.#window.oldest + WINDOW_MAX;
    let chunk: Chunk | null = null;
    let from = 0;
    let to = 0;
    while (this.#outHead < this.#outbox.length && this.#route.ready) {
      const request = this.#outbox[this.#outHead] as Request;
      if (request.state !== "queued") {
        this.#outHead++; // it failed meanwhile; its bytes are left out
        continue;
      }
      if (request.seq >= limit) break;
      this.#outHead++;
      this.#stamp(request);
      if (request.chunk !== chunk || request.start !== to) {
        this.#send(chunk, from, to);
        chunk = request.chunk;
        from = request.start;
      }
      to = request.end;
      request.state = "sent";
      this.#inFlight++;
    }
    this.#send(chunk, from, to);
    if (this.#outHead === this.#outbox.length && this.#outHead > 0) {
      this.#outbox.length = 0;
      this.#outHead = 0;
    }
  }

  #send(chunk: Chunk | null, from: number, to: number): void {
    if (chunk !== null) this.#route.send(chunk.writer.bytes.subarray(from, to), this.#inFlight === 0);
  }

  /** What only the moment of sending knows: floor and `after`, and, once for all attempts, notAfter. */
  #stamp(request: Request): void {
    if (request.kind !== "session") return;
    const { bytes } = (request.chunk as Chunk).writer;
    setU64(bytes, request.start + FLOOR_AT, this.#window.oldest);
    setU64(bytes, request.start + AFTER_AT, request.before?.seq ?? 0);
    if (request.stamped) return;
    request.stamped = true;
    setU64(bytes, request.start + NOT_AFTER_AT, this.#route.leaderTimeMs() + NOT_AFTER_MS);
  }

  // ------------------------------------------------------------------------------------------- answers

  #onAnswer(id: number, opcode: number, bytes: Uint8Array, start: number, end: number): void {
    const request = this.#window.get(id);
    if (request === undefined || request.state !== "sent") return; // nobody waits for it any more
    const isError = opcode === OPCODE.reply && bytes[start] === REPLY_TAG.error;
    const verdict = isError ? verdictOf(bytes, start, end) : "answer";
    if (verdict === "answer") {
      this.#finish(request);
      request.caller.onReply(bytes, start, end);
    } else {
      this.#onRefusal(request, verdict, errorText(bytes, start, end));
    }
    if (this.#inFlight === 0) this.#route.onIdle();
    this.#wake(); // the window may have moved on
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
    request.state = "refused";
    request.refusal = why;
    this.#inFlight--;
    this.#route.refreshSoon();
    if (this.#retryTick === Number.POSITIVE_INFINITY)
      this.#retryTick = this.#tick + 1 + (this.#random.u32() % RETRY_TICKS);
  }

  /** Refused requests go before all others, in the order of their numbers: they may hold the window back. */
  #retry(): void {
    this.#retryTick = Number.POSITIVE_INFINITY;
    this.#outbox = [...this.#again("refused"), ...this.#outbox.slice(this.#outHead)];
    this.#outHead = 0;
    this.#wake();
  }

  /** Queues all requests in `state` once more, as copies: their old bytes may still belong to the connection. */
  #again(state: State): Request[] {
    const list: Request[] = [];
    for (let seq = this.#window.oldest; seq < this.#window.next; seq++) {
      const request = this.#window.get(seq);
      if (request === undefined || request.state !== state) continue;
      const from = request.chunk as Chunk;
      const to = this.#chunks.open();
      const at = to.writer.length;
      to.writer.range(from.writer.bytes, request.start, request.end);
      to.live++;
      request.chunk = to;
      request.start = at;
      request.end = to.writer.length;
      request.state = "queued";
      this.#chunks.release(from);
      list.push(request);
    }
    return list;
  }

  /** Sent requests will not be answered any more. What may be sent again goes first, in the old order. */
  #onLost(reason: string): void {
    this.#inFlight = 0;
    const once: Request[] = [];
    for (let seq = this.#window.oldest; seq < this.#window.next; seq++) {
      const request = this.#window.get(seq);
      if (request === undefined || request.state !== "sent") continue;
      request.refusal = reason;
      if (request.kind === "read") continue;
      request.maybe = true;
      if (request.kind === "once") once.push(request);
    }
    for (const request of once) {
      request.state = "refused"; // not in flight any more
      this.#fail(request, new OutcomeUnknownError(`the connection was lost: ${reason}`));
    }
    if (this.#closed) return;
    this.#outbox = [...this.#again("sent"), ...this.#outbox.slice(this.#outHead)];
    this.#outHead = 0;
  }

  #finish(request: Request): void {
    if (request.state === "sent") this.#inFlight--;
    if (request.kind === "session") this.#unlink(request);
    request.state = "done";
    this.#bytes -= request.end - request.start;
    this.#window.remove(request.seq);
    this.#chunks.release(request.chunk as Chunk);
    request.chunk = null;
    if (this.#draining && !this.#closed && this.#window.count === 0) this.#clock.turn(() => this.close());
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
    for (let seq = this.#window.oldest; seq < this.#window.next; seq++) {
      const request = this.#window.get(seq);
      if (request === undefined) continue;
      if (request.deadlineTick <= this.#tick) due.push(request);
      else this.#dueTick = Math.min(this.#dueTick, request.deadlineTick);
    }
    for (const request of due)
      if (request.state !== "done") this.#fail(request, lateError(request, this.#route.problem));
    if (this.#inFlight === 0) this.#route.onIdle();
  }
}

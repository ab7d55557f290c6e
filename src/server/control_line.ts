/**
 * This node's line to the control plane: one connection to the control process that leads, requests in `admin` frames
 * of the native protocol (wire/control_request.ts), each answered once.
 *
 *     dial the addresses in turn -> ask -> "elsewhere": dial the one that is said to lead, or the next
 *                                       -> silence: cut, and dial the next
 *
 * A request that was on its way when the connection ended, or came to one that does not lead, is answered null: the
 * asker asks again, or says that it could not be reached. Bounds: REQUESTS_OPEN_MAX requests, of REQUEST_TICKS_MAX each;
 * DIAL_TICKS_MAX for a connection.
 */
import { Writer } from "../base/bytes.ts";
import type { Connection, ConnectionEvents, Net, Random } from "../platform/platform.ts";
import { encodeBeat } from "../wire/beat.ts";
import {
  type ControlReply,
  type ControlRequest,
  controlReply,
  controlRequest,
} from "../wire/control_request.ts";
import { decodeShape, encodeShape, ShapeError } from "../wire/msgpack.ts";
import { NATIVE_HEADER_BYTES, NativeFrame, nativeParser, OPCODE, writeNative } from "../wire/native.ts";
import { preamble } from "../wire/preamble.ts";
import { parseAddress } from "./layout.ts";

/** Three seconds: longer than a control plane takes to elect another leader and to know it. */
const REQUEST_TICKS_MAX = 300;
/** What a control process takes of one connection before it stops reading. */
const REQUESTS_OPEN_MAX = 64;
/** Of these for the node itself, whose heartbeats and map requests are one at a time; the rest are operators'. */
const REQUESTS_OWN = 4;
/** A machine that is gone answers nothing, and the kernel would wait for it for minutes. */
const DIAL_TICKS_MAX = 100;
const REDIAL_TICKS_MIN = 10;
const REDIAL_TICKS_MAX = 100;

type HostPort = { readonly host: string; readonly port: number };
type Answer = (reply: ControlReply | null) => void;

export type LineHost = { readonly net: Net; readonly random: Random; onUp(): void };

export class ControlLine implements ConnectionEvents {
  readonly #host: LineHost;
  readonly #addresses: readonly HostPort[];
  /** Which one is dialled next, unless somebody names the leader. */
  #turn = 0;
  #leader: HostPort | null = null;
  #connection: Connection | null = null;
  #isUp = false;
  #parser = nativeParser("server");
  readonly #frame = new NativeFrame();
  readonly #open = new Map<number, { readonly answer: Answer; ticks: number }>();
  #requestNext = 1;
  #redialIn = 0;
  #dialTicks = 0;
  #redialTicks = REDIAL_TICKS_MIN;
  #closed = false;

  constructor(addresses: readonly HostPort[], host: LineHost) {
    this.#addresses = addresses;
    this.#host = host;
    this.#turn = host.random.u32() % addresses.length;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  ask(request: ControlRequest, answer: Answer): void {
    const connection = this.#connection;
    const openMax = request.kind === "http" ? REQUESTS_OPEN_MAX - REQUESTS_OWN : REQUESTS_OPEN_MAX;
    if (connection === null || !this.#isUp || this.#open.size >= openMax) return answer(null);
    const id = this.#requestNext++;
    this.#open.set(id, { answer, ticks: 0 });
    const body =
      request.kind === "beat" ? encodeBeat(request.heartbeat) : encodeShape(controlRequest, request);
    const writer = new Writer(NATIVE_HEADER_BYTES + body.length);
    writeNative(writer, OPCODE.admin, id, body);
    connection.send(writer.view());
  }

  tick(): void {
    if (this.#closed) return;
    if (this.#connection === null && --this.#redialIn <= 0) this.#dial();
    else if (this.#connection !== null && !this.#isUp && ++this.#dialTicks > DIAL_TICKS_MAX)
      return this.#drop();
    for (const open of this.#open.values()) {
      if (++open.ticks <= REQUEST_TICKS_MAX) continue;
      this.#drop();
      return;
    }
  }

  #dial(): void {
    const next = this.#leader ?? (this.#addresses[this.#turn++ % this.#addresses.length] as HostPort);
    this.#leader = null; // said once, tried once
    this.#parser = nativeParser("server");
    this.#isUp = false;
    this.#dialTicks = 0;
    this.#connection = this.#host.net.dial(next.host, next.port, this);
  }

  onOpen(): void {
    this.#connection?.send(preamble("client"));
    this.#isUp = true;
    this.#host.onUp();
  }

  onDrain(): void {}

  onData(bytes: Uint8Array): void {
    const parser = this.#parser;
    parser.feed(bytes);
    while (this.#connection !== null && parser === this.#parser) {
      const event = parser.next();
      if (event === "more") return;
      const bad = event === "error" ? "length" : this.#frame.read(parser.bytes, parser.start, parser.end);
      if (bad !== null) return this.#drop();
      this.#take(this.#frame);
    }
  }

  #take(frame: NativeFrame): void {
    if (frame.opcode !== OPCODE.adminReply) return this.#drop();
    const open = this.#open.get(frame.requestId);
    if (open === undefined) return;
    this.#open.delete(frame.requestId);
    const reply = decodeShape(controlReply, frame.body(), "control reply");
    if (reply instanceof ShapeError) {
      open.answer(null);
      return this.#drop();
    }
    this.#redialTicks = REDIAL_TICKS_MIN;
    if (reply.kind !== "elsewhere") return open.answer(reply);
    this.#leader = reply.leader === null ? null : parseAddress(reply.leader);
    open.answer(null);
    this.#drop();
  }

  onClose(): void {
    this.#ended();
  }

  #drop(): void {
    const connection = this.#connection;
    if (connection === null) return;
    connection.events = DEAF;
    connection.destroy();
    this.#ended();
  }

  #ended(): void {
    this.#connection = null;
    this.#isUp = false;
    this.#redialIn =
      this.#leader === null ? this.#redialTicks + (this.#host.random.u32() % this.#redialTicks) : 1;
    this.#redialTicks = Math.min(2 * this.#redialTicks, REDIAL_TICKS_MAX);
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const { answer } of open) answer(null);
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }
}

const DEAF: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };

/**
 * One connection to one node: preamble and hello, then frames both ways.
 *
 *     dialling -> greeting -> up -> down           `down` is final; a new attempt is a new Link
 *
 * A link that is to ask for the map does so together with its hello, and is up when both are answered, or when whoever
 * waits goes on without. A server without a map answers when it has one; a server that knows no maps closes the
 * connection over the question: `knowsNoMap`.
 *
 * Errors: a malformed frame, or one that a server never sends, ends the connection; `onDown` says why.
 */
import { fromUtf8, Writer } from "../base/bytes.ts";
import type { Clock, Connection, ConnectionEvents, Net } from "../platform/platform.ts";
import { type HelloReply, helloReply } from "../wire/control.ts";
import { decodeShape, ShapeError } from "../wire/msgpack.ts";
import {
  NATIVE_HEADER_BYTES,
  NativeFrame,
  nativeParser,
  OPCODE,
  type Opcode,
  writeNative,
} from "../wire/native.ts";
import { preamble } from "../wire/preamble.ts";
import { type Address, showAddress } from "./address.ts";

export type LinkHost = {
  readonly clock: Clock;
  readonly net: Net;
  /** Body of the hello. */
  readonly greeting: Uint8Array;
  /** The node answered the hello: the first time, and whenever it was asked again. */
  onHello(link: Link): void;
  /** The server told its map, asked or not. `body` is borrowed; empty = it has none. */
  onMap(link: Link, body: Uint8Array): void;
  /** A reply, a pong or an admin reply to request `id`: `bytes[start, end)`, borrowed. */
  onAnswer(id: number, opcode: number, bytes: Uint8Array, start: number, end: number): void;
  /** What was sent has left: there is room again. */
  onRoom(): void;
  /** Once; nothing comes after it. */
  onDown(link: Link, reason: string): void;
};

/** Frames of the link's own carry this number; requests are numbered from 1. */
const OWN_ID = 0;
const NOTHING = new Uint8Array(0);

export class Link implements ConnectionEvents {
  readonly address: Address;
  readonly dialledMs: number;
  state: "dialling" | "greeting" | "up" | "down" = "dialling";
  hello: HelloReply | null = null;
  helloMs = 0;
  /** When something last came. */
  heardMs: number;
  /** The connection takes no more for now. */
  full = false;
  readonly #host: LinkHost;
  readonly #connection: Connection;
  readonly #parser = nativeParser("server");
  readonly #frame = new NativeFrame();
  #lastWords = "";
  /** The map was asked for, at least once. */
  mapAsked: boolean;
  #mapTold = false;

  constructor(address: Address, host: LinkHost, asksMap: boolean) {
    this.address = address;
    this.mapAsked = asksMap;
    this.#host = host;
    this.dialledMs = host.clock.monotonicMs();
    this.heardMs = this.dialledMs;
    this.#connection = host.net.dial(address.host, address.port, this);
  }

  get queuedBytes(): number {
    return this.#connection.queuedBytes();
  }

  send(bytes: Uint8Array): void {
    if (!this.#connection.send(bytes)) this.full = true;
  }

  sayHello(): void {
    this.#sendOwn(OPCODE.hello, this.#host.greeting);
  }

  askMap(): void {
    this.mapAsked = true;
    this.#sendOwn(OPCODE.map, NOTHING);
  }

  /** It greeted, and ended because the map was asked for. */
  get knowsNoMap(): boolean {
    return this.mapAsked && !this.#mapTold && this.hello !== null && this.#lastWords.includes("opcode");
  }

  /** The map may come later. */
  goOnWithoutMap(): void {
    if (this.hello !== null) this.#greetedBy(true);
  }

  ping(): void {
    this.#sendOwn(OPCODE.ping, NOTHING);
  }

  #sendOwn(opcode: Opcode, body: Uint8Array): void {
    const writer = new Writer(NATIVE_HEADER_BYTES + body.length);
    writeNative(writer, opcode, OWN_ID, body);
    this.send(writer.view());
  }

  /** Ends it quietly: sends what is queued, and reports nothing more. */
  close(): void {
    if (this.state === "down") return;
    this.state = "down";
    this.#connection.events = DEAF;
    this.#connection.close();
  }

  /** Cuts it; `onDown` follows at once. */
  drop(reason: string): void {
    if (this.state === "down") return;
    this.state = "down";
    this.#connection.events = DEAF;
    this.#connection.destroy();
    this.#host.onDown(this, `${showAddress(this.address)}: ${reason}`);
  }

  onOpen(): void {
    this.state = "greeting";
    this.send(preamble("client"));
    this.sayHello();
    if (this.mapAsked) this.askMap();
  }

  onData(bytes: Uint8Array): void {
    this.heardMs = this.#host.clock.monotonicMs();
    const parser = this.#parser;
    parser.feed(bytes);
    while (this.state !== "down") {
      const event = parser.next();
      if (event === "more") return;
      const bad = event === "error" ? "length" : this.#frame.read(parser.bytes, parser.start, parser.end);
      if (bad !== null) this.drop(`malformed frame: ${bad}`);
      else this.#take(this.#frame);
    }
  }

  #take(frame: NativeFrame): void {
    const { opcode, requestId, bytes, bodyStart, bodyEnd } = frame;
    switch (opcode) {
      case OPCODE.reply:
      case OPCODE.pong:
      case OPCODE.adminReply:
      case OPCODE.readReply:
        if (requestId !== OWN_ID) this.#host.onAnswer(requestId, opcode, bytes, bodyStart, bodyEnd);
        return;
      case OPCODE.helloReply:
        return this.#greeted(frame.body());
      case OPCODE.mapReply:
        return this.#told(frame.body());
      case OPCODE.closing:
        this.#lastWords = fromUtf8(frame.body());
        return;
      default:
        this.drop(`a server does not send opcode ${opcode}`);
    }
  }

  #greeted(body: Uint8Array): void {
    const said = decodeShape(helloReply, body, "hello reply");
    if (said instanceof ShapeError) return this.drop(said.reason);
    this.hello = said;
    this.helloMs = this.heardMs;
    this.#greetedBy(!this.mapAsked || this.#mapTold);
  }

  #told(body: Uint8Array): void {
    const isFirst = !this.#mapTold;
    this.#mapTold = true;
    this.#host.onMap(this, body);
    if (isFirst && this.state === "greeting" && this.hello !== null) this.#greetedBy(true);
  }

  #greetedBy(all: boolean): void {
    if (all && this.state === "greeting") this.state = "up";
    if (this.state === "up") this.#host.onHello(this);
  }

  onDrain(): void {
    this.full = false;
    this.#host.onRoom();
  }

  onClose(reason: string): void {
    if (this.state === "down") return;
    this.state = "down";
    const why = this.#lastWords === "" ? reason : this.#lastWords;
    this.#host.onDown(this, `${showAddress(this.address)}: ${why}`);
  }
}

const DEAF: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };

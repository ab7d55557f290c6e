/**
 * Connections whose caller says that it is a node, until it has said which one: then they are a link's (peer_link.ts), or
 * closed.
 *
 * Bounds: CALLERS_MAX callers, of whom the oldest makes room; HELLO_TICKS_MAX for a hello.
 */
import type { Connection, ConnectionEvents, Log } from "../platform/platform.ts";
import type { PeerHello } from "../wire/control.ts";
import { PeerParser } from "../wire/peer.ts";
import { decodePeerFrame, type PeerFrame } from "../wire/peer_decode.ts";

/** A caller that calls itself a node and does not say which for this long is dropped. */
const HELLO_TICKS_MAX = 500;
/** Three to each of 15 nodes, and as many again that are being replaced. */
const CALLERS_MAX = 96;
/** Reasons that were said already; what others say of themselves must not fill the memory. */
const REASONS_MAX = 64;

/** Takes the connection over, or says why not. */
type Adopt = (connection: Connection, parser: PeerParser, hello: PeerHello) => string | null;

export class PeerCallers {
  readonly #log: Log;
  readonly #adopt: Adopt;
  /** Oldest first. */
  readonly #callers = new Set<Caller>();
  /** Why callers were refused: said once. */
  readonly #refused = new Set<string>();

  constructor(log: Log, adopt: Adopt) {
    this.#log = log;
    this.#adopt = adopt;
  }

  /** `bytes` came behind the preamble. */
  accept(connection: Connection, bytes: Uint8Array): void {
    const caller: Caller = new Caller(connection, (parser, frame) => {
      this.#callers.delete(caller);
      this.#onFrame(connection, parser, frame);
    });
    if (this.#callers.size >= CALLERS_MAX) this.#dropOldest();
    this.#callers.add(caller);
    connection.events = caller;
    if (bytes.length > 0) caller.onData(bytes);
  }

  #dropOldest(): void {
    for (const oldest of this.#callers) {
      this.#callers.delete(oldest);
      if (!oldest.done) oldest.connection.destroy();
      return;
    }
  }

  #onFrame(connection: Connection, parser: PeerParser, frame: PeerFrame): void {
    const reason =
      frame.kind === "hello" ? this.#adopt(connection, parser, frame.hello) : "it did not say hello";
    if (reason === null) return;
    if (!this.#refused.has(reason)) {
      if (this.#refused.size >= REASONS_MAX) this.#refused.clear();
      this.#refused.add(reason); // it dials again and again
      this.#log.write("warn", "peer refused", { remote: connection.remote, reason });
    }
    connection.destroy();
  }

  tick(): void {
    for (const caller of this.#callers) {
      if (!caller.done && caller.ticks++ <= HELLO_TICKS_MAX) continue;
      if (!caller.done) caller.connection.destroy();
      this.#callers.delete(caller);
    }
  }

  close(): void {
    for (const caller of this.#callers) if (!caller.done) caller.connection.destroy();
  }
}

/** Someone who dialled as a node and has not said which one yet. */
class Caller implements ConnectionEvents {
  readonly connection: Connection;
  readonly #parser = new PeerParser();
  readonly #onHello: (parser: PeerParser, frame: PeerFrame) => void;
  done = false;
  ticks = 0;

  constructor(connection: Connection, onHello: (parser: PeerParser, frame: PeerFrame) => void) {
    this.connection = connection;
    this.#onHello = onHello;
  }

  onOpen(): void {}
  onDrain(): void {}

  onClose(): void {
    this.done = true;
  }

  onData(bytes: Uint8Array): void {
    if (this.done) return;
    const parser = this.#parser;
    parser.feed(bytes);
    const event = parser.next();
    if (event === "more") return;
    this.done = true;
    const frame = event === "error" ? parser.error : decodePeerFrame(parser);
    if (typeof frame === "string") this.connection.destroy();
    else this.#onHello(parser, frame);
  }
}

/**
 * The door of a control process: nodes and other control processes come to one port (wire/preamble.ts). A node speaks the
 * native protocol and only its `admin` frames (wire/control_request.ts); a control process is handed on as a peer.
 *
 * Bounds: CALLERS_MAX connections; of each, REQUESTS_OPEN_MAX requests, then its reading waits; who does not take its
 * answers is cut at OUTPUT_BYTES_CUT. A malformed frame, or one of another kind, closes the connection and says why.
 */
import { concat, utf8 } from "../base/bytes.ts";
import { MiB } from "../base/units.ts";
import type { Connection, ConnectionEvents } from "../platform/platform.ts";
import { Output } from "../server/output.ts";
import { BeatReader } from "../wire/beat.ts";
import { type ControlReply, type ControlRequest, controlReply } from "../wire/control_request.ts";
import { encodeShape, ShapeError } from "../wire/msgpack.ts";
import { NativeFrame, nativeParser, OPCODE, writeNative } from "../wire/native.ts";
import { PREAMBLE_BYTES, PREAMBLE_FIRST, readPreamble } from "../wire/preamble.ts";

/** Four times the nodes that there may be. */
const CALLERS_MAX = 4096;
/** A node asks one thing at a time, and passes on what its operators ask. */
const REQUESTS_OPEN_MAX = 64;
/** Two of the largest answers. */
const OUTPUT_BYTES_CUT = 32 * MiB;
/** Ten seconds to say who calls. */
const OPENING_TICKS_MAX = 1000;
const NOT_A_DOOR =
  "this is a control process: clients talk to nodes (nucleus node), which hand on what concerns it";

export type AdminHost = {
  onRequest(request: ControlRequest, reply: (answer: ControlReply) => void): void;
  /** The connection is a control process's; `bytes` came behind the preamble. */
  onPeer(connection: Connection, bytes: Uint8Array): void;
  wake(): void;
};

export class AdminDoor {
  readonly #host: AdminHost;
  readonly #callers = new Set<Caller>();
  #touched = new Set<Caller>();
  /** The last map that was sent, and its bytes: every node asks for the same one. */
  #map: { readonly map: unknown; readonly body: Uint8Array } | null = null;

  constructor(host: AdminHost) {
    this.#host = host;
  }

  get count(): number {
    return this.#callers.size;
  }

  accept(connection: Connection): void {
    if (this.#callers.size >= CALLERS_MAX) return connection.destroy();
    const caller: Caller = new Caller(connection, {
      onRequest: (request, reply) => this.#host.onRequest(request, reply),
      onPeer: (bytes) => {
        this.#callers.delete(caller);
        this.#host.onPeer(connection, bytes);
      },
      encode: (reply) => this.#encode(reply),
      touch: () => {
        this.#touched.add(caller);
        this.#host.wake();
      },
      onGone: () => {
        this.#callers.delete(caller);
        this.#touched.delete(caller);
      },
    });
    this.#callers.add(caller);
    connection.events = caller;
  }

  #encode(reply: ControlReply): Uint8Array {
    if (reply.kind !== "map") return encodeShape(controlReply, reply);
    if (this.#map?.map !== reply.map) this.#map = { map: reply.map, body: encodeShape(controlReply, reply) };
    return this.#map.body;
  }

  tick(): void {
    for (const caller of this.#callers) caller.tick();
  }

  /** The end of a turn: answers leave. */
  flush(): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    for (const caller of touched) caller.flush();
  }

  close(): void {
    for (const caller of this.#callers) caller.close();
  }
}

type CallerHost = {
  onRequest(request: ControlRequest, reply: (answer: ControlReply) => void): void;
  onPeer(bytes: Uint8Array): void;
  encode(reply: ControlReply): Uint8Array;
  touch(): void;
  onGone(): void;
};

class Caller implements ConnectionEvents {
  readonly #connection: Connection;
  readonly #host: CallerHost;
  readonly #output: Output;
  readonly #parser = nativeParser("client");
  readonly #frame = new NativeFrame();
  readonly #requests = new BeatReader();
  /** Bytes of a preamble that is not whole; null behind it. */
  #opening: Uint8Array | null = new Uint8Array(0);
  #ticks = 0;
  #open = 0;
  #isPaused = false;
  #isClosing = false;
  #isGone = false;

  constructor(connection: Connection, host: CallerHost) {
    this.#connection = connection;
    this.#host = host;
    this.#output = new Output(connection);
  }

  onOpen(): void {}

  onDrain(): void {
    this.#host.touch();
  }

  onClose(): void {
    this.#isGone = true;
    this.#host.onGone();
  }

  onData(bytes: Uint8Array): void {
    if (this.#isGone || this.#isClosing) return;
    if (this.#opening === null) return this.#feed(bytes);
    const held = concat([this.#opening, bytes]);
    if (held.length === 0) return;
    if (held[0] !== PREAMBLE_FIRST) {
      this.#connection.send(utf8(`-ERR ${NOT_A_DOOR}\r\n`)); // RESP, and a person can read it
      this.#isClosing = true;
      return this.#host.touch();
    }
    this.#opening = held;
    if (held.length < PREAMBLE_BYTES) return;
    this.#begin(held);
  }

  #begin(held: Uint8Array): void {
    this.#opening = null;
    const caller = readPreamble(held, 0);
    const rest = held.subarray(PREAMBLE_BYTES);
    if (caller === "peer") {
      this.#isGone = true;
      return this.#host.onPeer(rest);
    }
    if (caller === "client") return this.#feed(rest);
    this.#connection.destroy();
  }

  #feed(bytes: Uint8Array): void {
    this.#parser.feed(bytes);
    this.#pump();
  }

  #pump(): void {
    const parser = this.#parser;
    while (!this.#isClosing && !this.#isGone) {
      if (this.#open >= REQUESTS_OPEN_MAX) {
        parser.feed(NOTHING); // what was read so far is only borrowed
        return this.#pause();
      }
      const event = parser.next();
      if (event === "more") return;
      const bad = event === "error" ? "length" : this.#frame.read(parser.bytes, parser.start, parser.end);
      if (bad !== null) return this.#closeWith(`malformed frame: ${bad}`);
      this.#take(this.#frame);
    }
  }

  #take({ opcode, requestId, bytes, bodyStart, bodyEnd }: NativeFrame): void {
    const body = bytes.subarray(bodyStart, bodyEnd);
    if (opcode === OPCODE.ping) {
      writeNative(this.#output.writer, OPCODE.pong, requestId, body);
      return this.#host.touch();
    }
    if (opcode !== OPCODE.admin) return this.#closeWith(NOT_A_DOOR);
    const request = this.#requests.read(body);
    if (request instanceof ShapeError)
      return this.#closeWith(`malformed request: ${request.reason} is expected`);
    this.#open++;
    this.#host.onRequest(request, (reply) => this.#answer(requestId, reply));
  }

  #answer(requestId: number, reply: ControlReply): void {
    this.#open--;
    if (this.#isGone) return;
    if (reply.kind === "beat" && reply.reply.standing === "known") this.#requests.keep();
    writeNative(this.#output.writer, OPCODE.adminReply, requestId, this.#host.encode(reply));
    this.#host.touch();
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#connection.pause();
  }

  #closeWith(why: string): void {
    writeNative(this.#output.writer, OPCODE.closing, 0, utf8(why));
    this.#isClosing = true;
    this.#host.touch();
  }

  tick(): void {
    if (this.#opening !== null && ++this.#ticks > OPENING_TICKS_MAX) this.#connection.destroy();
  }

  flush(): void {
    if (this.#isGone) return;
    this.#output.flush();
    if (this.#output.queuedBytes > OUTPUT_BYTES_CUT) return this.#connection.destroy();
    if (this.#isClosing) return this.#connection.close();
    if (!this.#isPaused || this.#open >= REQUESTS_OPEN_MAX) return;
    this.#isPaused = false;
    this.#connection.resume();
    this.#pump();
  }

  close(): void {
    this.#output.flush();
    this.#connection.close();
  }
}

const NOTHING = new Uint8Array(0);

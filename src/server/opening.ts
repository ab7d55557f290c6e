/**
 * New connections, until their first bytes tell who calls: A9 4E 55 vv is a native client or a node, anything else
 * speaks RESP.
 *
 * Bounds (hazard J10): a caller that says nothing for OPENING_TICKS_MAX is cut; with OPENINGS_MAX of them the
 * oldest makes room, so that silent callers never keep a node or a client out, who speak at once. Clients are
 * counted when they are known to be some: nodes come in however many there are.
 */
import { concat, utf8, Writer } from "../base/bytes.ts";
import type { Connection, ConnectionEvents } from "../platform/platform.ts";
import { OPCODE, writeNative } from "../wire/native.ts";
import { PREAMBLE_BYTES, PREAMBLE_FIRST, readPreamble } from "../wire/preamble.ts";
import type { Client, ClientHost } from "./client.ts";
import { NativeClient } from "./native_client.ts";
import { RespClient } from "./resp_client.ts";

/** A minute: programs speak at once, people type. */
export const OPENING_TICKS_MAX = 6000;
/** Each costs a descriptor and a few hundred bytes. */
const OPENINGS_MAX = 1024;
const TOO_MANY = "ERR max number of clients reached";

export type OpeningHost = {
  nextId(): number;
  readonly host: ClientHost;
  /** No more clients. */
  isFull(): boolean;
  /** The connection is another node's; `bytes` came behind the preamble. */
  onPeer(connection: Connection, bytes: Uint8Array): void;
  onClient(client: Client): void;
};

export class Openings {
  readonly #host: OpeningHost;
  /** Oldest first. */
  readonly #open = new Set<Opening>();

  constructor(host: OpeningHost) {
    this.#host = host;
  }

  get count(): number {
    return this.#open.size;
  }

  add(connection: Connection): void {
    if (this.#open.size >= OPENINGS_MAX)
      for (const oldest of this.#open) return this.#replace(oldest, connection);
    this.#begin(connection);
  }

  #replace(oldest: Opening, connection: Connection): void {
    this.#cut(oldest);
    this.#begin(connection);
  }

  #begin(connection: Connection): void {
    const opening = new Opening(connection, this.#host, () => this.#open.delete(opening));
    this.#open.add(opening);
    connection.events = opening;
  }

  tick(): void {
    for (const opening of this.#open) if (++opening.ticks > OPENING_TICKS_MAX) this.#cut(opening);
  }

  close(): void {
    for (const opening of this.#open) this.#cut(opening);
  }

  #cut(opening: Opening): void {
    this.#open.delete(opening);
    opening.connection.destroy();
  }
}

class Opening implements ConnectionEvents {
  readonly connection: Connection;
  ticks = 0;
  readonly #host: OpeningHost;
  readonly #onEnd: () => void;
  #held = new Uint8Array(0);

  constructor(connection: Connection, host: OpeningHost, onEnd: () => void) {
    this.connection = connection;
    this.#host = host;
    this.#onEnd = onEnd;
  }

  onOpen(): void {}
  onDrain(): void {}

  onClose(): void {
    this.#onEnd();
  }

  onData(bytes: Uint8Array): void {
    const held = this.#held.length === 0 ? bytes : concat([this.#held, bytes]);
    if (held.length === 0) return;
    if (held[0] !== PREAMBLE_FIRST) return this.#becomeResp(held);
    if (held.length < PREAMBLE_BYTES) {
      this.#held = held.slice(); // what arrived is only borrowed
      return;
    }
    const caller = readPreamble(held, 0);
    const rest = held.subarray(PREAMBLE_BYTES);
    if (caller === "client") return this.#becomeNative(rest);
    this.#onEnd();
    if (caller === "peer") this.#host.onPeer(this.connection, rest);
    else this.connection.destroy();
  }

  #becomeResp(bytes: Uint8Array): void {
    if (this.#host.isFull()) return this.#turnAway(utf8(`-${TOO_MANY}\r\n`));
    this.#become(new RespClient(this.#host.nextId(), this.connection, this.#host.host), bytes);
  }

  #becomeNative(bytes: Uint8Array): void {
    if (this.#host.isFull()) {
      const writer = new Writer(64);
      writeNative(writer, OPCODE.closing, 0, utf8(TOO_MANY));
      return this.#turnAway(writer.copy());
    }
    this.#become(new NativeClient(this.#host.nextId(), this.connection, this.#host.host), bytes);
  }

  /** It stays among the openings until it is gone, so that one that never reads is cut as well. */
  #turnAway(why: Uint8Array): void {
    this.connection.events = { ...DEAF, onClose: () => this.#onEnd() };
    this.connection.send(why);
    this.connection.close();
  }

  #become(client: Client, bytes: Uint8Array): void {
    this.#onEnd();
    this.connection.events = client;
    this.#host.onClient(client);
    if (bytes.length > 0) client.onData(bytes);
  }
}

const DEAF: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };

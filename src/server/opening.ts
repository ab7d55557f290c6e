/**
 * A new connection, until its first bytes tell who calls: A9 4E 55 vv is a native client or a node, anything else
 * speaks RESP. A caller that says nothing for OPENING_TICKS_MAX is dropped by the node's tick.
 */
import { concat } from "../base/bytes.ts";
import type { Connection, ConnectionEvents } from "../platform/platform.ts";
import { PREAMBLE_BYTES, PREAMBLE_FIRST, readPreamble } from "../wire/preamble.ts";
import type { Client, ClientHost } from "./client.ts";
import { NativeClient } from "./native_client.ts";
import type { Peers } from "./peers.ts";
import { RespClient } from "./resp_client.ts";

export type OpeningHost = {
  nextId(): number;
  readonly host: ClientHost;
  peers(): Peers;
  onClient(client: Client): void;
};

/** One minute of 10 ms ticks: whoever types by hand has said something by then. */
export const OPENING_TICKS_MAX = 6000;

/** Connections that have not said who they are. They count as clients do, so that silence costs no more. */
export class Openings {
  readonly #host: OpeningHost;
  /** Oldest first. */
  readonly #waiting = new Set<Opening>();
  #tick = 0;

  constructor(host: OpeningHost) {
    this.#host = host;
  }

  get count(): number {
    return this.#waiting.size;
  }

  add(connection: Connection): void {
    const opening = new Opening(connection, this.#host, this.#tick, () => this.#waiting.delete(opening));
    this.#waiting.add(opening);
    connection.events = opening;
  }

  tick(): void {
    this.#tick++;
    for (const opening of this.#waiting) {
      if (this.#tick - opening.sinceTick <= OPENING_TICKS_MAX) break;
      opening.drop();
    }
  }

  close(): void {
    for (const opening of this.#waiting) opening.drop();
  }
}

class Opening implements ConnectionEvents {
  readonly sinceTick: number;
  readonly #connection: Connection;
  readonly #host: OpeningHost;
  readonly #done: () => void;
  #held = new Uint8Array(0);

  constructor(connection: Connection, host: OpeningHost, sinceTick: number, done: () => void) {
    this.sinceTick = sinceTick;
    this.#connection = connection;
    this.#host = host;
    this.#done = done;
  }

  drop(): void {
    this.#done();
    this.#connection.destroy();
  }

  onOpen(): void {}
  onDrain(): void {}

  onClose(): void {
    this.#done();
  }

  onData(bytes: Uint8Array): void {
    const held = this.#held.length === 0 ? bytes : concat([this.#held, bytes]);
    if (held.length === 0) return;
    if (held[0] !== PREAMBLE_FIRST)
      return this.#become((id, connection) => new RespClient(id, connection, this.#host.host), held);
    if (held.length < PREAMBLE_BYTES) {
      this.#held = held.slice(); // what arrived is only borrowed
      return;
    }
    const caller = readPreamble(held, 0);
    const rest = held.subarray(PREAMBLE_BYTES);
    if (caller === "peer") {
      this.#done();
      this.#host.peers().accept(this.#connection, rest);
    } else if (caller === "client")
      this.#become((id, connection) => new NativeClient(id, connection, this.#host.host), rest);
    else this.drop();
  }

  #become(make: (id: number, connection: Connection) => Client, bytes: Uint8Array): void {
    this.#done();
    const client = make(this.#host.nextId(), this.#connection);
    this.#connection.events = client;
    this.#host.onClient(client);
    if (bytes.length > 0) client.onData(bytes);
  }
}

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
  readonly peers: Peers;
  onClient(client: Client): void;
};

export function openingOf(connection: Connection, host: OpeningHost): void {
  connection.events = new Opening(connection, host);
}

class Opening implements ConnectionEvents {
  readonly #connection: Connection;
  readonly #host: OpeningHost;
  #held = new Uint8Array(0);

  constructor(connection: Connection, host: OpeningHost) {
    this.#connection = connection;
    this.#host = host;
  }

  onOpen(): void {}
  onDrain(): void {}
  onClose(): void {}

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
    if (caller === "peer") this.#host.peers.accept(this.#connection, rest);
    else if (caller === "client")
      this.#become((id, connection) => new NativeClient(id, connection, this.#host.host), rest);
    else this.#connection.destroy();
  }

  #become(make: (id: number, connection: Connection) => Client, bytes: Uint8Array): void {
    const client = make(this.#host.nextId(), this.#connection);
    this.#connection.events = client;
    this.#host.onClient(client);
    if (bytes.length > 0) client.onData(bytes);
  }
}

/**
 * Listens to what nodes say to each other: every byte that a node hands to a connection is decoded as peers would,
 * at the moment the node vouches for it. Clients' connections are left alone.
 */
import { concat } from "../../base/bytes.ts";
import type { Message } from "../../raft/types.ts";
import { PeerParser } from "../../wire/peer.ts";
import { decodePeerFrame } from "../../wire/peer_decode.ts";
import { SNAPSHOT_STATUS } from "../../wire/peer_encode.ts";
import { PREAMBLE_BYTES, readPreamble } from "../../wire/preamble.ts";
import type { NetObserver } from "../net.ts";
import type { SimConnection } from "../net_connection.ts";
import type { World } from "../world.ts";

type Ear = {
  /** The caller's first bytes, until they tell what it is. */
  opening: Uint8Array | null;
  /** Null: not a peer. */
  parser: PeerParser | null;
};

export class PeerTap implements NetObserver {
  /** A snapshot has arrived whole, says its receiver. */
  onSnapshotReceived: () => void = () => {};
  readonly #world: World;
  readonly #nodes: number;
  readonly #onMessage: (machine: number, group: number, message: Message) => void;
  #ears = new Map<SimConnection, Ear>();

  /** Machines below `nodes` run nodes and control processes. */
  constructor(
    world: World,
    nodes: number,
    onMessage: (machine: number, group: number, message: Message) => void,
  ) {
    this.#world = world;
    this.#nodes = nodes;
    this.#onMessage = onMessage;
  }

  onSend(connection: SimConnection, bytes: Uint8Array): void {
    if (connection.machine >= this.#nodes) return;
    let ear = this.#ears.get(connection);
    if (ear === undefined) {
      this.#forgetGone();
      const dialled = connection.dialled;
      const isPeer = dialled || this.#isDialledByPeer(connection.peer);
      ear = { opening: dialled ? new Uint8Array(0) : null, parser: isPeer ? new PeerParser() : null };
      this.#ears.set(connection, ear);
    }
    if (ear.parser === null) return;
    if (ear.opening === null) {
      this.#hear(connection, ear.parser, bytes);
      return;
    }
    const opening = concat([ear.opening, bytes]);
    ear.opening = opening;
    if (opening.length < PREAMBLE_BYTES) return;
    ear.opening = null;
    if (readPreamble(opening, 0) !== "peer") ear.parser = null;
    else this.#hear(connection, ear.parser, opening.subarray(PREAMBLE_BYTES));
  }

  #hear(connection: SimConnection, parser: PeerParser, bytes: Uint8Array): void {
    parser.feed(bytes);
    for (;;) {
      const event = parser.next();
      if (event === "more") return;
      const frame = event === "error" ? parser.error : decodePeerFrame(parser);
      if (typeof frame === "string") {
        this.#world.fail(
          "peer frames",
          `machine ${connection.machine} sent a bad frame (${frame}) on ${connection.label}`,
        );
        return;
      }
      if (frame.kind === "snapshot_ack" && frame.ack.status === SNAPSHOT_STATUS.done)
        this.onSnapshotReceived();
      if (frame.kind === "message") this.#onMessage(connection.machine, frame.group, frame.message);
      else if (frame.kind === "heartbeats" || frame.kind === "heartbeat_replies") {
        for (const { group, message } of frame.rows) this.#onMessage(connection.machine, group, message);
      }
    }
  }

  /** A node calls peers, and control processes as one who asks. */
  #isDialledByPeer(caller: SimConnection | null): boolean {
    if (caller === null || caller.machine >= this.#nodes) return false;
    // It spoke before it was answered: if nothing is known of it, it is gone, and nobody hears this.
    const ear = this.#ears.get(caller);
    return ear !== undefined && ear.parser !== null;
  }

  #forgetGone(): void {
    for (const connection of this.#ears.keys()) if (connection.gone) this.#ears.delete(connection);
  }
}

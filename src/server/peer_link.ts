/**
 * One connection to another node, of one class: who dials, the hello both ways, frames in and out, and what
 * happens when it breaks. The node with the smaller id dials; a broken connection is dialled anew after a pause.
 *
 * Bounds: frames for a peer that does not read are dropped above QUEUED_BYTES_MAX (the core sends again what
 * matters; never heartbeats, see peers.ts), and the connection is cut when nothing was heard for SILENCE_TICKS_MAX, or when
 * what is never dropped does not leave (hazards H7, H8, I1).
 */
import { Writer } from "../base/bytes.ts";
import { KiB, MiB } from "../base/units.ts";
import { WIRE_VERSION, WIRE_VERSION_RESTS } from "../base/version.ts";
import type { Connection, ConnectionEvents, LogLevel, Platform } from "../platform/platform.ts";
import { STATE_VERSION } from "../store/types.ts";
import type { ConnectionClass, PeerHello } from "../wire/control.ts";
import { PeerParser } from "../wire/peer.ts";
import { decodePeerFrame, type PeerFrame } from "../wire/peer_decode.ts";
import { PeerEncoder } from "../wire/peer_encode.ts";
import { preamble } from "../wire/preamble.ts";
import type { NodeAddress } from "./layout.ts";
import { Output } from "./output.ts";

/** Two full append windows of 16 MiB would not fit; one and the heartbeats do. */
const QUEUED_BYTES_MAX = 20 * MiB;
/**
 * Over the control connection, what is never dropped comes on top: heartbeats and pulses, 40 KiB a beat with a thousand groups,
 * so 4 MiB are 3 s and more; and the one append that went when there was room yet, with a large entry.
 */
const CONTROL_BYTES_MAX = QUEUED_BYTES_MAX + 20 * MiB;
/** 3 s without a frame; the control class has pulses (timing.ts), the others a ping every second. */
const SILENCE_TICKS_MAX = 300;
/** At once at first: followers look for another leader soon when all of one's connections break. */
const REDIAL_TICKS_MIN = 1;
const REDIAL_TICKS_MAX = 25;

/** Who this node is to others. The cluster is "" until it is known; nobody is dialled before. */
export type PeerIdentity = { cluster: string; readonly node: string; readonly incarnation: string };

export type LinkHost = {
  readonly platform: Platform;
  readonly self: PeerIdentity;
  /** What this node holds now, for a greeting. */
  held(link: PeerLink): PeerHello["held"];
  onFrame(link: PeerLink, frame: PeerFrame): void;
  /** The hello was exchanged: frames can be sent. */
  onUp(link: PeerLink): void;
  /** `byPeer`: the other side ended it, or the network did; not this one. */
  onDown(link: PeerLink, byPeer: boolean): void;
};

export class PeerLink implements ConnectionEvents {
  readonly peer: NodeAddress;
  readonly kind: ConnectionClass;
  readonly #host: LinkHost;
  readonly #dials: boolean;
  #connection: Connection | null = null;
  #output: Output | null = null;
  #encoder = new PeerEncoder(new Writer(KiB));
  #parser = new PeerParser();
  /** What the other side said of itself; null until it did. */
  #hello: PeerHello | null = null;
  #redialIn = 0;
  #redialTicks = REDIAL_TICKS_MIN;
  #silentTicks = 0;
  /** Why the last hello was not accepted; "" if it was. */
  #refused = "";

  constructor(peer: NodeAddress, kind: ConnectionClass, host: LinkHost) {
    this.peer = peer;
    this.kind = kind;
    this.#host = host;
    this.#dials = host.self.node < peer.id;
  }

  /** Frames can be sent, and the peer takes them. */
  get isOpen(): boolean {
    return this.isUp && this.queuedBytes <= QUEUED_BYTES_MAX;
  }

  get isUp(): boolean {
    return this.#hello !== null;
  }

  /** The other side's hello; null while the connection is not up. */
  get hello(): PeerHello | null {
    return this.#hello;
  }

  /** The other side knows pulses and rests. */
  get knowsRests(): boolean {
    return this.#hello?.wireVersions.includes(WIRE_VERSION_RESTS) === true;
  }

  /** Since something was heard over it; only while `isUp`. */
  get silentTicks(): number {
    return this.#silentTicks;
  }

  get queuedBytes(): number {
    return this.#output?.queuedBytes ?? 0;
  }

  /** Encodes into the output of this turn; only while `isUp`. */
  get encoder(): PeerEncoder {
    this.#encoder.writer = (this.#output as Output).writer;
    return this.#encoder;
  }

  flush(): void {
    this.#output?.flush();
  }

  dial(): void {
    if (!this.#dials || this.#connection !== null) return;
    const connection = this.#host.platform.net.dial(this.peer.host, this.peer.port, this);
    this.#begin(connection);
  }

  #begin(connection: Connection): void {
    this.#connection = connection;
    this.#output = new Output(connection);
    this.#encoder = new PeerEncoder(this.#output.writer);
    this.#parser = new PeerParser();
    this.#silentTicks = 0;
  }

  onOpen(): void {
    const output = this.#output as Output;
    output.writer.raw(preamble("peer"));
    this.#sayHello();
  }

  #sayHello(): void {
    const { cluster, node, incarnation } = this.#host.self;
    this.encoder.hello({
      cluster,
      node,
      incarnation,
      class: this.kind,
      wireVersions: [WIRE_VERSION, WIRE_VERSION_RESTS],
      stateVersionMin: 1,
      stateVersionMax: STATE_VERSION,
      held: this.#host.held(this),
    });
    this.flush();
  }

  /** The other side dialled and said who it is; it replaces what there was. */
  adopt(connection: Connection, parser: PeerParser, hello: PeerHello): void {
    if (this.#connection !== null) this.drop("replaced by a newer connection");
    this.#begin(connection);
    connection.events = this;
    this.#parser = parser;
    this.#sayHello();
    this.#setUp(hello);
    this.#read();
  }

  onData(bytes: Uint8Array): void {
    this.#parser.feed(bytes);
    this.#read();
  }

  #read(): void {
    this.#silentTicks = 0;
    const parser = this.#parser;
    while (this.#parser === parser && this.#connection !== null) {
      const event = parser.next();
      if (event === "more") return;
      if (event === "error") return this.drop(`bad frame: ${parser.error}`);
      const frame = decodePeerFrame(parser);
      if (typeof frame === "string") return this.drop(`bad frame: ${frame}`);
      if (this.isUp) this.#host.onFrame(this, frame);
      else this.#onHello(frame);
    }
  }

  #onHello(frame: PeerFrame): void {
    if (frame.kind !== "hello") return this.drop("it did not say hello");
    const { hello } = frame;
    const problem = helloProblem(hello, this.#host.self.cluster, this.peer.id, this.kind);
    if (problem !== null) return this.#refuse(problem);
    this.#refused = "";
    this.#setUp(hello);
  }

  /** Said once: the peer is dialled again and again. */
  #refuse(problem: string): void {
    if (problem !== this.#refused) {
      this.#refused = problem;
      this.#host.platform.log.write("warn", "peer refused", { peer: this.peer.id, reason: problem });
    }
    this.drop(problem);
  }

  #setUp(hello: PeerHello): void {
    this.#hello = hello;
    this.#redialTicks = REDIAL_TICKS_MIN;
    this.#host.onUp(this);
  }

  onDrain(): void {}

  onClose(reason: string): void {
    this.#ended(reason, "warn", true);
  }

  /** Cuts the connection; frames on their way are lost. `level`: wanted ends are no reason to worry. */
  drop(reason: string, level: LogLevel = "warn"): void {
    const connection = this.#connection;
    if (connection === null) return;
    connection.events = DEAF;
    connection.destroy();
    this.#ended(reason, level, false);
  }

  #ended(reason: string, level: LogLevel, byPeer: boolean): void {
    const wasUp = this.isUp;
    this.#connection = null;
    this.#output = null;
    this.#hello = null;
    this.#redialIn = this.#redialTicks + (this.#host.platform.random.u32() % this.#redialTicks);
    this.#redialTicks = Math.min(2 * this.#redialTicks, REDIAL_TICKS_MAX);
    if (!wasUp) return;
    this.#host.platform.log.write(level, "peer connection lost", {
      peer: this.peer.id,
      class: this.kind,
      reason,
    });
    this.#host.onDown(this, byPeer);
  }

  tick(): void {
    if (this.#connection === null) {
      if (this.#dials && --this.#redialIn <= 0) this.dial();
      return;
    }
    if (++this.#silentTicks > SILENCE_TICKS_MAX) this.drop("silent");
    else if (this.kind === "control" && this.queuedBytes > CONTROL_BYTES_MAX) this.drop("it does not read");
  }

  close(): void {
    const connection = this.#connection;
    if (connection === null) return;
    connection.events = DEAF;
    this.#connection = null;
    this.#hello = null;
    connection.close();
  }
}

const DEAF: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };

/** Why this hello is not from the node that this link is for; null if it is. */
export function helloProblem(
  hello: PeerHello,
  cluster: string,
  node: string,
  kind: ConnectionClass,
): string | null {
  if (hello.cluster !== cluster) return `it belongs to cluster ${hello.cluster}`;
  if (hello.node !== node) return `it calls itself ${hello.node}, not ${node}`;
  if (hello.class !== kind) return `it speaks of class ${hello.class}, not ${kind}`;
  if (!hello.wireVersions.includes(WIRE_VERSION)) return `it does not speak wire version ${WIRE_VERSION}`;
  return null;
}

/**
 * One direction of a simulated connection: TCP as programs see it. Bytes arrive in order, whole and once, or the
 * connection ends; how late, in which pieces and with how much pushing back is drawn.
 *
 *     caller's buffers --transmit--> in transit --arrival--> received --delivery--> onData
 *      (queued bytes)               (at most `window` bytes, all three)
 *
 * A caller's buffer is read when it is transmitted, not when it is sent: whoever changes it too early is found
 * out. What onData was given is overwritten as soon as it returns (hazard H11). A cut link holds its bytes back;
 * after it heals they come with the retransmission; if it lasts, the sender gives up with a reset.
 */
import { assert, present } from "../base/assert.ts";
import { crc32 } from "../base/checksum.ts";
import type { Prng } from "../base/prng.ts";
import { below, draw, happens } from "./chance.ts";
import type { SimEvent } from "./heap.ts";
import type { Network } from "./net.ts";
import type { SimConnection } from "./net_connection.ts";

/** How a direction ends: the sender said all it had to say, or broke off. */
export type Ending = "end" | "reset";

type Segment = { readonly atUs: number; readonly bytes: Uint8Array };

/** Most bytes in one call of onData, as of a runtime's read buffer. */
const READ_BYTES_MAX = 65_536;
/** Bytes before and after the ones delivered: a view must not be taken for its whole buffer. */
const MARGIN_BYTES = 7;
const POISON = 0xdb;

export class Pipe {
  readonly net: Network;
  readonly from: SimConnection;
  readonly to: SimConnection;
  /** Bytes in the caller's buffers. */
  queuedBytes = 0;
  readonly #random: Prng;
  readonly #windowBytes: number;
  readonly #eager: boolean;
  #queue: Uint8Array[] = [];
  #queueOffset = 0;
  #transmission: SimEvent | null = null;
  /** Transmitted and not yet known, here, to have been read there. */
  #unackedBytes = 0;
  /** Read there, but the way back is cut, so that nobody here knows. */
  #ackHeldBytes = 0;
  #transit: Segment[] = [];
  /** When the line has carried all that was put on it. */
  #lineFreeUs = 0;
  #arrival: SimEvent | null = null;
  #stalled = false;
  #giveUp: SimEvent | null = null;
  #received: Uint8Array[] = [];
  #receivedOffset = 0;
  #delivery: SimEvent | null = null;
  /** Set once nothing more will be queued. */
  #ending: Ending | null = null;
  #endedThere = false;

  constructor(net: Network, from: SimConnection, to: SimConnection, random: Prng) {
    this.net = net;
    this.from = from;
    this.to = to;
    this.#random = random;
    this.#windowBytes = draw(random, net.knobs.windowBytes);
    this.#eager = below(random, 2) === 0;
  }

  queue(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#ending !== null) return;
    this.#queue.push(bytes);
    this.queuedBytes += bytes.length;
    if (this.#eager && this.#queue.length === 1) this.transmit();
    else this.scheduleTransmission();
  }

  scheduleTransmission(): void {
    if (this.#transmission !== null || !this.from.established) return;
    const delayUs = below(this.#random, 30);
    this.#transmission = this.net.world.after(delayUs, this.from.process, () => {
      this.#transmission = null;
      this.transmit();
    });
  }

  /** Hands as much to the kernel as the window takes. */
  transmit(): void {
    if (!this.from.established) return;
    const room = this.#windowBytes - this.#unackedBytes;
    const size = Math.min(room, this.queuedBytes);
    if (size > 0) this.#launch(this.#takeQueued(size));
    if (this.queuedBytes === 0) {
      if (this.#ending === "end") this.#scheduleArrival();
      this.from.queueDrained();
    }
  }

  /** Nothing more will be queued: after what is on its way the other side sees the ending. */
  end(ending: Ending): void {
    if (this.#ending === "reset") return;
    this.#ending = ending;
    if (ending === "reset") this.#breakOff();
    else if (this.queuedBytes === 0) this.#scheduleArrival();
  }

  /** The sender's memory is gone; what the kernel has still goes out. */
  dropQueue(): void {
    this.#queue = [];
    this.#queueOffset = 0;
    this.queuedBytes = 0;
  }

  /** The sender's machine lost power: nothing more leaves it, and nobody says so. */
  vanish(): void {
    this.dropQueue();
    this.#ending ??= "end";
    this.#endedThere = true;
    this.#transit = [];
    for (const event of [this.#arrival, this.#giveUp]) if (event !== null) this.net.world.cancel(event);
    this.#arrival = null;
  }

  /** The receiver resumed reading. */
  resume(): void {
    this.#scheduleDelivery(0);
  }

  /** Something about the links changed: what was held back goes on, after a retransmission time-out. */
  retry(): void {
    if (this.#ackHeldBytes > 0 && this.net.passes(this.to.machine, this.from.machine)) {
      const bytes = this.#ackHeldBytes;
      this.#ackHeldBytes = 0;
      this.#acknowledge(bytes);
    }
    if (this.#stalled && this.net.passes(this.from.machine, this.to.machine)) {
      this.#stalled = false;
      this.#scheduleArrival(draw(this.#random, this.net.knobs.retransmitUs));
    }
    if (!this.#stalled && this.#ackHeldBytes === 0 && this.#giveUp !== null) {
      this.net.world.cancel(this.#giveUp);
      this.#giveUp = null;
    }
  }

  #takeQueued(size: number): Uint8Array {
    const taken = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const head = present(this.#queue[0], "queued bytes are in the queue");
      const part = head.subarray(this.#queueOffset, Math.min(head.length, this.#queueOffset + size - at));
      taken.set(part, at);
      at += part.length;
      this.#queueOffset += part.length;
      if (this.#queueOffset === head.length) {
        this.#queue.shift();
        this.#queueOffset = 0;
      }
    }
    this.queuedBytes -= size;
    return taken;
  }

  #launch(bytes: Uint8Array): void {
    this.#unackedBytes += bytes.length;
    const { net, from, to } = this;
    const carryUs = net.carryUs(from.machine, to.machine, bytes.length);
    this.#lineFreeUs = Math.max(this.#lineFreeUs, net.world.nowUs) + carryUs;
    // A link that was slow and is fast again must not let later bytes overtake.
    const beforeUs = this.#transit.at(-1)?.atUs ?? 0;
    const atUs = Math.max(beforeUs, this.#lineFreeUs + net.latencyUs(from.machine, to.machine));
    this.#transit.push({ atUs, bytes });
    this.#scheduleArrival();
  }

  #scheduleArrival(delayUs = 0): void {
    if (this.#arrival !== null || this.#stalled) return;
    const { world } = this.net;
    const head = this.#transit[0];
    if (head === undefined && (this.#ending === null || this.queuedBytes > 0 || this.#endedThere)) return;
    const dueUs =
      head === undefined ? this.net.latencyUs(this.from.machine, this.to.machine) : head.atUs - world.nowUs;
    this.#arrival = world.after(Math.max(dueUs, delayUs, 0), null, () => {
      this.#arrival = null;
      this.#arrive();
    });
  }

  #arrive(): void {
    const { net, from, to } = this;
    // Bytes to an end that is no more are answered by a reset, if that finds its way back.
    const refused = to.gone;
    if (!net.passes(from.machine, to.machine) || (refused && !net.passes(to.machine, from.machine))) {
      this.#stalled = true;
      net.count("held_back");
      this.#scheduleGiveUp();
      return;
    }
    if (refused) {
      this.#transit = [];
      from.refusedByPeer();
      return;
    }
    if (!to.established) net.world.call(to.process, () => to.open());
    const segment = this.#transit.shift();
    if (segment === undefined) this.#arriveEnding();
    else this.#received.push(segment.bytes);
    this.#scheduleArrival();
    if (this.#delivery === null) net.world.call(to.process, () => this.#deliver());
  }

  #arriveEnding(): void {
    this.#endedThere = true;
    if (this.#ending !== "reset") return;
    this.#received = []; // a reset overtakes what was not read
    this.#receivedOffset = 0;
    this.net.world.call(this.to.process, () => this.to.peerEnded("reset"));
  }

  #scheduleDelivery(delayUs: number): void {
    if (this.#delivery !== null) return;
    this.#delivery = this.net.world.after(delayUs, this.to.process, () => {
      this.#delivery = null;
      this.#deliver();
    });
  }

  /** Gives the receiver what has arrived, or a piece of it. */
  #deliver(): void {
    if (this.to.gone || this.#delivery !== null) return;
    if (!this.to.reading) return;
    const head = this.#received[0];
    if (head === undefined) {
      if (this.#endedThere) this.to.peerEnded("end");
      return;
    }
    const { knobs } = this.net;
    const fragment = happens(this.#random, knobs.fragmentPerMillion);
    const sizeMax = fragment ? draw(this.#random, knobs.fragmentBytes) : READ_BYTES_MAX;
    const bytes = this.#takeReceived(sizeMax);
    if (fragment) this.net.count("fragment");
    const more = this.#received.length > 0 || this.#endedThere;
    if (more) this.#scheduleDelivery(1 + below(this.#random, 20));
    this.#read(bytes.length);
    this.#hand(bytes);
  }

  #hand(bytes: Uint8Array): void {
    const { world } = this.net;
    world.count("net.data", this.to.machine, this.from.machine, crc32(bytes));
    try {
      this.to.events.onData(bytes);
    } finally {
      bytes.fill(POISON);
    }
  }

  #takeReceived(sizeMax: number): Uint8Array {
    let size = -this.#receivedOffset;
    for (const part of this.#received) size += part.length;
    size = Math.min(size, sizeMax);
    const bytes = new Uint8Array(size + 2 * MARGIN_BYTES)
      .fill(POISON)
      .subarray(MARGIN_BYTES, MARGIN_BYTES + size);
    let at = 0;
    while (at < size) {
      const head = present(this.#received[0], "received bytes are there");
      const part = head.subarray(
        this.#receivedOffset,
        Math.min(head.length, this.#receivedOffset + size - at),
      );
      bytes.set(part, at);
      at += part.length;
      this.#receivedOffset += part.length;
      if (this.#receivedOffset === head.length) {
        this.#received.shift();
        this.#receivedOffset = 0;
      }
    }
    return bytes;
  }

  /** The receiver took `size` bytes: the sender's window opens, if it hears of it. */
  #read(size: number): void {
    if (this.net.passes(this.to.machine, this.from.machine)) {
      this.#acknowledge(size);
    } else {
      this.#ackHeldBytes += size;
      this.#scheduleGiveUp();
    }
  }

  #acknowledge(size: number): void {
    this.#unackedBytes -= size;
    assert(this.#unackedBytes >= 0, "nothing is acknowledged twice");
    if (this.queuedBytes > 0) this.scheduleTransmission();
  }

  #scheduleGiveUp(): void {
    if (this.#giveUp !== null) return;
    this.#giveUp = this.net.world.after(draw(this.#random, this.net.knobs.giveUpUs), null, () => {
      this.#giveUp = null;
      if (this.#stalled || this.#ackHeldBytes > 0) this.from.timedOut();
    });
  }

  /** A reset destroys what has not arrived, but for some of it that was faster. */
  #breakOff(): void {
    this.dropQueue();
    const kept = below(this.#random, this.#transit.length + 1);
    const cut = this.#transit[kept];
    this.#transit = this.#transit.slice(0, kept);
    if (cut !== undefined) {
      const part = cut.bytes.subarray(0, below(this.#random, cut.bytes.length));
      if (part.length > 0) this.#transit.push({ atUs: cut.atUs, bytes: part });
    }
    this.#scheduleArrival();
  }
}

/**
 * A link with the requests that go over it: those to be sent, in order, and how many are awaited. It lives as long as
 * its link; what is in it when the link is lost is given to other outlets.
 */
import { WIRE_VERSION_READS } from "../base/version.ts";
import type { Clock, Net } from "../platform/platform.ts";
import { type Address, showAddress } from "./address.ts";
import { type Chunk, Chunks } from "./chunks.ts";
import { Link } from "./link.ts";
import type { Request } from "./request.ts";

/** What link.ts tells, with the outlet whose link it is. */
export type OutletHost = {
  readonly clock: Clock;
  readonly net: Net;
  readonly greeting: Uint8Array;
  onHello(outlet: Outlet): void;
  onMap(outlet: Outlet, body: Uint8Array): void;
  onAnswer(outlet: Outlet, id: number, opcode: number, bytes: Uint8Array, start: number, end: number): void;
  onReady(): void;
  onDown(outlet: Outlet, reason: string): void;
};

export class Outlet {
  readonly link: Link;
  /** Its address as text. */
  readonly name: string;
  readonly chunks: Chunks;
  /** Requests that were sent and have no answer. */
  inFlight = 0;
  /** When it last carried a request, or was told to. */
  usedMs: number;
  /** When the oldest silence that counts began. */
  awaitedSinceMs = 0;
  pingedMs = 0;
  helloMs = 0;
  readonly #clock: Clock;
  #outbox: Request[] = [];
  #head = 0;

  constructor(address: Address, host: OutletHost, asksMap: boolean) {
    const { clock, net, greeting } = host;
    this.#clock = clock;
    this.name = showAddress(address);
    this.usedMs = clock.monotonicMs();
    const linkHost = {
      clock,
      net,
      greeting,
      onHello: () => host.onHello(this),
      onMap: (_: Link, body: Uint8Array) => host.onMap(this, body),
      onAnswer: (id: number, opcode: number, bytes: Uint8Array, start: number, end: number) =>
        host.onAnswer(this, id, opcode, bytes, start, end),
      onRoom: () => host.onReady(),
      onDown: (_: Link, reason: string) => host.onDown(this, reason),
    };
    this.link = new Link(address, linkHost, asksMap);
    this.chunks = new Chunks(() => this.link.queuedBytes === 0);
  }

  get isUp(): boolean {
    return this.link.state === "up";
  }

  /** The node's id, once it said it. */
  get node(): string | null {
    return this.link.hello?.node ?? null;
  }

  /** Its node knows reads that a follower may answer. */
  get knowsReads(): boolean {
    return (this.link.hello?.wireVersion ?? 0) >= WIRE_VERSION_READS;
  }

  /** Something waits to be sent, and may be. */
  get hasWork(): boolean {
    return this.#head < this.#outbox.length && !this.link.full && this.isUp;
  }

  /** Nothing waits, and nothing is awaited. */
  get isIdle(): boolean {
    return this.#head === this.#outbox.length && this.inFlight === 0 && this.link.queuedBytes === 0;
  }

  /** For how long an answer is awaited and nothing comes. */
  silentMs(nowMs: number): number {
    return this.inFlight === 0 ? 0 : nowMs - Math.max(this.link.heardMs, this.awaitedSinceMs);
  }

  /** The leader's time as far as known: what the hello said, and the time since. */
  leaderTimeMs(): number {
    const { hello, helloMs } = this.link;
    return (hello?.leaderTimeMs ?? 0) + Math.floor(this.#clock.monotonicMs() - helloMs);
  }

  /** Queues a request, whose frame is brought here if it lies elsewhere or was sent before. */
  take(request: Request): void {
    const from = request.chunk as Chunk;
    if (from.owner !== this.chunks || request.attempts > 0) {
      const to = this.chunks.open();
      const at = to.writer.length;
      to.writer.range(from.writer.bytes, request.start, request.end);
      to.live++;
      request.chunk = to;
      request.start = at;
      request.end = to.writer.length;
      from.owner.release(from);
    }
    request.outlet = this;
    request.state = "queued";
    this.#outbox.push(request);
  }

  /** Sends what may go: frames that lie side by side leave by one write. `stamp` completes each. */
  flush(stamp: (request: Request) => void): void {
    const nowMs = this.#clock.monotonicMs();
    this.usedMs = nowMs;
    if (this.inFlight === 0) this.awaitedSinceMs = nowMs;
    let chunk: Chunk | null = null;
    let from = 0;
    let to = 0;
    while (this.#head < this.#outbox.length && !this.link.full) {
      const request = this.#outbox[this.#head++] as Request;
      if (request.state !== "queued" || request.outlet !== this) continue; // it failed; its bytes are left out
      stamp(request);
      if (request.chunk !== chunk || request.start !== to) {
        this.#send(chunk, from, to);
        chunk = request.chunk;
        from = request.start;
      }
      to = request.end;
      request.state = "sent";
      request.attempts++;
      this.inFlight++;
    }
    this.#send(chunk, from, to);
    if (this.#head < this.#outbox.length) return;
    this.#outbox.length = 0;
    this.#head = 0;
  }

  #send(chunk: Chunk | null, from: number, to: number): void {
    if (chunk !== null) this.link.send(chunk.writer.bytes.subarray(from, to));
  }
}

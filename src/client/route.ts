/**
 * Which node the client talks to. Any node serves any request, since nodes forward; the leader serves it without
 * a detour. So the first node that answers is used at once, and its hello says where to go from there.
 *
 *     active    requests go over this link, and over no other: what one link carries keeps its order
 *     next      a link being tried: to the leader, or to find out whether a silent active node still matters
 *
 *     nobody            dial one after the other, with growing pauses after each full round
 *     leader elsewhere  dial it; once it says so itself, wait until all that was sent has its answer, then move
 *     silence           while answers are awaited: ping, then ask another node; if that one knows of another
 *                       leader, or the silence lasts, the active link is cut
 *
 * Nothing here knows what a request is; whoever does is told `onReady` and `onLost`.
 */
import type { Clock, Net, Random } from "../platform/platform.ts";
import { type Address, parseAddress, showAddress } from "./address.ts";
import { Link } from "./link.ts";

export const TICK_MS = 20;
/** Redial pauses after a full round of failures: doubling, and half of each is drawn. */
const PAUSE_MS_MIN = 25;
const PAUSE_MS_MAX = 500;
/** A node that has not answered the hello by then is given up. */
const GREETING_MS_MAX = 1000;
/** Awaiting answers and hearing nothing for so long: ask whether anybody is there; ask somebody else; cut. */
const PING_MS = 250;
const PROBE_MS = 500;
/** A node without a leader keeps commands for 2.5 s and may not read meanwhile; then it answers. */
const SILENCE_MS_MAX = 3000;
/** The hello is said again this often: at the leader for its clock, elsewhere to learn who leads. */
const REFRESH_MS = 5000;
const REFRESH_AWAY_MS = 1000;
const REFRESH_SOON_MS = 100;
/** To move to the leader, new requests are held back for at most this long; else it is tried again later. */
const MOVE_MS_MAX = 500;
/** A leader's address that did not answer is not dialled again for this long. */
const AVOID_MS = 1000;
/** Addresses of clusters that moved on: more are not remembered. */
const ADDRESSES_MAX = 64;

export type RouteHost = {
  readonly clock: Clock;
  readonly net: Net;
  readonly random: Random;
  readonly greeting: Uint8Array;
  onAnswer(id: number, opcode: number, bytes: Uint8Array, start: number, end: number): void;
  /** Requests can be sent. */
  onReady(): void;
  /** The active link is gone: what was sent over it will not be answered. */
  onLost(reason: string): void;
  /** Requests that were sent and have no answer. */
  inFlight(): number;
};

type Leader = { readonly term: number; readonly node: string; readonly address: Address };

export class Route {
  /** Why no node could be reached, or the last link was lost. */
  problem = "no node has answered yet";
  readonly #host: RouteHost;
  readonly #addresses: Address[];
  #active: Link | null = null;
  #next: Link | null = null;
  #leader: Leader | null = null;
  /** The next link leads: requests are held back until the active one is done. */
  #movingSinceMs = -1;
  #turnOf = 0;
  #failures = 0;
  #redialMs = 0;
  #awaitedSinceMs = 0;
  #pingedMs = 0;
  #probedMs = 0;
  #helloMs = 0;
  #helloSoon = false;
  #avoided = "";
  #avoidedUntilMs = 0;
  #closed = false;
  readonly #linkHost: ConstructorParameters<typeof Link>[1];

  constructor(addresses: readonly Address[], host: RouteHost) {
    this.#host = host;
    this.#addresses = [...addresses];
    this.#turnOf = host.random.u32() % addresses.length;
    this.#linkHost = {
      clock: host.clock,
      net: host.net,
      greeting: host.greeting,
      onHello: (link) => this.#onHello(link),
      onAnswer: host.onAnswer,
      onRoom: host.onReady,
      onDown: (link, reason) => this.#onDown(link, reason),
    };
  }

  /** Requests may be sent now. */
  get ready(): boolean {
    return this.#active !== null && this.#movingSinceMs < 0 && !this.#active.full;
  }

  /** "n1" if requests go to a node now. */
  get node(): string | null {
    return this.#active?.hello?.node ?? null;
  }

  /** Nothing that was sent is still held by the connection. */
  get drained(): boolean {
    return this.#active === null || this.#active.queuedBytes === 0;
  }

  /** Only while `ready`. `first`: nothing else is awaited. */
  send(bytes: Uint8Array, first: boolean): void {
    if (first) this.#awaitedSinceMs = this.#host.clock.monotonicMs();
    this.#active?.send(bytes);
  }

  /** The leader's time as far as known: what the hello said, and the time since. */
  leaderTimeMs(): number {
    const { hello, helloMs } = this.#active as Link;
    return (hello?.leaderTimeMs ?? 0) + Math.floor(this.#host.clock.monotonicMs() - helloMs);
  }

  start(): void {
    this.#dialAny();
  }

  close(): void {
    this.#closed = true;
    this.#active?.close();
    this.#next?.close();
    this.#active = null;
    this.#next = null;
  }

  /** The node said that it has no leader, or lost it: ask again soon. */
  refreshSoon(): void {
    this.#helloSoon = true;
  }

  /** All that was sent has its answer. */
  onIdle(): void {
    if (this.#movingSinceMs >= 0) this.#move();
  }

  // ------------------------------------------------------------------------------------------- time

  tick(): void {
    const nowMs = this.#host.clock.monotonicMs();
    const next = this.#next;
    if (next !== null && next.state !== "up" && nowMs - next.dialledMs > GREETING_MS_MAX)
      next.drop("no answer to the hello");
    if (this.#active !== null) this.#watch(this.#active, nowMs);
    else if (this.#next === null && nowMs >= this.#redialMs) this.#dialAny();
  }

  #watch(active: Link, nowMs: number): void {
    if (this.#movingSinceMs >= 0 && nowMs - this.#movingSinceMs > MOVE_MS_MAX) {
      this.#endTry();
      this.#host.onReady();
    }
    const refreshMs = this.#helloSoon ? REFRESH_SOON_MS : this.#atLeader ? REFRESH_MS : REFRESH_AWAY_MS;
    if (nowMs - this.#helloMs > refreshMs) this.#askHello(active, nowMs);
    if (this.#host.inFlight() === 0) return;
    const silentMs = nowMs - Math.max(active.heardMs, this.#awaitedSinceMs);
    if (silentMs > SILENCE_MS_MAX) return active.drop(`silent for ${SILENCE_MS_MAX} ms`);
    if (silentMs > PING_MS && nowMs - this.#pingedMs > PING_MS) {
      this.#pingedMs = nowMs;
      active.ping();
    }
    if (silentMs > PROBE_MS && this.#next === null && nowMs - this.#probedMs > PROBE_MS) {
      this.#probedMs = nowMs;
      const other = this.#addressBeside(active.address);
      if (other !== null) this.#next = new Link(other, this.#linkHost);
    }
  }

  #askHello(active: Link, nowMs: number): void {
    this.#helloMs = nowMs;
    this.#helloSoon = false;
    active.sayHello();
  }

  get #atLeader(): boolean {
    return this.#leader !== null && this.#leader.node === this.node;
  }

  // ------------------------------------------------------------------------------------------- dialling

  #dialAny(): void {
    const address = this.#addresses[this.#turnOf++ % this.#addresses.length] as Address;
    this.#next = new Link(address, this.#linkHost);
  }

  /** The next address in turn that is not this one, or null. */
  #addressBeside(address: Address): Address | null {
    const here = showAddress(address);
    for (let i = 0; i < this.#addresses.length; i++) {
      const other = this.#addresses[this.#turnOf++ % this.#addresses.length] as Address;
      if (showAddress(other) !== here) return other;
    }
    return null;
  }

  #onDown(link: Link, reason: string): void {
    this.problem = reason;
    if (link === this.#next) {
      if (this.#leader !== null && showAddress(this.#leader.address) === showAddress(link.address)) {
        this.#avoided = showAddress(link.address);
        this.#avoidedUntilMs = this.#host.clock.monotonicMs() + AVOID_MS;
      }
      this.#next = null;
      const wasMoving = this.#movingSinceMs >= 0;
      this.#movingSinceMs = -1;
      if (this.#active === null) this.#dialLater();
      else if (wasMoving) this.#host.onReady();
    } else if (link === this.#active) {
      this.#active = null;
      this.#movingSinceMs = -1;
      this.#host.onLost(reason);
      if (this.#next === null) this.#dialLater();
      else if (this.#next.state === "up") this.#activate(this.#next);
    }
  }

  /** At once while there are nodes that were not tried; then after a pause. */
  #dialLater(): void {
    const round = ++this.#failures - this.#addresses.length;
    let pauseMs = 0;
    if (round > 0) {
      const most = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(round, 10));
      pauseMs = most / 2 + (this.#host.random.u32() % (most / 2));
    }
    this.#redialMs = this.#host.clock.monotonicMs() + pauseMs;
    if (pauseMs > 0) return; // the tick sees to it
    this.#host.clock.turn(() => {
      if (!this.#closed && this.#active === null && this.#next === null) this.#dialAny();
    });
  }

  // ------------------------------------------------------------------------------------------- hellos

  #onHello(link: Link): void {
    if (this.#closed) return;
    this.#learn(link);
    if (this.#active === null || link === this.#active) {
      if (this.#active === null) this.#activate(link);
      this.#seekLeader(link);
      return;
    }
    if (this.#atNode(link)) {
      if (this.#isSilent()) this.#abandonActive("it is silent, and another node leads");
      else this.#beginMove();
    } else if (this.#isSilent() && this.#leader?.node !== this.node) {
      this.#abandonActive("it is silent, and does not lead");
    } else {
      this.#endTry(); // the hint was old, or the silent node still leads as far as others know
    }
  }

  /** Whether `link` is to the node that leads. */
  #atNode(link: Link): boolean {
    return this.#leader !== null && link.hello?.node === this.#leader.node;
  }

  #isSilent(): boolean {
    if (this.#active === null || this.#host.inFlight() === 0) return false;
    return this.#host.clock.monotonicMs() - Math.max(this.#active.heardMs, this.#awaitedSinceMs) > PROBE_MS;
  }

  #learn(link: Link): void {
    for (const { term, node, address } of link.hello?.leaders ?? []) {
      const parsed = parseAddress(address);
      if (parsed === null || (this.#leader !== null && term < this.#leader.term)) continue;
      this.#leader = { term, node, address: parsed };
      const text = showAddress(parsed);
      const known = this.#addresses.some((other) => showAddress(other) === text);
      if (!known && this.#addresses.length < ADDRESSES_MAX) this.#addresses.push(parsed);
    }
  }

  #activate(link: Link): void {
    this.#active = link;
    if (this.#next === link) this.#next = null;
    this.#movingSinceMs = -1;
    this.#failures = 0;
    this.#helloMs = this.#host.clock.monotonicMs();
    this.#awaitedSinceMs = this.#helloMs;
    this.#host.onReady();
  }

  #seekLeader(active: Link): void {
    const leader = this.#leader;
    if (leader === null || this.#next !== null || this.#atNode(active)) return;
    const text = showAddress(leader.address);
    if (text === this.#avoided && this.#host.clock.monotonicMs() < this.#avoidedUntilMs) return;
    this.#next = new Link(leader.address, this.#linkHost);
  }

  // ------------------------------------------------------------------------------------------- moving

  #beginMove(): void {
    this.#movingSinceMs = this.#host.clock.monotonicMs();
    if (this.#host.inFlight() === 0) this.#move();
  }

  #move(): void {
    const next = this.#next;
    if (next === null || next.state !== "up") return;
    this.#active?.close();
    this.#activate(next);
  }

  #endTry(): void {
    this.#movingSinceMs = -1;
    this.#next?.close();
    this.#next = null;
  }

  #abandonActive(reason: string): void {
    this.#active?.drop(reason); // and `#onDown` goes on with the next link
  }
}

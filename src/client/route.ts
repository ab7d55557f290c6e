/**
 * Which node a request goes to: the leader of its slot's shard, over one link to each node that leads something that
 * is used. Any node serves any request, since nodes forward; the leader serves it without a detour. So the first node
 * that answers, *home*, is used at once; it hands over the map and serves what has no slot.
 *
 *     nobody            dial one after the other, with growing pauses after each full round
 *     leader elsewhere  dial it, and use home meanwhile
 *     silence           while answers are awaited: ping, then ask another node; a link whose node leads nothing of what
 *                       is awaited there is cut then, any other after 3 s
 *     news              pushed by home when the map changes; asked for, one question at a time and in drawn pauses that
 *                       double, when a node refuses or somebody's leader cannot be reached
 *
 * Nothing here knows what a request is; whoever does is told `onReady` and `onLost`.
 */
import type { Clock, Net, Random } from "../platform/platform.ts";
import { type ClusterMap, clusterMap, mapProblem } from "../wire/cluster_map.ts";
import type { HelloReply } from "../wire/control.ts";
import { decodeShape, ShapeError } from "../wire/msgpack.ts";
import { type Address, parseAddress, showAddress } from "./address.ts";
import { Atlas } from "./atlas.ts";
import { Outlet, type OutletHost } from "./outlet.ts";

export const TICK_MS = 20;
/** Redial pauses after a full round of failures: doubling, and half of each is drawn. */
const PAUSE_MS_MIN = 25;
const PAUSE_MS_MAX = 500;
/** A node that has not answered the hello by then is given up. */
const GREETING_MS_MAX = 1000;
/** How long the first link waits for the map; it may come later. */
const MAP_MS_MAX = 200;
/** Awaiting answers and hearing nothing for so long: ask whether anybody is there; ask somebody else; cut. */
const PING_MS = 250;
const PROBE_MS = 500;
/** A node without a leader keeps commands for 2.5 s and may not read meanwhile; then it answers. */
const SILENCE_MS_MAX = 3000;
/** The hello is said again this often on a link that is used: for the leader's clock, and to learn who leads. */
const REFRESH_MS = 5000;
/** Some leader cannot be reached, or is not known. */
const REFRESH_AWAY_MS = 1000;
/** After a refusal; doubled while they go on. Half of each pause is drawn. */
const REFRESH_SOON_MS = 100;
const REFRESH_SOON_MS_MAX = 1000;
/** An address that did not answer as a leader's is not dialled again for this long. */
const AVOID_MS = 1000;
/** A server that knew no map is not asked again for this long. */
const MAPLESS_MS = 60_000;
/** Addresses of clusters that moved on: more are not remembered. */
const ADDRESSES_MAX = 64;
/** Links at once. What their leaders' links are too many for goes through home. */
const LINKS_MAX = 64;
/** A link that carried nothing for so long is closed, unless it is home. */
const IDLE_MS = 60_000;

export type RouteHost = {
  readonly clock: Clock;
  readonly net: Net;
  readonly random: Random;
  readonly greeting: Uint8Array;
  onAnswer: OutletHost["onAnswer"];
  /** Requests can be sent, or go elsewhere now. */
  onReady(): void;
  /** The outlet's link is gone: what was sent over it will not be answered. */
  onLost(outlet: Outlet, reason: string): void;
  /** The map names other groups. */
  onGroups(): void;
  /** Whether something that was sent over the outlet belongs to its node, by what is known now. */
  isWanted(outlet: Outlet): boolean;
};

export class Route {
  /** Why no node could be reached, or the last link was lost. */
  problem = "no node has answered yet";
  readonly atlas = new Atlas();
  readonly #host: RouteHost;
  readonly #outletHost: OutletHost;
  readonly #addresses: Address[];
  #outlets: Outlet[] = [];
  #home: Outlet | null = null;
  /** By place in the map, plus one: where its requests go; a hole = to be found. Emptied when anything changes. */
  #targets: (Outlet | null | undefined)[] = [];
  /** Somebody's leader cannot be reached. */
  #isAway = false;
  #turnOf: number;
  #replicaTurn = 0;
  #failures = 0;
  #redialMs = 0;
  #askedMs = 0;
  #askSoonMs = Number.POSITIVE_INFINITY;
  #soonMs = REFRESH_SOON_MS;
  #refusedMs = 0;
  #probedMs = 0;
  /** Until when: a leader's address that did not answer; a server that knew no map. */
  readonly #avoided = new Map<string, number>();
  readonly #mapless = new Map<string, number>();
  #closed = false;

  constructor(addresses: readonly Address[], host: RouteHost) {
    this.#host = host;
    this.#addresses = [...addresses];
    this.#turnOf = host.random.u32() % addresses.length;
    this.#outletHost = {
      clock: host.clock,
      net: host.net,
      greeting: host.greeting,
      onHello: (outlet) => this.#onHello(outlet),
      onMap: (outlet, body) => this.#onMap(outlet, body),
      onAnswer: host.onAnswer,
      onReady: host.onReady,
      onDown: (outlet, reason) => this.#onDown(outlet, reason),
    };
  }

  get outlets(): readonly Outlet[] {
    return this.#outlets;
  }

  /** "n1" if requests without a slot go to a node now. */
  get node(): string | null {
    return this.outletOf(-1)?.node ?? null;
  }

  /** Where a request on `slot` (-1 = several, or none) goes now; null = nowhere yet. Its link is up. */
  outletOf(slot: number): Outlet | null {
    const place = this.atlas.placeOf(slot);
    const known = this.#targets[place + 1];
    if (known !== undefined) return known;
    const found = this.#closed ? null : this.#find(place);
    this.#targets[place + 1] = found;
    return found;
  }

  /**
   * Where a read on `slot` goes that a follower may answer: to one that is connected, in turn; if there is none it is
   * dialled, and the read goes where others go.
   */
  replicaOutletOf(slot: number): Outlet | null {
    const { map } = this.atlas;
    const place = this.atlas.placeOf(slot);
    if (map === null || place < 0) return this.outletOf(slot);
    const leader = this.atlas.leaderOf(this.atlas.groupAt(place))?.node;
    const replicas = map.shards[place]?.replicas ?? [];
    let able = 0;
    for (const outlet of this.#outlets) if (isFollower(outlet, map, replicas, leader)) able++;
    let before = able === 0 ? 0 : this.#replicaTurn++ % able;
    for (const outlet of this.#outlets)
      if (isFollower(outlet, map, replicas, leader) && before-- === 0) return outlet;
    this.#dialFollower(map, replicas, leader);
    return this.outletOf(slot);
  }

  #dialFollower({ nodes }: ClusterMap, replicas: readonly number[], leader: string | undefined): void {
    const others = replicas.filter((at) => nodes[at]?.id !== leader);
    const next = nodes[others[this.#replicaTurn++ % Math.max(1, others.length)] ?? -1];
    const address = next === undefined ? null : parseAddress(next.address);
    if (address !== null) this.#dialLeader(address);
  }

  groupOf(slot: number): number {
    return this.atlas.groupAt(this.atlas.placeOf(slot));
  }

  #find(place: number): Outlet | null {
    const leader = this.atlas.leaderOf(this.atlas.groupAt(place));
    if (leader === null) {
      if (this.atlas.map === null || place >= 0) this.#isAway = true;
      return this.#home;
    }
    const there = this.#outlets.find((outlet) => outlet.isUp && outlet.node === leader.node);
    if (there !== undefined) {
      if (this.atlas.map === null) this.#home = there;
      return there;
    }
    this.#isAway = true;
    if (this.#home !== null) this.#dialLeader(leader.address);
    return this.#home;
  }

  #dialLeader(address: Address): void {
    const name = showAddress(address);
    if (this.#outlets.length >= LINKS_MAX || this.#outlets.some((outlet) => outlet.name === name)) return;
    if (this.#isUntil(this.#avoided, name)) return;
    this.#open(address, false);
  }

  #isUntil(map: Map<string, number>, name: string): boolean {
    return this.#host.clock.monotonicMs() < (map.get(name) ?? 0);
  }

  #open(address: Address, asksMap: boolean): void {
    const asks = asksMap && !this.#isUntil(this.#mapless, showAddress(address));
    this.#outlets.push(new Outlet(address, this.#outletHost, asks));
  }

  start(): void {
    this.#dialAny();
  }

  close(): void {
    this.#closed = true;
    for (const outlet of this.#outlets) outlet.link.close();
    this.#outlets = [];
    this.#home = null;
    this.#targets = [];
  }

  /** A node refused: what is known may be old. */
  refreshSoon(): void {
    const nowMs = this.#host.clock.monotonicMs();
    this.#refusedMs = nowMs;
    if (this.#askSoonMs === Number.POSITIVE_INFINITY) this.#askSoonMs = nowMs + this.#drawn(this.#soonMs);
  }

  /** Half of it, and some of the other half. */
  #drawn(mostMs: number): number {
    return mostMs / 2 + (this.#host.random.u32() % (mostMs / 2));
  }

  /** Everything is found anew. */
  #changed(): void {
    this.#targets = [];
    this.#isAway = false;
    this.#host.onReady();
  }

  // ------------------------------------------------------------------------------------------- time

  tick(): void {
    const nowMs = this.#host.clock.monotonicMs();
    for (const outlet of [...this.#outlets]) {
      const { link } = outlet;
      if (outlet.isUp) this.#watch(outlet, nowMs);
      else if (link.hello !== null && nowMs - link.helloMs > MAP_MS_MAX) link.goOnWithoutMap();
      else if (nowMs - link.dialledMs > GREETING_MS_MAX) link.drop("no answer to the hello");
    }
    if (this.#outlets.length === 0 && nowMs >= this.#redialMs) this.#dialAny();
    if (this.#home === null) return;
    if (this.#isAway) this.#targets = []; // its leader may be dialled again
    const pauseMs = this.#isAway ? REFRESH_AWAY_MS : REFRESH_MS;
    if (nowMs >= this.#askSoonMs || nowMs - this.#askedMs > pauseMs) this.#ask(nowMs);
  }

  #watch(outlet: Outlet, nowMs: number): void {
    const { link } = outlet;
    if (outlet.isIdle) {
      if (outlet !== this.#home && nowMs - outlet.usedMs > IDLE_MS) return this.#retire(outlet);
    }
    if (nowMs - outlet.usedMs < REFRESH_MS && nowMs - outlet.helloMs > REFRESH_MS) this.#hello(outlet, nowMs);
    const silentMs = outlet.silentMs(nowMs);
    if (silentMs > SILENCE_MS_MAX) return link.drop(`silent for ${SILENCE_MS_MAX} ms`);
    if (silentMs > PING_MS && nowMs - outlet.pingedMs > PING_MS) {
      outlet.pingedMs = nowMs;
      link.ping();
    }
    if (silentMs <= PROBE_MS) return;
    const other = this.#outlets.find((beside) => beside.isUp && beside.silentMs(nowMs) <= PROBE_MS);
    if (other !== undefined && !this.#host.isWanted(outlet))
      return link.drop("it is silent, and leads nothing that is awaited");
    if (nowMs - this.#probedMs <= PROBE_MS) return;
    this.#probedMs = nowMs;
    if (other !== undefined) this.#ask(nowMs);
    else if (this.#outlets.every(({ isUp }) => isUp)) this.#dialBeside();
  }

  #retire(outlet: Outlet): void {
    outlet.link.close();
    this.#outlets = this.#outlets.filter((other) => other !== outlet);
    this.#targets = [];
  }

  #hello(outlet: Outlet, nowMs: number): void {
    outlet.helloMs = nowMs;
    outlet.link.sayHello();
  }

  /** Asks one node who leads what: home, or another if home is silent or has just refused. */
  #ask(nowMs: number): void {
    const isSoon = nowMs >= this.#askSoonMs;
    this.#askSoonMs = Number.POSITIVE_INFINITY;
    this.#askedMs = nowMs;
    if (nowMs - this.#refusedMs > 2 * REFRESH_SOON_MS_MAX) this.#soonMs = REFRESH_SOON_MS;
    else if (isSoon) this.#soonMs = Math.min(2 * this.#soonMs, REFRESH_SOON_MS_MAX);
    const able = this.#outlets.filter((outlet) => outlet.isUp && outlet.silentMs(nowMs) <= PROBE_MS);
    const others = isSoon ? able : able.filter((outlet) => outlet === this.#home);
    const list = others.length > 0 ? others : able;
    const asked = list[this.#turnOf++ % list.length];
    if (asked === undefined) return;
    this.#hello(asked, nowMs);
    const wantsMap = isSoon || this.#isAway || !asked.link.mapAsked;
    if (wantsMap && this.atlas.map !== null && !this.#isUntil(this.#mapless, asked.name)) asked.link.askMap();
  }

  // ------------------------------------------------------------------------------------------- dialling

  #dialAny(): void {
    this.#open(this.#addresses[this.#turnOf++ % this.#addresses.length] as Address, true);
  }

  /** The next address in turn that has no link. */
  #dialBeside(): void {
    for (let i = 0; i < this.#addresses.length; i++) {
      const other = this.#addresses[this.#turnOf++ % this.#addresses.length] as Address;
      const name = showAddress(other);
      if (!this.#outlets.some((outlet) => outlet.name === name)) return this.#open(other, false);
    }
  }

  #onDown(outlet: Outlet, reason: string): void {
    if (this.#closed) return;
    const { link } = outlet;
    this.problem = reason;
    this.#outlets = this.#outlets.filter((other) => other !== outlet);
    const nowMs = this.#host.clock.monotonicMs();
    if (link.hello === null && this.#home !== null) this.#avoided.set(outlet.name, nowMs + AVOID_MS);
    if (this.#home === outlet) {
      this.#home = this.#outlets.find(({ isUp }) => isUp) ?? null;
      this.#askSoonMs = Math.min(this.#askSoonMs, nowMs); // nobody pushes news until home was asked
    }
    if (link.knowsNoMap) this.#mapless.set(outlet.name, nowMs + MAPLESS_MS);
    this.#targets = [];
    this.#host.onLost(outlet, reason);
    if (link.knowsNoMap && this.#outlets.length === 0) this.#open(link.address, false);
    else if (this.#outlets.length === 0) this.#dialLater();
    this.#changed();
  }

  /** At once while there are nodes that were not tried; then after a pause. */
  #dialLater(): void {
    const round = ++this.#failures - this.#addresses.length;
    const most = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(round, 10));
    const pauseMs = round > 0 ? this.#drawn(most) : 0;
    this.#redialMs = this.#host.clock.monotonicMs() + pauseMs;
    if (pauseMs > 0) return; // the tick sees to it
    this.#host.clock.turn(() => {
      if (!this.#closed && this.#outlets.length === 0) this.#dialAny();
    });
  }

  // ------------------------------------------------------------------------------------------- hellos

  #onHello(outlet: Outlet): void {
    if (this.#closed) return;
    const { cluster, leaders } = outlet.link.hello as HelloReply;
    const isFirst = outlet.helloMs === 0;
    if (isFirst) {
      if (this.#home !== null && cluster !== this.atlas.cluster) return this.#refuse(outlet);
      this.#greeted(outlet, cluster);
    }
    const isNew = this.atlas.learnLeaders(leaders);
    if (isNew) this.#learnAddresses();
    if (!isNew && !isFirst) return;
    this.#changed();
    if (this.atlas.map === null) this.outletOf(-1); // dials the one leader before anything is asked
  }

  /** Its link is up. */
  #greeted(outlet: Outlet, cluster: string): void {
    const nowMs = this.#host.clock.monotonicMs();
    outlet.helloMs = nowMs;
    outlet.usedMs = nowMs;
    this.#avoided.delete(outlet.name);
    this.#failures = 0;
    if (this.#home !== null) return;
    this.atlas.enter(cluster);
    this.#home = outlet;
    this.#askedMs = nowMs;
    this.#askSoonMs = Number.POSITIVE_INFINITY;
    if (!outlet.link.mapAsked && !this.#isUntil(this.#mapless, outlet.name)) outlet.link.askMap();
  }

  #refuse(outlet: Outlet): void {
    this.#avoided.set(outlet.name, this.#host.clock.monotonicMs() + AVOID_MS);
    outlet.link.drop("it belongs to another cluster");
  }

  #onMap({ link }: Outlet, body: Uint8Array): void {
    if (this.#closed || body.length === 0) return; // it has none yet
    const map = decodeShape(clusterMap, body, "map");
    if (map instanceof ShapeError) return link.drop(map.reason);
    const problem = mapProblem(map);
    if (problem !== null) return link.drop(problem);
    if (this.#home === null && link.hello !== null) this.atlas.enter(link.hello.cluster);
    if (!this.atlas.learnMap(map)) return;
    this.#learnAddresses();
    this.#host.onGroups();
    this.#changed();
  }

  #learnAddresses(): void {
    for (const address of this.atlas.addresses()) {
      const name = showAddress(address);
      const isKnown = this.#addresses.some((other) => showAddress(other) === name);
      if (!isKnown && this.#addresses.length < ADDRESSES_MAX) this.#addresses.push(address);
    }
  }
}

/** Its node has a replica of the shard, which does not lead as far as known, and answers reads. */
function isFollower(
  outlet: Outlet,
  { nodes }: ClusterMap,
  replicas: readonly number[],
  leader: string | undefined,
): boolean {
  if (!outlet.isUp || !outlet.knowsReads || outlet.node === leader) return false;
  for (const at of replicas) if (nodes[at]?.id === outlet.node) return true;
  return false;
}

/**
 * Routing: brings each command that came in at this node to the group that serves its slot (design sections 8, 9).
 *
 *     door --admit--> slot --> Router of its group --> the replica here, or the leader's node (router.ts)
 *
 * What is known of slots comes from the map and from those who refused a command because its slot has moved. Each
 * piece of it carries the slot's epoch, and the higher epoch wins, slot by slot, whichever way it was heard (hazard
 * F9); none of it is trusted: whether a slot is served is judged where the command takes effect.
 *
 * A router exists for every group that the map names or that has a replica here. One that is named no more, has no
 * replica and nobody waiting goes.
 */
import { present } from "../base/assert.ts";
import type { Random } from "../platform/platform.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import type { GroupId } from "../wal/types.ts";
import { type ClusterMap, type MapNode, mergeMaps } from "../wire/cluster_map.ts";
import type { CommandView } from "../wire/command.ts";
import type { ForwardReply } from "../wire/peer_decode.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import { Admission } from "./admission.ts";
import type { Bundle, Origin } from "./bundle.ts";
import { Forwarder } from "./forwarder.ts";
import type { GroupReplica } from "./group.ts";
import type { Lane } from "./lane.ts";
import { Numbering } from "./numbering.ts";
import { Parking } from "./parking.ts";
import { COMMAND_TICKS_MAX, Router } from "./router.ts";
import type { RouterHost } from "./router_host.ts";

/** Routers that nobody needs any more are looked for this often. */
const SWEEP_TICKS = 100;

export type RoutingHost = Omit<RouterHost, "numbering" | "isHeld" | "turnAway" | "touch"> & {
  readonly random: Random;
  /** The monotonic clock, in ticks: more of them than came, if they came late. */
  clockTicks(): number;
  /** This node's wall clock. */
  wallMs(): number;
  /** Sends the frames of `bundle`; only after `canForward`. */
  sendForward(
    node: string,
    group: GroupId,
    request: number,
    rides: boolean,
    resumes: boolean,
    bundle: Bundle,
  ): void;
};

/** Slots that a group serves, as somebody says. */
export type SlotClaim = { readonly first: number; readonly last: number; readonly epoch: number };

export class Routing {
  readonly #host: RoutingHost;
  readonly #numbering: Numbering;
  readonly #routers = new Map<GroupId, Router>();
  /** By slot; null: nobody is known to serve it. */
  readonly #bySlot: (Router | null)[] = new Array<Router | null>(SLOT_COUNT).fill(null);
  readonly #epochs = new Float64Array(SLOT_COUNT);
  /** Who waits for the answers to a request that is on its way. */
  readonly #requests = new Map<number, Forwarder>();
  readonly #parking: Parking;
  readonly #admission: Admission;
  /** Commands on the key space, parts of which were refused. */
  #scattered: { retry(): boolean }[] = [];
  /** Routers with work for the next turn: hundreds of idle ones cost none of it anything. */
  #touched: Router[] = [];
  /** Those that wait for something: only they are ticked. A router that begins to wait was touched. */
  readonly #busy = new Set<Router>();
  #map: ClusterMap | null = null;
  #sinceSweep = 0;

  constructor(host: RoutingHost) {
    this.#host = host;
    this.#numbering = new Numbering(host.clockTicks());
    this.#parking = new Parking(this.#numbering, (slot) => this.routerAt(slot));
    this.#admission = new Admission({
      hasMap: () => this.#map !== null,
      routerOf: (slot) => this.routerAt(slot),
      hear: (refusal) => this.#hear(refusal),
      wake: () => host.wake(),
      retryLater: (scatter) => void this.#scattered.push(scatter),
      now: () => this.#numbering.tick,
      random: (bound) => host.random.u32() % bound,
    });
  }

  /** Rises when something of who leads or serves what may have changed. */
  get topology(): number {
    return this.#numbering.topology;
  }

  /** Nobody waits for anything here. */
  get isIdle(): boolean {
    return this.#busy.size === 0 && this.#touched.length === 0;
  }

  /** Since when `routerAt` is so. */
  epochAt(slot: number): number {
    return this.#epochs[slot] as number;
  }

  /** Who leads the group, as far as known; "" = nobody. */
  leadOf(group: GroupId): { readonly node: string; readonly term: number } {
    return this.#routers.get(group)?.leader ?? { node: "", term: 0 };
  }

  /** Who serves the slot, as far as known. */
  routerAt(slot: number): Router | null {
    return this.#bySlot[slot] as Router | null;
  }

  /** The newest map that was heard of, with the newest hints. */
  get map(): ClusterMap | null {
    return this.#map;
  }

  /** Groups that commands can go to. */
  get groups(): GroupId[] {
    return [...this.#routers.keys()];
  }

  // ------------------------------------------------------------------------------------------- what is known

  /** An older map than the one at hand adds hints at most. */
  setMap(heard: ClusterMap): void {
    const map = this.#map === null ? heard : mergeMaps(this.#map, heard);
    this.#map = map;
    this.#numbering.topology++;
    const nameOf = (place: number): string => (map.nodes[place] as MapNode).id;
    for (const { group, replicas, leader } of map.shards) {
      const router = this.#router(group);
      router.setHolders(replicas.map(nameOf));
      if (leader !== null) router.hear(nameOf(leader.node), leader.term);
    }
    for (const [first, last, shard, epoch] of map.ranges) {
      this.claim(present(map.shards[shard], "a range names a shard").group, [{ first, last, epoch }]);
    }
    this.#host.wake();
  }

  /** The node that leads the group, as far as known; "" = nobody is. */
  leaderOf(group: GroupId): string {
    return this.#routers.get(group)?.leader.node ?? "";
  }

  /** `node` leads `group` in `term`. */
  hint(group: GroupId, node: string, term: number): void {
    this.#routers.get(group)?.hear(node, term);
  }

  /** `group` serves these slots. Of two that say so of one slot the one with the higher epoch counts. */
  claim(group: GroupId, slots: readonly SlotClaim[]): void {
    const router = this.#router(group);
    for (const { first, last, epoch } of slots) {
      for (let slot = first; slot <= last; slot++) {
        if (epoch <= (this.#epochs[slot] as number)) continue;
        this.#epochs[slot] = epoch;
        if (this.#bySlot[slot] === router) continue;
        this.#bySlot[slot] = router;
        this.#numbering.topology++;
        this.#parking.news(slot);
        this.#host.wake(); // what waited for it need not wait for the next tick
      }
    }
  }

  #router(group: GroupId): Router {
    return this.#routers.get(group) ?? this.#open(group);
  }

  #open(group: GroupId): Router {
    const host = this.#host;
    const client = new Uint8Array(16);
    host.random.fill(client);
    const forwarder: Forwarder = new Forwarder(client, {
      canSend: (node) => host.canForward(node),
      openRequest: (owner) => {
        const id = this.#numbering.nextRequest();
        this.#requests.set(id, owner);
        return id;
      },
      closeRequest: (id) => void this.#requests.delete(id),
      sendRequest: (node, id, rides, resumes, bundle) =>
        host.sendForward(node, group, id, rides, resumes, bundle),
      leaderTimeMs: () => this.#leaderTimeMs(router),
      giveBack: (bundle, rides) => router.giveBack(bundle, rides),
      onNotServed: (bundle, i, rides, refusal) => router.sendElsewhere(bundle, i, rides, refusal),
      onNotLeader: (node, term, leader) => router.onNotLeader(node, term, leader),
    });
    const router: Router = new Router(group, forwarder, {
      numbering: this.#numbering,
      node: host.node,
      syncing: () => host.syncing(),
      canForward: (node) => host.canForward(node),
      isSilent: (node) => host.isSilent(node),
      leaderNode: (replica) => host.leaderNode(replica),
      isHeld: (slot) => this.#parking.holds(slot),
      turnAway: (bundle, rides, owner, refusal) => this.#turnAway(bundle, rides, owner, refusal),
      touch: (touched) => {
        this.#touched.push(touched);
        this.#busy.add(touched);
      },
      wake: () => host.wake(),
    });
    this.#routers.set(group, router);
    return router;
  }

  /**
   * For `notAfter` of what is sent again, where seconds do not matter. Without a replica of that group another one's
   * time will do: both follow the wall clocks of most nodes.
   */
  #leaderTimeMs(router: Router): number {
    if (router.replica !== null) return router.replica.leaderTimeEstimateMs();
    for (const { replica } of this.#routers.values())
      if (replica !== null) return replica.leaderTimeEstimateMs();
    return Math.floor(this.#host.wallMs());
  }

  // ------------------------------------------------------------------------------------------- commands

  /** Takes a command that came in at a door; false: it must wait there (admission.ts). */
  admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
    this.#host.wake();
    return this.#admission.admit(view, frameAt, lane, origin, tag);
  }

  #turnAway(bundle: Bundle, rides: boolean, group: GroupId, refusal: NotServed): void {
    this.#hear(refusal);
    this.#parking.add(bundle, rides, refusal.slot, group);
    this.#host.wake();
  }

  #hear({ slot, epoch, group }: NotServed): void {
    if (group !== 0 && epoch > 0) this.claim(group, [{ first: slot, last: slot, epoch }]);
  }

  /** A node's answer to a command that was forwarded to it; false: it is malformed. */
  onForwardReply(row: ForwardReply): boolean {
    return this.#requests.get(row.request)?.onReply(row) ?? true; // given up, or sent again elsewhere
  }

  /** The connection for forwarded commands to that node is gone. */
  onForwardDown(node: string): void {
    for (const { forwarder } of this.#routers.values()) forwarder.lost(node);
  }

  // ------------------------------------------------------------------------------------------- replicas

  /** This node serves a replica of that group from now on. */
  attach(replica: GroupReplica): Router {
    const router = this.#router(replica.group);
    router.attach(replica);
    router.touch();
    return router;
  }

  /** It is closed for good. */
  detach(replica: GroupReplica): void {
    const router = this.#routers.get(replica.group);
    if (router?.replica === replica) router.detach();
  }

  /** Only if there is a replica of the group here. */
  routerOf(group: GroupId): Router | null {
    const router = this.#routers.get(group);
    return router === undefined || router.replica === null ? null : router;
  }

  // ------------------------------------------------------------------------------------------- the turn

  flush(): void {
    this.#admission.release();
    this.#parking.release();
    if (this.#scattered.length > 0) {
      const scattered = this.#scattered;
      this.#scattered = [];
      for (const scatter of scattered) if (scatter.retry()) this.#scattered.push(scatter);
    }
    const touched = this.#touched;
    if (touched.length === 0) return;
    this.#touched = [];
    for (const router of touched) router.flush();
  }

  /** The end of a turn: what it answered others waited for. */
  endTurn(): void {
    this.#admission.release();
  }

  /** In ticks: deadlines of bundles are counted from theirs. */
  get now(): number {
    return this.#numbering.tick;
  }

  tick(): void {
    this.#numbering.advance(this.#host.clockTicks());
    for (const router of this.#busy) {
      router.tick();
      if (router.isQuiet) this.#busy.delete(router);
    }
    this.#admission.giveUpBefore(this.now - COMMAND_TICKS_MAX);
    if (++this.#sinceSweep >= SWEEP_TICKS) this.#sweep();
  }

  #sweep(): void {
    this.#sinceSweep = 0;
    for (const [group, router] of this.#routers) {
      if (!router.isIdle || this.#map?.shards.some((shard) => shard.group === group) !== false) continue;
      if (this.#bySlot.includes(router)) continue;
      this.#routers.delete(group);
    }
  }

  /** Nobody is served any more. */
  end(): void {
    this.#admission.end();
    this.#parking.end();
    for (const router of this.#routers.values()) router.end();
  }
}

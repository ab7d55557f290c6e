/**
 * The cluster as this node knows it, for clients that go to the right node themselves: who leads the shard of each slot,
 * and where that node listens. Made anew when something of it changed (Routing.topology), and encoded once for all.
 *
 * A process leads some shards and follows in others, but the tools of Redis Cluster know nodes of one role: here a node
 * is a master if it leads anything, with all slots of what it leads, else a replica of some master. The slots of a shard
 * without a leader are shown at who led it last, or at one of its replicas: clients take no map with holes.
 */
import { utf8 } from "../base/bytes.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { type ClusterMap, clusterMap, type MapNode, type MapRange } from "../wire/cluster_map.ts";
import { encodeShape } from "../wire/msgpack.ts";
import { parseAddress } from "./layout.ts";
import type { Router } from "./router.ts";
import type { Routing } from "./routing.ts";

export type ViewNode = {
  readonly id: string;
  /** As Redis names nodes: 40 hex digits. */
  readonly hex: string;
  readonly host: string;
  readonly port: number;
  /** What it leads. */
  readonly ranges: (readonly [first: number, last: number])[];
  /** Of a node that leads nothing: one whose slots it has too; "" = none. */
  master: string;
};

/** Slots of one shard, with the nodes that hold it, its leader first. */
export type ViewRange = {
  readonly first: number;
  readonly last: number;
  readonly nodes: readonly ViewNode[];
};

export type View = {
  readonly nodes: readonly ViewNode[];
  readonly ranges: readonly ViewRange[];
  /** Of the map: the same number on two nodes means the same map. */
  readonly epoch: number;
  /** Slots that somebody serves. */
  readonly served: number;
};

const EMPTY: View = { nodes: [], ranges: [], epoch: 0, served: 0 };

export class ClusterView {
  readonly #routing: Routing;
  #topology = -1;
  #view: View = EMPTY;
  #mapBytes: Uint8Array | null = null;

  constructor(routing: Routing) {
    this.#routing = routing;
  }

  /** Rises when the view may be another one. */
  get topology(): number {
    return this.#routing.topology;
  }

  get view(): View {
    this.#refresh();
    return this.#view;
  }

  /** The map with what is known beside it, encoded; null: there is none yet. */
  get mapBytes(): Uint8Array | null {
    this.#refresh();
    const map = this.#routing.map;
    if (map === null) return null;
    this.#mapBytes ??= encodeShape(clusterMap, knownMap(map, this.#routing));
    return this.#mapBytes;
  }

  /** Where the leader of a slot's shard listens; null: nobody is known to lead it. */
  leaderOf(slot: number): ViewNode | null {
    const id = this.#routing.routerAt(slot)?.leader.node ?? "";
    return id === "" ? null : (this.view.nodes.find((node) => node.id === id) ?? null);
  }

  #refresh(): void {
    if (this.#topology === this.#routing.topology) return;
    this.#topology = this.#routing.topology;
    this.#mapBytes = null;
    const { map } = this.#routing;
    this.#view = map === null ? EMPTY : viewOf(map, this.#routing);
  }
}

function viewOf(map: ClusterMap, routing: Routing): View {
  const nodes = new Map<string, ViewNode>();
  for (const { id, address } of map.nodes) {
    const at = parseAddress(address);
    if (at !== null) nodes.set(id, { id, hex: nodeHex(map.cluster, id), ...at, ranges: [], master: "" });
  }
  const holders = new Map<Router, readonly ViewNode[]>();
  const ranges: ViewRange[] = [];
  let served = 0;
  for (const { first, last, router } of runs(routing)) {
    let held = holders.get(router);
    if (held === undefined) {
      held = holdersOf(map, router, nodes);
      holders.set(router, held);
    }
    const [leader] = held;
    if (leader === undefined) continue;
    ranges.push({ first, last, nodes: held });
    served += last - first + 1;
    addRange(leader.ranges, first, last);
  }
  for (const [leader, ...others] of holders.values()) {
    for (const node of others)
      if (node.ranges.length === 0 && node.master === "") node.master = leader?.hex ?? "";
  }
  return { nodes: [...nodes.values()], ranges, epoch: map.version.index, served };
}

/** Ranges come in order; two that touch are one, whichever shards they belong to. */
function addRange(ranges: ViewNode["ranges"], first: number, last: number): void {
  const before = ranges.at(-1);
  if (before === undefined || before[1] !== first - 1) ranges.push([first, last]);
  else ranges[ranges.length - 1] = [before[0], last];
}

/** The nodes of a shard: who leads it, or led it last, first. */
function holdersOf(map: ClusterMap, router: Router, nodes: ReadonlyMap<string, ViewNode>): ViewNode[] {
  const shard = map.shards.find(({ group }) => group === router.group);
  const names = (shard?.replicas ?? []).map((place) => (map.nodes[place] as MapNode).id);
  const leader = router.leader.node === "" ? router.lastLeader : router.leader.node;
  const all = [leader, ...names.filter((name) => name !== leader)];
  return all.map((name) => nodes.get(name)).filter((node) => node !== undefined);
}

function* runs(routing: Routing): Generator<{ first: number; last: number; router: Router }> {
  for (let first = 0; first < SLOT_COUNT; ) {
    const router = routing.routerAt(first);
    let last = first;
    while (last + 1 < SLOT_COUNT && routing.routerAt(last + 1) === router) last++;
    if (router !== null) yield { first, last, router };
    first = last + 1;
  }
}

/** The map, with newer claims on slots and newer leaders. */
function knownMap(map: ClusterMap, routing: Routing): ClusterMap {
  const places = new Map(map.shards.map(({ group }, place) => [group, place]));
  const ranges: MapRange[] = [];
  for (const run of runs(routing)) {
    const shard = places.get(run.router.group);
    if (shard === undefined) continue;
    for (let { first } = run; first <= run.last; ) {
      const epoch = routing.epochAt(first);
      let last = first;
      while (last < run.last && routing.epochAt(last + 1) === epoch) last++;
      ranges.push([first, last, shard, epoch]);
      first = last + 1;
    }
  }
  const shards = map.shards.map((shard) => {
    const { node, term } = routing.leadOf(shard.group);
    const place = map.nodes.findIndex(({ id }) => id === node);
    return place < 0 || term < (shard.leader?.term ?? 0)
      ? shard
      : { ...shard, leader: { node: place, term } };
  });
  return { ...map, shards, ranges };
}

/** 160 bits of node and cluster, five hashes of 32 (FNV-1a, then mixed as MurmurHash3 ends): no secret, only a name. */
export function nodeHex(cluster: string, id: string): string {
  const bytes = utf8(`${cluster}/${id}`);
  let hex = "";
  for (let part = 0; part < 5; part++) {
    let hash = 0x811c9dc5 ^ Math.imul(part + 1, 0x9e3779b9);
    for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hex += ((hash ^ (hash >>> 16)) >>> 0).toString(16).padStart(8, "0");
  }
  return hex;
}

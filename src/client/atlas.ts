/**
 * What the client knows of the cluster: the map, who leads which group, and nodes' addresses.
 *
 *     slot -> shard -> group -> leader -> address
 *
 * Without a map (a node that has none, or knows no maps) the whole cluster is one group, `ALL`, and its leader is the
 * one of the highest term that a hello named. Nothing goes backwards: of two maps the newer one counts, of two leaders
 * of a group the one of the higher term (hazard F9).
 */
import { SLOT_COUNT } from "../ring/slot.ts";
import { type ClusterMap, type MapNode, mergeMaps } from "../wire/cluster_map.ts";
import type { HelloReply } from "../wire/control.ts";
import { compareVersions } from "../wire/control_plane.ts";
import { type Address, parseAddress } from "./address.ts";

export type Leader = { readonly term: number; readonly node: string; readonly address: Address };

/** The group of everything whose group is not known. */
export const ALL = 0;
/** Place of a slot that no listed shard serves. */
const NOWHERE = -1;

export class Atlas {
  /** The id of the cluster that this is about; "" at first. */
  cluster = "";
  map: ClusterMap | null = null;
  /** By slot: the place of its shard in the map. */
  readonly #places = new Int16Array(SLOT_COUNT).fill(NOWHERE);
  /** The groups that the map names. */
  #groups = new Set<number>();
  readonly #leaders = new Map<number, Leader>();

  /** What is known of another cluster, which had these addresses before, is forgotten. */
  enter(cluster: string): void {
    if (cluster === this.cluster) return;
    this.cluster = cluster;
    this.map = null;
    this.#places.fill(NOWHERE);
    this.#groups.clear();
    this.#leaders.clear();
  }

  /** Whether anything is new. */
  learnMap(heard: ClusterMap): boolean {
    if (heard.cluster !== this.cluster) return false;
    const before = this.map;
    const map = before === null ? heard : mergeMaps(before, heard);
    const isNewer = before === null || compareVersions(map.version, before.version) > 0;
    this.map = map;
    if (isNewer) this.#readRanges(map);
    let isNew = isNewer;
    for (const { group, leader } of map.shards) {
      if (leader === null) continue;
      const { id, address } = map.nodes[leader.node] as MapNode;
      if (this.#learnLeader(group, leader.term, id, address)) isNew = true;
    }
    return isNew;
  }

  #readRanges({ ranges, shards }: ClusterMap): void {
    this.#places.fill(NOWHERE);
    for (const [first, last, shard] of ranges) this.#places.fill(shard, first, last + 1);
    this.#groups = new Set(shards.map(({ group }) => group));
    for (const group of this.#leaders.keys())
      if (group !== ALL && !this.#groups.has(group)) this.#leaders.delete(group);
  }

  /** Whether anything is new. */
  learnLeaders(leaders: HelloReply["leaders"]): boolean {
    let isNew = false;
    for (const { group, term, node, address } of leaders) {
      // A group that the map does not name is none of ours; without a map there is one group.
      const isKnown = this.map === null || this.#groups.has(group);
      if (isKnown && this.#learnLeader(this.map === null ? ALL : group, term, node, address)) isNew = true;
    }
    return isNew;
  }

  #learnLeader(group: number, term: number, node: string, text: string): boolean {
    const known = this.#leaders.get(group);
    if (known !== undefined && term <= known.term) return false;
    const address = parseAddress(text);
    if (address === null) return false;
    this.#leaders.set(group, { term, node, address });
    return true;
  }

  names(group: number): boolean {
    return this.#groups.has(group);
  }

  /** Where the shard of `slot` stands in the map; -1 = not known, or several slots. */
  placeOf(slot: number): number {
    return slot < 0 ? NOWHERE : (this.#places[slot] as number);
  }

  /** What the map has at a place, from `placeOf`. */
  groupAt(place: number): number {
    return place === NOWHERE ? ALL : (this.map?.shards[place]?.group ?? ALL);
  }

  /** The leader of a group, as last heard. With a map, nobody leads what it does not name. */
  leaderOf(group: number): Leader | null {
    if (group === ALL && this.map !== null) return null;
    return this.#leaders.get(group) ?? null;
  }

  /** Addresses that the map names. */
  *addresses(): Generator<Address> {
    for (const { address } of this.map?.nodes ?? []) {
      const parsed = parseAddress(address);
      if (parsed !== null) yield parsed;
    }
    for (const { address } of this.#leaders.values()) yield address;
  }
}

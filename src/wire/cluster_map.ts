/**
 * The map of the cluster: who serves which slots, and where. The control plane makes it, nodes keep the last one on
 * their disks and hand it to clients.
 *
 *     nodes    id, addresses, zone
 *     shards   id, group, replicas as places in `nodes`, the leader as last heard
 *     ranges   [first slot, last slot, place in `shards`, epoch], ascending, disjoint; no range: nobody is known
 *
 * Its version is that of the replicated state it was made from. Leaders are hints beside it, each with its term: of two
 * maps the newer one counts, and of two hints on a group the one of the higher term (hazard F9).
 */
import {
  address,
  compareVersions,
  groupId,
  mapVersion,
  NODES_MAX,
  nodeId,
  REPLICAS_MAX,
  SHARDS_MAX,
  shardId,
} from "./control_plane.ts";
import {
  hex,
  integer,
  list,
  nullable,
  record,
  type Shape,
  ShapeError,
  text,
  type ValueOf,
} from "./msgpack.ts";
import { SLOT_COUNT, weight } from "./shapes.ts";

export type MapRange = readonly [first: number, last: number, shard: number, epoch: number];

const mapNode = record({ id: nodeId, address, http: address, zone: text(64) });
export type MapNode = ValueOf<typeof mapNode>;

const nodePlace = integer(0, NODES_MAX - 1);
/** A leader as last heard: the place of its node, and its term. */
const hint = record({ node: nodePlace, term: integer(0) });

const mapShard = record({
  id: shardId,
  group: groupId,
  weight: weight(),
  replicas: list(nodePlace, REPLICAS_MAX),
  leader: nullable(hint),
});
export type MapShard = ValueOf<typeof mapShard>;

const number = integer(0);
const ranges: Shape<readonly MapRange[]> = {
  what: "ascending ranges of slots, each with a shard and an epoch",
  encode: (all) => all.map((range) => range.map((part) => number.encode(part))),
  decode(value, where) {
    const bad = new ShapeError(`${where}: ${ranges.what}`);
    if (!Array.isArray(value) || value.length > SLOT_COUNT) return bad;
    const decoded: MapRange[] = [];
    let next = 0;
    for (const item of value as unknown[]) {
      if (!Array.isArray(item) || item.length !== 4) return bad;
      const parts = item.map((part) => number.decode(part, where));
      if (parts.some((part) => part instanceof ShapeError)) return bad;
      const [first, last, , epoch] = parts as [number, number, number, number];
      if (first < next || last < first || last >= SLOT_COUNT || epoch === 0) return bad;
      decoded.push(parts as unknown as MapRange);
      next = last + 1;
    }
    return decoded;
  },
};

export const clusterMap = record({
  cluster: hex(16),
  version: mapVersion,
  nodes: list(mapNode, NODES_MAX),
  shards: list(mapShard, SHARDS_MAX),
  ranges,
});
export type ClusterMap = ValueOf<typeof clusterMap>;

/** Why a map cannot be used although its fields are right; null if it can. */
export function mapProblem({ nodes, shards, ranges: all }: ClusterMap): string | null {
  const places = (shard: MapShard): number[] => [
    ...shard.replicas,
    ...(shard.leader === null ? [] : [shard.leader.node]),
  ];
  if (shards.some((shard) => places(shard).some((node) => node >= nodes.length)))
    return "a shard's replica is on no listed node";
  if (all.some(([, , shard]) => shard >= shards.length)) return "a range belongs to no listed shard";
  return null;
}

/** What is known after hearing `next`: the newer map, with the newest hint on each group. */
export function mergeMaps(now: ClusterMap, next: ClusterMap): ClusterMap {
  if (next.cluster !== now.cluster) return now;
  const [newer, older] = compareVersions(next.version, now.version) >= 0 ? [next, now] : [now, next];
  const shards = newer.shards.map((shard) => {
    const other = older.shards.find(({ group }) => group === shard.group)?.leader ?? null;
    if (other === null || other.term <= (shard.leader?.term ?? -1)) return shard;
    const id = (older.nodes[other.node] as MapNode).id;
    const node = newer.nodes.findIndex((candidate) => candidate.id === id);
    return node < 0 ? shard : { ...shard, leader: { node, term: other.term } };
  });
  return { ...newer, shards };
}

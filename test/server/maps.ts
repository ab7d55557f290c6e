/** A map of two shards for tests of what goes by one. */
import type { ClusterMap } from "../../src/wire/cluster_map.ts";

export const A = 101;
export const B = 102;
export const HALF = 8192;

/** n1 (this node) holds a replica of no shard; A = s1 on n2, lower half; B = s2 on n3, upper half. */
export function mapOf(overrides: Partial<ClusterMap> = {}): ClusterMap {
  return {
    cluster: "00112233445566778899aabbccddeeff",
    version: { restore: 0, index: 1 },
    nodes: ["n1", "n2", "n3"].map((id) => ({ id, address: `${id}:7001`, http: "", zone: "" })),
    shards: [
      { id: "s1", group: A, weight: 1, replicas: [1], leader: { node: 1, term: 3 } },
      { id: "s2", group: B, weight: 1, replicas: [2], leader: { node: 2, term: 4 } },
    ],
    ranges: [
      [0, HALF - 1, 0, 1],
      [HALF, 16_383, 1, 1],
    ],
    ...overrides,
  };
}

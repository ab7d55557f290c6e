/** A cluster of three as its nodes describe it, and the one picture that becomes of it. */
import { type ClusterView, merge, type Reports } from "../../src/cli/cluster_view.ts";
import type { NodeReport, ShardReport } from "../../src/cli/node_report.ts";

const NODES = ["n1", "n2", "n3"].map((id, i) => ({ id, addr: `127.0.0.1:${7001 + i}`, http: null }));

export function report(node: string, shard: Partial<ShardReport>): NodeReport {
  const addr = NODES.find(({ id }) => id === node)?.addr ?? "";
  const role = shard.role ?? "follower";
  return {
    node,
    cluster: "00112233445566778899aabbccddeeff",
    addr,
    http: null,
    pid: 100 + Number(node.slice(1)),
    waits: null,
    version: "0.1.0",
    nodes: NODES,
    shards: [
      {
        id: "s1",
        role,
        leader: "n2",
        term: 7,
        commit: 40,
        replicas: NODES.map(({ id }) => ({
          node: id,
          role: id === "n2" ? "leader" : "follower",
          lag: role === "leader" ? 0 : null,
        })),
        slots: 16_384,
        keys: 1234,
        bytes: 5 * 1024 * 1024,
        ...shard,
      },
    ],
  };
}

export function reports(...found: readonly (NodeReport | null)[]): Reports {
  return NODES.map((node, i) => ({ ...node, report: found[i] ?? null }));
}

export const VIEW: ClusterView = merge(
  reports(report("n1", {}), report("n2", { role: "leader", commit: 41 }), report("n3", {})),
);

/** A ClusterView as people read it: the verdict in one line, then nodes, then shards. */
import { formatBytes, formatCount } from "../base/units.ts";
import { type ClusterView, type Health, healthOf, type ShardView, worstLag } from "./cluster_view.ts";
import { type Cell, type Paint, type Style, table } from "./output.ts";

const VERDICT: Readonly<Record<Health, readonly [string, Style]>> = {
  healthy: ["Healthy", "green"],
  degraded: ["Degraded", "yellow"],
  unavailable: ["Unavailable", "red"],
};

/** "Healthy - 3/3 nodes, 1/1 shards have leaders, worst lag 0" */
export function verdictText(view: ClusterView, paint: Paint): string {
  const { nodes, shards } = view;
  const [word, style] = VERDICT[healthOf(view)];
  const alive = nodes.filter((node) => node.alive).length;
  const led = shards.filter(({ leader }) => leader !== null).length;
  const lag = worstLag(view);
  return [
    `${paint(style, word)} - ${alive}/${nodes.length} nodes`,
    `${led}/${shards.length} shards have leaders`,
    `worst lag ${lag === null ? "unknown" : formatCount(lag)}`,
  ].join(", ");
}

function stateOf(alive: boolean, waits: boolean): Cell {
  if (!alive) return { text: "no answer", style: "red" };
  return waits ? { text: "waits", style: "yellow" } : { text: "up", style: "green" };
}

/** Why nodes hold no replica, one paragraph each; "" if all do, or have nothing to do with it. */
export function waitsText(view: ClusterView): string {
  return view.nodes
    .filter(({ id, waits }) => waits !== null && isNeeded(view, id))
    .map(({ id, waits }) => `${id} waits: ${waits}.`)
    .join("\n");
}

/** It has a place in a shard, or there is no shard that could tell. */
function isNeeded({ shards }: ClusterView, id: string): boolean {
  return shards.length === 0 || shards.some(({ replicas }) => replicas.some(({ node }) => node === id));
}

/** More names than fit into a column are counted. */
const NAMES_MAX = 6;

export function namesText(names: readonly string[]): string {
  if (names.length === 0) return "-";
  const shown = names.length > NAMES_MAX ? names.slice(0, NAMES_MAX - 1) : names;
  return shown.length === names.length
    ? names.join(" ")
    : `${shown.join(" ")} +${names.length - shown.length}`;
}

export function nodesText(view: ClusterView, paint: Paint, indent = ""): string {
  const servesHttp = view.nodes.some(({ http }) => http !== null);
  const several = view.shards.length > 1;
  const rows = view.nodes.map(({ id, addr, http, pid, alive, waits }): Cell[] => {
    const leads = view.shards.filter(({ leader }) => leader === id).map((shard) => shard.id);
    const held = view.shards.filter(({ replicas }) => replicas.some(({ node }) => node === id));
    return [
      id,
      addr,
      ...(servesHttp ? [http ?? "-"] : []),
      stateOf(alive, waits !== null),
      pid === null ? "-" : String(pid),
      ...(several ? [String(held.length)] : []),
      namesText(leads),
    ];
  });
  const columns = [
    { title: "NODE" },
    { title: "ADDRESS" },
    ...(servesHttp ? [{ title: "HTTP" }] : []),
    { title: "STATE" },
    { title: "PID", numbers: true as const },
    ...(several ? [{ title: "REPLICAS", numbers: true as const }] : []),
    { title: "LEADS" },
  ];
  return table(columns, rows, paint, indent);
}

export function shardsText(view: ClusterView, paint: Paint, indent = ""): string {
  const columns = [
    { title: "SHARD" },
    { title: "LEADER" },
    ...["TERM", "COMMIT", "SLOTS", "KEYS", "DATA"].map((title) => ({ title, numbers: true as const })),
    { title: "REPLICAS (LAG)" },
  ];
  const rows = view.shards.map((shard): Cell[] => [
    shard.id,
    shard.leader ?? { text: "none", style: "red" },
    String(shard.term),
    formatCount(shard.commit),
    formatCount(shard.slots),
    formatCount(shard.keys),
    formatBytes(shard.bytes),
    replicasText(shard),
  ]);
  return table(columns, rows, paint, indent);
}

/**
 * "n1 (0) n2 (0) n3 (?)"; a learner, which has no vote yet, is marked as one. Of a lost replica there is no lag to
 * tell; once its node has another one to come, only that is shown.
 */
export function replicasText({ replicas }: ShardView): string {
  return replicas
    .filter(({ node, role }, i) => {
      return role !== "missing" || !replicas.some((other, k) => k > i && other.node === node);
    })
    .map(({ node, role, lag }) => {
      if (role === "missing") return `${node} (missing)`;
      const known = lag === null ? "?" : formatCount(lag);
      return `${node} (${role === "learner" ? "learner, " : ""}${known})`;
    })
    .join(" ");
}

/** How far a local cluster is, asked of all its processes: who answers, which shards have leaders. */
import { showAddress } from "./address.ts";
import { type ClusterTree, controlsOf, nodesOf } from "./cluster_dir.ts";
import { askNode, type ClusterView, merge, type Reports } from "./cluster_view.ts";
import { fetchMap } from "./map_call.ts";
import { counted } from "./output.ts";

const ASK_MS_MAX = 500;

/** Of a control process; null: it does not answer. */
export type ControlRole = "leader" | "follower" | null;

export type LocalView = {
  readonly view: ClusterView;
  readonly roles: ReadonlyMap<string, ControlRole>;
};

export async function look(tree: ClusterTree): Promise<LocalView> {
  const [reports, roles] = await Promise.all([askNodes(tree), askControls(tree)]);
  const first = nodesOf(tree).find((_, i) => reports[i]?.report !== null);
  const map = first === undefined || tree.fixed !== null ? null : await fetchMap(first, ASK_MS_MAX);
  return { view: merge(reports, map), roles };
}

async function askNodes(tree: ClusterTree): Promise<Reports> {
  return Promise.all(
    nodesOf(tree).map(async (node) => {
      const report = await askNode(node, ASK_MS_MAX).catch(() => null);
      // A node that has not registered yet is of no cluster.
      const isOwn = report?.node === node.id && [tree.cluster, ""].includes(report.cluster);
      return { id: node.id, addr: showAddress(node), http: node.http, report: isOwn ? report : null };
    }),
  );
}

async function askControls(tree: ClusterTree): Promise<ReadonlyMap<string, ControlRole>> {
  const roles = controlsOf(tree).map(async ({ id, http }): Promise<[string, ControlRole]> => {
    const said = http === null ? null : await fetchJson(`http://${http}/health`);
    return [id, said?.role === "leader" || said?.role === "follower" ? said.role : null];
  });
  return new Map(await Promise.all(roles));
}

async function fetchJson(url: string): Promise<Readonly<Record<string, unknown>> | null> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ASK_MS_MAX) });
    return response.ok ? ((await response.json()) as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Shards that have a leader, and slots. */
export function servingOf({ view }: LocalView): number {
  return view.shards.filter(({ leader, slots }) => leader !== null && slots > 0).length;
}

export type Readiness = {
  /** Every shard has a leader, and at the birth as many as are wished are there. */
  readonly isLed: boolean;
  /** All that run answer as well. */
  readonly isComplete: boolean;
  /** What is waited for, for people. */
  readonly text: string;
};

/** `isBirth`: the cluster is being made; `expected`: who should answer. */
export function readinessOf(
  tree: ClusterTree,
  local: LocalView,
  isBirth: boolean,
  expected: readonly string[],
): Readiness {
  const { view, roles } = local;
  const wanted = isBirth ? (tree.first?.shards ?? 1) : 1;
  // At the birth every shard gets slots; later one may have none, because it is new, or to go.
  const led = isBirth ? servingOf(local) : view.shards.filter(({ leader }) => leader !== null).length;
  const isControlled = tree.fixed !== null || [...roles.values()].includes("leader");
  const isLed = led === view.shards.length && led >= wanted && (isControlled || !isBirth);
  const answering = [
    ...view.nodes.filter(({ alive }) => alive).map(({ id }) => id),
    ...[...roles].filter(([, role]) => role !== null).map(([id]) => id),
  ];
  const nodes = view.nodes.filter(({ alive }) => alive).length;
  const parts = [`${nodes} of ${counted(view.nodes.length, "node")} answer`];
  if (!isControlled) parts.push("the control plane has no leader yet");
  if (led < Math.max(wanted, view.shards.length)) {
    const all = counted(Math.max(wanted, view.shards.length), "shard");
    parts.push(tree.fixed === null ? `${led} of ${all} have leaders` : "no leader yet");
  }
  return { isLed, isComplete: expected.every((id) => answering.includes(id)), text: parts.join(", ") };
}

/** What `up` prints when the cluster is ready: for people, or as one line of JSON for programs. */
import { showAddress } from "./address.ts";
import { type ClusterTree, httpOf, logPath, nodeDir } from "./cluster_dir.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Cell, counted, type Paint, table } from "./output.ts";
import { ownCommandText, shortPath } from "./own_command.ts";
import { replicasText } from "./view_text.ts";

export type PidOf = (id: string) => number | null;

export function jsonLine(tree: ClusterTree, view: ClusterView, pidOf: PidOf): string {
  return JSON.stringify({
    cluster: tree.layout.cluster,
    dir: tree.dir,
    nodes: tree.layout.nodes.map((node) => ({
      id: node.id,
      pid: pidOf(node.id),
      addr: showAddress(node),
      http: httpOf(node),
      dir: nodeDir(tree, node),
      log: logPath(tree, node),
    })),
    shards: view.shards.map(({ id, leader }) => ({ id, leader })),
  });
}

export function firstScreen(
  tree: ClusterTree,
  view: ClusterView,
  pidOf: PidOf,
  repl: boolean,
  paint: Paint,
): string {
  const { nodes } = tree.layout;
  const head = `${tree.isNew ? "A new cluster" : "The cluster"} of ${counted(nodes.length, "node")} in`;
  return [
    `${head} ${paint("bold", shortPath(tree.dir))} (id ${tree.layout.cluster.slice(0, 8)}..)`,
    "",
    nodeTable(tree, view, pidOf, paint),
    "",
    ...view.shards.map((shard) => {
      const keys = shard.keys === 0 ? "no keys yet" : counted(shard.keys, "key");
      return `  shard ${shard.id}  leader ${paint("bold", shard.leader ?? "none")}, replicas ${replicasText(shard)}, ${keys}`;
    }),
    "",
    repl ? replLines(paint) : shellLines(tree, paint),
  ].join("\n");
}

function nodeTable(tree: ClusterTree, view: ClusterView, pidOf: PidOf, paint: Paint): string {
  const rows = tree.layout.nodes.map((node): Cell[] => {
    const leads = view.shards.some(({ leader }) => leader === node.id);
    const pid = pidOf(node.id);
    const role: Cell = leads ? { text: "leader", style: "green" } : "follower";
    return [
      node.id,
      showAddress(node),
      httpOf(node),
      pid === null ? { text: "down", style: "red" } : role,
      pid === null ? "-" : String(pid),
      shortPath(logPath(tree, node)),
    ];
  });
  const columns = [
    { title: "NODE" },
    { title: "ADDRESS" },
    { title: "HTTP" },
    { title: "ROLE" },
    { title: "PID", numbers: true as const },
    { title: "LOG" },
  ];
  return table(columns, rows, paint, "  ");
}

function replLines(paint: Paint): string {
  return [
    paint("bold", "Try"),
    "  SET hello world",
    "  GET hello",
    "  :kill leader     kill the leader's process while writing: how long do writes stop, is anything lost?",
    "  :shards          who leads, and how far the others are",
    "  :explain hello   where this key lives, and what a read and a write take",
    "  :help            everything else; Ctrl-D stops the cluster, the data stays",
  ].join("\n");
}

function shellLines(tree: ClusterTree, paint: Paint): string {
  const first = tree.layout.nodes[0];
  const nucleus = ownCommandText();
  const port = first === undefined || first.port === 7001 ? "" : ` -p ${first.port}`;
  return [
    paint("bold", "Try, in another terminal"),
    `  ${nucleus} repl${port} SET hello world`,
    `  ${nucleus} repl${port} GET hello`,
    `  redis-cli -p ${first?.port ?? 7001}`,
    `  curl -i http://${first === undefined ? "" : httpOf(first)}/kv/hello`,
    `  ${nucleus} status${port}`,
    `  ${nucleus} repl${port} :kill leader`,
    "Ctrl-C stops the cluster; the data stays, and the same command goes on with it.",
  ].join("\n");
}

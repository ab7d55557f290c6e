/** What `up` prints when the cluster is ready: for people, or as one line of JSON for programs. */
import { showAddress } from "./address.ts";
import { type ClusterTree, controlsOf, logPath, type Member, memberDir, nodesOf } from "./cluster_dir.ts";
import { type Cell, counted, type Paint, table } from "./output.ts";
import { ownCommandText, shortPath } from "./own_command.ts";
import type { LocalView } from "./up_watch.ts";
import { namesText, replicasText, shardsText } from "./view_text.ts";

export type PidOf = (id: string) => number | null;

export function jsonLine(tree: ClusterTree, { view }: LocalView, pidOf: PidOf): string {
  const shown = (member: Member): object => ({
    id: member.id,
    pid: pidOf(member.id),
    addr: showAddress(member),
    http: member.http,
    dir: memberDir(tree, member),
    log: logPath(tree, member),
  });
  return JSON.stringify({
    cluster: tree.cluster,
    dir: tree.dir,
    nodes: nodesOf(tree).map(shown),
    control: controlsOf(tree).map(shown),
    console: consoleUrl(tree),
    shards: view.shards.map(({ id, leader }) => ({ id, leader })),
  });
}

/** The control plane's web console; null: there is none. */
function consoleUrl(tree: ClusterTree): string | null {
  const http = controlsOf(tree)[0]?.http ?? null;
  return http === null ? null : `http://${http}/`;
}

export function firstScreen(
  tree: ClusterTree,
  local: LocalView,
  pidOf: PidOf,
  repl: boolean,
  paint: Paint,
): string {
  const { view } = local;
  const nodes = counted(nodesOf(tree).length, "node");
  const shards = tree.fixed === null ? ` and ${counted(view.shards.length, "shard")}` : "";
  const head = `${tree.isNew ? "A new cluster" : "The cluster"} of ${nodes}${shards} in`;
  const page = consoleUrl(tree);
  return [
    `${head} ${paint("bold", shortPath(tree.dir))} (id ${tree.cluster.slice(0, 8)}..)`,
    "",
    processTable(tree, local, pidOf, paint),
    "",
    tree.fixed === null ? shardsText(view, paint, "  ") : oneShardLines(local, paint),
    "",
    ...(page === null ? [] : [`  console  ${paint("bold", page)}`, ""]),
    repl ? replLines(tree, paint) : shellLines(tree, paint),
  ].join("\n");
}

function oneShardLines({ view }: LocalView, paint: Paint): string {
  const lines = view.shards.map((shard) => {
    const keys = shard.keys === 0 ? "no keys yet" : counted(shard.keys, "key");
    return `  shard ${shard.id}  leader ${paint("bold", shard.leader ?? "none")}, replicas ${replicasText(shard)}, ${keys}`;
  });
  return lines.join("\n");
}

function processTable(tree: ClusterTree, { view, roles }: LocalView, pidOf: PidOf, paint: Paint): string {
  const workOf = ({ id, kind }: Member): Cell => {
    if (kind === "control") {
      const role = roles.get(id) ?? null;
      return role === null
        ? { text: "no answer", style: "yellow" }
        : `control, ${role === "leader" ? "leads" : "follows"}`;
    }
    const leads = view.shards.filter(({ leader }) => leader === id).map((shard) => shard.id);
    return leads.length === 0 ? "-" : { text: namesText(leads), style: "green" };
  };
  const rows = tree.members.map((member): Cell[] => {
    const pid = pidOf(member.id);
    return [
      member.id,
      showAddress(member),
      member.http ?? "-",
      pid === null ? { text: "down", style: "red" } : workOf(member),
      pid === null ? "-" : String(pid),
      shortPath(logPath(tree, member)),
    ];
  });
  const columns = [
    { title: "NODE" },
    { title: "ADDRESS" },
    { title: "HTTP" },
    { title: "LEADS" },
    { title: "PID", numbers: true as const },
    { title: "LOG" },
  ];
  return table(columns, rows, paint, "  ");
}

function replLines(tree: ClusterTree, paint: Paint): string {
  const several = tree.fixed === null;
  return [
    paint("bold", "Try"),
    "  SET hello world",
    "  GET hello",
    `  :kill leader     kill ${several ? "a" : "the"} leader's process while writing: how long do writes stop, is anything lost?`,
    "  :shards          who leads, and how far the others are",
    "  :explain hello   where this key lives, and what a read and a write take",
    "  :help            everything else; Ctrl-D stops the cluster, the data stays",
  ].join("\n");
}

function shellLines(tree: ClusterTree, paint: Paint): string {
  const [first] = nodesOf(tree);
  const nucleus = ownCommandText();
  const port = first === undefined || first.port === 7001 ? "" : ` -p ${first.port}`;
  return [
    paint("bold", "Try, in another terminal"),
    `  ${nucleus} repl${port} SET hello world`,
    `  ${nucleus} repl${port} GET hello`,
    `  redis-cli -p ${first?.port ?? 7001}`,
    ...(first === undefined || first.http === null ? [] : [`  curl -i http://${first.http}/kv/hello`]),
    `  ${nucleus} status${port}`,
    `  ${nucleus} repl${port} :kill leader`,
    ...(tree.fixed === null ? [`  ${nucleus} shard add${port} --wait`] : []),
    "Ctrl-C stops the cluster; the data stays, and the same command goes on with it.",
  ].join("\n");
}

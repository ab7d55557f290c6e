/** `nucleus node list`: the nodes as the control plane knows them; without one, as they are seen from here. */
import type { Argv } from "yargs";
import { formatBytes, formatDuration } from "../base/units.ts";
import { addressFrom } from "./address.ts";
import { VERB_OPTIONS, type VerbArguments } from "./change.ts";
import { viewJson } from "./cluster_view.ts";
import { askControl, NoControlPlane } from "./control_call.ts";
import type { Fields } from "./json_fields.ts";
import { type Cell, type Paint, paintFor, type Style, table } from "./output.ts";
import { viewOrExplain } from "./status_command.ts";
import { nodesText } from "./view_text.ts";

export const nodeListCommand = {
  command: "list",
  describe: "All nodes: where they are, how they are",
  builder: (yargs: Argv) => yargs.options(VERB_OPTIONS),
  handler: (args: unknown) => runList(args as VerbArguments),
};

async function runList(args: VerbArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const paint = paintFor(process.stdout, process.env);
  try {
    const live = await askControl(address, { method: "GET", path: "/cluster/live" });
    console.log(args.json ? JSON.stringify({ nodes: live.raw.nodes }) : nodeListText(live, paint));
  } catch (error) {
    if (!(error instanceof NoControlPlane)) throw error;
    const view = await viewOrExplain(address);
    console.log(
      args.json ? JSON.stringify({ nodes: JSON.parse(viewJson(view)).nodes }) : nodesText(view, paint),
    );
  }
}

const STYLES: Readonly<Record<string, Style>> = { alive: "green", suspect: "yellow", dead: "red" };

function nodeListText(live: Fields, paint: Paint): string {
  const nodes = live.list("nodes");
  if (nodes.length === 0)
    return "No node has registered yet. Start some: nucleus node --control HOST:PORT ..";
  const number = { numbers: true as const };
  const hasZones = nodes.some((node) => node.text("zone") !== "");
  const columns = [
    { title: "NODE" },
    { title: "ADDRESS" },
    { title: "HTTP" },
    ...(hasZones ? [{ title: "ZONE" }] : []),
    { title: "STATE" },
    { title: "HEARD", ...number },
    { title: "REPLICAS", ...number },
    { title: "LEADS", ...number },
    { title: "DATA", ...number },
    { title: "DISK FREE", ...number },
  ];
  const rows = nodes.map((node): Cell[] => {
    const load = node.child("load");
    return [
      node.text("id"),
      node.text("addr"),
      node.text("http"),
      ...(hasZones ? [node.text("zone") || "-"] : []),
      stateCell(node),
      heardText(node),
      String(node.number("replicas")),
      String(node.number("leads")),
      formatBytes(load.number("bytes")),
      formatBytes(load.number("diskFreeBytes")),
    ];
  });
  const waiting = live.has("waitingFor") ? live.texts("waitingFor") : [];
  const note =
    waiting.length === 0 ? "" : `\n\nAfter the restore it waits to hear from: ${waiting.join(" ")}`;
  return table(columns, rows, paint) + note;
}

function stateCell(node: Fields): Cell {
  const state = node.text("state");
  const style = STYLES[state] ?? "yellow";
  if (node.flag("draining")) return { text: `${state}, draining`, style: "yellow" };
  return { text: state, style };
}

/** A beat comes each second or so; how long ago the last one was. Null = never, since this control process leads. */
function heardText(node: Fields): string {
  const silentMs = node.numberOrNull("silentMs");
  return silentMs === null ? "never" : `${formatDuration(silentMs)} ago`;
}

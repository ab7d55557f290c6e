/** `nucleus node`: one storage node, in the foreground, until it is told to stop. */
import * as fs from "node:fs";
import type { Argv } from "yargs";
import { messageOf, NucleusError } from "../base/errors.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import type { Log, Platform } from "../platform/platform.ts";
import {
  checkSettings,
  type Layout,
  type NodeAddress,
  parseLayout,
  SETTINGS_DEFAULT,
} from "../server/layout.ts";
import { type FixedCluster, type ManagedCluster, type NodeConfig, NucleusNode } from "../server/node.ts";
import { nodeVerbs } from "./node_verbs.ts";
import { type HostPort, hostPort, runServer } from "./server_process.ts";
import { VERSION } from "./version.ts";

/** What a node can carry beside others. */
const CAPACITY_USUAL = 100;

type NodeArgs = {
  id: string;
  listen: string;
  dir: string;
  layout?: string;
  control?: string;
  http?: string;
  zone: string;
  "election-ms": number;
  "segment-bytes": number;
  "redis-mode": "proxy" | "cluster";
  init: boolean;
  "log-level": string;
  "parent-pipe": boolean;
};

/** Of running a node; the verbs under `node` have their own. */
const OWN = { type: "string", global: false } as const;

/** `createPlatform` comes from main.ts: only there the real world is named. */
export const nodeCommand = (createPlatform: (log: Log) => Platform) => ({
  command: "node",
  describe: "Run one storage node; or list, add, remove, drain, replace nodes",
  builder: (yargs: Argv) =>
    nodeVerbs(yargs)
      .option("id", { ...OWN, demandOption: true, describe: "This node's id in the layout" })
      .option("listen", { ...OWN, demandOption: true, describe: "HOST:PORT for clients and peers" })
      .option("http", { ...OWN, describe: "HOST:PORT for HTTP; the layout's, if it names one" })
      .option("dir", { ...OWN, demandOption: true, describe: "Data directory" })
      .option("control", { ...OWN, describe: "HOST:PORT[,HOST:PORT..] of the control plane" })
      .option("layout", { ...OWN, describe: "Instead of --control: JSON file with cluster, nodes, settings" })
      .option("zone", { ...OWN, default: "", describe: "Nodes of one zone may fail together" })
      .option("election-ms", {
        type: "number",
        global: false,
        default: SETTINGS_DEFAULT.electionMs,
        describe: "Shortest silence before an election (with --control)",
      })
      .option("segment-bytes", {
        type: "number",
        global: false,
        default: SETTINGS_DEFAULT.segmentBytes,
        describe: "Size of the log's files, the same on all nodes (with --control)",
      })
      .option("redis-mode", {
        global: false,
        choices: ["proxy", "cluster"],
        default: "proxy",
        describe: "Redis clients: proxy takes any command here, cluster sends them to the leader (MOVED)",
      })
      .option("init", {
        type: "boolean",
        global: false,
        default: false,
        describe: "First start of a founding node: its directory is empty",
      })
      .option("log-level", {
        global: false,
        choices: ["debug", "info", "warn", "error"],
        default: "info",
        describe: "Least level logged",
      })
      .option("parent-pipe", { type: "boolean", global: false, default: false, hidden: true }),
  handler: (args: unknown) => runNode(args as NodeArgs, createPlatform),
});

function runNode(args: NodeArgs, createPlatform: (log: Log) => Platform): void {
  runServer<NucleusNode>(args, {
    prepare: (log) => {
      const config = configOf(args);
      return (fatal) => new NucleusNode(createPlatform(log), config, fatal);
    },
    facts: recovery,
  });
}

function configOf(args: NodeArgs): NodeConfig {
  const listen = hostPort(args.listen, "--listen");
  const cluster = args.layout === undefined ? managedCluster(args) : fixedCluster(args, args.layout, listen);
  const http = args.http ?? (cluster.kind === "fixed" ? selfOf(cluster.layout, args.id)?.http : undefined);
  return {
    id: args.id,
    dir: args.dir,
    ...listen,
    cluster,
    version: VERSION,
    pid: process.pid,
    redisMode: args["redis-mode"],
    ...(http === undefined ? {} : { http: hostPort(http, "--http") }),
  };
}

function selfOf({ nodes }: Layout, id: string): NodeAddress | undefined {
  return nodes.find((node) => node.id === id);
}

/** A group over fixed nodes; the layout says where this one is. */
function fixedCluster(args: NodeArgs, path: string, listen: HostPort): FixedCluster {
  if (args.control !== undefined)
    throw new NucleusError("EUSAGE", "--layout and --control exclude each other: give one of them");
  const layout = parseLayout(readLayoutFile(path));
  const self = selfOf(layout, args.id);
  if (self !== undefined && (self.host !== listen.host || self.port !== listen.port)) {
    throw new NucleusError(
      "EUSAGE",
      `--listen ${args.listen} differs from the layout, where ${args.id} is at ${self.host}:${self.port}`,
    );
  }
  return { kind: "fixed", layout, init: args.init };
}

function managedCluster(args: NodeArgs): ManagedCluster {
  const { control, zone, init, id } = args;
  if (control === undefined)
    throw new NucleusError(
      "EUSAGE",
      "say where the control plane is, --control HOST:PORT, or give a --layout file",
    );
  if (init)
    throw new NucleusError(
      "EUSAGE",
      "--init is for --layout: with --control an empty directory is taken as new",
    );
  if (!isName(id)) throw new NucleusError("EUSAGE", `--id must be ${NAME_RULE}`);
  const { electionMs, segmentBytes } = checkSettings(args["election-ms"], args["segment-bytes"]);
  return {
    kind: "managed",
    control: control.split(",").map((one) => hostPort(one.trim(), "--control")),
    zone,
    capacity: CAPACITY_USUAL,
    electionMs,
    segmentBytes,
  };
}

/** What the log held at the start, for the line that says so. */
function recovery(node: NucleusNode): Record<string, number> {
  const { recovered } = node;
  if (recovered === null) return {};
  const snapshot = recovered.groups[0]?.snapshotIndex ?? 0;
  const entries = recovered.groups[0]?.entries.length ?? 0;
  return {
    snapshotIndex: snapshot,
    entriesToReplay: entries,
    segments: recovered.segments,
    tornBytes: recovered.tornBytes,
  };
}

function readLayoutFile(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    throw new NucleusError("ELAYOUT", `cannot read the layout file ${path}: ${messageOf(error)}`);
  }
}

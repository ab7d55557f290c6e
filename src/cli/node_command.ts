/** `nucleus node`: one storage node, in the foreground, until it is told to stop. */
import * as fs from "node:fs";
import type { Argv } from "yargs";
import { codeOf, messageOf, NucleusError } from "../base/errors.ts";
import type { Log, LogLevel, Platform } from "../platform/platform.ts";
import {
  checkSettings,
  type Layout,
  type NodeAddress,
  parseAddress,
  parseLayout,
  SETTINGS_DEFAULT,
} from "../server/layout.ts";
import { type FixedCluster, type ManagedCluster, NucleusNode } from "../server/node.ts";
import { isName, NAME_RULE } from "../wire/shapes.ts";
import { jsonLog } from "./json_log.ts";
import { listenerOf } from "./local_process.ts";
import { nodeVerbs } from "./node_verbs.ts";
import { dropPidFile, takePidFile } from "./pid_file.ts";
import { VERSION } from "./version.ts";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** A clean stop that takes longer than this is abandoned: the log can be recovered, an operator cannot. */
const STOP_MS_MAX = 10_000;
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
  const log = jsonLog(args.id, args["log-level"] as LogLevel, (line) => void process.stderr.write(line));
  stopOnBugs(log);
  const refuse = (error: unknown, exitCode: number): never => {
    log.write("error", `cannot start: ${explain(error, args)}`);
    process.exit(exitCode);
  };
  let node: NucleusNode;
  try {
    const listen = hostPort(args.listen, "--listen");
    const cluster =
      args.layout === undefined ? managedCluster(args) : fixedCluster(args, args.layout, listen);
    const http = args.http ?? (cluster.kind === "fixed" ? selfOf(cluster.layout, args.id)?.http : undefined);
    fs.mkdirSync(args.dir, { recursive: true, mode: 0o700 });
    takePidFile(args.dir);
    const config = {
      id: args.id,
      dir: args.dir,
      ...listen,
      cluster,
      version: VERSION,
      pid: process.pid,
      redisMode: args["redis-mode"],
      ...(http === undefined ? {} : { http: hostPort(http, "--http") }),
    };
    node = new NucleusNode(createPlatform(log), config, (error) => {
      log.write("error", `stopped at once: ${messageOf(error)}`, { code: codeOf(error) });
      process.exit(EXIT_FAILED); // nothing after a failed write or a broken rule may leave this process
    });
  } catch (error) {
    return refuse(error, exitCodeFor(error));
  }
  node.start((error) => {
    if (error !== null) {
      dropPidFile(args.dir);
      refuse(error, exitCodeFor(error));
    }
    log.write("info", "listening", { addr: args.listen, dir: args.dir, ...recovery(node) });
  });
  stopOnSignals(node, args);
}

type HostPort = { readonly host: string; readonly port: number };

function hostPort(text: string, option: string): HostPort {
  const address = parseAddress(text);
  if (address !== null) return address;
  throw new NucleusError("EUSAGE", `${option} must be HOST:PORT, for example 127.0.0.1:7001, not "${text}"`);
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

function exitCodeFor(error: unknown): number {
  return ["EUSAGE", "ELAYOUT"].includes(codeOf(error)) ? EXIT_USAGE : EXIT_FAILED;
}

/**
 * A broken rule, or what nobody foresaw: one line, and the process ends at once. What it knows may be wrong, so
 * nothing of it may be written, sent or served (hazard H2).
 */
function stopOnBugs(log: Log): void {
  const stop = (error: unknown): never => {
    const where = error instanceof Error ? (error.stack?.split("\n")[1]?.trim() ?? "") : "";
    log.write("error", `stopped at once: ${messageOf(error)}`, { code: codeOf(error), where });
    process.exit(EXIT_FAILED);
  };
  process.on("uncaughtException", stop);
  process.on("unhandledRejection", stop);
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

function stopOnSignals(node: NucleusNode, args: NodeArgs): void {
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(EXIT_FAILED), STOP_MS_MAX).unref();
    node.stop((error) => {
      dropPidFile(args.dir);
      process.exit(error === null ? 0 : EXIT_FAILED);
    });
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  if (!args["parent-pipe"]) return;
  process.stdin.on("end", stop); // whoever started this node is gone
  process.stdin.on("error", stop);
  process.stdin.resume();
}

function readLayoutFile(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    throw new NucleusError("ELAYOUT", `cannot read the layout file ${path}: ${messageOf(error)}`);
  }
}

/** Says who has the address, as far as this machine lets us see. */
function takenText(listen: string): string {
  const holder = listenerOf(parseAddress(listen)?.port ?? 0);
  const who = holder === null ? "another process" : `another process: ${holder.name} (pid ${holder.pid})`;
  const next =
    holder === null
      ? "stop it or choose another address (see who: ss -ltnp)"
      : "stop it or choose another address";
  return `${listen} is taken by ${who}; ${next}`;
}

/** What happened, why, and what to do next. */
function explain(error: unknown, args: NodeArgs): string {
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return takenText(args.listen);
    case "EADDRNOTAVAIL":
      return `${args.listen} is not an address of this machine`;
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return `${args.dir} cannot be written: ${messageOf(error)}; check its owner and mode`;
    case "EIO":
      return `the disk of ${args.dir} cannot be read or written: ${messageOf(error)}; look at the disk (dmesg), and replace it if it fails`;
    case "ENOSPC":
      return `the disk of ${args.dir} is full: ${messageOf(error)}; free some space and start again`;
    default:
      return messageOf(error);
  }
}

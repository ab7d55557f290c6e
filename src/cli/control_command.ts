/** `nucleus control`: one control process, in the foreground, until it is told to stop. */
import * as fs from "node:fs";
import xxhash from "xxhash-wasm";
import type { Argv } from "yargs";
import { messageOf, NucleusError } from "../base/errors.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import type { Backup } from "../controlplane/backup.ts";
import { type ControlConfig, ControlProcess } from "../controlplane/process.ts";
import { type FirstLayout, parseFirstLayout } from "../controlplane/requests.ts";
import type { Log, Platform } from "../platform/platform.ts";
import { checkSettings, type NodeAddress, SETTINGS_DEFAULT } from "../server/layout.ts";
import { readBackup } from "./backup_command.ts";
import { hostPort, runServer } from "./server_process.ts";

type ControlArgs = {
  id: string;
  listen: string;
  http?: string;
  dir: string;
  peers?: string;
  cluster?: string;
  "cluster-id"?: string;
  restore?: string;
  "restore-id"?: string;
  init: boolean;
  "election-ms": number;
  "segment-bytes": number;
  "log-level": string;
  "parent-pipe": boolean;
};

/** One can fail of three, two of five; more only wait for each other. */
const PEERS_MAX = 7;
const IS_ID = /^[0-9a-f]{32}$/;

/** `createPlatform` comes from main.ts: only there the real world is named. */
export const controlCommand = (createPlatform: (log: Log) => Platform) => ({
  command: "control",
  describe: "Run one control process: it knows the nodes, the shards and where slots belong",
  builder: (yargs: Argv) =>
    yargs
      .option("id", { type: "string", demandOption: true, describe: "This control process's id" })
      .option("listen", {
        type: "string",
        demandOption: true,
        describe: "HOST:PORT for nodes and for other control processes",
      })
      .option("http", { type: "string", describe: "HOST:PORT for HTTP" })
      .option("dir", { type: "string", demandOption: true, describe: "Data directory" })
      .option("peers", {
        type: "string",
        describe: "All control processes, this one too: c1=HOST:PORT,c2=HOST:PORT,c3=HOST:PORT",
      })
      .option("cluster", {
        type: "string",
        describe: "JSON file of the first layout: {replicas, vnodes, shards: [{id, weight, nodes}]}",
      })
      .option("cluster-id", {
        type: "string",
        describe: "32 hex digits, the same for all of --peers (openssl rand -hex 16)",
      })
      .option("init", {
        type: "boolean",
        default: false,
        describe: "First start of a founding control process: its directory is empty",
      })
      .option("restore", {
        type: "string",
        requiresArg: true,
        describe: "A backup (cluster backup FILE) that a new control plane begins with, instead of --init",
      })
      .option("restore-id", {
        type: "string",
        requiresArg: true,
        describe: "With --restore: 32 hex digits, new for each restore, the same for all of --peers",
      })
      .option("election-ms", {
        type: "number",
        default: SETTINGS_DEFAULT.electionMs,
        describe: "Shortest silence before an election",
      })
      .option("segment-bytes", {
        type: "number",
        default: SETTINGS_DEFAULT.segmentBytes,
        describe: "Size of the log's files",
      })
      .option("log-level", {
        choices: ["debug", "info", "warn", "error"],
        default: "info",
        describe: "Least level logged",
      })
      .option("parent-pipe", { type: "boolean", default: false, hidden: true }),
  handler: (args: unknown) => runControl(args as ControlArgs, createPlatform),
});

async function runControl(args: ControlArgs, createPlatform: (log: Log) => Platform): Promise<void> {
  const { h64 } = await xxhash();
  runServer<ControlProcess>(args, {
    prepare: (log) => {
      const config = configOf(args);
      return (fatal) => new ControlProcess(createPlatform(log), config, h64, fatal);
    },
    facts: ({ cluster }) => ({ ...(args.http === undefined ? {} : { http: args.http }), cluster }),
  });
}

export function configOf(args: ControlArgs): ControlConfig {
  const { id, init } = args;
  if (!isName(id)) throw usage(`--id must be ${NAME_RULE}, not "${id}"`);
  const listen = hostPort(args.listen, "--listen");
  const peers = args.peers === undefined ? [{ id, ...listen }] : peersOf(args.peers);
  const self = peers.find((peer) => peer.id === id);
  if (self === undefined) throw usage(`--peers has no "${id}"; list all control processes, this one too`);
  if (self.host !== listen.host || self.port !== listen.port)
    throw usage(`--listen ${args.listen} differs from --peers, where ${id} is at ${self.host}:${self.port}`);
  const backup = args.restore === undefined ? null : readBackup(args.restore);
  const cluster = clusterOf(args, backup);
  if (init && cluster === null && peers.length > 1)
    throw usage("--init with --peers needs --cluster-id, the same for all of them (openssl rand -hex 16)");
  // Whoever starts again with the same words, as service managers do, has its directory already.
  const restores = backup !== null && !fs.existsSync(`${args.dir}/node.json`);
  checkRestoreId(args["restore-id"], backup, restores && peers.length > 1);
  const { electionMs, segmentBytes } = checkSettings(args["election-ms"], args["segment-bytes"]);
  return {
    id,
    dir: args.dir,
    peers,
    http: args.http === undefined ? null : hostPort(args.http, "--http"),
    cluster,
    init: init || restores,
    backup,
    ...(args["restore-id"] === undefined ? {} : { restoreId: args["restore-id"] }),
    firstLayout: args.cluster === undefined ? null : readFirstLayout(args.cluster),
    electionMs,
    segmentBytes,
  };
}

function checkRestoreId(id: string | undefined, backup: Backup | null, isNeeded: boolean): void {
  const make = "new for each restore, the same for all of --peers (openssl rand -hex 16)";
  if (id !== undefined && !IS_ID.test(id)) throw usage(`--restore-id must be 32 hex digits, ${make}`);
  if (id !== undefined && backup === null) throw usage("--restore-id goes with --restore");
  if (id === undefined && isNeeded) throw usage(`--restore with --peers needs --restore-id, ${make}`);
}

function clusterOf(args: ControlArgs, backup: Backup | null): string | null {
  const cluster = args["cluster-id"] ?? null;
  if (cluster !== null && !IS_ID.test(cluster))
    throw usage("--cluster-id must be 32 hex digits; make one with: openssl rand -hex 16");
  if (backup === null) return cluster;
  if (cluster !== null && cluster !== backup.cluster)
    throw usage(`--cluster-id differs from the backup, which is of cluster ${backup.cluster}`);
  if (args.cluster !== undefined)
    throw usage("--cluster makes a first layout, and --restore has one: give only one of them");
  return backup.cluster;
}

function peersOf(text: string): NodeAddress[] {
  const peers = text.split(",").map((one): NodeAddress => {
    const [id = "", address = ""] = one.trim().split("=");
    if (!isName(id)) throw usage(`--peers must be a list of ID=HOST:PORT, not "${one}"`);
    return { id, ...hostPort(address, "each of --peers") };
  });
  if (peers.length > PEERS_MAX)
    throw usage(`--peers names ${peers.length}; three are usual, ${PEERS_MAX} are most`);
  const twin = peers.find(
    (one, i) =>
      peers.findIndex(({ id, host, port }) => id === one.id || (host === one.host && port === one.port)) < i,
  );
  if (twin !== undefined) throw usage(`--peers names "${twin.id}" or its address twice`);
  return peers;
}

function readFirstLayout(path: string): FirstLayout {
  let text: string;
  try {
    text = fs.readFileSync(path, "utf8");
  } catch (error) {
    throw usage(`cannot read the file of the first layout: ${messageOf(error)}`);
  }
  try {
    return parseFirstLayout(text);
  } catch (error) {
    throw usage(`${path} cannot be used: ${messageOf(error)}`);
  }
}

function usage(message: string): NucleusError {
  return new NucleusError("EUSAGE", message);
}

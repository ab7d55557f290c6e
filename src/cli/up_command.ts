/**
 * `nucleus up`: a whole cluster on this machine, each node and each control process a process of its own, until Ctrl-C.
 *
 * stdout has the first screen and `ready` on a line of its own (or one line of JSON); what happens later, a death
 * or a restart, is told on stderr. Exit code 0 after a clean stop.
 */
import type { Argv } from "yargs";
import { CONTROL_DEFAULT, NODES_DEFAULT, openTree, SHARDS_DEFAULT } from "./cluster_dir.ts";
import { EXIT } from "./exit_codes.ts";
import { BASE_PORT_DEFAULT, BASE_PORT_MAX, CONTROL_MAX, NODES_MAX } from "./local_members.ts";
import { CliError } from "./output.ts";
import { LocalRun } from "./up_run.ts";

type UpArguments = {
  readonly nodes?: number;
  readonly shards?: number;
  readonly replicas?: number;
  readonly control?: number;
  readonly "base-port"?: number;
  readonly dir: string;
  readonly repl: boolean;
  readonly respawn: boolean;
  readonly json: boolean;
};

const SHARDS_MAX = 256;
const NUMBER = { type: "number", requiresArg: true } as const;

export const upCommand = {
  command: "up",
  describe: "Run a local cluster: one process for each node, and a control plane",
  builder: (yargs: Argv) =>
    yargs
      .option("nodes", {
        ...NUMBER,
        describe: `1 to ${NODES_MAX} nodes; more than there were: new ones [${NODES_DEFAULT}]`,
      })
      .option("shards", { ...NUMBER, describe: `Shards of a new cluster [${SHARDS_DEFAULT}]` })
      .option("replicas", { ...NUMBER, describe: "Of each shard, on as many nodes [3]" })
      .option("control", {
        ...NUMBER,
        describe: `Control processes; 0: none, and one fixed shard on all nodes [${CONTROL_DEFAULT}]`,
      })
      .option("base-port", {
        ...NUMBER,
        describe: `Node i listens on this + i, HTTP on this + 1000 + i [${BASE_PORT_DEFAULT}]`,
      })
      .option("dir", {
        type: "string",
        requiresArg: true,
        default: "./data",
        describe: "Where the data is, or will be",
      })
      .option("repl", {
        type: "boolean",
        default: false,
        describe: "Open a shell; leaving it stops the cluster",
      })
      .option("respawn", {
        type: "boolean",
        default: false,
        describe: "Start what died again after a second",
      })
      .option("json", { type: "boolean", default: false, describe: "One line of JSON when ready" }),
  handler: (args: unknown) => runUp(args as UpArguments),
};

async function runUp(args: UpArguments): Promise<void> {
  checkOptions(args);
  const { nodes, shards, replicas, control, "base-port": basePort } = args;
  const tree = openTree(args.dir, { nodes, basePort, shards, replicas, control });
  await new LocalRun(tree, args).run();
  process.exit(); // a terminal that was read from may hold the process
}

function checkOptions(args: UpArguments): void {
  const { json, repl } = args;
  if (json && repl) throw new CliError(EXIT.usage, "--json and --repl exclude each other: both use stdout.");
  checkWhole(args, "nodes", 1, NODES_MAX);
  checkWhole(args, "shards", 1, SHARDS_MAX);
  checkWhole(args, "replicas", 1, NODES_MAX);
  checkWhole(args, "control", 0, CONTROL_MAX);
  checkWhole(args, "base-port", 1, BASE_PORT_MAX);
}

type NumberOption = "nodes" | "shards" | "replicas" | "control" | "base-port";

function checkWhole(args: UpArguments, name: NumberOption, min: number, max: number): void {
  const value = args[name];
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return;
  throw new CliError(EXIT.usage, `--${name} must be a whole number from ${min} to ${max}.`);
}

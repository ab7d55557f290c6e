/**
 * `nucleus up`: a whole cluster on this machine, each node a process of its own, until Ctrl-C.
 *
 * stdout has the first screen and `ready` on a line of its own (or one line of JSON); what happens later, a death
 * or a restart, is told on stderr. Exit code 0 after a clean stop.
 */
import type { Argv } from "yargs";
import { BASE_PORT_DEFAULT, HTTP_PORTS_ABOVE, NODES_DEFAULT, openTree } from "./cluster_dir.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError } from "./output.ts";
import { LocalRun } from "./up_run.ts";

type UpArguments = {
  readonly nodes?: number;
  readonly shards: number;
  readonly replicas?: number;
  readonly control: number;
  readonly "base-port"?: number;
  readonly dir: string;
  readonly repl: boolean;
  readonly respawn: boolean;
  readonly json: boolean;
};

const NODES_MAX = 15;

export const upCommand = {
  command: "up",
  describe: "Run a local cluster: one process for each node",
  builder: (yargs: Argv) =>
    yargs
      .option("nodes", {
        type: "number",
        requiresArg: true,
        describe: `1 to ${NODES_MAX} nodes [${NODES_DEFAULT}]`,
      })
      .option("shards", { type: "number", requiresArg: true, default: 1, describe: "1 in this version" })
      .option("replicas", {
        type: "number",
        requiresArg: true,
        describe: "The number of nodes in this version",
      })
      .option("control", { type: "number", requiresArg: true, default: 0, describe: "0 in this version" })
      .option("base-port", {
        type: "number",
        requiresArg: true,
        describe: `Node i listens on this + i [${BASE_PORT_DEFAULT}]`,
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
        describe: "Start a node that died again after a second",
      })
      .option("json", { type: "boolean", default: false, describe: "One line of JSON when ready" }),
  handler: (args: unknown) => runUp(args as UpArguments),
};

async function runUp(args: UpArguments): Promise<void> {
  checkOptions(args);
  const tree = openTree(args.dir, { nodes: args.nodes, basePort: args["base-port"] });
  const count = tree.layout.nodes.length;
  if (args.replicas !== undefined && args.replicas !== count) {
    throw onlyNow(
      `--replicas ${args.replicas}`,
      `every node holds the shard, so there are ${count} replicas`,
    );
  }
  await new LocalRun(tree, args).run();
  process.exit(); // a terminal that was read from may hold the process
}

function checkOptions({ json, repl, nodes, shards, control, "base-port": basePort }: UpArguments): void {
  if (json && repl) throw new CliError(EXIT.usage, "--json and --repl exclude each other: both use stdout.");
  if (nodes !== undefined && !isWhole(nodes, 1, NODES_MAX)) {
    throw new CliError(EXIT.usage, `--nodes must be a whole number from 1 to ${NODES_MAX}.`);
  }
  const portMax = 65_535 - HTTP_PORTS_ABOVE - NODES_MAX;
  if (basePort !== undefined && !isWhole(basePort, 1, portMax)) {
    throw new CliError(EXIT.usage, `--base-port must be a whole number from 1 to ${portMax}.`);
  }
  if (shards !== 1) throw onlyNow(`--shards ${shards}`, "one shard holds all keys");
  if (control !== 0) throw onlyNow(`--control ${control}`, "clusters run without a control plane");
}

function isWhole(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

function onlyNow(option: string, what: string): CliError {
  const name = option.split(" ")[0] ?? "";
  return new CliError(
    EXIT.usage,
    `${option} does not work yet.`,
    `In this version ${what}.`,
    `Leave ${name} out.`,
  );
}

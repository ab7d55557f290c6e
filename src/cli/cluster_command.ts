/** `nucleus cluster`: the first layout, once nodes have registered with the control plane; and a backup of what that knows. */
import type { Argv } from "yargs";
import { type Address, addressFrom } from "./address.ts";
import { backupCommand } from "./backup_command.ts";
import { CHANGE_OPTIONS, type ChangeArguments, WAIT_OPTION } from "./change.ts";
import { viewCluster } from "./cluster_view.ts";
import { askControl } from "./control_call.ts";
import { type Cell, counted, paintFor, table } from "./output.ts";
import { namesText } from "./view_text.ts";
import { waitUntil } from "./wait.ts";

type InitArguments = ChangeArguments & {
  readonly shards: number;
  readonly replicas?: number;
  readonly vnodes?: number;
  readonly wait: boolean;
};

const initCommand = {
  command: "init",
  describe: "Make the first shards, on the nodes that are there",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .options(WAIT_OPTION)
      .option("shards", {
        type: "number",
        requiresArg: true,
        demandOption: true,
        describe: "How many: s1, s2 ..",
      })
      .option("replicas", { type: "number", requiresArg: true, describe: "Of each shard [3]" })
      .option("vnodes", {
        type: "number",
        requiresArg: true,
        describe: "A shard's points on the ring [256]",
      }),
  handler: (args: unknown) => runInit(args as InitArguments),
};

export const clusterCommand = {
  command: "cluster",
  describe: "Make a cluster of registered nodes; back up what the control plane knows",
  builder: (yargs: Argv) =>
    yargs
      .command(initCommand)
      .command(backupCommand)
      .demandCommand(1, "Say what to do: cluster init --shards N, or cluster backup FILE."),
  handler: () => {},
};

async function runInit(args: InitArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { shards, replicas, vnodes } = args;
  const reply = await askControl(address, {
    method: "POST",
    path: "/cluster/init",
    body: {
      shards,
      ...(replicas === undefined ? {} : { replicas }),
      ...(vnodes === undefined ? {} : { vnodes }),
    },
  });
  if (args.wait) await untilLed(address, shards);
  if (args.json) return console.log(JSON.stringify(reply.raw));
  console.log(`The cluster has its first layout: ${counted(shards, "shard")}.`);
  if (!reply.has("shards")) return; // it was asked twice: the answer is not kept
  const rows = reply
    .list("shards")
    .map((shard): Cell[] => [shard.text("id"), namesText(shard.texts("nodes"))]);
  console.log(
    `\n${table([{ title: "SHARD" }, { title: "NODES" }], rows, paintFor(process.stdout, process.env))}`,
  );
  if (!args.wait) console.log("\nThey have leaders within seconds. See: nucleus status");
}

async function untilLed(address: Address, count: number): Promise<void> {
  await waitUntil(async () => {
    const { shards } = await viewCluster(address);
    const led = shards.filter(({ leader }) => leader !== null).length;
    return { isDone: led >= count, progress: `${led} of ${counted(count, "shard")} have leaders` };
  });
}

/** `nucleus leader move NODE [--shard S]`: hands a shard's leadership over, and waits until it has happened. */
import type { Argv } from "yargs";
import { addressFrom } from "./address.ts";
import { askLeader, shardNamed } from "./ask_leader.ts";
import { CHANGE_OPTIONS, type ChangeArguments } from "./change.ts";
import { type ClusterView, viewCluster } from "./cluster_view.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError, listed } from "./output.ts";
import { notReached } from "./status_command.ts";

type LeaderArguments = ChangeArguments & { readonly node: string; readonly shard?: string };

/** A transfer ends within an election timeout (at most 0.6 s) or is given up by the leader. */
const WAIT_MS_MAX = 3000;
const ASK_EVERY_MS = 50;

const moveCommand = {
  command: "move <node>",
  describe: "Hand the leadership to a node",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .positional("node", { type: "string", demandOption: true, describe: "The node that is to lead" })
      .option("shard", { type: "string", requiresArg: true, describe: "Of which shard [the only one]" }),
  handler: (args: unknown) => runMove(args as LeaderArguments),
};

export const leaderCommand = {
  command: "leader",
  describe: "See to who leads",
  builder: (yargs: Argv) => yargs.command(moveCommand).demandCommand(1, "Say what to do: leader move NODE."),
  handler: () => {},
};

async function runMove(args: LeaderArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const look = (): Promise<ClusterView> =>
    viewCluster(address).catch((error: unknown) => {
      throw notReached(error);
    });
  const view = await look();
  const shard = shardNamed(view, args.shard);
  const names = shard.replicas.map(({ node }) => node);
  if (!names.includes(args.node)) {
    throw new CliError(
      EXIT.notFound,
      `${args.node} holds no replica of ${shard.id}.`,
      "",
      `It may be ${listed(names)}.`,
    );
  }
  const startedMs = performance.now();
  const words = view.shards.length === 1 ? ["LEADER", args.node] : ["LEADER", args.node, shard.id];
  if (shard.leader !== args.node) await askLeader(view, shard, words);
  while (shardNamed(await look(), shard.id).leader !== args.node) {
    if (performance.now() - startedMs > WAIT_MS_MAX) {
      throw new CliError(
        EXIT.failed,
        `${args.node} did not take over.`,
        "It may be stopped or behind; the old leader goes on.",
        "See: nucleus status",
      );
    }
    await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
  }
  const { term } = shardNamed(await look(), shard.id);
  const moved = shard.leader !== args.node;
  if (args.json)
    console.log(JSON.stringify({ shard: shard.id, leader: args.node, from: shard.leader, term, moved }));
  else if (moved)
    console.log(`${args.node} leads ${shard.id} now, in term ${term}; before it was ${shard.leader}.`);
  else console.log(`${args.node} leads ${shard.id} already.`);
}

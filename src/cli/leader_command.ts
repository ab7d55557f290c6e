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

/** A transfer ends within an election timeout (at most 0.6 s) or is given up by the leader: then it is asked for again. */
const ASK_AGAIN_MS = 1000;
const WAIT_MS_MAX = 10_000;
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
  const moved = shard.leader !== args.node;
  const term = moved ? await handOver(look, view, shard.id, args.node) : shard.term;
  if (args.json)
    console.log(JSON.stringify({ shard: shard.id, leader: args.node, from: shard.leader, term, moved }));
  else if (moved)
    console.log(`${args.node} leads ${shard.id} now, in term ${term}; before it was ${shard.leader}.`);
  else console.log(`${args.node} leads ${shard.id} already.`);
}

/** Asks until `node` leads, each time whoever leads then. Returns the term. Throws a refusal that lasts, or
 * that it took too long. */
async function handOver(
  look: () => Promise<ClusterView>,
  before: ClusterView,
  shardId: string,
  node: string,
): Promise<number> {
  const startedMs = performance.now();
  let askedMs = -Infinity;
  for (let view = before; ; view = await look()) {
    const shard = shardNamed(view, shardId);
    if (shard.leader === node) return shard.term;
    const nowMs = performance.now();
    if (nowMs - startedMs > WAIT_MS_MAX) {
      throw new CliError(
        EXIT.failed,
        `${node} did not take over within ${WAIT_MS_MAX / 1000} s.`,
        "It may be stopped or behind; the old leader goes on.",
        "See: nucleus status",
      );
    }
    if (shard.leader !== null && nowMs - askedMs >= ASK_AGAIN_MS) {
      askedMs = nowMs;
      const words = view.shards.length === 1 ? ["LEADER", node] : ["LEADER", node, shardId];
      await askLeader(view, shard, words).catch((error: unknown) => {
        if (!isForNow(error)) throw error;
      });
    }
    await new Promise((done) => setTimeout(done, ASK_EVERY_MS));
  }
}

/** It does not lead any more, or hands over already, to another: seen again in a moment. */
function isForNow(error: unknown): boolean {
  return error instanceof CliError && error.exitCode === EXIT.unavailable;
}

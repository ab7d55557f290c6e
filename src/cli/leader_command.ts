/** `nucleus leader move NODE`: hands the shard's leadership over, and waits until it has happened. */
import type { Argv } from "yargs";
import { ADDRESS_OPTIONS, type AddressArguments, addressFrom, readAddress } from "./address.ts";
import { type ClusterView, type ShardView, viewCluster } from "./cluster_view.ts";
import { EXIT, exitCodeOfReply } from "./exit_codes.ts";
import { CliError, listed } from "./output.ts";
import { RespConnection } from "./resp_connection.ts";
import { notReached } from "./status_command.ts";

type LeaderArguments = AddressArguments & { readonly node: string; readonly json: boolean };

/** A transfer ends within an election timeout (at most 0.6 s) or is given up by the leader. */
const WAIT_MS_MAX = 3000;
const ASK_EVERY_MS = 50;

export const leaderCommand = {
  command: "leader move <node>",
  describe: "Hand the leadership to a node",
  builder: (yargs: Argv) =>
    yargs
      .options(ADDRESS_OPTIONS)
      .positional("node", { type: "string", demandOption: true, describe: "The node that is to lead" })
      .option("json", { type: "boolean", default: false, describe: "One JSON object instead of a sentence" }),
  handler: (args: unknown) => runMove(args as LeaderArguments),
};

async function runMove(args: LeaderArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const look = (): Promise<ClusterView> =>
    viewCluster(address).catch((error: unknown) => {
      throw notReached(error);
    });
  const view = await look();
  const shard = onlyShard(view);
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
  if (shard.leader !== args.node) await askLeader(view, shard, args.node);
  while (onlyShard(await look()).leader !== args.node) {
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
  const { term } = onlyShard(await look());
  const moved = shard.leader !== args.node;
  if (args.json)
    console.log(JSON.stringify({ shard: shard.id, leader: args.node, from: shard.leader, term, moved }));
  else if (moved)
    console.log(`${args.node} leads ${shard.id} now, in term ${term}; before it was ${shard.leader}.`);
  else console.log(`${args.node} leads ${shard.id} already.`);
}

function onlyShard(view: ClusterView): ShardView {
  const [shard] = view.shards;
  if (shard === undefined) throw new CliError(EXIT.unavailable, "The cluster reports no shard.");
  return shard;
}

async function askLeader(view: ClusterView, shard: ShardView, node: string): Promise<void> {
  const leader = view.nodes.find(({ id }) => id === shard.leader);
  const address = leader === undefined ? null : readAddress(leader.addr);
  if (address === null) {
    throw new CliError(
      EXIT.unavailable,
      `${shard.id} has no leader that could hand over.`,
      "",
      "See: nucleus status",
    );
  }
  const connection = await RespConnection.open(address).catch((error: unknown) => {
    throw notReached(error);
  });
  try {
    const reply = await connection.call(["NUCLEUS", "LEADER", node], WAIT_MS_MAX);
    if (reply.kind === "error") throw new CliError(exitCodeOfReply(reply.text), reply.text);
  } finally {
    connection.close();
  }
}

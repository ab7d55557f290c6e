/**
 * `nucleus node replace NODE --with OTHER`: OTHER takes NODE's place in the shard. It learns the data first, then a
 * joint change gives it the vote and takes NODE's; the shard serves all the while. The shard's leader does it; this
 * program asks, watches, and asks again if another one leads meanwhile. So it can be broken off and repeated.
 */
import type { Argv } from "yargs";
import { formatCount } from "../base/units.ts";
import { type Address, type AddressArguments, addressFrom } from "./address.ts";
import { askLeader, onlyShard } from "./ask_leader.ts";
import { CHANGE_OPTIONS } from "./change.ts";
import { type ClusterView, type ShardView, viewCluster } from "./cluster_view.ts";
import { askControl, NoControlPlane } from "./control_call.ts";
import { EXIT } from "./exit_codes.ts";
import { replaceByWish } from "./node_replace_wish.ts";
import { CliError, listed } from "./output.ts";
import { notReached } from "./status_command.ts";

type ReplaceArguments = AddressArguments & {
  readonly node: string;
  readonly with?: string;
  readonly shard?: string;
  readonly json: boolean;
};

const LOOK_EVERY_MS = 250;
/** The leader forgets a wish when it ceases to lead; it is told again this often. */
const ASK_EVERY_MS = 2000;
/** Nothing moved for so long: something is wrong, and the caller should know. */
const STUCK_MS_MAX = 30_000;

export const replaceCommand = {
  command: "replace <node>",
  describe: "Put another node in a node's place",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .positional("node", { type: "string", demandOption: true, describe: "The node that is to go" })
      .option("with", {
        type: "string",
        describe: "The node that takes its place; it runs and holds nothing",
      })
      .option("shard", { type: "string", requiresArg: true, describe: "Only in this shard" }),
  handler: (args: unknown) => runReplace(args as ReplaceArguments),
};

async function runReplace(args: ReplaceArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const live = await askControl(address, { method: "GET", path: "/cluster/live" }).catch((error: unknown) => {
    if (error instanceof NoControlPlane) return null;
    throw error;
  });
  if (live === null) return replaceByLeader(address, args);
  const { node: old, with: by, shard, json } = args;
  return replaceByWish(address, live, { old, by, shard, json });
}

/** Without a control plane: the shard's leader is told. */
async function replaceByLeader(address: Address, args: ReplaceArguments): Promise<void> {
  const first = await look(address);
  const shard = onlyShard(first);
  const { node: old, with: by } = args;
  if (by === undefined) return explainOwnReplacement(first, shard, old);
  const voter = shard.replicas.find((replica) => replica.node === old);
  if (voter === undefined && isVoter(shard, by)) return report(args, shard, 0); // it was done before
  if (voter === undefined) throw noReplica(shard, old);
  if (isVoter(shard, by)) {
    const next = "Name a node that holds none: one more line in the layout file, and a node started on it.";
    throw new CliError(EXIT.conflict, `${by} holds a replica of ${shard.id} already.`, "", next);
  }
  const startedMs = performance.now();
  const end = await watch(address, old, by);
  report(args, end, performance.now() - startedMs);
}

function isVoter(shard: ShardView, node: string): boolean {
  return shard.replicas.some(
    (replica) => replica.node === node && ["leader", "follower"].includes(replica.role),
  );
}

/** Asks and looks until `by` votes and `old` is gone. */
async function watch(address: Address, old: string, by: string): Promise<ShardView> {
  let askedMs = Number.NEGATIVE_INFINITY;
  let seen = "";
  let movedMs = performance.now();
  for (;;) {
    const view = await look(address);
    const shard = onlyShard(view);
    const nowMs = performance.now();
    if (isVoter(shard, by) && shard.replicas.every(({ node }) => node !== old)) return shard;
    if (nowMs - askedMs >= ASK_EVERY_MS && shard.leader !== null && !isVoter(shard, by)) {
      await askLeader(view, shard, ["REPLACE", old, by]);
      askedMs = nowMs;
    }
    const now = progressText(shard, by);
    if (now !== seen) {
      seen = now;
      movedMs = nowMs;
      console.error(now);
    }
    if (nowMs - movedMs > STUCK_MS_MAX) throw stuck(old, by, seen);
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
  }
}

function progressText({ id, leader, replicas }: ShardView, node: string): string {
  const replica = replicas.find((one) => one.node === node);
  if (leader === null) return `${id} has no leader that could do it.`;
  if (replica === undefined) return `${node} is to get a replica.`;
  if (replica.role === "missing") return `${node} is being told to hold one.`;
  if (replica.role !== "learner") return `${node} votes; the config is being settled.`;
  if (replica.lag === null) return `${node} learns.`;
  return `${node} learns: ${formatCount(replica.lag)} log entries to go.`;
}

function report({ node, with: by, json }: ReplaceArguments, shard: ShardView, ms: number): void {
  const seconds = (ms / 1000).toFixed(1);
  if (json) console.log(JSON.stringify({ shard: shard.id, removed: node, added: by, ms: Math.round(ms) }));
  else if (ms === 0) console.log(`${by} holds ${node}'s place in ${shard.id} already.`);
  else console.log(`${by} took ${node}'s place in ${shard.id} after ${seconds} s; ${node} can be stopped.`);
}

/** Without another node's name: a node that lost its replica gets a new one by itself, which is said here. */
function explainOwnReplacement(view: ClusterView, shard: ShardView, node: string): never {
  const replica = shard.replicas.find((one) => one.node === node);
  if (replica === undefined) throw noReplica(shard, node);
  const isAlive = view.nodes.some(({ id, alive }) => id === node && alive);
  const anew =
    `To give it a new replica on its own machine: stop it, move its directory away, start it without --init; the ` +
    "leader does the rest.\nTo put another node in its place: --with NODE";
  if (!isAlive) throw new CliError(EXIT.unavailable, `${node} does not answer.`, "", anew);
  if (shard.leader === null) {
    const what = `${shard.id} has no leader that could give ${node} a new replica.`;
    throw new CliError(
      EXIT.unavailable,
      what,
      "A majority of sound replicas must run.",
      "See: nucleus status",
    );
  }
  if (replica.role === "missing" || replica.role === "learner") {
    throw new CliError(
      EXIT.conflict,
      `${node} is being given a new replica by the shard's leader.`,
      "",
      "Watch it: nucleus status",
    );
  }
  throw new CliError(EXIT.usage, `${node} holds a sound replica: by what is it to be replaced?`, "", anew);
}

function noReplica(shard: ShardView, node: string): CliError {
  const names = shard.replicas.map((replica) => replica.node);
  return new CliError(
    EXIT.notFound,
    `${node} holds no replica of ${shard.id}.`,
    "",
    `It may be ${listed(names)}.`,
  );
}

function stuck(old: string, by: string, seen: string): CliError {
  return new CliError(
    EXIT.unknownOutcome,
    `Nothing moved for ${STUCK_MS_MAX / 1000} s: ${seen}`,
    `${by} must run, and be in the layout file that the leader was started with.`,
    `${old} still has its place. See: nucleus status; then run this again.`,
  );
}

async function look(address: Address): Promise<ClusterView> {
  try {
    return await viewCluster(address);
  } catch (error) {
    throw notReached(error);
  }
}

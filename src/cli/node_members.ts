/**
 * `nucleus node add|remove|drain|exclude`: which nodes should have replicas. The control plane keeps the wish; the shards' leaders
 * carry it out, a learner first, by joint changes, and never by a step that would cost the majority.
 */
import type { Argv } from "yargs";
import { type Address, addressFrom } from "./address.ts";
import { CHANGE_OPTIONS, type ChangeArguments, confirm, WAIT_OPTION } from "./change.ts";
import { askControl } from "./control_call.ts";
import { EXIT } from "./exit_codes.ts";
import type { Fields } from "./json_fields.ts";
import { CliError, counted, listed } from "./output.ts";
import { type Progress, waitUntil } from "./wait.ts";

type MemberArguments = ChangeArguments & {
  readonly node: string;
  readonly shard?: string;
  readonly wait: boolean;
};
type DrainArguments = ChangeArguments & {
  readonly node: string;
  readonly undo: boolean;
  readonly wait: boolean;
};

const NODE = { type: "string", demandOption: true, describe: "The node" } as const;

export const nodeAddCommand = {
  command: "add <node>",
  describe: "Give a node a replica of a shard",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .options(WAIT_OPTION)
      .positional("node", NODE)
      .option("shard", { type: "string", requiresArg: true, demandOption: true, describe: "The shard" }),
  handler: (args: unknown) => runDesired("add", args as MemberArguments),
};

export const nodeRemoveCommand = {
  command: "remove <node>",
  describe: "Take a replica of a shard from a node; without --shard, a node out of the cluster",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .options(WAIT_OPTION)
      .positional("node", NODE)
      .option("shard", { type: "string", requiresArg: true, describe: "The shard" }),
  handler: (args: unknown) => {
    const given = args as MemberArguments;
    return given.shard === undefined ? runRemove(given) : runDesired("remove", given);
  },
};

export const nodeDrainCommand = {
  command: "drain <node>",
  describe: "Bring a node's replicas to other nodes, so that it can go",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .options(WAIT_OPTION)
      .positional("node", NODE)
      .option("undo", { type: "boolean", default: false, describe: "It may have replicas again" }),
  handler: (args: unknown) => runDrain(args as DrainArguments),
};

export const nodeExcludeCommand = {
  command: "exclude <node>",
  describe: "Say that a node is gone: it is not waited for, its replicas go to other nodes",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .positional("node", NODE)
      .option("undo", { type: "boolean", default: false, describe: "It is there again" }),
  handler: (args: unknown) => runExclude(args as Omit<DrainArguments, "wait">),
};

async function runDesired(verb: "add" | "remove", args: MemberArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { node, shard = "" } = args;
  const reply = await wish(address, { shard, [verb]: [node] });
  if (args.wait) await untilAsWished(address, shard);
  if (args.json) return console.log(JSON.stringify(reply.raw));
  console.log(desiredText(shard, reply, args.wait));
}

export function wish(address: Address, body: object): Promise<Fields> {
  return askControl(address, { method: "POST", path: "/cluster/desired", body });
}

function desiredText(shard: string, reply: Fields, isDone: boolean): string {
  if (!reply.has("nodes")) return `The replicas of ${shard} are as wished.`; // asked twice: the answer is not kept
  const names = listed(reply.texts("nodes"));
  if (isDone) return `${shard} has its replicas on ${names}.`;
  const blocked = reply.textOrNull("blocked");
  const now = blocked === null ? "Its leader is at it." : `It cannot be done yet: ${blocked}.`;
  return `${shard} should have its replicas on ${names}. ${now}\nSee: nucleus shard list`;
}

export async function untilAsWished(address: Address, shard: string): Promise<void> {
  await waitUntil(async () => {
    const live = await askControl(address, { method: "GET", path: "/cluster/live" });
    return wishProgress(live, shard);
  });
}

function wishProgress(live: Fields, shard: string): Progress {
  const one = live.list("shards").find((other) => other.text("id") === shard);
  if (one === undefined) throw new CliError(EXIT.notFound, `There is no shard ${shard}.`);
  const [voters, wanted] = [one.texts("voters"), one.texts("wanted")];
  const isDone = one.textOrNull("leader") !== null && [...voters].sort().join() === [...wanted].sort().join();
  const blocked = one.textOrNull("blocked");
  const why = isDone || blocked === null ? "" : `; ${blocked}`;
  return {
    isDone,
    progress: `${shard} has ${voters.join(" ") || "nobody"}, wanted are ${wanted.join(" ")}${why}`,
  };
}

async function runRemove(args: MemberArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { node } = args;
  await confirm(`${node} is forgotten: it would have to begin anew with an empty directory.`, args);
  const reply = await act(address, node, "remove");
  if (args.json) return console.log(JSON.stringify(reply.raw));
  console.log(`${node} is no part of the cluster any more.`);
}

const act = (address: Address, node: string, action: string): Promise<Fields> =>
  askControl(address, { method: "POST", path: "/node", body: { node, action } });

async function runExclude(args: Omit<DrainArguments, "wait">): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { node, undo } = args;
  if (!undo) await confirm(`${node} is not listened to any more, and loses its replicas.`, args);
  const reply = await act(address, node, undo ? "include" : "exclude");
  if (args.json) return console.log(JSON.stringify(reply.raw));
  if (undo) console.log(`${node} is part of the cluster again.`);
  else console.log(`${node} is excluded. To take that back: nucleus node exclude ${node} --undo`);
}

async function runDrain(args: DrainArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { node, undo } = args;
  const reply = await act(address, node, undo ? "undrain" : "drain");
  if (args.wait && !undo) await untilEmpty(address, node);
  if (args.json) return console.log(JSON.stringify(reply.raw));
  if (undo) return console.log(`${node} may have replicas again.`);
  const shards = reply.has("shards") ? reply.texts("shards") : [];
  if (args.wait || shards.length === 0)
    console.log(`${node} has no replicas; it can be stopped, and removed: nucleus node remove ${node}`);
  else
    console.log(
      `${node} gives up its replicas of ${listed(shards)}, as others can take them.\nSee: nucleus node list`,
    );
}

/** It is wanted nowhere, and votes nowhere. */
async function untilEmpty(address: Address, node: string): Promise<void> {
  await waitUntil(async () => {
    const live = await askControl(address, { method: "GET", path: "/cluster/live" });
    const left = live
      .list("shards")
      .filter((shard) => [...shard.texts("wanted"), ...shard.texts("voters")].includes(node));
    return {
      isDone: left.length === 0,
      progress: `${node} has replicas of ${counted(left.length, "shard")}`,
    };
  });
}

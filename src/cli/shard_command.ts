/** `nucleus shard add|remove|list|declare-lost`: shards, one at a time. */
import type { Argv } from "yargs";
import { formatBytes, formatCount } from "../base/units.ts";
import { type Address, addressFrom } from "./address.ts";
import {
  CHANGE_OPTIONS,
  type ChangeArguments,
  confirm,
  namesOf,
  VERB_OPTIONS,
  type VerbArguments,
  WAIT_OPTION,
} from "./change.ts";
import { viewJson } from "./cluster_view.ts";
import { askControl, NoControlPlane } from "./control_call.ts";
import type { Fields } from "./json_fields.ts";
import { type Cell, counted, type Paint, paintFor, table } from "./output.ts";
import { planText, sumText } from "./plan_text.ts";
import { tellPlan } from "./reshard_command.ts";
import { watchReshard } from "./reshard_watch.ts";
import { viewOrExplain } from "./status_command.ts";
import { namesText, shardsText } from "./view_text.ts";

type AddArguments = ChangeArguments & {
  readonly id?: string;
  readonly nodes?: string;
  readonly weight?: number;
  readonly wait: boolean;
  readonly "manual-cutover": boolean;
};
type RemoveArguments = ChangeArguments & {
  readonly id: string;
  readonly wait: boolean;
  readonly "manual-cutover": boolean;
};
type LostArguments = ChangeArguments & { readonly id: string };

const MANUAL_OPTION = {
  "manual-cutover": { type: "boolean", default: false, describe: "Copy, then wait for: reshard cutover" },
} as const;

const addCommand = {
  command: "add",
  describe: "A new shard, which gets its share of the slots",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .options(WAIT_OPTION)
      .options(MANUAL_OPTION)
      .option("id", { type: "string", requiresArg: true, describe: "Its name [one that balances well]" })
      .option("nodes", {
        type: "string",
        requiresArg: true,
        describe: "Its replicas: n4,n5,n6 [the best ones]",
      })
      .option("weight", { type: "number", requiresArg: true, describe: "Its share, beside the others' [1]" }),
  handler: (args: unknown) => runAdd(args as AddArguments),
};

const removeCommand = {
  command: "remove <id>",
  describe: "Move all of a shard's slots to the others, and end it",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .options(WAIT_OPTION)
      .options(MANUAL_OPTION)
      .positional("id", { type: "string", demandOption: true, describe: "The shard" }),
  handler: (args: unknown) => runRemove(args as RemoveArguments),
};

const listCommand = {
  command: "list",
  describe: "All shards: where they are, what they hold",
  builder: (yargs: Argv) => yargs.options(VERB_OPTIONS),
  handler: (args: unknown) => runList(args as VerbArguments),
};

const lostCommand = {
  command: "declare-lost <id>",
  describe: "Give a shard up whose replicas are destroyed for good",
  builder: (yargs: Argv) =>
    yargs
      .options(CHANGE_OPTIONS)
      .positional("id", { type: "string", demandOption: true, describe: "The shard" }),
  handler: (args: unknown) => runLost(args as LostArguments),
};

export const shardCommand = {
  command: "shard",
  describe: "Shards: add, remove, list, declare-lost",
  builder: (yargs: Argv) => {
    yargs.command(addCommand).command(removeCommand).command(listCommand).command(lostCommand);
    return yargs.demandCommand(1, "Say what to do: shard add, remove, list or declare-lost.");
  },
  handler: () => {},
};

async function runAdd(args: AddArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { id, weight } = args;
  const report = await askControl(address, {
    method: "POST",
    path: "/shard/add",
    body: {
      ...(id === undefined ? {} : { id }),
      ...(weight === undefined ? {} : { weight }),
      ...(args.nodes === undefined ? {} : { nodes: namesOf(args.nodes, "--nodes") }),
      ...(args["manual-cutover"] ? { manual: true } : {}),
    },
  });
  const paint = paintFor(process.stdout, process.env);
  tellPlan(report, args, () => {
    return report.has("shard") ? ` It brings ${report.text("shard")}.\n\n${planText(report, paint)}` : "";
  });
  if (args.wait) process.exitCode = await watchReshard(address, args.json);
}

async function runRemove(args: RemoveArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { id } = args;
  const ask = (more: object): Promise<Fields> =>
    askControl(address, { method: "POST", path: "/shard/remove", body: { id, ...more } });
  if (!args.yes) {
    const report = await ask({ dryRun: true });
    await confirm(`${id} gives away all it has, and ends. ${sumText(report)}`, args);
  }
  const report = await ask(args["manual-cutover"] ? { manual: true } : {});
  const paint = paintFor(process.stdout, process.env);
  tellPlan(report, args, () => {
    return report.has("shards") ? ` It empties ${id}.\n\n${planText(report, paint)}` : "";
  });
  if (args.wait) process.exitCode = await watchReshard(address, args.json);
}

async function runList(args: VerbArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const paint = paintFor(process.stdout, process.env);
  let reply: Fields;
  try {
    reply = await askControl(address, { method: "GET", path: "/shard" });
  } catch (error) {
    if (error instanceof NoControlPlane) return listOfView(address, args, paint);
    throw error;
  }
  if (args.json) console.log(JSON.stringify(reply.raw));
  else console.log(shardListText(reply, paint));
}

/** Without a control plane the nodes themselves say it. */
async function listOfView(address: Address, { json }: VerbArguments, paint: Paint): Promise<void> {
  const view = await viewOrExplain(address);
  console.log(json ? JSON.stringify({ shards: JSON.parse(viewJson(view)).shards }) : shardsText(view, paint));
}

function shardListText(reply: Fields, paint: Paint): string {
  const shards = reply.list("shards");
  if (shards.length === 0) return "There are no shards yet. Make some: nucleus cluster init --shards N";
  const number = { numbers: true as const };
  const columns = [
    { title: "SHARD" },
    { title: "STATE" },
    { title: "WEIGHT", ...number },
    { title: "LEADER" },
    { title: "SLOTS", ...number },
    { title: "KEYS", ...number },
    { title: "DATA", ...number },
    { title: "NODES" },
  ];
  const rows = shards.map((shard): Cell[] => {
    const state = shard.text("state");
    return [
      shard.text("id"),
      state === "active" ? state : { text: state, style: state === "lost" ? "red" : "yellow" },
      String(shard.number("weight")),
      shard.textOrNull("leader") ?? { text: "none", style: "red" },
      formatCount(shard.number("slots")),
      formatCount(shard.number("keys")),
      formatBytes(shard.number("bytes")),
      namesText(shard.texts("nodes")),
    ];
  });
  return table(columns, rows, paint);
}

async function runLost(args: LostArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const { id } = args;
  await confirm(`What only ${id} has is given up for good, even if its replicas turn up again.`, args);
  const reply = await askControl(address, {
    method: "POST",
    path: "/shard/declare-lost",
    body: { id, yes: true },
  });
  if (args.json) return console.log(JSON.stringify(reply.raw));
  console.log(`${id} is given up.`);
  const lost = reply.has("mayBeLost") ? reply.childOrNull("mayBeLost") : null;
  const next = `Its slots answer nobody before others take them, empty: nucleus shard remove ${id}`;
  if (lost === null) return console.log(next);
  const [keys, bytes] = [lost.number("keys"), lost.number("bytes")];
  const what = `${counted(keys, "key")}, ${formatBytes(bytes)}`;
  console.log(`What it held, as last reported, and what no other shard has of it is gone: ${what}.`);
  console.log(next);
}

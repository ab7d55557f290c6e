/**
 * `nucleus reshard`: which shards there are and how the slots lie on them, changed while everything runs.
 *
 *     reshard plan --add s3 --weight s1=2     what it would do; nothing changes
 *     reshard apply ..                        the same, done
 *     reshard status [--watch]   reshard cutover   reshard cancel
 */
import { readFileSync } from "node:fs";
import type { Argv } from "yargs";
import { messageOf } from "../base/errors.ts";
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
import { askControl } from "./control_call.ts";
import { EXIT } from "./exit_codes.ts";
import type { Fields } from "./json_fields.ts";
import { CliError, paintFor } from "./output.ts";
import { planBody, planOfFile } from "./plan_request.ts";
import { planText } from "./plan_text.ts";
import { endText, reshardText } from "./reshard_status.ts";
import { fetchReshard, watchReshard } from "./reshard_watch.ts";

type PlanArguments = VerbArguments & {
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
  readonly weight?: readonly string[];
  readonly nodes?: string;
  readonly vnodes?: number;
  readonly file?: string;
};
type ApplyArguments = PlanArguments &
  ChangeArguments & { readonly wait: boolean; readonly "manual-cutover": boolean };
type NumberArguments = ChangeArguments & { readonly epoch?: number };

const PLAN_OPTIONS = {
  add: { type: "string", array: true, requiresArg: true, describe: "A new shard: s3, or with a weight s3=2" },
  remove: {
    type: "string",
    array: true,
    requiresArg: true,
    describe: "A shard that is to give away all it has",
  },
  weight: { type: "string", array: true, requiresArg: true, describe: "Another weight for a shard: s1=2" },
  nodes: { type: "string", requiresArg: true, describe: "Nodes for the shard that is added: n4,n5,n6" },
  vnodes: { type: "number", requiresArg: true, describe: "Points on the ring for a weight of 1" },
  file: {
    type: "string",
    requiresArg: true,
    describe: 'The whole layout as JSON: {"shards": [{"id", "weight", "nodes"}]}',
  },
} as const;
const EPOCH_OPTION = {
  epoch: { type: "number", requiresArg: true, describe: "The plan's number [the one under way]" },
} as const;

const planCommand = {
  command: "plan",
  describe: "Say what a change would move, how long it would take, how even it would be",
  builder: (yargs: Argv) => yargs.options(VERB_OPTIONS).options(PLAN_OPTIONS),
  handler: (args: unknown) => runPlan(args as PlanArguments),
};

const applyCommand = {
  command: "apply",
  describe: "Carry such a change out",
  builder: (yargs: Argv) =>
    yargs.options(CHANGE_OPTIONS).options(PLAN_OPTIONS).options(WAIT_OPTION).option("manual-cutover", {
      type: "boolean",
      default: false,
      describe: "Copy, then wait for: reshard cutover",
    }),
  handler: (args: unknown) => runApply(args as ApplyArguments),
};

const statusCommand = {
  command: "status",
  describe: "Tell how far it is",
  builder: (yargs: Argv) =>
    yargs
      .options(VERB_OPTIONS)
      .option("watch", { type: "boolean", default: false, describe: "Until nothing is under way" }),
  handler: (args: unknown) => runStatus(args as VerbArguments & { readonly watch: boolean }),
};

const cutoverCommand = {
  command: "cutover",
  describe: "Let a plan with --manual-cutover go on",
  builder: (yargs: Argv) => yargs.options(CHANGE_OPTIONS).options(EPOCH_OPTION),
  handler: (args: unknown) => runNumbered("cutover", args as NumberArguments),
};

const cancelCommand = {
  command: "cancel",
  describe: "Begin no further move, and take back what is not over",
  builder: (yargs: Argv) => yargs.options(CHANGE_OPTIONS).options(EPOCH_OPTION),
  handler: (args: unknown) => runNumbered("cancel", args as NumberArguments),
};

export const reshardCommand = {
  command: "reshard",
  describe: "Move slots between shards: plan, apply, status, cutover, cancel",
  builder: (yargs: Argv) => {
    yargs.command(planCommand).command(applyCommand).command(statusCommand);
    yargs.command(cutoverCommand).command(cancelCommand);
    return yargs.demandCommand(1, "Say what to do: reshard plan, apply, status, cutover or cancel.");
  },
  handler: () => {},
};

async function bodyOf(address: Address, args: PlanArguments): Promise<object> {
  const now = await askControl(address, { method: "GET", path: "/reshard/plan" });
  const { file, add, remove, weight, vnodes } = args;
  if (file === undefined) {
    const nodes = args.nodes === undefined ? undefined : namesOf(args.nodes, "--nodes");
    return planBody(now, { add, remove, weight, nodes, vnodes });
  }
  if ([add, remove, weight, args.nodes, vnodes].some((option) => option !== undefined))
    throw new CliError(EXIT.usage, "--file says the whole layout: no other option goes with it.");
  return planOfFile(readText(file), file, now.number("next"));
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new CliError(EXIT.usage, `${path} cannot be read.`, messageOf(error));
  }
}

const propose = (address: Address, body: object): Promise<Fields> =>
  askControl(address, { method: "POST", path: "/reshard/plan", body });

async function runPlan(args: PlanArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const report = await propose(address, { ...(await bodyOf(address, args)), dryRun: true });
  if (args.json) return console.log(JSON.stringify(report.raw));
  console.log(planText(report, paintFor(process.stdout, process.env)));
  console.log("\nNothing was changed. To do it, say apply instead of plan.");
}

async function runApply(args: ApplyArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const body = { ...(await bodyOf(address, args)), ...(args["manual-cutover"] ? { manual: true } : {}) };
  const paint = paintFor(process.stdout, process.env);
  if (!args.yes) {
    const report = await propose(address, { ...body, dryRun: true });
    console.error(`${planText(report, paintFor(process.stderr, process.env))}\n`);
    await confirm(`Plan ${report.number("epoch")} begins to move slots at once.`, args);
  }
  const report = await propose(address, body);
  tellPlan(report, args, () => (args.yes && report.has("shards") ? `\n\n${planText(report, paint)}` : ""));
  if (args.wait) process.exitCode = await watchReshard(address, args.json);
}

/** That a plan was taken; `more` stands below it. */
export function tellPlan(
  report: Fields,
  { json, wait }: { json: boolean; wait: boolean },
  more: () => string,
): void {
  if (json) return console.log(JSON.stringify(report.raw));
  const number = report.has("epoch") ? report.number("epoch") : report.number("number");
  const isOver = report.has("moves") && report.number("moves") === 0;
  console.log(`Plan ${number} is ${isOver ? "taken" : "under way"}.${more()}`);
  if (!wait && !isOver) console.log("\nWatch it: nucleus reshard status --watch");
}

async function runStatus(args: VerbArguments & { readonly watch: boolean }): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  if (args.watch) {
    process.exitCode = await watchReshard(address, args.json);
  } else if (args.json) {
    const reply = await askControl(address, { method: "GET", path: "/reshard/status" });
    console.log(JSON.stringify(reply.raw));
  } else {
    console.log(reshardText(await fetchReshard(address), paintFor(process.stdout, process.env)));
  }
}

async function runNumbered(verb: "cutover" | "cancel", args: NumberArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  let { epoch } = args;
  if (epoch === undefined) {
    const status = await fetchReshard(address);
    if (!status.active)
      throw new CliError(
        EXIT.notFound,
        endText(status.last),
        "",
        `There is nothing to ${verb === "cancel" ? "cancel" : "cut over"}.`,
      );
    epoch = status.epoch;
  }
  const reply = await askControl(address, { method: "POST", path: `/reshard/${verb}`, body: { epoch } });
  if (args.json) return console.log(JSON.stringify(reply.raw));
  if (verb === "cutover") console.log(`Plan ${epoch} cuts over as its copies are complete.`);
  else console.log(`Plan ${epoch} is being cancelled: moves that were not owned yet are taken back.`);
  console.log("Watch it: nucleus reshard status --watch");
}

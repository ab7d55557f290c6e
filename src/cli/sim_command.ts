/** `nucleus sim`: whole clusters in a simulated world, from a seed or a saved plan; tells the story of a violation. */
import * as fs from "node:fs";
import xxhash from "xxhash-wasm";
import type { Argv } from "yargs";
import { messageOf } from "../base/errors.ts";
import type { Hash64 } from "../ring/circle.ts";
import { type Plan, planOfSeed } from "../sim/plan.ts";
import { managedPlanOfSeed } from "../sim/plan_managed.ts";
import { type SimReport, storyOf, summaryOf } from "../sim/report.ts";
import { runPlan } from "../sim/run.ts";
import { shrink } from "../sim/shrink.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError } from "./output.ts";

type SimArguments = {
  readonly seed?: number;
  readonly seeds: number;
  readonly plan?: string;
  readonly managed: boolean;
  readonly story: boolean;
  readonly shrink: boolean;
  readonly json: boolean;
};

export const simCommand = {
  command: "sim",
  describe: "Run clusters in a simulated world that breaks",
  builder: (yargs: Argv) =>
    yargs
      .option("seed", {
        type: "number",
        describe: "First seed; the same seed is the same run on every runtime",
      })
      .option("seeds", { type: "number", default: 1, describe: "How many seeds, one after another" })
      .option("managed", {
        type: "boolean",
        default: false,
        describe: "Clusters with a control plane, operators, and slots that move",
      })
      .option("plan", { type: "string", describe: "A saved plan (JSON) instead of a seed" })
      .option("story", {
        type: "boolean",
        default: false,
        describe: "Print what happened even if nothing broke",
      })
      .option("shrink", {
        type: "boolean",
        default: false,
        describe: "Make a failing plan small, and print it",
      })
      .option("json", { type: "boolean", default: false, describe: "One JSON object to each run" })
      .conflicts("plan", ["seed", "seeds"]),
  handler: (args: unknown) => runSim(args as SimArguments),
};

/** A promise, so that what it throws reaches the outermost shell as that of every other verb does. */
async function runSim(args: SimArguments): Promise<void> {
  let failed = false;
  const { h64 } = await xxhash();
  for (const plan of plansOf(args)) {
    const report = runPlan(plan, { story: args.story ? "always" : "on failure", h64 });
    print(report, args);
    if (report.violation === null) continue;
    failed = true;
    if (args.shrink) console.log(JSON.stringify(shrunk(report, h64)));
  }
  if (failed) process.exitCode = EXIT.failed;
}

function* plansOf({ seed, seeds, plan, managed }: SimArguments): Generator<Plan> {
  if (plan !== undefined) {
    yield readPlan(plan);
    return;
  }
  const first = seed ?? Math.floor(Math.random() * 2 ** 32);
  if (!Number.isSafeInteger(first) || first < 0 || !Number.isSafeInteger(seeds) || seeds < 1) {
    throw new CliError(
      EXIT.usage,
      "--seed and --seeds are whole numbers: a seed from 0 on, at least one of them.",
    );
  }
  for (let i = 0; i < seeds; i++) yield managed ? managedPlanOfSeed(first + i) : planOfSeed(first + i);
}

function readPlan(path: string): Plan {
  try {
    return JSON.parse(fs.readFileSync(path, "utf8")) as Plan;
  } catch (error) {
    throw new CliError(EXIT.usage, `The plan ${path} cannot be read.`, messageOf(error));
  }
}

function print(report: SimReport, { json, story }: SimArguments): void {
  if (json) {
    const { lines, faults, judged, ...rest } = report;
    const maps = { faults: Object.fromEntries(faults), judged: Object.fromEntries(judged) };
    console.log(JSON.stringify({ ...rest, ...maps, ...(story ? { lines } : {}) }));
  } else if (report.violation !== null) {
    console.log(storyOf(report));
  } else {
    for (const line of report.lines) console.log(line);
    console.log(summaryOf(report));
  }
}

/** The smallest plan found that breaks the same rule; keep it in a file for `--plan`. */
function shrunk({ plan, violation }: SimReport, h64: Hash64): Plan {
  const rule = violation?.rule ?? "";
  return shrink(plan, rule, (smaller) => {
    const { violation: again, simulatedUs } = runPlan(smaller, { story: "never", h64 });
    return again === null ? null : { rule: again.rule, atUs: simulatedUs };
  }).plan;
}

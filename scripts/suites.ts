/**
 * What `npm test` runs: suites, made of steps. This is the only list; a suite that is not here does not exist.
 *
 * A step is one command. Either it prints TAP and every assertion counts, or it is judged by its exit code and
 * counts as one. What a suite builds, its steps find. Steps are independent of each other, and STEPS_AT_ONCE of a suite run
 * side by side: most wait, or use one core. Where a step uses all cores by itself, it is alone in its suite.
 */
import { existsSync, readdirSync } from "node:fs";
import { basename } from "node:path";

export type Step = {
  readonly name: string;
  readonly command: readonly string[];
  readonly output: "tap" | "exit";
  readonly environment?: Readonly<Record<string, string>>;
};

export type Suite = {
  readonly name: string;
  /** Too long for everyone's `npm test`: `.ci/run` asks for it with --ci. */
  readonly ciOnly?: true;
  /** Runs first. */
  readonly build?: Step;
  /** Made when the suite begins. */
  readonly steps: () => readonly Step[];
  /** One after the other: each needs the machine for itself. */
  readonly alone?: true;
};

/** As many as the machine has cores that all this is meant for. */
export const STEPS_AT_ONCE = 2;

const bin = (name: string): string => `node_modules/.bin/${name}`;
const BUN = bin("bun");
const DENO = bin("deno");
const filesIn = (directory: string, ending: string): readonly string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => `${directory}/${name}`);
const COMPILE: Step = {
  name: "compile",
  output: "exit",
  command: ["./compile.sh", "--fast", "--if-stale"],
};
const tap = (...files: readonly string[]): readonly string[] => [bin("tap"), "--reporter=tap", ...files];

export const SUITES: readonly Suite[] = [
  {
    name: "check",
    alone: true,
    steps: () => [
      {
        name: "format and lint",
        output: "exit",
        command: [bin("biome"), "ci", "--error-on-warnings", "--colors=off"],
      },
      { name: "types", output: "exit", command: [bin("tsc"), "--noEmit", "--pretty", "false"] },
      // JavaScript for browsers, with its types in comments.
      { name: "types of the console", output: "exit", command: [bin("tsc"), "-p", "src/console/page"] },
      { name: "unit", output: "tap", command: tap() },
    ],
  },
  {
    name: "test:sim",
    steps: () => [managedStep("managed clusters", 10, 600, 0), simStep("seeds", 50, 600, 40)],
  },
  { name: "test:runtimes", build: bundleForNode(), steps: runtimeSteps },
  {
    name: "test:binary",
    build: COMPILE,
    steps: () =>
      filesIn("test/binary", ".test.ts").map((file) => ({
        name: basename(file, ".test.ts"),
        output: "tap",
        command: tap(file),
      })),
  },
  // With other people's programs: what they need is installed by `npm ci --prefix test/clients`.
  {
    name: "test:clients",
    ciOnly: true,
    build: COMPILE,
    steps: () => [
      // One after the other: each has a whole cluster.
      {
        name: "clients",
        output: "tap",
        command: tap("--jobs=1", "--timeout=600", ...filesIn("test/clients", ".test.ts")),
      },
    ],
  },
  // Other seeds than those of everyone's run.
  {
    name: "sim500",
    ciOnly: true,
    steps: () => [
      simStep("250 seeds", 250, 850, 1000),
      managedStep("30 managed clusters", 30, 850, 1000),
      simStep("250 seeds more", 250, 850, 1250),
    ],
  },
];

/** The same of clusters with a control plane, whose slots move. */
function managedStep(name: string, count: number, seconds: number, from: number): Step {
  const limits = ["--from", String(from), "--count", String(count), "--seconds", String(seconds)];
  return {
    name,
    output: "tap",
    command: [BUN, "run", "--no-env-file", "test/sim/managed.run.ts", ...limits],
  };
}

/** Seeds of the simulated cluster on Bun, which is the fastest of the three; `seconds` ends it early. */
function simStep(name: string, count: number, seconds: number, from = 0): Step {
  const limits = ["--from", String(from), "--count", String(count), "--seconds", String(seconds)];
  return { name, output: "tap", command: [BUN, "run", "--no-env-file", "test/sim/seeds.run.ts", ...limits] };
}

/**
 * A conformance program (test/conformance/*.run.ts) is one script that must print the same passing TAP on every
 * runtime: from source on Bun and Deno, bundled on Node, as people run it there.
 */
function runtimeSteps(): readonly Step[] {
  const steps: Step[] = [];
  for (const program of conformancePrograms()) {
    const name = basename(program, ".run.ts");
    const runs: Readonly<Record<string, readonly string[]>> = {
      bun: [BUN, "run", "--no-env-file", program],
      deno: [DENO, "run", "--allow-all", "--no-lock", "--quiet", program],
      node: [process.execPath, `.out/conformance/${name}.run.mjs`],
    };
    for (const [runtime, command] of Object.entries(runs)) {
      steps.push({ name: `${name} on ${runtime}`, output: "tap", command });
    }
  }
  return steps;
}

function conformancePrograms(): readonly string[] {
  return filesIn("test/conformance", ".run.ts");
}

function bundleForNode(): Step {
  const to = ["--target=node", "--outdir=.out/conformance", "--entry-naming=[name].mjs"];
  const command = [BUN, "build", ...to, ...conformancePrograms()];
  return { name: "bundle for node", output: "exit", command };
}

/** Whether the tools that the steps call are installed. */
export function toolsInstalled(): boolean {
  return [BUN, DENO, bin("tap"), bin("tsc"), bin("biome")].every((path) => existsSync(path));
}

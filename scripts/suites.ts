/**
 * What `npm test` runs: suites, made of steps. This is the only list; a suite that is not here does not exist.
 *
 * A step is one command. Either it prints TAP and every assertion counts, or it is judged by its exit code and
 * counts as one. Steps are made when their suite begins, so that one step may build what the next one finds.
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
  readonly steps: () => readonly Step[];
};

const bin = (name: string): string => `node_modules/.bin/${name}`;
const BUN = bin("bun");
const DENO = bin("deno");
const filesIn = (directory: string, ending: string): readonly string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => `${directory}/${name}`);
const tap = (...files: readonly string[]): readonly string[] => [bin("tap"), "--reporter=tap", ...files];

export const SUITES: readonly Suite[] = [
  {
    name: "check",
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
    steps: () => [simStep("seeds", 50, 600, 40), managedStep("managed clusters", 10, 600, 0)],
  },
  { name: "test:runtimes", steps: runtimeSteps },
  {
    name: "test:binary",
    steps: () => [
      { name: "compile", output: "exit", command: ["./compile.sh", "--fast", "--if-stale"] },
      { name: "binary", output: "tap", command: tap(...filesIn("test/binary", ".test.ts")) },
    ],
  },
  // With other people's programs: what they need is installed by `npm ci --prefix test/clients`.
  {
    name: "test:clients",
    ciOnly: true,
    steps: () => [
      { name: "compile", output: "exit", command: ["./compile.sh", "--fast", "--if-stale"] },
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
    steps: () => [simStep("500 seeds", 500, 850, 1000), managedStep("30 managed clusters", 30, 600, 1000)],
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
  const programs = filesIn("test/conformance", ".run.ts");
  const steps: Step[] = [
    {
      name: "bundle for node",
      output: "exit",
      command: [
        BUN,
        "build",
        "--target=node",
        "--outdir=.out/conformance",
        "--entry-naming=[name].mjs",
        ...programs,
      ],
    },
  ];
  for (const program of programs) {
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

/** Whether the tools that the steps call are installed. */
export function toolsInstalled(): boolean {
  return [BUN, DENO, bin("tap"), bin("tsc"), bin("biome")].every((path) => existsSync(path));
}

/**
 * Proves that the simulator finds bugs: for each mutant the sources are copied, changed, and seeds of the whole
 * cluster are run until one breaks a rule. Prints TAP; a mutant that survives its seeds is a failure.
 *
 *     tsx test/mutants/mutants.run.ts [--only TEXT] [--seeds N] [--seconds N]        (per mutant)
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { end, ok } from "../conformance/tap.ts";
import { MUTANTS, type Mutant } from "./mutants.ts";

function option(name: string, otherwise: string): string {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : (process.argv[at + 1] ?? otherwise);
}

const only = option("--only", "");
const seeds = Number(option("--seeds", "100"));
const seconds = Number(option("--seconds", "120"));
const directory = ".out/mutant";

/** Runs seeds until one fails; prints which and why. */
const HUNT = `
import { runSeed } from "./src/sim/run.ts";
const startMs = performance.now();
let seed = 0;
for (; seed < Number(process.argv[2]) && performance.now() - startMs < Number(process.argv[3]) * 1000; seed++) {
  try {
    const { violation } = runSeed(seed, { story: "never" });
    if (violation === null) continue;
    console.log("killed by seed " + seed + ": " + violation.message.split("\\n")[0]);
  } catch (error) {
    console.log("killed by seed " + seed + ": " + error.message);
  }
  process.exit(0);
}
console.log("survived " + seed + " seeds");
process.exit(1);
`;

function hunt(mutant: Mutant): { killed: boolean; how: string } {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  cpSync("src", `${directory}/src`, { recursive: true });
  cpSync("package.json", `${directory}/package.json`);
  symlinkSync("../../node_modules", `${directory}/node_modules`);
  const file = `${directory}/${mutant.file}`;
  const text = readFileSync(file, "utf8");
  if (text.split(mutant.find).length !== 2)
    return { killed: false, how: "it does not apply any more: rewrite it" };
  writeFileSync(
    file,
    text.replace(mutant.find, () => mutant.replace),
  );
  writeFileSync(`${directory}/hunt.ts`, HUNT);
  const run = spawnSync("node_modules/.bin/tsx", ["hunt.ts", String(seeds), String(seconds)], {
    cwd: directory,
    encoding: "utf8",
    timeout: (seconds + 60) * 1000,
  });
  return { killed: run.status === 0, how: run.stdout.trim().split("\n").at(-1) ?? run.stderr.slice(-300) };
}

for (const mutant of MUTANTS) {
  if (!mutant.name.includes(only)) continue;
  const { killed, how } = hunt(mutant);
  ok(killed, mutant.name, how);
  console.log(`# ${how.slice(0, 200)}`);
}
end();

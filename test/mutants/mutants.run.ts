/**
 * Proves that the simulator finds bugs: for each mutant the sources are copied, changed, and seeds of the whole
 * cluster are run until one breaks a rule. Prints TAP; a mutant that survives its seeds is a failure.
 *
 *     tsx test/mutants/mutants.run.ts [--only TEXT] [--seeds N] [--seconds N] [--table]
 *
 * `--only` takes mutants whose number ("M5") or name has TEXT in it; `--seeds` and `--seconds` are for each.
 * `--table` writes what was found into docs/simulation.md, in place of the rows of the mutants that ran.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { end, ok } from "../conformance/tap.ts";
import type { Hunt } from "./hunt.ts";
import { MUTANTS, type Mutant, numberOf } from "./mutants.ts";
import { type Row, withRows } from "./table.ts";

function option(name: string, otherwise: string): string {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : (process.argv[at + 1] ?? otherwise);
}

const only = option("--only", "");
const seeds = Number(option("--seeds", "200"));
const seconds = Number(option("--seconds", "400"));
const page = "docs/simulation.md";
const directory = ".out/mutant";

/** A copy of the sources with this one bug; what is wrong with the mutant itself, or null. */
function prepare({ edits }: Mutant): string | null {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  cpSync("src", `${directory}/src`, { recursive: true });
  cpSync("package.json", `${directory}/package.json`);
  for (const { file, find, replace } of edits) {
    const path = `${directory}/${file}`;
    const text = readFileSync(path, "utf8");
    if (text.split(find).length !== 2) return `${file} has outgrown it: rewrite it`;
    writeFileSync(
      path,
      text.replace(find, () => replace),
    );
  }
  return null;
}

function hunt(mutant: Mutant): Hunt | string {
  const problem = prepare(mutant);
  if (problem !== null) return problem;
  const args = ["test/mutants/hunt.ts", directory, String(seeds), String(seconds), mutant.trips ?? ""];
  if (mutant.managed === true) args.push("managed");
  const run = spawnSync("node_modules/.bin/bun", args, {
    encoding: "utf8",
    timeout: (seconds + 120) * 1000,
    killSignal: "SIGKILL",
  });
  const last = run.stdout.trim().split("\n").at(-1) ?? "";
  if (!last.startsWith("{")) return `no result: ${run.stderr.slice(-300) || "a seed did not end"}`;
  return JSON.parse(last) as Hunt;
}

/** At once: the next mutants take a while. */
function keep(row: Row): void {
  if (!process.argv.includes("--table")) return;
  writeFileSync(page, withRows(readFileSync(page, "utf8"), [row], MUTANTS.map(numberOf)));
}

function describe({ found, seeds: ran, cpuS, simulatedS, crashes, crash }: Hunt): string {
  const work = `${cpuS.toFixed(1)} s of CPU, ${simulatedS.toFixed(0)} simulated s`;
  const accidents = crashes === 0 ? "" : `; ${crashes} crashes that do not count (${crash})`;
  if (found === null) return `survived ${ran} seeds (${work}${accidents})`;
  return `killed by seed ${found.seed} (${work}${accidents}): ${found.message}`;
}

for (const mutant of MUTANTS) {
  const number = numberOf(mutant);
  if (!`${number} ${mutant.name}`.includes(only)) continue;
  const result = hunt(mutant);
  const how = typeof result === "string" ? result : describe(result);
  const killed = typeof result !== "string" && result.found !== null;
  ok(killed, `${number} ${mutant.name}`, how);
  console.log(`# ${how.slice(0, 400)}`);
  if (typeof result === "string") continue;
  const { found, cpuS, seeds: ran } = result;
  keep({
    number,
    name: mutant.name,
    seed: found === null ? `none of ${ran}` : String(found.seed),
    checker: found === null ? "survives" : found.rule,
    cpu: cpuS.toFixed(1),
  });
}
end();

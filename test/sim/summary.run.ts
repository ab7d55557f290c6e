/**
 * Sums what several runs of seeds.run.ts wrote with --summary, and prints it as tables.
 *
 *     tsx test/sim/summary.run.ts FILE.. [--write]
 *
 * `--write` puts them into docs/simulation.md, under "Long runs".
 */
import { readFileSync, writeFileSync } from "node:fs";
import { add, markdownOf, NOTHING, type Summary } from "./summary.ts";

const PAGE = "docs/simulation.md";
const BEGIN = "<!-- long runs: written by test/sim/summary.run.ts --write -->";
const END = "<!-- end of long runs -->";

const files = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const sum = files.map((file) => JSON.parse(readFileSync(file, "utf8")) as Summary).reduce(add, NOTHING);
const tables = markdownOf(sum);
console.log(tables);
if (process.argv.includes("--write")) {
  const page = readFileSync(PAGE, "utf8");
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${PAGE} has no place for the tables`);
  writeFileSync(PAGE, `${page.slice(0, begin)}${BEGIN}\n\n${tables}\n\n${page.slice(end)}`);
}

/** Every mutant still has its place in the source; whether it is found is the business of mutants.run.ts. */
import { readFileSync } from "node:fs";
import t from "tap";
import { MUTANTS, numberOf } from "./mutants.ts";
import { withRows } from "./table.ts";

t.test("every mutant changes present source, in places that are there once", async (t) => {
  for (const { name, edits } of MUTANTS) {
    for (const { file, find, replace } of edits) {
      t.equal(readFileSync(file, "utf8").split(find).length, 2, name);
      t.not(find, replace);
    }
  }
  t.equal(new Set(MUTANTS.map(numberOf)).size, MUTANTS.length, "numbers are given once");
});

t.test("the page of the simulator has the table of mutants, in their order", async (t) => {
  const page = readFileSync("docs/simulation.md", "utf8");
  const order = MUTANTS.map(numberOf);
  t.equal(withRows(page, [], order), page, "no row of one that is no more");
  const rows = MUTANTS.map((m) => ({
    number: numberOf(m),
    name: m.name,
    seed: "1",
    checker: "a rule of this test",
    cpu: "1.0",
  }));
  const full = withRows(page, rows, order);
  t.equal(withRows(full, [], order), full);
  t.equal(full.split("| a rule of this test |").length - 1, MUTANTS.length);
});

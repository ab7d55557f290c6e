/** Every mutant still has its place in the source; whether it is found is the business of mutants.run.ts. */
import { readFileSync } from "node:fs";
import t from "tap";
import { MUTANTS } from "./mutants.ts";

t.test("every mutant changes one place of the present source", async (t) => {
  for (const { name, file, find, replace } of MUTANTS) {
    t.equal(readFileSync(file, "utf8").split(find).length, 2, name);
    t.not(find, replace);
  }
});

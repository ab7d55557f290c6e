/** Transitions, told as scripts (script.ts); UPDATE=1 writes what comes out now. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { runScript } from "./script.ts";

const DIR = "testdata/controlplane";
const TITLES: Readonly<Record<string, string>> = {
  "plans.txt":
    "F3: a move is begun, tried again, cancelled and finished by steps that can be repeated (plans.txt)",
  "nodes.txt": "F9: of two incarnations the later one counts, and counters only rise (nodes.txt)",
  "restore.txt": "F9: after a restore nothing that was issued before is issued again (restore.txt)",
};

for (const name of readdirSync(DIR).filter((file) => file in TITLES)) {
  t.test(TITLES[name] as string, async (t) => {
    const path = `${DIR}/${name}`;
    const before = readFileSync(path, "utf8");
    const after = runScript(before);
    if (process.env.UPDATE === "1" && after !== before) writeFileSync(path, after);
    else t.equal(after, before, path);
    t.ok(after.includes("  ok "), "a script in which nothing succeeds is a defect");
  });
}
t.same(
  Object.keys(TITLES).filter((name) => !readdirSync(DIR).includes(name)),
  [],
  "every script is there",
);

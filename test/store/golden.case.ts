/** Golden scripts: testdata/store/*.txt, rewritten with UPDATE=1. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { runScript } from "./script.ts";

const directory = new URL("../../testdata/store/", import.meta.url);

t.test("golden scripts: every command, every error text", async (t) => {
  for (const name of readdirSync(directory).sort()) {
    const file = new URL(name, directory);
    const script = readFileSync(file, "utf8");
    const result = runScript(script);
    if (process.env.UPDATE === "1") writeFileSync(file, result);
    t.equal(result, process.env.UPDATE === "1" ? result : script, name);
  }
});

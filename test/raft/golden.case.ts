/** Replays testdata/raft/*.txt. A changed output is either a bug or a decision: read the difference, then UPDATE=1. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { replay } from "./script.ts";

const directory = join(process.cwd(), "testdata/raft");
const update = process.env.UPDATE === "1";

for (const name of readdirSync(directory).sort()) {
  const path = join(directory, name);
  const text = readFileSync(path, "utf8");
  const title = text.slice(2, text.indexOf("\n"));
  t.test(title, async (t) => {
    const now = replay(text.trimEnd());
    if (!update) return t.equal(now, text, name);
    writeFileSync(path, now);
    return t.pass(`${name} is rewritten`);
  });
}

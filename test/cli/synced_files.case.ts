/** Files that are replaced as a whole. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import t from "tap";
import { replaceSynced } from "../../src/cli/synced_files.ts";

t.test("a file is replaced whole or not at all, and nothing is left beside it", (t) => {
  const dir = t.testdir({ old: "before", taken: { inside: "" } });
  replaceSynced(`${dir}/new`, "a");
  replaceSynced(`${dir}/old`, "after");
  t.same([readFileSync(`${dir}/new`, "utf8"), readFileSync(`${dir}/old`, "utf8")], ["a", "after"]);
  t.equal(statSync(`${dir}/new`).mode & 0o777, 0o600, "what a cluster is made of is its owner's alone");
  t.throws(() => replaceSynced(`${dir}/taken`, "b"), "a directory is not replaced");
  t.throws(() => replaceSynced(`${dir}/none/file`, "b"), { code: "ENOENT" });
  t.same(readdirSync(dir).sort(), ["new", "old", "taken"]);
  t.end();
});

/** A server runs under the runtime options it needs, however it was started, as the process that was started. */
import { existsSync, readFileSync } from "node:fs";
import t from "tap";
import { OneNode } from "./one_node.ts";

const OPTION = "BUN_JSC_useFTLJIT";

function wordsOf(pid: number, file: "environ" | "cmdline"): string[] {
  return readFileSync(`/proc/${pid}/${file}`, "utf8").split("\0").slice(0, -1);
}

const skip = existsSync("/proc/self/environ") ? false : "this system does not show processes in /proc";

t.test(
  "a node goes on without the runtime's last compiler, under its own pid and words",
  { skip },
  async (t) => {
    const node = await OneNode.in(t);
    const pid = await node.start({ init: true, env: { TERM: "dumb" } });
    const environment = wordsOf(pid, "environ"); // tap adds words of its own
    t.ok(environment.includes(`${OPTION}=0`));
    t.ok(environment.includes("TERM=dumb"), "the rest is handed on");
    const words = wordsOf(pid, "cmdline");
    t.equal(words[words.indexOf("--id") + 1], "n1");
    t.equal(words.filter((word) => word === "node").length, 1);
    t.equal(node.ask("SET", "k", "v"), "OK");
  },
);

t.test("what the operator says about it stays", { skip }, async (t) => {
  const node = await OneNode.in(t);
  const pid = await node.start({ init: true, env: { [OPTION]: "1" } });
  t.equal(
    wordsOf(pid, "environ").find((word) => word.startsWith(OPTION)),
    `${OPTION}=1`,
  );
});

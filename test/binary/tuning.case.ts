/** A server runs under the runtime options it needs, however it was started, as the process that was started. */
import { existsSync, readFileSync } from "node:fs";
import t from "tap";
import { OneNode } from "./one_node.ts";

const COMPILER = "BUN_JSC_thresholdForFTLOptimizeAfterWarmUp";
const PURGES = "MIMALLOC_PURGE_HOLES_MIN_INTERVAL";

function wordsOf(pid: number, file: "environ" | "cmdline"): string[] {
  return readFileSync(`/proc/${pid}/${file}`, "utf8").split("\0").slice(0, -1);
}

const skip = existsSync("/proc/self/environ") ? false : "this system does not show processes in /proc";

t.test("a node goes on under its own pid and words, with the options it needs", { skip }, async (t) => {
  const node = await OneNode.in(t);
  const pid = await node.start({ init: true, env: { TERM: "dumb" } });
  const environment = wordsOf(pid, "environ"); // tap adds words of its own
  t.ok(environment.includes(`${COMPILER}=4000000`));
  t.ok(environment.includes(`${PURGES}=10000`));
  t.ok(environment.includes("TERM=dumb"), "the rest is handed on");
  const words = wordsOf(pid, "cmdline");
  t.equal(words[words.indexOf("--id") + 1], "n1");
  t.equal(words.filter((word) => word === "node").length, 1);
  t.equal(node.ask("SET", "k", "v"), "OK");
});

t.test("what the operator says about one option stays, and the others are added", { skip }, async (t) => {
  const node = await OneNode.in(t);
  const pid = await node.start({ init: true, env: { [COMPILER]: "64000" } });
  const environment = wordsOf(pid, "environ");
  t.same(
    environment.filter((word) => word.startsWith(COMPILER)),
    [`${COMPILER}=64000`],
  );
  t.ok(environment.includes(`${PURGES}=10000`));
});

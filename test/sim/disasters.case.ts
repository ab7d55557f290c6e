/** What a lost shard may take with it, and what a restored control plane must not forget. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { utf8 } from "../../src/base/bytes.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { History, type RegisterOp, type Result } from "../../src/sim/history.ts";
import { checkHistory } from "../../src/sim/linearizability.ts";
import { Losses } from "../../src/sim/losses.ts";
import { type ManagedSpec, managedPlanOfSeed } from "../../src/sim/plan_managed.ts";
import { type SimReport, storyOf, summaryOf } from "../../src/sim/report.ts";
import { runPlan } from "../../src/sim/run.ts";

const { h64 } = await xxhash();

/** Twelve seconds in which nothing else goes wrong. */
function run(seed: number, disaster: Pick<ManagedSpec, "restore" | "loss">): SimReport {
  const plan = managedPlanOfSeed(seed);
  const { controls, shards, vnodes, reshards } = plan.managed as ManagedSpec;
  const managed = { controls, shards, vnodes, reshards, meddlings: [], ...disaster };
  return runPlan({ ...plan, managed, faults: [], horizonUs: 12_000_000 }, { h64 });
}

t.test(
  "F9: a control plane that lost all its disks goes on from a backup, above all that was issued",
  async (t) => {
    const report = run(7, { restore: { backupUs: 4_000_000, atUs: 7_000_000, downUs: 500_000 } });
    t.equal(report.violation, null, storyOf(report));
    t.equal(report.happened.restores, 1, summaryOf(report));
  },
);

t.test(
  "a shard whose nodes lost their disks is declared lost, and nothing but its slots is gone",
  async (t) => {
    const report = run(8, { loss: { atUs: 6_000_000, pick: 0, declareUs: 1_000_000 } });
    t.equal(report.violation, null, storyOf(report));
    t.ok(report.happened.losses > 0, summaryOf(report));
  },
);

/** Somebody writes, the key's slot or another one is lost and taken as empty, somebody reads. */
function verdictOf(lost: string, found: Result, second: RegisterOp = { kind: "get" }): string {
  const history = new History();
  const losses = new Losses(history);
  const done = (op: RegisterOp, result: Result): void =>
    history.complete(history.invoke(0, "k", op), "ok", result);
  done({ kind: "set", value: "a" }, true);
  const open = history.invoke(1, "k", { kind: "set", value: "late" });
  const bytes = utf8(lost);
  const slot = slotOf(bytes, 0, bytes.length);
  losses.lose([slot]);
  losses.takeBlank(slot);
  done(second, found);
  history.complete(open, "unknown");
  return checkHistory(losses.judged(history.finish())).kind;
}

t.test("of a lost slot every acknowledged write is gone, and of others none", async (t) => {
  t.equal(verdictOf("k", null), "linearizable", "gone with its slot");
  t.equal(verdictOf("k", "a"), "violation", "what was taken as empty has nothing of before");
  t.equal(verdictOf("other", null), "violation", "its slot was not lost");
  t.equal(verdictOf("other", "a"), "linearizable");
  t.equal(verdictOf("k", "late"), "linearizable", "it was under way, and may have come after");
  t.equal(verdictOf("k", true, { kind: "cas", expected: null, value: "b" }), "linearizable");
  t.equal(verdictOf("k", true, { kind: "cas", expected: "a", value: "b" }), "violation");
});

/** What a lost shard may take with it, and what a restored control plane must not forget. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { checkCounters } from "../../src/sim/checkers/counters.ts";
import { OwnershipChecker } from "../../src/sim/checkers/ownership.ts";
import type { SimNode } from "../../src/sim/cluster.ts";
import { History, type RegisterOp, type Result } from "../../src/sim/history.ts";
import { checkHistory } from "../../src/sim/linearizability.ts";
import { Losses } from "../../src/sim/losses.ts";
import type { Fault } from "../../src/sim/plan.ts";
import { type ManagedSpec, managedPlanOfSeed } from "../../src/sim/plan_managed.ts";
import { type SimReport, storyOf, summaryOf } from "../../src/sim/report.ts";
import { runPlan } from "../../src/sim/run.ts";
import { World } from "../../src/sim/world.ts";
import { MoveTown, slotOfKey } from "../server/town.ts";

const { h64 } = await xxhash();

/** Twelve seconds in which nothing else goes wrong, or these faults. */
function run(
  seed: number,
  disaster: Pick<ManagedSpec, "restore" | "loss">,
  faults: readonly Fault[] = [],
): SimReport {
  const plan = managedPlanOfSeed(seed);
  const { controls, shards, vnodes, reshards } = plan.managed as ManagedSpec;
  const managed = { controls, shards, vnodes, reshards, meddlings: [], ...disaster };
  return runPlan({ ...plan, managed, faults, horizonUs: 12_000_000 }, { h64 });
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

t.test(
  "a shard that dies beside a restore, in which no disk of its nodes is lost, is not forgiven",
  async (t) => {
    const wipes: Fault[] = [0, 1].map((node) => ({
      atUs: 8_000_000,
      kind: "wipe",
      node,
      downUs: 500_000,
    }));
    const report = run(7, { restore: { backupUs: 4_000_000, atUs: 7_000_000, downUs: 500_000 } }, wipes);
    t.equal(report.violation?.rule, "a shard lives while disks do", storyOf(report));
  },
);

t.test(
  "a shard that dies after another one was destroyed, for disks that the disaster spared, is not forgiven",
  async (t) => {
    const wipes: Fault[] = [3, 4].map((node) => ({ atUs: 9_000_000, kind: "wipe", node, downUs: 500_000 }));
    const report = run(8, { loss: { atUs: 6_000_000, pick: 0, declareUs: 1_000_000 } }, wipes);
    t.equal(report.violation?.rule, "a shard lives while disks do", storyOf(report));
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
  losses.lose([slotOfKey(lost)]);
  losses.takeBlank(slotOfKey(lost));
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

t.test("C7: a write that was called undone across a loss must not show after it either", async (t) => {
  const history = new History();
  const losses = new Losses(history);
  const open = history.invoke(0, "k", { kind: "set", value: "refused" });
  losses.lose([slotOfKey("k")]);
  losses.takeBlank(slotOfKey("k"));
  history.complete(open, "not_executed");
  history.complete(history.invoke(1, "k", { kind: "get" }), "ok", "refused");
  t.equal(checkHistory(losses.judged(history.finish())).kind, "violation");
});

t.test("a slot may be lost twice: each time its keys begin anew", async (t) => {
  const verdictOf = (seen: readonly Result[]): string => {
    const history = new History();
    const losses = new Losses(history);
    for (const [life, found] of seen.entries()) {
      if (life > 0) losses.lose([slotOfKey("k")]);
      if (life > 0) losses.takeBlank(slotOfKey("k"));
      history.complete(history.invoke(0, "k", { kind: "get" }), "ok", found);
      history.complete(history.invoke(0, "k", { kind: "set", value: `${life}` }), "ok", true);
      history.complete(history.invoke(0, "k", { kind: "get" }), "ok", `${life}`);
    }
    return checkHistory(losses.judged(history.finish())).kind;
  };
  t.equal(verdictOf([null, null, null]), "linearizable");
  t.equal(verdictOf([null, null, "0"]), "violation", "of its first life");
  t.equal(verdictOf([null, null, "1"]), "violation", "of its second one");
  t.equal(verdictOf([null, "0", null]), "violation");
});

t.test("counters that a move's source has back are judged no further, others are", async (t) => {
  const miscounted = (back: string): string | null => {
    const history = new History();
    const losses = new Losses(history);
    history.complete(history.invoke(0, "n1", { kind: "incr", delta: 1 }), "ok", 1);
    losses.lose([slotOfKey(back)]);
    losses.bringBack(slotOfKey(back));
    const finals = new Map([["n1", 2]]);
    return checkCounters(losses.judged(history.finish()), losses.judgedCounters(finals));
  };
  t.equal(miscounted("n1"), null);
  t.match(miscounted("n2"), /some ran twice/);
});

t.test("what a lost shard had sealed, and the target of its move serves, is not lost with it", async (t) => {
  const shards = { s1: ["n1", "n2", "n3"], s2: ["n4", "n5", "n6"] };
  const town = MoveTown.started(h64, { seed: 47, shards, nodes: 6 });
  const { ranges } = town.storeOf("s1").slotsHeld();
  const [moved = -1] = ranges[0] ?? [];
  const [kept = -1] = ranges[1] ?? [];
  town.passesMove = (_from, _to, message) => message.kind !== "status" || message.phase !== "owned";
  town.begin(100, "s1", "s2", [[moved, moved]]);
  town.untilPhase("s2", 100, "owned");
  t.equal(town.phase("s1", 100), "sealed");

  const [world, losses] = [new World(1), new Losses(new History())];
  const ownership = new OwnershipChecker(world, losses);
  for (const shard of ["s1", "s2"]) {
    const { group } = town.leaderOf(shard);
    const entry = {
      index: group.store.appliedIndex,
      term: 1,
      kind: ENTRY_KIND.bootstrap,
      bytes: new Uint8Array(0),
    };
    ownership.onApplied({ id: shard } as SimNode, group, entry);
  }
  ownership.onShardLost(town.groupOf("s1"), true);
  t.equal(world.violation, null);
  t.notOk(losses.isSilent(moved), "the target has it");
  t.ok(losses.isSilent(kept));
});

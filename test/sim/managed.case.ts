import t from "tap";
import xxhash from "xxhash-wasm";
import type { Fault, Plan } from "../../src/sim/plan.ts";
import { managedPlanOfSeed } from "../../src/sim/plan_managed.ts";
import { storyOf, summaryOf } from "../../src/sim/report.ts";
import { runPlan } from "../../src/sim/run.ts";

const { h64 } = await xxhash();

/** A few seconds of four nodes and one control process, to which a shard is added. */
function smallPlan(change: Partial<Plan> = {}): Plan {
  const plan = managedPlanOfSeed(7);
  const calm = { driftPpm: [0, 0, 0, 0, 0], wallOffsetMs: [0, 0, 0, 0, 0], faults: [] };
  const add = { kind: "add", pick: 0, manual: false, holdUs: 0 } as const;
  const managed = { controls: 1, shards: 2, vnodes: 4, reshards: [add], meddlings: [] };
  return { ...plan, ...calm, nodes: 4, horizonUs: 6_000_000, managed, ...change };
}

t.test(
  "a control plane, nodes and operators: a shard is added under load, and nothing is lost",
  async (t) => {
    const report = runPlan(smallPlan(), { h64 });
    t.equal(report.violation, null, storyOf(report));
    t.ok(report.moves.done >= 16, `a third of the slots moved: ${summaryOf(report)}`);
    for (const checker of ["ownership", "conservation", "numbers"])
      t.ok((report.judged.get(checker) ?? 0) > 0, `${checker} had something to judge`);
    const again = runPlan(smallPlan(), { h64, story: "always" });
    t.equal(again.hash, report.hash, "and again in the same way");
  },
);

t.test("F3: moves end when the leaders of both sides die at their steps", async (t) => {
  const faults: Fault[] = [];
  for (const [i, after] of (["begin", "seal", "own", "seal", "import"] as const).entries()) {
    const common = { atUs: 1_000_000 + 700_000 * i, delayUs: 100, forUs: 900_000, nth: 1 };
    faults.push({ ...common, kind: "ambush", after, blow: i % 2 === 0 ? "power" : "kill" });
  }
  const report = runPlan(smallPlan({ faults }), { h64 });
  t.equal(report.violation, null, storyOf(report));
  t.equal(report.faults.get("ambush"), faults.length);
  t.ok(report.moves.done >= 16, summaryOf(report));
});

t.test("a plan of a managed cluster survives being written as JSON", async (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const plan = managedPlanOfSeed(seed);
    t.same(JSON.parse(JSON.stringify(plan)), plan);
  }
});

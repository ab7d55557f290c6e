import t from "tap";
import { type Fault, type Plan, planOfSeed } from "../../src/sim/plan.ts";
import { counts, storyOf, summaryOf } from "../../src/sim/report.ts";
import { runPlan, runSeed } from "../../src/sim/run.ts";
import { shrink } from "../../src/sim/shrink.ts";
import { add, markdownOf, missingKinds, summaryOfReport } from "./summary.ts";

/** A short plan of three nodes, to be made worse. */
function smallPlan(seed: number, change: Partial<Plan> = {}): Plan {
  const plan = planOfSeed(seed);
  const three = [0, 0, 0];
  return {
    ...plan,
    nodes: 3,
    driftPpm: three,
    wallOffsetMs: three,
    horizonUs: 8_000_000,
    faults: [],
    ...change,
  };
}

t.test("a seed runs the same way twice, recorded or not, and another seed another way", async (t) => {
  const first = runSeed(9, { story: "never" });
  t.equal(first.violation, null, summaryOf(first));
  t.ok(counts(first), "it counts: enough time and traffic");
  const again = runSeed(9, { story: "always" });
  t.equal(again.hash, first.hash);
  t.ok(again.lines.length > 50, "and it tells what happened");
  t.not(runPlan(smallPlan(3)).hash, runPlan(smallPlan(4)).hash);
});

t.test("a plan survives being written as JSON", async (t) => {
  for (let seed = 0; seed < 30; seed++) {
    const plan = planOfSeed(seed);
    t.same(JSON.parse(JSON.stringify(plan)), plan);
  }
});

t.test("seeds differ in faults, and one in ten has none", async (t) => {
  const kinds = new Set<string>();
  let calm = 0;
  for (let seed = 0; seed < 300; seed++) {
    const { faults } = planOfSeed(seed);
    if (faults.length === 0) calm++;
    for (const { kind } of faults) kinds.add(kind);
  }
  t.equal(kinds.size, 22);
  t.ok(calm > 15 && calm < 60, `${calm} of 300 are calm`);
});

t.test("the canary: disks that lie about syncs are found out at once, by name", async (t) => {
  const report = runPlan(smallPlan(5, { canary: "lying_sync" }));
  t.match(report.violation?.rule, /durable/);
  t.match(storyOf(report), /Broken rule: .* durable/);
  t.ok(report.simulatedUs < 3_000_000, "by the first vote or the first acknowledgement");
});

t.test("a run that is short, or in which little happened, does not count", async (t) => {
  const report = runPlan(smallPlan(5));
  t.ok(report.simulatedUs < 30_000_000 && report.operations.ok >= 300, summaryOf(report));
  t.notOk(counts(report), "eight seconds");
  const enough = { ...report, simulatedUs: 30_000_000 };
  t.ok(counts(enough));
  t.notOk(counts({ ...enough, operations: { ...report.operations, ok: 299 } }));
});

t.test("what seeds came to is summed, and every kind of fault has its place", async (t) => {
  const run = runPlan(smallPlan(5));
  const report = { ...run, simulatedUs: 40_000_000, operations: { ...run.operations, ok: 400 } };
  const one = summaryOfReport(report, 0.5);
  const three = add(add(one, one), summaryOfReport({ ...report, simulatedUs: 1 }, 0.5));
  t.equal(three.seeds, 2);
  t.equal(three.tooLittle, 1);
  t.equal(three.simulatedS, 80);
  t.equal(three.operations.ok, 800);
  t.equal(three.happened.elections, 2 * report.happened.elections);
  t.ok(missingKinds(three.faults).includes("power_all"));
  t.match(markdownOf(three), /\| rules broken \| none \|/);
  const broken = { rule: "order", message: "order: of things\nat length", stack: "" };
  const bad = summaryOfReport({ ...report, simulatedUs: 1, violation: broken }, 1);
  t.match(markdownOf(add(three, bad)), /order \(seed 5\)/, "a seed that does not count may still fail");
});

t.test(
  "A12: a wiped node never votes again as its former self; it comes back as a new replica",
  async (t) => {
    const faults: Fault[] = [{ atUs: 3_000_000, kind: "wipe", node: 1, downUs: 500_000 }];
    const report = runPlan(smallPlan(6, { faults }));
    t.equal(report.violation, null, storyOf(report));
    t.equal(report.happened.replacements, 1);
  },
);

t.test("A12: nodes that find each other's disk refuse to start; with their own they go on", async (t) => {
  const faults: Fault[] = [{ atUs: 3_000_000, kind: "swap", from: 0, to: 2, forUs: 1_000_000 }];
  const report = runPlan(smallPlan(6, { faults }));
  t.equal(report.violation, null, storyOf(report));
  t.equal(report.faults.get("swap"), 2, "there and back");
  t.equal(report.faults.get("refused to start"), 2, "both did");
});

t.test("C3: leaders paused, cut off and brought back answer no stale read", async (t) => {
  const faults: Fault[] = [];
  for (let i = 0; i < 9; i++) {
    const atUs = 3_000_000 + i * 500_000;
    faults.push({ atUs, kind: "pause", node: i % 3, forUs: 400_000 });
    faults.push({ atUs: atUs + 200_000, kind: "isolate", node: (i + 1) % 3, forUs: 300_000 });
  }
  const report = runPlan(smallPlan(7, { faults }));
  t.equal(report.violation, null, storyOf(report));
  t.ok((report.faults.get("pause") ?? 0) === 9 && report.operations.ok > 50);
});

t.test("shrinking keeps what matters: the faults that it takes, and no others", async (t) => {
  const plan = planOfSeed(10);
  const faults: Fault[] = [];
  for (let i = 0; i < 40; i++)
    faults.push({ atUs: i * 100_000, kind: "kill", node: i % 3, downUs: 1_000_000 });
  const needed = (candidate: Plan): boolean =>
    [7, 23].every((i) => candidate.faults.some(({ atUs }) => atUs === i * 100_000)) &&
    candidate.workload.clients >= 2;
  const { plan: small, runs } = shrink({ ...plan, faults }, "broken", (candidate) =>
    needed(candidate) ? { rule: "broken", atUs: 1 } : { rule: "another", atUs: 1 },
  );
  t.same(
    small.faults.map(({ atUs }) => atUs),
    [700_000, 2_300_000],
  );
  t.ok(small.workload.clients >= 2 && small.workload.clients <= 3);
  t.equal(small.workload.pipelineMax, 1);
  t.ok(runs < 150, `${runs} runs`);
});

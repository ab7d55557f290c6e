/**
 * Plans that once broke a rule, shrunk: testdata/sim/plans/*.json, each named after what was wrong. Every one
 * runs again here, and breaks nothing.
 *
 *     reads-behind-writes    reads that rode behind a write of their connection were given back after a change of
 *                            leaders, and served after later writes
 */
import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import type { Plan } from "../../src/sim/plan.ts";
import { storyOf } from "../../src/sim/report.ts";
import { runPlan } from "../../src/sim/run.ts";

const DIRECTORY = "testdata/sim/plans";

t.test("plans that once failed do so no more", async (t) => {
  for (const name of readdirSync(DIRECTORY).sort()) {
    const report = runPlan(JSON.parse(readFileSync(`${DIRECTORY}/${name}`, "utf8")) as Plan);
    t.equal(report.violation, null, `${name}: ${storyOf(report)}`);
  }
});

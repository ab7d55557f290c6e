/**
 * The compiled program under kill -9 and SIGSTOP, in short: chaos/kill.ts does the same at length. Safety alone is
 * judged; how long writes were refused is chaos/kill.ts's business.
 */
import t from "tap";
import { ProcessCluster } from "../../chaos/processes.ts";
import { programOf } from "../../chaos/program.ts";
import { STORM_DEFAULT, type StormPlan, type StormResult, storm } from "../../chaos/storm.ts";
import { BINARY } from "./cluster.ts";

const SHORT: Omit<StormPlan, "seed" | "leaderKills" | "allKills" | "stops"> = {
  ...STORM_DEFAULT,
  stopMs: [300, 1500],
  downMs: [0, 100],
  calmMs: [50, 250],
};

async function run(nodes: number, plan: StormPlan): Promise<StormResult> {
  const cluster = await ProcessCluster.start(programOf("bun", BINARY), nodes);
  let keep = true;
  try {
    const result = await storm(cluster, plan, () => {});
    keep = result.problems.length > 0;
    return result;
  } finally {
    await cluster.end(keep); // what is needed to find out why stays
  }
}

t.test("D1: one node, killed 20 times under load, loses nothing that it acknowledged", async (t) => {
  const plan = { ...SHORT, seed: 11, leaderKills: 20, allKills: 0, stops: 0, writers: 4, pipeline: 16 };
  const { problems, gapsMs, resp, native } = await run(1, plan);
  t.same(problems, []);
  t.equal(gapsMs.leader.length, 20);
  t.ok(
    resp.acked > 1000 && native.incrs > 500,
    `${resp.acked} RESP writes, ${native.incrs} native increments`,
  );
});

t.test(
  "C1 C3 C7 C8 H4: three nodes: leaders killed and stopped, all killed at once; nothing lost, stale or doubled",
  async (t) => {
    const plan = { ...SHORT, seed: 12, leaderKills: 3, allKills: 1, stops: 2, orphans: 1 };
    const { problems, gapsMs, resp, native } = await run(3, plan);
    t.same(problems, []);
    t.same(
      Object.values(gapsMs).map(({ length }) => length),
      [3, 1, 2, 1, 0],
    );
    t.ok(
      resp.acked > 500 && native.registerOps > 200,
      `${resp.acked} RESP writes, ${native.registerOps} operations`,
    );
  },
);

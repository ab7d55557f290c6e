/**
 * Whole clusters under random faults (soak.ts), each from its seed, watched by an independent oracle (oracle.ts).
 * A failing seed is in the test's message: `new Soak(seed).run(SOAK_STEPS)` replays it.
 */
import t from "tap";
import { RestSoak } from "./rest_soak.ts";
import { Soak } from "./soak.ts";

const SEEDS = 600;
const SOAK_STEPS = 1500;

t.test(
  "A1-A10, B1-B8, C1, C2, C5, E1-E6: clusters under faults keep every promise, and converge",
  async (t) => {
    const total: Record<string, number> = {};
    for (let seed = 1; seed <= SEEDS; seed++) {
      const soak = new Soak(seed);
      try {
        soak.run(SOAK_STEPS);
      } catch (error) {
        t.error(error, `seed ${seed}`);
      }
      for (const [what, count] of Object.entries({ ...soak.oracle.counts, ...soak.counts })) {
        total[what] = (total[what] ?? 0) + count;
      }
    }
    // What did not happen was not tested.
    for (const [what, count] of Object.entries(total)) t.ok(count >= SEEDS / 4, `${what}: ${count}`);
  },
);

const REST_SEEDS = 150;
const REST_ROUNDS = 1000;

t.test("A1-A10, B1-B8, C1, C2, C5, H3: groups that rest keep every promise, and wake up", async (t) => {
  const total: Record<string, number> = {};
  for (let seed = 1; seed <= REST_SEEDS; seed++) {
    const soak = new RestSoak(seed);
    try {
      soak.run(REST_ROUNDS);
    } catch (error) {
      t.error(error, `seed ${seed}`);
    }
    for (const [what, count] of Object.entries({ ...soak.oracle.counts, ...soak.counts })) {
      total[what] = (total[what] ?? 0) + count;
    }
  }
  for (const [what, count] of Object.entries(total)) t.ok(count >= REST_SEEDS / 10, `${what}: ${count}`);
});

t.test("a driver that rouses nobody when a node falls silent is found out", async (t) => {
  const found = Array.from({ length: 20 }, (_, i) => i + 1).some((seed) => {
    try {
      new RestSoak(seed, true).run(200);
      return false;
    } catch {
      return true;
    }
  });
  t.ok(found);
});

/**
 * Whole clusters under random faults (soak.ts), each from its seed, watched by an independent oracle (oracle.ts).
 * A failing seed is in the test's message: `new Soak(seed).run(SOAK_STEPS)` replays it.
 */
import t from "tap";
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

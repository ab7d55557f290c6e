/**
 * Whole clusters under random faults (soak.ts), each from its seed, watched by an independent oracle (oracle.ts).
 * A failing seed is in the test's message: `new Soak(seed).run(SOAK_STEPS)` replays it.
 */
import t from "tap";
import { RestSoak } from "./rest_soak.ts";
import { Soak } from "./soak.ts";

const SOAK_STEPS = 1500;
const REST_ROUNDS = 1000;

/** Runs seeds 1, 2, 3 .. for so many rounds; what did not happen `least` times in all was not tested. */
function soakAll(
  t: Pick<typeof import("tap").t, "ok" | "error">,
  seeds: number,
  rounds: number,
  least: number,
  soakOf: (seed: number) => Soak | RestSoak,
): void {
  const total: Record<string, number> = {};
  for (let seed = 1; seed <= seeds; seed++) {
    const soak = soakOf(seed);
    try {
      soak.run(rounds);
    } catch (error) {
      t.error(error, `seed ${seed}`);
    }
    for (const [what, count] of Object.entries({ ...soak.oracle.counts, ...soak.counts }))
      total[what] = (total[what] ?? 0) + count;
  }
  for (const [what, count] of Object.entries(total)) t.ok(count >= least, `${what}: ${count}`);
}

t.test(
  "A1-A10, B1-B8, C1, C2, C5, E1-E6: clusters under faults keep every promise, and converge",
  async (t) => soakAll(t, 600, SOAK_STEPS, 150, (seed) => new Soak(seed)),
);

t.test("A1-A10, B1-B8, C1, C2, C5, H3: groups that rest keep every promise, and wake up", async (t) =>
  soakAll(t, 200, REST_ROUNDS, 15, (seed) => new RestSoak(seed)),
);

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

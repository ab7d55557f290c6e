/** What the control plane's leader keeps in memory: who is there, and who leads; and how soon it wants to hear of them again. */
import t from "tap";
import { Liveness } from "../../src/controlplane/liveness.ts";
import { beatMsOf } from "../../src/controlplane/reign.ts";
import { init, newborn, old, plan, register } from "./bodies.ts";
import { Driver, id } from "./driver.ts";
import { beat, follows, leads } from "./heard.ts";

const OPTIONS = { tickMs: 10, suspectTicks: 300, deadTicks: 1000, settleTicks: 6000 };

function small(): Driver {
  const driver = new Driver();
  for (const node of ["n1", "n2", "n3"]) driver.run(register(node));
  driver.run(init(2, ["n1", "n2", "n3"]));
  return driver;
}

t.test("alive, suspect, dead, by ticks since the last word", async (t) => {
  const { state } = small();
  const liveness = new Liveness(0, OPTIONS);
  t.equal(liveness.hear(state, beat("n1"), 500), "known");
  const at = (tick: number): string => liveness.standing("n1", tick);
  t.same([at(500), at(799), at(800), at(1499), at(1500)], ["alive", "alive", "suspect", "suspect", "dead"]);
  liveness.hear(state, beat("n1"), 9000);
  t.same([at(9000), liveness.view(state, 9100).silentMs("n1")], ["alive", 1000]);
});

t.test("nobody is dead before a new leader has listened for the whole time itself", async (t) => {
  const { state } = small();
  const liveness = new Liveness(50_000, OPTIONS);
  const at = (tick: number): string => liveness.standing("n1", tick);
  t.same([at(50_000), at(50_999), at(51_000)], ["suspect", "suspect", "dead"]);
  t.equal(liveness.view(state, 50_500).silentMs("n1"), 5000, "silence is counted from its beginning");
});

t.test("A12: who is not registered, was replaced, or is excluded is not counted as alive", async (t) => {
  const driver = small();
  const liveness = new Liveness(0, OPTIONS);
  t.equal(liveness.hear(driver.state, beat("n9"), 1), "unknown");
  liveness.hear(driver.state, beat("n1", [leads(101, "n1", ["n1"])]), 1);
  t.equal(liveness.view(driver.state, 2).groups.get(101)?.leader?.node, "n1");
  const anew = register("n1", id("anew"));
  t.match(
    liveness.registrationProblem(driver.state, anew.registration, 2),
    /CONFLICT a node 'n1' with another/,
  );
  t.equal(
    liveness.registrationProblem(driver.state, anew.registration, 400),
    null,
    "not while it was heard just now",
  );
  driver.run(anew);
  t.equal(liveness.hear(driver.state, beat("n1"), 401), "stale");
  t.equal(liveness.hear(driver.state, beat("n1", [], id("never")), 401), "unknown");
  t.equal(liveness.view(driver.state, 402).groups.size, 0, "what the former one said is forgotten");
  driver.run({ kind: "node", node: "n2", action: "exclude" });
  t.equal(liveness.hear(driver.state, beat("n2"), 403), "stale");
  const twin = { ...register("n7").registration, address: "127.0.0.1:7003" };
  liveness.hear(driver.state, beat("n3"), 404);
  t.match(liveness.registrationProblem(driver.state, twin, 404), /node 'n3' is at 127.0.0.1:7003 already/);
  t.equal(liveness.registrationProblem(driver.state, twin, 2000), null);
});

t.test("F9: hints are ordered by term; a late word never replaces a newer one", async (t) => {
  const { state } = small();
  const liveness = new Liveness(0, OPTIONS);
  liveness.hear(state, beat("n1", [follows(101, 7, "n2")]), 10);
  liveness.hear(state, beat("n3", [follows(101, 6, "n3")]), 11);
  t.match(liveness.hint(101), { node: "n2", term: 7 });
  liveness.hear(state, beat("n3", [follows(101, 8)]), 12);
  t.match(liveness.hint(101), { node: "n2", term: 7 }, "a term without a leader says nothing");
  liveness.hear(state, beat("n3", [follows(101, 8, "n1"), follows(555, 1, "n1")]), 13);
  t.match(liveness.hint(101), { node: "n1", term: 8 });
  liveness.view(state, 14);
  t.equal(liveness.hint(555), null, "groups that are not known are not kept");
});

t.test(
  "of two that say they lead, the one in the higher term; never one that is silent or quarantined",
  async (t) => {
    const { state } = small();
    const liveness = new Liveness(0, OPTIONS);
    const lead = (node: string, term: number, quarantined = false) => ({
      ...leads(101, node, ["n1", "n2"]),
      term,
      quarantined,
    });
    liveness.hear(state, beat("n1", [lead("n1", 4)]), 1000);
    liveness.hear(state, beat("n2", [lead("n2", 5)]), 700);
    liveness.hear(state, beat("n3", [lead("n3", 9, true)]), 1000);
    const leader = (tick: number): unknown => liveness.view(state, tick).groups.get(101)?.leader?.node;
    t.same([leader(999), leader(1000), leader(1301)], ["n2", "n1", undefined]);
    t.same([...(liveness.view(state, 1000).groups.get(101)?.holders.keys() ?? [])], ["n1", "n2", "n3"]);
  },
);

t.test(
  "who forms a shard or leads one whose slots move beats sooner, and not so soon while it serves",
  (t) => {
    const driver = new Driver();
    for (const node of ["n1", "n2", "n3"]) driver.run(register(node));
    const first = init(3, ["n1"]);
    const shards = first.shards.map((shard, i) => ({ ...shard, newborn: newborn(101 + i, [`n${i + 1}`]) }));
    driver.run({ ...first, shards });
    const load = { commandsPerSecond: 0, bytes: 0, diskFreeBytes: 0 };
    const idle = (i: number) => ({
      ...beat(`n${i}`, [{ ...leads(100 + i, `n${i}`, [`n${i}`]), shard: `s${i}` }]),
      load,
    });
    const busy = (i: number) => ({ ...idle(i), load: { ...load, commandsPerSecond: 900 } });
    const ms = () => [idle(1), busy(1), idle(3), busy(3)].map((one) => beatMsOf(driver.state, one));
    t.same(ms(), [40, 40, 40, 40], "no shard is formed yet");
    for (const shard of ["s1", "s2", "s3"]) driver.run({ kind: "formed", shard });
    t.same(ms(), [1000, 1000, 1000, 1000]);
    driver.run(plan(2, old("s1", "s2", "s3"), [{ from: "s1", to: "s2", slots: [[0, 9]] as const }], false));
    t.same(ms(), [40, 160, 1000, 1000], "s3 has no part in it");
    t.end();
  },
);

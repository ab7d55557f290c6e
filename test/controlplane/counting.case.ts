/** After a restore, or beside a state that is older than what nodes have seen: nothing goes backwards, nothing begins twice. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { compareVersions } from "../../src/wire/control_plane.ts";
import { eraAfter } from "../../src/wire/epochs.ts";
import { init, NOTHING_HEARD, newborn, old, plan, register } from "./bodies.ts";
import { Driver, id } from "./driver.ts";
import { beat, leads, printed, roundOf } from "./heard.ts";
import { CLUSTER, Desk } from "./service_desk.ts";

const { h64 } = await xxhash();
const WISH = { replicas: 3, vnodes: 32, shards: [{ id: "s1", weight: 1, nodes: null }] };
const THREE = ["n1", "n2", "n3"];

/** Three nodes with one shard, and a backup that is put in place of what there is. */
function restored(): Desk {
  const desk = new Desk(h64, WISH);
  desk.lead();
  desk.join(...THREE);
  desk.run(300);
  desk.world.processes[0]?.propose({ request: null, body: { kind: "restored", token: id("t") } }, () => {});
  desk.world.step();
  return desk;
}

t.test(
  "F9: while nodes are counted after a restore, none hears of its number, nor is given a map",
  async (t) => {
    const desk = restored();
    const first = desk.beat("n1");
    t.same(
      [first.fence, first.version, first.orders],
      [{ restore: 0, term: 0 }, { restore: 0, index: 0 }, []],
    );
    t.equal(desk.ask({ kind: "map" })?.kind, "refused");
    desk.run(120);
    desk.beat("n1");
    desk.beat("n2");
    desk.run(120);
    t.same(desk.state.awaited, ["n3"]);
    desk.beat("n3");
    desk.run(120);
    t.equal(desk.state.awaited, null);
    t.equal(desk.beat("n1").fence.restore, 1, "nobody had heard of 1, so it is 1");
    t.equal(desk.ask({ kind: "map" })?.kind, "map");
  },
);

t.test("F9: a number that an earlier restore told somebody is not used again", async (t) => {
  const desk = restored();
  desk.beat("n1", [], id("n1"), { ...NOTHING_HEARD, version: { restore: 1, index: 0 } });
  desk.run(120);
  t.equal(desk.state.version.restore, 2);
  for (const node of THREE) desk.beat(node);
  desk.run(120);
  t.same([desk.state.awaited, desk.beat("n2").fence.restore], [null, 2]);
});

t.test(
  "F9: each heartbeat tells which epochs and plans were issued, so that every node remembers",
  async (t) => {
    const desk = new Desk(h64, WISH);
    desk.lead();
    desk.join(...THREE);
    desk.run(300);
    const { epoch, planNumber } = desk.state;
    t.ok(epoch > 0 && planNumber > 0);
    t.same(desk.beat("n1").issued, { epoch, plan: planNumber });
  },
);

t.test(
  "F9: a state that turns out to be older than what a node has seen counts all nodes before it orders",
  async (t) => {
    const driver = new Driver();
    for (const node of THREE) driver.run(register(node));
    driver.run(init(1, THREE));
    driver.run(
      plan(
        2,
        [...old("s1"), { id: "s2", weight: 1, newborn: newborn(102, ["n1"]) }],
        [{ from: "s1", to: "s2", slots: [[0, 9]] }],
      ),
    );
    t.ok(driver.state.plan !== null);
    const heard = { version: { restore: 0, index: 900 }, epoch: 40, plan: 9 };
    driver.run({ kind: "heard", node: "n2", incarnation: id("n2"), heard });
    const { awaited, version, epoch, planNumber, plan: active, planEnd } = driver.state;
    t.same([awaited, version.restore, epoch, planNumber], [["n1", "n3"], 1, eraAfter(40), 9]);
    t.same([active, planEnd?.cancelled], [null, true], "its plan may be long over");
    const beats = ["n1", "n3"].map((node) => ({ ...beat(node), heard }));
    t.same(roundOf(driver.state, beats).orders, []);
    for (const body of roundOf(driver.state, beats).commands) driver.run(body);
    t.equal(driver.state.awaited, null);
  },
);

t.test("F9: after a restore the members that a shard has are believed, not ordered back", async (t) => {
  const driver = new Driver();
  for (const node of [...THREE, "n4"]) driver.run(register(node));
  driver.run(init(1, THREE));
  driver.run({ kind: "formed", shard: "s1" });
  driver.run({ kind: "restored", token: id("r") });
  const others = ["n1", "n2", "n4"];
  const beats = [beat("n1", [leads(101, "n1", others)]), ...["n2", "n3", "n4"].map((node) => beat(node))];
  for (const body of roundOf(driver.state, beats).commands) driver.run(body);
  t.equal(driver.state.awaited, null);
  t.same(driver.state.shards.get("s1")?.replicas, others);
  t.same(printed(roundOf(driver.state, beats)), [], "all is as it is wished");
});

t.test(
  "F3: moves that the backup does not know are ended by their targets, and no plan is made before",
  async (t) => {
    const driver = new Driver();
    for (const node of THREE) driver.run(register(node));
    driver.run(init(2, THREE));
    for (const shard of ["s1", "s2"]) driver.run({ kind: "formed", shard });
    const report = { epoch: 30, keys: 0, keysTotal: 0, bytes: 0, record: null };
    const target = { ...report, side: "target" as const, phase: "copying" as const };
    const over = { ...report, epoch: 29, side: "target" as const, phase: "owned" as const };
    const beats = [
      beat("n1", [leads(101, "n1", THREE), leads(102, "n1", THREE, { moves: [target, over] })]),
      beat("n2"),
      beat("n3"),
    ];
    const aborts = printed(roundOf(driver.state, beats)).filter((line) => line.includes("abort"));
    t.same(aborts, ["n1: abort 30"]);
  },
);

t.test(
  "F2: a new control plane under the id of one that had shards takes none of its nodes, and makes no shards",
  async (t) => {
    const desk = new Desk(h64);
    desk.lead();
    const heard = { version: { restore: 0, index: 70 }, epoch: 12, plan: 3 };
    t.match(desk.register("n1", id("n1"), CLUSTER, heard), {
      kind: "refused",
      text: /^CONFLICT .*'n1'.* shards .*--restore FILE/,
    });
    t.equal(desk.state.nodes.size, 0);
    t.equal(desk.state.version.restore, 0);
    desk.join("n7", "n8", "n9");
    const { status, json } = desk.http("POST", "/cluster/init", { shards: 2 });
    t.equal(status, 409);
    t.match(json, { message: /node n1 .*--restore FILE/ });
    t.equal(desk.state.layout, null);
    const late = new Driver();
    t.match(late.run(register("n1", id("n1"), heard)), /^CONFLICT .*--restore/, "in its log neither");
  },
);

t.test("F2: nor while a node reports a replica that it does not know", async (t) => {
  const desk = new Desk(h64);
  desk.lead();
  desk.join(...THREE);
  desk.beat("n2", [leads(101, "n2", THREE)]);
  const { status, json } = desk.http("POST", "/cluster/init", { shards: 2 });
  t.equal(status, 409);
  t.match(json, { message: /node n2 .*--restore FILE/ });
});

t.test("F9: epochs that were heard of are above those of a first layout", async (t) => {
  const driver = new Driver();
  for (const node of THREE) driver.run(register(node));
  driver.run({
    kind: "heard",
    node: "n1",
    incarnation: id("n1"),
    heard: { version: { restore: 0, index: 9 }, epoch: 4, plan: 0 },
  });
  t.match(driver.run(init(1, THREE)), /^CONFLICT .*--restore/);
  t.equal(compareVersions(driver.state.version, { restore: 0, index: 1 }), 1);
});

t.test("a new leader that has not heard all nodes yet says so, and not that there are too few", async (t) => {
  const desk = new Desk(h64, WISH, 2);
  desk.lead(0);
  desk.join(...THREE);
  desk.run(300);
  desk.lead(1);
  desk.world.processes[0]?.stepDown();
  const add = (): { status: number; json: Record<string, unknown> } =>
    desk.http("POST", "/shard/add", { id: "s2" }, 1);
  const beatAt = (node: string): void => void desk.ask({ kind: "beat", heartbeat: beat(node) }, 1);
  beatAt("n1");
  const early = add();
  t.equal(early.status, 503);
  t.match(early.json, { error: "tryagain", message: /has not heard n2, n3 yet$/ });
  for (let i = 0; i < 11; i++) {
    beatAt("n1");
    beatAt("n2");
    desk.run(100);
  }
  const late = add();
  t.equal(late.status, 409, "n3 was silent for as long as makes it dead");
  t.match(late.json, { error: "conflict", message: /needs 3 nodes, and 2 can be used/ });
  beatAt("n3");
  t.equal(add().status, 200);
});

/** The service request by request: who may register, what a heartbeat brings, who speaks when leaders change. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { compareVersions } from "../../src/wire/control_plane.ts";
import { register } from "./bodies.ts";
import { beat, leads } from "./heard.ts";
import { CLUSTER, Desk, id } from "./service_desk.ts";

const { h64 } = await xxhash();
const WISH = { replicas: 3, vnodes: 32, shards: [{ id: "s1", weight: 1, nodes: null }] };

t.test("a process that does not lead sends everybody to the one that does", async (t) => {
  const desk = new Desk(h64, null, 2);
  t.same(desk.ask({ kind: "map" }), { kind: "elsewhere", leader: null });
  desk.lead(1);
  t.same(desk.ask({ kind: "map" }), { kind: "elsewhere", leader: "127.0.0.1:7102" });
  t.same(desk.ask({ kind: "beat", heartbeat: beat("n1") }), { kind: "elsewhere", leader: "127.0.0.1:7102" });
  t.equal(desk.ask({ kind: "map" }, 1)?.kind, "map");
});

t.test("a node registers, is known by its heartbeats, and gets the map", async (t) => {
  const desk = new Desk(h64);
  desk.lead();
  t.equal(desk.beat("n1").standing, "unknown");
  t.same(desk.register("n1"), { kind: "registered", cluster: CLUSTER, fence: { restore: 0, term: 1 } });
  const { standing, fence, version } = desk.beat("n1");
  t.same({ standing, fence }, { standing: "known", fence: { restore: 0, term: 1 } });
  const index = desk.world.log.length;
  t.equal(desk.register("n1")?.kind, "registered");
  t.equal(desk.world.log.length, index, "what is known is not written again");
  const map = desk.ask({ kind: "map" });
  t.ok(map?.kind === "map" && compareVersions(map.map.version, version) === 0);
  const again = desk.ask({ kind: "map" });
  t.ok(map?.kind === "map" && again?.kind === "map" && map.map === again.map, "made once");
});

t.test("who must not register is told why", async (t) => {
  const desk = new Desk(h64);
  desk.lead();
  desk.join("n1");
  t.match(desk.register("n1", id("other")), { kind: "refused", text: /^CONFLICT a node 'n1' with another/ });
  const twin = { ...register("n2").registration, address: "127.0.0.1:7001" };
  t.match(desk.ask({ kind: "register", cluster: null, registration: twin }), {
    kind: "refused",
    text: /^CONFLICT node 'n1' is at 127.0.0.1:7001 already/,
  });
  t.match(desk.register("n3", id("n3"), "d".repeat(32)), {
    kind: "refused",
    text: /belongs to cluster d+, and/,
  });
  t.equal(desk.register("n3", id("n3"), CLUSTER)?.kind, "registered");
  desk.run(400);
  t.equal(desk.register("n1", id("other"))?.kind, "registered", "silent for long: it may begin anew");
  t.match(desk.register("n1", id("n1")), { kind: "refused", text: /^STALE/ });
  t.equal(desk.beat("n1", [], id("n1")).standing, "stale");
});

t.test("the first layout is made when its nodes are there and no more come", async (t) => {
  const desk = new Desk(h64, WISH);
  desk.lead();
  desk.run(40);
  t.match(desk.http("GET", "/cluster/live").json, { firstLayout: /needs 3 nodes, and 0 can be used/ });
  desk.join("n1", "n2");
  desk.run(40);
  t.match(desk.http("GET", "/cluster/live").json, { firstLayout: /needs 3 nodes, and 2 can be used/ });
  desk.join("n3");
  desk.run(40);
  t.match(desk.http("GET", "/cluster/live").json, { firstLayout: /looking whether more come/ });
  t.equal(desk.state.layout, null);
  desk.run(240);
  t.same(desk.state.shards.get("s1")?.replicas, ["n1", "n2", "n3"]);
  t.equal(desk.http("GET", "/cluster/live").json.firstLayout, null);
  t.equal(desk.said.filter((line) => line.includes("has its first layout")).length, 1);
  const named = new Desk(h64, { ...WISH, shards: [{ id: "s1", weight: 1, nodes: ["n2"] }] });
  named.lead();
  named.join("n2");
  named.run(21);
  t.same(named.state.shards.get("s1")?.replicas, ["n2"], "with named nodes there is nothing to wait for");
});

t.test(
  "orders are kept until the node asks, are given once, and are made again while they show no effect",
  async (t) => {
    const desk = new Desk(h64, WISH);
    desk.lead();
    desk.join("n1", "n2", "n3");
    desk.run(300);
    const kinds = (node: string): string[] => desk.beat(node).orders.map(({ kind }) => kind);
    t.same(kinds("n1"), ["create"]);
    t.same(kinds("n1"), [], "given once");
    desk.run(100);
    t.same(kinds("n1"), ["create"], "the replica was not seen: again");
    const { group } = desk.state.shards.get("s1") ?? { group: 0 };
    const report = { ...leads(group, "n1", ["n1", "n2", "n3"]), shard: "s1" };
    t.same(desk.beat("n1", [report]).orders, []);
    desk.run(12);
    t.equal(desk.state.shards.get("s1")?.formed, true, "what a leader says is written down at once");
  },
);

t.test("F10: orders for a directory that is gone are not given to the next one", async (t) => {
  const desk = new Desk(h64, WISH);
  desk.lead();
  desk.join("n1", "n2", "n3");
  desk.run(300);
  desk.beat("n2"); // takes its own
  desk.run(500);
  desk.beat("n2");
  desk.beat("n3");
  t.equal(desk.register("n1", id("new"))?.kind, "registered");
  t.same(desk.beat("n1", [], id("new")).orders, [], "the founder was another");
});

t.test("F10: a new leader says nothing before it has applied what was acknowledged", async (t) => {
  const desk = new Desk(h64, null, 2);
  desk.lead(0);
  const [, late] = desk.world.processes;
  if (late === undefined) throw new Error("two processes");
  late.lag = 100;
  desk.world.lagMax = 100;
  t.equal(desk.register("n1")?.kind, "registered");
  t.equal(late.state.nodes.size, 0);
  desk.world.elect(late);
  desk.services[1]?.onLeaderChange();
  t.same(desk.services[1]?.leads, true);
  const answers: unknown[] = [];
  desk.services[1]?.onRequest({ kind: "beat", heartbeat: beat("n1") }, (reply) => answers.push(reply));
  t.same(answers, [{ kind: "elsewhere", leader: null }], "it would take the node for an unknown one");
  desk.world.lagMax = 0;
  desk.run(10);
  t.match(desk.ask({ kind: "beat", heartbeat: beat("n1") }, 1), {
    kind: "beat",
    reply: { standing: "known", fence: { restore: 0, term: 2 } },
  });
});

t.test(
  "F10: a deposed leader answers nothing more, and its open requests are not answered as done",
  async (t) => {
    const desk = new Desk(h64, null, 2);
    desk.lead(0);
    const answers: unknown[] = [];
    const [first] = desk.services;
    const { registration } = register("n1");
    first?.onRequest({ kind: "register", cluster: null, registration }, (reply) => answers.push(reply));
    first?.onRequest(
      { kind: "http", method: "POST", path: "/settings", body: new TextEncoder().encode("{}") },
      (reply) => answers.push(reply.kind === "http" ? reply.status : reply.kind),
    );
    desk.lead(1);
    desk.world.processes[0]?.stepDown();
    t.same(answers, [{ kind: "elsewhere", leader: "127.0.0.1:7102" }, 503]);
    t.same(desk.ask({ kind: "map" }), { kind: "elsewhere", leader: "127.0.0.1:7102" });
  },
);

t.test("after a restore no order goes out before everybody was heard, and none from before it", async (t) => {
  const desk = new Desk(h64, WISH);
  desk.lead();
  desk.join("n1", "n2", "n3");
  desk.run(300);
  desk.world.processes[0]?.propose({ request: null, body: { kind: "restored", token: id("t") } }, () => {});
  desk.world.step();
  const reply = desk.beat("n1");
  t.same(reply.orders, [], "made before the restore");
  t.same(reply.fence, { restore: 0, term: 0 }, "nobody hears of the number that may not be the last");
  desk.run(120);
  t.same(desk.beat("n2").orders, [], "n3 was not heard since");
  t.same(desk.state.awaited, ["n3"]);
  desk.beat("n3");
  desk.run(120);
  t.same(
    desk.beat("n1").orders.map(({ kind }) => kind),
    ["create"],
  );
});

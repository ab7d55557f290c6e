/** The HTTP surface, call by call. */
import t, { type Test } from "tap";
import xxhash from "xxhash-wasm";
import { SETTINGS_DEFAULT } from "../../src/controlplane/state.ts";
import { countSlots } from "../../src/ring/range.ts";
import { register } from "./bodies.ts";
import { leads } from "./heard.ts";
import { Desk, type HttpReply, id } from "./service_desk.ts";

const { h64 } = await xxhash();

/** Three nodes and two shards, of which n1 and n2 lead one each, with keys. */
function grown(): Desk {
  const desk = new Desk(h64);
  desk.lead();
  desk.join("n1", "n2", "n3");
  const made = desk.http("POST", "/cluster/init", { shards: 2, vnodes: 32 });
  if (made.status !== 200) throw new Error(made.text);
  speak(desk);
  return desk;
}

function speak(desk: Desk): void {
  const groups = [...desk.state.shards.values()].map((shard, i) => ({
    node: `n${(i % 3) + 1}`,
    report: {
      ...leads(shard.group, `n${(i % 3) + 1}`, shard.replicas, {
        slots: [{ epoch: 1, slots: desk.state.assignment.slotsOf(shard.id) }],
      }),
      shard: shard.id,
      keys: 1000,
      bytes: 64_000_000,
    },
  }));
  for (const node of ["n1", "n2", "n3"])
    desk.beat(
      node,
      groups.filter((one) => one.node === node).map(({ report }) => report),
    );
  desk.run(12);
}

function is(t: Test, reply: HttpReply, status: number, error: string, message: RegExp): void {
  t.equal(reply.status, status, reply.text);
  t.match(reply.json, { error, message });
}

t.test("what is shown: map, live, shards, settings, plan, status", async (t) => {
  const desk = grown();
  t.match(desk.http("GET", "/cluster/map").json, {
    cluster: "c".repeat(32),
    nodes: [{ id: "n1", addr: "127.0.0.1:7001" }, { id: "n2" }, { id: "n3" }],
    shards: [{ id: "s1", nodes: ["n1", "n2", "n3"], leader: "n1" }, { id: "s2" }],
  });
  t.match(desk.http("GET", "/cluster/live").json, {
    term: 1,
    nodes: [{ id: "n1", state: "alive", leads: 1 }, {}, {}],
  });
  t.match(desk.http("GET", "/shard").json, {
    shards: [{ id: "s1", leader: "n1", keys: 1000 }, { id: "s2" }],
  });
  t.same(desk.http("GET", "/cluster/desired").json, {
    shards: ["s1", "s2"].map((shard) => ({ shard, nodes: ["n1", "n2", "n3"] })),
  });
  t.same(desk.http("GET", "/settings").json, SETTINGS_DEFAULT);
  t.match(desk.http("GET", "/reshard/plan").json, { epoch: 1, next: 2, active: false, vnodes: 32 });
  t.match(desk.http("GET", "/reshard/plan?dry-run").json, {
    dryRun: true,
    epoch: 2,
    moves: 0,
    keys: 0,
    seconds: 0,
  });
  t.match(desk.http("GET", "/reshard/status").json, { active: false, epoch: 1, moves: [] });
  const event = desk.http("GET", "/events");
  t.match(event.type, /^text\/event-stream/);
  t.match(event.text, /^data: \{"live":.*"reshard":.*\}\n\n$/);
  t.equal(desk.http("HEAD", "/cluster/map").status, 200);
});

t.test("what every control process answers, and what only the leader does", async (t) => {
  const desk = new Desk(h64, null, 2);
  is(t, desk.http("GET", "/readyz"), 503, "notready", /majority/);
  is(t, desk.http("GET", "/cluster/map"), 503, "elsewhere", /no control process leads/);
  desk.lead(1);
  t.match(desk.http("GET", "/health").json, { ok: true, role: "follower", leader: "127.0.0.1:7102" });
  t.match(desk.http("GET", "/health", null, 1).json, { ok: true, role: "leader", term: 1 });
  t.equal(desk.http("GET", "/livez").status, 200);
  t.equal(desk.http("GET", "/readyz").status, 200);
  t.match(desk.http("GET", "/metrics").text, /^nucleus_control_leads 0$/m);
  t.match(desk.http("GET", "/metrics", null, 1).text, /^nucleus_control_leads 1$/m);
  is(t, desk.http("POST", "/settings", {}), 503, "elsewhere", /ask the one at 127.0.0.1:7102/);
  is(t, desk.http("GET", "/cluster/nothing", null, 1), 404, "notfound", /there are .*\/cluster\/map/);
  is(t, desk.http("DELETE", "/cluster/map", null, 1), 405, "method", /takes GET, not DELETE/);
  is(t, desk.http("GET", "/cluster/init", null, 1), 405, "method", /takes POST, not GET/);
});

t.test("the first layout: once, if it can be", async (t) => {
  const desk = new Desk(h64);
  desk.lead();
  is(t, desk.http("POST", "/cluster/init", { shards: 2 }), 409, "conflict", /needs 3 nodes, and 0/);
  is(t, desk.http("POST", "/shard/add", {}), 409, "conflict", /cluster init makes it/);
  is(t, desk.http("POST", "/cluster/init", "{"), 400, "request", /not JSON/);
  is(t, desk.http("POST", "/cluster/init", { shard: 2 }), 400, "request", /unknown field "shard"/);
  desk.join("n1");
  const made = desk.http("POST", "/cluster/init", { shards: 2, replicas: 1 });
  t.match(made.json, {
    epoch: 1,
    shards: [
      { id: "s1", nodes: ["n1"] },
      { id: "s2", nodes: ["n1"] },
    ],
  });
  is(t, desk.http("POST", "/cluster/init", { shards: 2 }), 409, "conflict", /has its first layout already/);
  t.equal(desk.state.settings.replicas, 1, "shards to come have as many replicas");
});

t.test("plans: a dry run in figures, a compare-and-set on the number, cancel", async (t) => {
  const desk = grown();
  const shards = [{ id: "s1" }, { id: "s2" }, { id: "s3", nodes: ["n2", "n3"] }];
  const index = desk.world.log.length;
  const dry = desk.http("POST", "/reshard/plan", { epoch: 2, shards, dryRun: true }).json as Record<
    string,
    number
  >;
  t.equal(desk.world.log.length, index, "a dry run writes nothing");
  t.ok((dry.slots ?? 0) > 2000 && (dry.slots ?? 0) < 9000, `${dry.slots} slots`);
  const share = (dry.slots ?? 0) / 16_384;
  t.ok(Math.abs((dry.keys ?? 0) - 2000 * share) < 500, `${dry.keys} keys`);
  t.ok((dry.bytes ?? 0) > 0 && (dry.seconds ?? 0) >= 1);
  t.match(dry, {
    balanceBefore: { min: 0 },
    shards: [{ id: "s1" }, { id: "s2" }, { id: "s3", nodes: ["n2", "n3"] }],
  });
  is(
    t,
    desk.http("POST", "/reshard/plan", { epoch: 3, shards }),
    409,
    "conflict",
    /the next plan has epoch 2, not 3/,
  );
  is(
    t,
    desk.http("POST", "/reshard/plan", { epoch: 2, shards: [{ id: "s9", nodes: ["n9"] }] }),
    404,
    "notfound",
    /n9/,
  );
  const path = `/reshard/plan?request=${id("r")}`;
  const first = desk.http("POST", path, { epoch: 2, shards }).json;
  t.match(first, { epoch: 2, dryRun: false });
  const second = desk.http("POST", path, { epoch: 2, shards }).json;
  const { moves, slots, balanceAfter } = first;
  t.match(second, { epoch: 2, moves, slots, balanceAfter }, "sent twice, done once, told twice");
  is(t, desk.http("POST", "/reshard/plan", { epoch: 3, shards }), 409, "conflict", /plan 2 is under way/);
  t.match(desk.http("GET", "/reshard/status").json, { active: true, epoch: 2 });
  is(t, desk.http("POST", "/reshard/cutover", { epoch: 7 }), 409, "conflict", /plan 7 is not under way/);
  t.same(desk.http("POST", "/reshard/cutover", { epoch: 2 }).json, { epoch: 2 });
  t.same(desk.http("POST", "/reshard/cancel", { epoch: 2 }).json, { epoch: 2 });
});

t.test("what is sent twice is told twice, and done once", async (t) => {
  const desk = new Desk(h64);
  desk.lead();
  desk.join("n1");
  const init = { shards: 1, replicas: 1 };
  const made = desk.http("POST", `/cluster/init?request=${id("i")}`, init).json;
  t.same(desk.http("POST", `/cluster/init?request=${id("i")}`, init).json, made);
  const added = desk.http("POST", `/shard/add?request=${id("a")}`, { weight: 2 }).json;
  const again = desk.http("POST", `/shard/add?request=${id("a")}`, { weight: 2 }).json;
  t.match(again, { shard: added.shard, epoch: 2, moves: added.moves, slots: added.slots });
  t.equal(desk.state.shards.size, 2);
  for (const [path, body] of [
    ["/settings", { movesMax: 3 }],
    ["/node", { node: "n1", action: "drain" }],
    ["/reshard/cancel", { epoch: 2 }],
  ] as const) {
    const answer = desk.http("POST", `${path}?request=${id(path)}`, body);
    t.equal(answer.status, 200, answer.text);
    t.same(desk.http("POST", `${path}?request=${id(path)}`, body).json, answer.json, path);
  }
});

t.test("shards: added under an id that balances, removed, and never by mistake", async (t) => {
  const desk = grown();
  const dry = desk.http("POST", "/shard/add", { dryRun: true });
  t.match(dry.json, { dryRun: true, shard: /^s3[a-o]?$/, epoch: 2 });
  t.equal(desk.state.plan, null);
  is(t, desk.http("POST", "/shard/add", { id: "s1" }), 409, "conflict", /there is a shard 's1' already/);
  is(t, desk.http("POST", "/shard/add", { epoch: 9 }), 409, "conflict", /epoch 2, not 9/);
  is(t, desk.http("POST", "/shard/remove", { id: "s9" }), 404, "notfound", /no shard 's9'/);
  const added = desk.http("POST", "/shard/add", { nodes: ["n1"], weight: 0.5 });
  t.equal(added.status, 200, added.text);
  const shard = String(added.json.shard);
  t.same(desk.state.shards.get(shard)?.replicas, ["n1"]);
  t.equal(desk.http("POST", "/reshard/cancel", { epoch: 2 }).status, 200);
  desk.run(200);
  t.equal(desk.http("POST", "/shard/remove", { id: "s2" }).status, 200);
  t.equal(desk.state.shards.get("s2")?.state, "retiring");
  const small = new Desk(h64);
  small.lead();
  small.join("n1");
  small.http("POST", "/cluster/init", { shards: 1, replicas: 1 });
  is(
    t,
    small.http("POST", "/shard/remove", { id: "s1" }),
    409,
    "conflict",
    /the only shard: add another first/,
  );
});

t.test("a control process that leads only now declares no shard lost before it could be heard", async (t) => {
  const desk = grown();
  desk.run(1200);
  desk.lead();
  is(
    t,
    desk.http("POST", "/shard/declare-lost", { id: "s1", yes: true }),
    503,
    "tryagain",
    /has not heard node 'n1' yet/,
  );
});

t.test("what a lost shard owned is given to the others by the next plan", async (t) => {
  const desk = grown();
  is(t, desk.http("POST", "/shard/declare-lost", { id: "s1" }), 400, "request", /"yes" must be true/);
  is(
    t,
    desk.http("POST", "/shard/declare-lost", { id: "s1", yes: true }),
    409,
    "conflict",
    /led by node 'n1'/,
  );
  desk.run(1200);
  for (const node of ["n2", "n3"]) desk.beat(node);
  const owned = desk.state.assignment.slotsOf("s1");
  t.match(desk.http("POST", "/shard/declare-lost", { id: "s1", yes: true }).json, {
    shard: "s1",
    slots: owned,
  });
  t.equal(desk.http("POST", "/shard/add", { nodes: ["n2", "n3"] }).status, 200);
  t.same(desk.state.assignment.slotsOf("s1"), owned, "until a plan does it");
  const moved = desk.state.plan?.moves.filter(({ from }) => from === "s1") ?? [];
  t.equal(countSlots(moved.flatMap(({ slots }) => slots)), countSlots(owned));
});

t.test("nodes: drained, and removed only when stopped and empty; wishes of replicas; settings", async (t) => {
  const desk = grown();
  t.match(desk.http("POST", "/node", { node: "n3", action: "drain" }).json, {
    draining: true,
    shards: ["s1", "s2"],
  });
  is(
    t,
    desk.http("POST", "/node", { node: "n3", action: "remove" }),
    409,
    "conflict",
    /alive .* stop it first/,
  );
  is(
    t,
    desk.http("POST", "/node", { node: "n9", action: "drain" }),
    404,
    "notfound",
    /'n9' is not registered/,
  );
  desk.run(1200);
  is(
    t,
    desk.http("POST", "/node", { node: "n3", action: "remove" }),
    409,
    "conflict",
    /has replicas of s1, s2: drain/,
  );
  desk.join("n4");
  const moved = desk.http("POST", "/cluster/desired", { shard: "s1", add: ["n4"], remove: ["n3"] });
  t.match(moved.json, { shard: "s1", nodes: ["n1", "n2", "n4"], blocked: "no leader is known" });
  is(
    t,
    desk.http("POST", "/cluster/desired", { shard: "s1", add: ["n3"] }),
    409,
    "conflict",
    /being drained/,
  );
  t.match(desk.http("POST", "/settings", { movesMax: 3 }).json, { movesMax: 3, replicas: 3 });
  is(t, desk.http("POST", "/settings", { movesMax: 0 }), 400, "request", /a whole number from 1/);
  t.equal(desk.state.settings.movesMax, 3);
});

t.test("a node's words by hand", async (t) => {
  const desk = grown();
  const { zone: _zone, capacity: _capacity, heard: _heard, ...registration } = register("n7").registration;
  t.match(desk.http("POST", "/register", registration).json, { kind: "registered", fence: { term: 1 } });
  t.equal(desk.state.nodes.get("n7")?.capacity, 100);
  t.match(desk.http("POST", "/heartbeat", { node: "n7", incarnation: id("n7") }).json, {
    standing: "known",
    orders: [],
  });
  is(t, desk.http("POST", "/heartbeat", { node: "n7" }), 400, "request", /incarnation: missing/);
  const rival = { ...registration, incarnation: id("rival") };
  is(t, desk.http("POST", "/register", rival), 409, "conflict", /another directory is alive/);
});

/** Single rounds of the reconciler, in situations made for them. */
import t from "tap";
import { Liveness } from "../../src/controlplane/liveness.ts";
import { ORDERS_PER_ROUND_MAX, reconcile } from "../../src/controlplane/reconciler.ts";
import type { Heartbeat, LeadReport } from "../../src/wire/control_plane.ts";
import { eraAfter } from "../../src/wire/epochs.ts";
import { init, newborn, old, plan, RECORD, register } from "./bodies.ts";
import { Driver, id } from "./driver.ts";
import { beat, follows, leads, printed, roundOf } from "./heard.ts";

const FIVE = ["n1", "n2", "n3", "n4", "n5"];

/** Five nodes, s1 on the first three, its group formed. */
function small(): Driver {
  const driver = new Driver();
  for (const node of FIVE) driver.run(register(node));
  driver.run(init(1, ["n1", "n2", "n3"]));
  driver.run({ kind: "formed", shard: "s1" });
  return driver;
}

function wish(driver: Driver, replicas: readonly string[]): void {
  const now = driver.state.shards.get("s1")?.replicas ?? [];
  const add = replicas.filter((node) => !now.includes(node));
  const remove = now.filter((node) => !replicas.includes(node));
  driver.run({ kind: "desired", shard: "s1", add, remove, expected: null });
}

type Row = {
  readonly title: string;
  readonly voters: readonly string[];
  readonly wanted: readonly string[];
  readonly alive: readonly string[];
  readonly suspect?: readonly string[];
  readonly lead?: Partial<LeadReport>;
  readonly is: readonly string[];
};

const three = ["n1", "n2", "n3"];
const ROWS: readonly Row[] = [
  { title: "nothing to do", voters: three, wanted: three, alive: FIVE, is: [] },
  {
    title: "one more",
    voters: three,
    wanted: ["n1", "n2", "n3", "n4"],
    alive: FIVE,
    is: ["n1: want v4 n1,n2,n3,n4"],
  },
  { title: "all others", voters: three, wanted: ["n4", "n5"], alive: FIVE, is: ["n1: want v4 n4,n5"] },
  {
    title: "the dead one goes",
    voters: three,
    wanted: ["n1", "n2", "n4"],
    alive: ["n1", "n2", "n4"],
    is: ["n1: want v4 n1,n2,n4"],
  },
  { title: "the new one is not there", voters: three, wanted: ["n1", "n2", "n4"], alive: three, is: [] },
  {
    title: "the new one is suspect",
    voters: three,
    wanted: ["n1", "n2", "n4"],
    alive: three,
    suspect: ["n4"],
    is: [],
  },
  {
    title: "the rest would be no majority",
    voters: three,
    wanted: ["n1", "n3"],
    alive: ["n1", "n2"],
    is: [],
  },
  {
    title: "a suspect is no majority either",
    voters: three,
    wanted: ["n1", "n3"],
    alive: ["n1", "n2"],
    suspect: ["n3"],
    is: [],
  },
  {
    title: "the only one left may be alone",
    voters: three,
    wanted: ["n1"],
    alive: ["n1", "n2"],
    is: ["n1: want v4 n1"],
  },
  {
    title: "the present ones are no majority",
    voters: FIVE,
    wanted: ["n1", "n2"],
    alive: ["n1", "n2"],
    is: [],
  },
  {
    title: "a change is under way",
    voters: three,
    wanted: ["n1", "n2"],
    alive: FIVE,
    lead: { joint: true },
    is: [],
  },
  {
    title: "a learner that nobody wants",
    voters: three,
    wanted: three,
    alive: FIVE,
    lead: { learners: [{ replica: 9, node: "n5" }] },
    is: ["n1: want v4 n1,n2,n3"],
  },
  {
    title: "a learner in its own node's place",
    voters: three,
    wanted: three,
    alive: FIVE,
    lead: { learners: [{ replica: 9, node: "n2" }] },
    is: [],
  },
];

for (const { title, voters, wanted, alive, suspect = [], lead = {}, is } of ROWS) {
  t.test(`E2, E4: no step that would lose quorum: ${title}`, async (t) => {
    const driver = small();
    wish(driver, wanted);
    const beats = alive.map((node) => beat(node, node === "n1" ? [leads(101, "n1", voters, lead)] : []));
    const steps = roundOf(
      driver.state,
      beats,
      suspect.map((node) => beat(node)),
    );
    t.same(printed({ ...steps, commands: [] }), is);
  });
}

t.test(
  "a group's first members are ordered until it has had a leader, and only for the directory that was meant",
  async (t) => {
    const driver = new Driver();
    for (const node of FIVE) driver.run(register(node));
    driver.run(init(1, three));
    t.same(printed(roundOf(driver.state, [beat("n1"), beat("n2", [follows(101)]), beat("n4")])), [
      "n1: create s1 replica 1",
    ]);
    driver.run(register("n1", id("other")));
    t.same(printed(roundOf(driver.state, [beat("n1", [], id("other")), beat("n3")])), [
      "n3: create s1 replica 3",
    ]);
    const beats = [beat("n2", [leads(101, "n2", three)]), beat("n3")];
    t.same(printed(roundOf(driver.state, beats)), [
      "n3: create s1 replica 3",
      '{"kind":"formed","shard":"s1"}',
    ]);
    driver.run({ kind: "formed", shard: "s1" });
    t.same(printed(roundOf(driver.state, beats)), []);
  },
);

t.test(
  "F3: a group that lost its leader before its last founder had its order is given that founder",
  async (t) => {
    const driver = small();
    driver.run(register("n2", id("wiped")));
    const beats = [beat("n1", [follows(101)]), beat("n2", [], id("wiped")), beat("n3")];
    t.same(printed(roundOf(driver.state, beats)), ["n3: create s1 replica 3"], "n1 alone is no majority");
    t.same(printed(roundOf(driver.state, beats.slice(0, 2))), []);
  },
);

t.test(
  "E7: a group that nobody knows is left alone; one that was retired is closed wherever it turns up",
  async (t) => {
    const driver = small();
    driver.run(plan(2, [...old("s1"), { id: "s2", weight: 1, newborn: newborn(102, ["n4"]) }], []));
    driver.run(plan(3, old("s1"), []));
    const beats = [
      beat("n1", [leads(101, "n1", three)]),
      beat("n4", [leads(102, "n4", ["n4"]), follows(777)]),
    ];
    const retire = '{"kind":"retire","shard":"s2"}';
    t.same(printed(roundOf(driver.state, beats)).slice(-1), [retire]);
    driver.run({ kind: "retire", shard: "s2" });
    t.same(printed(roundOf(driver.state, beats)), ["n4: close 102"]);
  },
);

t.test(
  "F9, F10: after a restore nothing is ordered before every node was heard; what is heard is written down",
  async (t) => {
    const driver = small();
    wish(driver, ["n1", "n2", "n4"]);
    driver.run({ kind: "restored", token: id("r") });
    const late = { version: { restore: 0, index: 900 }, epoch: 44, plan: 3 };
    const claims = [{ epoch: 44, slots: [[5, 9]] as const }];
    const beats: Heartbeat[] = FIVE.slice(1).map((node) => ({ ...beat(node), heard: late }));
    beats.push(beat("n1", [leads(101, "n1", three, { slots: claims }), leads(109, "n1", ["n1", "n2"])]));
    for (let round = 0; round < 4 && driver.state.awaited !== null; round++) {
      const { commands, orders } = roundOf(driver.state, beats);
      t.same(orders, []);
      for (const body of commands) driver.run(body);
    }
    const { awaited, epoch, planNumber, version, shards, assignment } = driver.state;
    t.same([awaited, epoch, planNumber, version.restore], [null, eraAfter(44), 3, 1]);
    t.same(shards.get("s9")?.replicas, ["n1", "n2"], "a shard younger than the backup is adopted");
    t.equal(assignment.epochAt(7), 44);
    const wanted = printed(roundOf(driver.state, beats)).filter((line) => line.includes("want"));
    t.same(wanted, [], "the members that s1 has are believed");
  },
);

t.test("leaders: handed over where one node leads two more, and off a node that is drained", async (t) => {
  const driver = new Driver();
  for (const node of FIVE) driver.run(register(node));
  driver.run(init(4, three));
  for (const shard of ["s1", "s2", "s3", "s4"]) driver.run({ kind: "formed", shard });
  const lead = (spread: readonly string[]): Heartbeat[] =>
    three.map((node) =>
      beat(
        node,
        spread.flatMap((who, i) => (who === node ? [leads(101 + i, node, three)] : [])),
      ),
    );
  t.same(printed(roundOf(driver.state, lead(["n1", "n1", "n2", "n3"]))), []);
  t.same(printed(roundOf(driver.state, lead(["n1", "n1", "n1", "n2"]))), ["n1: lead 101 to n3"]);
  const four = printed(roundOf(driver.state, lead(["n1", "n1", "n1", "n1"])));
  t.same(four, ["n1: lead 101 to n2", "n1: lead 102 to n3"]);
  driver.run({ kind: "node", node: "n3", action: "drain" });
  const drained = printed({ ...roundOf(driver.state, lead(["n1", "n1", "n2", "n3"])), commands: [] });
  t.same(drained, ["n3: lead 104 to n2"]);
});

t.test("leaders: where one has just gone it stays for a minute, whatever the others lead", async (t) => {
  const driver = new Driver();
  for (const node of FIVE) driver.run(register(node));
  driver.run(init(4, three));
  for (const shard of ["s1", "s2", "s3", "s4"]) driver.run({ kind: "formed", shard });
  const liveness = new Liveness(0);
  const at = (tick: number, term: number, who: readonly string[]): string[] => {
    for (const node of three) {
      const groups = who.flatMap((leader, i) =>
        leader === node ? [{ ...leads(101 + i, node, three), term }] : [],
      );
      liveness.hear(driver.state, beat(node, groups), tick);
    }
    const view = liveness.view(driver.state, tick);
    return printed(reconcile({ state: driver.state, view, round: 0, bootstrapOf: () => Uint8Array.of(1) }));
  };
  t.same(at(1000, 3, ["n2", "n1", "n1", "n3"]), []);
  t.same(at(1050, 4, ["n1", "n1", "n1", "n3"]), ["n1: lead 102 to n2"], "one that has led for long goes");
  t.same(at(1100, 5, ["n1", "n1", "n1", "n1"]), ["n1: lead 102 to n2", "n1: lead 103 to n3"]);
  t.same(at(1150, 6, ["n1", "n3", "n3", "n1"]), []);
  t.same(at(1200, 7, ["n3", "n3", "n3", "n1"]), [], "all of n3's have just gone there");
  t.same(at(7199, 7, ["n3", "n3", "n3", "n1"]), ["n3: lead 102 to n2"], "since 1150");
  driver.run({ kind: "node", node: "n3", action: "drain" });
  const drained = at(7199, 8, ["n3", "n1", "n1", "n1"]).filter((line) => line.includes("lead 101"));
  t.same(drained, ["n3: lead 101 to n2"], "a node that is drained gives it away at once");
});

/** Three shards of one replica each, and a plan of three moves. */
function planned(manual = false): Driver {
  const driver = new Driver();
  for (const node of FIVE) driver.run(register(node));
  const first = init(3, ["n1"]);
  const shards = first.shards.map((shard, i) => ({ ...shard, newborn: newborn(101 + i, [`n${i + 1}`]) }));
  driver.run({ ...first, shards });
  for (const shard of ["s1", "s2", "s3"]) driver.run({ kind: "formed", shard });
  const move = (from: string, to: string, slot: number) => ({ from, to, slots: [[slot, slot + 9]] as const });
  const moves = [move("s1", "s2", 0), move("s1", "s3", 20), move("s3", "s2", 16_000), move("s2", "s1", 6000)];
  driver.run(plan(2, old("s1", "s2", "s3"), moves, manual));
  return driver;
}

function sides(reports: Readonly<Record<string, LeadReport["moves"]>> = {}): Heartbeat[] {
  return ["s1", "s2", "s3"].map((shard, i) =>
    beat(`n${i + 1}`, [leads(101 + i, `n${i + 1}`, [`n${i + 1}`], { moves: reports[shard] ?? [] })]),
  );
}

function report(
  epoch: number,
  side: "source" | "target",
  phase: LeadReport["moves"][0]["phase"],
): LeadReport["moves"][0] {
  const record = side === "target" && phase === "owned" ? RECORD : null;
  return { epoch, side, phase, keys: 1, keysTotal: 2, bytes: 3, record };
}

t.test(
  "F3: a move is begun, told to both sides until they know, resumed, and closed by what they say",
  async (t) => {
    const driver = planned();
    const starts = roundOf(driver.state, sides());
    t.same(
      starts.commands.map((body) => (body.kind === "start" ? body.move : body.kind)),
      [0, 3],
      "one at a time from a shard and to a shard",
    );
    t.same(roundOf(driver.state, sides().slice(0, 2)).commands.length, 2, "both sides need leaders");
    t.same(roundOf(driver.state, sides().slice(0, 1)).commands.length, 0);
    for (const body of starts.commands) driver.run(body);
    const orders = (all: Heartbeat[]): string[] =>
      printed({ ...roundOf(driver.state, all), commands: [] }).filter(
        (text) => text.includes(" 2 ") || text.endsWith(" 2"),
      );
    t.same(orders(sides()), ["n2: move 2 s1 > s2", "n1: move 2 s1 > s2"]);
    t.same(orders(sides({ s2: [report(2, "target", "importing")] })), ["n1: move 2 s1 > s2"]);
    const both = sides({ s1: [report(2, "source", "copying")], s2: [report(2, "target", "importing")] });
    t.same(orders(both), []);
    const owned = sides({ s1: [report(2, "source", "sealed")], s2: [report(2, "target", "owned")] });
    for (const body of roundOf(driver.state, owned).commands) driver.run(body);
    t.equal(driver.state.assignment.shardAt(3), "s2");
    t.same(orders(owned), ["n1: settle 2"]);
    const released = sides({ s1: [report(2, "source", "released")], s2: [report(2, "target", "owned")] });
    for (const body of roundOf(driver.state, released).commands) driver.run(body);
    t.equal(driver.state.plan?.moves[0]?.state, "done");
  },
);

t.test(
  "a manual move is held until the cutover, and then let go; a cancelled one is aborted at its target",
  async (t) => {
    const driver = planned(true);
    for (const body of roundOf(driver.state, sides()).commands) driver.run(body);
    const told = (all: Heartbeat[]): string[] =>
      printed({ ...roundOf(driver.state, all), commands: [] }).filter((text) => text.includes(" 2"));
    t.same(told(sides())[0], "n2: move 2 s1 > s2, hold");
    const ready = sides({ s1: [report(2, "source", "ready")], s2: [report(2, "target", "importing")] });
    t.same(told(ready), []);
    driver.run({ kind: "cutover", number: 2 });
    t.same(told(ready), ["n1: move 2 s1 > s2"]);
    driver.run({ kind: "cancel", number: 2 });
    t.same(told(ready), ["n2: abort 2"]);
    t.same(roundOf(driver.state, ready).commands, []);
  },
);

t.test("F3: an attempt that fails is made again under a new epoch, later and later", async (t) => {
  const driver = planned();
  const begun: number[] = [];
  for (let round = 0; round < 40; round++) {
    const { commands } = roundOf(driver.state, sides(), [], round);
    const start = commands.find((body) => body.kind === "start" && body.move === 0);
    if (start === undefined) continue;
    begun.push(round);
    const epoch = Number(driver.run(start).slice(3));
    driver.run({ kind: "outcome", epoch, phase: "aborted", record: null });
    driver.run({ kind: "outcome", epoch, phase: "closed", record: null });
  }
  t.same(begun, [0, 1, 2, 4, 8, 16, 32]);
  t.equal(driver.state.epoch, 1 + begun.length);
});

t.test("what is ordered in a round is bounded, and no shard waits behind others for ever", async (t) => {
  const driver = new Driver();
  for (const node of FIVE) driver.run(register(node));
  const { slots, ...first } = init(400, three);
  driver.run({ ...first, slots });
  const { state } = driver;
  const created = new Set<number>();
  const liveness = new Liveness(0);
  for (const node of three) liveness.hear(state, beat(node), 1);
  for (let round = 700; round < 740; round++) {
    const { orders } = reconcile({
      state,
      view: liveness.view(state, 1),
      round,
      bootstrapOf: () => Uint8Array.of(1),
    });
    if (orders.length > ORDERS_PER_ROUND_MAX) t.fail(`${orders.length} orders`);
    for (const { order } of orders) if (order.kind === "create") created.add(order.group);
  }
  t.equal(created.size, 400);
});

t.test(
  "F10: a plan that names slots which its source turns out to have given away before is cancelled",
  async (t) => {
    const driver = planned();
    const move = driver.state.plan?.moves[0];
    const beats = [beat("n1", [leads(101, "n1", ["n1"])]), beat("n2", [leads(102, "n2", ["n2"])])];
    const told = (): string[] =>
      printed(roundOf(driver.state, beats)).filter((line) => /start|cancel/.test(line));
    t.match(told(), [/start/]);
    const slot = move?.slots[0]?.[0] ?? -1;
    const epoch = driver.state.epoch + 100;
    t.match(driver.run({ kind: "assign", shard: "s2", claims: [{ epoch, slots: [[slot, slot]] }] }), /^ok/);
    const [cancel = "", ...others] = told();
    t.same(others, [], "nothing of it begins");
    t.same(JSON.parse(cancel), { kind: "cancel", number: driver.state.plan?.number });
    driver.run(JSON.parse(cancel));
    t.equal(driver.state.plan, null);
    t.match(driver.state.planEnd, { cancelled: true, done: 0 });
  },
);

t.test(
  "F2: what a lost target had owned is lost with it; what it had not is unsealed; a lost source's slots are taken empty",
  async (t) => {
    const driver = planned();
    const { plan: active } = driver.state;
    t.equal(active?.moves[0]?.to, "s2");
    driver.run({ kind: "start", plan: 2, move: 0, tries: 1 });
    const epoch = driver.state.plan?.moves[0]?.epoch ?? 0;
    driver.run({ kind: "outcome", epoch, phase: "owned", record: RECORD });
    driver.run({ kind: "lost", shard: "s2" });
    const source = {
      epoch,
      side: "source" as const,
      phase: "sealed" as const,
      keys: 0,
      keysTotal: 0,
      bytes: 0,
      record: null,
    };
    const told = (phase: "sealed" | "released"): string[] =>
      printed(
        roundOf(driver.state, [beat("n1", [leads(101, "n1", ["n1"], { moves: [{ ...source, phase }] })])]),
      );
    t.ok(told("sealed").includes(`n1: release ${epoch}`), told("sealed").join("; "));
    const [closed = ""] = told("released").filter((line) => line.includes("closed"));
    driver.run(JSON.parse(closed));
    t.equal(driver.state.plan, null, "the plan is over");
    t.equal(driver.state.assignment.shardAt(0), "s2");

    const slots = [[0, 9]] as const;
    t.match(driver.run(plan(3, old("s1", "s3"), [{ from: "s2", to: "s1", slots }])), /^ok/);
    const beats = [beat("n1", [leads(101, "n1", ["n1"])])];
    const returned = [...beats, beat("n2", [leads(102, "n2", ["n2"], { slots: [{ epoch, slots }] })])];
    t.same(
      printed(roundOf(driver.state, returned)).filter((line) => /close|start|assign/.test(line)),
      ["n2: close 102"],
      "while a replica of it is heard nothing is taken, and it is closed",
    );
    const [start = ""] = printed(roundOf(driver.state, beats)).filter((line) => line.includes("start"));
    const unheard = new Liveness(0);
    for (const one of beats) unheard.hear(driver.state, one, 100);
    const early = { state: driver.state, round: 0, bootstrapOf: () => Uint8Array.of(1) };
    t.notOk(
      printed(reconcile({ ...early, view: unheard.view(driver.state, 100) })).some((line) =>
        line.includes("start"),
      ),
      "a control process that leads only now does not know yet who holds what",
    );
    driver.run(JSON.parse(start));
    t.ok(printed(roundOf(driver.state, beats)).some((line) => /^n1: take/.test(line)));

    const taken = driver.state.plan?.moves[0]?.epoch ?? 0;
    driver.run({ kind: "outcome", epoch: taken, phase: "owned", record: RECORD });
    t.equal(driver.state.plan, null, "the plan is over, and s2 has other slots");
    t.ok(driver.state.assignment.slotsOf("s2").length > 0);
    t.same(
      printed(roundOf(driver.state, returned)).filter((line) => line.includes("close")),
      ["n2: close 102"],
      "a replica that turns up after the plan would serve what others have by now",
    );
  },
);

t.test("F2: a lost target that turns up and had taken the slots after all is closed", async (t) => {
  const driver = planned();
  driver.run({ kind: "start", plan: 2, move: 0, tries: 1 });
  const { epoch = 0, slots = [] } = driver.state.plan?.moves[0] ?? {};
  driver.run({ kind: "lost", shard: "s2" });
  driver.run({ kind: "outcome", epoch, phase: "closed", record: null });
  t.equal(driver.state.plan, null, "its end was not heard, so its source goes on serving them");
  t.equal(driver.state.assignment.shardAt(0), "s1");
  const own = driver.state.assignment.slotsOf("s2");
  const closed = (...claims: LeadReport["slots"]): string[] =>
    printed(roundOf(driver.state, [beat("n2", [leads(102, "n2", ["n2"], { slots: claims })])])).filter(
      (line) => line.includes("close"),
    );
  t.same(closed({ epoch: 1, slots: own }), [], "what only it has stays");
  t.same(closed({ epoch: 1, slots: own }, { epoch, slots }), ["n2: close 102"]);
});

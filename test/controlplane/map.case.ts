/** The map, and what people are shown. */
import t from "tap";
import { Liveness } from "../../src/controlplane/liveness.ts";
import { liveJson, mapJson, mapOf, reshardJson } from "../../src/controlplane/map.ts";
import { type ClusterMap, clusterMap, mapProblem, mergeMaps } from "../../src/wire/cluster_map.ts";
import { decodeShape, encodeShape, ShapeError } from "../../src/wire/msgpack.ts";
import { init, old, plan, RECORD, register } from "./bodies.ts";
import { Driver } from "./driver.ts";
import { beat, follows, leads } from "./heard.ts";

function small(): Driver {
  const driver = new Driver();
  for (const node of ["n1", "n2", "n3"]) driver.run(register(node));
  driver.run(init(2, ["n1", "n2", "n3"]));
  return driver;
}

const noHint = (): null => null;

t.test("the map says who serves what, and is read back as it was", async (t) => {
  const driver = small();
  const map = mapOf(driver.state, (group) => (group === 102 ? { node: "n3", term: 5 } : null));
  t.same(map.ranges, [
    [0, 8191, 0, 1],
    [8192, 16_383, 1, 1],
  ]);
  t.same(
    map.shards.map(({ id, replicas, leader }) => [id, replicas, leader]),
    [
      ["s1", [0, 1, 2], null],
      ["s2", [0, 1, 2], { node: 2, term: 5 }],
    ],
  );
  t.equal(mapProblem(map), null);
  t.same(decodeShape(clusterMap, encodeShape(clusterMap, map), "map"), map);
});

t.test("a map that names what it does not list is refused", async (t) => {
  const map = mapOf(small().state, noHint);
  const [shard] = map.shards;
  if (shard === undefined) return;
  t.type(mapProblem({ ...map, ranges: [[0, 9, 2, 1]] }), "string");
  t.type(mapProblem({ ...map, shards: [{ ...shard, replicas: [3] }] }), "string");
  t.type(mapProblem({ ...map, shards: [{ ...shard, leader: { node: 3, term: 1 } }] }), "string");
  const bytes = (ranges: unknown): Uint8Array =>
    encodeShape(clusterMap, { ...map, ranges: ranges as ClusterMap["ranges"] });
  for (const ranges of [
    [[5, 4, 0, 1]],
    [[0, 16_384, 0, 1]],
    [[0, 5, 0, 0]],
    [
      [0, 5, 0, 1],
      [5, 9, 0, 1],
    ],
    [[0, 5, 0]],
  ])
    t.type(decodeShape(clusterMap, bytes(ranges), "map"), ShapeError);
});

t.test(
  "F9: of two maps the newer one counts, whatever comes last; of two hints the one of the higher term",
  async (t) => {
    const driver = small();
    const before = mapOf(driver.state, () => ({ node: "n1", term: 9 }));
    driver.run(plan(2, old("s1", "s2"), [{ from: "s1", to: "s2", slots: [[0, 9]] }]));
    driver.run({ kind: "start", plan: 2, move: 0, tries: 1 });
    driver.run({ kind: "outcome", epoch: 2, phase: "owned", record: RECORD });
    const after = mapOf(driver.state, () => ({ node: "n2", term: 4 }));
    t.same(after.ranges[0], [0, 9, 1, 2]);
    for (const merged of [mergeMaps(before, after), mergeMaps(after, before)]) {
      t.same(merged.ranges, after.ranges);
      t.same(merged.version, after.version);
      t.same(
        merged.shards.map(({ leader }) => leader),
        [
          { node: 0, term: 9 },
          { node: 0, term: 9 },
        ],
      );
    }
    const other = { ...after, cluster: "d".repeat(32) };
    t.equal(mergeMaps(before, other), before, "another cluster's map is nobody's");
    driver.run({ kind: "restored", token: "e".repeat(32) });
    const restored = mapOf(driver.state, noHint);
    t.equal(
      mergeMaps(restored, { ...after, version: { restore: 0, index: 99_999 } }).version,
      restored.version,
    );
  },
);

t.test("an excluded node is on no map", async (t) => {
  const driver = small();
  driver.run({ kind: "node", node: "n2", action: "exclude" });
  const map = mapOf(driver.state, () => ({ node: "n2", term: 2 }));
  t.same(
    map.nodes.map(({ id }) => id),
    ["n1", "n3"],
  );
  t.same(map.shards[0]?.replicas, [0, 1]);
  t.equal(map.shards[0]?.leader, null);
});

t.test("what people are shown", async (t) => {
  const driver = small();
  const liveness = new Liveness(0);
  liveness.hear(driver.state, beat("n1", [leads(101, "n1", ["n1", "n2", "n3"]), follows(102, 2, "n2")]), 100);
  t.matchOnly(mapJson(mapOf(driver.state, (group) => liveness.hint(group))), {
    cluster: String,
    version: { restore: 0, index: 5 },
    nodes: [
      { id: "n1", addr: "127.0.0.1:7001", http: "127.0.0.1:8001", zone: "" },
      { id: "n2", addr: "127.0.0.1:7002", http: "127.0.0.1:8002", zone: "" },
      { id: "n3", addr: "127.0.0.1:7003", http: "127.0.0.1:8003", zone: "" },
    ],
    shards: [
      {
        id: "s1",
        group: 101,
        weight: 1,
        nodes: ["n1", "n2", "n3"],
        leader: "n1",
        term: 3,
        slotCount: 8192,
        slots: [[0, 8191]],
      },
      {
        id: "s2",
        group: 102,
        weight: 1,
        nodes: ["n1", "n2", "n3"],
        leader: "n2",
        term: 2,
        slotCount: 8192,
        slots: [[8192, 16383]],
      },
    ],
    ranges: [
      [0, 8191, "s1", 1],
      [8192, 16383, "s2", 1],
    ],
  });
  const view = liveness.view(driver.state, 150);
  t.match(liveJson(driver.state, view, liveness), {
    waitingFor: [],
    nodes: [
      { id: "n1", state: "alive", silentMs: 500, replicas: 2, leads: 1, load: { commandsPerSecond: 10 } },
      { id: "n2", state: "suspect", silentMs: 1500, replicas: 0 },
      { id: "n3", state: "suspect" },
    ],
    shards: [
      {
        id: "s1",
        leader: "n1",
        term: 3,
        voters: ["n1", "n2", "n3"],
        blocked: "too few of the present replicas can be reached",
        slots: 8192,
        replicas: [{ node: "n1", role: "leader", lag: 0 }],
      },
      { id: "s2", leader: null, hint: "n2", blocked: "no leader is known" },
    ],
  });
  t.match(reshardJson(driver.state, view), { active: false, epoch: 1, keysMoved: 0, moves: [] });
  driver.run(plan(2, old("s1", "s2"), [{ from: "s1", to: "s2", slots: [[0, 9]] }]));
  driver.run({ kind: "start", plan: 2, move: 0, tries: 1 });
  const moves = [
    {
      epoch: 2,
      side: "source" as const,
      phase: "copying" as const,
      keys: 30,
      keysTotal: 90,
      bytes: 2000,
      record: null,
    },
  ];
  liveness.hear(driver.state, beat("n1", [leads(101, "n1", ["n1", "n2", "n3"], { moves })]), 160);
  t.match(reshardJson(driver.state, liveness.view(driver.state, 161)), {
    active: true,
    epoch: 2,
    keysMoved: 30,
    keysTotal: 90,
    moves: [
      { from: "s1", to: "s2", slotCount: 10, state: "running", epoch: 2, tries: 1, keys: 30, bytes: 2000 },
    ],
  });
});

/** What people send as JSON: taken as meant, or refused with the field, what it may be, and what it was. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { NucleusError } from "../../src/base/errors.ts";
import { Liveness } from "../../src/controlplane/liveness.ts";
import { type PlanningTools, planFirst, planNext } from "../../src/controlplane/planner.ts";
import {
  parseDesired,
  parseFirstLayout,
  parseLost,
  parseNode,
  parsePlan,
  parsePlanNumber,
  parseSettings,
  parseShardAdd,
  parseShardRemove,
} from "../../src/controlplane/requests.ts";
import { SETTINGS_DEFAULT } from "../../src/controlplane/state.ts";
import { countSlots } from "../../src/ring/range.ts";
import { register } from "./bodies.ts";
import { Driver } from "./driver.ts";
import { beat } from "./heard.ts";

const { h64 } = await xxhash();

t.test("requests that are right", async (t) => {
  t.same(parseFirstLayout('{"shards":[{"id":"s1"},{"id":"s2","weight":2.5,"nodes":["n1"]}]}'), {
    replicas: null,
    vnodes: 256,
    shards: [
      { id: "s1", weight: 1, nodes: null },
      { id: "s2", weight: 2.5, nodes: ["n1"] },
    ],
  });
  t.same(parseDesired('{"shard":"s1","add":["n4"]}'), { shard: "s1", add: ["n4"], remove: [] });
  t.same(parsePlan('{"epoch":2,"shards":[{"id":"s1"}],"manual":true}'), {
    epoch: 2,
    vnodes: null,
    shards: [{ id: "s1", weight: 1, nodes: null }],
    manual: true,
    dryRun: false,
  });
  t.same(
    parseFirstLayout('{"shards":2,"replicas":1}').shards.map(({ id }) => id),
    ["s1", "s2"],
    "a number of shards is enough",
  );
  const once = { epoch: null, manual: false, dryRun: false };
  t.same(parseShardAdd("{}"), { id: null, weight: 1, nodes: null, ...once });
  t.same(parseShardAdd('{"id":"s3","weight":2,"nodes":["n1"],"epoch":4,"dryRun":true}'), {
    id: "s3",
    weight: 2,
    nodes: ["n1"],
    epoch: 4,
    manual: false,
    dryRun: true,
  });
  t.same(parseShardRemove('{"id":"s3"}'), { id: "s3", ...once });
  t.equal(parseLost('{"id":"s3","yes":true}'), "s3");
  t.same(parseNode('{"node":"n1","action":"drain"}'), { node: "n1", action: "drain" });
  t.same(parseSettings('{"movesMax":2}', SETTINGS_DEFAULT), { ...SETTINGS_DEFAULT, movesMax: 2 });
  t.equal(parsePlanNumber('{"epoch":7}'), 7);
});

const WRONG: readonly (readonly [(text: string) => unknown, string, string])[] = [
  [parseFirstLayout, "{", "the request is not JSON"],
  [parseFirstLayout, "[]", "the layout must be an object, not []"],
  [
    parseFirstLayout,
    '{"shard":[]}',
    'the layout has an unknown field "shard"; known: replicas, vnodes, shards',
  ],
  [parseFirstLayout, "{}", '"shards" must be a list of 1 to 1024 shards, not left out'],
  [parseFirstLayout, '{"shards":[{"id":"a b"}]}', '"shards[0].id" must be 1 to 64 letters'],
  [
    parseFirstLayout,
    '{"shards":[{"id":"s1"},{"id":"s1"}]}',
    '"shards" must be a list of different shards, not "s1"',
  ],
  [
    parseFirstLayout,
    '{"shards":[{"id":"s1","weight":0}]}',
    '"shards[0].weight" must be a number above 0, up to 100, not 0',
  ],
  [parseFirstLayout, '{"shards":[{"id":"s1","nodes":[]}]}', '"shards[0].nodes" must be at least one node'],
  [
    parseFirstLayout,
    '{"shards":[{"id":"s1","nodes":["n1","n1"]}]}',
    '"shards[0].nodes" must be a list of different nodes',
  ],
  [
    parseFirstLayout,
    '{"replicas":16,"shards":[{"id":"s1"}]}',
    '"replicas" must be a whole number from 1 to 15, not 16',
  ],
  [
    parseFirstLayout,
    '{"vnodes":0,"shards":[{"id":"s1"}]}',
    '"vnodes" must be a whole number from 1 to 4096, not 0',
  ],
  [parseDesired, '{"add":["n1"]}', '"shard" must be 1 to 64 letters'],
  [parseDesired, '{"shard":"s1"}', 'one of "add" and "remove" must be a list of nodes'],
  [parseDesired, '{"shard":"s1","add":"n1"}', '"add" must be a list of at most 15 nodes, not "n1"'],
  [parseDesired, '{"shard":"s1","add":["n1"],"remove":["n1"]}', 'without a node in both, not "n1"'],
  [parsePlan, '{"shards":[{"id":"s1"}]}', '"epoch" must be a whole number from 1'],
  [parsePlan, '{"epoch":1.5,"shards":[{"id":"s1"}]}', '"epoch" must be a whole number from 1'],
  [parsePlan, '{"epoch":2,"shards":[{"id":"s1"}],"manual":1}', '"manual" must be true or false, not 1'],
  [parsePlanNumber, '{"epoch":"2"}', '"epoch" must be a whole number from 1'],
  [parseFirstLayout, '{"shards":0}', '"shards" must be a whole number from 1 to 1024, not 0'],
  [parsePlan, '{"epoch":2,"shards":[{"id":"s1"}],"dryRun":1}', '"dryRun" must be true or false, not 1'],
  [parseShardAdd, '{"weight":0}', '"weight" must be a number above 0'],
  [parseShardAdd, '{"name":"s3"}', 'the request has an unknown field "name"'],
  [parseShardRemove, "{}", '"id" must be 1 to 64 letters'],
  [parseLost, '{"id":"s1"}', '"yes" must be true: what only this shard has is given up'],
  [parseNode, '{"node":"n1","action":"kill"}', '"action" must be one of drain, undrain'],
  [(text) => parseSettings(text, SETTINGS_DEFAULT), '{"replicas":0}', '"replicas" must be a whole number'],
  [(text) => parseSettings(text, SETTINGS_DEFAULT), '{"moves":1}', 'an unknown field "moves"'],
  [parsePlanNumber, "null", "the request must be an object, not null"],
];

t.test("requests that are wrong", async (t) => {
  for (const [parse, text, message] of WRONG) {
    try {
      parse(text);
      t.fail(text);
    } catch (error) {
      if (!(error instanceof NucleusError)) throw error;
      t.equal(error.code, "EREQUEST");
      t.ok(error.message.includes(message), `${text}: ${error.message}`);
    }
  }
});

function planning(zones: readonly string[]): PlanningTools & { driver: Driver } {
  const driver = new Driver();
  const liveness = new Liveness(0);
  for (const [i, zone] of zones.entries()) {
    const { registration } = register(`n${i + 1}`);
    driver.run({ kind: "register", registration: { ...registration, zone } });
    liveness.hear(driver.state, beat(`n${i + 1}`), 1);
  }
  let group = 100;
  const newGroup = (): number => ++group;
  return {
    driver,
    h64,
    newGroup,
    get state() {
      return driver.state;
    },
    get view() {
      return liveness.view(driver.state, 2);
    },
  };
}

t.test(
  "a first layout: all slots, replicas in different zones, load spread; then a plan that moves what it must",
  async (t) => {
    const tools = planning(["a", "a", "b", "b", "c", "c"]);
    const shards = [1, 2, 3, 4].map((i) => ({ id: `s${i}`, weight: 1, nodes: null }));
    const first = planFirst(tools, { replicas: 3, vnodes: 256, shards });
    if (typeof first === "string") throw new Error(first);
    t.equal(countSlots(first.slots.flat()), 16_384);
    const held = new Map<string, number>();
    for (const { newborn } of first.shards) {
      const nodes = newborn?.founders.map(({ node }) => node) ?? [];
      for (const node of nodes) held.set(node, (held.get(node) ?? 0) + 1);
      t.equal(new Set(nodes.map((node) => tools.state.nodes.get(node)?.zone)).size, 3);
    }
    t.same([...held.values()], [2, 2, 2, 2, 2, 2]);
    t.equal(tools.driver.run(first), "ok 1");
    const more = [...shards, { id: "s5", weight: 1, nodes: ["n6", "n1"] }];
    const next = planNext(tools, { epoch: 2, vnodes: null, shards: more, manual: false });
    if (typeof next === "string") throw new Error(next);
    t.ok(
      next.plan.moves.every(({ to }) => to === "s5"),
      "nothing moves between old shards",
    );
    const moved = next.figures.slotsMoved;
    t.ok(moved > 0.75 * (16_384 / 5) && moved < 1.25 * (16_384 / 5), `${moved} slots`);
    t.equal(tools.driver.run(next.plan), "ok 2");
    t.same(tools.state.shards.get("s5")?.replicas, ["n1", "n6"]);
  },
);

t.test("what cannot be planned is said", async (t) => {
  const tools = planning(["", ""]);
  const shards = [{ id: "s1", weight: 1, nodes: null }];
  const next = { epoch: 2, vnodes: null, manual: false };
  t.match(planNext(tools, { ...next, shards }), /^CONFLICT there is no first layout/);
  t.match(
    planFirst(tools, { replicas: 3, vnodes: 256, shards }),
    /^CONFLICT shard 's1' needs 3 nodes, and 2 can be used/,
  );
  const named = [{ id: "s1", weight: 1, nodes: ["n2", "n7"] }];
  t.match(planFirst(tools, { replicas: 3, vnodes: 256, shards: named }), /^NOTFOUND node 'n7'/);
  const thin = [{ id: "s1", weight: 0.001, nodes: null }];
  t.match(planFirst(tools, { replicas: 1, vnodes: 16, shards: thin }), /^INVALID shards\[0\].weight/);
  const first = planFirst(tools, { replicas: 2, vnodes: 16, shards });
  if (typeof first === "string") throw new Error(first);
  tools.driver.run(first);
  const moved = planNext(tools, { ...next, shards: [{ id: "s1", weight: 1, nodes: ["n2"] }] });
  if (typeof moved === "string") throw new Error(moved);
  t.same(moved.desired, [{ kind: "desired", shard: "s1", add: [], remove: ["n1"], expected: ["n1", "n2"] }]);
});

/** What is read off two snapshots. */
import t from "tap";
import { events, type Snapshot } from "./modules.ts";
import { move, node, shard, snapshot } from "./snapshots.ts";

const said = (before: Snapshot, after: Snapshot): string[] =>
  events.eventsBetween(before, after).map(({ level, text }) => `${level}: ${text}`);

t.test("nothing happened, and nothing is said", async (t) => {
  t.same(said(snapshot(), snapshot({ version: { restore: 0, index: 9 } })), []);
});

t.test("nodes come, fall silent, die, come back, go", async (t) => {
  const at = (state: "alive" | "suspect" | "dead" | "excluded", draining = false): Snapshot =>
    snapshot({ nodes: [node("n1", { state, draining })] });
  t.same(said(at("alive"), at("suspect")), ["warn: node n1 is silent"]);
  t.same(said(at("suspect"), at("dead")), ["bad: node n1 counts as dead"]);
  t.same(said(at("dead"), at("alive")), ["good: node n1 is back"]);
  t.same(said(at("dead"), at("excluded")), ["warn: node n1 was excluded"]);
  t.same(said(at("alive"), at("alive", true)), ["info: node n1 is being drained"]);
  t.same(said(at("alive", true), at("alive")), ["info: node n1 takes replicas again"]);
  const two = snapshot({ nodes: [node("n1"), node("n9", { addr: "10.0.0.9:7000" })] });
  t.same(said(at("alive"), two), ["good: node n9 has registered, at 10.0.0.9:7000"]);
  t.same(said(two, at("alive")), ["info: node n9 was removed"]);
});

t.test("leaders, voters and shards change", async (t) => {
  const at = (more: Parameters<typeof shard>[1]): Snapshot => snapshot({ shards: [shard("s1", more)] });
  t.same(said(at({}), at({ leader: "n2", term: 4 })), ["info: shard s1: n2 leads, after n1, in term 4"]);
  t.same(said(at({}), at({ leader: null })), ["bad: shard s1 has no leader (it was n1)"]);
  t.same(said(at({ leader: null }), at({ term: 5 })), ["good: shard s1: n1 leads, in term 5"]);
  t.same(said(at({}), at({ term: 5 })), ["info: shard s1: n1 leads again, in term 5"]);
  t.same(said(at({}), at({ voters: ["n1", "n2", "n4"] })), ["info: shard s1: voters n1 n2 n3 -> n1 n2 n4"]);
  t.same(
    said(at({}), at({ voters: [], leader: null })),
    ["bad: shard s1 has no leader (it was n1)"],
    "unknown is no change",
  );
  t.same(said(at({}), at({ state: "lost" })), ["bad: shard s1 is lost"]);
  t.same(said(at({}), snapshot()), ["info: shard s2 was added"]);
  t.same(said(snapshot(), at({})), ["info: shard s2 is gone"]);
  t.same(said(snapshot({ shards: [] }), snapshot()), ["good: the cluster has its first layout: 2 shards"]);
});

t.test("a plan from its beginning to its end", async (t) => {
  const under = (moves: ReturnType<typeof move>[], more: object = {}): Snapshot =>
    snapshot({}, { active: true, epoch: 2, moves, ...more });
  const record = { keys: 1200, bytes: 5000, pauseMs: 3 };
  const finished = [{ epoch: 4, plan: 2, from: "s1", to: "s2", slotCount: 100, record }];
  const steps = [
    snapshot(),
    under([move("s1", "s2")]),
    under([move("s1", "s2", { state: "running", epoch: 3, tries: 1 })]),
    under([move("s1", "s2", { state: "aborted", epoch: 3, tries: 1 })]),
    under([move("s1", "s2", { state: "running", epoch: 4, tries: 2 })]),
    under([move("s1", "s2", { state: "owned", epoch: 4, tries: 2 })], { cutover: true }),
    snapshot({}, { epoch: 2, finished, last: { number: 2, cancelled: false, done: 1, moves: 1 } }),
  ];
  const all = steps.slice(1).map((step, i) => said(steps[i] as Snapshot, step));
  t.same(all, [
    ["info: plan 2 has begun: 1 move"],
    ["info: s1 -> s2 has begun: 100 slots (epoch 3)"],
    ["warn: s1 -> s2 was aborted (epoch 3)"],
    ["info: s1 -> s2 has begun: 100 slots, try 2 (epoch 4)"],
    ["info: plan 2: cut over", "info: s1 -> s2: s2 owns the slots (epoch 4)"],
    [
      "good: s1 -> s2 is done: 100 slots, 1,200 keys, writes held for 3 ms (epoch 4)",
      "good: plan 2 is done: 1 of 1 move",
    ],
  ]);
  const cancelled = snapshot({}, { epoch: 2, last: { number: 2, cancelled: true, done: 0, moves: 1 } });
  t.same(said(under([move("s1", "s2")]), under([move("s1", "s2")], { cancelled: true })), [
    "warn: plan 2 is being cancelled",
  ]);
  t.same(said(under([move("s1", "s2")]), cancelled), ["warn: plan 2 was cancelled: 0 of 1 move"]);
});

t.test("the control plane changes", async (t) => {
  t.same(said(snapshot(), snapshot({ term: 3 })), ["info: the control plane has a new leader, in term 3"]);
  t.same(said(snapshot(), snapshot({ version: { restore: 1, index: 2 } })), [
    "warn: the control plane was restored (1)",
  ]);
  t.same(said(snapshot(), snapshot({ cluster: "beef", shards: [] })), [
    "bad: this is another cluster now: beef",
  ]);
});

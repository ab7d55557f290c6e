/** What nodes say of themselves, merged into one picture and printed. */
import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import {
  type ClusterView,
  healthOf,
  merge,
  placeOfSlot,
  type ShardView,
  worstLag,
} from "../../src/cli/cluster_view.ts";
import { type NodeReport, parseReport, readReport, type ShardReport } from "../../src/cli/node_report.ts";
import { plain } from "../../src/cli/output.ts";
import { explainText } from "../../src/cli/repl_colon.ts";
import { tagOf } from "../../src/cli/repl_kill.ts";
import { namesText, nodesText, shardsText, verdictText } from "../../src/cli/view_text.ts";
import { slotOf } from "../../src/ring/slot.ts";
import type { ClusterMap } from "../../src/wire/cluster_map.ts";
import { report, reports, VIEW } from "./views.ts";

t.test("the picture has the fields that status --json promises", async (t) => {
  t.same(VIEW, {
    epoch: 1,
    nodes: [
      { id: "n1", addr: "127.0.0.1:7001", http: null, pid: 101, alive: true, waits: null },
      { id: "n2", addr: "127.0.0.1:7002", http: null, pid: 102, alive: true, waits: null },
      { id: "n3", addr: "127.0.0.1:7003", http: null, pid: 103, alive: true, waits: null },
    ],
    shards: [
      {
        id: "s1",
        leader: "n2",
        term: 7,
        commit: 41,
        replicas: [
          { node: "n1", role: "follower", lag: 0 },
          { node: "n2", role: "leader", lag: 0 },
          { node: "n3", role: "follower", lag: 0 },
        ],
        slots: 16_384,
        keys: 1234,
        bytes: 5 * 1024 * 1024,
      },
    ],
    map: null,
  });
});

t.test("a healthy cluster", async (t) => {
  t.equal(verdictText(VIEW, plain), "Healthy - 3/3 nodes, 1/1 shards have leaders, worst lag 0");
  t.equal(
    nodesText(VIEW, plain),
    [
      "NODE  ADDRESS         STATE  PID  LEADS",
      "n1    127.0.0.1:7001  up     101  -",
      "n2    127.0.0.1:7002  up     102  s1",
      "n3    127.0.0.1:7003  up     103  -",
    ].join("\n"),
  );
  t.equal(
    shardsText(VIEW, plain),
    [
      "SHARD  LEADER  TERM  COMMIT   SLOTS   KEYS   DATA  REPLICAS (LAG)",
      "s1     n2         7      41  16,384  1,234  5 MiB  n1 (0) n2 (0) n3 (0)",
    ].join("\n"),
  );
});

t.test("a dead follower: degraded, and its lag is not the worst of the living", async (t) => {
  const replicas = [
    { node: "n1", role: "follower", lag: 3 },
    { node: "n2", role: "leader", lag: 0 },
    { node: "n3", role: "follower", lag: 500 },
  ];
  const view = merge(reports(report("n1", {}), report("n2", { role: "leader", replicas }), null));
  t.equal(healthOf(view), "degraded");
  t.equal(worstLag(view), 3);
  t.equal(verdictText(view, plain), "Degraded - 2/3 nodes, 1/1 shards have leaders, worst lag 3");
  t.match(nodesText(view, plain), /^n3 +127\.0\.0\.1:7003 +no answer +- +-$/m);
  t.match(shardsText(view, plain), "n1 (3) n2 (0) n3 (500)");
});

t.test("a lost replica is shown as missing, until its node has another one to come", async (t) => {
  const rest = [
    { node: "n2", role: "leader", lag: 0 }, // replicas come in the order of their ids: n1 was replaced
    { node: "n1", role: "follower", lag: 0 },
  ];
  const lost = { node: "n3", role: "missing", lag: 7 };
  const shown = (...replicas: ShardReport["replicas"]) => {
    const view = merge(
      reports(report("n1", {}), report("n2", { role: "leader", replicas }), report("n3", {})),
    );
    t.equal(healthOf(view), "degraded");
    return shardsText(view, plain).split(/ {2,}/).at(-1);
  };
  t.equal(shown(...rest, lost), "n1 (0) n2 (0) n3 (missing)");
  t.equal(shown(...rest, lost, { ...lost, lag: 41 }), "n1 (0) n2 (0) n3 (missing)");
  t.equal(shown(...rest, lost, { ...lost, role: "learner", lag: 41 }), "n1 (0) n2 (0) n3 (learner, 41)");
});

t.test("no leader: unavailable, and nobody's memory of one is believed", async (t) => {
  const view = merge(
    reports(report("n1", {}), null, report("n3", { role: "candidate", term: 8, commit: 39 })),
  );
  t.equal(healthOf(view), "unavailable");
  t.equal(view.shards[0]?.leader, null);
  t.same(
    view.shards[0]?.replicas.map(({ role }) => role),
    ["follower", "follower", "follower"],
  );
  t.equal(verdictText(view, plain), "Unavailable - 2/3 nodes, 0/1 shards have leaders, worst lag unknown");
  t.match(shardsText(view, plain), /^s1 +none/m);
});

t.test("of two that say they lead, the one with the higher term is believed", async (t) => {
  const old = report("n1", { role: "leader", term: 7, commit: 900 });
  const now = report("n3", { role: "leader", term: 9, commit: 41 });
  for (const order of [reports(old, null, now), reports(old, report("n2", { term: 12 }), now)]) {
    t.equal(merge(order).shards[0]?.leader, "n3");
    t.equal(merge(order).shards[0]?.commit, 41);
  }
});

t.test("a report is read as it is written, and anything else is refused by name", async (t) => {
  const good = report("n1", {});
  t.same(parseReport(JSON.stringify({ ...good, uptimeMs: 5, extra: true })), good);
  t.same(readReport({ kind: "bulk", bytes: utf8(JSON.stringify(good)) }), good);
  const bad: [string, RegExp][] = [
    ["{", /not JSON/],
    ["[]", /it is not an object/],
    [JSON.stringify({ ...good, pid: "1" }), /pid is not a number/],
    [JSON.stringify({ ...good, node: null }), /node is not a text/],
    [JSON.stringify({ ...good, nodes: {} }), /nodes is not a list/],
    [
      JSON.stringify({ ...good, shards: [{ ...good.shards[0], term: null }] }),
      /shards\[0\]\.term is not a number/,
    ],
  ];
  for (const [text, why] of bad) t.throws(() => parseReport(text), { code: "EREPORT", message: why });
  t.throws(() => readReport({ kind: "error", text: "ERR unknown command 'NUCLEUS'" }), /ERR unknown command/);
  t.throws(() => readReport({ kind: "nil" }), { code: "EREPORT" });
});

/** Two shards on three nodes: n1 and n2 hold s1, n2 and n3 hold s2; s3 is on n3 alone. */
const MAP: ClusterMap = {
  cluster: "00".repeat(16),
  version: { restore: 0, index: 9 },
  nodes: ["n1", "n2", "n3"].map((id, i) => ({
    id,
    address: `127.0.0.1:${7001 + i}`,
    http: `127.0.0.1:${8001 + i}`,
    zone: "",
  })),
  shards: [
    { id: "s1", group: 11, weight: 1, replicas: [0, 1], leader: { node: 0, term: 3 } },
    { id: "s10", group: 13, weight: 1, replicas: [2], leader: { node: 2, term: 4 } },
    { id: "s2", group: 12, weight: 1, replicas: [1, 2], leader: null },
  ],
  ranges: [
    [0, 99, 0, 1],
    [100, 8191, 2, 7],
    [8192, 16_382, 1, 1],
  ],
};

function manyShards(n3: boolean): ClusterView {
  const on = (node: string, ...shards: Partial<ShardReport>[]): NodeReport => {
    const one = report(node, {});
    return { ...one, shards: shards.map((shard) => ({ ...(one.shards[0] as ShardReport), ...shard })) };
  };
  const pair = (a: string, b: string) => [
    { node: b, role: "follower", lag: 2 },
    { node: a, role: "leader", lag: 0 },
  ];
  const of1 = { id: "s1", slots: 100, keys: 5, replicas: pair("n1", "n2") };
  const of2 = { id: "s2", slots: 8092, keys: 80, replicas: pair("n3", "n2") };
  const [n1, n2] = [on("n1", { ...of1, role: "leader" }), on("n2", of1, of2)];
  const gone = { id: "s9", slots: 0 };
  const last = on("n3", { ...of2, role: "leader", keys: 81 }, { ...gone, role: "leader" });
  return merge(reports(n1, n2, n3 ? last : null), MAP);
}

t.test(
  "several shards: each is as its leader says, and the map names those that nobody tells of",
  async (t) => {
    const view = manyShards(true);
    t.equal(view.epoch, 7, "the highest at which anybody owns slots");
    t.same(
      view.shards.map(({ id, leader, slots, keys }) => [id, leader, slots, keys]),
      [
        ["s1", "n1", 100, 5],
        ["s2", "n3", 8092, 81],
        ["s10", null, 8191, 0],
      ],
      "in the order people count in; one that is over and serves nothing is left out",
    );
    t.same(view.shards[2]?.replicas, [{ node: "n3", role: "unknown", lag: null }]);
    t.equal(verdictText(view, plain), "Unavailable - 3/3 nodes, 2/3 shards have leaders, worst lag 2");
    t.equal(
      nodesText(view, plain),
      [
        "NODE  ADDRESS         HTTP            STATE  PID  REPLICAS  LEADS",
        "n1    127.0.0.1:7001  127.0.0.1:8001  up     101         1  s1",
        "n2    127.0.0.1:7002  127.0.0.1:8002  up     102         2  -",
        "n3    127.0.0.1:7003  127.0.0.1:8003  up     103         2  s2",
      ].join("\n"),
    );
  },
);

t.test("several shards, a node is silent: what only it led has no leader", async (t) => {
  const view = manyShards(false);
  t.same(
    view.shards.map(({ id, leader, keys }) => [id, leader, keys]),
    [
      ["s1", "n1", 5],
      ["s2", null, 80],
      ["s10", null, 0],
    ],
  );
  t.equal(healthOf(view), "unavailable");
});

t.test("a shard that is being made has no slots, and nobody misses its leader", async (t) => {
  const [s1, s2] = [
    { id: "s1", leader: "n1", slots: 16_384 },
    { id: "s2", leader: null, slots: 0 },
  ].map((shard) => ({ ...VIEW.shards[0], ...shard })) as unknown as readonly [ShardView, ShardView];
  t.equal(healthOf({ ...VIEW, shards: [s1, s2] }), "degraded");
  t.equal(healthOf({ ...VIEW, shards: [s1] }), "healthy");
  t.equal(healthOf({ ...VIEW, shards: [s2] }), "unavailable");
});

t.test("what is written to measure a kill lies in the shard that loses its leader", async (t) => {
  const view = manyShards(true);
  for (const shard of ["s1", "s2", "s10"]) {
    const bytes = utf8(tagOf(shard, view) ?? "");
    t.equal(placeOfSlot(view, slotOf(bytes, 0, bytes.length))?.shard.id, shard);
  }
  t.equal(tagOf("s9", view), null);
  t.equal(tagOf("s1", VIEW), null, "without a map");
});

t.test("whose a slot is comes from the map, with its epoch", async (t) => {
  const view = manyShards(true);
  const told = (slot: number): unknown => {
    const place = placeOfSlot(view, slot);
    return place === null ? null : [place.shard.id, place.epoch];
  };
  t.same([0, 99, 100, 8192, 16_383].map(told), [["s1", 1], ["s1", 1], ["s2", 7], ["s10", 1], null]);
  t.same(placeOfSlot({ ...view, map: null }, 0), null, "without a map, of several nobody knows");
  t.match(placeOfSlot(VIEW, 16_383), { shard: { id: "s1" }, epoch: 1 });
  t.match(explainText(utf8("hello"), view), /shard {5}s2, .* 8,092 slots\nepoch {5}7, which brought/);
});

t.test("long lists of names are cut, and counted", async (t) => {
  t.equal(namesText([]), "-");
  t.equal(namesText(["a", "b", "c", "d", "e", "f"]), "a b c d e f");
  t.equal(namesText(["a", "b", "c", "d", "e", "f", "g"]), "a b c d e +2");
});

/** Nodes that lost what they held, nodes that take another's place, and what the leader makes of it. */
import t from "tap";
import { type Task, wait } from "../../src/base/task.ts";
import type { Disk, DiskFile } from "../../src/platform/platform.ts";
import type { GroupConfig } from "../../src/raft/types.ts";
import { nextOrders, replaceProblem, type Situation } from "../../src/server/replacement.ts";
import type { NodeHolding } from "../../src/server/whereabouts.ts";
import { Cluster } from "./cluster.ts";

const on = (replica: number, standing: NodeHolding["standing"] = "sound"): NodeHolding => ({
  incarnation: `of ${replica}`,
  replica,
  quarantined: false,
  standing: replica === 0 ? null : standing,
});

const THREE: GroupConfig = {
  version: 5,
  voters: [
    { replica: 1, node: "n1" },
    { replica: 2, node: "n2" },
    { replica: 3, node: "n3" },
  ],
  outgoing: [],
  learners: [],
  nextReplica: 4,
};
const LEARNING: GroupConfig = {
  ...THREE,
  version: 6,
  learners: [{ replica: 4, node: "n3" }],
  nextReplica: 5,
};

function situation(over: Partial<Situation>): Situation {
  const holdings = new Map([
    ["n2", on(2)],
    ["n3", on(3)],
  ]);
  return {
    self: 1,
    config: THREE,
    holdings,
    wishes: new Map(),
    wanted: null,
    isYoung: false,
    standing: () => "sound",
    ...over,
  };
}

function orders(over: Partial<Situation>) {
  const { changes, creates, closes } = nextOrders(situation(over));
  return [changes[0] ?? null, creates, closes];
}

const holding = (n3: NodeHolding | null): Map<string, NodeHolding> =>
  new Map([["n2", on(2)], ...(n3 === null ? [] : [["n3", n3] as const])]);

t.test("A12: what a leader orders follows from the config and what the nodes hold", (t) => {
  t.same(orders({}), [null, [], []], "all is well");
  t.same(orders({ holdings: holding(null) }), [null, [], []], "a node that cannot be reached may come back");
  const add = { version: 5, addLearners: ["n3"] };
  t.same(orders({ holdings: holding(on(0)) }), [add, [], []], "an empty one gets a new id");
  t.same(orders({ holdings: holding(on(3, "foreign")) }), [add, [], []], "so does one born anew by hand");
  t.same(orders({ holdings: holding({ ...on(3), quarantined: true }) }), [add, [], []]);
  t.same(orders({ holdings: holding(on(3, "pending")) }), [null, [], []], "not known yet is not lost");
  t.same(
    orders({ holdings: holding(on(4)) }),
    [null, [], []],
    "one of the future was born by hand: left alone",
  );

  const create = { node: "n3", replica: 4 };
  t.same(orders({ config: LEARNING, holdings: holding(on(0)) }), [null, [create], []]);
  t.same(
    orders({ config: LEARNING, holdings: holding(on(0)), standing: () => "foreign" }),
    [{ version: 6, remove: [4] }, [], []],
    "the id was meant for another incarnation: this one gets the next",
  );
  t.same(orders({ config: LEARNING, holdings: holding(on(0)), standing: () => "pending" }), [null, [], []]);
  t.same(orders({ config: LEARNING, holdings: holding(on(4)) }), [
    { version: 6, promote: [4], remove: [3] },
    [],
    [],
  ]);
  t.same(orders({ config: LEARNING, holdings: holding(on(4, "pending")) }), [null, [], []]);
  t.end();
});

t.test("E7: a replica that was removed and does not know is told; ids of the future are not", (t) => {
  const config = {
    ...THREE,
    version: 9,
    nextReplica: 6,
    voters: [...THREE.voters.slice(0, 2), { replica: 5, node: "n4" }],
  };
  const holdings = new Map([...holding(on(3)), ["n4", on(5)] as const]);
  t.same(orders({ config, holdings }), [null, [], [{ node: "n3", replica: 3 }]]);
  holdings.set("n3", on(6));
  t.same(orders({ config, holdings }), [null, [], []]);
  t.end();
});

t.test("a founder that is not there yet is waited for while its group is young", (t) => {
  const holdings = holding(on(0));
  t.same(orders({ holdings, isYoung: true }), [null, [], []]);
  t.same(orders({ holdings }), [{ version: 5, addLearners: ["n3"] }, [], []]);
  t.same(orders({ holdings: holding(on(9)), isYoung: true }), [null, [], []], "an id of the future");
  t.end();
});

t.test("E2, E4: the voters that are wanted: all learners first, then one joint change", (t) => {
  const holdings = new Map([...holding(on(3)), ["n4", on(0)] as const, ["n5", on(0)] as const]);
  const wanted = ["n1", "n2", "n4", "n5"];
  t.same(orders({ wanted, holdings }), [{ version: 5, addLearners: ["n4", "n5"] }, [], []]);
  const learners = [
    { replica: 4, node: "n4" },
    { replica: 5, node: "n5" },
  ];
  const config = { ...THREE, version: 6, learners, nextReplica: 6 };
  holdings.set("n4", on(4));
  t.same(orders({ wanted, config, holdings }), [null, [{ node: "n5", replica: 5 }], []], "n5 is not there");
  holdings.set("n5", on(5));
  const change = { version: 6, promote: [4, 5], remove: [3] };
  t.same(orders({ wanted, config, holdings }), [change, [], []]);
  const away = new Map([...holdings].filter(([node]) => node !== "n4"));
  t.same(orders({ wanted, config, holdings: away }), [null, [], []], "who is wanted is waited for");
  t.same(
    orders({ wanted: ["n1", "n2", "n3"], config, holdings }),
    [{ version: 6, remove: [4] }, [], []],
    "who is not wanted any more goes",
  );
  t.same(orders({ wanted: ["n1", "n2"], holdings: holding(on(3)) }), [
    { version: 5, promote: [], remove: [3] },
    [],
    [],
  ]);
  t.same(orders({ wanted: ["n1", "n2", "n3"], holdings: holding(on(3)) }), [null, [], []], "as wished");
  t.same(orders({ wanted: ["n1", "n2"], holdings: holding(on(0)) })[0], {
    version: 5,
    promote: [],
    remove: [3],
  });
  t.end();
});

t.test("a node takes another's place only if it can", (t) => {
  const wishes = new Map([["n4", "n2"]]);
  const holdings = new Map([...holding(on(3)), ["n4", on(0)] as const]);
  t.same(orders({ wishes, holdings }), [{ version: 5, addLearners: ["n4"] }, [], []]);
  const config = { ...THREE, version: 6, learners: [{ replica: 4, node: "n4" }], nextReplica: 5 };
  t.same(orders({ wishes, config, holdings }), [null, [{ node: "n4", replica: 4 }], []]);
  holdings.set("n4", on(4));
  t.same(orders({ wishes, config, holdings }), [{ version: 6, promote: [4], remove: [2] }, [], []]);
  t.same(
    orders({ config, holdings }),
    [null, [], []],
    "whose place it is to take was forgotten: asked again",
  );

  t.match(replaceProblem(THREE, holdings, "n9", "n4"), /no vote/);
  t.match(replaceProblem(THREE, holdings, "n3", "n2"), /has a vote already/);
  t.match(replaceProblem(THREE, holdings, "n3", "n5"), /cannot be reached/);
  t.match(replaceProblem(THREE, holdings, "n3", "n4"), /--init/, "it holds an id of the future");
  holdings.set("n4", on(0));
  t.equal(replaceProblem(THREE, holdings, "n3", "n4"), null);
  t.end();
});

// --------------------------------------------------------------------------------------------- whole nodes

function votersOf(cluster: Cluster, i: number): string {
  const { voters, outgoing, learners } = cluster.node(i).group.core.config;
  return [voters, outgoing, learners]
    .map((list) => list.map((m) => `${m.node}:${m.replica}`).join(" "))
    .join("|");
}

/** Runs until the group's config is `voters` on the leader, and the node has applied what the leader has. */
function untilReplaced(cluster: Cluster, i: number, voters: string): void {
  cluster.until(`voters ${voters}`, () => {
    const leader = cluster.nodes.find((node) => node.isLeader);
    const group = cluster.node(i).server?.groups[0];
    return (
      leader !== undefined &&
      group !== undefined &&
      votersOf(cluster, cluster.nodes.indexOf(leader)) === voters &&
      group.store.appliedIndex === leader.group.core.commitIndex
    );
  });
}

function stateHashes(cluster: Cluster): Set<string> {
  return new Set(cluster.nodes.map(({ group }) => group.store.stateHash()));
}

t.test("A12, E7: a follower whose directory is emptied comes back by itself, under a new id", (t) => {
  const cluster = Cluster.started();
  const lost = cluster.follower();
  const id = `n${lost + 1}`;
  for (let i = 0; i < 50; i++) cluster.call(cluster.leader(), "SET", `k${i}`, "v");
  cluster.kill(lost);
  cluster.wipe(lost);
  cluster.call(cluster.leader(), "SET", "while", "away");
  cluster.start(lost);
  const voters = ["n1:1", "n2:2", "n3:3"].filter((member) => !member.startsWith(id)).concat(`${id}:4`);
  untilReplaced(cluster, lost, `${voters.join(" ")}||`);
  cluster.until("equal states", () => stateHashes(cluster).size === 1);
  t.equal(cluster.call(lost, "GET", "while"), "away");
  t.equal(cluster.call(lost, "SET", "again", "1"), "OK");

  // Its new id outlives a restart, and it votes: with one of the others down it is needed.
  cluster.kill(lost);
  cluster.start(lost);
  cluster.until("it is up", () => cluster.node(lost).started);
  const other = cluster.nodes.findIndex((node, i) => i !== lost && !node.isLeader);
  cluster.kill(other);
  t.equal(cluster.call(lost, "SET", "needed", "1"), "OK");
  t.equal(cluster.node(lost).group.replica, 4);
  t.end();
});

t.test("the leader's own directory is emptied: the others elect one, and give it a new replica", (t) => {
  const cluster = Cluster.started();
  cluster.call(0, "SET", "a", "1");
  const lost = cluster.leader();
  cluster.kill(lost);
  cluster.wipe(lost);
  cluster.start(lost);
  cluster.until("it has a replica", () => cluster.node(lost).server?.groups[0]?.replica === 4);
  cluster.until("it votes", () =>
    cluster.node(lost).group.core.config.voters.some(({ replica }) => replica === 4),
  );
  t.equal(cluster.call(lost, "GET", "a"), "1");
  t.end();
});

t.test("A12: with a majority of the directories emptied nobody goes on, and nobody gets a replica", (t) => {
  const cluster = Cluster.started();
  cluster.call(0, "SET", "a", "1");
  for (const i of [0, 1, 2]) cluster.kill(i);
  for (const i of [1, 2]) cluster.wipe(i);
  for (const i of [0, 1, 2]) cluster.start(i);
  cluster.run(10_000);
  t.equal(cluster.node(0).group.isLeader, false);
  for (const i of [1, 2]) {
    t.same(cluster.node(i).server?.groups, []);
    t.match(cluster.node(i).server?.waitsBecause, /no replica/);
    t.match(cluster.call(i, "GET", "a"), /CLUSTERDOWN/);
  }
  t.match(cluster.call(0, "GET", "a"), /CLUSTERDOWN/);
  t.end();
});

t.test("A12: a directory that was emptied and born again by hand is not listened to, and replaced", (t) => {
  const cluster = Cluster.started();
  cluster.call(0, "SET", "a", "1");
  const lost = cluster.follower();
  cluster.kill(lost);
  cluster.wipe(lost);
  cluster.start(lost, true);
  cluster.until("it has a new replica", () => cluster.node(lost).server?.groups[0]?.replica === 4);
  cluster.until("equal states", () => stateHashes(cluster).size === 1);
  t.equal(cluster.call(lost, "GET", "a"), "1");
  t.end();
});

const damageLog = (disk: Disk, dir: string): Task<void> => flipAt(disk, dir, Buffer.from("of some length"));
const mendLog = (disk: Disk, dir: string): Task<void> =>
  flipAt(disk, dir, Buffer.concat([Buffer.of("o".charCodeAt(0) ^ 128), Buffer.from("f some length")]));

/** Flips a bit of the node's log, where `from` first stands. */
function* flipAt(disk: Disk, dir: string, from: Buffer): Task<void> {
  const names = yield* wait<string[]>((done) => disk.list(dir, done));
  const name = names.filter((one) => one.startsWith("log-")).sort()[0];
  const file = yield* wait<DiskFile>((done) => disk.open(`${dir}/${name}`, "update", done));
  const bytes = Buffer.alloc(256 * 1024);
  yield* wait<number>((done) => file.pread(bytes, 0, done));
  const at = bytes.indexOf(from);
  const byte = Uint8Array.of((bytes[at] as number) ^ 128);
  yield* wait<number>((done) => file.pwrite(byte, at, done));
  yield* wait<void>((done) => file.datasync(done));
  yield* wait<void>((done) => file.close(done));
}

t.test(
  "D1: a damaged log of one node is set aside, and its replica replaced; of two, nobody goes on",
  (t) => {
    const cluster = Cluster.started();
    for (let i = 0; i < 100; i++)
      cluster.call(0, "SET", `k${i}`, "a value of some length, to have bytes in the log");
    cluster.run(200);
    for (const i of [0, 1, 2]) cluster.kill(i);
    for (const i of [1, 2]) cluster.onDisk(i, (disk) => damageLog(disk, `/n${i + 1}/wal`));
    for (const i of [0, 1, 2]) cluster.start(i);
    cluster.run(5000);
    for (const i of [1, 2]) t.match(cluster.node(i).server?.waitsBecause, /log-\d+ at offset \d+/);
    t.match(cluster.call(0, "GET", "k1"), /CLUSTERDOWN/, "one sound copy is no majority");
    const status = JSON.parse(cluster.node(0).server?.statusJson() ?? "");
    const roles = status.shards[0].replicas.map(({ role }: { role: string }) => role);
    t.same(roles, ["follower", "missing", "missing"], "and it says so");
    for (const i of [1, 2]) {
      t.same(
        cluster
          .node(i)
          .machine.disk.tree.durableFiles()
          .map(({ path }) => path)
          .filter((path) => path.includes("damaged")),
        [],
        "nothing was changed",
      );
    }
    // One of the two is mended: now they are a majority, and the third is replaced.
    cluster.kill(1);
    cluster.onDisk(1, (disk) => mendLog(disk, "/n2/wal"));
    cluster.start(1);
    cluster.until("n3 has a new replica", () => cluster.node(2).server?.groups[0]?.replica === 4);
    cluster.until("equal states", () => stateHashes(cluster).size === 1);
    t.equal(cluster.call(2, "GET", "k1"), "a value of some length, to have bytes in the log");
    t.end();
  },
);

t.test("a node takes another's place under load; the one it replaced is closed, and says so", (t) => {
  const cluster = new Cluster({ nodes: 4 });
  const founders = { ...cluster.layout, nodes: cluster.layout.nodes.slice(0, 3) };
  const all = cluster.layout;
  cluster.layout = founders;
  for (const i of [0, 1, 2]) cluster.start(i, true);
  cluster.leader();
  for (const i of [0, 1, 2]) cluster.kill(i);
  cluster.layout = all; // a new line in the layout file: the nodes are restarted with it
  for (const i of [0, 1, 2, 3]) cluster.start(i);
  cluster.until("a leader", () => cluster.nodes.some((node) => node.isLeader));
  t.match(cluster.node(3).server?.waitsBecause, /no replica/);
  const leader = cluster.nodes.findIndex((node) => node.isLeader);
  t.equal(cluster.call(leader, "SET", "a", "1"), "OK");
  t.match(cluster.call(leader, "NUCLEUS", "REPLACE", "n9", "n4"), /no vote/);
  t.equal(cluster.call(leader, "NUCLEUS", "REPLACE", `n${leader + 1}`, "n4"), "OK", "also the leader's");
  cluster.until("n4 votes", () => {
    const core = cluster.node(3).server?.groups[0]?.core;
    return (
      core?.config.voters.some(({ node }) => node === "n4") === true && core.config.outgoing.length === 0
    );
  });
  cluster.until("the old one is closed", () => cluster.node(leader).server?.groups.length === 0);
  t.equal(cluster.call(3, "GET", "a"), "1");
  t.equal(cluster.call(leader, "GET", "a"), "1", "by way of those that hold a replica");
  t.equal(cluster.call(leader, "SET", "c", "3"), "OK");
  cluster.kill(leader);
  cluster.start(leader);
  cluster.run(3000);
  t.same(cluster.node(leader).server?.groups, [], "it stays closed");
  t.equal(cluster.call(3, "SET", "b", "2"), "OK");
  t.end();
});

/** Commands that come in at a node that does not lead, in whole clusters: fates, order, limits. */
import t from "tap";
import { COMMAND_BYTES_MAX } from "../../src/wire/command.ts";
import { Cluster } from "./cluster.ts";

/** A cluster that leads at n1, and a client at n2. */
function withDoor(options: { seed?: number; memoryBytesMax?: number } = {}) {
  const cluster = Cluster.started({ seed: 3, ...options });
  cluster.makeLeader(0);
  cluster.leader();
  return { cluster, client: cluster.client(1) };
}

t.test("C9: a backlog longer than what a client may be remembered for leaves nobody locked out", (t) => {
  const { cluster, client } = withDoor();
  cluster.isolate(1);
  cluster.run(1000);
  cluster.call(0, "SET", "ahead", "1"); // so that n2 cannot come to lead
  for (let k = 0; k < 6000; k++) client.send("SET", `k${k}`, "v");
  cluster.run(300);
  cluster.isolate(1, false);
  cluster.until("the backlog is answered", () => client.replies.length === 6000);
  t.same([...new Set(client.replies)].sort(), ["OK"]);
  for (let k = 0; k < 10; k++) t.equal(cluster.call(1, "SET", `k${k}`, "w"), "OK");
  t.end();
});

t.test("J3: the largest command there can be passes a door that does not lead", (t) => {
  const { cluster, client } = withDoor();
  const value = "v".repeat(400_000);
  const rest = COMMAND_BYTES_MAX - 2 * 400_000 - 8 - 6 * 4 - 3 * 4;
  client.send("MSET", "{t}a", value, "{t}b", value, "{t}c", "v".repeat(rest)); // one slot, not a byte more fits
  cluster.until("an answer", () => client.replies.length === 1);
  t.equal(client.replies[0], "OK");
  t.equal(cluster.call(0, "STRLEN", "{t}c"), String(rest));
  t.end();
});

t.test(
  "C8: what was one batch before it was numbered is proposed in two by a door that comes to lead",
  (t) => {
    const { cluster, client } = withDoor();
    cluster.isolate(1);
    cluster.run(1000);
    cluster.call(0, "SET", "ahead", "1");
    for (let k = 0; k < 1010; k++) client.send("INCRBY", `${k}-${"k".repeat(990)}`, "1");
    cluster.run(300);
    for (const i of [0, 2])
      cluster.node(i).machine.disk.faults.stalledUntilUs = cluster.world.nowUs + 600_000;
    cluster.isolate(1, false);
    cluster.run(400); // it is forwarded, and not committed
    t.equal(client.replies.length, 0);
    cluster.kill(0);
    cluster.run(300);
    cluster.makeLeader(1);
    cluster.until("all are answered", () => client.replies.length === 1010);
    t.same([...new Set(client.replies)], ["1"], "each was executed once");
    t.end();
  },
);

t.test("C7: what took effect at the former leader is not refused by the next one", (t) => {
  const { cluster, client } = withDoor({ memoryBytesMax: 300_000 });
  client.send("SET", "k", "v".repeat(200_000));
  cluster.until("it is proposed", () => cluster.node(0).group.proposalsOpen > 0);
  cluster.net.setCut(0, 1, true); // n1 commits it with n3, and its answer is lost
  cluster.until("it is committed", () => cluster.node(2).group.store.keyCount === 1);
  t.equal(client.replies.length, 0, "and not answered");
  cluster.kill(0);
  cluster.makeLeader(2);
  cluster.until("an answer", () => client.replies.length === 1);
  t.match(client.replies[0], /^(OK|-UNCERTAIN)/);
  t.end();
});

t.test(
  "order: what waited behind proposals of a deposed leader does not overtake them at the next one",
  (t) => {
    const { cluster } = withDoor();
    const client = cluster.client(0);
    cluster.run(50);
    cluster.isolate(0);
    cluster.node(0).machine.disk.faults.stalledUntilUs = cluster.world.nowUs + 400_000;
    client.send("SET", "k", "1");
    cluster.run(20);
    client.send("SET", "k", "2"); // waits while the log is synced
    cluster.until("n1 is deposed", () => !cluster.node(0).isLeader);
    cluster.until("another leads", () => [1, 2].some((i) => cluster.node(i).isLeader));
    cluster.run(500);
    cluster.isolate(0, false);
    cluster.run(200);
    for (let i = 0; i < 5; i++) cluster.call(1, "SET", "other", `${i}`); // the log tells what became of the first one
    cluster.until("both are answered", () => client.replies.length === 2);
    if (client.replies[0] === "OK" && client.replies[1] === "OK") t.equal(cluster.call(1, "GET", "k"), "2");
    t.same(client.replies, ["OK", "OK"]);
    t.end();
  },
);

t.test("order: writes and the reads behind them keep their order through a change of leaders", (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const { cluster, client } = withDoor({ seed });
    const expected: string[] = [];
    for (let i = 0; i < 200; i++) {
      client.pipeline(["SET", "k", `${i}`], ["GET", "k"]);
      expected.push("OK", `${i}`);
      if (i === 60) cluster.node(0).group.core.transfer(3);
      if (i === 120) cluster.kill(cluster.nodes.findIndex((node) => node.isLeader));
      cluster.run(4);
    }
    cluster.until("all are answered", () => client.replies.length === 400);
    t.same(
      client.replies.filter((reply, i) => reply !== expected[i] && !reply.startsWith("-")),
      [],
      `seed ${seed}`,
    );
  }
  t.end();
});

t.test(
  "J14: a command that names one large value again and again gets an error, and costs no node its life",
  (t) => {
    const { cluster } = withDoor();
    t.equal(cluster.call(0, "SET", "{t}", "v".repeat(900_000)), "OK");
    const many = Array.from({ length: 4000 }, () => "{t}");
    for (const i of [0, 1]) {
      t.match(cluster.call(i, "MGET", ...many), /^-ERR the reply would be larger/);
      const client = cluster.client(i);
      client.pipeline(["SET", "{t}x", "1"], ["MGET", ...many]); // rides in the log
      cluster.until("both are answered", () => client.replies.length === 2);
      t.match(client.replies[1], /^-ERR the reply would be larger/);
      const some = cluster.call(i, "MGET", ...many.slice(0, 20));
      t.equal(some.length, 20 * 900_000 + 19, "twenty of them are no matter");
    }
    t.end();
  },
);

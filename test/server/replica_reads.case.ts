/** Reads that this node's follower answers over RESP, after READONLY: in simulated clusters, in both modes. */
import t from "tap";
import type { SimClient } from "./client.ts";
import { Cluster } from "./cluster.ts";

function say(cluster: Cluster, client: SimClient, ...commands: readonly (readonly string[])[]): string[] {
  const before = client.replies.length;
  client.pipeline(...commands);
  cluster.until("answers", () => client.replies.length === before + commands.length);
  return client.replies.slice(before);
}

/** Two that lead nothing, and who leads. */
function inClusterMode() {
  const cluster = new Cluster();
  cluster.redisMode = "cluster";
  for (let i = 0; i < 3; i++) cluster.start(i, true);
  const leader = cluster.leader();
  const other = cluster.follower();
  return { cluster, leader, other, writer: cluster.client(leader), reader: cluster.client(other) };
}

t.test(
  "C2: READONLY in cluster mode reads at this node's follower, all that was acknowledged before",
  (t) => {
    const { cluster, writer, reader } = inClusterMode();
    t.same(say(cluster, writer, ["SET", "k", "0"]), ["OK"]);
    t.match(say(cluster, reader, ["GET", "k"])[0], /^-MOVED /);
    t.same(say(cluster, reader, ["READONLY"], ["GET", "k"]), ["OK", "0"]);
    for (let i = 1; i < 50; i++) {
      say(cluster, writer, ["SET", "k", String(i)]);
      t.same(say(cluster, reader, ["GET", "k"], ["STRLEN", "k"], ["MGET", "k", "{k}2"]), [
        String(i),
        String(String(i).length),
        `${i} (nil)`,
      ]);
    }
    t.match(say(cluster, reader, ["SET", "k", "x"])[0], /^-MOVED /, "writes go to the leader");
    t.match(say(cluster, reader, ["MGET", "k", "j"])[0], /^-CROSSSLOT/);
    t.match(say(cluster, reader, ["READWRITE"], ["GET", "k"])[1], /^-MOVED/);
    t.match(say(cluster, reader, ["READONLY"], ["RESET"], ["GET", "k"])[2], /^-MOVED/);
    t.end();
  },
);

t.test("C2: a follower of a group at rest is read as fast as ever: its ask leaves at once", (t) => {
  const { cluster, leader, other, writer, reader } = inClusterMode();
  say(cluster, writer, ["SET", "k", "1"]);
  say(cluster, reader, ["READONLY"]);
  const rest = (i: number): boolean => cluster.node(i).server?.groups[0]?.core.atRest === true;
  for (let i = 0; i < 5; i++) {
    cluster.until("all rests", () => [0, 1, 2].every(rest), 20_000);
    cluster.run(3000);
    const { nowUs } = cluster.world;
    t.same(say(cluster, reader, ["GET", "k"]), ["1"]);
    t.ok(cluster.world.nowUs - nowUs < 50_000, "within 50 ms");
    t.notOk(rest(leader) && rest(other));
  }
  t.end();
});

t.test("one connection's reads do not fill the room for those that wait at a follower", (t) => {
  const { cluster, other, writer, reader } = inClusterMode();
  say(cluster, writer, ["SET", "k", "1"]);
  const others = [cluster.client(other), cluster.client(other)];
  for (const one of [reader, ...others]) say(cluster, one, ["READONLY"]);
  const count = 12_000;
  reader.pipeline(...new Array<string[]>(count).fill(["GET", "k"]));
  cluster.run(1);
  for (const one of others) t.same(say(cluster, one, ["GET", "k"]), ["1"]);
  cluster.until("all are answered", () => reader.replies.length === count + 1);
  t.same([...new Set(reader.replies.slice(1))], ["1"], "what finds no room waits, and is not refused");
  t.end();
});

t.test("nor do those with many keys: they are counted by their bytes as well", (t) => {
  const { cluster, other, writer, reader } = inClusterMode();
  say(cluster, writer, ["SET", "k", "1"]);
  const second = cluster.client(other);
  for (const one of [reader, second]) say(cluster, one, ["READONLY"]);
  const large = ["MGET", ...new Array<string>(50).fill(`{k}${"x".repeat(16_000)}`)];
  const count = 90; // of 800 KB
  const before = reader.replies.length;
  cluster.isolate(other);
  reader.pipeline(...new Array<string[]>(count).fill(large));
  cluster.run(500);
  t.match(say(cluster, second, ["GET", "k"])[0], /^-TRYAGAIN the leader did not confirm/);
  cluster.isolate(other, false);
  cluster.until("all are answered", () => reader.replies.length === before + count);
  cluster.until("as always", () => say(cluster, reader, ["GET", "k"])[0] === "1");
  t.end();
});

t.test("a connection goes on when its reads at a follower were refused, or went to the leader", (t) => {
  const { cluster, leader, other, writer, reader } = inClusterMode();
  say(cluster, writer, ["SET", "k", "1"]);
  say(cluster, reader, ["READONLY"]);
  const many = new Array<string[]>(1500).fill(["GET", "k"]);
  cluster.isolate(other);
  const refused = new Set(say(cluster, reader, ...many).map((reply) => reply.slice(0, 9)));
  t.same([...refused], ["-TRYAGAIN"]);
  cluster.isolate(other, false);
  cluster.until("it has caught up", () => say(cluster, reader, ["GET", "k"])[0] === "1");
  const before = reader.replies.length;
  reader.pipeline(...many);
  cluster.kill(leader);
  cluster.makeLeader(other);
  cluster.until("answers", () => reader.replies.length === before + many.length);
  t.same(say(cluster, reader, ["GET", "k"]), ["1"]);
  t.end();
});

t.test("order: a read after READONLY and the writes around it on its slot keep their order", (t) => {
  const cluster = Cluster.started(); // any node takes writes
  const client = cluster.client(cluster.follower());
  t.same(say(cluster, client, ["READONLY"], ["SET", "k", "0"]), ["OK", "OK"]);
  for (let i = 1; i < 30; i++) {
    t.same(
      say(
        cluster,
        client,
        ["GET", "k"],
        ["SET", "k", String(i)],
        ["GET", "k"],
        ["GET", "j"],
        ["SET", "k", "-"],
      ),
      [i === 1 ? "0" : "-", "OK", String(i), "(nil)", "OK"],
    );
  }
  t.end();
});

t.test("a follower that is cut off refuses, and one that comes to lead answers as the leader", (t) => {
  const { cluster, leader, other, writer, reader } = inClusterMode();
  say(cluster, writer, ["SET", "k", "1"]);
  say(cluster, reader, ["READONLY"]);
  cluster.isolate(other);
  t.match(say(cluster, reader, ["GET", "k"])[0], /^-(TRYAGAIN|CLUSTERDOWN) /);
  cluster.isolate(other, false);
  cluster.until("it has caught up", () => say(cluster, reader, ["GET", "k"])[0] === "1");
  reader.pipeline(["GET", "k"], ["GET", "k"]);
  cluster.kill(leader);
  cluster.makeLeader(other);
  cluster.until("answers", () => reader.replies.length >= 4);
  t.ok(reader.replies.slice(-2).every((reply) => reply === "1" || /^-(TRYAGAIN|CLUSTERDOWN)/.test(reply)));
  t.same(say(cluster, reader, ["GET", "k"], ["SET", "k", "2"], ["GET", "k"]), ["1", "OK", "2"]);
  t.end();
});

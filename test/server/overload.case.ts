/** Nodes that stand still, links that are full, states that are not complete yet: in whole clusters. */
import t from "tap";
import type { Role } from "../../src/raft/types.ts";
import type { SimClient } from "./client.ts";
import { Cluster } from "./cluster.ts";

const VALUE = "v".repeat(60_000);
const ELECTION_MS = 300;

/** Every role that each node was seen in, looked at after every event. */
function rolesWhile(cluster: Cluster, ms: number): Set<Role>[] {
  const seen = cluster.nodes.map(() => new Set<Role>());
  const end = cluster.world.nowUs + ms * 1000;
  cluster.world.runUntil(end, () => {
    for (const [i, { server }] of cluster.nodes.entries()) {
      const role = server?.groups[0]?.core.role;
      if (role !== undefined) seen[i]?.add(role);
    }
    return false;
  });
  cluster.check();
  return seen;
}

/** Some megabytes of log, in which every key was written `rounds` times. */
function writeRounds(cluster: Cluster, rounds: number): void {
  const door = cluster.leader();
  for (let round = 1; round <= rounds; round++) {
    const client = cluster.client(door);
    for (let key = 0; key < 8; key++) client.send("SET", `key${key}`, `${round} ${VALUE}`);
    cluster.until("all are answered", () => client.replies.length === 8);
    client.close();
  }
}

t.test("C6: reads during a restart see all that was acknowledged, or wait", (t) => {
  for (const nodes of [1, 3]) {
    const cluster = Cluster.started({ seed: 5, nodes });
    writeRounds(cluster, 30);
    for (const [i] of cluster.nodes.entries()) cluster.power(i);
    for (const [i] of cluster.nodes.entries()) cluster.start(i);
    const asked: SimClient[] = [];
    let early = 0;
    const isWhole = (): boolean =>
      cluster.nodes.every(({ started, server }) => started && server?.groups[0]?.isReplaying === false);
    while (!isWhole()) {
      for (const [i, node] of cluster.nodes.entries()) {
        const client = cluster.client(i);
        client.send("GETRANGE", `key${asked.length % 8}`, "0", "2");
        asked.push(client);
        if (node.started && node.group.isReplaying) early++;
      }
      cluster.run(0.5);
    }
    cluster.run(4000);
    t.ok(early > 0, `${nodes}: some were asked before the state was complete`);
    const answers = asked.flatMap(({ replies }) => replies);
    t.ok(answers.length >= early, `${nodes}: and were answered`);
    t.same([...new Set(answers)], ["30 "], `${nodes}: by the last state`);
  }
  t.end();
});

t.test("H3: a machine that stood still does not campaign for that", (t) => {
  for (const stalled of ["the leader", "a follower", "all"]) {
    const cluster = Cluster.started({ seed: 6, electionMs: ELECTION_MS });
    const leader = cluster.leader();
    const { term } = cluster.node(leader).group.core;
    // Shorter than an election timeout for the leader: others may rightly replace one that says nothing for longer.
    const ms = stalled === "the leader" ? ELECTION_MS * 0.7 : 5 * ELECTION_MS;
    for (const [i, { machine }] of cluster.nodes.entries()) {
      const one = stalled === "the leader" ? leader : (leader + 1) % 3;
      if (stalled === "all" || i === one) machine.pause(ms * 1000);
    }
    const roles = rolesWhile(cluster, ms + 10 * ELECTION_MS);
    for (const [i, seen] of roles.entries()) {
      t.same([...seen], [i === leader ? "leader" : "follower"], `${stalled}: n${i + 1}`);
    }
    t.equal(cluster.node(leader).group.core.term, term, stalled);
  }
  t.end();
});

t.test("H3: silence from before it stood still does not count", (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    const cluster = Cluster.started({ seed, electionMs: ELECTION_MS });
    const leader = cluster.leader();
    const other = (leader + 1) % 3;
    cluster.net.setCut(leader, other, true);
    cluster.run(ELECTION_MS * 0.8);
    const { machine } = cluster.node(other);
    machine.pause(ELECTION_MS * 1000);
    cluster.run(ELECTION_MS);
    const seen = rolesWhile(cluster, ELECTION_MS * 0.8)[other] ?? new Set();
    t.same([...seen], ["follower"], `seed ${seed}`);
  }
  t.end();
});

t.test(
  "J5: reads that waited for a reader are answered when it has read, though nothing else happens",
  (t) => {
    const cluster = Cluster.started({ seed: 9, nodes: 1 });
    cluster.call(0, "SET", "large", "v".repeat(900_000));
    const client = cluster.client(0);
    for (let i = 0; i < 8; i++) client.send("GET", "large"); // beyond what a connection may hold
    cluster.until("all are answered", () => client.replies.length === 8);
    t.ok(client.replies.every((reply) => reply.length === 900_000));
    t.end();
  },
);

t.test("H9: heartbeats do not wait behind a snapshot that fills the link", (t) => {
  const cluster = Cluster.started({ seed: 7, electionMs: ELECTION_MS });
  cluster.makeLeader(0);
  cluster.isolate(2);
  for (let i = 0; i < 40; i++) cluster.call(0, "SET", `key${i}`, VALUE);
  for (const i of [0, 1]) {
    cluster.until("a snapshot", () => {
      const { snapshots } = cluster.node(i).group;
      snapshots.take();
      return (snapshots.latest?.index ?? 0) > 40;
    });
    cluster.kill(i); // its memory has the entries still
    cluster.start(i);
  }
  cluster.until("both are back", () => cluster.node(0).started && cluster.node(1).started);
  cluster.makeLeader(0);
  cluster.net.setSlow(0, 2, 0, 300); // the 2.4 MB take eight seconds
  cluster.isolate(2, false);
  const { term } = cluster.node(0).group.core;
  cluster.until("n3 hears of its leader", () => {
    const { core } = cluster.node(2).group;
    return core.leader === 1 && core.term === term;
  });
  const roles = rolesWhile(cluster, 5000);
  t.ok(cluster.node(2).group.store.appliedIndex < 40, "it is still on its way");
  t.same(
    roles.map((seen) => [...seen]),
    [["leader"], ["follower"], ["follower"]],
  );
  cluster.until("it arrived", () => cluster.node(2).group.store.appliedIndex > 40, 30_000);
  t.equal(cluster.node(0).group.core.term, term);
  t.end();
});

t.test(
  "INFO tells the memory limit that is in force: the log's, whatever the layout file says by now",
  (t) => {
    const cluster = Cluster.started({ seed: 8, nodes: 1, memoryBytesMax: 1_000_000 });
    const maxmemory = (): string => /maxmemory:(\d+)/.exec(cluster.call(0, "INFO", "memory"))?.[1] ?? "";
    t.equal(maxmemory(), "1000000");
    cluster.kill(0);
    cluster.layout = { ...cluster.layout, settings: { ...cluster.layout.settings, memoryBytesMax: 7 } };
    cluster.start(0);
    cluster.leader();
    t.equal(cluster.call(0, "SET", "k", "v"), "OK");
    t.equal(maxmemory(), "1000000");
    const unlimited = Cluster.started({ seed: 8, nodes: 1 });
    t.match(unlimited.call(0, "INFO", "memory"), /maxmemory:0\r/);
    t.end();
  },
);

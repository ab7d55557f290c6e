/** Room in the log: whatever comes in one turn is written in full, or waits; nobody stops for it. */
import t from "tap";
import { runTask } from "../../src/base/task.ts";
import type { AppendRequest, Entry } from "../../src/raft/types.ts";
import { Cluster } from "./cluster.ts";

const MiB = 1024 * 1024;
const VALUE = "x".repeat(200_000);

t.test("D6: batches that waited for a leader find room one after the other, not all the same room", (t) => {
  const cluster = Cluster.started({ seed: 2 });
  const node = cluster.leader();
  for (let i = 0; i < 14; i++) cluster.call(node, "SET", "k", VALUE); // the segment is nearly full
  const others = [0, 1, 2].filter((i) => i !== node);
  for (const i of others) cluster.kill(i);
  cluster.run(1000);
  const client = cluster.client(node);
  for (let i = 0; i < 36; i++) client.send("SET", `k${i}`, VALUE); // two segments full
  cluster.run(300);
  for (const i of others) cluster.start(i);
  cluster.until("they are back", () => others.every((i) => cluster.node(i).started));
  cluster.makeLeader(node);
  cluster.until("all are answered", () => client.replies.length === 36);
  t.same([...new Set(client.replies)], ["OK"]);
  t.end();
});

t.test(
  "D6: a follower that is sent more than a segment in one turn writes what has room, and then the rest",
  (t) => {
    const cluster = Cluster.started();
    const leader = cluster.leader();
    const lag = cluster.follower();
    cluster.isolate(lag);
    const after = cluster.node(lag).group.core.lastIndex;
    for (let i = 0; i < 50; i++) cluster.call(leader, "SET", `k${i}`, VALUE);
    const { core } = cluster.node(leader).group;
    const messages = appends(cluster, leader, lag, after);
    for (const message of messages) cluster.node(lag).group.step(message);
    cluster.node(lag).server?.engine.wake();
    cluster.run(1000);
    t.equal(cluster.node(lag).group.core.durableIndex, core.lastIndex);
    t.end();
  },
);

/** What the leader would send: its entries after `after`, a MiB at a time. */
function appends(cluster: Cluster, leader: number, to: number, after: number): AppendRequest[] {
  const { group } = cluster.node(leader);
  const { core } = group;
  const messages: AppendRequest[] = [];
  let read: readonly Entry[] = [];
  const wal = cluster.node(leader).server?.wal;
  if (wal == null) throw new Error("the leader is up");
  runTask(wal.readEntries(group.group, after + 1, core.lastIndex, 64 * MiB), (_error, entries) => {
    read = entries;
  });
  cluster.until("the entries are read", () => read.length > 0);
  for (let at = 0; at < read.length; at += 4) {
    const entries = read.slice(at, at + 4);
    const prevIndex = after + at;
    messages.push({
      kind: "append",
      from: leader + 1,
      to: to + 1,
      term: core.term,
      prevIndex,
      prevTerm: core.termAt(prevIndex),
      lastIndex: prevIndex + entries.length,
      entries,
      commit: core.commitIndex,
    });
  }
  return messages;
}

/** Snapshots taken, sent and installed: in whole clusters, with the machines failing at the wrong moments. */
import t from "tap";
import { Cluster } from "./cluster.ts";

const VALUE = "v".repeat(60_000);

/**
 * Node `behind` was cut off and missed `count` writes, which the others have in a snapshot and no longer in their
 * logs: it needs the snapshot of whoever leads.
 */
function fallBehind(cluster: Cluster, behind: number, count = 12): void {
  cluster.isolate(behind);
  const up = cluster.nodes.map((_, i) => i).filter((i) => i !== behind);
  cluster.until("the others lead", () => up.some((i) => cluster.node(i).isLeader));
  const leader = up.find((i) => cluster.node(i).isLeader) as number;
  for (let i = 0; i < count; i++) cluster.call(leader, "SET", `key${i}`, VALUE);
  for (const i of up) takeSnapshot(cluster, i);
  for (const i of up) {
    cluster.kill(i); // their memory has the entries still
    cluster.start(i);
  }
  cluster.until("they are back", () => up.every((i) => cluster.node(i).started));
}

function takeSnapshot(cluster: Cluster, i: number): void {
  const { snapshots } = cluster.node(i).group;
  const before = snapshots.latest?.index ?? 0;
  cluster.until(`n${i + 1} has a snapshot`, () => {
    snapshots.take();
    return (snapshots.latest?.index ?? 0) > before;
  });
}

function converged(cluster: Cluster): boolean {
  const hashes = cluster.nodes.map(({ server }) => {
    const store = server?.groups[0]?.store;
    return store === undefined ? "down" : `${store.appliedIndex} ${store.stateHash()}`;
  });
  return new Set(hashes).size === 1;
}

t.test("D14: a leader that starts again does not continue the transfer it began before", (t) => {
  const cluster = Cluster.started({ seed: 4 });
  const behind = 2;
  fallBehind(cluster, behind);
  cluster.net.setCut(0, behind, false);
  cluster.net.setCut(behind, 0, false); // n1 alone reaches it
  cluster.net.setSlow(0, behind, 0, 200); // 200 bytes a ms: some seconds
  cluster.makeLeader(0);
  const arriving = (): string | undefined =>
    cluster
      .node(behind)
      .machine.disk.tree.files()
      .find(({ path, file }) => path.includes("snapshots") && file.visible.size > 200_000)?.path;
  cluster.until("half of a snapshot arrived", () => arriving() !== undefined);
  cluster.kill(0);
  cluster.start(0);
  cluster.until("n1 is back", () => cluster.node(0).started);
  cluster.makeLeader(0);
  for (let i = 0; i < 12; i++) cluster.call(0, "SET", `key${i}`, `${i}`.repeat(50_000));
  takeSnapshot(cluster, 0);
  cluster.kill(0);
  cluster.start(0);
  cluster.until("n1 is back", () => cluster.node(0).started);
  cluster.makeLeader(0);
  cluster.run(3000);
  cluster.net.healAll();
  cluster.until("all are equal", () => converged(cluster), 60_000);
  t.equal(cluster.call(behind, "GET", "key7"), "7".repeat(50_000));
  t.end();
});

t.test("D8: the end of a transfer does not delete the snapshot that is just being written", (t) => {
  const cluster = Cluster.started();
  const node = cluster.leader();
  for (let i = 0; i < 12; i++) cluster.call(node, "SET", `key${i}`, VALUE);
  takeSnapshot(cluster, node);
  cluster.call(node, "SET", "more", VALUE);
  const { snapshots } = cluster.node(node).group;
  t.not(snapshots.hold(), null, "a follower is sent the first one");
  t.ok(snapshots.take(), "the second one is begun");
  const { tree } = cluster.node(node).machine.disk;
  cluster.until("it has a file", () => tree.files().some(({ path }) => path.endsWith(".tmp")));
  snapshots.release(); // the transfer ends
  cluster.run(1000);
  t.equal(snapshots.taken, 2);
  t.end();
});

t.test(
  "D9, D10: a power failure while a snapshot arrives and is installed leaves a node that starts and catches up",
  (t) => {
    for (const afterMs of [4, 7, 10, 14]) {
      const cluster = Cluster.started({ seed: afterMs });
      fallBehind(cluster, 2);
      cluster.net.healAll();
      const dir = (): readonly { path: string }[] => cluster.node(2).machine.disk.tree.files();
      cluster.until("a snapshot arrives", () => dir().some(({ path }) => path.includes("snapshots")));
      cluster.run(afterMs);
      cluster.power(2);
      cluster.start(2);
      cluster.until("all are equal", () => converged(cluster), 30_000);
      t.ok(cluster.node(2).group.store.keyCount >= 12, `after ${afterMs} ms`);
    }
    t.end();
  },
);

t.test("D10: a snapshot of the past that is being written when a newer state arrives is dropped", (t) => {
  const cluster = Cluster.started({ seed: 9 });
  for (let i = 0; i < 12; i++) cluster.call(cluster.leader(), "SET", `old${i}`, VALUE);
  cluster.run(200);
  fallBehind(cluster, 2);
  const { snapshots, store } = cluster.node(2).group;
  const before = store.appliedIndex;
  cluster.net.healAll();
  cluster.until("the snapshot is nearly there", () => {
    snapshots.take(); // again and again: one is under way all the time
    return store.appliedIndex > before;
  });
  cluster.until("all are equal", () => converged(cluster), 30_000);
  cluster.run(500);
  t.ok((snapshots.latest?.index ?? 0) > before, "the newest one is in use");
  cluster.kill(2);
  cluster.start(2);
  cluster.until("it starts from it", () => cluster.node(2).started && converged(cluster), 30_000);
  t.end();
});

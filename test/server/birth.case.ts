/** Whose directory it is: births, restarts, and everything that must be refused. */
import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import { type Task, wait } from "../../src/base/task.ts";
import { readFile, replaceFile } from "../../src/platform/files.ts";
import type { Disk } from "../../src/platform/platform.ts";
import { type OpenOptions, openNode } from "../../src/server/birth.ts";
import { bootstrapEntry, type Layout, storeSettings } from "../../src/server/layout.ts";
import { KeyValueStore } from "../../src/store/store.ts";
import { Cluster } from "./cluster.ts";

function* put(disk: Disk, dir: string, name: string, text: string): Task<void> {
  yield* replaceFile(disk, dir, name, utf8(text));
}

function* remove(disk: Disk, path: string): Task<void> {
  yield* wait<void>((done) => disk.unlink(path, done));
}

/** As a node of `layout` opens the directory of n1, with --init. */
function openOptions(layout: Layout, node: string): OpenOptions {
  const { cluster, group, nodes, settings } = layout;
  const replica = nodes.findIndex(({ id }) => id === node) + 1;
  return {
    dir: "/n1",
    node,
    cluster,
    segmentBytes: settings.segmentBytes,
    events: { onSynced: () => {}, onFailed: () => {}, onIdle: () => {} },
    makeStore: () => new KeyValueStore(storeSettings(0)),
    founding: { group, replica, entry: bootstrapEntry(layout) },
    groups: [group],
    hasOthers: true,
    mayBeMember: () => true,
  };
}

t.test("a blank directory is begun by --init alone, and only once", (t) => {
  const cluster = new Cluster({ nodes: 1 });
  t.equal(cluster.refusal(0), "EBLANK");
  cluster.start(0, true);
  cluster.leader();
  cluster.kill(0);
  t.equal(cluster.refusal(0, true), "EBORN");
  cluster.start(0);
  cluster.leader();
  t.end();
});

t.test(
  "D7, A2: a power failure at any step of a birth leaves a node that is born once, and remembers",
  (t) => {
    const births = new Set<string>();
    for (let us = 50; us < 6000; us += 290) {
      const cluster = new Cluster({ nodes: 1, seed: us });
      cluster.start(0, true);
      cluster.world.run(cluster.world.nowUs + us);
      cluster.power(0);
      const again = cluster.refusal(0);
      births.add(again);
      if (again === "EBLANK") cluster.start(0, true);
      else if (again === "it started") cluster.start(0);
      else t.fail(`${again} after ${us} us`);
      cluster.leader();
      cluster.call(0, "SET", "k", "v");
      cluster.power(0);
      cluster.start(0);
      cluster.leader();
      t.equal(cluster.call(0, "GET", "k"), "v");
    }
    t.same([...births].sort(), ["EBLANK", "it started"], "before and after it");
    t.end();
  },
);

t.test("A12: directories of other nodes, other clusters and other programs are refused", (t) => {
  const cluster = Cluster.started();
  const files: Uint8Array[] = [];
  for (const i of [0, 1, 2]) cluster.kill(i);
  cluster.onDisk(0, function* (disk) {
    files.push(yield* readFile(disk, "/n1/node.json", 4096));
  });
  const identity = JSON.parse(new TextDecoder().decode(files[0])) as Record<string, unknown>;
  for (const [what, text, code] of [
    ["another node's", JSON.stringify({ ...identity, node: "n2" }), "EFOREIGN"],
    ["another cluster's", JSON.stringify({ ...identity, cluster: "ff".repeat(16) }), "EFOREIGN"],
    ["damaged", "{", "EFOREIGN"],
    ["of nobody", "{}", "EFORMAT"],
    ["of a later program", JSON.stringify({ ...identity, format: 999 }), "EFORMAT"],
  ] as const) {
    cluster.onDisk(0, (disk) => put(disk, "/n1", "node.json", text));
    t.equal(cluster.refusal(0), code, what);
  }
  cluster.onDisk(0, (disk) => remove(disk, "/n1/node.json"));
  cluster.onDisk(0, (disk) => put(disk, "/n1", "letters.txt", "dear"));
  t.equal(cluster.refusal(0, true), "EFOREIGN", "it is somebody's");
  t.end();
});

t.test("A12: what one node promised is not another's, whatever the operator believes", (t) => {
  const cluster = Cluster.started();
  for (const i of [0, 1, 2]) cluster.kill(i);
  cluster.onDisk(0, function* (disk) {
    for (const name of ["node.json", "peers.json"]) yield* remove(disk, `/n1/${name}`); // its log is left
  });
  const { layout } = cluster;
  const options = openOptions(layout, "n2");
  t.throws(
    () =>
      cluster.onDisk(0, function* (_disk, platform) {
        yield* openNode(platform, options);
      }),
    { code: "EFOREIGN" },
    "another node must not take it over",
  );
  cluster.start(0, true); // it is not new, and its log says so
  cluster.until("it is up", () => cluster.node(0).started);
  t.ok(cluster.node(0).group.core.lastIndex >= 2, "it remembers");
  cluster.kill(0);
  const other = { ...layout, cluster: "ff".repeat(16), group: layout.group + 1 };
  cluster.onDisk(0, function* (disk) {
    yield* remove(disk, "/n1/node.json");
  });
  t.throws(
    () =>
      cluster.onDisk(0, function* (_disk, platform) {
        yield* openNode(platform, openOptions(other, "n1"));
      }),
    { code: "EFOREIGN" },
    "nor another cluster",
  );
  t.end();
});

t.test("A12, D2: a node that was born and has no log does not start", (t) => {
  const cluster = Cluster.started({ nodes: 1 });
  cluster.kill(0);
  cluster.onDisk(0, function* (disk) {
    for (const name of yield* wait<string[]>((done) => disk.list("/n1/wal", done)))
      yield* wait<void>((done) => disk.unlink(`/n1/wal/${name}`, done));
  });
  t.equal(cluster.refusal(0), "EDAMAGED");
  t.equal(cluster.refusal(0, true), "EBORN");
  t.end();
});

t.test("A12: a wiped node that is begun anew under its old name has no vote", (t) => {
  const cluster = Cluster.started();
  cluster.makeLeader(0);
  cluster.call(0, "SET", "k", "v");
  for (const i of [1, 2]) cluster.kill(i);
  cluster.wipe(2);
  cluster.start(2, true);
  cluster.until("it is up", () => cluster.node(2).started);
  cluster.run(5000);
  t.notOk(cluster.node(0).isLeader, "one that remembers and one that does not are no majority");
  t.notOk(cluster.node(2).isLeader);
  t.equal(cluster.node(2).group.core.commitIndex, 0, "it hears nothing");
  cluster.start(1);
  cluster.until("the two that remember lead", () => cluster.node(0).isLeader || cluster.node(1).isLeader);
  t.equal(cluster.call(0, "GET", "k"), "v");
  t.end();
});

t.test("a layout that lacks a node of the cluster is refused; nodes may stand in another order", (t) => {
  const cluster = Cluster.started();
  for (const i of [0, 1, 2]) cluster.kill(i);
  const { layout } = cluster;
  cluster.layout = { ...layout, nodes: layout.nodes.slice(0, 2) };
  t.equal(cluster.refusal(0), "ELAYOUT");
  cluster.layout = { ...layout, nodes: [...layout.nodes].reverse() };
  for (const i of [0, 1, 2]) cluster.start(i);
  cluster.until("they are up", () => cluster.nodes.every(({ started }) => started));
  cluster.leader();
  t.equal(cluster.call(cluster.follower(), "SET", "k", "v"), "OK");
  t.end();
});

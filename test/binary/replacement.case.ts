/** Nodes whose disk is lost or damaged, and a node that takes another's place: with the compiled program. */
import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { ClusterView } from "../../src/cli/cluster_view.ts";
import { type Cluster, endAll, FIXED, freeBasePort, nucleus, startCluster, Up, until } from "./cluster.ts";

const viewOf = (port: string): ClusterView | null => {
  const { stdout, status } = nucleus(["status", "-p", port, "--json"]);
  return status === 0 || status === 4 ? (JSON.parse(stdout) as ClusterView) : null;
};

function followerOf(port: string): string {
  const shard = viewOf(port)?.shards[0];
  return shard?.replicas.find(({ node }) => node !== shard.leader)?.node ?? "";
}

/** A port of some other node than `id`. */
function portBeside({ line }: Cluster, id: string): string {
  return line.nodes.find((node) => node.id !== id)?.addr.split(":")[1] ?? "";
}

function rolesOf(port: string): string {
  const replicas = viewOf(port)?.shards[0]?.replicas ?? [];
  return replicas
    .map(({ node, role }) => `${node} ${role === "leader" ? "follower" : role}`)
    .sort()
    .join(", ");
}

const WHOLE = "n1 follower, n2 follower, n3 follower";

async function killNode(cluster: Cluster, id: string): Promise<void> {
  const { line, up } = cluster;
  const at = up.stderr.length;
  process.kill(Number(readFileSync(join(line.dir, id, "nucleus.pid"), "utf8")), "SIGKILL");
  await until(() => up.stderr.slice(at).includes(`${id} (pid`), `up says that ${id} died`);
}

t.test(
  "A12: a node whose directory is emptied under load comes back by itself, under a new id",
  async (t) => {
    const cluster = await startCluster(t, [...FIXED, "--respawn"]);
    const { port } = cluster;
    const lost = followerOf(port);
    const door = portBeside(cluster, lost);
    const lines = Array.from({ length: 3000 }, (_, i) => `SET k${i} ${i}`).join("\n");
    t.equal(nucleus(["repl", "-p", door], { input: lines }).status, 0);
    const dir = join(cluster.line.dir, lost);
    renameSync(dir, `${dir}.lost`);
    // The process still runs and writes to the directory that was moved; `up` looks for its pid where it was.
    cpSync(join(`${dir}.lost`, "nucleus.pid"), join(cluster.line.dir, "pid"));
    process.kill(Number(readFileSync(join(cluster.line.dir, "pid"), "utf8")), "SIGKILL");
    await until(
      () => rolesOf(door) === WHOLE && viewOf(door)?.nodes.every(({ alive }) => alive),
      `${lost} is whole again`,
    );
    const own = cluster.line.nodes.find(({ id }) => id === lost)?.addr.split(":")[1] ?? "";
    await until(() => nucleus(["repl", "-p", own, "GET", "k2999"]).stdout === "2999\n", "it serves");
    t.equal(nucleus(["repl", "-p", own, "DBSIZE"]).stdout, "3000\n");
    // It answers without a replica, too: others do it for it.
    const ids = await until(() => {
      const found = replicaIdsAt(own) ?? [];
      return found.length === 3 ? found : null;
    }, "it has a replica and knows the others");
    t.equal(ids[2], 4, "under an id that was never used");
  },
);

/** As a node says of its shard; null while it has no replica. */
function replicaIdsAt(port: string): number[] | null {
  type Report = {
    readonly shards: readonly { readonly replicas: readonly { readonly replica: number }[] }[];
  };
  const report = JSON.parse(nucleus(["repl", "-p", port, "--raw", "NUCLEUS", "STATUS"]).stdout) as Report;
  return report.shards[0]?.replicas.map(({ replica }) => replica).sort() ?? null;
}

/** Overwrites a few bytes of `text` wherever a segment of the node's log holds it; gives the files. */
function damage(dir: string, text: string): string[] {
  const files = readdirSync(join(dir, "wal")).filter((name) => name.startsWith("log-"));
  return files.filter((name) => {
    const path = join(dir, "wal", name);
    const at = readFileSync(path).indexOf(text);
    if (at < 0) return false;
    const file = openSync(path, "r+");
    writeSync(file, "\u0000\u0000", at);
    closeSync(file);
    return true;
  });
}

async function killAll(cluster: Cluster): Promise<void> {
  for (const { id } of cluster.line.nodes) await killNode(cluster, id);
  cluster.up.process.kill("SIGKILL");
  await cluster.up.ended();
}

t.test(
  "D1: a damaged minority repairs itself; a damaged majority refuses, and names file and offset",
  async (t) => {
    const cwd = t.testdir();
    const first = await startCluster(t, FIXED, cwd);
    const { dir } = first.line;
    for (let i = 0; i < 20; i++) nucleus(["repl", "-p", first.port, "SET", `k${i}`, `precious value ${i}`]);
    await killAll(first);
    t.ok(damage(join(dir, "n2"), "precious").length > 0);

    const second = await startCluster(t, FIXED, cwd);
    await until(() => rolesOf(second.port) === WHOLE, "n2 has a new replica");
    const own = second.line.nodes[1]?.addr.split(":")[1] ?? "";
    await until(() => nucleus(["repl", "-p", own, "GET", "k7"]).stdout === "precious value 7\n", "n2 serves");
    t.ok(
      readdirSync(join(dir, "n2", "wal")).some((name) => name.startsWith("damaged-")),
      "the old files are kept",
    );
    await killAll(second);

    const harmed = ["n1", "n3"].map((id) => damage(join(dir, id), "precious")[0] ?? "none");
    const third = new Up(FIXED, cwd);
    t.teardown(() => endAll(third, cwd));
    const said = await third.says(/n1 waits: [^\n]*\nn3 waits: [^\n]*\n/, "stderr");
    for (const file of harmed) t.match(said[0], `${file} at offset `);
    t.match(nucleus(["repl", "-p", own, "GET", "k7"]).stderr, /CLUSTERDOWN/, "one sound copy is no majority");
    const helped = nucleus(["node", "replace", "n1", "-p", own]);
    t.equal(helped.status, 4);
    t.match(helped.stderr, /s1 has no leader that could give n1 a new replica/);
    t.notOk(third.stdout.includes("ready"));
  },
);

t.test(
  "node replace: a node of its own takes a member's place, and the layout may lose that one",
  async (t) => {
    const cwd = t.testdir();
    const cluster = await startCluster(t, FIXED, cwd);
    const { dir } = cluster.line;
    for (let i = 0; i < 20; i++) nucleus(["repl", "-p", cluster.port, "SET", `k${i}`, `v${i}`]);
    await killAll(cluster);

    // A line more in the layout file; the new node starts blank, the others with the new file.
    const path = join(dir, "layout.json");
    const layout = JSON.parse(readFileSync(path, "utf8"));
    const port = await freeBasePort(1);
    layout.nodes.push({ id: "n4", addr: `127.0.0.1:${port + 1}` });
    writeFileSync(path, JSON.stringify(layout));
    const up = await startCluster(t, FIXED, cwd);
    t.equal(up.line.nodes.length, 4);
    const usage = nucleus(["node", "replace", "n2", "-p", up.port]);
    t.equal(usage.status, 2);
    t.match(usage.stderr, /n2 holds a sound replica.*\n.*\n.*--with NODE/);
    t.equal(nucleus(["node", "replace", "n9", "--with", "n4", "-p", up.port]).status, 3);
    t.match(
      nucleus(["node", "replace", "n2", "--with", "n3", "-p", up.port]).stderr,
      /n3 holds a replica of s1 already/,
    );

    const replaced = nucleus(["node", "replace", "n2", "--with", "n4", "-p", up.port]);
    t.equal(replaced.status, 0, replaced.stderr);
    t.match(replaced.stdout, /^n4 took n2's place in s1 after [\d.]+ s; n2 can be stopped\.\n$/);
    t.equal(rolesOf(up.port), "n1 follower, n3 follower, n4 follower");
    const again = nucleus(["node", "replace", "n2", "--with", "n4", "-p", up.port, "--json"]);
    t.match(JSON.parse(again.stdout), { removed: "n2", added: "n4", ms: 0 });
    t.equal(nucleus(["repl", "-p", String(port + 1), "GET", "k7"]).stdout, "v7\n");
    await killAll(up);

    layout.nodes = layout.nodes.filter(({ id }: { id: string }) => id !== "n2");
    writeFileSync(path, JSON.stringify(layout));
    const last = await startCluster(t, FIXED, cwd);
    t.equal(nucleus(["repl", "-p", last.port, "GET", "k19"]).stdout, "v19\n");
    t.equal(await last.up.stop(), 0);
  },
);

/** `up` and `status`: a whole cluster by one command, and everything that may stand in its way. */
import { execFile, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import t from "tap";
import { makeTree, openTree } from "../../src/cli/cluster_dir.ts";
import type { ClusterView } from "../../src/cli/cluster_view.ts";
import {
  BINARY,
  endAll,
  FIXED,
  freeBasePort,
  isRunning,
  nucleus,
  startCluster,
  Up,
  type UpLine,
  until,
} from "./cluster.ts";

const statusOf = (port: string): ClusterView => JSON.parse(nucleus(["status", "-p", port, "--json"]).stdout);
const set = (port: string, key: string, value: string): string =>
  nucleus(["repl", "-p", port, "SET", key, value]).stdout;
const get = (port: string, key: string): string => nucleus(["repl", "-p", port, "GET", key]).stdout;

t.test("up, use, stop, and up again: the data is there", async (t) => {
  const dir = t.testdir();
  const base = await freeBasePort(3);
  const { up, line } = await startCluster(t, [...FIXED, "--base-port", String(base)], dir);
  t.equal(up.stdout.split("\n").length, 2, "one line");
  t.equal(line.dir, `${dir}/data`);
  t.same(
    line.nodes.map(({ id, addr }) => `${id} ${addr}`),
    [1, 2, 3].map((i) => `n${i} 127.0.0.1:${base + i}`),
  );
  t.match(line.shards, [{ id: "s1", leader: /^n[123]$/ }]);
  for (const { pid, log, dir: own } of line.nodes) {
    t.equal(Number(readFileSync(`${own}/nucleus.pid`, "utf8")), pid);
    t.match(readFileSync(log, "utf8"), /"msg":"listening"/);
  }
  t.equal(statSync(`${dir}/data`).mode & 0o077, 0, "nobody else's business");
  t.equal(set(String(base + 1), "hello", "world"), "OK\n");
  for (let i = 1; i <= 3; i++) t.equal(get(String(base + i), "hello"), "world\n", `through n${i}`);
  for (const [i, { id, http }] of line.nodes.entries()) {
    t.equal(http, `127.0.0.1:${base + 1001 + i}`);
    const got = await fetch(`http://${http}/kv/hello`);
    t.equal(await got.text(), "world", `by HTTP through ${id}`);
    t.equal(got.headers.get("nucleus-node"), id);
    const old = await fetch(`http://${http}/kv/hello`, {
      method: "PUT",
      body: "no",
      headers: { "if-match": '"99"' },
    });
    t.equal(old.status, 412);
    await old.text();
    t.match(await (await fetch(`http://${http}/whoami`)).json(), {
      node: id,
      shards: [{ id: "s1", leader: { id: line.shards[0]?.leader, http: /^127\.0\.0\.1:\d+$/ } }],
    });
    t.equal((await fetch(`http://${http}/kv/hello?read=follower`)).status, 200);
  }

  const stopped = await up.stop();
  t.equal(stopped, 0);
  t.match(
    up.stderr,
    /Stopping 3 nodes \.\.\nStopped\. The data stays in \.\/data; go on with: .*nucleus up\n$/,
  );
  t.notOk(
    line.nodes.some(({ pid }) => isRunning(pid)),
    "no process is left",
  );
  t.notOk(existsSync(`${dir}/data/nucleus.pid`));

  const again = await startCluster(t, FIXED, dir);
  t.equal(again.line.cluster, line.cluster);
  t.equal(get(again.port, "hello"), "world\n");
  t.equal(await again.up.stop(), 0);
});

t.test("the first screen tells people where everything is, then says ready", async (t) => {
  const base = await freeBasePort(3);
  const cwd = t.testdir();
  const up = new Up([...FIXED, "--base-port", String(base), "--dir", "my data"], cwd);
  t.teardown(() => endAll(up, cwd));
  await up.says(/^ready\n/m, "stdout");
  t.match(up.stdout, "A new cluster of 3 nodes in ./my data (id ");
  for (let i = 1; i <= 3; i++) {
    t.match(
      up.stdout,
      new RegExp(
        `^  n${i} +127\\.0\\.0\\.1:${base + i} +127\\.0\\.0\\.1:${base + 1000 + i} +(s1|-) +\\d+ +\\./my data/n${i}/log$`,
        "m",
      ),
    );
  }
  t.match(up.stdout, /^ {2}shard s1 {2}leader n\d, replicas n1 \(\d+\) n2 \(\d+\) n3 \(\d+\), no keys yet$/m);
  t.match(up.stdout, `redis-cli -p ${base + 1}\n`);
  t.match(up.stdout, /\n\nready\n$/);
  t.notMatch(up.stdout, "\x1b", "no colours into a pipe");
  t.equal(await up.stop(), 0);
  t.match(up.stderr, /go on with: .*nucleus up --dir '\.\/my data'\n$/);
});

t.test("what nobody can do is refused with a reason", async (t) => {
  const wrong: [string[], RegExp][] = [
    [
      [...FIXED, "--shards", "4"],
      /--shards 4 does not fit: .* has one\.\n {2}More of them need a control plane/,
    ],
    [
      [...FIXED, "--replicas", "2"],
      /--replicas 2 does not fit: .* has 3\.\n {2}Without a control plane every node/,
    ],
    [["--replicas", "4"], /--replicas 4 need as many nodes, and there are 3/],
    [["--shards", "0"], /--shards must be a whole number from 1 to 256/],
    [["--control", "6"], /--control must be a whole number from 0 to 5/],
    [["--nodes", "0"], /--nodes must be a whole number from 1 to 15/],
    [["--nodes", "16"], /--nodes must be/],
    [["--nodes", "two"], /--nodes must be/],
    [["--nodes"], /nodes/],
    [["--base-port", "70000"], /--base-port must be a whole number from 1 to 64430/],
    [["--json", "--repl"], /exclude each other/],
    [["--such"], /Unknown argument: such/],
    [["extra"], /Unknown argument: extra/],
  ];
  const cwd = t.testdir();
  for (const [args, message] of wrong) {
    const { status, stdout, stderr } = nucleus(["up", ...args], { cwd });
    t.equal(status, 2, args.join(" "));
    t.equal(stdout, "");
    t.match(stderr, message);
  }
  t.notOk(existsSync(`${cwd}/data`), "nothing was made");
});

t.test("a port in use: who has it, and nothing is made", async (t) => {
  const base = await freeBasePort(3);
  const server = createServer();
  await new Promise<void>((done) => server.listen(base + 2, "127.0.0.1", done));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const cwd = t.testdir();
  const { status, stderr } = await finish(["up", ...FIXED, "--base-port", String(base)], cwd);
  t.equal(status, 7);
  t.match(stderr, `Port ${port}, for n2, is taken.`);
  if (existsSync("/proc/self")) t.match(stderr, `(pid ${process.pid}) listens there`);
  t.match(stderr, "choose other ports with --base-port");
  t.notOk(existsSync(`${cwd}/data`));
});

/** Not spawnSync: this process has a port to hold meanwhile. */
function finish(args: readonly string[], cwd: string): Promise<{ status: number; stderr: string }> {
  return new Promise((done) => {
    execFile(BINARY, args, { cwd, env: {}, timeout: 20_000 }, (error, _stdout, stderr) => {
      done({ status: error === null ? 0 : Number(error.code), stderr });
    });
  });
}

t.test("a directory that is not a cluster's, or another cluster's, is left alone", async (t) => {
  const cwd = t.testdir({ data: { "thesis.pdf": "" } });
  const foreign = nucleus(["up"], { cwd });
  t.equal(foreign.status, 2);
  t.match(foreign.stderr, /\.\/data is not a cluster's directory\.\n {2}It holds "thesis\.pdf"/);
  const tree = openTree(`${cwd}/other`, { nodes: 3, basePort: 7400, control: 0 });
  makeTree(tree);
  t.match(nucleus(["up", "--dir", "other", "--nodes", "5"], { cwd }), {
    status: 2,
    stderr: /the cluster in \.\/other has 3/,
  });
  t.match(nucleus(["up", "--dir", "other", "--base-port", "7500"], { cwd }), {
    status: 2,
    stderr: /7401, 7402, 7403/,
  });
});

t.test("a second up on a running cluster says that it runs, and how to reach it", async (t) => {
  const cwd = t.testdir();
  const { up, port } = await startCluster(
    t,
    [...FIXED, "--nodes", "1", "--base-port", String(await freeBasePort(1))],
    cwd,
  );
  const second = nucleus(["up"], { cwd });
  t.equal(second.status, 7);
  t.match(second.stderr, `This cluster runs already: process ${up.process.pid} watches ./data.`);
  t.match(second.stderr, `repl -p ${port}`);
  t.equal(await up.stop(), 0);
});

t.test("a first start that was cut short goes on with the next", async (t) => {
  const cwd = t.testdir();
  makeTree(openTree(`${cwd}/data`, { nodes: 3, basePort: await freeBasePort(3), control: 0 }));
  t.ok(existsSync(`${cwd}/data/birth`));
  const { up } = await startCluster(t, FIXED, cwd);
  t.notOk(existsSync(`${cwd}/data/birth`), "from now on an empty directory is a lost disk");
  t.equal(await up.stop(), 0);
});

t.test("A12: a node whose disk was wiped gets its data back from the others", async (t) => {
  const cwd = t.testdir();
  const first = await startCluster(t, [...FIXED, "--base-port", String(await freeBasePort(3))], cwd);
  set(first.port, "kept", "yes");
  await first.up.stop();
  rmSync(`${cwd}/data/n3`, { recursive: true });
  const { up, line } = await startCluster(t, FIXED, cwd);
  const lagOf = (id: string): number | null | undefined =>
    statusOf(first.port).shards[0]?.replicas.find(({ node }) => node === id)?.lag;
  await until(() => lagOf("n3") === 0, "n3 to have the whole log");
  t.equal(get(line.nodes[2]?.addr.split(":")[1] ?? "", "kept"), "yes\n");
  t.equal(await up.stop(), 0);
});

t.test("A12: where a majority lost its disks, up waits, says for what, and stops when told to", async (t) => {
  const cwd = t.testdir();
  const first = await startCluster(t, [...FIXED, "--base-port", String(await freeBasePort(3))], cwd);
  await first.up.stop();
  for (const id of ["n2", "n3"]) rmSync(`${cwd}/data/${id}`, { recursive: true });
  const up = new Up(FIXED, cwd);
  t.teardown(() => endAll(up, cwd));
  for (const id of ["n2", "n3"]) await up.says(new RegExp(`^${id} waits: .*--init`, "m"), "stderr");
  t.notMatch(up.stdout, /^ready$/m);
  t.equal(await up.stop(), 0);
});

t.test("with no majority to start, up says why and exits with 4", async (t) => {
  const cwd = t.testdir();
  const first = await startCluster(t, [...FIXED, "--base-port", String(await freeBasePort(3))], cwd);
  await first.up.stop();
  for (const id of ["n2", "n3"]) writeFileSync(`${cwd}/data/${id}/node.json`, "torn");
  const { status, stderr } = await finish(["up"], cwd);
  t.equal(status, 4);
  t.match(
    stderr,
    /^n2 \(pid \d+\) ended with exit code 1\.\n {2}It said: cannot start: .*does not say whose/m,
  );
  t.match(stderr, /\nStopping 1 node \.\.\n/);
  t.match(stderr, /nucleus: Only 1 of 3 nodes could be started\.\n {2}That is no majority/);
});

t.test("when up is killed its nodes end by themselves, and the next up goes on", async (t) => {
  const cwd = t.testdir();
  const { up, line, port } = await startCluster(
    t,
    [...FIXED, "--base-port", String(await freeBasePort(3))],
    cwd,
  );
  set(port, "kept", "yes");
  up.process.kill("SIGKILL");
  await up.ended();
  const again = await startCluster(t, FIXED, cwd);
  await until(() => !line.nodes.some(({ pid }) => isRunning(pid)), "the end of the nodes before");
  t.equal(get(again.port, "kept"), "yes\n");
  t.equal(await again.up.stop(), 0);
});

t.test(
  "a dead child is reported with the command that starts it again, and that command works",
  async (t) => {
    const cwd = t.testdir();
    const { up, line, port } = await startCluster(
      t,
      [...FIXED, "--base-port", String(await freeBasePort(3))],
      cwd,
    );
    const victim = line.nodes.find(({ id }) => id !== line.shards[0]?.leader) as UpLine["nodes"][number];
    process.kill(victim.pid, "SIGKILL");
    const [, command = ""] = await up.says(/Start it again with:\n {2}(.+)\n/, "stderr");
    t.match(up.stderr, `${victim.id} (pid ${victim.pid}) was killed by SIGKILL.`);
    t.notMatch(command, "--init");

    const other = line.nodes.find(({ id }) => id !== victim.id)?.addr.split(":")[1] ?? port;
    const view = statusOf(other);
    t.same(
      view.nodes.filter(({ alive }) => !alive).map(({ id, pid }) => [id, pid]),
      [[victim.id, null]],
    );
    const human = nucleus(["status", "-p", other]);
    t.equal(human.status, 0, "degraded is not unavailable");
    t.match(human.stdout, /^Degraded - 2\/3 nodes, 1\/1 shards have leaders, worst lag \d+\n/);

    const back = spawn("sh", ["-c", `exec ${command}`], { stdio: "ignore" });
    const gone = new Promise((done) => back.once("exit", done));
    t.teardown(() => back.kill("SIGKILL"));
    await until(
      () => nucleus(["status", "-p", other]).stdout.startsWith("Healthy - 3/3 nodes"),
      "three nodes",
    );
    t.equal(statusOf(other).nodes.find(({ id }) => id === victim.id)?.pid, back.pid);
    back.kill("SIGTERM");
    t.equal(await gone, 0, "it was not up's to stop");
    t.equal(await up.stop(), 0);
  },
);

t.test("--respawn brings a dead leader back, and status shows the whole picture", async (t) => {
  const { up, line } = await startCluster(t, [
    ...FIXED,
    "--respawn",
    "--base-port",
    String(await freeBasePort(3)),
  ]);
  const victim = line.nodes.find(({ id }) => id === line.shards[0]?.leader) as UpLine["nodes"][number];
  const other = line.nodes.find(({ id }) => id !== victim.id)?.addr.split(":")[1] ?? "";
  process.kill(victim.pid, "SIGKILL");
  await up.says(/was killed by SIGKILL\.\n {2}It is started again in a second\./, "stderr");
  await until(() => nucleus(["status", "-p", other]).stdout.startsWith("Healthy - 3/3 nodes"), "three nodes");
  const view = statusOf(other);
  t.equal(view.epoch, 1);
  t.match(
    view.nodes,
    line.nodes.map(({ id, addr, http }) => ({ id, addr, http, alive: true })),
  );
  t.not(view.nodes.find(({ id }) => id === victim.id)?.pid, victim.pid);
  const [shard] = view.shards;
  t.match(shard, { id: "s1", leader: /^n\d$/, slots: 16_384, keys: 0 });
  t.same(
    shard?.replicas.map(({ node }) => node),
    ["n1", "n2", "n3"],
  );
  t.equal(await up.stop(), 0);
});

t.test("status of nobody, of something else, and of a cluster without a majority", async (t) => {
  const base = await freeBasePort(1);
  const nobody = nucleus(["status", "-p", String(base + 1)]);
  t.match(nobody, {
    status: 4,
    stdout: "",
    stderr: /nothing listens there\.\n {2}Start a local cluster with: .*nucleus up\n/,
  });
  t.equal(nucleus(["status", "-p", "x"]).status, 2);

  const { up, line } = await startCluster(t, [...FIXED, "--base-port", String(await freeBasePort(3))]);
  const [kept, ...dead] = line.nodes;
  for (const { pid } of dead) process.kill(pid, "SIGKILL");
  const port = kept?.addr.split(":")[1] ?? "";
  const lost = await until(() => {
    const said = nucleus(["status", "-p", port]);
    return said.status === 4 && said;
  }, "the last node to see that it leads nobody");
  t.match(lost.stdout, /^Unavailable - 1\/3 nodes, 0\/1 shards have leaders, worst lag unknown\n/);
  const write = nucleus(["repl", "-p", port, "SET", "k", "v"]);
  t.match(write, { stdout: "", stderr: /^(CLUSTERDOWN|UNCERTAIN)/ });
  t.ok([4, 5].includes(write.status ?? -1));
  t.equal(await up.stop(), 0);
});

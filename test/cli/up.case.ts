/** What `up` does before and beside running nodes: the directory, the ports, the words about dead children. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import t from "tap";
import {
  endBirth,
  isUnborn,
  type Member,
  makeTree,
  openTree,
  type TreeWish,
} from "../../src/cli/cluster_dir.ts";
import type { ShardView } from "../../src/cli/cluster_view.ts";
import { commandOf, isOwnProcess, listenerOf, restartCommand } from "../../src/cli/local_process.ts";
import { argumentsAtStart, argumentsOf } from "../../src/cli/member_arguments.ts";
import { lastErrorOf } from "../../src/cli/supervisor.ts";
import { type ControlRole, type LocalView, readinessOf } from "../../src/cli/up_watch.ts";
import { parseFirstLayout } from "../../src/controlplane/requests.ts";
import { parseLayout } from "../../src/server/layout.ts";
import { thrownBy } from "./script.ts";
import { VIEW } from "./views.ts";

const ANY = { nodes: undefined, basePort: undefined };
/** Without a control plane. */
const FIXED = { ...ANY, control: 0 };

t.test("a cluster's directory is planned first and written later", async (t) => {
  const dir = `${t.testdir()}/data`;
  const tree = openTree(dir, { ...FIXED, nodes: 2, basePort: 7400 });
  t.notOk(existsSync(dir));
  t.ok(tree.isNew);
  makeTree(tree);
  t.same(parseLayout(readFileSync(`${dir}/layout.json`, "utf8")), tree.fixed);
  t.same(
    tree.members,
    [1, 2].map((i) => ({
      id: `n${i}`,
      kind: "node",
      host: "127.0.0.1",
      port: 7400 + i,
      http: `127.0.0.1:${8400 + i}`,
    })),
  );
  const again = openTree(dir, ANY);
  t.notOk(again.isNew);
  t.same(again.members, tree.members);
  t.not(openTree(`${dir}2`, ANY).cluster, openTree(`${dir}2`, ANY).cluster, "ids are random");
});

t.test("A12: a node is begun anew only until all have started once", async (t) => {
  const tree = openTree(`${t.testdir()}/data`, FIXED);
  makeTree(tree);
  const [n1, n2] = tree.members;
  if (n1 === undefined || n2 === undefined) return t.fail("three nodes");
  t.ok(isUnborn(tree, n1));
  mkdirSync(`${tree.dir}/n1`);
  writeFileSync(`${tree.dir}/n1/node.json`, "{}");
  t.notOk(isUnborn(tree, n1), "it was born");
  t.ok(isUnborn(openTree(tree.dir, ANY), n2), "an interrupted first start goes on");
  endBirth(tree);
  t.notOk(isUnborn(tree, n2), "an empty directory is a lost disk now");
  return endBirth(tree);
});

t.test("a directory with something else in it is left alone", async (t) => {
  const dir = t.testdir({ "report.doc": "" });
  t.match(
    thrownBy(() => openTree(dir, ANY)),
    { exitCode: 2, why: /holds "report.doc", but no up.json or layout.json/ },
  );
  const file = `${dir}/report.doc`;
  t.match(
    thrownBy(() => openTree(file, ANY)),
    { exitCode: 1, message: /cannot be used/ },
  );
  const broken = t.testdir({ "layout.json": "{}" });
  t.match(
    thrownBy(() => openTree(broken, ANY)),
    { exitCode: 1, why: /"cluster" must be 32 hex digits/ },
  );
  t.doesNotThrow(() => openTree(t.testdir({ "lost+found": {} }), ANY));
});

t.test("a cluster that exists is what its layout says", async (t) => {
  const tree = openTree(`${t.testdir()}/data`, { ...FIXED, nodes: 3, basePort: 7400 });
  makeTree(tree);
  t.doesNotThrow(() => openTree(tree.dir, { nodes: 3, basePort: 7400 }));
  t.throws(() => openTree(tree.dir, { nodes: 5, basePort: undefined }), {
    exitCode: 2,
    message: /--nodes 5 does not fit: the cluster in .* has 3/,
  });
  t.match(
    thrownBy(() => openTree(tree.dir, { nodes: undefined, basePort: 7000 })),
    {
      exitCode: 2,
      why: /7401, 7402, 7403/,
    },
  );
  const far = { cluster: "0".repeat(32), nodes: [{ id: "a", addr: "10.0.0.1:7001" }] };
  const elsewhere = t.testdir({ "layout.json": JSON.stringify(far) });
  t.match(
    thrownBy(() => openTree(elsewhere, ANY)),
    { exitCode: 2, message: /a is at 10\.0\.0\.1:7001/ },
  );
});

const MANAGED = { ...ANY, control: 3, nodes: 4 };

t.test("a cluster with a control plane: its processes, their ports, the first layout", async (t) => {
  const dir = `${t.testdir()}/data`;
  const tree = openTree(dir, { ...MANAGED, basePort: 7400, shards: 5, replicas: 2 });
  t.same(
    tree.members.map(({ id, kind, port, http }) => [id, kind, port, http]),
    [
      ...[1, 2, 3, 4].map((i) => [`n${i}`, "node", 7400 + i, `127.0.0.1:${8400 + i}`]),
      ...[1, 2, 3].map((i) => [`c${i}`, "control", 7500 + i, `127.0.0.1:${8500 + i}`]),
    ],
  );
  makeTree(tree);
  const { shards, replicas } = parseFirstLayout(readFileSync(`${dir}/cluster.json`, "utf8"));
  t.equal(replicas, 2);
  t.same(
    shards.map(({ id, nodes }) => `${id} ${nodes?.join(" ")}`),
    ["s1 n1 n2", "s2 n2 n3", "s3 n3 n4", "s4 n4 n1", "s5 n1 n2"],
  );
  const again = openTree(dir, ANY);
  t.same(again.members, tree.members);
  t.equal(again.cluster, tree.cluster);
  t.notOk(again.isNew || again.isGrown);
  t.same(openTree(`${dir}2`, { ...ANY, control: 1, nodes: 1 }).first, { shards: 4, replicas: 1 });
});

t.test("what its processes are started with: more at the birth, and only then", async (t) => {
  const tree = openTree(`${t.testdir()}/data`, { ...MANAGED, basePort: 7400 });
  const [node, control] = [tree.members[0] as Member, tree.members[4] as Member];
  makeTree(tree);
  const words = (from: string[]): string =>
    from.join(" ").replaceAll(tree.dir, "D").replace(tree.cluster, "ID");
  const ofNode =
    "node --id n1 --listen 127.0.0.1:7401 --http 127.0.0.1:8401 --dir D/n1" +
    " --control 127.0.0.1:7501,127.0.0.1:7502,127.0.0.1:7503";
  const ofControl =
    "control --id c1 --listen 127.0.0.1:7501 --http 127.0.0.1:8501 --dir D/c1" +
    " --peers c1=127.0.0.1:7501,c2=127.0.0.1:7502,c3=127.0.0.1:7503";
  t.equal(words(argumentsAtStart(tree, node)), ofNode, "a node is made one by the control plane's orders");
  t.equal(
    words(argumentsAtStart(tree, control)),
    `${ofControl} --cluster D/cluster.json --init --cluster-id ID`,
  );
  mkdirSync(`${tree.dir}/c1`);
  writeFileSync(`${tree.dir}/c1/node.json`, "{}");
  t.equal(words(argumentsAtStart(tree, control)), `${ofControl} --cluster D/cluster.json`, "it was born");
  endBirth(tree);
  t.equal(words(argumentsAtStart(tree, control)), ofControl);
  t.equal(words(argumentsOf(tree, node)), ofNode);
  const alone = openTree(`${tree.dir}2`, { ...ANY, control: 1 });
  t.notMatch(words(argumentsOf(alone, alone.members.at(-1) as Member)), "--peers");
  t.same(
    restartCommand([
      "x",
      ...argumentsAtStart(tree, control),
      "--cluster",
      "f",
      "--init",
      "--cluster-id",
      "i",
    ]),
    ["x", ...argumentsOf(tree, control)],
  );
});

t.test("a cluster with a control plane may be given more nodes, and nothing else by `up`", async (t) => {
  const dir = `${t.testdir()}/data`;
  makeTree(openTree(dir, { ...MANAGED, basePort: 7400, shards: 5, replicas: 2 }));
  t.doesNotThrow(() => openTree(dir, { ...MANAGED, basePort: 7400, shards: 5, replicas: 2 }), "said again");
  const grown = openTree(dir, { ...ANY, nodes: 6 });
  t.ok(grown.isGrown);
  t.same(
    grown.members.map(({ id, port }) => `${id} ${port}`),
    ["n1 7401", "n2 7402", "n3 7403", "n4 7404", "n5 7405", "n6 7406", "c1 7501", "c2 7502", "c3 7503"],
  );
  makeTree(grown);
  t.same(openTree(dir, ANY).members, grown.members);
  const wrong: [Partial<TreeWish>, RegExp][] = [
    [{ nodes: 3 }, /has 6/],
    [{ control: 1 }, /has 3/],
    [{ control: 0 }, /has 3/],
    [{ shards: 4 }, /was made with 5/],
    [{ replicas: 3 }, /was made with 2/],
    [{ basePort: 7000 }, /own ports/],
  ];
  for (const [wish, message] of wrong) {
    const error = thrownBy(() => openTree(dir, { ...ANY, ...wish }));
    t.match(error, { exitCode: 2, message }, JSON.stringify(wish));
  }
  const few = thrownBy(() => openTree(`${dir}2`, { ...ANY, control: 1, nodes: 2, replicas: 3 }));
  t.match(few, { exitCode: 2, message: /--replicas 3 need as many nodes, and there are 2/ });
  const fixed = openTree(`${dir}3`, { ...ANY, control: 0 });
  makeTree(fixed);
  for (const wish of [{ control: 1 }, { shards: 4 }, { replicas: 2 }])
    t.match(
      thrownBy(() => openTree(`${dir}3`, { ...ANY, ...wish })),
      { exitCode: 2, message: /does not fit/ },
    );
  for (const text of ["{", `{"cluster":"${"0".repeat(32)}","nodes":[],"control":[]}`, `{"cluster":"x"}`]) {
    const torn = t.testdir({ "up.json": text });
    t.match(
      thrownBy(() => openTree(torn, ANY)),
      { exitCode: 1, why: /up\.json cannot be used/ },
    );
  }
});

const skip = existsSync("/proc/self/cmdline") ? false : "there is no /proc on this system";

t.test("who holds a port is found out", { skip }, async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  t.equal(listenerOf(port)?.pid, process.pid);
  t.match(listenerOf(port)?.name, /^(node|nucleus)/);
  await new Promise((resolve) => server.close(resolve));
  t.equal(listenerOf(port), null);
});

t.test("a process is taken for a node only if it was started as that node", { skip }, async (t) => {
  const wait = "setTimeout(() => {}, 20_000)";
  const child = spawn(process.execPath, [
    "-e",
    wait,
    "node",
    "--id",
    "n2",
    "--init",
    "--parent-pipe",
    "--dir",
    "d",
  ]);
  const pid = child.pid ?? 0;
  await new Promise((resolve) => child.once("spawn", resolve));
  t.ok(isOwnProcess(pid, "n2"));
  t.notOk(isOwnProcess(pid, "n1"));
  t.notOk(isOwnProcess(process.pid, "n2"));
  t.same(
    restartCommand(commandOf(pid) ?? []).slice(3),
    ["node", "--id", "n2", "--dir", "d"],
    "it is not begun anew",
  );
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill();
  await gone;
  t.notOk(isOwnProcess(pid, "n2"));
});

t.test("why a child died is read from its log", async (t) => {
  const line = (level: string, msg: string): string => `${JSON.stringify({ level, msg })}\n`;
  t.equal(lastErrorOf(""), "");
  t.equal(lastErrorOf(line("info", "listening")), "");
  t.equal(lastErrorOf(line("error", "one") + line("error", "two") + line("info", "three")), "two");
  t.equal(
    lastErrorOf(`${line("info", "a")}AssertionError: assertion failed: x\n  at f\n\nBun v1\n`),
    "AssertionError: assertion failed: x",
  );
  t.equal(lastErrorOf(`{"level":"err`), "", "a torn line says nothing");
});

t.test("a cluster is ready when its shards have leaders; at its birth, all that are wished", async (t) => {
  const tree = openTree(`${t.testdir()}/data`, { ...ANY, control: 1, shards: 2 });
  const [shard] = VIEW.shards as readonly [ShardView];
  const local = (role: ControlRole, ...shards: readonly Partial<ShardView>[]): LocalView => ({
    view: { ...VIEW, shards: shards.map((one, i) => ({ ...shard, id: `s${i + 1}`, ...one })) },
    roles: new Map([["c1", role]]),
  });
  const all = ["n1", "n2", "n3", "c1"];
  const of = (view: LocalView, isBirth: boolean, expected = all) => {
    const { isLed, isComplete, text } = readinessOf(tree, view, isBirth, expected);
    return [isLed, isComplete, text];
  };
  t.same(of(local("leader", {}, {}), true), [true, true, "3 of 3 nodes answer"]);
  t.same(of(local("leader", {}), true), [false, true, "3 of 3 nodes answer, 1 of 2 shards have leaders"]);
  t.same(of(local("leader", {}), false)[0], true, "later there are as many as there are");
  t.same(of(local("leader", {}, { slots: 0 }), true)[0], false, "a founder that has not applied its birth");
  t.same(of(local("leader", {}, { slots: 0 }), false)[0], true, "a shard that is new, or goes");
  t.same(of(local("leader", {}, { leader: null }), false)[0], false);
  t.same(of(local(null, {}, {}), true), [
    false,
    false,
    "3 of 3 nodes answer, the control plane has no leader yet",
  ]);
  t.same(of(local(null, {}, {}), false).slice(0, 2), [true, false], "it serves without");
  t.same(of(local(null, {}, {}), false, ["n1", "n2", "n3"])[1], true, "who does not run is not waited for");
});

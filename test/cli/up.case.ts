/** What `up` does before and beside running nodes: the directory, the ports, the words about dead children. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import t from "tap";
import { endBirth, isUnborn, makeTree, openTree } from "../../src/cli/cluster_dir.ts";
import { commandOf, isNodeProcess, listenerOf, restartCommand } from "../../src/cli/local_process.ts";
import { lastErrorOf } from "../../src/cli/supervisor.ts";
import { parseLayout } from "../../src/server/layout.ts";
import { thrownBy } from "./script.ts";

const ANY = { nodes: undefined, basePort: undefined };

t.test("a cluster's directory is planned first and written later", async (t) => {
  const dir = `${t.testdir()}/data`;
  const tree = openTree(dir, { nodes: 2, basePort: 7400 });
  t.notOk(existsSync(dir));
  t.ok(tree.isNew);
  makeTree(tree);
  t.same(parseLayout(readFileSync(`${dir}/layout.json`, "utf8")), tree.layout);
  t.same(
    tree.layout.nodes,
    [1, 2].map((i) => ({ id: `n${i}`, host: "127.0.0.1", port: 7400 + i, http: `127.0.0.1:${8400 + i}` })),
  );
  const again = openTree(dir, ANY);
  t.notOk(again.isNew);
  t.same(again.layout, tree.layout);
  t.not(openTree(`${dir}2`, ANY).layout.cluster, openTree(`${dir}2`, ANY).layout.cluster, "ids are random");
});

t.test("A12: a node is begun anew only until all have started once", async (t) => {
  const tree = openTree(`${t.testdir()}/data`, ANY);
  makeTree(tree);
  const [n1, n2] = tree.layout.nodes;
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
    { exitCode: 2, why: /holds "report.doc", but no layout.json/ },
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
  const tree = openTree(`${t.testdir()}/data`, { nodes: 3, basePort: 7400 });
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
  t.ok(isNodeProcess(pid, "n2"));
  t.notOk(isNodeProcess(pid, "n1"));
  t.notOk(isNodeProcess(process.pid, "n2"));
  t.same(
    restartCommand(commandOf(pid) ?? []).slice(3),
    ["node", "--id", "n2", "--dir", "d"],
    "it is not begun anew",
  );
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill();
  await gone;
  t.notOk(isNodeProcess(pid, "n2"));
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

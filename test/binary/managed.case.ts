/** `up` with a control plane: shards come and go while everything is written and read, and processes die. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import t, { type Test } from "tap";
import type { ClusterView } from "../../src/cli/cluster_view.ts";
import { endAll, freeBasePort, isRunning, nucleus, startCluster, Up, until } from "./cluster.ts";

const statusOf = (port: string): ClusterView => JSON.parse(nucleus(["status", "-p", port, "--json"]).stdout);
const repl = (port: string, ...words: readonly string[]): string =>
  nucleus(["repl", "-p", port, ...words]).stdout.trim();
/** Every shard's slots, as the nodes say. */
const slotsOf = ({ shards }: ClusterView): [string, number][] => shards.map(({ id, slots }) => [id, slots]);
const sumOf = (view: ClusterView): number => slotsOf(view).reduce((sum, [, slots]) => sum + slots, 0);

function fill(t: Test, port: string, count: number): void {
  const input = Array.from({ length: count }, (_, i) => `SET key${i} value${i}\n`).join("");
  const { stdout, status } = nucleus(["repl", "-p", port], { input });
  t.equal(status, 0);
  t.equal(stdout, "OK\n".repeat(count));
}

t.test(
  "shards are added and removed under keys that stay; verbs say what is, and refuse what cannot be",
  async (t) => {
    const cwd = t.testdir();
    const base = await freeBasePort(5);
    const { up, line, port } = await startCluster(t, ["--base-port", String(base), "--shards", "3"], cwd);
    t.same(
      [...line.nodes, ...line.control].map(({ id, addr, http }) => `${id} ${addr} ${http}`),
      [
        ...[1, 2, 3].map((i) => `n${i} 127.0.0.1:${base + i} 127.0.0.1:${base + 1000 + i}`),
        `c1 127.0.0.1:${base + 101} 127.0.0.1:${base + 1101}`,
      ],
    );
    t.equal(line.console, `http://127.0.0.1:${base + 1101}/`);
    t.same(
      line.shards.map(({ id }) => id),
      ["s1", "s2", "s3"],
    );
    t.ok(line.shards.every(({ leader }) => /^n[123]$/.test(leader)));
    t.notOk(existsSync(`${cwd}/data/birth`));
    fill(t, port, 300);
    const before = statusOf(port);
    t.equal(sumOf(before), 16_384);
    t.equal(before.epoch, 1);
    t.match(
      nucleus(["repl", "-p", port, ":explain", "hello"]).stdout,
      /^shard {5}s\d, which serves \d,\d+ slots\nepoch {5}1,/m,
    );

    const dry = nucleus(["reshard", "plan", "--add", "s4", "-p", port]);
    t.match(
      dry.stdout,
      /^\d+ moves of [\d,]+ slots: .*\n\nSHARD .*\ns1 .*\ns2 .*\ns3 .*\ns4 +1 +0 +[\d,]+ +\+/,
    );
    t.same(slotsOf(statusOf(port)), slotsOf(before), "a plan changes nothing");

    const added = nucleus(["shard", "add", "--id", "s4", "--wait", "-p", port]);
    t.equal(added.status, 0, added.stderr);
    t.match(
      added.stdout,
      /^Plan 2 is under way\. It brings s4\.\n[\s\S]*\nNo plan is under way\. Plan 2 is done: \d+ moves, \d+ keys/,
    );
    t.match(added.stderr, /^s\d -> s4, \d+ slots: (owned|done)/m);
    const four = await until(() => {
      const view = statusOf(port);
      return view.shards.length === 4 && sumOf(view) === 16_384 && view;
    }, "four shards that share all slots");
    t.ok(four.epoch > 1, "an epoch for each move");
    t.equal(repl(port, "DBSIZE"), "300");
    t.equal(repl(port, "GET", "key7"), "value7");
    t.match(JSON.parse(nucleus(["reshard", "status", "--json", "-p", port]).stdout), {
      active: false,
      epoch: 2,
    });

    const shy = nucleus(["shard", "remove", "s2", "-p", port]);
    t.equal(shy.status, 2, "what is removed has to be meant");
    t.match(shy.stderr, /s2 gives away all it has, and ends\. .*\n.*\n.*--yes/);
    const removed = nucleus(["shard", "remove", "s2", "--yes", "--wait", "-p", port]);
    t.equal(removed.status, 0, removed.stderr);
    const three = await until(() => {
      const view = statusOf(port);
      return view.shards.length === 3 && sumOf(view) === 16_384 && view;
    }, "three shards that share all slots");
    t.same(
      three.shards.map(({ id }) => id),
      ["s1", "s3", "s4"],
    );
    t.equal(repl(port, "DBSIZE"), "300");

    t.equal(nucleus(["shard", "remove", "s2", "--yes", "-p", port]).status, 3);
    t.equal(nucleus(["cluster", "init", "--shards", "2", "-p", port]).status, 7);
    t.equal(nucleus(["reshard", "cancel", "-p", port]).status, 3);
    t.equal(nucleus(["leader", "move", "n1", "-p", port]).status, 2, "of which shard?");
    // The control plane spreads leaders at the same time: one hand-over at a time.
    const moved = await until(() => {
      const said = nucleus(["leader", "move", "n1", "--shard", "s3", "--json", "-p", port]);
      return said.status === 0 && said;
    }, "n1 leads s3");
    t.match(JSON.parse(moved.stdout), { shard: "s3", leader: "n1" });

    t.equal(await up.stop(), 0);
    t.match(up.stderr, /Stopping 3 nodes, 1 control process \.\.\n/);
    t.notOk(
      [...line.nodes, ...line.control].some(({ pid }) => isRunning(pid)),
      "no process is left",
    );

    const again = await startCluster(t, ["--nodes", "4"], cwd);
    t.equal(again.line.cluster, line.cluster);
    t.equal(again.line.nodes.length, 4, "one more than before");
    t.equal(repl(port, "DBSIZE"), "300");
    const nodes = await until(() => {
      const { nodes: all } = JSON.parse(nucleus(["node", "list", "--json", "-p", port]).stdout);
      return all.length === 4 && all;
    }, "n4 to register");
    t.match(nodes[3], { id: "n4", state: "alive", replicas: 0 });
    t.equal(await again.up.stop(), 0);
  },
);

t.test(
  "without its control plane a cluster serves, changes wait, and the printed command brings it back",
  async (t) => {
    const { up, line, port } = await startCluster(t, ["--base-port", String(await freeBasePort(4))]);
    process.kill(line.control[0]?.pid ?? 0, "SIGKILL");
    const [, command = ""] = await up.says(
      /^c1 .* was killed by SIGKILL\.\n {2}Start it again with:\n {2}(.+)\n/m,
      "stderr",
    );
    t.notMatch(command, /--init|--cluster/);
    fill(t, port, 50);
    t.equal(repl(port, "DBSIZE"), "50");
    t.match(nucleus(["status", "-p", port]), {
      status: 0,
      stdout: /^Healthy - 3\/3 nodes, 4\/4 shards have leaders/,
    });
    const refused = nucleus(["shard", "add", "-p", port]);
    t.equal(refused.status, 4, refused.stderr);
    t.match(refused.stderr, /does not answer\.\n {2}Reads and writes go on without it/);
    const back = spawn("sh", ["-c", `exec ${command}`], { stdio: "ignore" });
    t.teardown(() => back.kill("SIGKILL"));
    await until(() => nucleus(["shard", "list", "-p", port]).status === 0, "the control plane to answer");
    const gone = new Promise((done) => back.once("exit", done));
    back.kill("SIGTERM");
    t.equal(await gone, 0);
    t.equal(await up.stop(), 0);
  },
);

t.test("three control processes: the next one leads when one dies, and a plan is carried out", async (t) => {
  const args = ["--respawn", "--control", "3", "--shards", "2", "--base-port", String(await freeBasePort(3))];
  const { up, line, port } = await startCluster(t, args);
  fill(t, port, 50);
  process.kill(line.control[0]?.pid ?? 0, "SIGKILL");
  // The next leader may not have heard all nodes yet: the verb waits for that.
  const added = nucleus(["shard", "add", "--id", "s3", "--wait", "-p", port]);
  t.equal(added.status, 0, added.stderr);
  t.equal(repl(port, "DBSIZE"), "50");
  t.equal(await up.stop(), 0);
});

t.test(
  "the first screen of a cluster with shards; :kill measures in the shard that loses its leader",
  async (t) => {
    const base = await freeBasePort(3);
    const cwd = t.testdir();
    const up = new Up(["--base-port", String(base), "--repl", "--respawn"], cwd, "pipe");
    t.teardown(() => endAll(up, cwd));
    await up.says(/^ready\n/m, "stdout");
    t.match(up.stdout, "A new cluster of 3 nodes and 4 shards in ./data (id ");
    t.match(
      up.stdout,
      new RegExp(
        `^  c1 +127\\.0\\.0\\.1:${base + 101} +127\\.0\\.0\\.1:${base + 1101} +control, leads +\\d+ +\\./data/c1/log$`,
        "m",
      ),
    );
    for (const id of ["s1", "s2", "s3", "s4"])
      t.match(
        up.stdout,
        new RegExp(
          `^  ${id} +n\\d +\\d+ +\\d+ +\\d,\\d+ +0 +0 B +n1 \\(\\d+\\) n2 \\(\\d+\\) n3 \\(\\d+\\)$`,
          "m",
        ),
      );
    t.match(up.stdout, `\n  console  http://127.0.0.1:${base + 1101}/\n`);
    up.process.stdin?.end(":kill leader s3\n:shards\n:nodes\n:kill leader s9\n");
    t.equal(await up.ended(), 1, "there is no s9");
    t.match(up.stdout, /\nwrite gap {5}[\d.]+ (ms|s) /);
    t.match(up.stdout, /^new leader {4}n\d leads s3, term \d+$/m);
    t.match(up.stdout, /^acknowledged .*nothing was lost$/m);
    t.match(up.stderr, "There is no shard s9: see :shards");
  },
);

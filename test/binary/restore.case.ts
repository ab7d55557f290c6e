/** A control plane whose only disk is lost, made anew from a backup: with the compiled program. */
import { readFileSync, rmSync, statSync } from "node:fs";
import t from "tap";
import type { ClusterView } from "../../src/cli/cluster_view.ts";
import { freeBasePort, nucleus, startCluster, Up, until } from "./cluster.ts";

const statusOf = (port: string): ClusterView => JSON.parse(nucleus(["status", "-p", port, "--json"]).stdout);
const slotsOf = (port: string): [string, number][] =>
  statusOf(port).shards.map(({ id, slots }) => [id, slots]);
const sum = (slots: readonly [string, number][]): number => slots.reduce((all, [, count]) => all + count, 0);

t.test(
  "F9: slots that moved after the backup stay where they are; a new control plane that is not restored makes nothing",
  async (t) => {
    const cwd = t.testdir();
    const base = await freeBasePort(4);
    const args = ["--base-port", String(base), "--shards", "2", "--nodes", "3"];
    const { up, line, port } = await startCluster(t, args, cwd);
    const input = Array.from({ length: 200 }, (_, i) => `SET key${i} value${i}\n`).join("");
    t.equal(nucleus(["repl", "-p", port], { input }).status, 0);
    const file = `${cwd}/control.backup`;
    const taken = nucleus(["cluster", "backup", file, "-p", port]);
    t.equal(taken.status, 0, taken.stderr);
    t.match(taken.stdout, /has what the control plane knows: 3 nodes, 2 shards\./);
    t.equal(statSync(file).mode & 0o777, 0o600);
    t.equal(JSON.parse(readFileSync(file, "utf8")).cluster, line.cluster);
    t.equal(nucleus(["cluster", "backup", file, "-p", port]).status, 0, "an older one is replaced");
    const added = nucleus(["shard", "add", "--id", "s3", "--wait", "-p", port]);
    t.equal(added.status, 0, added.stderr);
    const before = await until(() => {
      const slots = slotsOf(port);
      return slots.length === 3 && sum(slots) === 16_384 && slots;
    }, "three shards that share all slots");
    const { epoch } = statusOf(port);

    const [control] = line.control;
    if (control === undefined) throw new Error("there is one");
    process.kill(control.pid, "SIGKILL");
    await up.says(/^c1 .* was killed by SIGKILL/m, "stderr");
    rmSync(`${cwd}/data/c1`, { recursive: true });
    const words = ["control", "--id", "c1", "--listen", control.addr, "--http", control.http];
    const dir = ["--dir", `${cwd}/data/c1`];

    const blank = new Up([...dir, "--cluster-id", line.cluster, "--init"], cwd, "ignore", words);
    t.teardown(() => blank.process.kill("SIGKILL"));
    const refused = await until(() => {
      const said = nucleus(["cluster", "init", "--shards", "2", "-p", port]);
      return /--restore FILE/.test(said.stderr) && said;
    }, "it to have refused a node");
    t.equal(refused.status, 7);
    blank.process.kill("SIGKILL");
    await blank.ended();
    rmSync(`${cwd}/data/c1`, { recursive: true });

    const restored = new Up([...dir, "--restore", file], cwd, "ignore", words);
    t.teardown(() => restored.process.kill("SIGKILL"));
    await restored.says(/the backup is restored/, "stderr");
    const more = nucleus(["shard", "add", "--id", "s4", "--wait", "-p", port]);
    t.equal(more.status, 0, more.stderr);
    const after = await until(() => {
      const slots = slotsOf(port);
      return slots.length === 4 && sum(slots) === 16_384 && slots;
    }, "four shards that share all slots");
    const less = before.every(([id, slots]) => (after.find(([one]) => one === id)?.[1] ?? 0) < slots);
    t.ok(less, `s4 has something of each: ${after.join(" ")}`);
    t.ok(statusOf(port).epoch > epoch, "and no epoch is used twice");
    t.equal(nucleus(["repl", "-p", port, "DBSIZE"]).stdout.trim(), "200");
    t.equal(nucleus(["repl", "-p", port, "GET", "key7"]).stdout.trim(), "value7");

    const gone = restored.ended();
    restored.process.kill("SIGTERM");
    t.equal(await gone, 0);
    const again = new Up([...dir, "--restore", file], cwd, "ignore", words);
    t.teardown(() => again.process.kill("SIGKILL"));
    await until(
      () => nucleus(["shard", "list", "-p", port]).status === 0,
      "the same words to start it again",
    );
    again.process.kill("SIGTERM");
    t.equal(await again.ended(), 0);
    t.equal(await up.stop(), 0);
  },
);

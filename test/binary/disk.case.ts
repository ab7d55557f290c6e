/** Disks that fill up or fail under a running node of the compiled program. */
import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { BINARY, freeBasePort, until } from "./cluster.ts";
import { CLUSTER, noTracing, OneNode, remount, smallDisk } from "./one_node.ts";

const MiB = 1024 * 1024;
const SEGMENT_4MIB = { settings: { segmentBytes: 4 * MiB } };

t.test("D6: a full disk: writes are refused, reads go on, restarts work, and space mends it", async (t) => {
  const disk = smallDisk(t, 24 * MiB);
  if ("without" in disk) {
    t.pass("a full disk", { skip: disk.without });
    return;
  }
  const node = await OneNode.in(t);
  node.layout("small.json", SEGMENT_4MIB);
  const options = { dir: `${disk.dir}/d`, layout: "small.json" };
  await node.start({ init: true, options });
  let written = 0;
  for (const size of [500_000, 50_000, 5000]) {
    const replies = await node.fill(written, 100, size);
    t.match(replies.at(-1), /^-MISCONF /, `the log finds no place for ${size} bytes`);
    written += replies.length - 1;
    await sleep(100); // it looks how much room there is once a tick
  }
  t.ok(written > 10, "not before it was full", { written });
  t.match(node.log, "no room for another log segment");
  spawnSync("dd", ["if=/dev/zero", `of=${disk.dir}/rest`, "bs=4096"]);
  t.match(node.ask("DEL", "fill0"), /^MISCONF /, "a removal is a write to the log, too");
  t.equal(node.ask("STRLEN", "fill0"), "500000");
  t.equal(node.ask("DBSIZE"), String(written), "nothing that was refused is there");
  for (const signal of ["SIGKILL", "SIGKILL", "SIGTERM", "SIGKILL"] as const) {
    await node.kill(signal);
    await node.start({ options });
    t.equal(node.ask("DBSIZE"), String(written), `after ${signal}`);
  }
  await until(() => node.log.includes("no room for another log segment"), "it to notice");
  remount(disk.dir, `size=${80 * MiB}`);
  await until(() => node.log.includes("there is room for log segments again"), "it to notice again");
  t.same(new Set(await node.fill(written, 20, 500_000)), new Set(["+OK"]), "nobody had to restart it");
  t.equal(node.ask("DEL", "fill0"), "1");
});

t.test(
  "D1: a sync that fails ends the node at once; what it had acknowledged is there afterwards",
  async (t) => {
    const without = noTracing();
    if (without !== null) {
      t.pass("a failing sync", { skip: without });
      return;
    }
    const node = await OneNode.in(t);
    node.layout("small.json", SEGMENT_4MIB);
    const options = { layout: "small.json" };
    // Each thread of the program counts by itself; by its 20th sync the node has long been serving.
    const fails = "inject=fdatasync:error=EIO:when=20+";
    const under = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", fails];
    await node.start({ init: true, options, under });
    const replies = await node.fill(0, 500, 10);
    const acknowledged = replies.filter((reply) => reply === "+OK").length;
    t.equal(await node.ended(), 1);
    t.match(node.log, /"level":"error".*stopped at once: .*EIO/);
    t.ok(acknowledged > 0 && acknowledged < 500, "it failed while it served", { acknowledged });
    t.equal(replies.length, acknowledged, "nothing was said of the write that it could not sync");
    await node.start({ options });
    const keys = Number(node.ask("DBSIZE"));
    t.ok(keys === acknowledged || keys === acknowledged + 1, "all that was acknowledged", {
      keys,
      acknowledged,
    });
  },
);

t.test("D1: a write that fails ends the node at once, too", async (t) => {
  const without = noTracing();
  if (without !== null) {
    t.pass("a failing write", { skip: without });
    return;
  }
  const node = await OneNode.in(t);
  await node.start({ init: true });
  await node.kill();
  const fails = "inject=pwrite64:error=EIO:when=30+";
  const under = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", fails];
  await node.start({ under });
  const replies = await node.fill(0, 500, 10);
  t.equal(await node.ended(), 1);
  t.match(node.log, /"level":"error".*stopped at once: /);
  await node.start();
  const keys = Number(node.ask("DBSIZE"));
  t.ok(keys >= replies.filter((reply) => reply === "+OK").length);
});

t.test("H10: names that nobody answers for do not keep the log from syncing", async (t) => {
  const without = noTracing();
  if (without !== null) {
    t.pass("slow names", { skip: without });
    return;
  }
  const base = await freeBasePort(5);
  const cwd = t.testdir();
  // Three of five run; each look-up of the others' names takes four seconds at n1, and there is always one.
  const hosts = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "n4.invalid", "n5.invalid"];
  const nodes = hosts.map((host, i) => ({ id: `n${i + 1}`, addr: `${host}:${base + i + 1}` }));
  writeFileSync(`${cwd}/layout.json`, JSON.stringify({ cluster: CLUSTER, nodes, ...SEGMENT_4MIB }));
  const slow = ["-P", "/etc/hosts", "-e", "trace=openat", "-e", "inject=openat:delay_enter=4000000"];
  for (const { id, addr } of nodes.slice(0, 3)) {
    const under = id === "n1" ? ["strace", "-f", "-qq", "-o", "/dev/null", ...slow] : [];
    const words = [...under, BINARY, "node", "--id", id, "--listen", addr, "--dir", id];
    const { pid } = spawn(words[0] as string, [...words.slice(1), "--layout", "layout.json", "--init"], {
      cwd,
      env: {},
      stdio: "ignore",
      detached: true,
    });
    t.teardown(() => process.kill(-(pid as number), "SIGKILL")); // strace and what runs under it
  }
  const ask = (port: number, ...words: readonly string[]): string =>
    spawnSync(BINARY, ["repl", "-p", String(port), ...words], { env: {}, encoding: "utf8" }).stdout.trim();
  await until(() => ask(base + 2, "SET", "begun", "1") === "OK", "a leader");
  await until(() => {
    spawnSync(BINARY, ["leader", "move", "n1", "-p", String(base + 2)], { env: {} });
    return ask(base + 1, "INFO").includes("role:master");
  }, "n1 to lead");
  const replies = new Set<string>();
  for (let i = 0; i < 50; i++) replies.add(ask(base + 1, "SET", `key${i}`, "1"));
  t.same([...replies], ["OK"], "none is late, or unknown");
});

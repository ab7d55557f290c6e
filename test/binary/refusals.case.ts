/** What the program says when a node cannot start: each row of the table in docs/operations.md, in its words. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { setU32 } from "../../src/base/bytes.ts";
import { crc32Range } from "../../src/base/checksum.ts";
import { BINARY, until } from "./cluster.ts";
import {
  broughtAbout,
  CLUSTER,
  isTold,
  noTracing,
  OneNode,
  ROWS,
  readBytes,
  remount,
  smallDisk,
} from "./one_node.ts";

const MiB = 1024 * 1024;
/** A user that owns nothing, where tests run as root. */
const NOBODY = 65_534;
/** Codes that this machine cannot bring about, and why. */
const skipped = new Map<string, string>();
const isRoot = process.getuid?.() === 0;

t.test("refusals: a wrong command line or layout", async (t) => {
  const node = await OneNode.in(t);
  isTold(t, "ELAYOUT", 2, node.refused({ options: { layout: "none.json" } }));
  node.layout("bad.json", { cluster: "x" });
  isTold(t, "ELAYOUT", 2, node.refused({ options: { layout: "bad.json" } }));
  isTold(t, "ELAYOUT", 2, node.refused({ init: true, options: { id: "n9" } }));
  isTold(t, "EUSAGE", 2, node.refused({ options: { listen: `127.0.0.1:${node.port + 1}` } }));
});

t.test("refusals: a flag that no verb has, and what a verb lacks", async (t) => {
  const verbs = ["node", "node list", "up", "control", "repl", "status", "leader move", "sim"];
  for (const verb of [
    ...verbs,
    "cluster init",
    "shard add",
    "shard remove",
    "reshard plan",
    "reshard apply",
  ]) {
    const words = [...verb.split(" "), "--such-a-flag"];
    const { status, stdout, stderr } = spawnSync(BINARY, words, {
      env: {},
      encoding: "utf8",
      timeout: 20_000,
    });
    t.equal(status, 2, verb);
    t.equal(stdout, "", verb);
    t.match(stderr, /such-a-flag/, verb);
    t.match(stderr, /--help/, `${verb}: what to do next`);
  }
});

t.test("A12: refusals: a directory that is not this node's, or not as it was left", async (t) => {
  const node = await OneNode.in(t);
  isTold(t, "EBLANK", 1, node.refused());
  mkdirSync(`${node.cwd}/other`);
  writeFileSync(`${node.cwd}/other/letters.txt`, "");
  isTold(t, "EFOREIGN", 1, node.refused({ init: true, options: { dir: "other" } }));
  const pid = await node.start({ init: true });
  const inUse = node.refused();
  isTold(t, "EINUSE", 1, inUse);
  t.match(inUse.said, String(pid));
  await node.kill();
  isTold(t, "EBORN", 1, node.refused({ init: true }));
  node.layout("foreign.json", { cluster: CLUSTER.replace("0011", "ffff") });
  isTold(t, "EFOREIGN", 1, node.refused({ options: { layout: "foreign.json" } }));
  node.layout("sized.json", { settings: { segmentBytes: 4 * MiB } });
  isTold(t, "ECONFIG", 1, node.refused({ options: { layout: "sized.json" } }));
  writeFileSync(`${node.cwd}/d/node.json`, `{"format": 99}`);
  isTold(t, "EFORMAT", 1, node.refused());
  writeFileSync(`${node.cwd}/d/node.json`, "torn");
  isTold(t, "EFOREIGN", 1, node.refused());
});

t.test("refusals: a port that is taken", async (t) => {
  const node = await OneNode.in(t);
  const server = createServer();
  await new Promise<void>((done) => server.listen(node.port, "127.0.0.1", done));
  t.teardown(() => server.close());
  const refused = node.refused({ init: true });
  isTold(t, "EADDRINUSE", 1, refused);
  t.match(refused.said, `(pid ${process.pid})`, "and who has it");
});

t.test("refusals: a directory that may not be written", async (t) => {
  const node = await OneNode.in(t);
  mkdirSync(`${node.cwd}/d`);
  chmodSync(`${node.cwd}/d`, isRoot ? 0o755 : 0o555);
  isTold(t, "EACCES", 1, node.refused({ init: true, ...(isRoot ? { uid: NOBODY } : {}) }));
  isTold(
    t,
    "EACCES",
    1,
    node.refused({ init: true, options: { dir: "d/e" }, ...(isRoot ? { uid: NOBODY } : {}) }),
  );
  chmodSync(`${node.cwd}/d`, 0o755);
});

t.test("refusals: a disk that is read-only, and one that is too small", async (t) => {
  const node = await OneNode.in(t);
  const disk = smallDisk(t, 10 * MiB);
  if ("without" in disk) {
    for (const code of ["ENOSPC", "EROFS"]) skipped.set(code, disk.without);
    t.pass("a small disk", { skip: disk.without });
    return;
  }
  const options = { dir: `${disk.dir}/d`, layout: "small.json" };
  node.layout("small.json", { settings: { segmentBytes: 4 * MiB } });
  isTold(t, "ENOSPC", 1, node.refused({ init: true, options: { ...options, layout: "layout.json" } }));
  rmSync(`${disk.dir}/d`, { recursive: true });
  remount(disk.dir, "ro");
  isTold(t, "EROFS", 1, node.refused({ init: true, options }));
  remount(disk.dir, `rw,size=${40 * MiB}`);
  await node.start({ init: true, options });
});

t.test("D1 D19: refusals: a log that is damaged, or a newer program's", async (t) => {
  const node = await OneNode.in(t);
  await node.start({ init: true });
  // The second write's record says that the first one was synced: only then is damage to it known as such.
  for (const key of ["hello", "behind"]) t.equal(node.ask("SET", key, "a-value-to-find"), "OK");
  await node.kill();
  const path = node.file("wal", /^log-0+$/);
  const sound = readBytes(path);
  const damaged = Uint8Array.from(sound);
  const at = Buffer.from(sound.buffer).indexOf("a-value-to-find");
  damaged.fill(0x20, at, at + 4);
  writeFileSync(path, damaged);
  const refusal = node.refused();
  isTold(t, "EDAMAGED", 1, refusal);
  t.match(refusal.said, /log-00000000000000 at offset \d+/);
  const newer = Uint8Array.from(sound);
  setU32(newer, 8, 99);
  setU32(newer, 12, crc32Range(newer, 16, 4096, crc32Range(newer, 0, 12)));
  writeFileSync(path, newer);
  isTold(t, "ENEWER", 1, node.refused());
  writeFileSync(path, sound);
  await node.start();
});

t.test("D8: refusals: a snapshot that is damaged, or missing", async (t) => {
  const node = await OneNode.in(t);
  const small = { options: { layout: "small.json" } };
  node.layout("small.json", { settings: { segmentBytes: 4 * MiB } });
  await node.start({ ...small, init: true });
  // With more than 8 segments of its own in the log, a group is due.
  t.same(new Set(await node.fill(0, 50, 900_000)), new Set(["+OK"]));
  await until(() => node.log.includes(`"msg":"snapshot"`), "a snapshot");
  await until(() => /^log-0+$/.test(node.file("wal", /^log-0+$/)) === false, "the log before it to go");
  t.equal(await node.kill("SIGTERM"), 0);
  const path = node.file("snapshots", /\.snap$/);
  const sound = readBytes(path);
  const damaged = Uint8Array.from(sound);
  damaged.fill(0x20, sound.length >> 1, (sound.length >> 1) + 8);
  writeFileSync(path, damaged);
  isTold(t, "ESNAPSHOT", 1, node.refused(small));
  rmSync(path);
  isTold(t, "ESNAPSHOT", 1, node.refused(small));
  writeFileSync(path, sound);
  await node.start(small);
  t.equal(node.ask("STRLEN", "fill7"), "900000");
});

t.test("a start that is told to stop ends cleanly, and the next one goes on", async (t) => {
  const node = await OneNode.in(t);
  node.layout("large.json", { settings: { segmentBytes: 64 * MiB } });
  const large = { init: true, options: { layout: "large.json" } };
  // Its first segments take a while to be filled with zeros; which moment of the start is met is chance.
  for (let attempt = 0; attempt < 5; attempt++) {
    rmSync(`${node.cwd}/d`, { recursive: true, force: true });
    node.launch(large);
    await until(() => existsSync(`${node.cwd}/d/wal`), "the start to be under way");
    await sleep(30 * attempt);
    if (node.log.includes("listening")) break;
    t.equal(await node.kill("SIGTERM"), 0);
    t.equal(node.log.includes(`"level":"error"`), false);
  }
  await node.kill();
  await node.start(existsSync(`${node.cwd}/d/node.json`) ? { ...large, init: false } : large);
  t.equal(node.ask("SET", "hello", "world"), "OK");
});

t.test("refusals: a disk that does not give back what was written", async (t) => {
  const without = noTracing();
  if (without !== null) {
    skipped.set("EIO", without);
    t.pass("a disk that fails", { skip: without });
    return;
  }
  const node = await OneNode.in(t);
  await node.start({ init: true });
  await node.kill();
  const log = node.file("wal", /^log-0+$/);
  const under = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", log, "-e", "trace=pread64"];
  isTold(t, "EIO", 1, node.refused({ under: [...under, "-e", "inject=pread64:error=EIO"] }));
  await node.start();
});

t.test("refusals: the page says of each row whether it was brought about here", async (t) => {
  t.ok(ROWS.length > 15, "the table was found");
  for (const row of ROWS) {
    const needs = row.codes.flatMap((code) => skipped.get(code) ?? []);
    const options = needs.length > 0 ? { skip: needs.join() } : {};
    t.equal(broughtAbout.has(row), row.tested.startsWith("yes"), row.codes.join(), options);
  }
});

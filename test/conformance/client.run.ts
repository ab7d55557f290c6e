/**
 * A node and its clients in one process, over real sockets and files: the same on every runtime. The native
 * client, RESP by hand, a reader that is slow and one that never reads.
 */
import { connect as dial, type Socket } from "node:net";
import { connect } from "../../src/client/index.ts";
import { sleep, TestCluster } from "../client/cluster.ts";
import { end, ok, same } from "./tap.ts";

const WAIT_MS_MAX = 60_000;
/** The largest value that some commands leave room for. */
const LARGE_BYTES = 900 * 1024;

async function until(holds: () => boolean): Promise<boolean> {
  const untilMs = performance.now() + WAIT_MS_MAX;
  while (!holds() && performance.now() < untilMs) await sleep(10);
  return holds();
}

function resp(...words: readonly (string | Uint8Array)[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const text = (value: string): void => void parts.push(new TextEncoder().encode(value));
  text(`*${words.length}\r\n`);
  for (const word of words) {
    const bytes = typeof word === "string" ? new TextEncoder().encode(word) : word;
    text(`$${bytes.length}\r\n`);
    parts.push(bytes);
    text("\r\n");
  }
  return joined(parts);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function opened(port: number): Promise<Socket> {
  return new Promise((done, failed) => {
    const socket = dial({ host: "127.0.0.1", port, noDelay: true }, () => done(socket));
    socket.on("error", failed);
  });
}

/** Large bytes that repeat at no power of two, so that lost or doubled pieces show. */
const large = new Uint8Array(LARGE_BYTES);
for (let i = 0; i < large.length; i++) large[i] = (i * 31 + (i >>> 8) * 7) & 0xff;

async function nativeCalls(cluster: TestCluster): Promise<void> {
  const db = connect(cluster.url, { timeoutMs: 40_000 });
  const revision = await db.set("greeting", "hello");
  ok(typeof revision === "number", "set gives a revision");
  same(await db.get("greeting"), "hello", "get gives what was set");
  same(await db.get("nobody"), undefined, "get gives undefined for an absent key");
  same(await db.incr("n", 5), 5, "incr gives the sum");
  const sums = await Promise.all(Array.from({ length: 5000 }, () => db.incr("n")));
  ok(
    sums.every((sum, i) => sum === i + 6),
    "5000 pipelined incr each give their own sum, in order",
  );
  const keys = Array.from({ length: 2000 }, (_, i) => `k${i}`);
  await Promise.all(keys.map((key) => db.set(key, `value of ${key}`)));
  const values = await Promise.all(keys.map((key) => db.get(key)));
  ok(
    values.every((value, i) => value === `value of k${i}`),
    "2000 pipelined gets each give their own value",
  );
  await db.close();
  const raw = connect(cluster.url, { timeoutMs: 40_000, values: "bytes" });
  await raw.set("large", large);
  const back = await Promise.all(Array.from({ length: 8 }, () => raw.get("large")));
  ok(
    back.every((bytes) => bytes !== undefined && same8(bytes)),
    "large values come back as they went in",
  );
  await raw.close();
}

function same8(bytes: Uint8Array): boolean {
  if (bytes.length !== large.length) return false;
  for (let i = 0; i < large.length; i++) if (bytes[i] !== large[i]) return false;
  return true;
}

async function respPipeline(port: number): Promise<void> {
  const socket = await opened(port);
  const count = 2000;
  let expected = "";
  const requests: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    requests.push(resp("SET", `r${i}`, `${i}`), resp("GET", `r${i}`), resp("INCR", "rn"));
    expected += `+OK\r\n$${String(i).length}\r\n${i}\r\n:${i + 1}\r\n`;
  }
  let received = "";
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    received += text;
  });
  const bytes = joined(requests);
  for (let at = 0; at < bytes.length; at += 10_007) socket.write(bytes.subarray(at, at + 10_007));
  await until(() => received.length >= expected.length);
  ok(received === expected, "6000 pipelined RESP commands, cut anywhere, are answered in order");
  socket.destroy();
}

/** Takes 20 large replies in small sips: none of the bytes may be lost, doubled or moved (hazard H6). */
async function slowReader(port: number): Promise<void> {
  const socket = await opened(port);
  const count = 20;
  const one = joined([
    new TextEncoder().encode(`$${large.length}\r\n`),
    large,
    new TextEncoder().encode("\r\n"),
  ]);
  let received = 0;
  let wrong = -1;
  socket.on("data", (chunk: Uint8Array) => {
    for (const byte of chunk) {
      if (wrong < 0 && byte !== one[received % one.length]) wrong = received;
      received++;
    }
    socket.pause();
    setTimeout(() => socket.resume(), 1);
  });
  for (let i = 0; i < count; i++) socket.write(resp("GET", "large"));
  await until(() => received >= count * one.length || wrong >= 0);
  same([received, wrong], [count * one.length, -1], "H6: a slow reader gets every byte once, in order");
  socket.destroy();
}

/**
 * Two that ask for much and take nothing. Reads wait at the node until there is room, so the first one costs it
 * little; answers of writes cannot wait, so the second one is let go. Others are served meanwhile.
 */
async function deafReaders(cluster: TestCluster): Promise<void> {
  const node = cluster.nodes[0] as (typeof cluster.nodes)[number];
  const clients = (count: number): Promise<boolean> => until(() => node.node.clientCount === count);
  ok(await clients(0), "everybody else has gone");
  const rssMax = process.memoryUsage().rss + 400 * 1024 * 1024;
  const reads = await deaf(node.port, resp("GET", "large"), 1000);
  ok(await clients(1), "one asks for 900 MB of reads");
  const writes = await deaf(node.port, resp("GETEX", "large"), 100);
  const db = connect(cluster.url, { timeoutMs: 40_000 });
  same(await db.set("beside", "it"), (await db.getEntry("beside"))?.revision, "others are served");
  await db.close();
  ok(await clients(1), "H7: who takes no answers of writes is cut");
  ok(
    process.memoryUsage().rss < rssMax,
    "H7: and who takes no answers of reads costs no more than a few of them",
  );
  reads.destroy();
  writes.destroy();
  ok(await clients(0), "gone");
}

async function deaf(port: number, request: Uint8Array, times: number): Promise<Socket> {
  const socket = await opened(port);
  socket.pause();
  socket.on("error", () => {});
  socket.write(joined(new Array<Uint8Array>(times).fill(request)));
  return socket;
}

async function leaderDies(): Promise<void> {
  const cluster = await TestCluster.start(3);
  const db = connect(cluster.url, { timeoutMs: 40_000 });
  await db.incr("n");
  const calls: Promise<number>[] = [];
  for (let i = 0; i < 100; i++) {
    for (let k = 0; k < 10; k++) calls.push(db.incr("n"));
    if (i === 30) cluster.kill(await cluster.leader());
    await sleep(2);
  }
  const sums = await Promise.all(calls);
  ok(
    sums.every((sum, i) => sum === i + 2),
    "C8: the leader dies: each of 1000 incr is executed once, in order",
  );
  same(await db.get("n"), "1001", "and the sum is theirs");
  same(cluster.fatal, [], "no node failed");
  await db.close();
  await cluster.stop();
}

const cluster = await TestCluster.start(1);
await nativeCalls(cluster);
await respPipeline((cluster.nodes[0] as { port: number }).port);
await slowReader((cluster.nodes[0] as { port: number }).port);
await deafReaders(cluster);
same(cluster.fatal, [], "the node did not fail");
await cluster.stop();
await leaderDies();
end();

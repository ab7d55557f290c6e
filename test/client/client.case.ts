/** The promise interface against a real cluster of three nodes. */
import { connect as dial } from "node:net";
import t from "tap";
import { Writer } from "../../src/base/bytes.ts";
import { WIRE_VERSION } from "../../src/base/version.ts";
import { connect, type NucleusClient } from "../../src/client/index.ts";
import { clientHello, helloReply } from "../../src/wire/control.ts";
import { decodeShape, encodeShape, ShapeError } from "../../src/wire/msgpack.ts";
import { NativeFrame, nativeParser, OPCODE, writeNative } from "../../src/wire/native.ts";
import { preamble } from "../../src/wire/preamble.ts";
import { sleep, TestCluster } from "./cluster.ts";

const cluster = await TestCluster.start(3);
const db = connect(cluster.url, { name: "tests", timeoutMs: 30_000 });

t.teardown(async () => {
  await db.close();
  await cluster.stop();
});

let names = 0;
const fresh = (): string => `key-${++names}`;

t.test("get and set: text in, text out, undefined for what is absent", async (t) => {
  const key = fresh();
  t.equal(await db.get(key), undefined);
  const revision = await db.set(key, "grün");
  t.type(revision, "number");
  t.equal(await db.get(key), "grün");
  t.equal(await db.get(new TextEncoder().encode(key)), "grün");
  t.same(await db.getEntry(key), { value: "grün", revision, expiresAtMs: undefined });
  t.equal(await db.getEntry(fresh()), undefined);
  t.equal(await db.set(key, ""), (revision as number) + 1);
  t.equal(await db.get(key), "", "the empty value is a value");
  t.equal(await db.del(key), 1);
  t.equal(await db.del([key, key]), 0);
});

t.test("values as bytes come out as they went in, and text is refused where they are none", async (t) => {
  const key = fresh();
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 7) & 0xff);
  const raw = connect(cluster.url, { values: "bytes" });
  await raw.set(key, bytes);
  t.same(await raw.get(key), bytes);
  await t.rejects(db.get(key), { name: "ProtocolError", message: /bytes/ });
  await raw.close();
});

t.test("conditions: undefined or a ConflictError, and nothing was changed", async (t) => {
  const key = fresh();
  t.equal(await db.set(key, "1", { ifPresent: true }), undefined);
  const first = await db.set(key, "1", { ifAbsent: true });
  t.type(first, "number");
  t.equal(await db.set(key, "2", { ifAbsent: true }), undefined);
  const second = (await db.set(key, "2", { ifRevision: first as number })) as number;
  await t.rejects(db.set(key, "3", { ifRevision: first as number }), {
    name: "ConflictError",
    code: "CONFLICT",
    revision: second,
    retryable: false,
  });
  await t.rejects(db.set(fresh(), "3", { ifRevision: 5 }), { name: "ConflictError", revision: 0 });
  t.type(await db.set(fresh(), "3", { ifRevision: 0 }), "number");
  t.equal(await db.set(key, "4", { returnOld: true }), "2");
  t.equal(await db.set(fresh(), "4", { returnOld: true }), undefined);
  await t.rejects(db.del(key, { ifRevision: first as number }), { code: "CONFLICT", revision: undefined });
  t.equal(await db.get(key), "4");
  const { revision } = (await db.getEntry(key)) as { revision: number };
  t.equal(await db.del(key, { ifRevision: revision }), 1);
});

t.test("ends: ttl, expire, persist, keepTtl, expiresAtMs", async (t) => {
  const key = fresh();
  t.equal(await db.ttl(key), undefined);
  await db.set(key, "1");
  t.equal(await db.ttl(key), Number.POSITIVE_INFINITY);
  t.equal(await db.expire(key, 60_000), true);
  t.equal(await db.expire(fresh(), 60_000), false);
  const left = (await db.ttl(key)) as number;
  t.ok(left > 20_000 && left <= 60_000);
  await db.set(key, "2", { keepTtl: true });
  t.ok(Number.isFinite(await db.ttl(key)));
  t.equal(await db.persist(key), true);
  t.equal(await db.persist(key), false);
  await db.set(key, "3", { ttlMs: 50 });
  const entry = await db.getEntry(key);
  if (entry !== undefined) t.type(entry.expiresAtMs, "number");
  await sleep(100);
  t.equal(await db.get(key), undefined);
  t.equal(await db.set(key, "4", { expiresAtMs: 1000 }), 0, "it ended before it began");
  t.equal(await db.get(key), undefined);
});

t.test("numbers: incr adds, and says why it cannot", async (t) => {
  const key = fresh();
  t.equal(await db.incr(key), 1);
  t.equal(await db.incr(key, -5), -4);
  const sums = await Promise.all(Array.from({ length: 500 }, () => db.incr(key)));
  t.same(
    sums,
    Array.from({ length: 500 }, (_, i) => i - 3),
    "calls of one key keep their order",
  );
  await db.set(key, "red");
  await t.rejects(db.incr(key), { name: "CommandError", code: "ERR", retryable: false });
  await db.set(key, "9223372036854775800");
  await t.rejects(db.incr(key), { name: "ProtocolError", message: /was executed.*9223372036854775801/ });
});

t.test("many keys at once", async (t) => {
  await db.mset({ m1: "1", m2: "2" });
  await db.mset(new Map([["m3", "3"]]));
  await db.mset([
    ["{m}4", "4"],
    ["{m}5", "5"],
  ]);
  t.same(await db.mget(["m1", "none", "m3", "{m}5"]), ["1", undefined, "3", "5"]);
  t.equal(await db.exists(["m1", "m1", "none"]), 2);
  t.equal(await db.exists("{m}4"), 1);
  t.equal(await db.del(["m1", "m2", "m3", "{m}4", "{m}5", "none"]), 5);
  t.same(await db.mget([]), []);
  await db.mset({});
});

t.test("scan meets every key, by prefix and by pattern", async (t) => {
  const keys = Array.from({ length: 300 }, (_, i) => `scan*[${i}]`);
  await db.mset(keys.map((key) => [key, "x"] as const));
  const found = async (options: Parameters<NucleusClient["scan"]>[0]): Promise<string[]> => {
    const list: string[] = [];
    for await (const key of db.scan(options)) list.push(key);
    return [...new Set(list)].sort();
  };
  t.same(await found({ prefix: "scan*[", count: 20 }), [...keys].sort());
  t.same(await found({ prefix: "scan*[29" }), keys.filter((key) => key.startsWith("scan*[29")).sort());
  t.same(await found({ match: "scan*9?]" }), keys.filter((key) => /9.\]$/.test(key)).sort());
  t.same(await found({ prefix: "nobody" }), []);
  await t.rejects(found({ prefix: "a", match: "b" }), { code: "USAGE" });
});

t.test("ping and status", async (t) => {
  await db.ping();
  const status = (await db.status()) as { shards: { leader: string }[] };
  t.match(status.shards[0]?.leader, /^n[123]$/);
});

t.test("usage that cannot be right is refused before anything is sent", async (t) => {
  const usage = { name: "UsageError", code: "USAGE", retryable: false };
  await t.rejects(db.set("k", "v", { ttlMs: 0 }), usage);
  await t.rejects(db.set("k", "v", { ttlMs: 1, keepTtl: true }), usage);
  await t.rejects(db.set("k", "v", { ifAbsent: true, ifPresent: true }), usage);
  await t.rejects(db.set("k", "v", { ifRevision: -1 }), usage);
  await t.rejects(db.incr("k", 0.5), usage);
  await t.rejects(db.expire("k", 1.5), usage);
  await t.rejects(db.get("k", { timeoutMs: 0 }), usage);
  await t.rejects(db.get("k", { timeoutMs: 100_000 }), usage);
  await t.rejects(db.del([]), usage);
  await t.rejects(db.get("x".repeat(20_000)), { name: "CommandError", message: /key is larger/ });
  t.throws(() => connect(cluster.url, { timeoutMs: -1 }), usage);
  t.throws(() => connect(cluster.url, { name: "two words" }), usage);
  t.throws(() => connect("nucleus://"), { code: "EADDRESS" });
});

t.test("signals end calls, before and after they were sent", async (t) => {
  await t.rejects(db.get("k", { signal: AbortSignal.abort("no") }), { name: "AbortedError", cause: "no" });
  const controller = new AbortController();
  const write = db.incr("aborted", 1, { signal: controller.signal });
  controller.abort(new Error("changed my mind"));
  await t.rejects(write, { name: "AbortedError", message: /nothing was changed/ });
  t.equal(await db.get("aborted"), undefined);
  const read = await db.get("aborted", { signal: AbortSignal.timeout(20_000) });
  t.equal(read, undefined);
});

t.test("C8: the leader dies under load: every sum is exact, no call sees it", async (t) => {
  const key = fresh();
  const calls: Promise<number>[] = [];
  let running = true;
  const load = async (): Promise<void> => {
    while (running) {
      for (let i = 0; i < 20; i++) calls.push(db.incr(key));
      await sleep(1);
    }
  };
  const loading = load();
  for (let round = 0; round < 2; round++) {
    await sleep(200);
    const leader = await cluster.leader();
    cluster.kill(leader);
    await cluster.leader();
    await sleep(200);
    await cluster.restart(leader);
  }
  running = false;
  await loading;
  const sums = await Promise.all(calls);
  t.same(
    sums,
    sums.map((_, i) => i + 1),
    `${sums.length} increments, each answered with its own sum, in order`,
  );
  t.equal(await db.get(key), String(sums.length));
  t.same(cluster.fatal, []);
});

t.test("C3 H4: the leader stops for a while under load: sums exact, no stale value", async (t) => {
  const key = fresh();
  const calls: Promise<number>[] = [];
  const stale: string[] = [];
  let running = true;
  let acked = 0;
  const reader = connect(cluster.url, { timeoutMs: 30_000 });
  const load = async (): Promise<void> => {
    while (running) {
      calls.push(
        db.incr(key).then((sum) => {
          acked = Math.max(acked, sum);
          return sum;
        }),
      );
      await sleep(2);
    }
  };
  const watch = async (): Promise<void> => {
    while (running) {
      const before = acked;
      const seen = Number((await reader.get(key)) ?? 0);
      if (seen < before) stale.push(`${seen} after ${before} was acknowledged`);
    }
  };
  const loading = [load(), watch()];
  await sleep(300);
  const leader = await cluster.leader();
  leader.mortal.pause();
  await sleep(1500);
  leader.mortal.resume();
  await sleep(500);
  running = false;
  await Promise.all(loading);
  const sums = await Promise.all(calls);
  t.same(
    sums,
    sums.map((_, i) => i + 1),
  );
  t.same(stale, []);
  t.same(cluster.fatal, []);
  await reader.close();
});

/** Says `hello` to a node as its first frame; gives what came back, as opcodes and bodies. */
async function greet(port: number, hello: Uint8Array): Promise<{ opcode: number; body: Uint8Array }[]> {
  const writer = new Writer(256);
  writer.raw(preamble("client"));
  writeNative(writer, OPCODE.hello, 7, hello);
  const frames: { opcode: number; body: Uint8Array }[] = [];
  const parser = nativeParser("server");
  const frame = new NativeFrame();
  const socket = dial(port, "127.0.0.1");
  socket.write(writer.view());
  for await (const chunk of socket) {
    parser.feed(chunk as Uint8Array);
    while (parser.next() === "frame") {
      if (frame.read(parser.bytes, parser.start, parser.end) !== null) throw new Error("malformed frame");
      frames.push({ opcode: frame.opcode, body: frame.body().slice() });
    }
    if (frames.at(-1)?.opcode === OPCODE.helloReply) break;
  }
  socket.destroy();
  return frames;
}

t.test(
  "a hello is answered with who leads and what time it is; one that cannot be served says why",
  async (t) => {
    const leader = await cluster.leader();
    const { port } = cluster.nodes[0] as { port: number };
    const good = { name: "greeter", version: "9.9.9", wireVersions: [WIRE_VERSION, 99] };
    const [answer] = await greet(port, encodeShape(clientHello, good));
    const reply = decodeShape(helloReply, answer?.body ?? new Uint8Array(0), "reply");
    if (reply instanceof ShapeError) throw new Error(reply.reason);
    t.equal(reply.node, "n1");
    t.match(reply.leaders, [{ node: leader.id, address: `127.0.0.1:${leader.port}` }]);
    t.ok(Math.abs(reply.leaderTimeMs - Date.now()) < 10_000);
    const text = async (hello: Uint8Array): Promise<string> => {
      const frames = await greet(port, hello);
      t.same(
        frames.map(({ opcode }) => opcode),
        [OPCODE.closing],
      );
      return new TextDecoder().decode(frames[0]?.body);
    };
    t.equal(
      await text(encodeShape(clientHello, { ...good, wireVersions: [98, 99] })),
      `this node speaks wire version ${WIRE_VERSION}, not 98, 99`,
    );
    t.match(await text(Uint8Array.of(0xc0)), /malformed frame: hello/);
  },
);

t.test("close waits for the calls under way, and refuses later ones", async (t) => {
  const other = connect(cluster.url);
  const write = other.set("closing", "1");
  const closed = other.close();
  await t.rejects(other.get("closing"), { code: "CLOSED", retryable: false });
  t.type(await write, "number");
  await closed;
  await other.close();
});

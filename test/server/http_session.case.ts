/** Writes by HTTP that their client numbers: sent again, they take effect once and have their first answer. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { sessionOf } from "../../src/server/http_session.ts";
import type { NucleusNode } from "../../src/server/node.ts";
import { Cluster } from "./cluster.ts";
import { type Answered, askSoon, http, jsonOf, requestOf, textOf } from "./http.ts";
import { keysIn, MoveTown } from "./town.ts";

const { h64 } = await xxhash();
const ID = "0123456789abcdef".repeat(2);
const NOW = 1_700_000_000_000;

function wallOf(node: { readonly server: NucleusNode | null } | undefined): number {
  return node?.server?.http.door.clock.wallMs() ?? 0;
}

function numbered(nowMs: number, seq: number, more: object = {}): Record<string, string> {
  const notAfter = String(Math.ceil(nowMs) + 30_000);
  return { "nucleus-session": ID, "nucleus-seq": String(seq), "nucleus-not-after": notAfter, ...more };
}

t.test("the headers, and what is said of those that cannot be meant so", async (t) => {
  t.equal(sessionOf({ host: "x" }, NOW), null);
  t.match(sessionOf(numbered(NOW, 7), NOW), { seq: 7, floor: 7, notAfter: NOW + 30_000, after: 0 });
  t.match(sessionOf(numbered(NOW, 7, { "nucleus-floor": " 3 " }), NOW), { seq: 7, floor: 3 });
  const wrong: readonly (readonly [Record<string, string>, RegExp])[] = [
    [
      { "nucleus-seq": "1" },
      /Nucleus-Session, Nucleus-Seq and Nucleus-Not-After, and this one lacks nucleus-session/,
    ],
    [{ "nucleus-floor": "1" }, /lacks nucleus-session/],
    [numbered(NOW, 1, { "nucleus-session": "abc" }), /32 hex digits, random .*openssl rand -hex 16/],
    [numbered(NOW, 1, { "nucleus-session": "g".repeat(32) }), /32 hex digits/],
    [numbered(NOW, 0), /Nucleus-Seq must be a whole number from 1 on/],
    [numbered(NOW, 1, { "nucleus-seq": "1.5" }), /Nucleus-Seq/],
    [numbered(NOW, 1, { "nucleus-seq": "9".repeat(16) }), /Nucleus-Seq/],
    [numbered(NOW, 1, { "nucleus-not-after": "soon" }), /at most 60000 ahead.* now it is 1700000000000/],
    [numbered(NOW, 3, { "nucleus-floor": "4" }), /from 1 to Nucleus-Seq/],
  ];
  for (const [headers, why] of wrong) t.match(sessionOf(headers, NOW), why);
});

t.test("C8: a numbered write that is sent again, at another node too, takes effect once", (t) => {
  const cluster = Cluster.started();
  const nowMs = wallOf(cluster.node(0));
  const put = (i: number, headers: Record<string, string>, body = "a", key = "k"): Answered =>
    http(cluster, i, "PUT", `/kv/${key}`, { headers, body });
  const first = put(0, numbered(nowMs, 1));
  t.equal(first.status, 200);
  t.equal(http(cluster, 0, "PUT", "/kv/k", { body: "somebody else's" }).status, 200);
  for (const i of [0, 1, 2]) t.same([put(i, numbered(nowMs, 1)).headers.etag, i], [first.headers.etag, i]);
  t.equal(textOf(http(cluster, 1, "GET", "/kv/k")), "somebody else's");
  t.equal(put(1, numbered(nowMs, 2), "b").status, 200);
  t.equal(textOf(http(cluster, 1, "GET", "/kv/k")), "b");

  const late = put(2, numbered(nowMs, 1));
  t.equal(late.status, 409, "what the session has done with is not looked up any more");
  t.match(jsonOf(late), { error: "STALE", message: /acknowledged this sequence number/ });

  const gone = http(cluster, 0, "DELETE", "/kv/k", { headers: numbered(nowMs, 3) });
  t.equal(gone.status, 200);
  t.equal(put(1, {}, "again").status, 200);
  const goneAgain = http(cluster, 1, "DELETE", "/kv/k", { headers: numbered(nowMs, 3) });
  t.same(jsonOf(goneAgain), { deleted: true }, "the first answer");
  t.equal(textOf(http(cluster, 2, "GET", "/kv/k")), "again");

  const unmet = http(cluster, 0, "PUT", "/kv/k", {
    headers: numbered(nowMs, 4, { "if-match": '"1"' }),
    body: "x",
  });
  t.equal(unmet.status, 412);
  const { etag } = http(cluster, 0, "GET", "/kv/k").headers;
  const repeated = put(2, numbered(nowMs, 4, { "if-match": String(etag) }), "x");
  t.equal(repeated.status, 412, "a condition that did not hold is an answer as well");
  t.end();
});

t.test("C8: a number is one write's: with another body, key or method it is not carried out", (t) => {
  const cluster = Cluster.started();
  const nowMs = wallOf(cluster.node(0));
  const headers = numbered(nowMs, 5);
  const first = http(cluster, 0, "PUT", "/kv/k", { headers, body: "a" });
  t.equal(first.status, 200);
  const body = http(cluster, 1, "PUT", "/kv/k", { headers, body: "b" });
  t.same([body.status, body.headers.etag], [200, first.headers.etag], "the answer of the first");
  t.equal(http(cluster, 1, "PUT", "/kv/other", { headers, body: "c" }).headers.etag, first.headers.etag);
  t.equal(http(cluster, 1, "GET", "/kv/other").status, 404, "nor is another key written");
  const method = http(cluster, 2, "DELETE", "/kv/k", { headers });
  t.equal(method.status, 409);
  t.match(jsonOf(method), { error: "number_used", message: /nothing was done now/ });
  t.equal(textOf(http(cluster, 0, "GET", "/kv/k")), "a");
  const deleted = numbered(nowMs, 6);
  t.equal(http(cluster, 0, "DELETE", "/kv/none", { headers: deleted }).status, 404);
  t.equal(http(cluster, 0, "PUT", "/kv/none", { headers: deleted, body: "x" }).status, 409);
  t.end();
});

t.test(
  "a numbered write past its time, or too far before it, is not carried out; a read has no number",
  (t) => {
    const cluster = Cluster.started();
    const nowMs = wallOf(cluster.node(0));
    const put = (headers: Record<string, string>): Answered =>
      http(cluster, 1, "PUT", "/kv/k", { headers, body: "a" });
    const past = put(numbered(nowMs - 60_000, 1));
    t.equal(past.status, 409);
    t.match(jsonOf(past), { error: "STALE", message: /time limit has passed/ });
    t.match(jsonOf(put(numbered(nowMs + 60_000, 1))), {
      error: "STALE",
      message: /more than 60 seconds ahead/,
    });
    t.equal(http(cluster, 1, "GET", "/kv/k").status, 404);
    t.equal(http(cluster, 1, "GET", "/kv/k", { headers: numbered(nowMs, 1) }).status, 400);
    t.equal(put({ "nucleus-seq": "1" }).status, 400);
    t.equal(http(cluster, 1, "DELETE", "/kv/k", { headers: { "nucleus-seq": "1" } }).status, 400);
    t.end();
  },
);

t.test("C8: the leader is killed with a numbered write on its way: sent again, it takes effect once", (t) => {
  for (const afterMs of [0, 1, 2, 5, 10]) {
    const cluster = Cluster.started();
    const leader = cluster.leader();
    const door = (leader + 1) % 3;
    const nowMs = wallOf(cluster.node(0));
    const write = (seq: number) => ({ headers: numbered(nowMs, seq), body: `${seq}` });
    t.equal(http(cluster, door, "PUT", "/kv/k", write(1)).status, 200);
    askSoon(cluster, leader, "PUT", "/kv/k", write(2));
    cluster.run(afterMs);
    cluster.kill(leader);
    const again = (): Answered => http(cluster, door, "PUT", "/kv/k", write(2));
    let answered = again();
    for (let i = 0; i < 5 && answered.status >= 500; i++) answered = again();
    t.equal(answered.status, 200);
    t.equal(http(cluster, door, "PUT", "/kv/k", { body: "between" }).status, 200);
    t.equal(again().headers.etag, answered.headers.etag);
    t.equal(textOf(http(cluster, door, "GET", "/kv/k")), "between", `after ${afterMs} ms`);
  }
  t.end();
});

t.test(
  "order: numbered writes of one connection take effect in order, whoever leads, and whatever is between",
  (t) => {
    for (let seed = 1; seed <= 12; seed++) {
      const cluster = Cluster.started({ seed });
      const leader = cluster.leader();
      const nowMs = wallOf(cluster.node(0));
      const connection = { remote: "test:1" };
      const asked = Array.from({ length: 40 }, (_, i) => {
        const headers = i % 10 === 9 ? {} : numbered(nowMs, i + 1, { "nucleus-floor": "1" });
        const one = askSoon(cluster, (leader + 1) % 3, "PUT", "/kv/k", { headers, body: `${i}`, connection });
        if (i % 4 === seed % 4) cluster.run(1);
        if (i === 20) cluster.node(leader).machine.pause(600_000);
        return one;
      });
      cluster.until("answers", () => asked.every(({ answer }) => answer !== null));
      const done = asked.filter(({ answer }) => answer?.status === 200);
      const revisions = done.map(({ answer }) => Number(JSON.parse(answer?.headers.etag ?? "0")));
      t.same(
        revisions,
        revisions.toSorted((a, b) => a - b),
        `seed ${seed}`,
      );
      t.ok(done.length > 20);
    }
    t.end();
  },
);

t.test("F6: a numbered write is known to the slot's next owner, and under any number to none else", (t) => {
  const shards = { s1: ["n1", "n2", "n3"], s2: ["n1", "n2", "n3"] };
  const town = MoveTown.started(h64, { seed: 47, shards, nodes: 3 });
  const slots = town.storeOf("s1").slotsHeld().ranges.slice(0, 1);
  const [first, last] = slots[0] ?? [0, 0];
  const moved: [number, number][] = [[first, Math.min(last, first + 20)]];
  const [key = ""] = keysIn(moved, 1);
  const nowMs = wallOf(town.nodes[0]);
  const ask = (i: number, method: string, body: string, headers: Record<string, string>): Answered => {
    const asked: { answer: Answered | null } = { answer: null };
    const { server } = town.nodes[i] ?? {};
    server?.http.door.handle(requestOf(method, `/kv/${key}`, { headers, body }), {
      send: (status, sent, bytes) => {
        asked.answer = { status, headers: sent, body: bytes.slice() };
      },
      stream: () => {
        throw new Error("nothing here streams");
      },
    });
    town.until("an answer", () => asked.answer !== null);
    return asked.answer as unknown as Answered;
  };
  const before = ask(0, "PUT", "a", numbered(nowMs, 9));
  t.equal(before.status, 200);
  town.begin(100, "s1", "s2", moved);
  town.untilMoved("s1", "s2", 100);
  t.equal(ask(1, "PUT", "b", {}).status, 200);
  for (const i of [0, 1, 2])
    t.equal(ask(i, "PUT", "a", numbered(nowMs, 9)).headers.etag, before.headers.etag);
  t.equal(textOf(ask(2, "GET", "", {})), "b");
  t.end();
});

/** The HTTP door of nodes in a simulated cluster. */
import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import { metricsText } from "../../src/server/http_facts.ts";
import { jsonKey } from "../../src/server/http_request.ts";
import { Cluster } from "./cluster.ts";
import { askSoon, http, jsonOf, requestOf, textOf } from "./http.ts";

t.test("a key by HTTP, on any node: raw bytes, its revision as the entity tag, conditions", (t) => {
  const cluster = Cluster.started();
  const leader = cluster.leader();
  const other = cluster.follower();
  const raw = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (const i of [leader, other]) {
    const put = http(cluster, i, "PUT", `/kv/k%2F${i}/%00%ff`, { body: raw });
    t.equal(put.status, 200);
    const { revision } = jsonOf(put) as { revision: number };
    t.equal(put.headers.etag, `"${revision}"`);
    const got = http(cluster, i, "GET", `/kv/k%2f${i}/%00%FF`);
    t.equal(got.status, 200);
    t.same(got.body, raw);
    t.match(got.headers, {
      etag: `"${revision}"`,
      "content-type": "application/octet-stream",
      "x-content-type-options": "nosniff",
      "nucleus-node": `n${i + 1}`,
      "nucleus-shard": "s1",
      "nucleus-leader": `n${leader + 1}`,
      "nucleus-read": "leader",
      "nucleus-staleness-ms": "0",
    });
    const asked = { headers: { "if-none-match": `W/"9999", "${revision}"` } };
    const same = http(cluster, i, "GET", `/kv/k%2F${i}/%00%ff`, asked);
    t.equal(same.status, 304);
    t.equal(same.body.length, 0);
  }
  const missing = http(cluster, other, "GET", "/kv/none");
  t.equal(missing.status, 404);
  t.match(jsonOf(missing), { error: "not_found", message: /no such key/ });
  t.equal(http(cluster, other, "DELETE", "/kv/none").status, 404);
  t.equal(http(cluster, other, "PUT", "/kv/", { body: "empty key" }).status, 200);
  t.equal(textOf(http(cluster, leader, "GET", "/kv/")), "empty key");
  t.end();
});

t.test(
  "compare-and-set by HTTP: If-Match and If-None-Match decide in the log, 412 tells the revision",
  (t) => {
    const cluster = Cluster.started();
    const put = (body: string, headers = {}) => http(cluster, 1, "PUT", "/kv/c", { body, headers });
    const remove = (headers = {}) => http(cluster, 2, "DELETE", "/kv/c", { headers });
    t.equal(put("a", { "if-match": "*" }).status, 412, "there is none");
    t.equal(put("a", { "if-match": '"1"' }).status, 412);
    const first = put("a", { "if-none-match": "*" });
    t.equal(first.status, 200);
    const again = put("b", { "if-none-match": "*" });
    t.equal(again.status, 412);
    t.equal(jsonOf(again).revision, jsonOf(first).revision);
    t.equal(put("b", { "if-match": '"999"' }).status, 412);
    t.equal(textOf(http(cluster, 0, "GET", "/kv/c")), "a");
    const second = put("b", { "if-match": String(first.headers.etag) });
    t.equal(second.status, 200);
    t.equal(put("c", { "if-match": String(first.headers.etag) }).status, 412, "the old one no longer holds");
    t.equal(put("c", { "if-match": "*" }).status, 200);
    for (const tag of ['W/"1"', '"abc"', '"0"']) t.equal(put("x", { "if-match": tag }).status, 412, tag);
    for (const tag of ["abc", '"1", "2"']) t.equal(put("x", { "if-match": tag }).status, 400, tag);
    t.equal(put("x", { "if-none-match": '"1"' }).status, 400);
    t.equal(put("x", { "if-none-match": "*", "if-match": "*" }).status, 400);
    t.equal(remove({ "if-match": '"999"' }).status, 412);
    const { etag } = http(cluster, 0, "GET", "/kv/c").headers;
    t.equal(remove({ "if-match": String(etag).replaceAll('"', "") }).status, 200, "quotes may be left out");
    t.equal(remove({ "if-match": "*" }).status, 412);
    t.equal(remove().status, 404);
    const read = http(cluster, 0, "GET", "/kv/c", { headers: { "if-match": "*" } });
    t.equal(read.status, 412);
    t.end();
  },
);

t.test("a time to live by HTTP", (t) => {
  const cluster = Cluster.started();
  t.equal(http(cluster, 0, "PUT", "/kv/s?ttl=2", { body: "x" }).status, 200);
  t.equal(http(cluster, 0, "PUT", "/kv/ms?ttlMs=500", { body: "x" }).status, 200);
  t.match(http(cluster, 0, "GET", "/kv/s").headers, { "nucleus-expires-at-ms": /^\d{13}$/ });
  cluster.run(1000);
  t.equal(http(cluster, 0, "GET", "/kv/ms").status, 404);
  t.equal(http(cluster, 0, "GET", "/kv/s").status, 200);
  cluster.run(2000);
  t.equal(http(cluster, 0, "GET", "/kv/s").status, 404);
  for (const query of [
    "ttl=0",
    "ttl=-1",
    "ttl=1.5",
    "ttl=x",
    "ttl",
    "ttl=1&ttlMs=1",
    "ttl=1&ttl=1",
    "tll=1",
  ]) {
    const refused = http(cluster, 0, "PUT", `/kv/s?${query}`, { body: "x" });
    t.equal(refused.status, 400, query);
    t.equal(jsonOf(refused).error, "bad_request");
  }
  t.equal(http(cluster, 0, "PUT", `/kv/s?ttlMs=${2 ** 52}`, { body: "x" }).status, 200);
  t.equal(http(cluster, 0, "PUT", `/kv/s?ttlMs=${2 ** 52 + 1}`, { body: "x" }).status, 400);
  t.end();
});

t.test("what is asked wrongly is refused with what to ask instead", (t) => {
  const cluster = Cluster.started({ nodes: 1 });
  const status = (method: string, target: string, ask = {}) => http(cluster, 0, method, target, ask).status;
  t.equal(status("GET", "/kv/%zz"), 400);
  t.equal(status("GET", "/kv/%4"), 400);
  t.equal(status("GET", "/kv/k?read=fast"), 400);
  t.equal(status("GET", "/kv/k?maxStaleness=5"), 400);
  t.equal(status("GET", "/kv/k?read=stale&maxStaleness=soon"), 400);
  t.equal(status("GET", `/kv/${"k".repeat(16 * 1024)}`), 404);
  t.equal(status("GET", `/kv/${"k".repeat(16 * 1024 + 1)}`), 400);
  t.equal(status("PUT", "/kv/k", { body: new Uint8Array(1024 * 1024) }), 413);
  t.equal(status("GET", "/nothing"), 404);
  const post = http(cluster, 0, "POST", "/kv/k", { body: "x" });
  t.equal(post.status, 405);
  t.equal(post.headers.allow, "GET, HEAD, PUT, DELETE");
  for (const path of ["/kv", "/whoami", "/health", "/livez", "/ready", "/readyz", "/metrics"]) {
    t.equal(status("POST", path), 405, path);
    t.equal(status("GET", path), 200, path);
    t.equal(status("HEAD", path), 200, path);
  }
  t.end();
});

t.test("a page of another site cannot use the door", (t) => {
  const cluster = Cluster.started({ nodes: 1 });
  const status = (headers: Record<string, string>) => http(cluster, 0, "GET", "/livez", { headers }).status;
  t.equal(status({ origin: "http://evil.example" }), 403);
  t.equal(status({ host: "evil.example:8001" }), 403, "a name that points to 127.0.0.1");
  t.equal(status({ host: "localhost:8001", origin: "http://localhost:8001" }), 200);
  t.equal(status({ host: "localhost:8001", origin: "http://localhost:8002" }), 403);
  t.equal(status({ host: "[::1]:8001" }), 200);
  t.end();
});

t.test("keys are listed by prefix, page by page, each once, whatever bytes they are", (t) => {
  const cluster = Cluster.started();
  const wanted: string[] = [];
  for (let i = 0; i < 250; i++) {
    const name = i % 5 === 0 ? `other:${i}` : `a*[b]:${i}`;
    if (i % 5 !== 0) wanted.push(name);
    cluster.call(0, "SET", name, "v");
  }
  http(cluster, 0, "PUT", "/kv/a*[b]:%ff", { body: "v" });
  const found: unknown[] = [];
  let pages = 0;
  for (let cursor: unknown = "0"; cursor !== null; pages++) {
    const page = http(cluster, 1, "GET", `/kv?prefix=a*[b]:&limit=30&cursor=${String(cursor)}`);
    t.equal(page.status, 200);
    const body = jsonOf(page) as { keys: unknown[]; cursor: unknown };
    t.ok(body.keys.length <= 31, `${body.keys.length} keys`);
    found.push(...body.keys);
    cursor = body.cursor;
  }
  t.ok(pages >= 7);
  t.same(found.filter((key) => typeof key === "string").toSorted(), wanted.toSorted());
  t.same(
    found.filter((key) => typeof key !== "string"),
    [jsonKey(Uint8Array.from([...utf8("a*[b]:"), 0xff]))],
  );
  t.equal((jsonOf(http(cluster, 1, "GET", "/kv?limit=10000")).keys as unknown[]).length, 251);
  for (const query of ["limit=0", "limit=10001", "cursor=x", "prefix=%", "what=1"]) {
    t.equal(http(cluster, 0, "GET", `/kv?${query}`).status, 400, query);
  }
  t.end();
});

t.test("requests of one connection that are sent together take effect in order", (t) => {
  const cluster = Cluster.started();
  for (const i of [cluster.leader(), cluster.follower()]) {
    const connection = { remote: "test:2" };
    const soon = (method: string, body = "") =>
      askSoon(cluster, i, method, "/kv/order", { body, connection });
    const all = [soon("PUT", "1"), soon("GET"), soon("PUT", "2"), soon("GET"), soon("DELETE"), soon("GET")];
    cluster.until("all answers", () => all.every(({ answer }) => answer !== null));
    t.same(
      all.map(({ answer }) => answer?.status),
      [200, 200, 200, 200, 200, 404],
    );
    t.same(
      [1, 3].map((n) => textOf(all[n]?.answer as never)),
      ["1", "2"],
    );
  }
  t.end();
});

t.test("without a majority: 503 and what it means for a read, 503 or 504 for a write, and not ready", (t) => {
  const cluster = Cluster.started();
  const leader = cluster.leader();
  const other = cluster.follower();
  t.equal(http(cluster, other, "GET", "/readyz").status, 200);
  for (let i = 0; i < 3; i++) if (i !== other) cluster.kill(i);
  const read = http(cluster, other, "GET", "/kv/k");
  t.equal(read.status, 503);
  t.equal(read.headers["retry-after"], "1");
  t.equal(jsonOf(read).error, "CLUSTERDOWN");
  const write = http(cluster, other, "PUT", "/kv/k", { body: "x" });
  t.ok(write.status === 503 || write.status === 504);
  const ready = http(cluster, other, "GET", "/ready");
  t.equal(ready.status, 503);
  t.equal(ready.headers["retry-after"], "1");
  t.match(jsonOf(ready), { ready: false, problems: [/no leader/] });
  t.equal(http(cluster, other, "GET", "/livez").status, 200);
  t.match(jsonOf(http(cluster, other, "GET", "/health")), { status: "degraded" });
  t.not(leader, other);
  t.end();
});

t.test("a node says who it is, which shards it has, and its figures", (t) => {
  const cluster = Cluster.started();
  const leader = cluster.leader();
  const other = cluster.follower();
  const who = jsonOf(http(cluster, other, "GET", "/whoami"));
  t.match(who, {
    node: `n${other + 1}`,
    shards: [{ id: "s1", role: "follower", term: Number, leader: { id: `n${leader + 1}`, http: null } }],
  });
  const metrics = http(cluster, leader, "GET", "/metrics");
  t.match(metrics.headers["content-type"], /^text\/plain; version=0\.0\.4/);
  const lines = textOf(metrics).trimEnd().split("\n");
  t.ok(lines.includes('nucleus_shard_is_leader{shard="s1"} 1'));
  for (const line of lines) {
    t.match(line, /^(# (HELP|TYPE) nucleus_\w+ .+|nucleus_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [\d.e+-]+)$/);
  }
  const odd = { name: "x", kind: "gauge", help: "h", samples: [[{ l: 'a"b\\c\nd' }, 1]] } as const;
  t.match(metricsText([odd]), 'x{l="a\\"b\\\\c\\nd"} 1\n');
  t.end();
});

t.test("other paths are offered to whoever has them", (t) => {
  const cluster = Cluster.started({ nodes: 1 });
  const { server } = cluster.node(0);
  if (server === null) throw new Error("it is up");
  const heard: string[] = [];
  server.http.extra = ({ method, path }, answer) => {
    if (path !== "/cluster/map") return false;
    heard.push(`${method} ${path}`);
    answer.send(202, {}, utf8("ok"));
    return true;
  };
  t.equal(http(cluster, 0, "POST", "/cluster/map").status, 202);
  t.same(heard, ["POST /cluster/map"]);
  t.equal(http(cluster, 0, "GET", "/").status, 404);
  t.equal(requestOf("GET", "/a?b").query, "b");
  t.end();
});

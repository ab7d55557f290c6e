/** The layout file: what it may say, and how it is told that it may not. */
import t from "tap";
import { firstConfig, membersOf, parseAddress, parseLayout } from "../../src/server/layout.ts";

const CLUSTER = "0123456789abcdef0123456789abcdef";
const NODES = [
  { id: "n1", addr: "127.0.0.1:7001" },
  { id: "n2", addr: "[::1]:7002" },
];

const parse = (value: unknown) => parseLayout(typeof value === "string" ? value : JSON.stringify(value));

t.test("a layout with defaults, and one that says everything", (t) => {
  const layout = parse({ cluster: CLUSTER, nodes: NODES });
  t.same(layout.nodes, [
    { id: "n1", host: "127.0.0.1", port: 7001 },
    { id: "n2", host: "::1", port: 7002 },
  ]);
  t.same(layout.settings, { segmentBytes: 16 * 2 ** 20, memoryBytesMax: 0, electionMs: 300 });
  t.equal(layout.group, 0x0123456789ab + 1);
  const settings = { segmentBytes: 4 * 2 ** 20, memoryBytesMax: 1000, electionMs: 1000 };
  t.same(parse({ cluster: CLUSTER, nodes: NODES, settings }).settings, settings);
  t.same(firstConfig(layout).voters, [
    { replica: 1, node: "n1" },
    { replica: 2, node: "n2" },
  ]);
  t.end();
});

t.test("what is wrong is named, with the field and what it may be", (t) => {
  const good = { cluster: CLUSTER, nodes: NODES };
  for (const [value, message] of [
    ["{", /not JSON/],
    ["[]", /the file must be an object/],
    [{ ...good, cluster: "abc" }, /"cluster" must be 32 hex digits/],
    [{ ...good, cluster: CLUSTER.toUpperCase() }, /"cluster"/],
    [{ ...good, nodes: [] }, /"nodes" must be a list of 1 to 15/],
    [
      { ...good, nodes: Array.from({ length: 16 }, (_, i) => ({ id: `n${i}`, addr: `h:${i + 1}` })) },
      /"nodes"/,
    ],
    [{ ...good, nodes: [{ id: "", addr: "h:1" }] }, /nodes\[0\].id/],
    [{ ...good, nodes: [{ id: "../x", addr: "h:1" }] }, /nodes\[0\].id/],
    [{ ...good, nodes: [{ id: "n1", addr: "h" }] }, /nodes\[0\].addr must be HOST:PORT/],
    [{ ...good, nodes: [{ id: "n1", addr: "h:70000" }] }, /nodes\[0\].addr/],
    [{ ...good, nodes: [{ id: "n1", addr: "h:1", zone: "a" }] }, /unknown field "zone"/],
    [{ ...good, nodes: [NODES[0], NODES[0]] }, /share an id or an address/],
    [{ ...good, nodes: [NODES[0], { id: "n9", addr: NODES[0]?.addr }] }, /share an id or an address/],
    [{ ...good, shards: 4 }, /unknown field "shards"/],
    [{ ...good, settings: { segmentBytes: 1 } }, /settings.segmentBytes must be a whole number from/],
    [{ ...good, settings: { electionMs: 0.5 } }, /settings.electionMs/],
    [{ ...good, settings: { memoryBytesMax: -1 } }, /settings.memoryBytesMax/],
    [{ ...good, settings: { electionMs: "300" } }, /settings.electionMs/],
    [{ ...good, settings: [] }, /settings must be an object/],
    [`{"__proto__": {}, "cluster": "${CLUSTER}"}`, /unknown field "__proto__"/],
  ] as const) {
    t.throws(() => parse(value), { code: "ELAYOUT", message });
  }
  t.end();
});

t.test("addresses", (t) => {
  t.same(parseAddress("host:1"), { host: "host", port: 1 });
  for (const bad of ["", ":1", "host:", "host:0", "host:65536", "a:b:1", "host:1x", "host :1"]) {
    t.equal(parseAddress(bad), null, bad);
  }
  t.end();
});

t.test("members of a config in a joint phase are counted once", (t) => {
  const member = (replica: number) => ({ replica, node: `n${replica}` });
  const config = {
    version: 3,
    voters: [member(1), member(2)],
    outgoing: [member(1), member(3)],
    learners: [member(4)],
    nextReplica: 5,
  };
  t.same(
    membersOf(config).map(({ replica }) => replica),
    [1, 2, 3, 4],
  );
  t.end();
});

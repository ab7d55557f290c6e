/** What cluster clients see: the view of slots and nodes, MOVED and CROSSSLOT, and the native map with its pushes. */
import t from "tap";
import { fromUtf8, Writer } from "../../src/base/bytes.ts";
import { nodeHex } from "../../src/server/cluster_view.ts";
import { Doors } from "../../src/server/doors.ts";
import { NativeClient } from "../../src/server/native_client.ts";
import { RespClient } from "../../src/server/resp_client.ts";
import { type ClusterMap, clusterMap } from "../../src/wire/cluster_map.ts";
import { OP } from "../../src/wire/command.ts";
import { decodeShape, ShapeError } from "../../src/wire/msgpack.ts";
import { NativeFrame, OPCODE, writeNative } from "../../src/wire/native.ts";
import { preamble } from "../../src/wire/preamble.ts";
import { Cluster } from "./cluster.ts";
import { clock, FakeConnection, FakeHost, fakeCluster, NO_READS, random, resp } from "./doubles.ts";
import { A, B, HALF, mapOf } from "./maps.ts";
import { keyOf } from "./routing_world.ts";

const LOW = keyOf(100);
const HIGH = keyOf(HALF + 5);

/** n1 leads A, the lower half; n3 leads B. */
const MINE: ClusterMap = mapOf({
  shards: [
    { id: "s1", group: A, weight: 1, replicas: [0, 1], leader: { node: 0, term: 3 } },
    { id: "s2", group: B, weight: 1, replicas: [2, 1], leader: { node: 2, term: 4 } },
  ],
});

function inClusterMode(map: ClusterMap | null = MINE) {
  const host = new FakeHost();
  host.redisMode = "cluster";
  host.cluster = fakeCluster(map);
  const connection = new FakeConnection();
  const client = new RespClient(1, connection, host);
  const ask = (...words: string[]): string => {
    connection.sent.length = 0;
    client.onData(resp(words));
    host.turn();
    return connection.text;
  };
  return { host, ask, routing: host.cluster.routing };
}

t.test("in cluster mode a client is sent to the leader's node, in exactly three words", (t) => {
  const { host, ask } = inClusterMode();
  t.equal(ask("GET", HIGH), `-MOVED ${HALF + 5} n3:7001\r\n`);
  t.equal(ask("SET", HIGH, "v"), `-MOVED ${HALF + 5} n3:7001\r\n`);
  t.equal(host.admitted.length, 0);
  t.equal(ask("GET", LOW), "", "this node leads it");
  t.match(host.admitted, [{ op: OP.get, words: [LOW] }]);
  t.end();
});

t.test("in cluster mode the keys of a command lie in one slot, and a command without keys is taken", (t) => {
  const { host, ask } = inClusterMode();
  const crossSlot = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
  t.equal(ask("MGET", LOW, HIGH), crossSlot);
  t.equal(ask("DEL", LOW, keyOf(101)), crossSlot, "even if one node leads both");
  t.equal(ask("MGET", HIGH, keyOf(HALF + 5, 1)), `-MOVED ${HALF + 5} n3:7001\r\n`);
  t.equal(ask("SELECT", "1"), "-ERR SELECT is not allowed in cluster mode\r\n");
  for (const words of [["DBSIZE"], ["SCAN", "0"], ["MGET", LOW, LOW]]) t.equal(ask(...words), "");
  t.equal(host.admitted.length, 3);
  t.end();
});

t.test(
  "in cluster mode DBSIZE and KEYS are about what this node leads: tools add up over the masters",
  (t) => {
    const { host, ask } = inClusterMode();
    ask("DBSIZE");
    ask("KEYS", "a*");
    ask("SCAN", "0");
    const lower = "\ufffd".repeat(HALF / 8) + "\0".repeat(HALF / 8); // a set of the lower slots, as text
    t.same(
      host.admitted.map(({ op, words }) => [op, words.includes(lower)]),
      [
        [OP.dbSize, true],
        [OP.keys, true],
        [OP.scan, false],
      ],
      "a scan is of the whole cluster, wherever it goes on",
    );
    t.same(host.admitted[1]?.words, ["a*", lower]);
    t.end();
  },
);

t.test("without a leader nobody is sent anywhere: the command waits where it came in", (t) => {
  const shards = MINE.shards.map((shard) => ({ ...shard, leader: null }));
  const { host, ask } = inClusterMode({ ...MINE, shards });
  t.equal(ask("GET", HIGH), "");
  t.equal(host.admitted.length, 1);
  t.end();
});

t.test("F9: MOVED follows newer leaders and newer claims on slots, and no older ones", (t) => {
  const { ask, routing } = inClusterMode();
  routing.hint(B, "n2", 3);
  t.match(ask("GET", HIGH), /n3:7001/);
  routing.hint(B, "n2", 5);
  t.match(ask("GET", HIGH), /n2:7001/);
  routing.claim(B, [{ first: 100, last: 100, epoch: 2 }]);
  t.equal(ask("GET", LOW), "-MOVED 100 n2:7001\r\n");
  t.match(ask("CLUSTER", "NODES"), / n2:7001@7001 master - 0 0 1 connected 100 8192-16383\n/);
  t.end();
});

t.test("COUNTKEYSINSLOT and GETKEYSINSLOT are data commands, answered where the slot is served", (t) => {
  const { host, ask } = inClusterMode();
  ask("CLUSTER", "COUNTKEYSINSLOT", "9");
  ask("CLUSTER", "GETKEYSINSLOT", "9", "3");
  t.same(
    host.admitted.map(({ op }) => op),
    [OP.dbSize, OP.keysInSlot],
  );
  t.equal(host.admitted[0]?.words[0]?.charCodeAt(1), 1 << (9 & 7));
  t.end();
});

t.test("CLUSTER SLOTS has no holes because a shard has no leader, and is encoded once for a map", (t) => {
  const shards = MINE.shards.map((shard) => ({ ...shard, leader: null }));
  const { host, ask, routing } = inClusterMode({ ...MINE, shards });
  const { view } = host.cluster.view;
  t.same(
    view.ranges.map(({ first, last, nodes }) => [first, last, nodes.map(({ id }) => id)]),
    [
      [0, HALF - 1, ["n1", "n2"]],
      [HALF, 16_383, ["n3", "n2"]],
    ],
  );
  t.match(ask("CLUSTER", "INFO"), /cluster_state:ok/);
  t.equal(ask("CLUSTER", "SLOTS"), ask("CLUSTER", "SLOTS"));
  t.equal(host.cluster.view.view, view, "the same one until something changes");
  routing.hint(B, "n2", 9);
  t.not(host.cluster.view.view, view);
  t.match(ask("CLUSTER", "SLOTS"), /:16383\r\n\*4\r\n\$2\r\nn2\r\n/);
  t.end();
});

t.test("what a node leads of several shards is one range where it touches", (t) => {
  const shards = MINE.shards.map((shard) => ({ ...shard, leader: { node: 1, term: 9 } }));
  const { ask } = inClusterMode({ ...MINE, shards });
  t.match(ask("CLUSTER", "NODES"), / n2:7001@7001 master - 0 0 1 connected 0-16383\n/);
  t.match(ask("CLUSTER", "SLOTS"), /^\*2\r\n/, "each shard has its own replicas");
  t.end();
});

t.test("a node that leads nothing is the replica of one master, and each node is named once", (t) => {
  const { ask } = inClusterMode();
  const hex = (id: string): string => nodeHex(MINE.cluster, id);
  const lines = ask("CLUSTER", "NODES").split(/\r?\n/).slice(1, 4);
  t.same(
    lines.map((line) => line.split(" ").slice(0, 4)),
    [
      [hex("n1"), "n1:7001@7001", "myself,master", "-"],
      [hex("n2"), "n2:7001@7001", "slave", hex("n1")],
      [hex("n3"), "n3:7001@7001", "master", "-"],
    ],
  );
  t.match(ask("CLUSTER", "REPLICAS", hex("n1")), new RegExp(hex("n2")));
  t.match(ask("CLUSTER", "REPLICAS", hex("n2")), /not a master/);
  const shards = ask("CLUSTER", "SHARDS");
  for (const id of ["n1", "n2", "n3"]) t.equal(shards.split(hex(id)).length, 2, id);
  t.ok(["n1", "n2", "n3"].every((id) => /^[0-9a-f]{40}$/.test(hex(id))));
  t.not(nodeHex("00".repeat(16), "n1"), hex("n1"), "another cluster's node is another node");
  t.end();
});

/** The map frames that were sent to a native client. */
function mapsIn(connection: FakeConnection): { requestId: number; map: ClusterMap }[] {
  const maps: { requestId: number; map: ClusterMap }[] = [];
  const frame = new NativeFrame();
  for (const bytes of connection.sent) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += view.getUint32(at, true)) {
      if (frame.read(bytes, at, at + view.getUint32(at, true)) !== null) throw new Error("malformed");
      if (frame.opcode !== OPCODE.mapReply) continue;
      const map = decodeShape(clusterMap, frame.body(), "map");
      if (map instanceof ShapeError) throw map;
      maps.push({ requestId: frame.requestId, map });
    }
  }
  return maps;
}

function askMap(requestId: number): Uint8Array {
  const writer = new Writer(64);
  writeNative(writer, OPCODE.map, requestId, new Uint8Array(0));
  return writer.copy();
}

t.test(
  "the native map tells newer claims and leaders; who asked once hears of every change, and few at once",
  (t) => {
    const host = new FakeHost();
    const { routing } = host.cluster;
    const doors = new Doors({
      clock,
      random,
      info: host.info,
      redisMode: "proxy",
      cluster: host.cluster,
      admit: () => true,
      reads: NO_READS,
      moveLeader: () => null,
      replaceNode: () => null,
      control: (_call, answer) => answer("ERR no control plane here"),
      onPeer: () => {},
      wake: () => {},
    });
    const call = (): FakeConnection => {
      const connection = new FakeConnection();
      doors.accept(connection);
      connection.events.onData(preamble("client"));
      return connection;
    };
    const ticks = (count: number): void => {
      for (let i = 0; i < count; i++) {
        doors.tick();
        doors.flush();
      }
    };
    const [one, other] = [call(), call()];
    routing.claim(B, [{ first: 5, last: 6, epoch: 9 }]);
    one.events.onData(askMap(77));
    doors.flush();
    t.match(mapsIn(one), [{ requestId: 77, map: { ranges: { 1: [5, 6, 1, 9] } } }]);
    ticks(10);
    one.sent.length = 0;
    routing.hint(A, "n3", 8);
    routing.claim(B, [{ first: 7, last: 7, epoch: 9 }]);
    ticks(40);
    t.same(mapsIn(one), [], "it was told a moment ago");
    ticks(10);
    t.match(mapsIn(one), [{ requestId: 0, map: { ranges: { 1: [5, 7, 1, 9] } } }], "one push for both");
    t.same(mapsIn(one)[0]?.map.shards[0]?.leader, { node: 2, term: 8 });
    ticks(50);
    t.equal(mapsIn(one).length, 1, "nothing changed since");
    t.same(mapsIn(other), [], "it never asked");
    t.end();
  },
);

t.test("a node without a map answers who asks for it when there is one", (t) => {
  const host = new FakeHost();
  host.cluster = fakeCluster(null);
  const connection = new FakeConnection();
  const client = new NativeClient(1, connection, host);
  client.onData(askMap(5));
  client.flush();
  t.same(mapsIn(connection), []);
  host.cluster.routing.setMap(mapOf());
  client.onTopology();
  client.flush();
  t.match(mapsIn(connection), [{ requestId: 0, map: { cluster: mapOf().cluster } }]);
  t.end();
});

t.test("a cluster of a fixed layout in cluster mode: one shard, whose leader all nodes name alike", (t) => {
  const cluster = new Cluster({ seed: 5 });
  cluster.redisMode = "cluster";
  for (const i of [0, 1, 2]) cluster.start(i, true);
  const leader = cluster.leader();
  const follower = (leader + 1) % 3;
  t.equal(cluster.call(leader, "SET", LOW, "v"), "OK");
  t.equal(cluster.call(follower, "GET", LOW), `-MOVED 100 n${leader + 1}:7001`);
  t.equal(cluster.call(leader, "CLUSTER", "COUNTKEYSINSLOT", "100"), "1");
  t.match(
    cluster.call(follower, "CLUSTER", "GETKEYSINSLOT", "100", "9"),
    LOW,
    "no key is named: it is asked there",
  );
  const view = (i: number): string[] =>
    cluster.call(i, "CLUSTER", "NODES").replace("myself,", "").split(/\r?\n/).sort();
  t.same(view(leader), view(follower));
  t.match(cluster.call(follower, "INFO", "cluster"), /cluster_enabled:1/);
  const counted = /total_commands_processed:(\d+)/.exec(cluster.call(leader, "INFO", "stats"))?.[1];
  t.ok(Number(counted) > 0, "redis-cli --stat shows a number of commands");
  t.match(fromUtf8(new TextEncoder().encode(cluster.call(follower, "HELLO", "2"))), /mode cluster/);
  cluster.kill(leader);
  cluster.until("another leads, and is named", () => {
    const next = cluster.nodes.findIndex((node) => node.isLeader);
    return next >= 0 && cluster.call(next, "GET", LOW) === "v";
  });
  t.end();
});

import t from "tap";
import type { Client } from "../../src/server/client.ts";
import { OPENING_TICKS_MAX, Openings } from "../../src/server/opening.ts";
import { preamble } from "../../src/wire/preamble.ts";
import { FakeConnection, FakeHost, resp } from "./doubles.ts";

function openings() {
  const clients: Client[] = [];
  const peers: FakeConnection[] = [];
  const list = new Openings({
    nextId: () => clients.length + 1,
    host: new FakeHost(),
    isFull: () => false,
    onPeer: (connection) => void peers.push(connection as FakeConnection),
    onClient: (client) => void clients.push(client),
  });
  const add = (): FakeConnection => {
    const connection = new FakeConnection();
    list.add(connection);
    return connection;
  };
  return { list, add, clients, peers };
}

t.test("a connection's first bytes tell who calls, however they are cut", async (t) => {
  const { list, add, clients, peers } = openings();
  for (const pieces of [[4], [1, 3], [1, 1, 1, 1]]) {
    for (const caller of ["client", "peer"] as const) {
      const connection = add();
      let at = 0;
      for (const size of pieces) connection.events.onData(preamble(caller).subarray(at, (at += size)));
    }
  }
  add().events.onData(resp(["PING"]));
  t.same(
    clients.map(({ protocolName }) => protocolName),
    ["native", "native", "native", "resp"],
  );
  t.equal(peers.length, 3);
  t.equal(list.count, 0);
});

t.test("who begins like us and goes on otherwise is dropped", async (t) => {
  const { list, add } = openings();
  const connection = add();
  connection.events.onData(Uint8Array.of(0xa9, 0x4e, 0x55, 99));
  t.ok(connection.destroyed);
  t.equal(list.count, 0);
});

t.test("who says nothing counts, and is dropped after a while; who left does not count", async (t) => {
  const { list, add } = openings();
  const early = add();
  add().events.onClose("gone");
  t.equal(list.count, 1);
  for (let i = 0; i < 10; i++) list.tick();
  const late = add();
  late.events.onData(Uint8Array.of(0xa9));
  for (let i = 0; i < OPENING_TICKS_MAX - 10; i++) list.tick();
  t.same([early.destroyed, late.destroyed], [false, false]);
  list.tick();
  t.same([early.destroyed, late.destroyed, list.count], [true, false, 1]);
  list.close();
  t.same([late.destroyed, list.count], [true, 0]);
});

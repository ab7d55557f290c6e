/** The doors: back-pressure, borrowed bytes, readers that do not read. */
import t from "tap";
import { fromUtf8, getU32, setU32, utf8, Writer } from "../../src/base/bytes.ts";
import { crc32 } from "../../src/base/checksum.ts";
import type { Connection } from "../../src/platform/platform.ts";
import type { Client } from "../../src/server/client.ts";
import { Doors } from "../../src/server/doors.ts";
import { NativeClient } from "../../src/server/native_client.ts";
import { Openings } from "../../src/server/opening.ts";
import { RespClient } from "../../src/server/resp_client.ts";
import { OP } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { beginNative, endNative, NATIVE_HEADER_BYTES, OPCODE, writeReadHead } from "../../src/wire/native.ts";
import { preamble } from "../../src/wire/preamble.ts";
import { clock, FakeConnection, FakeHost, NO_READS, random, resp } from "./doubles.ts";

const MiB = 1024 * 1024;

function respClient() {
  const connection = new FakeConnection();
  const host = new FakeHost();
  const client = new RespClient(1, connection, host);
  connection.events = client;
  return { connection, host, client };
}

function nativeClient() {
  const connection = new FakeConnection();
  const host = new FakeHost();
  const client = new NativeClient(1, connection, host);
  connection.events = client;
  return { connection, host, client };
}

/** GETs in native frames. */
function native(...keys: readonly string[]): Uint8Array {
  const writer = new Writer(256);
  const encoder = new CommandEncoder(writer);
  for (const [id, key] of keys.entries()) {
    const at = beginNative(writer, OPCODE.command, id + 1);
    encoder.begin(OP.get);
    encoder.arg(utf8(key));
    encoder.end();
    endNative(writer, at);
  }
  return writer.copy();
}

/** What a runtime does to a buffer it has lent: `bytes` are gone when onData returns. */
function lend(client: { onData(bytes: Uint8Array): void }, bytes: Uint8Array): void {
  const lent = bytes.slice();
  client.onData(lent);
  lent.fill(0xdb);
}

t.test("H11: bytes that arrive while a command waits for room are the connection's, not the door's", (t) => {
  for (const [name, door, frame] of [
    ["RESP", respClient(), (key: string) => resp(["GET", key])],
    ["native", nativeClient(), (key: string) => native(key)],
  ] as const) {
    const { host, client } = door;
    host.open = false;
    lend(client, frame("first"));
    lend(client, frame("second")); // it was read before the pause took effect
    lend(client, frame("third"));
    host.open = true;
    host.turn();
    host.turn();
    t.same(
      host.admitted.map(({ words }) => words[0]),
      ["first", "second", "third"],
      name,
    );
  }
  t.end();
});

t.test("C10: a reply that others wait behind is made although they fill the output", (t) => {
  const { connection, host, client } = respClient();
  client.onData(resp(["GET", "slow"], ["GET", "big"], ["GET", "big"]));
  const big = new Uint8Array(0.7 * MiB).fill(0x61);
  for (const { origin, tag, mark } of host.admitted.slice(1)) {
    origin.begin(tag).blob(big, 0, big.length);
    origin.end(tag, mark);
  }
  const [slow] = host.admitted;
  if (slow === undefined) throw new Error("three were admitted");
  t.ok(slow.origin.hasRoom(slow.tag), "nothing leaves before it");
  t.notOk(slow.origin.hasRoom(7), "what comes behind all of them can wait");
  slow.origin.begin(slow.tag).nil();
  slow.origin.end(slow.tag, slow.mark);
  host.turn();
  t.match(connection.text, /^\$-1\r\n\$734003\r\n/);
  t.end();
});

t.test("H7: a door that stopped reading goes on when its replies were read, whoever says so", (t) => {
  for (const says of ["drain", "nobody"]) {
    const { connection, host, client } = respClient();
    connection.reads = false;
    client.onData(resp(["GET", "a"]));
    const big = new Uint8Array(1.5 * MiB);
    const [first] = host.admitted;
    if (first === undefined) throw new Error("it was admitted");
    first.origin.begin(first.tag).blob(big, 0, big.length);
    first.origin.end(first.tag, first.mark);
    host.turn();
    client.onData(resp(["GET", "b"]));
    host.turn();
    t.ok(connection.paused);
    t.equal(host.admitted.length, 1, "it is not read from");
    connection.drain();
    if (says === "drain") client.onDrain();
    host.tick();
    host.turn();
    t.notOk(connection.paused);
    t.same(host.admitted[1]?.words, ["b"]);
  }
  t.end();
});

t.test("H7: replies that cannot wait are dropped at the cap, and so is the connection", (t) => {
  const { connection, host, client } = respClient();
  connection.reads = false;
  const many = Array.from({ length: 40 }, () => ["GET", "k"]);
  client.onData(resp(...many));
  const big = new Uint8Array(MiB);
  for (const { origin, tag, mark } of host.admitted) {
    origin.begin(tag).blob(big, 0, big.length);
    origin.end(tag, mark);
  }
  t.ok(client.outputBytes < 34 * MiB, "not all of them were kept");
  host.turn();
  t.ok(connection.destroyed);
  t.end();
});

t.test("a malformed native frame closes the connection after saying why", (t) => {
  const { connection, host, client } = nativeClient();
  const bytes = native("a");
  bytes[5] = 99;
  client.onData(bytes);
  host.turn();
  t.match(fromUtf8(connection.sent[0] ?? new Uint8Array(0)), /malformed frame/);
  t.ok(connection.closed);
  t.end();
});

t.test(
  "a read whose head makes no sense closes the connection; an error in its command is its answer",
  (t) => {
    const read = (mode: number, rest: Uint8Array): Uint8Array => {
      const writer = new Writer(64);
      const at = beginNative(writer, OPCODE.read, 3);
      writeReadHead(writer, mode, null);
      writer.raw(rest);
      endNative(writer, at);
      return writer.copy();
    };
    for (const mode of [0, 3, 0xffff]) {
      const { connection, host, client } = nativeClient();
      client.onData(read(mode, native("a").subarray(NATIVE_HEADER_BYTES)));
      host.turn();
      t.match(connection.text, /malformed frame: read/);
    }
    const { connection, host, client } = nativeClient();
    client.onData(read(1, utf8("nonsense")));
    host.turn();
    t.match(connection.text, /ERR malformed command/);
    t.notOk(connection.closed);
    t.equal(connection.sent[0]?.[5], OPCODE.readReply);
    t.end();
  },
);

t.test("G7: a length at and above 2^31 is large, not negative, whatever field it stands in", (t) => {
  const lengths = [0x7fff_ffff, 0x8000_0000, 0x8000_0010, 0xffff_ffff];
  for (const length of lengths) {
    for (const field of ["frame", "command", "argument"]) {
      const { connection, host, client } = nativeClient();
      const bytes = native("key");
      // Frame: size u32, flags, opcode, request id u32; command: size u32, op, flags ..; then [size u32, bytes].
      const at = { frame: 0, command: NATIVE_HEADER_BYTES, argument: bytes.length - 7 }[field] as number;
      if (field !== "frame") t.equal(getU32(bytes, at), field === "command" ? bytes.length - at : 3, field);
      setU32(bytes, at, length);
      client.onData(bytes);
      host.turn();
      t.match(connection.text, /malformed/, `native: ${field} of ${length} bytes`);
      t.equal(host.admitted.length, 0);
    }
    for (const words of [`*${length}\r\n`, `*2\r\n$3\r\nGET\r\n$${length}\r\n`]) {
      const { connection, host, client } = respClient();
      client.onData(utf8(words));
      host.turn();
      t.match(connection.text, /^-ERR Protocol error: invalid (multi)?bulk length/, `RESP: ${length}`);
      t.ok(connection.closed);
    }
  }
  // The top bit of a checksum: half of all texts have it, and both kinds have to pass.
  const sums = Array.from({ length: 64 }, (_, i) => crc32(utf8(`${i}`)));
  t.ok(sums.some((sum) => sum >= 2 ** 31) && sums.every((sum) => sum >= 0 && sum < 2 ** 32));
  const place = new Uint8Array(4);
  for (const sum of sums) {
    setU32(place, 0, sum);
    t.equal(getU32(place, 0), sum);
  }
  t.end();
});

function openings(isFull = () => false) {
  const clients: Client[] = [];
  const peers: { connection: Connection; bytes: Uint8Array }[] = [];
  const door = new Openings({
    nextId: () => clients.length + 1,
    host: new FakeHost(),
    isFull,
    onPeer: (connection, bytes) => void peers.push({ connection, bytes: bytes.slice() }),
    onClient: (client) => void clients.push(client),
  });
  const call = (): FakeConnection => {
    const connection = new FakeConnection();
    door.add(connection);
    return connection;
  };
  return { door, clients, peers, call };
}

t.test("J10: a caller that says nothing is cut after a minute, and never keeps others out", (t) => {
  const { door, clients, call } = openings();
  const silent = call();
  for (let tick = 0; tick < 6000; tick++) door.tick();
  t.notOk(silent.destroyed);
  const late = call();
  door.tick();
  t.ok(silent.destroyed);
  t.notOk(late.destroyed);
  const flood = Array.from({ length: 1500 }, call);
  t.equal(door.count, 1024);
  t.ok(late.destroyed && flood[0]?.destroyed, "the oldest made room");
  const speaks = call();
  speaks.events.onData(resp(["PING"]));
  t.equal(clients.length, 1);
  t.notOk(speaks.destroyed);
  t.end();
});

t.test("J10: clients are counted, and nodes get in however many there are", (t) => {
  const { door, clients, peers, call } = openings(() => true);
  const respCaller = call();
  respCaller.events.onData(resp(["PING"]));
  t.equal(respCaller.text, "-ERR max number of clients reached\r\n");
  t.ok(respCaller.closed);
  const nativeCaller = call();
  nativeCaller.events.onData(preamble("client"));
  t.match(nativeCaller.text, /max number of clients/);
  t.equal(clients.length, 0);
  call().events.onData(preamble("peer"));
  t.equal(peers.length, 1);
  for (let tick = 0; tick <= 6000; tick++) door.tick();
  t.ok(respCaller.destroyed, "also one that never reads why");
  t.end();
});

t.test("H7: a client that said QUIT and does not read the rest is cut", (t) => {
  const host = new FakeHost();
  const doors = new Doors({
    clock,
    random,
    info: host.info,
    redisMode: host.redisMode,
    cluster: host.cluster,
    admit: () => true,
    reads: NO_READS,
    moveLeader: () => null,
    replaceNode: () => null,
    control: (_call, answer) => answer("ERR no control plane here"),
    onPeer: () => {},
    wake: () => {},
  });
  const connection = new FakeConnection();
  doors.accept(connection);
  connection.reads = false;
  connection.events.onData(resp(["QUIT"]));
  doors.flush();
  t.ok(connection.closed);
  for (let tick = 0; tick < 1000; tick++) doors.tick();
  t.notOk(connection.destroyed);
  for (let tick = 0; tick < 300; tick++) doors.tick();
  t.ok(connection.destroyed);
  connection.events.onClose("cut");
  t.equal(doors.count, 0);
  t.end();
});

t.test("C10: HELLO speaks of what comes behind it: replies to what came before keep their form", (t) => {
  const { connection, host, client } = respClient();
  lend(client, resp(["GET", "a"], ["HELLO", "3", "SETNAME", "late"], ["GET", "b"]));
  lend(client, resp(["GET", "c"]));
  host.turn();
  t.equal(host.admitted.length, 1, "nothing is read past it");
  const answer = (i: number): void => {
    const waiting = host.admitted[i];
    if (waiting === undefined) throw new Error(`${i} was not admitted`);
    waiting.origin.begin(waiting.tag).nil();
    waiting.origin.end(waiting.tag, waiting.mark);
    host.turn();
  };
  answer(0);
  t.equal(client.name, "late", "its words were kept");
  t.equal(host.admitted.length, 3);
  answer(2);
  answer(1);
  host.turn();
  t.match(connection.text, /^\$-1\r\n%7\r\n.*_\r\n_\r\n$/s);
  t.end();
});

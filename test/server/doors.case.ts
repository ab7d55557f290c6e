/** The doors: back-pressure, borrowed bytes, readers that do not read. */
import t from "tap";
import { fromUtf8, utf8, Writer } from "../../src/base/bytes.ts";
import { NativeClient } from "../../src/server/native_client.ts";
import { RespClient } from "../../src/server/resp_client.ts";
import { OP } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { beginNative, endNative, OPCODE } from "../../src/wire/native.ts";
import { FakeConnection, FakeHost, resp } from "./doubles.ts";

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

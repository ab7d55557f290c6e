/** The door of a control process, over connections of a simulated world that cut what is sent into pieces. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { utf8, Writer } from "../../src/base/bytes.ts";
import type { Connection } from "../../src/platform/platform.ts";
import { Machine } from "../../src/sim/platform.ts";
import { controlReply, controlRequest } from "../../src/wire/control_request.ts";
import { decodeShape, encodeShape, ShapeError } from "../../src/wire/msgpack.ts";
import { NativeFrame, nativeParser, OPCODE, writeNative } from "../../src/wire/native.ts";
import { preamble } from "../../src/wire/preamble.ts";
import { Town } from "./process_town.ts";

const { h64 } = await xxhash();

/** Somebody who calls c1. */
class Caller {
  readonly town: Town;
  received = new Uint8Array(0);
  isClosed = false;
  #connection: Connection | null = null;

  constructor(town: Town, number: number) {
    this.town = town;
    const machine = new Machine(town.world, town.net, number, `caller${number}`);
    machine.start((platform) => {
      this.#connection = platform.net.dial("c1", 7000, {
        onOpen: () => {},
        onDrain: () => {},
        onData: (bytes) => {
          const all = new Uint8Array(this.received.length + bytes.length);
          all.set(this.received);
          all.set(bytes, this.received.length);
          this.received = all;
        },
        onClose: () => {
          this.isClosed = true;
        },
      });
    });
    town.run(10);
  }

  send(bytes: Uint8Array): void {
    this.#connection?.send(bytes.slice());
    this.town.run(200);
  }

  get text(): string {
    return new TextDecoder().decode(this.received);
  }

  /** Opcode, request id and body of each frame. */
  frames(): { opcode: number; requestId: number; body: Uint8Array }[] {
    const parser = nativeParser("server");
    const frame = new NativeFrame();
    const all: { opcode: number; requestId: number; body: Uint8Array }[] = [];
    parser.feed(this.received);
    while (parser.next() === "frame") {
      if (frame.read(parser.bytes, parser.start, parser.end) !== null) throw new Error("a malformed answer");
      all.push({ opcode: frame.opcode, requestId: frame.requestId, body: frame.body().slice() });
    }
    return all;
  }
}

function frameOf(
  opcode: (typeof OPCODE)[keyof typeof OPCODE],
  requestId: number,
  body: Uint8Array,
): Uint8Array {
  const writer = new Writer();
  writeNative(writer, opcode, requestId, body);
  return writer.copy();
}

function town(): Town {
  const one = new Town(h64, { seed: 6, controls: 1, nodes: 0 });
  one.startAll(true);
  one.until("somebody leads", () => one.leader !== null);
  return one;
}

const MAP = encodeShape(controlRequest, { kind: "map" });

t.test("many requests at once are answered one by one, each under its number", async (t) => {
  const caller = new Caller(town(), 50);
  const writer = new Writer();
  writer.raw(preamble("client"));
  for (let i = 1; i <= 300; i++) writer.raw(frameOf(OPCODE.admin, i, MAP));
  writer.raw(frameOf(OPCODE.ping, 301, utf8("still there")));
  const bytes = writer.copy();
  for (let at = 0; at < bytes.length; at += 777) caller.send(bytes.subarray(at, at + 777));
  const frames = caller.frames();
  t.same(
    frames.map(({ requestId }) => requestId),
    Array.from({ length: 301 }, (_, i) => i + 1),
  );
  t.equal(frames.at(-1)?.opcode, OPCODE.pong);
  const reply = decodeShape(controlReply, frames[0]?.body ?? MAP, "reply");
  t.ok(!(reply instanceof ShapeError) && reply.kind === "map");
});

t.test("reads of the group wait beside each other, more than may be open at once", async (t) => {
  const caller = new Caller(town(), 51);
  const call = encodeShape(controlRequest, {
    kind: "http",
    method: "GET",
    path: "/settings",
    body: new Uint8Array(0),
  });
  const writer = new Writer();
  writer.raw(preamble("client"));
  for (let i = 1; i <= 200; i++) writer.raw(frameOf(OPCODE.admin, i, call));
  caller.send(writer.copy());
  caller.town.run(3000);
  const frames = caller.frames();
  t.same(new Set(frames.map(({ requestId }) => requestId)).size, 200);
  const statuses = frames.map(({ body }) => {
    const reply = decodeShape(controlReply, body, "reply");
    return reply instanceof ShapeError || reply.kind !== "http" ? 0 : reply.status;
  });
  t.ok(statuses.every((status) => status === 200));
});

t.test("who is wrong here is told where to go, and closed", async (t) => {
  const one = town();
  const resp = new Caller(one, 52);
  resp.send(utf8("*1\r\n$4\r\nPING\r\n"));
  t.match(resp.text, /^-ERR this is a control process: clients talk to nodes/);
  t.equal(resp.isClosed, true);
  const wrong: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ["a client's greeting", frameOf(OPCODE.hello, 1, new Uint8Array(0)), /clients talk to nodes/],
    ["no request", frameOf(OPCODE.admin, 1, utf8("?")), /malformed request: request/],
    ["a frame of no length", new Uint8Array(16), /malformed frame: length/],
  ];
  for (const [i, [what, bytes, why]] of wrong.entries()) {
    const caller = new Caller(one, 60 + i);
    caller.send(preamble("client"));
    caller.send(bytes);
    const [frame] = caller.frames();
    t.equal(frame?.opcode, OPCODE.closing, what);
    t.match(new TextDecoder().decode(frame?.body), why);
    t.equal(caller.isClosed, true, what);
  }
});

t.test("who does not say who calls is not waited for", async (t) => {
  const caller = new Caller(town(), 53);
  caller.send(preamble("client").subarray(0, 2));
  t.equal(caller.isClosed, false);
  caller.town.run(11_000);
  t.equal(caller.isClosed, true);
});

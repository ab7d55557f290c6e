import fc from "fast-check";
import t from "tap";
import { concat, toHex, utf8, Writer } from "../../src/base/bytes.ts";
import { KiB, MiB } from "../../src/base/units.ts";
import { WIRE_VERSION } from "../../src/base/version.ts";
import type { FrameParser } from "../../src/wire/frame_parse.ts";
import {
  beginNative,
  endNative,
  NATIVE_HEADER_BYTES,
  NativeFrame,
  nativeParser,
  OPCODE,
  type Opcode,
  PING_BYTES_MAX,
  REPLY_FRAME_BYTES_MAX,
  REQUEST_FRAME_BYTES_MAX,
  writeNative,
} from "../../src/wire/native.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";
import { preamble, readPreamble } from "../../src/wire/preamble.ts";
import { cuts, flip, noise, pieces, poison, prng } from "./bytes.ts";
import { frameOf } from "./frames.ts";
import { golden, hexDump, quote } from "./script.ts";

function frame(opcode: Opcode, requestId: number, body: Uint8Array): Uint8Array {
  const writer = new Writer(1);
  writeNative(writer, opcode, requestId, body);
  return writer.copy();
}

/** What a stream of native frames says. */
function events(chunks: readonly Uint8Array[], parser: FrameParser = nativeParser("client")): string[] {
  const said: string[] = [];
  const native = new NativeFrame();
  for (const chunk of chunks) {
    const own = chunk.slice();
    parser.feed(own);
    let event = parser.next();
    for (; event === "frame"; event = parser.next()) {
      const error = native.read(parser.bytes, parser.start, parser.end);
      said.push(error ?? `${native.opcode} ${native.requestId} ${quote(native.body())}`);
    }
    poison(own);
    if (event === "error") return [...said, "error"];
  }
  return said;
}

t.test("the preamble says who calls, and nothing else may open a connection", async (t) => {
  t.equal(toHex(preamble("client")), `a94e55${WIRE_VERSION.toString(16).padStart(2, "0")}`);
  t.equal(readPreamble(preamble("client"), 0), "client");
  t.equal(readPreamble(concat([utf8("xx"), preamble("peer")]), 2), "peer");
  t.equal(readPreamble(Uint8Array.of(0xa9, 0x4e, 0x55, WIRE_VERSION + 1), 0), "version");
  t.equal(readPreamble(Uint8Array.of(0xa9, 0x4e, 0x54, WIRE_VERSION), 0), "magic");
  t.equal(readPreamble(utf8("*1\r\n"), 0), "magic");
});

t.test("native frames have these bytes", async (t) => {
  const writer = new Writer(1);
  const at = beginNative(writer, OPCODE.reply, 2 ** 53 - 1);
  new ReplyEncoder(writer).integer(42);
  endNative(writer, at);
  const lines = [
    "a request: GET k",
    ...hexDump(frame(OPCODE.command, 7, frameOf(["get", "k"]) as Uint8Array)),
    "a reply: 42",
    ...hexDump(writer.view()),
    "a ping",
    ...hexDump(frame(OPCODE.ping, 0, new Uint8Array(0))),
  ];
  golden(t, "native_frames", `${lines.join("\n")}\n`);
});

const samples = [
  frame(OPCODE.ping, 1, utf8("x")),
  frame(OPCODE.command, 2, frameOf(["set", "k", "v"]) as Uint8Array),
  frame(OPCODE.map, 3, new Uint8Array(0)),
];

t.test("a stream of frames means the same wherever it is cut; a truncated one waits", async (t) => {
  const stream = concat(samples);
  const whole = events([stream]);
  t.equal(whole.length, 3);
  for (const chunks of cuts(stream)) {
    const said = events(chunks);
    if (said.join("\n") !== whole.join("\n"))
      t.same(said, whole, `cut as ${chunks.map((chunk) => chunk.length)}`);
  }
  for (let end = 0; end < stream.length; end++) {
    const said = events([stream.subarray(0, end)]);
    if (said.join("\n") !== whole.slice(0, said.length).join("\n")) t.fail(`truncated at ${end}`);
  }
});

t.test("H11: a reader that stops in the middle keeps the rest by feeding nothing", async (t) => {
  const all = concat(samples);
  for (let stopAfter = 0; stopAfter <= samples.length; stopAfter++) {
    const parser = nativeParser("client");
    const chunk = all.slice();
    parser.feed(chunk);
    for (let i = 0; i < stopAfter; i++) parser.next();
    parser.feed(new Uint8Array(0));
    poison(chunk);
    t.same(
      events([samples[0] as Uint8Array], parser),
      events([...samples.slice(stopAfter), samples[0] as Uint8Array]),
    );
  }
});

t.test("random frames come through in random pieces", async () => {
  const any = fc.tuple(
    fc.constantFrom(OPCODE.command, OPCODE.pong, OPCODE.admin),
    fc.maxSafeNat(),
    fc.uint8Array({ maxLength: 90 }),
  );
  fc.assert(
    fc.property(fc.array(any, { maxLength: 6 }), fc.integer({ min: 1, max: 100 }), (frames, size) => {
      const stream = concat(frames.map(([opcode, id, body]) => frame(opcode, id, body)));
      const expected = frames.map(([opcode, id, body]) => `${opcode} ${id} ${quote(body)}`);
      return events(pieces(stream, size)).join("\n") === expected.join("\n");
    }),
    { seed: 51, numRuns: 500 },
  );
});

t.test("J1, J3: a length is judged before anything is kept for it", async (t) => {
  const lengths = [0, 1, NATIVE_HEADER_BYTES - 1, REQUEST_FRAME_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1];
  for (const length of lengths) {
    const head = new Writer(4);
    head.u32(length);
    t.same(events(pieces(head.copy(), 1)), ["error"], `G7: a length of ${length}`);
  }
  const parser = nativeParser("server");
  const head = new Writer(4);
  head.u32(REPLY_FRAME_BYTES_MAX);
  t.same(events([head.copy()], parser), []);
  t.ok(parser.allocatedBytes < 4 * KiB, `${parser.allocatedBytes} bytes for 64 MiB announced`);
  events([new Uint8Array(10 * KiB)], parser);
  t.ok(parser.allocatedBytes < 40 * KiB, `${parser.allocatedBytes} bytes for 10 KiB received`);
});

t.test("the largest request passes in pieces, and nothing of it is kept", async (t) => {
  const body = new Uint8Array(REQUEST_FRAME_BYTES_MAX - NATIVE_HEADER_BYTES).fill(1);
  const parser = nativeParser("client");
  const big = frame(OPCODE.command, 9, body);
  parser.feed(big.subarray(0, 100));
  t.equal(parser.next(), "more");
  parser.feed(big.subarray(100));
  t.equal(parser.next(), "frame");
  t.equal(parser.end - parser.start, big.length);
  t.equal(parser.next(), "more");
  t.ok(parser.allocatedBytes <= 64 * KiB);
  t.ok(parser.allocatedBytes < MiB && parser.bufferedBytes === 0);
});

t.test(
  "J3: a header that says anything unknown is refused; flipped bits and noise never throw",
  async (t) => {
    const native = new NativeFrame();
    const spoilt = (at: number, value: number): string | null => {
      const bytes = (samples[1] as Uint8Array).slice();
      bytes[at] = value;
      return native.read(bytes, 0, bytes.length);
    };
    t.equal(spoilt(4, 1), "flags");
    t.equal(spoilt(5, 0), "opcode");
    t.equal(spoilt(5, 14), "opcode");
    t.equal(spoilt(6, 1), "reserved");
    t.equal(spoilt(15, 0x20), "request_id", "G6: a request id of 2^53 and more");
    const ping = frame(OPCODE.ping, 1, new Uint8Array(PING_BYTES_MAX + 1));
    t.equal(native.read(ping, 0, ping.length), "body", "a ping is no way to make a node send much");
    t.equal(native.read(ping, 0, 10), "length");
    const stream = concat(samples);
    for (let bit = 0; bit < 8 * stream.length; bit++) events([flip(stream, bit)]);
    const random = prng(52);
    for (let i = 0; i < 2000; i++)
      events(pieces(noise(random, random.below(80), "\0\0\0\u0010\u0011"), 1 + random.below(20)));
  },
);

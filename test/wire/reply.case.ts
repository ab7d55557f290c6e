import fc from "fast-check";
import t from "tap";
import { fromUtf8, utf8, Writer } from "../../src/base/bytes.ts";
import { REPLY_DEPTH_MAX, REPLY_TAG, ReplyEncoder, replayReply } from "../../src/wire/native_reply.ts";
import { RespEncoder } from "../../src/wire/resp_reply.ts";
import { flip, noise, prng } from "./bytes.ts";
import { golden, hexDump, quote } from "./script.ts";
import { anyReply, Recorder, type Reply, tell, toldOf } from "./sink.ts";

function encode(reply: Reply): Uint8Array {
  const encoder = new ReplyEncoder(new Writer(1));
  tell(encoder, reply);
  return encoder.writer.copy();
}

function resp(protocol: 2 | 3, reply: Reply): Uint8Array {
  const encoder = new RespEncoder(new Writer(1));
  encoder.protocol = protocol;
  tell(encoder, reply);
  return encoder.writer.copy();
}

const blob = (text: string): Reply => ({ kind: "blob", bytes: utf8(text) });
const SAMPLES: readonly (readonly [string, Reply])[] = [
  ["nil", { kind: "nil" }],
  ["OK", { kind: "simple", text: "OK" }],
  ["PONG", { kind: "simple", text: "PONG" }],
  ["an error", { kind: "error", text: "ERR value is not an integer or out of range" }],
  ["an error that is not ASCII", { kind: "error", text: "ERR schlüssel" }],
  ["zero", { kind: "integer", value: 0 }],
  ["minus one", { kind: "integer", value: -1 }],
  ["2^53 - 1", { kind: "integer", value: 2 ** 53 - 1 }],
  ["the smallest i64", { kind: "integer", value: -(2n ** 63n) }],
  ["the largest i64", { kind: "integer", value: 2n ** 63n - 1n }],
  ["an empty blob", blob("")],
  ["a blob with line ends", blob("a\r\nb")],
  ["an empty array", { kind: "array", items: [] }],
  ["a SCAN", { kind: "array", items: [blob("0"), { kind: "array", items: [blob("k1"), blob("k2")] }] }],
  ["an empty map", { kind: "map", items: [] }],
  [
    "a map",
    {
      kind: "map",
      items: [blob("proto"), { kind: "integer", value: 3 }, blob("modules"), { kind: "array", items: [] }],
    },
  ],
];

t.test("replies have these bytes", async (t) => {
  const lines: string[] = [];
  for (const [name, reply] of SAMPLES) {
    lines.push(name, `  RESP2   ${quote(resp(2, reply))}`, `  RESP3   ${quote(resp(3, reply))}`);
    lines.push(...hexDump(encode(reply)).map((line) => `  native  ${line}`));
  }
  golden(t, "replies", `${lines.join("\n")}\n`);
});

t.test("native replies: what is encoded is what is replayed", async () => {
  fc.assert(
    fc.property(anyReply, (reply) => {
      const bytes = encode(reply);
      const recorder = new Recorder();
      if (!replayReply(bytes, 0, bytes.length, recorder)) return false;
      return JSON.stringify(recorder.said) === JSON.stringify(toldOf(reply));
    }),
    { seed: 3, numRuns: 1000 },
  );
});

t.test("native replies re-encode to the same bytes, inside a larger buffer too", async () => {
  fc.assert(
    fc.property(anyReply, fc.nat({ max: 20 }), (reply, margin) => {
      const bytes = encode(reply);
      const held = new Uint8Array(bytes.length + 2 * margin).fill(REPLY_TAG.array);
      held.set(bytes, margin);
      const again = new ReplyEncoder(new Writer(1));
      return (
        replayReply(held, margin, margin + bytes.length, again) && quote(again.writer.view()) === quote(bytes)
      );
    }),
    { seed: 4, numRuns: 500 },
  );
});

t.test("J3: a malformed native reply says nothing at all", async (t) => {
  const silent = (bytes: Uint8Array, name: string): void => {
    const recorder = new Recorder();
    const fine = replayReply(bytes, 0, bytes.length, recorder);
    t.equal(fine, false, name);
    t.same(recorder.said, [], `${name}: nothing was said`);
  };
  const nested = (depth: number): Uint8Array => {
    const writer = new Writer();
    for (let i = 0; i < depth; i++) new ReplyEncoder(writer).array(1);
    writer.u8(REPLY_TAG.nil);
    return writer.copy();
  };
  t.ok(replayReply(nested(REPLY_DEPTH_MAX), 0, nested(REPLY_DEPTH_MAX).length, new Recorder()));
  silent(nested(REPLY_DEPTH_MAX + 1), "too deep");
  silent(nested(100_000), "far too deep");
  silent(Uint8Array.of(REPLY_TAG.array, 0xff, 0xff, 0xff, 0xff), "a count of 2^32 - 1");
  silent(Uint8Array.of(REPLY_TAG.map, 1, 0, 0, 0x80, 0, 0), "G7: a count of 2^31 + 1");
  silent(Uint8Array.of(REPLY_TAG.blob, 0, 0, 0, 0x80, 1, 2), "G7: a size of 2^31");
  silent(Uint8Array.of(7), "an unknown tag");
  silent(Uint8Array.of(REPLY_TAG.nil, REPLY_TAG.nil), "two values");
  silent(new Uint8Array(0), "none");
  silent(Uint8Array.of(REPLY_TAG.simple, 2, 0, 0, 0, 0x0d, 0x0a), "a status that would forge a second reply");
  silent(Uint8Array.of(REPLY_TAG.error, 1, 0, 0, 0, 0x0a), "an error that would");
  silent(Uint8Array.of(REPLY_TAG.simple, 1, 0, 0, 0, 0xe9), "a status that is not ASCII");
});

t.test("an error text that repeats what a client sent stays one line", async (t) => {
  const encoder = new ReplyEncoder(new Writer(1));
  encoder.error("ERR unknown command 'a\r\nb\0c\u007f'");
  const recorder = new Recorder();
  t.ok(replayReply(encoder.writer.bytes, 0, encoder.writer.length, recorder));
  t.same(recorder.said, ["error ERR unknown command 'a  b c '"]);
});

t.test("native replies: every truncation is malformed; flipped bits and noise never throw", async (t) => {
  const replies = fc.sample(anyReply, { seed: 5, numRuns: 60 });
  for (const bytes of replies.map(encode)) {
    for (let end = 0; end < bytes.length; end++) {
      if (replayReply(bytes, 0, end, new Recorder())) t.fail(`a reply cut at ${end} of ${bytes.length}`);
    }
    for (let bit = 0; bit < 8 * Math.min(bytes.length, 60); bit++) {
      const recorder = new Recorder();
      const fine = replayReply(flip(bytes, bit), 0, bytes.length, recorder);
      if (!fine && recorder.said.length > 0) t.fail("said something and then refused");
    }
  }
  const random = prng(6);
  let accepted = 0;
  for (let i = 0; i < 3000; i++) {
    const bytes = noise(random, random.below(40), "\0\u0001\u0002\u0003\u0004\u0005\u0006");
    if (replayReply(bytes, 0, bytes.length, new Recorder())) accepted++;
  }
  t.ok(accepted > 0 && accepted < 3000, "the noise is well-formed now and then");
});

/** A reader of RESP that shares nothing with the encoder. Gives what a sink would have been told. */
function readResp(bytes: Uint8Array): string[] {
  const all = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  const said: string[] = [];
  let at = 0;
  const decode = (latin: string): string =>
    fromUtf8(Uint8Array.from(latin, (letter) => letter.charCodeAt(0)));
  while (at < all.length) {
    const lineEnd = all.indexOf("\r\n", at);
    const [mark, rest] = [all[at], all.slice(at + 1, lineEnd)];
    at = lineEnd + 2;
    if (mark === "_" || (mark === "$" && rest === "-1")) said.push("nil");
    else if (mark === "+") said.push(`simple ${rest}`);
    else if (mark === "-") said.push(`error ${decode(rest)}`);
    else if (mark === ":") said.push(`integer ${rest}`);
    else if (mark === "*") said.push(`array ${rest}`);
    else if (mark === "%") said.push(`map ${rest}`);
    else if (mark === "$") {
      const body = all.slice(at, at + Number(rest));
      at += Number(rest) + 2;
      said.push(`blob ${quote(Uint8Array.from(body, (letter) => letter.charCodeAt(0)))}`);
    } else throw new Error(`mark ${mark}`);
  }
  return said;
}

t.test("RESP replies read back as what was said, in both protocols", async () => {
  const flat = (said: string): string =>
    said.replace(/^map (\d+)$/, (_, count: string) => `array ${2 * Number(count)}`);
  fc.assert(
    fc.property(anyReply, (reply) => {
      const told = toldOf(reply);
      return (
        JSON.stringify(readResp(resp(3, reply))) === JSON.stringify(told) &&
        JSON.stringify(readResp(resp(2, reply))) === JSON.stringify(told.map(flat))
      );
    }),
    { seed: 7, numRuns: 1000 },
  );
});

t.test("RESP: what Redis's sinks have besides", async (t) => {
  const encoder = new RespEncoder(new Writer(1));
  const said = (protocol: 2 | 3, say: () => void): string => {
    encoder.protocol = protocol;
    encoder.writer.clear();
    say();
    return quote(encoder.writer.view());
  };
  t.equal(
    said(2, () => encoder.verbatim("a\r\nß")),
    "$5\\r\\na\\r\\n\\xc3\\x9f\\r\\n",
  );
  t.equal(
    said(3, () => encoder.verbatim("a\r\nß")),
    "=9\\r\\ntxt:a\\r\\n\\xc3\\x9f\\r\\n",
  );
  t.equal(
    said(3, () => encoder.set(2)),
    "~2\\r\\n",
  );
  t.equal(
    said(2, () => encoder.set(2)),
    "*2\\r\\n",
  );
  t.equal(
    said(2, () => encoder.status("RESET")),
    "+RESET\\r\\n",
  );
  t.equal(
    said(3, () => encoder.text("ü")),
    "$2\\r\\n\\xc3\\xbc\\r\\n",
  );
  t.equal(
    said(2, () => encoder.error("ERR 'a\r\n+OK\r\n'")),
    "-ERR 'a  +OK  '\\r\\n",
    "a line end in an error cannot forge a second reply",
  );
});

import fc from "fast-check";
import t from "tap";
import { concat, utf8 } from "../../src/base/bytes.ts";
import { KiB, MiB } from "../../src/base/units.ts";
import { argBytes } from "../../src/wire/args.ts";
import { COMMAND_BYTES_MAX } from "../../src/wire/command.ts";
import {
  COMMAND_RAW_BYTES_MAX,
  HTTP_REFUSED,
  LINE_BYTES_MAX,
  MULTIBULK_COUNT_MAX,
  RespParser,
  WORDS_MAX,
} from "../../src/wire/resp_parse.ts";
import { cuts, flip, noise, pieces, prng } from "./bytes.ts";
import { multibulk as encode } from "./redis.ts";
import { events } from "./resp_events.ts";
import { quote, runScript, unquote } from "./script.ts";

const multibulk = (...words: readonly (string | Uint8Array)[]): Uint8Array => encode(words);

const inputs: Uint8Array[] = [];

t.test("J11: requests and what the parser makes of them, HTTP included", async (t) => {
  runScript(t, "resp_requests", (input) => {
    const bytes = unquote(input);
    inputs.push(bytes);
    const said = events([bytes]);
    return said.length === 0 ? ["(waits)"] : said;
  });
});

t.test("a stream means the same wherever it is cut, byte by byte too", async (t) => {
  t.ok(inputs.length > 50, "the inputs of the script above");
  let compared = 0;
  for (const input of inputs) {
    // A good command before it, so that cuts fall between commands too.
    const bytes = concat([multibulk("ECHO", "\r\n"), input]);
    const whole = events([bytes]).join("\n");
    for (const chunks of cuts(bytes)) {
      const said = events(chunks).join("\n");
      if (said !== whole) t.equal(said, whole, `${quote(bytes)} cut as ${chunks.map((c) => c.length)}`);
      compared++;
    }
  }
  t.ok(compared > 2000, `${compared} ways`);
});

t.test(
  "a truncated stream gives the commands that are whole, and no error that the whole has not",
  async (t) => {
    for (const input of inputs) {
      const whole = events([input]);
      for (let end = 0; end < input.length; end++) {
        const said = events([input.subarray(0, end)]);
        if (said.join("\n") !== whole.slice(0, said.length).join("\n")) t.same(said, whole, quote(input));
      }
    }
    t.pass("every prefix says a prefix");
  },
);

t.test("random commands of binary words come through, however they are cut", async () => {
  const commands = fc.array(fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 6 }), {
    minLength: 1,
    maxLength: 5,
  });
  fc.assert(
    fc.property(commands, fc.integer({ min: 1, max: 90 }), (all, size) => {
      const bytes = concat(all.map((words) => multibulk(...words)));
      const said = all.map((words) => `command ${words.map((word) => `[${quote(word)}]`).join(" ")}`);
      return events(pieces(bytes, size)).join("\n") === said.join("\n");
    }),
    { seed: 11, numRuns: 1000 },
  );
});

t.test("J3: noise and flipped bits never throw, and a broken stream stays broken", async (t) => {
  const random = prng(12);
  const outcomes = new Map<string, number>();
  for (let i = 0; i < 4000; i++) {
    const bytes = noise(random, random.below(60), "*$0123\r\n\r\n-:\"'\\ GETset");
    const parser = new RespParser();
    const said = events(pieces(bytes, 1 + random.below(30)), parser);
    const last = said.at(-1)?.split(" ")[0] ?? "nothing";
    outcomes.set(last, (outcomes.get(last) ?? 0) + 1);
    if (last === "error") {
      parser.feed(multibulk("PING"));
      if (parser.next() !== "error") t.fail("a broken stream took another command");
    }
  }
  for (const outcome of ["nothing", "command", "error"]) t.ok((outcomes.get(outcome) ?? 0) > 20, outcome);
  const good = concat([multibulk("SET", "key", "value"), multibulk("GET", "key")]);
  for (let bit = 0; bit < 8 * good.length; bit++) events([flip(good, bit)]);
});

t.test("J1: an announced size costs nothing before its bytes arrive", async (t) => {
  const parser = new RespParser();
  events([utf8(`*${MULTIBULK_COUNT_MAX}\r\n$500000000\r\n`)], parser);
  t.ok(
    parser.allocatedBytes < 4 * KiB,
    `${parser.allocatedBytes} bytes for a count and a size of Redis's maximum`,
  );
  const waiting = new RespParser();
  events([utf8(`*2\r\n$3\r\nGET\r\n$${900 * KiB}\r\n`), new Uint8Array(10 * KiB)], waiting);
  t.ok(waiting.allocatedBytes < 40 * KiB, `${waiting.allocatedBytes} bytes for 10 KiB of 900`);
});

t.test("J3: a command larger than any frame is skipped in constant memory and answered", async (t) => {
  const parser = new RespParser();
  const big = new Uint8Array(64 * KiB).fill(0x61);
  const said: string[] = [];
  const size = 40 * MiB;
  said.push(...events([utf8(`*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$${size}\r\n`)], parser));
  let most = 0;
  for (let sent = 0; sent < size; sent += big.length) {
    said.push(...events([big], parser));
    most = Math.max(most, parser.allocatedBytes);
  }
  said.push(...events([utf8("\r\n"), multibulk("GET", "k")], parser));
  t.same(said, [`refused ERR command is larger than ${COMMAND_BYTES_MAX} bytes`, "command [GET] [k]"]);
  t.ok(most < 4 * KiB, `${most} bytes at most`);

  const words = Array.from({ length: WORDS_MAX + 1 }, () => "x");
  const counted = events([multibulk(...words), multibulk("PING")]);
  t.same(counted, ["refused ERR command has more than 4096 arguments", "command [PING]"]);
  t.same(events(pieces(multibulk(...words), 1000)), counted.slice(0, 1), "in pieces too");
  const inline = events([utf8(`${"x ".repeat(WORDS_MAX + 1)}\r\nPING\r\n`)]);
  t.same(inline, counted, "inline too");
});

t.test("the largest commands that are taken, and the lines that are not", async (t) => {
  const overhead = multibulk("SET", "k", "").length + 6;
  const value = new Uint8Array(COMMAND_RAW_BYTES_MAX - overhead).fill(0x62);
  const fits = multibulk("SET", "k", value);
  const parser = new RespParser();
  const said = events(pieces(fits, 64 * KiB), parser);
  t.equal(said.length, 1);
  t.ok(said[0]?.startsWith("command [SET] [k] [bbb"), "a command of exactly the limit");
  t.ok(parser.allocatedBytes < 80 * KiB, "and nothing of it is kept");
  const over = multibulk("SET", "k", concat([value, utf8("xxxxxxxxx")]));
  t.match(events(pieces(over, 64 * KiB)), [/^refused/], "a little more");

  const long = new Uint8Array(LINE_BYTES_MAX + 2).fill(0x31);
  t.same(events([long]), ["error ERR Protocol error: too big inline request"]);
  t.same(events([concat([utf8("*"), long])]), ["error ERR Protocol error: too big mbulk count string"]);
  t.same(events([concat([utf8("*1\r\n$"), long])]), ["error ERR Protocol error: too big bulk count string"]);
  t.same(events(pieces(long, 1)), ["error ERR Protocol error: too big inline request"], "byte by byte");
});

t.test("memory stays the same over a long stream, and a command cut in pieces moves once", async (t) => {
  const parser = new RespParser();
  const bytes = concat(
    Array.from({ length: 500 }, (_, i) => multibulk("SET", `key:${i}`, "v".repeat(i % 200))),
  );
  let commands = 0;
  let most = 0;
  for (let round = 0; round < 40; round++) {
    for (const chunk of pieces(bytes, 1 + ((round * 997) % 5000))) {
      commands += events([chunk], parser).length;
      most = Math.max(most, parser.allocatedBytes);
    }
  }
  t.equal(commands, 40 * 500);
  t.ok(most < 24 * KiB, `${most} bytes at most`);
  t.equal(parser.bufferedBytes, 0);
});

t.test(
  "H11: words lie in the chunk itself, or in the parser's buffer when a command came in pieces",
  async (t) => {
    const parser = new RespParser();
    const chunk = multibulk("GET", "key");
    parser.feed(chunk);
    t.equal(parser.next(), "command");
    t.equal(parser.bytes, chunk, "no copy of a whole command");
    t.equal(parser.next(), "more");
    t.not(parser.bytes, chunk, "the chunk is let go");
    parser.feed(chunk.subarray(0, 10));
    t.equal(parser.next(), "more");
    parser.feed(chunk.subarray(10));
    t.equal(parser.next(), "command");
    t.equal(quote(argBytes(parser, 1)), "key");
    t.not(parser.bytes.buffer, chunk.buffer);
  },
);

t.test("H11: a reader that stops in the middle keeps the rest by feeding nothing", async (t) => {
  const commands = Array.from({ length: 20 }, (_, i) => multibulk("SET", `k${i}`, "v".repeat(i)));
  const all = concat([...commands, utf8("inline one\r\n"), multibulk("GET", "k").subarray(0, 15)]);
  for (let stopAfter = 0; stopAfter <= 21; stopAfter++) {
    const parser = new RespParser();
    const chunk = all.slice();
    parser.feed(chunk);
    for (let i = 0; i < stopAfter; i++) parser.next();
    parser.feed(new Uint8Array(0));
    parser.feed(new Uint8Array(0));
    chunk.fill(0xdd);
    const rest = events([multibulk("GET", "k").subarray(15)], parser);
    t.equal(rest.length, 22 - stopAfter, `after ${stopAfter}`);
    t.equal(rest.at(-1), "command [GET] [k]");
  }
});

t.test("J11: an HTTP request closes the connection before its body is read as commands", async (t) => {
  const request = utf8("POST /x HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n");
  for (const chunks of cuts(request)) {
    const said = events(chunks);
    if (said.length !== 1) t.same(said, [`error ${HTTP_REFUSED}`]);
  }
  t.same(events([request]), [`error ${HTTP_REFUSED}`]);
  t.match(events([utf8("GET key\r\n")]), [/^command/], "an inline GET is a command still");
});

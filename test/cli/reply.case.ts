/** Replies: bytes to values, values to text; redis-cli, if it is here, must print the same. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import t from "tap";
import { concat, fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { plain } from "../../src/cli/output.ts";
import { formatReply, type ReplyFormat } from "../../src/cli/reply_format.ts";
import { type Reply, ReplyParser } from "../../src/wire/resp_client_parse.ts";
import { bytesOf, golden, inputsOf } from "./script.ts";
import { serve } from "./server.ts";

function parseAll(chunks: readonly Uint8Array[]): (Reply | string)[] {
  const parser = new ReplyParser();
  const found: (Reply | string)[] = [];
  for (const chunk of chunks) {
    const own = chunk.slice();
    parser.feed(own);
    let reply = parser.next();
    for (; reply !== "more" && reply !== "error"; reply = parser.next()) found.push(reply);
    if (reply === "error") return [...found, parser.errorText];
    own.fill(0x2a); // the chunk was only lent
  }
  return found;
}

function only(bytes: Uint8Array): Reply {
  const [reply] = parseAll([bytes]);
  if (typeof reply !== "object") throw new Error(`not one reply: ${reply}`);
  return reply;
}

const text = (reply: Reply, format: ReplyFormat): string => fromUtf8(formatReply(reply, format, plain));

golden("replies.txt", (input) => {
  const reply = only(bytesOf(input));
  return [
    "terminal",
    text(reply, "terminal").replace(/\n$/, ""),
    "raw",
    text(reply, "raw").replace(/\n$/, ""),
    "json",
    text(reply, "json").replace(/\n$/, ""),
  ].join("\n");
});

const SAMPLES = inputsOf(readFileSync("testdata/cli/replies.txt", "utf8")).map(bytesOf);

t.test("a stream of replies means the same however it is cut into chunks", async (t) => {
  const stream = concat(SAMPLES);
  const whole = parseAll([stream]);
  t.equal(whole.length, SAMPLES.length);
  t.same(parseAll(Array.from(stream, (byte) => Uint8Array.of(byte))), whole, "byte by byte");
  for (let cut = 1; cut < stream.length; cut++) {
    const now = parseAll([stream.subarray(0, cut), stream.subarray(cut)]);
    if (JSON.stringify(now, bigints) !== JSON.stringify(whole, bigints)) t.fail(`cut at ${cut}`);
  }
});

const bigints = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? `${value}n` : value);

t.test("an unfinished reply is waited for, never guessed", async (t) => {
  for (const sample of SAMPLES) {
    for (let size = 0; size < sample.length; size++) t.same(parseAll([sample.subarray(0, size)]), []);
  }
});

t.test("attributes are dropped, wherever they stand", async (t) => {
  t.same(parseAll([utf8("|1\r\n+ttl\r\n:5\r\n:1\r\n")]), [{ kind: "integer", value: 1n }]);
  t.same(parseAll([utf8("*2\r\n|1\r\n+a\r\n*1\r\n:5\r\n:1\r\n|0\r\n:2\r\n")]), [
    {
      kind: "array",
      items: [
        { kind: "integer", value: 1n },
        { kind: "integer", value: 2n },
      ],
    },
  ]);
});

t.test("what is not RESP ends the stream with a reason", async (t) => {
  const bad = [
    "HTTP/1.1 200\r\n",
    ":x\r\n",
    "$-2\r\n",
    "$x\r\n",
    "*99999999999\r\n",
    "$1\r\nab\r\n",
    "#y\r\n",
  ];
  bad.push("+a\rb\r\n", "=2\r\nab\r\n", `${"*1\r\n".repeat(40)}:1\r\n`, `+${"a".repeat(70_000)}`);
  for (const input of bad) {
    const found = parseAll([utf8(input), utf8("+OK\r\n")]);
    t.match(found, [/^not a RESP reply: "/], JSON.stringify(input.slice(0, 20)));
  }
});

/**
 * Where we mean to differ: readable letters, control characters that a terminal would obey, maps line by line,
 * booleans and nested errors in a pipe; and what redis-cli 7.0 does not know: big numbers and long errors.
 */
function differs(sample: string): boolean {
  return /\\xc3|\\x1b|^%2|^#|-ERR inside|^[(!]/.test(sample);
}

const redisCli = spawnSync("redis-cli", ["--version"], { encoding: "utf8" }).stdout ?? "";
const skip = redisCli === "" ? "redis-cli is not on this machine" : false;

t.test("redis-cli prints the same", { skip }, async (t) => {
  let answer: Uint8Array = utf8("+OK\r\n");
  const server = await serve((words, socket) => {
    socket.write(words[0] === "HELLO" ? utf8("%1\r\n$5\r\nproto\r\n:3\r\n") : answer);
  });
  for (const input of inputsOf(readFileSync("testdata/cli/replies.txt", "utf8"))) {
    answer = bytesOf(input);
    for (const [format, flag] of [
      ["terminal", "--no-raw"],
      ["raw", "--raw"],
    ] as const) {
      if (differs(input)) continue;
      const said = await redisCliSays(["-3", flag, "-p", String(server.port), "X"]);
      // It ends some replies with one more empty line.
      t.equal(text(only(answer), format).trimEnd(), said.trimEnd(), `${format} of ${input}`);
    }
  }
  await server.close();
});

function redisCliSays(args: readonly string[]): Promise<string> {
  const child = spawn("redis-cli", args, { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    said += part;
  });
  return new Promise((resolve) => child.once("close", () => resolve(said)));
}

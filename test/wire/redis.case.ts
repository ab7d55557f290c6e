import { readFileSync } from "node:fs";
import fc from "fast-check";
import t, { type Test } from "tap";
import { concat, utf8 } from "../../src/base/bytes.ts";
import { argsOf } from "../../src/wire/args.ts";
import { COMMANDS, resolveCommand } from "../../src/wire/command_table.ts";
import { frameOf, wordsOf } from "./frames.ts";
import { multibulk, Redis, type RedisConnection, type RedisValue, redisVersion } from "./redis.ts";
import { events, wordsOfEvent } from "./resp_events.ts";
import { quote, unquote } from "./script.ts";

/** What Redis answers only after looking at the key, or at values: the store's business here. */
const STATE_ERRORS = [
  "-ERR no such key",
  "-ERR value is not an integer or out of range",
  "-ERR increment or decrement would overflow",
  "-ERR value is not a valid float",
  "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
  "-ERR increment would produce NaN or Infinity",
];

/** Where this server differs on purpose: command lines, or beginnings of them. */
const DIFFERENT: readonly RegExp[] = [
  /^(delex|eval)/i, // newer than the Redis at hand; not here yet
  /\bifeq\b/i,
  /^copy \S+ \S+ .*\bdb\b/i, // one database
  /^scan (|[-+ ].*)( |$)/i, // cursors: digits only
  /450359962737(0497|1)$/, // times: 2^52 ms at most
];

function scriptLines(name: string): string[] {
  const lines = readFileSync(`testdata/wire/${name}.txt`, "utf8").split("\n");
  return lines.filter((line) => line !== "" && !/^(#| {2})/.test(line));
}

async function compare(
  t: Test,
  connection: RedisConnection,
  words: readonly (string | Uint8Array)[],
): Promise<"error" | "frame" | "different"> {
  const line = words.map((word) => (typeof word === "string" ? word : quote(word))).join(" ");
  const ours = frameOf(words);
  if (DIFFERENT.some((pattern) => pattern.test(line))) return "different";
  connection.send(concat([multibulk(["flushall"]), multibulk(["mset", "k", "10", "n", "5", "a", "1"])]));
  connection.send(multibulk(words));
  await connection.reply();
  await connection.reply();
  const theirs = await connection.reply();
  if (typeof ours === "string") {
    if (theirs !== `-${ours}`.trimEnd()) t.equal(`-${ours}`, theirs, line);
    return "error";
  }
  if (theirs?.startsWith("-") === true && !STATE_ERRORS.includes(theirs))
    t.fail(`${line}: taken, but ${theirs}`);
  return "frame";
}

/** Words as careless people and broken clients put them together, on keys that exist. */
function oddCommands(): (string | Uint8Array)[][] {
  const names = COMMANDS.filter(({ op }) => op !== null).map(({ name }) => name);
  const option = fc.constantFrom(
    ..."nx XX get EX px exat PXAT keepttl persist gt LT count match type replace async sync foo".split(" "),
  );
  const number = fc.constantFrom(
    ..."0 1 -1 10 100 007 +5 1.5 1e3 -0 abc 9223372036854775807 -9223372036854775808 9223372036854775808".split(
      " ",
    ),
  );
  const rest = fc.array(fc.oneof(option, number, fc.constantFrom("k", "n", "a", "")), { maxLength: 6 });
  const command = fc.tuple(fc.constantFrom(...names), fc.constantFrom("k", "n", "missing"), rest);
  return fc.sample(command, { seed: 31, numRuns: 1500 }).map(([name, key, more]) => [name, key, ...more]);
}

const version = redisVersion();
const skip =
  version?.startsWith("7.") === true ? false : `redis-server 7 is not installed (found ${version})`;

t.test("commands and errors are those of a real redis-server", { skip }, async (t) => {
  const redis = new Redis();
  t.teardown(() => redis.stop());
  await redis.ready();
  const connection = await redis.connect();
  const counts = { error: 0, frame: 0, different: 0 };
  const lines = scriptLines("commands").filter(
    (line) => !line.startsWith("PING") && !line.startsWith("HELLO"),
  );
  for (const words of [...lines.map(wordsOf), ...oddCommands()])
    counts[await compare(t, connection, words)]++;
  connection.close();
  t.ok(counts.error > 700 && counts.frame > 200, JSON.stringify(counts));
});

/**
 * A real Redis does not look at the line ends that it skips, takes any count that fits an int, judges a line
 * only at its end, and never sees the end of a line behind a zero byte.
 */
const LOOSE = new Set([
  "*1\\rX",
  "*1\\n$4\\r\\nPING\\r\\n",
  "*1\\r\\n$4\\r\\nPINGX\\n",
  "*1\\r\\n$3\\r\\nPING\\r\\n",
  "*1048577\\r\\n",
  "*1\\r\\n\\x80",
  "a\\x00b c\\r\\n",
  '"a\\x00b"\\r\\n',
]);

t.test("protocol errors and unknown commands are those of a real redis-server", { skip }, async (t) => {
  const redis = new Redis();
  t.teardown(() => redis.stop());
  await redis.ready();
  let compared = 0;
  for (const line of scriptLines("resp_requests")) {
    const input = unquote(line);
    const said = events([input]);
    if (LOOSE.has(line) || said.length === 0 || said.includes("error http")) continue;
    const connection = await redis.connect();
    connection.send(concat([input, said.at(-1)?.startsWith("error") ? utf8("") : multibulk(["quit"])]));
    for (const event of said) {
      const theirs = await connection.reply();
      const ours = expectedReply(event);
      if (ours !== null) t.equal(ours, theirs, line);
    }
    connection.close();
    compared++;
  }
  t.ok(compared > 30, `${compared} requests`);
});

/** The reply to an event, where it does not depend on the store. */
function expectedReply(event: string): string | null {
  if (event.startsWith("error")) return `-${event.slice("error ".length)}`;
  const command = resolveCommand(argsOf(wordsOfEvent(event)));
  return typeof command === "string" ? `-${command}`.trimEnd() : null;
}

t.test("the table says of each command what a real redis-server says", { skip }, async (t) => {
  const redis = new Redis();
  t.teardown(() => redis.stop());
  await redis.ready();
  const connection = await redis.connect();
  let compared = 0;
  for (const command of COMMANDS) {
    connection.send(multibulk(["command", "info", command.name]));
    const [entry] = (await connection.value()) as RedisValue[][];
    if (!Array.isArray(entry)) continue; // newer than this Redis
    const [, arity, flags, first, last, step] = entry as [string, string, string[], string, string, string];
    t.same(
      [command.arity, command.firstKey, command.lastKey, command.keyStep].map(String),
      [arity, first, last, step],
      `${command.name}: words and keys`,
    );
    t.same(
      command.flags.toSorted(),
      flags.filter((flag) => !UNUSED_FLAGS.has(flag)).toSorted(),
      `${command.name}: flags`,
    );
    compared++;
  }
  connection.close();
  t.ok(compared > 45);
});

/** Flags that would mean nothing here. */
const UNUSED_FLAGS = new Set([
  "no_auth",
  "allow_busy",
  "no_async_loading",
  "no_multi",
  "skip_monitor",
  "skip_slowlog",
  "movablekeys",
]);

/** The shell's pure parts: words, hints, completion, history, which commands may be sent twice, exit codes. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import t from "tap";
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { markCommandWords, unknownOptions } from "../../src/cli/argv_words.ts";
import { exitCodeOfReply } from "../../src/cli/exit_codes.ts";
import { plain } from "../../src/cli/output.ts";
import { explainText, helpText } from "../../src/cli/repl_colon.ts";
import { COLON_COMMANDS } from "../../src/cli/repl_colon_table.ts";
import { hintFor } from "../../src/cli/repl_hints.ts";
import { History, historyPath, isKept } from "../../src/cli/repl_history.ts";
import { complete } from "../../src/cli/repl_interactive.ts";
import { changesNothing } from "../../src/cli/repl_session.ts";
import { splitLine } from "../../src/cli/repl_words.ts";
import { COMMANDS } from "../../src/wire/command_table.ts";
import { golden } from "./script.ts";
import { VIEW } from "./views.ts";

golden("hints.txt", (input) => hintFor(input.replace(/\|$/, "")));

t.test("every command's hint begins with its usage", async (t) => {
  for (const { name, usage } of [...COMMANDS, ...COLON_COMMANDS]) {
    t.equal(hintFor(name), usage === "" ? "" : ` ${usage}`, name);
  }
});

t.test("a line is split into words as redis-cli does", async (t) => {
  const words = (line: string): string[] | null => splitLine(line)?.map((word) => fromUtf8(word)) ?? null;
  t.same(words(""), []);
  t.same(words("  SET  a   b "), ["SET", "a", "b"]);
  t.same(words(`SET k "a b\\n\\x41" 'it\\'s'`), ["SET", "k", "a b\nA", "it's"]);
  t.same(words(`SET k ""`), ["SET", "k", ""]);
  t.same(words(`SET k "a`), null);
  t.same(words(`SET k "a"b`), null);
  t.same(splitLine(`"\\xff\\x00"`), [Uint8Array.of(0xff, 0)], "bytes, not text");
});

t.test("a mistyped option is called by its name, also where a required one is missing", (t) => {
  const help =
    "  --id  This node's id  [required]\n  --listen  HOST:PORT\n  --redis-mode  proxy\n  --init  First start";
  const unknown = (line: string): string => unknownOptions(line.split(" "), help).join(" ");
  t.equal(unknown("node --id n1 --listn 127.0.0.1:7001 --init"), "--listn");
  t.equal(unknown("node --id=n1 --listen=127.0.0.1:7001 --no-init"), "");
  t.equal(unknown("node --idd=n1 --bare"), "--idd --bare");
  t.equal(unknown("node --firstStart"), "--firstStart");
  t.equal(unknown("node --redisMode=proxy"), "", "yargs takes this as well");
  const words = markCommandWords("repl --bad GET --json".split(" "));
  t.equal(unknown(words.join(" ")), "--bad", "words of a command are its own");
  t.end();
});

t.test("what follows repl's own options belongs to the command, however it looks", async (t) => {
  const marked = (line: string): string => markCommandWords(line.split(" ")).join(" ");
  t.equal(marked("repl"), "repl");
  t.equal(marked("repl GET x"), "repl -- GET x");
  t.equal(marked("repl -p 7002 SET x -5"), "repl -p 7002 -- SET x -5");
  t.equal(marked("repl --port=7002 --json GET --json"), "repl --port=7002 --json -- GET --json");
  t.equal(marked("repl -h a -p 1 --no-raw -- GET x"), "repl -h a -p 1 --no-raw -- GET x");
  t.equal(marked("repl -p"), "repl -p");
  t.equal(marked("status -p 7002"), "status -p 7002");
});

t.test("completion keeps the letters that were begun with", async (t) => {
  t.same(complete("ECH", null), [["ECHO "], "ECH"]);
  t.same(complete("ech", null), [["echo "], "ech"]);
  t.same(complete(":sh", null), [[":shards "], ":sh"]);
  t.same(complete(":kill ", VIEW)[0], ["leader ", "n1 ", "n2 ", "n3 ", "s1 "]);
  t.same(complete(":kill n2", VIEW), [["n2 "], "n2"]);
  t.same(complete(":help :e", VIEW)[0], [":explain "]);
  t.same(complete("GET k", VIEW)[0], []);
  t.ok(complete("", null)[0].includes("SET "));
});

t.test("history is for its owner alone, and keeps no passwords", async (t) => {
  const dir = t.testdir();
  const path = historyPath({ XDG_STATE_HOME: dir });
  t.equal(path, `${dir}/nucleus/history`);
  t.match(historyPath({}), /\/\.local\/state\/nucleus\/history$/);
  const history = new History(path);
  t.same(history.load(), []);
  for (const line of [
    "SET a 1",
    "SET a 1",
    "AUTH me secret",
    "hello 3 auth me secret",
    " GET hidden",
    "",
    "GET a",
  ]) {
    history.add(line);
  }
  t.equal(readFileSync(path, "utf8"), "SET a 1\nGET a\n");
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.same(new History(path).load(), ["GET a", "SET a 1"], "newest first");
  t.equal(isKept("CONFIG SET requirepass x"), false);
});

t.test("a history that grew long is cut when it is read", async (t) => {
  const path = `${t.testdir()}/history`;
  writeFileSync(path, Array.from({ length: 2500 }, (_, i) => `GET ${i}\n`).join(""), { mode: 0o644 });
  const lines = new History(path).load();
  t.equal(lines.length, 1000);
  t.equal(lines[0], "GET 2499");
  t.equal(readFileSync(path, "utf8").split("\n").length, 1001);
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test("a history that cannot be written stops nobody", async (t) => {
  const dir = t.testdir({ file: "" });
  const history = new History(`${dir}/file/nucleus/history`);
  t.same(history.load(), []);
  history.add("GET a");
  t.notOk(existsSync(`${dir}/file/nucleus`));
});

t.test("only commands that change nothing may be sent twice", async (t) => {
  for (const name of ["get", "MGET", "Scan", "ping", "INFO", "hello"])
    t.ok(changesNothing([name, "x"]), name);
  for (const name of ["set", "INCR", "del", "getex", "flushall", "nonsense"])
    t.notOk(changesNothing([name]), name);
  t.ok(changesNothing([utf8("GET"), utf8("k")]));
  t.notOk(changesNothing([]));
});

t.test("the exit code tells what kind of failure an error reply is", async (t) => {
  t.equal(exitCodeOfReply("ERR syntax error"), 1);
  t.equal(exitCodeOfReply("CLUSTERDOWN No leader: .."), 4);
  t.equal(exitCodeOfReply("UNCERTAIN the write was sent .."), 5);
  t.equal(exitCodeOfReply("NOAUTH Authentication required."), 6);
  t.equal(exitCodeOfReply(""), 1);
});

t.test(":help knows every command; a wrong name gets its neighbours", async (t) => {
  for (const { name } of [...COMMANDS, ...COLON_COMMANDS]) t.match(helpText(name, plain).toLowerCase(), name);
  t.match(helpText("", plain), ":kill leader [shard] | node");
  t.match(helpText("KILL", plain), "Kill a node's process");
  t.throws(() => helpText("incrbyx", plain), /no command INCRBYX here. There is: incr incrby incrbyfloat/);
  t.throws(() => helpText("zadd", plain), { message: "There is no command ZADD here." });
});

t.test(":explain tells slot, shard, leader, and what a write takes", async (t) => {
  t.equal(
    explainText(utf8("hello"), VIEW),
    [
      `slot      866 of 16,384, by CRC16 of "hello"`,
      "shard     s1, which serves all slots",
      "leader    n2 at 127.0.0.1:7002, elected in term 7",
      "replicas  n1 n2 n3",
      "a write   goes to the leader; acknowledged when 2 of 3 have it on disk",
      "a read    is answered by the leader, after 2 of 3 confirmed that it still leads",
    ].join("\n"),
  );
  t.match(explainText(utf8("user:{hello}:name"), VIEW), /slot {6}866 of .* of "hello"\n/);
  t.match(explainText(utf8("{}x"), VIEW), /of "\{\}x"\n/, "an empty tag is none");
  t.match(explainText(utf8("a"), { ...VIEW, shards: [] }), "no shard is known");
});

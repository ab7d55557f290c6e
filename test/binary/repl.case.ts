/** `repl` against a real cluster: one command, lines from a pipe, a person at a terminal, and a kill. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import t, { type Test } from "tap";
import {
  BINARY,
  type Cluster,
  endAll,
  FIXED,
  freeBasePort,
  nucleus,
  startCluster,
  Up,
  until,
} from "./cluster.ts";

t.test("repl", async (t) => {
  const cluster = await startCluster(t, [
    ...FIXED,
    "--respawn",
    "--base-port",
    String(await freeBasePort(3)),
  ]);
  const port = ["-p", cluster.port];
  const repl = (...args: readonly string[]): ReturnType<typeof nucleus> =>
    nucleus(["repl", ...port, ...args]);

  await t.test("one command: bare values into a pipe, as on a terminal, or as JSON", async (t) => {
    t.same(repl("SET", "k", "-5"), { status: 0, stdout: "OK\n", stderr: "" });
    t.same(repl("GET", "k"), { status: 0, stdout: "-5\n", stderr: "" });
    t.equal(repl("--no-raw", "GET", "k").stdout, '"-5"\n');
    t.equal(repl("--json", "GET", "k").stdout, '"-5"\n');
    t.equal(repl("--no-raw", "INCR", "k").stdout, "(integer) -4\n");
    t.equal(repl("GET", "none").stdout, "\n");
    t.equal(repl("--no-raw", "GET", "none").stdout, "(nil)\n");
    t.equal(repl("--json", "MGET", "k", "none").stdout, '["-4",null]\n');
    t.equal(repl("--no-raw", "MGET", "k", "none").stdout, '1) "-4"\n2) (nil)\n');
    t.match(repl("INFO", "server").stdout, /redis_version:7/);
  });

  await t.test("an error reply goes to stderr and into the exit code", async (t) => {
    t.match(repl("INCR"), {
      status: 1,
      stdout: "",
      stderr: /^ERR wrong number of arguments for 'incr' command\n$/,
    });
    t.match(repl("--no-raw", "INCR"), { status: 1, stdout: /^\(error\) ERR wrong/, stderr: "" });
    t.match(repl("--json", "INCR"), { status: 1, stdout: /^\{"error":"ERR wrong/, stderr: "" });
    t.equal(repl("--raw", "--json", "PING").status, 2);
    t.match(nucleus(["repl", "-p", "1", "PING"]), {
      status: 4,
      stdout: "",
      stderr: /cannot connect|Cannot connect/,
    });
  });

  await t.test("-x takes the last argument from stdin, byte by byte", async (t) => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    t.equal(nucleus(["repl", ...port, "-x", "SET", "bytes"], { input: bytes }).stdout, "OK\n");
    const { stdout } = spawnSync(BINARY, ["repl", ...port, "GET", "bytes"], { env: {} });
    t.same(stdout, Buffer.concat([bytes, Buffer.from("\n")]));
  });

  await t.test("lines from a pipe: replies in order, errors with their line", async (t) => {
    const input = `SET a 1\n\nINCR a\nnonsense\nGET "a\nset b "x\\ny"\nGET b\n:explain a\nMGET a b\nGET a`;
    const { status, stdout, stderr } = nucleus(["repl", ...port], { input });
    t.equal(status, 1, "that of the first error");
    t.match(stdout, /^OK\n2\nOK\nx\ny\nslot {6}15,?495 of 16,384[\s\S]*\n2\nx\ny\n2\n$/);
    t.match(stderr, /^line 4: ERR unknown command 'nonsense'[^\n]*\nline 5: the quotes do not match\n$/);
  });

  await t.test("a thousand lines are under way together", async (t) => {
    const input = Array.from({ length: 1000 }, () => "INCR many\n").join("");
    const { status, stdout } = nucleus(["repl", ...port], { input });
    t.equal(status, 0);
    t.equal(stdout, Array.from({ length: 1000 }, (_, i) => `${i + 1}\n`).join(""));
  });

  await t.test(":kill leader measures the gap and finds every acknowledged write", async (t) => {
    const { status, stdout, stderr } = repl(":kill", "leader");
    t.equal(status, 0);
    t.match(
      stderr,
      /^Killing n\d \(pid \d+, the leader of s1\) with SIGKILL, while writing through n\d \.\.\n$/,
    );
    t.match(stdout, /^write gap {5}[\d.]+ (ms|s) /);
    t.match(stdout, /^new leader {4}n\d leads s1, term \d+$/m);
    t.match(stdout, /^acknowledged {2}\d+ writes; all were read back, nothing was lost$/m);
    t.match(stdout, /^Start n\d again, .*\n {2}.*nucleus node --id n\d /m);
    await until(() => nucleus(["status", ...port]).stdout.startsWith("Healthy"), "the victim to be back");
    const left = repl("KEYS", "nucleus:kill:*").stdout;
    t.equal(left.trim(), "", "the probes are gone");
    t.match(repl(":kill", "n9"), { status: 1, stderr: /There is no node n9/ });
  });

  await t.test("a person at a terminal", { skip: pseudoTerminal() }, (t) => person(t, cluster));

  t.equal(await cluster.up.stop(), 0);
});

t.test(
  "up --repl takes lines from a pipe, kills and starts nodes, and stops when the lines end",
  async (t) => {
    const cwd = t.testdir();
    const up = new Up([...FIXED, "--repl", "--base-port", String(await freeBasePort(3))], cwd, "pipe");
    t.teardown(() => endAll(up, cwd));
    up.process.stdin?.end("SET a 1\n:kill n2\n:start n1\n:start n2\n:start n9\n:shards\nINCR a\n");
    t.equal(await up.ended(), 1, "two lines failed");
    t.match(up.stdout, /\nready\nOK\nwrite gap {5}/);
    t.match(
      up.stdout,
      /^acknowledged .* nothing was lost\nStart n2 again with {2}:start n2 {2}or, elsewhere, with:$/m,
    );
    t.match(up.stdout, /\nn2 runs again \(pid \d+\)\.\nHealthy - 3\/3 nodes, .*\n.*\n.*\n2\n$/);
    t.match(up.stderr, /^line 3: n1 runs already\.$/m);
    t.match(up.stderr, /^line 5: There is no node n9: see :nodes$/m);
    t.notMatch(up.stderr, "was killed by", "who asked for it need not be told");
    t.match(up.stderr, /Stopped\. /);
  },
);

function pseudoTerminal(): string | false {
  const probe = spawnSync("script", ["-qec", "true", "/dev/null"]);
  return probe.status === 0 ? false : "there is no script(1) to make a terminal";
}

async function person(t: Test, { port }: Cluster): Promise<void> {
  const state = t.testdir();
  const child = spawn(
    "script",
    ["-qec", `stty cols 100 rows 30; exec ${BINARY} repl -p ${port}`, "/dev/null"],
    {
      env: { PATH: process.env.PATH ?? "", TERM: "xterm", XDG_STATE_HOME: state },
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  t.teardown(() => child.kill("SIGKILL"));
  const ended = new Promise((done) => child.once("close", done));
  let screen = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    screen += text.replaceAll("\x1b", "<esc>");
  });
  const types = async (keys: string, answer: RegExp): Promise<void> => {
    const from = screen.length;
    child.stdin.write(keys);
    await until(
      () => answer.test(screen.slice(from)),
      () => `${answer} after ${JSON.stringify(keys)}:\n${screen}`,
    );
    t.pass(`${JSON.stringify(keys)} -> ${answer}`);
  };
  const prompt = `127\\.0\\.0\\.1:${port}> `;
  await until(() => new RegExp(prompt).test(screen), "a prompt");
  await types("SET greeting", /<esc>\[90m value \[NX \| XX/);
  await types(" hi\r", /OK\r\n/);
  await types("get gree\x03", /\^C/);
  await types("GET greeting\r", /"hi"\r\n/);
  await types(
    "INCR greeting\r",
    /<esc>\[31m\(error\) ERR value is not an integer or out of range<esc>\[39m\r\n/,
  );
  await types("ECH", /ECH/);
  await types("\t", /O /); // only what is new is drawn
  await types('"a b"\r', /"a b"\r\n/);
  await types(":time\r", /Each command's time is printed now/);
  await types("PING\r", /PONG\r\n.*\([\d.]+ (us|ms)\)/s);
  await types(":shards\r", /Healthy.* - 3\/3 nodes/);
  await types(":nope\r", /There is no :nope\. There are: :help/);
  await types('SET "a\r', /The quotes do not match/);
  await types("AUTH secret\r", /error/);
  child.stdin.write("\x04");
  t.equal(await ended, 0);
  const history = readFileSync(`${state}/nucleus/history`, "utf8");
  t.match(history, /^SET greeting hi\nGET greeting\n/);
  t.notMatch(history, "secret");
  t.equal(statSync(`${state}/nucleus/history`).mode & 0o777, 0o600);
}

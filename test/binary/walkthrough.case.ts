/**
 * What the pages tell people to do, done, as written but for the ports.
 *
 * TESTING.md's walk-through is typed line by line into one shell: what the page says is printed must be printed. In
 * the page, `..` stands for anything within a line, and alone for any lines. The example of docs/client.md is run.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, linkSync, mkdirSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import t, { type Test } from "tap";
import { type Block, Page } from "../docs/markdown.ts";
import { BINARY, FIXED, freeBasePort, startCluster } from "./cluster.ts";

const COMMAND_MS_MAX = 60_000;
const MARK = "== the command has ended ==";

type Step = { readonly line: number; readonly command: string; readonly printed: readonly string[] };

/** The commands of a session, each with the lines that follow it. */
function stepsOf({ text, line }: Block): Step[] {
  const steps: { line: number; command: string; printed: string[] }[] = [];
  for (const [i, whole] of text.split("\n").entries()) {
    if (whole.startsWith("$ ")) steps.push({ line: line + i, command: whole.slice(2), printed: [] });
    else steps.at(-1)?.printed.push(whole);
  }
  return steps;
}

/** One shell for all commands. Who outlives it is ended with its process group; `up` ends its nodes. */
class Shell {
  readonly #process: ChildProcess;
  #output = "";
  #onOutput = (): void => {};

  constructor(t: Test, cwd: string, environment: Readonly<Record<string, string>>) {
    const env = { PATH: process.env.PATH ?? "", HOME: cwd, ...environment };
    const shell = spawn("bash", ["--norc"], { cwd, env, stdio: ["pipe", "pipe", "inherit"], detached: true });
    shell.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
      this.#onOutput();
    });
    shell.stdin.write("exec 2>&1\n");
    this.#process = shell;
    t.teardown(() => {
      if (shell.pid !== undefined) process.kill(-shell.pid, "SIGKILL");
    });
  }

  /** What the command printed, or what it did until it was given up. */
  async run(command: string): Promise<string> {
    this.#output = "";
    this.#process.stdin?.write(`${command}\nprintf '\\n%s\\n' '${MARK}'\n`);
    return new Promise((done) => {
      const timer = setTimeout(
        () => done(`${this.#output}\n(no end within ${COMMAND_MS_MAX} ms)`),
        COMMAND_MS_MAX,
      );
      this.#onOutput = () => {
        const end = this.#output.indexOf(`\n${MARK}\n`);
        if (end < 0) return;
        clearTimeout(timer);
        done(this.#output.slice(0, end));
      };
    });
  }
}

/** Columns may be wider than in the page: runs of blanks count as one. */
const flat = (line: string): string => line.replace(/ +/g, " ").trim();

function patternOf(printed: readonly string[]): RegExp {
  const lines = printed.map((line) => {
    if (line === "..") return "[\\s\\S]*";
    return flat(line)
      .replace(/[\\^$*+?.()|[\]{}]/g, "\\$&")
      .replaceAll("\\.\\.", ".*");
  });
  return new RegExp(`^${lines.join("\n")}$`);
}

const missing = spawnSync("redis-cli", ["--version"]).status === 0 ? false : "redis-cli is not installed";

/** The ports of the pages are 7001 and up; for HTTP 8001; of control processes 7101 and 8101. */
function portedTo(base: number): (text: string) => string {
  return (text) =>
    text.replace(/\b([78])([01])0(\d)\b/g, (_, kind: string, control: string, n: string) => {
      return String(base + (kind === "8" ? 1000 : 0) + 100 * Number(control) + Number(n));
    });
}

t.test("TESTING.md: its walk-through prints what it says", { skip: missing }, async (t) => {
  const base = await freeBasePort(5);
  const ported = portedTo(base);
  const cwd = t.testdir();
  mkdirSync(`${cwd}/dist`);
  linkSync(BINARY, `${cwd}/dist/nucleus`);
  const shell = new Shell(t, cwd, { NUCLEUS_ADDR: `127.0.0.1:${base + 1}` });
  const blocks = new Page("TESTING.md").blocks.filter(({ language }) => language === "console");
  const steps = blocks.flatMap(stepsOf);
  t.ok(steps.length > 20, "there is something to walk through");
  for (const { line, command, printed } of steps) {
    // A cluster that is there has its ports in its layout file.
    const up = existsSync(`${cwd}/data`) ? "nucleus up" : `nucleus up --base-port ${base}`;
    const typed = ported(command).replace("nucleus up", up);
    const output = (await shell.run(typed)).trim().split("\n").map(flat).join("\n");
    const fits = patternOf(printed.map(ported)).test(output);
    t.ok(fits, `TESTING.md:${line} ${command}`, { printed: output.split("\n"), expected: printed });
    if (!fits) return;
  }
});

t.test("docs/client.md: its example prints what it says", async (t) => {
  const base = await freeBasePort(3);
  const cwd = t.testdir();
  await startCluster(t, [...FIXED, "--base-port", String(base)], cwd);
  const { blocks } = new Page("docs/client.md");
  const [example, output] = ["ts", "text"].map((language) =>
    blocks.find((block) => block.language === language),
  );
  const code = portedTo(base)(example?.text ?? "").replace("./src/client/", `${resolve("src/client")}/`);
  writeFileSync(`${cwd}/example.mts`, code);
  const tsx = resolve("node_modules/.bin/tsx");
  const { stdout, stderr } = spawnSync(tsx, ["example.mts"], { cwd, encoding: "utf8", timeout: 60_000 });
  t.equal(stdout.trim(), output?.text.trim());
  t.equal(stderr, "");
});

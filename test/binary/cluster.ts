/** Local clusters of the compiled program: started by `up`, used by its other verbs, and ended whatever happens. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Test } from "tap";

export const BINARY = resolve("dist/nucleus");
const STEP_MS_MAX = 30_000;

export type Output = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

/** Runs one verb to its end. */
export function nucleus(
  args: readonly string[],
  options: { input?: string | Buffer; cwd?: string } = {},
): Output {
  const { status, stdout, stderr } = spawnSync(BINARY, args, {
    ...options,
    env: { HOME: "/nonexistent" },
    encoding: "utf8",
    timeout: STEP_MS_MAX,
  });
  return { status, stdout, stderr };
}

export type UpProcess = {
  readonly id: string;
  readonly pid: number;
  readonly addr: string;
  readonly http: string;
  readonly dir: string;
  readonly log: string;
};

export type UpLine = {
  readonly cluster: string;
  readonly dir: string;
  readonly nodes: readonly UpProcess[];
  readonly control: readonly UpProcess[];
  readonly console: string | null;
  readonly shards: readonly { id: string; leader: string }[];
};

/** A running `up`, or another verb that runs until it is stopped. */
export class Up {
  readonly process: ChildProcess;
  stdout = "";
  stderr = "";
  readonly #ended: Promise<number | null>;

  constructor(
    args: readonly string[],
    cwd: string,
    input: "ignore" | "pipe" = "ignore",
    verb: readonly string[] = ["up"],
  ) {
    this.process = spawn(BINARY, [...verb, ...args], { cwd, env: {}, stdio: [input, "pipe", "pipe"] });
    this.process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.#ended = new Promise((done) => this.process.once("close", (code) => done(code)));
  }

  /** The exit code, when it has ended. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  stop(): Promise<number | null> {
    this.process.kill("SIGTERM");
    return this.#ended;
  }

  /** Waits for something to be printed. */
  async says(pattern: RegExp, where: "stdout" | "stderr"): Promise<RegExpExecArray> {
    return until(
      () => pattern.exec(this[where]),
      () => `${pattern} on ${where} of up:\n${this.stdout}\n${this.stderr}`,
    );
  }
}

/** Options for one fixed shard on all nodes, without a control plane. */
export const FIXED: readonly string[] = ["--control", "0"];

export type Cluster = { readonly up: Up; readonly line: UpLine; readonly port: string };

/** `up --json`, ready. Everything that it started is ended with the test. */
export async function startCluster(
  t: Test,
  args: readonly string[] = [],
  cwd = t.testdir(),
): Promise<Cluster> {
  const up = new Up(["--json", ...args], cwd);
  t.teardown(() => endAll(up, cwd));
  const found = await Promise.race([up.says(/^\{.*\}\n/, "stdout"), up.ended()]);
  if (found === null || typeof found === "number") throw new Error(`up ended: ${up.stderr}`);
  const line = JSON.parse(found[0]) as UpLine;
  return { up, line, port: line.nodes[0]?.addr.split(":")[1] ?? "" };
}

/** Kills `up` and what its directory names as running; by process id, and only what is ours. */
export async function endAll(up: Up, cwd: string): Promise<void> {
  up.process.kill("SIGKILL");
  await up.ended();
  const pids = spawnSync("find", [cwd, "-name", "nucleus.pid"], { encoding: "utf8" })
    .stdout.trim()
    .split("\n");
  for (const path of pids) if (path !== "") killIfOurs(readPid(path));
}

function readPid(path: string): number {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch {
    return 0;
  }
}

function killIfOurs(pid: number): void {
  try {
    if (readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith(BINARY)) process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Waits until `look` finds something. */
export async function until<T>(
  look: () => T | null | false | undefined,
  what: string | (() => string),
): Promise<T> {
  for (let waitedMs = 0; waitedMs < STEP_MS_MAX; waitedMs += 20) {
    const found = look();
    if (found) return found;
    await sleep(20);
  }
  throw new Error(`waited in vain for ${typeof what === "string" ? what : what()}`);
}

/** Two files of tests run side by side, and each has its own ports: at most 2000 here, 500 by their number, and 1100 above. */
const BASE = process.argv.some((word) => word.endsWith("faults.test.ts")) ? 24_000 : 20_000;
let nextBase = BASE + (process.pid % 20) * 100;

/** Where a cluster of that many nodes listens, above its base port: nodes, control processes, and HTTP of both. */
const ABOVE = [0, 100, 1000, 1100];

/** A base port with `count` free ports above it, for each kind of process, below those that the system hands out by itself. */
export async function freeBasePort(count: number): Promise<number> {
  for (;;) {
    const base = nextBase;
    nextBase += count + 1;
    let free = true;
    for (const above of ABOVE) for (let i = 1; i <= count && free; i++) free = await isFree(base + above + i);
    if (free) return base;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}

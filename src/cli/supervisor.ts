/**
 * The children of `up`: starts a process of the cluster, notices its death, starts it again if told to, stops them all.
 *
 * A child is in a process group of its own, so that Ctrl-C reaches `up` alone, which then stops them cleanly.
 * Its stdin is a pipe that nobody writes to: if `up` is killed, the pipe ends, and so do they (--parent-pipe).
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { performance } from "node:perf_hooks";
import { type ClusterTree, logPath, type Member, memberDir } from "./cluster_dir.ts";
import { argumentsAtStart, argumentsOf } from "./member_arguments.ts";
import { shellCommand } from "./output.ts";
import { ownCommand } from "./own_command.ts";
import { tunedEnvironment } from "./runtime_tuning.ts";

const RESPAWN_MS = 1000;
/** A child that dies this young, this often in a row, will not live next time either. */
const INFANT_MS = 3000;
const INFANT_DEATHS_MAX = 5;
/** What is read of a dead child's log to tell why it died. */
const LOG_TAIL_BYTES = 8192;

export type Death = {
  readonly member: Member;
  readonly pid: number;
  /** "was killed by SIGKILL", "ended with exit code 1". */
  readonly how: string;
  /** The last error in its log since it was started, or "". */
  readonly why: string;
  readonly respawns: boolean;
};

type Child = {
  readonly member: Member;
  process: ChildProcess | null;
  startedMs: number;
  logStart: number;
  infantDeaths: number;
  respawnTimer: NodeJS.Timeout | undefined;
};

export class Supervisor {
  readonly #tree: ClusterTree;
  readonly #respawn: boolean;
  readonly #onDeath: (death: Death) => void;
  readonly #children: readonly Child[];
  #stopping = false;

  constructor(tree: ClusterTree, respawn: boolean, onDeath: (death: Death) => void) {
    this.#tree = tree;
    this.#respawn = respawn;
    this.#onDeath = onDeath;
    this.#children = tree.members.map((member) => ({
      member,
      process: null,
      startedMs: 0,
      logStart: 0,
      infantDeaths: 0,
      respawnTimer: undefined,
    }));
  }

  /** Children that run now. */
  get running(): readonly Member[] {
    return this.#children.filter((child) => child.process !== null).map(({ member }) => member);
  }

  /** Children that run or will be started again. */
  get expected(): readonly Member[] {
    return this.#children
      .filter((child) => child.process !== null || child.respawnTimer !== undefined)
      .map(({ member }) => member);
  }

  startAll(): void {
    for (const child of this.#children) this.#start(child);
  }

  /** Starts a dead one. False: it runs, or there is none of that name. */
  start(id: string): boolean {
    const child = this.#children.find(({ member }) => member.id === id);
    if (child === undefined || child.process !== null || this.#stopping) return false;
    clearTimeout(child.respawnTimer);
    child.respawnTimer = undefined;
    child.infantDeaths = 0;
    this.#start(child);
    return true;
  }

  pidOf(id: string): number | null {
    return this.#children.find(({ member }) => member.id === id)?.process?.pid ?? null;
  }

  /** To be typed into another terminal, or the same one after `up` has ended. */
  restartText(id: string): string {
    const child = this.#children.find(({ member }) => member.id === id);
    return child === undefined
      ? ""
      : shellCommand([...ownCommand(), ...argumentsOf(this.#tree, child.member)]);
  }

  /** Asks all children to end and waits until they have. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const gone = this.#children.map((child) => {
      clearTimeout(child.respawnTimer);
      child.respawnTimer = undefined;
      const { process } = child;
      if (process === null) return Promise.resolve();
      process.kill("SIGTERM");
      return new Promise<void>((resolve) => process.once("exit", () => resolve()));
    });
    await Promise.all(gone);
  }

  killAll(): void {
    this.#stopping = true;
    for (const { process } of this.#children) process?.kill("SIGKILL");
  }

  #start(child: Child): void {
    const { member } = child;
    fs.mkdirSync(memberDir(this.#tree, member), { recursive: true, mode: 0o700 });
    const log = fs.openSync(logPath(this.#tree, member), "a", 0o600);
    const [program, ...leading] = ownCommand();
    const words = [...leading, ...argumentsAtStart(this.#tree, member), "--parent-pipe"];
    child.logStart = fs.fstatSync(log).size;
    child.startedMs = performance.now();
    const started = spawn(program, words, {
      stdio: ["pipe", log, log],
      detached: true,
      env: tunedEnvironment(process.env),
    });
    fs.closeSync(log);
    child.process = started;
    started.stdin?.on("error", () => {}); // the child is gone; its exit tells
    started.once("error", (error) => this.#onExit(child, `could not be started: ${error.message}`));
    started.once("exit", (code, signal) => {
      this.#onExit(child, signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`);
    });
  }

  #onExit(child: Child, how: string): void {
    if (child.process === null) return;
    const pid = child.process.pid ?? 0;
    child.process = null;
    if (this.#stopping) return;
    child.infantDeaths = performance.now() - child.startedMs < INFANT_MS ? child.infantDeaths + 1 : 0;
    const respawns = this.#respawn && child.infantDeaths < INFANT_DEATHS_MAX;
    if (respawns) {
      child.respawnTimer = setTimeout(() => {
        child.respawnTimer = undefined;
        this.#start(child);
      }, RESPAWN_MS);
    }
    this.#onDeath({ member: child.member, pid, how, why: this.#lastError(child), respawns });
  }

  #lastError({ member, logStart }: Child): string {
    try {
      return lastErrorOf(readTail(logPath(this.#tree, member), logStart));
    } catch {
      return "";
    }
  }
}

function readTail(path: string, from: number): string {
  const file = fs.openSync(path, "r");
  try {
    const end = fs.fstatSync(file).size;
    const start = Math.max(from, end - LOG_TAIL_BYTES);
    const bytes = Buffer.alloc(Math.max(0, end - start));
    return bytes.subarray(0, fs.readSync(file, bytes, 0, bytes.length, start)).toString("utf8");
  } finally {
    fs.closeSync(file);
  }
}

/** The message of the last error in a log of JSON lines, or what a crash printed among them. */
export function lastErrorOf(log: string): string {
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  const crash = lines.findLast((line) => !line.startsWith("{") && /\b\w*error\b/i.test(line));
  if (crash !== undefined) return crash.trim();
  for (const line of lines.toReversed()) {
    const entry = parseLine(line);
    if (entry?.level === "error" && typeof entry.msg === "string") return entry.msg;
  }
  return "";
}

function parseLine(line: string): Record<string, unknown> | null {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
}

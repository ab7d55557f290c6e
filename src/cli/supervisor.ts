/**
 * The children of `up`: starts a node's process, notices its death, starts it again if told to, stops them all.
 *
 * A child is in a process group of its own, so that Ctrl-C reaches `up` alone, which then stops the nodes cleanly.
 * Its stdin is a pipe that nobody writes to: if `up` is killed, the pipe ends, and so do the nodes (--parent-pipe).
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { performance } from "node:perf_hooks";
import type { NodeAddress } from "../server/layout.ts";
import { showAddress } from "./address.ts";
import { type ClusterTree, httpOf, isUnborn, logPath, nodeDir } from "./cluster_dir.ts";
import { shellCommand } from "./output.ts";
import { ownCommand } from "./own_command.ts";

const RESPAWN_MS = 1000;
/** A child that dies this young, this often in a row, will not live next time either. */
const INFANT_MS = 3000;
const INFANT_DEATHS_MAX = 5;
/** What is read of a dead child's log to tell why it died. */
const LOG_TAIL_BYTES = 8192;

export type Death = {
  readonly node: NodeAddress;
  readonly pid: number;
  /** "was killed by SIGKILL", "ended with exit code 1". */
  readonly how: string;
  /** The last error in its log since it was started, or "". */
  readonly why: string;
  readonly respawns: boolean;
};

type Child = {
  readonly node: NodeAddress;
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
    this.#children = tree.layout.nodes.map((node) => ({
      node,
      process: null,
      startedMs: 0,
      logStart: 0,
      infantDeaths: 0,
      respawnTimer: undefined,
    }));
  }

  /** Children that run now. */
  get running(): number {
    return this.#children.filter((child) => child.process !== null).length;
  }

  /** Children that run or will be started again. */
  get expected(): number {
    return this.#children.filter((child) => child.process !== null || child.respawnTimer !== undefined)
      .length;
  }

  startAll(): void {
    for (const child of this.#children) this.#start(child);
  }

  /** Starts a dead node. False: it runs, or there is no such node. */
  start(id: string): boolean {
    const child = this.#children.find(({ node }) => node.id === id);
    if (child === undefined || child.process !== null || this.#stopping) return false;
    clearTimeout(child.respawnTimer);
    child.respawnTimer = undefined;
    child.infantDeaths = 0;
    this.#start(child);
    return true;
  }

  pidOf(id: string): number | null {
    return this.#children.find(({ node }) => node.id === id)?.process?.pid ?? null;
  }

  /** To be typed into another terminal, or the same one after `up` has ended. */
  restartText(id: string): string {
    const child = this.#children.find(({ node }) => node.id === id);
    return child === undefined ? "" : shellCommand([...ownCommand(), ...this.#arguments(child.node)]);
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

  #arguments(node: NodeAddress): string[] {
    const { layoutPath } = this.#tree;
    const dir = nodeDir(this.#tree, node);
    const where = ["--listen", showAddress(node), "--http", httpOf(node), "--dir", dir];
    return ["node", "--id", node.id, ...where, "--layout", layoutPath];
  }

  #start(child: Child): void {
    const { node } = child;
    fs.mkdirSync(nodeDir(this.#tree, node), { recursive: true, mode: 0o700 });
    const log = fs.openSync(logPath(this.#tree, node), "a", 0o600);
    const [program, ...leading] = ownCommand();
    const init = isUnborn(this.#tree, node) ? ["--init"] : [];
    child.logStart = fs.fstatSync(log).size;
    child.startedMs = performance.now();
    const process = spawn(program, [...leading, ...this.#arguments(node), ...init, "--parent-pipe"], {
      stdio: ["pipe", log, log],
      detached: true,
    });
    fs.closeSync(log);
    child.process = process;
    process.stdin?.on("error", () => {}); // the child is gone; its exit tells
    process.once("error", (error) => this.#onExit(child, `could not be started: ${error.message}`));
    process.once("exit", (code, signal) => {
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
    this.#onDeath({ node: child.node, pid, how, why: this.#lastError(child), respawns });
  }

  #lastError({ node, logStart }: Child): string {
    try {
      return lastErrorOf(readTail(logPath(this.#tree, node), logStart));
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

/**
 * Two kinds of server on one machine, loaded in turns by the same generator: starting both, and running the generator
 * while its own processor time is watched.
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuSeconds, ProcessCluster } from "../chaos/processes.ts";
import { chosenProgram } from "../chaos/program.ts";

/** A generator above this share of a core was perhaps the limit itself. */
export const GENERATOR_SHARE_MAX = 0.85;
const LOOK_EVERY_MS = 50;
const LOOKS_MAX = 200;

/** Asks until something comes that `find` makes a value of. */
async function until<T>(what: string, dir: string, find: () => Promise<T | null>): Promise<T> {
  for (let i = 0; i < LOOKS_MAX; i++) {
    const found = await find().catch(() => null);
    if (found !== null) return found;
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
  }
  throw new Error(`${what} did not come up; see ${dir}`);
}

export class Rivals {
  readonly dir = fs.mkdtempSync(join(tmpdir(), "nucleus-bench-"));
  readonly #others: ChildProcess[] = [];
  #cluster: ProcessCluster | null = null;

  /** Three nodes of `binary`. */
  async nucleus(binary: string): Promise<ProcessCluster> {
    this.#cluster = await ProcessCluster.start(chosenProgram({ binary, runtime: "bun" }), 3);
    return this.#cluster;
  }

  /** Starts another server's process; its pid. */
  start(command: string, args: readonly string[], log: string): number {
    const out = fs.openSync(join(this.dir, log), "a");
    const child = spawn(command, args, { stdio: ["ignore", out, out] });
    fs.closeSync(out);
    this.#others.push(child);
    return child.pid as number;
  }

  until<T>(what: string, find: () => Promise<T | null>): Promise<T> {
    return until(what, this.dir, find);
  }

  /** Ends them all; what they left is kept for a look if something failed. */
  async end(exitCode: number): Promise<never> {
    for (const child of this.#others) child.kill("SIGKILL");
    await this.#cluster?.end(exitCode !== 0);
    if (exitCode === 0) fs.rmSync(this.dir, { recursive: true, force: true });
    process.exit(exitCode);
  }
}

export type Generated = {
  readonly code: unknown;
  readonly text: string;
  readonly seconds: number;
  readonly cpuSeconds: number;
};

/** Runs a generator to its end: what it printed, and its own processor time up to the last look. */
export async function generate(command: string, args: readonly string[]): Promise<Generated> {
  const startMs = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  child.stdout.on("data", (bytes) => {
    text += String(bytes);
  });
  let used = 0;
  const watch = setInterval(() => {
    try {
      used = cpuSeconds(child.pid as number);
    } catch {
      // it has just ended
    }
  }, LOOK_EVERY_MS);
  const code = await new Promise((done) => child.on("close", done));
  clearInterval(watch);
  return { code, text, seconds: (performance.now() - startMs) / 1000, cpuSeconds: used };
}

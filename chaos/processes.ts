/**
 * A cluster of real processes: the compiled program (or its bundle under Node), one process a node, in a directory
 * of its own, on ports that were free. Nodes are killed, stopped and started again here; whatever happens, every
 * process that was started is ended, by its id.
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { RespConnection } from "../src/cli/resp_connection.ts";
import type { Program } from "./program.ts";

const CLUSTER = "c4a05c4a05c4a05c4a05c4a05c4a05c4";
const READY_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
const LOG_TAIL_BYTES = 2000;
/** What /proc counts in, on every Linux that matters. */
const CLOCK_TICKS_PER_SECOND = 100;

/** What NUCLEUS STATUS says, as far as it is needed here. */
export type Status = {
  readonly node: string;
  readonly shards: readonly {
    readonly id: string;
    readonly leader: string | null;
    readonly role: string;
    readonly term: number;
    readonly applied: number;
    readonly commit: number;
    readonly slots: number;
    readonly keys: number;
    readonly hash: string;
  }[];
};

/** The words behind the program that start a process; `first`: on an empty directory, at the cluster's birth. */
export type WordsOf = (node: NodeProcess, first: boolean) => readonly string[];

/** A node, or a control process. */
export class NodeProcess {
  readonly id: string;
  readonly port: number;
  readonly dir: string;
  readonly #program: Program;
  readonly #words: WordsOf;
  #child: ChildProcess | null = null;
  #exited: Promise<string> = Promise.resolve("never started");
  #started = false;
  /** It is meant to end now. */
  #expected = false;
  paused = false;
  readonly problems: string[];

  constructor(id: string, port: number, root: string, program: Program, words: WordsOf, problems: string[]) {
    this.id = id;
    this.port = port;
    this.dir = join(root, id);
    this.#program = program;
    this.#words = words;
    this.problems = problems;
  }

  get address(): { host: string; port: number } {
    return { host: "127.0.0.1", port: this.port };
  }

  get running(): boolean {
    return this.#child !== null;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** It was told to end, and not started since. */
  get isDown(): boolean {
    return this.#expected || !this.running;
  }

  /** What it knows; its log is beside it. */
  get dataDir(): string {
    return join(this.dir, "data");
  }

  start(): void {
    if (this.#child !== null) throw new Error(`${this.id} runs already`);
    fs.mkdirSync(this.dir, { recursive: true });
    const log = fs.openSync(join(this.dir, "log"), "a");
    const { command, args } = this.#program;
    const own = [...this.#words(this, !this.#started), "--parent-pipe"];
    this.#started = true;
    this.#expected = false;
    // The pipe on stdin ends with this process, and the node with it, even if nothing here can run any more.
    const child = spawn(command, [...args, ...own], {
      stdio: ["pipe", log, log],
      env: { PATH: process.env.PATH },
    });
    child.stdin?.on("error", () => {});
    fs.closeSync(log);
    this.#child = child;
    this.#exited = new Promise((done) => {
      child.once("error", (error) => done(`did not start: ${error.message}`));
      child.once("exit", (code, signal) => done(signal ?? `exit code ${code}`));
    });
    void this.#exited.then((how) => this.#onExit(child, how));
  }

  #onExit(child: ChildProcess, how: string): void {
    if (this.#child !== child) return;
    this.#child = null;
    this.paused = false;
    if (!this.#expected) this.problems.push(`${this.id} ended by itself (${how}): ${this.logTail()}`);
  }

  /** kill -9; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#expected = true;
    this.#child?.kill("SIGKILL");
    await this.#exited;
  }

  pause(): void {
    this.paused = true;
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.paused = false;
    this.#child?.kill("SIGCONT");
  }

  /** SIGTERM, and how it ended. */
  async stop(): Promise<string> {
    if (this.#child === null) return "not running";
    this.#expected = true;
    this.#child.kill("SIGTERM");
    const late = sleep(STOP_MS_MAX, "still running");
    const how = await Promise.race([this.#exited, late]);
    if (how === "still running") await this.kill();
    return how;
  }

  /** Seconds of processor time that it has used so far; 0 if it does not run. */
  cpuSeconds(): number {
    return this.running ? cpuSeconds(this.pid) : 0;
  }

  /** Resident memory; 0 if it does not run. */
  rssBytes(): number {
    return this.running ? rssBytes(this.pid) : 0;
  }

  logTail(): string {
    const text = fs.readFileSync(join(this.dir, "log"), "utf8");
    return text.slice(-LOG_TAIL_BYTES).trim();
  }

  /** What it says of itself; null if it does not answer within `timeoutMs`. */
  async status(timeoutMs = 500): Promise<Status | null> {
    if (!this.running || this.paused) return null;
    let connection: RespConnection | null = null;
    try {
      connection = await RespConnection.open(this.address, timeoutMs);
      const reply = await connection.call(["NUCLEUS", "STATUS"], timeoutMs);
      return reply.kind === "bulk" ? (JSON.parse(Buffer.from(reply.bytes).toString()) as Status) : null;
    } catch {
      return null;
    } finally {
      connection?.close();
    }
  }
}

export class ProcessCluster {
  readonly root: string;
  readonly nodes: NodeProcess[] = [];
  /** The nodes' ports for HTTP, in their order. */
  readonly httpPorts: readonly number[];
  /** What went wrong with the processes themselves. */
  readonly problems: string[] = [];
  readonly #emergency: () => void;

  private constructor(root: string, httpPorts: readonly number[]) {
    this.root = root;
    this.httpPorts = httpPorts;
    this.#emergency = () => {
      for (const node of this.nodes) if (node.pid > 0) process.kill(node.pid, "SIGKILL");
    };
    process.once("exit", this.#emergency);
  }

  /** Starts `count` nodes and waits for a leader. */
  static async start(program: Program, count: number, segmentBytes?: number): Promise<ProcessCluster> {
    const all = await freePorts(2 * count);
    const [ports, httpPorts] = [all.slice(0, count), all.slice(count)];
    const cluster = new ProcessCluster(fs.mkdtempSync(join(tmpdir(), "nucleus-chaos-")), httpPorts);
    const layout = join(cluster.root, "layout.json");
    const at = (port: number | undefined): string => `127.0.0.1:${port}`;
    const nodes = ports.map((port, i) => ({ id: `n${i + 1}`, addr: at(port), http: at(httpPorts[i]) }));
    const settings = segmentBytes === undefined ? {} : { settings: { segmentBytes } };
    fs.writeFileSync(layout, JSON.stringify({ cluster: CLUSTER, nodes, ...settings }));
    const words: WordsOf = (node, first) => [
      ...["node", "--id", node.id, "--listen", `127.0.0.1:${node.port}`, "--dir", node.dataDir],
      ...["--layout", layout, ...(first ? ["--init"] : [])],
    ];
    for (const [i, port] of ports.entries()) {
      cluster.nodes.push(new NodeProcess(`n${i + 1}`, port, cluster.root, program, words, cluster.problems));
    }
    try {
      for (const node of cluster.nodes) node.start();
      await cluster.leader();
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  get url(): string {
    return `nucleus://${this.nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  /** The node that leads and says so itself, as soon as there is one. */
  async leader(): Promise<NodeProcess> {
    const untilMs = performance.now() + READY_MS_MAX;
    while (performance.now() < untilMs) {
      const found = await Promise.all(this.nodes.map((node) => node.status()));
      let best: { term: number; node: NodeProcess } | null = null;
      for (const [i, status] of found.entries()) {
        const shard = status?.shards[0];
        if (shard?.role !== "leader" || (best !== null && best.term >= shard.term)) continue;
        best = { term: shard.term, node: this.nodes[i] as NodeProcess };
      }
      if (best !== null) return best.node;
      if (this.problems.length > 0) throw new Error(this.problems[0]);
      await sleep(20);
    }
    throw new Error(`no leader within ${READY_MS_MAX} ms; logs are in ${this.root}`);
  }

  /** Waits until all replicas applied the same and compares what they hold; what differs, or "". */
  async converge(): Promise<string> {
    const untilMs = performance.now() + READY_MS_MAX;
    let last = "";
    while (performance.now() < untilMs) {
      const shards = (await Promise.all(this.nodes.map((node) => node.status()))).map(
        (status) => status?.shards[0],
      );
      const applied = new Set(shards.map((shard) => shard?.applied));
      last = shards.map((shard) => `${shard?.applied}:${shard?.hash}`).join(" ");
      if (applied.size === 1 && shards[0] !== undefined) {
        return new Set(shards.map((shard) => shard?.hash)).size === 1 ? "" : `replicas differ: ${last}`;
      }
      await sleep(50);
    }
    return `replicas did not catch up: ${last}`;
  }

  /** Ends all processes and removes the files, if `keep` does not say otherwise. */
  async end(keep = false): Promise<void> {
    for (const node of this.nodes) if (node.paused) node.resume();
    await Promise.all(this.nodes.map((node) => node.kill()));
    process.off("exit", this.#emergency);
    if (!keep) fs.rmSync(this.root, { recursive: true, force: true });
  }
}

/** Seconds of processor time that a process has used so far. */
export function cpuSeconds(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

/** Resident memory of a process. */
export function rssBytes(pid: number): number {
  const text = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1] ?? 0) * 1024;
}

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

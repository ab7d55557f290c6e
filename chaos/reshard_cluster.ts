/**
 * A managed cluster of real processes: control processes and nodes of the compiled program, each in a directory of its
 * own, on ports that were free. Whatever happens, every process that was started is ended, by its id.
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { RespConnection } from "../src/cli/resp_connection.ts";
import type { Program } from "./processes.ts";

const CLUSTER = "c4a05c4a05c4a05c4a05c4a05c4a05c5";
const READY_MS_MAX = 60_000;
const CALL_MS_MAX = 5000;
const LOG_TAIL_BYTES = 2000;

export class Member {
  readonly id: string;
  readonly port: number;
  readonly #dir: string;
  readonly #program: Program;
  readonly #words: readonly string[];
  readonly #problems: string[];
  #child: ChildProcess | null = null;
  #exited: Promise<string> = Promise.resolve("never started");
  #expected = false;

  constructor(
    id: string,
    port: number,
    root: string,
    program: Program,
    words: readonly string[],
    problems: string[],
  ) {
    this.id = id;
    this.port = port;
    this.#dir = join(root, id);
    this.#program = program;
    this.#words = [...words, "--id", id, "--listen", `127.0.0.1:${port}`, "--dir", join(this.#dir, "data")];
    this.#problems = problems;
  }

  get running(): boolean {
    return this.#child !== null;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  start(...more: string[]): void {
    fs.mkdirSync(this.#dir, { recursive: true });
    const log = fs.openSync(join(this.#dir, "log"), "a");
    const { command, args } = this.#program;
    this.#expected = false;
    // The pipe on stdin ends with this process, and the child with it, even if nothing here can run any more.
    const words = [...args, ...this.#words, ...more, "--parent-pipe"];
    const child = spawn(command, words, { stdio: ["pipe", log, log], env: { PATH: process.env.PATH } });
    child.stdin?.on("error", () => {});
    fs.closeSync(log);
    this.#child = child;
    this.#exited = new Promise((done) => {
      child.once("error", (error) => done(`did not start: ${error.message}`));
      child.once("exit", (code, signal) => done(signal ?? `exit code ${code}`));
    });
    void this.#exited.then((how) => {
      if (this.#child !== child) return;
      this.#child = null;
      if (!this.#expected) this.#problems.push(`${this.id} ended by itself (${how}): ${this.logTail()}`);
    });
  }

  async kill(): Promise<void> {
    this.#expected = true;
    this.#child?.kill("SIGKILL");
    await this.#exited;
  }

  logTail(): string {
    return fs.readFileSync(join(this.#dir, "log"), "utf8").slice(-LOG_TAIL_BYTES).trim();
  }
}

export type Answer = { readonly status: number; readonly body: unknown };
/** What /cluster/live says, as far as it is needed here. */
export type Live = { readonly shards: readonly { readonly id: string; readonly leader: string | null }[] };

export class ManagedCluster {
  readonly root = fs.mkdtempSync(join(tmpdir(), "nucleus-reshard-"));
  readonly controls: Member[] = [];
  readonly nodes: Member[] = [];
  /** What went wrong with the processes themselves. */
  readonly problems: string[] = [];
  #entry: RespConnection | null = null;

  static async start(
    program: Program,
    controls: number,
    nodes: number,
    shards: number,
  ): Promise<ManagedCluster> {
    const cluster = new ManagedCluster();
    const ports = await freePorts(controls + nodes);
    const layout = join(cluster.root, "cluster.json");
    const ids = Array.from({ length: shards }, (_, i) => ({ id: `s${i + 1}` }));
    fs.writeFileSync(layout, JSON.stringify({ replicas: 3, shards: ids }));
    const control = ports.slice(0, controls).map((port) => `127.0.0.1:${port}`);
    const { root, problems } = cluster;
    const peers = control.map((address, i) => `c${i + 1}=${address}`).join(",");
    for (const [i, port] of ports.slice(0, controls).entries()) {
      const words = ["control", "--peers", peers, "--cluster-id", CLUSTER];
      cluster.controls.push(new Member(`c${i + 1}`, port, root, program, words, problems));
    }
    for (const [i, port] of ports.slice(controls).entries()) {
      const words = ["node", "--control", control.join(",")];
      cluster.nodes.push(new Member(`n${i + 1}`, port, root, program, words, problems));
    }
    process.once("exit", () => cluster.#killAll());
    for (const member of cluster.controls) member.start("--cluster", layout, "--init");
    for (const member of cluster.nodes) member.start();
    await cluster.until("every shard has a leader", async () => {
      const live = await cluster.live();
      return live?.shards.length === shards && live.shards.every(({ leader }) => leader !== null);
    });
    return cluster;
  }

  /** A call of the control plane's surface, by way of some node that runs; null: nobody answered. */
  async control(method: string, path: string, body?: unknown): Promise<Answer | null> {
    try {
      this.#entry ??= await this.connect();
      const words = [
        "NUCLEUS",
        "CONTROL",
        method,
        path,
        ...(body === undefined ? [] : [JSON.stringify(body)]),
      ];
      const reply = await this.#entry.call(words, CALL_MS_MAX);
      if (reply.kind !== "array" || !("items" in reply)) return null;
      const [status, text] = reply.items;
      if (status?.kind !== "integer" || text?.kind !== "bulk") return null;
      return { status: Number(status.value), body: JSON.parse(Buffer.from(text.bytes).toString()) };
    } catch {
      this.#entry?.close();
      this.#entry = null;
      return null;
    }
  }

  async live(): Promise<Live | null> {
    const answer = await this.control("GET", "/cluster/live");
    return answer?.status === 200 ? (answer.body as Live) : null;
  }

  async connect(): Promise<RespConnection> {
    const running = this.nodes.filter((node) => node.running);
    const node = running[Math.floor(Math.random() * running.length)];
    if (node === undefined) throw new Error("no node runs");
    return await RespConnection.open({ host: "127.0.0.1", port: node.port }, 1000);
  }

  async until(what: string, holds: () => Promise<boolean>, ms = READY_MS_MAX, pollMs = 50): Promise<void> {
    const endMs = performance.now() + ms;
    while (!(await holds())) {
      if (performance.now() > endMs) throw new Error(`not within ${ms} ms: ${what}`);
      await sleep(pollMs);
    }
  }

  #killAll(): void {
    for (const { pid } of [...this.controls, ...this.nodes]) if (pid > 0) process.kill(pid, "SIGKILL");
  }

  async end(isKept: boolean): Promise<void> {
    this.#entry?.close();
    await Promise.all([...this.controls, ...this.nodes].map((member) => member.kill()));
    if (!isKept) fs.rmSync(this.root, { recursive: true, force: true });
  }
}

async function freePorts(count: number): Promise<number[]> {
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

/** A cluster for Redis's clients and tools: three nodes, as many shards, each node the leader of one. */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { Test } from "tap";
import { type Place, RealCluster } from "./real_cluster.ts";
import { whyNoLibraries } from "./redis_libraries.ts";

export type Mode = "proxy" | "cluster";

export const NODES: readonly string[] = ["n1", "n2", "n3"];
const TOOLS: readonly string[] = ["redis-cli", "redis-benchmark"];
const TOOL_MS_MAX = 60_000;

/** Null: all that the tests need is here. */
export function whyNot(): string | null {
  const missing = TOOLS.filter((tool) => !isThere(tool));
  return missing.length > 0 ? `no ${missing.join(", ")}: apt-get install redis-tools` : whyNoLibraries();
}

function isThere(tool: string): boolean {
  return (process.env.PATH ?? "").split(":").some((directory) => {
    try {
      accessSync(`${directory}/${tool}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export class RedisWorld {
  readonly mode: Mode;
  readonly cluster: RealCluster;

  private constructor(mode: Mode, cluster: RealCluster) {
    this.mode = mode;
    this.cluster = cluster;
  }

  static async start(t: Test, mode: Mode): Promise<RedisWorld> {
    const cluster = new RealCluster(t.testdir(), ["--redis-mode", mode]);
    t.teardown(() => cluster.end());
    await cluster.startControl();
    await cluster.startNodes(NODES.length);
    await cluster.init({ shards: NODES.length, replicas: NODES.length });
    const world = new RedisWorld(mode, cluster);
    await world.spread();
    return world;
  }

  placeOf(id: string): Place {
    return this.cluster.placeOf(id);
  }

  /** Each node leads one of the first shards: then each is a master for Redis's tools, whoever leads the next shard. */
  async spread(): Promise<void> {
    await this.cluster.served();
    await this.cluster.until("each node leads a shard", async () => {
      for (const [i, id] of NODES.entries())
        for (const asked of NODES) await this.cluster.ask(asked, ["NUCLEUS", "LEADER", id, `s${i + 1}`]);
      const masters = await Promise.all(NODES.map((id) => this.#masters(id)));
      return masters.every((count) => count === NODES.length);
    });
  }

  /** Nodes with slots, as one node sees them. */
  async #masters(id: string): Promise<number> {
    const info = await this.cluster.ask(id, ["CLUSTER", "INFO"]);
    return Number(/cluster_size:(\d+)/.exec(info)?.[1]);
  }

  /** Runs one of Redis's tools against a node. */
  tool(name: string, id: string, words: readonly string[], input = ""): Promise<ToolResult> {
    const { host, port } = this.placeOf(id);
    return runTool(name, ["-h", host, "-p", String(port), ...words], input);
  }

  cli(id: string, words: readonly string[], input = ""): Promise<ToolResult> {
    return this.tool("redis-cli", id, words, input);
  }

  /** redis-cli --cluster takes the address elsewhere. */
  cliCluster(id: string, verb: string): Promise<ToolResult> {
    const { host, port } = this.placeOf(id);
    return runTool("redis-cli", ["--cluster", verb, `${host}:${port}`], "");
  }
}

export type ToolResult = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

function runTool(name: string, words: readonly string[], input: string): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(name, words, { timeout: TOOL_MS_MAX });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, stdout, stderr }));
    child.stdin.once("error", () => {}); // it may end before it has read everything
    child.stdin.end(input);
  });
}

/** Commands as `redis-cli --pipe` takes them. */
export function pipeText(commands: Iterable<readonly string[]>): string {
  let text = "";
  for (const words of commands) {
    text += `*${words.length}\r\n`;
    for (const word of words) text += `$${Buffer.byteLength(word)}\r\n${word}\r\n`;
  }
  return text;
}

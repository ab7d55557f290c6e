/**
 * A cluster that an operator looks after: nodes n1.. and control processes c1.., real processes, each in a directory of
 * its own, on ports that were free. What operators type is typed here too: the program's own verbs, as processes.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ClusterView, healthOf, viewCluster } from "../src/cli/cluster_view.ts";
import { askControl } from "../src/cli/control_call.ts";
import type { Fields } from "../src/cli/json_fields.ts";
import { fetchMap } from "../src/cli/map_call.ts";
import { type ReshardStatus, readReshard } from "../src/cli/reshard_status.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import type { ClusterMap } from "../src/wire/cluster_map.ts";
import { freePorts, NodeProcess, type WordsOf } from "./processes.ts";
import type { Program } from "./program.ts";

const HOST = "127.0.0.1";
const SOON_MS_MAX = 60_000;
const VERB_MS_MAX = 120_000;
const LOOK_EVERY_MS = 100;
const CONNECT_MS_MAX = 1000;

export type OperatedPlan = {
  readonly nodes: number;
  readonly controls: number;
  readonly shards: number;
  readonly replicas: number;
};

/** What a verb of the program did. */
export type Typed = { readonly code: number; readonly stdout: string; readonly stderr: string };

export class OperatedCluster {
  readonly root: string;
  readonly nodes: NodeProcess[] = [];
  readonly controls: NodeProcess[] = [];
  /** What went wrong with the processes themselves. */
  readonly problems: string[] = [];
  readonly #program: Program;
  readonly #starting = new Set<NodeProcess>();
  readonly #emergency: () => void;

  private constructor(root: string, program: Program) {
    this.root = root;
    this.#program = program;
    this.#emergency = () => {
      for (const one of this.#all) if (one.pid > 0) process.kill(one.pid, "SIGKILL");
    };
    process.once("exit", this.#emergency);
  }

  /** Starts everything and waits until each shard has a leader and all its replicas. */
  static async start(program: Program, plan: OperatedPlan): Promise<OperatedCluster> {
    const cluster = new OperatedCluster(fs.mkdtempSync(join(tmpdir(), "nucleus-chaos-")), program);
    await cluster.#make(plan);
    try {
      for (const one of cluster.#all) one.start();
      await cluster.until("all shards to have leaders and replicas", async () => {
        const view = await cluster.view();
        return view !== null && view.shards.length === plan.shards && healthOf(view) === "healthy";
      });
    } catch (error) {
      await cluster.end(true);
      throw error;
    }
    return cluster;
  }

  async #make({ nodes, controls, shards, replicas }: OperatedPlan): Promise<void> {
    const id = randomBytes(16).toString("hex");
    const names = Array.from({ length: nodes }, (_, i) => `n${i + 1}`);
    const first = Array.from({ length: shards }, (_, shard) => ({
      id: `s${shard + 1}`,
      nodes: Array.from({ length: replicas }, (_, i) => names[(shard + i) % nodes]),
    }));
    const file = join(this.root, "cluster.json");
    fs.writeFileSync(file, JSON.stringify({ replicas, shards: first }));
    const ports = await freePorts(nodes + controls);
    const addresses = ports.slice(nodes).map((port) => `${HOST}:${port}`);
    const peers = addresses.map((address, i) => `c${i + 1}=${address}`).join(",");
    const common = (kind: string, one: NodeProcess): string[] => [
      ...[kind, "--id", one.id, "--listen", `${HOST}:${one.port}`, "--dir", one.dataDir],
    ];
    const node: WordsOf = (one) => [...common("node", one), "--control", addresses.join(",")];
    // Later it is started as one that may have lost its disk: told which cluster it is, and that this is no birth.
    const control: WordsOf = (one, isFirst) => [
      ...[...common("control", one), "--peers", peers, "--cluster-id", id],
      ...(isFirst ? ["--init", "--cluster", file] : []),
    ];
    for (const [i, port] of ports.entries()) {
      const isNode = i < nodes;
      const name = isNode ? (names[i] as string) : `c${i - nodes + 1}`;
      const words = isNode ? node : control;
      const one = new NodeProcess(name, port, this.root, this.#program, words, this.problems);
      (isNode ? this.nodes : this.controls).push(one);
    }
  }

  get #all(): readonly NodeProcess[] {
    return [...this.controls, ...this.nodes];
  }

  get url(): string {
    return `nucleus://${this.nodes.map(({ port }) => `${HOST}:${port}`).join(",")}`;
  }

  node(id: string): NodeProcess {
    const found = this.nodes.find((one) => one.id === id);
    if (found === undefined) throw new Error(`there is no node ${id}`);
    return found;
  }

  /** Starts a node that was ended; resolves when it answers. */
  async startAgain(node: NodeProcess): Promise<void> {
    this.#starting.add(node);
    node.start();
    await this.until(`${node.id} to answer`, async () => (await node.status()) !== null);
    this.#starting.delete(node);
  }

  /** A node that can be asked. */
  get anyNode(): NodeProcess {
    const found = this.nodes.find((one) => !one.isDown && !this.#starting.has(one));
    if (found === undefined) throw new Error("no node runs");
    return found;
  }

  /** Null: nobody could be asked just now. */
  view(): Promise<ClusterView | null> {
    return viewCluster(this.anyNode.address).catch(() => null);
  }

  async map(): Promise<ClusterMap> {
    const map = await fetchMap(this.anyNode.address, SOON_MS_MAX);
    if (map === null) throw new Error(`${this.anyNode.id} has no map`);
    return map;
  }

  /** The control plane's answer, by way of some node. */
  ask(method: "GET" | "POST", path: string, body?: object): Promise<Fields> {
    return askControl(this.anyNode.address, { method, path, ...(body === undefined ? {} : { body }) });
  }

  live(): Promise<Fields> {
    return this.ask("GET", "/cluster/live");
  }

  set(settings: object): Promise<Fields> {
    return this.ask("POST", "/settings", settings);
  }

  async reshard(): Promise<ReshardStatus> {
    return readReshard(await this.ask("GET", "/reshard/status"));
  }

  /** To one of the nodes that run. */
  async connect(): Promise<RespConnection> {
    const running = this.nodes.filter((node) => !node.isDown);
    const node = running[Math.floor(Math.random() * running.length)];
    if (node === undefined) throw new Error("no node runs");
    return RespConnection.open(node.address, CONNECT_MS_MAX);
  }

  /** `nucleus <words> -p PORT`, of a node that runs. */
  type(...words: readonly string[]): Promise<Typed> {
    const { command, args } = this.#program;
    const all = [...args, ...words, "-p", String(this.anyNode.port)];
    const options = { timeout: VERB_MS_MAX, env: { PATH: process.env.PATH } };
    return new Promise((done) => {
      execFile(command, all, options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
        done({ code, stdout, stderr });
      });
    });
  }

  /** The same, and it must succeed. */
  async must(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.type(...words);
    if (code !== 0)
      throw new Error(`nucleus ${words.join(" ")} ended with exit code ${code}: ${stderr.trim()}`);
    return stdout.trim();
  }

  /** The node that leads a shard and says so itself, as soon as there is one. */
  async leaderOf(shard: string): Promise<NodeProcess> {
    let best: NodeProcess | undefined;
    await this.until(`${shard} to have a leader`, async () => {
      const found = await Promise.all(this.nodes.map((node) => node.status()));
      let term = -1;
      for (const [i, status] of found.entries()) {
        const told = status?.shards.find(({ id }) => id === shard);
        if (told?.role !== "leader" || told.term <= term) continue;
        term = told.term;
        best = this.nodes[i];
      }
      return best !== undefined;
    });
    return best as NodeProcess;
  }

  /** What a node leads, as it says itself. */
  async ledBy(node: NodeProcess): Promise<string[]> {
    const status = await node.status(SOON_MS_MAX);
    return (status?.shards ?? []).filter(({ role }) => role === "leader").map(({ id }) => id);
  }

  /** Until `status` says healthy and each shard has these replicas and no others, all of them voters. */
  async settled(replicas: ReadonlyMap<string, readonly string[]>): Promise<void> {
    let last = "nothing";
    await this.until(
      "the replicas to be as wished",
      async () => {
        const view = await this.view();
        if (view === null) return false;
        const has = view.shards.map((shard) => {
          const list = shard.replicas.map(({ node, role }) => `${node} ${role}`).join(", ");
          return `${shard.id}: ${list}`;
        });
        const down = view.nodes.filter(({ alive }) => !alive).map(({ id }) => `${id} down`);
        last = [healthOf(view), ...down, ...has].join("; ");
        const isWished = [...replicas].every(([id, wanted]) => isOn(view, id, wanted));
        return isWished && healthOf(view) === "healthy";
      },
      () => `: ${last}`,
    );
  }

  /** Waits until it is so. */
  async until(
    what: string,
    test: () => Promise<boolean>,
    last = (): string => "",
    msMax = SOON_MS_MAX,
    everyMs = LOOK_EVERY_MS,
  ): Promise<void> {
    const untilMs = performance.now() + msMax;
    while (!(await test())) {
      if (this.problems.length > 0) throw new Error(this.problems[0]);
      if (performance.now() > untilMs)
        throw new Error(`waited ${Math.round(msMax / 1000)} s in vain for ${what}${last()}`);
      await sleep(everyMs);
    }
  }

  /** Ends all processes and removes the files, if `keep` does not say otherwise. */
  async end(keep = false): Promise<void> {
    await Promise.all(this.#all.map((one) => one.kill()));
    process.off("exit", this.#emergency);
    if (!keep) fs.rmSync(this.root, { recursive: true, force: true });
  }
}

/** Ends the process with the exit code that `run` gives; what went wrong keeps its files. */
export async function onOperated(
  program: Program,
  plan: OperatedPlan,
  { keep, say }: { readonly keep: boolean; readonly say: (line: string) => void },
  run: (cluster: OperatedCluster) => Promise<number>,
): Promise<never> {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
  const cluster = await OperatedCluster.start(program, plan);
  let code = 1;
  try {
    code = await run(cluster);
  } finally {
    const isKept = keep || code !== 0;
    await cluster.end(isKept);
    if (isKept) say(`its files and logs are in ${cluster.root}`);
  }
  process.exit(code);
}

function isOn(view: ClusterView, id: string, wanted: readonly string[]): boolean {
  const shard = view.shards.find((one) => one.id === id);
  if (shard === undefined) return false;
  const voters = shard.replicas.filter(({ role }) => role === "leader" || role === "follower");
  const names = shard.replicas.map(({ node }) => node).sort();
  return voters.length === names.length && names.join() === [...wanted].sort().join();
}

/**
 * One control process and some nodes, each a process of its own: the compiled program if it is newer than its source
 * (or the one that NUCLEUS_PROGRAM names), else the source, run by Bun.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { createServer } from "node:net";
import { terminalText } from "../../src/cli/reply_format.ts";
import { RespConnection } from "../../src/cli/resp_connection.ts";

const BUN = "node_modules/.bin/bun";
const COMPILED = "dist/nucleus";
const WAIT_MS = 60_000;

/** What is started, without the verb. */
const PROGRAM: readonly string[] =
  process.env.NUCLEUS_PROGRAM !== undefined
    ? [process.env.NUCLEUS_PROGRAM]
    : isFresh(COMPILED)
      ? [COMPILED]
      : [BUN, "run", "--no-env-file", "src/cli/main.ts"];

function isFresh(path: string): boolean {
  if (!existsSync(path)) return false;
  const newer = spawnSync("find", ["src", "-newer", path, "-print", "-quit"], { encoding: "utf8" });
  return newer.status === 0 && newer.stdout === "";
}

export type Place = { readonly host: string; readonly port: number };
type RunningNode = { readonly place: Place; readonly words: readonly string[]; child: ChildProcess };

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

export class RealCluster {
  /** Where the control process serves HTTP. */
  control = "";
  #listen = "";
  readonly nodes = new Map<string, RunningNode>();
  readonly #dir: string;
  readonly #nodeWords: readonly string[];
  readonly #children: ChildProcess[] = [];

  /** `nodeWords`: more options of each node. */
  constructor(dir: string, nodeWords: readonly string[] = []) {
    this.#dir = dir;
    this.#nodeWords = nodeWords;
  }

  async startControl(): Promise<void> {
    this.#listen = `127.0.0.1:${await freePort()}`;
    const http = `127.0.0.1:${await freePort()}`;
    this.#run(["control", "--id", "c1", "--listen", this.#listen, "--http", http, "--init"], "c1");
    this.control = `http://${http}`;
    await this.until("it leads", async () => {
      const answer = await fetch(`${this.control}/health`);
      return ((await answer.json()) as { role?: string }).role === "leader";
    });
  }

  async startNodes(count: number): Promise<void> {
    for (let i = 1; i <= count; i++) {
      const id = `n${i}`;
      const [port, http] = [await freePort(), `127.0.0.1:${await freePort()}`];
      const own = ["--id", id, "--listen", `127.0.0.1:${port}`, "--http", http, "--control", this.#listen];
      const words = ["node", ...own, ...this.#nodeWords];
      this.nodes.set(id, { place: { host: "127.0.0.1", port }, words, child: this.#run(words, id) });
    }
  }

  placeOf(id: string): Place {
    return this.#node(id).place;
  }

  /** Without a word to anybody. */
  async kill(id: string): Promise<void> {
    await kill(this.#node(id).child);
  }

  startAgain(id: string): void {
    const node = this.#node(id);
    node.child = this.#run(node.words, id);
  }

  #node(id: string): RunningNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`there is no ${id}`);
    return node;
  }

  /** Some shard serves each slot, for all that every node knows. */
  async served(): Promise<void> {
    for (const id of this.nodes.keys())
      await this.until(`${id} sees all slots served`, async () =>
        (await this.ask(id, ["CLUSTER", "INFO"])).includes("cluster_state:ok"),
      );
  }

  /** A reply as redis-cli shows it. */
  async ask(id: string, words: readonly string[]): Promise<string> {
    const connection = await RespConnection.open(this.placeOf(id));
    try {
      return terminalText(await connection.call(words, 10_000));
    } finally {
      connection.close();
    }
  }

  /** One more shard; the nodes it lies on are the control plane's choice. */
  async addShard(): Promise<void> {
    const answer = await fetch(`${this.control}/shard/add`, { method: "POST", body: "{}" });
    if (!answer.ok) throw new Error(`shard add: ${answer.status} ${await answer.text()}`);
  }

  async isMoving(): Promise<boolean> {
    const answer = await fetch(`${this.control}/reshard/status`);
    return ((await answer.json()) as { active: boolean }).active;
  }

  async init(wish: { shards: number; replicas: number }): Promise<void> {
    await this.until("the first layout is taken", async () => {
      const answer = await fetch(`${this.control}/cluster/init`, {
        method: "POST",
        body: JSON.stringify(wish),
      });
      // Not before enough nodes have registered. A second one would find the first, whose answer was lost.
      return answer.ok || (answer.status === 409 && (await this.#isLaidOut()));
    });
  }

  async #isLaidOut(): Promise<boolean> {
    const answer = await fetch(`${this.control}/cluster/map`);
    return ((await answer.json()) as { shards?: unknown[] }).shards?.length !== 0;
  }

  #run(words: readonly string[], id: string): ChildProcess {
    const [program = "", ...first] = PROGRAM;
    const log = openSync(`${this.#dir}/${id}.log`, "a");
    const child = spawn(program, [...first, ...words, "--dir", `${this.#dir}/${id}`], {
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.#children.push(child);
    return child;
  }

  async until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
      if (await isSo().catch(() => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`within ${WAIT_MS} ms it did not come to pass that ${what}`);
  }

  async end(): Promise<void> {
    await Promise.all(this.#children.map(kill));
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

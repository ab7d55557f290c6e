/** One control process and some nodes, run from the source by Bun, each a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";

const BUN = "node_modules/.bin/bun";
const WAIT_MS = 60_000;

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
  readonly #dir: string;
  readonly #children: ChildProcess[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  async startControl(): Promise<void> {
    this.#listen = `127.0.0.1:${await freePort()}`;
    const http = `127.0.0.1:${await freePort()}`;
    this.#run(["control", "--id", "c1", "--listen", this.#listen, "--http", http, "--init"], "c1");
    this.control = `http://${http}`;
    await this.#until("it leads", async () => {
      const answer = await fetch(`${this.control}/health`);
      return ((await answer.json()) as { role?: string }).role === "leader";
    });
  }

  async startNodes(count: number): Promise<void> {
    for (let i = 1; i <= count; i++) {
      const [listen, http] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
      this.#run(
        ["node", "--id", `n${i}`, "--listen", listen, "--http", http, "--control", this.#listen],
        `n${i}`,
      );
    }
  }

  async init(wish: { shards: number; replicas: number }): Promise<void> {
    await this.#until("the first layout is taken", async () => {
      const answer = await fetch(`${this.control}/cluster/init`, {
        method: "POST",
        body: JSON.stringify(wish),
      });
      return answer.ok || answer.status === 409;
    });
  }

  #run(words: readonly string[], id: string): void {
    const command = ["run", "--no-env-file", "src/cli/main.ts", ...words, "--dir", `${this.#dir}/${id}`];
    this.#children.push(spawn(BUN, command, { stdio: "ignore" }));
  }

  async #until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
      if (await isSo().catch(() => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`within ${WAIT_MS} ms it did not come to pass that ${what}`);
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const ended = new Promise((resolve) => child.once("exit", resolve));
        child.kill("SIGKILL");
        await ended;
      }),
    );
  }
}

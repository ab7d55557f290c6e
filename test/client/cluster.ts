/** A cluster of real nodes in this process, on ephemeral ports and real files. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../../src/base/assert.ts";
import { createPlatform } from "../../src/platform/node.ts";
import type { Log } from "../../src/platform/platform.ts";
import { parseLayout } from "../../src/server/layout.ts";
import { NucleusNode } from "../../src/server/node.ts";
import { Mortal } from "./mortal.ts";

const CLUSTER = "c1a5c1a5c1a5c1a5c1a5c1a5c1a5c1a5";
const LEADER_MS_MAX = 30_000;

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

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export class TestNode {
  readonly id: string;
  readonly port: number;
  node: NucleusNode;
  mortal: Mortal;
  up = true;

  constructor(id: string, port: number, node: NucleusNode, life: Mortal) {
    this.id = id;
    this.port = port;
    this.node = node;
    this.mortal = life;
  }
}

export class TestCluster {
  readonly dir = mkdtempSync(join(tmpdir(), "nucleus-test-"));
  readonly nodes: TestNode[] = [];
  /** What nodes reported as fatal: a test ends by looking at it. */
  readonly fatal: string[] = [];
  #layout = "";

  static async start(count: number): Promise<TestCluster> {
    const cluster = new TestCluster();
    const ports = await freePorts(count);
    const nodes = ports.map((port, i) => ({ id: `n${i + 1}`, addr: `127.0.0.1:${port}` }));
    cluster.#layout = JSON.stringify({
      cluster: CLUSTER,
      nodes,
      settings: { segmentBytes: 4 * 1024 * 1024 },
    });
    for (const [i, port] of ports.entries()) {
      const made = cluster.#make(`n${i + 1}`, true);
      cluster.nodes.push(new TestNode(`n${i + 1}`, port, made.node, made.life));
    }
    await Promise.all(cluster.nodes.map(({ node }) => started(node)));
    await cluster.leader();
    return cluster;
  }

  #make(id: string, init: boolean): { node: NucleusNode; life: Mortal } {
    const log: Log = { write() {} };
    const life = new Mortal(createPlatform(log));
    const layout = parseLayout(this.#layout);
    const self = present(
      layout.nodes.find((one) => one.id === id),
      "the layout names the node",
    );
    const config = {
      id,
      dir: join(this.dir, id),
      host: self.host,
      port: self.port,
      cluster: { kind: "fixed", layout, init } as const,
      version: "test",
      pid: 1,
    };
    const node = new NucleusNode(life.platform, config, (error) => {
      this.fatal.push(`${id}: ${error.message}`);
      life.kill();
    });
    return { node, life };
  }

  get url(): string {
    return `nucleus://${this.nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  /** The node that leads and knows it, as soon as there is one. */
  async leader(): Promise<TestNode> {
    const untilMs = performance.now() + LEADER_MS_MAX;
    while (performance.now() < untilMs) {
      const leaders = this.nodes.filter(({ up, node }) => up && node.groups.some((group) => group.isLeader));
      leaders.sort((a, b) => termOf(b.node) - termOf(a.node));
      if (leaders[0] !== undefined) return leaders[0];
      await sleep(10);
    }
    throw new Error(`no leader within ${LEADER_MS_MAX} ms`);
  }

  kill(node: TestNode): void {
    node.up = false;
    node.mortal.kill();
  }

  async restart(node: TestNode): Promise<void> {
    const made = this.#make(node.id, false);
    node.node = made.node;
    node.mortal = made.life;
    await started(made.node);
    node.up = true;
  }

  /** Stops everything and removes the files. */
  async stop(): Promise<void> {
    await Promise.all(
      this.nodes.filter(({ up }) => up).map(({ node }) => new Promise((done) => node.stop(() => done(null)))),
    );
    for (const node of this.nodes) node.mortal.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function termOf(node: NucleusNode): number {
  return node.groups[0]?.core.term ?? 0;
}

function started(node: NucleusNode): Promise<void> {
  return new Promise((done, failed) => node.start((error) => (error === null ? done() : failed(error))));
}

/**
 * What many groups cost a node: `npx bun bench/groups.ts`.
 *
 *     --groups N,M..   shards that nobody uses (256,1000), on three nodes with three replicas each; "": none
 *     --active N       shards that all are written to (16), beside one shard on the same nodes
 *     --seconds N      of measuring, each (20)
 *     --commands N     SETs of each round of load (200,000)
 *     --rounds N       of load, one shard and many in turn (3)
 *     --binary PATH    the program (dist/nucleus); or dist/nucleus.mjs with --runtime node
 *     --json           one JSON object
 *
 * Idle: processor time of each node as a share of a core, when all shards have leaders and the leaders are spread. The
 * first number of groups is asserted, the others are told. Active: SETs a second with many shards as a share of those with
 * one, the median of the rounds; clients speak RESP to every node alike. Exit code 1 beyond a limit.
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { cpuSeconds, freePorts, rssBytes } from "../chaos/processes.ts";
import { chosenProgram, PROGRAM_OPTIONS, type Program } from "../chaos/program.ts";
import { type Figure, median, report } from "./figures.ts";
import { load, PIPELINE } from "./load.ts";

const IDLE_SHARE_MAX = 0.02;
const ACTIVE_SHARE_MIN = 0.85;
const NODES = 3;
const READY_MS_MAX = 180_000;

const { values } = parseArgs({
  options: {
    groups: { type: "string", default: "256,1000" },
    active: { type: "string", default: "16" },
    seconds: { type: "string", default: "20" },
    commands: { type: "string", default: "200000" },
    rounds: { type: "string", default: "3" },
    ...PROGRAM_OPTIONS,
    json: { type: "boolean", default: false },
  },
});

type Live = {
  readonly nodes?: readonly { readonly leads: number }[];
  readonly shards?: readonly { readonly leader: string | null }[];
};

/** One control process and three nodes with so many shards. */
class Groups {
  readonly ports: readonly number[];
  readonly #dir = fs.mkdtempSync(join(tmpdir(), "nucleus-groups-"));
  readonly #children: ChildProcess[] = [];
  readonly #http: number;

  constructor(program: Program, shards: number, ports: readonly number[]) {
    const [control, http, ...nodes] = ports as [number, number, ...number[]];
    this.ports = nodes;
    this.#http = http;
    const cluster = join(this.#dir, "cluster.json");
    const list = Array.from({ length: shards }, (_, i) => ({ id: `s${i + 1}` }));
    fs.writeFileSync(
      cluster,
      JSON.stringify({ replicas: NODES, vnodes: shards > 64 ? 16 : 256, shards: list }),
    );
    const at = `127.0.0.1:${control}`;
    const own = ["--listen", at, "--http", `127.0.0.1:${http}`, "--cluster", cluster, "--init"];
    this.#spawn(program, ["control", "--id", "c1", "--dir", join(this.#dir, "c1"), ...own]);
    for (const [i, port] of nodes.entries()) {
      const where = ["--listen", `127.0.0.1:${port}`, "--control", at];
      this.#spawn(program, ["node", "--id", `n${i + 1}`, "--dir", join(this.#dir, `n${i + 1}`), ...where]);
    }
  }

  #spawn({ command, args }: Program, more: readonly string[]): void {
    const log = fs.openSync(join(this.#dir, `${more[2]}.log`), "a");
    this.#children.push(spawn(command, [...args, ...more], { stdio: ["ignore", log, log] }));
    fs.closeSync(log);
  }

  async #live(): Promise<Live> {
    const answer = await fetch(`http://127.0.0.1:${this.#http}/cluster/live`).catch(() => null);
    return answer?.ok === true ? ((await answer.json()) as Live) : {};
  }

  /** All shards have leaders, and no node leads many more than another. */
  async ready(): Promise<void> {
    const untilMs = performance.now() + READY_MS_MAX;
    while (performance.now() < untilMs) {
      const { nodes = [], shards = [] } = await this.#live();
      const leads = nodes.map((node) => node.leads);
      const isSpread = Math.max(...leads) - Math.min(...leads) <= Math.max(1, shards.length / 20);
      if (shards.length > 0 && shards.every(({ leader }) => leader !== null) && isSpread) return;
      await sleep(500);
    }
    throw new Error(`the shards did not come up; see ${this.#dir}`);
  }

  /** Processor seconds of each node since it started. */
  cpuSeconds(): number[] {
    return this.#children.slice(1).map(({ pid }) => cpuSeconds(pid ?? 0));
  }

  memoryBytes(): number[] {
    return this.#children.slice(1).map(({ pid }) => rssBytes(pid ?? 0));
  }

  /** SETs a second, sent to all nodes at once. */
  async setsPerSecond(commands: number, round: number): Promise<number> {
    const each = Math.floor(commands / NODES);
    const startMs = performance.now();
    await Promise.all(
      this.ports.map((port, n) =>
        load({ port, commands: each, keyAt: (i) => n * each + i, round, pipeline: PIPELINE }),
      ),
    );
    return (each * NODES) / ((performance.now() - startMs) / 1000);
  }

  async end(): Promise<void> {
    const gone = this.#children.map(
      (child) =>
        new Promise<void>((done) => (child.exitCode === null ? child.once("exit", () => done()) : done())),
    );
    for (const child of this.#children) child.kill("SIGTERM");
    await Promise.race([Promise.all(gone), sleep(10_000)]);
    for (const child of this.#children) child.kill("SIGKILL");
    fs.rmSync(this.#dir, { recursive: true, force: true });
  }
}

async function withGroups<T>(
  program: Program,
  shards: number,
  use: (groups: Groups) => Promise<T>,
): Promise<T> {
  const groups = new Groups(program, shards, await freePorts(2 + NODES));
  try {
    await groups.ready();
    return await use(groups);
  } finally {
    await groups.end();
  }
}

async function idle(program: Program, shards: number, isAsserted: boolean): Promise<Figure[]> {
  return withGroups(program, shards, async (groups) => {
    await sleep(5000); // what a start leaves behind
    const before = groups.cpuSeconds();
    await sleep(Number(values.seconds) * 1000);
    const shares = groups
      .cpuSeconds()
      .map((now, i) => (now - (before[i] as number)) / Number(values.seconds));
    const limit = isAsserted ? { limit: { most: IDLE_SHARE_MAX } } : {};
    return [
      {
        name: `${shards} idle groups: share of a core, most of a node`,
        value: Math.max(...shares),
        digits: 4,
        ...limit,
      },
      { name: `${shards} idle groups: MiB of a node`, value: Math.max(...groups.memoryBytes()) / 2 ** 20 },
    ];
  });
}

async function active(program: Program, shards: number): Promise<Figure[]> {
  const commands = Number(values.commands);
  return withGroups(program, 1, (one) =>
    withGroups(program, shards, async (many) => {
      const ratios: number[] = [];
      for (let round = 0; round <= Number(values.rounds); round++) {
        const alone = await one.setsPerSecond(commands, round);
        const split = await many.setsPerSecond(commands, round);
        if (round > 0) ratios.push(split / alone); // the first one warms both up
      }
      return [
        {
          name: `SETs with ${shards} shards as a share of those with one, median`,
          value: median(ratios),
          digits: 2,
          limit: { least: ACTIVE_SHARE_MIN },
        },
      ];
    }),
  );
}

const program = chosenProgram(values);
const figures: Figure[] = [];
for (const [i, count] of values.groups.split(",").filter(Boolean).map(Number).entries())
  figures.push(...(await idle(program, count, i === 0)));
if (Number(values.active) > 0) figures.push(...(await active(program, Number(values.active))));
process.exit(report(figures, values.json));

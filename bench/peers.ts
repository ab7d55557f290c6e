/**
 * Nucleus beside redis-server, in one run: `npx tsx bench/peers.ts [--rounds 5] [--seconds 4] [--no-figures]`.
 *
 * Three nodes of dist/nucleus (every write synced by a majority) and one redis-server with `appendfsync always` and
 * no replicas, both on this machine, loaded in turns by redis-benchmark: A B A B .. A row is the median of the
 * rounds' ratios with the smallest and largest, and the CPU each side used for an operation. The exit code is 1 if
 * a median lies below its floor. Figures of different machines or runs do not compare.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "4" },
    binary: { type: "string", default: "dist/nucleus" },
    "no-figures": { type: "boolean", default: false },
  },
});
const ROUNDS = Number(options.rounds);
const SECONDS = Number(options.seconds);
/** A generator above this share of a core was perhaps the limit itself. */
const GENERATOR_SHARE_MAX = 0.85;

/** `floor`: least median of the ratios to redis; 0 = reported only. */
type Row = { name: string; test: "set" | "get"; clients: number; pipeline: number; floor: number };
const ROWS: readonly Row[] = [
  { name: "SET 1 client", test: "set", clients: 1, pipeline: 1, floor: 0 },
  { name: "SET 64 clients", test: "set", clients: 64, pipeline: 1, floor: 0.35 },
  { name: "SET 64 x 16", test: "set", clients: 64, pipeline: 16, floor: 0.45 },
  { name: "GET 64 clients", test: "get", clients: 64, pipeline: 1, floor: 0 },
  { name: "GET 64 x 16", test: "get", clients: 64, pipeline: 16, floor: 0.4 },
];

type Side = { name: string; port: number; pids: number[] };
type Sample = { rps: number; cpuUsPerOp: number; generatorShare: number };

const children: ChildProcess[] = [];
const dir = fs.mkdtempSync(path.join(os.tmpdir(), "nucleus-bench-"));

function start(command: string, args: readonly string[], log: string): ChildProcess {
  const out = fs.openSync(path.join(dir, log), "a");
  const child = spawn(command, args, { stdio: ["ignore", out, out] });
  children.push(child);
  return child;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = net.createServer();
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

function redisCli(port: number, ...words: string[]): string {
  return execFileSync("redis-cli", ["-p", String(port), ...words], {
    encoding: "utf8",
    timeout: 5000,
  }).trim();
}

async function until(what: string, test: () => boolean): Promise<void> {
  for (let i = 0; i < 200; i++) {
    try {
      if (test()) return;
    } catch {
      // not there yet
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`${what} did not come up; see ${dir}`);
}

async function startNucleus(): Promise<Side> {
  const ports = await freePorts(3);
  const layout = path.join(dir, "layout.json");
  const nodes = ports.map((port, i) => ({ id: `n${i + 1}`, addr: `127.0.0.1:${port}` }));
  fs.writeFileSync(layout, JSON.stringify({ cluster: "5eed".repeat(8), nodes }));
  const pids = nodes.map(({ id, addr }) => {
    const args = [
      "node",
      "--id",
      id,
      "--listen",
      addr,
      "--dir",
      path.join(dir, id),
      "--layout",
      layout,
      "--init",
    ];
    return start(options.binary, args, `${id}.log`).pid as number;
  });
  let leader = 0;
  await until("the cluster", () => {
    const status = JSON.parse(redisCli(ports[0] as number, "NUCLEUS", "STATUS"));
    leader = nodes.findIndex(({ id }) => id === status.shards[0].leader);
    return leader >= 0;
  });
  return { name: "nucleus", port: ports[leader] as number, pids };
}

async function startRedis(): Promise<Side> {
  const [port] = (await freePorts(1)) as [number];
  const redisDir = path.join(dir, "redis");
  fs.mkdirSync(redisDir);
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", redisDir, "--save", ""];
  const child = start(
    "redis-server",
    [...args, "--appendonly", "yes", "--appendfsync", "always"],
    "redis.log",
  );
  await until("redis-server", () => redisCli(port, "PING") === "PONG");
  return { name: "redis", port, pids: [child.pid as number] };
}

/** Seconds of CPU that a process has used. */
function cpuSeconds(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(side: Side, row: Row, requests: number): Promise<Sample> {
  const before = side.pids.map(cpuSeconds);
  const startedAt = performance.now();
  const args = [
    "-p",
    String(side.port),
    "-t",
    row.test,
    "-c",
    String(row.clients),
    "-P",
    String(row.pipeline),
  ];
  args.push("-n", String(requests), "-r", "100000", "-d", "100", "--csv");
  const child = spawn("redis-benchmark", args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (bytes) => {
    text += String(bytes);
  });
  let generatorCpu = 0;
  const watch = setInterval(() => {
    try {
      generatorCpu = cpuSeconds(child.pid as number);
    } catch {
      // it has just ended
    }
  }, 50);
  const code = await new Promise((done) => child.on("close", done));
  clearInterval(watch);
  const seconds = (performance.now() - startedAt) / 1000;
  if (code !== 0) throw new Error(`redis-benchmark failed against ${side.name}: ${text}`);
  const rps = Number(text.trim().split("\n").at(-1)?.split(",")[1]?.replaceAll('"', ""));
  const used = side.pids.reduce((sum, pid, i) => sum + cpuSeconds(pid) - (before[i] as number), 0);
  return { rps, cpuUsPerOp: (used / requests) * 1e6, generatorShare: generatorCpu / seconds };
}

const median = (list: readonly number[]): number =>
  list.toSorted((a, b) => a - b)[list.length >> 1] as number;

async function compare(row: Row, sides: readonly Side[]): Promise<boolean> {
  const ratios: number[] = [];
  const samples: Sample[][] = [[], []];
  const requests = [0, 0];
  for (const [i, side] of sides.entries()) {
    const probe = await measure(side, row, row.clients * row.pipeline * 100); // warms up, and tells how many to ask for
    requests[i] = Math.max(1000, Math.ceil(probe.rps * SECONDS));
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) {
      (samples[i] as Sample[]).push(await measure(sides[i] as Side, row, requests[i] as number));
    }
    ratios.push((samples[0]?.at(-1)?.rps ?? 0) / (samples[1]?.at(-1)?.rps ?? 1));
  }
  const ratio = median(ratios);
  const cpu = samples.map((list) => median(list.map((sample) => sample.cpuUsPerOp)).toFixed(1));
  const bound = samples.some((list) => median(list.map((s) => s.generatorShare)) > GENERATOR_SHARE_MAX);
  const passed = ratio >= row.floor;
  const cells = [
    row.name.padEnd(16),
    ratio.toFixed(2).padStart(6),
    `${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)}`.padStart(11),
    (row.floor > 0 ? row.floor.toFixed(2) : "-").padStart(6),
    `${cpu[0]} / ${cpu[1]}`.padStart(15),
    bound ? "generator-bound" : "",
    passed ? "" : "BELOW FLOOR",
  ];
  console.log(cells.join("  ").trimEnd());
  return passed;
}

async function main(): Promise<number> {
  const sides = [await startNucleus(), await startRedis()];
  console.log(`${ROUNDS} rounds of about ${SECONDS} s each, 100 B values, 100,000 random keys`);
  console.log(
    "redis: one redis-server, appendfsync always; nucleus: three nodes, synced on a majority, leader's port",
  );
  console.log(`${"".padEnd(16)}   ratio      min-max   floor  CPU us/op n / r`);
  let passed = true;
  for (const row of ROWS) passed = (await compare(row, sides)) && passed;
  return passed || options["no-figures"] ? 0 : 1;
}

let exitCode = 1;
try {
  exitCode = await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  if (exitCode === 0) fs.rmSync(dir, { recursive: true, force: true });
}
process.exit(exitCode);

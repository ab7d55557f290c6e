/**
 * HTTP of Nucleus beside etcd's JSON gateway, in one run: `npm ci --prefix bench && npx tsx bench/http.ts`.
 *
 *     --rounds N       loads of each side, in turns: A B, B A, A B .. (3)
 *     --seconds N      length of one (4)
 *     --binary PATH    the program (dist/nucleus)
 *     --json           one JSON object
 *
 * Three nodes and three etcd members (Debian's `etcd-server`), all on this machine, every write synced by a majority,
 * loaded by autocannon at the leader's port: one key, values of 100 B, as raw bytes here and as base64 in JSON there,
 * which is how either is used with curl. A row is the median of the rounds' requests a second and of their ratios;
 * CPU is that of the process at the port, for a request; a row whose generator used more than GENERATOR_SHARE_MAX of a
 * core is marked. Without etcd there is only the one side, and the reason is printed. Nothing is asserted.
 */
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { parseArgs } from "node:util";
import { cpuSeconds, freePorts } from "../chaos/processes.ts";
import { median } from "./figures.ts";
import { GENERATOR_SHARE_MAX, generate, Rivals } from "./rivals.ts";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "4" },
    binary: { type: "string", default: "dist/nucleus" },
    json: { type: "boolean", default: false },
  },
});
const AUTOCANNON = path.join(import.meta.dirname, "node_modules/autocannon/autocannon.js");
const VALUE = "x".repeat(100);
const base64 = (text: string): string => Buffer.from(text).toString("base64");

type Row = { readonly name: string; readonly verb: "put" | "get"; readonly connections: number };
const ROWS: readonly Row[] = [
  { name: "PUT 1 connection", verb: "put", connections: 1 },
  { name: "PUT 64 connections", verb: "put", connections: 64 },
  { name: "GET 1 connection", verb: "get", connections: 1 },
  { name: "GET 64 connections", verb: "get", connections: 64 },
];

type Side = {
  readonly name: string;
  /** Of the process at the port. */
  readonly pid: number;
  /** Arguments that make autocannon ask for a verb. */
  readonly ask: Readonly<Record<Row["verb"], readonly string[]>>;
};
type Sample = {
  readonly rps: number;
  readonly p99Ms: number;
  readonly cpuUs: number;
  readonly share: number;
};

const rivals = new Rivals();

async function startNucleus(): Promise<Side> {
  const cluster = await rivals.nucleus(options.binary);
  const leader = await cluster.leader();
  const url = `http://127.0.0.1:${cluster.httpPorts[cluster.nodes.indexOf(leader)]}/kv/bench`;
  const ask = { put: ["-m", "PUT", "-b", VALUE, url], get: [url] };
  await fetch(url, { method: "PUT", body: VALUE });
  return { name: "nucleus", pid: leader.pid, ask };
}

async function startEtcd(): Promise<Side> {
  const ports = await freePorts(6);
  const client = [0, 1, 2].map((i) => `http://127.0.0.1:${ports[i]}`);
  const peer = [3, 4, 5].map((i) => `http://127.0.0.1:${ports[i]}`);
  const cluster = peer.map((at, i) => `e${i}=${at}`).join(",");
  const pids = client.map((at, i) => {
    const own = ["--name", `e${i}`, "--data-dir", path.join(rivals.dir, `e${i}`), "--log-level", "error"];
    const clients = ["--listen-client-urls", at, "--advertise-client-urls", at];
    const peers = ["--listen-peer-urls", String(peer[i]), "--initial-advertise-peer-urls", String(peer[i])];
    return rivals.start("etcd", [...own, ...clients, ...peers, "--initial-cluster", cluster], `e${i}.log`);
  });
  const post = async (at: string, what: string, body: unknown): Promise<Record<string, unknown>> => {
    const answer = await fetch(`${at}/v3/${what}`, { method: "POST", body: JSON.stringify(body) });
    return (await answer.json()) as Record<string, unknown>;
  };
  const leader = await rivals.until("etcd", async () => {
    for (const [i, at] of client.entries()) {
      const status = await post(at, "maintenance/status", {});
      const { member_id: id } = status.header as { member_id?: string };
      if (status.leader !== undefined && status.leader === id) return i;
    }
    return null;
  });
  const at = client[leader] as string;
  const put = { key: base64("bench"), value: base64(VALUE) };
  await post(at, "kv/put", put);
  const ask = {
    put: ["-m", "POST", "-b", JSON.stringify(put), `${at}/v3/kv/put`],
    get: ["-m", "POST", "-b", JSON.stringify({ key: put.key }), `${at}/v3/kv/range`],
  };
  return { name: "etcd", pid: pids[leader] as number, ask };
}

/** Why there is no other side; null if there can be one. */
function noEtcd(): string | null {
  try {
    execFileSync("etcd", ["--version"], { stdio: "ignore" });
    return null;
  } catch {
    return "no etcd here (Debian: apt install etcd-server): only nucleus is measured";
  }
}

async function measure(side: Side, row: Row): Promise<Sample> {
  const before = cpuSeconds(side.pid);
  const args = [AUTOCANNON, "-j", "-n", "-c", String(row.connections), "-d", options.seconds];
  const { text, cpuSeconds: own } = await generate(process.execPath, [...args, ...side.ask[row.verb]]);
  const used = cpuSeconds(side.pid) - before;
  const result = JSON.parse(text.slice(text.indexOf("{"))) as {
    readonly requests: { readonly total: number };
    readonly latency: { readonly p99: number };
    readonly duration: number;
    readonly non2xx: number;
    readonly errors: number;
  };
  if (result.non2xx + result.errors > 0) {
    throw new Error(`${side.name}: ${result.non2xx} other answers than 2xx, ${result.errors} errors`);
  }
  const { total } = result.requests;
  const cpuUs = (used / total) * 1e6;
  return {
    rps: total / result.duration,
    p99Ms: result.latency.p99,
    cpuUs,
    share: own / result.duration,
  };
}

type Outcome = {
  readonly name: string;
  /** By side: nucleus, then etcd if it is there. */
  readonly rps: readonly number[];
  readonly p99Ms: readonly number[];
  readonly cpuUs: readonly number[];
  readonly shares: readonly number[];
  readonly ratios: readonly number[];
};

async function compare(row: Row, sides: readonly Side[]): Promise<Outcome> {
  const samples: Sample[][] = sides.map(() => []);
  for (let round = 0; round < Number(options.rounds); round++) {
    const order = sides.map((_, i) => i);
    for (const i of round % 2 === 0 ? order : order.toReversed()) {
      samples[i]?.push(await measure(sides[i] as Side, row));
    }
  }
  const of = (field: keyof Sample): number[] => samples.map((list) => median(list.map((one) => one[field])));
  const [own = [], other = []] = samples;
  const ratios = other.map(({ rps }, i) => (own[i]?.rps ?? 0) / rps).sort((a, b) => a - b);
  return {
    name: row.name,
    rps: of("rps"),
    p99Ms: of("p99Ms"),
    cpuUs: of("cpuUs"),
    shares: of("share"),
    ratios,
  };
}

function show({ name, rps, p99Ms, cpuUs, shares, ratios }: Outcome): string {
  const all = (list: readonly number[], unit: string): string =>
    list.map((one) => Math.round(one).toLocaleString("en-US")).join(" / ") + unit;
  const [least, most] = [ratios[0] ?? 0, ratios.at(-1) ?? 0];
  const ratio =
    ratios.length === 0 ? "" : `  x ${median(ratios).toFixed(2)} (${least.toFixed(2)}-${most.toFixed(2)})`;
  const bound = shares.some((share) => share > GENERATOR_SHARE_MAX) ? "  generator-bound" : "";
  const busy = shares.map((share) => `${Math.round(share * 100)}%`).join(" / ");
  return `${name.padEnd(20)}${all(rps, " req/s")}${ratio}  p99 ${all(p99Ms, " ms")}  CPU ${all(cpuUs, " us")}  generator ${busy}${bound}`;
}

async function main(): Promise<void> {
  if (!fs.existsSync(AUTOCANNON)) {
    console.error("autocannon is not installed; do it with: npm ci --prefix bench");
    return;
  }
  const say = options.json ? console.error : console.log;
  const sides = [await startNucleus()];
  const missing = noEtcd();
  if (missing === null) sides.push(await startEtcd());
  else say(missing);
  say(
    `${sides.map(({ name }) => name).join(" / ")}: ${options.rounds} rounds of ${options.seconds} s each, 100 B values`,
  );
  const rows: Outcome[] = [];
  for (const row of ROWS) {
    const outcome = await compare(row, sides);
    rows.push(outcome);
    say(show(outcome));
  }
  if (options.json) console.log(JSON.stringify({ sides: sides.map(({ name }) => name), rows }));
}

let exitCode = 1;
try {
  await main();
  exitCode = 0;
} catch (error) {
  console.error(error);
}
await rivals.end(exitCode);

/**
 * Slots move between shards of real processes while clients write, and what they saw is judged.
 *
 *     npx bun chaos/reshard.ts --binary dist/nucleus --keys 200000 --clients 8
 *
 *     --binary PATH      the program; dist/nucleus, or dist/nucleus.mjs with --runtime node
 *     --nodes N          storage nodes (6), --shards N at first (2): then one is added, and removed with --back
 *     --keys N           loaded before (100000), values of --value bytes (100)
 *     --clients N        connections that INCR, SET, DEL and GET, half over RESP and half native (8); 0 = an idle cluster
 *     --rate R           commands a second of all together (open loop); 0 = a share of the peak that is measured first
 *     --share F          that share (0.5)
 *     --outstanding N    commands under way on each connection while the peak is measured (1)
 *     --warm N           seconds of such load before anything is measured: programs are compiled while they run (15)
 *     --kill             kills leaders of both sides and of the control plane at random while slots move (3 control processes)
 *     --kill-every N     seconds between one that is back and the next kill, in the mean (1.5): a copy begins anew with each
 *                        leader of its source, so large moves want some peace
 *     --seconds N        no run goes on for longer (240)
 *     --figures          also judge figures: pauses, keys a second, latency
 *     --seed N, --json, --keep
 *
 * Exit code 1 if a key is missing, twice, or back after its deletion, a sum or a value is wrong, a slot is not served just
 * once, a process ended by itself, or the plan does not end; with --figures also if the pauses' median is above 10 ms or one
 * above 50 ms (under load), or less than 50,000 keys move in a second (idle), or p99 at the given share is more than three
 * times what it was before.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Prng } from "../src/base/prng.ts";
import { SLOT_COUNT } from "../src/ring/slot.ts";
import { type Caller, NativeCaller, RespCaller } from "./callers.ts";
import { type OperatedCluster, onOperated } from "./operated.ts";
import { OwnKey } from "./own_key.ts";
import type { NodeProcess } from "./processes.ts";
import { chosenProgram, PROGRAM_OPTIONS } from "./program.ts";

const PAUSE_MEDIAN_MS_MAX = 10;
const PAUSE_P99_MS_MAX = 50;
const IDLE_KEYS_PER_SECOND_MIN = 50_000;
const P99_TIMES_MAX = 3;
const COUNTERS = 400;
const OWN_KEYS_EACH = 16;
const BATCH = 1000;
const PEAK_SECONDS = 5;
const BASE_SECONDS = 10;
const SAY_MS_MIN = 10_000;

const { values } = parseArgs({
  options: {
    ...PROGRAM_OPTIONS,
    nodes: { type: "string", default: "6" },
    shards: { type: "string", default: "2" },
    keys: { type: "string", default: "100000" },
    value: { type: "string", default: "100" },
    clients: { type: "string", default: "8" },
    rate: { type: "string", default: "0" },
    share: { type: "string", default: "0.5" },
    outstanding: { type: "string", default: "1" },
    warm: { type: "string", default: "15" },
    seconds: { type: "string", default: "240" },
    seed: { type: "string" },
    kill: { type: "boolean", default: false },
    "kill-every": { type: "string", default: "1.5" },
    back: { type: "boolean", default: false },
    figures: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});
const seed = Number(values.seed ?? Math.floor(performance.timeOrigin) % 1_000_000);
const random = Prng.fromSeed(seed);
const [keys, clients] = [Number(values.keys), Number(values.clients)];
const endMs = performance.now() + Number(values.seconds) * 1000;
const problems: string[] = [];

function say(text: string): void {
  if (!values.json) console.log(text);
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

// ------------------------------------------------------------------------------------------- load

/** A sum that many add to: what was acknowledged is in it, what is unknown may be. */
class Counter {
  readonly name: string;
  acked = 0;
  unknown = 0;

  constructor(name: string) {
    this.name = name;
  }
}

const counters = Array.from({ length: COUNTERS }, (_, i) => new Counter(`counter:${i}`));
const said = new Map<string, number>();

function hearError(text: string): void {
  const word = text.slice(0, 60);
  said.set(word, (said.get(word) ?? 0) + 1);
}

/** One connection, and the keys that it alone writes. */
type Client = { readonly caller: Caller; readonly ownKeys: readonly OwnKey[] };

class Load {
  readonly #clients: readonly Client[];
  #running = false;
  #done = 0;
  latenciesMs: number[] = [];

  constructor(clients: readonly Client[]) {
    this.#clients = clients;
  }

  async #one(client: Client): Promise<void> {
    const beganMs = performance.now();
    await this.#command(client, random.below(10));
    this.latenciesMs.push(performance.now() - beganMs);
    this.#done++;
  }

  /** Of ten commands three are INCR, two SET or DEL, one reads what was so written, four read what was loaded. */
  async #command({ caller, ownKeys }: Client, lot: number): Promise<void> {
    const own = lot < 3 ? undefined : ownKeys[random.below(ownKeys.length)];
    if (lot >= 6) return checkLoaded(caller, keyOf(random.below(keys)));
    if (own === undefined || own.isBusy) return addOne(caller, counters[random.below(COUNTERS)] as Counter);
    if (lot < 5) return random.below(4) === 0 ? own.del(caller) : own.set(caller);
    const problem = await own.check(caller);
    if (problem !== null) problems.push(problem);
  }

  /** Closed loop: what the cluster does at most with so many commands under way on each connection, in a second. */
  async most(outstanding: number, seconds: number): Promise<number> {
    this.#running = true;
    this.#done = 0;
    const lanes = this.#clients.flatMap((client) =>
      Array.from({ length: outstanding }, async () => {
        while (this.#running) await this.#one(client);
      }),
    );
    await sleep(seconds * 1000);
    this.#running = false;
    await Promise.all(lanes);
    return this.#done / seconds;
  }

  /** Open loop: what is due is sent, however late the others are. */
  start(rate: number): { stop(): Promise<void> } {
    this.latenciesMs = [];
    const pending = new Set<Promise<void>>();
    let sent = 0;
    const beganMs = performance.now();
    const timer = setInterval(() => {
      const due = ((performance.now() - beganMs) / 1000) * rate;
      for (; sent < due && pending.size < 20_000; sent++) {
        const call = this.#one(this.#clients[sent % this.#clients.length] as Client);
        pending.add(call);
        void call.finally(() => pending.delete(call));
      }
    }, 2);
    const stop = async (): Promise<void> => {
      clearInterval(timer);
      await Promise.all(pending);
    };
    return { stop };
  }
}

async function addOne(caller: Caller, counter: Counter): Promise<void> {
  const outcome = await caller.incr(counter.name);
  if (outcome === "done") counter.acked++;
  if (outcome === "unknown") counter.unknown++;
}

async function checkLoaded(caller: Caller, key: string): Promise<void> {
  if ((await caller.get(key)) === null) problems.push(`${key} is not there`);
}

function keyOf(i: number): string {
  return `key:${i}`;
}

async function fill(cluster: OperatedCluster): Promise<void> {
  const connection = await cluster.connect();
  const value = "v".repeat(Number(values.value));
  for (let from = 0; from < keys; from += BATCH) {
    const calls = Array.from({ length: Math.min(BATCH, keys - from) }, (_, i) =>
      connection.call(["SET", keyOf(from + i), value], 30_000),
    );
    const refused = (await Promise.all(calls)).find(({ kind }) => kind === "error");
    if (refused !== undefined) throw new Error(`loading: ${JSON.stringify(refused)}`);
  }
  await Promise.all(counters.map(({ name }) => connection.call(["SET", name, "0"], 30_000)));
  connection.close();
}

// ------------------------------------------------------------------------------------------- faults

async function kills(cluster: OperatedCluster, isOver: () => boolean): Promise<number> {
  const killMs = 1000 * Number(values["kill-every"]);
  let count = 0;
  while (!isOver()) {
    await sleep(killMs / 2 + random.below(killMs));
    const live = await cluster.live().catch(() => null); // whoever was asked may have just come back
    if (live === null) continue;
    const shards = live.list("shards");
    const leader = shards[random.below(Math.max(1, shards.length))]?.textOrNull("leader") ?? null;
    const isControl = random.below(4) === 0;
    const victim: NodeProcess | undefined = isControl
      ? cluster.controls[random.below(cluster.controls.length)]
      : cluster.nodes.find(({ id }) => id === leader);
    if (victim === undefined || !victim.running) continue;
    await victim.kill();
    count++;
    await sleep(random.below(1500));
    victim.start();
    await sleep(1500);
  }
  return count;
}

// ------------------------------------------------------------------------------------------- judging

async function judge(cluster: OperatedCluster, ownKeys: readonly OwnKey[]): Promise<void> {
  const connection = await cluster.connect();
  const ask = async (...words: string[]): Promise<string> => {
    const reply = await connection.call(words, 30_000);
    if (reply.kind === "integer") return String(reply.value);
    if (reply.kind === "bulk") return Buffer.from(reply.bytes).toString();
    return reply.kind === "error" ? `-${reply.text}` : reply.kind;
  };
  for (const { name, acked, unknown } of counters) {
    const sum = Number(await ask("GET", name));
    if (!(sum >= acked && sum <= acked + unknown))
      problems.push(`${name} is ${sum}; ${acked} were acknowledged and ${unknown} unknown`);
  }
  let present = keys + COUNTERS;
  for (const own of ownKeys) {
    const text = await ask("GET", own.name);
    const problem = own.problemOf(text === "nil" ? null : text);
    if (problem !== null) problems.push(problem);
    if (text !== "nil") present++;
  }
  const size = await ask("DBSIZE");
  if (size !== String(present)) problems.push(`DBSIZE is ${size}, not ${present}`);
  const value = "v".repeat(Number(values.value));
  for (let from = 0; from < keys; from += BATCH) {
    const all = Array.from({ length: Math.min(BATCH, keys - from) }, (_, i) => ask("GET", keyOf(from + i)));
    const bad = (await Promise.all(all)).findIndex((text) => text !== value);
    if (bad >= 0) problems.push(`${keyOf(from + bad)} is wrong or gone`);
  }
  const found = new Set<string>();
  let cursor = "0";
  do {
    const reply = await connection.call(["SCAN", cursor, "COUNT", "2000"], 30_000);
    const [next, page] = reply.kind === "array" ? reply.items : [];
    if (next?.kind !== "bulk" || page?.kind !== "array") throw new Error(`SCAN: ${JSON.stringify(reply)}`);
    cursor = Buffer.from(next.bytes).toString();
    for (const item of page.items) {
      const name = item.kind === "bulk" ? Buffer.from(item.bytes).toString() : "";
      if (found.has(name)) problems.push(`SCAN gives ${name} twice`);
      found.add(name);
    }
  } while (cursor !== "0");
  if (found.size !== present) problems.push(`SCAN finds ${found.size} keys`);
  connection.close();
  await checkSlots(cluster);
}

/** Each slot is with one shard, as the control plane has it from the shards' own logs. */
async function checkSlots(cluster: OperatedCluster): Promise<void> {
  const { ranges } = await cluster.map();
  const counts = new Uint8Array(SLOT_COUNT);
  for (const [first, last] of ranges) for (let s = first; s <= last; s++) counts[s] = (counts[s] ?? 0) + 1;
  const bad = counts.findIndex((count) => count !== 1);
  if (bad >= 0) problems.push(`slot ${bad} is served ${counts[bad]} times by the map`);
}

// ------------------------------------------------------------------------------------------- the run

async function reshard(
  cluster: OperatedCluster,
  path: string,
  body: object,
): Promise<{ ms: number; id: string }> {
  const beganMs = performance.now();
  const begun = await cluster.ask("POST", path, body);
  const epoch = begun.number("epoch");
  const leftMs = Math.max(1, endMs - performance.now());
  let saidMs = beganMs;
  const isOver = async (): Promise<boolean> => {
    const status = await cluster.reshard().catch(() => null); // whoever was asked was killed just now
    const nowMs = performance.now();
    if (status?.active === true && nowMs - saidMs >= SAY_MS_MIN) {
      saidMs = nowMs;
      const seconds = Math.round((nowMs - beganMs) / 1000);
      say(`  plan ${epoch}, ${seconds} s: ${status.keysMoved.toLocaleString("en")} keys have moved`);
    }
    return status?.active === false && status.last?.number === epoch;
  };
  // Each look costs the control plane some of what is measured.
  const everyMs = clients > 0 ? 500 : undefined;
  await cluster.until(`plan ${epoch} to end`, isOver, undefined, leftMs, everyMs);
  return { ms: performance.now() - beganMs, id: begun.textOrNull("shard") ?? "" };
}

function clientOf(cluster: OperatedCluster, i: number): Client {
  const caller =
    i % 2 === 0
      ? new RespCaller(() => cluster.connect(), hearError)
      : new NativeCaller(cluster.url, hearError);
  const ownKeys = Array.from({ length: OWN_KEYS_EACH }, (_, k) => new OwnKey(`own:${i}:${k}`));
  return { caller, ownKeys };
}

async function run(cluster: OperatedCluster): Promise<number> {
  const loading: Client[] = [];
  let during: ReturnType<Load["start"]> | null = null;
  try {
    await fill(cluster);
    for (let i = 0; i < clients; i++) loading.push(clientOf(cluster, i));
    const load = new Load(loading);
    const figures: Record<string, number> = { keys, clients, seed };
    let rate = Number(values.rate);
    if (clients > 0) {
      const outstanding = Number(values.outstanding);
      if (Number(values.warm) > 0) await load.most(outstanding, Number(values.warm));
      if (rate === 0) {
        const peak = await load.most(outstanding, PEAK_SECONDS);
        rate = peak * Number(values.share);
        figures.peakPerSecond = Math.round(peak);
      }
      figures.ratePerSecond = Math.round(rate);
      const before = load.start(rate);
      await sleep(BASE_SECONDS * 1000);
      await before.stop();
      noteLatency(figures, "before", load);
    }
    if (clients > 0) during = load.start(rate);
    let isOver = false;
    const killing = values.kill ? kills(cluster, () => isOver) : Promise.resolve(0);
    const added = await reshard(cluster, "/shard/add", {});
    let { ms } = added;
    if (values.back) ms += (await reshard(cluster, "/shard/remove", { id: added.id })).ms;
    isOver = true;
    figures.kills = await killing;
    await during?.stop();
    if (clients > 0) noteLatency(figures, "during", load);
    await noteMoves(cluster, figures, ms);
    for (const member of [...cluster.controls, ...cluster.nodes]) if (!member.running) member.start();
    await judge(
      cluster,
      loading.flatMap(({ ownKeys }) => ownKeys),
    );
    judgeFigures(figures);
    return report(figures, cluster.problems);
  } finally {
    void during?.stop();
    for (const { caller } of loading) caller.close();
  }
}

function noteLatency(figures: Record<string, number>, when: string, { latenciesMs }: Load): void {
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  for (const [name, q] of [
    ["P50", 0.5],
    ["P99", 0.99],
    ["P999", 0.999],
    ["Max", 1],
  ] as const)
    figures[`${when}${name}Ms`] = Math.round(quantile(sorted, q) * 100) / 100;
}

async function noteMoves(
  cluster: OperatedCluster,
  figures: Record<string, number>,
  ms: number,
): Promise<void> {
  const status = await cluster.ask("GET", "/reshard/status");
  const records = status.list("finished").map((move) => move.child("record"));
  const pauses = records.map((record) => record.number("pauseMs")).sort((a, b) => a - b);
  const moved = records.reduce((sum, record) => sum + record.number("keys"), 0);
  Object.assign(figures, {
    moves: records.length,
    keysMoved: moved,
    seconds: Math.round(ms / 10) / 100,
    keysPerSecond: Math.round(moved / (ms / 1000)),
    pauseMedianMs: quantile(pauses, 0.5),
    pauseP99Ms: quantile(pauses, 0.99),
    pauseMaxMs: quantile(pauses, 1),
  });
}

function judgeFigures(figures: Record<string, number>): void {
  if (!values.figures) return;
  const { pauseMedianMs = 0, pauseP99Ms = 0, keysPerSecond = 0, beforeP99Ms = 0, duringP99Ms = 0 } = figures;
  if (pauseMedianMs > PAUSE_MEDIAN_MS_MAX) problems.push(`the median pause is ${pauseMedianMs} ms`);
  if (pauseP99Ms > PAUSE_P99_MS_MAX) problems.push(`p99 of the pauses is ${pauseP99Ms} ms`);
  if (clients === 0 && keysPerSecond < IDLE_KEYS_PER_SECOND_MIN)
    problems.push(`${keysPerSecond} keys a second moved`);
  if (clients > 0 && duringP99Ms > P99_TIMES_MAX * beforeP99Ms)
    problems.push(`p99 is ${duringP99Ms} ms, and was ${beforeP99Ms} ms`);
}

function report(figures: Record<string, number>, ofProcesses: readonly string[]): number {
  problems.push(...ofProcesses);
  const ok = problems.length === 0;
  if (values.json) console.log(JSON.stringify({ ok, figures, said: Object.fromEntries(said), problems }));
  for (const [name, value] of Object.entries(figures)) say(`  ${name.padEnd(20)} ${value}`);
  for (const [text, count] of said) say(`  said ${String(count).padStart(6)} times: ${text}`);
  for (const problem of problems.slice(0, 20)) say(`  WRONG  ${problem}`);
  say(ok ? "  ok" : `  ${problems.length} problems`);
  return ok ? 0 : 1;
}

await onOperated(
  chosenProgram(values),
  {
    nodes: Number(values.nodes),
    controls: values.kill ? 3 : 1,
    shards: Number(values.shards),
    replicas: 3,
  },
  { keep: values.keep, say },
  run,
);

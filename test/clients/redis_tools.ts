/** redis-cli and redis-benchmark, as people call them. */
import type { Test } from "tap";
import { NODES, pipeText, type RedisWorld, type ToolResult } from "./redis_world.ts";

/** So many keys lie there when slots move. */
const SEEDS = 10_000;
const BENCHMARKED = 300;
/** All that redis-benchmark may say: it met MOVED, and reads the map again. */
const REREAD = /^(WARNING: Cluster slots configuration changed, fetching new one\.\.\.|\s)*$/;
const SEEDS_PATTERN = ["--scan", "--pattern", "seed:*"];

export async function tryTools(t: Test, world: RedisWorld): Promise<void> {
  await world.spread();
  await tryPipe(t, world);
  await tryScan(t, world);
  await tryRedirects(t, world, "calm");
  await tryWords(t, world);
  await tryClusterVerbs(t, world);
  await tryBenchmarks(t, world);
}

export async function tryToolsInMove(t: Test, world: RedisWorld): Promise<void> {
  await tryRedirects(t, world, "moving");
  await tryScan(t, world);
  await tryBenchmarks(t, world);
  if (world.mode === "proxy") {
    const { stdout } = await world.cli("n2", ["--pipe"], seeds());
    t.match(stdout, `errors: 0, replies: ${SEEDS}\n`, "redis-cli --pipe");
  } else {
    const { stdout, stderr } = await world.cliCluster("n1", "info");
    t.match(stdout, /\[OK\] \d+ keys in \d masters\./, `redis-cli --cluster info ${stderr}`);
    // Nodes hear of a slot's new owner one after another: that they agree at any moment is not promised.
    t.match((await world.cliCluster("n1", "check")).stdout, ">>> Performing Cluster Check");
  }
}

export async function tryToolsAfterMove(t: Test, world: RedisWorld): Promise<void> {
  await tryScan(t, world);
  await tryRedirects(t, world, "moved");
  if (world.mode === "cluster") {
    await world.cluster.until("redis-cli --cluster check is content", async () => {
      return (await world.cliCluster("n3", "check")).status === 0;
    });
    t.match(await world.cliCluster("n3", "check"), agreed);
  }
}

const agreed = {
  status: 0,
  stdout: /All nodes agree about slots configuration[\s\S]*All 16384 slots covered/,
};

function seeds(): string {
  return pipeText(Array.from({ length: SEEDS }, (_, i) => ["SET", `seed:${i}`, `value ${i}`]));
}

async function tryPipe(t: Test, world: RedisWorld): Promise<void> {
  if (world.mode === "proxy") {
    const { status, stdout } = await world.cli("n1", ["--pipe"], seeds());
    t.equal(status, 0);
    t.match(stdout, `errors: 0, replies: ${SEEDS}\n`, "redis-cli --pipe");
    return;
  }
  // It follows nothing: each node takes what is its own.
  const results = await Promise.all(NODES.map((id) => world.cli(id, ["--pipe"], seeds())));
  const counted = results.map(({ stdout }) => /errors: (\d+), replies: (\d+)/.exec(stdout));
  const sum = (i: number): number => counted.reduce((all, found) => all + Number(found?.[i]), 0);
  t.equal(sum(2), NODES.length * SEEDS, "redis-cli --pipe: every command was answered");
  t.equal(sum(1), (NODES.length - 1) * SEEDS, "redis-cli --pipe: every key lies at one node");
}

/** A scan is of the whole cluster, whichever node is asked. */
async function tryScan(t: Test, world: RedisWorld): Promise<void> {
  const { status, stdout } = await world.cli("n3", SEEDS_PATTERN);
  t.equal(status, 0);
  t.equal(new Set(stdout.trim().split("\n")).size, SEEDS, "redis-cli --scan finds every key");
}

async function tryRedirects(t: Test, world: RedisWorld, what: string): Promise<void> {
  const flags = world.mode === "cluster" ? ["-c"] : [];
  const keys = Array.from({ length: 30 }, (_, i) => `cli ${what} ${i}`);
  for (const protocol of [[], ["-3"]]) {
    const words = [...flags, ...protocol];
    const sets = await world.cli("n1", words, keys.map((key) => `SET "${key}" "of ${key}"\n`).join(""));
    t.same(
      repliesOf(sets),
      keys.map(() => "OK"),
      `redis-cli ${words.join(" ")}: SET`,
    );
    const gets = await world.cli("n2", words, keys.map((key) => `GET "${key}"\n`).join(""));
    t.same(
      repliesOf(gets),
      keys.map((key) => `of ${key}`),
      `redis-cli ${words.join(" ")}: GET`,
    );
  }
}

/** Lines that are no word about a redirection. */
function repliesOf({ stdout }: ToolResult): string[] {
  return stdout.split("\n").filter((line) => line !== "" && !line.startsWith("-> Redirected"));
}

async function tryWords(t: Test, world: RedisWorld): Promise<void> {
  const { placeOf, cli } = { placeOf: world.placeOf.bind(world), cli: world.cli.bind(world) };
  t.equal((await cli("n1", ["PING"])).stdout, "PONG\n");
  t.match((await cli("n1", ["-3", "INFO", "server"])).stdout, /^redis_version:7\.4\.0\r$/m);
  // What `redis-cli --stat` reads; it never ends, so it is not run.
  for (const name of [
    "connected_clients",
    "used_memory",
    "total_connections_received",
    "total_commands_processed",
  ])
    t.match((await cli("n1", ["INFO"])).stdout, new RegExp(`^${name}:\\d+\r$`, "m"));
  t.match((await cli("n1", ["COMMAND", "DOCS", "get"])).stdout, "summary");
  t.equal((await cli("n1", ["READONLY"])).stdout, "OK\n");
  t.equal((await cli("n1", ["READWRITE"])).stdout, "OK\n");
  t.equal((await cli("n1", ["ASKING"])).stdout, "OK\n");
  t.match((await cli("n1", ["CLUSTER", "SHARDS"])).stdout, String(placeOf("n2").port));
  const slot = (await cli("n1", ["CLUSTER", "KEYSLOT", "seed:7"])).stdout.trim();
  t.match((await cli("n1", ["-c", "CLUSTER", "COUNTKEYSINSLOT", slot])).stdout, /^\d+\n$/);
  const ids = await Promise.all(NODES.map(async (id) => (await cli(id, ["CLUSTER", "MYID"])).stdout));
  t.equal(new Set(ids).size, NODES.length);
  for (const id of ids) t.match(id, /^[0-9a-f]{40}\n$/);
  const wrong = world.mode === "cluster" ? /SELECT is not allowed/ : /DB index is out of range/;
  t.match((await cli("n1", ["SELECT", "1"])).stdout, wrong);
}

async function tryClusterVerbs(t: Test, world: RedisWorld): Promise<void> {
  const info = await world.cliCluster("n1", "info");
  if (world.mode === "proxy") {
    t.match(info.stdout + info.stderr, /is not configured as a cluster node/, "redis-cli --cluster info");
    return;
  }
  t.equal(info.status, 0, "redis-cli --cluster info");
  t.match(info.stdout, /\[OK\] (\d+) keys in 3 masters\./);
  const dbsizes = await Promise.all(NODES.map(async (id) => (await world.cli(id, ["DBSIZE"])).stdout));
  const all = (await world.cli("n1", ["--scan"])).stdout.trim().split("\n");
  t.equal(
    dbsizes.reduce((sum, size) => sum + Number(size), 0),
    new Set(all).size,
    "each key is counted at one node",
  );
  t.match(await world.cliCluster("n2", "check"), agreed, "redis-cli --cluster check");
}

async function tryBenchmarks(t: Test, world: RedisWorld): Promise<void> {
  const words = ["-n", String(BENCHMARKED), "-c", "5", "-q", "-r", "1000"];
  const plain = world.mode === "proxy" ? "ping,set,get,incr,mset" : "ping";
  const one = await world.tool("redis-benchmark", "n2", [...words, "-t", plain]);
  t.match(one, { status: 0, stderr: "" }, "redis-benchmark");
  t.match(one.stdout, /PING_INLINE: \d/);
  const piped = await world.tool("redis-benchmark", "n2", [...words, "-P", "16", "-t", plain]);
  t.match(piped, { status: 0, stderr: "" }, "redis-benchmark -P 16");
  const all = await world.tool("redis-benchmark", "n2", [...words, "--cluster", "-t", "set,get,incr"]);
  t.match(all, { status: 0, stderr: REREAD }, "redis-benchmark --cluster");
  t.match(all.stdout, /SET: \d[\s\S]*GET: \d[\s\S]*INCR: \d/);
}

/**
 * Redis's clients and tools, unmodified, against real processes in one of the two modes: in peace, over a node's death,
 * and while a new shard takes its slots over.
 */
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { messageOf, reachesAll, tryClient, type Variant, variants } from "./redis_clients.ts";
import type { RedisUser } from "./redis_libraries.ts";
import { tryTools, tryToolsAfterMove, tryToolsInMove } from "./redis_tools.ts";
import { type Mode, NODES, RedisWorld, whyNot } from "./redis_world.ts";

/** Counters of each client: a few slots of every shard. */
const COUNTERS = 24;
const ROUND_MS = 100;
const DOWN_MS = 1500;
const ADDED_MAX = 5;

export function redisSuite(mode: Mode): void {
  t.test(`Redis's clients and tools, ${mode} mode`, { skip: whyNot() ?? false }, async (t) => {
    const world = await RedisWorld.start(t, mode);
    const all = variants(world);
    for (const variant of all) await t.test(variant.name, (t) => tryClient(t, world, variant));
    await t.test("redis-cli and redis-benchmark", (t) => tryTools(t, world));
    const working = all.filter((variant) => reachesAll(world, variant));
    await t.test("shards are added meanwhile: nobody notices", (t) => tryMove(t, world, working));
    await t.test("a node is killed and started again", (t) => tryDeath(t, world, working));
  });
}

/** Counts as long as it is told to. Each acknowledged INCR of counter i is one in `counts[i]`. */
class Counter {
  readonly counts: number[] = new Array(COUNTERS).fill(0);
  readonly errors: string[] = [];
  rounds = 0;
  readonly #user: RedisUser;
  readonly #prefix: string;
  /** Whether it may name keys of several slots, and put them into one pipeline. */
  readonly #isFree: boolean;
  #ended = false;
  #run: Promise<void> | null = null;

  constructor(user: RedisUser, prefix: string, isFree: boolean) {
    this.#user = user;
    this.#prefix = prefix;
    this.#isFree = isFree;
  }

  start(): void {
    this.#run = this.#count();
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#run;
  }

  /** What the counters hold. */
  stored(): Promise<number[]> {
    return Promise.all(this.#keys().map(async (key) => Number(await this.#user.get(key))));
  }

  /** True: all went well. */
  async round(): Promise<boolean> {
    const before = this.errors.length;
    for (const [i, reply] of (await this.#increments()).entries()) {
      if (reply instanceof Error) this.errors.push(reply.message);
      else this.counts[i] = (this.counts[i] ?? 0) + 1;
    }
    if (this.#isFree) await this.#severalSlots().catch((error) => this.errors.push(messageOf(error)));
    this.rounds++;
    return this.errors.length === before;
  }

  /** One reply or error to each counter; every second round in one pipeline. */
  async #increments(): Promise<readonly unknown[]> {
    if (this.#isFree && this.rounds % 2 === 1) {
      try {
        return await this.#user.pipelineIncr(this.#keys());
      } catch (error) {
        return this.counts.map(() => new Error(messageOf(error)));
      }
    }
    const outcomes = await Promise.allSettled(this.#keys().map((key) => this.#user.incr(key)));
    return outcomes.map((outcome) =>
      outcome.status === "fulfilled" ? outcome.value : new Error(messageOf(outcome.reason)),
    );
  }

  async #severalSlots(): Promise<void> {
    const keys = this.#keys().map((key) => `${key} beside`);
    const value = `round ${this.rounds}`;
    await this.#user.mset(Object.fromEntries(keys.map((key) => [key, value])));
    const found = await this.#user.mget(keys);
    if (!found.every((text) => text === value)) this.errors.push(`${value}: MGET gave ${found}`);
  }

  async #count(): Promise<void> {
    while (!this.#ended) {
      await this.round();
      await sleep(ROUND_MS);
    }
  }

  #keys(): string[] {
    return this.counts.map((_, i) => `${this.#prefix} counter ${i}`);
  }
}

type Counting = { readonly variant: Variant; readonly user: RedisUser; readonly counter: Counter };

async function startCounting(
  t: Test,
  { mode }: RedisWorld,
  working: readonly Variant[],
  what: string,
  node: (i: number) => string,
): Promise<Counting[]> {
  const all: Counting[] = [];
  for (const [i, variant] of working.entries()) {
    const user = await variant.open(node(i));
    const isFree = mode === "proxy" && variant.kind === "plain";
    t.teardown(() => user.close());
    all.push({ variant, user, counter: new Counter(user, `${what} ${variant.name}`, isFree) });
  }
  for (const { counter } of all) counter.start();
  return all;
}

/** Adds shard after shard, so that slots move until the work is done; how many. */
async function whileMoving({ cluster }: RedisWorld, work: () => Promise<void>): Promise<number> {
  let added = 0;
  let isDone = false;
  const add = async (): Promise<void> => {
    await cluster.addShard();
    added++;
    await cluster.until("slots have moved", async () => !(await cluster.isMoving()));
    if (!isDone && added < ADDED_MAX) await add();
  };
  const worked = async (): Promise<void> => {
    await cluster.until("slots move", () => cluster.isMoving());
    await work();
    isDone = true;
  };
  await Promise.all([add(), worked()]);
  return added;
}

async function tryMove(t: Test, world: RedisWorld, working: readonly Variant[]): Promise<void> {
  const all = await startCounting(t, world, working, "moved", (i) => NODES[i % NODES.length] as string);
  const before = all.map(({ counter }) => counter.rounds);
  const added = await whileMoving(world, () => tryToolsInMove(t, world));
  t.comment(`${added} shards were added`);
  for (const [i, { variant, counter }] of all.entries()) {
    const rounds = counter.rounds - (before[i] ?? 0);
    await counter.end();
    t.ok(rounds > 0, `${variant.name} worked while slots moved`);
    t.same(counter.errors, [], `${variant.name} saw no error`);
    t.same(await counter.stored(), counter.counts, `${variant.name}: every INCR took effect once`);
  }
  await tryToolsAfterMove(t, world);
}

async function tryDeath(t: Test, world: RedisWorld, working: readonly Variant[]): Promise<void> {
  const { cluster } = world;
  const all = await startCounting(t, world, working, "killed", () => "n1");
  await cluster.until("all count", async () => all.every(({ counter }) => counter.rounds > 2));
  await cluster.kill("n1");
  await sleep(DOWN_MS);
  cluster.startAgain("n1");
  await cluster.served();
  for (const { variant, counter } of all) {
    await counter.end();
    await cluster.until(`${variant.name} works again`, () => counter.round());
    const stored = await counter.stored();
    // More than that may be there: what failed may have taken effect, and some clients send again what was under way.
    const lost = stored.filter((value, i) => value < (counter.counts[i] ?? 0));
    t.same(lost, [], `${variant.name}: works again, and nothing acknowledged was lost`);
  }
}

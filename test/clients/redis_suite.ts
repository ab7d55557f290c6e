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

export function redisSuite(mode: Mode): void {
  t.test(`Redis's clients and tools, ${mode} mode`, { skip: whyNot() ?? false }, async (t) => {
    const world = await RedisWorld.start(t, mode);
    const all = variants(world);
    for (const variant of all) await t.test(variant.name, (t) => tryClient(t, world, variant));
    await t.test("redis-cli and redis-benchmark", (t) => tryTools(t, world));
    const working = all.filter((variant) => reachesAll(world, variant));
    await t.test("a shard is added meanwhile: nobody notices", (t) => tryMove(t, world, working));
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
  #ended = false;
  #run: Promise<void> | null = null;

  constructor(user: RedisUser, prefix: string) {
    this.#user = user;
    this.#prefix = prefix;
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
    return Promise.all(this.counts.map(async (_, i) => Number(await this.#user.get(this.#key(i)))));
  }

  /** All at once: the clients pipeline them. True: every one was acknowledged. */
  async round(): Promise<boolean> {
    const outcomes = await Promise.allSettled(this.counts.map((_, i) => this.#user.incr(this.#key(i))));
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === "fulfilled") this.counts[i] = (this.counts[i] ?? 0) + 1;
      else this.errors.push(messageOf(outcome.reason));
    }
    this.rounds++;
    return outcomes.every(({ status }) => status === "fulfilled");
  }

  async #count(): Promise<void> {
    while (!this.#ended) {
      await this.round();
      await sleep(ROUND_MS);
    }
  }

  #key(i: number): string {
    return `${this.#prefix} counter ${i}`;
  }
}

type Counting = { readonly variant: Variant; readonly user: RedisUser; readonly counter: Counter };

async function startCounting(
  t: Test,
  working: readonly Variant[],
  what: string,
  node: (i: number) => string,
): Promise<Counting[]> {
  const all: Counting[] = [];
  for (const [i, variant] of working.entries()) {
    const user = await variant.open(node(i));
    t.teardown(() => user.close());
    all.push({ variant, user, counter: new Counter(user, `${what} ${variant.name}`) });
  }
  for (const { counter } of all) counter.start();
  return all;
}

async function tryMove(t: Test, world: RedisWorld, working: readonly Variant[]): Promise<void> {
  const { cluster } = world;
  const all = await startCounting(t, working, "moved", (i) => NODES[i % NODES.length] as string);
  const before = all.map(({ counter }) => counter.rounds);
  await cluster.addShard();
  await cluster.until("slots move", () => cluster.isMoving());
  await tryToolsInMove(t, world);
  await cluster.until("the move is done", async () => !(await cluster.isMoving()));
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
  const all = await startCounting(t, working, "killed", () => "n1");
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

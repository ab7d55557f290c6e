/** What every client does, with each protocol it speaks, on one connection and as a cluster's client. */
import type { Test } from "tap";
import { LIBRARIES, type RedisUser } from "./redis_libraries.ts";
import type { RedisWorld } from "./redis_world.ts";

export type Kind = "plain" | "cluster";

/** A client under test: its name tells the package, the kind and the protocol. */
export type Variant = {
  readonly name: string;
  readonly kind: Kind;
  readonly protocol: 2 | 3;
  readonly open: (id: string) => Promise<RedisUser>;
};

export function variants(world: RedisWorld): Variant[] {
  return LIBRARIES.flatMap((library) =>
    library.protocols.flatMap((protocol) =>
      (["plain", "cluster"] as const).map((kind) => ({
        name: `${library.name} ${kind} RESP${protocol}`,
        kind,
        protocol,
        open: (id: string) => library[kind](world.placeOf(id), protocol),
      })),
    ),
  );
}

/** Whether this client reaches every key without a word of the caller's. */
export function reachesAll(world: RedisWorld, { kind }: Variant): boolean {
  return world.mode === "proxy" || kind === "cluster";
}

export async function tryClient(t: Test, world: RedisWorld, variant: Variant): Promise<void> {
  const user = await variant.open("n1");
  try {
    if (variant.kind === "plain") await tryHello(t, world, variant, user);
    if (!reachesAll(world, variant)) return await tryRedirected(t, user);
    const prefix = `${variant.name}:`;
    await tryCommands(t, user, `${prefix}{one}`);
    await tryPipeline(t, user, world, variant, prefix);
    await trySlots(t, user, world, variant, prefix);
    await tryScan(t, user, prefix);
  } finally {
    await user.close();
  }
}

async function tryHello(t: Test, world: RedisWorld, variant: Variant, user: RedisUser): Promise<void> {
  const hello = await user.hello();
  const facts = Array.isArray(hello) ? pairs(hello) : (hello as Readonly<Record<string, unknown>>);
  t.match(facts, {
    server: "redis",
    proto: variant.protocol,
    mode: world.mode === "cluster" ? "cluster" : "standalone",
  });
}

function pairs(flat: readonly unknown[]): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (let i = 0; i < flat.length; i += 2) found[String(flat[i])] = flat[i + 1];
  return found;
}

/** On one connection in cluster mode: what lies elsewhere is named, not brought here. */
async function tryRedirected(t: Test, user: RedisUser): Promise<void> {
  const outcomes = new Set<string>();
  for (let i = 0; i < 50; i++) {
    try {
      outcomes.add(String(await user.set(`redirected ${i}`, "x")));
    } catch (error) {
      outcomes.add(messageOf(error).replace(/\d+ 127\.0\.0\.1:\d+$/, "slot host:port"));
    }
  }
  t.same(outcomes, new Set(["OK", "MOVED slot host:port"]));
}

async function tryCommands(t: Test, user: RedisUser, key: string): Promise<void> {
  t.equal(await user.set(`${key}a`, "ä\r\n\0"), "OK");
  t.equal(await user.get(`${key}a`), "ä\r\n\0");
  t.equal(await user.get(`${key}none`), null);
  t.equal(await user.mset({ [`${key}b`]: "1", [`${key}c`]: "2" }), "OK");
  t.same(await user.mget([`${key}b`, `${key}none`, `${key}c`]), ["1", null, "2"], "keys with one hash tag");
  t.equal(await user.incr(`${key}c`), 3);
  t.equal(Number(await user.expire(`${key}c`, 100)), 1);
  const seconds = await user.ttl(`${key}c`);
  t.ok(seconds > 90 && seconds <= 100);
  t.equal(await user.ttl(`${key}b`), -1);
  t.equal(await user.del([`${key}a`, `${key}b`, `${key}c`, `${key}none`]), 3);
  await user.set(`${key}text`, "no number");
  await t.rejects(user.incr(`${key}text`), { message: /^ERR value is not an integer or out of range/ });
  await user.del([`${key}text`]);
}

const PIPELINED = 1000;

async function tryPipeline(
  t: Test,
  user: RedisUser,
  world: RedisWorld,
  variant: Variant,
  prefix: string,
): Promise<void> {
  // A cluster's client sends a pipeline to one node.
  const tag = variant.kind === "cluster" ? "{pipe}" : "pipe";
  const keys = Array.from({ length: PIPELINED }, (_, i) => `${prefix}${tag}${i % 10}`);
  const replies = await user.pipelineIncr(keys);
  t.same(
    replies,
    keys.map((_, i) => 1 + Math.floor(i / 10)),
    "replies in the order of the requests",
  );
  const all = await Promise.all(keys.map((key) => user.incr(`${key} ${world.mode}`)));
  t.equal(Math.max(...all), PIPELINED / 10);
}

/** Of the client, not of the server: it takes such commands apart itself. */
const SPLITS_ITSELF = /^redis-6 cluster/;

async function trySlots(
  t: Test,
  user: RedisUser,
  world: RedisWorld,
  { name }: Variant,
  prefix: string,
): Promise<void> {
  const keys = Array.from({ length: 20 }, (_, i) => `${prefix}slots${i}`);
  const values = Object.fromEntries(keys.map((key, i) => [key, String(i)]));
  if (world.mode === "cluster" && !SPLITS_ITSELF.test(name)) {
    const refusal = { message: "CROSSSLOT Keys in request don't hash to the same slot" };
    await t.rejects(user.mset(values), refusal);
    await t.rejects(user.mget(keys), refusal);
    await t.rejects(user.del(keys), refusal);
    return;
  }
  t.equal(await user.mset(values), "OK", "keys in several slots and shards");
  t.same(await user.mget(keys), Object.values(values));
  t.equal(await user.del(keys), keys.length);
}

async function tryScan(t: Test, user: RedisUser, prefix: string): Promise<void> {
  const keys = Array.from({ length: 100 }, (_, i) => `${prefix}scan${i}`);
  await Promise.all(keys.map((key) => user.set(key, "x")));
  // Each master walks over the whole cluster, so a cluster's client sees keys more than once.
  const found = new Set(await user.scan(`${prefix}scan*`));
  t.same([...found].sort(), [...keys].sort());
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

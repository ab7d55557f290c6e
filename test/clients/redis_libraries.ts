/**
 * The Redis clients of npm (test/clients/package.json), each driven by its own API, behind one small interface. Their
 * types are not named: the tests are checked where the packages are not installed.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const PACKAGES = resolve("test/clients/node_modules");
const require = createRequire(`${PACKAGES}/`);

export type Text = string | null;

/** What a test does with any of them. */
export type RedisUser = {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<Text>;
  del(keys: readonly string[]): Promise<number>;
  mset(pairs: Readonly<Record<string, string>>): Promise<unknown>;
  mget(keys: readonly string[]): Promise<readonly Text[]>;
  incr(key: string): Promise<number>;
  expire(key: string, seconds: number): Promise<unknown>;
  ttl(key: string): Promise<number>;
  /** INCR of each key, in one pipeline. */
  pipelineIncr(keys: readonly string[]): Promise<readonly unknown[]>;
  /** By the client's iterator; of a cluster, by that of each master. */
  scan(pattern: string): Promise<string[]>;
  /** What the server says of this connection's protocol. Not of a cluster. */
  hello(): Promise<unknown>;
  close(): Promise<unknown>;
};

export type Library = {
  readonly name: string;
  readonly protocols: readonly (2 | 3)[];
  /** On one connection. */
  plain(address: Address, protocol: 2 | 3): Promise<RedisUser>;
  cluster(address: Address, protocol: 2 | 3): Promise<RedisUser>;
};

export type Address = { readonly host: string; readonly port: number };

type IoRedis = {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<Text>;
  del(...keys: readonly string[]): Promise<number>;
  mset(pairs: object): Promise<unknown>;
  mget(...keys: readonly string[]): Promise<Text[]>;
  incr(key: string): Promise<number>;
  expire(key: string, seconds: number): Promise<number>;
  ttl(key: string): Promise<number>;
  pipeline(commands: readonly (readonly string[])[]): {
    exec(): Promise<(readonly [Error | null, unknown])[]>;
  };
  scanStream(options: object): AsyncIterable<string[]>;
  call(...words: readonly string[]): Promise<unknown>;
  on(event: "error", listener: (error: Error) => void): void;
  quit(): Promise<unknown>;
  disconnect(): void;
  nodes?(role: "master"): IoRedis[];
};

type IoRedisClass = {
  new (options: object): IoRedis;
  Cluster: new (nodes: readonly Address[], options: object) => IoRedis;
};

function ioredis(name: string, protocols: readonly (2 | 3)[]): Library {
  const load = (): IoRedisClass => require(name) as IoRedisClass;
  const options = (protocol: 2 | 3): object => (protocols.length > 1 ? { protocol } : {});
  return {
    name,
    protocols,
    async plain({ host, port }, protocol) {
      return ioredisUser(new (load())({ host, port, ...options(protocol) }));
    },
    async cluster(address, protocol) {
      const { Cluster } = load();
      return ioredisUser(new Cluster([address], { redisOptions: options(protocol) }));
    },
  };
}

function ioredisUser(redis: IoRedis): RedisUser {
  redis.on("error", () => {}); // it tells of lost connections, and goes on
  return {
    set: (key, value) => redis.set(key, value),
    get: (key) => redis.get(key),
    del: (keys) => redis.del(...keys),
    mset: (pairs) => redis.mset(pairs),
    mget: (keys) => redis.mget(...keys),
    incr: (key) => redis.incr(key),
    expire: (key, seconds) => redis.expire(key, seconds),
    ttl: (key) => redis.ttl(key),
    async pipelineIncr(keys) {
      const replies = await redis.pipeline(keys.map((key) => ["incr", key])).exec();
      return replies.map(([error, reply]) => error ?? reply);
    },
    async scan(match) {
      const found: string[] = [];
      for (const node of redis.nodes?.("master") ?? [redis])
        for await (const keys of node.scanStream({ match, count: 100 })) found.push(...keys);
      return found;
    },
    hello: () => redis.call("HELLO"),
    close: async () => redis.disconnect(),
  };
}

type NodeRedis = {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<Text>;
  del(keys: readonly string[]): Promise<number>;
  mSet(pairs: object): Promise<unknown>;
  mGet(keys: readonly string[]): Promise<Text[]>;
  incr(key: string): Promise<number>;
  expire(key: string, seconds: number): Promise<unknown>;
  ttl(key: string): Promise<number>;
  multi(): NodeRedisPipeline;
  scanIterator(options: object): AsyncIterable<string | string[]>;
  sendCommand(words: readonly string[]): Promise<unknown>;
  on(event: "error", listener: (error: Error) => void): void;
  connect(): Promise<unknown>;
  disconnect(): Promise<unknown>;
  readonly masters?: readonly { readonly address: string }[];
  nodeClient?(node: object): NodeRedis | Promise<NodeRedis>;
};

type NodeRedisPipeline = { incr(key: string): NodeRedisPipeline; execAsPipeline(): Promise<unknown[]> };

type NodeRedisModule = {
  createClient(options: object): NodeRedis;
  createCluster(options: object): NodeRedis;
};

function nodeRedis(name: string, protocols: readonly (2 | 3)[]): Library {
  const load = (): NodeRedisModule => require(name) as NodeRedisModule;
  const options = (protocol: 2 | 3): object => (protocols.length > 1 ? { RESP: protocol } : {});
  return {
    name,
    protocols,
    plain: ({ host, port }, protocol) =>
      nodeRedisUser(load().createClient({ socket: { host, port }, ...options(protocol) })),
    cluster: ({ host, port }, protocol) =>
      nodeRedisUser(load().createCluster({ rootNodes: [{ socket: { host, port } }], ...options(protocol) })),
  };
}

async function nodeRedisUser(redis: NodeRedis): Promise<RedisUser> {
  redis.on("error", () => {}); // without a listener an error of a connection ends the program
  await redis.connect();
  return {
    set: (key, value) => redis.set(key, value),
    get: (key) => redis.get(key),
    del: (keys) => redis.del(keys),
    mset: (pairs) => redis.mSet(pairs),
    mget: (keys) => redis.mGet(keys),
    incr: (key) => redis.incr(key),
    expire: (key, seconds) => redis.expire(key, seconds),
    ttl: (key) => redis.ttl(key),
    pipelineIncr(keys) {
      const pipeline = redis.multi();
      for (const key of keys) pipeline.incr(key);
      return pipeline.execAsPipeline();
    },
    async scan(MATCH) {
      const found: string[] = [];
      // node-redis 4 lists a master once for each of its ranges.
      const masters = new Map(redis.masters?.map((master) => [master.address, master]));
      const nodes = [...masters.values()].map((master) => redis.nodeClient?.(master));
      if (nodes.length === 0) nodes.push(redis);
      for (const node of nodes) {
        const client = (await node) as NodeRedis;
        for await (const keys of client.scanIterator({ MATCH, COUNT: 100 })) found.push(...[keys].flat());
      }
      return found;
    },
    hello: () => redis.sendCommand(["HELLO"]),
    close: () => redis.disconnect(),
  };
}

/** The first protocol is what the client speaks unless told otherwise. */
export const LIBRARIES: readonly Library[] = [
  ioredis("ioredis-5", [2]),
  ioredis("ioredis-6", [3, 2]),
  nodeRedis("redis-4", [2]),
  nodeRedis("redis-5", [2, 3]),
  nodeRedis("redis-6", [3, 2]),
];

/** Null: all are installed. */
export function whyNoLibraries(): string | null {
  const missing = LIBRARIES.filter(({ name }) => !existsSync(`${PACKAGES}/${name}`));
  if (missing.length === 0) return null;
  return `no ${missing.map(({ name }) => name).join(", ")}: npm ci --prefix test/clients`;
}

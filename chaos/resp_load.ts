/**
 * Load as any Redis client makes it: plain sockets, pipelined, and a judge beside it.
 *
 * Each key has one writer, which writes rising versions. A version is acknowledged, or refused ("not executed", so
 * nobody may ever see it), or unknown; after an unknown one the writer goes on with a new key, as the old write may
 * take effect at any later time. Then every read has a range: at least what was acknowledged or seen before it
 * began, at most what was sent before it ended.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Prng } from "../src/base/prng.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import type { Reply } from "../src/wire/resp_client_parse.ts";
import type { NodeProcess } from "./processes.ts";

const CALL_MS_MAX = 20_000;
const DIAL_MS_MAX = 1000;
/** Redis clients may send these again by themselves: the server says them only if nothing was done. */
const NOT_EXECUTED = /^(CLUSTERDOWN|TRYAGAIN|LOADING|MOVED|MISCONF|OOM) /;

/** One key with one writer. */
export class VersionedKey {
  readonly name: string;
  sent = 0;
  acked = 0;
  /** The highest version that a read has returned. */
  seen = 0;
  unknown = 0;
  readonly refused = new Set<number>();

  constructor(name: string) {
    this.name = name;
  }

  /** What is wrong with `version`, read by a call that began when `least` was the lowest possible answer. */
  problemOf(version: number, least: number): string | null {
    if (version < least) return `${this.name}: read ${version} after ${least} was acknowledged or seen`;
    if (version > this.sent) return `${this.name}: read ${version}, only ${this.sent} were written`;
    if (this.refused.has(version)) return `${this.name}: read ${version}, which was said not to be executed`;
    this.seen = Math.max(this.seen, version);
    return null;
  }
}

export type RespCounts = {
  acked: number;
  refused: number;
  unknown: number;
  reads: number;
  connections: number;
  incrAcked: number;
  incrUnknown: number;
  /** Of the first refusals and lost calls: what was said. */
  readonly said: Map<string, number>;
};

export class RespLoad {
  readonly keys: VersionedKey[] = [];
  readonly counter: string;
  readonly counts: RespCounts = {
    acked: 0,
    refused: 0,
    unknown: 0,
    reads: 0,
    connections: 0,
    incrAcked: 0,
    incrUnknown: 0,
    said: new Map(),
  };
  readonly #nodes: readonly NodeProcess[];
  readonly #random: Prng;
  readonly #problems: string[];
  #running = true;
  readonly #lanes: Promise<void>[] = [];

  constructor(nodes: readonly NodeProcess[], random: Prng, problems: string[], name = "resp") {
    this.#nodes = nodes;
    this.#random = random;
    this.#problems = problems;
    this.counter = `${name}:counter`;
  }

  /** Begins `writers` connections that write `pipeline` keys at a time, and `readers` that read any of them. */
  start(writers: number, pipeline: number, readers: number): void {
    for (let i = 0; i < writers; i++) this.#lanes.push(this.#writer(i, pipeline));
    for (let i = 0; i < readers; i++) this.#lanes.push(this.#reader(i));
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes);
  }

  async #connected(random: Prng, lane: (connection: RespConnection) => Promise<void>): Promise<void> {
    while (this.#running) {
      const node = random.pick(this.#nodes);
      let connection: RespConnection | null = null;
      try {
        connection = await RespConnection.open(node.address, DIAL_MS_MAX);
        this.counts.connections++;
        while (this.#running && !connection.closed) await lane(connection);
      } catch {
        await sleep(10); // this node is down: another one
      } finally {
        connection?.close();
      }
    }
  }

  #writer(lane: number, pipeline: number): Promise<void> {
    const random = this.#random.fork(`writer ${lane}`);
    const own: VersionedKey[] = [];
    for (let i = 0; i < pipeline; i++) own.push(this.#newKey(lane, i, 0));
    let generation = 0;
    return this.#connected(random, async (connection) => {
      const calls = own.map((key) => this.#write(connection, key));
      calls.push(this.#incr(connection));
      await Promise.all(calls);
      for (const [i, key] of own.entries()) if (key.unknown > 0) own[i] = this.#newKey(lane, i, ++generation);
      await sleep(1);
    });
  }

  #newKey(lane: number, i: number, generation: number): VersionedKey {
    const key = new VersionedKey(`${this.counter}:${lane}:${i}:${generation}`);
    this.keys.push(key);
    return key;
  }

  async #write(connection: RespConnection, key: VersionedKey): Promise<void> {
    const version = ++key.sent;
    const ended = await outcomeOf(connection.call(["SET", key.name, String(version)], CALL_MS_MAX));
    this.#said(ended.said);
    if (ended.kind === "ok") {
      key.acked = Math.max(key.acked, version);
      this.counts.acked++;
    } else if (ended.kind === "refused") {
      key.refused.add(version);
      this.counts.refused++;
    } else {
      key.unknown++;
      this.counts.unknown++;
    }
  }

  async #incr(connection: RespConnection): Promise<void> {
    const ended = await outcomeOf(connection.call(["INCR", this.counter], CALL_MS_MAX));
    if (ended.kind === "ok") this.counts.incrAcked++;
    else if (ended.kind === "unknown") this.counts.incrUnknown++;
  }

  #reader(lane: number): Promise<void> {
    const random = this.#random.fork(`reader ${lane}`);
    return this.#connected(random, async (connection) => {
      const calls: Promise<void>[] = [];
      for (let i = 0; i < 4; i++) {
        const key = random.pick(this.keys.slice(-64));
        calls.push(this.#read(connection, key, Math.max(key.acked, key.seen)));
      }
      await Promise.all(calls);
      await sleep(2);
    });
  }

  async #read(connection: RespConnection, key: VersionedKey, least: number): Promise<void> {
    const ended = await outcomeOf(connection.call(["GET", key.name], CALL_MS_MAX));
    if (ended.kind !== "ok" || ended.reply === null) return;
    this.counts.reads++;
    const problem = key.problemOf(numberOf(ended.reply), least);
    if (problem !== null) this.#problems.push(problem);
  }

  #said(text: string): void {
    if (text === "") return;
    this.counts.said.set(text, (this.counts.said.get(text) ?? 0) + 1);
  }

  /** Reads every key through every node; the load must have stopped. */
  async verify(): Promise<void> {
    for (const node of this.#nodes) {
      const connection = await RespConnection.open(node.address, CALL_MS_MAX);
      try {
        for (let at = 0; at < this.keys.length; at += 500) {
          await Promise.all(
            this.keys.slice(at, at + 500).map((key) => this.#verifyKey(connection, node, key)),
          );
        }
        await this.#verifyCounter(connection, node);
      } finally {
        connection.close();
      }
    }
  }

  async #verifyKey(connection: RespConnection, node: NodeProcess, key: VersionedKey): Promise<void> {
    const version = numberOf(await connection.call(["GET", key.name], CALL_MS_MAX));
    const exact =
      key.unknown === 0 && version !== key.acked ? `${key.name}: holds ${version}, not ${key.acked}` : null;
    const problem = key.problemOf(version, key.acked) ?? exact;
    if (problem !== null) this.#problems.push(`in the end, through ${node.id}: ${problem}`);
  }

  async #verifyCounter(connection: RespConnection, node: NodeProcess): Promise<void> {
    const sum = numberOf(await connection.call(["GET", this.counter], CALL_MS_MAX));
    const { incrAcked, incrUnknown } = this.counts;
    if (sum >= incrAcked && sum <= incrAcked + incrUnknown) return;
    this.#problems.push(
      `through ${node.id}: ${this.counter} is ${sum}; ${incrAcked} were acknowledged, ${incrUnknown} are unknown`,
    );
  }
}

type Ended = {
  readonly kind: "ok" | "refused" | "unknown";
  readonly reply: Reply | null;
  readonly said: string;
};

async function outcomeOf(call: Promise<Reply>): Promise<Ended> {
  try {
    const reply = await call;
    if (reply.kind !== "error") return { kind: "ok", reply, said: "" };
    return {
      kind: NOT_EXECUTED.test(reply.text) ? "refused" : "unknown",
      reply: null,
      said: firstWord(reply.text),
    };
  } catch {
    return { kind: "unknown", reply: null, said: "connection lost" };
  }
}

function firstWord(text: string): string {
  return text.split(" ", 1)[0] as string;
}

function numberOf(reply: Reply): number {
  if (reply.kind === "nil") return 0;
  return reply.kind === "bulk" ? Number(Buffer.from(reply.bytes).toString()) : Number.NaN;
}

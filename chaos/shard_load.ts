/**
 * Load that is measured by shard: for each shard one writer by the client library and one by RESP on the nodes' ports
 * (any node takes any key), a write every TICK_MS whether those before were answered or not, reads and INCRs beside them.
 *
 * Each key has one writer with one write at a time, so every read has a range (resp_load.ts): at least what was
 * acknowledged or seen before it began, at most what was sent. A call fails if the client library gives up, or a proxy
 * port answers with an error; a connection that goes down with its node is neither, nor is LOADING, which a node
 * answers that has just been started.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../src/base/errors.ts";
import type { Prng } from "../src/base/prng.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import { connect, type NucleusClient, UnavailableError } from "../src/client/index.ts";
import { slotOfKey } from "../src/client/text.ts";
import type { ClusterMap } from "../src/wire/cluster_map.ts";
import type { Reply } from "../src/wire/resp_client_parse.ts";
import type { MachineWatch, Span } from "./machine.ts";
import type { NodeProcess } from "./processes.ts";
import { VersionedKey } from "./resp_load.ts";

const TICK_MS = 12;
/** The client library gives up after this. */
const CALL_MS_MAX = 5000;
const DIAL_MS_MAX = 1000;
const KEYS_PER_LANE = 128;
export const WINDOW_MS = 100;
const NOT_EXECUTED = /^(CLUSTERDOWN|TRYAGAIN|MOVED) /;
const LOADING = /^LOADING /;

export type Kind = "native" | "resp";
/** Left out of what is judged: after a leader was killed, its shards. */
export type LeftOut = Span & { readonly shards: readonly string[] };

/** `cut`: the connection ended with the node. `loading`: the node begins, and sends clients elsewhere. */
type Fate =
  | { readonly kind: "ok"; readonly value: string | number | null }
  | { readonly kind: "refused" | "unknown" | "cut" | "loading"; readonly said: string };

type Door = {
  readonly kind: Kind;
  set(key: string, value: string): Promise<Fate>;
  get(key: string): Promise<Fate>;
  incr(key: string): Promise<Fate>;
};

type Sample = { readonly atMs: number; readonly tookMs: number };

export type Failure = {
  readonly kind: Kind;
  readonly shard: string;
  readonly atMs: number;
  readonly said: string;
};

export type Windows = {
  readonly filled: number;
  readonly emptyAtMs: readonly number[];
  readonly notJudged: number;
};

export type Percentile = { readonly ms: number; readonly judged: number; readonly notJudged: number };

type Lane = {
  readonly door: Door;
  readonly shard: string;
  readonly tags: readonly string[];
  readonly keys: VersionedKey[];
  readonly busy: boolean[];
  next: number;
  generation: number;
  readonly counter: string;
  incrAcked: number;
  incrUnknown: number;
  /** When writes were acknowledged. */
  readonly ackMs: number[];
  readonly samples: Sample[];
};

export class ShardLoad {
  readonly failures: Failure[] = [];
  writes = 0;
  reads = 0;
  /** Calls whose connection ended with its node. */
  cut = 0;
  /** Calls to a node that had begun a moment ago, and said so. */
  loading = 0;
  readonly shards: readonly string[];
  readonly #lanes: Lane[];
  readonly #db: NucleusClient<string>;
  readonly #resp: RespDoor;
  readonly #random: Prng;
  readonly #problems: string[];
  readonly #open = new Set<Promise<void>>();
  #running = true;
  #loop: Promise<void> = Promise.resolve();

  constructor(url: string, nodes: readonly NodeProcess[], map: ClusterMap, random: Prng, problems: string[]) {
    this.#db = connect(url, { timeoutMs: CALL_MS_MAX, name: "shard-load" });
    this.#resp = new RespDoor(nodes, random.fork("doors"));
    this.#random = random;
    this.#problems = problems;
    this.shards = map.shards.map(({ id }) => id);
    const doors: Door[] = [nativeDoor(this.#db), this.#resp];
    this.#lanes = this.shards.flatMap((shard) => doors.map((door) => laneOf(door, shard, map)));
  }

  start(): void {
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#loop;
    await Promise.all(this.#open);
  }

  async close(): Promise<void> {
    this.#resp.close();
    await this.#db.close();
  }

  async #run(): Promise<void> {
    for (let tick = 0; this.#running; tick++) {
      for (const lane of this.#lanes) {
        this.#begin(this.#write(lane));
        if (tick % 2 === 0) this.#begin(this.#read(lane));
        if (tick % 8 === 0) this.#begin(this.#incr(lane));
      }
      await sleep(TICK_MS);
    }
  }

  #begin(call: Promise<void>): void {
    this.#open.add(call);
    void call.finally(() => this.#open.delete(call));
  }

  /** Nothing if every key waits for an answer: then the cluster does nothing at all. */
  async #write(lane: Lane): Promise<void> {
    const place = freePlace(lane);
    if (place < 0) return;
    const key = lane.keys[place] as VersionedKey;
    const version = ++key.sent;
    lane.busy[place] = true;
    const fate = await this.#timed(lane, () => lane.door.set(key.name, String(version)));
    lane.busy[place] = false;
    if (fate.kind === "ok") {
      key.acked = version;
      this.writes++;
      lane.ackMs.push(performance.now());
      return;
    }
    if (fate.kind === "refused" || fate.kind === "loading") {
      key.refused.add(version);
      return;
    }
    // The old write may take effect at any later time: a new key. The old one is still read in the end.
    key.unknown++;
    lane.keys.push(key);
    lane.busy.push(true);
    lane.keys[place] = keyOf(lane, place, ++lane.generation);
  }

  async #read(lane: Lane): Promise<void> {
    const key = this.#random.pick(lane.keys);
    const least = Math.max(key.acked, key.seen);
    const fate = await this.#timed(lane, () => lane.door.get(key.name));
    if (fate.kind !== "ok") return;
    this.reads++;
    const problem = key.problemOf(Number(fate.value ?? 0), least);
    if (problem !== null) this.#problems.push(`${lane.door.kind}: ${problem}`);
  }

  async #incr(lane: Lane): Promise<void> {
    const fate = await this.#timed(lane, () => lane.door.incr(lane.counter));
    if (fate.kind === "ok") lane.incrAcked++;
    else if (fate.kind !== "refused" && fate.kind !== "loading") lane.incrUnknown++;
  }

  async #timed(lane: Lane, call: () => Promise<Fate>): Promise<Fate> {
    const atMs = performance.now();
    const fate = await call();
    if (fate.kind === "ok") lane.samples.push({ atMs, tookMs: performance.now() - atMs });
    else if (fate.kind === "cut") this.cut++;
    else if (fate.kind === "loading") this.loading++;
    else this.failures.push({ kind: lane.door.kind, shard: lane.shard, atMs, said: fate.said });
    return fate;
  }

  /** Reads every key, by both doors in turns, while the load goes on or after it. */
  async readBack(): Promise<number> {
    let count = 0;
    for (const lane of this.#lanes) {
      const keys = [...lane.keys];
      for (let at = 0; at < keys.length; at += 64) {
        await Promise.all(keys.slice(at, at + 64).map((key) => this.#readBack(key)));
      }
      count += keys.length;
    }
    return count;
  }

  async #readBack(key: VersionedKey): Promise<void> {
    const least = Math.max(key.acked, key.seen);
    const value = await this.#db.get(key.name).catch((error) => `an error: ${messageOf(error)}`);
    const problem = key.problemOf(Number(value ?? 0), least);
    if (problem !== null) this.#problems.push(`read back (${value}): ${problem}`);
  }

  /** After the load: every key exact, every sum right. */
  async verify(): Promise<void> {
    await this.readBack();
    for (const { keys } of this.#lanes) {
      for (const key of keys) {
        if (key.unknown > 0 || key.seen === key.acked) continue;
        this.#problems.push(`${key.name}: holds ${key.seen}, not ${key.acked}`);
      }
    }
    for (const { counter, incrAcked, incrUnknown } of this.#lanes) {
      const sum = Number((await this.#db.get(counter)) ?? 0);
      if (sum >= incrAcked && sum <= incrAcked + incrUnknown) continue;
      this.#problems.push(`${counter} is ${sum}; ${incrAcked} were acknowledged, ${incrUnknown} are unknown`);
    }
  }

  /** Failures of calls that began in `span`, those not counted that began when a leader's shard is left out. */
  failuresIn(span: Span, kind: Kind, leftOut: readonly LeftOut[] = []): Failure[] {
    return this.failures.filter(
      (one) =>
        one.kind === kind &&
        isIn(one.atMs, span) &&
        !leftOut.some((out) => out.shards.includes(one.shard) && isIn(one.atMs, out)),
    );
  }

  /** What was said, how often, and when first and last after the start of the first of them. */
  failureLines(): string[] {
    const startMs = this.failures[0]?.atMs ?? 0;
    const groups = new Map<string, number[]>();
    for (const { kind, shard, said, atMs } of this.failures) {
      const what = `${kind} ${shard}: ${said}`;
      groups.set(what, [...(groups.get(what) ?? []), Math.round(atMs - startMs)]);
    }
    return [...groups].map(
      ([what, at]) => `FAILED ${at.length} times, +${at[0]} to +${at.at(-1)} ms, ${what}`,
    );
  }

  /**
   * Windows with an acknowledged write of the shard, and without one. Not looked at: those of `leftOut`; not judged: empty
   * ones in which the machine stood still.
   */
  windows(shard: string, span: Span, leftOut: readonly LeftOut[], machine: MachineWatch): Windows {
    const acks = this.#lanes.filter((lane) => lane.shard === shard).flatMap(({ ackMs }) => ackMs);
    const outs = leftOut.filter(({ shards }) => shards.includes(shard));
    const withAck = new Set(acks.map((ms) => Math.floor((ms - span.fromMs) / WINDOW_MS)));
    const emptyAtMs: number[] = [];
    let filled = 0;
    let notJudged = 0;
    for (let i = 0; span.fromMs + (i + 1) * WINDOW_MS <= span.toMs; i++) {
      const fromMs = span.fromMs + i * WINDOW_MS;
      const window = { fromMs, toMs: fromMs + WINDOW_MS };
      if (outs.some((out) => overlap(out, window))) continue;
      if (withAck.has(i)) filled++;
      else if (machine.stoodStill(window)) notJudged++;
      else emptyAtMs.push(fromMs);
    }
    return { filled, emptyAtMs, notJudged };
  }

  /**
   * The part `share` of the answered calls that began in `span` took at most `ms`. Those that `leftOut` is about are not
   * looked at, and those not judged during which the machine stood still.
   */
  percentile(
    kind: Kind,
    share: number,
    span: Span,
    leftOut: readonly LeftOut[],
    machine: MachineWatch,
  ): Percentile {
    const samples = this.#lanes
      .filter(({ door }) => door.kind === kind)
      .flatMap(({ shard, samples: all }) => {
        const outs = leftOut.filter(({ shards }) => shards.includes(shard));
        return all.filter(({ atMs }) => isIn(atMs, span) && !outs.some((out) => isIn(atMs, out)));
      });
    const took = samples
      .filter(({ atMs, tookMs }) => !machine.stoodStill({ fromMs: atMs, toMs: atMs + tookMs }))
      .map(({ tookMs }) => tookMs)
      .sort((a, b) => a - b);
    const ms = took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? Number.NaN;
    return { ms, judged: took.length, notJudged: samples.length - took.length };
  }
}

const isIn = (ms: number, { fromMs, toMs }: Span): boolean => fromMs <= ms && ms < toMs;
const overlap = (a: Span, b: Span): boolean => a.fromMs < b.toMs && b.fromMs < a.toMs;

/** Names of keys that are in the shard's slots, as the map has them now. */
function tagsOf(map: ClusterMap, shard: string, count: number, prefix: string): string[] {
  const tags: string[] = [];
  for (let i = 0; tags.length < count; i++) {
    const tag = `{${prefix}${i}}`;
    const slot = slotOfKey(tag);
    const range = map.ranges.find(([first, last]) => first <= slot && slot <= last);
    if (range === undefined) throw new Error(`nobody serves slot ${slot}`);
    if (map.shards[range[2]]?.id === shard) tags.push(tag);
  }
  return tags;
}

function laneOf(door: Door, shard: string, map: ClusterMap): Lane {
  const tags = tagsOf(map, shard, KEYS_PER_LANE, `${door.kind}:`);
  const lane: Lane = {
    ...{ door, shard, tags, keys: [], busy: tags.map(() => false), next: 0, generation: 0 },
    ...{ counter: `${tags[0]}:counter`, incrAcked: 0, incrUnknown: 0, ackMs: [], samples: [] },
  };
  for (const place of tags.keys()) lane.keys.push(keyOf(lane, place, 0));
  return lane;
}

const keyOf = (lane: Lane, place: number, generation: number): VersionedKey =>
  new VersionedKey(`${lane.tags[place]}:${generation}`);

function freePlace(lane: Lane): number {
  for (let i = 0; i < KEYS_PER_LANE; i++) {
    lane.next = (lane.next + 1) % KEYS_PER_LANE;
    if (lane.busy[lane.next] === false) return lane.next;
  }
  return -1;
}

function nativeDoor(db: NucleusClient<string>): Door {
  const fateOf = async (call: Promise<string | number | undefined>): Promise<Fate> => {
    try {
      return { kind: "ok", value: (await call) ?? null };
    } catch (error) {
      return { kind: error instanceof UnavailableError ? "refused" : "unknown", said: messageOf(error) };
    }
  };
  return {
    kind: "native",
    set: (key, value) => fateOf(db.set(key, value)),
    get: (key) => fateOf(db.get(key)),
    incr: (key) => fateOf(db.incr(key)),
  };
}

/** A connection to each node that runs; each call goes by any of them. */
class RespDoor implements Door {
  readonly kind = "resp";
  readonly #nodes: readonly NodeProcess[];
  readonly #random: Prng;
  readonly #connections = new Map<NodeProcess, RespConnection>();
  /** Which process a connection leads to: a node that was started again is another one. */
  readonly #pids = new WeakMap<RespConnection, number>();
  readonly #dialing = new Set<NodeProcess>();

  constructor(nodes: readonly NodeProcess[], random: Prng) {
    this.#nodes = nodes;
    this.#random = random;
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
  }

  set(key: string, value: string): Promise<Fate> {
    return this.#call(["SET", key, value]);
  }

  get(key: string): Promise<Fate> {
    return this.#call(["GET", key]);
  }

  incr(key: string): Promise<Fate> {
    return this.#call(["INCR", key]);
  }

  async #call(words: readonly string[]): Promise<Fate> {
    for (const node of this.#nodes) if (!node.isDown && !this.#connections.has(node)) void this.#dial(node);
    const node = this.#random.pick([
      ...this.#connections.keys(),
      ...(this.#connections.size === 0 ? [null] : []),
    ]);
    const connection = node === null ? undefined : this.#connections.get(node);
    if (node === null || connection === undefined) return { kind: "cut", said: "no connection" };
    try {
      return fateOfReply(await connection.call(words, CALL_MS_MAX));
    } catch (error) {
      if (this.#connections.get(node) === connection) this.#connections.delete(node);
      const isOver = node.isDown || node.pid !== this.#pids.get(connection);
      return { kind: isOver ? "cut" : "unknown", said: `${node.id}: ${messageOf(error)}` };
    }
  }

  async #dial(node: NodeProcess): Promise<void> {
    if (this.#dialing.has(node)) return;
    this.#dialing.add(node);
    const { pid } = node;
    try {
      const connection = await RespConnection.open(node.address, DIAL_MS_MAX);
      connection.onLost = () => {
        if (this.#connections.get(node) === connection) this.#connections.delete(node);
      };
      this.#pids.set(connection, pid);
      this.#connections.set(node, connection);
    } catch {
      await sleep(100); // it is starting
    } finally {
      this.#dialing.delete(node);
    }
  }
}

function fateOfReply(reply: Reply): Fate {
  if (reply.kind === "error" && LOADING.test(reply.text)) return { kind: "loading", said: reply.text };
  if (reply.kind === "error")
    return { kind: NOT_EXECUTED.test(reply.text) ? "refused" : "unknown", said: reply.text };
  if (reply.kind === "bulk") return { kind: "ok", value: Buffer.from(reply.bytes).toString() };
  return { kind: "ok", value: reply.kind === "integer" ? Number(reply.value) : null };
}

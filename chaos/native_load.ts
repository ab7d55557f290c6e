/**
 * Load by the native client: increments whose sums must be exact, registers whose history must be linearizable,
 * and one writer a millisecond by which the time without acknowledgements is measured.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../src/base/errors.ts";
import type { Prng } from "../src/base/prng.ts";
import { connect, type NucleusClient, OutcomeUnknownError, UnavailableError } from "../src/client/index.ts";
import { History, type RegisterOp, type Result } from "../src/sim/history.ts";
import { checkHistory } from "../src/sim/linearizability.ts";

/** Longer than any fault lasts, so that hardly a call has to give up. */
const CALL_MS_MAX = 40_000;
const COUNTERS = 4;
const REGISTERS = 5;
/** Registers get new names after so many operations: the search for an order stays small. */
const OPS_PER_REGISTER = 400;
const WRITE_INTERVAL_MS = 1;
/** Ballast: values that fill the log, so that snapshots are taken and sent. */
const BALLAST_KEYS = 64;
const BALLAST_BYTES = 32 * 1024;
const BALLAST_LANES = 8;

export type NativeCounts = {
  incrs: number;
  unknown: number;
  refused: number;
  registerOps: number;
  writes: number;
};

export class NativeLoad {
  readonly counts: NativeCounts = { incrs: 0, unknown: 0, refused: 0, registerOps: 0, writes: 0 };
  /** Of calls that failed: why, and how often. */
  readonly said = new Map<string, number>();
  readonly history = new History();
  readonly #db: NucleusClient<string>;
  readonly #probe: NucleusClient<string>;
  readonly #random: Prng;
  readonly #problems: string[];
  readonly #sums: Set<number>[] = [];
  #running = true;
  readonly #lanes: Promise<void>[] = [];
  /** Of each ballast key: the version that was last sent, and last acknowledged. */
  readonly #ballast = Array.from({ length: BALLAST_KEYS }, () => ({ sent: 0, acked: 0 }));
  readonly #padding = "x".repeat(BALLAST_BYTES);
  /** When writes were acknowledged, milliseconds of performance.now(). */
  readonly #acks: number[] = [];

  constructor(url: string, random: Prng, problems: string[]) {
    this.#db = connect(url, { timeoutMs: CALL_MS_MAX, name: "load" });
    this.#probe = connect(url, { timeoutMs: CALL_MS_MAX, name: "probe" });
    this.#random = random;
    this.#problems = problems;
    for (let i = 0; i < COUNTERS; i++) this.#sums.push(new Set());
  }

  /** `probes`: beside them the writer by which gaps are measured. */
  start(incrLanes: number, registerLanes: number, probes = true): void {
    for (let i = 0; i < incrLanes; i++) this.#lanes.push(this.#incrLane(i));
    for (let i = 0; i < registerLanes; i++) this.#lanes.push(this.#registerLane(i));
    if (probes) this.#lanes.push(this.#probeLane());
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes);
  }

  async close(): Promise<void> {
    await this.#db.close();
    await this.#probe.close();
  }

  async #incrLane(lane: number): Promise<void> {
    const random = this.#random.fork(`incr ${lane}`);
    while (this.#running) {
      const calls: Promise<void>[] = [];
      for (let i = 0; i < 8; i++) calls.push(this.#incr(random.below(COUNTERS)));
      await Promise.all(calls);
      await sleep(1);
    }
  }

  async #incr(counter: number): Promise<void> {
    try {
      const sum = await this.#db.incr(`native:counter:${counter}`);
      const sums = this.#sums[counter] as Set<number>;
      if (sums.has(sum)) this.#problems.push(`native:counter:${counter}: ${sum} was answered twice`);
      sums.add(sum);
      this.counts.incrs++;
    } catch (error) {
      this.#count(error);
    }
  }

  #count(error: unknown): void {
    const said = messageOf(error);
    this.said.set(said, (this.said.get(said) ?? 0) + 1);
    if (error instanceof OutcomeUnknownError) this.counts.unknown++;
    else if (error instanceof UnavailableError) this.counts.refused++;
    else this.#problems.push(`the native client failed: ${String(error)}`);
  }

  async #registerLane(lane: number): Promise<void> {
    const random = this.#random.fork(`register ${lane}`);
    let value = 0;
    while (this.#running) {
      const epoch = Math.floor(this.counts.registerOps / OPS_PER_REGISTER);
      const key = `register:${random.below(REGISTERS)}:${epoch}`;
      await this.#register(lane, key, drawOp(random, `${lane}.${++value}`));
      this.counts.registerOps++;
      await sleep(random.below(8));
    }
  }

  async #register(lane: number, key: string, op: RegisterOp): Promise<void> {
    const id = this.history.invoke(lane, key, op);
    try {
      this.history.complete(id, "ok", await this.#run(key, op));
    } catch (error) {
      this.history.complete(id, error instanceof UnavailableError ? "not_executed" : "unknown");
      if (op.kind !== "get") this.#count(error);
    }
  }

  async #run(key: string, op: RegisterOp): Promise<Result> {
    if (op.kind === "get") return (await this.#db.get(key)) ?? null;
    if (op.kind === "set") return (await this.#db.set(key, op.value)) !== undefined;
    return (await this.#db.del(key)) === 1;
  }

  /** Writes about `bytes` of large values, as fast as they are acknowledged. */
  async ballast(bytes: number): Promise<void> {
    let left = Math.ceil(bytes / BALLAST_BYTES);
    const lane = async (i: number): Promise<void> => {
      for (let n = 0; left > 0; n++) {
        left--;
        await this.#writeBallast((i + n * BALLAST_LANES) % BALLAST_KEYS);
      }
    };
    await Promise.all(Array.from({ length: BALLAST_LANES }, (_, i) => lane(i)));
  }

  /** Each key has one lane, and so one write at a time. */
  async #writeBallast(i: number): Promise<void> {
    const key = this.#ballast[i] as { sent: number; acked: number };
    const version = ++key.sent;
    try {
      await this.#db.set(`ballast:${i}`, `${version} ${this.#padding}`);
      key.acked = version;
    } catch (error) {
      this.#count(error);
    }
  }

  async #verifyBallast(): Promise<void> {
    for (const [i, { sent, acked }] of this.#ballast.entries()) {
      const value = (await this.#db.get(`ballast:${i}`)) ?? "0 ";
      const version = Number(value.split(" ", 1)[0]);
      const whole = version === 0 || value === `${version} ${this.#padding}`;
      if (whole && version >= acked && version <= sent) continue;
      this.#problems.push(
        `ballast:${i} has version ${version}, ${whole ? "whole" : "broken"}; ${acked} was acknowledged`,
      );
    }
  }

  /** A write every millisecond, whether the ones before it were answered or not. */
  async #probeLane(): Promise<void> {
    const open = new Set<Promise<unknown>>();
    for (let i = 0; this.#running; i++) {
      const call = this.#probe.set(`probe:${i % 16}`, String(i)).then(
        () => {
          this.#acks.push(performance.now());
          this.counts.writes++;
        },
        (error) => this.#count(error),
      );
      open.add(call);
      void call.finally(() => open.delete(call));
      await sleep(WRITE_INTERVAL_MS);
    }
    await Promise.all(open);
  }

  /** The longest time without an acknowledgement that touches [fromMs, toMs]. */
  longestGap(fromMs: number, toMs: number): number {
    let longest = 0;
    for (let i = this.#acks.length - 1; i > 0; i--) {
      const [before, after] = [this.#acks[i - 1] as number, this.#acks[i] as number];
      if (after < fromMs) break;
      if (before <= toMs) longest = Math.max(longest, after - before);
    }
    return longest;
  }

  /** Acknowledgements since `ms`. */
  acksSince(ms: number): number {
    let count = 0;
    for (let i = this.#acks.length - 1; i >= 0 && (this.#acks[i] as number) >= ms; i--) count++;
    return count;
  }

  /** Judges sums and history; the load must have stopped. */
  async verify(): Promise<void> {
    for (const [i, sums] of this.#sums.entries()) {
      const sum = Number((await this.#db.get(`native:counter:${i}`)) ?? 0);
      const highest = Math.max(0, ...sums);
      if (this.counts.unknown === 0 && (sum !== sums.size || highest !== sums.size)) {
        this.#problems.push(
          `native:counter:${i} is ${sum}; ${sums.size} were acknowledged, the highest as ${highest}`,
        );
      } else if (sum < sums.size || sum > sums.size + this.counts.unknown) {
        this.#problems.push(
          `native:counter:${i} is ${sum}; ${sums.size} acknowledged, ${this.counts.unknown} unknown`,
        );
      }
    }
    await this.#verifyBallast();
    const verdict = checkHistory(this.history.finish());
    if (verdict.kind === "violation") this.#problems.push(`not linearizable: ${verdict.reason}`);
    if (verdict.kind === "undecided")
      this.#problems.push(`linearizability of ${verdict.key} is undecided after ${verdict.steps} steps`);
  }
}

function drawOp(random: Prng, value: string): RegisterOp {
  const draw = random.below(10);
  if (draw < 5) return { kind: "get" };
  return draw < 9 ? { kind: "set", value } : { kind: "del" };
}

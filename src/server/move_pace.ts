/**
 * How fast the source of a move copies: as fast as both shards take it while nobody uses them, and so that clients hardly
 * notice while somebody does.
 *
 *     nobody asks for anything    CHUNKS_OPEN chunks on their way, two made in a turn
 *     clients are served          one on its way; when it is applied there, a rest REST_TIMES as long as that took, and
 *                                 REST_TIMES_LATE when all was copied once
 *
 * A chunk's way (made, sent, synced on a majority, applied, said) goes through the queues that clients' commands wait in, on
 * both sides: processors, log, network. So however busy the machines are, copying has a fixed share of what a client with
 * one command at a time would get, and steps back by itself where that gets less (the idea of delay-based congestion
 * control, as in TCP Vegas; here the share is fixed, so that it needs no idle delay to compare with).
 *
 * Bytes are bounded as well, by the rate that was set.
 */
import { KiB, MiB } from "../base/units.ts";
import { ShardUse } from "./shard_use.ts";
import { TICK_MS } from "./timing.ts";

/**
 * 480 records of 100 bytes: 0.2 ms of processor time to make, 0.4 ms to apply on each replica of the target (Node 20, 60,000
 * keys in 256 slots, test machine). So 0.4 us a key here and 0.8 us there, and clients wait behind one chunk at most so long.
 */
export const CHUNK_BYTES = 64 * KiB;
/** Two rounds of a sync on a majority, so that the target is never idle. */
const CHUNKS_OPEN = 8;
/** Made in one turn: 0.4 ms. */
const CHUNKS_PER_TURN = 2;
/**
 * Copying takes a twentieth of the time: of a million keys, on two cores that carry six nodes, some 4,700 a second beside 3,700
 * commands, with pauses of 7 ms in the median and twice the p99 of before; with a fifth of the time pauses are up to 17 ms
 * (docs/resharding.md).
 */
const REST_TIMES = 20;
/**
 * What changed meanwhile is less, and must go faster than it changes; how much is left when the slots are sealed, clients
 * wait for.
 */
const REST_TIMES_LATE = 4;
/** A chunk that took long because a leader died says nothing of the load. */
const REST_MS_MAX = 500;
/** A fourth of a second's bytes may leave at once. */
const BURST_PARTS = 4;
const RATE_DEFAULT = 64 * MiB;

export class MovePace {
  #bytesAllowed = 0;
  #madeInTurn = 0;
  /** When the chunk was made that is on its way alone; -1: none is, or several are. */
  #aloneSinceMs = -1;
  #restUntilMs = 0;
  #tick = 0;
  readonly #use: ShardUse;

  constructor(commands: number) {
    this.#use = new ShardUse(commands);
  }

  /** `commands`: of clients, that the source's replica took so far. */
  tick(bytesPerSecond: number, commands: number): void {
    this.#tick++;
    this.#use.look(commands, this.#tick);
    const rate = bytesPerSecond || RATE_DEFAULT;
    const burst = Math.max(CHUNK_BYTES, rate / BURST_PARTS);
    this.#bytesAllowed = Math.min(burst, this.#bytesAllowed + (rate * TICK_MS) / 1000);
  }

  beginTurn(): void {
    this.#madeInTurn = 0;
  }

  /** Clients are served, here or by the target. */
  noteBusy(): void {
    this.#use.note(this.#tick);
  }

  get isBusy(): boolean {
    return this.#use.isBusy(this.#tick);
  }

  /** Another chunk may be made now, with `open` on their way. Who waits for sealed slots waits for all that is left. */
  mayMake(open: number, isSealed: boolean, nowMs: number): boolean {
    if (this.#madeInTurn >= CHUNKS_PER_TURN || open >= CHUNKS_OPEN) return false;
    if (isSealed) return true;
    if (this.#bytesAllowed <= 0) return false;
    return !this.isBusy || (open === 0 && nowMs >= this.#restUntilMs);
  }

  /** In the next turn there may be another one, which nothing but this copy asks for. */
  mayGoOn(open: number, isSealed: boolean): boolean {
    if (open >= CHUNKS_OPEN) return false;
    return isSealed || (!this.isBusy && this.#bytesAllowed > 0);
  }

  made(bytes: number, open: number, nowMs: number): void {
    this.#bytesAllowed -= bytes;
    this.#madeInTurn++;
    this.#aloneSinceMs = open === 1 ? nowMs : -1;
  }

  /** Nothing is on its way any more. `isLate`: all was copied once. */
  taken(nowMs: number, isLate: boolean): void {
    if (this.#aloneSinceMs < 0) return;
    const times = isLate ? REST_TIMES_LATE : REST_TIMES;
    const restMs = Math.min(REST_MS_MAX, times * (nowMs - this.#aloneSinceMs));
    this.#restUntilMs = nowMs + restMs;
    this.#aloneSinceMs = -1;
  }
}

/**
 * What the machine did to the cluster: times in which a process of it was ready to run and got no core, or the disk took
 * long for a sync of this process's own, or this process itself did not run. A machine that is shared stands still for
 * others now and then; what happens in such a moment says nothing of the cluster. On an idle machine there are none.
 *
 *     /proc/<pid>/schedstat    ns on a core, ns ready and waiting for one, times scheduled     (Linux)
 */
import * as fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { NodeProcess } from "./processes.ts";

const SAMPLE_MS = 20;
/** Waits are summed over so many samples, about 100 ms: many short ones stop a cluster like a long one. */
const SAMPLES = 5;
/** A window of 100 ms cannot be held against the cluster if so much of it was taken away. */
export const STALL_MS = 40;

export type Span = { readonly fromMs: number; readonly toMs: number };

export class MachineWatch {
  readonly stalls: Span[] = [];
  readonly #processes: readonly NodeProcess[];
  readonly #file: number;
  /** Of each process: how long it had waited in all, at the last samples. */
  readonly #waits = new Map<number, { readonly atMs: number; readonly waitedMs: number }[]>();
  #running = true;
  readonly #loops: Promise<void>[];

  /** Makes a file of its own in `dir`. */
  constructor(processes: readonly NodeProcess[], dir: string) {
    this.#processes = processes;
    this.#file = fs.openSync(join(dir, "sync-probe"), "w");
    this.#loops = [this.#watchCores(), this.#watchDisk()];
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
    fs.closeSync(this.#file);
  }

  async #watchCores(): Promise<void> {
    let lastMs = performance.now();
    while (this.#running) {
      await sleep(SAMPLE_MS);
      const nowMs = performance.now();
      if (nowMs - lastMs >= STALL_MS + SAMPLE_MS) this.#note(lastMs, nowMs);
      for (const { pid } of this.#processes) if (pid > 0) this.#sample(pid, nowMs);
      lastMs = nowMs;
    }
  }

  /** The kernel counts a wait when it is over: it may have begun long before the first of these samples. */
  #sample(pid: number, nowMs: number): void {
    const waits = this.#waits.get(pid) ?? [];
    this.#waits.set(pid, waits);
    const waitedMs = waitedMsOf(pid);
    const first = waits[0] ?? { atMs: nowMs, waitedMs };
    const ms = waitedMs - first.waitedMs;
    if (ms >= STALL_MS) this.#note(Math.min(first.atMs, nowMs - ms), nowMs);
    waits.push({ atMs: nowMs, waitedMs });
    if (waits.length > SAMPLES) waits.shift();
  }

  /** Those that touch become one: they come in the order of their ends. */
  #note(fromMs: number, toMs: number): void {
    let from = fromMs;
    for (let last = this.stalls.at(-1); last !== undefined && last.toMs >= from; last = this.stalls.at(-1)) {
      from = Math.min(from, last.fromMs);
      this.stalls.pop();
    }
    this.stalls.push({ fromMs: from, toMs });
  }

  async #watchDisk(): Promise<void> {
    const bytes = new Uint8Array(4096);
    while (this.#running) {
      const fromMs = performance.now();
      fs.writeSync(this.#file, bytes, 0, bytes.length, 0);
      await new Promise<void>((done) => fs.fdatasync(this.#file, () => done()));
      const toMs = performance.now();
      if (toMs - fromMs >= STALL_MS) this.#note(fromMs, toMs);
      await sleep(SAMPLE_MS);
    }
  }

  /** Whether it stood still at some moment of the span. */
  stoodStill(span: Span): boolean {
    return this.stalls.some((stall) => stall.fromMs < span.toMs && span.fromMs < stall.toMs);
  }
}

function waitedMsOf(pid: number): number {
  try {
    return Number(fs.readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[1]) / 1e6;
  } catch {
    return 0; // it has ended, or this is no Linux
  }
}

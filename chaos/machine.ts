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
/** A window of 100 ms cannot be held against the cluster if so much of it was taken away. */
export const STALL_MS = 40;

export type Span = { readonly fromMs: number; readonly toMs: number };

export class MachineWatch {
  readonly stalls: Span[] = [];
  readonly #processes: readonly NodeProcess[];
  readonly #file: number;
  readonly #waitedMs = new Map<number, number>();
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
      if (nowMs - lastMs >= STALL_MS + SAMPLE_MS) this.stalls.push({ fromMs: lastMs, toMs: nowMs });
      for (const { pid } of this.#processes) if (pid > 0) this.#sample(pid, lastMs, nowMs);
      lastMs = nowMs;
    }
  }

  /** The kernel counts a wait when it is over: it may have begun long before the last sample. */
  #sample(pid: number, lastMs: number, nowMs: number): void {
    const waitedMs = waitedMsOf(pid);
    const ms = waitedMs - (this.#waitedMs.get(pid) ?? waitedMs);
    this.#waitedMs.set(pid, waitedMs);
    if (ms >= STALL_MS) this.stalls.push({ fromMs: lastMs - ms, toMs: nowMs });
  }

  async #watchDisk(): Promise<void> {
    const bytes = new Uint8Array(4096);
    while (this.#running) {
      const fromMs = performance.now();
      fs.writeSync(this.#file, bytes, 0, bytes.length, 0);
      await new Promise<void>((done) => fs.fdatasync(this.#file, () => done()));
      const toMs = performance.now();
      if (toMs - fromMs >= STALL_MS) this.stalls.push({ fromMs, toMs });
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

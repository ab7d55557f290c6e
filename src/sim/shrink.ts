/**
 * Makes a failing plan small: the fewest faults, the shortest time, the smallest workload that still break the
 * same rule. Delta debugging (Zeller & Hildebrandt 2002) over the fault list; everything else by halving.
 *
 * A plan that breaks another rule is not a smaller form of this failure, so it does not count; a plan is never
 * taken over unless it was run and failed.
 */
import { type Fault, type Plan, QUIET } from "./plan.ts";

/** Runs a plan; the rule it breaks, or null. */
export type Judge = (plan: Plan) => { readonly rule: string; readonly atUs: number } | null;

export type Shrunk = { readonly plan: Plan; readonly runs: number };

export function shrink(plan: Plan, rule: string, judge: Judge, runsMax = 300): Shrunk {
  const state = new Shrinker(plan, rule, judge, runsMax);
  state.cutHorizon();
  state.dropFaults();
  state.shrinkWorkload();
  state.quietKnobs();
  state.dropFaults();
  state.cutHorizon();
  return { plan: state.best, runs: state.runs };
}

class Shrinker {
  best: Plan;
  runs = 0;
  readonly #rule: string;
  readonly #judge: Judge;
  readonly #runsMax: number;

  constructor(plan: Plan, rule: string, judge: Judge, runsMax: number) {
    this.best = plan;
    this.#rule = rule;
    this.#judge = judge;
    this.#runsMax = runsMax;
  }

  /** Takes the change if the plan still fails in the same way. */
  #try(change: Partial<Plan>): number | null {
    if (this.runs >= this.#runsMax) return null;
    this.runs++;
    const plan = { ...this.best, ...change };
    const broken = this.#judge(plan);
    if (broken === null || broken.rule !== this.#rule) return null;
    this.best = plan;
    return broken.atUs;
  }

  /** Nothing after the violation matters; and what is found at the end may already be there earlier. */
  cutHorizon(): void {
    for (const part of [0.25, 0.5, 0.75, 0.9]) {
      const horizonUs = Math.ceil(this.best.horizonUs * part);
      const faults = this.best.faults.filter(({ atUs }) => atUs < horizonUs);
      if (this.#try({ horizonUs, faults }) !== null) return;
    }
  }

  dropFaults(): void {
    let parts = 2;
    while (this.best.faults.length > 0) {
      const faults = this.best.faults;
      const size = Math.ceil(faults.length / parts);
      let dropped = false;
      for (let from = 0; from < faults.length && !dropped; from += size) {
        const left = faults.filter((_, i) => i < from || i >= from + size);
        dropped = this.#try({ faults: left }) !== null;
      }
      if (dropped) parts = Math.max(2, parts - 1);
      else if (size === 1) break;
      else parts = Math.min(faults.length, 2 * parts);
    }
    this.#shortenFaults();
  }

  #shortenFaults(): void {
    for (let i = 0; i < this.best.faults.length; i++) {
      for (const field of ["forUs", "downUs"] as const) {
        const fault = this.best.faults[i] as Fault & { forUs?: number; downUs?: number };
        const value = fault[field];
        if (value === undefined || value < 20_000) continue;
        const shorter = { ...fault, [field]: Math.floor(value / 4) } as Fault;
        this.#try({ faults: this.best.faults.map((other, j) => (j === i ? shorter : other)) });
      }
    }
  }

  shrinkWorkload(): void {
    const smaller = (change: Partial<Plan["workload"]>): boolean =>
      this.#try({ workload: { ...this.best.workload, ...change } }) !== null;
    while (
      this.best.workload.clients > 1 &&
      smaller({ clients: Math.floor(this.best.workload.clients / 2) })
    );
    while (
      this.best.workload.pipelineMax > 1 &&
      smaller({ pipelineMax: Math.floor(this.best.workload.pipelineMax / 2) })
    );
    for (const family of ["registers", "cells", "counters", "expiring"] as const) {
      if (!smaller({ [family]: 0 })) smaller({ [family]: 1 });
    }
    smaller({ valueBytes: [4, 16] });
    if (!smaller({ libraryPercent: 0 })) smaller({ libraryPercent: 100 });
    if (!smaller({ respPercent: 0 })) smaller({ respPercent: 100 });
  }

  /** Whatever need not be special becomes usual. */
  quietKnobs(): void {
    for (const name of ["disk", "net", "clock"] as const) this.#try({ [name]: QUIET[name] });
    this.#try({
      driftPpm: this.best.driftPpm.map(() => 0),
      wallOffsetMs: this.best.wallOffsetMs.map(() => 0),
    });
  }
}

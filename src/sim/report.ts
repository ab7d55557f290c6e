/** What a run has to say for itself: numbers for people and gates, and the story of what broke. */
import { formatCount } from "../base/units.ts";
import type { Cluster } from "./cluster.ts";
import type { FaultCounts } from "./disk.ts";
import { describeFault, type Plan } from "./plan.ts";
import { keysOf } from "./workload.ts";

export type SimReport = {
  readonly seed: number;
  /** What ran: keep it to replay the run. */
  readonly plan: Plan;
  /** 16 hex digits; equal for equal plans on every runtime. */
  readonly hash: string;
  readonly violation: { readonly rule: string; readonly message: string; readonly stack: string } | null;
  /** Keys whose history the search could not decide within its steps: not a pass, not a violation. */
  readonly undecided: number;
  readonly simulatedUs: number;
  readonly events: number;
  readonly operations: {
    readonly ok: number;
    /** Of those that are ok: asked through the client library. */
    readonly okByLibrary: number;
    readonly notExecuted: number;
    readonly unknown: number;
  };
  readonly happened: Cluster["happened"];
  /** Moves of slots that their target's log decided, one way or the other. */
  readonly moves: { readonly done: number; readonly aborted: number };
  /** Faults that took effect, by name. */
  readonly faults: FaultCounts;
  /** How often each checker had something to judge. */
  readonly judged: ReadonlyMap<string, number>;
  /** The last lines of the trace, if it was recorded. */
  readonly lines: readonly string[];
};

/** A run that did too little proves nothing: 30 simulated seconds and 300 acknowledged operations. */
export function counts(report: SimReport): boolean {
  return report.simulatedUs >= 30_000_000 && report.operations.ok >= 300;
}

export function summaryOf(report: SimReport): string {
  const { seed, plan, operations, hash, violation } = report;
  const faults = [...report.faults].map(([name, count]) => `${name} ${count}`).join(", ");
  const verdict =
    violation === null ? (report.undecided === 0 ? "ok" : `ok (${report.undecided} undecided)`) : "FAILED";
  return (
    `${plan.managed === undefined ? "" : "managed "}seed ${seed}: ${verdict}, ${plan.nodes} nodes, ${movesOf(report)}${(report.simulatedUs / 1e6).toFixed(0)} s, ` +
    `${formatCount(operations.ok)} operations acknowledged, ${operations.unknown} unknown, ` +
    `${operations.notExecuted} refused; ${faults || "no faults"}; hash ${hash}`
  );
}

function movesOf({ plan, moves, happened: { restores, losses } }: SimReport): string {
  if (plan.managed === undefined) return "";
  const more = `${restores > 0 ? "restored, " : ""}${losses > 0 ? `${losses} shards lost, ` : ""}`;
  return `${plan.managed.controls} control processes, ${moves.done} moves done and ${moves.aborted} aborted, ${more}`;
}

/** The whole story of a violation: the rule, what was done to the cluster, what happened last. */
export function storyOf(report: SimReport): string {
  const { violation, plan } = report;
  if (violation === null) return summaryOf(report);
  const { workload, settings } = plan;
  const before = plan.faults.filter(({ atUs }) => atUs <= report.simulatedUs);
  return [
    summaryOf(report),
    "",
    `Broken rule: ${violation.message}`,
    ...(violation.stack === "" ? [] : ["", violation.stack]),
    "",
    `Cluster: ${plan.nodes} nodes, elections after ${settings.electionMs} ms, segments of ${settings.segmentBytes} bytes;`,
    `${workload.clients} clients on ${keysOf(workload).length} keys.`,
    before.length === 0 ? "No faults before it." : "Faults before it:",
    ...before.map((fault) => `  ${describeFault(fault)}`),
    "",
    ...(report.lines.length === 0
      ? []
      : [`The last ${report.lines.length} events:`, ...report.lines.map((line) => `  ${line}`)]),
  ].join("\n");
}

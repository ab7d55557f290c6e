/**
 * What many seeds came to, as plain data: written by one process, summed over several, shown as a table.
 *
 * A seed counts if it ran long enough and got enough done (`counts` of src/sim/report.ts); what the others did is
 * left out of all sums but the time they took, and a rule that they break is a rule broken.
 */
import type { FaultKind } from "../../src/sim/plan.ts";
import { counts, type SimReport } from "../../src/sim/report.ts";

export type Summary = {
  readonly seeds: number;
  /** Seeds that ran too short or did too little. */
  readonly tooLittle: number;
  readonly simulatedS: number;
  readonly cpuS: number;
  readonly events: number;
  readonly operations: Readonly<Record<string, number>>;
  readonly happened: Readonly<Record<string, number>>;
  /** Faults that took effect, by name; and those while clients of the library were served. */
  readonly faults: Readonly<Record<string, number>>;
  readonly faultsMetByLibrary: Readonly<Record<string, number>>;
  readonly undecided: number;
  readonly violations: readonly { readonly seed: number; readonly rule: string; readonly message: string }[];
};

/** Faults by the name under which their effect is counted. */
export const EFFECTS: Readonly<Record<FaultKind, string>> = {
  kill: "kill",
  power: "power",
  power_all: "power_all",
  crash_point: "crash_point",
  cut_clients: "cut_clients",
  stop: "stop",
  pause: "pause",
  cut: "cut",
  isolate: "isolate",
  slow_link: "slow_link",
  reset: "reset",
  disk_stall: "disk_stall",
  fail_sync: "failSyncs",
  fail_write: "failWrites",
  fail_read: "failReads",
  disk_full: "disk_full",
  wall_step: "wall_step",
  swap: "swap",
  ambush: "ambush",
  snapshot: "snapshot",
  flip_bit: "bit_flip",
  wipe: "wipe",
};

export const NOTHING: Summary = {
  seeds: 0,
  tooLittle: 0,
  simulatedS: 0,
  cpuS: 0,
  events: 0,
  operations: {},
  happened: {},
  faults: {},
  faultsMetByLibrary: {},
  undecided: 0,
  violations: [],
};

/** What one seed came to. */
export function summaryOfReport(report: SimReport, cpuS: number): Summary {
  const { seed, violation, operations, faults } = report;
  const message = violation?.message.split("\n")[0] ?? "";
  const violations = violation === null ? [] : [{ seed, rule: violation.rule, message }];
  if (!counts(report)) return { ...NOTHING, tooLittle: 1, cpuS, violations };
  return {
    seeds: 1,
    tooLittle: 0,
    simulatedS: report.simulatedUs / 1e6,
    cpuS,
    events: report.events,
    operations: { ...operations },
    happened: { ...report.happened },
    faults: Object.fromEntries(faults),
    faultsMetByLibrary: operations.okByLibrary > 0 ? Object.fromEntries(faults) : {},
    undecided: report.undecided,
    violations,
  };
}

export function add(a: Summary, b: Summary): Summary {
  return {
    seeds: a.seeds + b.seeds,
    tooLittle: a.tooLittle + b.tooLittle,
    simulatedS: a.simulatedS + b.simulatedS,
    cpuS: a.cpuS + b.cpuS,
    events: a.events + b.events,
    operations: addCounts(a.operations, b.operations),
    happened: addCounts(a.happened, b.happened),
    faults: addCounts(a.faults, b.faults),
    faultsMetByLibrary: addCounts(a.faultsMetByLibrary, b.faultsMetByLibrary),
    undecided: a.undecided + b.undecided,
    violations: [...a.violations, ...b.violations],
  };
}

function addCounts(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>) {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}

/** Fault kinds whose effect is not among `effects`. */
export function missingKinds(effects: Readonly<Record<string, number>>): string[] {
  return Object.entries(EFFECTS).flatMap(([kind, effect]) => ((effects[effect] ?? 0) > 0 ? [] : [kind]));
}

export function markdownOf(summary: Summary): string {
  const { seeds, tooLittle, simulatedS, cpuS, events, operations, happened, violations } = summary;
  const rows: [string, string][] = [
    ["seeds", `${number(seeds)} (and ${number(tooLittle)} that did too little to count)`],
    ["simulated time", `${number(simulatedS / 3600, 1)} h`],
    ["processor time", `${number(cpuS / 60, 1)} min: ${number(simulatedS / cpuS)} simulated s to the second`],
    ["events", number(events)],
    ["operations acknowledged", number(operations.ok ?? 0)],
    [".. of them by the client library", number(operations.okByLibrary ?? 0)],
    [".. of unknown outcome", number(operations.unknown ?? 0)],
    [".. refused", number(operations.notExecuted ?? 0)],
    ["restarts of a node", number(happened.restarts ?? 0)],
    ["elections won", number(happened.elections ?? 0)],
    ["groups put to rest", number(happened.rests ?? 0)],
    ["control planes restored from a backup", number(happened.restores ?? 0)],
    ["shards declared lost", number(happened.losses ?? 0)],
    ["replicas replaced", number(happened.replacements ?? 0)],
    [
      "snapshots taken; received",
      `${number(happened.snapshots ?? 0)}; ${number(happened.snapshotsReceived ?? 0)}`,
    ],
    ["histories undecided", number(summary.undecided)],
    [
      "rules broken",
      violations.length === 0
        ? "none"
        : violations.map(({ seed, rule }) => `${rule} (seed ${seed})`).join(", "),
    ],
  ];
  const faults = Object.entries(EFFECTS).map(([kind, effect]): [string, string] => [
    kind.replaceAll("_", " "),
    number(summary.faults[effect] ?? 0),
  ]);
  return [...table(["", "Sum"], rows), "", ...table(["Fault", "Took effect"], faults)].join("\n");
}

function table(head: readonly [string, string], rows: readonly (readonly [string, string])[]): string[] {
  return [head, ["---", "---:"] as const, ...rows].map(([name, value]) => `| ${name} | ${value} |`);
}

/** "12,345", "1.5". */
function number(value: number, digits = 0): string {
  return value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

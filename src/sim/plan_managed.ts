/**
 * Plans of managed clusters: a control plane of one or three processes, storage nodes, a few shards, and two operators.
 *
 *     resharder   one change of the layout after the other: shards come and go, weights change
 *     meddler     at drawn times: cancels, cuts over, changes replicas, drains nodes, moves leaders
 *
 * Faults hit control processes as well as nodes; some are aimed at the leaders of the two sides of a move.
 *
 * A few plans have a disaster (disasters.ts), in which nothing else destroys a disk; a few have *lulls*, in which clients
 * rest, all at once; a few are *restless*: members are changed all the time, and who begins a change is struck.
 *
 * One plan in three is *rough* with moves: plans are cancelled a moment after they began, and those who are the first to
 * apply a step are struck again and again. Else hardly one move in a hundred would be aborted.
 */
import { Prng } from "../base/prng.ts";
import { MiB } from "../base/units.ts";
import { below, draw, type Span, shuffle } from "./chance.ts";
import { CLOCK_DEFAULT } from "./clock.ts";
import {
  type Blow,
  CONTROL_LEADER,
  type DrawnKind,
  diskKnobs,
  FATAL_KINDS,
  type Fault,
  faultOf,
  KINDS,
  type MoveOccasion,
  netKnobs,
  type Plan,
  pick,
  SECOND_US,
  SOURCE_LEADER,
  TARGET_LEADER,
  THE_LEADER,
} from "./plan.ts";
import type { WorkloadSpec } from "./workload.ts";

/** One after the other; `manual`: it waits for so long before it is cut over. `pick` chooses among what there is. */
export type Reshard = {
  readonly kind: "add" | "remove" | "reweigh";
  readonly pick: number;
  readonly manual: boolean;
  readonly holdUs: number;
};
export type Meddling = {
  readonly atUs: number;
  readonly kind: "cancel" | "cutover" | "desired" | "drain" | "undrain" | "lead";
  readonly pick: number;
};

export type ManagedSpec = {
  readonly controls: number;
  readonly shards: number;
  readonly vnodes: number;
  readonly reshards: readonly Reshard[];
  readonly meddlings: readonly Meddling[];
  /** The control plane loses all its disks, and is made anew from a backup that was taken before. */
  readonly restore?: { readonly backupUs: number; readonly atUs: number; readonly downUs: number };
  /** The nodes of a shard lose their disks; `declareUs` later an operator says that it is lost. */
  readonly loss?: { readonly atUs: number; readonly pick: number; readonly declareUs: number };
};

/** Nobody touches the cluster before it stands. */
const WARM_UP_US = 5 * SECOND_US;

export function managedPlanOfSeed(seed: number): Plan {
  const random = Prng.fromSeed(seed).fork("managed plan");
  const disaster = disasterOf(seed);
  const drawn = 3 + below(random, 4);
  const nodes = disaster === "loss" ? NODES_OF_A_LOSS : drawn;
  const controls = pick(random, [1, 3, 3]);
  const all = nodes + controls;
  const isCalm = below(random, 10) === 0;
  const horizonUs = pick(random, [30, 35, 45]) * SECOND_US;
  const vnodes = pick(random, [4, 8, 16]);
  // A stream of its own: plans that are not rough stay what they were.
  const rough = Prng.fromSeed(seed).fork("rough plan");
  const isRough = below(rough, 3) === 0;
  const restless = Prng.fromSeed(seed).fork("restless plan");
  const isRestless = below(restless, 6) === 0;
  return {
    format: 1,
    seed,
    nodes,
    managed: {
      controls,
      shards: 2 + below(random, 2),
      vnodes,
      reshards: reshardsOf(random.fork("reshards")),
      meddlings: [
        ...meddlingsOf(random.fork("meddlings"), horizonUs),
        ...(isRough ? cancelsOf(rough, horizonUs) : []),
        ...(isRestless ? changesOf(restless, horizonUs) : []),
      ],
      ...disasterPlan(seed, disaster, horizonUs),
    },
    horizonUs,
    settings: {
      segmentBytes: pick(random, [MiB, 2 * MiB, 4 * MiB]),
      electionMs: pick(random, [200, 300, 300, 500]),
    },
    disk: { ...diskKnobs(random.fork("disk")) },
    net: netKnobs(random.fork("net")),
    clock: CLOCK_DEFAULT,
    driftPpm: Array.from({ length: all }, () => draw(random, [-500, 500])),
    wallOffsetMs: Array.from({ length: all }, () => draw(random, [-200, 200])),
    workload: { ...workloadOf(random.fork("workload")), ...lullsOf(seed) },
    faults: [
      ...(isCalm ? [] : faultsOf(random.fork("faults"), nodes, controls, horizonUs)),
      ...(isRough ? strikesOf(rough, horizonUs) : []),
      ...(isRough ? swapsOf(rough, nodes, horizonUs) : []),
      ...(isRestless ? strikesAtChangesOf(restless, horizonUs) : []),
    ].filter(({ kind }) => disaster === "none" || !DESTRUCTIVE.has(kind)),
  };
}

type Disaster = "none" | "restore" | "loss";

/** So that a shard can be lost, and another lives on the nodes that are left. */
const NODES_OF_A_LOSS = 6;
/** What a disaster leaves is not to be destroyed too: the one disk more that is lost may be the last one. */
const DESTRUCTIVE: ReadonlySet<Fault["kind"]> = new Set<Fault["kind"]>([...FATAL_KINDS, "swap"]);

// Streams of their own, all of these: the other plans stay what they were.

function disasterOf(seed: number): Disaster {
  const roll = below(Prng.fromSeed(seed).fork("disaster"), 24);
  return roll < 2 ? "restore" : roll < 4 ? "loss" : "none";
}

function disasterPlan(
  seed: number,
  disaster: Disaster,
  horizonUs: number,
): Pick<ManagedSpec, "restore" | "loss"> {
  const random = Prng.fromSeed(seed).fork("disaster times");
  const atUs = draw(random, [WARM_UP_US + 5 * SECOND_US, horizonUs - 10 * SECOND_US]);
  if (disaster === "none") return {};
  if (disaster === "loss")
    return { loss: { atUs, pick: below(random, 1000), declareUs: draw(random, [500_000, 6_000_000]) } };
  const backupUs = draw(random, [WARM_UP_US - SECOND_US, atUs]);
  return { restore: { backupUs, atUs, downUs: draw(random, [200_000, 5_000_000]) } };
}

const LULLS_PERCENT = 25;

function lullsOf(seed: number): Pick<WorkloadSpec, "lulls"> {
  const random = Prng.fromSeed(seed).fork("managed lulls");
  if (below(random, 100) >= LULLS_PERCENT) return {};
  const forUs = draw(random, [1_500_000, 5_000_000]);
  return { lulls: { everyUs: 2 * forUs, forUs } };
}

function changesOf(random: Prng, horizonUs: number): Meddling[] {
  const changes: Meddling[] = [];
  for (let atUs = WARM_UP_US; atUs < horizonUs - 2 * SECOND_US; atUs += draw(random, [400_000, 2_500_000]))
    changes.push({ atUs, kind: "desired", pick: below(random, 1000) });
  return changes;
}

const BLOWS_AT_CHANGES: readonly Blow[] = ["kill", "power", "isolate", "disk_stall", "snapshot", "snapshot"];

/** A snapshot that is taken then is of a moment whose members are not those of its index. */
function strikesAtChangesOf(random: Prng, horizonUs: number): Fault[] {
  const strikes: Fault[] = [];
  for (let atUs = WARM_UP_US; atUs < horizonUs - 2 * SECOND_US; atUs += draw(random, [800_000, 4_000_000])) {
    const [nth, delayUs] = [draw(random, [1, 4]), draw(random, [0, 2_000])];
    const blow = pick(random, BLOWS_AT_CHANGES);
    strikes.push({
      atUs,
      kind: "ambush",
      after: "config",
      nth,
      blow,
      delayUs,
      forUs: draw(random, [100_000, 2_000_000]),
    });
  }
  return strikes;
}

function reshardsOf(random: Prng): Reshard[] {
  const reshards: Reshard[] = [];
  for (let i = 0; i < 40; i++) {
    const kind = i === 0 ? "add" : pick(random, ["add", "remove", "reweigh", "reweigh"] as const);
    // While it is held, what was copied changes at the source.
    const manual = below(random, 3) === 0;
    reshards.push({ kind, pick: below(random, 1000), manual, holdUs: draw(random, [0, 5 * SECOND_US]) });
  }
  return reshards;
}

function meddlingsOf(random: Prng, horizonUs: number): Meddling[] {
  const all = [
    "cancel",
    "cutover",
    "desired",
    "desired",
    "drain",
    "undrain",
    "lead",
    "lead",
    "lead",
  ] as const;
  const enabled = shuffle(random, [...all]).slice(0, below(random, 7));
  const meddlings: Meddling[] = [];
  if (enabled.length === 0) return meddlings;
  for (let atUs = WARM_UP_US; atUs < horizonUs - 2 * SECOND_US; atUs += draw(random, [500_000, 5_000_000]))
    meddlings.push({ atUs, kind: pick(random, enabled), pick: below(random, 1000) });
  return meddlings;
}

/** A plan of many moves takes some seconds: most are cancelled in the middle of one, each time at another step. */
function cancelsOf(random: Prng, horizonUs: number): Meddling[] {
  const gapUs: Span = pick(random, [
    [300_000, 1_200_000],
    [800_000, 4_000_000],
  ] as const);
  const cancels: Meddling[] = [];
  for (let atUs = WARM_UP_US; atUs < horizonUs - SECOND_US; atUs += draw(random, gapUs))
    cancels.push({ atUs, kind: "cancel", pick: 0 });
  return cancels;
}

/** What ends moves: the source's leader gone after the seal, the target's in the copy, no room at the target. */
const STRIKES: readonly (readonly [after: MoveOccasion, blow: Blow])[] = [
  ["import", "disk_full"],
  ["import", "isolate"],
  ["begin", "disk_full"],
  ["begin", "kill"],
  ["begin", "isolate"],
  ["seal", "kill"],
  ["seal", "power"],
  ["seal", "stun"],
  ["seal", "isolate"],
  ["abort", "kill"],
  ["abort", "isolate"],
  ["unseal", "power"],
  ["release", "kill"],
];

function strikesOf(random: Prng, horizonUs: number): Fault[] {
  const enabled = shuffle(random, [...STRIKES]).slice(0, 2 + below(random, 5));
  const gapUs: Span = pick(random, [
    [400_000, 2_000_000],
    [1_500_000, 6_000_000],
  ] as const);
  const strikes: Fault[] = [];
  for (let atUs = WARM_UP_US; atUs < horizonUs - 2 * SECOND_US; atUs += draw(random, gapUs)) {
    const [after, blow] = pick(random, enabled);
    const [nth, delayUs] = [draw(random, [1, 3]), draw(random, [0, 20_000])];
    const forUs = draw(
      random,
      pick(random, [
        [100_000, 800_000],
        [1_200_000, 4_000_000],
      ] as const),
    );
    strikes.push({ atUs, kind: "ambush", after, nth, blow, delayUs, forUs });
  }
  return strikes;
}

/** Two storage nodes come back with each other's disk, and must not go on with it. */
function swapsOf(random: Prng, nodes: number, horizonUs: number): Fault[] {
  const count = Math.max(0, below(random, 6) - 2);
  return Array.from({ length: count }, (): Fault => {
    const [from, by] = [below(random, nodes), 1 + below(random, nodes - 1)];
    const atUs = draw(random, [WARM_UP_US, horizonUs - 4 * SECOND_US]);
    const forUs = draw(random, [500_000, 3_000_000]);
    return { atUs, kind: "swap", from, to: (from + by) % nodes, forUs };
  });
}

function workloadOf(random: Prng): WorkloadSpec {
  const clients = 4 + below(random, 4);
  const pipelineMax = pick(random, [1, 4, 8]);
  const perSecond = pick(random, [40, 80]);
  const thinkUsMean = Math.floor((SECOND_US * clients * (1 + pipelineMax)) / (2 * perSecond));
  return {
    clients,
    registers: 6,
    cells: 6,
    counters: 8,
    expiring: 20,
    fillers: 200,
    salt: `.${below(random, 1000)}`,
    readPercent: pick(random, [20, 50]),
    pipelineMax,
    thinkUs: [Math.floor(thinkUsMean / 10), 2 * thinkUsMean],
    valueBytes: pick(random, [
      [4, 16],
      [4, 400],
      [100, 2_000],
    ] as const),
    ttlMs: pick(random, [
      [20, 300],
      [200, 5_000],
      [1_000, 30_000],
    ] as const),
    respPercent: pick(random, [0, 50, 100]),
    libraryPercent: pick(random, [30, 50, 80]),
  };
}

/** Swapped disks come with rough plans. */
const LEFT_OUT: readonly DrawnKind[] = ["swap"];

function faultsOf(random: Prng, nodes: number, controls: number, horizonUs: number): Fault[] {
  const kinds = KINDS.filter((kind) => !LEFT_OUT.includes(kind));
  const enabled = shuffle(random, kinds).slice(0, 1 + below(random, 6));
  if (below(random, 2) === 0) enabled.push("ambush", "ambush");
  const gapUs: Span = pick(random, [
    [500_000, 5_000_000],
    [3_000_000, 12_000_000],
    [200_000, 1_500_000],
  ] as const);
  const lastUs: Span = pick(random, [
    [50_000, 4_000_000],
    [20_000, 1_000_000],
    [1_000_000, 8_000_000],
  ] as const);
  const faults: Fault[] = [];
  let lost = 0;
  for (let atUs = WARM_UP_US; atUs < horizonUs - 2 * SECOND_US; atUs += draw(random, gapUs)) {
    const kind = pick(random, enabled);
    if (FATAL_KINDS.includes(kind) && ++lost > 1) continue; // every shard may have a replica on that node
    faults.push(aimed(random, faultOf(random, kind, atUs, nodes, draw(random, lastUs), 1), controls));
  }
  for (let atUs = WARM_UP_US; atUs < horizonUs; atUs += draw(random, [500_000, 6_000_000]))
    faults.push({ atUs, kind: "snapshot", node: below(random, nodes + controls) });
  return faults;
}

const STEPS: readonly MoveOccasion[] = [
  "import",
  "begin",
  "begin",
  "seal",
  "seal",
  "seal",
  "own",
  "own",
  "abort",
  "release",
];

/** What was meant for a leader may be for one of those that moves hang on; what was for a node, for a control process. */
function aimed(random: Prng, fault: Fault, controls: number): Fault {
  const leader = pick(random, [
    THE_LEADER,
    CONTROL_LEADER,
    SOURCE_LEADER,
    SOURCE_LEADER,
    TARGET_LEADER,
    TARGET_LEADER,
  ]);
  if (fault.kind === "ambush" && below(random, 4) > 0)
    return { ...fault, after: pick(random, STEPS), nth: draw(random, [1, 6]) };
  const atControl = below(random, 5) === 0 && controls > 0;
  if (fault.kind === "wall_step") return fault;
  if (fault.kind === "wipe" || fault.kind === "flip_bit") {
    const isOther = controls > 1 && below(random, 3) === 0; // the last of them all: one of three
    return isOther ? { ...fault, node: fault.node + controls } : fault;
  }
  if ("node" in fault && fault.node === THE_LEADER) return { ...fault, node: leader };
  if ("node" in fault && atControl) return { ...fault, node: CONTROL_LEADER };
  if ("from" in fault && fault.from === THE_LEADER) return { ...fault, from: leader };
  return fault;
}

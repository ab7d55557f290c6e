/**
 * A plan: everything that a run decides beforehand, as JSON. A seed expands into a plan, and the plan is what
 * runs: so a failure can be kept, shrunk and replayed even after the way seeds expand has changed.
 *
 * Swarm style (Groce et al. 2012, as in FoundationDB and TigerBeetle): each seed enables a random subset of the
 * fault kinds, with its own knobs. One in ten has no faults at all, one in ten few and long ones, one in ten many
 * and short ones.
 */
import { Prng } from "../base/prng.ts";
import { KiB, MiB } from "../base/units.ts";
import { below, draw, type Span, shuffle } from "./chance.ts";
import { CLOCK_DEFAULT, type ClockKnobs } from "./clock.ts";
import { DISK_DEFAULT, type DiskKnobs } from "./disk.ts";
import { NET_DEFAULT, type NetKnobs } from "./net.ts";
import type { ManagedSpec } from "./plan_managed.ts";
import type { WorkloadSpec } from "./workload.ts";

/** In place of a node's number: whoever leads when the fault comes. */
export const THE_LEADER = -1;
/** The same in a managed cluster, of the control plane, and of the two sides of a move. */
export const CONTROL_LEADER = -2;
export const SOURCE_LEADER = -3;
export const TARGET_LEADER = -4;

/** What can go wrong. `node` counts from 0, or is THE_LEADER; times and durations are microseconds of the world's clock. */
export type Fault = { readonly atUs: number } & (
  | { readonly kind: "kill" | "power" | "stop"; readonly node: number; readonly downUs: number }
  | { readonly kind: "power_all"; readonly downUs: number }
  /** Down in the middle of the disk operation so many after `atUs`. */
  | {
      readonly kind: "crash_point";
      readonly node: number;
      readonly operations: number;
      readonly how: "kill" | "power";
      readonly downUs: number;
    }
  /** Two nodes come back with each other's disk, and later with their own. */
  | { readonly kind: "swap"; readonly from: number; readonly to: number; readonly forUs: number }
  /** Strikes a node a moment after it said something of this kind for the `nth` time since `atUs`. */
  | {
      readonly kind: "ambush";
      readonly after: Occasion;
      readonly nth: number;
      readonly blow: Blow;
      readonly delayUs: number;
      readonly forUs: number;
    }
  | { readonly kind: "cut_clients"; readonly node: number; readonly forUs: number }
  | { readonly kind: "pause"; readonly node: number; readonly forUs: number }
  | { readonly kind: "cut"; readonly from: number; readonly to: number; readonly forUs: number }
  | { readonly kind: "isolate"; readonly node: number; readonly forUs: number }
  | {
      readonly kind: "slow_link";
      readonly from: number;
      readonly to: number;
      readonly forUs: number;
      readonly extraUs: number;
      readonly bytesPerMs: number;
    }
  | { readonly kind: "reset"; readonly from: number; readonly to: number }
  | { readonly kind: "disk_stall"; readonly node: number; readonly forUs: number }
  | { readonly kind: "fail_sync" | "fail_write" | "fail_read"; readonly node: number }
  | { readonly kind: "disk_full"; readonly node: number; readonly forUs: number }
  | { readonly kind: "wall_step"; readonly node: number; readonly ms: number }
  /** No fault, but what makes others matter: the node takes a snapshot, and forgets the log before it. */
  | { readonly kind: "snapshot"; readonly node: number }
  | { readonly kind: "flip_bit" | "wipe"; readonly node: number; readonly downUs: number }
);
export type FaultKind = Fault["kind"];
export type DrawnKind = Exclude<FaultKind, "snapshot">;
/** When the order of events matters most: it sent entries, asked for votes, gave its vote, acknowledged entries, changes members. */
export type Occasion = "append" | "vote" | "vote_reply" | "append_reply" | "config" | MoveOccasion;
/** .. or it is the first to have applied a step of a move. */
export type MoveOccasion = "import" | "begin" | "seal" | "own" | "abort" | "release" | "unseal";
const OCCASIONS: readonly Occasion[] = ["append", "vote", "vote_reply", "append_reply"];
/** "stun": it stands still, cut off from the others, and wakes before it hears of them again. */
export type Blow = "kill" | "power" | "isolate" | "pause" | "disk_stall" | "disk_full" | "stun" | "snapshot";
const BLOWS: readonly Blow[] = ["kill", "power", "isolate", "pause", "disk_stall", "stun", "stun"];

export type Plan = {
  readonly format: 1;
  readonly seed: number;
  /** Voters of the one group; of a managed cluster, its storage nodes. */
  readonly nodes: number;
  /** A control plane, several shards, and operators who change both (plan_managed.ts); left out: a fixed layout. */
  readonly managed?: ManagedSpec;
  /** Faults may happen until then; after it everything is healed. */
  readonly horizonUs: number;
  readonly settings: { readonly segmentBytes: number; readonly electionMs: number };
  readonly disk: DiskKnobs;
  readonly net: NetKnobs;
  readonly clock: ClockKnobs;
  /** Parts in a million, per node. */
  readonly driftPpm: readonly number[];
  readonly wallOffsetMs: readonly number[];
  readonly workload: WorkloadSpec;
  readonly faults: readonly Fault[];
  /** Makes the run fail on purpose: proof that failures are seen. */
  readonly canary?: "lying_sync";
};

export const SECOND_US = 1_000_000;
/** Elections and first connections, before anything goes wrong. */
const WARM_UP_US = 3 * SECOND_US;
/** Of a hundred seeds, in how many clients pause now and then, all at once; and for how long, how often. */
const LULLS_PERCENT = 30;
const LULL_US: Span = [1_500_000, 5_000_000];
const LULL_PARTS = 2;

/** Kinds that leave a node unable to come back under its old name: at most a minority of nodes may have one. */
export const FATAL_KINDS: readonly DrawnKind[] = ["flip_bit", "wipe"];
/** Snapshots come beside them. */
export const KINDS: readonly DrawnKind[] = [
  "kill",
  "power",
  "stop",
  "power_all",
  "crash_point",
  "cut_clients",
  "pause",
  "cut",
  "isolate",
  "slow_link",
  "reset",
  "disk_stall",
  "fail_sync",
  "fail_write",
  "fail_read",
  "disk_full",
  "wall_step",
  "swap",
  "ambush",
  ...FATAL_KINDS,
];

/** Knobs of a world in which nothing is special. */
export const QUIET = { disk: DISK_DEFAULT, net: NET_DEFAULT, clock: CLOCK_DEFAULT } as const;

type Temper = "calm" | "long and rare" | "short and violent" | "usual";

export function planOfSeed(seed: number): Plan {
  const random = Prng.fromSeed(seed).fork("plan");
  const nodes = [3, 3, 3, 5, 1][below(random, 5)] as number;
  const roll = below(random, 10);
  const temper: Temper =
    roll === 0 ? "calm" : roll === 1 ? "long and rare" : roll === 2 ? "short and violent" : "usual";
  const horizonUs = (temper === "long and rare" ? 90 : 40) * SECOND_US;
  const workload = workloadOf(random.fork("workload"));
  return {
    format: 1,
    seed,
    nodes,
    horizonUs,
    settings: {
      segmentBytes: pick(random, [4 * MiB, 8 * MiB, 0, 0]) || smallSegment(workload, horizonUs),
      electionMs: pick(random, [100, 200, 300, 300, 1000]),
    },
    disk: diskKnobs(random.fork("disk")),
    net: netKnobs(random.fork("net")),
    clock: {
      ...CLOCK_DEFAULT,
      tickLateUs: pick(random, [CLOCK_DEFAULT.tickLateUs, [0, 0], [0, 5_000]] as const),
      turnUs: pick(random, [CLOCK_DEFAULT.turnUs, [5, 30], [20, 2_000]] as const),
    },
    driftPpm: Array.from({ length: nodes }, () => draw(random, [-500, 500])),
    wallOffsetMs: Array.from({ length: nodes }, () => draw(random, [-200, 200])),
    workload,
    faults: temper === "calm" ? [] : faultsOf(random.fork("faults"), temper, nodes, horizonUs),
  };
}

/**
 * Smaller than the product allows (4 MiB), so that the log turns over within seconds; and yet so large that its
 * limits hold, which are made for larger ones. A batch, all that clients may have under way, twice, fits a quarter of
 * a segment; an append that carries all that was ever written fits the half that may be unsynced.
 */
function smallSegment(
  { clients, pipelineMax, valueBytes, thinkUs }: WorkloadSpec,
  horizonUs: number,
): number {
  const commandBytesMax = valueBytes[1] + COMMAND_OVERHEAD_BYTES;
  const underWay = clients * pipelineMax;
  const commandsMax = Math.ceil((underWay * (horizonUs + 20 * SECOND_US)) / thinkUs[1]);
  const bytes = Math.max(8 * underWay * commandBytesMax, 2 * commandsMax * commandBytesMax);
  for (const size of [256 * KiB, 512 * KiB, MiB, 2 * MiB]) if (bytes <= size) return size;
  return 4 * MiB;
}

/** A command besides its value, alone in a batch: key, session, options, the batch's head, the record's. */
const COMMAND_OVERHEAD_BYTES = 250;

export function diskKnobs(random: Prng): DiskKnobs {
  const slow = below(random, 4) === 0;
  return {
    ...DISK_DEFAULT,
    syncUs: slow ? [2_000, 15_000] : DISK_DEFAULT.syncUs,
    slowPerMillion: pick(random, [0, 2_000, 20_000]),
    instantWritePerMillion: pick(random, [0, 500_000, 1_000_000]),
    shortPerMillion: pick(random, [0, 0, 100_000]),
  };
}

export function netKnobs(random: Prng): NetKnobs {
  return {
    ...NET_DEFAULT,
    latencyUs: pick(random, [NET_DEFAULT.latencyUs, [10, 60], [500, 5_000]] as const),
    fragmentPerMillion: pick(random, [0, 20_000, 300_000]),
    fragmentBytes: pick(random, [NET_DEFAULT.fragmentBytes, [1, 3]] as const),
    windowBytes: pick(random, [NET_DEFAULT.windowBytes, [2_048, 65_536]] as const),
    giveUpUs: pick(random, [NET_DEFAULT.giveUpUs, [2_000_000, 4_000_000]] as const),
  };
}

function workloadOf(random: Prng): WorkloadSpec {
  const clients = 3 + below(random, 5);
  const pipelineMax = pick(random, [1, 1, 4, 16]);
  const perSecond = pick(random, [15, 40, 100]);
  const lulls = lullsOf(random.fork("lulls"));
  const busyParts = "lulls" in lulls ? LULL_PARTS - 1 : LULL_PARTS; // as much in the time that is left
  // Each of `clients` keeps (1 + pipelineMax) / 2 operations going on average, each of which thinks in between.
  const thinkUsMean = Math.floor(
    (SECOND_US * clients * (1 + pipelineMax)) / (2 * perSecond * (LULL_PARTS / busyParts)),
  );
  return {
    clients,
    registers: 1 + below(random, 6),
    cells: 1 + below(random, 3),
    counters: 1 + below(random, 2),
    expiring: below(random, 3),
    readPercent: pick(random, [20, 50, 80]),
    pipelineMax,
    thinkUs: [Math.floor(thinkUsMean / 10), 2 * thinkUsMean],
    valueBytes: pick(random, [
      [4, 16],
      [4, 400],
      [100, 3_000],
    ] as const),
    ttlMs: pick(random, [
      [20, 300],
      [200, 5_000],
    ] as const),
    respPercent: pick(random, [0, 50, 100]),
    libraryPercent: pick(random, [0, 50, 100]),
    ...lulls,
  };
}

function lullsOf(random: Prng): Pick<WorkloadSpec, "lulls"> {
  if (below(random, 100) >= LULLS_PERCENT) return {};
  const forUs = draw(random, LULL_US);
  return { lulls: { everyUs: LULL_PARTS * forUs, forUs } };
}

function faultsOf(random: Prng, temper: Temper, nodes: number, horizonUs: number): Fault[] {
  const enabled = shuffle(random, [...KINDS]).slice(0, 1 + below(random, 6));
  if (below(random, 3) === 0) enabled.push("ambush"); // it knows when it hurts, so it comes more often
  const gapUs: Span =
    temper === "short and violent"
      ? [100_000, 800_000]
      : temper === "long and rare"
        ? [8_000_000, 20_000_000]
        : [500_000, 5_000_000];
  const lastUs: Span =
    temper === "short and violent"
      ? [10_000, 700_000]
      : temper === "long and rare"
        ? [2_000_000, 15_000_000]
        : [50_000, 4_000_000];
  const faults: Fault[] = [];
  let lost = 0;
  for (let atUs = WARM_UP_US; atUs < horizonUs - 2 * SECOND_US; atUs += draw(random, gapUs)) {
    const kind = pick(random, enabled);
    if (FATAL_KINDS.includes(kind)) {
      // Fewer than half may be lost for good; one fault of the kind on a lone node is one too many.
      if (2 * (lost + 1) >= nodes) continue;
      lost++;
    }
    faults.push(faultOf(random, kind, atUs, nodes, draw(random, lastUs), lost));
  }
  if (below(random, 2) === 0) faults.push(...snapshotsOf(random.fork("snapshots"), nodes, horizonUs));
  return faults;
}

function snapshotsOf(random: Prng, nodes: number, horizonUs: number): Fault[] {
  const snapshots: Fault[] = [];
  for (let atUs = WARM_UP_US; atUs < horizonUs; atUs += draw(random, [100_000, 4_000_000])) {
    const node = below(random, 2) === 0 ? THE_LEADER : below(random, nodes);
    snapshots.push({ atUs, kind: "snapshot", node });
  }
  return snapshots;
}

export function faultOf(
  random: Prng,
  kind: DrawnKind,
  atUs: number,
  nodes: number,
  lastsUs: number,
  lost: number,
): Fault {
  const node = below(random, nodes);
  // Much of what can go wrong goes wrong around leaders, and there are fewer of them.
  const victim = below(random, 2) === 0 ? THE_LEADER : node;
  const other = nodes === 1 ? 0 : (node + 1 + below(random, nodes - 1)) % nodes;
  switch (kind) {
    case "power_all":
      return { atUs, kind, downUs: lastsUs };
    case "kill":
    case "power":
    case "stop":
      return { atUs, kind, node: victim, downUs: lastsUs };
    case "flip_bit":
    case "wipe":
      return { atUs, kind, node: nodes - lost, downUs: lastsUs };
    case "crash_point": {
      const how = below(random, 3) === 0 ? "kill" : "power";
      return { atUs, kind, node: victim, operations: draw(random, [1, 80]), how, downUs: lastsUs };
    }
    case "pause":
    case "isolate":
    case "cut_clients":
    case "disk_stall":
    case "disk_full":
      return { atUs, kind, node: victim, forUs: lastsUs };
    case "ambush":
      return ambushOf(random, atUs, lastsUs);
    case "swap":
    case "cut":
    case "slow_link":
    case "reset":
      return pairFaultOf(random, kind, atUs, [kind === "cut" ? victim : node, other], lastsUs);
    case "fail_sync":
    case "fail_write":
    case "fail_read":
      return { atUs, kind, node };
    case "wall_step":
      return {
        atUs,
        kind,
        node: nodes - 1,
        ms: pick(random, [-3_600_000, -10_000, -500, 500, 10_000, 3_600_000]),
      };
  }
}

function ambushOf(random: Prng, atUs: number, forUs: number): Fault {
  const after = pick(random, OCCASIONS);
  const nth = draw(random, after.startsWith("append") ? [1, 60] : [1, 3]);
  const delayUs = draw(
    random,
    pick(random, [
      [0, 60],
      [0, 400],
      [0, 5_000],
    ] as const),
  );
  return { atUs, kind: "ambush", after, nth, blow: pick(random, BLOWS), delayUs, forUs };
}

/** Faults between two nodes. */
function pairFaultOf(
  random: Prng,
  kind: "swap" | "cut" | "slow_link" | "reset",
  atUs: number,
  [from, to]: readonly [number, number],
  forUs: number,
): Fault {
  if (kind === "reset") return { atUs, kind, from, to };
  if (kind !== "slow_link") return { atUs, kind, from, to, forUs };
  const extraUs = draw(random, [0, 200_000]);
  return { atUs, kind, from, to, forUs, extraUs, bytesPerMs: pick(random, [0, 10, 200]) };
}

export function pick<T>(random: Prng, list: readonly T[]): T {
  return list[below(random, list.length)] as T;
}

/** One line per fault, for stories. */
export function describeFault(fault: Fault): string {
  const { atUs, kind, ...rest } = fault;
  const facts = Object.entries(rest).map(([name, value]) => `${name}=${value}`);
  return `${(atUs / SECOND_US).toFixed(3)} s ${kind} ${facts.join(" ")}`;
}

/**
 * Runs a plan: a cluster, its clients, its faults, its checkers, in two phases.
 *
 *     safety     everything runs and breaks until the horizon; checkers judge every step
 *     liveness   all is mended; within LIVENESS_US every node that still has its disk is up, answers reads of all
 *                keys, and all replicas are equal
 *
 * Then the clients' histories are judged. The first broken rule ends the run. A failing plan is run once more
 * with its trace recorded, so that it can tell its story; both runs must have the same hash.
 */
import { assert } from "../base/assert.ts";
import type { HeartbeatReply, Message } from "../raft/types.ts";
import type { Hash64 } from "../ring/circle.ts";
import { BoundsChecker } from "./checkers/bounds.ts";
import type { Checker } from "./checkers/checker.ts";
import { ConservationChecker } from "./checkers/conservation.ts";
import { checkCounters } from "./checkers/counters.ts";
import { DamageChecker } from "./checkers/damage.ts";
import { DurabilityChecker } from "./checkers/durability.ts";
import { LeaderChecker } from "./checkers/leaders.ts";
import { MembersChecker } from "./checkers/members.ts";
import { NumbersChecker } from "./checkers/numbers.ts";
import { OwnershipChecker } from "./checkers/ownership.ts";
import { PeerTap } from "./checkers/peer_tap.ts";
import { StateMachineChecker } from "./checkers/state_machine.ts";
import { Cluster, type SimNode } from "./cluster.ts";
import { FaultHand } from "./faults.ts";
import type { HistoryOp } from "./history.ts";
import { checkHistory } from "./linearizability.ts";
import { Operators } from "./operators.ts";
import { type Plan, planOfSeed } from "./plan.ts";
import { managedPlanOfSeed } from "./plan_managed.ts";
import { Machine } from "./platform.ts";
import type { SimReport } from "./report.ts";
import { Verifier } from "./verifier.ts";

/** After healing: elections, reconnections, catching up. */
export const LIVENESS_US = 20_000_000;
/** .. in a managed cluster: moves that were begun, too, and all of the plan that was under way. */
export const SETTLING_US = 60_000_000;
/** Clients go on this long after healing, then stop. */
const CALM_US = 3_000_000;
const LOOK_US = 50_000;
const STORY_LINES = 120;
/** Steps of the linearizability search of one key. */
const SEARCH_STEPS_MAX = 300_000;

export type RunOptions = {
  /** "always": record the trace even if nothing breaks; "never": be quick about a failure too. */
  readonly story?: "on failure" | "always" | "never";
  /** The ring's hash: managed clusters need it. */
  readonly h64?: Hash64;
};

export function runSeed(seed: number, options: RunOptions = {}): SimReport {
  return runPlan(planOfSeed(seed), options);
}

/** A managed cluster. */
export function runManagedSeed(seed: number, options: RunOptions & { readonly h64: Hash64 }): SimReport {
  return runPlan(managedPlanOfSeed(seed), options);
}

/** Runs `plan`; if it breaks a rule, runs it again for its story. */
export function runPlan(plan: Plan, options: RunOptions = {}): SimReport {
  const { story = "on failure", h64 = null } = options;
  const report = new Run(plan, story === "always", h64).finish();
  if (report.violation === null || story !== "on failure") return report;
  const again = new Run(plan, true, h64).finish();
  assert(
    again.hash === report.hash,
    `seed ${plan.seed} took another way when it ran again: something is not deterministic`,
  );
  return again;
}

class Run {
  readonly #plan: Plan;
  readonly #cluster: Cluster;
  readonly #checkers: readonly Checker[];
  readonly #hand: FaultHand;
  readonly #operators: Operators | null;
  #undecided = 0;

  constructor(plan: Plan, recording: boolean, h64: Hash64 | null) {
    this.#plan = plan;
    const cluster = new Cluster(plan, recording, h64);
    const { town } = cluster;
    this.#operators = town === null ? null : new Operators(cluster, town);
    this.#cluster = cluster;
    const leaders = new LeaderChecker(cluster.world);
    const durability = new DurabilityChecker(cluster.world, cluster.nodes, leaders);
    this.#hand = new FaultHand(cluster);
    leaders.onElected = () => cluster.happened.elections++;
    this.#checkers = [
      leaders,
      durability,
      new StateMachineChecker(cluster.world, cluster.nodes, town !== null),
      new DamageChecker(cluster.world),
      new BoundsChecker(cluster.world),
      new MembersChecker(cluster.world, leaders, durability),
      ...(town === null ? [] : this.#checkersOfMoves(cluster)),
    ];
    const tap = new PeerTap(cluster.world, cluster.nodes.length, (machine, group, message) => {
      if (recording && !message.kind.startsWith("heartbeat")) {
        cluster.world.tell("says", machine, describeMessage(message));
      }
      for (const checker of this.#checkers)
        checker.onMessage?.(cluster.nodes[machine] as SimNode, group, message);
      this.#hand.onMessage(cluster.nodes[machine] as SimNode, message);
      if (message.kind === "heartbeat_reply" && message.rest !== 0) this.#countRest(group, message);
    });
    tap.onSnapshotReceived = () => cluster.happened.snapshotsReceived++;
    cluster.net.observers.push(tap);
    cluster.onUp = (node) => {
      for (const checker of this.#checkers) checker.onUp?.(node);
    };
    cluster.onStart = (node) => {
      for (const checker of this.#checkers) checker.onStart?.(node);
    };
    cluster.onSnapshot = (node) => {
      for (const checker of this.#checkers) checker.onSnapshot?.(node);
    };
    cluster.onDamage = (node, how) => {
      for (const checker of this.#checkers) checker.onDamage?.(node, how);
    };
    cluster.observerOf = (node) => ({
      onLeader: (replica) => {
        for (const checker of this.#checkers) checker.onLeader?.(node, replica);
      },
      onApplied: (replica, entry) => {
        cluster.onReplica(node, replica.group, replica.replica);
        if (node.isControl) town?.onControl(replica);
        if (recording) cluster.world.tell("applied", node.index, `${entry.index} of term ${entry.term}`);
        for (const checker of this.#checkers) checker.onApplied?.(node, replica, entry);
      },
    });
  }

  /** The last rest that was kept, of each group. */
  readonly #rests = new Map<number, string>();

  #countRest(group: number, { to, term, rest }: HeartbeatReply): void {
    const name = `${to} ${term} ${rest}`;
    if (this.#rests.get(group) === name) return;
    this.#rests.set(group, name);
    this.#cluster.happened.rests++;
  }

  #ownership: OwnershipChecker | null = null;

  #checkersOfMoves(cluster: Cluster): Checker[] {
    const { world, losses } = cluster;
    const numbers = new NumbersChecker(cluster);
    const ownership = new OwnershipChecker(world, losses);
    const conservation = new ConservationChecker(world, losses);
    this.#ownership = ownership;
    const disasters = this.#operators?.disasters;
    if (disasters !== undefined) {
      disasters.onControlLost = () => numbers.onControlLost();
      disasters.onShardLost = (group, mayHold) => {
        ownership.onShardLost(group, mayHold);
        conservation.onShardLost(group);
      };
    }
    ownership.onStep = (node, kind) => this.#hand.onOccasion(node, kind);
    return [ownership, conservation, numbers];
  }

  finish(): SimReport {
    const { world, history } = this.#cluster;
    this.#cluster.startAll();
    this.#operators?.start();
    this.#hand.schedule(this.#plan.faults);
    world.run(this.#plan.horizonUs);
    if (world.violation === null) this.#live();
    const ops = history.finish();
    if (world.violation === null) this.#judge(ops);
    return this.#report(ops);
  }

  /** Mends everything and demands that the cluster comes back to life. */
  #live(): void {
    const { world, clients, nodes } = this.#cluster;
    this.#hand.heal();
    this.#operators?.end();
    const limitUs = this.#operators === null ? LIVENESS_US : SETTLING_US;
    const deadlineUs = world.nowUs + limitUs;
    world.run(world.nowUs + CALM_US);
    for (const client of clients) client.stop();
    // What is still under way would change what the verifier reads behind its back.
    world.runUntil(deadlineUs, () => clients.every(({ pendingCount }) => pendingCount === 0));
    const machine = new Machine(world, this.#cluster.net, VERIFIER_MACHINE, "verifier");
    const verifier = new Verifier(this.#cluster, machine);
    const done = world.runUntil(deadlineUs, () => verifier.done && this.#converged());
    if (done || world.violation !== null) {
      this.#finals = verifier.counters;
      return;
    }
    const states = nodes.map(({ id, state, server }) => {
      const group = server?.groups[0];
      return `${id} ${state}, ${group?.core.role ?? "-"} of term ${group?.core.term ?? "-"}, applied ${group?.store.appliedIndex ?? "-"}`;
    });
    world.fail(
      "liveness",
      `${limitUs / 1e6} s after all was mended: ${this.#cluster.town?.unsettled() ?? "shards are at rest"}; ` +
        `${verifier.missing()}; ${states.join("; ")}`,
    );
  }

  #lookAtUs = 0;
  #isAtRest = false;
  #finals: ReadonlyMap<string, number> = new Map();

  /** All nodes that have their disk are up, and their replicas are one and the same. */
  #converged(): boolean {
    const { town } = this.#cluster;
    if (town !== null) {
      if (this.#isLookDue()) this.#isAtRest = town.unsettled() === null;
      return this.#isAtRest;
    }
    let state: string | null = null;
    for (const node of this.#cluster.survivors) {
      const group = node.server?.groups[0];
      if (node.state !== "up" || group === undefined || group.core.leader === 0) return false;
      const own = `${group.store.appliedIndex} ${group.store.stateHash()}`;
      if (state !== null && own !== state) return false;
      state = own;
    }
    return true;
  }

  /** To look at all shards is dear: not after each event. */
  #isLookDue(): boolean {
    const { nowUs } = this.#cluster.world;
    if (nowUs < this.#lookAtUs) return false;
    this.#lookAtUs = nowUs + LOOK_US;
    return true;
  }

  #judge(all: readonly HistoryOp[]): void {
    const { world, losses } = this.#cluster;
    const ops = losses.judged(all);
    const miscounted = checkCounters(ops, losses.judgedCounters(this.#finals));
    if (miscounted !== null) {
      world.fail("exactly once", miscounted);
      return;
    }
    const verdict = checkHistory(ops, SEARCH_STEPS_MAX);
    if (verdict.kind === "violation") world.fail(verdict.rule, verdict.reason);
    if (verdict.kind === "undecided") this.#undecided++;
  }

  #report(ops: readonly HistoryOp[]): SimReport {
    const { world, counts, happened } = this.#cluster;
    const { violation, trace } = world;
    const outcomes = { ok: 0, not_executed: 0, unknown: 0 };
    const library = new Set(this.#cluster.clients.flatMap((one) => (one.usesLibrary ? [one.number] : [])));
    let okByLibrary = 0;
    for (const { outcome, client } of ops) {
      outcomes[outcome]++;
      if (outcome === "ok" && library.has(client)) okByLibrary++;
    }
    const cause = violation?.cause;
    return {
      seed: this.#plan.seed,
      plan: this.#plan,
      hash: trace.hash(),
      violation:
        violation === null
          ? null
          : {
              rule: violation.rule,
              message: violation.message,
              stack: cause instanceof Error ? (cause.stack ?? "") : "",
            },
      undecided: this.#undecided,
      simulatedUs: world.nowUs,
      events: world.steps,
      operations: {
        ok: outcomes.ok,
        okByLibrary,
        notExecuted: outcomes.not_executed,
        unknown: outcomes.unknown,
      },
      happened,
      moves: {
        done: this.#ownership?.countOf("own") ?? 0,
        aborted: this.#ownership?.countOf("abort") ?? 0,
      },
      faults: counts,
      judged: new Map(this.#checkers.map((checker) => [checker.name, checker.judged])),
      lines: trace.lines(STORY_LINES),
    };
  }
}

const VERIFIER_MACHINE = 999;

/** For stories: "append (4 t1)..7 commit 4 -> 3 in term 2". */
function describeMessage(message: Message): string {
  const route = `${message.from} -> ${message.to} in term ${message.term}`;
  switch (message.kind) {
    case "append":
      return `append (${message.prevIndex} t${message.prevTerm})..${message.lastIndex} commit ${message.commit}, ${route}`;
    case "append_reply":
      return `${message.accepted ? "accepted" : "rejected"} ${message.index}, ${route}`;
    case "vote":
    case "prevote":
      return `${message.kind} for (${message.lastIndex} t${message.lastTerm}), ${route}`;
    case "vote_reply":
    case "prevote_reply":
      return `${message.kind} ${message.granted ? "yes" : "no"}, ${route}`;
    default:
      return `${message.kind}, ${route}`;
  }
}

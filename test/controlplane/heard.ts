/** Heartbeats as tests write them. */
import { Liveness } from "../../src/controlplane/liveness.ts";
import { reconcile, type Steps } from "../../src/controlplane/reconciler.ts";
import type { MetaState } from "../../src/controlplane/state.ts";
import type { GroupReport, Heartbeat, LeadReport } from "../../src/wire/control_plane.ts";
import { NOTHING_HEARD } from "./bodies.ts";
import { id } from "./driver.ts";

export function beat(node: string, groups: readonly GroupReport[] = [], incarnation = id(node)): Heartbeat {
  const load = { commandsPerSecond: 10, bytes: 1000, diskFreeBytes: 1_000_000 };
  return { node, incarnation, heard: NOTHING_HEARD, load, groups };
}

export function follows(group: number, term = 1, leader: string | null = null): GroupReport {
  const shard = `s${group - 100}`;
  return {
    group,
    shard,
    replica: 1,
    quarantined: false,
    term,
    leader,
    applied: 10,
    keys: 5,
    bytes: 500,
    lead: null,
  };
}

export function leads(
  group: number,
  node: string,
  voters: readonly string[],
  more: Partial<LeadReport> = {},
): GroupReport {
  const lead: LeadReport = {
    configVersion: 4,
    voters: voters.map((voter, i) => ({ replica: i + 1, node: voter })),
    joint: false,
    learners: [],
    slots: [],
    moves: [],
    ...more,
  };
  return { ...follows(group, 3, node), lead };
}

/** One round, 1000 ticks after the leader began; nodes that are not among `beats` were never heard, and are dead. */
export function roundOf(
  state: MetaState,
  beats: readonly Heartbeat[],
  suspects: readonly Heartbeat[] = [],
  round = 0,
): Steps {
  const liveness = new Liveness(0);
  for (const suspect of suspects) liveness.hear(state, suspect, 600);
  for (const one of beats) liveness.hear(state, one, 1000);
  const view = liveness.view(state, 1000);
  return reconcile({ state, view, round, bootstrapOf: () => Uint8Array.of(1) });
}

/** "n1: want v4 n1,n2" */
export function printed({ orders, commands }: Steps): string[] {
  const told = orders.map(({ node, order }) => {
    switch (order.kind) {
      case "want":
        return `${node}: want v${order.version} ${order.voters.join()}`;
      case "lead":
        return `${node}: lead ${order.group} to ${order.to}`;
      case "create":
        return `${node}: create ${order.shard} replica ${order.replica}`;
      case "close":
        return `${node}: close ${order.group}`;
      case "move":
        return `${node}: move ${order.epoch} ${order.from} > ${order.to}${order.hold ? ", hold" : ""}`;
      default:
        return `${node}: ${order.kind} ${order.epoch}`;
    }
  });
  return [...told, ...commands.map((body) => JSON.stringify(body))];
}

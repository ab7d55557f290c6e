/**
 * Leaders, spread over the nodes: leading costs a node more than following. A leadership is handed over only where the
 * one node leads two more groups than the other, so every hand-over lowers the sum of the squares of what nodes lead, and
 * there is an end to it. Where a leadership has just gone it stays for a while (liveness.ts): what an operator orders by
 * `leader move` is not undone in the same second. A node that is drained leads nothing as soon as another can.
 */
import type { View } from "./liveness.ts";
import { isAsWished } from "./membership.ts";
import type { Addressed, Situation } from "./reconciler.ts";
import { type MetaState, type ShardRecord, takesReplicas } from "./state.ts";

/** Every hand-over is a short pause of a shard's writes: a few at a time. */
const LEADS_PER_ROUND_MAX = 4;

export function leaderOrders({ state, view }: Situation, shards: readonly ShardRecord[]): Addressed[] {
  const counts = leaderCounts(state, view);
  const orders: Addressed[] = [];
  for (const { group, replicas } of shards) {
    if (orders.length === LEADS_PER_ROUND_MAX) break;
    const leader = view.groups.get(group)?.leader ?? null;
    if (leader === null || !isAsWished(leader.lead, replicas)) continue;
    const to = leastLeading(state, view, replicas, leader.node, counts);
    if (to === null) continue;
    const isUneven = countOf(counts, leader.node) - countOf(counts, to) >= 2;
    if (!isDrained(state, leader.node) && !(isUneven && view.isSettled(group))) continue;
    orders.push({ node: leader.node, order: { kind: "lead", group, term: leader.term, to } });
    counts.set(leader.node, countOf(counts, leader.node) - 1);
    counts.set(to, countOf(counts, to) + 1);
  }
  return orders;
}

function leaderCounts(state: MetaState, view: View): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { group } of state.shards.values()) {
    const node = view.groups.get(group)?.leader?.node;
    if (node !== undefined) counts.set(node, countOf(counts, node) + 1);
  }
  return counts;
}

function countOf(counts: ReadonlyMap<string, number>, node: string): number {
  return counts.get(node) ?? 0;
}

/** The living node with a replica that leads least. */
function leastLeading(
  state: MetaState,
  view: View,
  replicas: readonly string[],
  now: string,
  counts: ReadonlyMap<string, number>,
): string | null {
  const may = replicas.filter((id) => id !== now && !isDrained(state, id) && view.standing(id) === "alive");
  // In order of ids, so that of equals it is always the same one.
  return may.reduce<string | null>(
    (low, id) => (low === null || countOf(counts, id) < countOf(counts, low) ? id : low),
    null,
  );
}

/** It gives away what it has, or is not known any more. */
function isDrained(state: MetaState, id: string): boolean {
  const node = state.nodes.get(id);
  return node === undefined || !takesReplicas(node);
}

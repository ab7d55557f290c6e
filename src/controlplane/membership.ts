/**
 * Replicas, from wish to fact. The control plane makes only a group's founders; every later change is the work of the
 * group's own leader, which is told the wanted voters and for which config that was thought up.
 *
 * No step loses quorum (hazard E, peers' complaints): a change is asked for only if a majority of the present voters and
 * a majority of the wanted ones are alive, and everyone who is new is; and while a change is in its joint phase none is
 * asked for. What is only suspect counts as missing here, and as present where something would be taken from it.
 */
import { compareIds } from "../ring/layout.ts";
import type { LeadReport } from "../wire/control_plane.ts";
import type { Body } from "./commands.ts";
import type { View } from "./liveness.ts";
import type { Addressed, Situation } from "./reconciler.ts";
import { type MetaState, type NodeRecord, ordered, type ShardRecord, takesReplicas } from "./state.ts";
import { isSameList } from "./step.ts";

/**
 * Founders that do not hold their replica yet. A group that has a leader helps itself; one that had one and lost it may
 * need a founder whose order never came: two of three began, and the disk of one of them is gone. Nothing was ever
 * promised under that founder's id, and a directory that once held it takes no bootstrap again.
 */
export function creates({ view, bootstrapOf }: Situation, shards: readonly ShardRecord[]): Addressed[] {
  return shards.flatMap((shard) => {
    const group = view.groups.get(shard.group);
    if (shard.state === "lost" || (shard.formed && group?.leader != null)) return [];
    const missing = shard.birth.founders.filter(
      ({ node, incarnation }) =>
        group?.holders.has(node) !== true &&
        view.beats.get(node)?.incarnation === incarnation &&
        (!shard.formed || shard.replicas.includes(node)),
    );
    if (missing.length === 0) return [];
    const bootstrap = bootstrapOf(shard);
    return missing.map(({ node, incarnation, replica }) => ({
      node,
      order: {
        kind: "create" as const,
        group: shard.group,
        shard: shard.id,
        replica,
        incarnation,
        bootstrap,
      },
    }));
  });
}

export function wants({ view }: Situation, shards: readonly ShardRecord[]): Addressed[] {
  return shards.flatMap(({ group, replicas, state }): Addressed[] => {
    const leader = view.groups.get(group)?.leader ?? null;
    if (leader === null || state === "lost" || isAsWished(leader.lead, replicas)) return [];
    if (wantProblem(view, leader.lead, replicas) !== null) return [];
    const { configVersion: version } = leader.lead;
    return [{ node: leader.node, order: { kind: "want", group, version, voters: replicas } }];
  });
}

/** The members are the wished ones; a learner beside them is on its way to take the place of its node's lost replica. */
export function isAsWished({ voters, joint, learners }: LeadReport, replicas: readonly string[]): boolean {
  if (joint || learners.some(({ node }) => !replicas.includes(node))) return false;
  return isSameList(nodesOf(voters), replicas);
}

function nodesOf(members: LeadReport["voters"]): string[] {
  return [...new Set(members.map(({ node }) => node))].sort(compareIds);
}

/** Why a group cannot be led to these voters now; null if it can. For people too. */
export function wantProblem(view: View, lead: LeadReport, replicas: readonly string[]): string | null {
  if (lead.joint) return "a change of members is under way";
  const now = nodesOf(lead.voters);
  const absent = replicas.find((node) => !now.includes(node) && view.standing(node) !== "alive");
  if (absent !== undefined) return `node '${absent}' cannot be reached`;
  if (!hasQuorum(view, now)) return "too few of the present replicas can be reached";
  return hasQuorum(view, replicas) ? null : "too few of the wanted replicas can be reached";
}

export function hasQuorum(view: View, nodes: readonly string[]): boolean {
  return 2 * nodes.filter((node) => view.standing(node) === "alive").length > nodes.length;
}

// ------------------------------------------------------------------------------------------- other nodes' places

/**
 * Replicas on nodes that are drained, excluded, or dead for too long: their places go to others. One replica of a shard
 * in a round, and only while its group can act; of dead nodes only if most of the cluster is alive, because when most
 * of it is silent it is the control plane that is cut off.
 */
export function replacements(now: Situation, shards: readonly ShardRecord[]): Body[] {
  const { state, view } = now;
  const loads = replicaCounts(state);
  const mayReplaceDead = isMostlyAlive(now);
  return shards.flatMap((shard): Body[] => {
    const leader = view.groups.get(shard.group)?.leader ?? null;
    if (shard.state !== "active" || leader === null) return [];
    const old = shard.replicas.find((node) => mustLeave(now, node, mayReplaceDead));
    if (old === undefined) return [];
    const place = bestNode(now, shard.replicas, old, loads);
    if (place === null) return [];
    loads.set(place.id, (loads.get(place.id) ?? 0) + 1);
    return [{ kind: "desired", shard: shard.id, add: [place.id], remove: [old], expected: shard.replicas }];
  });
}

function isMostlyAlive({ state, view }: Situation): boolean {
  const all = [...state.nodes.values()].filter(({ excluded }) => !excluded);
  return 2 * all.filter(({ id }) => view.standing(id) === "alive").length > all.length;
}

function mustLeave({ state, view }: Situation, id: string, mayReplaceDead: boolean): boolean {
  const node = state.nodes.get(id);
  if (node === undefined || !takesReplicas(node)) return true;
  const { replaceDeadMs } = state.settings;
  if (replaceDeadMs === 0 || !mayReplaceDead || view.standing(id) !== "dead") return false;
  return view.silentMs(id) >= replaceDeadMs;
}

function replicaCounts({ shards }: MetaState): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { replicas } of shards.values())
    for (const node of replicas) counts.set(node, (counts.get(node) ?? 0) + 1);
  return counts;
}

/** A living node that has no replica of the shard: in a zone of its own if there is one, then the least loaded. */
function bestNode(
  { state, view }: Situation,
  replicas: readonly string[],
  old: string,
  loads: ReadonlyMap<string, number>,
): NodeRecord | null {
  const staying = replicas.filter((node) => node !== old);
  const free = ordered(state.nodes).filter(
    (node) => takesReplicas(node) && !replicas.includes(node.id) && view.standing(node.id) === "alive",
  );
  return chooseNodes(state, free, staying, 1, loads)[0] ?? null;
}

/** So many of `free` for a shard that has replicas on `staying` already; fewer if there are not enough. */
export function chooseNodes(
  state: MetaState,
  free: readonly NodeRecord[],
  staying: readonly string[],
  count: number,
  loads: ReadonlyMap<string, number>,
): NodeRecord[] {
  const chosen: NodeRecord[] = [];
  const zones = new Map<string, number>();
  for (const id of staying) addZone(zones, state.nodes.get(id));
  const load = (node: NodeRecord): number => (loads.get(node.id) ?? 0) / node.capacity;
  const twins = (node: NodeRecord): number => (node.zone === "" ? 0 : (zones.get(node.zone) ?? 0));
  while (chosen.length < count) {
    const rest = free.filter((node) => !chosen.includes(node));
    rest.sort((a, b) => twins(a) - twins(b) || load(a) - load(b) || compareIds(a.id, b.id));
    const [best] = rest;
    if (best === undefined) break;
    addZone(zones, best);
    chosen.push(best);
  }
  return chosen;
}

function addZone(zones: Map<string, number>, node: NodeRecord | undefined): void {
  if (node !== undefined) zones.set(node.zone, (zones.get(node.zone) ?? 0) + 1);
}

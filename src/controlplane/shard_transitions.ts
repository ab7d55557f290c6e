/**
 * Shards: brought into being, given replicas, retired; and what their own logs say they own. The control plane only wishes:
 * replicas become members by the group's own leader, and a slot's owner is whoever says so under the highest epoch.
 */
import { messageOf, NucleusError } from "../base/errors.ts";
import { Assignment } from "../ring/assignment.ts";
import { compareIds, type Layout, makeLayout } from "../ring/layout.ts";
import { countSlots } from "../ring/range.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { REPLICAS_MAX, SHARDS_MAX } from "../wire/control_plane.ts";
import { eraAfter } from "../wire/epochs.ts";
import type { BodyOf, PlannedShard } from "./commands.ts";
import { RESTORE_IT } from "./node_transitions.ts";
import { cancelPlan, settled } from "./plan_end.ts";
import { type MetaState, RETIRED_MAX, type ShardRecord, without, withValue } from "./state.ts";
import { done, hasTwin, isSameList, noShard, placeProblem, refused, type Step } from "./step.ts";

/** The layout that a command describes, or why there is none like that. */
export function layoutOf(number: number, vnodes: number, shards: readonly PlannedShard[]): Layout | string {
  try {
    return makeLayout({ number, vnodes, shards: shards.map(({ id, weight }) => ({ id, weight })) });
  } catch (error) {
    if (!(error instanceof NucleusError)) throw error;
    return `INVALID ${messageOf(error)}`;
  }
}

/** Why a shard cannot begin like that; null if it can. */
export function birthProblem(state: MetaState, shard: PlannedShard): string | null {
  const { id, newborn } = shard;
  if (newborn === null) return noShard(id);
  if (state.shards.has(id)) return `CONFLICT there is a shard '${id}' already`;
  const isUsed = groupsOf(state).has(newborn.group);
  if (isUsed) return `CONFLICT group ${newborn.group} of shard '${id}' was used before`;
  const { founders } = newborn;
  if (founders.length === 0) return `INVALID shard '${id}' has no nodes`;
  if (hasTwin(founders.map(({ node }) => node)) || founders.some(({ replica }, i) => replica !== i + 1))
    return `INVALID the founders of shard '${id}' are replicas 1, 2, .. on different nodes`;
  for (const { node: name, incarnation } of founders) {
    const node = state.nodes.get(name);
    const problem = placeProblem(node, name);
    if (problem !== null) return problem;
    if (node?.incarnation !== incarnation) return `CONFLICT node '${name}' has begun anew since: look again`;
  }
  return null;
}

/** All that were ever used, as far as remembered. */
function groupsOf(state: MetaState): Set<number> {
  return new Set([...state.shards.values(), ...state.retired].map(({ group }) => group));
}

export function bornShard(
  { settings: { memoryBytesMax } }: MetaState,
  { id, newborn }: PlannedShard & { readonly newborn: NonNullable<PlannedShard["newborn"]> },
  slots: ShardRecord["birth"]["slots"],
  epoch: number,
): ShardRecord {
  const replicas = newborn.founders.map(({ node }) => node).sort(compareIds);
  const birth = { founders: newborn.founders, slots, epoch, memoryBytesMax };
  return { id, group: newborn.group, state: "active", replicas, birth, formed: false };
}

export function hasNewborn(
  shard: PlannedShard,
): shard is PlannedShard & { readonly newborn: NonNullable<PlannedShard["newborn"]> } {
  return shard.newborn !== null;
}

export function applyInit(state: MetaState, { replicas, vnodes, shards, slots }: BodyOf<"init">): Step {
  if (state.layout !== null) return refused(state, "CONFLICT the cluster has its first layout already");
  if (state.epoch > 0 || state.planNumber > 0 || state.shards.size > 0)
    return refused(state, `CONFLICT nodes have heard of shards that are not known here: ${RESTORE_IT}`);
  const layout = layoutOf(state.planNumber + 1, vnodes, shards);
  if (typeof layout === "string") return refused(state, layout);
  const groups = shards.flatMap(({ newborn }) => (newborn === null ? [] : [newborn.group]));
  if (hasTwin(groups)) return refused(state, "INVALID two shards share a group");
  if (slots.length !== shards.length) return refused(state, "INVALID every shard needs its slots");
  const epoch = state.epoch + 1;
  const assignment = new Assignment();
  const records = new Map(state.shards);
  for (const [i, shard] of shards.entries()) {
    const problem = birthProblem(state, shard);
    if (problem !== null || !hasNewborn(shard)) return refused(state, problem ?? noShard(shard.id));
    const own = slots[i] as (typeof slots)[number];
    if (assignment.claim(own, shard.id, epoch).contradicted > 0)
      return refused(state, "INVALID two shards share a slot");
    records.set(shard.id, bornShard(state, shard, own, epoch));
  }
  if (countSlots(slots.flat()) !== SLOT_COUNT) return refused(state, "INVALID some slots belong to no shard");
  const settings = { ...state.settings, replicas };
  return done(
    { ...state, epoch, planNumber: layout.number, layout, assignment, shards: records, settings },
    layout.number,
  );
}

export function applyDesired(
  state: MetaState,
  { shard: id, add, remove, expected }: BodyOf<"desired">,
): Step {
  const shard = state.shards.get(id);
  if (shard === undefined) return refused(state, noShard(id));
  if (shard.state !== "active") return refused(state, `CONFLICT shard '${id}' is ${shard.state}`);
  if (expected !== null && !isSameList(expected, shard.replicas))
    return refused(state, `CONFLICT the replicas of shard '${id}' are ${shard.replicas.join(", ")}`);
  const wanted = new Set(shard.replicas);
  for (const node of add) {
    const problem = wanted.has(node) ? null : placeProblem(state.nodes.get(node), node);
    if (problem !== null) return refused(state, problem);
    wanted.add(node);
  }
  for (const node of remove) wanted.delete(node);
  if (wanted.size === 0) return refused(state, `INVALID shard '${id}' would have no replicas`);
  if (wanted.size > REPLICAS_MAX)
    return refused(state, `LIMIT shard '${id}' would have more than ${REPLICAS_MAX} replicas`);
  const replicas = [...wanted].sort(compareIds);
  if (isSameList(replicas, shard.replicas)) return done(state, replicas.length);
  return done({ ...state, shards: withValue(state.shards, { ...shard, replicas }) }, replicas.length);
}

export function applyFormed(state: MetaState, id: string): Step {
  const shard = state.shards.get(id);
  if (shard === undefined) return refused(state, noShard(id));
  if (shard.formed) return done(state);
  return done({ ...state, shards: withValue(state.shards, { ...shard, formed: true }) });
}

export function applyRetire(state: MetaState, id: string): Step {
  const shard = state.shards.get(id);
  if (shard === undefined) return done(state); // it was, or never: there is none
  if (shard.state === "active") return refused(state, `CONFLICT shard '${id}' is ${shard.state}`);
  if (state.assignment.slotsOf(id).length > 0) return refused(state, `CONFLICT shard '${id}' owns slots`);
  // A plan that is cancelled may want the shard back.
  if (state.plan !== null) return refused(state, `CONFLICT plan ${state.plan.number} is under way`);
  return done({ ...state, shards: without(state.shards, id), retired: withRetired(state, shard) });
}

export function withRetired({ retired }: MetaState, { id, group }: ShardRecord): MetaState["retired"] {
  if (retired.some((gone) => gone.group === group)) return retired;
  return [...retired, { shard: id, group }].slice(-RETIRED_MAX);
}

/**
 * What it owns stays its own until a plan gives it to others, empty: nobody else has these keys. That will be in another era
 * of epochs than what the shard did, so that no revision it gave out is given again.
 */
export function applyLost(state: MetaState, id: string): Step {
  const shard = state.shards.get(id);
  if (shard === undefined) return refused(state, noShard(id));
  if (shard.state === "lost") return done(state);
  const shards = withValue(state.shards, { ...shard, state: "lost" as const });
  return done(settled(cancelPlan({ ...state, shards, epoch: eraAfter(state.epoch) })));
}

export function applyAssign(state: MetaState, { shard: id, claims }: BodyOf<"assign">): Step {
  if (!state.shards.has(id)) return refused(state, noShard(id));
  const assignment = state.assignment.copy();
  let changed = 0;
  let epoch = state.epoch;
  for (const claim of claims) {
    changed += assignment.claim(claim.slots, id, claim.epoch).changed;
    epoch = Math.max(epoch, claim.epoch);
  }
  if (changed === 0 && epoch === state.epoch) return done(state);
  return done({ ...state, assignment, epoch }, changed);
}

/**
 * Only a restore forgets shards; without one, a group that is not known is none of this cluster's. And while nodes are
 * counted, the members that a shard has count: the wish of long ago may have been fulfilled and followed by others.
 */
export function applyAdopt(state: MetaState, { shard: id, group, replicas }: BodyOf<"adopt">): Step {
  const known = state.shards.get(id);
  if (known?.group === group) return believed(state, known, replicas);
  if (state.version.restore === 0) return refused(state, "CONFLICT nothing was restored here");
  const isUsed = known !== undefined || groupsOf(state).has(group);
  if (isUsed) return refused(state, `CONFLICT shard '${id}' or its group is known as another`);
  if (state.shards.size >= SHARDS_MAX) return refused(state, `LIMIT there are ${SHARDS_MAX} shards already`);
  if (replicas.length === 0 || hasTwin(replicas))
    return refused(state, "INVALID replicas are on different nodes");
  const adopted: ShardRecord = {
    id,
    group,
    state: "active",
    replicas: replicas.toSorted(compareIds),
    birth: { founders: [], slots: [], epoch: 1, memoryBytesMax: 0 },
    formed: true,
  };
  const shards = withValue(state.shards, adopted);
  return done({ ...state, shards, layout: withShard(state.layout, id) });
}

function believed(state: MetaState, shard: ShardRecord, nodes: readonly string[]): Step {
  const replicas = nodes.toSorted(compareIds);
  const isNews = state.awaited !== null && replicas.length > 0 && !hasTwin(replicas);
  if (!isNews || isSameList(replicas, shard.replicas)) return done(state);
  return done({ ...state, shards: withValue(state.shards, { ...shard, replicas }) });
}

function withShard(layout: Layout | null, id: string): Layout | null {
  if (layout === null || layout.shards.some((shard) => shard.id === id)) return layout;
  const shards = [...layout.shards, { id, weight: 1 }].sort((a, b) => compareIds(a.id, b.id));
  return { ...layout, shards };
}

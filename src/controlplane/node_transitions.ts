/**
 * Nodes: who they are, and what they have heard. A node's incarnation is random, so of two nobody can tell by looking
 * which is newer; those that were replaced are remembered, and a late word of one of them is refused (hazard F9).
 *
 * After a restore the state may be older than what it issued since. So everything that nodes have seen counts: counters
 * rise to the highest number heard, and the restore number rises above any map version that this state cannot have
 * made - one at or above the entry that is being applied. Whenever that shows that this state is an old one, all nodes are
 * counted before anything is ordered; and a state without shards takes no node that knows of some: it is no old state of
 * this cluster but none at all, and would make a second set of them.
 */
import { compareVersions, type Heard, NODES_MAX, type Registration } from "../wire/control_plane.ts";
import { eraAfter } from "../wire/epochs.ts";
import type { BodyOf } from "./commands.ts";
import { withoutPlan } from "./plan_end.ts";
import { FORMER_MAX, type MetaState, type NodeRecord, ordered, without, withValue } from "./state.ts";
import { done, noNode, refused, type Step } from "./step.ts";

export function applyRegister(state: MetaState, given: Registration, index: number): Step {
  const known = state.nodes.get(given.node);
  if (known?.former.includes(given.incarnation) === true) return refused(state, stale(given.node));
  if (known === undefined && state.nodes.size >= NODES_MAX)
    return refused(state, `LIMIT there are ${NODES_MAX} nodes already: remove one that is gone`);
  const problem = strangerProblem(state, given);
  if (problem !== null) return refused(state, problem);
  const node = registered(known, given);
  const next = isSame(known, node) ? state : { ...state, nodes: withValue(state.nodes, node) };
  return done(hear(next, given.node, given.heard, index));
}

/** Why a state that has no shards takes no node that has heard of some; null if it may. */
export function strangerProblem(state: MetaState, { node, heard }: Registration): string | null {
  const isBlank = state.layout === null && state.shards.size === 0;
  if (!isBlank || (heard.epoch <= state.epoch && heard.plan <= state.planNumber)) return null;
  return `CONFLICT node '${node}' has known shards of this cluster (epoch ${heard.epoch}), and this control plane is new: ${RESTORE_IT}`;
}

/** What to do with a control plane that was begun anew where there are shards. */
export const RESTORE_IT =
  "stop it, and start one from a backup, on an empty directory: nucleus control --restore FILE";

function registered(known: NodeRecord | undefined, given: Registration): NodeRecord {
  const { node: id, incarnation, address, http, zone, capacity } = given;
  const former = known?.former ?? [];
  const isOther = known !== undefined && known.incarnation !== incarnation;
  return {
    id,
    incarnation,
    former: isOther ? [...former, known.incarnation].slice(-FORMER_MAX) : former,
    address,
    http,
    zone,
    capacity,
    draining: known?.draining ?? false,
    excluded: known?.excluded ?? false,
  };
}

function isSame(known: NodeRecord | undefined, node: NodeRecord): boolean {
  if (known === undefined) return false;
  const { incarnation, address, http, zone, capacity } = known;
  return (
    incarnation === node.incarnation &&
    address === node.address &&
    http === node.http &&
    zone === node.zone &&
    capacity === node.capacity
  );
}

export function applyHeard(state: MetaState, body: BodyOf<"heard">, index: number): Step {
  const node = state.nodes.get(body.node);
  if (node === undefined) return refused(state, noNode(body.node));
  if (node.incarnation !== body.incarnation) return refused(state, stale(body.node));
  return done(hear(state, body.node, body.heard, index));
}

/** Whether a registration says nothing that is not known. */
export function isKnownAs(state: MetaState, given: Registration): boolean {
  const known = state.nodes.get(given.node);
  if (known === undefined || known.incarnation !== given.incarnation) return false;
  return isSame(known, registered(known, given)) && !isNews(state, given.node, given.heard);
}

/** Whether a node's word would change anything: only then it goes into the log. */
export function isNews(state: MetaState, node: string, heard: Heard): boolean {
  return hear(state, node, heard, state.version.index + 1) !== state;
}

function hear(state: MetaState, node: string, heard: Heard, index: number): MetaState {
  const restore = restoreAbove(state, heard, index);
  const isOld = restore > state.version.restore && state.awaited === null && state.shards.size > 0;
  if (isOld) return hear(countedAnew(state, restore), node, heard, index);
  // What a former control plane may still issue counts from what it was heard to have issued: another era begins.
  const isAnew = restore > state.version.restore || state.awaited !== null;
  const epoch = Math.max(state.epoch, isAnew ? eraAfter(heard.epoch) : heard.epoch);
  const planNumber = Math.max(state.planNumber, heard.plan);
  const awaited = stillAwaited(state.awaited, node);
  if (
    restore === state.version.restore &&
    epoch === state.epoch &&
    planNumber === state.planNumber &&
    awaited === state.awaited
  )
    return state;
  return { ...state, version: { ...state.version, restore }, epoch, planNumber, awaited };
}

function restoreAbove({ version, awaited }: MetaState, heard: Heard, index: number): number {
  const { restore } = version;
  // While the nodes are counted nothing was made under this number: it must be one that nobody has heard.
  const isUsed = awaited !== null && heard.version.restore === restore;
  if (!isUsed && compareVersions(heard.version, { restore, index }) < 0) return restore;
  return heard.version.restore + 1;
}

function stillAwaited(awaited: readonly string[] | null, heard: string): readonly string[] | null {
  if (awaited === null || !awaited.includes(heard)) return awaited;
  const rest = awaited.filter((node) => node !== heard);
  return rest.length === 0 ? null : rest;
}

export function applyNode(state: MetaState, { node: id, action }: BodyOf<"node">): Step {
  const node = state.nodes.get(id);
  if (node === undefined) return refused(state, noNode(id));
  const put = (changes: Partial<NodeRecord>): Step =>
    done({ ...state, nodes: withValue(state.nodes, { ...node, ...changes }) });
  switch (action) {
    case "drain":
      return node.draining ? done(state) : put({ draining: true });
    case "undrain":
      return node.draining ? put({ draining: false }) : done(state);
    case "include":
      return node.excluded ? put({ excluded: false }) : done(state);
    case "exclude": {
      if (node.excluded) return done(state);
      const next = put({ excluded: true }).state;
      return done({ ...next, awaited: stillAwaited(next.awaited, id) });
    }
    case "remove":
      return removeNode(state, id);
  }
}

function removeNode(state: MetaState, id: string): Step {
  const holders = ordered(state.shards).filter(({ replicas }) => replicas.includes(id));
  if (holders.length > 0) {
    const names = holders.slice(0, 5).map((shard) => shard.id);
    return refused(state, `CONFLICT node '${id}' has replicas of ${names.join(", ")}: drain it first`);
  }
  return done({ ...state, nodes: without(state.nodes, id), awaited: stillAwaited(state.awaited, id) });
}

export function applyRestored(state: MetaState, token: string): Step {
  if (token === state.restoreToken) return done(state, state.version.restore);
  const restore = state.version.restore + 1;
  const epoch = eraAfter(state.epoch);
  return done({ ...countedAnew(state, restore), epoch, restoreToken: token }, restore);
}

/**
 * The state of long ago, from now on: nothing is ordered before all nodes were heard. Its plan may be half done or long
 * over: what runs of it its shards end (move_orders.ts), the rest must be asked for anew.
 */
function countedAnew(state: MetaState, restore: number): MetaState {
  const nodes = ordered(state.nodes).filter(({ excluded }) => !excluded);
  return {
    ...withoutPlan(state),
    version: { ...state.version, restore },
    awaited: nodes.length === 0 ? null : nodes.map(({ id }) => id),
  };
}

function stale(id: string): string {
  return `STALE node '${id}' has begun anew with another directory since`;
}

/**
 * The map that nodes hand to clients, made from the state and the hints of leaders; and what people are shown of both
 * as JSON (GET /cluster/map, /cluster/live, /reshard/status).
 *
 * Its version is the state's: the same on every control process that has applied as much, and never one that was used
 * for something else, across restores too (node_transitions.ts). Hints need none: each has its term.
 */
import { compareIds } from "../ring/layout.ts";
import { countSlots } from "../ring/range.ts";
import type { ClusterMap, MapRange, MapShard } from "../wire/cluster_map.ts";
import type { Hint, Liveness, View } from "./liveness.ts";
import { wantProblem } from "./membership.ts";
import { reportOf } from "./observe.ts";
import {
  type MetaState,
  type NodeRecord,
  ordered,
  type PlannedMove,
  RECORDS_MAX,
  type ShardRecord,
} from "./state.ts";

export function mapOf(state: MetaState, hintOf: (group: number) => Hint | null): ClusterMap {
  const nodes = ordered(state.nodes).filter(({ excluded }) => !excluded);
  const places = new Map(nodes.map(({ id }, place) => [id, place]));
  const shards = ordered(state.shards).map((shard) => mapShard(state, shard, places, hintOf(shard.group)));
  const shardPlaces = new Map(shards.map(({ id }, place) => [id, place]));
  const ranges = state.assignment.claims().flatMap(({ slots, shard, epoch }): MapRange[] => {
    const place = shardPlaces.get(shard);
    return place === undefined ? [] : [[...slots, place, epoch]];
  });
  return {
    cluster: state.cluster,
    version: state.version,
    nodes: nodes.map(({ id, address, http, zone }) => ({ id, address, http, zone })),
    shards,
    ranges,
  };
}

function mapShard(
  state: MetaState,
  { id, group, replicas }: ShardRecord,
  places: ReadonlyMap<string, number>,
  hint: Hint | null,
): MapShard {
  const node = hint === null ? undefined : places.get(hint.node);
  return {
    id,
    group,
    weight: state.layout?.shards.find((shard) => shard.id === id)?.weight ?? 1,
    replicas: replicas.flatMap((replica) => places.get(replica) ?? []),
    leader: node === undefined || hint === null ? null : { node, term: hint.term },
  };
}

// ------------------------------------------------------------------------------------------- for people

/** The map with names in place of numbers. */
export function mapJson(map: ClusterMap): object {
  const nameOf = (place: number): string => map.nodes[place]?.id ?? "";
  const owned = map.shards.map((): (readonly [number, number])[] => []);
  for (const [first, last, shard] of map.ranges) owned[shard]?.push([first, last]);
  return {
    cluster: map.cluster,
    version: map.version,
    nodes: map.nodes.map(({ id, address, http, zone }) => ({ id, addr: address, http, zone })),
    shards: map.shards.map(({ id, group, weight, replicas, leader }, i) => ({
      id,
      group,
      weight,
      nodes: replicas.map(nameOf),
      leader: leader === null ? null : nameOf(leader.node),
      term: leader?.term ?? 0,
      slotCount: countSlots(owned[i] ?? []),
      slots: owned[i],
    })),
    ranges: map.ranges.map(([first, last, shard, epoch]) => [
      first,
      last,
      map.shards[shard]?.id ?? "",
      epoch,
    ]),
  };
}

export function liveJson(state: MetaState, view: View, liveness: Liveness): object {
  const slots = state.assignment.counts();
  return {
    version: state.version,
    waitingFor: state.awaited ?? [],
    nodes: ordered(state.nodes).map((node) => liveNode(node, view)),
    shards: ordered(state.shards).map((shard) => ({
      ...liveShard(shard, view, liveness),
      slots: slots.get(shard.id) ?? 0,
      ...heldJson(view, shard.group),
    })),
  };
}

function liveNode({ id, address, http, zone, draining, excluded }: NodeRecord, view: View): object {
  const beat = view.beats.get(id);
  const { commandsPerSecond = 0, bytes = 0, diskFreeBytes = 0 } = beat?.load ?? {};
  const groups = beat?.groups ?? [];
  return {
    id,
    addr: address,
    http,
    zone,
    state: excluded ? "excluded" : view.standing(id),
    silentMs: view.silentMs(id),
    draining,
    replicas: groups.length,
    leads: groups.filter(({ lead }) => lead !== null).length,
    load: { commandsPerSecond, bytes, diskFreeBytes },
  };
}

function liveShard(shard: ShardRecord, view: View, liveness: Liveness): object {
  const { id, group, state, replicas } = shard;
  const leader = view.groups.get(group)?.leader ?? null;
  const hint = liveness.hint(group);
  return {
    id,
    state,
    leader: leader?.node ?? null,
    hint: hint?.node ?? null,
    term: hint?.term ?? 0,
    voters: leader?.lead.voters.map(({ node }) => node) ?? [],
    wanted: replicas,
    /** Why the voters are not the wanted ones yet. */
    blocked: leader === null ? "no leader is known" : wantProblem(view, leader.lead, replicas),
  };
}

/**
 * Each replica as last heard. Its lag is in entries, and up to a heartbeat's interval of them is only that its word is
 * older than the leader's. Keys and bytes are the leader's; without one, of the replica that has applied most.
 */
function heldJson(view: View, group: number): object {
  const lead = view.groups.get(group)?.leader ?? null;
  const held = [...view.beats.values()].flatMap(({ node, groups }) => {
    const report = groups.find((one) => one.group === group);
    return report === undefined ? [] : [{ node, report }];
  });
  const ahead = held.toSorted((a, b) => b.report.applied - a.report.applied)[0]?.report;
  const best = held.find(({ node }) => node === lead?.node)?.report ?? ahead;
  const roleOf = (node: string, quarantined: boolean): string => {
    if (quarantined) return "quarantined";
    if (lead === null) return "unknown";
    if (node === lead.node) return "leader";
    return lead.lead.voters.some((voter) => voter.node === node) ? "voter" : "learner";
  };
  return {
    keys: best?.keys ?? 0,
    bytes: best?.bytes ?? 0,
    replicas: held
      .sort((a, b) => compareIds(a.node, b.node))
      .map(({ node, report: { applied, quarantined } }) => ({
        node,
        role: roleOf(node, quarantined),
        applied,
        lag: lead === null ? null : Math.max(0, (best?.applied ?? 0) - applied),
      })),
  };
}

/**
 * `epoch` is the number of the plan under way, or of the last one: the next one takes one more. Of the finished moves, the
 * newest `recordsMax`.
 */
export function reshardJson(state: MetaState, view: View, recordsMax = RECORDS_MAX): object {
  const { plan, planEnd, planNumber } = state;
  const moves = (plan?.moves ?? []).map((move) => moveJson(state, view, move));
  const sum = (pick: (move: MoveJson) => number): number =>
    moves.reduce((total, move) => total + pick(move), 0);
  return {
    active: plan !== null,
    epoch: plan?.number ?? planNumber,
    manual: plan?.manual ?? false,
    cutover: plan?.cutover ?? false,
    cancelled: (plan?.cancelled ?? 0) > 0,
    keysMoved: sum(({ keys }) => keys),
    keysTotal: sum(({ keysTotal }) => keysTotal),
    moves,
    last: planEnd,
    finished: state.finished.slice(-recordsMax),
  };
}

type MoveJson = {
  readonly from: string;
  readonly to: string;
  readonly slots: PlannedMove["slots"];
  readonly slotCount: number;
  readonly state: PlannedMove["state"];
  readonly epoch: number;
  readonly tries: number;
  readonly keys: number;
  readonly keysTotal: number;
  readonly bytes: number;
  readonly record: PlannedMove["record"];
};

function moveJson(state: MetaState, view: View, move: PlannedMove): MoveJson {
  const { from, to, slots, epoch, tries, record } = move;
  const report = epoch === 0 ? undefined : reportOf(state, view, move, "source");
  const keys = record?.keys ?? report?.keys ?? 0;
  return {
    from,
    to,
    slots,
    slotCount: countSlots(slots),
    state: move.state,
    epoch,
    tries,
    keys,
    keysTotal: Math.max(keys, report?.keysTotal ?? 0),
    bytes: record?.bytes ?? report?.bytes ?? 0,
    record,
  };
}

/**
 * What a node tells the control plane of its replicas (wire/control_plane.ts `heartbeat`). All of it is read off applied
 * state and the configs in force; the control plane keeps no opinion of its own about either.
 */
import type { Member } from "../raft/types.ts";
import type { Store } from "../store/types.ts";
import type { GroupReport, Heard, Heartbeat, LeadReport } from "../wire/control_plane.ts";
import type { GroupReplica } from "./group.ts";
import type { NucleusNode } from "./node.ts";
import type { Seat } from "./seat.ts";

export function heartbeatOf(node: NucleusNode, heard: Heard, load: Heartbeat["load"]): Heartbeat {
  const { engine, config } = node;
  const groups = [...engine.seats.values()].flatMap((seat) => reportOf(node, seat));
  return { node: config.id, incarnation: engine.home.identity.incarnation, heard, load, groups };
}

/** A place that was never taken says nothing; one whose replica is closed or damaged says so. */
function reportOf(node: NucleusNode, seat: Seat): GroupReport[] {
  const { hosted, group: id } = seat;
  if (hosted === null) {
    const [last] = seat.held();
    if (last === undefined) return [];
    const { shards } = node.routing.map ?? { shards: [] };
    const shard = shards.find(({ group }) => group === id)?.id;
    if (shard === undefined) return []; // of a group that is gone: nobody waits for it
    const nothing = { term: 0, leader: null, applied: 0, keys: 0, bytes: 0, lead: null };
    return [{ group: id, shard, replica: last.replica, quarantined: true, ...nothing }];
  }
  const { group } = hosted;
  const { store, core } = group;
  if (store.shard === "") return []; // it has not applied its bootstrap yet: it cannot say what it is
  return [
    {
      group: id,
      shard: store.shard,
      replica: group.replica,
      quarantined: false,
      term: core.term,
      leader: node.engine.nodeOf(group, core.leader),
      applied: store.appliedIndex,
      keys: store.keyCount,
      bytes: store.dataBytes,
      lead: group.isLeader && core.committedInTerm ? leadOf(node, group) : null,
    },
  ];
}

function leadOf(node: NucleusNode, group: GroupReplica): LeadReport {
  const { core, store } = group;
  const { config } = core;
  const named = (members: readonly Member[]): LeadReport["voters"] =>
    members.map((member) => ({ replica: member.replica, node: member.node }));
  return {
    configVersion: config.version,
    voters: named(config.voters),
    joint: config.outgoing.length > 0,
    learners: named(config.learners),
    slots: slotsOf(store),
    moves: node.managed?.movers.reportsOf(group) ?? [],
  };
}

/** Ranges by epoch, as the report has them. */
function slotsOf(store: Store): LeadReport["slots"] {
  const byEpoch = new Map<number, [number, number][]>();
  for (const [first, last, epoch] of store.slotsHeld().ranges) {
    const ranges = byEpoch.get(epoch);
    if (ranges === undefined) byEpoch.set(epoch, [[first, last]]);
    else ranges.push([first, last]);
  }
  return [...byEpoch].map(([epoch, slots]) => ({ epoch, slots }));
}

/**
 * What a node tells the control plane of its replicas (wire/control_plane.ts `heartbeat`). All of it is read off applied
 * state and the configs in force; the control plane keeps no opinion of its own about either.
 */
import type { GroupConfig, Member } from "../raft/types.ts";
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
  if (group.store.shard === "") return []; // it has not applied its bootstrap yet: it cannot say what it is
  return [replicaReport(node, group)];
}

/** The last report of each replica, and the config that it names. */
const lastReports = new WeakMap<
  GroupReplica,
  { readonly report: GroupReport; readonly config: GroupConfig }
>();

/** The same object as last time if nothing changed: of hundreds of groups most are as they were a second ago. */
function replicaReport(node: NucleusNode, group: GroupReplica): GroupReport {
  const { store, core, isLeader } = group;
  const { term, config } = core;
  const leader = node.engine.nodeOf(group, core.leader);
  const leads = isLeader && core.committedInTerm;
  const moves = leads ? (node.managed?.movers.reportsOf(group) ?? []) : [];
  const known = lastReports.get(group);
  if (known !== undefined && known.config === config && moves.length === 0) {
    const { report } = known;
    const isSame =
      report.term === term &&
      report.leader === leader &&
      report.applied === store.appliedIndex &&
      report.keys === store.keyCount &&
      report.bytes === store.dataBytes &&
      (report.lead === null ? !leads : leads && report.lead.moves.length === 0);
    if (isSame) return report;
  }
  const report = {
    group: group.group,
    shard: store.shard,
    replica: group.replica,
    quarantined: false,
    term,
    leader,
    applied: store.appliedIndex,
    keys: store.keyCount,
    bytes: store.dataBytes,
    lead: leads ? leadOf(group, moves) : null,
  };
  lastReports.set(group, { report, config });
  return report;
}

function leadOf({ core, store }: GroupReplica, moves: LeadReport["moves"]): LeadReport {
  const { config } = core;
  const named = (members: readonly Member[]): LeadReport["voters"] =>
    members.map((member) => ({ replica: member.replica, node: member.node }));
  return {
    configVersion: config.version,
    voters: named(config.voters),
    joint: config.outgoing.length > 0,
    learners: named(config.learners),
    slots: slotsOf(store),
    moves,
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

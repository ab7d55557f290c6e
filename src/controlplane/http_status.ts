/** What the HTTP surface says of this control process itself, and the snapshot that the console is sent every second. */
import { EVENTS_TYPE, type HttpAnswer, json, problem } from "./http_answer.ts";
import { liveJson, reshardJson } from "./map.ts";
import type { Reign } from "./reign.ts";
import type { ControlService } from "./service.ts";
import { type MetaState, ordered } from "./state.ts";

export function health(service: ControlService): HttpAnswer {
  const { reign, cluster, term, leaderAddress: leader } = service;
  const role = reign === null ? "follower" : "leader";
  // Who restores leads, and serves nobody.
  const restoring = service.restoreProgress;
  return json({ ok: true, cluster, role, term, leader, restoring, waitingFor: reign?.state.awaited ?? [] });
}

/** It leads, or knows who does. */
export function ready(service: ControlService): HttpAnswer {
  if (service.reign !== null || service.leaderAddress !== null) return json({ ok: true });
  return problem(503, "notready", "no control process leads: a majority of them must run");
}

export function metrics(service: ControlService): HttpAnswer {
  const { reign } = service;
  const lines = [
    "# HELP nucleus_control_leads Whether this control process leads.",
    "# TYPE nucleus_control_leads gauge",
    `nucleus_control_leads ${reign === null ? 0 : 1}`,
    ...(reign === null ? [] : metricsOfLeader(reign)),
  ];
  return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", text: `${lines.join("\n")}\n` };
}

function metricsOfLeader(reign: Reign): string[] {
  const { state } = reign;
  const view = reign.view();
  const standings = { alive: 0, suspect: 0, dead: 0 };
  for (const { id } of ordered(state.nodes)) standings[view.standing(id)]++;
  const leaderless = ordered(state.shards).filter(
    ({ group }) => (view.groups.get(group)?.leader ?? null) === null,
  );
  return [
    "# HELP nucleus_control_nodes Nodes that are registered, by standing.",
    "# TYPE nucleus_control_nodes gauge",
    ...Object.entries(standings).map(([word, count]) => `nucleus_control_nodes{standing="${word}"} ${count}`),
    "# HELP nucleus_control_shards Shards.",
    "# TYPE nucleus_control_shards gauge",
    `nucleus_control_shards ${state.shards.size}`,
    "# HELP nucleus_control_shards_leaderless Shards of which no living leader is known.",
    "# TYPE nucleus_control_shards_leaderless gauge",
    `nucleus_control_shards_leaderless ${leaderless.length}`,
    "# HELP nucleus_control_moves_open Moves of slots that are begun and not closed, or wait.",
    "# TYPE nucleus_control_moves_open gauge",
    `nucleus_control_moves_open ${(state.plan?.moves ?? []).filter(isLeft).length}`,
    "# HELP nucleus_control_map_index Index of the control plane's log that the map is of.",
    "# TYPE nucleus_control_map_index counter",
    `nucleus_control_map_index ${state.version.index}`,
  ];
}

function isLeft({ state }: { readonly state: string }): boolean {
  return state !== "done" && state !== "cancelled";
}

/** Finished moves in each event: more do not end in a second, and some are there to be shown. */
const EVENT_RECORDS_MAX = 64;

/** One server-sent event: what /cluster/live and /reshard/status say, of one moment. */
export function eventText(service: ControlService): HttpAnswer {
  const { reign } = service;
  const snapshot = reign === null ? { leader: service.leaderAddress } : snapshotOf(service, reign);
  return { status: 200, type: EVENTS_TYPE, text: `data: ${JSON.stringify(snapshot)}\n\n` };
}

function snapshotOf(service: ControlService, reign: Reign): object {
  return {
    live: liveOf(service, reign, reign.state),
    reshard: reshardJson(reign.state, reign.view(), EVENT_RECORDS_MAX),
  };
}

export function liveOf(service: ControlService, reign: Reign, state: MetaState): object {
  const live = liveJson(state, reign.view(), reign.liveness);
  return { cluster: state.cluster, term: reign.term, firstLayout: service.firstLayoutProgress, ...live };
}

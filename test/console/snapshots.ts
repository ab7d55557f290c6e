/** Snapshots as the control plane tells them; what does not matter is filled in. */
import type { Live, LiveNode, LiveShard, Move, Reshard, Snapshot } from "./modules.ts";

export function node(id: string, more: Partial<LiveNode> = {}): LiveNode {
  const load = { commandsPerSecond: 100, bytes: 4096, diskFreeBytes: 2 ** 30 };
  const where = { addr: "127.0.0.1:7001", http: "127.0.0.1:8001", zone: "" };
  return { id, ...where, state: "alive", silentMs: 0, draining: false, replicas: 1, leads: 0, load, ...more };
}

export function shard(id: string, more: Partial<LiveShard> = {}): LiveShard {
  const voters = ["n1", "n2", "n3"];
  const replicas = voters.map((one) => ({
    node: one,
    role: one === "n1" ? ("leader" as const) : ("voter" as const),
    applied: 10,
    lag: 0,
  }));
  const held = { slots: 8192, keys: 100, bytes: 6400, replicas };
  const who = { leader: "n1", hint: "n1", term: 3, voters, wanted: voters, blocked: null };
  return { id, state: "active", ...who, ...held, ...more };
}

export function move(from: string, to: string, more: Partial<Move> = {}): Move {
  const done = { keys: 0, keysTotal: 0, bytes: 0, record: null };
  return {
    from,
    to,
    slots: [[0, 99]],
    slotCount: 100,
    state: "waiting",
    epoch: 0,
    tries: 0,
    ...done,
    ...more,
  };
}

export const QUIET: Reshard = {
  active: false,
  epoch: 1,
  manual: false,
  cutover: false,
  cancelled: false,
  keysMoved: 0,
  keysTotal: 0,
  moves: [],
  last: null,
  finished: [],
};

export function snapshot(live: Partial<Live> = {}, reshard: Partial<Reshard> = {}): Snapshot {
  const nodes = ["n1", "n2", "n3"].map((id) => node(id));
  const version = { restore: 0, index: 7 };
  const usual = { cluster: "c0ffee", term: 2, firstLayout: null, version, waitingFor: [] };
  return {
    live: { ...usual, nodes, shards: [shard("s1"), shard("s2")], ...live },
    reshard: { ...QUIET, ...reshard },
  };
}

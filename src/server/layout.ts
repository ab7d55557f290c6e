/**
 * The layout file of a cluster without a control plane: one group over fixed nodes. Every node gets the same file.
 *
 *     { "cluster": "<32 hex digits>",
 *       "nodes": [ {"id": "n1", "addr": "127.0.0.1:7001", "http": "127.0.0.1:8001"}, .. ],
 *       "settings": { "segmentBytes": 16777216, "memoryBytesMax": 0, "electionMs": 300 } }
 *
 * "http" may be left out. Replica i of the group is on the i-th node. Errors: NucleusError "ELAYOUT", naming the field and what it may be.
 */
import { NucleusError } from "../base/errors.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import { MiB } from "../base/units.ts";
import type { Entry, GroupConfig, Member, ReplicaId } from "../raft/types.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { encodeBirth, wholeBirth } from "../store/birth_entry.ts";
import type { StoreSettings } from "../store/types.ts";
import type { ClusterMap } from "../wire/cluster_map.ts";
import { foundingConfig, sealBootstrap } from "./bootstrap.ts";

export type NodeAddress = {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** HOST:PORT of the node's HTTP door, if it is to be told to others. */
  readonly http?: string;
};

export type LayoutSettings = {
  /** Size of the log's segments, the same on all nodes. */
  readonly segmentBytes: number;
  /** Most memory for keys and values; 0 = no limit. */
  readonly memoryBytesMax: number;
  /** Shortest silence after which a follower starts an election; the longest is twice that. */
  readonly electionMs: number;
};

export type Layout = {
  /** 32 hex digits. */
  readonly cluster: string;
  readonly group: number;
  readonly nodes: readonly NodeAddress[];
  readonly settings: LayoutSettings;
};

export const SETTINGS_DEFAULT: LayoutSettings = {
  segmentBytes: 16 * MiB,
  memoryBytesMax: 0,
  electionMs: 300,
};
const NODES_MAX = 15;

export function parseLayout(text: string): Layout {
  const root = record(parseJson(text), "the file");
  onlyKeys(root, ["cluster", "nodes", "settings"], "the file");
  const { cluster, nodes } = root;
  if (typeof cluster !== "string" || !/^[0-9a-f]{32}$/.test(cluster)) {
    throw bad(`"cluster" must be 32 hex digits; make one with: openssl rand -hex 16`);
  }
  if (!Array.isArray(nodes) || nodes.length < 1 || nodes.length > NODES_MAX) {
    throw bad(`"nodes" must be a list of 1 to ${NODES_MAX} nodes`);
  }
  const list = nodes.map(parseNode);
  for (const [i, node] of list.entries()) {
    const twin = list
      .slice(0, i)
      .find((o) => o.id === node.id || (o.host === node.host && o.port === node.port));
    if (twin !== undefined) throw bad(`nodes "${twin.id}" and "${node.id}" share an id or an address`);
  }
  return { cluster, group: groupOf(cluster), nodes: list, settings: parseSettings(root.settings) };
}

/** The one group's number: the first 48 bits of the cluster's id, so that the file need not name it. */
function groupOf(cluster: string): number {
  return Number.parseInt(cluster.slice(0, 12), 16) + 1; // 0 is nobody's
}

/** The config of the group at its birth: replica i on the i-th node. */
export function firstConfig(layout: Layout): GroupConfig {
  return foundingConfig(layout.nodes.map(({ id }) => id));
}

/** The group's first entry. */
export function bootstrapEntry(layout: Layout): Entry {
  const birth = wholeBirth(storeSettings(layout.settings.memoryBytesMax));
  return sealBootstrap(layout.group, firstConfig(layout), encodeBirth(birth));
}

/** Most remembered replies: 64 Ki of 64 B in the shard, 4 Ki of one client (its pipeline, and room to spare). */
const SESSION_LIMITS = { sessionRepliesMax: 4096, sessionsMax: 65_536 };

/** `memoryBytesMax` 0: no limit. */
export function storeSettings(memoryBytesMax: number): StoreSettings {
  return {
    memoryBytesMax: memoryBytesMax === 0 ? Number.MAX_SAFE_INTEGER : memoryBytesMax,
    ...SESSION_LIMITS,
  };
}

/** The map of a cluster without a control plane: one shard, of all slots, on all nodes. */
export function fixedMap({ cluster, group, nodes }: Layout): ClusterMap {
  const replicas = nodes.map((_, i) => i);
  return {
    cluster,
    version: { restore: 0, index: 0 },
    nodes: nodes.map(({ id, host, port, http = "" }) => ({
      id,
      address: addressText(host, port),
      http,
      zone: "",
    })),
    shards: [{ id: "s1", group, weight: 100, replicas, leader: null }],
    ranges: [[0, SLOT_COUNT - 1, 0, 1]],
  };
}

/** The other way round: "host:port", an IPv6 address in brackets. */
export function addressText(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Everyone who takes part, each once. */
export function membersOf({ voters, outgoing, learners }: GroupConfig): Member[] {
  const members = new Map<ReplicaId, Member>();
  for (const member of [...voters, ...outgoing, ...learners]) members.set(member.replica, member);
  return [...members.values()];
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw bad(`it is not JSON: ${(error as Error).message}`);
  }
}

function parseNode(value: unknown, i: number): NodeAddress {
  const node = record(value, `nodes[${i}]`);
  onlyKeys(node, ["id", "addr", "http"], `nodes[${i}]`);
  const { id, addr, http } = node;
  if (!isName(id)) {
    throw bad(`nodes[${i}].id must be ${NAME_RULE}`);
  }
  const address = typeof addr === "string" ? parseAddress(addr) : null;
  if (address === null) throw bad(`nodes[${i}].addr must be HOST:PORT, for example 127.0.0.1:7001`);
  if (http === undefined) return { id, ...address };
  if (typeof http !== "string" || parseAddress(http) === null)
    throw bad(`nodes[${i}].http must be HOST:PORT, for example 127.0.0.1:8001`);
  return { id, ...address, http };
}

/** "host:port"; null if it is not one. */
export function parseAddress(text: string): { host: string; port: number } | null {
  const match = /^(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})$/.exec(text);
  if (match === null) return null;
  const port = Number(match[2]);
  if (port < 1 || port > 65_535) return null;
  return { host: (match[1] as string).replace(/^\[|\]$/g, ""), port };
}

function parseSettings(value: unknown): LayoutSettings {
  if (value === undefined) return SETTINGS_DEFAULT;
  const given = record(value, "settings");
  onlyKeys(given, Object.keys(SETTINGS_DEFAULT), "settings");
  return {
    segmentBytes: integer(given, "segmentBytes", 4 * MiB, 64 * MiB),
    memoryBytesMax: integer(given, "memoryBytesMax", 0, Number.MAX_SAFE_INTEGER),
    electionMs: integer(given, "electionMs", 100, 60_000),
  };
}

/** The settings that a node is given by hand where there is no layout file. */
export function checkSettings(
  electionMs: number,
  segmentBytes: number,
): Pick<LayoutSettings, "electionMs" | "segmentBytes"> {
  return parseSettings({ electionMs, segmentBytes });
}

function integer(from: Record<string, unknown>, key: keyof LayoutSettings, min: number, max: number): number {
  const value = from[key] ?? SETTINGS_DEFAULT[key];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
    throw bad(`settings.${key} must be a whole number from ${min} to ${max}`);
  }
  return value;
}

function record(value: unknown, where: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw bad(`${where} must be an object`);
}

function onlyKeys(value: Record<string, unknown>, keys: readonly string[], where: string): void {
  for (const key of Object.keys(value)) {
    if (!keys.includes(key)) throw bad(`${where} has an unknown field "${key}"; known: ${keys.join(", ")}`);
  }
}

function bad(message: string): NucleusError {
  return new NucleusError("ELAYOUT", `the layout file is not usable: ${message}`);
}

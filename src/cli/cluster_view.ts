/**
 * The cluster as one picture: one node is asked, it names the others and hands over its map, all are asked, and what they
 * say is merged. Each node knows of itself, and of the shards it has replicas of.
 *
 * Whom to believe where they differ: a shard's leader is the node that says of itself that it leads, in the
 * highest term; terms, commits, lags and counts are that leader's. A node that does not answer is not alive, as far as
 * can be seen from here, and a shard of the map that nobody reports has no leader. Field names of the view are an
 * interface (`status --json`).
 */
import { messageOf, NucleusError } from "../base/errors.ts";
import type { ClusterMap, MapShard } from "../wire/cluster_map.ts";
import { type Address, readAddress, showAddress } from "./address.ts";
import { fetchMap } from "./map_call.ts";
import { type KnownNode, type NodeReport, readReport, type ShardReport } from "./node_report.ts";
import { RespConnection } from "./resp_connection.ts";

export type NodeView = {
  readonly id: string;
  readonly addr: string;
  /** Where it serves HTTP; null if it does not, or does not answer. */
  readonly http: string | null;
  readonly pid: number | null;
  readonly alive: boolean;
  /** Why it holds no replica; null if it does, or does not say. */
  readonly waits: string | null;
};

export type ReplicaView = { readonly node: string; readonly role: string; readonly lag: number | null };

export type ShardView = {
  readonly id: string;
  readonly leader: string | null;
  readonly term: number;
  readonly commit: number;
  readonly replicas: readonly ReplicaView[];
  readonly slots: number;
  readonly keys: number;
  readonly bytes: number;
};

export type ClusterView = {
  /** The highest at which anybody owns slots: 1 until slots have moved. */
  readonly epoch: number;
  readonly nodes: readonly NodeView[];
  readonly shards: readonly ShardView[];
  /** Who serves which slots; null: no node that was asked has a map. */
  readonly map: ClusterMap | null;
};

/** What programs get: the map is left out, it has a verb of its own. */
export function viewJson({ epoch, nodes, shards }: ClusterView): string {
  return JSON.stringify({ epoch, nodes, shards });
}

/** Of a cluster that never had a move. */
const FIRST_EPOCH = 1;
/** A living node on a sound network answers within a few ms; one that is stopped must not hold up the rest. */
const ASK_MS_MAX = 1000;

/** Asks the node at `address`, then all that it names. Throws only if that first node gives no usable answer. */
export async function viewCluster(address: Address): Promise<ClusterView> {
  const [first, map] = await Promise.all([askNode(address), fetchMap(address)]);
  return merge(await askAll(first), map);
}

export async function askNode(address: Address, timeoutMs = ASK_MS_MAX): Promise<NodeReport> {
  const connection = await RespConnection.open(address, timeoutMs);
  try {
    return await askOver(connection, timeoutMs);
  } finally {
    connection.close();
  }
}

export async function askOver(connection: RespConnection, timeoutMs = ASK_MS_MAX): Promise<NodeReport> {
  try {
    return readReport(await connection.call(["NUCLEUS", "STATUS"], timeoutMs));
  } catch (error) {
    if (!(error instanceof NucleusError) || error.code !== "EREPORT") throw error;
    throw new NucleusError("EREPORT", `${showAddress(connection.address)}: ${messageOf(error)}`);
  }
}

/** The reports of all nodes that `first` names; null for one that does not answer. `first` is not asked again. */
async function askAll(first: NodeReport): Promise<Reports> {
  const others = first.nodes.map(async (node) => {
    const { id, addr } = node;
    if (id === first.node) return { ...node, report: first };
    const address = readAddress(addr);
    const report = address === null ? null : await askNode(address).catch(() => null);
    const same = report !== null && report.cluster === first.cluster && report.node === id;
    return { ...node, report: same ? report : null };
  });
  return Promise.all(others);
}

export type Reports = readonly (KnownNode & { readonly report: NodeReport | null })[];

export function merge(reports: Reports, map: ClusterMap | null = null): ClusterView {
  const nodes = reports.map(({ id, addr, http, report }) => ({
    id,
    addr,
    http: report?.http ?? http ?? httpOf(map, id),
    pid: report?.pid ?? null,
    alive: report !== null,
    waits: report?.waits ?? null,
  }));
  const alive = reports.map(({ report }) => report).filter((report) => report !== null);
  const told = alive.flatMap(({ shards }) => shards).filter((shard) => isOfMap(shard, map));
  const mapped = map?.shards.map(({ id }) => id) ?? [];
  const ids = [...new Set([...mapped, ...told.map(({ id }) => id)])].sort(byNumber);
  const shards = ids.map((id) => mergeShard(id, alive) ?? untold(id, map));
  return { epoch: highestEpoch(map), nodes, shards, map };
}

function httpOf(map: ClusterMap | null, node: string): string | null {
  return map?.nodes.find(({ id }) => id === node)?.http || null;
}

/** A shard that is over may have replicas left here and there, which serve nothing. */
function isOfMap({ id, slots }: ShardReport, map: ClusterMap | null): boolean {
  return map === null || slots > 0 || map.shards.some((shard) => shard.id === id);
}

function highestEpoch(map: ClusterMap | null): number {
  return (map?.ranges ?? []).reduce((highest, [, , , epoch]) => Math.max(highest, epoch), FIRST_EPOCH);
}

/** All that is known of a shard whose replicas are all silent. */
function untold(id: string, map: ClusterMap | null): ShardView {
  const place = map?.shards.findIndex((shard) => shard.id === id) ?? -1;
  const { replicas = [], leader = null } = (map?.shards[place] ?? {}) as Partial<MapShard>;
  const slots = (map?.ranges ?? [])
    .filter(([, , shard]) => shard === place)
    .reduce((count, [first, last]) => count + last - first + 1, 0);
  return {
    id,
    leader: null,
    term: leader?.term ?? 0,
    commit: 0,
    replicas: replicas.map((node) => ({ node: map?.nodes[node]?.id ?? "?", role: "unknown", lag: null })),
    slots,
    keys: 0,
    bytes: 0,
  };
}

/** s2 before s10. */
function byNumber(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : Number(a > b));
}

function mergeShard(id: string, reports: readonly NodeReport[]): ShardView | null {
  let best: { node: string; shard: ShardReport; leads: boolean } | null = null;
  for (const { node, shards } of reports) {
    const shard = shards.find((other) => other.id === id);
    if (shard === undefined) continue;
    const leads = shard.role === "leader";
    const better =
      best === null ||
      (leads && !best.leads) ||
      (leads === best.leads &&
        (shard.term > best.shard.term || (!leads && shard.commit > best.shard.commit)));
    if (better) best = { node, shard, leads };
  }
  if (best === null) return null;
  const { node, shard, leads } = best;
  return {
    id,
    leader: leads ? node : null,
    term: shard.term,
    commit: shard.commit,
    // Without a leader the others' memory of one is out of date.
    replicas: shard.replicas
      .map(({ node: on, role, lag }) => ({
        node: on,
        role: !leads && role === "leader" ? "follower" : role,
        lag,
      }))
      .sort((a, b) => byNumber(a.node, b.node)),
    slots: shard.slots,
    keys: shard.keys,
    bytes: shard.bytes,
  };
}

export type SlotPlace = { readonly shard: ShardView; readonly epoch: number };

/** Who serves a slot, and since which epoch; null: not known. Without a map there is one shard, and it serves all. */
export function placeOfSlot({ map, shards }: ClusterView, slot: number): SlotPlace | null {
  if (map === null) {
    const [only, other] = shards;
    return only === undefined || other !== undefined ? null : { shard: only, epoch: FIRST_EPOCH };
  }
  const range = map.ranges.find(([first, last]) => first <= slot && slot <= last);
  const shard = shards.find(({ id }) => id === map.shards[range?.[2] ?? -1]?.id);
  return range === undefined || shard === undefined ? null : { shard, epoch: range[3] };
}

export type Health = "healthy" | "degraded" | "unavailable";

/** Unavailable: some keys cannot be written. Degraded: all can, but fewer failures can be survived. */
export function healthOf({ nodes, shards }: ClusterView): Health {
  // A shard that is being made has no slots yet.
  const serving = shards.filter(({ slots }) => slots > 0);
  if (serving.length === 0 || serving.some(({ leader }) => leader === null)) return "unavailable";
  const isLed = shards.every(({ leader }) => leader !== null);
  const isWhole = shards.every(({ replicas }) => replicas.every(({ role }) => role !== "missing"));
  return isLed && isWhole && nodes.every(({ alive }) => alive) ? "healthy" : "degraded";
}

/** The largest known lag of the replicas on living nodes; null if none is known. */
export function worstLag({ nodes, shards }: ClusterView): number | null {
  const alive = new Set(nodes.filter((node) => node.alive).map(({ id }) => id));
  const lags = shards
    .flatMap(({ replicas }) => replicas)
    .filter(({ node, lag }) => alive.has(node) && lag !== null)
    .map(({ lag }) => lag as number);
  return lags.length === 0 ? null : Math.max(...lags);
}

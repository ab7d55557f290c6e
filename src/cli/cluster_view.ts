/**
 * The cluster as one picture: one node is asked, it names the others, all are asked, and what they say is merged.
 *
 * Whom to believe where they differ: a shard's leader is the node that says of itself that it leads, in the
 * highest term; terms, commits and lags are that leader's. A node that does not answer is not alive, as far as
 * can be seen from here. Field names of ClusterView are an interface (`status --json`).
 */
import { messageOf, NucleusError } from "../base/errors.ts";
import { type Address, readAddress, showAddress } from "./address.ts";
import { type NodeReport, readReport, type ShardReport } from "./node_report.ts";
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
  readonly epoch: number;
  readonly nodes: readonly NodeView[];
  readonly shards: readonly ShardView[];
};

/** The map of a fixed layout never changes. */
const FIXED_EPOCH = 1;
/** A living node on a sound network answers within a few ms; one that is stopped must not hold up the rest. */
const ASK_MS_MAX = 1000;

/** Asks the node at `address`, then all that it names. Throws only if that first node gives no usable answer. */
export async function viewCluster(address: Address): Promise<ClusterView> {
  return merge(await askAll(await askNode(address)));
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
export async function askAll(first: NodeReport): Promise<Reports> {
  const others = first.nodes.map(async ({ id, addr }) => {
    if (id === first.node) return { id, addr, report: first };
    const address = readAddress(addr);
    const report = address === null ? null : await askNode(address).catch(() => null);
    const same = report !== null && report.cluster === first.cluster && report.node === id;
    return { id, addr, report: same ? report : null };
  });
  return Promise.all(others);
}

export type Reports = readonly {
  readonly id: string;
  readonly addr: string;
  readonly report: NodeReport | null;
}[];

export function merge(reports: Reports): ClusterView {
  const nodes = reports.map(({ id, addr, report }) => ({
    id,
    addr,
    http: report?.http ?? null,
    pid: report?.pid ?? null,
    alive: report !== null,
    waits: report?.waits ?? null,
  }));
  const alive = reports.map(({ report }) => report).filter((report) => report !== null);
  const ids = [...new Set(alive.flatMap(({ shards }) => shards.map(({ id }) => id)))].sort(byNumber);
  return { epoch: FIXED_EPOCH, nodes, shards: ids.map((id) => mergeShard(id, alive)) };
}

/** s2 before s10. */
function byNumber(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : Number(a > b));
}

function mergeShard(id: string, reports: readonly NodeReport[]): ShardView {
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
  const { node, shard, leads } = best as NonNullable<typeof best>;
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

/** The shard that serves a slot. With a fixed layout there is one, and it serves all of them. */
export function shardOfSlot(view: ClusterView): ShardView | null {
  return view.shards[0] ?? null;
}

export type Health = "healthy" | "degraded" | "unavailable";

/** Unavailable: some keys cannot be written. Degraded: all can, but fewer failures can be survived. */
export function healthOf({ nodes, shards }: ClusterView): Health {
  if (shards.length === 0 || shards.some(({ leader }) => leader === null)) return "unavailable";
  const isWhole = shards.every(({ replicas }) => replicas.every(({ role }) => role !== "missing"));
  return isWhole && nodes.every(({ alive }) => alive) ? "healthy" : "degraded";
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

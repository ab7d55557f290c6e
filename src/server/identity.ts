/**
 * Who this data directory is: `DIR/node.json`, written at birth, after a bootstrap is synced in the log, and with
 * each replica that is made by an order.
 *
 *     { "format": 2, "cluster": "..", "node": "n1", "incarnation": "<32 hex>", "replicas": { "<group>": 3, .. } }
 *
 * The incarnation is drawn at birth, so a wiped or swapped directory is never taken for the one before (hazard
 * A12). `replicas` has the highest id of each group that this directory may have promised anything under, so that it
 * knows of it even if its log is lost: no order makes a replica of that id or a lower one here again. The cluster is ""
 * until a control plane has said which one it is; from then on it never changes.
 *
 * Errors: NucleusError "EFOREIGN" for a directory that belongs to something else, "EBORN" for --init on one that is
 * in use, "EBLANK" for an empty one without --init of a node that is alone: nobody could give it a replica.
 */
import { fromUtf8, toHex, utf8 } from "../base/bytes.ts";
import { codeOf, NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import { readFile, replaceFile } from "../platform/files.ts";
import type { Disk, Random } from "../platform/platform.ts";
import type { ReplicaId } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";

export type Identity = {
  readonly cluster: string;
  readonly node: string;
  readonly incarnation: string;
  /** The highest id that a replica of each group was ever held under here. */
  readonly replicas: ReadonlyMap<GroupId, ReplicaId>;
};

const FORMAT = 2;
const FILE = "node.json";
/** 16384 groups, each with two numbers of 16 digits at most. */
const FILE_BYTES_MAX = MiB;
/** 16384 groups with three members, 64 bytes to each. */
const PEERS_BYTES_MAX = 4 * MiB;
const PEERS_FILE = "peers.json";
/** The last map that the control plane gave (map_file.ts). */
export const MAP_FILE = "map";
/** Names that may stand in a directory before the node is born there. */
const HARMLESS = [
  "log",
  "nucleus.pid",
  "wal",
  "snapshots",
  "lost+found",
  MAP_FILE,
  PEERS_FILE,
  `${FILE}.tmp`,
  `${MAP_FILE}.tmp`,
  `${PEERS_FILE}.tmp`,
];

/** The identity of `dir`, or null if the directory is blank. */
export function* loadIdentity(
  disk: Disk,
  dir: string,
  /** Null: whichever it belongs to. */
  cluster: string | null,
  node: string,
  { init, isAlone }: { readonly init: boolean; readonly isAlone: boolean },
): Task<Identity | null> {
  const names = yield* wait<string[]>((done) => disk.list(dir, done));
  if (!names.includes(FILE)) {
    const foreign = names.find((name) => !HARMLESS.includes(name));
    if (foreign !== undefined) {
      throw new NucleusError(
        "EFOREIGN",
        `${dir} holds "${foreign}" but no ${FILE}: it is not a node's directory; give an empty one with --dir`,
      );
    }
    if (init || !isAlone) return null;
    throw new NucleusError(
      "EBLANK",
      `${dir} is empty, and no other node has a copy of what it may have held. If this node never ran before, start ` +
        "it once with --init",
    );
  }
  const identity = parse(fromUtf8(yield* readFile(disk, `${dir}/${FILE}`, FILE_BYTES_MAX)), dir);
  const isOfCluster = cluster === null || identity.cluster === cluster;
  if (!isOfCluster || identity.node !== node) {
    const wanted = cluster === null ? "" : ` of ${cluster}`;
    throw new NucleusError(
      "EFOREIGN",
      `${dir} belongs to node "${identity.node}" of cluster ${identity.cluster}, not to "${node}"${wanted}`,
    );
  }
  if (init) {
    throw new NucleusError(
      "EBORN",
      `${dir} is in use already: --init is for the first start only; leave it out`,
    );
  }
  return identity;
}

/** Writes a new identity; it lasts when this ends. */
export function* createIdentity(
  disk: Disk,
  random: Random,
  dir: string,
  owner: Omit<Identity, "incarnation">,
): Task<Identity> {
  const bits = new Uint8Array(16);
  random.fill(bits);
  const identity: Identity = { ...owner, incarnation: toHex(bits) };
  yield* saveIdentity(disk, dir, identity);
  return identity;
}

export function saveIdentity(disk: Disk, dir: string, identity: Identity): Task<void> {
  const { cluster, node, incarnation, replicas } = identity;
  const fields = { format: FORMAT, cluster, node, incarnation, replicas: Object.fromEntries(replicas) };
  return replaceFile(disk, dir, FILE, utf8(`${JSON.stringify(fields)}\n`));
}

/** The incarnations of other nodes' replicas, by "group/replica" (known_peers.ts): `DIR/peers.json`. */
export function* loadPeers(disk: Disk, dir: string): Task<Map<string, string>> {
  const names = yield* wait<string[]>((done) => disk.list(dir, done));
  if (!names.includes(PEERS_FILE)) return new Map();
  const text = fromUtf8(yield* readFile(disk, `${dir}/${PEERS_FILE}`, PEERS_BYTES_MAX));
  try {
    const peers = JSON.parse(text) as Record<string, unknown>;
    return new Map(
      Object.entries(peers).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    );
  } catch {
    throw new NucleusError(
      "EFOREIGN",
      `${dir}/${PEERS_FILE} is damaged: it does not say who the other nodes were`,
    );
  }
}

export function savePeers(disk: Disk, dir: string, peers: ReadonlyMap<string, string>): Task<void> {
  return replaceFile(disk, dir, PEERS_FILE, utf8(`${JSON.stringify(Object.fromEntries(peers))}\n`));
}

function parse(text: string, dir: string): Identity {
  try {
    const { format, cluster, node, incarnation, replicas } = JSON.parse(text) as Record<string, unknown>;
    if (format !== FORMAT) {
      throw new NucleusError(
        "EFORMAT",
        `${dir}/${FILE} has storage format ${String(format)}; this program reads ${FORMAT}`,
      );
    }
    const isNamed = typeof cluster === "string" && typeof node === "string";
    const held = parseReplicas(replicas);
    if (isNamed && typeof incarnation === "string" && held !== null)
      return { cluster, node, incarnation, replicas: held };
  } catch (error) {
    if (codeOf(error) === "EFORMAT") throw error;
  }
  throw new NucleusError("EFOREIGN", `${dir}/${FILE} is damaged: it does not say whose directory this is`);
}

function parseReplicas(value: unknown): Map<GroupId, ReplicaId> | null {
  if (typeof value !== "object" || value === null) return null;
  const held = new Map<GroupId, ReplicaId>();
  for (const [group, replica] of Object.entries(value)) {
    if (!Number.isSafeInteger(Number(group)) || typeof replica !== "number") return null;
    held.set(Number(group), replica);
  }
  return held;
}

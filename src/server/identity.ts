/**
 * Who this data directory is: `DIR/node.json`, written at birth, after the bootstrap is synced in the log, and before
 * each replica that is made by an order.
 *
 *     { "format": 1, "cluster": "..", "node": "n1", "incarnation": "<32 hex>", "replica": 3 }
 *
 * The incarnation is drawn at birth, so a wiped or swapped directory is never taken for the one before (hazard
 * A12). `replica` is the highest id that this directory may have promised anything under, so that it knows of it even
 * if its log is lost: no order makes a replica of that id or a lower one here again. Errors: NucleusError "EFOREIGN" for a directory that belongs to something else, "EBORN" for --init on one
 * that is in use, "EBLANK" for an empty one without --init of a node that is alone: nobody could give it a replica.
 */
import { fromUtf8, toHex, utf8 } from "../base/bytes.ts";
import { codeOf, NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import { KiB } from "../base/units.ts";
import { STORAGE_VERSION } from "../base/version.ts";
import { readFile, replaceFile } from "../platform/files.ts";
import type { Disk, Random } from "../platform/platform.ts";
import type { ReplicaId } from "../raft/types.ts";

export type Identity = {
  readonly cluster: string;
  readonly node: string;
  readonly incarnation: string;
  /** The highest id that a replica was ever held under here; 0: none yet. */
  readonly replica: ReplicaId;
};

const FILE = "node.json";
const PEERS_FILE = "peers.json";
/** Names that may stand in a directory before the node is born there. */
const HARMLESS = [
  "log",
  "nucleus.pid",
  "wal",
  "snapshots",
  "lost+found",
  PEERS_FILE,
  `${FILE}.tmp`,
  `${PEERS_FILE}.tmp`,
];

/** The identity of `dir`, or null if the directory is blank. */
export function* loadIdentity(
  disk: Disk,
  dir: string,
  cluster: string,
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
  const identity = parse(fromUtf8(yield* readFile(disk, `${dir}/${FILE}`, 4 * KiB)), dir);
  if (identity.cluster !== cluster || identity.node !== node) {
    throw new NucleusError(
      "EFOREIGN",
      `${dir} belongs to node "${identity.node}" of cluster ${identity.cluster}, not to "${node}" of ${cluster}`,
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
  owner: Pick<Identity, "cluster" | "node" | "replica">,
): Task<Identity> {
  const bits = new Uint8Array(16);
  random.fill(bits);
  const { cluster, node, replica } = owner;
  const identity: Identity = { cluster, node, incarnation: toHex(bits), replica };
  yield* saveIdentity(disk, dir, identity);
  return identity;
}

export function saveIdentity(disk: Disk, dir: string, identity: Identity): Task<void> {
  return replaceFile(disk, dir, FILE, utf8(`${JSON.stringify({ format: STORAGE_VERSION, ...identity })}\n`));
}

/** The incarnations of other nodes' replicas, by "group/replica" (known_peers.ts): `DIR/peers.json`. */
export function* loadPeers(disk: Disk, dir: string): Task<Map<string, string>> {
  const names = yield* wait<string[]>((done) => disk.list(dir, done));
  if (!names.includes(PEERS_FILE)) return new Map();
  const text = fromUtf8(yield* readFile(disk, `${dir}/${PEERS_FILE}`, 64 * KiB));
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
    const { format, cluster, node, incarnation, replica = 0 } = JSON.parse(text) as Record<string, unknown>;
    if (format !== STORAGE_VERSION) {
      throw new NucleusError(
        "EFORMAT",
        `${dir}/${FILE} has storage format ${String(format)}; this program reads ${STORAGE_VERSION}`,
      );
    }
    const isNamed = typeof cluster === "string" && typeof node === "string";
    if (isNamed && typeof incarnation === "string" && typeof replica === "number") {
      return { cluster, node, incarnation, replica };
    }
  } catch (error) {
    if (codeOf(error) === "EFORMAT") throw error;
  }
  throw new NucleusError("EFOREIGN", `${dir}/${FILE} is damaged: it does not say whose directory this is`);
}

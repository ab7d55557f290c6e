/**
 * From a directory to a replica that can take part: the order of these steps is what keeps a node from ever
 * forgetting what it promised.
 *
 *     directory -> identity (or blank and --init) -> log recovered -> replica found in it, or bootstrap written
 *                                                                     and synced, then the identity
 *
 * The bootstrap is index 1, term 0, the same bytes on every node. Errors: NucleusError of identity.ts and of the
 * log ("EDAMAGED", naming file and offset); the disk's own errors.
 */
import { AssertionError, assert } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { Disk, Platform } from "../platform/platform.ts";
import { configOfEntry, EMPTY_CONFIG, encodeConfig } from "../raft/config.ts";
import {
  ENTRY_KIND,
  type Entry,
  type GroupConfig,
  type Index,
  type ReplicaId,
  type Restored,
  type SnapshotMeta,
} from "../raft/types.ts";
import { encodeSettings } from "../store/settings.ts";
import { STATE_VERSION, type Store, type StoreSettings } from "../store/types.ts";
import type { Recovered, RecoveredGroup, Wal, WalOptions } from "../wal/types.ts";
import { openWal } from "../wal/wal.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../wire/batch.ts";
import { createIdentity, type Identity, loadIdentity, loadPeers } from "./identity.ts";
import { firstConfig, type Layout, membersOf } from "./layout.ts";
import { type LoadedSnapshot, loadSnapshot } from "./snapshots.ts";

export type Born = {
  readonly identity: Identity;
  readonly wal: Wal;
  readonly recovered: Recovered;
  readonly replica: number;
  readonly restored: Restored;
  /** The config in force. */
  readonly config: GroupConfig;
  /** The snapshot that was loaded into the store, and the bytes of log behind it. */
  readonly snapshot: LoadedSnapshot | null;
  readonly logBytes: number;
  /** Incarnations of the other nodes, as far as known. */
  readonly peers: ReadonlyMap<string, string>;
};

/** Most remembered replies: 64 Ki of 64 B in the shard, 4 Ki of one client (its pipeline, and room to spare). */
const SESSION_LIMITS = { sessionRepliesMax: 4096, sessionsMax: 65_536 };

export function storeSettings(layout: Layout): StoreSettings {
  const { memoryBytesMax } = layout.settings;
  return {
    memoryBytesMax: memoryBytesMax === 0 ? Number.MAX_SAFE_INTEGER : memoryBytesMax,
    ...SESSION_LIMITS,
  };
}

export type OpenOptions = {
  readonly dir: string;
  readonly node: string;
  readonly layout: Layout;
  readonly init: boolean;
};

export function* openNode(
  platform: Platform,
  options: OpenOptions,
  store: Store,
  events: Pick<WalOptions, "onSynced" | "onFailed">,
): Task<Born> {
  const { disk, random, log } = platform;
  const { dir, node, layout, init } = options;
  yield* wait<void>((done) => disk.makeDir(dir, done));
  const known = yield* loadIdentity(disk, dir, layout.cluster, node, init);
  yield* makeDirs(disk, dir);
  const watch: Watch = { onSynced: events.onSynced };
  const { wal, recovered } = yield* openWal({
    disk,
    log,
    dir: `${dir}/wal`,
    segmentBytes: layout.settings.segmentBytes,
    randomU32: () => random.u32(),
    onSynced: (lsn) => watch.onSynced(lsn),
    onFailed: events.onFailed,
  });
  try {
    const found =
      recovered.groups.find(({ group }) => group === layout.group) ??
      (yield* writeBootstrap(options, known !== null, { wal, recovered }, watch, events.onSynced));
    const loaded = yield* loadSnapshot(platform, `${dir}/snapshots`, found.group, found.snapshotIndex, store);
    const snapshot = loaded?.meta ?? { index: 0, term: 0, config: EMPTY_CONFIG };
    const restored = yield* restore(wal, found, snapshot);
    const logBytes = found.entries.reduce((sum, { size }) => sum + size, 0);
    const { replica } = found;
    const config = restored.configs.at(-1)?.config ?? snapshot.config;
    checkMembers(config, replica, options);
    const identity = known ?? (yield* createIdentity(disk, random, dir, layout.cluster, node));
    const peers = yield* loadPeers(disk, dir);
    return { identity, wal, recovered, replica, restored, config, snapshot: loaded, logBytes, peers };
  } catch (error) {
    if (!(error instanceof AssertionError)) yield* wal.close();
    throw error;
  }
}

/** The log says whose replica this is and who else takes part; the layout says where they are. */
function checkMembers(config: GroupConfig, replica: ReplicaId, { dir, node, layout }: OpenOptions): void {
  const members = membersOf(config);
  const owner = members.find((member) => member.replica === replica)?.node ?? node;
  if (owner !== node) {
    throw new NucleusError(
      "EFOREIGN",
      `${dir} holds what node "${owner}" promised, and "${node}" may not break it; give "${node}" its own directory`,
    );
  }
  const missing = members.find((member) => !layout.nodes.some(({ id }) => id === member.node));
  if (missing === undefined) return;
  throw new NucleusError(
    "ELAYOUT",
    `the layout has no node "${missing.node}", which takes part in the cluster: its nodes are fixed at birth; ` +
      "only their addresses may change",
  );
}

/** Who hears of syncs: the node, except while the bootstrap is on its way to the disk. */
type Watch = { onSynced: (lsn: number) => void };

/** The directories last too, or a power failure takes a whole node away that had promised much (hazard D7). */
function* makeDirs(disk: Disk, dir: string): Task<void> {
  yield* wait<void>((done) => disk.makeDir(`${dir}/wal`, done));
  yield* wait<void>((done) => disk.makeDir(`${dir}/snapshots`, done));
  yield* wait<void>((done) => disk.syncDir(dir, done));
  const above = dir.replace(/\/+[^/]+\/*$/, "");
  if (above !== dir && above !== "") yield* wait<void>((done) => disk.syncDir(above, done));
}

/** The first entry of a new replica, on the disk before this ends. */
function* writeBootstrap(
  { dir, node, layout }: OpenOptions,
  wasBorn: boolean,
  { wal, recovered }: Pick<Born, "wal" | "recovered">,
  watch: Watch,
  onSynced: (lsn: number) => void,
): Task<RecoveredGroup> {
  if (wasBorn) {
    throw new NucleusError(
      "EDAMAGED",
      `${dir}/wal holds nothing of the cluster's group although the node was born: its log is gone. ` +
        "Do not start it with --init; replace the node",
    );
  }
  const [foreign] = recovered.groups;
  if (foreign !== undefined) {
    throw new NucleusError(
      "EFOREIGN",
      `${dir}/wal belongs to another cluster (its group is ${foreign.group}); give an empty directory with --dir`,
    );
  }
  const member = firstConfig(layout).voters.find((voter) => voter.node === node);
  assert(member !== undefined, "the caller checked that the layout names this node");
  const entry = bootstrapEntry(layout);
  wal.appendHardState(member.replica, layout.group, { term: 0, vote: 0, commit: 0 });
  const end = wal.appendEntry(member.replica, layout.group, entry);
  yield* wait<void>((done) => {
    watch.onSynced = (lsn) => {
      if (lsn < end) return;
      watch.onSynced = onSynced;
      done(null, undefined);
    };
    wal.submit();
  });
  return bornGroup(layout, member.replica, entry);
}

/** Index 1: who the voters are and what the limits are. Sealed without a clock, so it is the same everywhere. */
export function bootstrapEntry(layout: Layout): Entry {
  const body = new Writer();
  body.zeros(BATCH_HEADER_BYTES);
  body.raw(encodeConfig(firstConfig(layout))); // its own u32 size first
  body.raw(encodeSettings(storeSettings(layout)));
  const bytes = body.copy();
  sealBatch(bytes, 0, {
    bodySize: bytes.length - BATCH_HEADER_BYTES,
    group: layout.group,
    term: 0,
    index: 1,
    timeMs: 0,
    count: 0,
    kind: ENTRY_KIND.bootstrap,
    encoding: COMMAND_ENCODING,
    stateVersion: STATE_VERSION,
  });
  return { index: 1, term: 0, kind: ENTRY_KIND.bootstrap, bytes };
}

function bornGroup(layout: Layout, replica: number, entry: Entry): RecoveredGroup {
  return {
    group: layout.group,
    replica,
    hardState: { term: 0, vote: 0, commit: 0 },
    snapshotIndex: 0,
    snapshotTerm: 0,
    entries: [{ term: 0, size: entry.bytes.length, kind: entry.kind }],
  };
}

/** What the core has to know of the log: the shape of all entries, and the configs among them. */
function* restore(wal: Wal, found: RecoveredGroup, snapshot: SnapshotMeta): Task<Restored> {
  const configs: { index: Index; config: GroupConfig }[] = [];
  for (const [i, { kind }] of found.entries.entries()) {
    if (kind !== ENTRY_KIND.config && kind !== ENTRY_KIND.bootstrap) continue;
    const index = found.snapshotIndex + 1 + i;
    const [entry] = yield* wal.readEntries(found.group, index, index, 1);
    const config = entry === undefined ? null : configOfEntry(entry);
    if (config === null) throw new NucleusError("EDAMAGED", `entry ${index} of the log holds no config`);
    configs.push({ index, config });
  }
  return {
    hardState: found.hardState,
    snapshot,
    log: found.entries,
    configs,
  };
}

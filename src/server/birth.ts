/**
 * From a directory to a replica that can take part: the order of these steps is what keeps a node from ever
 * forgetting what it promised.
 *
 *     directory -> identity (or blank) -> log recovered -> replica found in it              takes part
 *                                                       -> --init: bootstrap written        takes part
 *                                                       -> nothing, or damaged              waits
 *
 * A bootstrap is synced before the identity is written; it is index 1, term 0, the same bytes on every node. A node
 * that waits holds no replica: the group's leader gives it one under an id that nobody promised anything under
 * (replacement.ts), and `joinGroup` carries that order out. Until then nothing of a damaged directory is changed.
 *
 * Errors: NucleusError of identity.ts; "EDAMAGED" and "ESNAPSHOT", naming file and offset, if there are no other
 * nodes that could know better; the disk's own errors.
 */
import { AssertionError, assert } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { codeOf, NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { Disk, Platform } from "../platform/platform.ts";
import { configOfEntry, EMPTY_CONFIG, encodeConfig } from "../raft/config.ts";
import {
  ENTRY_KIND,
  type Entry,
  type GroupConfig,
  type Index,
  type Lsn,
  type ReplicaId,
  type Restored,
  type SnapshotMeta,
} from "../raft/types.ts";
import { encodeSettings } from "../store/settings.ts";
import { STATE_VERSION, type Store, type StoreSettings } from "../store/types.ts";
import { isFull } from "../wal/segments.ts";
import type { GroupId, Recovered, RecoveredGroup, Wal, WalOptions } from "../wal/types.ts";
import { openWal } from "../wal/wal.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../wire/batch.ts";
import { createIdentity, type Identity, loadIdentity, loadPeers, saveIdentity } from "./identity.ts";
import { firstConfig, type Layout, membersOf } from "./layout.ts";
import { listSnapshots, removeIfThere } from "./snapshot_file.ts";
import { type LoadedSnapshot, loadSnapshot } from "./snapshots.ts";

/** A replica that can take part; its state is loaded into the store. */
export type BornReplica = {
  readonly replica: ReplicaId;
  readonly restored: Restored;
  /** The snapshot that was loaded into the store, and the bytes of log behind it. */
  readonly snapshot: LoadedSnapshot | null;
  readonly logBytes: number;
};

export type Opened = {
  readonly identity: Identity;
  /** Incarnations of other nodes' replicas, as far as known. */
  readonly peers: ReadonlyMap<string, string>;
  /** Null while a damaged log is left as it is. */
  readonly log: OpenLog | null;
  /** Null: the node waits. */
  readonly born: BornReplica | null;
  /** Why the replica that is here must not take part. */
  readonly damage: NucleusError | null;
};

export type OpenLog = { readonly wal: Wal; readonly recovered: Recovered; readonly watch: Watch };

/** Who hears of syncs: the node, and for a while a task that waits for one. */
export type Watch = { onSynced: (lsn: Lsn) => void };

/** Most remembered replies: 64 Ki of 64 B in the shard, 4 Ki of one client (its pipeline, and room to spare). */
const SESSION_LIMITS = { sessionRepliesMax: 4096, sessionsMax: 65_536 };
const DAMAGE_CODES = ["EDAMAGED", "ESNAPSHOT"];

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
  readonly events: Pick<WalOptions, "onSynced" | "onFailed">;
};

export function* openNode(platform: Platform, options: OpenOptions, store: Store): Task<Opened> {
  const { disk, random } = platform;
  const { dir, node, layout, init } = options;
  yield* wait<void>((done) => disk.makeDir(dir, done));
  const isAlone = layout.nodes.length === 1;
  const known = yield* loadIdentity(disk, dir, layout.cluster, node, { init, isAlone });
  yield* makeDirs(disk, dir);
  const log = yield* orDamage(openLog(platform, options, "refuse"), options);
  if (log instanceof NucleusError) {
    const owner = { cluster: layout.cluster, node, replica: 0 };
    const identity = known ?? (yield* createIdentity(disk, random, dir, owner));
    return { identity, peers: yield* loadPeers(disk, dir), log: null, born: null, damage: log };
  }
  try {
    const found = yield* findReplica(options, known !== null, log);
    const heldBefore = known?.replica ?? 0;
    const task = found === null ? null : bringUp(platform, options, log.wal, found, heldBefore, store);
    const judged = task === null ? null : yield* orDamage(task, options);
    // Only now: a directory that is another node's does not become this one's.
    const owner = { cluster: layout.cluster, node, replica: highestHeld(log.recovered, found) };
    const identity = known ?? (yield* createIdentity(disk, random, dir, owner));
    const peers = yield* loadPeers(disk, dir);
    if (judged instanceof NucleusError) return { identity, peers, log, born: null, damage: judged };
    return { identity, peers, log, born: judged, damage: null };
  } catch (error) {
    if (!(error instanceof AssertionError)) yield* log.wal.close();
    throw error;
  }
}

/** The highest id that the log knows a replica of the group by. */
function highestHeld({ tombstones }: Recovered, found: RecoveredGroup | null): ReplicaId {
  return Math.max(found?.replica ?? 0, ...tombstones.map(({ replica }) => replica));
}

/** What `task` gives; or the damage it met, if there are others who may have a sound copy. */
function* orDamage<T>(task: Task<T>, { layout }: OpenOptions): Task<T | NucleusError> {
  try {
    return yield* task;
  } catch (error) {
    const waits = layout.nodes.length > 1 && DAMAGE_CODES.includes(codeOf(error));
    if (waits && error instanceof NucleusError) return error;
    throw error;
  }
}

function* openLog(
  platform: Platform,
  { dir, layout, events }: OpenOptions,
  onDamage: "refuse" | "setAside",
): Task<OpenLog> {
  const { disk, log, random } = platform;
  const watch: Watch = { onSynced: events.onSynced };
  const opened = yield* openWal({
    disk,
    log,
    dir: `${dir}/wal`,
    segmentBytes: layout.settings.segmentBytes,
    randomU32: () => random.u32(),
    onSynced: (lsn) => watch.onSynced(lsn),
    onFailed: events.onFailed,
    onDamage,
  });
  return { ...opened, watch };
}

/** The replica that the log holds; at its birth, the one that the layout gives this node; null: none. */
function* findReplica(options: OpenOptions, wasBorn: boolean, log: OpenLog): Task<RecoveredGroup | null> {
  const { dir, layout, init } = options;
  const { groups, tombstones } = log.recovered;
  const found = groups.find(({ group }) => group === layout.group);
  if (found !== undefined) return found;
  const [foreign] = [...groups, ...tombstones].filter(({ group }) => group !== layout.group);
  if (foreign !== undefined) {
    throw new NucleusError(
      "EFOREIGN",
      `${dir}/wal belongs to another cluster (its group is ${foreign.group}); give an empty directory with --dir`,
    );
  }
  if (init && !wasBorn && tombstones.length === 0) return yield* writeBootstrap(options, log);
  if (layout.nodes.length > 1) return null;
  throw new NucleusError(
    "EDAMAGED",
    `${dir}/wal holds nothing of the cluster's group although the node was born: its log is gone, and no other node ` +
      "has a copy. Put it back from where you have one",
  );
}

/** Loads the replica's state and checks that it is this node's. */
function* bringUp(
  platform: Platform,
  options: OpenOptions,
  wal: Wal,
  found: RecoveredGroup,
  heldBefore: ReplicaId,
  store: Store,
): Task<BornReplica> {
  const { dir } = options;
  if (found.replica < heldBefore) {
    const given = `this node was given replica ${heldBefore} since`;
    throw new NucleusError("EDAMAGED", `${dir}/wal is that of replica ${found.replica}, given up: ${given}`);
  }
  const loaded = yield* loadSnapshot(platform, `${dir}/snapshots`, found.group, found.snapshotIndex, store);
  const snapshot = loaded?.meta ?? { index: 0, term: 0, config: EMPTY_CONFIG };
  const restored = yield* restore(wal, found, snapshot);
  const logBytes = found.entries.reduce((sum, { size }) => sum + size, 0);
  const { replica } = found;
  checkMembers(restored.configs.at(-1)?.config ?? snapshot.config, replica, options);
  return { replica, restored, snapshot: loaded, logBytes };
}

/**
 * Carries out the order to hold a replica of the group: what is here of an older one is closed for good and set
 * aside, the new id is on the disk when this ends, and its log is empty: the leader sends it.
 *
 * The id is noted outside of the log before anything else. So it is used up even if this is broken off, or the log is
 * lost afterwards: a second order of the same id is refused, and the leader takes the next one.
 *
 * Gives an error value if the disk is too full to begin: then all is as it was.
 */
export function* joinGroup(
  platform: Platform,
  options: OpenOptions,
  opened: Opened,
  replica: ReplicaId,
  store: Store,
): Task<Opened | Error> {
  const { dir, layout } = options;
  const { group } = layout;
  const identity = { ...opened.identity, replica };
  assert(replica > opened.identity.replica, "an id is held once");
  let log: OpenLog;
  try {
    yield* saveIdentity(platform.disk, dir, identity);
    log = opened.log ?? (yield* openLog(platform, options, "setAside"));
  } catch (error) {
    if (error instanceof Error && isFull(error)) return error;
    throw error;
  }
  const { wal, recovered } = log;
  assert(opened.born === null, "a node holds one replica of a group");
  const old = recovered.groups.find((one) => one.group === group);
  if (old !== undefined) wal.appendTombstone(old.replica, group);
  yield* setSnapshotsAside(platform.disk, `${dir}/snapshots`, group, opened.damage !== null);
  const hardState = { term: 0, vote: 0, commit: 0 };
  yield* untilSynced(log, wal.appendHardState(replica, group, hardState));
  const found = { group, replica, hardState, snapshotIndex: 0, snapshotTerm: 0, entries: [] };
  const born = yield* bringUp(platform, options, wal, found, replica, store);
  return { ...opened, identity, log, born, damage: null };
}

/** Snapshots of a replica that was closed: no start may take one for the new one's. */
function* setSnapshotsAside(disk: Disk, dir: string, group: GroupId, keep: boolean): Task<void> {
  for (const { file, ...name } of yield* listSnapshots(disk, dir)) {
    if (name.group !== group) continue;
    if (keep) yield* wait<void>((done) => disk.rename(`${dir}/${file}`, `${dir}/${file}.damaged`, done));
    else yield* removeIfThere(disk, `${dir}/${file}`); // the closed replica may still be cleaning up
  }
  yield* wait<void>((done) => disk.syncDir(dir, done));
}

/** Submits what was appended, and ends when the disk has everything below `end`. */
export function* untilSynced({ wal, watch }: OpenLog, end: Lsn): Task<void> {
  const { onSynced } = watch;
  yield* wait<void>((done) => {
    watch.onSynced = (lsn) => {
      onSynced(lsn);
      if (lsn < end) return;
      watch.onSynced = onSynced;
      done(null, undefined);
    };
    wal.submit();
  });
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
    `the layout has no node "${missing.node}", which takes part in the cluster; to take it out, replace it first ` +
      `(nucleus node replace ${missing.node} --with NODE)`,
  );
}

/** The directories last too, or a power failure takes a whole node away that had promised much (hazard D7). */
function* makeDirs(disk: Disk, dir: string): Task<void> {
  yield* wait<void>((done) => disk.makeDir(`${dir}/wal`, done));
  yield* wait<void>((done) => disk.makeDir(`${dir}/snapshots`, done));
  yield* wait<void>((done) => disk.syncDir(dir, done));
  for (const above of ancestorsOf(dir)) yield* syncIfReadable(disk, above);
}

/** "/a/b/c" -> "/a/b", "/a", "/"; "a/b" -> "a", ".". Any of them may be new. */
function ancestorsOf(dir: string): string[] {
  const names = dir.split("/").filter((name) => name !== "");
  const root = dir.startsWith("/") ? "/" : "";
  const above: string[] = [];
  for (let count = names.length - 1; count >= 0; count--)
    above.push(root + names.slice(0, count).join("/") || ".");
  return above;
}

/** One that this user may not read was not made by this user: it has been there for long. */
function* syncIfReadable(disk: Disk, dir: string): Task<void> {
  try {
    yield* wait<void>((done) => disk.syncDir(dir, done));
  } catch (error) {
    if (!["EACCES", "EPERM"].includes(codeOf(error))) throw error;
  }
}

/** The first entry of a new replica, on the disk before this ends. */
function* writeBootstrap({ node, layout }: OpenOptions, log: OpenLog): Task<RecoveredGroup> {
  const member = firstConfig(layout).voters.find((voter) => voter.node === node);
  assert(member !== undefined, "the caller checked that the layout names this node");
  const entry = bootstrapEntry(layout);
  const { wal } = log;
  wal.appendHardState(member.replica, layout.group, { term: 0, vote: 0, commit: 0 });
  yield* untilSynced(log, wal.appendEntry(member.replica, layout.group, entry));
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

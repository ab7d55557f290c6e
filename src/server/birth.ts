/**
 * From a directory to the replicas in it: the order of these steps is what keeps a node from ever forgetting what it
 * promised.
 *
 *     directory -> identity (or blank) -> log recovered -> each group's replica found in it, and its state loaded
 *                                                       -> --init: bootstrap written
 *                                                       -> nothing, or damaged: the place waits
 *
 * A bootstrap is synced before the identity is written; it is index 1, term 0, the same bytes on every founder. A place
 * that waits gets its replica by an order (seat.ts), under an id that nobody promised anything under: `joinGroup`
 * carries it out. Until then nothing of a damaged directory is changed.
 *
 * Errors: NucleusError of identity.ts; "EFOREIGN" for what belongs to others; "EDAMAGED" and "ESNAPSHOT", naming file and
 * offset, if there are no other nodes that could know better; the disk's own errors.
 */
import { AssertionError, assert } from "../base/assert.ts";
import { codeOf, NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { Disk, Platform } from "../platform/platform.ts";
import { configOfEntry, EMPTY_CONFIG } from "../raft/config.ts";
import {
  ENTRY_KIND,
  type Entry,
  type GroupConfig,
  type Index,
  type ReplicaId,
  type Restored,
  type SnapshotMeta,
} from "../raft/types.ts";
import type { Store } from "../store/types.ts";
import { isFull } from "../wal/segments.ts";
import type { GroupId, Recovered, RecoveredGroup, Wal } from "../wal/types.ts";
import { Home, type HomeOptions, type OpenLog, openLog, untilSynced } from "./home.ts";
import { createIdentity, type Identity, loadIdentity, loadPeers } from "./identity.ts";
import { membersOf } from "./layout.ts";
import { listSnapshots, removeIfThere } from "./snapshot_file.ts";
import { type LoadedSnapshot, loadSnapshot } from "./snapshots.ts";

/** A replica that can take part; its state is loaded into the store. */
export type BornReplica = {
  readonly replica: ReplicaId;
  readonly store: Store;
  readonly restored: Restored;
  /** The snapshot that was loaded into the store, and the bytes of log behind it. */
  readonly snapshot: LoadedSnapshot | null;
  readonly logBytes: number;
};

/** What the directory has of one group. */
export type OpenedGroup = {
  readonly group: GroupId;
  /** Null: its place waits. */
  readonly born: BornReplica | null;
  /** Why the replica that is here must not take part. */
  readonly damage: NucleusError | null;
};

export type Opened = {
  readonly home: Home;
  /** Incarnations of other nodes' replicas, as far as known. */
  readonly peers: ReadonlyMap<string, string>;
  readonly groups: readonly OpenedGroup[];
};

/** What --init brings into being. */
export type Founding = { readonly group: GroupId; readonly replica: ReplicaId; readonly entry: Entry };

export type OpenOptions = HomeOptions & {
  /** The cluster that the directory belongs to; null: whichever it is, and a blank one belongs to none yet. */
  readonly cluster: string | null;
  /** Null: --init was not said. */
  readonly founding: Founding | null;
  /** The groups that can be here, if that is settled; null: those that are found, and others by order. */
  readonly groups: readonly GroupId[] | null;
  /** Other nodes may have sound copies: what is missing or damaged is waited for. */
  readonly hasOthers: boolean;
  /** Whether a group may have a member on this node; names the missing node if not. */
  readonly mayBeMember: (node: string) => boolean;
};

const DAMAGE_CODES = ["EDAMAGED", "ESNAPSHOT"];

export function* openNode(platform: Platform, options: OpenOptions): Task<Opened> {
  const { disk } = platform;
  const { dir, node, cluster, hasOthers } = options;
  yield* wait<void>((done) => disk.makeDir(dir, done));
  const flags = { init: options.founding !== null, isAlone: !hasOthers };
  const known = yield* loadIdentity(disk, dir, cluster, node, flags);
  yield* makeDirs(disk, dir);
  const log = yield* orDamage(openLog(platform, options, "refuse"), options);
  if (log instanceof NucleusError) {
    const identity = known ?? (yield* newIdentity(platform, options, new Map()));
    const home = new Home(platform, options, identity, null, log);
    const groups = options.groups ?? [...identity.replicas.keys()];
    const peers = yield* loadPeers(disk, dir);
    return { home, peers, groups: groups.map((group) => ({ group, born: null, damage: log })) };
  }
  try {
    return yield* openGroups(platform, options, known, log);
  } catch (error) {
    if (!(error instanceof AssertionError)) yield* log.wal.close();
    throw error;
  }
}

function* openGroups(
  platform: Platform,
  options: OpenOptions,
  known: Identity | null,
  log: OpenLog,
): Task<Opened> {
  const { disk } = platform;
  const { recovered, wal } = log;
  checkForeign(options, recovered);
  const groups: OpenedGroup[] = [];
  const highest = new Map<GroupId, ReplicaId>();
  const hold = (group: GroupId, replica: ReplicaId): unknown =>
    highest.set(group, Math.max(replica, highest.get(group) ?? 0));
  for (const { group, replica } of recovered.tombstones) hold(group, replica);
  for (const group of groupsOf(options, known, recovered)) {
    const found = yield* findReplica(options, group, known !== null, log);
    if (found !== null) hold(group, found.replica);
    const heldBefore = known?.replicas.get(group) ?? 0;
    const task = found === null ? null : bringUp(platform, options, wal, found, heldBefore);
    const judged = task === null ? null : yield* orDamage(task, options);
    if (judged instanceof NucleusError) groups.push({ group, born: null, damage: judged });
    else groups.push({ group, born: judged, damage: null });
  }
  // Only now: a directory that is another node's does not become this one's.
  const identity = known ?? (yield* newIdentity(platform, options, highest));
  const home = new Home(platform, options, identity, log, null);
  yield* home.useAll(highest);
  return { home, peers: yield* loadPeers(disk, options.dir), groups };
}

function newIdentity(
  { disk, random }: Platform,
  { dir, node, cluster }: OpenOptions,
  replicas: ReadonlyMap<GroupId, ReplicaId>,
): Task<Identity> {
  return createIdentity(disk, random, dir, { cluster: cluster ?? "", node, replicas });
}

/** What `task` gives; or the damage it met, if there are others who may have a sound copy. */
function* orDamage<T>(task: Task<T>, { hasOthers }: OpenOptions): Task<T | NucleusError> {
  try {
    return yield* task;
  } catch (error) {
    const waits = hasOthers && DAMAGE_CODES.includes(codeOf(error));
    if (waits && error instanceof NucleusError) return error;
    throw error;
  }
}

/** Every group that was ever here, or must be. */
function groupsOf(
  { groups }: OpenOptions,
  known: Identity | null,
  { groups: found, tombstones }: Recovered,
): readonly GroupId[] {
  if (groups !== null) return groups;
  const held = [...found, ...tombstones].map(({ group }) => group);
  return [...new Set([...held, ...(known?.replicas.keys() ?? [])])];
}

function checkForeign({ dir, groups }: OpenOptions, { groups: found, tombstones }: Recovered): void {
  if (groups === null) return;
  const [foreign] = [...found, ...tombstones].filter(({ group }) => !groups.includes(group));
  if (foreign === undefined) return;
  throw new NucleusError(
    "EFOREIGN",
    `${dir}/wal belongs to another cluster (its group is ${foreign.group}); give an empty directory with --dir`,
  );
}

/** The replica that the log holds; at its birth, the one that --init gives this node; null: none. */
function* findReplica(
  { dir, founding, hasOthers }: OpenOptions,
  group: GroupId,
  wasBorn: boolean,
  log: OpenLog,
): Task<RecoveredGroup | null> {
  const { groups, tombstones } = log.recovered;
  const found = groups.find((one) => one.group === group);
  if (found !== undefined) return found;
  if (founding?.group === group && !wasBorn && tombstones.length === 0)
    return yield* writeBootstrap(founding, log);
  if (hasOthers) return null;
  throw new NucleusError(
    "EDAMAGED",
    `${dir}/wal holds nothing of the cluster's group although the node was born: its log is gone, and no other node ` +
      "has a copy. Put it back from where you have one",
  );
}

/** Loads the replica's state and checks that it is this node's. */
function* bringUp(
  platform: Platform,
  options: Pick<OpenOptions, "dir" | "node" | "makeStore" | "mayBeMember">,
  wal: Wal,
  found: RecoveredGroup,
  heldBefore: ReplicaId,
): Task<BornReplica> {
  const { dir } = options;
  if (found.replica < heldBefore) {
    const given = `this node was given replica ${heldBefore} since`;
    throw new NucleusError("EDAMAGED", `${dir}/wal is that of replica ${found.replica}, given up: ${given}`);
  }
  const store = options.makeStore(found.group);
  const loaded = yield* loadSnapshot(platform, `${dir}/snapshots`, found.group, found.snapshotIndex, store);
  const snapshot = loaded?.meta ?? { index: 0, term: 0, config: EMPTY_CONFIG };
  const restored = yield* restore(wal, found, snapshot);
  const logBytes = found.entries.reduce((sum, { size }) => sum + size, 0);
  const { replica } = found;
  checkMembers(restored.configs.at(-1)?.config ?? snapshot.config, replica, options);
  return { replica, store, restored, snapshot: loaded, logBytes };
}

/** An order to hold a replica. `bootstrap` null: its log is empty, the group's leader sends it. */
export type JoinOrder = {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly bootstrap: Entry | null;
};

/**
 * Carries the order out: what is here of an older replica is closed for good and set aside, and the new id is on the
 * disk when this ends.
 *
 * An id that a group's leader gave out is noted outside of the log before anything else: so it is used up even if this
 * is broken off, or the log is lost afterwards; a second order of the same id is refused, and the leader takes the next
 * one. A founder's id has no next one, so its bootstrap is logged first and the id noted before anything is promised
 * under it: an order that was broken off in between is found done by the next start, or can be carried out again.
 *
 * Gives an error value if the disk is too full: then the order can be given again, and an id that a leader gave out may
 * be used up. `hasRoom`: whether the log takes a batch of that size beside all that the other groups took before.
 */
export function* joinGroup(
  home: Home,
  options: OpenOptions,
  order: JoinOrder,
  wasDamaged: boolean,
  hasRoom: (bytes: number) => boolean,
): Task<BornReplica | Error> {
  const { platform } = home;
  const { dir } = options;
  const { group, replica } = order;
  assert(replica > home.usedUp(group), "an id is held once");
  try {
    if (order.bootstrap === null) yield* home.use(group, replica);
    const log = yield* home.soundLog();
    if (order.bootstrap !== null && !hasRoom(order.bootstrap.bytes.length)) return noRoom(dir);
    // As the log is now: it may hold a founder whose birth was broken off by a full disk, and whose id nobody noted.
    const old = log.wal.replicaOf(group);
    if (old > 0 && old < replica) log.wal.appendTombstone(old, group);
    yield* setSnapshotsAside(platform.disk, `${dir}/snapshots`, group, wasDamaged);
    const found = yield* begin(home, log, order);
    return yield* bringUp(platform, options, log.wal, found, replica);
  } catch (error) {
    if (error instanceof Error && isFull(error)) return error;
    throw error;
  }
}

function noRoom(dir: string): NucleusError {
  return new NucleusError("ENOSPC", `${dir}/wal has no room for a group's first entry now`);
}

/** The new replica's first record in the log, and its id in the directory. */
function* begin(home: Home, log: OpenLog, { group, replica, bootstrap }: JoinOrder): Task<RecoveredGroup> {
  if (bootstrap !== null) {
    const found = yield* writeBootstrap({ group, replica, entry: bootstrap }, log);
    yield* home.use(group, replica);
    return found;
  }
  const hardState = { term: 0, vote: 0, commit: 0 };
  yield* untilSynced(log, log.wal.appendHardState(replica, group, hardState));
  return { group, replica, hardState, snapshotIndex: 0, snapshotTerm: 0, entries: [] };
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

/** The log says whose replica this is and who else takes part; the layout says where they are. */
function checkMembers(
  config: GroupConfig,
  replica: ReplicaId,
  { dir, node, mayBeMember }: Pick<OpenOptions, "dir" | "node" | "mayBeMember">,
): void {
  const members = membersOf(config);
  const owner = members.find((member) => member.replica === replica)?.node ?? node;
  if (owner !== node) {
    throw new NucleusError(
      "EFOREIGN",
      `${dir} holds what node "${owner}" promised, and "${node}" may not break it; give "${node}" its own directory`,
    );
  }
  const missing = members.find((member) => !mayBeMember(member.node));
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

/**
 * The first entry of a new replica, on the disk before this ends. It is the only record of it: a birth that is broken
 * off leaves all of it or nothing, never a replica with an empty log whose id is used up.
 */
function* writeBootstrap({ group, replica, entry }: Founding, log: OpenLog): Task<RecoveredGroup> {
  const { wal } = log;
  const hardState = { term: 0, vote: 0, commit: 0 };
  yield* untilSynced(log, wal.appendEntry(replica, group, entry));
  const entries = [{ term: 0, size: entry.bytes.length, kind: entry.kind }];
  return { group, replica, hardState, snapshotIndex: 0, snapshotTerm: 0, entries };
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

/**
 * What is kept of a damaged log, when whoever starts it asked for that instead of a refusal.
 *
 * A damaged replica never returns as itself: it could lack what it had acknowledged, vote, and win. So its id is
 * closed by a tombstone, and the group's leader brings in a new one. Two cases:
 *
 *     heads of all damaged records hold    their groups are closed, the others go on; the damaged stretches are
 *                                          listed in the checkpoint and passed over by later starts
 *     anything else                        any group may have lost something: all are closed, the old segments are
 *                                          set aside, and the log begins anew
 *
 * Damaged files are kept as `damaged-<n>-<name>`; nothing here ever reads or removes them.
 */
import type { Task } from "../base/task.ts";
import { wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import type { DiskFile } from "../platform/platform.ts";
import type { Lsn, ReplicaId } from "../raft/types.ts";
import type { Chain } from "./chain.ts";
import { readCheckpointBody, type Span } from "./checkpoint.ts";
import { closeAfterError, openFile, readWhole, sync, unlink, writeWhole } from "./disk_io.ts";
import { RECORD_HEAD_BYTES, RECORD_KIND, type SegmentPlace } from "./format.ts";
import { Image } from "./image.ts";
import { scanSegment } from "./recovery.ts";
import type { SegmentsOptions } from "./segments.ts";
import type { GroupId } from "./types.ts";
import type { Findings, Hints } from "./walk.ts";

const COPY_BYTES = MiB;

/**
 * The groups whose records are damaged, or null if that may be any. Damage of another kind (a missing segment, a
 * contradiction) is not judged here: the second walk meets it again.
 */
export function damagedGroups(findings: Findings): Set<GroupId> | null {
  const groups = new Set<GroupId>();
  for (const { group } of findings.bads) {
    if (group === null) return null;
    groups.add(group);
  }
  return groups;
}

/** Hints by which a second walk leaves out the damaged groups and passes over the damage. */
export function hintsWithout(groups: ReadonlySet<GroupId>, findings: Findings, hints: Hints): Hints {
  const closed = new Map(hints.closed);
  for (const group of groups) closed.set(group, Number.POSITIVE_INFINITY);
  const damaged: Span[] = [...hints.damaged, ...findings.bads.map(({ lsn, end }) => ({ lsn, end }))];
  return { closed, damaged };
}

/** Remembers the highest replica id that was seen of a group. */
export function noteReplica(into: Map<GroupId, ReplicaId>, group: GroupId, replica: ReplicaId): void {
  into.set(group, Math.max(replica, into.get(group) ?? 0));
}

/** Does so for all that verifies in a segment. */
export function surveyReplicas(bytes: Uint8Array, place: SegmentPlace, into: Map<GroupId, ReplicaId>): void {
  scanSegment(bytes, place, [], (head) => {
    if (head.kind !== RECORD_KIND.checkpoint) return noteReplica(into, head.group, head.replica);
    const checkpoint = readCheckpointBody(bytes, head.lsn - place.base + RECORD_HEAD_BYTES, head.bodySize);
    for (const { group, replica } of checkpoint?.groups ?? []) noteReplica(into, group, replica);
    for (const { group, replica } of checkpoint?.tombstones ?? []) noteReplica(into, group, replica);
  });
}

/** An image of nothing but tombstones: of every group that was seen in the old log. */
export function imageOfTombstones(replicas: ReadonlyMap<GroupId, ReplicaId>): Image {
  const image = new Image();
  for (const [group, replica] of replicas) image.tombstone(replica, group, 0);
  return image;
}

/** Where a log begins that has nothing to do with any segment in the directory. */
export function baseBehindAll(bases: readonly Lsn[], segmentBytes: number): Lsn {
  return Math.max(...bases) + segmentBytes;
}

/** Files that the damage names, each once. */
export function damagedFiles(findings: Findings, chain: Chain): string[] {
  const known = new Set(chain.segments.map(({ name }) => name));
  return [...new Set(findings.damage.map(({ file }) => file))].filter((file) => known.has(file));
}

function damagedName(names: readonly string[], name: string): string {
  let number = 1;
  while (names.includes(`damaged-${number}-${name}`)) number++;
  return `damaged-${number}-${name}`;
}

/** Copies a damaged segment to where nothing will touch it. */
export function* copyAside(
  options: SegmentsOptions,
  names: string[],
  name: string,
  from: DiskFile,
): Task<void> {
  const { disk, dir } = options;
  const aside = damagedName(names, name);
  names.push(aside);
  const path = `${dir}/${aside}`;
  const to = yield* openFile(disk, path, "create");
  let isWhole = false;
  try {
    const buffer = new Uint8Array(COPY_BYTES);
    for (let at = 0; ; at += buffer.length) {
      const read = yield* readWhole(from, buffer, at);
      yield* writeWhole(to, buffer.subarray(0, read), at);
      if (read < buffer.length) break;
    }
    yield* sync(to);
    isWhole = true;
  } finally {
    yield* closeAfterError(to);
    if (!isWhole) yield* unlink(disk, path); // on a full disk each attempt would leave a piece
  }
}

/** Renames old segments out of the log. */
export function* moveAside(
  options: SegmentsOptions,
  names: string[],
  segments: readonly string[],
): Task<void> {
  const { disk, dir } = options;
  for (const name of segments) {
    const aside = damagedName(names, name);
    yield* wait<void>((done) => disk.rename(`${dir}/${name}`, `${dir}/${aside}`, done));
    names[names.indexOf(name)] = aside;
  }
  yield* wait<void>((done) => disk.syncDir(dir, done));
}

/**
 * The walk over all segments, oldest first, that rebuilds the log's image and collects the facts of the recovery
 * table. Pure: the caller reads the files and hands over their bytes.
 *
 * A segment's records end where its successor's checkpoint says; until that checkpoint is on the disk, the
 * closing mark says it, and until that is, the segment is the log's tail. Records are taken into the image up to
 * the first bad stretch; if that turns out to be the cut, the image is complete.
 *
 * What the newest checkpoint says is known beforehand: which replicas are closed by now, and which stretches were
 * found damaged by an earlier start. Records of the former are passed over, so that what is missing in the latter
 * is not missed.
 */
import { assert, present } from "../base/assert.ts";
import type { Lsn, ReplicaId } from "../raft/types.ts";
import type { Chain, ChainSegment } from "./chain.ts";
import { type Checkpoint, readCheckpointBody, type Span } from "./checkpoint.ts";
import {
  batchSize,
  entryKindAt,
  NO_EPOCH,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  type RecordHead,
  SEGMENT_HEADER_BYTES,
  sameEpoch,
} from "./format.ts";
import { Image } from "./image.ts";
import { type Bad, judge, type Scan, scanSegment, type Verdict } from "./recovery.ts";
import type { GroupId, WalDamage } from "./types.ts";

/** What is known before the walk. */
export type Hints = { readonly closed: ReadonlyMap<GroupId, ReplicaId>; readonly damaged: readonly Span[] };
export const NO_HINTS: Hints = { closed: new Map(), damaged: [] };

export type Findings = {
  readonly verdict: Verdict;
  /** The row of the recovery table that answered. */
  readonly label: string;
  readonly damage: readonly WalDamage[];
  /** The damaged stretches of synced records among it. */
  readonly bads: readonly Bad[];
};

/** Where a sound log ends. */
export type Tail = {
  /** The chain's segment that the fresh one replaces. */
  readonly segment: ChainSegment;
  readonly predecessorEnd: Lsn;
  readonly cut: Lsn;
  /** Bytes behind the cut, up to the last record of which anything is left. */
  readonly tornBytes: number;
};

export class Walk {
  readonly image = new Image();
  readonly #chain: Chain;
  readonly #hints: Hints;
  readonly #damage: WalDamage[];
  readonly #scans: Scan[] = [];
  /** By segment: what its own checkpoint says of the predecessor; null if it does not verify. */
  readonly #predecessorEnds: (Lsn | null)[] = [];
  #bads: Bad[] = [];
  #dMax: Lsn = 0;
  #contradicted = false;
  records = 0;

  constructor(chain: Chain, hints: Hints) {
    this.#chain = chain;
    this.#hints = hints;
    this.#damage = [...chain.damage];
  }

  /** The next segment of the chain, whole; returns how many of its records verify. */
  add(bytes: Uint8Array): number {
    const segment = present(this.#chain.segments[this.#scans.length], "no more segments than the chain has");
    this.#predecessorEnds.push(null);
    this.#dMax = Math.max(this.#dMax, segment.header.syncedLsn);
    const scan = scanSegment(bytes, segment.place, this.#hints.damaged, (head, own) =>
      this.#take(bytes, segment, head, own),
    );
    this.#scans.push(scan);
    this.#bads.push(...scan.bads);
    this.#dMax = Math.max(this.#dMax, scan.dMax);
    this.records += scan.records;
    return scan.records;
  }

  finish(): Findings {
    const { versionKnown, anySegment, sizesRight, headersReadable, linksRight } = this.#chain;
    const read = this.#scans.length === this.#chain.segments.length;
    assert(read || this.#damage.length > 0 || !versionKnown, "a sound chain was read whole");
    const chainWhole = linksRight && this.#endsWhole();
    const bads = this.#bads.filter((bad) => bad.lsn < this.#dMax);
    for (const bad of bads) this.#report(bad);
    const gaps = chainWhole && bads.length === 0 ? this.image.groupsWithGaps() : [];
    if (gaps.length > 0) {
      const file = this.#chain.segments[0]?.name ?? "";
      this.#damage.push({ file, offset: 0, reason: "a segment before it is missing", groups: gaps });
    }
    const { verdict, label } = judge({
      anySegment,
      sizesRight,
      headersReadable,
      versionKnown: versionKnown && this.#scans.every((scan) => scan.unknown === null),
      chainWhole,
      badBelowSynced: bads.length > 0,
      entriesWhole: gaps.length === 0 && !this.#contradicted,
      recordsBehindCut: this.#lastEnd() > (this.#cut() ?? Number.POSITIVE_INFINITY),
    });
    return { verdict, label, damage: this.#damage, bads };
  }

  /** After a verdict of clean or torn. */
  tail(): Tail {
    const cut = present(this.#cut(), "a sound log has an end");
    const { segments } = this.#chain;
    const at = segments.findIndex(
      ({ header }) => cut >= header.base && cut < header.base + header.segmentBytes,
    );
    const segment = present(segments[at], "the cut lies in a segment");
    const predecessorEnd = this.#predecessorEnds[at] ?? this.#scans[at - 1]?.closedEnd ?? 0;
    return { segment, predecessorEnd, cut, tornBytes: Math.max(0, this.#lastEnd() - cut) };
  }

  /** The place of a record of an unknown kind. */
  unknownRecord(): { readonly file: string; readonly offset: number; readonly kind: number } | null {
    for (const [i, scan] of this.#scans.entries()) {
      const segment = this.#chain.segments[i] as ChainSegment;
      if (scan.unknown === null) continue;
      return { file: segment.name, offset: scan.unknown.lsn - segment.header.base, kind: scan.unknown.kind };
    }
    return null;
  }

  #take(bytes: Uint8Array, segment: ChainSegment, head: RecordHead, scan: Scan): void {
    const at = head.lsn - segment.header.base;
    let broken: string | null = null;
    if (head.kind === RECORD_KIND.checkpoint) broken = this.#takeCheckpoint(bytes, at, head, scan);
    else if (this.#isWhole(scan) && !this.#isClosed(head.replica, head.group)) {
      broken = applyRecord(this.image, bytes, at, head);
    }
    if (broken === null) return;
    this.#contradicted = true;
    this.#damage.push({ file: segment.name, offset: at, reason: broken, groups: [head.group] });
  }

  #takeCheckpoint(bytes: Uint8Array, at: number, head: RecordHead, scan: Scan): string | null {
    const checkpoint = readCheckpointBody(bytes, at + RECORD_HEAD_BYTES, head.bodySize);
    if (checkpoint === null) return "its checkpoint contradicts itself";
    this.#predecessorEnds[this.#scans.length] = checkpoint.predecessorEnd;
    this.#bads = this.#bads.filter((bad) => bad.lsn < checkpoint.predecessorEnd);
    if (!this.#isWhole(scan)) return null;
    const groups = checkpoint.groups.filter(({ group, replica }) => !this.#isClosed(replica, group));
    return this.image.checkpoint({ ...checkpoint, groups });
  }

  #isWhole(scan: Scan): boolean {
    return this.#bads.length === 0 && scan.bads.length === 0 && scan.unknown === null && !this.#contradicted;
  }

  #isClosed(replica: ReplicaId, group: GroupId): boolean {
    return replica <= (this.#hints.closed.get(group) ?? -1);
  }

  #cut(): Lsn | null {
    return this.#bads.find((bad) => bad.lsn >= this.#dMax)?.lsn ?? null;
  }

  #lastEnd(): Lsn {
    return this.#scans.reduce((last, scan) => Math.max(last, scan.lastEnd), 0);
  }

  /** The first segment follows none or has its checkpoint, and the last one is not closed. */
  #endsWhole(): boolean {
    const { segments } = this.#chain;
    const last = this.#scans.length - 1;
    if (last < 0) return true;
    const first = segments[0] as ChainSegment;
    const newest = segments[last] as ChainSegment;
    if (!sameEpoch(first.header.predecessor, NO_EPOCH) && this.#predecessorEnds[0] === null) {
      const reason = "its checkpoint is damaged";
      this.#damage.push({ file: first.name, offset: SEGMENT_HEADER_BYTES, reason, groups: [] });
      return false;
    }
    if (this.#scans[last]?.closedEnd === null) return true;
    const reason = "the segment after it is missing";
    this.#damage.push({ file: newest.name, offset: newest.header.segmentBytes, reason, groups: [] });
    return false;
  }

  #report(bad: Bad): void {
    const segment = this.#chain.segments.findLast(({ header }) => header.base <= bad.lsn) as ChainSegment;
    const what =
      bad.reason === "bad_head" ? "no record" : bad.reason === "bad_body" ? "a damaged record" : "a wrong D";
    this.#damage.push({
      file: segment.name,
      offset: bad.lsn - segment.header.base,
      reason: `${what} in ${bad.end - bad.lsn} bytes that were synced`,
      groups: bad.group === null ? [] : [bad.group],
    });
  }
}

/** What a checkpoint tells the walk in advance. */
export function hintsOf(checkpoint: Checkpoint): Hints {
  const closed = new Map(checkpoint.tombstones.map(({ group, replica }) => [group, replica]));
  return { closed, damaged: checkpoint.damaged };
}

/** Takes one verifying record into the image; the rule it breaks, or null. */
function applyRecord(image: Image, bytes: Uint8Array, at: number, head: RecordHead): string | null {
  const { replica, group, term, index, extra, lsn, end } = head;
  switch (head.kind) {
    case RECORD_KIND.entry:
      return image.entry(replica, group, index, term, lsn, end, batchSize(head), entryKindAt(bytes, at));
    case RECORD_KIND.hardState:
      return image.hardState(replica, group, { term, vote: extra, commit: index });
    case RECORD_KIND.snapshotMark:
      return image.snapshotMark(replica, group, index, term, extra === 1, end);
    case RECORD_KIND.tombstone:
      return image.tombstone(replica, group, end);
    default:
      return null;
  }
}

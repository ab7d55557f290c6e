/**
 * Recovery's judgement: what the bytes of the segments prove, and what must be done about it. Pure.
 *
 * Words (design section 6). A record *verifies* if head and body checksums hold, its D is in range, its kind is
 * known and it lies inside the segment. *Dmax* is the largest D of any verifying record or header: everything
 * below it was synced, and may have been acknowledged. A *bad* stretch begins where no record verifies and ends
 * where the next head does.
 *
 *     bad stretch begins below Dmax      corruption: acknowledged bytes are gone. Nothing may be cut.
 *     the first one at or above Dmax     the cut: the log ends here, even if records verify behind it, because
 *                                        unsynced blocks reach the disk in any order
 *
 * The clean end of a log is a cut too, behind which nothing verifies. Where the head of a damaged record holds,
 * its extent and group are known and the walk goes on behind it; otherwise the search for the next head tries
 * every 16 bytes.
 *
 * Source: the distinction by what was synced, not by position, is that of protocol-aware recovery (Alagappan et
 * al., FAST '18) and TigerBeetle's journal; D inside the records replaces a watermark file.
 */
import { assert } from "../base/assert.ts";
import { alignUp } from "../base/units.ts";
import type { Lsn, ReplicaId } from "../raft/types.ts";
import type { Span } from "./checkpoint.ts";
import {
  BLOCK_BYTES,
  blankHead,
  RECORD_ALIGN,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  type RecordHead,
  type RecordVerdict,
  readRecord,
  SEGMENT_HEADER_BYTES,
  type SegmentPlace,
} from "./format.ts";
import type { GroupId } from "./types.ts";

/** What the walk found out, as far as the verdict depends on it. */
export type Facts = {
  /** The directory holds at least one segment. */
  readonly anySegment: boolean;
  /** Every segment file has the size that all of them must have. */
  readonly sizesRight: boolean;
  /** Every segment's header verifies, if of a version that may be newer. */
  readonly headersReadable: boolean;
  /** Format version and record kinds are known. */
  readonly versionKnown: boolean;
  /** No segment is missing: bases follow each other, predecessor epochs match, what a closing mark names is there. */
  readonly chainWhole: boolean;
  /** A bad stretch begins below Dmax. */
  readonly badBelowSynced: boolean;
  /** Each live entry was found, and no record contradicts those before it. */
  readonly entriesWhole: boolean;
  /** Something verifies at or behind the cut. */
  readonly recordsBehindCut: boolean;
};

export type Verdict = "blank" | "clean" | "torn" | "corrupt" | "newer";

type Row = {
  readonly label: string;
  /** The facts this row is about; the others do not matter to it. */
  readonly when: Partial<Facts>;
  readonly verdict: Verdict;
};

/**
 * Exactly one row answers each combination of facts (the test walks all 256). Refusals over newer bytes come
 * before judgements of damage: what a newer program wrote cannot be told from damage by an older one.
 */
const SOUND = { anySegment: true, sizesRight: true, headersReadable: true, versionKnown: true } as const;
export const RECOVERY_TABLE: readonly Row[] = [
  { label: "no segment: a new log", when: { anySegment: false }, verdict: "blank" },
  {
    label: "written by a newer program",
    when: { anySegment: true, versionKnown: false },
    verdict: "newer",
  },
  {
    label: "a segment's file has the wrong size",
    when: { anySegment: true, versionKnown: true, sizesRight: false },
    verdict: "corrupt",
  },
  {
    label: "a segment's header is unreadable",
    when: { anySegment: true, versionKnown: true, sizesRight: true, headersReadable: false },
    verdict: "corrupt",
  },
  { label: "a segment is missing", when: { ...SOUND, chainWhole: false }, verdict: "corrupt" },
  {
    label: "synced records are damaged",
    when: { ...SOUND, chainWhole: true, badBelowSynced: true },
    verdict: "corrupt",
  },
  {
    label: "live entries are missing",
    when: { ...SOUND, chainWhole: true, badBelowSynced: false, entriesWhole: false },
    verdict: "corrupt",
  },
  {
    label: "torn tail, never acknowledged: cut",
    when: { ...SOUND, chainWhole: true, badBelowSynced: false, entriesWhole: true, recordsBehindCut: true },
    verdict: "torn",
  },
  {
    label: "clean end",
    when: { ...SOUND, chainWhole: true, badBelowSynced: false, entriesWhole: true, recordsBehindCut: false },
    verdict: "clean",
  },
];

export function matches(row: Row, facts: Facts): boolean {
  return (Object.keys(row.when) as (keyof Facts)[]).every((name) => row.when[name] === facts[name]);
}

export function judge(facts: Facts): Row {
  const rows = RECOVERY_TABLE.filter((row) => matches(row, facts));
  assert(rows.length === 1, "exactly one row answers");
  return rows[0] as Row;
}

/** A stretch [lsn, end) in which nothing verifies. */
export type Bad = {
  readonly lsn: Lsn;
  readonly end: Lsn;
  readonly reason: Exclude<RecordVerdict, "good" | "kind_unknown">;
  /** The group whose record it is, if its head holds and names one; else null: it may be any. */
  readonly group: GroupId | null;
  /** With the group. */
  readonly replica: ReplicaId;
};

/** What one segment's bytes say. */
export type Scan = {
  readonly bads: Bad[];
  /** The largest D of its verifying records. */
  dMax: Lsn;
  /** Where the records before the closing mark end; null if there is no closing mark. */
  closedEnd: Lsn | null;
  /** LSN after the last record whose head holds; 0 if there is none. */
  lastEnd: Lsn;
  records: number;
  /** A record whose checksums hold and whose kind is not known. */
  unknown: { readonly lsn: Lsn; readonly kind: number } | null;
};

/**
 * Walks a whole segment. `onRecord` gets each verifying record but the marks; `head` is reused, and the record
 * stands at `bytes[head.lsn - place.base]`. Bad stretches inside `known` damage are passed over.
 */
export function scanSegment(
  bytes: Uint8Array,
  place: SegmentPlace,
  known: readonly Span[],
  onRecord: (head: RecordHead, scan: Scan) => void,
): Scan {
  assert(bytes.length === place.segmentBytes, "a segment is scanned whole");
  const head = blankHead();
  const first = place.base + SEGMENT_HEADER_BYTES;
  const report = (bad: Bad): void => {
    if (!known.some((span) => bad.lsn >= span.lsn && bad.end <= span.end)) scan.bads.push(bad);
  };
  const scan: Scan = { bads: [], dMax: 0, closedEnd: null, lastEnd: 0, records: 0, unknown: null };
  let at = first;
  while (scan.closedEnd === null && at + RECORD_HEAD_BYTES <= place.base + place.segmentBytes) {
    const verdict = readRecord(bytes, at - place.base, place, at, head);
    if (verdict === "good") {
      take(scan, head, onRecord);
      at = head.end;
    } else if (verdict === "bad_head") {
      const mark = markAfterGap(bytes, place, at, head);
      if (mark === null) {
        const next = nextHead(bytes, place, at, head);
        report({ lsn: at, end: next, reason: verdict, group: null, replica: 0 });
        at = next;
      } else at = mark;
    } else {
      if (verdict === "kind_unknown") scan.unknown ??= { lsn: at, kind: head.kind };
      else report({ lsn: at, end: head.end, reason: verdict, group: groupOf(head), replica: head.replica });
      at = head.end;
      scan.lastEnd = at;
    }
  }
  return scan;
}

/** A checkpoint speaks of all groups, a mark of none. */
function groupOf(head: RecordHead): GroupId | null {
  return head.kind <= RECORD_KIND.tombstone ? head.group : null;
}

function take(scan: Scan, head: RecordHead, onRecord: (head: RecordHead, scan: Scan) => void): void {
  scan.records++;
  scan.dMax = Math.max(scan.dMax, head.synced);
  scan.lastEnd = head.end;
  if (head.kind === RECORD_KIND.closingMark) scan.closedEnd = head.extra;
  else if (head.kind !== RECORD_KIND.mark) onRecord(head, scan);
}

/** A mark at the next block boundary that says records ended at `at`: then what lies between is no damage. */
function markAfterGap(bytes: Uint8Array, place: SegmentPlace, at: Lsn, head: RecordHead): Lsn | null {
  const boundary = alignUp(at, BLOCK_BYTES);
  if (boundary === at || boundary + RECORD_HEAD_BYTES > place.base + place.segmentBytes) return null;
  if (readRecord(bytes, boundary - place.base, place, boundary, head) !== "good") return null;
  const marks = head.kind === RECORD_KIND.mark || head.kind === RECORD_KIND.closingMark;
  return marks && head.extra === at ? boundary : null;
}

/** The next place where a record's head holds, or the segment's end. */
function nextHead(bytes: Uint8Array, place: SegmentPlace, from: Lsn, head: RecordHead): Lsn {
  const end = place.base + place.segmentBytes;
  for (let at = from + RECORD_ALIGN; at + RECORD_HEAD_BYTES <= end; at += RECORD_ALIGN) {
    if (readRecord(bytes, at - place.base, place, at, head) !== "bad_head") return at;
  }
  return end;
}

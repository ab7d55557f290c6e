/**
 * The segment that a start makes: header, a checkpoint of all groups, and a copy of the live entries of the
 * segment whose place it takes. Pure.
 *
 * The copy leaves out dead entries and every other record (the checkpoint has what they said), and a segment is
 * only ever filled so far that this fits it: room for a checkpoint is kept behind its records (wal.ts).
 */
import { assert } from "../base/assert.ts";
import type { Lsn } from "../raft/types.ts";
import { writeCheckpointBody } from "./checkpoint.ts";
import {
  batchSize,
  blankHead,
  type Epoch,
  encodeSegmentHeader,
  entryRecordBytes,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  RECORD_PREFIX_BYTES,
  readRecord,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentPlace,
  segmentPlace,
  writeHeader,
  writePrefix,
} from "./format.ts";
import type { Image } from "./image.ts";

export type FreshPlan = {
  readonly segmentBytes: number;
  readonly epoch: Epoch;
  readonly base: Lsn;
  readonly predecessor: Epoch;
  readonly predecessorEnd: Lsn;
  /** Its entries' places move along with the copy. */
  readonly image: Image;
  /** The segment it takes the place of; null if there is none, or none of it is used. */
  readonly source: { readonly place: SegmentPlace; readonly bytes: Uint8Array } | null;
};

export type Fresh = {
  readonly base: Lsn;
  readonly epoch: Epoch;
  readonly place: SegmentPlace;
  /** All that is written of it; its file is longer. */
  readonly bytes: Uint8Array;
};

export function buildFresh(plan: FreshPlan): Fresh {
  const { segmentBytes, epoch, base, predecessor, image } = plan;
  const header = { segmentBytes, epoch, base, predecessor, syncedLsn: 0 };
  const place = segmentPlace(header);
  const size = image.checkpointBytes();
  const start = SEGMENT_HEADER_BYTES + recordBytes(size);
  const lsns = liveLsns(image, base);
  const bytes = new Uint8Array(start + liveBytes(image, base));
  assert(bytes.length <= segmentBytes, "a checkpoint and the live entries fit a segment");

  const checkpoint = image.toCheckpoint(base, plan.predecessorEnd);
  writeCheckpointBody(bytes, SEGMENT_HEADER_BYTES + RECORD_HEAD_BYTES, checkpoint);
  writeHeader(bytes, SEGMENT_HEADER_BYTES, size, 0, 0, 0, 0);
  writePrefix(
    bytes,
    SEGMENT_HEADER_BYTES,
    place,
    base + SEGMENT_HEADER_BYTES,
    RECORD_KIND.checkpoint,
    base,
    0,
  );
  if (plan.source !== null) copyLive(image, lsns, plan.source, place, bytes, start);
  bytes.set(encodeSegmentHeader({ ...header, syncedLsn: base + bytes.length }));
  return { base, epoch, place, bytes };
}

/** Where the live entries at or above `base` stand, ascending. */
function liveLsns(image: Image, base: Lsn): Float64Array {
  const found: Lsn[] = [];
  for (const { entries } of image.groups.values()) {
    for (let index = entries.last; index >= entries.first && entries.lsnOf(index) >= base; index--) {
      found.push(entries.lsnOf(index));
    }
  }
  return Float64Array.from(found).sort();
}

function liveBytes(image: Image, base: Lsn): number {
  let bytes = 0;
  for (const { entries } of image.groups.values()) {
    for (let index = entries.last; index >= entries.first && entries.lsnOf(index) >= base; index--) {
      bytes += entryRecordBytes(entries.sizeOf(index));
    }
  }
  return bytes;
}

/** Copies entries in the order of the log. */
function copyLive(
  image: Image,
  lsns: Float64Array,
  from: { readonly place: SegmentPlace; readonly bytes: Uint8Array },
  to: SegmentPlace,
  target: Uint8Array,
  start: number,
): void {
  const head = blankHead();
  let end = start;
  for (const lsn of lsns) {
    const body = lsn - from.place.base + RECORD_PREFIX_BYTES;
    const verdict = readRecord(from.bytes, lsn - from.place.base, from.place, lsn, head);
    assert(verdict === "good", "a live entry verified a moment ago");
    target.set(from.bytes.subarray(body, body + batchSize(head)), end + RECORD_PREFIX_BYTES);
    writePrefix(target, end, to, to.base + end, RECORD_KIND.entry, to.base, head.replica);
    image.groups.get(head.group)?.entries.move(head.index, to.base + end);
    end += recordBytes(head.bodySize);
  }
  assert(end === target.length, "every live entry was copied");
}

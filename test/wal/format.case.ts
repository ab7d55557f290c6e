/** The layout of segments: golden bytes, round trips, and everything that must not verify. */
import fc from "fast-check";
import t from "tap";
import { setU32, toHex } from "../../src/base/bytes.ts";
import { crc32 } from "../../src/base/checksum.ts";
import {
  type Checkpoint,
  checkpointBytes,
  readCheckpointBody,
  writeCheckpointBody,
} from "../../src/wal/checkpoint.ts";
import {
  baseOfName,
  blankHead,
  decodeSegmentHeader,
  encodeSegmentHeader,
  entryRecordBytes,
  RECORD_HEAD_BYTES,
  RECORD_KIND,
  RECORD_PREFIX_BYTES,
  type RecordKind,
  readRecord,
  recordBytes,
  type SegmentHeader,
  segmentName,
  segmentPlace,
  syncedFor,
  writeHeader,
  writePrefix,
} from "../../src/wal/format.ts";
import { golden } from "./script.ts";
import { entryOf } from "./world.ts";

const HEADER: SegmentHeader = {
  segmentBytes: 65536,
  epoch: { low: 0x01020304, high: 0x05060708 },
  base: 5 * 65536,
  predecessor: { low: 0x11121314, high: 0x15161718 },
  syncedLsn: 5 * 65536 + 4192,
};
const PLACE = segmentPlace(HEADER);
const CHECKPOINT: Checkpoint = {
  predecessorEnd: 320_000,
  groups: [
    {
      group: 2 ** 53 - 1,
      replica: 3,
      term: 9,
      vote: 2,
      commit: 40,
      snapshotIndex: 30,
      snapshotTerm: 7,
      first: 31,
      last: 44,
    },
  ],
  tombstones: [{ group: 12, replica: 4 }],
  damaged: [{ lsn: 300_000, end: 300_112 }],
};

function entryRecord(lsn: number, synced = HEADER.base): Uint8Array {
  const { bytes: batch } = entryOf(7, 3, 2, 20);
  const bytes = new Uint8Array(entryRecordBytes(batch.length));
  bytes.set(batch, RECORD_PREFIX_BYTES);
  writePrefix(bytes, 0, PLACE, lsn, RECORD_KIND.entry, synced, 1);
  return bytes;
}

function plainRecord(lsn: number, kind: RecordKind, extra: number): Uint8Array {
  const bytes = new Uint8Array(recordBytes(0));
  writeHeader(bytes, 0, 0, 7, 2, 3, extra);
  writePrefix(bytes, 0, PLACE, lsn, kind, lsn, 1);
  return bytes;
}

function checkpointRecord(lsn: number): Uint8Array {
  const size = checkpointBytes(1, 2);
  const bytes = new Uint8Array(recordBytes(size));
  writeCheckpointBody(bytes, RECORD_HEAD_BYTES, CHECKPOINT);
  writeHeader(bytes, 0, size, 0, 0, 0, 0);
  writePrefix(bytes, 0, PLACE, lsn, RECORD_KIND.checkpoint, HEADER.base, 0);
  return bytes;
}

function hexLines(title: string, bytes: Uint8Array): string {
  const lines = [`# ${title}`];
  for (let at = 0; at < bytes.length; at += 16) {
    lines.push(`${at.toString().padStart(4)}  ${toHex(bytes.subarray(at, at + 16))}`);
  }
  return `${lines.join("\n")}\n\n`;
}

t.test("the bytes on the disk are what they always were", async (t) => {
  const lsn = HEADER.base + 4096;
  const header = encodeSegmentHeader(HEADER);
  t.ok(
    header.subarray(64).every((byte) => byte === 0),
    "the rest of the block is zero",
  );
  golden(
    t,
    "format",
    hexLines("segment header", header.subarray(0, 64)) +
      hexLines("entry", entryRecord(lsn)) +
      hexLines("hard state", plainRecord(lsn, RECORD_KIND.hardState, 5)) +
      hexLines("snapshot mark", plainRecord(lsn, RECORD_KIND.snapshotMark, 1)) +
      hexLines("tombstone", plainRecord(lsn, RECORD_KIND.tombstone, 0)) +
      hexLines("mark", plainRecord(lsn, RECORD_KIND.mark, lsn - 100)) +
      hexLines("closing mark", plainRecord(lsn, RECORD_KIND.closingMark, lsn - 100)) +
      hexLines("checkpoint", checkpointRecord(lsn)),
  );
});

t.test("headers and checkpoints come back as they were written", async (t) => {
  t.same(decodeSegmentHeader(encodeSegmentHeader(HEADER)), HEADER);
  const bytes = checkpointRecord(HEADER.base + 4096);
  const size = checkpointBytes(1, 2);
  t.same(readCheckpointBody(bytes, RECORD_HEAD_BYTES, size), CHECKPOINT);
  for (let short = 0; short < size; short++)
    t.equal(readCheckpointBody(bytes, RECORD_HEAD_BYTES, short), null);
  t.equal(baseOfName(segmentName(2 ** 53 - 65536)), 2 ** 53 - 65536);
  t.same(["log-1", "spare-1", "log-0000000000000g", "damaged-log-00000000000000"].map(baseOfName), [
    null,
    null,
    null,
    null,
  ]);
});

t.test("any record comes back as it was written", async () => {
  const u53 = fc.maxSafeNat();
  const units = fc.integer({ min: 256, max: 2000 });
  fc.assert(
    fc.property(u53, u53, u53, u53, u53, units, fc.uint8Array({ maxLength: 300 }), (...drawn) => {
      const [group, term, index, extra, replica, unit, body] = drawn;
      const lsn = HEADER.base + unit * 16;
      const bytes = new Uint8Array(recordBytes(body.length));
      bytes.set(body, RECORD_HEAD_BYTES);
      writeHeader(bytes, 0, body.length, group, term, index, extra);
      writePrefix(bytes, 0, PLACE, lsn, RECORD_KIND.hardState, lsn, replica);
      const head = blankHead();
      const { kind } = { kind: RECORD_KIND.hardState };
      const end = lsn + bytes.length;
      if (readRecord(bytes, 0, PLACE, lsn, head) !== "good") return false;
      const expected = {
        kind,
        lsn,
        end,
        synced: lsn,
        replica,
        bodySize: body.length,
        group,
        term,
        index,
        extra,
      };
      return JSON.stringify(head) === JSON.stringify(expected);
    }),
    { seed: 1, numRuns: 300 },
  );
});

t.test("every flipped bit and every truncation of a record is seen", async (t) => {
  const lsn = HEADER.base + 8192;
  const head = blankHead();
  for (const bytes of [entryRecord(lsn), checkpointRecord(lsn)]) {
    t.equal(readRecord(bytes, 0, PLACE, lsn, head), "good");
    const size = RECORD_HEAD_BYTES + head.bodySize;
    let seen = 0;
    for (let bit = 0; bit < size * 8; bit++) {
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      if (readRecord(bytes, 0, PLACE, lsn, head) !== "good") seen++;
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
    }
    t.equal(seen, size * 8);
    for (let length = 0; length < size; length++) {
      if (readRecord(bytes.subarray(0, length), 0, PLACE, lsn, head) === "good") t.fail(`${length} bytes`);
    }
  }
});

t.test("every flipped bit of a segment's header is seen", async (t) => {
  const block = encodeSegmentHeader(HEADER);
  let seen = 0;
  for (let bit = 0; bit < block.length * 8; bit++) {
    block[bit >> 3] = (block[bit >> 3] as number) ^ (1 << (bit & 7));
    if (decodeSegmentHeader(block) === "unreadable") seen++;
    block[bit >> 3] = (block[bit >> 3] as number) ^ (1 << (bit & 7));
  }
  t.equal(seen, block.length * 8);
  t.equal(decodeSegmentHeader(block.subarray(0, 4095)), "unreadable");
});

t.test("D3 D4: a record is valid in its own place of its own segment's life, and nowhere else", async (t) => {
  const lsn = HEADER.base + 8192;
  const bytes = entryRecord(lsn);
  const head = blankHead();
  const elsewhere = segmentPlace({ ...HEADER, epoch: { low: 0x01020305, high: 0x05060708 } });
  t.equal(readRecord(bytes, 0, elsewhere, lsn, head), "bad_head", "another life of the file");
  let wrong = 0;
  for (let other = HEADER.base + 4096; other < HEADER.base + 60_000; other += 16) {
    if (other !== lsn && readRecord(bytes, 0, PLACE, other, head) !== "bad_head") wrong++;
  }
  t.equal(wrong, 0, "another place of the segment");
  t.equal(readRecord(new Uint8Array(200), 0, PLACE, lsn, head), "bad_head", "zeros are no record");
  const beyond = HEADER.base + HEADER.segmentBytes - 80;
  const late = entryRecord(beyond);
  t.equal(readRecord(late, 0, PLACE, beyond, head), "bad_head", "no record crosses the segment's end");
});

t.test("D lies within the window, or is the segment's base", async (t) => {
  const head = blankHead();
  const { base } = HEADER;
  const lsn = base + 48 * 1024;
  const verdict = (synced: number): string => readRecord(entryRecord(lsn, synced), 0, PLACE, lsn, head);
  t.equal(verdict(lsn), "good");
  t.equal(verdict(lsn - 32768), "good");
  t.equal(verdict(base), "good");
  t.equal(verdict(lsn - 32768 - 16), "bad_synced");
  t.equal(verdict(lsn + 16), "bad_synced");
  t.equal(verdict(base - 16), "bad_synced");
  for (const synced of [0, base - 16, base, base + 4096, lsn - 32768 - 16, lsn - 32768, lsn - 16, lsn]) {
    const chosen = syncedFor(PLACE, lsn, synced);
    t.equal(verdict(chosen), "good", `after a sync up to ${synced}`);
    t.ok(chosen <= Math.max(synced, base), "never more than was synced");
  }
});

t.test("D19: what a newer program wrote is told from damage", async (t) => {
  const block = encodeSegmentHeader(HEADER);
  setU32(block, 8, 99);
  t.equal(decodeSegmentHeader(block), "unreadable", "a rotten version number is damage");
  setU32(block, 12, crc32(block.subarray(16), crc32(block.subarray(0, 12))));
  t.equal(decodeSegmentHeader(block), "version_unknown");
  const lsn = HEADER.base + 4096;
  const bytes = plainRecord(lsn, 200 as RecordKind, 0);
  t.equal(readRecord(bytes, 0, PLACE, lsn, blankHead()), "kind_unknown");
});

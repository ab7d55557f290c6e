/**
 * Which files make up the log: what the segments' names and headers say, before any record is read. Pure.
 *
 * The chain runs from the newest segment back over adjoining bases, as far as it goes or to one that follows none.
 * Older ones beyond a gap were freed (oldest first) and their removal was lost in a crash. Should the gap be
 * damage, then live entries are missing from the chain, and the walk says so.
 */
import type { Lsn } from "../raft/types.ts";
import {
  decodeSegmentHeader,
  type Epoch,
  NO_EPOCH,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  type SegmentPlace,
  sameEpoch,
  segmentPlace,
} from "./format.ts";
import type { WalDamage } from "./types.ts";

/** A segment file as the directory shows it. */
export type SegmentFacts = {
  readonly name: string;
  readonly base: Lsn;
  readonly size: number;
  /** The first block, or less if the file is shorter. */
  readonly block: Uint8Array;
};

/** A segment that belongs to the log and is readable. */
export type ChainSegment = {
  readonly name: string;
  readonly header: SegmentHeader;
  readonly place: SegmentPlace;
};

export type Chain = {
  /** Oldest first. */
  readonly segments: readonly ChainSegment[];
  readonly anySegment: boolean;
  readonly sizesRight: boolean;
  readonly headersReadable: boolean;
  readonly versionKnown: boolean;
  readonly linksRight: boolean;
  readonly damage: readonly WalDamage[];
};

export function readChain(files: readonly SegmentFacts[], segmentBytes: number): Chain {
  const segments: ChainSegment[] = [];
  const damage: WalDamage[] = [];
  const facts = { anySegment: files.length > 0, sizesRight: true, headersReadable: true, versionKnown: true };
  let linksRight = true;
  let newer: SegmentFacts | null = null;
  /** What the next newer segment says of this one; null if it is unreadable, or there is none. */
  let predecessor: Epoch | null = null;
  for (const file of [...files].sort((a, b) => b.base - a.base)) {
    const harm = (offset: number, reason: string): false => {
      damage.push({ file: file.name, offset, reason, groups: [] });
      return false;
    };
    if (newer !== null && file.base !== newer.base - segmentBytes) break;
    newer = file;
    const expected = predecessor;
    predecessor = null;
    const header = decodeSegmentHeader(file.block);
    if (header === "version_unknown") facts.versionKnown = false;
    else if (file.size < SEGMENT_HEADER_BYTES)
      facts.sizesRight = harm(file.size, `it has ${file.size} bytes`);
    else if (header === "unreadable") facts.headersReadable = harm(0, "its header is unreadable");
    else {
      if (file.size !== header.segmentBytes) {
        facts.sizesRight = harm(Math.min(file.size, header.segmentBytes), `it has ${file.size} bytes`);
      }
      if (header.base !== file.base) linksRight = harm(32, `its header is that of LSN ${header.base}`);
      else if (expected !== null && !sameEpoch(header.epoch, expected)) {
        linksRight = harm(24, "its successor follows another segment");
      }
      segments.unshift({ name: file.name, header, place: segmentPlace(header) });
      predecessor = header.predecessor;
      if (sameEpoch(predecessor, NO_EPOCH)) break;
    }
  }
  return { ...facts, segments, linksRight, damage };
}

/**
 * What an error reply says of the command's fate. Its first word is the interface (docs/protocol.md):
 *
 *     TRYAGAIN CLUSTERDOWN LOADING MOVED   this attempt did nothing; another one may succeed
 *     MISCONF OOM                          this attempt did nothing, and another one will not soon do better
 *     UNCERTAIN                            this attempt may have taken effect
 *     STALE                                this attempt did nothing, and none after it can; one before it may have
 *     anything else                        the command was executed; this is its answer
 */
import { fromUtf8 } from "../base/bytes.ts";
import type { UnavailableCode } from "./errors.ts";

export type Verdict = "answer" | "again" | "refused" | "uncertain" | "stale";

const VERDICTS: readonly (readonly [string, Verdict])[] = [
  ["TRYAGAIN", "again"],
  ["CLUSTERDOWN", "again"],
  ["LOADING", "again"],
  ["MOVED", "again"],
  ["MISCONF", "refused"],
  ["OOM", "refused"],
  ["UNCERTAIN", "uncertain"],
  ["STALE", "stale"],
];
const SPACE = 0x20;
/** A native error: its tag and the size of its text (wire/native_reply.ts). */
const TEXT_AT = 5;

/** Judges the native error reply `bytes[start, end)`. */
export function verdictOf(bytes: Uint8Array, start: number, end: number): Verdict {
  for (const [word, verdict] of VERDICTS) if (beginsWith(bytes, start + TEXT_AT, end, word)) return verdict;
  return "answer";
}

function beginsWith(bytes: Uint8Array, at: number, end: number, word: string): boolean {
  if (end - at < word.length) return false;
  for (let i = 0; i < word.length; i++) if (bytes[at + i] !== word.charCodeAt(i)) return false;
  return end - at === word.length || bytes[at + word.length] === SPACE;
}

/** What the native error reply `bytes[start, end)` says. */
export function errorText(bytes: Uint8Array, start: number, end: number): string {
  return fromUtf8(bytes.subarray(start + TEXT_AT, end));
}

export function refusalCode(text: string): UnavailableCode {
  if (text.startsWith("MISCONF")) return "DISK_FULL";
  return text.startsWith("OOM") ? "OUT_OF_MEMORY" : "UNAVAILABLE";
}

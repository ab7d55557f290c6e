/**
 * Cells of sessions and their numbers: what sessions.ts keeps in its slabs, and images bring back. The layout is told
 * there.
 */
import { finish, MIX_A } from "./hash.ts";

/** Longer replies are not kept: a retry learns that the write took effect, and no more. */
export const REPLY_KEPT_BYTES_MAX = 1024;
/** In place of a size: the reply is longer. */
export const REPLY_NOT_KEPT = -1;
/** How far ahead of log time a notAfter may lie: 50 s by the client, and what clocks differ. */
export const NOT_AFTER_AHEAD_MS = 60_000;

export const CLIENT_TAG = 1;
export const REPLY_TAG = 2;
export const CLIENT_BYTES = 48;
export const REPLY_HEAD_BYTES = 20;
const TAG_MASK = 0xff;
export const SIZE_SHIFT = 8;
const SIZE_MASK = 0xffff;
export const KEPT = 1 << 24;
export const NUMBER_SHIFT = 8;
/** Numbers of clients that exist at one time; 24 bits. */
export const CLIENTS_MAX = 1 << 24;
const TWO_32 = 2 ** 32;

/** What `judge` says of a write. */
export const VERDICT = { execute: 0, late: 1, ahead: 2, belowFloor: 3, known: 4, outOfOrder: 5 } as const;
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

export const SESSION_ERROR = {
  late: "STALE not executed now: the write's time limit has passed, its outcome must be read",
  ahead: "STALE not executed now: the write's time limit lies more than 60 seconds ahead",
  belowFloor: "STALE not executed now: its client has acknowledged this sequence number already",
  outOfOrder: "TRYAGAIN not executed: an earlier write of this connection has not arrived, send it first",
  readNotKept:
    "CLUSTERDOWN The read was answered by a former leader, and its answer was lost; nothing was done",
  replyNotKept: "DONE the write took effect, but its reply was too long to be kept for a retry",
} as const;

/** Bytes kept of the reply whose cell begins with `head`. */
export function replySize(head: number): number {
  return (head >>> SIZE_SHIFT) & SIZE_MASK;
}

/** What is wrong with a client cell that came from elsewhere, or null. */
export function checkClientCell(words: Int32Array, at: number, cellBytes: number): string | null {
  if (((words[at] as number) & TAG_MASK) !== CLIENT_TAG || cellBytes < CLIENT_BYTES)
    return "a session client has an unknown form";
  const inRange = u53(words, at + 2) >= 0 && u53(words, at + 8) >= 0 && u53(words, at + 10) >= 0;
  return inRange ? null : "a number of a session client is out of range";
}

/** What is wrong with a reply cell that came from elsewhere, or null. */
export function checkReplyCell(words: Int32Array, at: number, cellBytes: number): string | null {
  const head = words[at] as number;
  const size = replySize(head);
  const known = REPLY_TAG | KEPT | (SIZE_MASK << SIZE_SHIFT);
  if ((head & TAG_MASK) !== REPLY_TAG || (head & ~known) !== 0) return "a session reply has an unknown form";
  if ((head & KEPT) === 0 && size !== 0) return "a session reply has an unknown form";
  if (size > REPLY_KEPT_BYTES_MAX || REPLY_HEAD_BYTES + size > cellBytes)
    return "a session reply overruns its cell";
  return u53(words, at + 2) >= 0 ? null : "a number of a session reply is out of range";
}

export function homeOf(bytes: Uint8Array, at: number): number {
  let hash = 0;
  for (let i = at; i < at + 16; i++) hash = Math.imul(hash ^ (bytes[i] as number), MIX_A);
  return finish(hash);
}

/** A number of 53 bits in two words; -1 if it has more. */
export function u53(words: Int32Array, at: number): number {
  const high = (words[at + 1] as number) >>> 0;
  return high > 0x1fffff ? -1 : high * TWO_32 + ((words[at] as number) >>> 0);
}

export function setU53(words: Int32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = Math.floor(value / TWO_32);
}

/** What two shards compare of their sessions. */
export type SessionDigest = {
  readonly clients: number;
  readonly replies: number;
  readonly hashA: number;
  readonly hashB: number;
};

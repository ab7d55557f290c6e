/**
 * The four bytes that open every connection of ours, once, before any frame:
 *
 *     A9 4E 55 vv      vv: low 7 bits the wire version, top bit set if the caller is a node, not a client
 *
 * A9 begins no RESP request and no HTTP one, so a port tells all its callers apart by their first byte.
 */
import { WIRE_VERSION } from "../base/version.ts";

export const PREAMBLE_BYTES = 4;
/** First byte of a native connection. */
export const PREAMBLE_FIRST = 0xa9;
const MAGIC = [PREAMBLE_FIRST, 0x4e, 0x55] as const;
const PEER = 0x80;

export type Caller = "client" | "peer";
export type PreambleError = "magic" | "version";

export function preamble(caller: Caller): Uint8Array {
  return Uint8Array.of(...MAGIC, caller === "peer" ? WIRE_VERSION | PEER : WIRE_VERSION);
}

/** Who opens with `bytes[at, at + 4)`, which the caller has waited for. */
export function readPreamble(bytes: Uint8Array, at: number): Caller | PreambleError {
  for (const [i, byte] of MAGIC.entries()) if (bytes[at + i] !== byte) return "magic";
  const last = bytes[at + 3] as number;
  if ((last & ~PEER) !== WIRE_VERSION) return "version";
  return (last & PEER) !== 0 ? "peer" : "client";
}

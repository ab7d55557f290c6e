/**
 * CRC-32 (IEEE), the one checksum of logs, frames and snapshots. node:zlib's native version exists in all
 * three runtimes and is the only runtime API that the pure rooms may reach.
 */
import { crc32 as zlibCrc32 } from "node:zlib";

/** CRC-32 of `bytes`, continuing from `seed` (a former result); an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed) >>> 0;
}

/** CRC-32 of `bytes[start, end)` without the caller having to make a view. */
export function crc32Range(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  return zlibCrc32(bytes.subarray(start, end), seed) >>> 0;
}

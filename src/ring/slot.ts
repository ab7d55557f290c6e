/**
 * slot(key) = CRC16 of the key, or of its hash tag, modulo 16384: exactly as Redis Cluster has it, so that
 * cluster clients route by themselves.
 *
 * The CRC is the XMODEM one: polynomial 0x1021, initial value 0, nothing reflected ("123456789" gives 0x31c3).
 * A hash tag is what stands between the first `{` and the first `}` after it, if that is not empty.
 */
export const SLOT_COUNT = 16384;
const SLOT_MASK = SLOT_COUNT - 1;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;

const CRC_TABLE = crcTable();

function crcTable(): Uint16Array {
  const table = new Uint16Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) !== 0 ? (crc << 1) ^ 0x1021 : crc << 1;
    table[byte] = crc;
  }
  return table;
}

/** CRC-16/XMODEM of `bytes[start, end)`. */
export function crc16(bytes: Uint8Array, start: number, end: number): number {
  let crc = 0;
  for (let i = start; i < end; i++) {
    crc = ((crc << 8) & 0xffff) ^ (CRC_TABLE[(crc >>> 8) ^ (bytes[i] as number)] as number);
  }
  return crc;
}

/** The slot of the key `bytes[start, end)`. */
export function slotOf(bytes: Uint8Array, start: number, end: number): number {
  for (let open = start; open < end; open++) {
    if (bytes[open] !== BRACE_OPEN) continue;
    for (let close = open + 1; close < end; close++) {
      if (bytes[close] !== BRACE_CLOSE) continue;
      if (close > open + 1) return crc16(bytes, open + 1, close) & SLOT_MASK;
      break;
    }
    break;
  }
  return crc16(bytes, start, end) & SLOT_MASK;
}

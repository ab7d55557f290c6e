/**
 * slot(key) = CRC16 of the key, or of its hash tag, modulo 16384: as every node computes it. The CRC is the XMODEM one:
 * polynomial 0x1021, initial value 0, nothing reflected. A hash tag is what stands between the first `{` and the first
 * `}` after it, if that is not empty.
 */
export const SLOT_COUNT = 16384;

/** @param {Uint8Array} bytes */
export function crc16(bytes) {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) !== 0 ? ((crc << 1) ^ 0x1021) & 0xffff : crc << 1;
  }
  return crc;
}

/**
 * The part of the key that decides where it lies.
 * @param {string} key
 */
export function hashedPart(key) {
  const open = key.indexOf("{");
  const close = open < 0 ? -1 : key.indexOf("}", open + 1);
  return close > open + 1 ? key.slice(open + 1, close) : key;
}

/** @param {string} key */
export function slotOf(key) {
  return crc16(new TextEncoder().encode(hashedPart(key))) % SLOT_COUNT;
}

/**
 * The points of the shards on the circle of 2^32: point i of a shard is the upper half of xxh64(utf8 "shard#i", seed 0).
 * They are the wish. Whose a slot is in fact, the map says: while slots move, the two differ.
 * Source: xxHash64 (Collet), in BigInt: some thousand short texts, once for each layout.
 */

const MASK = (1n << 64n) - 1n;
const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;

/** More points than this are not drawn: a circle on a screen has about 1500 places, and each point costs 10 us. */
export const POINTS_MAX = 32768;
/** 2^32 places / 2^14 slots. */
export const PLACES_PER_SLOT = 2 ** 18;

/** @param {bigint} value @param {bigint} by */
const rotate = (value, by) => ((value << by) | (value >> (64n - by))) & MASK;
/** @param {bigint} lane @param {bigint} input */
const mix = (lane, input) => (rotate((lane + input * P2) & MASK, 31n) * P1) & MASK;
/** @param {bigint} hash @param {bigint} lane */
const merge = (hash, lane) => ((hash ^ mix(0n, lane)) * P1 + P4) & MASK;

/** @param {string} text */
export function xxh64(text) {
  const bytes = new TextEncoder().encode(text);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let hash = P5;
  if (bytes.length >= 32) {
    const lanes = [(P1 + P2) & MASK, P2, 0n, -P1 & MASK];
    for (; at + 32 <= bytes.length; at += 32)
      for (const [i, lane] of lanes.entries()) lanes[i] = mix(lane, view.getBigUint64(at + 8 * i, true));
    const [a = 0n, b = 0n, c = 0n, d = 0n] = lanes;
    hash = (rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n)) & MASK;
    for (const lane of lanes) hash = merge(hash, lane);
  }
  hash = (hash + BigInt(bytes.length)) & MASK;
  for (; at + 8 <= bytes.length; at += 8)
    hash = (rotate(hash ^ mix(0n, view.getBigUint64(at, true)), 27n) * P1 + P4) & MASK;
  if (at + 4 <= bytes.length) {
    hash = (rotate(hash ^ ((BigInt(view.getUint32(at, true)) * P1) & MASK), 23n) * P2 + P3) & MASK;
    at += 4;
  }
  for (; at < bytes.length; at++)
    hash = (rotate(hash ^ ((BigInt(view.getUint8(at)) * P5) & MASK), 11n) * P1) & MASK;
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK;
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK;
  return hash ^ (hash >> 32n);
}

/** @param {string} shard @param {number} i */
export function pointOf(shard, i) {
  return Number(xxh64(`${shard}#${i}`) >> 32n);
}

/**
 * All points in order of their places; equal ones in order of the shards' ids. Null: too many to draw.
 * @param {import("./types.d.ts").WishJson} wish
 * @returns {import("./types.d.ts").Points | null}
 */
export function pointsOf({ vnodes, shards }) {
  const total = shards.reduce((sum, { weight }) => sum + Math.round(weight * vnodes), 0);
  if (total > POINTS_MAX) return null;
  /** @type {{ place: number, shard: number, index: number }[]} */
  const all = [];
  for (const [number, { id, weight }] of shards.entries())
    for (let i = 0; i < Math.round(weight * vnodes); i++)
      all.push({ place: pointOf(id, i), shard: number + 1, index: i });
  all.sort((a, b) => a.place - b.place || a.shard - b.shard);
  return {
    place: Float64Array.from(all, ({ place }) => place),
    shard: Uint16Array.from(all, ({ shard }) => shard),
    index: Uint32Array.from(all, ({ index }) => index),
    shards: shards.map(({ id }) => id),
  };
}

/**
 * The first point at or after a place, wrapping; -1: there is none.
 * @param {import("./types.d.ts").Points} points
 * @param {number} place
 */
export function pointAfter({ place: places }, place) {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (/** @type {number} */ (places[middle]) < place) low = middle + 1;
    else high = middle;
  }
  if (places.length === 0) return -1;
  return low === places.length ? 0 : low;
}

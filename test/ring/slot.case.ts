/** Slots of keys: Redis Cluster's vectors, and the table against the polynomial by itself. */
import t from "tap";
import { Prng } from "../../src/base/prng.ts";
import { crc16, SLOT_COUNT, slotOf } from "../../src/ring/slot.ts";

function slot(key: string): number {
  const bytes = new TextEncoder().encode(key);
  return slotOf(bytes, 0, bytes.length);
}

/** CRC-16/XMODEM, one bit at a time. */
function crcByBits(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const top = (crc >>> 15) & 1;
      crc = (crc << 1) & 0xffff;
      if (top !== ((byte >>> bit) & 1)) crc ^= 0x1021;
    }
  }
  return crc;
}

t.test("slot: the vectors of Redis Cluster", async (t) => {
  t.equal(crc16(new TextEncoder().encode("123456789"), 0, 9), 0x31c3);
  const vectors: [string, number][] = [
    ["123456789", 12739],
    ["foo", 12182],
    ["bar", 5061],
    ["hello", 866],
    ["somekey", 11058],
    ["", 0],
  ];
  for (const [key, expected] of vectors) t.equal(slot(key), expected, key);
});

t.test("slot: only a hash tag that is not empty counts, and only the first", async (t) => {
  t.equal(slot("{user1000}.following"), slot("{user1000}.followers"));
  t.equal(slot("{user1000}.following"), slot("user1000"));
  t.equal(slot("foo{hash_tag}"), 2515);
  t.equal(slot("foo{bar}{zap}"), slot("bar"));
  t.equal(slot("foo{{bar}}zap"), slot("{bar"));
  const whole = (key: string): number => crc16(new TextEncoder().encode(key), 0, key.length) % SLOT_COUNT;
  for (const key of ["foo{}{bar}", "foo{bar", "foo}bar{", "{}", "{"]) t.equal(slot(key), whole(key), key);
});

t.test("slot: any bytes, any range of a buffer, always below 16384", async (t) => {
  const random = Prng.fromSeed(1);
  const wrong: number[] = [];
  for (let i = 0; i < 5000; i++) {
    const bytes = new Uint8Array(random.below(40));
    random.fill(bytes);
    const start = random.below(bytes.length + 1);
    const range = bytes.slice(start);
    if (crc16(bytes, start, bytes.length) !== crcByBits(range)) wrong.push(i);
    if (slotOf(bytes, start, bytes.length) !== slotOf(range, 0, range.length)) wrong.push(i);
    if (slotOf(range, 0, range.length) >= SLOT_COUNT) wrong.push(i);
  }
  t.same(wrong, []);
});

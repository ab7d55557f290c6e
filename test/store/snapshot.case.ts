/** Images: exact at one index while writes go on, refused when they are not whole. */
import t from "tap";
import { setU32 } from "../../src/base/bytes.ts";
import { crc32Range } from "../../src/base/checksum.ts";
import { Prng } from "../../src/base/prng.ts";
import { EXPIRE_OPTION, OP, SET_OPTION } from "../../src/wire/command.ts";
import { batchOf, type Command, Driver } from "./driver.ts";
import { joined } from "./frames.ts";
import { imageOf, reload, restore } from "./images.ts";
import { Workload } from "./workload.ts";

/** A store with a bit of everything. */
function filled(seed: number, batches: number): Driver {
  const workload = new Workload(Prng.fromSeed(seed));
  workload.keys = 4000;
  workload.valueMax = 600;
  const driver = new Driver();
  for (let i = 0; i < batches; i++) {
    driver.timeMs += 10;
    const session = {
      client: i % 9,
      seq: i + 1,
      floor: Math.max(1, i - 40),
      notAfter: driver.timeMs + 30_000,
      after: 0,
    };
    driver.apply(...workload.batch(12).filter(([op]) => op !== OP.flushAll), [OP.incrBy, ["n", 1], session]);
  }
  driver.run(OP.set, "large", "L".repeat(300_000), 0, 0);
  driver.run(OP.set, "large and gone soon", "M".repeat(100_000), SET_OPTION.expiryRelative, 5000);
  return driver;
}

t.test(
  "D13: an image is exact at its index while every kind of write goes on between its chunks",
  async (t) => {
    for (let seed = 1; seed <= 5; seed++) {
      const driver = filled(seed, 400);
      const workload = new Workload(Prng.fromSeed(1000 + seed));
      workload.keys = 4000;
      workload.longEvery = 20;
      const index = driver.store.appliedIndex;
      const hash = driver.store.stateHash();
      const numbers = [
        driver.store.revision,
        driver.store.keyCount,
        driver.store.dataBytes,
        driver.store.logTimeMs,
      ];
      const source = driver.store.beginSnapshot();
      const chunks: Uint8Array[] = [];
      const after: Uint8Array[] = [];
      for (let chunk = source.next(); chunk !== null; chunk = source.next()) {
        chunks.push(chunk.slice());
        for (let i = 0; i < 30; i++) {
          driver.timeMs += 20;
          const more: Command[] = workload.batch(12);
          if (seed < 3) more.splice(0, more.length, ...more.filter(([op]) => op !== OP.flushAll));
          const bytes = batchOf(driver.timeMs, more);
          after.push(bytes);
          driver.applyBatch(bytes);
        }
      }
      source.close();
      const copy = restore(chunks, driver);
      const { store } = copy;
      t.equal(store.appliedIndex, index);
      t.equal(store.stateHash(), hash, `seed ${seed}: hash at the index`);
      t.same([store.revision, store.keyCount, store.dataBytes, store.logTimeMs], numbers);
      for (const bytes of after) copy.applyBatch(bytes);
      t.equal(store.stateHash(), driver.store.stateHash(), `seed ${seed}: hash after the same batches`);
      t.equal(store.earliestDeadlineMs(), driver.store.earliestDeadlineMs());
    }
  },
);

t.test("B7: index, term, time and revision come with the records in one image", async (t) => {
  const driver = filled(3, 50);
  driver.store.apply(++driver.index, 7, batchOf(driver.timeMs + 5, []), {
    begin: () => t.fail() as never,
    end: () => {},
    notServed: () => t.fail(),
  });
  const copy = reload(driver);
  t.equal(copy.store.appliedIndex, driver.index);
  t.equal(copy.store.appliedTerm, 7);
  t.equal(copy.store.logTimeMs, driver.store.logTimeMs);
  t.equal(copy.store.revision, driver.store.revision);
  t.equal(copy.store.stateHash(), driver.store.stateHash());
  t.same(copy.store.settings, driver.store.settings);
});

t.test("B7: a restore that was begun, refused or left changes nothing", async (t) => {
  const driver = filled(4, 50);
  const hash = driver.store.stateHash();
  const chunks = imageOf(filled(5, 200));
  const left = driver.store.beginRestore();
  t.equal(left.write(chunks[0] as Uint8Array), null);
  const refused = driver.store.beginRestore();
  t.match(refused.write(joined(chunks).slice(100)), /image/);
  t.match(refused.finish(), /image/);
  t.equal(driver.store.stateHash(), hash);
  const twice = driver.store.beginRestore();
  t.equal(twice.write(joined(chunks)), null);
  t.equal(twice.finish(), null);
  t.match(twice.finish(), /already/);
});

t.test("G5: the hash is the same after any number of reloads, whatever order the memory is in", async (t) => {
  const driver = filled(6, 300);
  let copy = driver;
  for (let i = 0; i < 3; i++) copy = reload(copy);
  t.equal(copy.store.stateHash(), driver.store.stateHash());
  t.same(copy.run(OP.keys, "*"), driver.run(OP.keys, "*"), "and KEYS gives one order");
  t.same(copy.run(OP.scan, 0, 1000, "", ""), driver.run(OP.scan, 0, 1000, "", ""), "SCAN too");
  t.equal(copy.run(OP.randomKey, 77), driver.run(OP.randomKey, 77));
});

t.test("an image may be cut into chunks of any size", async (t) => {
  const driver = filled(7, 60);
  const whole = joined(imageOf(driver));
  for (const size of [1, 7, 12, 13, 4096, 65_549, whole.length]) {
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < whole.length; at += size) chunks.push(whole.subarray(at, at + size));
    t.equal(restore(chunks, driver).store.stateHash(), driver.store.stateHash(), `chunks of ${size}`);
  }
});

t.test("an image of nothing, and of one key", async (t) => {
  const empty = new Driver();
  t.equal(reload(empty).store.keyCount, 0);
  empty.run(OP.set, "", "", 0, 0);
  const copy = reload(empty);
  t.equal(copy.run(OP.get, ""), "");
  t.equal(copy.store.stateHash(), empty.store.stateHash());
});

t.test("B11: no truncated image is taken, and none throws", async (t) => {
  const driver = filled(8, 30);
  const whole = joined(imageOf(driver));
  const random = Prng.fromSeed(1);
  const lengths = [0, 1, 11, 12, 13, whole.length - 1, whole.length - 13];
  for (let i = 0; i < 200; i++) lengths.push(random.below(whole.length));
  let refused = 0;
  for (const length of lengths) if (tryRestore(whole.subarray(0, length)) !== null) refused++;
  t.equal(refused, lengths.length);
  t.equal(tryRestore(whole), null);
  t.not(tryRestore(joined([whole, new Uint8Array(1)])), null, "nor one with something behind it");
});

t.test("B11: no image with a flipped bit is taken, and none throws", async (t) => {
  const whole = joined(imageOf(filled(9, 30)));
  const random = Prng.fromSeed(2);
  let taken = 0;
  for (let i = 0; i < 400; i++) {
    const bad = whole.slice();
    const at = i < 100 ? i : random.below(bad.length);
    bad[at] = (bad[at] as number) ^ (1 << random.below(8));
    if (tryRestore(bad) === null) taken++;
  }
  t.equal(taken, 0);
});

t.test("B11: a forged image with right checksums is refused or harmless", async (t) => {
  const whole = joined(imageOf(filled(10, 15)));
  const random = Prng.fromSeed(3);
  const outcomes = new Map<string, number>();
  for (let i = 0; i < 300; i++) {
    const outcome = tryRestore(forge(whole, random)) ?? "taken";
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  t.ok(outcomes.size > 8, `refused in ${outcomes.size} ways`);
});

/** Changes a few bytes inside one frame and makes all checksums right again. */
function forge(whole: Uint8Array, random: Prng): Uint8Array {
  const bytes = whole.slice();
  const frames: number[] = [];
  for (let at = 0; at < bytes.length; at += 12 + new DataView(bytes.buffer).getUint32(at, true))
    frames.push(at);
  const view = new DataView(bytes.buffer);
  const target = random.pick(frames);
  const size = view.getUint32(target, true);
  for (let i = 1 + random.below(3); i > 0 && size > 0; i--) {
    // Mostly the first words, where the structure is.
    const offset = random.chance(3, 4) ? random.below(Math.min(size, 64)) : random.below(size);
    bytes[target + 12 + offset] = random.chance(1, 2)
      ? random.below(256)
      : random.pick([0, 1, 0x7f, 0x80, 0xff]);
  }
  let sum = 0;
  const last = frames[frames.length - 1] as number;
  for (const at of frames) {
    const end = at + 12 + view.getUint32(at, true);
    if (at === last && target !== last) setU32(bytes, at + 12 + 8, sum);
    setU32(bytes, at + 4, crc32Range(bytes, at + 8, end));
    sum = crc32Range(bytes, at + 4, at + 8, sum);
  }
  return bytes;
}

/** The error, or null if the image was taken; what was taken must then hold together under use. */
function tryRestore(image: Uint8Array): string | null {
  const driver = new Driver();
  const sink = driver.store.beginRestore();
  for (let at = 0; at < image.length; at += 100_000) {
    const error = sink.write(image.subarray(at, at + 100_000));
    if (error !== null) return error;
  }
  const error = sink.finish();
  if (error !== null) return error;
  driver.index = driver.store.appliedIndex;
  driver.run(OP.keys, "*");
  driver.run(OP.expire, "n", 10, EXPIRE_OPTION.relative);
  driver.timeMs += 10_000_000;
  for (let i = 0; i < 3; i++) driver.wait(1);
  return null;
}

t.test("one snapshot at a time; what was copied for it is let go", async (t) => {
  const driver = filled(11, 100);
  const before = driver.store.allocatedBytes;
  const source = driver.store.beginSnapshot();
  t.throws(() => driver.store.beginSnapshot(), { message: /one snapshot/ });
  for (let i = 0; i < 4000; i++) driver.run(OP.append, `k${i}`, "y");
  t.ok(driver.store.allocatedBytes > before);
  source.close();
  source.close();
  const second = driver.store.beginSnapshot();
  t.type(second.next(), Uint8Array);
  second.close();
  const third = imageOf(driver);
  t.equal(restore(third, driver).store.stateHash(), driver.store.stateHash());
});

t.test("a call of next() copies at most 256 KiB and a page", async (t) => {
  const driver = filled(12, 500);
  for (const chunk of imageOf(driver)) t.ok(chunk.length <= 257 * 1024, `${chunk.length} bytes`);
});

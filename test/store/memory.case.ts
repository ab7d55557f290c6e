/** The parts that memory is made of: slab, index, queue of deadlines, map of seqs. Each against a plain model. */
import t from "tap";
import { Prng } from "../../src/base/prng.ts";
import { CELL_BYTES, CELL_BYTES_MAX, kindFor, PAGE_BYTES } from "../../src/store/cell_kinds.ts";
import { DeadlineQueue } from "../../src/store/deadlines.ts";
import { Probe } from "../../src/store/hash.ts";
import { LargeValues } from "../../src/store/large.ts";
import { RefList } from "../../src/store/ref_list.ts";
import { SeqMap } from "../../src/store/seq_map.ts";
import { byteAt, Slab, wordAt } from "../../src/store/slab.ts";
import { OP } from "../../src/wire/command.ts";
import { Driver } from "./driver.ts";
import { bytesOf } from "./frames.ts";
import { restore } from "./images.ts";

t.test(
  "cell sizes rise by an eighth at most, fit the page, and kindFor gives the smallest that holds",
  async (t) => {
    for (let kind = 2; kind < CELL_BYTES.length; kind++) {
      const [before, size] = [CELL_BYTES[kind - 1] as number, CELL_BYTES[kind] as number];
      const left = PAGE_BYTES % size;
      const good =
        size > before && size % 8 === 0 && left < 8 * 300 && (size <= 256 || size <= before * 1.34);
      if (!good) t.fail(`kind ${kind}: ${size} bytes after ${before}`);
    }
    const wrong: number[] = [];
    for (let size = 1; size <= CELL_BYTES_MAX; size++) {
      const kind = kindFor(size);
      if ((CELL_BYTES[kind] as number) < size || (CELL_BYTES[kind - 1] as number) >= size) wrong.push(size);
    }
    t.same(wrong, []);
  },
);

t.test("a slab's cells never overlap, and what is released is used again", async (t) => {
  const slab = new Slab();
  const random = Prng.fromSeed(1);
  const cells: { ref: number; size: number; mark: number }[] = [];
  let damaged = 0;
  let peak = 0;
  for (let i = 0; i < 60_000; i++) {
    const growing = Math.floor(i / 10_000) % 2 === 0;
    if (cells.length === 0 || random.chance(growing ? 2 : 1, 3)) {
      const size = random.chance(1, 20) ? 8 + random.below(CELL_BYTES_MAX - 7) : 8 + random.below(300);
      const ref = slab.take(size);
      slab.bytesOf(ref).fill(i, byteAt(ref), byteAt(ref) + size);
      slab.wordsOf(ref)[wordAt(ref)] = i | 1;
      cells.push({ ref, size, mark: i });
    } else {
      const at = random.below(cells.length);
      const { ref, size, mark } = cells[at] as { ref: number; size: number; mark: number };
      cells[at] = cells[cells.length - 1] as (typeof cells)[0];
      cells.pop();
      if (slab.wordsOf(ref)[wordAt(ref)] !== (mark | 1)) damaged++;
      const bytes = slab.bytesOf(ref).subarray(byteAt(ref) + 4, byteAt(ref) + size);
      if (bytes.some((byte) => byte !== (mark & 0xff))) damaged++;
      slab.release(ref);
    }
    peak = Math.max(peak, slab.usedBytes);
  }
  t.equal(damaged, 0);
  t.equal(new Set(cells.map(({ ref }) => ref)).size, cells.length);
  for (const { ref } of cells) slab.release(ref);
  t.equal(slab.usedBytes, 0);
  t.ok(slab.allocatedBytes < 1.3 * peak + 8 * 1024 * 1024, `${slab.allocatedBytes} for ${peak} at most`);
});

t.test("pinned pages are read as they were, whatever happens to them", async (t) => {
  const slab = new Slab();
  const random = Prng.fromSeed(2);
  const refs = Array.from({ length: 5000 }, (_, i) => {
    const ref = slab.take(100);
    slab.wordsOf(ref)[wordAt(ref)] = i + 1;
    return ref;
  });
  for (let i = 0; i < 2000; i++) slab.release(refs[i * 2] as number);
  const seen = (bytes: Uint8Array, cellBytes: number): number[] => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const values: number[] = [];
    for (let at = 0; at < bytes.length; at += cellBytes) values.push(view.getInt32(at, true));
    return values.filter((value) => value !== 0);
  };
  const expected = refs.map((_, i) => i + 1).filter((_, i) => i >= 4000 || i % 2 === 1);
  slab.pinAll();
  const found: number[] = [];
  for (let page = 1; page < slab.pinnedCount; page++) {
    for (let i = 0; i < 60; i++) {
      const ref = refs[1 + 2 * random.below(2000)] as number;
      if (random.chance(1, 2)) {
        slab.guard(ref);
        slab.wordsOf(ref)[wordAt(ref)] = -1;
      } else {
        const taken = slab.take(100);
        slab.wordsOf(taken)[wordAt(taken)] = -2;
      }
    }
    const copy = slab.unpin(page);
    if (copy !== null) found.push(...seen(copy.bytes, CELL_BYTES[copy.kind] as number));
  }
  slab.unpinAll();
  t.same(
    found.sort((a, b) => a - b),
    expected,
  );
});

t.test("large values are read as they were when they were pinned", async (t) => {
  const large = new LargeValues();
  const put = (byte: number): number => large.put(new Uint8Array(50).fill(byte), 10, 40);
  const ids = [1, 2, 3, 4, 5, 6].map(put);
  large.drop(ids[1] as number);
  large.pinAll();
  large.drop(ids[0] as number);
  large.drop(ids[3] as number);
  put(70);
  put(71);
  put(72);
  put(73);
  const read: (number | null)[] = [];
  for (let id = 1; id < large.pinnedCount; id++) {
    read.push(large.unpin(id)?.[0] ?? null);
    if (id === 3) large.drop(ids[4] as number);
  }
  t.same(read, [1, null, 3, 4, 5, 6]);
  t.equal(large.bytes, 6 * 30);
  large.unpinAll();
});

t.test("the queue of deadlines is in (deadline, order) order through any changes", async (t) => {
  const queue = new DeadlineQueue();
  const random = Prng.fromSeed(3);
  const model = new Map<number, { deadline: number; order: number; value: number }>();
  const wrong: number[] = [];
  for (let i = 0; i < 12_000; i++) {
    const nodes = [...(i % 50 === 0 ? model.keys() : [])];
    const deadline = random.below(200);
    const kind = random.below(4);
    const node = queue.length > 0 ? nodeOf(model, random) : -1;
    if (kind <= 1 || node < 0) {
      model.set(queue.add(deadline, i, i), { deadline, order: i, value: i });
    } else if (kind === 2) {
      queue.update(node, deadline, i, -i);
      model.set(node, { deadline, order: i, value: -i });
    } else {
      queue.remove(node);
      model.delete(node);
    }
    if (nodes.length === 0) continue;
    const first = [...model.values()].sort((a, b) => a.deadline - b.deadline || a.order - b.order)[0];
    if (queue.earliest() !== first?.deadline || queue.earliestValue() !== first.value) wrong.push(i);
    if (queue.length !== model.size) wrong.push(i);
  }
  t.same(wrong, []);
  const order: number[] = [];
  const sorted = [...model].sort(([, a], [, b]) => a.deadline - b.deadline || a.order - b.order);
  for (const [node] of sorted) {
    order.push(queue.earliestValue());
    queue.remove(node);
  }
  t.same(
    order,
    sorted.map(([, { value }]) => value),
  );
  t.equal(queue.earliest(), -1);
});

/** Some node: the first at or after a random place in the order of insertion. */
function nodeOf(model: Map<number, unknown>, random: Prng): number {
  let skip = random.below(Math.min(model.size, 20));
  for (const node of model.keys()) if (skip-- === 0) return node;
  return -1;
}

t.test("the map of seqs keeps what is in it, dense or sparse", async (t) => {
  for (const spread of [1, 7, 2 ** 20, 2 ** 44]) {
    const random = Prng.fromSeed(4);
    const map = new SeqMap();
    const model = new Map<number, number>();
    const dropped = new RefList();
    let floor = 0;
    let wrong = 0;
    for (let i = 1; i < 20_000; i++) {
      const seq = floor + random.below(300) * spread;
      const kind = random.below(10);
      if (kind < 6) {
        map.set(seq, i);
        model.set(seq, i);
      } else if (kind < 9) {
        if (map.delete(seq) !== (model.get(seq) ?? 0)) wrong++;
        model.delete(seq);
      } else {
        const to = floor + random.below(40) * spread;
        dropped.clear();
        map.takeBelow(floor, to, dropped);
        const below = [...model.keys()].filter((key) => key < to);
        if (dropped.length !== below.length) wrong++;
        for (const key of below) model.delete(key);
        floor = to;
      }
      if (map.get(seq) !== (model.get(seq) ?? 0) || map.length !== model.size) wrong++;
    }
    t.equal(wrong, 0, `spread ${spread}`);
  }
});

// ---- keys that collide on purpose: the hash's steps can be undone, since each is a bijection

const inverse = (odd: number): number => {
  let x = odd;
  for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(odd, x));
  return x;
};
const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** A key of the slot of "{tt}" whose hash is that of `target`, for any first word. */
function collidingKey(target: Uint8Array, word: number): Uint8Array {
  const key = new Uint8Array(12);
  const view = new DataView(key.buffer);
  key.set(bytesOf("{tt}"));
  const step = (a: number, w: number): number => {
    const k = Math.imul(rotate(Math.imul(w, 0xcc9e2d51), 15), 0x1b873593);
    return (Math.imul(rotate(a ^ k, 13), 5) + 0xe6546b64) | 0;
  };
  const words = new DataView(target.buffer, target.byteOffset);
  let wanted = 0x3c6ef372;
  for (let i = 0; i < 12; i += 4) wanted = step(wanted, words.getInt32(i, true));
  view.setInt32(4, word, true);
  const before = step(step(0x3c6ef372, view.getInt32(0, true)), word);
  const k = rotate(Math.imul((wanted - 0xe6546b64) | 0, inverse(5)), 19) ^ before;
  view.setInt32(8, Math.imul(rotate(Math.imul(k, inverse(0x1b873593)), 17), inverse(0xcc9e2d51)), true);
  return key;
}

t.test("keys made to collide fill one chain, are found, scanned and removed like others", async (t) => {
  const target = bytesOf("{tt}abcdefgh");
  const colliding = Array.from({ length: 3500 }, (_, i) => collidingKey(target, i * 2654435761));
  const probe = new Probe();
  const hashes = new Set<number>();
  for (const key of [target, ...colliding]) {
    probe.aim(key, 0, key.length);
    hashes.add(probe.hash);
  }
  t.equal(hashes.size, 1, "one hash for all");
  const driver = new Driver();
  const random = Prng.fromSeed(5);
  const other = Array.from({ length: 1000 }, (_, i) => bytesOf(`{tt}${i}`));
  driver.apply(...[...other, ...colliding].map((key) => [OP.set, [key, key, 0, 0]] as const));
  t.equal(driver.store.keyCount, 4500);
  const missing = [...colliding, ...other].filter(
    (key) => driver.run(OP.get, key) !== Buffer.from(key).toString("latin1"),
  );
  t.equal(missing.length, 0);
  t.equal((driver.run(OP.keys, "*") as string[]).length, 4500);
  const [cursor, first] = driver.run(OP.scan, 0, 10, "", "") as [string, string[]];
  t.equal(new Set(first).size, first.length);
  let scanned = first.length;
  for (let next = cursor; next !== "0"; ) {
    const [after, keys] = driver.run(OP.scan, BigInt(next), 10, "", "") as [string, string[]];
    scanned += keys.length;
    next = after;
  }
  t.equal(scanned, 4500, "each once, the colliding ones in one reply");
  const gone = colliding.filter(() => random.chance(2, 3));
  driver.apply(...gone.map((key) => [OP.del, [key]] as const));
  const kept = colliding.filter((key) => driver.run(OP.exists, key) === 1);
  t.equal(kept.length, colliding.length - gone.length);
  driver.apply(...[...kept, ...other].map((key) => [OP.del, [key]] as const));
  t.equal(driver.store.keyCount, 0);
  t.same(driver.run(OP.keys, "*"), []);
});

t.test("FLUSHALL empties at once and gives memory back bit by bit, also under a snapshot", async (t) => {
  const driver = new Driver();
  const fill = (): void => {
    for (let i = 0; i < 40; i++) {
      driver.apply(
        ...Array.from(
          { length: 500 },
          (_, k) => [OP.set, [`k${i * 500 + k}`, "v".repeat(900), 0, 0]] as const,
        ),
      );
    }
    for (let i = 0; i < 50; i++) driver.run(OP.set, `large${i}`, "L".repeat(30_000), 0, 0);
  };
  fill();
  driver.run(OP.flushAll);
  t.equal(driver.store.keyCount, 0);
  t.ok(driver.store.allocatedBytes < 2 * 1024 * 1024, "what the store answers for is nearly nothing");
  t.ok(driver.store.tidy(), "there is more to be let go");
  for (let i = 0; driver.store.tidy(); i++) if (i > 100) t.fail("tidying ends");
  fill();
  const hash = driver.store.stateHash();
  const source = driver.store.beginSnapshot();
  const chunks = [(source.next() as Uint8Array).slice()];
  driver.run(OP.flushAll);
  while (driver.store.tidy());
  driver.run(OP.set, "after", "x", 0, 0);
  for (let chunk = source.next(); chunk !== null; chunk = source.next()) chunks.push(chunk.slice());
  source.close();
  t.ok(driver.store.tidy(), "now that nobody reads it");
  t.equal(restore(chunks, driver).store.stateHash(), hash);
});

t.test("memory comes back after most keys are gone: their pages are emptied by later batches", async (t) => {
  const driver = new Driver();
  const random = Prng.fromSeed(6);
  const count = 60_000;
  for (let i = 0; i < count; i += 1000) {
    const sets = Array.from(
      { length: 1000 },
      (_, k) => [OP.set, [`k${i + k}`, "v".repeat(400), 0, 0]] as const,
    );
    driver.apply(...sets);
  }
  const full = driver.store.allocatedBytes;
  const kept = new Set<string>();
  for (let i = 0; i < count; i += 1000) {
    const names = Array.from({ length: 1000 }, (_, k) => `k${i + k}`);
    const gone = names.filter(() => random.chance(9, 10));
    driver.apply([OP.del, gone]);
    for (const name of names) if (!gone.includes(name)) kept.add(name);
  }
  for (let i = 0; i < 1500; i++) driver.wait(1);
  t.equal(driver.store.keyCount, kept.size);
  t.ok(driver.store.allocatedBytes < full / 2.5, `${full} bytes, then ${driver.store.allocatedBytes}`);
  t.same(
    [...kept].filter((name) => driver.run(OP.strlen, name) !== 400),
    [],
    "and nothing is lost",
  );
  driver.apply([OP.del, [...kept]]);
  for (let i = 0; i < 20; i++) driver.wait(1);
  t.ok(driver.store.allocatedBytes < 12 * 1024 * 1024, `${driver.store.allocatedBytes} bytes when empty`);
});

/** The newest entries in memory. */
import fc from "fast-check";
import t from "tap";
import type { Entry } from "../../src/raft/types.ts";
import { CacheBudget, EntryCache } from "../../src/server/entry_cache.ts";

function entry(index: number, term = 1, size = 10): Entry {
  return { index, term, kind: 1, bytes: new Uint8Array(size) };
}

t.test("B5: entries that the log replaced are gone, also when all that is cached was", (t) => {
  const cache = new EntryCache(new CacheBudget(1000));
  for (let index = 5; index <= 9; index++) cache.push(entry(index, 1));
  cache.truncate(8);
  t.equal(cache.lastIndex, 7);
  t.equal(cache.get(8), null);
  cache.push(entry(8, 2));
  t.equal(cache.get(8)?.term, 2);
  cache.truncate(3); // replaced from before what is cached
  t.equal(cache.bytes, 0);
  cache.push(entry(3, 3));
  t.equal(cache.get(3)?.term, 3);
  t.equal(cache.get(5), null);
  t.throws(() => cache.push(entry(3, 4)), /truncate before/);
  t.end();
});

t.test("B5: one batch larger than the whole budget replaces what it must", (t) => {
  const cache = new EntryCache(new CacheBudget(100));
  for (let index = 1; index <= 5; index++) cache.push(entry(index));
  cache.truncate(3);
  cache.push(entry(3, 2, 10_000));
  cache.evict(2);
  t.equal(cache.get(3)?.term, 2, "it is not applied yet, so it stays");
  t.equal(cache.get(4), null);
  cache.evict(3);
  t.equal(cache.bytes, 0);
  t.end();
});

t.test("only what is applied is evicted, oldest first, until the budget holds", (t) => {
  const cache = new EntryCache(new CacheBudget(55));
  for (let index = 1; index <= 10; index++) cache.push(entry(index));
  cache.evict(3);
  t.equal(cache.firstIndex, 4);
  cache.evict(10);
  t.equal(cache.firstIndex, 6);
  t.equal(cache.bytes, 50);
  t.end();
});

t.test("B5: the cache is always a piece of the log", (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("append" as const), count: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ kind: fc.constant("replace" as const), from: fc.nat({ max: 40 }) }),
    fc.record({ kind: fc.constant("evict" as const), applied: fc.nat({ max: 40 }) }),
    fc.record({ kind: fc.constant("snapshot" as const), ahead: fc.integer({ min: 1, max: 9 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const cache = new EntryCache(new CacheBudget(80));
      const log = new Map<number, number>(); // index -> term
      let last = 0;
      let applied = 0;
      let term = 1;
      for (const s of steps) {
        if (s.kind === "append") {
          for (let i = 0; i < s.count; i++) {
            log.set(++last, term);
            cache.push(entry(last, term));
          }
        } else if (s.kind === "replace") {
          const from = Math.min(last, applied + 1 + s.from);
          if (from <= applied) continue;
          term++;
          cache.truncate(from);
          for (let index = from; index <= last; index++) log.delete(index);
          last = from;
          log.set(from, term);
          cache.push(entry(from, term));
        } else if (s.kind === "evict") {
          applied = Math.max(applied, Math.min(last, s.applied));
          cache.evict(applied);
        } else {
          last += s.ahead;
          applied = last;
          log.clear();
          cache.clear(last + 1);
        }
        for (let index = 0; index <= last + 2; index++) {
          const cached = cache.get(index);
          if (cached !== null && (cached.index !== index || cached.term !== log.get(index))) return false;
          if (cached === null && index > applied && index <= last) return false; // what is needed is there
        }
      }
      return true;
    }),
    { seed: 5, numRuns: 400 },
  );
  t.pass("over 400 histories");
  t.end();
});

t.test("all groups of a node share one budget, and who has more than its share gives way", (t) => {
  const budget = new CacheBudget(1000);
  const caches = Array.from({ length: 100 }, () => new EntryCache(budget));
  const held = (): number => caches.reduce((sum, { bytes }) => sum + bytes, 0);
  for (let index = 1; index <= 50; index++) {
    for (const cache of caches) {
      cache.push(entry(index));
      cache.evict(index);
    }
  }
  t.equal(budget.bytes, held());
  t.ok(held() <= 2000, `${held()} bytes in all`);
  for (const cache of caches.slice(1)) cache.end();
  t.equal(budget.bytes, caches[0]?.bytes);
  for (let index = 51; index <= 130; index++) caches[0]?.push(entry(index));
  caches[0]?.evict(130);
  t.ok((caches[0]?.bytes ?? 0) > 500, "what the others had is free");
  t.end();
});

/** Time: deadlines by log time alone, and reads that look ahead of it. */
import t from "tap";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { EXPIRE_OPTION, OP, SET_OPTION } from "../../src/wire/command.ts";
import { Driver } from "./driver.ts";
import { batch, entry } from "./frames.ts";

const PX = SET_OPTION.expiryRelative;

t.test(
  "G1: two replicas that apply the same batches hours apart expire the same keys at the same index",
  async (t) => {
    const a = new Driver();
    const b = new Driver();
    const start = a.timeMs;
    const batches = [0, 100, 150, 400].map((ms) => start + ms);
    const hashes: string[] = [];
    for (const at of batches) {
      a.applyCommands(at, [[OP.set, [`k${at}`, "v", PX, 120]]]);
      hashes.push(a.store.stateHash());
    }
    // The other replica's machine has another time, other reads and more of them: none of that is an input.
    batches.forEach((at, i) => {
      b.read(at + 86_400_000, OP.get, "k1000000");
      b.applyCommands(at, [[OP.set, [`k${at}`, "v", PX, 120]]]);
      b.read(0, OP.keys, "*");
      t.equal(b.store.stateHash(), hashes[i]);
    });
  },
);

t.test("G2: log time never runs backwards, so what expired stays away", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "v", PX, 1000);
  driver.wait(1000);
  t.equal(driver.store.keyCount, 0);
  const early = driver.timeMs - 10_000;
  driver.applyCommands(early, [[OP.set, ["b", "v", PX, 1000]]]);
  t.equal(driver.store.logTimeMs, driver.timeMs, "the new leader's clock is 10 s behind");
  t.equal(driver.run(OP.get, "a"), null);
  t.equal(driver.run(OP.ttl, "b", 1, 0), 1000, "relative deadlines count from log time");
  for (const kind of Object.values(ENTRY_KIND)) driver.applyBatch(entry(kind, early, new Uint8Array(0)));
  t.equal(driver.store.logTimeMs, driver.timeMs);
});

t.test("G3: nothing expires without an entry, however late it is", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "v", PX, 50);
  const hash = driver.store.stateHash();
  t.equal(driver.read(driver.timeMs + 3_600_000, OP.get, "a"), undefined, "the read waits");
  t.equal(driver.read(driver.timeMs, OP.get, "a"), "v", "a deposed leader's view stays what the log made it");
  t.equal(driver.store.stateHash(), hash);
  t.equal(driver.store.keyCount, 1);
  t.equal(driver.store.earliestDeadlineMs(), driver.timeMs + 50);
});

t.test("a read of a key past its deadline waits for the log's time, others do not", async (t) => {
  const driver = new Driver();
  driver.run(OP.mset, "plain", "p", "{p}other", "o");
  driver.run(OP.set, "soon", "s", PX, 100);
  driver.run(OP.set, "late", "l", PX, 900);
  const now = driver.timeMs + 500;
  t.equal(driver.read(now, OP.get, "plain"), "p");
  t.equal(driver.read(now, OP.get, "absent"), null);
  t.equal(driver.read(now, OP.get, "late"), "l");
  t.equal(driver.read(now, OP.ttl, "late", 1, 0), 400, "time left by the leader's time");
  t.equal(driver.read(now, OP.get, "soon"), undefined);
  t.equal(driver.read(now, OP.mget, "plain", "soon"), undefined);
  t.equal(driver.read(now, OP.exists, "soon", "soon"), undefined);
  t.equal(driver.read(now, OP.keys, "*"), undefined);
  t.same(driver.read(now, OP.keys, "p*"), ["plain"], "only what matches matters");
  t.equal(driver.read(now, OP.scan, 0, 100, "", ""), undefined);
  t.equal(driver.read(now, OP.getRecord, "soon"), undefined);
  t.equal(driver.read(driver.timeMs + 99, OP.get, "soon"), "s");
  t.equal(driver.read(driver.timeMs + 100, OP.get, "soon"), undefined, "gone when its deadline is reached");
  driver.wait(500);
  t.equal(driver.read(now, OP.get, "soon"), null);
  t.same((driver.read(now, OP.keys, "*") as string[]).sort(), ["late", "plain", "{p}other"]);
});

t.test("RANDOMKEY gives each key its turn, none that expired, and waits where it must", async (t) => {
  const driver = new Driver();
  t.equal(driver.run(OP.randomKey, 5), null);
  for (let i = 0; i < 20; i++) driver.run(OP.set, `k${i}`, "v", 0, 0);
  const met = new Set(Array.from({ length: 20 }, (_, seed) => driver.run(OP.randomKey, seed) as string));
  t.equal(met.size, 20);
  t.equal(driver.run(OP.randomKey, 3), driver.run(OP.randomKey, 23), "the seed decides");
  t.type(driver.run(OP.randomKey, -1), "string");
  const one = new Driver();
  one.run(OP.set, "only", "v", PX, 10);
  t.equal(one.read(one.timeMs + 10, OP.randomKey, 1), undefined);
  t.equal(one.applyCommands(one.timeMs + 10, [[OP.randomKey, [1]]])[0], null);
});

t.test("expired keys leave 64 or twice the commands at a time, in (deadline, revision) order", async (t) => {
  const driver = new Driver();
  for (let i = 0; i < 300; i++)
    driver.run(OP.set, `k${i}`, "v", SET_OPTION.expiryAbsolute, driver.timeMs + 1000 - (i % 3));
  const revision = driver.store.revision;
  driver.wait(2000);
  t.equal(driver.store.keyCount, 300 - 64);
  t.equal(driver.store.revision, revision + 64, "each removal is a change");
  t.equal(driver.run(OP.exists, "k2"), 0);
  t.same(driver.run(OP.keys, "*"), [], "what has not left yet is out of sight");
  const gets = Array.from({ length: 100 }, (_, i) => [OP.get, [`k${i}`]] as const);
  driver.apply(...gets);
  t.ok(driver.store.keyCount < 300 - 64 - 64 - 64 - 100, `${driver.store.keyCount} left`);
  driver.run(OP.set, "k1", "new", 0, 0);
  while (driver.store.expiringCount > 0) driver.wait(0);
  t.same(driver.run(OP.keys, "*"), ["k1"], "a key written again is not taken with the old one");
});

t.test("a key whose deadline moves is queued once, at its new place", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "v", PX, 100);
  for (let i = 0; i < 1000; i++) driver.run(OP.expire, "a", 100 + (i % 50), EXPIRE_OPTION.relative);
  t.equal(driver.store.expiringCount, 1);
  driver.run(OP.expire, "a", 5000, EXPIRE_OPTION.relative);
  t.equal(driver.store.earliestDeadlineMs(), driver.timeMs + 5000);
  driver.wait(4999);
  t.equal(driver.run(OP.get, "a"), "v");
  driver.run(OP.persist, "a");
  t.equal(driver.store.earliestDeadlineMs(), -1);
});

t.test("every entry kind moves the time; only commands change records", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "v", PX, 100);
  driver.applyBatch(entry(ENTRY_KIND.noop, driver.timeMs + 100, new Uint8Array(0)));
  t.equal(driver.store.keyCount, 0);
  driver.applyBatch(entry(ENTRY_KIND.config, driver.timeMs + 200, new Uint8Array([1, 2, 3])));
  t.equal(driver.store.logTimeMs, driver.timeMs + 200);
  t.equal(driver.store.appliedIndex, 3);
  t.equal(driver.store.appliedTerm, 1);
  t.throws(
    () =>
      driver.store.apply(9, 1, batch(0, []), {
        begin: () => t.fail() as never,
        end: () => {},
        notServed: () => {},
      }),
    {
      message: /in order/,
    },
  );
  const newer = entry(ENTRY_KIND.commands, driver.timeMs, new Uint8Array(0), 0, 2);
  t.throws(() => driver.applyBatch(newer), { code: "state_version" });
  t.equal(driver.store.appliedIndex, 3, "a batch of an unknown version is not applied");
});

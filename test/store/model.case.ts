/** The store against a naive model: same batches, same replies, same contents; reloaded from images on the way. */
import t, { type Test } from "tap";
import { Prng } from "../../src/base/prng.ts";
import { OP } from "../../src/wire/command.ts";
import { type Command, Driver, type Reply } from "./driver.ts";
import { reload } from "./images.ts";
import { Model } from "./model.ts";
import { Workload } from "./workload.ts";

/** Everything that a client can see of a key. */
function contentsOf(driver: Driver): Map<string, Reply> {
  const keys = driver.read(0, OP.keys, "*") as string[];
  return new Map(keys.map((key) => [key, driver.read(0, OP.getRecord, Buffer.from(key, "latin1")) as Reply]));
}

function contentsOfModel(model: Model): Map<string, Reply> {
  return new Map(
    model.liveKeys().map((key) => [key, model.run([OP.getRecord, [Buffer.from(key, "latin1")]])]),
  );
}

function sortedEntries(contents: Map<string, Reply>): [string, Reply][] {
  return [...contents].sort(([a], [b]) => (a < b ? -1 : 1));
}

type Options = { seed: number; batches: number; keys: number; valueMax: number; longEvery: number };

function compare(t: Test, { seed, batches, keys, valueMax, longEvery }: Options): void {
  const random = Prng.fromSeed(seed);
  const workload = new Workload(random);
  workload.keys = keys;
  workload.valueMax = valueMax;
  workload.longEvery = longEvery;
  const model = new Model();
  let driver = new Driver();
  for (let i = 0; i < batches; i++) {
    driver.timeMs += random.chance(1, 3) ? random.below(300) : 0;
    const time = random.chance(1, 10) ? driver.timeMs - 5000 : driver.timeMs; // a leader whose clock is behind
    const commands: Command[] = workload.batch(12);
    const replies = driver.applyCommands(time, commands);
    const expected = model.apply(time, commands);
    if (JSON.stringify(replies, text) !== JSON.stringify(expected, text)) {
      t.same(replies, expected, `seed ${seed} batch ${i}: replies`);
      return;
    }
    if (random.chance(1, 60)) driver = reload(driver);
    if (random.chance(1, 10) || i === batches - 1) {
      const { store } = driver;
      const seen = [store.keyCount, store.revision, store.dataBytes, store.expiringCount, store.logTimeMs];
      const wanted = [model.entries.size, model.revision, model.dataBytes, model.expiring, model.timeMs];
      if (JSON.stringify(seen) !== JSON.stringify(wanted)) {
        t.same(seen, wanted, `seed ${seed} batch ${i}: keys, revision, bytes, expiring, time`);
        return;
      }
      const contents = sortedEntries(contentsOf(driver));
      if (JSON.stringify(contents) !== JSON.stringify(sortedEntries(contentsOfModel(model)))) {
        t.same(contents, sortedEntries(contentsOfModel(model)), `seed ${seed} batch ${i}: contents`);
        return;
      }
    }
  }
  t.pass(`seed ${seed}: ${batches} batches`);
}

function text(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}n` : value;
}

t.test("the store does what the model does: few keys, often the same", async (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    compare(t, { seed, batches: 600, keys: 40, valueMax: 60, longEvery: 400 });
  }
});

t.test("the store does what the model does: many keys, pages that fill and empty", async (t) => {
  compare(t, { seed: 100, batches: 1500, keys: 3000, valueMax: 400, longEvery: 2000 });
});

t.test("the store does what the model does: long values", async (t) => {
  compare(t, { seed: 200, batches: 300, keys: 12, valueMax: 30_000, longEvery: 10 });
});

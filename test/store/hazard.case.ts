/** Hazards of the state machine that have no better place: see docs on hazards for the rows. */
import t from "tap";
import { Prng } from "../../src/base/prng.ts";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { CommandView, OP, SET_OPTION } from "../../src/wire/command.ts";
import { batchOf, Driver, type Reply, ReplyCollector, SETTINGS } from "./driver.ts";
import { type Arg, batch, frame, joined, settingsBody } from "./frames.ts";
import { Workload } from "./workload.ts";

const OPS = Object.values(OP);

t.test("B11: any op with any arguments gives exactly one reply and never throws", async (t) => {
  const random = Prng.fromSeed(11);
  const driver = new Driver();
  const argument = (): Arg =>
    random.pick<() => Arg>([
      () => `k${random.below(5)}`,
      () => random.between(-100, 100),
      () => random.pick([2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n, 2n ** 52n, 0n, 1n, 2047n]),
      () => new Uint8Array(random.below(12)),
      () => "9223372036854775807",
      () => "1e300",
      () => "x".repeat(random.pick([0, 1, 8, 17_000])),
    ])();
  let replies = 0;
  let errors = 0;
  for (let i = 0; i < 20_000; i++) {
    const op = random.pick(OPS);
    const session = random.chance(1, 10)
      ? {
          client: random.below(4),
          seq: i,
          floor: random.below(i + 1),
          notAfter: driver.timeMs + 500,
          after: 0,
        }
      : undefined;
    const args = Array.from({ length: random.below(6) }, argument);
    driver.timeMs += random.below(10);
    const got = driver.apply(session === undefined ? [op, args] : [op, args, session]);
    replies += got.length;
    if (isError(got[0])) errors++;
  }
  t.equal(replies, 20_000);
  t.ok(errors > 5000 && errors < 19_000, `${errors} of them errors`);
});

function isError(reply: Reply | undefined): boolean {
  return reply !== null && typeof reply === "object" && "error" in reply;
}

t.test("B11: commands with the right arguments for their ops and wild numbers", async (t) => {
  const random = Prng.fromSeed(12);
  const driver = new Driver();
  const number = (): Arg =>
    random.pick([
      0,
      1,
      -1,
      16,
      32,
      64,
      128,
      1024,
      2047,
      -2048,
      2 ** 40,
      2n ** 52n,
      2n ** 62n,
      2n ** 63n - 1n,
      -(2n ** 63n),
    ]);
  const key = (): Arg => `k${random.below(6)}`;
  let replies = 0;
  for (let i = 0; i < 20_000; i++) {
    driver.timeMs += 1;
    const args = random.pick<() => readonly [op: number, args: Arg[]]>([
      () => [OP.set, [key(), "1", number(), number()]],
      () => [OP.set, [key(), "1", number(), number(), number()]],
      () => [OP.getEx, [key(), number(), number()]],
      () => [OP.expire, [key(), number(), number()]],
      () => [OP.setRange, [key(), number(), "zz"]],
      () => [OP.getRange, [key(), number(), number()]],
      () => [OP.incrBy, [key(), number()]],
      () => [OP.ttl, [key(), number(), number()]],
      () => [OP.scan, [number(), number(), "", ""]],
      () => [OP.randomKey, [number()]],
      () => [OP.delIf, [key(), number(), number()]],
      () => [OP.copy, [key(), key(), number()]],
    ])();
    replies += driver.apply([args[0] as typeof OP.set, args[1]]).length;
  }
  t.equal(replies, 20_000);
});

t.test(
  "B11: a batch whose bytes are damaged still gives each command one reply, the same everywhere",
  async (t) => {
    const random = Prng.fromSeed(13);
    const workload = new Workload(random);
    const a = new Driver();
    const b = new Driver();
    const differing: number[] = [];
    for (let i = 0; i < 2000; i++) {
      const commands = workload.batch(8);
      const bytes = batchOf(a.timeMs, commands);
      for (let k = random.below(3); k > 0 && bytes.length > 48; k--) {
        bytes[48 + random.below(bytes.length - 48)] = random.below(256);
      }
      const replies = a.applyBatch(bytes.slice());
      const others = b.applyBatch(bytes.slice());
      if (replies.length !== commands.length || text(others) !== text(replies)) differing.push(i);
    }
    t.same(differing, []);
    t.equal(a.store.stateHash(), b.store.stateHash());
  },
);

function text(replies: Reply[]): string {
  return JSON.stringify(replies, (_, value) => (typeof value === "bigint" ? String(value) : value));
}

t.test("B11: a count that promises more commands than there are", async (t) => {
  const driver = new Driver();
  const bytes = batch(driver.timeMs, [frame(OP.incrBy, ["n", 1])]);
  bytes[40] = 3;
  t.same(driver.applyBatch(bytes), [
    1,
    { error: "ERR malformed command frame" },
    { error: "ERR malformed command frame" },
  ]);
});

t.test("B11: settings that cannot be read change nothing", async (t) => {
  const driver = new Driver();
  const good = settingsBody({ memoryBytesMax: 5, sessionRepliesMax: 6, sessionsMax: 7 });
  for (let length = 0; length < good.length; length++) {
    driver.applyEntry(ENTRY_KIND.settings, good.slice(0, length));
  }
  t.same(driver.store.settings, SETTINGS);
  for (let length = 0; length < good.length; length++) {
    const unborn = new Driver();
    unborn.applyEntry(ENTRY_KIND.bootstrap, joined([new Uint8Array(4), good.slice(0, length)]));
    t.same(unborn.store.settings, SETTINGS);
    t.equal(unborn.store.slotsServed().count, 0);
  }
  driver.applyEntry(ENTRY_KIND.settings, good);
  t.same(driver.store.settings, { memoryBytesMax: 5, sessionRepliesMax: 6, sessionsMax: 7 });
});

t.test(
  "G4: limits are replicated: the same settings entry, the same refusals; apply itself refuses nothing",
  async (t) => {
    const view = new CommandView();
    const refusal = (driver: Driver, op: typeof OP.set, ...args: Arg[]): string | null => {
      const bytes = frame(op, args);
      t.equal(view.read(bytes, 0, bytes.length), null);
      return driver.store.memoryRefusal(view);
    };
    const driver = new Driver();
    const tiny = settingsBody({ ...SETTINGS, memoryBytesMax: 45 });
    t.equal(refusal(driver, OP.set, "a", "v", 0, 0), null);
    driver.applyEntry(ENTRY_KIND.settings, tiny);
    driver.run(OP.set, "a", "v", 0, 0);
    t.equal(driver.run(OP.get, "a"), "v", "a sealed write is applied");
    const error = "OOM command not allowed when used memory > 'maxmemory'.";
    t.equal(refusal(driver, OP.set, "a", "v", 0, 0), error);
    for (const op of [OP.append, OP.getSet] as const) t.equal(refusal(driver, op as never, "a", "v"), error);
    t.equal(refusal(driver, OP.del as never, "a"), null);
    t.equal(refusal(driver, OP.get as never, "a"), null);
    t.equal(refusal(driver, OP.expire as never, "a", 1, 1), null);
    t.equal(refusal(driver, OP.flushAll as never), null);
  },
);

t.test("G4: reads on one replica, none on the other: the same hash after every batch", async (t) => {
  const random = Prng.fromSeed(14);
  const workload = new Workload(random);
  const a = new Driver();
  const b = new Driver();
  const differing: number[] = [];
  for (let i = 0; i < 1000; i++) {
    const bytes = batchOf((a.timeMs += random.below(100)), workload.batch(10));
    a.applyBatch(bytes);
    for (let k = random.below(6); k > 0; k--) {
      const key = workload.key();
      b.read(a.timeMs + random.below(500), random.pick([OP.get, OP.strlen, OP.getRecord, OP.type]), key);
      b.read(a.timeMs, OP.scan, 0, 10, "", "");
      b.read(a.timeMs, OP.randomKey, i);
    }
    b.applyBatch(bytes);
    if (b.store.stateHash() !== a.store.stateHash()) differing.push(i);
  }
  t.same(differing, []);
});

t.test("G5: the order in which records came to be does not show in the hash", async (t) => {
  const a = new Driver();
  const b = new Driver();
  const set = (driver: Driver, key: string) => driver.run(OP.set, key, "v", 0, 0);
  for (let i = 0; i < 50; i++) set(a, `k${i}`);
  for (let i = 0; i < 50; i++) set(b, `k${i}`);
  t.equal(a.store.stateHash(), b.store.stateHash());
  set(a, "x");
  set(a, "y");
  set(b, "y");
  set(b, "x");
  t.not(a.store.stateHash(), b.store.stateHash(), "but revisions do");
});

t.test("G6: integers at 2^31, 2^32, 2^53 and 2^63, one less and one more", async (t) => {
  const driver = new Driver();
  for (const power of [31n, 32n, 52n, 53n, 62n, 63n]) {
    for (const sign of [1n, -1n]) {
      for (const step of [-1n, 0n, 1n]) {
        const value = sign * 2n ** power + step;
        const fits = BigInt.asIntN(64, value) === value;
        driver.run(OP.set, "n", String(value), 0, 0);
        for (const delta of [1n, -1n, 2n ** 31n, -(2n ** 53n), 2n ** 62n]) {
          driver.run(OP.set, "n", String(value), 0, 0);
          const sum = value + delta;
          const reply = driver.run(OP.incrBy, "n", delta);
          if (!fits) t.same(reply, { error: "ERR value is not an integer or out of range" });
          else if (BigInt.asIntN(64, sum) !== sum) {
            t.same(reply, { error: "ERR increment or decrement would overflow" });
          } else {
            t.equal(BigInt(reply as bigint), sum, `${value} + ${delta}`);
            t.equal(driver.run(OP.get, "n"), String(sum));
          }
        }
      }
    }
  }
});

t.test("G6: what is no integer, and deltas of all sizes on a missing key", async (t) => {
  const driver = new Driver();
  for (const text of [
    "",
    " 1",
    "1 ",
    "+1",
    "01",
    "-0",
    "1.0",
    "0x10",
    "9223372036854775808",
    "-9223372036854775809",
    "1e3",
    "−1",
  ]) {
    driver.run(OP.set, "n", text, 0, 0);
    t.same(
      driver.run(OP.incrBy, "n", 1),
      { error: "ERR value is not an integer or out of range" },
      JSON.stringify(text),
    );
    t.equal(driver.run(OP.strlen, "n"), Buffer.byteLength(text), "and it is left alone");
  }
  for (const delta of [0n, -1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    driver.run(OP.del, "n");
    t.equal(BigInt(driver.run(OP.incrBy, "n", delta) as bigint), delta);
    t.equal(driver.run(OP.get, "n"), String(delta));
  }
});

t.test("G6: deadlines and revisions above 32 bits", async (t) => {
  const driver = new Driver();
  driver.timeMs = 1_900_000_000_123;
  for (const ms of [1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 52 - 1_900_000_000_123]) {
    driver.run(OP.set, "a", "v", SET_OPTION.expiryRelative, ms);
    t.equal(driver.run(OP.ttl, "a", 1, 0), ms);
    t.equal(driver.store.earliestDeadlineMs(), driver.timeMs + ms);
  }
  t.same(driver.run(OP.set, "a", "v", SET_OPTION.expiryRelative, 2n ** 52n + 1n), {
    error: "ERR invalid expire time in 'set' command",
  });
});

t.test("H11: what is stored does not alias the batch it came in", async (t) => {
  const driver = new Driver();
  const long = "L".repeat(100_000);
  const bytes = batchOf(driver.timeMs, [
    [OP.set, ["key", "value", 0, 0]],
    [OP.set, ["long", long, 0, 0]],
    [OP.append, ["key", " and more"]],
    [OP.set, ["s", "x", 0, 0], { client: 1, seq: 1, floor: 1, notAfter: driver.timeMs + 100, after: 0 }],
  ]);
  driver.applyBatch(bytes);
  const hash = driver.store.stateHash();
  bytes.fill(0xee);
  t.equal(driver.run(OP.get, "key"), "value and more");
  t.equal(driver.run(OP.get, "long"), long);
  t.same(driver.run(OP.keys, "*"), ["s", "long", "key"].sort(byOrderOf(driver)));
  const retry = driver.apply([
    OP.set,
    ["s", "x", 0, 0],
    { client: 1, seq: 1, floor: 1, notAfter: driver.timeMs + 100, after: 0 },
  ]);
  t.same(retry, [{ status: "OK" }]);
  t.equal(driver.store.stateHash(), hash);
});

/** The order in which KEYS gives them, whatever it is. */
function byOrderOf(driver: Driver): (a: string, b: string) => number {
  const order = driver.run(OP.keys, "*") as string[];
  return (a, b) => order.indexOf(a) - order.indexOf(b);
}

t.test("H11: a reply is copied out before the next command can change what it shows", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "first", 0, 0);
  const replies = driver.apply(
    [OP.get, ["a"]],
    [OP.set, ["a", "other", 0, 0]],
    [OP.getSet, ["a", "third"]],
    [OP.getDel, ["a"]],
  );
  t.same(replies, ["first", { status: "OK" }, "other", "third"]);
});

t.test("H12: no Map of keys: many keys in one slot stay quick, and are all there", async (t) => {
  const driver = new Driver();
  driver.wait(0);
  const empty = driver.store.stateHash();
  const count = 60_000;
  for (let i = 0; i < count; i += 500) {
    driver.apply(
      ...Array.from({ length: 500 }, (_, k) => [OP.set, [`{one}${i + k}`, `v${i + k}`, 0, 0]] as const),
    );
  }
  t.equal(driver.store.keyCount, count);
  for (let i = 0; i < count; i += 997) t.equal(driver.run(OP.get, `{one}${i}`), `v${i}`);
  const perKey = driver.store.allocatedBytes / count;
  t.ok(perKey < 100, `${perKey.toFixed(0)} bytes a key, everything included`);
  for (let i = 0; i < count; i += 500) {
    driver.apply(...Array.from({ length: 500 }, (_, k) => [OP.del, [`{one}${i + k}`]] as const));
  }
  t.equal(driver.store.keyCount, 0);
  t.equal(driver.store.stateHash(), empty);
});

t.test("reads give their replies whole or not at all", async (t) => {
  const driver = new Driver();
  driver.run(OP.mset, "a", "1", "b", "2");
  driver.run(OP.set, "c", "3", SET_OPTION.expiryRelative, 10);
  const collector = new ReplyCollector();
  const view = new CommandView();
  const bytes = frame(OP.mget, ["a", "b", "c"]);
  t.equal(view.read(bytes, 0, bytes.length), null);
  t.equal(driver.store.read(view, driver.timeMs + 10, collector), "undecided");
  t.equal(collector.replies.length, 0);
  const write = frame(OP.del, ["a"]);
  t.equal(view.read(write, 0, write.length), null);
  t.throws(() => driver.store.read(view, driver.timeMs, collector), { message: /only reads/ });
});

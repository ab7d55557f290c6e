/** Moves of slots between two shards, by hazard (F1 to F13) as far as the state machines decide them. */
import t from "tap";
import { CLOSED_MOVES_MAX } from "../../src/store/moves.ts";
import { OP, SET_OPTION } from "../../src/wire/command.ts";
import type { Reply } from "./driver.ts";
import type { TestSession } from "./frames.ts";
import { Carrier, checkOwners, MOVED_KEY, pair, rangesOf, Shard, slotOfKey } from "./shards.ts";

const KEY = MOVED_KEY;
const SLOT = slotOfKey(KEY);
const slots = rangesOf(SLOT);

function sendAll(carrier: Carrier): null {
  carrier.sendAll(300);
  return null;
}

const refused = { error: `NOT SERVED ${SLOT}` };
const own = (shard: Shard, key: string): Reply | undefined => shard.read(OP.getRecord, key);
const records = (shard: Shard, keys: readonly string[]): unknown => keys.map((key) => own(shard, key));

t.test(
  "F1: a write that is applied behind the seal changes nothing and says so; so after release",
  async (t) => {
    const { a, b, carrier } = pair(3);
    carrier.import();
    carrier.begin();
    carrier.sendAll();
    carrier.seal();
    t.same(a.run(OP.set, KEY, "late", 0, 0), refused);
    t.same(a.read(OP.get, "{m}1"), refused, "reads too");
    carrier.sendAll();
    carrier.own();
    carrier.release();
    t.same(a.run(OP.set, KEY, "later", 0, 0), refused);
    t.same(a.store.slotFate(SLOT), { state: "absent", epoch: 10, movedTo: { shard: "b", group: 22 } });
    t.equal(b.read(OP.get, KEY), null);
    t.equal(b.read(OP.get, "{m}1"), "value 1");
    t.same(b.run(OP.set, KEY, "here", 0, 0), { status: "OK" });
  },
);

t.test(
  "F2: at no step do two shards serve a slot, and none begins to before the other has sealed",
  async (t) => {
    const { a, b, carrier } = pair(50);
    const steps = [
      () => carrier.import(),
      () => carrier.begin(),
      () => sendAll(carrier),
      () => carrier.seal(),
      () => sendAll(carrier),
      () => carrier.own(),
      () => carrier.release(),
    ];
    const states: string[] = [];
    for (const step of steps) {
      t.equal(step(), null);
      checkOwners([a, b]);
      states.push(`${a.store.slotFate(SLOT).state} ${b.store.slotFate(SLOT).state}`);
    }
    t.same(states, [
      "serving importing",
      "serving importing",
      "serving importing",
      "sealed importing",
      "sealed importing",
      "sealed serving",
      "absent serving",
    ]);
  },
);

t.test("F3: after a crash at any step, the move is finished or undone from what the logs say", async (t) => {
  for (let crash = 0; crash < 7; crash++) {
    for (const finish of [true, false]) {
      const { a, b, carrier } = pair(20);
      const before = records(a, ["{m}3", "{m}19"]);
      const steps = [
        () => carrier.import(),
        () => carrier.begin(),
        () => sendAll(carrier),
        () => carrier.seal(),
        () => sendAll(carrier),
        () => carrier.own(),
      ];
      for (const step of steps.slice(0, crash)) t.equal(step(), null);
      carrier.end();
      a.reload();
      b.reload();
      // A new leader of the source: its copy is gone, its log is not.
      carrier.term++;
      if (finish && b.phase(10) !== "owned") {
        t.equal(carrier.import(), null);
        t.equal(carrier.begin(), null);
        carrier.sendAll(500);
        t.equal(carrier.seal(), null);
        carrier.sendAll(500);
        t.equal(carrier.own(), null);
      } else if (!finish) {
        t.equal(b.step({ kind: "abort", epoch: 10 }) === null, b.phase(10) === "aborted");
      }
      const outcome = b.phase(10);
      if (outcome === "owned") t.equal(carrier.release(), null);
      else t.equal(a.step({ kind: "unseal", epoch: 10 }), null);
      carrier.end();
      const owner = outcome === "owned" ? b : a;
      t.same(records(owner, ["{m}3", "{m}19"]), before, `crash before step ${crash}: ${outcome}`);
      t.equal(outcome === "owned", finish || crash === 6);
      checkOwners([a, b]);
    }
  }
});

t.test("F4: a deleted key does not come back, whatever chunk is sent again", async (t) => {
  const { a, b, carrier } = pair(30);
  carrier.import();
  carrier.begin();
  carrier.sendAll(200);
  const old = [...carrier.sent];
  a.run(OP.del, "{m}7", "{m}8");
  carrier.sendAll(200);
  for (const chunk of old) t.match(b.move(chunk), /is the next/);
  carrier.seal();
  carrier.sendAll();
  for (const chunk of carrier.sent) t.match(b.move(chunk), /is the next/);
  t.equal(carrier.own(), null);
  for (const chunk of carrier.sent) t.match(b.move(chunk), /is closed: owned/);
  carrier.release();
  t.equal(b.read(OP.get, "{m}7"), null);
  t.equal(b.read(OP.get, "{m}9"), "value 9");
  t.equal(b.store.keyCount, 28);
});

t.test("F4: what a deposed leader of the source still sends is of an older attempt", async (t) => {
  const { a, b, carrier } = pair(30);
  carrier.import();
  carrier.begin();
  carrier.sendAll(200);
  const stale = [...carrier.sent];
  carrier.term = 2;
  carrier.n = 0;
  t.equal(carrier.begin(), null);
  t.equal(b.open(10).keys, 0, "the new attempt begins with nothing");
  for (const chunk of stale) t.match(b.move(chunk), /another attempt/);
  t.match(b.step({ kind: "begin", epoch: 10, term: 1, n: 9 }), /newer attempt/);
  carrier.sendAll(200);
  t.equal(b.step({ kind: "begin", epoch: 10, term: 2, n: 1 }), null, "the current one again: nothing");
  t.equal(b.open(10).keys, 30);
  carrier.seal();
  carrier.sendAll();
  t.equal(carrier.own(), null);
  t.equal(a.store.keyCount, 30, "the source's until it is released");
});

t.test(
  "F5, G2: deadlines move as they are, nothing expires on the way, and log time does not fall",
  async (t) => {
    const { a, b, carrier } = pair();
    const { expiryRelative } = SET_OPTION;
    for (let i = 0; i < 40; i++) a.run(OP.set, `{m}${i}`, "v", expiryRelative, 1000 * (i + 1));
    b.timeMs = 5_000_000; // a target whose clock is far ahead: what has expired there is not asked about yet
    b.wait(0);
    carrier.import();
    carrier.begin();
    carrier.sendAll(100);
    t.equal(b.open(10).keys, 40);
    for (let i = 0; i < 5; i++) b.wait(1);
    t.equal(b.open(10).keys, 40, "in staging");
    a.wait(10_500);
    carrier.sendAll(100);
    t.equal(b.open(10).keys, 30, "what the source expires goes there, too");
    const kept = own(a, "{m}35");
    carrier.seal();
    a.wait(3000);
    t.equal(a.open(10).keys, 30, "a sealed slot does not change");
    carrier.sendAll(100);
    t.equal(carrier.own(), null);
    t.equal(b.store.logTimeMs, 5_000_000 + 5);
    carrier.release();
    b.wait(0);
    t.equal(b.read(OP.dbSize), 0, "by the target's time all of them are over");

    const back = new Carrier(b, a, 11, slots);
    a.timeMs = 2_000_000;
    t.equal(b.run(OP.set, KEY, "new", expiryRelative, 60_000) !== null, true);
    back.carry();
    t.equal(a.store.logTimeMs, b.store.logTimeMs, "the higher time of both");
    const [, , deadline] = own(a, KEY) as [string, number, number];
    t.equal(deadline, 5_000_005 + 60_000);
    t.equal((kept as unknown[])[2], 1_000_000 + 36_000);
  },
);

t.test(
  "F5: of records with one deadline and one revision, every replica drops the same ones first",
  async (t) => {
    const a = new Shard("a", 1, [[0, 8191]]);
    const b = new Shard("b", 2, [[8192, 16383]]);
    const names = (from: number, to: number): string[] =>
      Array.from({ length: 4000 }, (_, i) => `k${i}`)
        .filter((key) => slotOfKey(key) >= from && slotOfKey(key) <= to)
        .slice(0, 200);
    const [mine, theirs] = [names(0, 8191), names(8192, 16383)];
    for (let i = 0; i < 200; i++) {
      a.run(OP.set, mine[i] as string, "v", SET_OPTION.expiryAbsolute, 2_000_000);
      b.run(OP.set, theirs[i] as string, "v", SET_OPTION.expiryAbsolute, 2_000_000);
    }
    const moved = rangesOf(...mine.map(slotOfKey)).slice(0, 150);
    new Carrier(a, b, 5, moved).carry();
    b.reload();
    b.timeMs = 2_000_001;
    for (let i = 0; i < 8; i++) b.wait(0); // the replicas are compared behind each batch
    t.equal(b.store.keyCount, 0);
  },
);

t.test(
  "F6, C8: the reply of a write moves with its slot: a retry at the new owner does not repeat it",
  async (t) => {
    const { a, b, carrier } = pair();
    const session = (seq: number, floor: number): TestSession => ({
      client: 3,
      seq,
      floor,
      notAfter: a.timeMs + 50_000,
      after: 0,
    });
    t.same(a.apply([OP.incrBy, [KEY, 5], session(1, 1)]), [5]);
    carrier.import();
    carrier.begin();
    carrier.sendAll();
    t.same(a.apply([OP.incrBy, [KEY, 5], session(2, 1)]), [10]);
    t.same(a.apply([OP.incrBy, ["elsewhere", 1], session(3, 1)]), [1]);
    carrier.seal();
    t.same(a.apply([OP.incrBy, [KEY, 5], session(4, 1)]), [refused]);
    a.apply([OP.incrBy, ["elsewhere", 1], session(5, 1)]);
    carrier.sendAll();
    t.equal(carrier.own(), null);
    carrier.release();
    t.equal(b.open(10).final?.replies, 2, "those of the slot alone");
    t.same(b.apply([OP.incrBy, [KEY, 5], session(2, 1)]), [10], "its reply, not another increment");
    t.same(b.apply([OP.incrBy, [KEY, 5], session(4, 2)]), [15], "the refused one was never executed");
    t.match(b.apply([OP.incrBy, [KEY, 5], session(1, 1)]), [{ error: /^STALE/ }], "below the floor");
    t.equal(b.read(OP.get, KEY), "15");
  },
);

t.test(
  "F6: the floor and the time limit of a client that wrote elsewhere move with every slot",
  async (t) => {
    const { a, b, carrier } = pair();
    const write = (
      seq: number,
      floor: number,
      key: string,
    ): [typeof OP.incrBy, [string, number], TestSession] => [
      OP.incrBy,
      [key, 1],
      { client: 9, seq, floor, notAfter: a.timeMs + 50_000, after: 0 },
    ];
    a.apply(write(1, 1, KEY), write(2, 2, "elsewhere"));
    carrier.carry();
    t.match(
      b.apply(write(1, 1, KEY)),
      [{ error: /^STALE/ }],
      "its reply was acknowledged: it may have been executed",
    );
    t.same(b.apply(write(3, 2, KEY)), [2]);
  },
);

t.test("F7: what was staged and aborted is gone for good, in memory and in images", async (t) => {
  const { a, b, carrier } = pair(500);
  carrier.import();
  carrier.begin();
  carrier.sendAll();
  t.equal(b.read(OP.get, "{m}1") !== undefined && b.store.keyCount, 0, "invisible");
  t.same(b.read(OP.dbSize), 0);
  t.same(b.read(OP.keys, "*"), []);
  const used = b.store.allocatedBytes;
  t.equal(b.step({ kind: "abort", epoch: 10 }), null);
  b.reload(); // before any of it was given back
  t.equal(b.store.keyCount, 0);
  for (const { store } of b.replicas) while (store.tidy());
  t.ok(b.store.allocatedBytes <= used);
  carrier.end();
  t.equal(a.step({ kind: "unseal", epoch: 10 }), null);
  const again = new Carrier(a, b, 11, slots);
  a.run(OP.del, ...Array.from({ length: 490 }, (_, i) => `{m}${i}`));
  again.import();
  b.reload();
  again.begin();
  again.sendAll(500);
  b.reload();
  again.seal();
  again.sendAll();
  t.equal(again.own(), null);
  t.equal(b.store.keyCount, 10);
});

t.test("F8, F9: epochs only grow, and a redirect carries the one it was made by", async (t) => {
  const { a, b, carrier } = pair(2);
  carrier.carry();
  new Carrier(b, a, 20, slots).carry();
  t.same(a.store.slotFate(SLOT), { state: "serving", epoch: 20, movedTo: null });
  t.same(b.store.slotFate(SLOT), { state: "absent", epoch: 20, movedTo: { shard: "a", group: 11 } });
  const late = new Carrier(a, b, 15, slots);
  t.match(late.import(), /later epoch/);
  t.match(late.seal(), /later epoch/);
  const next = new Carrier(a, b, 21, slots);
  next.import();
  t.same(b.store.slotFate(SLOT).movedTo, null, "nobody is sent away from what is on its way here");
  t.equal(b.step({ kind: "abort", epoch: 21 }), null);
  t.same(b.store.slotFate(SLOT), { state: "absent", epoch: 20, movedTo: { shard: "a", group: 11 } });
  t.same(b.store.slotsServed(), { count: 0, ranges: [] });
  t.same(a.store.slotsHeld().ranges.length, 3);
});

t.test("F10: what comes late, twice or for another epoch changes nothing", async (t) => {
  const { a, b, carrier } = pair(5);
  t.equal(b.step({ kind: "abort", epoch: 10 }), null, "an abort for an epoch that nobody has heard of");
  t.match(carrier.import(), /closed: aborted/);
  t.equal(a.step({ kind: "unseal", epoch: 10 }), null);
  t.match(carrier.seal(), /closed: unsealed/);
  const next = new Carrier(a, b, 12, slots);
  next.import();
  const hash = b.store.stateHash();
  t.equal(next.import(), null);
  t.equal(b.store.stateHash(), hash, "again: nothing");
  t.match(new Carrier(a, b, 13, rangesOf(5)).import(), /is open/, "one move comes at a time");
  next.begin();
  next.sendAll();
  next.seal();
  t.match(new Carrier(a, b, 13, rangesOf(5)).seal(), /is open/, "one move goes at a time");
  t.match(a.step({ kind: "release", epoch: 10 }), /closed: unsealed/);
  next.sendAll();
  const owning = next.owning();
  t.match(b.step({ ...owning, epoch: 10 } as typeof owning), /closed/);
  t.match(b.step({ ...owning, n: 7 } as typeof owning), /another attempt/);
  t.match(b.step({ ...owning, chunks: 9 } as typeof owning), /chunks are missing/);
  t.match(b.step({ ...owning, keys: 4 } as typeof owning), /records are not/);
  t.match(b.step({ ...owning, recordsHash: "0".repeat(16) } as typeof owning), /records are not/);
  t.match(b.step({ ...owning, clients: 4 } as typeof owning), /sessions are not/);
  t.equal(b.step(owning), null);
  t.equal(b.step(owning), null);
  t.match(b.step({ kind: "abort", epoch: 12 }), /closed: owned/, "the first outcome is the outcome");
  t.equal(b.phase(12), "owned");
  next.release();
  t.equal(a.step({ kind: "release", epoch: 12 }), null);
  t.match(a.step({ kind: "unseal", epoch: 12 }), /closed: released/);
  t.equal(a.phase(12), "released");
  for (const body of [new Uint8Array(0), Uint8Array.of(1), Uint8Array.of(2, 0, 0), Uint8Array.of(9, 9)])
    t.match(b.move(body), /no step/);
});

t.test(
  "F10: outcomes are forgotten by count, lowest first, and nothing begins at or below them",
  async (t) => {
    const { a, b } = pair();
    for (let epoch = 100; epoch < 100 + CLOSED_MOVES_MAX + 5; epoch++) b.step({ kind: "abort", epoch });
    t.equal(b.store.moves().length, CLOSED_MOVES_MAX);
    t.equal(b.phase(104), "unknown");
    t.match(b.step({ kind: "abort", epoch: 104 }), /long ago/);
    t.match(new Carrier(a, b, 104, slots).import(), /long ago/);
    t.match(new Carrier(a, b, 50, slots).import(), /long ago/);
    b.reload();
    t.match(new Carrier(a, b, 104, slots).import(), /long ago/, "an image keeps it");
    t.equal(new Carrier(a, b, 5000, slots).import(), null);
  },
);

t.test(
  "F12: a flush of the source makes the copy begin anew; one of the target does not touch staging",
  async (t) => {
    for (const whole of [true, false]) {
      const { a, b, carrier } = pair(20);
      if (!whole) b.step({ kind: "abort", epoch: 1 });
      carrier.import();
      carrier.begin();
      carrier.send(200);
      b.run(OP.flushAll);
      const staged = b.open(10).keys;
      t.ok(staged > 0);
      if (whole) a.run(OP.flushAll);
      else {
        const set = new Uint8Array(2048);
        set[SLOT >>> 3] = 1 << (SLOT & 7);
        a.run(OP.set, "elsewhere", "v", 0, 0);
        a.run(OP.flushAll, set);
      }
      t.ok(carrier.copy?.isStale);
      a.run(OP.set, KEY, "after", 0, 0);
      carrier.begin();
      carrier.sendAll();
      carrier.seal();
      t.same(a.run(OP.flushAll), { status: "OK" }, "what is sealed is not flushed");
      carrier.sendAll();
      t.equal(carrier.own(), null);
      carrier.release();
      t.same(b.read(OP.keys, "*"), [KEY]);
    }
  },
);

t.test(
  "F13: a scan goes on at the new owner with the cursor of the old one, and meets every key",
  async (t) => {
    const { a, b, carrier } = pair(300);
    const met: string[] = [];
    let cursor = String(SLOT * 2 ** 32);
    let owner = a;
    for (let calls = 0; calls < 100 && Math.floor(Number(cursor) / 2 ** 32) === SLOT; calls++) {
      const [next, keys] = owner.read(OP.scan, BigInt(cursor), 10, "", "") as [string, string[]];
      met.push(...keys);
      cursor = next;
      if (calls === 10) {
        carrier.carry();
        t.same(a.read(OP.scan, BigInt(cursor), 10, "", ""), refused);
        owner = b;
      }
    }
    t.same(met.sort(), Array.from({ length: 300 }, (_, i) => `{m}${i}`).sort());
  },
);

t.test("versions only grow: the first write at the new owner is above all of the old one", async (t) => {
  const { a, b, carrier } = pair(100);
  const [, before] = own(a, "{m}99") as [string, number];
  carrier.carry();
  t.same(own(b, "{m}99"), ["value 99", before, -1]);
  b.run(OP.set, "{m}99", "new", 0, 0);
  const [, after] = own(b, "{m}99") as [string, number];
  t.ok(after > before);
});

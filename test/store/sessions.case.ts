/** Sessions: a write takes effect once, and what is forgotten was never executed or can no longer be. */
import t from "tap";
import { Prng } from "../../src/base/prng.ts";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { CommandView, OP, SET_OPTION } from "../../src/wire/command.ts";
import { type Command, Driver, type Reply, SETTINGS } from "./driver.ts";
import { frame, settingsBody, type TestSession } from "./frames.ts";
import { reload } from "./images.ts";

const LIFE_MS = 10_000;

/** INCR n as write `seq` of a client, with what matters overridden. */
function incr(driver: Driver, seq: number, session: Partial<TestSession> = {}): Command {
  const notAfter = driver.timeMs + LIFE_MS;
  return [OP.incrBy, ["n", 1], { client: 1, seq, floor: 1, notAfter, after: 0, ...session }];
}

function errorOf(reply: Reply | undefined): string {
  return reply !== null && typeof reply === "object" && "error" in reply
    ? reply.error
    : `no error: ${String(reply)}`;
}

t.test("C8: a retried write takes effect once and its caller gets the first reply", async (t) => {
  const driver = new Driver();
  const write = incr(driver, 1);
  t.same(driver.apply(write), [1]);
  t.same(driver.apply(write), [1], "again, in a later batch");
  t.same(driver.apply(write, write), [1, 1], "and twice in one batch");
  t.same(driver.apply([OP.set, ["n", "100", 0, 0]], write), [{ status: "OK" }, 1], "whatever happened since");
  t.same(driver.run(OP.get, "n"), "100");
  t.same(driver.apply(incr(driver, 2)), [101], "the next one is executed");
});

t.test("C8: every kind of reply is given again as it was", async (t) => {
  const driver = new Driver();
  const at = (seq: number): TestSession => ({
    client: 7,
    seq,
    floor: 1,
    notAfter: driver.timeMs + LIFE_MS,
    after: 0,
  });
  const writes: Command[] = [
    [OP.set, ["a", "x", 0, 0], at(1)],
    [OP.incrBy, ["a", 1], at(2)],
    [OP.getSet, ["a", "9223372036854775806"], at(3)],
    [OP.incrBy, ["a", 1], at(4)],
    [OP.incrBy, ["a", 1], at(5)],
    [OP.set, ["a", "y", SET_OPTION.onlyIfAbsent, 0], at(6)],
    [OP.set, ["a", "y", SET_OPTION.returnRevision, 0], at(7)],
    [OP.getDel, ["a"], at(8)],
    [OP.getDel, ["a"], at(9)],
  ];
  const first = driver.apply(...writes);
  t.same(first.slice(0, 5), [
    { status: "OK" },
    { error: "ERR value is not an integer or out of range" },
    "x",
    9223372036854775807n,
    { error: "ERR increment or decrement would overflow" },
  ]);
  const revision = driver.store.revision;
  t.same(driver.apply(...writes), first);
  t.equal(driver.store.revision, revision, "deduplicated writes take no revision");
});

t.test("C8: a read that rode in the log is not made again: its place in the order is gone", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "x".repeat(2000), 0, 0);
  const session = { client: 1, seq: 1, floor: 1, notAfter: driver.timeMs + LIFE_MS, after: 0 };
  const read: Command = [OP.get, ["a"], session];
  t.same(driver.apply(read), ["x".repeat(2000)]);
  t.match(
    errorOf(driver.apply(read)[0]),
    /^CLUSTERDOWN .*nothing was done/,
    "a read has no effect to tell of",
  );
});

t.test("C8: a long reply is not kept, but the retry learns that the write took effect", async (t) => {
  const driver = new Driver();
  const long = "x".repeat(2000);
  driver.run(OP.set, "a", long, 0, 0);
  const session = { client: 1, seq: 1, floor: 1, notAfter: driver.timeMs + LIFE_MS, after: 0 };
  const write: Command = [OP.getSet, ["a", "short"], session];
  t.same(driver.apply(write), [long], "the first caller gets it whole");
  t.match(errorOf(driver.apply(write)[0]), /^DONE /);
  t.equal(driver.run(OP.get, "a"), "short");
  const limit: Command = [OP.getSet, ["a", "y".repeat(1019)], { ...session, seq: 2 }];
  t.same(driver.apply(limit), ["short"]);
  const kept: Command = [OP.getSet, ["a", "z"], { ...session, seq: 3 }];
  t.same(
    driver.apply(kept, kept),
    ["y".repeat(1019), "y".repeat(1019)],
    "1 KiB with its tag and length is kept",
  );
});

t.test("sessions: below the floor, too late and too far ahead are STALE and change nothing", async (t) => {
  const driver = new Driver();
  t.same(driver.apply(incr(driver, 5, { floor: 5 })), [1]);
  t.match(errorOf(driver.apply(incr(driver, 4))[0]), /^STALE .*acknowledged/);
  t.match(errorOf(driver.apply(incr(driver, 6, { floor: 7 }))[0]), /^STALE .*acknowledged/);
  t.match(errorOf(driver.apply(incr(driver, 6, { notAfter: driver.timeMs - 1 }))[0]), /^STALE .*passed/);
  t.match(errorOf(driver.apply(incr(driver, 6, { notAfter: driver.timeMs + 60_001 }))[0]), /^STALE .*ahead/);
  t.same(driver.apply(incr(driver, 6, { notAfter: driver.timeMs })), [2], "log time has not passed it");
  t.same(driver.apply(incr(driver, 7, { notAfter: driver.timeMs + 60_000 })), [3]);
  t.equal(driver.run(OP.get, "n"), "3");
});

t.test("sessions: a refused write records nothing, not even its floor", async (t) => {
  const driver = new Driver();
  driver.apply(incr(driver, 1));
  const hash = driver.store.stateHash();
  driver.apply(incr(driver, 9, { floor: 9, notAfter: driver.timeMs - 1 }));
  driver.apply(incr(driver, 9, { floor: 9, after: 9 }));
  driver.apply(incr(driver, 9, { client: 2, notAfter: driver.timeMs + 99_999 }));
  t.equal(driver.store.stateHash(), hash);
  t.same(driver.apply(incr(driver, 1)), [1], "seq 1 is still known");
});

t.test("sessions: a write waits for the one before it on its connection", async (t) => {
  const driver = new Driver();
  t.match(errorOf(driver.apply(incr(driver, 3, { after: 2 }))[0]), /^TRYAGAIN /, "2 got lost");
  t.same(driver.apply(incr(driver, 2), incr(driver, 3, { after: 2 })), [1, 2], "both again, in order");
  t.same(driver.apply(incr(driver, 5, { floor: 4, after: 3 })), [3], "what lies below the floor is answered");
  t.match(errorOf(driver.apply(incr(driver, 8, { after: 7 }))[0]), /^TRYAGAIN /);
});

t.test("sessions: a session write touches exactly one slot", async (t) => {
  const driver = new Driver();
  const session = (seq: number) => ({
    client: 1,
    seq,
    floor: 1,
    notAfter: driver.timeMs + LIFE_MS,
    after: 0,
  });
  const error = { error: "ERR a session write must touch exactly one slot" };
  t.same(driver.apply([OP.mset, ["a", "1", "b", "2"], session(1)]), [error]);
  t.same(driver.apply([OP.mset, ["a", "1", "b", "2"], session(1)]), [error], "also when asked again");
  t.same(driver.apply([OP.flushAll, [], session(2)]), [error]);
  t.same(driver.apply([OP.mset, ["{t}a", "1", "{t}b", "2"], session(3)]), [{ status: "OK" }]);
  t.same(driver.apply([OP.rename, ["{t}a", "{t}c", 0], session(4)]), [{ status: "OK" }]);
  t.equal(driver.store.keyCount, 2);
});

t.test("sessions: reads in a batch need no session and leave none", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "1", 0, 0);
  const hash = driver.store.stateHash();
  t.same(driver.run(OP.get, "a"), "1");
  t.equal(driver.store.stateHash(), hash);
});

t.test("C8: a numbered read that is repeated answers as of its first place in the log", async (t) => {
  const driver = new Driver();
  driver.run(OP.set, "a", "before", 0, 0);
  const session = { client: 1, seq: 1, floor: 1, notAfter: driver.timeMs + LIFE_MS, after: 0 };
  t.same(driver.apply([OP.get, ["a"], session]), ["before"]);
  driver.run(OP.set, "a", "behind", 0, 0);
  t.same(driver.apply([OP.get, ["a"], session]), ["before"], "not what was written behind it");
  t.same(driver.run(OP.get, "a"), "behind");
});

t.test("C9: entries go by log time alone, never by count", async (t) => {
  const small = { ...SETTINGS, sessionRepliesMax: 2, sessionsMax: 2 };
  const driver = new Driver(small);
  for (let client = 1; client <= 3; client++) {
    for (let seq = 1; seq <= 3; seq++) driver.apply(incr(driver, seq, { client }));
  }
  for (let client = 1; client <= 3; client++) {
    t.same(driver.apply(incr(driver, 1, { client })), [3 * client - 2], `client ${client} is remembered`);
  }
  t.equal(driver.store.earliestDeadlineMs(), driver.timeMs + LIFE_MS + 1);
  const write = incr(driver, 1);
  driver.wait(LIFE_MS);
  t.same(driver.apply(write), [1], "at its notAfter it is still there");
  driver.wait(1);
  t.match(errorOf(driver.apply(write)[0]), /^STALE .*passed/);
  t.equal(driver.store.earliestDeadlineMs(), -1, "nothing is left of it");
  t.equal(driver.store.stateHash(), recordsOnly(driver));
});

/** The hash of the same records without any session. */
function recordsOnly(driver: Driver): string {
  const other = new Driver();
  for (let i = 0; i < 9; i++) other.run(OP.incrBy, "n", 1);
  t.equal(other.store.revision, driver.store.revision);
  return other.store.stateHash();
}

t.test(
  "C9: three clients, caps of two: the same replies and hash on every replica, reloaded or not",
  async (t) => {
    const random = Prng.fromSeed(9);
    const small = { ...SETTINGS, sessionRepliesMax: 2, sessionsMax: 2 };
    let a = new Driver(small);
    const b = new Driver(small);
    const floors = [0, 1, 1, 1];
    const differing: number[] = [];
    for (let i = 0; i < 600; i++) {
      const client = 1 + random.below(3);
      const floor = (floors[client] as number) + (random.chance(1, 3) ? 1 : 0);
      floors[client] = floor;
      const session = {
        client,
        seq: floor + random.below(4),
        floor,
        notAfter: a.timeMs + random.between(-5, 3000),
        after: random.chance(1, 4) ? floor + random.below(3) : 0,
      };
      const write: Command = [OP.append, [`k${random.below(3)}`, "x"], session];
      const life = random.chance(1, 20) ? 2000 : random.below(40);
      a.timeMs += life;
      b.timeMs += life;
      if (JSON.stringify(a.apply(write)) !== JSON.stringify(b.apply(write))) differing.push(i);
      b.read(b.timeMs, OP.get, "k1");
      if (random.chance(1, 25)) a = reload(a);
    }
    t.equal(a.store.stateHash(), b.store.stateHash());
    t.equal(a.store.earliestDeadlineMs(), b.store.earliestDeadlineMs());
  },
);

t.test("C9: against a plain list of all that was ever executed", async (t) => {
  const random = Prng.fromSeed(19);
  const driver = new Driver();
  const executed = new Map<string, Reply>();
  const wrong: string[] = [];
  let count = 0;
  for (let i = 0; i < 3000; i++) {
    driver.timeMs += random.below(20);
    const client = random.below(20);
    const base = 1 + Math.floor(i / 100);
    const seq = random.chance(1, 50) ? random.below(2 ** 31) : base + random.below(12);
    const floor = Math.max(1, Math.min(seq, base));
    const reply = driver.apply(incr(driver, seq, { client, floor }))[0] as Reply;
    const name = `${client}/${seq}`;
    if (executed.has(name)) {
      // The floor or the time may have passed it; else it must be the first reply.
      if (typeof reply === "number" && reply !== executed.get(name)) wrong.push(name);
    } else if (typeof reply === "number") {
      executed.set(name, reply);
      count++;
    } else if (!errorOf(reply).startsWith("STALE ")) {
      wrong.push(name);
    }
  }
  t.same(wrong, []);
  t.equal(driver.run(OP.get, "n"), String(count), "as many increments as writes executed");
});

t.test(
  "C9: a client that nobody hears of any more goes, a few at a time, in order of its notAfter",
  async (t) => {
    const driver = new Driver();
    for (let client = 0; client < 200; client++) driver.apply(incr(driver, 1, { client }));
    t.equal(driver.store.earliestDeadlineMs(), driver.timeMs + LIFE_MS + 1);
    const hashes = new Set<string>();
    driver.wait(LIFE_MS + 1);
    for (let i = 0; i < 20 && driver.store.earliestDeadlineMs() >= 0; i++) {
      hashes.add(driver.store.stateHash());
      driver.wait(0);
    }
    t.equal(driver.store.earliestDeadlineMs(), -1);
    t.ok(hashes.size >= 3, "200 clients and replies took several batches of 64");
  },
);

t.test("sessions: caps are asked about at the door and come from the replicated settings", async (t) => {
  const driver = new Driver({ ...SETTINGS, sessionRepliesMax: 3, sessionsMax: 5 });
  const refusal = (session: Partial<TestSession>): string | null => {
    const [op, args, block] = incr(driver, 99, session);
    const view = new CommandView();
    const bytes = frame(op, args, block);
    t.equal(view.read(bytes, 0, bytes.length), null);
    return driver.store.sessionRefusal(view);
  };
  for (let seq = 1; seq <= 3; seq++) driver.apply(incr(driver, seq));
  t.match(refusal({}), /^TRYAGAIN .*client/);
  t.equal(refusal({ floor: 3 }), null, "it frees what is below its floor");
  t.equal(refusal({ seq: 2 }), null, "its reply is kept: it is only said again");
  t.equal(refusal({ client: 2 }), null);
  driver.apply(incr(driver, 1, { client: 2 }), incr(driver, 2, { client: 2 }));
  t.match(refusal({ client: 3 }), /^TRYAGAIN .*shard/);
  driver.applyEntry(
    ENTRY_KIND.settings,
    settingsBody({ ...SETTINGS, sessionsMax: 100, sessionRepliesMax: 4 }),
  );
  t.equal(refusal({}), null);
  driver.apply(incr(driver, 4, { floor: 4 }));
  t.equal(refusal({ client: 3 }), null);
});

/** The state machine over random commands: replicas stay equal, images are exact, counters only rise. */
import t from "tap";
import { concat, utf8, Writer } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { CONTROL_KEY, type ControlCommand, writeCommand } from "../../src/controlplane/commands.ts";
import { hashOf } from "../../src/controlplane/image.ts";
import { MetaStore } from "../../src/controlplane/meta_store.ts";
import { isOpen, type MetaState, REQUESTS_MAX } from "../../src/controlplane/state.ts";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { COMMAND_BYTES_MAX, CommandView, OP } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { compareVersions } from "../../src/wire/control_plane.ts";
import { validateCommand } from "../../src/wire/validate.ts";
import { init, old, plan, register, SMALL } from "./bodies.ts";
import { batchOf, bootstrap, Driver, id, imageOf, Replies, restoreInto, seal } from "./driver.ts";
import { RandomCommands } from "./random_commands.ts";

const SEEDS = 6;
const BATCHES = 250;

/** Random batches that fit the driver's state as it goes. */
function drive(seed: number, each: (driver: Driver, batch: Uint8Array, before: MetaState) => void): Driver {
  const driver = new Driver();
  const random = Prng.fromSeed(seed);
  const commands = new RandomCommands(random.fork("commands"));
  for (let i = 0; i < BATCHES; i++) {
    const before = driver.state;
    const list: ControlCommand[] = [];
    for (let k = random.between(1, 3); k > 0; k--) list.push(commands.next(before));
    each(driver, batchOf(driver.store.appliedIndex + 1, list), before);
  }
  return driver;
}

const numbersOf = ({ appliedIndex, appliedTerm, logTimeMs, revision }: MetaStore): number[] => [
  appliedIndex,
  appliedTerm,
  logTimeMs,
  revision,
];

t.test("two stores that apply the same log are equal, also if one was an image in between", async (t) => {
  let finished = 0;
  let restored = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    let other = new MetaStore();
    other.apply(1, 0, bootstrap(), new Replies());
    let count = 0;
    const one = drive(seed, (driver, batch) => {
      const replies = new Replies();
      const texts = driver.apply(batch);
      other.apply(other.appliedIndex + 1, 1, batch, replies);
      if (replies.texts.join() !== texts.join()) t.same(replies.texts, texts, "replies are equal");
      if (++count % 50 !== 0) return;
      const loaded = new MetaStore();
      t.equal(restoreInto(loaded, imageOf(other)), null);
      t.equal(loaded.stateHash(), other.stateHash());
      t.same(numbersOf(loaded), numbersOf(other));
      other = loaded;
    });
    t.equal(other.stateHash(), one.store.stateHash(), `seed ${seed}`);
    finished += one.state.finished.length;
    restored += one.state.version.restore;
  }
  t.ok(finished > 5 && restored > 5, "moves were finished, and states restored");
});

/** All but who asked. */
function isChanged(now: MetaState, before: MetaState): boolean {
  return Object.keys(now).some((key) => {
    const field = key as keyof MetaState;
    return field !== "requests" && now[field] !== before[field];
  });
}

t.test(
  "F9, F10: epochs, plan numbers and map versions never go back, and no epoch is issued twice",
  async (t) => {
    let attempts = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const issued = new Map<number, string>();
      drive(seed, (driver, batch, before) => {
        driver.apply(batch);
        const now = driver.state;
        const wrong = (holds: boolean, rule: string): void => {
          if (!holds) t.fail(`seed ${seed}, index ${driver.store.appliedIndex}: ${rule}`);
        };
        wrong(now.epoch >= before.epoch && now.planNumber >= before.planNumber, "counters rise");
        const versions = compareVersions(now.version, before.version);
        wrong(isChanged(now, before) ? versions > 0 : versions === 0, "what changes has a new version");
        for (let slot = 0; slot < 16_384; slot += 37)
          wrong(now.assignment.epochAt(slot) >= before.assignment.epochAt(slot), `slot ${slot} went back`);
        for (const [at, { epoch, tries }] of (now.plan?.moves ?? []).entries()) {
          if (epoch === 0) continue;
          const attempt = `${now.plan?.number}/${at}/${tries}`;
          wrong((issued.get(epoch) ?? attempt) === attempt, "one attempt to each epoch");
          issued.set(epoch, attempt);
        }
      });
      attempts += issued.size;
    }
    t.ok(attempts > 20, "moves were begun");
  },
);

t.test("F2: at most one move at a time gives from a shard, and one takes into it", async (t) => {
  let most = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    drive(seed, (driver, batch) => {
      driver.apply(batch);
      const open = driver.state.plan?.moves.filter(isOpen) ?? [];
      if (new Set(open.map(({ from }) => from)).size < open.length) t.fail(`seed ${seed}: two from one`);
      if (new Set(open.map(({ to }) => to)).size < open.length) t.fail(`seed ${seed}: two into one`);
      most = Math.max(most, open.length);
    });
  }
  t.ok(most > 1, "some ran at the same time");
});

t.test("F3: every command can be sent again at once, and a request is carried out once", async (t) => {
  let requests = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const driver = new Driver();
    const commands = new RandomCommands(Prng.fromSeed(seed));
    for (let i = 0; i < BATCHES; i++) {
      const command = commands.next(driver.state);
      const [reply] = driver.batch([command]);
      const after = driver.state;
      const [again] = driver.batch([command]);
      const isRefused = reply?.startsWith("ok") !== true;
      if (command.request !== null) {
        requests++;
        if (again !== reply || driver.state !== after)
          t.equal(again, reply, `${command.body.kind}: the same reply`);
      } else if (isRefused && isChanged(driver.state, after))
        t.fail(`${command.body.kind}: refused, then not`);
      else if (!isRefused && isSeen(command) && isChanged(driver.state, after))
        t.fail(`${command.body.kind}: what was seen twice changed something twice`);
    }
  }
  t.ok(requests > 100);
});

/** Commands that say what was seen need no request: they change nothing when it is known. */
function isSeen({ body }: ControlCommand): boolean {
  return ["formed", "start", "outcome", "assign", "retire", "restored", "adopt"].includes(body.kind);
}

t.test("a transition leaves the state before it as it was", async (t) => {
  let count = 0;
  drive(3, (driver, batch, before) => {
    const hash = count++ % 5 === 0 ? hashOf(before) : null;
    driver.apply(batch);
    if (hash !== null) t.equal(hashOf(before), hash);
  });
});

t.test("D13: an image is exact at its index while commands go on between its chunks", async (t) => {
  const driver = drive(5, (one, batch) => void one.apply(batch));
  const { store } = driver;
  const expected = [store.stateHash(), store.appliedIndex];
  const source = store.beginSnapshot();
  const chunks: Uint8Array[] = [];
  for (let chunk = source.next(); chunk !== null; chunk = source.next()) {
    chunks.push(chunk.slice());
    driver.run(register(`n${chunks.length + 20}`));
  }
  source.close();
  t.not(store.stateHash(), expected[0]);
  const loaded = new MetaStore();
  t.equal(restoreInto(loaded, chunks), null);
  t.same([loaded.stateHash(), loaded.appliedIndex], expected);
});

t.test(
  "D14: an image cut anywhere, or with any byte changed, is refused and leaves the state alone",
  async (t) => {
    const driver = new Driver();
    for (const body of SMALL) driver.run(body, id(body.kind));
    const image = concat(imageOf(driver.store));
    const store = new MetaStore();
    const before = store.stateHash();
    const sink = store.beginRestore();
    for (let at = 0; at < image.length; at++) {
      if (sink.check() === null || sink.finish() === null) t.fail(`cut at ${at}`);
      if (sink.write(image.subarray(at, at + 1)) !== null) t.fail(`refused at ${at}`);
    }
    t.equal(sink.check(), null, "the whole one is taken");
    for (let at = 0; at < image.length; at += 5) {
      const wrong = image.slice();
      wrong[at] = (wrong[at] as number) ^ (1 << (at % 8));
      if (restoreInto(store, [wrong]) === null) t.fail(`changed at ${at}`);
    }
    t.equal(store.stateHash(), before);
    t.type(restoreInto(store, [image, Uint8Array.of(0)]), "string", "nothing may follow");
    for (const size of [7, 100, image.length]) {
      const loaded = new MetaStore();
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < image.length; at += size) chunks.push(image.subarray(at, at + size));
      t.equal(restoreInto(loaded, chunks), null, `chunks of ${size}`);
      t.equal(loaded.stateHash(), driver.store.stateHash());
    }
  },
);

t.test("an image's frames come in their order, each kind complete", async (t) => {
  const driver = new Driver();
  for (const body of SMALL) driver.run(body);
  const chunks = imageOf(driver.store);
  t.ok(chunks.length > 4);
  for (let i = 0; i < chunks.length; i++) {
    const swapped = chunks.with(i, chunks[0] as Uint8Array).with(0, chunks[i] as Uint8Array);
    if (i > 0) t.type(restoreInto(new MetaStore(), swapped), "string", `frame ${i} first`);
    t.type(restoreInto(new MetaStore(), chunks.toSpliced(i, 1)), "string", `without frame ${i}`);
  }
});

t.test("frames that hold no command of the control plane are answered, and change nothing", async (t) => {
  const driver = new Driver();
  const writer = new Writer();
  const encoder = new CommandEncoder(writer);
  encoder.begin(OP.set);
  encoder.arg(utf8(CONTROL_KEY));
  encoder.arg(utf8("noise"));
  encoder.argI64(0);
  encoder.argI64(0);
  encoder.end();
  encoder.begin(OP.flushAll);
  encoder.end();
  encoder.begin(OP.get);
  encoder.arg(utf8("other"));
  encoder.end();
  const hash = driver.store.stateHash();
  const replies = driver.apply(seal(2, ENTRY_KIND.commands, 5, writer.copy()));
  t.same(replies, [
    "INVALID command: not MessagePack of this form",
    "INVALID command: a frame of the control plane",
    "nil",
    "ERR malformed command in batch",
    "ERR malformed command in batch",
  ]);
  t.equal(driver.store.stateHash(), hash);
});

t.test("a command's frame passes a door's checks; one that is too large is not written", async (t) => {
  const writer = new Writer();
  const encoder = new CommandEncoder(writer);
  const view = new CommandView();
  const size = writeCommand(encoder, { request: null, body: register("n1") });
  t.equal(view.read(writer.bytes, 0, size), null);
  t.equal(validateCommand(view), null);
  writer.clear();
  const nodes = Array.from({ length: 15 }, (_, i) => `a-node-with-a-rather-long-name-${i}`);
  const body = init(1, nodes);
  const shards = Array.from({ length: 1000 }, (_, i) => ({
    ...(body.shards[0] as (typeof body.shards)[0]),
    id: `s${i}`,
  }));
  t.equal(writeCommand(encoder, { request: null, body: { ...body, shards } }), 0);
  t.equal(writer.length, 0);
  const all = init(1, ["n1", "n2", "n3"]);
  const ranges = Array.from({ length: 8192 }, (_, i) => [2 * i, 2 * i] as const);
  t.ok(writeCommand(encoder, { request: null, body: { ...all, slots: [ranges] } }) < COMMAND_BYTES_MAX / 8);
});

t.test("requests are remembered up to their bound, in images too", async (t) => {
  const driver = new Driver();
  for (let i = 0; i < REQUESTS_MAX + 50; i++)
    driver.run({ kind: "settings", settings: driver.state.settings }, id(`${i}`));
  t.equal(driver.state.requests.size, REQUESTS_MAX);
  t.notOk(driver.state.requests.has(id("49")));
  t.ok(driver.state.requests.has(id("50")));
  const loaded = new MetaStore();
  t.equal(restoreInto(loaded, imageOf(driver.store)), null);
  t.equal(loaded.stateHash(), driver.store.stateHash());
  t.equal(loaded.state.requests.keys().next().value, id("50"), "the oldest is still the first to go");
});

t.test("a plan of all slots fits into one command, and its chunks stay small", async (t) => {
  const driver = new Driver();
  for (const body of SMALL) driver.run(body);
  const moves = Array.from({ length: 128 }, (_, i) => ({
    from: i < 64 ? "s1" : "s2",
    to: i < 64 ? "s2" : "s1",
    slots: Array.from({ length: 64 }, (__, k) => [128 * i + 2 * k, 128 * i + 2 * k] as const),
  }));
  t.equal(driver.run(plan(2, old("s1", "s2"), moves)), "ok 2");
  t.equal(driver.state.plan?.moves.length, 128);
  const chunks = imageOf(driver.store);
  t.ok(Math.max(...chunks.map(({ length }) => length)) < 64 * 1024);
  t.equal(restoreInto(new MetaStore(), chunks), null);
});

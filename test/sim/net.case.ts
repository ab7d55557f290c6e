import t from "tap";
import { bytesEqual, concat, utf8 } from "../../src/base/bytes.ts";
import type { Connection, ConnectionEvents } from "../../src/platform/platform.ts";
import { NET_DEFAULT, type NetKnobs, Network } from "../../src/sim/net.ts";
import { Process, World } from "../../src/sim/world.ts";

/** One end that remembers all it is told. */
class End implements ConnectionEvents {
  readonly parts: Uint8Array[] = [];
  readonly said: string[] = [];
  connection: Connection | null = null;

  onOpen(): void {
    this.said.push("open");
  }
  onData(bytes: Uint8Array): void {
    this.parts.push(bytes.slice());
  }
  onDrain(): void {
    this.said.push("drain");
  }
  onClose(reason: string): void {
    this.said.push(`close: ${reason}`);
  }
  get received(): Uint8Array {
    return concat(this.parts);
  }
}

type Pair = { world: World; net: Network; a: Process; b: Process; caller: End; callee: End };

/** Machines 0 and 1; 1 listens on port 7, 0 has dialled it. */
function pair(seed: number, knobs: Partial<NetKnobs> = {}): Pair {
  const world = new World(seed);
  const net = new Network(world, { ...NET_DEFAULT, ...knobs });
  const a = new Process(0, 0);
  const b = new Process(1, 0);
  for (const machine of [0, 1]) {
    net.addHost(`n${machine}`, machine);
    net.machineUp(machine);
  }
  const callee = new End();
  const caller = new End();
  let listening = false;
  net.attach(b).listen(
    "n1",
    7,
    (connection) => {
      connection.events = callee;
      callee.connection = connection;
    },
    () => {
      listening = true;
    },
  );
  world.runUntil(1_000_000, () => listening);
  caller.connection = net.attach(a).dial("n1", 7, caller);
  world.runUntil(1_000_000, () => caller.said.length > 0);
  return { world, net, a, b, caller, callee };
}

const numbered = (size: number): Uint8Array => new Uint8Array(size).map((_, i) => (i * 31) & 0xff);

t.test("bytes arrive in order, whole and once, in any pieces", async (t) => {
  for (let seed = 0; seed < 40; seed++) {
    const knobs = seed % 2 === 0 ? { fragmentPerMillion: 900_000, fragmentBytes: [1, 5] as const } : {};
    const { world, caller, callee } = pair(seed, { ...knobs, windowBytes: [64, 1000] });
    const sent = [numbered(3000), utf8("x"), numbered(500)];
    for (const bytes of sent) caller.connection?.send(bytes);
    callee.connection?.send(utf8("hello"));
    world.run(world.nowUs + 10_000_000);
    t.ok(bytesEqual(callee.received, concat(sent)));
    t.ok(bytesEqual(caller.received, utf8("hello")));
    t.equal(caller.connection?.queuedBytes(), 0);
  }
});

t.test(
  "H11: what onData was given is overwritten afterwards, and lies somewhere inside its buffer",
  async (t) => {
    const { world, caller, callee } = pair(1, { fragmentPerMillion: 0 });
    const kept: Uint8Array[] = [];
    callee.onData = (bytes) => kept.push(bytes);
    caller.connection?.send(utf8("secret"));
    world.run(world.nowUs + 1_000_000);
    t.same([...(kept[0] ?? [])], [0xdb, 0xdb, 0xdb, 0xdb, 0xdb, 0xdb]);
    t.not(kept[0]?.byteOffset, 0);
  },
);

t.test("a buffer changed before it was drained arrives changed, in some seeds", async (t) => {
  let spoiled = 0;
  for (let seed = 0; seed < 30; seed++) {
    const { world, caller, callee } = pair(seed);
    const bytes = utf8("good");
    caller.connection?.send(bytes);
    if ((caller.connection?.queuedBytes() ?? 0) > 0) bytes.fill(33);
    world.run(world.nowUs + 1_000_000);
    if (callee.received[0] === 33) spoiled++;
  }
  t.ok(spoiled > 3, `${spoiled} of 30`);
});

t.test("H7: send says false above the cap and onDrain follows when the reader reads again", async (t) => {
  const { world, caller, callee } = pair(3, { sendCapBytes: 1000, windowBytes: [500, 500] });
  callee.connection?.pause();
  world.run(world.nowUs + 10_000);
  t.ok(caller.connection?.send(numbered(900)));
  t.notOk(caller.connection?.send(numbered(2000)));
  world.run(world.nowUs + 1_000_000);
  t.ok((caller.connection?.queuedBytes() ?? 0) > 1000, "a slow reader holds the bytes back");
  t.same(caller.said, ["open"]);
  callee.connection?.resume();
  world.run(world.nowUs + 10_000_000);
  t.same(caller.said, ["open", "drain"]);
  t.equal(callee.received.length, 2900);
});

t.test("a cut link holds bytes back without loss; one-way cuts leave the other way open", async (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const { world, net, caller, callee } = pair(seed);
    net.setCut(0, 1, true);
    caller.connection?.send(utf8("to b"));
    callee.connection?.send(utf8("to a"));
    world.run(world.nowUs + 2_000_000);
    t.equal(callee.received.length, 0);
    t.ok(bytesEqual(caller.received, utf8("to a")));
    net.setCut(0, 1, false);
    world.run(world.nowUs + 2_000_000);
    t.ok(bytesEqual(callee.received, utf8("to b")));
    t.same([...caller.said, ...callee.said], ["open"]);
  }
});

t.test("H8: a cut that lasts ends in a time-out for whoever has something to say", async (t) => {
  const { world, net, caller, callee } = pair(4);
  net.setCut(0, 1, true);
  net.setCut(1, 0, true);
  caller.connection?.send(utf8("anyone?"));
  world.run(world.nowUs + 60_000_000);
  t.same(caller.said, ["open", "close: ETIMEDOUT"]);
  t.same(callee.said, [], "the other side knows nothing: half-open");
  net.setCut(0, 1, false);
  net.setCut(1, 0, false);
  callee.connection?.send(utf8("still there?"));
  world.run(world.nowUs + 60_000_000);
  t.same(callee.said, ["close: ECONNRESET"]);
});

t.test("close sends what is queued first, and each side hears of the end exactly once, last", async (t) => {
  for (let seed = 0; seed < 30; seed++) {
    const { world, caller, callee } = pair(seed, { windowBytes: [100, 2000] });
    caller.connection?.send(numbered(5000));
    callee.connection?.send(numbered(300));
    caller.connection?.close();
    caller.connection?.send(utf8("too late"));
    world.run(world.nowUs + 30_000_000);
    t.ok(bytesEqual(callee.received, numbered(5000)));
    t.ok(bytesEqual(caller.received, numbered(300)));
    t.equal(caller.said.filter((said) => said.startsWith("close")).length, 1);
    t.equal(callee.said.filter((said) => said.startsWith("close")).length, 1);
  }
});

t.test("H5: destroyed and reset connections deliver a prefix and then end", async (t) => {
  const lengths = new Set<number>();
  for (let seed = 0; seed < 40; seed++) {
    const { world, net, caller, callee } = pair(seed, {
      windowBytes: [400, 400],
      fragmentPerMillion: 500_000,
    });
    for (let i = 0; i < 10; i++) caller.connection?.send(numbered(100));
    world.run(world.nowUs + (seed % 10) * 60);
    if (seed % 2 === 0) net.resetBetween(0, 1);
    else caller.connection?.destroy();
    world.run(world.nowUs + 30_000_000);
    const whole = concat(Array.from({ length: 10 }, () => numbered(100)));
    t.ok(bytesEqual(callee.received, whole.subarray(0, callee.received.length)), "a prefix");
    lengths.add(callee.received.length);
    t.match(callee.said.at(-1), /^close/);
    t.match(caller.said.at(-1), /^close/);
  }
  t.ok(lengths.size > 5, "cut in many places");
});

t.test("dialling nobody is refused, an unknown name not found, a dead machine times out", async (t) => {
  const { world, net, a } = pair(1);
  const ends = [new End(), new End(), new End()] as const;
  net.attach(a).dial("n1", 8, ends[0]);
  net.attach(a).dial("nowhere", 8, ends[1]);
  net.machineStopped(1, true);
  net.attach(a).dial("n1", 7, ends[2]);
  world.run(world.nowUs + 120_000_000);
  t.same(
    ends.map((end) => end.said),
    [["close: ETIMEDOUT"], ["close: ENOTFOUND"], ["close: ETIMEDOUT"]],
  );
  net.machineUp(1);
  const refused = new End();
  net.attach(a).dial("n1", 7, refused);
  world.run(world.nowUs + 1_000_000);
  t.same(refused.said, ["close: ECONNREFUSED"]);
});

t.test("a killed process's connections end; a machine without power just falls silent", async (t) => {
  for (const power of [false, true]) {
    const { world, net, b, caller } = pair(2);
    b.alive = false;
    net.machineStopped(1, power);
    world.run(world.nowUs + 1_000_000);
    t.equal(caller.said.length, power ? 1 : 2, `power ${power}: ${caller.said}`);
    net.machineUp(1);
    caller.connection?.send(utf8("hello?"));
    world.run(world.nowUs + 60_000_000);
    t.match(caller.said.at(-1), /^close/);
  }
});

t.test("a paused process accepts by its kernel, and reads all when it goes on", async (t) => {
  const { world, net, a, b, callee } = pair(5);
  b.pausedUntilUs = world.nowUs + 5_000_000;
  const second = new End();
  const connection = net.attach(a).dial("n1", 7, second);
  world.run(world.nowUs + 1_000_000);
  t.same(second.said, ["open"]);
  connection.send(utf8("waiting"));
  world.run(world.nowUs + 1_000_000);
  t.equal(callee.received.length, 0);
  world.run(world.nowUs + 10_000_000);
  t.ok(bytesEqual(callee.received, utf8("waiting")));
});

t.test("a slow link carries so many bytes a millisecond", async (t) => {
  const { world, net, caller, callee } = pair(6, { windowBytes: [1_000_000, 1_000_000] });
  net.setSlow(0, 1, 50_000, 10);
  const start = world.nowUs;
  caller.connection?.send(numbered(10_000));
  world.runUntil(start + 60_000_000, () => callee.received.length === 10_000);
  t.ok(world.nowUs - start >= 1_000_000, "10,000 bytes at 10 a millisecond take a second");
});

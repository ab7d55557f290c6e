import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import { runTask } from "../../src/base/task.ts";
import { readFile, replaceFile } from "../../src/platform/files.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { Network } from "../../src/sim/net.ts";
import { Machine } from "../../src/sim/platform.ts";
import { World } from "../../src/sim/world.ts";

function machine(seed: number): { world: World; machine: Machine } {
  const world = new World(seed);
  return { world, machine: new Machine(world, new Network(world), 0, "n0") };
}

t.test("ticks come one at a time, late by what they say, and never in a burst after a pause", async (t) => {
  const { world, machine: m } = machine(1);
  const ticks: { atMs: number; lateMs: number }[] = [];
  m.clock.driftPpm = 500;
  m.start(({ clock }) => clock.ticks(10, (lateMs) => ticks.push({ atMs: clock.monotonicMs(), lateMs })));
  world.run(1_000_000);
  t.ok(Math.abs(ticks.length - 100) <= 1, `${ticks.length} ticks in a second`);
  t.ok(ticks.every(({ lateMs }) => lateMs >= 0 && lateMs < 1));
  ticks.length = 0;
  m.pause(2_000_000);
  world.run(3_009_000);
  t.ok(ticks.length <= 2, "200 were missed");
  t.ok((ticks[0]?.lateMs ?? 0) > 1_900);
});

t.test("monotonic time drifts and never goes back; wall time steps", async (t) => {
  const { world, machine: m } = machine(2);
  let platform: Platform | null = null;
  m.clock.driftPpm = -500;
  m.start((given) => {
    platform = given;
  });
  world.run(1_000_000);
  const { clock } = platform as unknown as Platform;
  t.equal(clock.monotonicMs(), 999.5);
  const wall = clock.wallMs();
  m.stepWallClock(-3_600_000);
  t.equal(clock.wallMs(), wall - 3_600_000);
  t.equal(clock.monotonicMs(), 999.5);
});

t.test("a program restarts on the disk that its predecessor left", async (t) => {
  const { world, machine: m } = machine(3);
  m.start(({ disk }) => runTask(replaceFile(disk, "/", "state", utf8("kept")), () => {}));
  world.run(1_000_000);
  m.powerFailure();
  t.notOk(m.running);
  let found: Uint8Array | null = null;
  m.start(({ disk }) => runTask(readFile(disk, "/state", 100), (_, value) => (found = value)));
  world.run(2_000_000);
  t.same(found, utf8("kept"));
});

t.test("incarnations draw their own luck, and log into the trace", async (t) => {
  const { world, machine: m } = machine(4);
  const draws: number[] = [];
  const program = ({ random, log }: Platform): void => {
    draws.push(random.u32());
    log.write("info", "started", { draws: draws.length });
  };
  m.start(program);
  world.run(1_000);
  m.kill();
  m.start(program);
  world.run(2_000);
  t.equal(new Set(draws).size, 2);
  t.ok(world.trace.events > 4);
});

t.test("turns run once, after what is ready now", async (t) => {
  const { world, machine: m } = machine(5);
  const ran: string[] = [];
  m.start(({ clock }) => {
    clock.turn(() => ran.push("turn"));
    ran.push("now");
  });
  world.run(10_000);
  t.same(ran, ["now", "turn"]);
});

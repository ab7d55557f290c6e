/** Power failures: at every disk operation of a life, and at random over many lives. */
import t from "tap";
import { NucleusError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import { MemoryDisk, type Op } from "./memory_disk.ts";
import { textOf } from "./oracle.ts";
import { Workload } from "./workload.ts";
import { DIR, entryOf, SEGMENT_BYTES, World } from "./world.ts";

/** Runs `turns` turns of a node; the disk does between none and a few operations after each. */
function live(workload: Workload, random: Prng, turns: number): void {
  const { world } = workload;
  for (let turn = 0; turn < turns && !world.disk.dead; turn++) {
    const appends = random.below(random.chance(1, 5) ? 40 : 6);
    for (let i = 0; i < appends; i++) workload.step();
    world.wal.submit();
    if (random.chance(1, 10)) world.wal.tick(60);
    for (let i = random.below(4); i > 0; i--) world.disk.step();
    if (random.chance(1, 20)) world.disk.pump();
  }
}

/** Starts on what a power failure leaves; the start itself may be cut short once more. */
function restart(workload: Workload, random: Prng): string | null {
  const { world } = workload;
  world.disk = world.disk.crash(random);
  if (random.chance(1, 2)) {
    const stop = random.between(1, 40);
    world.disk.fault = (op) => (op.number >= stop ? "crash" : null);
    try {
      world.openOnly();
    } catch (error) {
      if (!world.disk.dead) return `a start failed: ${(error as Error).message}`;
    }
    world.disk = world.disk.crash(random);
  }
  try {
    world.open();
  } catch (error) {
    return `a start failed: ${(error as Error).message}`;
  }
  return workload.judge();
}

t.test("D1 D7 D12 B9: random lives with power failures give back all that was vouched for", async (t) => {
  const seeds = process.env.NUCLEUS_TEST_STRICT === "1" ? 200 : 30;
  let restarts = 0;
  let torn = 0;
  let shortened = 0;
  let rotated = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const random = Prng.fromSeed(seed);
    const world = new World(new MemoryDisk(), undefined, undefined, seed).open();
    const workload = new Workload(world, random.fork("work"));
    for (let life = 0; life < 8; life++) {
      world.disk.order = random.chance(1, 2) ? (waiting) => random.below(waiting.length) : null;
      live(workload, random, random.between(5, 120));
      if (world.wal.endLsn > (life + 2) * SEGMENT_BYTES) rotated++;
      if (world.failures.length > 0) t.fail(`seed ${seed}: ${world.failures[0]?.message}`);
      const wrong = restart(workload, random);
      if (wrong !== null) {
        t.fail(`seed ${seed}, life ${life}: ${wrong}`);
        return;
      }
      restarts++;
      if (world.recovered.tornBytes > 0) torn++;
    }
    shortened += workload.oracle.shortened;
  }
  t.ok(shortened > restarts / 5, `${shortened} of ${restarts} restarts lost unsynced records`);
  t.ok(torn > 5, `${torn} found records behind the cut`);
  t.ok(rotated > restarts / 10, `${rotated} lives ended in a later segment`);
});

/** A life of fixed steps: three groups, two rotations, freed segments, a closed replica, idle marks. */
function script(workload: Workload): void {
  const random = Prng.fromSeed(77);
  workload.bodyBytesMax = 12_000;
  for (let turn = 0; turn < 80 && !workload.world.disk.dead; turn++) {
    for (let i = random.below(6); i >= 0; i--) workload.step();
    workload.world.wal.submit();
    if (turn % 10 === 9) workload.world.wal.tick(60);
    workload.world.disk.pump();
  }
}

t.test("D7 D8 D9 D12: a crash at every single operation of a life with rotations", async (t) => {
  const ops: Op[] = [];
  const complete = new World();
  complete.disk.fault = (op) => {
    ops.push(op);
    return null;
  };
  complete.open();
  script(new Workload(complete, Prng.fromSeed(5)));
  t.ok(complete.wal.endLsn > 3 * SEGMENT_BYTES, "the life rotates");
  const kinds = new Set(ops.map((op) => op.kind));
  for (const kind of ["pwrite", "datasync", "rename", "syncDir"] as const)
    t.ok(kinds.has(kind), `it has a ${kind}`);

  for (let stop = 1; stop <= ops.length; stop++) {
    const world = new World();
    world.disk.fault = (op) => (op.number === stop ? "crash" : null);
    let workload: Workload | null = null;
    try {
      world.open();
      workload = new Workload(world, Prng.fromSeed(5));
      script(workload);
    } catch (error) {
      if (!world.disk.dead) throw error;
    }
    for (const seed of [stop, stop + 100_000]) {
      const after = world.disk.crash(Prng.fromSeed(seed));
      const again = new World(after);
      try {
        again.open();
      } catch (error) {
        t.fail(`crash before operation ${stop} (${ops[stop - 1]?.kind}): ${(error as Error).message}`);
        return;
      }
      const text = textOf(again.recovered.groups, again.recovered.tombstones);
      const wrong = workload === null ? (text === "" ? null : text) : workload.oracle.check(text);
      if (wrong !== null) {
        t.fail(`crash before operation ${stop} (${ops[stop - 1]?.kind} ${ops[stop - 1]?.path}): ${wrong}`);
        return;
      }
    }
  }
  t.pass(`${ops.length} crash points`);
});

t.test("a second power failure right after a start changes nothing", async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = Prng.fromSeed(seed);
    const world = new World(new MemoryDisk(), undefined, undefined, seed).open();
    const workload = new Workload(world, random.fork("work"));
    live(workload, random, 60);
    // The process dies first: unsynced bytes are still there to be read, and must not be trusted.
    world.disk = world.disk.kill();
    world.openOnly();
    const first = textOf(world.recovered.groups, world.recovered.tombstones);
    world.crash(seed);
    t.equal(textOf(world.recovered.groups, world.recovered.tombstones), first);
  }
});

t.test("D8: a segment without live entries stays until the next one's checkpoint is synced", async (t) => {
  for (let seed = 1; seed <= 10; seed++) {
    const world = new World().open();
    world.wal.appendHardState(1, 7, { term: 3, vote: 2, commit: 0 });
    world.write(7, 1, 5, 3, 10_000);
    world.wal.appendSnapshotMark(1, 7, 5, 3);
    world.flush();
    // Nothing in this segment is alive; what the group is stands in its mark and its vote alone. Now the log goes
    // on in the next one, whose checkpoint waits while all other work is done.
    const next = `${DIR}/log-00000000010000`;
    const isData = (op: { kind: string; path: string }): boolean => op.path === next && op.kind !== "rename";
    world.disk.order = (waiting) => {
      return Math.max(
        0,
        waiting.findIndex((op) => !isData(op)),
      );
    };
    let reached = false;
    world.disk.fault = (op) => {
      if (op.kind === "datasync" && op.path === next) reached = true;
      return reached ? "crash" : null;
    };
    world.wal.appendEntry(1, 8, entryOf(8, 1, 1, 12_000));
    world.flush();
    t.ok(reached);
    world.crash(seed);
    t.same(world.group(7).hardState, { term: 3, vote: 2, commit: 0 });
    t.equal(world.group(7).snapshotIndex, 5);
  }
});

t.test("D5 D18: a start that fails at any operation closes its files and harms nothing", async (t) => {
  const world = new World().open();
  world.write(7, 1, 8, 1, 10_000);
  const files = world.disk.image();
  const complete = new World(MemoryDisk.of(files)).openOnly();
  const { ops } = complete.disk;
  for (let stop = 1; stop <= ops; stop++) {
    const again = new World(MemoryDisk.of(files));
    again.disk.fault = ({ number }) =>
      number === stop ? new NucleusError("EIO", `operation ${stop}`) : null;
    try {
      again.openOnly();
    } catch (error) {
      t.match((error as Error).message, `operation ${stop}`);
      t.equal(again.disk.openFiles, 0, `open files after operation ${stop}`);
    }
    again.disk = again.disk.kill();
    again.open();
    t.equal(again.group(7).entries.length, 8);
    again.crash(stop);
    t.equal(again.group(7).entries.length, 8);
  }
});

t.test("a start uses up no space, however often it happens", async (t) => {
  const world = new World().open();
  for (let index = 1; index <= 100; index++) world.write(7, index, index, 1, 2000);
  const used = world.disk.usedBytes();
  const segments = world.wal.stats.segments;
  for (let seed = 1; seed <= 50; seed++) {
    if (seed % 2 === 0) world.close();
    world.crash(seed);
    t.equal(world.disk.usedBytes(), used);
    t.equal(world.wal.stats.segments, segments);
    t.equal(world.group(7).entries.length, 100);
  }
  t.notOk(
    world.disk.names().some((name) => name.startsWith(`${DIR}/filling`)),
    "nothing is left half made",
  );
});

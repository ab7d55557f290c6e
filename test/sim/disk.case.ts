import t from "tap";
import { bytesEqual, fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { runTask, type Task, wait } from "../../src/base/task.ts";
import { readAll, readFile, replaceFile, writeAll } from "../../src/platform/files.ts";
import type { Disk, DiskFile } from "../../src/platform/platform.ts";
import { DISK_DEFAULT, type DiskKnobs, SimDisk } from "../../src/sim/disk.ts";
import { SECTOR_BYTES } from "../../src/sim/disk_file.ts";
import { Process, World } from "../../src/sim/world.ts";

type Bench = { world: World; disk: SimDisk; process: Process; view: Disk };

function bench(seed: number, knobs: Partial<DiskKnobs> = {}): Bench {
  const world = new World(seed);
  const disk = new SimDisk(world, 0, { ...DISK_DEFAULT, ...knobs });
  const process = new Process(0, 0);
  return { world, disk, process, view: disk.attach(process) };
}

/** Runs a task to its end; gives its value or its error's code. */
function complete<T>(b: Bench, task: Task<T>): T | string {
  let outcome: T | string | null = null;
  runTask(task, (error, value) => {
    outcome = error === null ? value : String((error as { code?: string }).code);
  });
  b.world.runUntil(b.world.nowUs + 60_000_000, () => outcome !== null);
  return outcome as unknown as T | string;
}

const open = (view: Disk, path: string, mode: "read" | "update" | "create"): Task<DiskFile> =>
  wait<DiskFile>((done) => view.open(path, mode, done));

function restart(b: Bench, how: "kill" | "power"): void {
  b.process.alive = false;
  b.disk.processDied(b.process);
  if (how === "power") b.disk.powerFailure();
  b.process = new Process(0, b.process.incarnation + 1);
  b.view = b.disk.attach(b.process);
}

function* writeFile(view: Disk, path: string, content: Uint8Array, sync: boolean): Task<void> {
  const file = yield* open(view, path, "create");
  yield* writeAll(file, content, 0);
  if (sync) yield* wait<void>((done) => file.datasync(done));
  yield* wait<void>((done) => file.close(done));
}

t.test("what is synced, file and directory, survives a power failure", async (t) => {
  for (let seed = 0; seed < 30; seed++) {
    const b = bench(seed);
    const content = utf8("x".repeat(3000));
    complete(
      b,
      wait<void>((done) => b.view.makeDir("/data/n1", done)),
    );
    for (const dir of ["/", "/data"])
      complete(
        b,
        wait<void>((done) => b.view.syncDir(dir, done)),
      );
    complete(b, writeFile(b.view, "/data/n1/a", content, true));
    complete(
      b,
      wait<void>((done) => b.view.syncDir("/data/n1", done)),
    );
    restart(b, "power");
    const read = complete(b, readFile(b.view, "/data/n1/a", 10_000));
    t.ok(read instanceof Uint8Array && bytesEqual(read, content));
    t.ok(bytesEqual(b.disk.durableContent("/data/n1/a") ?? utf8(""), content), "checkers see it");
  }
});

t.test("D7: a name that was not synced may be lost, with all that was synced inside", async (t) => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 40; seed++) {
    const b = bench(seed);
    complete(b, writeFile(b.view, "/a", utf8("content"), true));
    t.equal(b.disk.durableContent("/a"), null, "nobody may count on it");
    restart(b, "power");
    const read = complete(b, readFile(b.view, "/a", 100));
    seen.add(typeof read === "string" ? read : fromUtf8(read));
  }
  t.same([...seen].sort(), ["ENOENT", "content"]);
});

t.test("D9: replaceFile leaves the old content or the new one, whatever happens", async (t) => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const b = bench(seed, { shortPerMillion: 300_000 });
    complete(b, replaceFile(b.view, "/", "f", utf8("old ".repeat(500))));
    runTask(replaceFile(b.view, "/", "f", utf8("new ".repeat(700))), () => {});
    b.world.run(b.world.nowUs + ((seed * 37) % 1_500));
    restart(b, seed % 2 === 0 ? "power" : "kill");
    const read = complete(b, readFile(b.view, "/f", 10_000));
    t.ok(read instanceof Uint8Array, "the file is there");
    const text = fromUtf8(read as Uint8Array);
    t.ok(text === "old ".repeat(500) || text === "new ".repeat(700));
    seen.add(text.slice(0, 3));
  }
  t.equal(seen.size, 2, "both were seen");
});

t.test("of unsynced sectors each is old or new, and the seeds find every mix", async (t) => {
  const mixes = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const b = bench(seed);
    complete(b, replaceFile(b.view, "/", "f", new Uint8Array(3 * SECTOR_BYTES).fill(1)));
    complete(
      b,
      (function* (): Task<void> {
        const file = yield* open(b.view, "/f", "update");
        yield* writeAll(file, new Uint8Array(3 * SECTOR_BYTES).fill(2), 0);
      })(),
    );
    restart(b, "power");
    const read = complete(b, readFile(b.view, "/f", 10_000)) as Uint8Array;
    const sectors = [0, 1, 2].map((i) => read.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES));
    for (const sector of sectors)
      t.ok(
        sector.every((byte) => byte === sector[0]),
        "a sector is atomic",
      );
    mixes.add(sectors.map((sector) => sector[0]).join(""));
  }
  t.equal(mixes.size, 8);
});

t.test("B8: a sync covers what was written before it began, not what came during it", async (t) => {
  let lost = 0;
  for (let seed = 0; seed < 60; seed++) {
    const b = bench(seed, { syncUs: [5_000, 5_000], slowPerMillion: 0 });
    complete(b, replaceFile(b.view, "/", "f", new Uint8Array(2 * SECTOR_BYTES)));
    const file = complete(b, open(b.view, "/f", "update")) as DiskFile;
    complete(b, writeAll(file, new Uint8Array(SECTOR_BYTES).fill(7), 0));
    let synced = false;
    file.datasync(() => {
      synced = true;
    });
    complete(b, writeAll(file, new Uint8Array(SECTOR_BYTES).fill(8), SECTOR_BYTES));
    t.notOk(synced, "the write was done during the sync");
    b.world.runUntil(b.world.nowUs + 10_000, () => synced);
    restart(b, "power");
    const read = complete(b, readFile(b.view, "/f", 10_000)) as Uint8Array;
    t.equal(read[0], 7, "the first write was synced");
    if (read[SECTOR_BYTES] === 0) lost++;
  }
  t.ok(lost > 0, "the second one was not");
});

t.test(
  "kill -9 loses nothing that was written, synced or not; a later power failure still may",
  async (t) => {
    let lost = 0;
    for (let seed = 0; seed < 40; seed++) {
      const b = bench(seed);
      complete(b, replaceFile(b.view, "/", "f", utf8("old")));
      const file = complete(b, open(b.view, "/f", "update")) as DiskFile;
      complete(b, writeAll(file, utf8("new"), 0));
      restart(b, "kill");
      t.equal(fromUtf8(complete(b, readFile(b.view, "/f", 10)) as Uint8Array), "new");
      restart(b, "power");
      if (fromUtf8(complete(b, readFile(b.view, "/f", 10)) as Uint8Array) === "old") lost++;
    }
    t.ok(lost > 5 && lost < 35, `${lost} of 40 lost it`);
  },
);

t.test("D5: after a failed sync the next one succeeds, and the data is gone all the same", async (t) => {
  let lost = 0;
  for (let seed = 0; seed < 40; seed++) {
    const b = bench(seed);
    complete(b, replaceFile(b.view, "/", "f", new Uint8Array(SECTOR_BYTES)));
    const file = complete(b, open(b.view, "/f", "update")) as DiskFile;
    complete(b, writeAll(file, new Uint8Array(SECTOR_BYTES).fill(5), 0));
    b.disk.faults.failSyncs = 1;
    t.equal(
      complete(
        b,
        wait<void>((done) => file.datasync(done)),
      ),
      "EIO",
    );
    t.not(
      complete(
        b,
        wait<void>((done) => file.datasync(done)),
      ),
      "EIO",
    );
    t.equal((complete(b, readFile(b.view, "/f", 1000)) as Uint8Array)[0], 5, "the cache hides it");
    restart(b, "power");
    if ((complete(b, readFile(b.view, "/f", 1000)) as Uint8Array)[0] === 0) lost++;
  }
  t.ok(lost > 5, `${lost} of 40 lost it`);
});

t.test("D6: a full disk refuses to grow a file and still overwrites one", async (t) => {
  const b = bench(1, { capacityBytes: 16_384 });
  complete(b, replaceFile(b.view, "/", "f", new Uint8Array(8192)));
  t.equal(
    complete(
      b,
      wait<number>((done) => b.view.freeBytes("/", done)),
    ),
    8192,
  );
  const file = complete(b, open(b.view, "/f", "update")) as DiskFile;
  t.equal(complete(b, writeAll(file, new Uint8Array(20_000), 8192)), "ENOSPC");
  t.equal(complete(b, writeAll(file, new Uint8Array(8192).fill(1), 0)), undefined);
  b.disk.faults.occupiedBytes = 8192;
  t.equal(complete(b, writeFile(b.view, "/g", new Uint8Array(1), false)), "ENOSPC");
});

t.test("D16: short reads and writes happen, and readAll and writeAll hide them", async (t) => {
  const counts = new Set<string>();
  for (let seed = 0; seed < 10; seed++) {
    const b = bench(seed, { shortPerMillion: 700_000 });
    const content = new Uint8Array(5000).map((_, i) => i & 0xff);
    complete(b, writeFile(b.view, "/f", content, true));
    const file = complete(b, open(b.view, "/f", "read")) as DiskFile;
    const target = new Uint8Array(6000);
    t.equal(complete(b, readAll(file, target, 0)), 5000);
    t.ok(bytesEqual(target.subarray(0, 5000), content));
    for (const name of b.disk.counts.keys()) counts.add(name);
  }
  t.same([...counts].sort(), ["short_read", "short_write"]);
});

t.test("a write's bytes are read when it happens: changing them before `done` shows", async (t) => {
  const b = bench(1, { instantWritePerMillion: 0 });
  const file = complete(b, open(b.view, "/f", "create")) as DiskFile;
  const source = utf8("right");
  let done = false;
  file.pwrite(source, 0, () => {
    done = true;
  });
  source.set(utf8("wrong"));
  b.world.runUntil(b.world.nowUs + 1_000_000, () => done);
  t.equal(fromUtf8(complete(b, readFile(b.view, "/f", 10)) as Uint8Array), "wrong");
});

t.test("D4: lost and misdirected writes are reported synced, and show after the power failed", async (t) => {
  for (const knob of ["lostWritePerMillion", "misdirectedWritePerMillion"] as const) {
    let wrong = 0;
    for (let seed = 0; seed < 30; seed++) {
      const b = bench(seed);
      complete(b, replaceFile(b.view, "/", "f", new Uint8Array(8 * SECTOR_BYTES)));
      const file = complete(b, open(b.view, "/f", "update")) as DiskFile;
      b.disk.knobs = { ...DISK_DEFAULT, [knob]: 1_000_000 };
      complete(b, writeAll(file, new Uint8Array(SECTOR_BYTES).fill(9), SECTOR_BYTES));
      complete(
        b,
        wait<void>((done) => file.datasync(done)),
      );
      t.equal(
        (complete(b, readFile(b.view, "/f", 10_000)) as Uint8Array)[SECTOR_BYTES],
        9,
        "the cache hides it",
      );
      restart(b, "power");
      if ((complete(b, readFile(b.view, "/f", 10_000)) as Uint8Array)[SECTOR_BYTES] !== 9) wrong++;
    }
    t.ok(wrong > 20, `${knob}: ${wrong} of 30`);
  }
});

t.test("a stall holds every operation back, and a crash in the middle settles those under way", async (t) => {
  const b = bench(2);
  b.disk.faults.stalledUntilUs = 1_000_000;
  let done = false;
  b.view.makeDir("/d", () => {
    done = true;
  });
  b.world.run(999_999);
  t.notOk(done);
  restart(b, "kill");
  b.world.run(3_000_000);
  t.notOk(done, "nobody calls into the dead");
});

t.test("H11: closed files are not used again", async (t) => {
  const b = bench(1);
  const file = complete(b, open(b.view, "/f", "create")) as DiskFile;
  t.equal(b.disk.openHandles, 1);
  complete(
    b,
    wait<void>((done) => file.close(done)),
  );
  t.equal(b.disk.openHandles, 0, "D18: handles are counted");
  t.throws(() => file.size(() => {}), /nobody uses a file that was closed/);
});

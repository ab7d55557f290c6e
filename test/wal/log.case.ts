/** The log as its user sees it: append, sync, rotate, close, start again. */
import t from "tap";
import { DIR, entryOf, SEGMENT_BYTES, World } from "./world.ts";

t.test("an empty directory is a blank log", async (t) => {
  const world = new World().open();
  t.same(world.recovered.groups, []);
  t.equal(world.recovered.records, 0);
  t.equal(world.recovered.tornBytes, 0);
  t.same(
    world.disk.names().filter((name) => name.includes("/log-")).length,
    2,
    "one segment to append to, and the next one ready",
  );
});

t.test("what was synced comes back", async (t) => {
  const world = new World().open();
  world.wal.appendHardState(1, 7, { term: 3, vote: 2, commit: 0 });
  world.write(7, 1, 20, 3);
  world.write(9, 1, 5, 2, 1000);
  t.equal(world.wal.syncedLsn, world.wal.endLsn);
  world.crash(1);
  t.same(world.group(7).hardState, { term: 3, vote: 2, commit: 0 });
  t.same(world.terms(7), new Array(20).fill(3));
  t.same(world.group(9).entries[4], { term: 2, size: 1048, kind: 1 });
  t.same(
    world.read(7, 4, 6),
    [4, 5, 6].map((index) => entryOf(7, index, 3)),
  );
  t.same(world.read(9, 1, 5, 2500).length, 2, "as many as fit");
});

t.test("the log goes on in further segments, and all of them come back", async (t) => {
  const world = new World().open();
  for (let index = 1; index <= 400; index += 4) world.write(7, index, index + 3, 1, 1000);
  t.ok(world.wal.stats.segments >= 7, `${world.wal.stats.segments} segments`);
  t.same(world.failures, []);
  world.crash(2);
  t.equal(world.group(7).entries.length, 400);
  t.same(
    world.read(7, 1, 400, 1 << 30),
    Array.from({ length: 400 }, (_, i) => entryOf(7, i + 1, 1, 1000)),
  );
});

t.test("a torn tail is cut", async (t) => {
  const world = new World().open();
  world.write(7, 1, 10);
  for (let index = 11; index <= 40; index++) world.wal.appendEntry(1, 7, entryOf(7, index, 1, 300));
  world.wal.submit();
  world.disk.step(); // the write, not the sync
  world.crash(11);
  const { length } = world.group(7).entries;
  t.ok(length >= 10 && length <= 40, `${length} entries`);
  t.same(world.read(7, 1, 10).length, 10);
});

t.test("a closed log comes back without a tear", async (t) => {
  const world = new World().open();
  world.write(7, 1, 10);
  world.wal.appendEntry(1, 7, entryOf(7, 11, 1));
  world.close();
  t.equal(world.disk.openFiles, 0);
  world.open();
  t.equal(world.group(7).entries.length, 11);
  t.equal(world.recovered.tornBytes, 0);
  t.equal(world.disk.names().filter((name) => name.startsWith(`${DIR}/log-`)).length, 2);
});

t.test("segments without live entries are freed and used again", async (t) => {
  const world = new World().open();
  for (let index = 1; index <= 2000; index += 4) {
    world.write(7, index, index + 3, 1, 1000);
    if (index % 100 === 1 && index > 100) {
      world.wal.appendSnapshotMark(1, 7, index - 50, 1);
      world.flush();
    }
  }
  t.ok(world.wal.stats.segments <= 6, `${world.wal.stats.segments} segments`);
  t.ok(world.disk.usedBytes() <= 9 * SEGMENT_BYTES, `${world.disk.usedBytes()} bytes`);
  world.crash(3);
  t.equal(world.group(7).snapshotIndex, 1851);
  t.equal(world.group(7).entries.length, 2000 - 1851);
});

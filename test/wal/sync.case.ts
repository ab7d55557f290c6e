/** What `onSynced` means, one write at a time, and what happens when the disk fails. */
import t from "tap";
import { NucleusError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import { batchBytesMax } from "../../src/wal/wal.ts";
import { DIR, entryOf, SEGMENT_BYTES, World } from "./world.ts";

t.test("B8: a sync vouches for the bytes below its start, not for those appended meanwhile", async (t) => {
  const world = new World().open();
  const { wal, disk } = world;
  const first = wal.appendEntry(1, 7, entryOf(7, 1, 1));
  wal.submit();
  disk.step(); // the write is done, the sync under way
  const second = wal.appendEntry(1, 7, entryOf(7, 2, 1));
  wal.submit();
  disk.step();
  t.same(world.synced, [first]);
  t.equal(wal.syncedLsn, first);
  t.equal(wal.endLsn, second);
  disk.pump();
  t.same(world.synced, [first, second], "the log starts the next flush by itself");
});

t.test("B8: what was appended while the write itself is under way waits for the next one", async (t) => {
  const world = new World().open();
  world.disk.stepBytesMax = 100; // the first batch takes several writes
  const first = world.wal.appendEntry(1, 7, entryOf(7, 1, 1, 300));
  world.wal.submit();
  for (let i = 0; i < 3; i++) {
    world.disk.step();
    world.wal.appendEntry(1, 7, entryOf(7, 2 + i, 1, 300));
    world.wal.submit();
  }
  while (world.synced.length === 0) world.disk.step();
  t.same(world.synced, [first]);
});

t.test("one write and one sync carry a whole turn, and never two at once", async (t) => {
  const world = new World().open();
  const { wal, disk } = world;
  let flying = 0;
  let most = 0;
  disk.fault = (op) => {
    if (op.kind === "datasync") flying--;
    return null;
  };
  const before = { writes: disk.counts.get("pwrite") ?? 0, syncs: disk.counts.get("datasync") ?? 0 };
  for (let turn = 0; turn < 10; turn++) {
    for (let i = 1; i <= 5; i++) wal.appendEntry(1, i, entryOf(i, turn + 1, 1));
    flying++;
    most = Math.max(most, flying);
    world.flush();
  }
  t.equal((disk.counts.get("pwrite") ?? 0) - before.writes, 10);
  t.equal((disk.counts.get("datasync") ?? 0) - before.syncs, 10);
  t.equal(most, 1);
  t.equal(wal.stats.syncs, 10);
  t.equal(wal.stats.records, 50);
});

t.test("an empty turn costs nothing", async (t) => {
  const world = new World().open();
  const { ops } = world.disk;
  world.flush();
  t.equal(world.disk.ops, ops);
  t.same(world.synced, []);
});

t.test("appending from inside onSynced goes with the next flush", async (t) => {
  const world = new World().open();
  let index = 1;
  world.onSynced = () => {
    if (index < 500) world.wal.appendEntry(1, 7, entryOf(7, ++index, 1));
    world.wal.submit();
  };
  world.wal.appendEntry(1, 7, entryOf(7, 1, 1));
  world.flush();
  t.equal(index, 500);
  t.equal(world.wal.syncedLsn, world.wal.endLsn);
});

for (const kind of ["pwrite", "datasync"] as const) {
  t.test(
    `D5 A11: a failed ${kind} ends the log: said once, nothing retried, nothing vouched for`,
    async (t) => {
      const world = new World().open();
      world.write(7, 1, 3);
      const { syncedLsn } = world.wal;
      const vouched = world.synced.length;
      let failed = false;
      let writesAfter = 0;
      world.disk.fault = (op) => {
        if (failed && (op.kind === "pwrite" || op.kind === "datasync")) writesAfter++;
        if (failed || op.kind !== kind) return null;
        failed = true;
        return new NucleusError("EIO", "the disk is broken");
      };
      world.write(7, 4, 6);
      t.equal(world.failures.length, 1);
      t.match(world.failures[0]?.message, /broken/);
      world.write(7, 7, 9);
      world.wal.tick(60);
      world.disk.pump();
      t.equal(world.wal.syncedLsn, syncedLsn);
      t.equal(world.synced.length, vouched);
      t.equal(world.failures.length, 1);
      t.equal(writesAfter, 0);
      t.notOk(world.wal.hasRoom(10));
      t.equal(world.wal.roomBytes(), 0);
      world.disk.fault = () => null;
      world.close();
      t.equal(world.disk.openFiles, 0, "D18: it can still be closed");
      world.crash(1);
      t.same(world.group(7).entries.length >= 3, true, "what was vouched for is there");
    },
  );
}

t.test("D5: a sync that failed is not believed by the next start either", async (t) => {
  const world = new World().open();
  world.write(7, 1, 3);
  world.disk.fault = (op) => (op.kind === "datasync" ? new NucleusError("EIO", "once") : null);
  world.write(7, 4, 6);
  // The process starts again; the page cache still shows what the disk never took.
  world.disk = world.disk.kill();
  world.open();
  t.equal(world.group(7).entries.length, 6, "they are read back, and copied");
  world.crash(5);
  t.equal(world.group(7).entries.length, 6, "so now they are really there");
});

t.test("D5: an error while the next segment is prepared ends the log, too", async (t) => {
  const world = new World().open();
  world.disk.fault = (op) => {
    return op.kind === "datasync" && !op.path.startsWith(`${DIR}/log-`)
      ? new NucleusError("EIO", "broken")
      : null;
  };
  world.write(7, 1, 5, 1, 12_000);
  t.equal(world.failures.length, 1);
});

t.test("D18: closing a failed log waits for the sync that is still under way", async (t) => {
  const world = new World().openOnly();
  // The spare's making fails first; the flush's sync is the last operation to be carried out.
  world.disk.fault = ({ path }) => (path.includes("filling") ? new NucleusError("EIO", "broken") : null);
  world.disk.order = (waiting) => {
    const other = waiting.findIndex(({ kind }) => kind !== "datasync");
    return Math.max(0, other);
  };
  world.wal.appendEntry(1, 7, entryOf(7, 1, 1));
  world.wal.submit();
  while (world.failures.length === 0) world.disk.step();
  world.close();
  world.disk.pump();
  t.equal(world.disk.openFiles, 0);
  t.same(world.synced, []);
});

t.test("D16: a disk that reads and writes piecemeal changes nothing", async (t) => {
  const world = new World();
  const random = Prng.fromSeed(3);
  const vary = (): void => {
    world.disk.stepBytesMax = random.between(1, 5000);
  };
  world.disk.fault = () => {
    vary();
    return null;
  };
  world.open();
  for (let index = 1; index <= 40; index++) world.write(7, index, index, 1, 4000);
  t.same(world.failures, []);
  t.equal(world.read(7, 1, 40, 1 << 20).length, 40);
  world.crash(1);
  world.disk.stepBytesMax = 777;
  t.equal(world.group(7).entries.length, 40);
  t.equal(world.read(7, 1, 40, 1 << 20).length, 40);
});

t.test("a batch beyond the limit is a bug of the caller", async (t) => {
  const world = new World().open();
  const limit = batchBytesMax(SEGMENT_BYTES);
  t.ok(world.wal.hasRoom(limit));
  t.throws(() => world.wal.appendEntry(1, 7, entryOf(7, 1, 1, limit)), /a batch fits/);
});

t.test("records that break the log's rules are bugs and never reach the disk", async (t) => {
  const rules: [string, (world: World) => void][] = [
    ["an entry follows", ({ wal }) => wal.appendEntry(1, 7, entryOf(7, 9, 1))],
    ["below the snapshot", ({ wal }) => wal.appendEntry(1, 7, entryOf(7, 2, 1))],
    ["term never falls", ({ wal }) => wal.appendHardState(1, 7, { term: 1, vote: 1, commit: 0 })],
    ["given once", ({ wal }) => wal.appendHardState(1, 7, { term: 4, vote: 3, commit: 0 })],
    ["tombstone", ({ wal }) => wal.appendHardState(2, 8, { term: 4, vote: 3, commit: 0 })],
    ["one replica", ({ wal }) => wal.appendTombstone(3, 7)],
  ];
  for (const [rule, act] of rules) {
    const world = new World().open();
    world.write(7, 1, 4);
    world.wal.appendSnapshotMark(1, 7, 3, 1);
    world.wal.appendHardState(1, 7, { term: 4, vote: 2, commit: 0 });
    world.wal.appendTombstone(2, 8);
    world.flush();
    const { ops } = world.disk;
    t.throws(() => act(world), new RegExp(rule));
    world.flush();
    t.equal(world.disk.ops, ops);
  }
});

/** Many groups in one log: nobody's truncation, snapshot or end touches the others. */
import t from "tap";
import { codeOf } from "../../src/base/errors.ts";
import { DIR, entryOf, SEGMENT_BYTES, World } from "./world.ts";

t.test(
  "B9: an idle group's entries survive ten segments of another's, their snapshots and a crash",
  async (t) => {
    const world = new World().open();
    world.wal.appendHardState(1, 3, { term: 5, vote: 2, commit: 1 });
    world.write(3, 1, 4, 5, 100);
    let last = 0;
    while (world.wal.endLsn < 11 * SEGMENT_BYTES) {
      world.write(7, last + 1, last + 5, 1, 5000);
      last += 5;
      world.wal.appendSnapshotMark(1, 7, last, 1);
      world.flush();
    }
    t.same(world.wal.pinningGroups(), [3], "it is named, so that it is snapshotted");
    world.crash(8);
    t.same(world.terms(3), [5, 5, 5, 5]);
    t.same(world.group(3).hardState, { term: 5, vote: 2, commit: 1 });
    t.same(
      world.read(3, 1, 4),
      [1, 2, 3, 4].map((index) => entryOf(3, index, 5, 100)),
    );

    world.wal.appendSnapshotMark(1, 3, 4, 5);
    world.flush();
    t.same(world.wal.pinningGroups(), []);
    t.ok(world.wal.stats.segments <= 3, "and then the segments are freed");
    world.crash(9);
    t.same(world.group(3).hardState, { term: 5, vote: 2, commit: 1 }, "D12: the vote outlives its segment");
    t.equal(world.group(3).snapshotIndex, 4);
  },
);

t.test("B9: a truncation counts once it is synced, and is replayed", async (t) => {
  const world = new World().open();
  world.write(7, 1, 6);
  world.write(8, 1, 6);
  world.write(7, 3, 3, 2);
  world.crash(1);
  t.same(world.terms(7), [1, 1, 2]);
  t.same(world.terms(8), [1, 1, 1, 1, 1, 1]);
  world.crash(2);
  t.same(world.terms(7), [1, 1, 2], "and stays so in the copy");
});

t.test("B9 D8: segments are held until what freed them is synced", async (t) => {
  for (const act of ["snapshot", "overwrite", "close"] as const) {
    const world = new World().open();
    world.write(3, 1, 4, 1, 100);
    let last = 0;
    while (world.wal.endLsn < 3 * SEGMENT_BYTES) {
      world.write(7, last + 1, last + 5, 1, 5000);
      last += 5;
      world.wal.appendSnapshotMark(1, 7, last, 1);
      world.flush();
    }
    if (act === "snapshot") world.wal.appendSnapshotMark(1, 3, 4, 1);
    else if (act === "close") world.wal.appendTombstone(1, 3);
    else world.wal.appendEntry(1, 3, entryOf(3, 1, 2));
    // Everything but the record's own flush goes on.
    world.disk.fault = (op) => (op.kind === "datasync" && op.path.includes("/log-") ? "crash" : null);
    world.flush();
    world.crash(0);
    const survivors = world.recovered.groups.find(({ group }) => group === 3);
    const before = survivors?.entries.length === 4;
    const after =
      act === "close" ? survivors === undefined : survivors?.entries.length === (act === "snapshot" ? 0 : 1);
    t.ok(before || after, `${act}: ${JSON.stringify(survivors)}`);
  }
});

t.test("B9 D8: a sync frees nothing by what was appended after it had begun", async (t) => {
  for (const act of ["snapshot", "overwrite", "close"] as const) {
    for (let seed = 1; seed <= 5; seed++) {
      const world = new World().open();
      world.write(3, 1, 4, 1, 100);
      world.write(7, 1, 5, 1, 10_000);
      world.write(7, 6, 8, 1, 10_000);
      world.wal.appendSnapshotMark(1, 7, 6, 1);
      world.wal.submit();
      world.disk.step(); // that is written, and its sync under way
      if (act === "snapshot") world.wal.appendSnapshotMark(1, 3, 4, 1);
      else if (act === "close") world.wal.appendTombstone(1, 3);
      else world.wal.appendEntry(1, 3, entryOf(3, 1, 2));
      // The sync completes; whatever it starts on files is done; the second flush never happens.
      world.disk.pump();
      world.crash(seed);
      t.equal(world.group(3).entries.length, 4, act);
    }
  }
});

t.test("D10: an older snapshot mark changes nothing; one of another history drops the suffix", async (t) => {
  const world = new World().open();
  world.write(7, 1, 10, 2);
  world.wal.appendSnapshotMark(1, 7, 5, 2);
  world.wal.appendSnapshotMark(1, 7, 3, 2);
  world.flush();
  t.equal(world.read(7, 6, 10).length, 5);
  world.crash(1);
  t.equal(world.group(7).snapshotIndex, 5);
  t.equal(world.group(7).entries.length, 5);
  world.wal.appendSnapshotMark(1, 7, 8, 3); // entry 8 here is of term 2
  world.write(7, 9, 9, 3);
  world.crash(2);
  t.same(world.group(7).snapshotIndex, 8);
  t.same(world.terms(7), [3]);
});

t.test("D12: term and vote never fall back, through rotations, snapshots and starts", async (t) => {
  const world = new World().open();
  let last = 0;
  for (let term = 1; term <= 60; term++) {
    world.wal.appendHardState(1, 7, { term, vote: (term % 3) + 1, commit: 0 });
    world.write(7, last + 1, last + 3, term, 3000);
    last += 3;
    if (term % 4 === 0) world.wal.appendSnapshotMark(1, 7, last, term);
    world.flush();
    if (term % 7 === 0) {
      world.crash(term);
      t.same(world.group(7).hardState, { term, vote: (term % 3) + 1, commit: 0 });
    }
  }
});

t.test("a closed replica never comes back under its id; the group may, under the next one", async (t) => {
  const world = new World().open();
  world.write(7, 1, 5);
  world.wal.appendTombstone(1, 7);
  world.wal.appendHardState(2, 7, { term: 9, vote: 0, commit: 0 });
  world.wal.appendEntry(2, 7, entryOf(7, 1, 0));
  world.flush();
  world.crash(1);
  t.same(world.recovered.tombstones, [{ group: 7, replica: 1 }]);
  t.same(world.group(7).replica, 2);
  t.same(world.terms(7), [0]);
  world.crash(2);
  t.same(world.recovered.tombstones, [{ group: 7, replica: 1 }]);
  t.throws(() => {
    world.wal.appendTombstone(2, 7);
    world.wal.appendHardState(1, 7, { term: 10, vote: 0, commit: 0 });
  }, /tombstone/);
});

t.test("a read gives what is buffered, in flight, and on the disk", async (t) => {
  const world = new World().open();
  world.write(7, 1, 3);
  world.wal.appendEntry(1, 7, entryOf(7, 4, 1));
  world.wal.submit();
  world.wal.appendEntry(1, 7, entryOf(7, 5, 1));
  const expected = [1, 2, 3, 4, 5].map((index) => entryOf(7, index, 1));
  t.same(world.read(7, 1, 5), expected);
  world.disk.pump();
  world.flush();
  t.same(world.read(7, 1, 5), expected);
});

t.test("a read stops at the limit in bytes, but gives at least one entry", async (t) => {
  const world = new World().open();
  world.write(7, 1, 10, 1, 952);
  t.equal(world.read(7, 2, 10, 3000).length, 3);
  t.equal(world.read(7, 2, 10, 1)[0]?.index, 2);
  t.equal(world.read(7, 2, 10, 1).length, 1);
});

t.test("a read of what is no longer held is an error, not an empty answer", async (t) => {
  const world = new World().open();
  world.write(7, 1, 10);
  world.wal.appendSnapshotMark(1, 7, 5, 1);
  world.flush();
  for (const [group, first, last] of [
    [7, 5, 6],
    [7, 6, 11],
    [8, 1, 1],
  ] as const) {
    try {
      world.read(group, first, last);
      t.fail("it answered");
    } catch (error) {
      t.equal(codeOf(error), "ECOMPACTED");
    }
  }
});

t.test("a read that is overtaken gives the new entries, never a mixture", async (t) => {
  const world = new World().open();
  world.write(7, 1, 6);
  let read: { term: number }[] = [];
  let overwritten = false;
  world.disk.fault = (op) => {
    if (op.kind === "pread" && !overwritten) {
      overwritten = true;
      world.wal.appendEntry(1, 7, entryOf(7, 4, 2));
      world.wal.appendEntry(1, 7, entryOf(7, 5, 2));
      world.wal.appendEntry(1, 7, entryOf(7, 6, 2));
      world.wal.submit();
    }
    return null;
  };
  read = world.read(7, 1, 6);
  t.same(
    read.map(({ term }) => term),
    [1, 1, 1, 2, 2, 2],
  );
});

t.test("a segment is not recycled under a reader", async (t) => {
  const world = new World().open();
  world.write(7, 1, 10, 1, 5000);
  world.write(7, 11, 20, 1, 5000);
  let freed = false;
  world.disk.fault = (op) => {
    if (op.kind === "pread" && !freed) {
      freed = true;
      world.wal.appendSnapshotMark(1, 7, 20, 1);
      world.wal.submit();
    }
    return null;
  };
  world.disk.stepBytesMax = 1000; // a read takes many steps, and anything else goes before each of them
  world.disk.order = (waiting) =>
    Math.max(
      0,
      waiting.findIndex(({ kind }) => kind !== "pread"),
    );
  try {
    world.read(7, 1, 3);
    t.fail("the entries are gone");
  } catch (error) {
    t.equal(codeOf(error), "ECOMPACTED");
  }
  world.disk.pump();
  t.ok(world.wal.stats.segments <= 2, "freed once the reader had left");
});

t.test("D1: a record that rotted after the start is not handed out", async (t) => {
  const world = new World().open();
  world.write(7, 1, 3);
  world.disk.flip(`${DIR}/log-00000000000000`, world.wal.endLsn - 40);
  try {
    world.read(7, 1, 3);
    t.fail("it answered");
  } catch (error) {
    t.equal(codeOf(error), "EDAMAGED");
  }
  t.equal(world.read(7, 1, 2).length, 2);
});

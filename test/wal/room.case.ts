/** Space: what may be admitted, full disks, spares, and open files. */
import t from "tap";
import { codeOf, NucleusError } from "../../src/base/errors.ts";
import type { Log } from "../../src/platform/platform.ts";
import { MemoryDisk } from "./memory_disk.ts";
import { DIR, entryOf, SEGMENT_BYTES, World } from "./world.ts";

/** Appends entries of `bodySize` while there is room; returns the index of the last. */
function fill(world: World, from: number, bodySize: number): number {
  let index = from;
  while (world.wal.hasRoom(bodySize + 48)) {
    world.wal.appendEntry(1, 7, entryOf(7, ++index, 1, bodySize));
    world.flush();
    if (index > from + 5000) throw new Error("the disk never fills");
  }
  return index;
}

t.test("at most half a segment is unsynced", async (t) => {
  const world = new World().open();
  let index = 0;
  while (world.wal.hasRoom(1048)) world.wal.appendEntry(1, 7, entryOf(7, ++index, 1, 1000));
  t.ok(world.wal.endLsn - world.wal.syncedLsn <= SEGMENT_BYTES / 2);
  t.ok(world.wal.endLsn - world.wal.syncedLsn > SEGMENT_BYTES / 2 - 1200);
  t.equal(world.wal.roomBytes() < 1048, true);
  world.flush();
  t.ok(world.wal.hasRoom(1048), "and after the sync there is room again");
});

t.test("records beyond the window are written all the same, and come back", async (t) => {
  const world = new World().open();
  for (let index = 1; index <= 45; index++) world.wal.appendEntry(1, 7, entryOf(7, index, 1, 1000));
  t.notOk(world.wal.hasRoom(100));
  world.flush();
  world.crash(4);
  t.equal(world.group(7).entries.length, 45);
});

t.test("roomBytes never promises more than hasRoom keeps", async (t) => {
  const world = new World().open();
  let index = 0;
  let broken = 0;
  for (let round = 0; round < 300; round++) {
    const size = 100 + ((round * 37) % 3000);
    let room = world.wal.roomBytes();
    while (room >= size + 64) {
      if (!world.wal.hasRoom(size)) broken++;
      world.wal.appendEntry(1, 7, entryOf(7, ++index, 1, size - 48));
      room -= size + 64;
    }
    world.flush();
    if (index > 30) world.wal.appendSnapshotMark(1, 7, index - 10, 1);
    world.flush();
  }
  t.equal(broken, 0);
  t.ok(index > 1000, `${index} entries`);
  t.same(world.failures, []);
});

t.test(
  "D6: a full disk refuses batches, keeps room for votes, and takes batches again when there is space",
  async (t) => {
    const lines: string[] = [];
    const log: Log = { write: (level, message) => void lines.push(`${level} ${message}`) };
    const world = new World(new MemoryDisk(), SEGMENT_BYTES, log);
    world.disk.capacityBytes = 4 * SEGMENT_BYTES + 1000;
    world.open();
    const last = fill(world, 0, 1000);
    t.ok(last > 100, `${last} entries fit`);
    t.equal(world.wal.roomBytes() < 1100, true);
    for (let term = 1; term <= 40; term++) {
      world.wal.appendHardState(1, 7, { term, vote: 2, commit: 0 });
      world.flush();
    }
    t.same(world.failures, [], "votes still find room");
    for (let i = 0; i < 10; i++) {
      world.wal.tick(500);
      world.disk.pump();
    }
    t.equal(lines.filter((line) => line.startsWith("warn")).length, 1, "said once");
    t.notOk(world.wal.hasRoom(1048));
    t.notOk(
      world.disk.names().some((name) => name.includes("filling")),
      "no half-made file takes the last space",
    );

    world.disk.capacityBytes = 8 * SEGMENT_BYTES;
    world.wal.tick(1000);
    world.disk.pump();
    t.ok(world.wal.hasRoom(1048), "space came back");
    t.ok(lines.some((line) => /room for log segments again/.test(line)));
    world.write(7, last + 1, last + 3, 40, 1000);
    world.crash(2);
    t.equal(world.group(7).entries.length, last + 3);
    t.equal(world.group(7).hardState.term, 40);
  },
);

t.test("D6: a snapshot frees segments on a full disk, and they are used again", async (t) => {
  const world = new World();
  world.disk.capacityBytes = 4 * SEGMENT_BYTES;
  world.open();
  let last = fill(world, 0, 1000);
  for (let round = 0; round < 20; round++) {
    world.wal.appendSnapshotMark(1, 7, last - 2, 1);
    world.flush();
    t.ok(world.wal.hasRoom(1048), `round ${round}`);
    last = fill(world, last, 1000);
  }
  t.same(world.failures, []);
  t.ok(last > 600, `${last} entries went through four segments`);
  world.crash(1);
  t.equal(world.group(7).snapshotIndex + world.group(7).entries.length, last);
});

t.test("D6: a node starts on a full disk, again and again, and what it holds is there", async (t) => {
  const world = new World();
  world.disk.capacityBytes = 4 * SEGMENT_BYTES;
  world.open();
  const last = fill(world, 0, 1000);
  for (let seed = 1; seed <= 12; seed++) {
    world.disk.capacityBytes = world.disk.usedBytes();
    world.crash(seed);
    t.equal(world.group(7).entries.length, last);
    world.wal.appendHardState(1, 7, { term: seed, vote: 1, commit: 0 });
    world.flush();
    t.same(world.failures, []);
  }
});

t.test("D6: others ate every byte that was free: the start still finds its spare", async (t) => {
  const world = new World().open();
  world.write(7, 1, 20, 1, 1000);
  world.disk.capacityBytes = 0;
  world.crash(1);
  t.equal(world.group(7).entries.length, 20);
  t.notOk(world.failures.length > 0);
});

t.test("D6: a log without any room left stops the node instead of losing a record", async (t) => {
  const world = new World();
  world.disk.capacityBytes = 4 * SEGMENT_BYTES;
  world.open();
  const last = fill(world, 0, 1000);
  for (let term = 1; term <= 5000 && world.failures.length === 0; term++) {
    world.wal.appendHardState(1, 7, { term, vote: 2, commit: 0 });
    world.flush();
  }
  t.equal(codeOf(world.failures[0]), "ENOSPC");
  t.match(world.failures[0]?.message, /free space and start again/);
  const { syncedLsn } = world.wal;
  world.wal.appendHardState(1, 7, { term: 6000, vote: 2, commit: 0 });
  world.flush();
  t.equal(world.wal.syncedLsn, syncedLsn);
  // A start leaves out the votes of the past: there is room for new ones.
  world.crash(1);
  t.equal(world.group(7).entries.length, last);
  world.wal.appendHardState(1, 7, { term: 7000, vote: 2, commit: 0 });
  world.flush();
  t.equal(world.failures.length, 1);
});

t.test("D18: after many rotations and starts, files are open for live segments only", async (t) => {
  const world = new World().open();
  let last = 0;
  for (let round = 0; round < 400; round++) {
    world.write(7, last + 1, last + 4, 1, 5000);
    last += 4;
    world.wal.appendSnapshotMark(1, 7, last - 1, 1);
    world.flush();
    t.ok(world.disk.openFiles <= 4, `${world.disk.openFiles} open`);
  }
  t.ok(world.wal.endLsn > 100 * SEGMENT_BYTES, "more than a hundred rotations");
  world.close();
  t.equal(world.disk.openFiles, 0);
  for (let i = 0; i < 20; i++) {
    world.open();
    t.equal(world.disk.openFiles, 2);
    world.close();
  }
  t.equal(world.disk.openFiles, 0);
  t.ok(world.disk.names().length <= 4, world.disk.names().join(" "));
});

t.test("D3 D7: a recycled segment shows nothing of its former life", async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = new World().open();
    let last = 0;
    for (let round = 0; round < 12; round++) {
      world.write(7, last + 1, last + 6, 1, 4000);
      last += 6;
      world.wal.appendSnapshotMark(1, 7, last, 1);
      world.flush();
    }
    t.ok(world.wal.endLsn > 4 * SEGMENT_BYTES);
    world.write(7, last + 1, last + 1);
    world.crash(seed);
    t.same(world.group(7).entries.length, 1);
    t.equal(world.group(7).snapshotIndex, last);
    t.ok(world.disk.names().every((name) => name.startsWith(`${DIR}/`)));
  }
});

t.test("D6: a disk that fills up half way through a new segment leaves nothing behind", async (t) => {
  const world = new World();
  let refused = 0;
  world.disk.fault = (op) => {
    if (op.kind !== "pwrite" || !op.path.includes("filling-2")) return null;
    refused++;
    return new NucleusError("ENOSPC", "no space left on device");
  };
  world.open();
  t.equal(refused, 1);
  t.same(world.failures, [], "that is no failure");
  t.notOk(world.disk.names().some((name) => name.includes("filling")));
  world.disk.fault = () => null;
  world.wal.tick(1000);
  world.disk.pump();
  for (let index = 1; index <= 20; index++) world.write(7, index, index, 1, 10_000);
  t.same(world.failures, []);
  world.crash(1);
  t.equal(world.group(7).entries.length, 20);
});

t.test("leftovers of a crash are removed, and no more than two spares are kept", async (t) => {
  const world = new World().open();
  world.write(7, 1, 3);
  for (const name of ["filling-7", "spare-8", "spare-9", "spare-10"]) {
    world.disk.setContent(`${DIR}/${name}`, new Uint8Array(SEGMENT_BYTES));
  }
  world.disk.setContent(`${DIR}/spare-6`, new Uint8Array(100));
  world.disk.setContent(`${DIR}/notes.txt`, new Uint8Array(5));
  world.crash(1);
  const names = world.disk.names().map((name) => name.slice(DIR.length + 1));
  t.notOk(names.some((name) => name.startsWith("filling")));
  t.ok(names.filter((name) => name.startsWith("spare")).length <= 2, names.join(" "));
  t.ok(names.includes("notes.txt"), "what is not ours is left alone");
  for (let index = 4; index <= 30; index++) world.write(7, index, index, 1, 10_000);
  world.crash(2);
  t.equal(world.group(7).entries.length, 30);
});

t.test("many groups in a segment filled to the brim still fit the copy that a start makes", async (t) => {
  const world = new World();
  world.disk.capacityBytes = 2 * SEGMENT_BYTES; // no next segment
  world.open();
  let written = 0;
  for (let group = 1; group <= 120; group++) {
    world.wal.appendEntry(1, group, entryOf(group, 1, 1, 20));
    written++;
  }
  for (let index = 2; world.failures.length === 0; index++) {
    world.wal.appendEntry(1, 1, entryOf(1, index, 1, 20)); // nobody asked whether there is room
    if (world.failures.length === 0) written++;
    if (index % 50 === 0) world.flush();
  }
  world.crash(1);
  const held = world.recovered.groups.reduce((sum, { entries }) => sum + entries.length, 0);
  t.ok(held > written - 50, `${held} of ${written} entries`);
  world.crash(2);
  t.equal(
    world.recovered.groups.reduce((sum, { entries }) => sum + entries.length, 0),
    held,
  );
});

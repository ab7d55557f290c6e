/** Starts on a damaged log that set the damage aside: who was hit never returns as itself, the others lose nothing. */
import t from "tap";
import { codeOf } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import { readCheckpointBody } from "../../src/wal/checkpoint.ts";
import {
  blankHead,
  decodeSegmentHeader,
  RECORD_HEAD_BYTES,
  readRecord,
  type SegmentHeader,
  segmentPlace,
} from "../../src/wal/format.ts";
import { MemoryDisk } from "./memory_disk.ts";
import { recordsOf } from "./script.ts";
import { DIR, entryOf, SEGMENT_BYTES, World } from "./world.ts";

const GROUPS = [7, 8, 9];

/** Three groups, 24 entries each, over some six segments; synced and marked. */
function threeGroups(): World {
  const world = new World().open();
  for (const group of GROUPS) world.wal.appendHardState(1, group, { term: 1, vote: group, commit: 0 });
  for (let index = 1; index <= 24; index++)
    for (const group of GROUPS) world.write(group, index, index, 1, 4000);
  world.wal.tick(60);
  world.disk.pump();
  return world;
}

function segments(world: World): string[] {
  return world.disk.names().filter((name) => name.startsWith(`${DIR}/log-`));
}

/** Flips a bit of the first record of `group` in a segment; returns the segment's path. */
function damage(world: World, segment: number, group: number, where: "head" | "body"): string {
  const path = segments(world)[segment] as string;
  const bytes = world.disk.content(path);
  const record = recordsOf(bytes).find(({ text }) => text.includes(`entry ${group} `));
  const at = (record?.at as number) + (where === "head" ? 50 : 2000);
  world.disk.flip(path, at, 8);
  return path;
}

function summary(world: World): string {
  const groups = world.recovered.groups.map(({ group, hardState, entries }) => {
    return `${group}: vote ${hardState.vote}, ${entries.length} entries`;
  });
  const closed = world.recovered.tombstones.map(({ group, replica }) => `${group} closed up to r${replica}`);
  return [...groups.sort(), ...closed.sort()].join("; ");
}

t.test(
  "D2: damage to one group's record closes that replica; the others go on with all they had",
  async (t) => {
    for (const segment of [0, 2, -3]) {
      const world = threeGroups();
      const path = damage(world, segment < 0 ? segments(world).length + segment : segment, 8, "body");
      const original = world.disk.content(path).slice();
      world.onDamage = "setAside";
      world.open();
      t.same(
        world.recovered.damage.map(({ groups }) => groups),
        [[8]],
      );
      const expected = "7: vote 7, 24 entries; 9: vote 9, 24 entries; 8 closed up to r1";
      t.equal(summary(world), expected);
      t.same(world.read(9, 1, 24, 1 << 20).length, 24);
      const aside = path.replace("/log-", "/damaged-1-log-");
      t.same(world.disk.content(aside), original, "what was damaged is kept");

      world.onDamage = "refuse";
      for (let seed = 1; seed <= 3; seed++) {
        world.crash(seed);
        t.same(world.recovered.damage, [], "later starts pass over it");
        t.equal(summary(world), expected);
      }
      t.throws(() => world.wal.appendHardState(1, 8, { term: 5, vote: 1, commit: 0 }), /tombstone/);
    }
  },
);

t.test("the group comes back under a new replica id, and the damage goes with its segment", async (t) => {
  const world = threeGroups();
  damage(world, 1, 8, "body");
  world.onDamage = "setAside";
  world.open();
  world.wal.appendHardState(2, 8, { term: 4, vote: 0, commit: 0 });
  world.wal.appendSnapshotMark(2, 8, 24, 1);
  world.flush();
  world.wal.appendEntry(2, 8, entryOf(8, 25, 4, 100));
  world.flush();
  t.same(damagedInNewest(world).length, 1);
  world.crash(1);
  t.equal(
    summary(world),
    "7: vote 7, 24 entries; 8: vote 0, 1 entries; 9: vote 9, 24 entries; 8 closed up to r1",
  );
  for (const group of [7, 9]) world.wal.appendSnapshotMark(1, group, 24, 1);
  world.flush();
  world.crash(2);
  t.same(damagedInNewest(world), []);
  t.equal(world.recovered.segments, 1);
  t.equal(world.group(8).entries.length, 1);
});

/** The damaged stretches that the newest checkpoint lists. */
function damagedInNewest(world: World): readonly unknown[] {
  for (const path of segments(world).toReversed()) {
    const bytes = world.disk.content(path);
    const place = segmentPlace(decodeSegmentHeader(bytes) as SegmentHeader);
    const head = blankHead();
    if (readRecord(bytes, 4096, place, place.base + 4096, head) !== "good") continue;
    return readCheckpointBody(bytes, 4096 + RECORD_HEAD_BYTES, head.bodySize)?.damaged ?? [];
  }
  return [];
}

t.test(
  "D2: damage that names no group closes all of them; the old log is kept aside, a new one begins",
  async (t) => {
    const harms: ((world: World) => void)[] = [
      (world) => void damage(world, 2, 8, "head"),
      (world) => world.disk.harm(segments(world)[1] as string, (bytes) => bytes.fill(7, 0, 4096)),
      (world) => world.disk.setContent(segments(world)[2] as string, new Uint8Array(50)),
      (world) => world.disk.remove(segments(world)[2] as string),
      // A vote whose head rotted: no entry is missing, and still nobody can tell whose record it was.
      (world) => {
        const path = segments(world)[0] as string;
        const vote = recordsOf(world.disk.content(path)).find(({ text }) => text.includes("hardState 8"));
        world.disk.flip(path, (vote?.at as number) + 50);
      },
      (world) => {
        damage(world, 0, 8, "body");
        world.disk.remove(segments(world)[1] as string);
      },
    ];
    for (const harm of harms) {
      const world = threeGroups();
      const { endLsn } = world.wal;
      harm(world);
      const before = segments(world).length;
      world.onDamage = "setAside";
      world.open();
      t.ok(world.recovered.damage.some(({ groups }) => groups.length !== 1));
      t.equal(summary(world), "7 closed up to r1; 8 closed up to r1; 9 closed up to r1");
      t.ok(world.wal.endLsn > endLsn, "LSNs are not used again");
      t.equal(world.disk.names().filter((name) => name.includes("/damaged-")).length, before);
      world.wal.appendHardState(2, 7, { term: 2, vote: 0, commit: 0 });
      world.write(9_000, 1, 3);
      world.onDamage = "refuse";
      world.crash(3);
      t.equal(
        summary(world),
        "7: vote 0, 0 entries; 9000: vote 0, 3 entries; 7 closed up to r1; 8 closed up to r1; 9 closed up to r1",
      );
    }
  },
);

t.test("a power failure at any operation of such a start leaves the damage, or its repair", async (t) => {
  for (const where of ["body", "head"] as const) {
    const world = threeGroups();
    damage(world, 1, 8, where);
    const files = world.disk.image();
    const complete = new World(MemoryDisk.of(files));
    complete.onDamage = "setAside";
    complete.openOnly();
    const expected = summary(complete);
    let repaired = 0;
    for (let stop = 1; stop <= complete.disk.ops; stop++) {
      const again = new World(MemoryDisk.of(files));
      again.onDamage = "setAside";
      again.disk.fault = ({ number }) => (number === stop ? "crash" : null);
      try {
        again.openOnly();
      } catch {
        t.ok(again.disk.dead);
      }
      again.disk = again.disk.crash(Prng.fromSeed(stop));
      again.onDamage = "refuse";
      try {
        again.open();
        repaired++;
      } catch (error) {
        t.equal(codeOf(error), "EDAMAGED");
        t.equal(repaired, 0, "once repaired, it stays so");
        again.onDamage = "setAside";
        again.open();
      }
      t.equal(summary(again), expected, `${where}, operation ${stop}`);
    }
    t.ok(
      repaired > (where === "head" ? 8 : 0),
      `${repaired} times the repair was complete before the failure`,
    );
  }
});

t.test("any single damage: each group is whole or closed, and no start fails", async (t) => {
  const files = threeGroups().disk.image();
  const paths = [...files.keys()].filter((path) => path.includes("/log-"));
  const random = Prng.fromSeed(9);
  let closedOne = 0;
  let closedAll = 0;
  for (let round = 0; round < 150; round++) {
    const world = new World(MemoryDisk.of(files));
    const path = random.pick(paths);
    const at = random.below(SEGMENT_BYTES);
    if (random.chance(1, 3)) world.disk.harm(path, (bytes) => bytes.fill(0, at, at + 512));
    else world.disk.flip(path, at, 1 << random.below(8));
    world.onDamage = "setAside";
    world.open();
    for (const group of GROUPS) {
      const found = world.recovered.groups.find((candidate) => candidate.group === group);
      const closed = world.recovered.tombstones.some((tombstone) => tombstone.group === group);
      const whole = found?.entries.length === 24 && found.hardState.vote === group;
      if (whole === closed) t.fail(`round ${round}: group ${group} at ${at}`);
    }
    const { length } = world.recovered.tombstones;
    if (length === 1) closedOne++;
    if (length === 3) closedAll++;
    world.onDamage = "refuse";
    const before = summary(world);
    world.crash(round);
    t.equal(summary(world), before);
  }
  t.ok(closedOne > 20 && closedAll > 5, `${closedOne} closed one group, ${closedAll} all`);
});

/** A log that was vouched for, damaged everywhere: whatever is missing afterwards is reported. */
import t from "tap";
import { codeOf } from "../../src/base/errors.ts";
import { readChain } from "../../src/wal/chain.ts";
import {
  decodeSegmentHeader,
  type RecordKind,
  type SegmentHeader,
  segmentPlace,
  writeHeader,
  writePrefix,
} from "../../src/wal/format.ts";
import { NO_HINTS, Walk } from "../../src/wal/walk.ts";
import { MemoryDisk } from "./memory_disk.ts";
import { textOf } from "./oracle.ts";
import { recordsOf } from "./script.ts";
import { DIR, entryOf, quietLog, SEGMENT_BYTES, World } from "./world.ts";

const RECORDS = 200;

/** 200 synced records of three groups, in batches of 1 to 5, and the mark of a log at rest behind them. */
function markedLog(bodySize: number): { files: Map<string, Uint8Array>; text: string } {
  const world = new World().open();
  const last = new Map<number, number>();
  world.wal.appendHardState(1, 3, { term: 1, vote: 2, commit: 0 });
  for (let i = 1; i < RECORDS; i++) {
    const group = 3 + (i % 3);
    const index = (last.get(group) ?? 0) + 1;
    last.set(group, index);
    world.wal.appendEntry(1, group, entryOf(group, index, 1, bodySize));
    if (i % 7 === 0 || i % 3 === 0) world.flush();
  }
  world.flush();
  world.wal.tick(60);
  world.disk.pump();
  const files = world.disk.image();
  world.crash(1);
  return { files, text: textOf(world.recovered.groups, world.recovered.tombstones) };
}

/** What a start would say, from bytes alone. */
function judge(files: Map<string, Uint8Array>): { verdict: string; text: string } {
  const facts = [...files]
    .filter(([name]) => name.startsWith(`${DIR}/log-`))
    .map(([path, bytes]) => ({
      name: path.slice(DIR.length + 1),
      base: Number.parseInt(path.slice(-14), 16),
      size: bytes.length,
      block: bytes.subarray(0, 4096),
    }));
  const chain = readChain(facts, SEGMENT_BYTES);
  const walk = new Walk(chain, NO_HINTS);
  if (chain.damage.length === 0 && chain.versionKnown) {
    for (const { name } of chain.segments) walk.add(files.get(`${DIR}/${name}`) as Uint8Array);
  }
  const { verdict } = walk.finish();
  return { verdict, text: textOf(walk.image.recovered(), walk.image.tombstones()) };
}

function sameFiles(a: Map<string, Uint8Array>, b: Map<string, Uint8Array>): boolean {
  if (a.size !== b.size) return false;
  return [...a].every(([name, bytes]) => Buffer.compare(bytes, b.get(name) ?? new Uint8Array(0)) === 0);
}

/** True if nothing is missing, or it is said that something is. */
function honest(files: Map<string, Uint8Array>, text: string): boolean {
  const judged = judge(files);
  return judged.verdict === "corrupt" || judged.text === text;
}

t.test(
  "D1 D2: flip any bit of a marked 200-record log: no acknowledged record is silently missing",
  async (t) => {
    const { files, text } = markedLog(8);
    t.same(judge(files), { verdict: "clean", text });
    let damaged = 0;
    let flips = 0;
    for (const [path, bytes] of files) {
      if (!path.includes("/log-")) continue;
      const records = recordsOf(bytes);
      const end = (records.at(-1)?.end ?? 4096) + 64;
      // One bit of every third byte by default, another one in each; all of them where time is given.
      const strict = process.env.NUCLEUS_TEST_STRICT === "1";
      const bits = strict ? 8 : 1;
      for (let i = 0; i < end * bits; i += strict ? 1 : 3) {
        const at = Math.floor(i / bits);
        const mask = 1 << (bits === 8 ? i % 8 : (at * 5) % 8);
        bytes[at] = (bytes[at] as number) ^ mask;
        const judged = judge(files);
        if (judged.verdict === "corrupt") damaged++;
        else if (judged.text !== text) t.fail(`${path}: bit ${mask} of byte ${at}`);
        flips++;
        bytes[at] = (bytes[at] as number) ^ mask;
      }
    }
    t.ok(damaged > 7_000, `${damaged} of ${flips} flips are reported, the others lost nothing`);
  },
);

t.test("D1 D3: zero any 512 bytes of a marked log, or cut it anywhere", async (t) => {
  const { files, text } = markedLog(60);
  for (const [path, bytes] of files) {
    if (!path.includes("/log-")) continue;
    for (let at = 0; at < bytes.length; at += 512) {
      const kept = bytes.slice(at, at + 512);
      bytes.fill(0, at, at + 512);
      if (!honest(files, text)) t.fail(`${path}: zeros at ${at}`);
      bytes.set(kept, at);
    }
    for (let size = 0; size < bytes.length; size += size < 40_000 ? 16 : 512) {
      const shorter = new Map(files).set(path, bytes.subarray(0, size));
      if (judge(shorter).verdict !== "corrupt") t.fail(`${path}: ${size} bytes`);
    }
    t.pass(path);
  }
});

t.test("D1: damage in any segment of a longer log is reported", async (t) => {
  const world = new World().open();
  for (let index = 1; index <= 60; index++) world.write(7, index, index, 1, 5000);
  const { text } = judge(world.disk.image());
  const files = world.disk.image();
  const segments = [...files.keys()].filter((path) => path.includes("/log-"));
  t.ok(segments.length > 5);
  for (const path of segments.slice(0, -2)) {
    const bytes = files.get(path) as Uint8Array;
    for (let at = 0; at < bytes.length; at += 397) {
      bytes[at] = (bytes[at] as number) ^ 4;
      if (!honest(files, text)) t.fail(`${path} at ${at}`);
      bytes[at] = (bytes[at] as number) ^ 4;
    }
    const without = new Map(files);
    without.delete(path);
    t.equal(judge(without).verdict, "corrupt", `without ${path}`);
  }
});

t.test("D1: a start on damage refuses, names file and offset, and changes nothing", async (t) => {
  const { files } = markedLog(8);
  const bytes = files.get(`${DIR}/log-00000000000000`) as Uint8Array;
  bytes[4200] = (bytes[4200] as number) ^ 1;
  const disk = MemoryDisk.of(files);
  const before = disk.image();
  try {
    new World(disk).open();
    t.fail("it started");
  } catch (error) {
    t.equal(codeOf(error), "EDAMAGED");
    t.match((error as Error).message, /^\/wal\/log-00000000000000 at offset 41\d\d/);
  }
  t.ok(sameFiles(disk.image(), before));
  t.equal(disk.openFiles, 0);
});

t.test("D19: a record of an unknown kind is refused with its place, and nothing is changed", async (t) => {
  const world = new World().open();
  world.write(7, 1, 3);
  const path = `${DIR}/log-00000000000000`;
  const bytes = world.disk.content(path);
  const at = recordsOf(bytes).at(-1)?.at as number;
  const place = segmentPlace(decodeSegmentHeader(bytes) as SegmentHeader);
  world.disk.harm(path, (content) => {
    writeHeader(content, at, 0, 7, 1, 1, 0);
    writePrefix(content, at, place, at, 99 as RecordKind, 0, 1);
  });
  const before = world.disk.image();
  try {
    world.open();
    t.fail("it started");
  } catch (error) {
    t.equal(codeOf(error), "ENEWER");
    t.match((error as Error).message, new RegExp(`kind 99 at offset ${at}`));
  }
  t.ok(sameFiles(world.disk.image(), before));
});

t.test("a start with another segment size is refused", async (t) => {
  const world = new World().open();
  world.write(7, 1, 3);
  try {
    new World(world.disk, 2 * SEGMENT_BYTES).open();
    t.fail("it started");
  } catch (error) {
    t.equal(codeOf(error), "ECONFIG");
  }
});

t.test("D4: a segment of another log in the place of ours is damage", async (t) => {
  const ours = new World().open();
  const other = new World(new MemoryDisk(), SEGMENT_BYTES, quietLog, 99).open();
  for (const world of [ours, other]) world.write(7, 1, 10, 1, 10_000);
  ours.disk.setContent(`${DIR}/log-00000000000000`, other.disk.content(`${DIR}/log-00000000000000`));
  t.equal(judge(ours.disk.image()).verdict, "corrupt");
  ours.disk.setContent(`${DIR}/log-00000000020000`, ours.disk.content(`${DIR}/log-00000000010000`));
  t.equal(judge(ours.disk.image()).verdict, "corrupt");
});

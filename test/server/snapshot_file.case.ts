/** Snapshot files: whole, or not there. */
import t from "tap";
import { NucleusError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import type { SnapshotMeta } from "../../src/raft/types.ts";
import {
  listSnapshots,
  readSnapshot,
  removeLeftovers,
  snapshotName,
  writeSnapshot,
} from "../../src/server/snapshot_file.ts";
import type { SnapshotSink, SnapshotSource } from "../../src/store/types.ts";
import { MemoryDisk } from "../wal/memory_disk.ts";
import { clock } from "./doubles.ts";

const DIR = "/s";
const META: SnapshotMeta = {
  index: 42,
  term: 7,
  config: {
    version: 3,
    voters: [
      { replica: 1, node: "n1" },
      { replica: 2, node: "n2" },
    ],
    outgoing: [{ replica: 1, node: "n1" }],
    learners: [{ replica: 4, node: "n4" }],
    nextReplica: 5,
  },
};
const NAME = snapshotName(9, 42);
const PATH = `${DIR}/${NAME.file}`;
const turning = { ...clock, turn: (run: () => void) => run() };

function sourceOf(chunks: readonly Uint8Array[]): SnapshotSource & { closed: number } {
  const left = [...chunks];
  const source = {
    closed: 0,
    next: () => left.shift() ?? null,
    close: () => void source.closed++,
  };
  return source;
}

function collector(): SnapshotSink & { chunks: Uint8Array[]; installed: boolean } {
  const sink = {
    chunks: [] as Uint8Array[],
    installed: false,
    write: (chunk: Uint8Array) => {
      sink.chunks.push(chunk.slice());
      return null;
    },
    check: () => null,
    finish: () => {
      sink.installed = true;
      return null;
    },
  };
  return sink;
}

const CHUNKS = [new Uint8Array(300).fill(1), new Uint8Array(5).fill(2), new Uint8Array(64).fill(3)];

function written(): MemoryDisk {
  const disk = new MemoryDisk();
  disk.run(writeSnapshot(disk, turning, DIR, 9, META, sourceOf(CHUNKS)));
  return disk;
}

t.test("what was written is read back: chunks, config and size; and nothing is installed by that", (t) => {
  const disk = written();
  const sink = collector();
  const { meta, bytes } = disk.run(readSnapshot(disk, DIR, NAME, sink));
  t.same(meta, META);
  t.same(sink.chunks, CHUNKS);
  t.equal(bytes, disk.content(PATH).length);
  t.notOk(sink.installed);
  t.same(disk.names(), [PATH], "no temporary file is left");
  t.end();
});

t.test("D9: every truncation of a snapshot file is refused", (t) => {
  const disk = written();
  const whole = disk.content(PATH).slice();
  for (let size = 0; size < whole.length; size++) {
    disk.setContent(PATH, whole.slice(0, size));
    t.throws(
      () => disk.run(readSnapshot(disk, DIR, NAME, collector())),
      { code: "ESNAPSHOT" },
      `${size} bytes`,
    );
  }
  const longer = new Uint8Array(whole.length + 1);
  longer.set(whole);
  disk.setContent(PATH, longer);
  t.throws(
    () => disk.run(readSnapshot(disk, DIR, NAME, collector())),
    { code: "ESNAPSHOT" },
    "nor anything behind it",
  );
  t.end();
});

t.test("D9: every bit flip in a snapshot file is refused", (t) => {
  const disk = written();
  const whole = disk.content(PATH).slice();
  const accepted: number[] = [];
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const bytes = whole.slice();
    bytes[bit >>> 3] = (bytes[bit >>> 3] as number) ^ (1 << (bit & 7));
    disk.setContent(PATH, bytes);
    try {
      disk.run(readSnapshot(disk, DIR, NAME, collector()));
      accepted.push(bit);
    } catch (error) {
      if (!(error instanceof NucleusError) || error.code !== "ESNAPSHOT") throw error;
    }
  }
  t.same(accepted, []);
  t.end();
});

t.test("D9: a file under another one's name is refused, and so is an image that does not add up", (t) => {
  const disk = written();
  disk.setContent(`${DIR}/9-43.snap`, disk.content(PATH));
  t.throws(() => disk.run(readSnapshot(disk, DIR, snapshotName(9, 43), collector())), { code: "ESNAPSHOT" });
  const sink = { ...collector(), check: () => "the keys do not add up" };
  t.throws(() => disk.run(readSnapshot(disk, DIR, NAME, sink)), { code: "ESNAPSHOT", message: /add up/ });
  t.end();
});

t.test("D7, D9: a power failure at any step leaves the whole file or none", (t) => {
  for (let step = 0; step < 40; step++) {
    const disk = new MemoryDisk();
    disk.fault = (op) => (op.number >= step ? "crash" : null);
    try {
      disk.run(writeSnapshot(disk, turning, DIR, 9, META, sourceOf(CHUNKS)));
    } catch {
      // the world stopped
    }
    const after = disk.crash(Prng.fromSeed(step));
    const found = after.run(listSnapshots(after, DIR));
    if (found.length > 0) after.run(readSnapshot(after, DIR, NAME, collector()));
    after.run(removeLeftovers(after, DIR, NAME.group));
    t.ok(
      after.names().every((name) => name === PATH),
      `step ${step}`,
    );
  }
  t.end();
});

t.test("D6: a snapshot that fails gives back its space and its image, wherever it fails", (t) => {
  for (const kind of ["open", "pwrite", "datasync", "rename", "unlink"] as const) {
    const disk = new MemoryDisk();
    if (kind === "unlink") disk.setContent(`${PATH}.tmp`, Uint8Array.of(1)); // of an earlier attempt
    let failed = false;
    disk.fault = (op) => {
      if (failed || op.kind !== kind) return null;
      failed = true;
      return new NucleusError("ENOSPC", `${kind} failed`);
    };
    const source = sourceOf(CHUNKS);
    t.throws(() => disk.run(writeSnapshot(disk, turning, DIR, 9, META, source)), { code: "ENOSPC" }, kind);
    t.equal(source.closed, 1, "the image is closed");
    t.same(disk.names(), [], "nothing is left");
    t.equal(
      disk.counts.get("close") ?? 0,
      kind === "open" || kind === "unlink" ? 0 : 1,
      "no handle is left open",
    );
  }
  t.end();
});

t.test("snapshots are listed newest first; what is under way is only cleared at a start", (t) => {
  const disk = new MemoryDisk();
  for (const file of ["9-5.snap", "9-40.snap", "9-7.snap.tmp", "9-8.snap.3.tmp", "8-8.snap.tmp"])
    disk.setContent(`${DIR}/${file}`, Uint8Array.of(1));
  const indexes = disk.run(listSnapshots(disk, DIR)).map(({ index }) => index);
  t.same(indexes, [40, 5]);
  t.equal(disk.names().length, 5);
  disk.run(removeLeftovers(disk, DIR, 9));
  t.same(disk.names(), [`${DIR}/9-40.snap`, `${DIR}/9-5.snap`].concat(`${DIR}/8-8.snap.tmp`).sort());
  t.end();
});

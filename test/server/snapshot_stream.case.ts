/** Snapshots on their way: both sides by themselves, over a disk in memory. */
import t from "tap";
import type { SnapshotMeta } from "../../src/raft/types.ts";
import { snapshotName, writeSnapshot } from "../../src/server/snapshot_file.ts";
import { type ReceivedSnapshot, SnapshotReceiver } from "../../src/server/snapshot_receiver.ts";
import { SnapshotSender } from "../../src/server/snapshot_stream.ts";
import type { Snapshots } from "../../src/server/snapshots.ts";
import type { SnapshotSink } from "../../src/store/types.ts";
import { SNAPSHOT_STATUS, type SnapshotAck, type SnapshotChunk } from "../../src/wire/peer_encode.ts";
import { MemoryDisk } from "../wal/memory_disk.ts";
import { clock, random } from "./doubles.ts";

const KiB = 1024;
const CHUNK = 256 * KiB;
const GROUP = 9;
const CONFIG = {
  version: 1,
  voters: [{ replica: 1, node: "n1" }],
  outgoing: [],
  learners: [],
  nextReplica: 2,
};
const turning = { ...clock, turn: (run: () => void) => run() };
const quiet = { write: () => {} };

/** A snapshot file of about `size` bytes, filled with `fill`. */
function fileOf(index: number, size: number, fill: number): Uint8Array {
  const disk = new MemoryDisk();
  const chunks = Array.from({ length: Math.ceil(size / CHUNK) }, () => new Uint8Array(CHUNK).fill(fill));
  const meta: SnapshotMeta = { index, term: 3, config: CONFIG };
  const source = { next: () => chunks.shift() ?? null, close: () => {} };
  disk.run(writeSnapshot(disk, turning, "/f", GROUP, meta, source));
  return disk.content(`/f/${snapshotName(GROUP, index).file}`);
}

/** The chunks in which a leader sends a file. */
function chunksOf(
  file: Uint8Array,
  index: number,
  transfer: number,
  more: Partial<SnapshotChunk> = {},
): SnapshotChunk[] {
  const chunks: SnapshotChunk[] = [];
  for (let offset = 0; offset < file.length; offset += CHUNK) {
    const bytes = file.slice(offset, offset + CHUNK);
    const last = offset + bytes.length === file.length;
    const to = { group: GROUP, from: 1, to: 2, term: 5, snapshot: transfer, index, snapshotTerm: 3 };
    chunks.push({ ...to, offset, total: file.length, last, meta: new Uint8Array(0), bytes, ...more });
  }
  return chunks;
}

function receiver() {
  const disk = new MemoryDisk();
  const state = { term: 5, commit: 0, takes: true };
  const acks: SnapshotAck[] = [];
  const received: ReceivedSnapshot[] = [];
  const beginRestore = (): SnapshotSink => ({ write: () => null, check: () => null, finish: () => null });
  const side = new SnapshotReceiver(
    {
      disk,
      log: quiet,
      group: GROUP,
      replica: 2,
      term: () => state.term,
      commitIndex: () => state.commit,
      beginRestore,
      sendAck: (ack) => void acks.push(ack),
      onReceived: (_from, _term, snapshot) => {
        received.push(snapshot);
        return state.takes;
      },
    },
    "/s",
  );
  const said = (): string[] => acks.map(({ status, received: n }) => `${STATUS[status]} ${n}`);
  return { disk, state, acks, received, side, said };
}

const STATUS = ["receiving", "done", "refused"];

t.test("chunks in order make the file; it is named when it is whole, and the core is told once", (t) => {
  const { disk, received, side, said } = receiver();
  const file = fileOf(7, 3 * CHUNK, 1);
  const chunks = chunksOf(file, 7, 1);
  for (const chunk of chunks) {
    t.same(received, []);
    side.onChunk(chunk);
    disk.pump();
  }
  t.match(received, [{ meta: { index: 7, term: 3 }, bytes: file.length }]);
  t.same(disk.names(), ["/s/9-7.snap"]);
  t.same(disk.content("/s/9-7.snap"), file);
  t.equal(said().at(-1), `done ${file.length}`);
  t.equal(disk.counts.get("open"), disk.counts.get("close"), "D18: no handle is left open");
  t.end();
});

t.test(
  "I3: chunks that come while the disk works wait in order, and never more than a window of them",
  (t) => {
    const { disk, received, side, said } = receiver();
    const file = fileOf(7, 40 * CHUNK, 1);
    const chunks = chunksOf(file, 7, 1);
    for (const chunk of chunks) side.onChunk(chunk); // more than a window, and the disk does nothing yet
    t.ok(said().length >= chunks.length - 17, "what is too much is answered with where to go on");
    disk.pump();
    t.equal(received.length, 0);
    const last = said().at(-1);
    const got = Number(last?.split(" ")[1]);
    t.ok(got >= 4 * 1024 * KiB - CHUNK && got <= 4 * 1024 * KiB + CHUNK, String(last));
    for (let at = got / CHUNK; at < chunks.length; at++) {
      side.onChunk(chunks[at] as SnapshotChunk);
      disk.pump();
    }
    t.equal(received.length, 1);
    t.end();
  },
);

t.test(
  "a gap, a repetition and the last chunk while it is being checked are answered with where to go on",
  (t) => {
    const { disk, side, said, received } = receiver();
    const chunks = chunksOf(fileOf(7, 3 * CHUNK, 1), 7, 1) as [
      SnapshotChunk,
      SnapshotChunk,
      SnapshotChunk,
      SnapshotChunk,
    ];
    side.onChunk(chunks[0]);
    disk.pump();
    side.onChunk(chunks[2]);
    side.onChunk(chunks[0]);
    t.same(said(), [`receiving ${CHUNK}`, `receiving ${CHUNK}`, `receiving ${CHUNK}`]);
    side.onChunk(chunks[1]);
    side.onChunk(chunks[2]);
    side.onChunk(chunks[3]);
    for (let i = 0; i < 6; i++) disk.step();
    side.onChunk(chunks[3]);
    t.match(said().at(-1), /^receiving/, "somebody is there");
    disk.pump();
    t.match(said().at(-1), /^done/);
    t.equal(received.length, 1);
    t.end();
  },
);

t.test("D14: chunks of two transfers never mix, whatever they have in common", (t) => {
  const one = fileOf(7, 3 * CHUNK, 1);
  const two = fileOf(8, 3 * CHUNK, 2);
  for (const [what, other] of [
    ["another transfer of the same file", chunksOf(one, 7, 2)],
    ["another snapshot under the same number", chunksOf(two, 8, 1)],
    ["another term of the same index", chunksOf(one, 7, 1, { snapshotTerm: 4 })],
    ["another leader", chunksOf(one, 7, 1, { from: 3 })],
    ["a later leadership", chunksOf(one, 7, 1, { term: 6 })],
    ["another size", chunksOf(fileOf(7, 4 * CHUNK, 1), 7, 1)],
  ] as const) {
    const { disk, side, said, received } = receiver();
    side.onChunk(chunksOf(one, 7, 1)[0] as SnapshotChunk);
    disk.pump();
    side.onChunk(other[1] as SnapshotChunk); // it would continue the first one
    disk.pump();
    t.equal(said().at(-1), "receiving 0", `${what}: from its beginning`);
    for (const chunk of other) {
      side.onChunk(chunk);
      disk.pump();
    }
    t.equal(received.length, 1, what);
    t.same(
      disk.names(),
      [`/s/${snapshotName(GROUP, (other[0] as SnapshotChunk).index).file}`],
      "nothing else is left",
    );
  }
  t.end();
});

t.test(
  "D10: chunks of a former leadership are refused, and what is committed here needs no snapshot",
  (t) => {
    const { disk, state, side, said } = receiver();
    const [first] = chunksOf(fileOf(7, CHUNK, 1), 7, 1) as [SnapshotChunk];
    state.term = 6;
    side.onChunk(first);
    t.same(said(), ["refused 0"]);
    state.term = 5;
    state.commit = 7;
    side.onChunk(first);
    t.equal(said().at(-1), `done ${first.total}`);
    disk.pump();
    t.same(disk.names(), []);
    t.end();
  },
);

t.test("D9: a file that is not whole is refused and removed, and the core is not told", (t) => {
  const { disk, side, said, received } = receiver();
  const file = fileOf(7, 2 * CHUNK, 1).slice();
  file[CHUNK] = (file[CHUNK] as number) ^ 1;
  for (const chunk of chunksOf(file, 7, 1)) {
    side.onChunk(chunk);
    disk.pump();
  }
  t.same(received, []);
  t.equal(said().at(-1), "refused 0");
  t.same(disk.names(), []);
  t.equal(disk.counts.get("open"), disk.counts.get("close"));
  t.end();
});

t.test("a snapshot that the core does not take is refused, unless the log got there by itself", (t) => {
  for (const commit of [0, 7]) {
    const { disk, state, side, said, received } = receiver();
    state.takes = false;
    const chunks = chunksOf(fileOf(7, CHUNK, 1), 7, 1);
    for (const chunk of chunks) side.onChunk(chunk);
    state.commit = commit;
    disk.pump();
    t.equal(received.length, 1);
    t.match(said().at(-1), commit === 7 ? /^done/ : /^refused/);
  }
  t.end();
});

t.test("a full disk refuses a snapshot and is left as it was", (t) => {
  const { disk, side, said } = receiver();
  disk.capacityBytes = CHUNK + 10;
  for (const chunk of chunksOf(fileOf(7, 3 * CHUNK, 1), 7, 1)) {
    side.onChunk(chunk);
    disk.pump();
  }
  t.ok(said().includes("refused 0"));
  t.same(disk.names(), []);
  t.end();
});

function sender(size = 40 * CHUNK, drawn = 7) {
  const disk = new MemoryDisk();
  const name = snapshotName(GROUP, 7);
  disk.setContent(`/s/${name.file}`, fileOf(7, size, 1));
  const state = { term: 5, connected: true, readers: 0 };
  const sent: SnapshotChunk[] = [];
  const ended: string[] = [];
  const snapshots = {
    dir: "/s",
    hold: () => {
      state.readers++;
      return name;
    },
    release: () => void state.readers--,
  } as unknown as Snapshots;
  const platform = {
    clock,
    random: { ...random, u32: () => drawn },
    disk,
    net: { listen: () => {}, dial: () => {} },
    log: quiet,
  };
  const side = new SnapshotSender(
    {
      platform: platform as never,
      group: GROUP,
      replica: 1,
      term: () => state.term,
      sendChunk: (chunk) => {
        if (state.connected) sent.push(chunk);
        return state.connected;
      },
      snapshotSent: (to, index, ok) => void ended.push(`${to} ${index} ${ok}`),
    },
    snapshots,
  );
  const ack = (received: number, status: keyof typeof SNAPSHOT_STATUS = "receiving"): void => {
    const transfer = (sent.at(-1) as SnapshotChunk).snapshot;
    const head = { group: GROUP, from: 2, to: 1, term: 5, snapshot: transfer, credits: 0 };
    side.onAck({ ...head, received, status: SNAPSHOT_STATUS[status] });
    disk.pump();
  };
  const start = (): void => {
    side.start(2);
    disk.pump();
  };
  return { disk, state, sent, ended, side, ack, start };
}

t.test("I3: no more than a window is on its way", (t) => {
  const { sent, ack, start, ended, state } = sender();
  start();
  t.equal(sent.length, 16);
  ack(CHUNK);
  t.equal(sent.length, 17);
  t.equal(sent.at(-1)?.offset, 16 * CHUNK);
  const total = sent[0]?.total as number;
  for (let received = 2 * CHUNK; received < total; received += CHUNK) ack(received);
  t.ok(sent.at(-1)?.last);
  t.same(ended, []);
  ack(total, "done");
  t.same(ended, ["2 7 true"]);
  t.equal(state.readers, 0);
  t.end();
});

t.test("what is lost on the way is sent again after a second, and given up after ten", (t) => {
  const { disk, sent, ack, start, side, ended, state } = sender();
  start();
  ack(2 * CHUNK);
  const before = sent.length;
  for (let i = 0; i < 100; i++) side.tick(true);
  disk.pump();
  t.equal(sent[before]?.offset, 2 * CHUNK, "from the last answer");
  for (let i = 0; i < 1000; i++) side.tick(true);
  t.same(ended, ["2 7 false"]);
  disk.pump();
  t.equal(state.readers, 0);
  t.equal(disk.counts.get("open"), disk.counts.get("close"), "D18");
  t.end();
});

t.test("a receiver that began anew is sent everything again", (t) => {
  const { sent, ack, start } = sender();
  start();
  ack(5 * CHUNK);
  const before = sent.length;
  ack(0);
  t.equal(sent[before]?.offset, 0);
  t.end();
});

t.test(
  "a stream ends with the leadership that began it, and its file is closed once it is not being read",
  (t) => {
    for (const end of ["deposed", "another term"]) {
      const { disk, state, ended, side } = sender();
      side.start(2);
      for (let i = 0; i < 3; i++) disk.step(); // opened, and its head is being read
      side.tick(true);
      disk.step();
      disk.step();
      if (end === "another term") state.term = 6;
      side.tick(end !== "deposed");
      disk.pump();
      side.tick(end !== "deposed");
      disk.pump();
      t.same(ended, ["2 7 false"], end);
      t.equal(disk.counts.get("open"), disk.counts.get("close"), "D18");
    }
    t.end();
  },
);

t.test(
  "D18: a replica that is closed while the file is opened or read leaves no file open, and sends nothing",
  (t) => {
    for (let steps = 0; steps < 12; steps++) {
      const { disk, sent, state, side } = sender();
      side.start(2);
      for (let i = 0; i < steps; i++) disk.step();
      side.stop();
      const before = sent.length;
      disk.pump(); // and nobody ticks it any more
      t.equal(sent.length, before);
      t.equal(state.readers, 0);
      t.equal(disk.counts.get("open"), disk.counts.get("close"), `after ${steps} steps`);
    }
    t.end();
  },
);

t.test("a snapshot that cannot be read is given up, and its file closed", (t) => {
  const { disk, ended, start, state } = sender();
  disk.flip("/s/9-7.snap", 3);
  start();
  t.same(ended, ["2 7 false"]);
  t.equal(state.readers, 0);
  t.equal(disk.counts.get("open"), disk.counts.get("close"), "D18");
  t.end();
});

t.test("D14: two senders do not count their transfers alike", (t) => {
  const [one, two] = [sender(CHUNK, 7), sender(CHUNK, 8)];
  one.start();
  two.start();
  t.not(one.sent[0]?.snapshot, two.sent[0]?.snapshot);
  t.end();
});

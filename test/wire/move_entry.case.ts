/** Entries of moves: steps and chunks read back, and what is no such thing is refused without an exception. */
import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import {
  ChunkRows,
  ChunkWriter,
  chunkError,
  decodeMoveStep,
  encodeMoveStep,
  type MoveStep,
  readChunk,
} from "../../src/wire/move_entry.ts";

const numbers = {
  chunks: 3,
  keys: 7,
  bytes: 2 ** 40,
  recordsHash: "0123456789abcdef",
  clients: 1,
  replies: 2,
  sessionsHash: "fedcba9876543210",
  timeMs: 1_900_000_000_000,
  revision: 2 ** 48 - 1,
  sourceIndex: 2 ** 50,
};
const STEPS: MoveStep[] = [
  {
    kind: "import",
    epoch: 2 ** 52,
    slots: [
      [0, 3],
      [16383, 16383],
    ],
    shard: "s1",
    group: 2 ** 52,
    hold: true,
  },
  { kind: "begin", epoch: 1, term: 5, n: 0 },
  { kind: "own", epoch: 1, term: 5, n: 2 ** 32 - 1, ...numbers },
  { kind: "abort", epoch: 1 },
  { kind: "seal", epoch: 9, slots: [[5, 5]], shard: "s2", group: 7 },
  { kind: "release", epoch: 9 },
  { kind: "unseal", epoch: 9 },
  { kind: "decline", epoch: 9 },
];

t.test("every step reads back; a part of one, or one that says something else, is none", async (t) => {
  for (const step of STEPS) {
    const body = encodeMoveStep(step);
    t.same(decodeMoveStep(body), step);
    for (let length = 0; length < body.length; length++) t.equal(decodeMoveStep(body.slice(0, length)), null);
  }
  t.equal(decodeMoveStep(Uint8Array.of(2, 0)), null);
});

function chunk(): Uint8Array {
  const writer = new ChunkWriter();
  writer.begin({ epoch: 2 ** 52, term: 2 ** 40, n: 7, number: 9 });
  const text = utf8("..key.value");
  writer.record(2 ** 48 - 1, 2 ** 50, text, 2, 5, text, 6, 11);
  writer.removal(utf8("gone"));
  const id = Uint8Array.from({ length: 16 }, (_, i) => i);
  writer.client(id, 5, 2 ** 50);
  writer.client(id, 0, 0, true);
  writer.reply(id, 6, 16383, utf8("reply"));
  writer.reply(id, 7, 0, null);
  return writer.end().slice();
}

t.test(
  "J3: a chunk reads back row by row; cut or changed, it is refused or says something else, and no more",
  async (t) => {
    const body = chunk();
    t.equal(chunkError(body), null);
    const read = readChunk(body);
    if (read === null) throw new Error("no chunk");
    t.same(read.header, { rows: 6, epoch: 2 ** 52, term: 2 ** 40, n: 7, number: 9 });
    const rows = new ChunkRows(read.rows, read.header.rows);
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
    t.ok(rows.next());
    t.same(
      [rows.kind, text(rows.key), text(rows.value), rows.revision, rows.deadline],
      [1, "key", "value", 2 ** 48 - 1, 2 ** 50],
    );
    t.ok(rows.next());
    t.same([rows.kind, text(rows.key)], [2, "gone"]);
    t.ok(rows.next());
    t.same([rows.kind, rows.floor, rows.notAfter, rows.isGone], [3, 5, 2 ** 50, false]);
    t.ok(rows.next());
    t.same([rows.kind, rows.isGone], [3, true]);
    t.ok(rows.next());
    t.same([rows.kind, rows.seq, rows.slot, rows.isKept, text(rows.value)], [4, 6, 16383, true, "reply"]);
    t.ok(rows.next());
    t.same([rows.isKept, rows.value.length], [false, 0]);
    t.notOk(rows.next());
    t.ok(rows.isWhole);
    for (let length = 0; length < body.length; length++)
      t.type(chunkError(body.slice(0, length)), "string", `cut at ${length}`);
    for (let at = 0; at < body.length; at++) {
      const changed = body.slice();
      changed[at] = (changed[at] as number) ^ 0x81;
      chunkError(changed); // anything but an exception
    }
  },
);

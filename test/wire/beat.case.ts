/** Heartbeats as bytes: rows that are as before are copied and given again, and nothing shows of it. */
import t from "tap";
import { Prng } from "../../src/base/prng.ts";
import { BeatReader, encodeBeat } from "../../src/wire/beat.ts";
import type { GroupReport, Heartbeat } from "../../src/wire/control_plane.ts";
import { type ControlRequest, controlRequest } from "../../src/wire/control_request.ts";
import { decodeShape, encodeShape, ShapeError } from "../../src/wire/msgpack.ts";

function rowOf(i: number, applied = 3, leads = i % 3 === 0): GroupReport {
  const voters = [1, 2, 3].map((replica) => ({ replica, node: `n${replica}` }));
  const slots = [{ epoch: 1, slots: [[i, i]] as const }];
  const lead = leads ? { configVersion: 1, voters, joint: false, learners: [], slots, moves: [] } : null;
  const numbers = { term: 2, applied, keys: 0, bytes: 0 };
  return {
    group: 2 ** 50 + i,
    shard: `s${i}`,
    replica: 1,
    quarantined: false,
    leader: "n1",
    ...numbers,
    lead,
  };
}

function beatOf(groups: readonly GroupReport[], epoch = 1): Heartbeat {
  const load = { commandsPerSecond: epoch, bytes: 0, diskFreeBytes: 0 };
  const heard = { version: { restore: 0, index: 9 }, epoch, plan: 1 };
  return { node: "n1", incarnation: "ab".repeat(16), heard, load, groups };
}

const plainly = (heartbeat: Heartbeat): Uint8Array =>
  encodeShape(controlRequest, { kind: "beat", heartbeat });
const rowsOf = (request: ControlRequest | ShapeError): readonly GroupReport[] =>
  request instanceof ShapeError || request.kind !== "beat" ? [] : request.heartbeat.groups;

t.test("the bytes are those of any other request, however many rows there are", async (t) => {
  const rows = Array.from({ length: 300 }, (_, i) => rowOf(i));
  for (const count of [0, 1, 15, 16, 255, 256, 300]) {
    const beat = beatOf(rows.slice(0, count));
    t.same(encodeBeat(beat), plainly(beat));
    t.same(encodeBeat(beat), plainly(beat), "once more");
  }
});

t.test(
  "what is read is what was sent, whatever changed; and a row as before is the same object",
  async (t) => {
    const random = Prng.fromSeed(7);
    const reader = new BeatReader();
    let rows = Array.from({ length: 40 }, (_, i) => rowOf(i));
    let before: readonly GroupReport[] = [];
    let same = 0;
    for (let round = 1; round <= 200; round++) {
      if (random.chance(1, 2)) rows = rows.with(random.below(rows.length), rowOf(random.below(90), round));
      if (random.chance(1, 20)) rows = rows.slice(random.below(3));
      if (random.chance(1, 20) || rows.length < 5) rows = [...rows, rowOf(100 + round), rowOf(400 + round)];
      const request = reader.read(encodeBeat(beatOf(rows, round)));
      t.same(request, { kind: "beat", heartbeat: beatOf(rows, round) });
      for (const [i, row] of rowsOf(request).entries()) if (row === before[i]) same++;
      if (random.chance(1, 10)) continue; // the answer was lost, or the node is not known
      reader.keep();
      before = rowsOf(request);
    }
    t.ok(same > 200 * 20, `${same} rows were not read again`);
  },
);

t.test("rows of a node that is not known are not kept", async (t) => {
  const reader = new BeatReader();
  const bytes = encodeBeat(beatOf([rowOf(1)]));
  const [first] = rowsOf(reader.read(bytes));
  const [second] = rowsOf(reader.read(bytes));
  t.not(second, first);
  reader.keep();
  t.equal(rowsOf(reader.read(bytes))[0], second);
});

t.test("what is cut short or changed anywhere is read as any other request would be", async (t) => {
  const rows = [rowOf(3), rowOf(4)];
  const whole = encodeBeat(beatOf(rows));
  for (let at = 0; at < whole.length; at++) {
    const reader = new BeatReader();
    reader.read(whole);
    reader.keep();
    const changed = whole.slice();
    changed[at] = (changed[at] as number) ^ (1 << (at % 8));
    for (const bytes of [whole.slice(0, at), changed]) {
      const usual = decodeShape(controlRequest, bytes, "request");
      const read = reader.read(bytes);
      const agree =
        usual instanceof ShapeError
          ? read instanceof ShapeError && read.reason === usual.reason
          : JSON.stringify(read) === JSON.stringify(usual);
      if (!agree) t.fail(`byte ${at}`);
    }
  }
  const others: readonly ControlRequest[] = [
    { kind: "map" },
    { kind: "http", method: "GET", path: "/health", body: new Uint8Array(3) },
  ];
  for (const request of others) t.same(new BeatReader().read(encodeShape(controlRequest, request)), request);
});

import fc from "fast-check";
import t from "tap";
import { concat, setU32, utf8, Writer } from "../../src/base/bytes.ts";
import { crc32Range } from "../../src/base/checksum.ts";
import type { AppendRequest, Message } from "../../src/raft/types.ts";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../../src/wire/batch.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";
import {
  APPEND_HEAD_BYTES,
  PEER_FRAME_BYTES_MAX,
  PEER_HEADER_BYTES,
  PEER_KIND,
  PeerParser,
} from "../../src/wire/peer.ts";
import { decodePeerFrame, type PeerFrame } from "../../src/wire/peer_decode.ts";
import {
  FORWARD_STATUS,
  PeerEncoder,
  type SingleMessage,
  SNAPSHOT_STATUS,
} from "../../src/wire/peer_encode.ts";
import { cuts, flip, noise, pieces, poison, prng } from "./bytes.ts";
import { frameOf } from "./frames.ts";
import { golden, hexDump } from "./script.ts";

const GROUP = 77;
/** A native reply. */
const OK = new Writer(16);
new ReplyEncoder(OK).simple("OK");
const route = { from: 1, to: 2, term: 9 };

function batch(index: number, term: number, body = utf8(`body of ${index}`), group = GROUP): Uint8Array {
  const bytes = new Uint8Array(BATCH_HEADER_BYTES + body.length);
  bytes.set(body, BATCH_HEADER_BYTES);
  const rest = {
    timeMs: 5,
    count: 1,
    kind: ENTRY_KIND.commands,
    encoding: COMMAND_ENCODING,
    stateVersion: 1,
  };
  sealBatch(bytes, 0, { bodySize: body.length, group, term, index, ...rest });
  return bytes;
}

/** The frames that `write` makes, one after another. */
function frames(write: (encoder: PeerEncoder) => void): Uint8Array {
  const encoder = new PeerEncoder(new Writer(1));
  write(encoder);
  return encoder.writer.copy();
}

function append(
  encoder: PeerEncoder,
  prevIndex: number,
  prevTerm: number,
  batches: readonly Uint8Array[],
): void {
  const message: AppendRequest = {
    kind: "append",
    ...route,
    prevIndex,
    prevTerm,
    lastIndex: prevIndex + batches.length,
    entries: [],
    commit: 3,
  };
  const all = concat(batches);
  encoder.appendHead(GROUP, message, all.length);
  encoder.writer.raw(all);
}

/** A copy as plain data; of bytes with a start and an end, what lies between. */
function plain(frame: PeerFrame | string): unknown {
  if (typeof frame === "string") return frame;
  const own = JSON.stringify(frame, (_, value: unknown) => {
    if (value instanceof Uint8Array) return [...value];
    if (typeof value !== "object" || value === null || !("start" in value)) return value;
    const { bytes, start, end, ...rest } = value as { bytes: Uint8Array; start: number; end: number };
    return { ...rest, bytes: [...bytes.subarray(start, end)] };
  });
  return JSON.parse(own);
}

/** Everything a stream says; each chunk is overwritten once it is used up. */
function receive(chunks: readonly Uint8Array[], parser = new PeerParser()): unknown[] {
  const said: unknown[] = [];
  const kept: PeerFrame[] = [];
  for (const chunk of chunks) {
    const own = chunk.slice();
    parser.feed(own);
    let event = parser.next();
    for (; event === "frame"; event = parser.next()) {
      const frame = decodePeerFrame(parser);
      said.push(plain(frame));
      if (typeof frame !== "string" && frame.kind === "message") kept.push(frame);
    }
    poison(own);
    if (event === "error") return [...said, parser.error];
  }
  // What the core keeps must not have changed with the buffers it came in.
  for (const frame of kept)
    if (!said.some((one) => JSON.stringify(one) === JSON.stringify(plain(frame)))) said.push("changed later");
  return said;
}

const hello = {
  cluster: "ab".repeat(16),
  node: "n1",
  incarnation: "cd".repeat(16),
  class: "control",
  wireVersions: [1],
  stateVersionMin: 1,
  stateVersionMax: 1,
  held: [],
} as const;

const singles: readonly SingleMessage[] = [
  { kind: "vote", ...route, lastIndex: 8, lastTerm: 7, transfer: true },
  { kind: "prevote", ...route, lastIndex: 8, lastTerm: 7, transfer: false },
  { kind: "vote_reply", ...route, granted: true },
  { kind: "prevote_reply", ...route, granted: false },
  { kind: "append_reply", ...route, accepted: true, index: 12, hintIndex: 0, hintTerm: 0 },
  { kind: "append_reply", ...route, accepted: false, index: 12, hintIndex: 5, hintTerm: 4 },
  { kind: "timeout_now", ...route },
  { kind: "read_ask", ...route, ask: 2 ** 52 },
  { kind: "read_answer", ...route, ask: 2 ** 52, index: 12 },
];

const chunk = {
  group: GROUP,
  ...route,
  snapshot: 3,
  index: 100,
  snapshotTerm: 8,
  offset: 0,
  total: 5,
  last: false,
  meta: Uint8Array.of(1, 2),
  bytes: Uint8Array.of(3, 4, 5),
};
const ack = {
  group: GROUP,
  ...route,
  snapshot: 3,
  received: 5,
  credits: 1 << 20,
  status: SNAPSHOT_STATUS.done,
};

/** One frame of every kind, with its name. */
const samples: readonly (readonly [string, (encoder: PeerEncoder) => void])[] = [
  ["hello", (encoder) => encoder.hello(hello)],
  ["append of nothing", (encoder) => append(encoder, 0, 0, [])],
  ["append of two", (encoder) => append(encoder, 4, 8, [batch(5, 8), batch(6, 9)])],
  ...singles.map((message): [string, (encoder: PeerEncoder) => void] => [
    message.kind,
    (encoder) => encoder.single(GROUP, message, 1_700_000_000_000),
  ]),
  [
    "heartbeats",
    (encoder) =>
      encoder.heartbeats([
        { group: GROUP, message: { kind: "heartbeat", ...route, commit: 3, round: 4, rest: 9 } },
        {
          group: 78,
          message: { kind: "heartbeat", from: 3, to: 1, term: 2, commit: 0, round: 2 ** 53 - 1, rest: 0 },
        },
      ]),
  ],
  [
    "heartbeat replies",
    (encoder) =>
      encoder.heartbeatReplies(1_700_000_000_000, [
        { group: GROUP, message: { kind: "heartbeat_reply", ...route, round: 4, rest: 0 } },
      ]),
  ],
  ["snapshot chunk", (encoder) => encoder.snapshotChunk(chunk)],
  [
    "last snapshot chunk",
    (encoder) =>
      encoder.snapshotChunk({
        ...chunk,
        offset: 3,
        bytes: Uint8Array.of(6, 7),
        meta: new Uint8Array(0),
        last: true,
      }),
  ],
  ["snapshot ack", (encoder) => encoder.snapshotAck(ack)],
  [
    "forward request",
    (encoder) => {
      const commands = concat([
        frameOf(["set", "k", "v"]) as Uint8Array,
        frameOf(["get", "k"]) as Uint8Array,
      ]);
      encoder.forwardRequest(
        { request: 6, group: GROUP, deadlineMs: 1000, count: 2 },
        commands,
        0,
        commands.length,
      );
    },
  ],
  [
    "forward replies",
    (encoder) => {
      encoder.beginReplies();
      encoder.replyBytes(6, 0, OK.bytes, 0, OK.length);
      encoder.replyNotLeader(6, 1, 9, "n2");
      encoder.replyError(7, 2, "refused", "TRYAGAIN later, ü");
      encoder.replyError(8, 0, "unknown", "UNCERTAIN leader lost");
      encoder.replyBytes(9, 3, Uint8Array.of(0), 0, 1);
      encoder.replyNotServed(9, 4, { slot: 16_383, epoch: 12, group: GROUP, shard: "s2" });
      encoder.endReplies();
    },
  ],
  ["control", (encoder) => encoder.control(Uint8Array.of(0x90))],
];

const stream = frames((encoder) => {
  for (const [, write] of samples) write(encoder);
});

t.test("peer frames have these bytes", async (t) => {
  const lines = samples.flatMap(([name, write]) => [name, ...hexDump(frames(write))]);
  golden(t, "peer_frames", `${lines.join("\n")}\n`);
});

t.test("what a node sends is what its peer receives", async (t) => {
  const received = receive([stream]) as Record<string, unknown>[];
  t.equal(received.length, samples.length);
  t.same(received[0], { kind: "hello", hello });
  t.match(received[2], {
    kind: "message",
    group: GROUP,
    wallMs: 0,
    message: { kind: "append", prevIndex: 4, lastIndex: 6, commit: 3 },
  });
  const { entries } = (received[2] as { message: { entries: unknown[] } }).message;
  t.same(entries, [
    { index: 5, term: 8, kind: ENTRY_KIND.commands, bytes: [...batch(5, 8)] },
    { index: 6, term: 9, kind: ENTRY_KIND.commands, bytes: [...batch(6, 9)] },
  ]);
  for (const [i, message] of singles.entries()) {
    const wallMs = message.kind.endsWith("vote_reply") ? 1_700_000_000_000 : 0;
    t.same(received[3 + i], { kind: "message", group: GROUP, message, wallMs }, message.kind);
  }
  const rest = received.slice(3 + singles.length);
  t.match(rest[0], {
    kind: "heartbeats",
    rows: [{ group: GROUP }, { group: 78, message: { round: 2 ** 53 - 1 } }],
  });
  t.match(rest[1], {
    kind: "heartbeat_replies",
    wallMs: 1_700_000_000_000,
    rows: [{ message: { round: 4, term: 9 } }],
  });
  t.same(rest[2], { kind: "snapshot_chunk", chunk: { ...chunk, meta: [1, 2], bytes: [3, 4, 5] } });
  t.match(rest[3], { chunk: { offset: 3, total: 5, last: true } });
  t.same(rest[4], { kind: "snapshot_ack", ack });
  t.match(rest[5], {
    kind: "forward_request",
    request: { request: 6, group: GROUP, deadlineMs: 1000, count: 2 },
  });
  t.match(rest[6], {
    rows: [
      { request: 6, ordinal: 0, status: FORWARD_STATUS.ok },
      { request: 6, ordinal: 1, status: FORWARD_STATUS.notLeader, term: 9, text: "n2" },
      { request: 7, ordinal: 2, status: FORWARD_STATUS.refused, text: "TRYAGAIN later, ü" },
      { request: 8, status: FORWARD_STATUS.unknown, text: "UNCERTAIN leader lost" },
      { request: 9, ordinal: 3, status: FORWARD_STATUS.ok, bytes: [0] },
      {
        request: 9,
        ordinal: 4,
        status: FORWARD_STATUS.notServed,
        refusal: { slot: 16_383, epoch: 12, group: GROUP, shard: "s2" },
      },
    ],
  });
  t.same(rest[7], { kind: "control", bytes: [0x90] });
});

t.test(
  "H11: a stream means the same wherever it is cut, and what the core keeps outlives the buffers",
  async (t) => {
    const whole = JSON.stringify(receive([stream]));
    t.notMatch(whole, /changed later/);
    for (const chunks of cuts(stream)) {
      if (JSON.stringify(receive(chunks)) !== whole) t.fail(`cut as ${chunks.map((one) => one.length)}`);
    }
  },
);

t.test(
  "H6: every flipped bit, lost, doubled or swapped piece is noticed before it means anything",
  async (t) => {
    const whole = receive([stream]).map((frame) => JSON.stringify(frame));
    const isPrefix = (said: unknown[]): boolean =>
      said.every((frame, i) => typeof frame === "string" || JSON.stringify(frame) === whole[i]);
    const ends = said(stream);
    for (let bit = 0; bit < 8 * stream.length; bit++) {
      const heard = receive([flip(stream, bit)]);
      if (!isPrefix(heard)) t.fail(`bit ${bit} changed a frame`);
      const complete = heard.length === whole.length && heard.every((frame) => typeof frame !== "string");
      if (complete) t.fail(`bit ${bit} passed`);
    }
    // Whole frames lost, doubled or swapped: only the sequence can tell.
    for (let i = 0; i < ends.length - 1; i++) {
      const [from, to] = [i === 0 ? 0 : (ends[i - 1] as number), ends[i] as number];
      const frame = stream.slice(from, to);
      const lost = receive([stream.slice(0, from), stream.slice(to)]);
      t.equal(lost.at(-1), "sequence", `frame ${i} lost`);
      t.equal(lost.length, i + 1);
      t.equal(receive([stream.slice(0, to), frame]).at(-1), "sequence", `frame ${i} doubled`);
    }
    const random = prng(71);
    for (let i = 0; i < 300; i++) {
      const from = random.below(stream.length);
      const to = from + 1 + random.below(40);
      const gone = receive([stream.slice(0, from), stream.slice(to)]);
      if (!isPrefix(gone) || gone.length > whole.length) t.fail(`bytes ${from}..${to} lost`);
      const twice = receive([stream.slice(0, to), stream.slice(from)]);
      if (!isPrefix(twice)) t.fail(`bytes ${from}..${to} doubled`);
    }
  },
);

/** Where the frames of a stream end. */
function said(bytes: Uint8Array): number[] {
  const ends: number[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let at = 0; at < bytes.length; ) {
    at += view.getUint32(at, true);
    ends.push(at);
  }
  return ends;
}

t.test("B4: an append that does not continue the log is refused whole", async (t) => {
  const heard = (prevIndex: number, prevTerm: number, ...batches: Uint8Array[]): unknown =>
    receive([frames((encoder) => append(encoder, prevIndex, prevTerm, batches))])[0];
  t.match(heard(4, 8, batch(5, 8), batch(6, 9)), { kind: "message" });
  t.equal(heard(4, 8, batch(6, 8)), "batch_order", "the first is missing");
  t.equal(heard(0, 0, batch(7, 8)), "batch_order", "no predecessor, but entries that start high");
  t.equal(heard(4, 8, batch(5, 8), batch(7, 8)), "batch_order", "a gap");
  t.equal(heard(4, 8, batch(5, 8), batch(5, 8)), "batch_order", "twice the same");
  t.equal(heard(4, 8, batch(5, 7)), "batch_order", "a term below its predecessor's");
  t.equal(heard(4, 8, batch(5, 9), batch(6, 8)), "batch_order", "a term that falls");
  t.equal(heard(4, 8, batch(5, 10)), "batch_order", "a term above the sender's");
  t.equal(heard(4, 8, batch(5, 8, undefined, GROUP + 1)), "batch_order", "another group's batch");
  t.equal(heard(4, 10), "number_range", "a predecessor of a later term than the sender's");
  t.equal(heard(4, 8, flip(batch(5, 8), 8 * 50)), "batch", "rot in a body");
  t.equal(heard(4, 8, batch(5, 8).slice(0, -1)), "batch", "a batch cut short");
  t.equal(heard(4, 8, concat([batch(5, 8), Uint8Array.of(0)])), "count", "bytes behind the last batch");
});

/** A frame of `kind` with this body, with a right checksum and sequence 0. */
function crafted(kind: number, body: Uint8Array, flags = 0, reserved = 0): Uint8Array {
  const bytes = new Uint8Array(PEER_HEADER_BYTES + body.length);
  bytes.set(body, PEER_HEADER_BYTES);
  setU32(bytes, 0, bytes.length);
  bytes.set([kind, flags, reserved], 12);
  const covered = kind === PEER_KIND.append ? Math.min(APPEND_HEAD_BYTES, bytes.length) : bytes.length;
  setU32(bytes, 4, crc32Range(bytes, 8, covered, bytes.length));
  return bytes;
}

t.test("J3: every kind, cut short, overlong, or with numbers out of range, is refused", async (t) => {
  const ends = said(stream);
  for (const [i, [name]] of samples.entries()) {
    const frame = stream.slice(i === 0 ? 0 : ends[i - 1], ends[i]);
    const [kind, flags] = [frame[12] as number, frame[13] as number];
    const body = frame.slice(PEER_HEADER_BYTES);
    if (kind === PEER_KIND.control) continue; // its body is checked by whoever knows its shape
    for (let end = 0; end < body.length; end++) {
      const [outcome] = receive([crafted(kind, body.slice(0, end), flags)]);
      if (typeof outcome !== "string") t.fail(`${name} cut at ${end}`);
    }
    const [longer] = receive([crafted(kind, concat([body, Uint8Array.of(0)]), flags)]);
    t.equal(typeof longer, "string", `${name} with a byte too many`);
    const [flagged] = receive([crafted(kind, body, flags | 4)]);
    t.equal(flagged, "flags", `${name} with an unknown flag`);
  }
  t.same(receive([crafted(99, new Uint8Array(8))]), ["kind"]);
  t.same(receive([crafted(PEER_KIND.control, Uint8Array.of(0x90), 0, 1)]), ["reserved"]);
  const zeroReplica = new Writer();
  for (const number of [GROUP, 0, 9]) zeroReplica.u64(number);
  t.same(receive([crafted(PEER_KIND.timeoutNow, zeroReplica.copy())]), ["number_range"], "replica 0");
  const wide = new Uint8Array(24).fill(0xff);
  t.same(receive([crafted(PEER_KIND.timeoutNow, wide)]), ["number_range"], "G6: 2^64 - 1 as a group");
  const count = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
  t.same(receive([crafted(PEER_KIND.heartbeats, count)]), ["count"], "G7: 2^32 - 1 heartbeats");
  t.same(receive([crafted(PEER_KIND.forwardReplies, count)]), ["count"], "2^32 - 1 replies");
  const request = new Writer();
  for (const number of [1, GROUP]) request.u64(number);
  for (const number of [1000, 0xffffffff]) request.u32(number);
  t.same(receive([crafted(PEER_KIND.forwardRequest, request.copy())]), ["count"], "2^32 - 1 commands");
});

t.test("J1: a frame's length is judged before its bytes are kept", async (t) => {
  for (const length of [0, PEER_HEADER_BYTES - 1, PEER_FRAME_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1]) {
    const head = new Writer();
    head.u32(length);
    t.same(receive(pieces(head.copy(), 1)), ["length"], `G7: ${length}`);
  }
});

t.test("random messages of the core arrive as they left", async () => {
  const number = fc.maxSafeNat();
  const replica = fc.integer({ min: 1, max: 2 ** 32 - 1 });
  const envelope = { from: replica, to: replica, term: number };
  const any: fc.Arbitrary<SingleMessage> = fc.oneof(
    fc.record({
      kind: fc.constantFrom("vote" as const, "prevote" as const),
      ...envelope,
      lastIndex: number,
      lastTerm: number,
      transfer: fc.boolean(),
    }),
    fc.record({
      kind: fc.constantFrom("vote_reply" as const, "prevote_reply" as const),
      ...envelope,
      granted: fc.boolean(),
    }),
    fc.record({
      kind: fc.constant("append_reply" as const),
      ...envelope,
      accepted: fc.boolean(),
      index: number,
      hintIndex: number,
      hintTerm: number,
    }),
    fc.record({ kind: fc.constant("timeout_now" as const), ...envelope }),
    fc.record({ kind: fc.constant("read_ask" as const), ...envelope, ask: number }),
    fc.record({ kind: fc.constant("read_answer" as const), ...envelope, ask: number, index: number }),
  );
  const sorted = (message: Message): string => JSON.stringify(Object.entries(message).toSorted());
  fc.assert(
    fc.property(
      fc.array(fc.tuple(number, any), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 99 }),
      (all, size) => {
        const bytes = frames((encoder) => {
          for (const [group, message] of all) encoder.single(group, message, 12);
        });
        const heard = receive(pieces(bytes, size)) as { group: number; message: Message }[];
        return (
          heard.length === all.length &&
          all.every(
            ([group, message], i) =>
              heard[i]?.group === group && sorted(heard[i].message) === sorted(message),
          )
        );
      },
    ),
    { seed: 72, numRuns: 500 },
  );
});

t.test("noise never throws, not even under a right checksum", async (t) => {
  const random = prng(73);
  let taken = 0;
  for (let i = 0; i < 6000; i++) {
    const kind = 1 + random.below(15);
    const body = noise(random, random.below(120), "\0\0\0\0\u0001\u0002\u0003");
    if (receive([crafted(kind, body, random.below(2))]).every((frame) => typeof frame !== "string")) taken++;
  }
  t.ok(taken > 100 && taken < 5000, `${taken} of 6000 mean something`);
  for (let i = 0; i < 1000; i++) receive([noise(random, random.below(100), "\0\0\0\u0020")]);
});

t.test("a message that no peer would take is a bug here, and says so", async (t) => {
  const write = (run: (encoder: PeerEncoder) => void) => (): void => void frames(run);
  t.throws(
    write((encoder) => encoder.single(GROUP, { ...singles[6], from: 0 } as SingleMessage, 0)),
    /replica id/,
  );
  t.throws(
    write((encoder) => encoder.single(GROUP, { ...singles[6], term: -1 } as SingleMessage, 0)),
    /u64/,
  );
  t.throws(
    write((encoder) => encoder.snapshotChunk({ ...chunk, last: true })),
    /last chunk/,
  );
  t.throws(
    write((encoder) => {
      encoder.beginReplies();
      encoder.replyBytes(1, 0, OK.bytes, 1, 1);
    }),
    /holds a reply/,
  );
});

import { Encoder } from "@msgpack/msgpack";
import fc from "fast-check";
import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import {
  type ClientHello,
  type CreateReplica,
  clientHello,
  createReplica,
  type HelloReply,
  helloReply,
  type NodeStatus,
  nodeStatus,
  type PeerHello,
  type PeerNote,
  peerHello,
  peerNote,
} from "../../src/wire/control.ts";
import {
  bytes,
  decodeShape,
  encodeShape,
  hex,
  integer,
  list,
  nullable,
  record,
  type Shape,
  ShapeError,
  text,
} from "../../src/wire/msgpack.ts";
import { flip, noise, prng } from "./bytes.ts";
import { golden, hexDump } from "./script.ts";

const id = (digit: string): string => digit.repeat(32);

const hello: ClientHello = { name: "app", version: "1.0.0", wireVersions: [1] };
const reply: HelloReply = {
  cluster: id("a"),
  node: "n1",
  version: "0.1.0",
  wireVersion: 1,
  leaderTimeMs: 1_700_000_000_123,
  leaders: [{ group: 2 ** 53 - 1, term: 7, node: "n2", address: "127.0.0.1:7002" }],
  frameBytesMax: 1 << 20,
};
const peer: PeerHello = {
  cluster: id("a"),
  node: "n1",
  incarnation: id("b"),
  class: "control",
  wireVersions: [1],
  stateVersionMin: 1,
  stateVersionMax: 1,
  held: [{ group: 5, replica: 1, quarantined: false }],
};
const order: CreateReplica = {
  group: 5,
  replica: 4,
  incarnation: id("c"),
  bootstrap: Uint8Array.of(1, 2, 3),
};
const notes: readonly PeerNote[] = [
  { kind: "create", create: { ...order, bootstrap: null } },
  { kind: "close", close: { group: 5, replica: 3 } },
  { kind: "hash", hash: { group: 5, replica: 3, index: 4096, hash: "00112233aabbccdd" } },
  { kind: "held", held: [{ group: 5, replica: 3, quarantined: true }] },
  { kind: "claim", claim: { shard: "s2", group: 6, epoch: 9, slots: [[0, 255]] } },
];
const status: NodeStatus = {
  cluster: id("a"),
  node: "n1",
  incarnation: id("b"),
  address: "127.0.0.1:7001",
  http: "127.0.0.1:8001",
  version: "0.1.0",
  pid: 4711,
  uptimeMs: 86_400_000_000,
  groups: [
    {
      group: 5,
      shard: "s1",
      replica: 1,
      role: "leader",
      term: 3,
      leader: null,
      configVersion: 1,
      commit: 10,
      applied: 9,
      slots: 4096,
      keys: 2 ** 40,
      bytes: 0,
      followers: [{ replica: 2, node: "n2", voter: true, match: 8, lag: 2 }],
    },
  ],
};

const samples: readonly (readonly [string, Shape<unknown>, unknown])[] = [
  ["client hello", clientHello as Shape<unknown>, hello],
  ["hello reply", helloReply as Shape<unknown>, reply],
  ["peer hello", peerHello as Shape<unknown>, peer],
  ["create replica", createReplica as Shape<unknown>, order],
  ...notes.map((note) => ["peer note", peerNote as Shape<unknown>, note] as const),
  ["node status", nodeStatus as Shape<unknown>, status],
];

t.test("control messages have these bytes, and read back", async (t) => {
  const lines: string[] = [];
  for (const [name, shape, value] of samples) {
    const encoded = encodeShape(shape, value);
    lines.push(name, ...hexDump(encoded));
    t.same(decodeShape(shape, encoded, name), value, name);
  }
  golden(t, "control_messages", `${lines.join("\n")}\n`);
});

t.test("fields travel in declared order, however the value was built", async (t) => {
  const { name, version, wireVersions } = hello;
  const turned = { wireVersions, version, name };
  t.same(encodeShape(clientHello, turned), encodeShape(clientHello, hello));
});

const encoder = new Encoder({ useBigInt64: true });
const small = record({ a: integer(0, 10), b: nullable(text(3)) });
const refused = (shape: Shape<unknown>, value: unknown): string => {
  const decoded = decodeShape(shape, encoder.encode(value), "value");
  return decoded instanceof ShapeError ? decoded.reason : "taken";
};

t.test("what does not fit its shape is refused, and says where", async (t) => {
  const shape = small as Shape<unknown>;
  t.equal(refused(shape, { a: 1, b: null }), "taken");
  t.equal(refused(shape, { a: 1 }), "value.b: missing");
  t.equal(refused(shape, { a: 1, b: null, c: 1 }), "value: unknown field");
  t.equal(refused(shape, { a: 11, b: null }), "value.a: a whole number from 0 to 10");
  t.equal(refused(shape, { a: -1, b: null }), "value.a: a whole number from 0 to 10");
  t.equal(refused(shape, { a: 1.5, b: null }), "value.a: a whole number from 0 to 10");
  t.equal(refused(shape, { a: "1", b: null }), "value.a: a whole number from 0 to 10");
  t.equal(refused(shape, { a: 1, b: "four" }), "value.b: text of at most 3 bytes");
  t.equal(refused(shape, { a: 1, b: "éé" }), "value.b: text of at most 3 bytes", "bytes, not letters");
  for (const value of [null, 1, "x", [], [1, null], Uint8Array.of(1)])
    t.equal(refused(shape, value), "value: a map");
  t.equal(refused(list(small, 2) as Shape<unknown>, [{ a: 1, b: null }, { a: 1 }]), "value[1].b: missing");
  t.equal(refused(list(integer(), 2) as Shape<unknown>, [1, 2, 3]), "value: a list of at most 2");
  t.equal(refused(hex(2) as Shape<unknown>, "ABCD"), "value: 4 hex digits");
  t.equal(refused(bytes(2) as Shape<unknown>, "ab"), "value: at most 2 bytes");
});

t.test("a greeting of a newer build may say more; an order may not", async (t) => {
  t.equal(refused(clientHello as Shape<unknown>, { ...hello, colour: "blue" }), "taken");
  t.equal(refused(createReplica as Shape<unknown>, { ...order, colour: "blue" }), "value: unknown field");
});

t.test("J9: names of the language are no fields, and change no prototype", async (t) => {
  const open = record({ a: integer() }, true) as Shape<unknown>;
  for (const name of ["__proto__", "constructor", "prototype", "toString"]) {
    // {name: {"a": 7}} by hand: a map of one, a text, a map of one, "a", 7.
    const key = utf8(name);
    const crafted = Uint8Array.of(0x81, 0xa0 | key.length, ...key, 0x81, 0xa1, 0x61, 0x07);
    t.ok(decodeShape(open, crafted, "value") instanceof ShapeError, `${name} does not lend its fields`);
    const beside = Uint8Array.of(0x82, 0xa1, 0x61, 0x01, 0xa0 | key.length, ...key, 0x81, 0xa1, 0x61, 0x07);
    const decoded = decodeShape(open, beside, "value");
    if (!(decoded instanceof ShapeError)) t.same(decoded, { a: 1 }, `${name} beside a field is left out`);
  }
  const inherited = record({ toString: integer() }, true) as Shape<unknown>;
  t.equal(refused(inherited, {}), "value.toString: missing");
  t.equal(({} as Record<string, unknown>).a, undefined, "and nobody else got one");
});

t.test("G6: whole numbers stay whole over 2^32, and nothing above 2^53 passes", async (t) => {
  const shape = integer(Number.MIN_SAFE_INTEGER) as Shape<unknown>;
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      const encoded = encodeShape(shape, value);
      const isFloat = encoded[0] === 0xca || encoded[0] === 0xcb;
      return !isFloat && decodeShape(shape, encoded, "value") === value;
    }),
    { seed: 61, numRuns: 1000 },
  );
  for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 64n - 1n])
    t.match(refused(shape, value), /whole number/);
  t.throws(() => encodeShape(shape, 2 ** 53), /a value to send is/);
  t.throws(() => encodeShape(small, { a: 11, b: null }), /a value to send is/);
});

t.test("J1, J3: lengths and depth are checked before anything is built", async (t) => {
  const shape = list(integer(), 10) as Shape<unknown>;
  const form = "value: not MessagePack of this form";
  const reason = (...crafted: number[]): string => {
    const decoded = decodeShape(shape, Uint8Array.from(crafted), "value");
    return decoded instanceof ShapeError ? decoded.reason : "taken";
  };
  t.equal(reason(0xdd, 0xff, 0xff, 0xff, 0xff), form, "an array of 2^32 - 1");
  t.equal(reason(0xdf, 0x80, 0, 0, 0, 1, 1), form, "G7: a map of 2^31");
  t.equal(reason(0xdb, 0xff, 0xff, 0xff, 0xff, 0x61), form, "a text of 4 GiB");
  t.equal(reason(0xc6, 0x7f, 0xff, 0xff, 0xff, 0x61), form, "bytes of 2 GiB");
  t.equal(reason(...Array.from({ length: 50_000 }, () => 0x91)), form, "50000 arrays deep");
  t.equal(reason(...Array.from({ length: 100 }, () => [0xdc, 0xff, 0xff]).flat()), form, "wide and deep");
  t.equal(reason(0xd6, 0xff, 0, 0, 0, 0), form, "a timestamp, which would become a Date");
  t.equal(reason(0xc1), form, "the type that is never used");
  t.equal(reason(0x90, 0x90), form, "two values");
  t.equal(reason(), form, "none");
  t.equal(reason(0x91), form, "cut short");
  t.equal(reason(0x92, 0xcc, 0x80, 0x07), "taken");
});

t.test("every truncation is refused; flipped bits and noise never throw", async (t) => {
  for (const [name, shape, value] of samples) {
    const encoded = encodeShape(shape, value);
    for (let end = 0; end < encoded.length; end++) {
      if (!(decodeShape(shape, encoded.slice(0, end), name) instanceof ShapeError))
        t.fail(`${name} cut at ${end}`);
    }
    for (let bit = 0; bit < 8 * encoded.length; bit++) decodeShape(shape, flip(encoded, bit), name);
  }
  const random = prng(62);
  let taken = 0;
  for (let i = 0; i < 5000; i++) {
    const crafted = noise(
      random,
      random.below(30),
      "\u0081\u0082\u0091\u0092\u00a1ab\u0001\u00c0\u00c4\u00d9\u00dc",
    );
    if (!(decodeShape(list(integer(), 10), crafted, "value") instanceof ShapeError)) taken++;
  }
  t.ok(taken > 0 && taken < 500, `${taken} of 5000 are lists by chance`);
});

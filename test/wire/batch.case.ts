import fc from "fast-check";
import t from "tap";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import {
  BATCH_BYTES_MAX,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  batchBody,
  COMMAND_ENCODING,
  readBatch,
  readBatchHeader,
  sealBatch,
} from "../../src/wire/batch.ts";
import { flip, noise, prng } from "./bytes.ts";
import { golden, hexDump } from "./script.ts";

type Header = Omit<BatchHeader, "checksum" | "bodySize">;

const header: Header = {
  group: 2 ** 53 - 1,
  term: 3,
  index: 4,
  timeMs: 1_700_000_000_000,
  count: 1,
  kind: ENTRY_KIND.commands,
  encoding: COMMAND_ENCODING,
  stateVersion: 1,
};

function batch(body: Uint8Array, changes: Partial<Header> = {}): Uint8Array {
  const bytes = new Uint8Array(BATCH_HEADER_BYTES + body.length);
  bytes.set(body, BATCH_HEADER_BYTES);
  sealBatch(bytes, 0, { ...header, ...changes, bodySize: body.length });
  return bytes;
}

t.test("a batch has these bytes", async (t) => {
  const noop = { kind: ENTRY_KIND.noop, count: 0 };
  const lines = [
    "commands",
    ...hexDump(batch(Uint8Array.of(1, 2, 3))),
    "noop",
    ...hexDump(batch(new Uint8Array(0), noop)),
  ];
  golden(t, "batches", `${lines.join("\n")}\n`);
});

t.test("a sealed batch reads back, anywhere in a larger buffer", async () => {
  const number = fc.maxSafeNat();
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.record({ group: number, term: number, index: number.map((n) => Math.max(1, n)), timeMs: number }),
      fc.nat({ max: 30 }),
      (body, changes, margin) => {
        const bytes = new Uint8Array(2 * margin + BATCH_HEADER_BYTES + body.length).fill(0xee);
        bytes.set(body, margin + BATCH_HEADER_BYTES);
        sealBatch(bytes, margin, { ...header, ...changes, bodySize: body.length });
        const entry = readBatch(bytes, margin, bytes.length - margin);
        const read = readBatchHeader(bytes, margin);
        if (typeof entry === "string" || typeof read === "string") return false;
        const { checksum: _, ...rest } = read;
        return (
          entry.index === changes.index &&
          entry.term === changes.term &&
          JSON.stringify(batchBody(entry.bytes)) === JSON.stringify(body) &&
          JSON.stringify(Object.entries(rest).toSorted()) ===
            JSON.stringify(Object.entries({ ...header, ...changes, bodySize: body.length }).toSorted())
        );
      },
    ),
    { seed: 41, numRuns: 500 },
  );
});

t.test("every flipped bit and every truncation of a batch is noticed", async (t) => {
  const good = batch(Uint8Array.from({ length: 40 }, (_, i) => i));
  t.not(typeof readBatch(good, 0, good.length), "string");
  for (let bit = 0; bit < 8 * good.length; bit++) {
    if (typeof readBatch(flip(good, bit), 0, good.length) !== "string") t.fail(`bit ${bit}`);
  }
  for (let end = 0; end < good.length; end++) {
    if (typeof readBatch(good.subarray(0, end), 0, end) !== "string") t.fail(`cut at ${end}`);
  }
  t.equal(readBatch(good, 0, good.length + 1), "body_size", "a batch that ends elsewhere");
});

t.test("J3: what no batch may say is refused before its body is looked at", async (t) => {
  const refused = (name: string, spoil: (bytes: Uint8Array) => void): void => {
    const bytes = batch(Uint8Array.of(1));
    spoil(bytes);
    t.equal(typeof readBatchHeader(bytes, 0), "string", name);
  };
  refused("G7: a body of 2^31", (bytes) => bytes.set([0, 0, 0, 0x80], 0));
  refused("a body over the limit", (bytes) => bytes.set([1, 0, 0x10, 0], 0));
  refused("a term of 2^53", (bytes) => bytes.set([0, 0, 0, 0, 0, 0, 0x20, 0], 16));
  refused("index 0", (bytes) => bytes.fill(0, 24, 32));
  refused("an unknown kind", (bytes) => bytes.fill(6, 44, 45));
  refused("an unknown encoding", (bytes) => bytes.fill(2, 45, 46));
  t.throws(() => batch(new Uint8Array(BATCH_BYTES_MAX)), /a batch fits its limit/);
  const random = prng(42);
  for (let i = 0; i < 2000; i++) {
    const bytes = noise(random, random.below(80), "\0\0\0\u0001");
    if (typeof readBatch(bytes, 0, bytes.length) !== "string") t.fail("noise was taken for a batch");
  }
});

/** The client's parts by themselves: addresses, the window, replies, verdicts, texts. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import { utf8, Writer } from "../../src/base/bytes.ts";
import { parseAddress, parseAddresses, showAddress } from "../../src/client/address.ts";
import { CommandError, ProtocolError } from "../../src/client/errors.ts";
import { Pending } from "../../src/client/pending.ts";
import { asBytes, asText, ReplyReader } from "../../src/client/replies.ts";
import { Request } from "../../src/client/request.ts";
import { putArgument, slotOfKey } from "../../src/client/text.ts";
import { verdictOf } from "../../src/client/verdict.ts";
import { CLIENT_VERSION } from "../../src/client/version.ts";
import { Window } from "../../src/client/window.ts";
import { slotOf } from "../../src/ring/slot.ts";
import * as fate from "../../src/server/fate.ts";
import { STORE_ERROR } from "../../src/store/errors.ts";
import { SESSION_ERROR } from "../../src/store/session_cells.ts";
import { CommandView, OP } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";

const RUNS = { seed: 7, numRuns: 300 };

t.test("the client says the version of its package", async (t) => {
  t.equal(CLIENT_VERSION, JSON.parse(readFileSync("package.json", "utf8")).version);
});

t.test("addresses are read as people write them, and shown so that they can be read again", async (t) => {
  t.same(parseAddresses("nucleus://n1:7001,n2,[::1]:7003/"), [
    { host: "n1", port: 7001 },
    { host: "n2", port: 7001 },
    { host: "::1", port: 7003 },
  ]);
  t.same(parseAddresses("10.0.0.1:80"), [{ host: "10.0.0.1", port: 80 }]);
  for (const address of ["n1:7001", "[fe80::1]:65535", "a.b.c:1"]) {
    t.equal(showAddress(parseAddress(address) as never), address);
  }
  for (const wrong of [
    "",
    "n1:",
    "n1:0",
    "n1:65536",
    "user@n1",
    "n1:7001:7002",
    "n1,",
    "http://n1:1",
    "[n1]:1",
  ]) {
    t.throws(() => parseAddresses(wrong), { code: "EADDRESS", message: /HOST:PORT/ }, JSON.stringify(wrong));
  }
});

t.test("the window is a map of what is unanswered, and its oldest number is the floor", async (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(400), { maxLength: 600 }), (choices) => {
      const window = new Window<string>();
      const model = new Map<number, string>();
      let next = 1;
      for (const choice of choices) {
        const open = [...model.keys()];
        if (choice % 3 !== 0 || open.length === 0) {
          if (window.add(`r${next}`) !== next) return false;
          model.set(next, `r${next}`);
          next++;
        } else {
          const number = open[choice % open.length] as number;
          window.remove(number);
          model.delete(number);
        }
        const oldest = model.size === 0 ? next : Math.min(...model.keys());
        if (window.oldest !== oldest || window.next !== next || window.count !== model.size) return false;
        for (let n = 0; n <= next; n++) if (window.get(n) !== model.get(n)) return false;
      }
      return true;
    }),
    RUNS,
  );
  t.pass();
});

t.test("what is pending is found by its id, and one slow answer keeps no memory but its own", async (t) => {
  const nobody = { onReply() {}, onError() {} };
  fc.assert(
    fc.property(fc.array(fc.nat(900), { maxLength: 1500 }), (choices) => {
      const pending = new Pending();
      const model: Request[] = [];
      const gone: Request[] = [];
      for (const choice of choices) {
        if (choice % 2 === 0 || model.length === 0) {
          const request = new Request("read", nobody, -1, 0);
          pending.add(request);
          if (request.id <= (model.at(-1)?.id ?? 0)) return false;
          model.push(request);
        } else {
          const [request] = model.splice(choice % model.length, 1) as [Request];
          pending.remove(request);
          gone.push(request);
        }
        if (pending.size !== model.length) return false;
      }
      const listed = pending.list();
      return (
        listed.length === model.length &&
        listed.every((request, i) => request === model[i] && pending.get(request.id) === request) &&
        gone.every(({ id }) => pending.get(id) === null)
      );
    }),
    { ...RUNS, numRuns: 100 },
  );
  const pending = new Pending();
  const slow = new Request("read", nobody, -1, 0);
  pending.add(slow);
  let last = slow;
  for (let i = 0; i < 100_000; i++) {
    last = new Request("read", nobody, -1, 0);
    pending.add(last);
    pending.remove(last);
  }
  t.ok(last.id > 100_000 && last.id < 102_000, "its place is left out");
  t.equal(pending.get(slow.id), slow);
});

type Value = undefined | string | number | bigint | Uint8Array | Value[];

const value = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", maxDepth: 6 },
    fc.constant(undefined),
    fc.string({ unit: fc.constantFrom("O", "K", " ", "x") }).map((text) => `+${text}`),
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
    fc.uint8Array(),
    fc.array(tie("value"), { maxLength: 4 }),
  ),
})).value;

function encode(to: ReplyEncoder, of: Value): void {
  if (of === undefined) to.nil();
  else if (typeof of === "string") to.simple(of);
  else if (typeof of === "number" || typeof of === "bigint") to.integer(of);
  else if (of instanceof Uint8Array) to.blob(of, 0, of.length);
  else {
    to.array(of.length);
    for (const each of of) encode(to, each);
  }
}

const encoded = (of: Value): Uint8Array => {
  const writer = new Writer(64);
  encode(new ReplyEncoder(writer), of);
  return writer.copy();
};

t.test("a reply becomes the value that was encoded; cut anywhere it is refused", async (t) => {
  const reader = new ReplyReader(asBytes);
  fc.assert(
    fc.property(value, (of) => {
      const bytes = encoded(of);
      t.same(reader.read(bytes, 0, bytes.length), of);
      for (let end = 0; end < bytes.length; end++) {
        try {
          reader.read(bytes, 0, end);
          return false;
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
        }
      }
      return true;
    }),
    { ...RUNS, numRuns: 100 },
  );
});

t.test("blobs as text: UTF-8 to the letter, and never a guess", async (t) => {
  const reader = new ReplyReader(asText);
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
      const bytes = encoded(utf8(text));
      return reader.read(bytes, 0, bytes.length) === text;
    }),
    { ...RUNS, numRuns: 100 },
  );
  for (const bad of [[0xff], [0x61, 0xc3], [0xc0, 0x80]]) {
    const bytes = encoded(Uint8Array.from(bad));
    t.throws(() => reader.read(bytes, 0, bytes.length), { code: "PROTOCOL", message: /bytes/ });
  }
});

t.test("error replies become CommandErrors whose code is the first word", async (t) => {
  const writer = new Writer(64);
  const encoder = new ReplyEncoder(writer);
  encoder.array(2);
  encoder.integer(1);
  encoder.error("WRONGTYPE not a number");
  const reader = new ReplyReader(asText);
  t.throws(() => reader.read(writer.bytes, 0, writer.length), new CommandError("WRONGTYPE not a number"));
  t.equal(new CommandError("WRONGTYPE not a number").code, "WRONGTYPE");
});

t.test("every error of fate that a server has is judged for what it says", async (t) => {
  const verdict = (text: string): string => {
    const writer = new Writer(64);
    new ReplyEncoder(writer).error(text);
    return verdictOf(writer.bytes, 0, writer.length);
  };
  t.same(Object.fromEntries(Object.entries(fate).map(([name, text]) => [name, verdict(text)])), {
    UNCERTAIN: "uncertain",
    TOO_LARGE: "answer",
    NO_LEADER: "again",
    NO_ANSWER: "again",
    NO_REPLICA: "again",
    REPLICA_GONE: "again",
    SLOT_NOT_SERVED: "again",
    SLOT_MOVING: "again",
    PARTLY: "uncertain",
    CROSS_SLOT: "answer",
    DISK_FULL: "refused",
  });
  t.same(Object.fromEntries(Object.entries(SESSION_ERROR).map(([name, text]) => [name, verdict(text)])), {
    late: "stale",
    ahead: "stale",
    belowFloor: "stale",
    outOfOrder: "again",
    readNotKept: "again",
    replyNotKept: "answer",
  });
  const others = Object.entries(STORE_ERROR).filter(([, text]) => verdict(text) !== "answer");
  t.same(Object.fromEntries(others.map(([name, text]) => [name, verdict(text)])), {
    sessionsFull: "again",
    sessionRepliesFull: "again",
    memory: "refused",
  });
  t.equal(verdict("OOMPH"), "answer");
  t.equal(verdict("OOM"), "refused");
  t.equal(verdict("MOVED 1 n2:7001"), "again");
});

t.test("texts and bytes are the same arguments and lie in the same slot", async (t) => {
  const writer = new Writer(64);
  const encoder = new CommandEncoder(writer);
  const view = new CommandView();
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: "binary", maxLength: 200 }), { minLength: 1, maxLength: 4 }),
      (texts) => {
        writer.clear();
        encoder.begin(OP.mget);
        for (const text of texts) putArgument(encoder, text);
        for (const text of texts) putArgument(encoder, utf8(text));
        encoder.end();
        if (view.read(writer.bytes, 0, writer.length) !== null) return false;
        for (const [i, text] of texts.entries()) {
          const bytes = utf8(text);
          t.same(view.arg(i), bytes);
          t.same(view.arg(texts.length + i), bytes);
          const slot = slotOf(bytes, 0, bytes.length);
          if (slotOfKey(text) !== slot || slotOfKey(bytes) !== slot) return false;
        }
        return true;
      },
    ),
    RUNS,
  );
  t.equal(slotOfKey("{a}1"), slotOfKey("a"));
});

import fc from "fast-check";
import t from "tap";
import { fromUtf8, utf8, Writer } from "../../src/base/bytes.ts";
import { argsOf } from "../../src/wire/args.ts";
import {
  ARGS_MAX,
  COMMAND_BYTES_MAX,
  COMMAND_HEADER_BYTES,
  CommandView,
  EXPIRY_MS_MAX,
  KEY_BYTES_MAX,
  OP,
  type Op,
  SET_OPTION,
  type Session,
} from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { keyArgument, keyCount, keyShape } from "../../src/wire/command_keys.ts";
import { COMMANDS, findCommand, resolveCommand } from "../../src/wire/command_table.ts";
import { ARGUMENT_SHAPES, validateCommand } from "../../src/wire/validate.ts";
import { flip, noise, prng } from "./bytes.ts";
import { frameOf, showFrame, translateInto, viewOf, wordsOf } from "./frames.ts";
import { golden, hexDump, runScript } from "./script.ts";

const frames: Uint8Array[] = [];

t.test("commands and the frames they become", async (t) => {
  runScript(t, "commands", (line) => {
    const frame = frameOf(wordsOf(line));
    if (typeof frame === "string") return [frame];
    frames.push(frame);
    return [showFrame(frame)];
  });
});

t.test("frames have these bytes", async (t) => {
  const client = Uint8Array.from({ length: 16 }, (_, i) => i);
  const session: Session = { client, seq: 7, floor: 3, notAfter: 2 ** 53 - 1, after: 6 };
  const out = new CommandEncoder(new Writer(1));
  out.begin(OP.incrBy, session);
  out.arg(utf8("counter"));
  out.argI64(-1);
  out.end();
  const lines = ["INCRBY in a session", ...hexDump(out.writer.view())];
  for (const line of ["SET k v PX 100 NX", "MSET a 1 b 2", "INCRBY n -9223372036854775808", "DBSIZE"]) {
    lines.push(line, ...hexDump(frameOf(wordsOf(line)) as Uint8Array));
  }
  golden(t, "command_frames", `${lines.join("\n")}\n`);

  const view = viewOf(out.writer.copy());
  t.same(view.session(), session, "and the session reads back");
  t.equal(view.number(1), -1);
});

t.test("G6: 64-bit arguments read back exactly", async () => {
  const view = new CommandView();
  const out = new CommandEncoder(new Writer(1));
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.maxSafeInteger(), (wide, safe) => {
      out.writer.clear();
      out.begin(OP.getRange);
      out.argI64(wide);
      out.argI64(safe);
      out.argI64(BigInt(safe));
      out.end();
      return (
        view.read(out.writer.bytes, 0, out.writer.length) === null &&
        view.bigint(0) === wide &&
        view.number(1) === safe &&
        view.number(2) === safe &&
        view.bigint(1) === BigInt(safe)
      );
    }),
    { seed: 21, numRuns: 2000 },
  );
});

/** Commands that a row of ones does not satisfy. */
const SAMPLES = new Map([
  ["copy", ["copy", "1", "2"]],
  ["delex", ["delex", "1", "ifeq", "2"]],
]);

t.test("every command of the table has a frame or a door, and is found in any spelling", async (t) => {
  for (const [id, command] of COMMANDS.entries()) {
    const { name } = command;
    t.equal(command.id, id);
    for (const spelling of [name, name.toUpperCase(), `${name.charAt(0).toUpperCase()}${name.slice(1)}`]) {
      const bytes = utf8(`x${spelling}x`);
      t.equal(findCommand(bytes, 1, bytes.length - 1), command, spelling);
    }
    t.ok(/^[a-z]+$/.test(name) && command.arity !== 0 && command.summary.length > 10);
    if (command.op === null) continue;
    const words = SAMPLES.get(name) ?? [
      name,
      ...Array.from({ length: Math.abs(command.arity) - 1 }, () => "1"),
    ];
    t.equal(viewOf(frameOf(words) as Uint8Array).op, command.op, name);
  }
  for (const unknown of ["", "ge", "gett", "get\0", "g\u0005t", "@et", "GE\x14", "x".repeat(200)]) {
    const bytes = utf8(unknown);
    t.equal(findCommand(bytes, 0, bytes.length), null, JSON.stringify(unknown));
  }
});

t.test("keys of the table are the keys of the frames", async (t) => {
  for (const command of COMMANDS) {
    if (command.op === null) continue;
    const shape = keyShape(command.op);
    const words = { none: [0, 0, 0], first: [1, 1, 1], two: [1, 2, 1], all: [1, -1, 1], pairs: [1, -1, 2] }[
      shape
    ];
    t.same([command.firstKey, command.lastKey, command.keyStep], words, command.name);
  }
  const view = viewOf(frameOf(["mset", "a", "1", "b", "2"]) as Uint8Array);
  const keys = Array.from({ length: keyCount(view) }, (_, n) => fromUtf8(view.arg(keyArgument(view.op, n))));
  t.same(keys, ["a", "b"]);
  for (const [words, count] of [
    [["mget", "a", "b", "c"], 3],
    [["rename", "a", "b"], 2],
    [["scan", "0"], 0],
    [["set", "a", "b"], 1],
  ] as const) {
    t.equal(keyCount(viewOf(frameOf(words) as Uint8Array)), count);
  }
});

t.test(
  "whatever the words, there is one valid frame or one error, and an error leaves nothing behind",
  async (t) => {
    const option = fc.constantFrom(
      ..."nx xx get ex px exat pxat keepttl persist ifeq gt lt count match type replace db async".split(" "),
    );
    const number = fc.constantFrom(
      "0",
      "1",
      "-1",
      "10",
      "9223372036854775807",
      "-9223372036854775808",
      "1.5",
      "1e3",
    );
    const word = fc.oneof(option, number, fc.string({ maxLength: 5 }), fc.uint8Array({ maxLength: 5 }));
    const name = fc.constantFrom(...COMMANDS.filter(({ op }) => op !== null).map((command) => command.name));
    const out = new CommandEncoder(new Writer(1));
    const outcomes = { frames: 0, errors: 0 };
    fc.assert(
      fc.property(name, fc.array(word, { maxLength: 8 }), (first, rest) => {
        out.writer.clear();
        out.writer.ascii("before");
        const error = translateInto(argsOf([first, ...rest]), out);
        if (error !== null) {
          outcomes.errors++;
          return out.writer.length === 6 && /^[A-Z]+ /.test(error);
        }
        outcomes.frames++;
        const view = new CommandView();
        return (
          view.read(out.writer.bytes, 6, out.writer.length) === null &&
          view.end === out.writer.length &&
          validateCommand(view) === null
        );
      }),
      { seed: 22, numRuns: 6000 },
    );
    t.ok(outcomes.frames > 500 && outcomes.errors > 500, JSON.stringify(outcomes));
  },
);

t.test("sizes at and over the limits", async (t) => {
  const key = "k".repeat(KEY_BYTES_MAX);
  t.not(typeof frameOf(["get", key]), "string");
  t.equal(frameOf(["get", `${key}k`]), "ERR key is larger than 16384 bytes");
  t.equal(frameOf(["mset", "a", "1", `${key}k`, "2"]), "ERR key is larger than 16384 bytes");
  t.equal(frameOf(["rename", "a", `${key}k`]), "ERR key is larger than 16384 bytes");
  t.equal(frameOf(["keys", `${key}k`]), "ERR pattern is larger than 16384 bytes");
  t.equal(frameOf(["scan", "0", "match", `${key}k`]), "ERR pattern is larger than 16384 bytes");

  const keys = Array.from({ length: ARGS_MAX }, () => "k");
  t.equal(viewOf(frameOf(["mget", ...keys]) as Uint8Array).argCount, ARGS_MAX);
  t.equal(frameOf(["mget", ...keys, "k"]), "ERR command has more than 4096 arguments");

  const room = COMMAND_BYTES_MAX - (frameOf(["set", "k", ""]) as Uint8Array).length;
  t.equal((frameOf(["set", "k", "v".repeat(room)]) as Uint8Array).length, COMMAND_BYTES_MAX);
  const out = new CommandEncoder(new Writer(1));
  out.writer.ascii("before");
  const tooLarge = argsOf(["set", "k", "v".repeat(room + 1)]);
  t.equal(translateInto(tooLarge, out), `ERR command is larger than ${COMMAND_BYTES_MAX} bytes`);
  t.equal(fromUtf8(out.writer.view()), "before", "it is taken back");
});

/** A frame of `op` with these arguments: bytes, or numbers as i64. */
function raw(op: Op, ...args: readonly (string | number | bigint)[]): Uint8Array {
  const out = new CommandEncoder(new Writer(1));
  out.begin(op);
  for (const arg of args) {
    if (typeof arg === "string") out.arg(utf8(arg));
    else out.argI64(arg);
  }
  out.end();
  return out.writer.copy();
}

const invalid: readonly (readonly [string, Uint8Array])[] = [
  ["no key", raw(OP.get)],
  ["two keys", raw(OP.get, "a", "b")],
  ["half a pair", raw(OP.mset, "a")],
  ["no pairs", raw(OP.mset)],
  ["no keys", raw(OP.del)],
  ["a key that is too large", raw(OP.mget, "a", "k".repeat(KEY_BYTES_MAX + 1))],
  ["a number of 7 bytes", raw(OP.incrBy, "k", "1234567")],
  ["2^53 as an offset", raw(OP.setRange, "k", 2n ** 53n, "v")],
  ["-2^53 as a start", raw(OP.getRange, "k", -(2n ** 53n), 0)],
  ["an offset below 0", raw(OP.setRange, "k", -1, "v")],
  ["an unknown option", raw(OP.set, "k", "v", 2048, 0)],
  ["options beyond 32 bits", raw(OP.set, "k", "v", 2 ** 33, 0)],
  ["options below 0", raw(OP.set, "k", "v", -1, 0)],
  ["PERSIST in SET", raw(OP.set, "k", "v", SET_OPTION.persist, 0)],
  ["NX and XX", raw(OP.set, "k", "v", 3, 0)],
  ["two expiries", raw(OP.set, "k", "v", 48, 1)],
  ["two kinds of reply", raw(OP.set, "k", "v", SET_OPTION.returnOld | SET_OPTION.replyInteger, 0)],
  ["a time without an option", raw(OP.set, "k", "v", 0, 5)],
  ["an option without a time", raw(OP.set, "k", "v", SET_OPTION.expiryRelative, 0)],
  ["a time out of range", raw(OP.set, "k", "v", SET_OPTION.expiryRelative, EXPIRY_MS_MAX + 1)],
  ["a condition without its value", raw(OP.set, "k", "v", SET_OPTION.ifValue, 0)],
  ["a value without its condition", raw(OP.set, "k", "v", 0, 0, "old")],
  ["a revision of 3 bytes", raw(OP.set, "k", "v", SET_OPTION.ifRevision, 0, "abc")],
  ["a revision below 0", raw(OP.set, "k", "v", SET_OPTION.ifRevision, 0, -1)],
  ["NX in GETEX", raw(OP.getEx, "k", SET_OPTION.onlyIfAbsent, 0)],
  ["KEEPTTL in GETEX", raw(OP.getEx, "k", SET_OPTION.keepDeadline, 0)],
  ["NX with GT", raw(OP.expire, "k", 1, 2 | 8)],
  ["GT with LT", raw(OP.expire, "k", 1, 8 | 16)],
  ["an unknown EXPIRE option", raw(OP.expire, "k", 1, 32)],
  ["EXPIRE out of range", raw(OP.expire, "k", -EXPIRY_MS_MAX - 1, 0)],
  ["TTL in minutes", raw(OP.ttl, "k", 60_000, 0)],
  ["TTL neither left nor absolute", raw(OP.ttl, "k", 1, 2)],
  ["RENAME with a third choice", raw(OP.rename, "a", "b", 2)],
  ["SCAN of none", raw(OP.scan, 0, 0, "", "")],
  ["a random number below 0", raw(OP.randomKey, -1)],
  ["a float that is none", raw(OP.incrByFloat, "k", "abc")],
  ["an infinite float", raw(OP.incrByFloat, "k", "inf")],
  ["DELIF without a condition", raw(OP.delIf, "k", 0, "v")],
  ["DELIF on two conditions", raw(OP.delIf, "k", SET_OPTION.ifValue | SET_OPTION.ifRevision, "v")],
];

const valid: readonly Uint8Array[] = [
  raw(OP.getRecord, ""),
  raw(OP.set, "k", "v", SET_OPTION.ifRevision | SET_OPTION.returnRevision, 0, 0),
  raw(OP.set, "k", "v", SET_OPTION.expiryAbsolute, EXPIRY_MS_MAX),
  raw(OP.expire, "k", -EXPIRY_MS_MAX, 1),
  raw(OP.expire, "k", 1, 1 | 4 | 16),
  raw(OP.delIf, "k", SET_OPTION.ifRevision, 5),
  raw(OP.scan, 2n ** 64n - 1n, 1, "", ""),
  raw(OP.incrBy, "k", 2n ** 63n - 1n),
];

t.test("frames that a client of the native protocol may not send", async (t) => {
  for (const [name, frame] of invalid) t.match(validateCommand(viewOf(frame)), /^ERR /, name);
  for (const frame of valid) t.equal(validateCommand(viewOf(frame)), null, showFrame(frame));
  t.same(
    Object.keys(ARGUMENT_SHAPES)
      .map(Number)
      .toSorted((a, b) => a - b),
    Object.values(OP).toSorted((a, b) => a - b),
    "every op has its shape",
  );
});

t.test(
  "J3: a frame's structure is checked whole; truncations, flipped bits and noise never throw",
  async (t) => {
    const view = new CommandView();
    for (const frame of [...frames, ...valid]) {
      for (let end = 0; end < frame.length; end++) {
        if (view.read(frame, 0, end) === null) t.fail(`a frame cut at ${end} of ${frame.length}`);
      }
      if (view.read(frame, 0, frame.length) !== null || view.end !== frame.length) t.fail("a good frame");
      for (let bit = 0; bit < 8 * frame.length; bit++) {
        const spoilt = flip(frame, bit);
        if (view.read(spoilt, 0, spoilt.length) === null) validateCommand(view);
      }
    }
    const random = prng(23);
    for (let i = 0; i < 3000; i++) {
      const bytes = noise(random, COMMAND_HEADER_BYTES + random.below(60), "\0\0\0\u0001\u0002\u0004@");
      bytes[0] = bytes.length;
      bytes.fill(0, 1, 4);
      if (view.read(bytes, 0, bytes.length) === null) validateCommand(view);
    }
    const huge = raw(OP.get, "k");
    huge.fill(0xff, COMMAND_HEADER_BYTES, COMMAND_HEADER_BYTES + 4);
    t.equal(view.read(huge, 0, huge.length), "arguments", "G7: a length of 2^32 - 1");
    huge.fill(0xff, 0, 4);
    t.equal(view.read(huge, 0, huge.length), "size", "G7: a size of 2^32 - 1");
  },
);

t.test("an unknown command echoes a bounded part of what was asked", async (t) => {
  const error = resolveCommand(argsOf(["x".repeat(500), "a".repeat(100), "b".repeat(100), "c"])) as string;
  t.equal(
    error,
    `ERR unknown command '${"x".repeat(128)}', with args beginning with: '${"a".repeat(100)}' '${"b".repeat(25)}' `,
  );
  t.equal(resolveCommand(argsOf(["nope"])), "ERR unknown command 'nope', with args beginning with: ");
});

/**
 * Hostile byte streams for a node's port: well-formed RESP, native and peer openings, and what bad luck or malice
 * makes of them. From a seed, so that a stream that hurts can be sent again.
 */
import { concat, utf8, Writer } from "../src/base/bytes.ts";
import type { Prng } from "../src/base/prng.ts";
import { OP } from "../src/wire/command.ts";
import { CommandEncoder } from "../src/wire/command_encode.ts";
import { beginNative, endNative, OPCODE } from "../src/wire/native.ts";
import { preamble } from "../src/wire/preamble.ts";

const WORDS = [
  "GET",
  "SET",
  "INCR",
  "MGET",
  "MSET",
  "DEL",
  "EXPIRE",
  "SCAN",
  "HELLO",
  "CLIENT",
  "COMMAND",
  "PING",
  "x",
  "",
];

/** All but the one that rightly takes the good client's keys away. */
const OPS = Object.values(OP).filter((op) => op !== OP.flushAll);

function respCommand(random: Prng): Uint8Array {
  const words = [random.pick(WORDS)];
  for (let i = random.below(5); i > 0; i--)
    words.push(random.pick([...WORDS, `fuzz:${random.below(1000)}`, "1", "-1"]));
  return utf8(`*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`);
}

function nativeFrame(random: Prng): Uint8Array {
  const writer = new Writer(256);
  const at = beginNative(writer, random.pick([OPCODE.command, OPCODE.ping, OPCODE.hello]), random.u32());
  const encoder = new CommandEncoder(writer);
  encoder.begin(random.pick(OPS));
  for (let i = random.below(4); i > 0; i--) encoder.arg(utf8(`fuzz:${random.below(1000)}`));
  encoder.end();
  endNative(writer, at);
  return writer.copy();
}

/** Lengths that overflow, wrap or lie. */
const BAD_LENGTHS = [
  "*1000000\r\n$500000000\r\n",
  "*-1\r\n",
  "*2147483648\r\n",
  "*1\r\n$-5\r\n",
  "*1\r\n$536870913\r\n",
  "*1\r\n$4294967296\r\n",
  "*99999999999999999999\r\n",
  "*3\r\n$3\r\nSET\r\n$1\r\n",
  "$5\r\nhello\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
  "POST /kv/a HTTP/1.1\r\n",
  '"unbalanced\r\n',
];

/** One stream: a few good pieces, then one change. */
export function hostileStream(random: Prng): Uint8Array {
  const pieces: Uint8Array[] = [];
  const kind = random.below(4);
  if (kind === 1) pieces.push(preamble("client"));
  if (kind === 2) pieces.push(preamble("peer"));
  for (let i = 1 + random.below(4); i > 0; i--)
    pieces.push(kind === 0 || kind === 3 ? respCommand(random) : nativeFrame(random));
  if (kind === 3) pieces.push(utf8(random.pick(BAD_LENGTHS)));
  return mutate(concat(pieces), random);
}

function mutate(bytes: Uint8Array, random: Prng): Uint8Array {
  switch (random.below(6)) {
    case 0: // cut off
      return bytes.slice(0, random.below(bytes.length) + 1);
    case 1: {
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
      return bytes;
    }
    case 2: {
      const at = random.below(bytes.length);
      for (let i = at; i < Math.min(bytes.length, at + 8); i++) bytes[i] = 0xff;
      return bytes;
    }
    case 3: {
      const noise = new Uint8Array(1 + random.below(64));
      random.fill(noise);
      const at = random.below(bytes.length);
      return concat([bytes.subarray(0, at), noise, bytes.subarray(at)]);
    }
    case 4: // a piece twice
      return concat([bytes, bytes.subarray(random.below(bytes.length))]);
    default:
      return bytes;
  }
}

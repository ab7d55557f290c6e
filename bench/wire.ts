/**
 * What the wire room costs, without sockets: pipelined RESP requests parsed and translated into command frames,
 * frames read and validated, replies encoded. Run: `npx bun bench/wire.ts` (or tsx, or deno run -A).
 *
 * Prints one line to each measurement: the median of the rounds, with the slowest and fastest. It asserts
 * nothing: figures belong to a machine.
 */
import { concat, utf8, Writer } from "../src/base/bytes.ts";
import { Prng } from "../src/base/prng.ts";
import { ENTRY_KIND } from "../src/raft/types.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../src/wire/batch.ts";
import { CommandView } from "../src/wire/command.ts";
import { CommandEncoder } from "../src/wire/command_encode.ts";
import { resolveCommand } from "../src/wire/command_table.ts";
import { translate } from "../src/wire/command_translate.ts";
import { PeerParser } from "../src/wire/peer.ts";
import { decodePeerFrame } from "../src/wire/peer_decode.ts";
import { PeerEncoder } from "../src/wire/peer_encode.ts";
import { RespParser } from "../src/wire/resp_parse.ts";
import { RespEncoder } from "../src/wire/resp_reply.ts";
import { validateCommand } from "../src/wire/validate.ts";

const ROUNDS = 9;
const CHUNK_BYTES = 64 * 1024;
const COMMANDS_PER_ROUND = 400_000;
const random = Prng.fromSeed(1);

function resp(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${utf8(word).length}\r\n${word}\r\n`).join("")}`;
}

/** A read's worth of whole commands. */
function chunkOf(words: (i: number) => readonly string[]): { bytes: Uint8Array; count: number } {
  let text = "";
  let count = 0;
  while (text.length < CHUNK_BYTES) text += resp(words(count++));
  return { bytes: utf8(text), count };
}

function measure(name: string, count: number, run: () => void): void {
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS + 2; round++) {
    const begin = performance.now();
    run();
    const seconds = (performance.now() - begin) / 1000;
    if (round >= 2) rates.push(count / seconds); // the first ones are the compiler's
  }
  rates.sort((a, b) => a - b);
  const at = (i: number): string => `${((rates[i] as number) / 1e6).toFixed(2)}`;
  const nanoseconds = 1e9 / (rates[ROUNDS >> 1] as number);
  console.log(
    `${name.padEnd(34)} ${at(ROUNDS >> 1)} M/s  (${at(0)}..${at(ROUNDS - 1)})  ${nanoseconds.toFixed(0)} ns each`,
  );
}

function parseOnly(bytes: Uint8Array, parser: RespParser): number {
  parser.feed(bytes);
  let commands = 0;
  while (parser.next() === "command") commands++;
  return commands;
}

function parseAndTranslate(bytes: Uint8Array, parser: RespParser, out: CommandEncoder): number {
  parser.feed(bytes);
  let commands = 0;
  while (parser.next() === "command") {
    const command = resolveCommand(parser);
    if (typeof command === "string" || command.op === null)
      throw new Error("the benchmark asks for a known command");
    const error = translate(command, parser, out, random);
    if (error !== null) throw new Error(error);
    commands++;
  }
  out.writer.clear();
  return commands;
}

const value = "v".repeat(64);
const WORKLOADS: Readonly<Record<string, (i: number) => readonly string[]>> = {
  "SET key:000123 <64 bytes>": (i) => ["SET", `key:${String(i).padStart(6, "0")}`, value],
  "GET key:000123": (i) => ["GET", `key:${String(i).padStart(6, "0")}`],
  "INCR counter:12": (i) => ["INCR", `counter:${i % 100}`],
  "SET k v PX 60000 NX": (i) => ["SET", `key:${i}`, value, "PX", "60000", "NX"],
  "MSET of 10": (i) => ["MSET", ...Array.from({ length: 10 }, (_, k) => [`key:${i}:${k}`, value]).flat()],
  "MGET of 10": (i) => ["MGET", ...Array.from({ length: 10 }, (_, k) => `key:${i}:${k}`)],
};

for (const [name, words] of Object.entries(WORKLOADS)) {
  const { bytes, count } = chunkOf(words);
  const chunks = Math.ceil(COMMANDS_PER_ROUND / count);
  const parser = new RespParser();
  const out = new CommandEncoder(new Writer(2 * CHUNK_BYTES));
  measure(`parse            ${name.split(" ")[0]}`, chunks * count, () => {
    for (let i = 0; i < chunks; i++) parseOnly(bytes, parser);
  });
  measure(`parse+translate  ${name.slice(0, 17)}`, chunks * count, () => {
    for (let i = 0; i < chunks; i++) parseAndTranslate(bytes, parser, out);
  });
}

{
  const out = new CommandEncoder(new Writer());
  const parser = new RespParser();
  const { bytes } = chunkOf(WORKLOADS["SET key:000123 <64 bytes>"] as (i: number) => readonly string[]);
  parser.feed(bytes);
  let count = 0;
  while (parser.next() === "command") {
    const command = resolveCommand(parser);
    if (typeof command === "string") throw new Error(command);
    translate(command, parser, out, random);
    count++;
  }
  const frames = out.writer.copy();
  const view = new CommandView();
  const rounds = Math.ceil(COMMANDS_PER_ROUND / count);
  measure("frame read+validate  SET", rounds * count, () => {
    for (let i = 0; i < rounds; i++) {
      for (let at = 0; at < frames.length; at = view.end) {
        if (view.read(frames, at, frames.length) !== null || validateCommand(view) !== null)
          throw new Error("frame");
      }
    }
  });
}

{
  const encoder = new RespEncoder(new Writer(2 * CHUNK_BYTES));
  const blob = utf8(value);
  measure("reply encode  OK, int, 64 B blob", 3 * COMMANDS_PER_ROUND, () => {
    for (let i = 0; i < COMMANDS_PER_ROUND; i++) {
      encoder.simple("OK");
      encoder.integer(i);
      encoder.blob(blob, 0, blob.length);
      if (encoder.writer.length > CHUNK_BYTES) encoder.writer.clear();
    }
  });
}

{
  const BODY_BYTES = 4096;
  const COUNT = 4;
  const batches = concat(
    Array.from({ length: COUNT }, (_, i) => {
      const batch = new Uint8Array(BATCH_HEADER_BYTES + BODY_BYTES).fill(7);
      const rest = {
        timeMs: 1,
        count: 1,
        kind: ENTRY_KIND.commands,
        encoding: COMMAND_ENCODING,
        stateVersion: 1,
      };
      sealBatch(batch, 0, { bodySize: BODY_BYTES, group: 1, term: 1, index: i + 1, ...rest });
      return batch;
    }),
  );
  const message = {
    kind: "append",
    from: 1,
    to: 2,
    term: 1,
    prevIndex: 0,
    prevTerm: 0,
    lastIndex: COUNT,
    entries: [],
    commit: 0,
  } as const;
  const rounds = 20_000;
  measure("peer append, 4 batches of 4 KiB", rounds, () => {
    const encoder = new PeerEncoder(new Writer(2 * batches.length));
    const parser = new PeerParser();
    for (let i = 0; i < rounds; i++) {
      encoder.writer.clear();
      encoder.appendHead(1, message, batches.length);
      encoder.writer.raw(batches);
      parser.feed(encoder.writer.view());
      if (parser.next() !== "frame" || typeof decodePeerFrame(parser) === "string")
        throw new Error(parser.error);
      parser.next();
    }
  });
}

/**
 * How fast the state machine applies and reads, and what a key costs: `npx bun run bench/store.ts [keys..]`.
 *
 * Keys have 16 bytes, values 100, in batches of 512 commands, drawn at random over the whole store; batches are made
 * beforehand, so the times are the store's own. Bytes a key are what the process grew by, divided by the keys (the
 * 116 bytes of key and value included), beside what the store says it uses.
 */
import { Writer } from "../src/base/bytes.ts";
import { Prng } from "../src/base/prng.ts";
import { ENTRY_KIND } from "../src/raft/types.ts";
import { KeyValueStore } from "../src/store/store.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../src/wire/batch.ts";
import { CommandView, OP, SET_OPTION } from "../src/wire/command.ts";
import { CommandEncoder } from "../src/wire/command_encode.ts";
import { DISCARD } from "../src/wire/reply.ts";

const COMMANDS_PER_BATCH = 512;
const VALUE_BYTES = 100;
const BATCHES_MEASURED = 600;
const LISTENER = { begin: () => DISCARD, end: () => {}, notServed: () => {} };
const SETTINGS = { memoryBytesMax: 2 ** 34, sessionRepliesMax: 1024, sessionsMax: 2 ** 20 };

type Build = (encoder: CommandEncoder, key: Uint8Array) => void;

const key = new Uint8Array(16);
const value = new Uint8Array(VALUE_BYTES).fill(0x76);
const random = Prng.fromSeed(1);

function aimKey(n: number): Uint8Array {
  let rest = n;
  for (let i = 15; i >= 4; i--) {
    key[i] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  key.set([0x6b, 0x65, 0x79, 0x3a]);
  return key;
}

function batchOf(numbers: () => number, build: Build): Uint8Array {
  const writer = new Writer(64 * 1024);
  writer.zeros(BATCH_HEADER_BYTES);
  const encoder = new CommandEncoder(writer);
  for (let i = 0; i < COMMANDS_PER_BATCH; i++) {
    build(encoder, aimKey(numbers()));
    encoder.end();
  }
  const bytes = writer.copy();
  sealBatch(bytes, 0, {
    bodySize: bytes.length - BATCH_HEADER_BYTES,
    group: 1,
    term: 1,
    index: 1,
    timeMs: 1_000_000,
    count: COMMANDS_PER_BATCH,
    kind: ENTRY_KIND.commands,
    encoding: COMMAND_ENCODING,
    stateVersion: 1,
  });
  return bytes;
}

const set: Build = (encoder, name) => {
  encoder.begin(OP.set);
  encoder.arg(name);
  encoder.arg(value);
  encoder.argI64(0);
  encoder.argI64(0);
};
const setWithTime: Build = (encoder, name) => {
  encoder.begin(OP.set);
  encoder.arg(name);
  encoder.arg(value);
  encoder.argI64(SET_OPTION.expiryRelative);
  encoder.argI64(60_000 + random.below(1_000_000));
};
const get: Build = (encoder, name) => {
  encoder.begin(OP.get);
  encoder.arg(name);
};
const del: Build = (encoder, name) => {
  encoder.begin(OP.del);
  encoder.arg(name);
};
/** Writes of eight clients, each with a thousand unacknowledged ones. */
let written = 0;
const sessionSet: Build = (encoder, name) => {
  const client = written % 8;
  const seq = 1 + Math.floor(written++ / 8);
  const id = new Uint8Array(16).fill(client + 1);
  encoder.begin(OP.set, { client: id, seq, floor: Math.max(1, seq - 1000), notAfter: 1_010_000, after: 0 });
  encoder.arg(name);
  encoder.arg(value);
  encoder.argI64(0);
  encoder.argI64(0);
};
/** A counter's key is none of the others'. */
const incr: Build = (encoder, name) => {
  name[0] = 0x6e;
  encoder.begin(OP.incrBy);
  encoder.arg(name);
  encoder.argI64(1);
};

/** Time this process computed, in ns: other work on the machine does not count, the runtime's helper threads do. */
function now(): bigint {
  const used = process.cpuUsage();
  return BigInt(used.user + used.system) * 1000n;
}

function rss(): number {
  const { Bun } = globalThis as { Bun?: { gc(force: boolean): void } };
  Bun?.gc(true);
  return process.memoryUsage().rss;
}

class Bench {
  readonly store = new KeyValueStore(SETTINGS);
  #index = 0;

  /** Microseconds a command. */
  apply(batches: readonly Uint8Array[]): number {
    const start = now();
    for (const batch of batches) this.store.apply(++this.#index, 1, batch, LISTENER);
    return microseconds(start, batches.length * COMMANDS_PER_BATCH);
  }

  /** Reads a whole image while writes go on between its chunks; the longest call of next() in ms of wall time. */
  snapshot(batches: readonly Uint8Array[]): string {
    const start = performance.now();
    const source = this.store.beginSnapshot();
    const began = performance.now() - start;
    const calls: number[] = [];
    let bytes = 0;
    for (let i = 0; ; i++) {
      const from = performance.now();
      const chunk = source.next();
      calls.push(performance.now() - from);
      if (chunk === null) break;
      bytes += chunk.length;
      this.apply([batches[i % batches.length] as Uint8Array]);
    }
    source.close();
    calls.sort((a, b) => a - b);
    const at = (share: number): string =>
      (calls[Math.floor(share * (calls.length - 1))] as number).toFixed(2);
    const size = (bytes / 1e6).toFixed(0);
    return `begin ${began.toFixed(2)} ms, ${calls.length} calls p50 ${at(0.5)} p99 ${at(0.99)} max ${at(1)} ms, ${size} MB`;
  }

  read(batches: readonly Uint8Array[]): number {
    const view = new CommandView();
    const start = now();
    for (const batch of batches) {
      let at = BATCH_HEADER_BYTES;
      while (at < batch.length) {
        view.read(batch, at, batch.length);
        at = view.end;
        this.store.read(view, 1_000_000, DISCARD);
      }
    }
    return microseconds(start, batches.length * COMMANDS_PER_BATCH);
  }
}

function microseconds(start: bigint, count: number): number {
  return Number(now() - start) / 1000 / count;
}

function row(name: string, us: number): void {
  console.log(
    `  ${name.padEnd(28)} ${us.toFixed(3).padStart(8)} us  ${Math.round(1e6 / us)
      .toLocaleString("en")
      .padStart(12)} /s`,
  );
}

function measure(keys: number): void {
  const before = rss();
  const bench = new Bench();
  let next = 0;
  const start = now();
  let making = 0n;
  const load: Uint8Array[] = [];
  let loadUs = 0;
  while (next < keys) {
    const from = now();
    load[0] = batchOf(() => next++, set);
    making += now() - from;
    loadUs += bench.apply(load) * COMMANDS_PER_BATCH;
  }
  const count = bench.store.keyCount;
  const grown = (rss() - before) / count;
  console.log(
    `${count.toLocaleString("en")} keys, 16 + ${VALUE_BYTES} bytes each (loaded in ${(Number(now() - start - making) / 1e9).toFixed(1)} s)`,
  );
  console.log(
    `  bytes a key: ${grown.toFixed(1)} of memory, ${(bench.store.allocatedBytes / count).toFixed(1)} allocated: ${(bench.store.allocatedBytes / count - 16 - VALUE_BYTES).toFixed(1)} beside key and value`,
  );
  row("SET new (load)", loadUs / count);
  const pick = () => random.below(keys);
  const many = (build: Build) => Array.from({ length: BATCHES_MEASURED }, () => batchOf(pick, build));
  const sets = many(set);
  row("SET again", bench.apply(sets));
  row("SET again", bench.apply(sets));
  const gets = many(get);
  row("GET in a batch", bench.apply(gets));
  row("GET read", bench.read(gets));
  row("SET in a session", bench.apply(many(sessionSet)));
  row("SET in a session", bench.apply(many(sessionSet)));
  console.log(`  snapshot under writes: ${bench.snapshot(sets)}`);
  const incrs = many(incr);
  row("INCR new", bench.apply(incrs));
  row("INCR again", bench.apply(incrs));
  const timed = many(setWithTime);
  row("SET with PX", bench.apply(timed));
  row("SET with PX again", bench.apply(timed));
  row("DEL", bench.apply(many(del)));
}

const sizes = process.argv.slice(2).map(Number);
for (const keys of sizes.length > 0 ? sizes : [1_000_000, 3_000_000]) measure(keys);

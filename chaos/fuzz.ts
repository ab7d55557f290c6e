/**
 * Bad input against a running node: `npx tsx chaos/fuzz.ts --port 7001 [--streams 100000] [--seed 1]`.
 *
 * Mutated streams in many connections (sent whole, in pieces of a few bytes, or left hanging in mid-frame), and one
 * reader that never reads. Beside them a well-behaved client sets and gets; it must see no error, the process must
 * stay the same one, and its memory must grow by less than RSS_GROWTH_MAX. Exit code 1 if not.
 */
import * as fs from "node:fs";
import * as net from "node:net";
import { parseArgs } from "node:util";
import { Prng } from "../src/base/prng.ts";
import { MiB } from "../src/base/units.ts";
import { askOver } from "../src/cli/cluster_view.ts";
import { RespConnection } from "../src/cli/resp_connection.ts";
import { hostileStream } from "./fuzz_streams.ts";

export const RSS_GROWTH_MAX = 32 * MiB;
const CONNECTIONS = 32;
/** A stream that the server neither answers nor closes (it waits for the rest) is left after this. */
const STREAM_MS_MAX = 20;

export type FuzzResult = { streams: number; goodCalls: number; problems: string[]; rssGrowth: number };

function rssOf(pid: number): number {
  const line = fs.readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+) kB/);
  return Number(line?.[1] ?? 0) * 1024;
}

/** Sends one stream, in pieces if the draw says so, and waits until the server closes it or for a moment. */
function sendStream(port: number, random: Prng): Promise<void> {
  return new Promise((done) => {
    const bytes = hostileStream(random);
    const pieceBytes = random.chance(1, 8) ? 1 + random.below(4) : bytes.length;
    const socket = net.connect({ host: "127.0.0.1", port, noDelay: true });
    const timer = setTimeout(() => socket.destroy(), STREAM_MS_MAX + random.below(STREAM_MS_MAX));
    socket.on("connect", () => {
      for (let at = 0; at < bytes.length; at += pieceBytes) socket.write(bytes.subarray(at, at + pieceBytes));
      if (random.chance(7, 8)) socket.end(); // else silence in mid-frame
    });
    socket.on("data", () => {});
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      done();
    });
  });
}

/** Asks for much and reads nothing. */
function neverReads(port: number): net.Socket {
  const socket = net.connect({ host: "127.0.0.1", port });
  socket.pause();
  const big = `*3\r\n$3\r\nSET\r\n$8\r\nfuzz:big\r\n$65536\r\n${"v".repeat(65_536)}\r\n`;
  const get = "*2\r\n$3\r\nGET\r\n$8\r\nfuzz:big\r\n";
  socket.on("error", () => {});
  socket.write(big);
  socket.write(get.repeat(2000)); // 128 MiB of replies, if anybody built them
  return socket;
}

/** Bytes by which the process is larger after so many streams. */
async function growth(port: number, pid: number, streams: number, random: Prng): Promise<number> {
  const before = rssOf(pid);
  let next = 0;
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      while (next < streams) await sendStream(port, random.fork(String(next++)));
    }),
  );
  let grown = rssOf(pid) - before;
  for (let i = 0; i < 20 && grown > RSS_GROWTH_MAX; i++) {
    await new Promise((done) => setTimeout(done, 500)); // a collector takes its time to give memory back
    grown = rssOf(pid) - before;
  }
  return grown;
}

export async function fuzz(port: number, pid: number, streams: number, seed: number): Promise<FuzzResult> {
  const random = Prng.fromSeed(seed);
  const problems: string[] = [];
  const good = await RespConnection.open({ host: "127.0.0.1", port });
  let goodCalls = 0;
  let running = true;
  const wellBehaved = (async () => {
    for (let i = 0; running; i++) {
      const set = await good.call(["SET", "good", String(i)], 10_000);
      const get = await good.call(["GET", "good"], 10_000);
      goodCalls += 2;
      if (set.kind !== "simple" || set.text !== "OK")
        problems.push(`the good client's SET: ${JSON.stringify(set)}`);
      const value = get.kind === "bulk" ? Buffer.from(get.bytes).toString() : get.kind;
      if (value !== String(i)) problems.push(`the good client wrote ${i} and read ${value}`);
      await new Promise((done) => setTimeout(done, 1));
    }
  })();
  const mute = neverReads(port);
  // First sights compile code and size buffers: that is not what input costs.
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, lane) => {
      for (let i = 0; i < 30; i++) await sendStream(port, random.fork(`warm ${lane} ${i}`));
    }),
  );
  let rssGrowth = await growth(port, pid, streams, random.fork("first"));
  // A heap that grew once keeps what it has; one that grows by as much with every thousand streams leaks.
  if (rssGrowth > RSS_GROWTH_MAX) rssGrowth = await growth(port, pid, streams, random.fork("second"));
  running = false;
  await wellBehaved.catch((error: Error) => problems.push(`the good client: ${error.message}`));
  mute.destroy();
  good.close();
  if (rssGrowth > RSS_GROWTH_MAX) problems.push(`memory grew by ${(rssGrowth / MiB).toFixed(1)} MiB`);
  return { streams, goodCalls, problems, rssGrowth };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "7001" },
      streams: { type: "string", default: "100000" },
      seed: { type: "string", default: "1" },
    },
  });
  const port = Number(values.port);
  const status = await RespConnection.open({ host: "127.0.0.1", port });
  const { pid } = await askOver(status);
  status.close();
  const result = await fuzz(port, pid, Number(values.streams), Number(values.seed));
  console.log(
    `${result.streams} hostile streams (seed ${values.seed}), ${result.goodCalls} good calls beside them, memory ${(result.rssGrowth / MiB).toFixed(1)} MiB more`,
  );
  for (const problem of new Set(result.problems)) console.log(`PROBLEM ${problem}`);
  process.exitCode = result.problems.length === 0 ? 0 : 1;
}

if (process.argv[1]?.endsWith("fuzz.ts")) await main();

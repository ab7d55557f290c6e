/**
 * Killing a node under load, as a measurement: one writer sends a numbered write every few ms through a survivor
 * and keeps the time of each acknowledgement; the victim gets SIGKILL; the longest silence is the write gap; at
 * the end every acknowledged write is read back.
 *
 *     write write write  KILL  . . . . . . .  write write write  | read all back | delete the probes
 *                    last ack  <-- gap -->  first ack
 *
 * The probes lie in a slot of the shard whose leader dies: other shards' writes go on, and would hide the gap.
 * They are keys of their own with a time to live, so an interrupted measurement leaves nothing for long.
 */
import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { fromUtf8 } from "../base/bytes.ts";
import type { Address } from "./address.ts";
import { RespConnection } from "./resp_connection.ts";

const WRITE_PAUSE_MS = 2;
const BEFORE_MS = 400;
const AFTER_MS = 400;
/** An election takes well under a second; without a majority there is never one. */
const SILENCE_MS_MAX = 10_000;
const PROBE_TTL_MS = 600_000;
const READ_KEYS_MAX = 100;
const READ_ATTEMPTS_MAX = 5;

export type KillReport = {
  /** Null: no write was acknowledged any more. */
  readonly gapMs: number | null;
  readonly acknowledged: number;
  /** Refused for sure ("CLUSTERDOWN" and its like): never carried out. */
  readonly refused: number;
  /** Sent, without an answer that says how it ended. */
  readonly unknown: number;
  /** Acknowledged writes that could not be read back. Null: nobody could be asked. */
  readonly lost: number | null;
};

type Tally = { acknowledged: number[]; ackTimes: number[]; refused: number; unknown: number };

/** `tag`: what the probes' slot is chosen by; null: they lie in any slots. */
export async function killAndMeasure(
  victimPid: number,
  through: Address,
  tag: string | null,
): Promise<KillReport> {
  const connection = await RespConnection.open(through);
  const where = tag === null ? "" : `{${tag}}:`;
  const prefix = `nucleus:kill:${where}${randomBytes(4).toString("hex")}:`;
  const tally: Tally = { acknowledged: [], ackTimes: [], refused: 0, unknown: 0 };
  try {
    const startMs = performance.now();
    let number = 0;
    while (performance.now() - startMs < BEFORE_MS) await write(connection, prefix, number++, tally);
    process.kill(victimPid, "SIGKILL");
    const killedMs = performance.now();
    while (!isOver(tally, killedMs)) await write(connection, prefix, number++, tally);
    const answers = !isSilent(tally);
    const lost = answers ? await countLost(connection, prefix, tally.acknowledged) : null;
    return {
      gapMs: answers ? longestSilence(tally.ackTimes, killedMs) : null,
      acknowledged: tally.acknowledged.length,
      refused: tally.refused,
      unknown: tally.unknown,
      lost,
    };
  } finally {
    connection.close();
  }
}

async function write(
  connection: RespConnection,
  prefix: string,
  number: number,
  tally: Tally,
): Promise<void> {
  const words = ["SET", `${prefix}${number}`, String(number), "PX", String(PROBE_TTL_MS)];
  const reply = await connection.call(words, SILENCE_MS_MAX);
  if (reply.kind === "simple") {
    tally.acknowledged.push(number);
    tally.ackTimes.push(performance.now());
  } else if (reply.kind === "error" && reply.text.startsWith("UNCERTAIN")) {
    tally.unknown++;
  } else {
    tally.refused++;
  }
  await sleep(WRITE_PAUSE_MS);
}

/** After a while of writes that succeed again; or when it is clear that they will not. */
function isOver(tally: Tally, killedMs: number): boolean {
  if (isSilent(tally)) return true;
  const lastMs = tally.ackTimes.at(-1) ?? 0;
  // The first acknowledgement after the kill may be of a write that was finished before it.
  return performance.now() - killedMs > AFTER_MS && longestEnd(tally.ackTimes, killedMs) + AFTER_MS < lastMs;
}

function isSilent({ ackTimes }: Tally): boolean {
  return performance.now() - (ackTimes.at(-1) ?? 0) > SILENCE_MS_MAX;
}

/** When the longest silence that ended after `sinceMs` was over. */
function longestEnd(times: readonly number[], sinceMs: number): number {
  let longest = 0;
  let endMs = Number.POSITIVE_INFINITY;
  for (let i = 1; i < times.length; i++) {
    const [from, to] = [times[i - 1] as number, times[i] as number];
    if (to < sinceMs || to - from <= longest) continue;
    longest = to - from;
    endMs = to;
  }
  return endMs;
}

function longestSilence(times: readonly number[], sinceMs: number): number {
  const endMs = longestEnd(times, sinceMs);
  return endMs - (times[times.indexOf(endMs) - 1] as number);
}

/** Reads all acknowledged writes back, and removes them. Null: they could not be read. */
async function countLost(
  connection: RespConnection,
  prefix: string,
  numbers: readonly number[],
): Promise<number | null> {
  let lost = 0;
  for (let at = 0; at < numbers.length; at += READ_KEYS_MAX) {
    const some = numbers.slice(at, at + READ_KEYS_MAX);
    const keys = some.map((number) => `${prefix}${number}`);
    const values = await readAll(connection, keys);
    if (values === null) return null;
    lost += some.filter((number, i) => values[i] !== String(number)).length;
    await connection.call(["DEL", ...keys], SILENCE_MS_MAX);
  }
  return lost;
}

async function readAll(
  connection: RespConnection,
  keys: readonly string[],
): Promise<(string | null)[] | null> {
  for (let attempt = 0; attempt < READ_ATTEMPTS_MAX; attempt++) {
    const reply = await connection.call(["MGET", ...keys], SILENCE_MS_MAX);
    if (reply.kind === "array") {
      return reply.items.map((item) => (item.kind === "bulk" ? fromUtf8(item.bytes) : null));
    }
    await sleep(200);
  }
  return null;
}

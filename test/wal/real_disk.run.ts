/**
 * A log on the real disk, on whichever runtime runs this: `real_disk.run.ts DIR BATCHES`. Appends batch after
 * batch, each once the one before it is vouched for, then starts again and reads everything back. Prints what it
 * did as one line of JSON; a wrapper may count the system calls meanwhile.
 */
import { deepStrictEqual } from "node:assert";
import process from "node:process";
import { type Done, runTask, type Task } from "../../src/base/task.ts";
import { createPlatform } from "../../src/platform/node.ts";
import type { Lsn } from "../../src/raft/types.ts";
import type { Recovered, Wal } from "../../src/wal/types.ts";
import { openWal } from "../../src/wal/wal.ts";
import { entryOf, quietLog } from "./world.ts";

const dir = process.argv[2] as string;
const batches = Number(process.argv[3]);
const ENTRIES_PER_BATCH = 3;
const { disk, random } = createPlatform(quietLog);

function promise<T>(task: Task<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const done: Done<T> = (error, value) => (error === null ? resolve(value) : reject(error));
    runTask(task, done);
  });
}

let onSynced: (lsn: Lsn) => void = () => undefined;

function open(): Promise<{ wal: Wal; recovered: Recovered }> {
  const onFailed = (error: Error): void => {
    throw error;
  };
  const options = { disk, log: quietLog, dir, segmentBytes: 1 << 20, randomU32: () => random.u32() };
  return promise(openWal({ ...options, onSynced: (lsn) => onSynced(lsn), onFailed }));
}

/** Until the next segment is ready, so that its syncs are over before the count matters. */
async function rest(wal: Wal): Promise<void> {
  const { roomBytes } = { roomBytes: () => wal.roomBytes() };
  for (let i = 0; i < 500 && roomBytes() < 400_000; i++)
    await new Promise((resolve) => setTimeout(resolve, 10));
}

const { wal } = await open();
await rest(wal);
let index = 0;
for (let batch = 0; batch < batches; batch++) {
  for (let i = 0; i < ENTRIES_PER_BATCH; i++) wal.appendEntry(1, 7, entryOf(7, ++index, 1, 200));
  const end = wal.endLsn;
  await new Promise<void>((resolve) => {
    onSynced = (lsn) => {
      if (lsn >= end) resolve();
    };
    wal.submit();
  });
}
const { syncs } = wal.stats;
await promise(wal.close());

const again = await open();
const entries = await promise(again.wal.readEntries(7, 1, index, 1 << 30));
deepStrictEqual(
  entries.map(({ bytes }) => Array.from(bytes)),
  Array.from({ length: index }, (_, i) => Array.from(entryOf(7, i + 1, 1, 200).bytes)),
);
await promise(again.wal.close());
console.log(JSON.stringify({ batches, syncs, entries: index, tornBytes: again.recovered.tornBytes }));
process.exit(0);

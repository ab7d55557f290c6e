/**
 * The state machine gives the same replies and state hash on every runtime: one workload from one seed,
 * numbers at the edges of 53 and 64 bits among it. The expected figures are those of the first run; what counts is
 * that all runtimes agree on them, and that a change of them is noticed: it means that replicas of two releases
 * would differ.
 */
import { Writer } from "../../src/base/bytes.ts";
import { crc32 } from "../../src/base/checksum.ts";
import { Prng } from "../../src/base/prng.ts";
import { KeyValueStore } from "../../src/store/store.ts";
import { OP } from "../../src/wire/command.ts";
import { ReplyEncoder } from "../../src/wire/native_reply.ts";
import { batch, frame } from "../store/frames.ts";
import { Workload } from "../store/workload.ts";
import { end, same } from "./tap.ts";

const SETTINGS = { memoryBytesMax: 2 ** 30, sessionRepliesMax: 64, sessionsMax: 1024 };

function run(): { store: KeyValueStore; replies: number } {
  const store = new KeyValueStore(SETTINGS);
  const workload = new Workload(Prng.fromSeed(2024));
  const writer = new Writer(1 << 16);
  const encoder = new ReplyEncoder(writer);
  const listener = { begin: () => encoder, end: () => {}, notServed: () => {} };
  let replies = 0;
  let timeMs = 1_900_000_000_000;
  for (let index = 1; index <= 2000; index++) {
    timeMs += workload.random.below(100);
    const frames = workload.batch(10).map(([op, args]) => frame(op, args));
    const session = {
      client: index % 5,
      seq: index,
      floor: Math.max(1, index - 20),
      notAfter: timeMs + 5000,
      after: 0,
    };
    frames.push(frame(OP.incrByFloat, [`f${index % 3}`, index % 2 === 0 ? "0.1" : "-1.7e-5"], session));
    writer.clear();
    store.apply(index, 1, batch(timeMs, frames), listener);
    replies = crc32(writer.view(), replies);
  }
  return { store, replies };
}

const { store, replies } = run();
same(store.stateHash(), "0774218e05b228c9", "state hash");
same(replies, 831546594, "checksum over all replies");
same(store.revision, 7532, "revision");
const source = store.beginSnapshot();
const copy = new KeyValueStore(SETTINGS);
const sink = copy.beginRestore();
for (let chunk = source.next(); chunk !== null; chunk = source.next()) sink.write(chunk);
same(sink.finish(), null, "the image is taken");
same(copy.stateHash(), store.stateHash(), "and has the same hash");
end();

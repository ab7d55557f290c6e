/** Appends on their way out: from the cache, from the log, and in order whichever it is. */
import t from "tap";
import { NucleusError } from "../../src/base/errors.ts";
import { type Done, type Task, wait } from "../../src/base/task.ts";
import type { AppendRequest, Entry } from "../../src/raft/types.ts";
import { AppendSender } from "../../src/server/append_sender.ts";
import { CacheBudget, EntryCache } from "../../src/server/entry_cache.ts";
import type { Wal } from "../../src/wal/types.ts";

function entry(index: number): Entry {
  return { index, term: 1, kind: 1, bytes: new Uint8Array(10) };
}

function append(to: number, prevIndex: number, lastIndex: number): AppendRequest {
  return { kind: "append", from: 1, to, term: 1, prevIndex, prevTerm: 1, lastIndex, entries: [], commit: 0 };
}

/** Entries 1..100 in the log, 51..100 in the cache; reads end when the test says so. */
function sender() {
  const cache = new EntryCache(new CacheBudget(1_000_000));
  for (let index = 51; index <= 100; index++) cache.push(entry(index));
  const reads: Done<Entry[]>[] = [];
  const sent: string[] = [];
  const log: string[] = [];
  const state = { leads: true, compacted: 0 };
  const readEntries = function* (): Task<Entry[]> {
    return yield* wait<Entry[]>((done) => void reads.push(done));
  };
  const appends = new AppendSender({
    group: 1,
    cache,
    wal: { readEntries } as unknown as Wal,
    log: { write: (_level, message) => void log.push(message) },
    maySend: () => state.leads,
    send: (message, entries) =>
      void sent.push(`${message.to}: ${message.prevIndex + 1}..${message.lastIndex} (${entries.length})`),
    compacted: () => void state.compacted++,
    wake: () => {},
  });
  return { appends, reads, sent, log, state };
}

const range = (first: number, last: number): Entry[] =>
  Array.from({ length: last - first + 1 }, (_, i) => entry(first + i));

t.test("what is cached goes at once, and so does an empty append", (t) => {
  const { appends, sent, reads } = sender();
  appends.send(append(2, 50, 60));
  appends.send(append(2, 60, 60));
  t.same(sent, ["2: 51..60 (10)", "2: 61..60 (0)"]);
  t.equal(reads.length, 0);
  t.end();
});

t.test(
  "D15: a follower that is behind the cache gets its appends in order, and others need not wait",
  (t) => {
    const { appends, sent, reads } = sender();
    appends.send(append(2, 30, 40));
    appends.send(append(2, 40, 55)); // begins before the cache
    appends.send(append(2, 55, 70)); // in the cache
    appends.send(append(3, 90, 100));
    t.same(sent, ["3: 91..100 (10)"]);
    reads[0]?.(null, range(31, 40));
    t.same(sent.slice(1), ["2: 31..40 (10)"]);
    reads[1]?.(null, range(41, 55));
    t.same(sent.slice(2), ["2: 41..55 (15)", "2: 56..70 (15)"]);
    t.equal(reads.length, 2);
    t.end();
  },
);

t.test("an append that was read for a leadership that is over does not go out", (t) => {
  const { appends, sent, reads, state } = sender();
  appends.send(append(2, 30, 40));
  appends.send(append(2, 60, 70));
  state.leads = false;
  reads[0]?.(null, range(31, 40));
  t.same(sent, []);
  t.end();
});

t.test(
  "B4: what cannot be read is not sent in part: the core is told, and the log if it was no compaction",
  (t) => {
    const { appends, sent, reads, log, state } = sender();
    appends.send(append(2, 30, 40));
    appends.send(append(2, 60, 70));
    reads[0]?.(new NucleusError("ECOMPACTED", "gone"), []);
    t.equal(state.compacted, 1);
    t.same(log, []);
    appends.send(append(2, 30, 40));
    reads[1]?.(new NucleusError("EDAMAGED", "a bit flipped"), []);
    t.equal(state.compacted, 2);
    t.same(log, ["entries for a follower cannot be read"]);
    t.same(sent, [], "nor what would have followed it");
    t.end();
  },
);

/** The parts under the core, each against a slow model that is obviously right: random inputs, fixed seed. */
import fc from "fast-check";
import t from "tap";
import { encodeConfig, isVoter } from "../../src/raft/config.ts";
import { Durability } from "../../src/raft/durability.ts";
import { RaftLog } from "../../src/raft/log.ts";
import { Progress, Window } from "../../src/raft/progress.ts";
import { jointOutcome, jointValue, majorityValue } from "../../src/raft/quorum.ts";
import {
  ENTRY_KIND,
  type Entry,
  type GroupConfig,
  type Member,
  type ReplicaId,
} from "../../src/raft/types.ts";
import { makeEntry } from "./cluster.ts";

const SEED = { seed: 20240229, numRuns: 2000 };
const small = (max: number): fc.Arbitrary<number> => fc.nat({ max });

t.test("quorum: the highest value that more than half have reached", async () => {
  const slow = (values: readonly number[]): number => {
    const candidates = values.filter((v) => values.filter((w) => w >= v).length * 2 > values.length);
    return values.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...candidates);
  };
  const values = fc.array(small(9), { maxLength: 9 });
  fc.assert(
    fc.property(values, values, (a, b) => {
      const joint = Math.min(slow(a), slow(b));
      return majorityValue([...a]) === slow(a) && jointValue([...a], [...b]) === joint;
    }),
    SEED,
  );
});

t.test("quorum: a vote is won, lost or open as counting every way it can still go says", async () => {
  const ids = fc.uniqueArray(small(5), { maxLength: 4 });
  const member = (replica: ReplicaId): Member => ({ replica, node: "" });
  const wins = (voters: readonly number[], yes: ReadonlySet<number>): boolean =>
    voters.length === 0 || voters.filter((id) => yes.has(id)).length * 2 > voters.length;
  const answers = fc.array(fc.tuple(small(5), fc.boolean()), { maxLength: 6 });
  fc.assert(
    fc.property(ids, ids, answers, (voters, outgoing, given) => {
      const known = new Map(given);
      const open = [0, 1, 2, 3, 4, 5].filter((id) => !known.has(id));
      const ends = new Set<boolean>();
      for (let bits = 0; bits < 1 << open.length; bits++) {
        const yes = new Set([...known].filter(([, granted]) => granted).map(([id]) => id));
        for (const [k, id] of open.entries()) if ((bits >> k) & 1) yes.add(id);
        ends.add(wins(voters, yes) && wins(outgoing, yes));
      }
      const expected = ends.size === 2 ? "open" : ends.has(true) ? "won" : "lost";
      return jointOutcome(voters.map(member), outgoing.map(member), known) === expected;
    }),
    SEED,
  );
});

/** The log as a plain array; a config is whatever entry carried one. */
class NaiveLog {
  first = 0;
  entries: { term: number; size: number; config: GroupConfig | null }[] = [
    { term: 0, size: 0, config: configOf(0) },
  ];
  get last(): number {
    return this.first + this.entries.length - 1;
  }
  at(index: number) {
    return this.entries[index - this.first] as { term: number; size: number; config: GroupConfig | null };
  }
  configAt(index: number): GroupConfig {
    for (let i = index; i >= this.first; i--) {
      const { config } = this.at(i);
      if (config !== null) return config;
    }
    throw new Error("no config");
  }
  bytes(first: number, last: number): number {
    let sum = 0;
    for (let i = first; i <= last; i++) sum += this.at(i).size;
    return sum;
  }
}

function configOf(version: number): GroupConfig {
  const replica = 1 + (version % 3);
  return { version, voters: [{ replica, node: "n" }], outgoing: [], learners: [], nextReplica: 9 };
}

type Step = { readonly what: "append" | "config" | "truncate" | "compact" | "reset"; readonly n: number };

function play(log: RaftLog, naive: NaiveLog, { what, n }: Step, version: number): void {
  const next = log.lastIndex + 1;
  if (what === "append" || what === "config") {
    const term = log.lastTerm + (n % 4 === 0 ? 1 + (n % 3) : 0);
    const config = what === "config" ? configOf(version) : null;
    const body = config === null ? new Uint8Array(n) : encodeConfig(config);
    const kind = config === null ? ENTRY_KIND.commands : ENTRY_KIND.config;
    const entry: Entry = makeEntry(kind, term, next, body, version);
    log.append(entry);
    naive.entries.push({ term, size: entry.bytes.length, config });
  } else if (what === "truncate" && log.lastIndex > log.snapshotIndex) {
    const from = next - 1 - (n % (log.lastIndex - log.snapshotIndex));
    log.truncate(from);
    naive.entries.length = from - naive.first;
  } else if (what === "compact") {
    const index = log.snapshotIndex + (n % (log.lastIndex - log.snapshotIndex + 1));
    const config = naive.configAt(index);
    log.compact(index);
    naive.entries = naive.entries.slice(index - naive.first);
    naive.first = index;
    naive.at(index).config = config;
  } else if (what === "reset") {
    const meta = { index: next + n, term: log.lastTerm + (n % 2), config: configOf(version) };
    log.reset(meta);
    naive.first = meta.index;
    naive.entries = [{ term: meta.term, size: 0, config: meta.config }];
  }
}

function agree(log: RaftLog, naive: NaiveLog): boolean {
  const { first, last } = naive;
  if (log.snapshotIndex !== first || log.lastIndex !== last || log.lastTerm !== naive.at(last).term)
    return false;
  if (log.config.version !== naive.configAt(last).version) return false;
  for (let i = first; i <= last; i++) {
    if (log.termAt(i) !== naive.at(i).term || !log.holds(i, naive.at(i).term)) return false;
    if (log.configAt(i).version !== naive.configAt(i).version) return false;
    for (let j = i + 1; j <= last; j++) if (log.bytes(i + 1, j) !== naive.bytes(i + 1, j)) return false;
    for (let term = 0; term <= log.lastTerm + 1; term++) {
      let hint = Math.min(i, last);
      while (hint > first && naive.at(hint).term > term) hint--;
      if (log.agreementHint(i, term) !== hint) return false;
    }
    if (i > first) {
      for (const max of [1, 60, 120, 5000]) {
        let cut = i;
        while (cut < last && naive.bytes(i, cut + 1) <= max) cut++;
        if (log.cut(i, max) !== cut) return false;
      }
    }
    for (const replica of [1, 2, 3]) {
      let may = false;
      for (let k = last; k >= i; k--) may ||= isVoter(naive.configAt(k), replica);
      if (log.mayStillVote(replica, i) !== may) return false;
    }
  }
  return !log.holds(last + 1, log.lastTerm) && !log.holds(first - 1, 0);
}

t.test("log: it answers as a plain array of entries does (E3, D11: configs included)", async () => {
  const what = fc.constantFrom("append", "append", "append", "config", "truncate", "compact", "reset");
  const step = fc.record({ what, n: small(40) }) as fc.Arbitrary<Step>;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
      const snapshot = { index: 0, term: 0, config: configOf(0) };
      const log = new RaftLog({ hardState: { term: 0, vote: 0, commit: 0 }, snapshot, log: [], configs: [] });
      const naive = new NaiveLog();
      return steps.every((one, k) => {
        play(log, naive, one, k + 1);
        return agree(log, naive);
      });
    }),
    { ...SEED, numRuns: 1000 },
  );
});

t.test("A5, B8: what is vouched for is what a disk with that many synced writes really holds", async () => {
  type Move = { readonly what: "append" | "truncate" | "sync" | "write"; readonly n: number };
  const what = fc.constantFrom("append", "append", "truncate", "write", "write", "sync");
  const move = fc.record({ what, n: small(5) }) as fc.Arbitrary<Move>;
  fc.assert(
    fc.property(fc.array(move, { maxLength: 30 }), (moves) => {
      const durable = new Durability(0, 1, 0);
      let serial = 0;
      let log: number[] = [];
      let unwritten: [index: number, serial: number][] = [];
      const queue: (typeof unwritten)[] = [];
      const disk: number[] = [];
      let lsn = 0;
      for (const { what: kind, n } of moves) {
        if (kind === "append") {
          for (let k = 0; k <= n; k++) {
            log.push(++serial);
            unwritten.push([log.length, serial]);
          }
        } else if (kind === "truncate" && log.length > 0) {
          const from = 1 + (n % log.length);
          log = log.slice(0, from - 1);
          unwritten = unwritten.filter(([index]) => index < from);
          durable.truncated(from);
        } else if (kind === "write" && unwritten.length > 0) {
          durable.handedOut(log.length, 1, 0);
          queue.push(unwritten);
          unwritten = [];
          durable.written(++lsn);
        } else if (kind === "sync" && queue.length > 0) {
          const count = 1 + (n % queue.length);
          for (const write of queue.splice(0, count)) {
            for (const [index, value] of write) {
              disk.length = index - 1; // replay truncates at every entry
              disk.push(value);
            }
          }
          durable.persisted(lsn - queue.length);
        }
        // Everything vouched for is on the disk as it is in the log.
        for (let i = 0; i < durable.index; i++) if (disk[i] !== log[i]) return false;
        // And when all is synced, all is vouched for.
        if (queue.length === 0 && unwritten.length === 0 && durable.index !== log.length) return false;
      }
      return true;
    }),
    SEED,
  );
});

t.test("B6: match never falls and stays behind next, whatever replies come", async () => {
  type Reply = {
    readonly kind: "ack" | "reject" | "snapshot" | "send";
    readonly a: number;
    readonly b: number;
  };
  const kind = fc.constantFrom("ack", "reject", "snapshot", "send");
  const reply = fc.record({ kind, a: small(12), b: small(12) }) as fc.Arbitrary<Reply>;
  fc.assert(
    fc.property(fc.array(reply, { maxLength: 40 }), (replies) => {
      const progress = new Progress(2, 5, 0, new Window(3, 100));
      return replies.every(({ kind: what, a, b }) => {
        const before = progress.match;
        if (what === "ack" && progress.acknowledge(a) && progress.state !== "replicate")
          progress.toReplicate();
        if (what === "reject") progress.backOff(a, b);
        if (what === "snapshot" && b === 0) progress.toSnapshot();
        if (what === "send" && progress.state === "replicate" && !progress.window.full) {
          progress.window.add(progress.next, 10);
          progress.next++;
        }
        return progress.match >= before && progress.next > progress.match;
      });
    }),
    SEED,
  );
});

t.test("window: it holds what a list of unacknowledged messages holds", async () => {
  type Move = { readonly add: boolean; readonly n: number };
  const move = fc.record({ add: fc.boolean(), n: small(30) }) as fc.Arbitrary<Move>;
  fc.assert(
    fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
      const window = new Window(4, 50);
      let list: [last: number, bytes: number][] = [];
      let last = 0;
      return moves.every(({ add, n }) => {
        if (add && !window.full) {
          last += 1 + (n % 3);
          window.add(last, n);
          list.push([last, n]);
        } else if (!add) {
          const index = Math.max(0, last - n);
          window.freeTo(index);
          list = list.filter(([end]) => end > index);
        }
        const bytes = list.reduce((sum, [, size]) => sum + size, 0);
        const full = list.length >= 4 || bytes >= 50;
        return window.count === list.length && window.bytes === bytes && window.full === full;
      });
    }),
    SEED,
  );
});

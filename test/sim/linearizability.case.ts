import t from "tap";
import { Prng } from "../../src/base/prng.ts";
import {
  describeOp,
  History,
  type HistoryOp,
  type RegisterOp,
  type Result,
  step,
  type Value,
} from "../../src/sim/history.ts";
import { checkHistory, checkKey, checkZones, zonesApply } from "../../src/sim/linearizability.ts";
import { Search } from "../../src/sim/linearizability_search.ts";

const set = (value: string): RegisterOp => ({ kind: "set", value });
const get: RegisterOp = { kind: "get" };
const incr: RegisterOp = { kind: "incr", delta: 1 };

let nextStream = 1000;
/** An answered operation, each in a stream of its own unless told otherwise. */
function ok(
  invoked: number,
  returned: number,
  op: RegisterOp,
  result: Result,
  stream = nextStream++,
): HistoryOp {
  return { key: "k", client: stream, stream, op, invoked, returned, outcome: "ok", result };
}
function unknown(invoked: number, op: RegisterOp, stream = nextStream++): HistoryOp {
  return {
    key: "k",
    client: stream,
    stream,
    op,
    invoked,
    returned: Infinity,
    outcome: "unknown",
    result: null,
  };
}
function notExecuted(invoked: number, returned: number, op: RegisterOp): HistoryOp {
  return { ...ok(invoked, returned, op, null), outcome: "not_executed" };
}

const GOOD: Record<string, HistoryOp[]> = {
  "nothing at all": [],
  "a read of what was written": [ok(0, 1, set("a"), true), ok(2, 3, get, "a")],
  "a read beside the write sees the old value": [ok(0, 3, set("a"), true), ok(1, 2, get, null)],
  "an unknown write that shows late": [unknown(0, set("a")), ok(1, 2, get, null), ok(3, 4, get, "a")],
  "an unknown write that never shows": [unknown(0, set("a")), ok(1, 2, get, null), ok(3, 4, get, null)],
  "a refused write that does not show": [notExecuted(0, 1, set("a")), ok(2, 3, get, null)],
  "a failed cas explained by an unknown write": [
    ok(0, 1, set("a"), true),
    unknown(2, set("b")),
    ok(3, 4, { kind: "cas", expected: "a", value: "c" }, false),
    ok(5, 6, get, "b"),
  ],
  "a delete that found an unknown write": [
    unknown(0, set("a")),
    ok(1, 2, { kind: "del" }, true),
    ok(3, 4, get, null),
  ],
  "counting with an unknown increment in between": [
    ok(0, 1, incr, 1),
    unknown(2, incr),
    ok(3, 4, incr, 2),
    ok(5, 6, incr, 4),
  ],
  "an unknown write between two known ones on one key": [
    ok(0, 1, set("a"), true),
    unknown(2, set("b")),
    ok(3, 4, set("c"), true),
    ok(5, 6, get, "c"),
    ok(7, 8, get, "b"),
  ],
  "pipelined writes in order": [ok(0, 3, set("a"), true, 1), ok(1, 4, set("b"), true, 1), ok(5, 6, get, "b")],
};

const BAD: Record<string, HistoryOp[]> = {
  "a lost write": [ok(0, 1, set("a"), true), ok(2, 3, get, null)],
  "a stale read (C1, C3: a deposed leader answers)": [
    ok(0, 1, set("a"), true),
    ok(2, 3, set("b"), true),
    ok(4, 5, get, "a"),
  ],
  "two reads that disagree about time": [ok(0, 9, set("a"), true), ok(1, 2, get, "a"), ok(3, 4, get, null)],
  "a value that nobody wrote": [ok(0, 1, get, "x")],
  "C7: a refused write that shows": [notExecuted(0, 1, set("a")), ok(2, 3, get, "a")],
  "C8: an increment done twice": [ok(0, 1, incr, 1), ok(2, 3, incr, 3)],
  "an increment lost": [ok(0, 1, incr, 1), ok(2, 3, incr, 1)],
  "an unknown write that shows, goes and shows again": [
    unknown(0, set("a")),
    ok(1, 2, get, "a"),
    ok(3, 4, set("b"), true),
    ok(5, 6, get, "b"),
    ok(7, 8, get, "a"),
  ],
  "a cas that won against the wrong value": [
    ok(0, 1, set("a"), true),
    ok(2, 3, { kind: "cas", expected: "b", value: "c" }, true),
  ],
  "a deleted key that comes back": [
    ok(0, 1, set("a"), true),
    ok(2, 3, { kind: "del" }, true),
    ok(4, 5, get, "a"),
  ],
  "C10: pipelined writes out of order": [
    ok(0, 3, set("a"), true, 1),
    ok(1, 4, set("b"), true, 1),
    ok(5, 6, get, "a"),
  ],
  "a read before its write": [ok(0, 1, get, "a"), ok(2, 3, set("a"), true)],
};

t.test("histories that are linearizable", async (t) => {
  for (const [name, ops] of Object.entries(GOOD)) t.same(checkHistory(ops), { kind: "linearizable" }, name);
});

t.test("histories that are not, and what is said about them", async (t) => {
  for (const [name, ops] of Object.entries(BAD)) {
    const verdict = checkHistory(ops);
    t.equal(verdict.kind, "violation", name);
    t.match((verdict as { reason: string }).reason, /^key k: /);
  }
});

t.test("keys are judged one by one", async (t) => {
  const good = [ok(0, 1, set("a"), true), ok(4, 5, get, "a")];
  const bad = [ok(2, 3, set("b"), true), ok(6, 7, get, null)].map((op) => ({ ...op, key: "other" }));
  t.equal(checkHistory(good).kind, "linearizable");
  t.match(checkHistory([...good, ...bad]), { kind: "violation", key: "other" });
});

t.test("a search out of steps is undecided, never a pass", async (t) => {
  const ops: HistoryOp[] = [];
  for (let i = 0; i < 30; i++) ops.push(unknown(i, incr));
  ops.push(ok(40, 41, { kind: "incr", delta: 0 }, 99));
  t.match(checkKey("k", ops, 1_000), { kind: "undecided", key: "k" });
  t.match(checkHistory(ops, 1_000), { kind: "undecided" });
});

/** The obvious judge: tries every order and every subset of the unknown. */
function bruteForce(ops: readonly HistoryOp[]): boolean {
  const judge = (left: readonly HistoryOp[], value: Value): boolean => {
    if (left.every(({ outcome }) => outcome === "unknown")) return true;
    const firstReturn = Math.min(...left.map(({ returned }) => returned));
    return left.some((op) => {
      if (op.invoked > firstReturn) return false;
      if (left.some((o) => o.outcome === "ok" && o.stream === op.stream && o.invoked < op.invoked))
        return false;
      const next = step(value, op.op);
      if (op.outcome === "ok" && next.result !== op.result) return false;
      const rest = left.filter(
        (o) => o !== op && !(o.outcome === "unknown" && o.stream === op.stream && o.invoked < op.invoked),
      );
      return judge(rest, next.value);
    });
  };
  return judge(
    ops.filter(({ outcome }) => outcome !== "not_executed"),
    null,
  );
}

type Options = {
  readonly clients: number;
  readonly ops: number;
  readonly pipelined: boolean;
  readonly unique: boolean;
};

/** A history of a real register, each operation of which happened at one moment of its interval. */
function record(random: Prng, { clients, ops, pipelined, unique }: Options): HistoryOp[] {
  const history = new History();
  let value: Value = null;
  let written = 0;
  const waiting: { client: number; id: number; op: RegisterOp; result: Result; done: boolean }[] = [];
  const late: RegisterOp[] = [];
  while (history.ops.length < ops) {
    const choice = random.below(10);
    const client = random.below(clients);
    const depth = waiting.filter((one) => one.client === client).length;
    if (choice < 4 && depth < (pipelined ? 3 : 1)) {
      const op = randomOp(random, unique, () => String(unique ? written++ : random.below(3)));
      waiting.push({ client, id: history.invoke(client, "k", op), op, result: null, done: false });
    } else if (choice < 7) {
      // The oldest undone operation of a client takes effect.
      const one = waiting.find((candidate) => candidate.client === client && !candidate.done);
      if (one !== undefined) {
        const next = step(value, one.op);
        value = next.value;
        one.result = next.result;
        one.done = true;
      }
    } else if (choice < 9) {
      const one = waiting.find((candidate) => candidate.client === client && candidate.done);
      if (one !== undefined) {
        waiting.splice(waiting.indexOf(one), 1);
        history.complete(one.id, random.chance(1, 8) ? "unknown" : "ok", one.result);
      }
    } else if (random.chance(1, 3)) {
      const one = waiting.find((candidate) => candidate.client === client && !candidate.done);
      const alone = waiting.filter((candidate) => candidate.client === client).length === 1;
      if (one !== undefined && alone) {
        waiting.splice(waiting.indexOf(one), 1);
        const fate = random.below(3);
        history.complete(one.id, fate === 0 ? "not_executed" : "unknown");
        if (fate === 1) late.push(one.op);
      }
    } else {
      const op = late.pop();
      if (op !== undefined) value = step(value, op).value;
    }
  }
  return [...history.finish()];
}

function randomOp(random: Prng, unique: boolean, fresh: () => string): RegisterOp {
  const kind = random.below(unique ? 2 : 6);
  if (kind === 0) return { kind: "get" };
  if (kind <= 2) return { kind: "set", value: fresh() };
  if (kind === 3) return { kind: "del" };
  if (kind === 4)
    return { kind: "cas", expected: random.chance(1, 4) ? null : String(random.below(3)), value: fresh() };
  return { kind: "incr", delta: 1 };
}

/** Changes one answer. */
function mutate(random: Prng, ops: readonly HistoryOp[]): HistoryOp[] {
  const mutated = [...ops];
  const answered = mutated.flatMap((op, i) => (op.outcome === "ok" && op.op.kind !== "set" ? [i] : []));
  if (answered.length === 0) return mutated;
  const at = random.pick(answered);
  const op = mutated[at] as HistoryOp;
  let result: Result = typeof op.result === "number" ? op.result + 1 : !op.result;
  if (op.op.kind === "get") {
    const others = ops.flatMap(({ op: { kind }, result: other }) =>
      kind === "get" && other !== op.result ? [other] : [],
    );
    result = others.length === 0 ? "never written" : random.pick(others);
  }
  mutated[at] = { ...op, result };
  return mutated;
}

const story = (ops: readonly HistoryOp[]): string => ops.map(describeOp).join("\n");

t.test("recorded histories pass, of any length", async (t) => {
  const random = Prng.fromSeed(1);
  for (let i = 0; i < 300; i++) {
    const options = {
      clients: 2 + random.below(6),
      ops: 5 + random.below(120),
      pipelined: random.chance(1, 3),
      unique: random.chance(1, 2),
    };
    const ops = record(random, options);
    const verdict = checkHistory(ops);
    if (verdict.kind !== "linearizable") t.fail(`${i}: ${JSON.stringify(verdict)}\n${story(ops)}`);
  }
  t.pass("300 histories");
});

t.test("the search agrees with trying everything, on recorded and on mutated histories", async (t) => {
  const random = Prng.fromSeed(2);
  let violations = 0;
  for (let i = 0; i < 3_000; i++) {
    const options = {
      clients: 3,
      ops: 3 + random.below(5),
      pipelined: random.chance(1, 3),
      unique: random.chance(1, 3),
    };
    let ops = record(random, options);
    if (random.chance(2, 3)) ops = mutate(random, ops);
    const expected = bruteForce(ops);
    if (!expected) violations++;
    if (checkHistory(ops).kind !== (expected ? "linearizable" : "violation")) {
      t.fail(`${i}: should be ${expected}\n${story(ops)}`);
      return;
    }
  }
  t.ok(violations > 500, `${violations} of 3000 were violations`);
});

t.test("zones agree with the search on registers with distinct values", async (t) => {
  const random = Prng.fromSeed(3);
  let violations = 0;
  for (let i = 0; i < 1_500; i++) {
    let ops = record(random, { clients: 4, ops: 4 + random.below(20), pipelined: false, unique: true });
    if (random.chance(1, 2)) ops = mutate(random, ops);
    const judged = ops.filter(
      ({ outcome, op }) => outcome === "ok" || (outcome === "unknown" && op.kind !== "get"),
    );
    judged.sort((a, b) => a.invoked - b.invoked);
    t.ok(zonesApply(judged), "distinct values");
    const byZones = checkZones(judged) === null;
    if (!byZones) violations++;
    if (byZones !== new Search(judged, 1_000_000).run()) {
      t.fail(`${i}: zones say ${byZones}\n${story(ops)}`);
      return;
    }
  }
  t.ok(violations > 200, `${violations} of 1500 were violations`);
});

t.test("most long histories with one wrong answer are found out", async (t) => {
  const random = Prng.fromSeed(4);
  const counts = { violation: 0, linearizable: 0, undecided: 0 };
  for (let i = 0; i < 200; i++) {
    const ops = record(random, { clients: 3, ops: 150, pipelined: false, unique: i % 2 === 0 });
    counts[checkHistory(mutate(random, ops), 20_000).kind]++;
  }
  t.ok(counts.violation > 100, JSON.stringify(counts));
  t.ok(counts.undecided < 20, JSON.stringify(counts));
});

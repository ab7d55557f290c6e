/**
 * What the client says of its calls is true: random calls through doors that lose, delay and misreport, judged by
 * what the state machine did.
 */
import t from "tap";
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { Caller, ClientCore } from "../../src/client/core.ts";
import type { ClientError } from "../../src/client/errors.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { OP } from "../../src/wire/command.ts";
import { Doors, type Fate } from "./doors.ts";

const CALLS = 400;
const KEYS = ["a", "b", "c", "{a}2"];
const TIMEOUT_MS = 2000;

type Outcome = "open" | "ok" | "unknown" | "not_executed" | "other";

class Mark implements Caller {
  readonly key: string;
  readonly token: string;
  readonly askedUs: number;
  outcome: Outcome = "open";
  answers = 0;
  error = "";
  readonly #nowUs: () => number;
  endedUs = 0;

  constructor(key: string, token: string, nowUs: () => number) {
    this.key = key;
    this.token = token;
    this.#nowUs = nowUs;
    this.askedUs = nowUs();
  }

  onReply(bytes: Uint8Array, start: number): void {
    this.#end(bytes[start] === 3 ? "ok" : "other");
  }

  onError(error: ClientError): void {
    this.error = `${error.name}: ${error.message}`;
    const outcomes: Readonly<Record<string, Outcome>> = {
      OutcomeUnknownError: "unknown",
      UnavailableError: "not_executed",
      AbortedError: "not_executed",
    };
    this.#end(outcomes[error.name] ?? "other");
  }

  #end(outcome: Outcome): void {
    this.answers++;
    this.outcome = outcome;
    this.endedUs = this.#nowUs();
  }
}

/** Appends a token of its own to a key: the value is then the order in which writes took effect. */
function append(core: ClientCore, key: string, token: string, mark: Mark): void {
  const bytes = utf8(key);
  const to = core.begin(OP.append, slotOf(bytes, 0, bytes.length), mark);
  to.arg(bytes);
  to.arg(utf8(`${token};`));
  const request = core.end();
  if (token.endsWith("7")) core.abort(request, "changed its mind"); // some are aborted before they are sent
}

function run(seed: number): { marks: Mark[]; lists: Map<string, string[]>; doors: Doors; faults: number } {
  const random = Prng.fromSeed(seed);
  let healed = false;
  let faults = 0;
  const fate = (): Fate => {
    if (healed || !random.chance(8, 100)) return "ok";
    faults++;
    return random.pick([
      "cut_before",
      "cut_after",
      "late",
      "again",
      "uncertain_done",
      "uncertain_not",
      "mute",
      "lost",
    ]);
  };
  let leader = 0;
  let term = 1;
  const doors = new Doors(seed, 3, {
    fate,
    delayUs: () => random.between(50, 3000),
    leader: (door) => (random.chance(1, 10) ? -1 : random.chance(1, 5) ? door : leader),
    term: () => term,
  });
  const marks: Mark[] = [];
  doors.client((core) => {
    for (let i = 0; i < CALLS; i++) {
      doors.world.after(random.between(0, 2_000_000), doors.app.process, () => {
        const mark = new Mark(random.pick(KEYS), `t${marks.length}`, () => doors.world.nowUs);
        marks.push(mark);
        append(core, mark.key, mark.token, mark);
      });
    }
  }, TIMEOUT_MS);
  for (let i = 0; i < 6; i++) {
    doors.world.after(random.between(100_000, 2_000_000), null, () => {
      leader = random.below(3);
      term++;
      const machine = doors.doors[random.below(3)];
      if (machine?.running !== true) return;
      faults++;
      if (random.chance(1, 2)) machine.pause(random.between(100_000, 2_500_000));
      else {
        machine.kill();
        doors.world.after(random.between(0, 800_000), null, () => doors.open(doors.doors.indexOf(machine)));
      }
    });
  }
  doors.world.run(2_500_000);
  healed = true;
  doors.world.run(8_000_000);
  if (doors.world.violation !== null) throw doors.world.violation;
  return { marks, lists: listsOf(doors), doors, faults };
}

/** What each key holds in the end: the tokens in the order in which they took effect. */
function listsOf(doors: Doors): Map<string, string[]> {
  const lists = new Map<string, string[]>();
  doors.app.kill();
  doors.client((core) => {
    for (const key of KEYS) {
      const bytes = utf8(key);
      const to = core.begin(OP.get, slotOf(bytes, 0, bytes.length), {
        onReply: (reply, start, end) => {
          const text = reply[start] === 0 ? "" : fromUtf8(reply.subarray(start + 5, end));
          lists.set(key, text.split(";").slice(0, -1));
        },
        onError: (error) => {
          throw error;
        },
      });
      to.arg(bytes);
      core.end();
    }
  });
  doors.world.run(doors.world.nowUs + 10_000_000);
  if (doors.world.violation !== null) throw doors.world.violation;
  return lists;
}

t.test(
  "C7 C8: what became of a write is what its caller was told, exactly once, whatever was lost",
  async (t) => {
    const seen = new Map<Outcome, number>();
    let faults = 0;
    for (let seed = 0; seed < 40; seed++) {
      const result = run(seed);
      faults += result.faults;
      const problems: string[] = [];
      for (const { key, token, outcome, answers, error, askedUs, endedUs } of result.marks) {
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
        const count = (result.lists.get(key) as string[]).filter((other) => other === token).length;
        const told = `${token} of ${key}: executed ${count} times, told ${outcome} ${error}`;
        if (answers !== 1) problems.push(`${told}, answered ${answers} times`);
        if (count > 1 || (outcome === "ok" && count !== 1)) problems.push(told);
        if (outcome === "not_executed" && count !== 0) problems.push(told);
        if (outcome === "other") problems.push(told);
        if (endedUs - askedUs > (TIMEOUT_MS + 100) * 1000)
          problems.push(`${told}, after ${endedUs - askedUs} us`);
      }
      t.same(problems, [], `seed ${seed}`);
      t.same(outOfOrder(result.marks, result.lists), [], `seed ${seed}: writes of one slot keep their order`);
      if (problems.length > 0) return;
    }
    t.ok((seen.get("ok") ?? 0) > 10_000, "most writes succeed");
    t.ok((seen.get("unknown") ?? 0) > 20, `some are unknown: ${JSON.stringify([...seen])}`);
    t.ok((seen.get("not_executed") ?? 0) > 100, "some were not executed");
    t.ok(faults > 1000, "faults took effect");
  },
);

/** Pairs of successful writes of one slot that took effect the other way round. */
function outOfOrder(marks: readonly Mark[], lists: ReadonlyMap<string, readonly string[]>): string[] {
  const wrong: string[] = [];
  for (const [key, list] of lists) {
    const good = marks.filter((mark) => mark.key === key && mark.outcome === "ok").map(({ token }) => token);
    const effective = list.filter((token) => good.includes(token));
    for (const [i, token] of effective.entries())
      if (token !== good[i]) wrong.push(`${key}: ${token}, not ${good[i]}`);
  }
  return wrong;
}

/**
 * Slots that move and leaders that change under a client, with losses on top: what it said of its calls is true, each
 * write took effect at most once in one shard, and in the order of the calls of its slot.
 */
import t from "tap";
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { ClientCore } from "../../src/client/core.ts";
import type { ClientError } from "../../src/client/errors.ts";
import { OP } from "../../src/wire/command.ts";
import { slotOfText, Town, type TownFate } from "./town.ts";

const CALLS = 400;
const SPAN_US = 2_500_000;
const TIMEOUT_MS = 2500;
const KEYS = ["a", "b", "c", "d", "{a}2", "e"];
const FATES: readonly TownFate[] = [
  "cut_before",
  "cut_after",
  "late",
  "moved",
  "again",
  "uncertain_done",
  "uncertain_not",
  "mute",
  "lost",
];

type Call = {
  readonly key: string;
  readonly token: string;
  readonly isRead: boolean;
  /** Tokens of the key that were asked for before it. */
  readonly before: number;
  outcome: "open" | "ok" | "unknown" | "not_executed" | "other";
  answers: number;
  value: string;
  error: string;
};

type Run = { readonly town: Town; readonly calls: readonly Call[]; readonly faults: number };

function ask(core: ClientCore, call: Call): void {
  const end = (outcome: Call["outcome"]): void => {
    call.outcome = outcome;
    call.answers++;
  };
  const caller = {
    onReply(bytes: Uint8Array, start: number, last: number): void {
      call.value = bytes[start] === 4 ? fromUtf8(bytes.subarray(start + 5, last)) : "";
      end(bytes[start] === 2 ? "other" : "ok");
    },
    onError(error: ClientError): void {
      call.error = `${error.name}: ${error.message}`;
      const outcomes = { OutcomeUnknownError: "unknown", UnavailableError: "not_executed" } as const;
      const outcome = outcomes[error.name as keyof typeof outcomes];
      end(outcome ?? (call.isRead && error.name === "TimeoutError" ? "not_executed" : "other"));
    },
  };
  const to = core.begin(call.isRead ? OP.get : OP.append, slotOfText(call.key), caller);
  to.arg(utf8(call.key));
  if (!call.isRead) to.arg(utf8(`${call.token};`));
  core.end();
}

/** The calls come at drawn times. */
function askAtRandom(town: Town, random: Prng, calls: Call[]): void {
  town.client((core) => {
    for (let i = 0; i < CALLS; i++) {
      town.world.after(random.between(0, SPAN_US), town.app.process, () => {
        const key = random.pick(KEYS);
        const isRead = random.chance(1, 4);
        const before = calls.filter((other) => other.key === key && !other.isRead).length;
        const call: Call = {
          key,
          token: `t${calls.length}`,
          isRead,
          before,
          outcome: "open",
          answers: 0,
          value: "",
          error: "",
        };
        calls.push(call);
        ask(core, call);
      });
    }
  }, TIMEOUT_MS);
}

/** One client, three nodes, two shards. `faultPercent` of the commands meet with something. */
function run(seed: number, faultPercent: number): Run {
  const random = Prng.fromSeed(seed);
  let faults = 0;
  let isHealed = false;
  const town = new Town(seed, 3, 2, {
    fate: () => {
      if (isHealed || !random.chance(faultPercent, 100)) return "ok";
      faults++;
      return random.pick(FATES);
    },
    delayUs: () => random.between(50, 4000),
  });
  const calls: Call[] = [];
  askAtRandom(town, random, calls);
  const change = (): void => {
    if (random.chance(2, 3)) town.move([slotOfText(random.pick(KEYS))], random.below(2));
    else town.lead(random.below(2), random.below(3));
    // Each node hears of it, or not yet.
    const nodes = [0, 1, 2].filter(() => random.chance(2, 3));
    town.world.after(random.between(0, 60_000), null, () => town.publish(nodes));
  };
  for (let i = 0; i < 40; i++) town.world.after(random.between(0, SPAN_US), null, change);
  if (faultPercent > 0) {
    for (let i = 0; i < 4; i++) {
      town.world.after(random.between(100_000, SPAN_US), null, () => {
        const machine = town.nodes[random.below(3)];
        if (machine?.running !== true) return;
        faults++;
        if (random.chance(1, 2)) machine.pause(random.between(50_000, 1_500_000));
        else {
          machine.kill();
          town.world.after(random.between(0, 600_000), null, () => town.open(town.nodes.indexOf(machine)));
        }
      });
      town.world.after(random.between(0, SPAN_US), null, () => {
        const shard = town.shards[random.below(2)];
        if (shard !== undefined) shard.stuckUntilUs = town.world.nowUs + random.between(0, 1_000_000);
      });
    }
  }
  town.run(SPAN_US / 1000 + 100);
  isHealed = true;
  town.publish();
  town.run(6000);
  return { town, calls, faults };
}

/** What each key holds in the end, as tokens. */
function listOf(town: Town, key: string): string[] {
  const shard = town.shards[town.shardOf(slotOfText(key))];
  return (shard?.values.get(key) ?? "").split(";").slice(0, -1);
}

function problemsOf({ town, calls }: Run): string[] {
  const problems: string[] = [];
  for (const call of calls) {
    const { key, token, isRead, outcome, answers, error } = call;
    const count = listOf(town, key).filter((other) => other === token).length;
    const told = `${isRead ? "read" : token} of ${key}: executed ${count} times, told ${outcome} ${error}`;
    if (answers !== 1) problems.push(`${told}, answered ${answers} times`);
    if (outcome === "other") problems.push(told);
    if (error.includes("STALE")) problems.push(`${told}: a floor passed an open number`);
    if (isRead) continue;
    if (count > 1 || (outcome === "ok" && count !== 1)) problems.push(told);
    if (outcome === "not_executed" && count !== 0) problems.push(told);
  }
  const names = town.shards.flatMap(({ executed }) => [...executed]);
  for (const [name, count] of names)
    if (count > 1) problems.push(`${name} was executed ${count} times in one shard`);
  if (new Set(names.map(([name]) => name)).size !== names.length)
    problems.push("a number twice, in two shards");
  return [...problems, ...disorders(town, calls)];
}

/** Writes of one key whose callers know of them, and that took effect the other way round. */
function disorders(town: Town, calls: readonly Call[]): string[] {
  return KEYS.flatMap((key) => {
    const known = calls.filter((call) => call.key === key && !call.isRead && call.outcome === "ok");
    const asked = known.map(({ token }) => token);
    const effective = listOf(town, key).filter((token) => asked.includes(token));
    return effective.flatMap((token, i) => (token === asked[i] ? [] : [`${key}: ${token}, not ${asked[i]}`]));
  });
}

t.test(
  "F8: slots move, leaders change, nothing is lost: no call fails, and each read sees the writes before it",
  async (t) => {
    for (let seed = 0; seed < 15; seed++) {
      const result = run(seed, 0);
      t.same(problemsOf(result), [], `seed ${seed}`);
      for (const { outcome, isRead, value, before, key } of result.calls) {
        if (outcome !== "ok") t.fail(`seed ${seed}: ${key} ${outcome}`);
        const seen = value.split(";").length - 1;
        if (isRead && seen < before) t.fail(`seed ${seed}: a read of ${key} saw ${seen} of ${before} writes`);
      }
    }
  },
);

t.test(
  "C7 C8: slots move and things break: fates are true, writes exactly once, in order, whatever group they went to",
  async (t) => {
    let faults = 0;
    const seen = new Map<string, number>();
    for (let seed = 100; seed < 130; seed++) {
      const result = run(seed, 6);
      faults += result.faults;
      for (const { outcome } of result.calls) seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      const problems = problemsOf(result);
      t.same(problems, [], `seed ${seed}`);
      if (problems.length > 0) return;
    }
    const total = 30 * CALLS;
    t.ok((seen.get("ok") ?? 0) > total * 0.85, `most calls succeed: ${JSON.stringify([...seen])}`);
    t.ok((seen.get("unknown") ?? 0) > 20, "some outcomes are unknown");
    t.ok(faults > 600, `${faults} faults took effect`);
  },
);

/**
 * A peer may send anything that its frame decodes to. Whatever it is, a replica stays whole: it may drop a message,
 * and may stop because its own state would break (a committed entry contradicted), but nothing else trips.
 */
import t from "tap";
import { AssertionError } from "../../src/base/assert.ts";
import { Prng } from "../../src/base/prng.ts";
import { encodeConfig } from "../../src/raft/config.ts";
import { ENTRY_KIND, type Entry, type GroupConfig, type Message } from "../../src/raft/types.ts";
import { Cluster, type Held, makeEntry, type Replica } from "./cluster.ts";

const LIES = 400;
const MESSAGES = 60;
/** What may stop a replica: a leader that contradicts what this one knows for certain. */
const CONTRADICTIONS = [
  "assertion failed: a committed entry is never replaced",
  "assertion failed: committed entries are those of every later leader",
  "assertion failed: what this term's leader sent is never replaced by it",
];

const config: GroupConfig = {
  version: 1,
  voters: [1, 2, 3].map((replica) => ({ replica, node: `n${replica}` })),
  outgoing: [],
  learners: [],
  nextReplica: 4,
};

function makeReplica(random: Prng): Replica {
  const options = {
    rest: {
      afterTicks: 2,
      of: () => random.pick(["can", "can", "can", "away", "cannot"] as const),
      silenceTicks: () => random.below(5),
    },
    heartbeatTicks: 1,
    electionTicksMin: 3,
    electionTicksMax: 6,
    inflightMessagesMax: 4,
    inflightBytesMax: 1000,
    appendBytesMax: 200,
    uncommittedBytesMax: 1000,
    randomOf: () => (bound: number) => random.below(bound),
  };
  const observer = { took: () => {}, sent: () => {}, applied: () => {}, answered: () => {} };
  return new Cluster(config, options, observer).get(1);
}

/** Any message at all, with numbers near those that matter. */
function lie(random: Prng, replica: Replica): Message {
  const { core } = replica;
  const index = (): number => Math.max(0, core.lastIndex + random.between(-4, 4));
  const term = (): number => Math.max(0, core.term + random.pick([-2, -1, 0, 0, 0, 0, 1, 2]));
  const envelope = {
    from: random.pick([0, 1, 2, 2, 3, 3, 9]),
    to: random.chance(1, 50) ? 2 : 1,
    term: term(),
  };
  const granted = random.chance(1, 2);
  switch (random.below(12)) {
    case 0:
      return { kind: "vote", ...envelope, lastIndex: index(), lastTerm: term(), transfer: granted };
    case 1:
      return { kind: "prevote", ...envelope, lastIndex: index(), lastTerm: term(), transfer: granted };
    case 2:
      return { kind: "vote_reply", ...envelope, granted };
    case 3:
      return { kind: "prevote_reply", ...envelope, granted };
    case 4:
      return {
        kind: "heartbeat",
        ...envelope,
        commit: index(),
        round: random.below(5),
        rest: random.below(3),
      };
    case 5:
      return { kind: "heartbeat_reply", ...envelope, round: random.below(5), rest: random.below(3) };
    case 6:
      return { kind: "timeout_now", ...envelope };
    case 7:
      return { kind: "snapshot", ...envelope, meta: { index: index(), term: term(), config } };
    case 9:
      return { kind: "read_ask", ...envelope, ask: random.below(9) };
    case 10:
      return { kind: "read_answer", ...envelope, ask: random.below(9), index: index() };
    case 8: {
      const hints = { hintIndex: index(), hintTerm: term() };
      return { kind: "append_reply", ...envelope, accepted: granted, index: index(), ...hints };
    }
    default:
      return lieAboutEntries(random, envelope, index(), term());
  }
}

function lieAboutEntries(
  random: Prng,
  envelope: { from: number; to: number; term: number },
  prevIndex: number,
  prevTerm: number,
): Message {
  const entries: Entry[] = [];
  let term = prevTerm;
  for (let i = random.below(4); i > 0; i--) {
    const index = prevIndex + entries.length + (random.chance(1, 20) ? 2 : 1);
    if (random.chance(1, 4)) term += random.between(-1, 1);
    const kind = random.chance(1, 4) ? ENTRY_KIND.config : ENTRY_KIND.commands;
    const body = random.chance(1, 10) ? new Uint8Array(3) : encodeConfig(config);
    entries.push(makeEntry(kind, Math.max(0, term), index, body, 1));
  }
  const lastIndex = prevIndex + entries.length + (random.chance(1, 20) ? 1 : 0);
  return { kind: "append", ...envelope, prevIndex, prevTerm, lastIndex, entries, commit: prevIndex + 2 };
}

/** True if the replica survived, false if it stopped for a contradiction; throws for anything else. */
function survives(seed: number): boolean {
  const random = Prng.fromSeed(seed);
  const replica = makeReplica(random);
  try {
    for (let i = 0; i < MESSAGES; i++) {
      const message = lie(random, replica);
      const held: Held | null = message.kind === "snapshot" ? { meta: message.meta, state: 0 } : null;
      replica.receive({ id: i, message, held });
      if (random.chance(1, 4)) replica.core.tick();
      if (replica.core.proposable(1) === null) replica.propose("x");
      if (random.chance(1, 2)) replica.take();
      if (random.chance(1, 2)) replica.persist();
    }
    return true;
  } catch (error) {
    if (error instanceof AssertionError && CONTRADICTIONS.includes(error.message)) return false;
    throw error;
  }
}

t.test("B4: whatever a peer sends, nothing trips but a contradiction of what is certain", async (t) => {
  let survived = 0;
  for (let seed = 1; seed <= LIES; seed++) {
    try {
      if (survives(seed)) survived++;
    } catch (error) {
      t.error(error, `seed ${seed}`);
    }
  }
  t.ok(survived > LIES / 4, `${survived} of ${LIES} went through all messages`);
});

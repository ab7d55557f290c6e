/** Commands over several slots: taken apart, each part led to its shard, and one reply made of theirs. */
import t from "tap";
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { CROSS_SLOT, PARTLY, SLOT_MOVING, UNCERTAIN } from "../../src/server/fate.ts";
import { PARKED_TICKS_MAX } from "../../src/server/parking.ts";
import { CommandView, OP, type Op, SLOT_SET_BYTES } from "../../src/wire/command.ts";
import { FORWARD_STATUS } from "../../src/wire/peer_encode.ts";
import type { ReplySink } from "../../src/wire/reply.ts";
import { A, B, HALF, keyOf, mapOf, routingWorld, type Sent, sessionOf } from "./routing_world.ts";

const LOW = keyOf(100);
const LOW_TOO = keyOf(100, 1);
const OTHER = keyOf(200);
const HIGH = keyOf(HALF + 5);

function world() {
  const it = routingWorld();
  it.routing.setMap(mapOf());
  return it;
}

/** What was sent since `from`, a line for each part. */
function partsOf(
  sent: readonly Sent[],
  from = 0,
): { id: number; i: number; group: number; op: Op; args: Uint8Array[] }[] {
  return sent.slice(from).flatMap(({ id, group, bundle }) =>
    bundle.tags.map((_, i) => {
      const view = new CommandView();
      view.read(bundle.writer.bytes, bundle.start(i), bundle.endOf(i));
      const args = Array.from({ length: view.argCount }, (_, k) => view.arg(k).slice());
      return { id, i, group, op: view.op, args };
    }),
  );
}

const words = ({ args }: { args: readonly Uint8Array[] }): string[] => args.map((arg) => fromUtf8(arg));

function blob(sink: ReplySink, text: string): void {
  sink.blob(utf8(text), 0, utf8(text).length);
}

/** Slots of a set. */
function slotsOf(set: Uint8Array): number[] {
  return Array.from({ length: 8 * SLOT_SET_BYTES }, (_, slot) => slot).filter(
    (slot) => ((set[slot >>> 3] as number) >>> (slot & 7)) & 1,
  );
}

t.test("MGET over several slots: each slot's keys in one part, values in the order of the keys", (t) => {
  const { admit, answer, ticks, sent, origin } = world();
  t.ok(admit(1, OP.mget, LOW, HIGH, OTHER, LOW_TOO, HIGH));
  ticks(1);
  const parts = partsOf(sent);
  t.same(
    parts.map((part) => [part.group, words(part)]),
    [
      [A, [LOW, LOW_TOO]],
      [A, [OTHER]],
      [B, [HIGH, HIGH]],
    ],
  );
  for (const part of parts.toReversed()) {
    answer(part.id, part.i, (sink) => {
      sink.array(part.args.length);
      for (const word of words(part)) word === OTHER ? sink.nil() : blob(sink, `v${word}`);
    });
  }
  t.equal(origin.replies.get(1), `*5 v${LOW} v${HIGH} (nil) v${LOW_TOO} v${HIGH}`);
  t.equal(origin.lane.outstanding, 0);
  t.end();
});

t.test("a command on one slot is not taken apart, however many keys it has", (t) => {
  const { admit, ticks, sent } = world();
  admit(1, OP.mset, LOW, "1", LOW_TOO, "2");
  ticks(1);
  t.same(partsOf(sent).map(words), [[LOW, "1", LOW_TOO, "2"]]);
  t.end();
});

t.test("DEL and EXISTS add up what their parts count; MSET is done when all parts are", (t) => {
  const { admit, answer, ticks, sent, origin } = world();
  for (const [tag, op] of [OP.del, OP.exists, OP.touch].entries()) {
    const from = sent.length;
    t.ok(admit(tag, op, LOW, HIGH, OTHER));
    ticks(1);
    for (const { id, i, group } of partsOf(sent, from))
      answer(id, i, (sink) => sink.integer(group === B ? 5 : 1));
    t.equal(origin.replies.get(tag), "7");
  }
  const from = sent.length;
  admit(9, OP.mset, LOW, "1", HIGH, "2", LOW_TOO, "3");
  ticks(1);
  const parts = partsOf(sent, from);
  t.same(parts.map(words), [
    [LOW, "1", LOW_TOO, "3"],
    [HIGH, "2"],
  ]);
  answer((parts[0] as { id: number }).id, 0, (sink) => sink.simple("OK"));
  t.notOk(origin.replies.has(9));
  answer((parts[1] as { id: number }).id, 0, (sink) => sink.simple("OK"));
  t.equal(origin.replies.get(9), "OK");
  t.end();
});

t.test(
  "C7: of a write in parts nobody is told that nothing was done, unless that is so of all of them",
  (t) => {
    const outcome = (first: string, second: string): string => {
      const { admit, answer, say, ticks, sent, origin } = world();
      admit(1, OP.mset, LOW, "1", HIGH, "2");
      ticks(1);
      for (const [k, text] of [first, second].entries()) {
        const { id } = sent[k] as Sent;
        if (text === "OK") answer(id, 0, (sink) => sink.simple("OK"));
        else if (text.startsWith("OOM")) say(id, 0, FORWARD_STATUS.refused, text);
        else if (text.startsWith("UNCERTAIN")) say(id, 0, FORWARD_STATUS.unknown, text);
        else answer(id, 0, (sink) => sink.error(text));
      }
      t.equal(origin.lane.outstanding, 0);
      return origin.replies.get(1) as string;
    };
    t.equal(outcome("OK", "OK"), "OK");
    t.equal(outcome("OOM full", "OOM full"), "-OOM full");
    t.equal(outcome("ERR first", "OOM second"), "-ERR first");
    t.equal(outcome("OK", "OOM full"), `-${PARTLY}`);
    t.equal(outcome("ERR no", "OK"), `-${PARTLY}`);
    t.equal(outcome("OOM full", UNCERTAIN), `-${UNCERTAIN}`);
    t.equal(outcome("OK", UNCERTAIN), `-${UNCERTAIN}`);
    t.equal(
      outcome("OK", "STALE not executed now"),
      `-${UNCERTAIN}`,
      "an earlier attempt of that part is open",
    );
    t.match(PARTLY, /^UNCERTAIN /, "no client repeats it by itself");
    t.end();
  },
);

t.test(
  "C8, F6: a part is a session write: lost, or refused as moved, it goes on by itself under its number",
  (t) => {
    const { routing, admit, answer, refuse, ticks, sent, origin } = world();
    admit(1, OP.del, LOW, HIGH);
    ticks(1);
    const [toA, toB] = sent as [Sent, Sent];
    answer(toB.id, 0, (sink) => sink.integer(1));
    refuse(toA.id, 0, { slot: 100, epoch: 9, group: B, shard: "s2" });
    ticks(1);
    t.match(sent[2], { node: "n3", group: B });
    t.same(partsOf(sent, 2).map(words), [[LOW]]);
    routing.onForwardDown("n3");
    ticks(3);
    answer((sent[3] as Sent).id, 0, (sink) => sink.integer(1));
    t.equal(origin.replies.get(1), "2");
    t.end();
  },
);

t.test("order: a part that must wait does so alone, and the others go", (t) => {
  const { routing, admit, answer, ticks, sent, origin } = world();
  admit(1, OP.getDel, HIGH);
  ticks(1);
  routing.claim(A, [{ first: HALF + 5, last: HALF + 5, epoch: 9 }]); // HIGH's first command is on its way to B
  t.ok(admit(2, OP.mset, LOW, "1", HIGH, "2"));
  t.ok(admit(3, OP.getDel, HIGH));
  t.ok(admit(4, OP.getDel, OTHER));
  ticks(1);
  t.same(partsOf(sent, 1).map(words), [[LOW, "1"], [OTHER]]);
  answer((sent[0] as Sent).id, 0, (sink) => sink.nil());
  ticks(1);
  const parts = partsOf(sent, 1);
  t.same(parts.map(words), [[LOW, "1"], [OTHER], [HIGH, "2"], [HIGH]], "each part once, in order");
  for (const { id, i, op } of parts)
    answer(id, i, (sink) => (op === OP.mset ? sink.simple("OK") : sink.nil()));
  t.same(
    [...origin.replies].sort(([a], [b]) => a - b),
    [
      [1, "(nil)"],
      [2, "OK"],
      [3, "(nil)"],
      [4, "(nil)"],
    ],
  );
  t.equal(origin.lane.open, 0);
  t.end();
});

t.test(
  "F11: RENAME, MSETNX and COPY over two shards are refused, over two slots of one they go whole",
  (t) => {
    const { admit, answer, ticks, sent, origin } = world();
    const commands: [Op, (string | number)[]][] = [
      [OP.rename, [LOW, HIGH, 0]],
      [OP.copy, [LOW, HIGH, 0]],
      [OP.msetNx, [LOW, "1", HIGH, "2"]],
    ];
    for (const [tag, [op, args]] of commands.entries()) {
      t.ok(admit(tag, op, ...args));
      t.equal(origin.replies.get(tag), `-${CROSS_SLOT}`);
    }
    t.ok(admit(7, OP.rename, LOW, OTHER, 0));
    t.ok(admit(8, OP.get, LOW));
    ticks(1);
    t.match(sent, [{ group: A, bundle: { tags: [7] } }], "nothing goes beside it");
    t.equal(sent.length, 1);
    answer((sent[0] as Sent).id, 0, (sink) => sink.simple("OK"));
    ticks(1);
    t.match(sent[1], { group: A, bundle: { tags: [8] } });
    t.end();
  },
);

t.test("DBSIZE asks each shard about the slots that it serves, each slot once", (t) => {
  const { routing, admit, answer, ticks, sent, origin } = world();
  routing.claim(B, [{ first: 7, last: 9, epoch: 3 }]);
  t.ok(admit(1, OP.dbSize));
  t.ok(admit(2, OP.get, LOW));
  ticks(1);
  const parts = partsOf(sent);
  t.notOk(
    parts.some(({ op }) => op === OP.get),
    "what is behind it waits",
  );
  t.same(parts.map(({ group }) => group).sort(), [A, B]);
  const asked = parts.flatMap(({ args }) => slotsOf(args[0] as Uint8Array)).sort((a, b) => a - b);
  t.same(
    asked,
    Array.from({ length: 16_384 }, (_, slot) => slot),
  );
  const ofB = parts.find(({ group }) => group === B) as (typeof parts)[0];
  t.same(slotsOf(ofB.args[0] as Uint8Array).slice(0, 4), [7, 8, 9, HALF]);
  for (const { id, i, group } of parts) answer(id, i, (sink) => sink.integer(group));
  t.equal(origin.replies.get(1), String(A + B));
  ticks(1);
  t.match(sent.at(-1), { bundle: { tags: [2] } });
  t.equal(origin.lane.open, 1);
  t.end();
});

t.test(
  "F12, F13: a part that a shard refuses is taken apart anew; no slot is asked twice, nor left out",
  (t) => {
    for (const op of [OP.dbSize, OP.keys, OP.flushAll]) {
      const { routing, admit, answer, refuse, ticks, sent, origin } = world();
      admit(1, op, ...(op === OP.keys ? ["*"] : []));
      ticks(1);
      const counted = new Map<number, number>();
      const reply = (part: ReturnType<typeof partsOf>[0]): void => {
        for (const slot of slotsOf(part.args.at(-1) as Uint8Array))
          counted.set(slot, (counted.get(slot) ?? 0) + 1);
        answer(part.id, part.i, (sink) => {
          if (op === OP.dbSize) sink.integer(3);
          else if (op === OP.flushAll) sink.simple("OK");
          else {
            sink.array(1);
            blob(sink, `from ${part.group}`);
          }
        });
      };
      const [toA, toB] = partsOf(sent) as [ReturnType<typeof partsOf>[0], ReturnType<typeof partsOf>[0]];
      reply(toB);
      refuse(toA.id, toA.i, { slot: 50, epoch: 9, group: 0, shard: "" });
      ticks(3);
      t.equal(sent.length, 2, "a sealed slot: a little later");
      routing.claim(B, [{ first: 0, last: 99, epoch: 9 }]);
      ticks(6);
      const again = partsOf(sent, 2);
      t.same(again.map(({ group }) => group).sort(), [A, B]);
      for (const part of again) reply(part);
      t.same(new Set(counted.values()), new Set([1]));
      t.equal(counted.size, 16_384);
      const from = "*3 from 102 from 102 from 101";
      const expected = op === OP.dbSize ? "9" : op === OP.flushAll ? "OK" : from;
      t.equal(origin.replies.get(1), expected);
      t.equal(origin.lane.outstanding, 0);
    }
    t.end();
  },
);

t.test("C7: FLUSHALL that one shard did and another could not is not called undone", (t) => {
  const { admit, answer, refuse, ticks, sent, origin } = world();
  const never = (ticksMax: number, from: number): void => {
    for (let i = 0, asked = from; i < ticksMax; i++) {
      ticks(1);
      for (; asked < sent.length; asked++)
        refuse((sent[asked] as Sent).id, 0, { slot: 50, epoch: 9, group: 0, shard: "" });
    }
  };
  admit(1, OP.flushAll);
  ticks(1);
  answer((sent[1] as Sent).id, 0, (sink) => sink.simple("OK"));
  refuse((sent[0] as Sent).id, 0, { slot: 50, epoch: 9, group: 0, shard: "" });
  never(2 * PARKED_TICKS_MAX, 2);
  t.equal(origin.replies.get(1), `-${PARTLY}`);
  const from = sent.length;
  t.ok(admit(2, OP.dbSize));
  never(2 * PARKED_TICKS_MAX, from);
  t.equal(origin.replies.get(2), `-${SLOT_MOVING}`, "a read can be asked again");
  t.end();
});

t.test("RANDOMKEY asks shards one after another until one has a key", (t) => {
  const { admit, answer, ticks, sent, origin } = world();
  admit(1, OP.randomKey, 5);
  ticks(1);
  t.equal(sent.length, 1);
  answer((sent[0] as Sent).id, 0, (sink) => sink.nil());
  ticks(1);
  t.equal(sent.length, 2);
  t.not(sent[0]?.group, sent[1]?.group);
  answer((sent[1] as Sent).id, 0, (sink) => blob(sink, "k"));
  t.equal(origin.replies.get(1), "k");
  admit(2, OP.randomKey, 5);
  for (const k of [2, 3]) {
    ticks(1);
    answer((sent[k] as Sent).id, 0, (sink) => sink.nil());
  }
  t.equal(origin.replies.get(2), "(nil)");
  t.equal(sent.length, 4);
  t.end();
});

t.test("order: what follows a part on its slot names it, and so cannot overtake it at the leader", (t) => {
  const { admit, ticks, sent } = world();
  admit(1, OP.getSet, LOW, "0");
  admit(2, OP.mset, LOW, "1", HIGH, "1");
  admit(3, OP.getSet, LOW, "2");
  ticks(1);
  const low = sent.find(({ group }) => group === A) as Sent;
  const sessions = [0, 1, 2].map((i) => sessionOf(low, i));
  t.same(
    sessions.map((session) => session?.after),
    [0, sessions[0]?.seq, sessions[1]?.seq],
  );
  t.end();
});

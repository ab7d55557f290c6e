/** Commands and the slots that move: who is asked, who is asked next, in which order, and what is said of fates. */
import t from "tap";
import { NO_REPLICA, SLOT_MOVING, SLOT_NOT_SERVED, UNCERTAIN } from "../../src/server/fate.ts";
import { PARKED_TICKS_MAX } from "../../src/server/parking.ts";
import { COMMAND_TICKS_MAX } from "../../src/server/router.ts";
import { OP } from "../../src/wire/command.ts";
import { A, B, HALF, keyOf, leadingReplica, mapOf, routingWorld, sessionOf } from "./routing_world.ts";

const SLOT = 100;
const KEY = keyOf(SLOT);
const MOVED = { slot: SLOT, epoch: 9, group: B, shard: "s2" };
const SEALED = { slot: SLOT, epoch: 9, group: 0, shard: "" };

function world() {
  const it = routingWorld();
  it.routing.setMap(mapOf());
  return it;
}

t.test("a command goes to the leader of the shard that has its slot, by the map", (t) => {
  const { admit, ticks, sent } = world();
  t.ok(admit(1, OP.getDel, KEY));
  t.ok(admit(2, OP.get, keyOf(HALF)));
  ticks(1);
  t.match(sent, [
    { node: "n2", group: A, rides: true, bundle: { tags: [1] } },
    { node: "n3", group: B, rides: false, bundle: { tags: [2] } },
  ]);
  t.end();
});

t.test("without a map nobody is asked, and where the map has a hole it is said so", (t) => {
  const { admit, routing, origin } = routingWorld();
  t.ok(admit(1, OP.get, KEY));
  routing.setMap(mapOf({ ranges: [[HALF, 16_383, 1, 1]] }));
  t.ok(admit(2, OP.get, KEY));
  t.same([...origin.replies.values()], [`-${NO_REPLICA}`, `-${SLOT_NOT_SERVED}`]);
  t.equal(origin.lane.outstanding, 0);
  t.end();
});

t.test("F9: of claims on a slot the one of the higher epoch counts, and no older map undoes it", (t) => {
  const { routing, admit, ticks, sent } = world();
  routing.claim(B, [{ first: SLOT, last: SLOT, epoch: 9 }]);
  routing.claim(A, [{ first: SLOT, last: SLOT, epoch: 8 }]);
  routing.setMap(mapOf({ version: { restore: 0, index: 7 } })); // newer, and made before the move was known
  admit(1, OP.get, KEY);
  admit(2, OP.get, keyOf(SLOT + 1));
  ticks(1);
  t.same(sent.map(({ node }) => node).sort(), ["n2", "n3"]);
  t.match(
    sent.find(({ node }) => node === "n3"),
    { bundle: { tags: [1] } },
  );
  routing.setMap(mapOf({ version: { restore: 0, index: 8 }, ranges: [[0, 16_383, 0, 10]] }));
  admit(3, OP.get, keyOf(SLOT + 2));
  ticks(1);
  t.match(sent.at(-1), { node: "n2", bundle: { tags: [3] } });
  t.end();
});

t.test(
  "F6: a write of unknown fate goes to the slot's next owner under the numbers that it was sent with",
  (t) => {
    const { routing, down, admit, answer, refuse, ticks, sent, origin } = world();
    admit(1, OP.getDel, KEY);
    ticks(1);
    down.add("n2");
    routing.onForwardDown("n2");
    ticks(3);
    down.delete("n2");
    ticks(1);
    t.match(sent[1], { node: "n2", bundle: { sent: true } });
    const numbers = sessionOf(sent[1] as (typeof sent)[0]);
    t.ok(
      refuse((sent[1] as (typeof sent)[0]).id, 0, MOVED),
      "by now the slot has moved, with the reply or without",
    );
    ticks(1);
    t.match(sent[2], { node: "n3", group: B, bundle: { sent: true } });
    t.same(sessionOf(sent[2] as (typeof sent)[0]), numbers);
    t.ok(answer((sent[2] as (typeof sent)[0]).id, 0, (sink) => sink.simple("OK")));
    t.same([...origin.replies], [[1, "OK"]]);
    t.equal(origin.lane.outstanding, 0);
    t.end();
  },
);

t.test("order: what was refused goes to the next owner in its order, and nothing overtakes it", (t) => {
  const { admit, answer, refuse, ticks, sent, origin } = world();
  for (const tag of [1, 2]) {
    admit(tag, OP.getDel, KEY);
    ticks(1);
  }
  const [first, second] = sent as [(typeof sent)[0], (typeof sent)[0]];
  refuse(first.id, 0, MOVED);
  t.ok(admit(3, OP.getDel, KEY));
  t.ok(admit(4, OP.getDel, keyOf(SLOT + 1)), "other slots are not held up");
  ticks(1);
  refuse(second.id, 0, MOVED);
  ticks(1);
  const toB = sent.filter(({ node }) => node === "n3");
  t.same(
    toB.flatMap(({ bundle }) => bundle.tags),
    [1, 2],
    "the third waits until both are answered",
  );
  t.match(sessionOf(toB[1] as (typeof sent)[0]), { after: 1 }, "and B executes it only behind the first");
  for (const { id } of toB) answer(id, 0, (sink) => sink.simple("OK"));
  ticks(1);
  t.match(sent.at(-1), { node: "n3", bundle: { tags: [3] } });
  t.equal(origin.replies.size, 2);
  t.end();
});

t.test("a sealed slot's commands wait for its next owner, in one row, and go when the map names it", (t) => {
  const { routing, admit, refuse, ticks, sent } = world();
  admit(1, OP.getDel, KEY);
  ticks(1);
  refuse((sent[0] as (typeof sent)[0]).id, 0, SEALED);
  t.ok(admit(2, OP.getDel, KEY), "it goes behind the first");
  t.ok(admit(3, OP.get, keyOf(SLOT + 1)));
  ticks(3);
  t.same(
    sent.slice(1).map(({ bundle }) => bundle.tags),
    [[3]],
  );
  routing.setMap(mapOf({ version: { restore: 0, index: 2 }, ranges: [[0, 16_383, 1, 9]] }));
  routing.flush();
  t.same(
    sent.slice(2).map(({ node, bundle }) => [node, bundle.tags]),
    [
      ["n3", [1]],
      ["n3", [2]],
    ],
  );
  t.end();
});

t.test("F3: a seal that ends without a new owner is noticed within ticks: epochs say nothing of it", (t) => {
  const { admit, refuse, ticks, sent } = world();
  admit(1, OP.getDel, KEY);
  ticks(1);
  refuse((sent[0] as (typeof sent)[0]).id, 0, SEALED);
  ticks(10);
  t.match(sent[1], { node: "n2", bundle: { tags: [1] } });
  t.end();
});

t.test("C7: TRYAGAIN only if no attempt can have taken effect; after a lost one nobody knows", (t) => {
  const { routing, down, admit, refuse, ticks, sent, origin } = world();
  admit(1, OP.getDel, KEY);
  ticks(1);
  routing.onForwardDown("n2"); // its fate is open
  ticks(1);
  const other = keyOf(SLOT, 1);
  admit(2, OP.getDel, other); // never done by anybody
  let asked = 0;
  const refuseAll = (ticksMax: number): void => {
    for (let i = 0; i < ticksMax; i++) {
      for (; asked < sent.length; asked++) refuse((sent[asked] as (typeof sent)[0]).id, 0, SEALED);
      ticks(1);
    }
  };
  refuseAll(PARKED_TICKS_MAX);
  t.equal(origin.replies.size, 0);
  refuseAll(20);
  t.same([...origin.replies], [[2, `-${SLOT_MOVING}`]]);
  refuseAll(COMMAND_TICKS_MAX);
  t.same(origin.replies.get(1), `-${UNCERTAIN}`);
  t.equal(origin.lane.outstanding, 0);
  t.ok(sent.length < 80, "asked every few ticks");
  t.equal(down.size, 0);
  t.end();
});

t.test("F8: two shards that name each other get no command to and fro without end", (t) => {
  const { admit, refuse, ticks, sent, origin } = world();
  admit(1, OP.getDel, KEY);
  let asked = 0;
  for (let i = 0; i < 2 * PARKED_TICKS_MAX; i++) {
    ticks(1);
    for (; asked < sent.length; asked++) {
      const { id, group } = sent[asked] as (typeof sent)[0];
      refuse(id, 0, { ...MOVED, group: group === A ? B : A, epoch: 9 });
    }
  }
  t.same([...origin.replies], [[1, `-${SLOT_MOVING}`]]);
  t.ok(sent.length < 30);
  t.end();
});

t.test("I1: no more waits for sealed slots than there is room for; the rest is told at once", (t) => {
  const { admit, refuse, ticks, sent, origin } = world();
  admit(1, OP.append, KEY, "v");
  ticks(1);
  refuse((sent[0] as (typeof sent)[0]).id, 0, SEALED);
  const large = "v".repeat(900_000);
  for (let tag = 2; tag < 12; tag++) t.ok(admit(tag, OP.append, KEY, large));
  t.same([...origin.replies], [[11, `-${SLOT_MOVING}`]]);
  t.end();
});

t.test("F1: what this node's own leader refuses at apply goes to the slot's new owner", (t) => {
  const { routing, admit, ticks, sent } = world();
  const { state, replica } = leadingReplica(A);
  const router = routing.attach(replica);
  admit(1, OP.getDel, KEY);
  ticks(1);
  const [bundle] = state.proposed;
  if (bundle === undefined) throw new Error("it was proposed");
  state.away.add(SLOT);
  state.movedTo = { shard: "s2", group: B };
  state.slotChanges++;
  router.notServed(bundle, 0, SLOT, true);
  t.ok(admit(2, OP.getDel, KEY));
  ticks(1);
  t.equal(sent.length, 1, "the first one is not answered yet");
  t.match(sent, [{ node: "n3", group: B, rides: true, bundle: { tags: [1], sent: false } }]);
  t.match(sessionOf(sent[0] as (typeof sent)[0]), { seq: 1 }, "it never had numbers, and gets some of B's");
  t.end();
});

t.test("F2: this node leads both: a command waits for the one to own what the other gave away", (t) => {
  const { routing, admit, ticks, origin } = world();
  const a = leadingReplica(A);
  const b = leadingReplica(B);
  routing.attach(a.replica);
  routing.attach(b.replica);
  a.state.away.add(SLOT);
  b.state.away.add(SLOT);
  admit(1, OP.getDel, KEY);
  admit(2, OP.get, KEY);
  ticks(20);
  t.same([a.state.proposed.length, b.state.proposed.length], [0, 0]);
  b.state.away.delete(SLOT);
  a.state.movedTo = { shard: "s2", group: B };
  ticks(20);
  t.same([a.state.proposed.length, b.state.proposed.flatMap(({ tags }) => tags)], [0, [1, 2]]);
  t.equal(origin.replies.size, 0);
  t.end();
});

t.test("a group that nobody names any more is forgotten when nobody waits for it", (t) => {
  const { routing, admit, answer, ticks, sent, origin } = world();
  admit(1, OP.get, KEY);
  ticks(1);
  const shards = mapOf().shards.slice(1);
  routing.setMap(mapOf({ version: { restore: 0, index: 2 }, shards, ranges: [[0, 16_383, 0, 5]] }));
  ticks(150);
  t.ok(
    answer((sent[0] as (typeof sent)[0]).id, 0, (sink) => sink.nil()),
    "it still has someone waiting",
  );
  t.same([...origin.replies], [[1, "(nil)"]]);
  ticks(150);
  t.equal(routing.groups.includes(A), false);
  t.same(routing.groups, [B]);
  t.end();
});

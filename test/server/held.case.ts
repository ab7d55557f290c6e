/** Commands that wait for others of their connection: they hold up their slot, and nothing else; and not for ever. */
import t from "tap";
import { NO_ANSWER } from "../../src/server/fate.ts";
import { ALONE, HELD_BYTES_MAX, HELD_NODE_BYTES_MAX, Held } from "../../src/server/held.ts";
import { COMMAND_TICKS_MAX } from "../../src/server/router.ts";
import { OP } from "../../src/wire/command.ts";
import { FakeOrigin } from "./doubles.ts";
import { B, bundleTags, HALF, keyOf, mapOf, routingWorld, type Sent } from "./routing_world.ts";

const LOW = keyOf(100);
const HIGH = keyOf(HALF + 5);

function world() {
  const it = routingWorld();
  it.routing.setMap(mapOf());
  const tags = (from = 0): number[] => bundleTags(it.sent.slice(from).map(({ bundle }) => bundle));
  const reply = (k: number, i = 0): boolean => it.answer((it.sent[k] as Sent).id, i, (sink) => sink.nil());
  return { ...it, tags, reply };
}

t.test("order: a write behind an unanswered read of its slot waits, and other shards' commands pass", (t) => {
  const { admit, ticks, turn, tags, reply, origin } = world();
  admit(1, OP.get, LOW);
  ticks(1);
  t.ok(admit(2, OP.getDel, LOW), "it is taken");
  t.ok(admit(3, OP.get, LOW), "this one may not pass it");
  t.ok(admit(4, OP.getDel, HIGH));
  t.ok(admit(5, OP.getDel, keyOf(101)), "nor is another slot of the same shard held up");
  ticks(1);
  t.same(tags(1).sort(), [4, 5]);
  t.equal(origin.lane.open, 5);
  reply(0);
  turn();
  t.same(tags(3), [2, 3], "behind the answer, in order");
  t.equal(origin.lane.held, null);
  t.end();
});

t.test("order: what another route is needed for waits by itself, and goes where its slot is by then", (t) => {
  const { routing, admit, turn, sent, reply, tags } = world();
  admit(1, OP.getDel, LOW);
  turn();
  routing.claim(B, [{ first: 100, last: 100, epoch: 9 }]);
  admit(2, OP.getDel, LOW);
  admit(3, OP.getDel, HIGH);
  turn();
  t.same(tags(1), [3]);
  reply(0);
  turn();
  t.match(sent[2], { group: B, bundle: { tags: [2] } });
  t.end();
});

t.test("order: a command that goes alone waits for all before it, and all behind it wait for it", (t) => {
  const { admit, turn, reply, tags, answer, sent } = world();
  admit(1, OP.get, LOW);
  turn();
  admit(2, OP.getDel, LOW); // waits for 1
  t.ok(admit(3, OP.rename, LOW, keyOf(200), 0));
  t.ok(admit(4, OP.get, HIGH));
  t.ok(admit(5, OP.get, keyOf(300)));
  turn();
  t.same(tags(), [1]);
  reply(0);
  turn();
  t.same(tags(), [1, 2]);
  reply(1);
  turn();
  t.same(tags(), [1, 2, 3]);
  answer((sent[2] as Sent).id, 0, (sink) => sink.simple("OK"));
  turn();
  t.same(tags().sort(), [1, 2, 3, 4, 5]);
  t.end();
});

t.test(
  "a command that waits has no more time than others: it is refused, and certainly was not done",
  (t) => {
    const { admit, ticks, tags, origin, down } = world();
    admit(1, OP.get, LOW);
    ticks(COMMAND_TICKS_MAX - 20);
    admit(2, OP.getDel, LOW);
    down.add("n2"); // nobody is asked any more
    ticks(30);
    t.match(origin.replies.get(1), /^-CLUSTERDOWN/);
    t.notOk(origin.replies.has(2), "it came later");
    ticks(COMMAND_TICKS_MAX);
    t.match(origin.replies.get(2), /^-CLUSTERDOWN .*nothing was done/);
    t.same(tags(), [1]);
    t.equal(origin.lane.open, 0);
    t.end();
  },
);

t.test(
  "what waited at the door has waited: its time goes on when it is sent, and ends with 2.5 seconds",
  (t) => {
    const { routing, admit, ticks, reply, tags, origin } = world();
    admit(1, OP.get, LOW);
    ticks(1);
    admit(2, OP.getDel, LOW);
    admit(3, OP.rename, LOW, keyOf(200), 0);
    ticks(COMMAND_TICKS_MAX - 20);
    reply(0);
    ticks(1);
    t.same(tags(), [1, 2]);
    admit(4, OP.getDel, HIGH);
    ticks(30);
    t.match(origin.replies.get(2), /^-UNCERTAIN/);
    t.equal(origin.replies.get(3), `-${NO_ANSWER}`);
    t.notOk(origin.replies.has(4), "one that came later has its own time");
    ticks(COMMAND_TICKS_MAX);
    t.equal(origin.lane.open, 0);
    routing.end();
    t.end();
  },
);

t.test("what waits is bounded: beyond it the connection is not read from, until there is room", (t) => {
  const { admit, turn, reply, tags } = world();
  const big = "x".repeat(HELD_BYTES_MAX / 4);
  admit(1, OP.get, LOW);
  turn();
  for (const tag of [2, 3, 4]) t.ok(admit(tag, OP.getSet, LOW, big));
  t.notOk(admit(5, OP.getSet, LOW, big));
  t.ok(admit(6, OP.getSet, HIGH, big), "what need not wait goes");
  reply(0);
  turn();
  t.same(tags(1).sort(), [2, 3, 4, 6]);
  t.ok(admit(5, OP.getSet, LOW, big));
  t.end();
});

t.test("what all connections of a node hold together is bounded too, and is given back", (t) => {
  const budget = { bytes: 0 };
  const held = new Held(budget);
  const command = { frame: new Uint8Array(1000), place: 5, origin: new FakeOrigin(), tag: 1, sinceTick: 3 };
  held.add(command);
  held.add({ ...command, sinceTick: 4 });
  held.add({ ...command, place: ALONE, sinceTick: 5 });
  const taken = budget.bytes;
  t.ok(taken > 3000);
  budget.bytes = HELD_NODE_BYTES_MAX;
  t.notOk(Held.hasRoom(null, budget, 0));
  budget.bytes = taken;
  t.ok(Held.hasRoom(held, budget, 1000));
  held.release(({ sinceTick }) => sinceTick === 3);
  t.equal(held.takeBefore(5).length, 1);
  t.equal(held.count, 1);
  held.release(() => true);
  t.same([held.count, budget.bytes], [0, 0]);
  t.end();
});

t.test("when the node ends, whoever waits at the door is told", (t) => {
  const { routing, admit, turn, origin } = world();
  admit(1, OP.get, LOW);
  turn();
  admit(2, OP.getDel, LOW);
  routing.end();
  t.match(origin.replies.get(2), /^-CLUSTERDOWN/);
  t.equal(origin.lane.open, 0);
  t.end();
});

t.test(
  "a command's time runs by the clock: ticks that come late, as on a busy machine, do not stretch it",
  (t) => {
    const { admit, ticks, origin, down } = world();
    down.add("n2");
    admit(1, OP.get, LOW);
    ticks(COMMAND_TICKS_MAX / 5 - 1, 5);
    t.notOk(origin.replies.has(1));
    ticks(2, 5);
    t.match(origin.replies.get(1), /^-CLUSTERDOWN/);
    t.end();
  },
);

t.test("a node that stood still itself has not used up its clients' time by that", (t) => {
  const { admit, ticks, origin, reply } = world();
  admit(1, OP.get, LOW);
  ticks(1);
  ticks(1, 10 * COMMAND_TICKS_MAX);
  t.notOk(origin.replies.has(1), "the answer may lie in a socket");
  reply(0);
  t.equal(origin.replies.get(1), "(nil)");
  t.end();
});

t.test("RANDOMKEY asks shard after shard, and all of them have the time of one command", (t) => {
  const { admit, ticks, reply, origin, sent } = world();
  admit(1, OP.randomKey, 5);
  ticks(COMMAND_TICKS_MAX - 20);
  reply(0);
  t.equal(origin.replies.size, 0);
  ticks(30);
  t.equal(sent.length, 2);
  t.match(origin.replies.get(1), /^-CLUSTERDOWN/);
  t.end();
});

t.test("what was parked late in its time is not kept for a second more", (t) => {
  const { admit, ticks, refuse, origin, sent } = world();
  admit(1, OP.get, LOW);
  ticks(COMMAND_TICKS_MAX - 20);
  refuse((sent[0] as Sent).id, 0, { slot: 100, epoch: 9, group: 0, shard: "" });
  ticks(30);
  t.match(origin.replies.get(1), /^-(TRYAGAIN|CLUSTERDOWN) .*nothing was done/);
  t.end();
});

t.test(
  "order: what is taken apart behind a command that goes alone keeps its place before what came after it",
  (t) => {
    const { admit, turn, reply, origin, tags, answer, sent } = world();
    admit(1, OP.get, LOW);
    turn();
    admit(2, OP.rename, LOW, keyOf(200), 0);
    admit(3, OP.mset, LOW, "first", HIGH, "first");
    admit(4, OP.getSet, LOW, "second");
    admit(5, OP.getSet, HIGH, "second");
    reply(0);
    turn();
    answer((sent[1] as Sent).id, 0, (sink) => sink.simple("OK"));
    turn();
    const frames = sent.slice(2).flatMap(({ bundle }) => bundle.origins);
    t.equal(frames.length, 4);
    for (const { bundle } of sent.slice(2)) t.not(bundle.origins[0], origin, "the part of MSET goes first");
    t.same(tags(2).length, 4);
    t.end();
  },
);

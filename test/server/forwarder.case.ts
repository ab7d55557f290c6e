/** Forwarding, at the door's side. */
import t from "tap";
import { utf8 } from "../../src/base/bytes.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { NO_ANSWER, UNCERTAIN } from "../../src/server/fate.ts";
import { FORWARD_COMMANDS_MAX } from "../../src/server/forwarder.ts";
import { Numbering } from "../../src/server/numbering.ts";
import { OP } from "../../src/wire/command.ts";
import { FORWARD_STATUS } from "../../src/wire/peer_encode.ts";
import { FakeOrigin } from "./doubles.ts";
import {
  type Bundle,
  bundleOf,
  type Command,
  ok,
  reply,
  row,
  type Sent,
  sessionOf,
  world,
} from "./forwarder_world.ts";

const slotOfText = (key: string): number => slotOf(utf8(key), 0, utf8(key).length);

t.test("C8: a write whose reply was lost is sent again under the same number", (t) => {
  const { sent, back, forwarder, origin } = world();
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["k"], 1]]), true);
  const first = sessionOf((sent[0] as Sent).bundle, 0);
  t.match(first, { seq: 1, floor: 1, after: 0, notAfter: 1_050_000 });
  forwarder.lost("n1");
  t.equal(back.length, 1);
  t.ok(back[0]?.bundle.sent, "whether it took effect is not known");
  forwarder.send("n2", back[0]?.bundle as Bundle, true);
  t.same(sessionOf((sent[1] as Sent).bundle, 0), first);
  t.ok(forwarder.onReply(ok(1, 0)), "what the former one says is late");
  t.equal(origin.replies.size, 0);
  t.ok(forwarder.onReply(ok(2, 0)));
  t.equal(origin.replies.get(1), "OK");
  t.end();
});

t.test("order: each write names the one before it, and the floor is the oldest without an answer", (t) => {
  const { sent, forwarder, origin } = world();
  forwarder.send(
    "n1",
    bundleOf(origin, [
      [OP.getDel, ["a"], 1],
      [OP.get, ["a"], 2],
      [OP.getDel, ["a"], 3],
    ]),
    true,
  );
  const other = new FakeOrigin("other");
  forwarder.send("n1", bundleOf(other, [[OP.getDel, ["a"], 9]]), true);
  const sessions = [0, 1, 2].map((i) => sessionOf((sent[0] as Sent).bundle, i));
  t.same(
    sessions.map((s) => [s?.seq, s?.after]),
    [
      [1, 0],
      [2, 1],
      [3, 2],
    ],
    "reads that ride have their place too",
  );
  t.match(sessionOf((sent[1] as Sent).bundle, 0), { seq: 4, after: 0, floor: 1 }, "another connection");
  for (const ordinal of [0, 1, 2]) forwarder.onReply(ok(1, ordinal));
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 4]]), true);
  t.match(sessionOf((sent[2] as Sent).bundle, 0), { seq: 5, after: 0, floor: 4 });
  t.end();
});

t.test("C8: numbers come back wherever a command got its answer", (t) => {
  const { sent, back, forwarder, origin } = world();
  forwarder.send(
    "n1",
    bundleOf(origin, [
      [OP.getDel, ["a"], 1],
      [OP.getDel, ["a"], 2],
    ]),
    true,
  );
  forwarder.lost("n1");
  const bundle = back[0]?.bundle as Bundle; // this node leads now, and proposed them itself
  origin.begin().simple("OK");
  bundle.end(0);
  bundle.failUnknown(1);
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 3]]), true);
  t.match(sessionOf((sent[1] as Sent).bundle, 0), { seq: 3, floor: 3, after: 0 });
  t.end();
});

t.test("C7: writes over several slots are sent once; lost, their outcome is unknown", (t) => {
  const { sent, back, forwarder, origin } = world();
  forwarder.send(
    "n1",
    bundleOf(origin, [
      [OP.del, ["a", "b"], 1],
      [OP.mget, ["a", "b"], 2],
      [OP.getDel, ["a"], 3],
    ]),
    true,
  );
  t.equal(sessionOf((sent[0] as Sent).bundle, 0), null);
  forwarder.lost("n1");
  t.same(
    [...origin.replies],
    [
      [1, `-${UNCERTAIN}`],
      [2, `-${NO_ANSWER}`],
    ],
  );
  t.same(back[0]?.bundle.tags, [3]);
  t.end();
});

t.test(
  "C11: a node that does not lead is not asked again at once, and hears that its refusal arrived",
  (t) => {
    const { sent, back, forwarder, origin } = world();
    forwarder.send("n1", bundleOf(origin, [[OP.del, ["a", "b"], 1]]), true);
    forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 2]]), true);
    forwarder.onReply(row(1, 0, FORWARD_STATUS.notLeader));
    t.same(back[0]?.bundle.tags, [1], "certainly not executed, so it is sent again, several slots or not");
    t.notOk(back[0]?.bundle.sent);
    const again = back[0]?.bundle as Bundle;
    t.notOk(forwarder.send("n1", again, true));
    forwarder.tick();
    forwarder.tick();
    t.notOk(
      forwarder.send("n1", again, true),
      "one is still open there, which may have been refused as well",
    );
    forwarder.onReply(row(2, 0, FORWARD_STATUS.notLeader));
    forwarder.tick();
    forwarder.tick();
    t.ok(forwarder.send("n1", again, true));
    t.same(
      sent.map(({ resumes }) => resumes),
      [false, false, true],
    );
    t.end();
  },
);

t.test("TRYAGAIN of the state machine is between the nodes; any other error is the caller's", (t) => {
  const { back, forwarder, origin } = world();
  forwarder.send(
    "n1",
    bundleOf(origin, [
      [OP.getDel, ["a"], 1],
      [OP.getDel, ["a"], 2],
    ]),
    true,
  );
  forwarder.onReply(reply(1, 0, (sink) => sink.error("TRYAGAIN not executed")));
  forwarder.onReply(reply(1, 1, (sink) => sink.error("ERR TRYAGAIN is not the first word")));
  t.same(back[0]?.bundle.tags, [1]);
  t.same([...origin.replies], [[2, "-ERR TRYAGAIN is not the first word"]]);
  t.end();
});

t.test("C7: a refusal counts if every attempt was refused; else nobody knows", (t) => {
  const { back, forwarder, origin } = world();
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]]), true);
  forwarder.onReply(row(1, 0, FORWARD_STATUS.refused, undefined, "OOM no memory"));
  t.equal(origin.replies.get(1), "-OOM no memory");
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["b"], 2]], 40), true);
  forwarder.lost("n1");
  forwarder.send("n2", back[0]?.bundle as Bundle, true);
  forwarder.onReply(row(3, 0, FORWARD_STATUS.refused, undefined, "OOM no memory"));
  t.notOk(origin.replies.has(2), "the first attempt may have taken effect: it is asked again");
  t.ok(back[1]?.bundle.sent);
  for (let i = 0; i < 3; i++) forwarder.tick();
  forwarder.send("n2", back[1]?.bundle as Bundle, true);
  forwarder.onReply(row(4, 0, FORWARD_STATUS.unknown, undefined, UNCERTAIN));
  t.equal(origin.replies.get(2), `-${UNCERTAIN}`);
  t.end();
});

t.test("nobody waits for ever, whatever order requests were sent in", (t) => {
  const { forwarder, origin } = world();
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]], 50), true);
  forwarder.send(
    "n1",
    bundleOf(
      origin,
      [
        [OP.getDel, ["b"], 2],
        [OP.get, ["b"], 3],
      ],
      10,
    ),
    true,
  ); // it came back once
  forwarder.send("n1", bundleOf(origin, [[OP.get, ["c"], 4]], 10), false);
  forwarder.giveUpBefore(20);
  t.same(
    [...origin.replies],
    [
      [2, `-${UNCERTAIN}`],
      [3, `-${NO_ANSWER}`],
      [4, `-${NO_ANSWER}`],
    ],
  );
  t.ok(forwarder.onReply(ok(2, 0)), "late answers reach nobody");
  t.equal(origin.replies.size, 3);
  t.end();
});

t.test("I1: no more than the credits are on their way; a larger one goes alone", (t) => {
  const { sent, forwarder, origin } = world();
  const many: Command[] = Array.from({ length: FORWARD_COMMANDS_MAX }, (_, i) => [OP.get, ["k"], i]);
  t.ok(forwarder.send("n1", bundleOf(origin, many), false));
  t.notOk(forwarder.send("n1", bundleOf(origin, [[OP.get, ["k"], -1]]), false));
  for (let i = 0; i < many.length; i++) forwarder.onReply(ok(1, i));
  const large: Command[] = Array.from({ length: 2 * FORWARD_COMMANDS_MAX }, (_, i) => [
    OP.get,
    ["k"],
    5000 + i,
  ]);
  t.ok(forwarder.send("n1", bundleOf(origin, large), false));
  t.notOk(forwarder.send("n1", bundleOf(origin, [[OP.get, ["k"], -1]]), false));
  t.equal(sent.length, 2);
  t.end();
});

t.test("C9: numbers do not run further ahead of the oldest open one than the shard remembers", (t) => {
  const { forwarder, origin } = world();
  t.ok(forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["first"], 0]]), true));
  let request = 1;
  let tag = 1;
  let sends = 0;
  while (sends < 10) {
    const many: Command[] = Array.from({ length: 500 }, () => [OP.getDel, ["k"], tag++]);
    if (!forwarder.send("n1", bundleOf(origin, many), true)) break;
    sends++;
    request++;
    for (let i = 0; i < many.length; i++) forwarder.onReply(ok(request, i));
  }
  t.equal(sends, 4, "2000 behind the first one, which has no answer yet");
  forwarder.onReply(ok(1, 0));
  t.ok(forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["k"], -5]]), true));
  t.end();
});

t.test("a reply that no leader sends closes the connection", (t) => {
  const { forwarder, origin } = world();
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]]), true);
  t.notOk(forwarder.onReply(ok(1, 7)), "there is no such command");
  t.notOk(forwarder.onReply(row(1, 0, FORWARD_STATUS.ok, Uint8Array.of(99))), "that is no reply");
  t.equal(origin.undone, 1);
  t.ok(forwarder.onReply(ok(1, 0)));
  t.ok(forwarder.onReply(ok(1, 0)), "the request is over");
  t.end();
});

t.test("a leader that others know by now loses nothing that was sent to it", (t) => {
  const { back, forwarder, origin } = world();
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]]), true);
  forwarder.send("n1", bundleOf(origin, [[OP.get, ["b"], 2]]), false);
  forwarder.retarget("n1", true);
  t.equal(back.length, 0, "it still leads");
  forwarder.retarget("n2", true);
  t.same(back.map(({ bundle, rides }) => [bundle.tags, rides]).sort(), [
    [[1], true],
    [[2], false],
  ]);
  t.end();
});

t.test("C10: an answer to what another group's forwarder had sent is nobody's", (t) => {
  const numbering = new Numbering();
  const before = world(new Uint8Array(16).fill(0x11), numbering);
  const after = world(new Uint8Array(16).fill(0xfe), numbering);
  before.forwarder.send("n1", bundleOf(before.origin, [[OP.getDel, ["a"], 1]]), true);
  before.forwarder.end();
  t.same([...before.origin.replies], [[1, `-${UNCERTAIN}`]]);
  after.forwarder.send("n1", bundleOf(after.origin, [[OP.getDel, ["b"], 2]]), true); // over the same connection
  t.ok(after.forwarder.onReply(ok((before.sent[0] as Sent).id, 0)), "it is late, and harms nothing");
  t.equal(after.origin.replies.size, 0);
  t.ok(after.forwarder.onReply(ok((after.sent[0] as Sent).id, 0)));
  t.same([...after.origin.replies], [[2, "OK"]]);
  t.same([...before.open, ...after.open], [], "no number is kept for what is over");
  t.end();
});

t.test(
  "C11: who leads is asked for anew only when everything that the wrong node was sent is heard of",
  (t) => {
    const { hints, back, forwarder, origin } = world();
    forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]]), true);
    forwarder.send("n1", bundleOf(origin, [[OP.del, ["a", "b"], 2]]), true);
    forwarder.onReply({ ...row(1, 0, FORWARD_STATUS.notLeader, undefined, "n3"), term: 7 });
    t.same(hints, [], "the other one would be taken for lost, and its outcome for unknown");
    forwarder.onReply({ ...row(2, 0, FORWARD_STATUS.notLeader, undefined, "n3"), term: 7 });
    t.same(hints, [{ node: "n1", term: 7, leader: "n3" }]);
    forwarder.retarget("n3", true);
    t.same([origin.replies.size, back.length], [0, 2]);
    t.ok(forwarder.send("n3", back[0]?.bundle as Bundle, true), "there is nothing to wait for there");
    t.end();
  },
);

t.test(
  "order: a write names the one before it on its slot, not one that its connection has on another slot",
  (t) => {
    const { sent, forwarder, origin } = world();
    const twin = Array.from({ length: 1_000_000 }, (_, i) => `k${i}`).find(
      (key) => slotOfText(key) === (slotOfText("k") + 1024) % 16_384,
    ) as string;
    forwarder.send(
      "n1",
      bundleOf(origin, [
        [OP.getDel, ["k"], 1],
        [OP.getDel, [twin], 2],
        [OP.getDel, ["k"], 3],
      ]),
      true,
    );
    const sessions = [0, 1, 2].map((i) => sessionOf((sent[0] as Sent).bundle, i));
    t.same(
      sessions.map((s) => s?.after),
      [0, 0, 1],
      "either may move away, and takes only its own slot's answers along",
    );
    t.end();
  },
);

t.test(
  "F6: what was numbered for one group keeps its numbers at the slot's next owner, known fate or not",
  (t) => {
    const a = world(new Uint8Array(16).fill(0xaa));
    const b = world(new Uint8Array(16).fill(0xbb));
    const { origin } = a;
    a.forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["k"], 1]]), true);
    a.forwarder.lost("n1"); // it may have taken effect, and moved away with the slot
    a.forwarder.send("n2", a.back[0]?.bundle as Bundle, true);
    a.forwarder.send("n2", bundleOf(origin, [[OP.getDel, ["k"], 2]]), true);
    const numbers = a.sent.slice(1).map(({ bundle }) => sessionOf(bundle, 0));
    const refusal = { slot: 5, epoch: 9, group: 77, shard: "s2" };
    const away = row(2, 0, FORWARD_STATUS.notServed);
    t.ok(a.forwarder.onReply({ ...away, refusal }));
    t.ok(a.forwarder.onReply({ ...away, request: 3, refusal }));
    t.match(a.refused[0], { rides: true, refusal, bundle: { sent: true } });
    t.match(a.refused[1], { bundle: { sent: false } }, "that one was never done anywhere");
    t.ok(a.forwarder.isIdle);
    for (const { bundle } of a.refused) t.ok(b.forwarder.send("n3", bundle, true));
    t.same(
      b.sent.map(({ bundle }) => sessionOf(bundle, 0)),
      numbers,
      "client, number, floor, limit, and whom it follows",
    );
    for (const id of [1, 2]) t.ok(b.forwarder.onReply(ok(id, 0)));
    t.same(
      [...origin.replies],
      [
        [1, "OK"],
        [2, "OK"],
      ],
    );
    a.forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["k"], 3]]), true);
    t.match(
      sessionOf((a.sent[3] as Sent).bundle, 0),
      { seq: 3, floor: 3, after: 0 },
      "and gives them back there",
    );
    t.end();
  },
);

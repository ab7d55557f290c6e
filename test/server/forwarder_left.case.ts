/** Forwarding, at the door's side: another node is asked while the one before it has requests open. */
import t from "tap";
import { UNCERTAIN } from "../../src/server/fate.ts";
import { FORWARD_COMMANDS_MAX } from "../../src/server/forwarder.ts";
import { COMMAND_BYTES_MAX, OP } from "../../src/wire/command.ts";
import { FORWARD_STATUS } from "../../src/wire/peer_encode.ts";
import {
  type Bundle,
  bundleOf,
  type Command,
  ok,
  row,
  type Sent,
  sessionOf,
  world,
} from "./forwarder_world.ts";

t.test(
  "C7, C8: of what a silent node was sent, reads and numbered writes go elsewhere, others stay and are told the truth",
  (t) => {
    const { sent, back, forwarder, origin } = world();
    const mixed: Command[] = [
      [OP.getDel, ["a"], 1],
      [OP.del, ["a", "b"], 2],
      [OP.getDel, ["a"], 3],
    ];
    forwarder.send("n1", bundleOf(origin, mixed), true);
    forwarder.send("n1", bundleOf(origin, [[OP.get, ["c"], 4]]), false);
    const numbers = [0, 2].map((i) => sessionOf((sent[0] as Sent).bundle, i));
    forwarder.retarget("n2", false);
    t.same(
      back.map(({ bundle, rides }) => [bundle.tags, rides, bundle.sent]),
      [
        [[4], false, false],
        [[1, 3], true, true],
      ],
    );
    t.equal(origin.replies.size, 0, "nothing is known of the write on two slots");
    for (const { bundle, rides } of back.reverse()) t.ok(forwarder.send("n2", bundle, rides));
    t.same(
      [0, 1].map((i) => sessionOf((sent[2] as Sent).bundle, i)),
      numbers,
    );
    t.ok(forwarder.onReply(ok(1, 0)), "the first attempt's answer is late");
    t.ok(forwarder.onReply(ok(2, 0)), "that one's, too");
    t.equal(origin.replies.size, 0);
    t.notOk(forwarder.onReply(ok(1, 0)), "and comes once");
    t.ok(forwarder.onReply(ok(3, 1)));
    t.ok(forwarder.onReply(ok(1, 1)), "it was only slow");
    t.ok(forwarder.onReply(ok(3, 0)));
    t.ok(forwarder.onReply(ok(4, 0)));
    t.same([...origin.replies.keys()], [3, 2, 1, 4]);
    t.ok(forwarder.isIdle);
    t.end();
  },
);

t.test(
  "C7: a write that stays is given back if it was refused after all, and is unknown when nobody will tell",
  (t) => {
    const fates = [
      (w: ReturnType<typeof world>) => void w.forwarder.onReply(row(1, 0, FORWARD_STATUS.notLeader)),
      (w: ReturnType<typeof world>) => w.forwarder.lost("n1"),
      (w: ReturnType<typeof world>) => w.forwarder.giveUpBefore(1),
      (w: ReturnType<typeof world>) => w.forwarder.end(),
    ];
    const ends = fates.map((fate) => {
      const w = world();
      w.forwarder.send("n1", bundleOf(w.origin, [[OP.del, ["a", "b"], 1]]), true);
      w.forwarder.retarget("n2", false);
      t.same(w.back, [], "it is not sent again");
      fate(w);
      t.ok(w.forwarder.isIdle);
      t.same(w.hints, [], "whoever is not asked any more is not followed");
      return w.origin.replies.get(1) ?? w.back.flatMap(({ bundle }) => bundle.tags);
    });
    t.same(ends, [[1], `-${UNCERTAIN}`, `-${UNCERTAIN}`, `-${UNCERTAIN}`]);
    t.end();
  },
);

t.test(
  "order: a write too large for a number is unknown at once, for others on its slot wait to go elsewhere",
  (t) => {
    const { back, forwarder, origin } = world();
    const large = "k".repeat(COMMAND_BYTES_MAX - 40);
    forwarder.send("n1", bundleOf(origin, [[OP.getDel, [large], 1]]), true);
    forwarder.retarget("n2", false);
    t.same([...origin.replies], [[1, `-${UNCERTAIN}`]]);
    t.same(back, []);
    t.end();
  },
);

t.test("I1: what stays at a node that is not asked any more takes none of the others' credit", (t) => {
  const { sent, forwarder, origin } = world();
  const many: Command[] = Array.from({ length: FORWARD_COMMANDS_MAX }, (_, i) => [OP.del, ["a", "b"], i]);
  t.ok(forwarder.send("n1", bundleOf(origin, many), true));
  t.notOk(forwarder.send("n1", bundleOf(origin, [[OP.get, ["k"], -1]]), false));
  forwarder.retarget("n2", true);
  t.ok(forwarder.send("n2", bundleOf(origin, [[OP.get, ["k"], -1]]), false));
  const more: Command[] = Array.from({ length: FORWARD_COMMANDS_MAX - 1 }, (_, i) => [
    OP.get,
    ["k"],
    5000 + i,
  ]);
  t.ok(forwarder.send("n2", bundleOf(origin, more), false));
  t.notOk(forwarder.send("n2", bundleOf(origin, [[OP.get, ["k"], -2]]), false));
  for (let i = 0; i < many.length; i++) forwarder.onReply(ok(1, i));
  t.notOk(forwarder.send("n2", bundleOf(origin, [[OP.get, ["k"], -2]]), false), "and gives it none");
  t.same(
    sent.map(({ node }) => node),
    ["n1", "n2", "n2"],
  );
  t.end();
});

t.test("C11: whoever was left hears that all it was sent is taken back before it takes anything new", (t) => {
  const { sent, back, forwarder, origin } = world();
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]]), true);
  forwarder.retarget("n2", false);
  forwarder.send("n2", back[0]?.bundle as Bundle, true);
  forwarder.onReply(row(2, 0, FORWARD_STATUS.notLeader));
  forwarder.retarget("n1", true);
  t.ok(forwarder.send("n1", back[1]?.bundle as Bundle, true), "it is said to lead: at once");
  t.same(
    sent.map(({ resumes }) => resumes),
    [false, true, true],
  );
  t.end();
});

t.test("C11: the next one in turn is asked after a pause, one that is said to lead at once", (t) => {
  const { back, forwarder, origin } = world();
  forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]]), true);
  forwarder.onReply(row(1, 0, FORWARD_STATUS.notLeader));
  forwarder.retarget("n2", false);
  t.notOk(
    forwarder.send("n2", back[0]?.bundle as Bundle, true),
    "or two that know nothing are asked in a loop",
  );
  forwarder.tick();
  forwarder.tick();
  t.ok(forwarder.send("n2", back[0]?.bundle as Bundle, true));
  t.end();
});

t.test(
  "H8: a node that answers nothing for half a second is overdue, the same one again after twice that",
  (t) => {
    const { back, forwarder, origin } = world();
    const ticksToOverdue = (): number => {
      for (let ticks = 1; ; ticks++) {
        forwarder.tick();
        if (forwarder.isOverdue || ticks > 1000) return ticks;
      }
    };
    const again = () => back.pop()?.bundle as Bundle;
    t.equal(ticksToOverdue(), 1001, "nothing is open");
    forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 1]]), true);
    t.equal(ticksToOverdue(), 50);
    const ticks = [];
    for (const next of ["n2", "n1", "n2", "n1"]) {
      forwarder.retarget(next, true);
      forwarder.send(next, again(), true);
      ticks.push(ticksToOverdue());
    }
    t.same(ticks, [100, 200, 200, 200]);
    forwarder.onReply(ok(5, 0));
    t.notOk(forwarder.isOverdue);
    forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 2]]), true);
    t.equal(ticksToOverdue(), 50, "it answered");
    forwarder.giveUpBefore(1);
    t.notOk(forwarder.isOverdue, "nobody waits for it any more: what comes next is not its fault");
    forwarder.send("n1", bundleOf(origin, [[OP.getDel, ["a"], 3]]), true);
    t.equal(ticksToOverdue(), 50, "nor has it had that for long, and an idle router counts no ticks between");
    t.end();
  },
);

/** Who waits for what was proposed, until the log says what became of it. */
import t from "tap";
import { utf8, Writer } from "../../src/base/bytes.ts";
import { Bundle } from "../../src/server/bundle.ts";
import { NO_ANSWER, UNCERTAIN } from "../../src/server/fate.ts";
import { Proposals } from "../../src/server/proposals.ts";
import { OP, type Op } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { FakeOrigin } from "./doubles.ts";

function bundleOf(origin: FakeOrigin, tag: number, sinceTick = 0, op: Op = OP.getDel): Bundle {
  const bundle = new Bundle();
  bundle.sinceTick = sinceTick;
  const writer = new Writer(64);
  const encoder = new CommandEncoder(writer);
  encoder.begin(op);
  encoder.arg(utf8("key"));
  encoder.end();
  const start = bundle.writer.length;
  bundle.writer.raw(writer.view());
  bundle.add(start, origin, tag, 0);
  return bundle;
}

const none = (): never => {
  throw new Error("nothing was given back");
};

t.test("what a leadership proposed is applied in turn, with whoever waits for it", (t) => {
  const proposals = new Proposals();
  const origin = new FakeOrigin();
  proposals.add(5, 2, bundleOf(origin, 1));
  proposals.add(6, 2, bundleOf(origin, 2));
  t.equal(proposals.decide(4, 1, none), null, "the former leader's");
  t.same(proposals.decide(5, 2, none)?.tags, [1]);
  t.same(proposals.decide(6, 2, none)?.tags, [2]);
  t.equal(proposals.open, 0);
  t.end();
});

t.test("C7: an orphan whose entry is applied took effect; one that was overwritten did not", (t) => {
  const proposals = new Proposals();
  const origin = new FakeOrigin();
  proposals.add(5, 2, bundleOf(origin, 1));
  proposals.add(6, 2, bundleOf(origin, 2));
  proposals.leadershipEnded(3, false);
  t.ok(proposals.hasOrphans);
  t.same(proposals.decide(5, 2, none)?.tags, [1]);
  const back: number[] = [];
  t.equal(
    proposals.decide(6, 3, (bundle) => back.push(...bundle.tags)),
    null,
  );
  t.same(back, [2]);
  t.notOk(proposals.hasOrphans);
  t.end();
});

t.test("C7: an index that several leaderships claimed is the one's whose term it has", (t) => {
  const proposals = new Proposals();
  const origin = new FakeOrigin();
  proposals.add(7, 2, bundleOf(origin, 2));
  proposals.leadershipEnded(3, false);
  proposals.add(7, 4, bundleOf(origin, 4));
  proposals.leadershipEnded(5, false);
  proposals.leadershipEnded(6, true);
  proposals.add(7, 6, bundleOf(origin, 6));
  const back: number[] = [];
  const executed = proposals.decide(7, 6, (bundle) => back.push(...bundle.tags));
  t.same(executed?.tags, [6]);
  t.same(back, [4, 2], "the newest first: the oldest ends up before all others");
  t.end();
});

t.test("the same leadership goes on when only its leader was noticed", (t) => {
  const proposals = new Proposals();
  proposals.add(5, 2, bundleOf(new FakeOrigin(), 1));
  proposals.leadershipEnded(2, true);
  t.notOk(proposals.hasOrphans);
  t.end();
});

t.test("C7: what a snapshot skipped over is not known", (t) => {
  const proposals = new Proposals();
  const origin = new FakeOrigin();
  proposals.add(5, 2, bundleOf(origin, 1));
  proposals.add(9, 2, bundleOf(origin, 2));
  proposals.leadershipEnded(3, false);
  proposals.skip(8);
  t.same([...origin.replies], [[1, `-${UNCERTAIN}`]]);
  t.same(proposals.decide(9, 2, none)?.tags, [2], "the log beyond it still tells");
  t.end();
});

t.test("C7: nobody waits for ever, and what was given up is answered once", (t) => {
  const proposals = new Proposals();
  const origin = new FakeOrigin();
  proposals.add(5, 2, bundleOf(origin, 1, 10));
  proposals.leadershipEnded(3, false);
  proposals.leadershipEnded(4, true);
  proposals.add(6, 4, bundleOf(origin, 2, 12));
  proposals.add(7, 4, bundleOf(origin, 3, 13, OP.get));
  proposals.add(8, 4, bundleOf(origin, 4, 30));
  proposals.giveUpBefore(20);
  t.same(
    [...origin.replies],
    [
      [1, `-${UNCERTAIN}`],
      [2, `-${UNCERTAIN}`],
      [3, `-${NO_ANSWER}`],
    ],
    "a read has no fate",
  );
  t.notOk(proposals.hasOrphans, "an orphan that nobody waits for holds nothing up");
  proposals.giveUpBefore(20);
  t.equal(proposals.decide(5, 2, none)?.count, 0, "it may still take effect: nobody hears of it");
  t.equal(proposals.decide(6, 4, none)?.count, 0);
  t.equal(proposals.decide(7, 4, none)?.count, 0);
  t.same(proposals.decide(8, 4, none)?.tags, [4]);
  t.end();
});

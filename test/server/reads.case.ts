/** Reads under way at the leader. */
import t from "tap";
import { utf8, Writer } from "../../src/base/bytes.ts";
import { Bundle } from "../../src/server/bundle.ts";
import { NO_ANSWER } from "../../src/server/fate.ts";
import { ReadRounds } from "../../src/server/read_rounds.ts";
import type { Store } from "../../src/store/types.ts";
import { type CommandView, OP } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import type { ReplySink } from "../../src/wire/reply.ts";
import { FakeOrigin } from "./doubles.ts";

function reads(origin: FakeOrigin, tags: readonly number[], sinceTick = 0): Bundle {
  const bundle = new Bundle();
  bundle.sinceTick = sinceTick;
  for (const tag of tags) {
    const writer = new Writer(64);
    const encoder = new CommandEncoder(writer);
    encoder.begin(OP.get);
    encoder.arg(utf8(`k${tag}`));
    encoder.end();
    const start = bundle.writer.length;
    bundle.writer.raw(writer.view());
    bundle.add(start, origin, tag, 0);
  }
  return bundle;
}

/** A store that answers with its applied index; keys in `undecided` wait for log time. */
function fakeStore() {
  const state = { appliedIndex: 0, undecided: new Set<string>(), away: new Set<string>() };
  const store = {
    refusedSlot: 9,
    get appliedIndex() {
      return state.appliedIndex;
    },
    read: (view: CommandView, _nowMs: number, reply: ReplySink) => {
      if (state.undecided.has(new TextDecoder().decode(view.arg(0)))) return "undecided";
      if (state.away.has(new TextDecoder().decode(view.arg(0)))) return "not_served";
      reply.integer(state.appliedIndex);
      return "done";
    },
  };
  return { state, store: store as unknown as Store };
}

const now = (): number => 0;
const refused = (): void => {
  throw new Error("every slot is served");
};

t.test("C1: a read is answered from the state at its index or later, and not before", (t) => {
  const rounds = new ReadRounds();
  const { state, store } = fakeStore();
  const origin = new FakeOrigin();
  rounds.ask(reads(origin, [1]), () => true);
  rounds.ask(reads(origin, [2]), () => true);
  rounds.confirm(1, 5);
  rounds.confirm(2, 7);
  state.appliedIndex = 4;
  rounds.serve(store, now, false, refused);
  t.equal(origin.replies.size, 0);
  state.appliedIndex = 6;
  rounds.serve(store, now, false, refused);
  t.same([...origin.replies], [[1, "6"]]);
  state.appliedIndex = 9;
  rounds.serve(store, now, false, refused);
  t.equal(origin.replies.get(2), "9");
  t.end();
});

t.test("C2: every round has a number of its own, and what cannot be asked is not kept", (t) => {
  const rounds = new ReadRounds();
  const ids: number[] = [];
  const origin = new FakeOrigin();
  t.notOk(rounds.ask(reads(origin, [1]), () => false));
  for (const tag of [2, 3]) rounds.ask(reads(origin, [tag]), (id) => ids.push(id) > 0);
  t.not(ids[0], ids[1]);
  t.same(rounds.lose(ids[0] as number)?.tags, [2]);
  t.equal(rounds.lose(ids[0] as number), null, "once");
  t.end();
});

t.test(
  "a read that waits for log time keeps nobody else waiting, and is looked at when time has moved",
  (t) => {
    const rounds = new ReadRounds();
    const { state, store } = fakeStore();
    const origin = new FakeOrigin();
    state.undecided.add("k2");
    rounds.ask(reads(origin, [1, 2, 3]), () => true);
    rounds.confirm(1, 0);
    t.equal(rounds.serve(store, now, false, refused), true, "log time is wanted");
    t.same([...origin.replies.keys()], [1, 3]);
    t.equal(origin.undone, 1);
    state.undecided.clear();
    t.equal(
      rounds.serve(store, now, true, refused),
      true,
      "the batch is on its way: what it brings is not guessed",
    );
    t.notOk(origin.replies.has(2));
    t.equal(rounds.serve(store, now, false, refused), false);
    t.ok(origin.replies.has(2));
    t.end();
  },
);

t.test("H7: a caller without room keeps its own reads waiting, and only those", (t) => {
  const rounds = new ReadRounds();
  const { store } = fakeStore();
  const [slow, quick] = [new FakeOrigin("slow"), new FakeOrigin("quick")];
  slow.room = false;
  rounds.ask(reads(slow, [1, 2]), () => true);
  rounds.ask(reads(quick, [3]), () => true);
  rounds.confirm(1, 0);
  rounds.confirm(2, 0);
  rounds.serve(store, now, false, refused);
  t.equal(slow.replies.size, 0);
  t.equal(quick.replies.size, 1);
  slow.room = true;
  rounds.serve(store, now, false, refused);
  t.same([...slow.replies.keys()], [1, 2]);
  t.end();
});

t.test("a leader that is none any more gives back every read that it has not answered", (t) => {
  const rounds = new ReadRounds();
  const { state, store } = fakeStore();
  const [origin, slow] = [new FakeOrigin(), new FakeOrigin("slow")];
  slow.room = false;
  state.undecided.add("k1");
  rounds.ask(reads(origin, [1], 77), () => true);
  rounds.ask(reads(slow, [2], 78), () => true);
  rounds.ask(reads(origin, [3], 79), () => true);
  for (const id of [1, 2]) rounds.confirm(id, 0);
  rounds.confirm(3, 50);
  rounds.serve(store, now, false, refused);
  const back = rounds.takeUnanswered();
  t.same(back.flatMap(({ tags }) => tags).sort(), [1, 2, 3]);
  t.same(back.map(({ sinceTick }) => sinceTick).sort(), [77, 78, 79], "their time runs on");
  t.same(rounds.takeUnanswered(), []);
  t.end();
});

t.test("nobody waits for ever: neither for a round, nor for the state, nor for log time", (t) => {
  const rounds = new ReadRounds();
  const { state, store } = fakeStore();
  const origin = new FakeOrigin();
  state.undecided.add("k3");
  rounds.ask(reads(origin, [1], 5), () => true);
  rounds.ask(reads(origin, [2], 5), () => true);
  rounds.ask(reads(origin, [3], 5), () => true);
  rounds.ask(reads(origin, [4], 50), () => true);
  rounds.confirm(2, 99);
  rounds.confirm(3, 0);
  // the order in which rounds were confirmed is that of their indexes: serve the one that can be
  const first = new ReadRounds();
  first.ask(reads(origin, [5], 5), () => true);
  first.confirm(1, 0);
  state.undecided.add("k5");
  first.serve(store, now, false, refused);
  rounds.giveUpBefore(20);
  first.giveUpBefore(20);
  t.same(
    [...origin.replies].sort(([a], [b]) => a - b).map(([tag, text]) => [tag, text === `-${NO_ANSWER}`]),
    [
      [1, true],
      [2, true],
      [3, true],
      [5, true],
    ],
  );
  rounds.confirm(1, 3); // the core answers all the same
  rounds.confirm(4, 3);
  state.appliedIndex = 100;
  rounds.serve(store, now, false, refused);
  t.equal(origin.replies.get(4), "100");
  t.equal(origin.replies.size, 5);
  t.end();
});

t.test("F2: a read is judged in the state that would answer it, however late that is", (t) => {
  const rounds = new ReadRounds();
  const { state, store } = fakeStore();
  const origin = new FakeOrigin();
  const away: unknown[] = [];
  const refuse = (bundle: Bundle, i: number, slot: number): void => void away.push([bundle.tag(i), slot]);
  rounds.ask(reads(origin, [1, 2, 3]), () => true);
  rounds.confirm(1, 5);
  state.appliedIndex = 5;
  state.undecided.add("k2");
  rounds.serve(store, now, false, refuse);
  t.same([...origin.replies.keys()], [1, 3]);
  state.undecided.clear();
  state.away.add("k2"); // sealed while it waited
  t.equal(rounds.serve(store, now, false, refuse), false);
  t.same([away, [...origin.replies.keys()], origin.undone], [[[2, 9]], [1, 3], 2]);
  t.end();
});

/** Where commands go: to this replica if it leads, to the leader's node, or nowhere yet. */
import t from "tap";
import { utf8, Writer } from "../../src/base/bytes.ts";
import type { Bundle } from "../../src/server/bundle.ts";
import { DISK_FULL, NO_LEADER } from "../../src/server/fate.ts";
import type { Forwarder } from "../../src/server/forwarder.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import { Lane } from "../../src/server/lane.ts";
import { COMMAND_TICKS_MAX, Router } from "../../src/server/router.ts";
import { CommandView, OP, type Op } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { FakeOrigin } from "./doubles.ts";

function frame(op: Op, ...args: readonly string[]): CommandView {
  const writer = new Writer(64);
  const encoder = new CommandEncoder(writer);
  encoder.begin(op);
  for (const arg of args) encoder.arg(utf8(arg));
  encoder.end();
  const view = new CommandView();
  if (view.read(writer.copy(), 0, writer.length) !== null) throw new Error("a good frame");
  return view;
}

function freshState() {
  return {
    isLeader: true,
    leader: 1,
    hasRoom: true,
    hasOrphans: false,
    syncing: false,
    sends: true,
    proposed: [] as Bundle[],
    read: [] as Bundle[],
    sent: [] as Bundle[],
    timeWanted: false,
    timeProposed: 0,
  };
}

type State = ReturnType<typeof freshState>;

/** A group that does what the state says, and remembers what it was asked. */
function groupOf(state: State) {
  return {
    get isLeader() {
      return state.isLeader;
    },
    get hasOrphans() {
      return state.hasOrphans;
    },
    core: {
      get leader() {
        return state.leader;
      },
    },
    store: { memoryRefusal: () => null, sessionRefusal: () => null },
    bundleBytesExpected: 0,
    noticeLeader: () => {},
    propose: (bundle: Bundle) => {
      if (!state.hasRoom) return false;
      state.proposed.push(bundle);
      state.timeWanted = false;
      return true;
    },
    proposeTime: () => {
      if (state.timeWanted) state.timeProposed++;
      state.timeWanted = false;
    },
    read: (bundle: Bundle) => state.read.push(bundle) > 0,
    isDiskFull: () => !state.hasRoom,
    giveUpBefore: () => {},
  };
}

function world() {
  const state = freshState();
  const group = groupOf(state);
  const forwarder = {
    send: (_leader: number, bundle: Bundle) => {
      if (!state.sends) return false;
      state.sent.push(bundle);
      return true;
    },
    onLeaderChange: () => {},
    tick: () => {},
    giveUpBefore: () => {},
  };
  const router = new Router(group as unknown as GroupReplica, forwarder as unknown as Forwarder, {
    syncing: () => state.syncing,
    wake: () => {},
  });
  const origin = new FakeOrigin();
  const lane = new Lane();
  let tag = 0;
  const admit = (op: Op, ...args: readonly string[]): boolean => {
    const view = frame(op, ...args);
    return router.admit(view, 0, lane, origin, ++tag);
  };
  const ticks = (count: number): void => {
    for (let i = 0; i < count; i++) router.tick();
  };
  return { state, router, origin, lane, admit, ticks };
}

const tags = (bundles: readonly Bundle[]): number[] => bundles.flatMap((bundle) => bundle.tags);

t.test("log time moves although reads come in every turn", (t) => {
  const { state, router, admit } = world();
  state.timeWanted = true;
  admit(OP.get, "k");
  router.flush();
  t.equal(state.timeProposed, 1);
  t.end();
});

t.test("log time goes along with writes, and needs no batch of its own then", (t) => {
  const { state, router, admit } = world();
  state.timeWanted = true;
  admit(OP.getDel, "k");
  router.flush();
  t.equal(state.proposed.length, 1);
  t.equal(state.timeProposed, 0);
  t.end();
});

t.test("while the log is synced the next batch grows", (t) => {
  const { state, router, admit } = world();
  state.syncing = true;
  admit(OP.getDel, "a");
  router.flush();
  admit(OP.getDel, "b");
  router.flush();
  t.equal(state.proposed.length, 0);
  state.syncing = false;
  router.flush();
  t.same(tags(state.proposed), [1, 2]);
  t.end();
});

t.test("commands of one connection are never on their way to two nodes", (t) => {
  const { state, router, origin, lane, admit } = world();
  admit(OP.getDel, "a");
  router.flush();
  state.isLeader = false;
  state.leader = 2;
  router.onLeaderChange();
  t.notOk(admit(OP.getDel, "b"), "the first one is still open");
  const [first] = state.proposed;
  if (first === undefined) throw new Error("it was proposed");
  origin.begin().simple("OK");
  first.end(0);
  lane.leave(first.mark(0));
  t.ok(admit(OP.getDel, "b"));
  router.flush();
  t.equal(state.sent.length, 1);
  t.end();
});

t.test("order: what waits behind an orphan of this connection waits until its fate is known", (t) => {
  const { state, router, admit } = world();
  admit(OP.getDel, "k");
  router.flush();
  state.syncing = true;
  admit(OP.getDel, "k");
  router.flush();
  state.isLeader = false;
  state.leader = 2;
  state.hasOrphans = true;
  router.onLeaderChange();
  router.flush();
  t.same(tags(state.sent), []);
  const [orphan] = state.proposed;
  if (orphan === undefined) throw new Error("it was proposed");
  router.giveBack(orphan, true); // the log has another entry in its place
  router.flush();
  state.hasOrphans = false;
  router.flush();
  t.same(tags(state.sent), [1, 2]);
  t.end();
});

t.test("order: what comes back goes before what came later, whenever it comes back", (t) => {
  const { state, router, admit } = world();
  state.isLeader = false;
  state.leader = 2;
  router.onLeaderChange();
  for (const key of ["a", "b", "c"]) {
    admit(OP.getDel, key);
    router.flush();
  }
  state.sends = false;
  admit(OP.getDel, "d");
  const [first, second, third] = state.sent as [Bundle, Bundle, Bundle];
  for (const bundle of [second, third, first]) router.giveBack(bundle, true);
  state.sent = [];
  state.sends = true;
  router.flush();
  t.same(tags(state.sent), [1, 2, 3, 4]);
  t.end();
});

t.test("C11: a command that was forwarded here goes back to its door, not on", (t) => {
  const { state, router } = world();
  const door = new FakeOrigin("door");
  door.takesBack = true;
  state.syncing = true;
  router.admitForwarded(frame(OP.getDel, "k"), 0, true, door, 77);
  router.flush();
  state.isLeader = false;
  state.leader = 2;
  router.onLeaderChange();
  router.flush();
  t.same(door.takenBack, [77]);
  t.same(state.sent, []);
  t.end();
});

t.test("C7: with no leader for long, it is certain that nothing was done", (t) => {
  const { state, origin, admit, ticks } = world();
  state.isLeader = false;
  state.leader = 0;
  admit(OP.getDel, "k");
  ticks(COMMAND_TICKS_MAX);
  t.equal(origin.replies.size, 0);
  ticks(1);
  t.same([...origin.replies], [[1, `-${NO_LEADER}`]]);
  t.end();
});

t.test(
  "D6: without space for more log writes are refused after a second, reads go on, and so do writes when there is",
  (t) => {
    const { state, router, origin, admit, ticks } = world();
    state.hasRoom = false;
    admit(OP.getDel, "a");
    router.flush();
    ticks(102);
    admit(OP.getDel, "b");
    t.equal(origin.replies.get(2), `-${DISK_FULL}`);
    admit(OP.get, "other");
    router.flush();
    t.same(tags(state.read), [3]);
    state.hasRoom = true;
    ticks(1);
    admit(OP.getDel, "c");
    router.flush();
    t.same(tags(state.proposed), [1, 4]);
    t.end();
  },
);

t.test("D6: the first one that waits for space tells what space is wanted", (t) => {
  const { state, router, origin, admit, ticks } = world();
  state.hasRoom = false;
  admit(OP.getDel, "a");
  router.flush();
  ticks(COMMAND_TICKS_MAX + 1);
  t.equal(origin.replies.get(1), `-${DISK_FULL}`, "not a missing leader");
  t.end();
});

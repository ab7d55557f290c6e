/** Where commands go: to this replica if it leads, to the leader's node, or nowhere yet. */
import t from "tap";
import type { Bundle } from "../../src/server/bundle.ts";
import { DISK_FULL, NO_LEADER } from "../../src/server/fate.ts";
import type { Forwarder } from "../../src/server/forwarder.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import { slotOfCommand } from "../../src/server/keys.ts";
import { Lane } from "../../src/server/lane.ts";
import { COMMAND_TICKS_MAX, Router } from "../../src/server/router.ts";
import { OP, type Op } from "../../src/wire/command.ts";
import { FakeOrigin } from "./doubles.ts";
import { frame, freshState, groupOf, hostOf } from "./router_world.ts";

function world() {
  const state = freshState();
  const group = groupOf(state);
  const forwarder = {
    send: (_node: string, bundle: Bundle) => {
      if (!state.sends) return false;
      state.sent.push(bundle);
      return true;
    },
    retarget: () => {},
    tick: () => {},
    giveUpBefore: () => {},
  };
  const host = hostOf(state);
  const router = new Router(7, forwarder as unknown as Forwarder, host);
  router.attach(group as unknown as GroupReplica);
  const origin = new FakeOrigin();
  const lane = new Lane();
  let tag = 0;
  const admit = (op: Op, ...args: readonly string[]): boolean => {
    const view = frame(op, ...args);
    return router.admit(view, 0, slotOfCommand(view), lane, origin, ++tag);
  };
  const ticks = (count: number): void => {
    for (let i = 0; i < count; i++) {
      host.numbering.tick++;
      router.tick();
    }
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

t.test("order: commands of one connection and slot are never on their way to two nodes", (t) => {
  const { state, router, origin, lane, admit } = world();
  admit(OP.getDel, "a");
  router.flush();
  state.isLeader = false;
  state.leader = 2;
  router.onLeaderChange();
  t.notOk(admit(OP.getDel, "a"), "the first one is still open");
  t.ok(admit(OP.getDel, "b"), "another slot's are not held up");
  const [first] = state.proposed;
  if (first === undefined) throw new Error("it was proposed");
  origin.begin().simple("OK");
  first.end(0);
  lane.leave(first.mark(0));
  t.ok(admit(OP.getDel, "a"));
  router.flush();
  t.same(tags(state.sent), [3, 4]);
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

t.test("D6: a log that syncs something else has no more room for that", (t) => {
  const { state, router, origin, admit, ticks } = world();
  state.hasRoom = false;
  admit(OP.getDel, "a");
  router.flush();
  ticks(102);
  state.syncing = true;
  ticks(1);
  state.syncing = false;
  admit(OP.getDel, "b");
  t.equal(origin.replies.get(2), `-${DISK_FULL}`, "at once, as before");
  t.end();
});

t.test("D6: the first one that waits for space tells what space is wanted", (t) => {
  const { state, router, origin, admit, ticks } = world();
  state.hasRoom = false;
  admit(OP.getDel, "a");
  router.flush();
  ticks(COMMAND_TICKS_MAX + 1);
  t.equal(origin.replies.get(1), `-${DISK_FULL}`, "not a missing leader");
  t.end();
});

const slotOfKey = (key: string): number => slotOfCommand(frame(OP.get, key));

t.test(
  "order: a leader proposes nothing on a slot that its state does not serve, nor what came before that",
  (t) => {
    const { state, router, admit, origin } = world();
    state.syncing = true;
    admit(OP.getDel, "k");
    admit(OP.getDel, "other");
    router.flush();
    state.away.add(slotOfKey("k")); // the seal is applied
    state.slotChanges++;
    admit(OP.getDel, "k");
    admit(OP.get, "k");
    state.syncing = false;
    router.flush();
    t.same(tags(state.proposed), [2]);
    t.same(tags(state.read), []);
    t.same(
      state.turnedAway.map(({ tags, rides }) => [...tags, rides]),
      [
        [3, true],
        [4, true],
        [1, true],
      ],
    );
    t.match(state.turnedAway[0], { group: 7, refusal: { slot: slotOfKey("k"), epoch: 4, group: 0 } });
    t.equal(origin.replies.size, 0);
    t.end();
  },
);

t.test(
  "F1: a command that another node forwarded goes back to it if the slot is not served, with what is known",
  (t) => {
    const { state, router } = world();
    const door = new FakeOrigin("door");
    door.takesBack = true;
    state.away.add(slotOfKey("k"));
    router.admitForwarded(frame(OP.getDel, "k"), 0, true, door, 70);
    router.admitForwarded(frame(OP.getDel, "other"), 0, true, door, 71);
    router.flush();
    const [bundle] = state.proposed as [Bundle];
    t.same(bundle.tags, [71]);
    router.notServed(bundle, 0, slotOfKey("other"), true); // the seal was before it in the log
    t.same(
      [door.takenBack, door.refusals.map(({ slot }) => slot)],
      [
        [70, 71],
        [slotOfKey("k"), slotOfKey("other")],
      ],
    );
    t.same(state.turnedAway, []);
    t.end();
  },
);

t.test("F11: a command on two slots is not proposed if one of them is not served", (t) => {
  const { state, router, admit } = world();
  state.away.add(slotOfKey("k"));
  admit(OP.rename, "other", "k", "\0\0\0\0\0\0\0\0");
  router.flush();
  t.same(tags(state.proposed), []);
  t.match(state.turnedAway, [{ tags: [1], refusal: { slot: slotOfKey("k") } }]);
  t.end();
});

/** Routers whose replica is closed, or that never had one. */
import t from "tap";
import type { Bundle } from "../../src/server/bundle.ts";
import { NO_LEADER, REPLICA_GONE, UNCERTAIN } from "../../src/server/fate.ts";
import { Forwarder } from "../../src/server/forwarder.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import { slotOfCommand } from "../../src/server/keys.ts";
import { Lane } from "../../src/server/lane.ts";
import { Proposals } from "../../src/server/proposals.ts";
import { ReadRounds } from "../../src/server/read_rounds.ts";
import { COMMAND_TICKS_MAX, Router } from "../../src/server/router.ts";
import { OP, type Op } from "../../src/wire/command.ts";
import { FakeOrigin } from "./doubles.ts";
import { frame, freshState, groupOf, hostOf } from "./router_world.ts";

const tags = (bundles: readonly Bundle[]): number[] => bundles.flatMap((bundle) => bundle.tags);

/** A router whose forwarder, proposals and rounds of reads are the real ones. */
function closable() {
  const state = { ...freshState(), requests: [] as number[] };
  const proposals = new Proposals();
  const reads = new ReadRounds();
  const group = {
    ...groupOf(state),
    get isLeader() {
      return state.isLeader;
    },
    get hasOrphans() {
      return proposals.hasOrphans;
    },
    propose: (bundle: Bundle) => {
      if (!state.hasRoom) return false;
      proposals.add(state.proposed.push(bundle), 1, bundle);
      return true;
    },
    read: (bundle: Bundle) => reads.ask(bundle, () => true),
    end: () => {
      proposals.end();
      for (const lost of reads.end()) router.giveBack(lost, false);
    },
  };
  const host = hostOf(state);
  const forwarder: Forwarder = new Forwarder(new Uint8Array(16), {
    canSend: () => state.sends,
    openRequest: () => host.numbering.nextRequest(),
    closeRequest: () => {},
    sendRequest: (_node, id, _rides, _resumes, bundle) => {
      state.requests.push(id);
      state.sent.push(bundle);
    },
    leaderTimeMs: () => 1_000_000,
    giveBack: (bundle, rides) => router.giveBack(bundle, rides),
    onNotServed: (bundle, i, rides, refusal) => router.sendElsewhere(bundle, i, rides, refusal),
    onNotLeader: (node, term, leader) => router.onNotLeader(node, term, leader),
  });
  const router: Router = new Router(7, forwarder, host);
  router.attach(group as unknown as GroupReplica);
  const origin = new FakeOrigin();
  const door = new FakeOrigin("door");
  door.takesBack = true;
  const lane = new Lane();
  const admit = (tag: number, op: Op, ...args: readonly string[]): boolean =>
    router.admit(frame(op, ...args), 0, slotOfCommand(frame(op, ...args)), lane, origin, tag);
  const follow = (): void => {
    state.isLeader = false;
    state.leader = 2;
    proposals.leadershipEnded(2, false);
    router.onLeaderChange();
  };
  return { state, host, router, forwarder, proposals, reads, origin, door, lane, admit, follow };
}

t.test("C7: a leader's replica is closed: what it proposed is open, the rest was not done", (t) => {
  const { state, router, proposals, reads, origin, door, admit } = closable();
  admit(1, OP.getDel, "proposed");
  admit(2, OP.get, "asked");
  router.admitForwarded(frame(OP.getDel, "k"), 0, true, door, 71);
  router.admitForwarded(frame(OP.get, "k"), 0, false, door, 72);
  router.flush();
  state.hasRoom = false;
  admit(3, OP.getDel, "waits");
  router.admitForwarded(frame(OP.getDel, "waits"), 0, true, door, 73);
  router.flush();
  router.end();
  t.same(
    [...origin.replies].sort(),
    [
      [1, `-${UNCERTAIN}`],
      [2, `-${REPLICA_GONE}`],
      [3, `-${REPLICA_GONE}`],
    ],
    "each one once",
  );
  t.same([door.left, door.takenBack, door.replies.size], [[71], [72, 73], 0], "doors ask elsewhere");
  t.equal(proposals.decide(1, 1, () => {})?.count, 0, "it may be applied yet, and has nobody waiting");
  reads.confirm(1, 1); // and so has what the core confirms yet
  t.end();
});

t.test("C7: a follower's replica is closed: what was sent to the leader is open", (t) => {
  const { state, router, forwarder, origin, admit, follow } = closable();
  follow();
  admit(1, OP.getDel, "sent");
  admit(2, OP.get, "sent too");
  router.flush();
  state.sends = false;
  admit(4, OP.getDel, "parked");
  admit(5, OP.get, "parked");
  router.flush();
  router.end();
  t.same([...origin.replies].sort(), [
    [1, `-${UNCERTAIN}`],
    [2, `-${REPLICA_GONE}`],
    [4, `-${REPLICA_GONE}`],
    [5, `-${REPLICA_GONE}`],
  ]);
  const late = { request: 1, ordinal: 0, status: 1, bytes: new Uint8Array(0), start: 0, end: 0 } as const;
  t.ok(
    forwarder.onReply({ ...late, text: "", term: 0, refusal: null }),
    "a late answer reaches nobody, and harms nothing",
  );
  t.end();
});

t.test("C7: what came back from a lost leader is open, and so is what waits behind it in the log", (t) => {
  const { state, router, forwarder, origin, admit, follow } = closable();
  admit(1, OP.getDel, "orphan");
  router.flush();
  state.hasRoom = false;
  admit(2, OP.getDel, "never sent");
  follow(); // 1 is in this log, and nobody knows whether it lasts; 2 waits behind it
  router.end();
  t.same([...origin.replies].sort(), [
    [1, `-${UNCERTAIN}`],
    [2, `-${REPLICA_GONE}`],
  ]);
  const second = closable();
  second.follow();
  second.admit(1, OP.getDel, "sent");
  second.router.flush();
  second.forwarder.lost("n2"); // it waits to be sent again
  second.router.end();
  t.same([...second.origin.replies], [[1, `-${UNCERTAIN}`]]);
  forwarder.lost("n2");
  t.end();
});

t.test("a closed replica's router takes nothing in, whoever asks, and does no more work", (t) => {
  const { state, router, origin, door, lane, admit } = closable();
  router.end();
  router.end();
  t.ok(admit(1, OP.get, "k"));
  t.ok(admit(2, OP.getDel, "k"));
  t.ok(admit(3, OP.mget, "a", "b"));
  t.same([...origin.replies.values()], Array(3).fill(`-${REPLICA_GONE}`));
  for (const mark of origin.marks.values()) lane.leave(mark);
  t.equal(lane.outstanding, 0);
  t.notOk(router.leads, "requests of other nodes are refused whole");
  router.admitForwarded(frame(OP.getDel, "k"), 0, true, door, 9);
  t.same(door.takenBack, [9]);
  router.flush();
  router.onLeaderChange();
  for (let i = 0; i < 2 * COMMAND_TICKS_MAX; i++) router.tick();
  t.same([state.proposed, state.requests], [[], []]);
  t.end();
});

t.test("C7: a replica is closed for good: what it had not proposed is carried out elsewhere", (t) => {
  const { state, host, router, forwarder, proposals, reads, origin, door, admit } = closable();
  router.setHolders(["n1", "n2", "n3"]);
  admit(1, OP.getDel, "proposed");
  admit(2, OP.get, "asked");
  router.admitForwarded(frame(OP.getDel, "k"), 0, true, door, 71);
  router.flush();
  state.hasRoom = false;
  admit(3, OP.getDel, "waits");
  router.admitForwarded(frame(OP.getDel, "waits"), 0, true, door, 73);
  router.flush();
  router.detach();
  t.same([...origin.replies], [[1, `-${UNCERTAIN}`]], "the others' logs decide");
  t.same([door.left, door.takenBack, door.replies.size], [[71], [73], 0], "doors ask elsewhere");
  router.flush();
  t.same(tags(state.sent), [3, 2], "n2 is asked");
  reads.confirm(1, 1);
  t.equal(proposals.decide(1, 1, () => {})?.count, 0);
  const ok = Uint8Array.of(0);
  const row = {
    ordinal: 0,
    status: 0,
    bytes: ok,
    start: 0,
    end: 1,
    text: "",
    term: 0,
    refusal: null,
  } as const;
  for (const request of state.requests) t.ok(forwarder.onReply({ ...row, request }));
  t.equal(origin.replies.get(2), "(nil)");
  t.ok(router.isIdle);
  t.notOk(router.leads);
  host.wake();
  t.end();
});

/** A node that holds no replica of the group; n2, n3 and n4 do. */
function bare() {
  const down = new Set<string>();
  const state = { ...freshState(), down };
  const host = hostOf(state);
  const sent: { node: string; id: number; tags: number[] }[] = [];
  const forwarder: Forwarder = new Forwarder(new Uint8Array(16), {
    canSend: (node) => !down.has(node),
    openRequest: () => host.numbering.nextRequest(),
    closeRequest: () => {},
    sendRequest: (node, id, _rides, _resumes, bundle) => void sent.push({ node, id, tags: [...bundle.tags] }),
    leaderTimeMs: () => 1_000_000,
    giveBack: (bundle, rides) => router.giveBack(bundle, rides),
    onNotServed: (bundle, i, rides, refusal) => router.sendElsewhere(bundle, i, rides, refusal),
    onNotLeader: (node, term, leader) => router.onNotLeader(node, term, leader),
  });
  const router: Router = new Router(7, forwarder, host);
  router.setHolders(["n1", "n2", "n3", "n4"]);
  const origin = new FakeOrigin();
  const lane = new Lane();
  const admit = (tag: number, op: Op, ...args: readonly string[]): boolean => {
    const view = frame(op, ...args);
    return router.admit(view, 0, slotOfCommand(view), lane, origin, tag);
  };
  /** The node answers a request of one command. */
  const refuse = (id: number, term: number, leader: string): void => {
    const row = { request: id, ordinal: 0, status: 1, bytes: new Uint8Array(0), start: 0, end: 0 } as const;
    forwarder.onReply({ ...row, text: leader, term, refusal: null });
  };
  const turn = (): void => {
    for (let i = 0; i < 3; i++) {
      host.numbering.tick++;
      router.tick();
    }
    router.flush();
  };
  return { down, router, origin, lane, admit, refuse, turn, sent };
}

t.test("a node without a replica asks those that hold one, in turn, until one knows who leads", (t) => {
  const { down, admit, refuse, turn, sent, origin } = bare();
  down.add("n2");
  admit(1, OP.getDel, "k");
  turn();
  t.match(sent, [{ node: "n3", tags: [1] }], "n1 is this node, and n2 cannot be reached");
  refuse(1, 4, "");
  turn();
  t.match(sent[1], { node: "n4", tags: [1] }, "n3 knows nobody");
  refuse(2, 5, "n2");
  turn();
  t.match(
    sent[2],
    { node: "n3", tags: [1] },
    "n2 is said to lead, and cannot be reached: perhaps n3 knows better",
  );
  down.delete("n2");
  refuse(3, 5, "n2");
  turn();
  t.match(sent[3], { node: "n2", tags: [1] });
  t.equal(origin.replies.size, 0);
  t.end();
});

t.test("F9: of hints on who leads the one of the highest term counts, in whatever order they come", (t) => {
  const { router, admit, turn, sent } = bare();
  router.hear("n3", 6);
  router.hear("n2", 5);
  admit(1, OP.get, "k");
  turn();
  t.equal(sent[0]?.node, "n3");
  router.hear("n4", 6);
  t.same(router.leader, { node: "n3", term: 6 });
  router.hear("n4", 7);
  turn();
  t.same(
    sent.map(({ node }) => node),
    ["n3", "n4"],
    "what n3 was asked is asked again",
  );
  t.end();
});

t.test("C11: nodes that name each other, or this one, are asked in turn and not for ever", (t) => {
  const { router, admit, refuse, turn, sent, origin } = bare();
  admit(1, OP.getDel, "k");
  for (let i = 0; i < 200; i++) {
    turn();
    const last = sent.at(-1);
    if (last !== undefined && sent.length === i + 1) refuse(last.id, 3, i % 3 === 0 ? "n1" : last.node);
  }
  t.ok(new Set(sent.map(({ node }) => node)).size === 3, "each of them was asked");
  t.same([...origin.replies], [[1, `-${NO_LEADER}`]], "and none took it");
  t.ok(router.isIdle);
  t.end();
});

t.test("order: commands behind one that is on its way to a former leader wait for its answer", (t) => {
  const { router, admit, turn, lane, sent, origin } = bare();
  router.hear("n3", 6);
  admit(1, OP.getDel, "k");
  turn();
  router.hear("n4", 7);
  t.notOk(admit(2, OP.getDel, "k"));
  t.ok(admit(3, OP.getDel, "another"));
  turn();
  t.same(
    sent.slice(1).map(({ node, tags }) => [node, tags]),
    [
      ["n4", [1]],
      ["n4", [3]],
    ],
  );
  origin.begin().simple("OK");
  lane.leave(0 + slotOfCommand(frame(OP.get, "k")));
  t.ok(admit(2, OP.getDel, "k"));
  t.end();
});

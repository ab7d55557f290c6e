/** Many groups on each node: their births, broken off at any step, what is told of them meanwhile, and their ends. */
import t from "tap";
import { Engines } from "./engines.ts";

const GROUP = 77;

t.test("48 groups are ordered at once: each begins with its founders, and stays with them", async (t) => {
  const engines = Engines.started(3);
  const groups = Array.from({ length: 48 }, (_, i) => 1000 + i);
  for (const group of groups) for (const i of [0, 1, 2]) engines.order(i, group, [0, 1, 2]);
  engines.until("all are led", () => groups.every((group) => engines.leaderOf(group) !== null), 60_000);
  engines.run(4000); // no leader is young any more
  const configs = groups.map((group) => engines.leaderOf(group)?.core.config);
  t.ok(configs.every((config) => config?.version === 1 && config.learners.length === 0));
});

t.test(
  "A12: a founder's birth broken off at any operation is found done, or done again; never twice",
  async (t) => {
    const fates = new Set<string>();
    for (let left = 1; left <= 18; left++) {
      const engines = Engines.started(2, left);
      const { machine } = engines.at(0);
      let isCut = false;
      machine.disk.faults.trap = {
        left,
        spring: () => {
          isCut = true;
          engines.power(0);
        },
      };
      engines.order(0, GROUP, [0]);
      engines.world.runUntil(engines.world.nowUs + 100_000, () => isCut);
      if (!isCut) engines.power(0);
      machine.disk.faults.trap = null;
      engines.restart(0);
      fates.add(engines.replica(0, GROUP) === null ? "again" : "done");
      engines.found(GROUP, [0]);
      t.equal(engines.replica(0, GROUP)?.replica, 1, `cut at operation ${left}`);

      // What it promised from here on it may have promised to somebody: its log is lost, and the id is used up.
      engines.kill(0);
      engines.damageLog(0);
      engines.restart(0);
      t.equal(engines.replica(0, GROUP), null, "its log is damaged");
      engines.order(0, GROUP, [0]);
      engines.run(500);
      t.equal(engines.replica(0, GROUP), null, `it is not born again after operation ${left}`);
    }
    t.same([...fates].sort(), ["again", "done"]);
  },
);

t.test("A12: a founder that was found in the log is noted before it serves", async (t) => {
  const engines = Engines.started(2);
  engines.order(0, GROUP, [0]);
  engines.until("its bootstrap lasts", () => {
    const { wal, home } = engines.engine(0);
    return (
      home.isBusy && wal !== null && wal.endLsn > 0 && wal.syncedLsn === wal.endLsn && wal.stats.records > 0
    );
  });
  engines.kill(0); // it is in the log, and not in node.json
  engines.restart(0);
  t.equal(engines.replica(0, GROUP)?.replica, 1, "found done");
  engines.kill(0);
  engines.damageLog(0);
  engines.restart(0);
  engines.order(0, GROUP, [0]);
  engines.run(500);
  t.equal(engines.replica(0, GROUP), null);
  t.equal(engines.seat(0, GROUP)?.usedUp, 1);
});

t.test("D2: a damaged log of several groups: each comes back under its new id, none as itself", async (t) => {
  const engines = Engines.started(3);
  const groups = [71, 72, 73, 74];
  for (const group of groups) engines.found(group, [0, 1, 2]);
  engines.run(1000);
  engines.kill(0);
  engines.damageLog(0);
  engines.restart(0);
  t.same(
    groups.map((group) => engines.replica(0, group)),
    [null, null, null, null],
  );
  const isBack = (group: number): boolean => (engines.replica(0, group)?.replica ?? 0) > 3;
  engines.until("the first is back", () => groups.some(isBack));
  engines.power(0); // the others' orders are lost
  engines.restart(0);
  for (const group of groups) t.not(engines.replica(0, group)?.replica, 1, `group ${group}`);
  engines.until("all are back", () => groups.every(isBack), 30_000);
  engines.until("and vote", () =>
    groups.every((group) => {
      const config = engines.leaderOf(group)?.core.config;
      return config?.voters.some(({ replica }) => replica > 3) === true && config.outgoing.length === 0;
    }),
  );
});

t.test("D9: one group's damaged snapshot keeps that group back, and no other", async (t) => {
  const engines = Engines.started(3);
  const groups = [71, 72, 73];
  for (const group of groups) engines.found(group, [0, 1, 2]);
  const damaged = engines.leaderOf(72);
  engines.run(1000);
  engines.until("a snapshot", () => {
    const replica = engines.replica(0, 72);
    replica?.snapshots.take();
    return (replica?.snapshots.latest?.index ?? 0) > 1;
  });
  t.ok(damaged);
  engines.run(200);
  engines.kill(0);
  const [file] = engines
    .at(0)
    .machine.disk.tree.files()
    .filter(({ path }) => path.includes("/72-"));
  file?.file.flipBit(30, 1);
  engines.restart(0);
  t.not(engines.replica(0, 72)?.replica, 1);
  t.same(
    [71, 73].map((group) => engines.replica(0, group)?.replica),
    [1, 1],
  );
  engines.until("a new one takes its place", () => (engines.replica(0, 72)?.replica ?? 0) > 3);
});

t.test("E7: a closed replica gets no more work, whatever it waited for comes", async (t) => {
  const engines = Engines.started(3);
  for (const group of [71, 72]) engines.found(group, [0, 1, 2]);
  engines.run(500);
  engines.kill(2);
  for (const _ of ["an entry that is on disks alone", "one in memory"]) {
    for (const i of [0, 1]) engines.kill(i);
    for (const i of [0, 1]) engines.restart(i);
    engines.until("it is led", () => engines.leaderOf(71) !== null);
  }
  const at = [0, 1].find((i) => engines.replica(i, 71)?.isLeader) ?? 0;
  const { wal } = engines.engine(at);
  let isReading = false;
  if (wal !== null) {
    const read = wal.readEntries.bind(wal);
    wal.readEntries = function* (...range) {
      const { core, store } = engines.replica(at, 71) ?? {};
      isReading ||= range[0] === 71 && core?.commitIndex === store?.appliedIndex;
      return yield* read(...range);
    };
  }
  engines.start(2);
  engines.until("the log is read for it", () => isReading);
  const group = engines.replica(at, 71);
  const { term = 0 } = group?.core ?? {};
  group?.step({ kind: "heartbeat", from: 3, to: at + 1, term: term + 5, commit: 0, round: 1, rest: 0 });
  engines.engine(at).close(71, at + 1);
  engines.run(1000);
  t.not(engines.replica(at, 71)?.replica, at + 1);
  t.equal(engines.replica(at, 72)?.replica, at + 1, "the node lives on");
});

t.test("E7: a group that was closed here and is given a place again has it under the new id", async (t) => {
  const engines = Engines.started(3);
  for (const group of [71, 72]) engines.found(group, [0, 1, 2]);
  engines.kill(0);
  engines.restart(0);
  for (const before of [1, 4, 5]) {
    engines.until(`replica ${before} votes`, () => {
      const config = engines.leaderOf(71)?.core.config;
      const votes = config?.voters.some(({ replica }) => replica === before) === true;
      return votes && config?.outgoing.length === 0 && engines.replica(0, 71)?.replica === before;
    });
    engines.engine(0).close(71, before);
    engines.until("another one", () => (engines.replica(0, 71)?.replica ?? 0) > before, 30_000);
  }
  engines.kill(0);
  engines.restart(0);
  t.ok((engines.replica(0, 71)?.replica ?? 0) >= 6);
  t.equal(engines.replica(0, 72)?.replica, 1);
});

t.test("what a node says that it holds never has a replica that is only on its way", async (t) => {
  const engines = Engines.started(3);
  engines.found(71, [0, 1, 2]);
  const said = new Set<string>();
  const listen = (): boolean => {
    const seat = engines.seat(0, 72);
    for (const { replica, quarantined } of seat?.held() ?? []) said.add(`${replica} ${quarantined}`);
    return seat?.hosted != null;
  };
  engines.order(0, 72, [0, 1, 2]);
  engines.until("it is there", listen);
  t.same([...said], ["1 false"]);
  engines.engine(0).close(72, 1);
  const engine = engines.engine(0);
  engine.create("n2", engine.home.identity.incarnation, { group: 72, replica: 9, bootstrap: null });
  engines.until("the next one is there", listen);
  t.same([...said], ["1 false", "1 true", "9 false"]);
});

t.test("what a node holds reaches others that it was just greeting", async (t) => {
  for (let us = 0; us < 2400; us += 160) {
    const engines = Engines.started(2, 5);
    engines.addresses = [];
    const nodes = engines.all.map(({ id }) => ({ id, host: id, port: 7000 }));
    for (const i of [0, 1]) engines.engine(i).setNodes([]); // nobody knows anybody
    engines.run(100);
    engines.order(0, GROUP, [0]);
    engines.world.run(engines.world.nowUs + us);
    for (const i of [1, 0]) engines.engine(i).setNodes(nodes);
    engines.until("it is there", () => engines.replica(0, GROUP) !== null);
    engines.run(1000);
    const holding = engines.engine(1).peers.holdings(GROUP).get("n1");
    t.equal(holding?.replica, 1, `met after ${us} us`);
  }
});

t.test("commands on their way to a node that moves to another address are told so", async (t) => {
  const engines = Engines.started(3);
  engines.found(71, [0, 1, 2]);
  const lost: string[] = [];
  engines.engine(1).routing.onForwardDown = (node) => void lost.push(node);
  engines
    .engine(1)
    .setNodes(engines.addresses.map((one) => (one.id === "n1" ? { ...one, port: 7009 } : one)));
  t.same(lost, ["n1"]);
  engines.engine(1).setNodes(engines.addresses);
  engines.until("they meet again", () => engines.engine(1).peers.canForward("n1"));
});

t.test("D6: a founder's order on a full disk waits for space, and others are served", async (t) => {
  const engines = Engines.started(2);
  engines.found(71, [0]);
  const { disk } = engines.at(0).machine;
  disk.faults.occupiedBytes = disk.knobs.capacityBytes;
  for (let i = 0; i < 5; i++) {
    engines.order(0, 72, [0]);
    engines.run(100);
  }
  t.equal(engines.replica(0, 72), null);
  t.equal(engines.replica(0, 71)?.isLeader, true);
  disk.faults.occupiedBytes = 0;
  engines.found(72, [0]);
  t.equal(engines.replica(0, 72)?.replica, 1);
});

t.test("A12, D6: a birth that a full disk broke off is closed by the next order, with its log", async (t) => {
  const engines = Engines.started(2);
  const { disk } = engines.at(0).machine;
  disk.faults.occupiedBytes = disk.knobs.capacityBytes;
  engines.order(0, GROUP, [0]); // into the log, which has its room; its id is not noted
  engines.run(100);
  disk.faults.occupiedBytes = 0;
  const engine = engines.engine(0);
  engine.create("a test", engine.home.identity.incarnation, { group: GROUP, replica: 5, bootstrap: null });
  engines.run(500);
  t.equal(engines.replica(0, GROUP)?.replica, 5);
  engines.power(0);
  engines.restart(0);
  t.equal(engines.replica(0, GROUP)?.replica, 5);
});

t.test("A12, D6: who was met while the disk was full is listened to when it is not", async (t) => {
  const engines = new Engines(2);
  const nodes = engines.addresses;
  engines.addresses = [];
  for (const i of [0, 1]) engines.restart(i);
  engines.found(71, [0]);
  const { disk } = engines.at(1).machine;
  disk.faults.occupiedBytes = disk.knobs.capacityBytes;
  for (const i of [0, 1]) engines.engine(i).setNodes(nodes);
  engines.run(2000);
  t.equal(engines.engine(1).peers.nodeOf(71, 1), null, "not believed before it lasts");
  disk.faults.occupiedBytes = 0;
  engines.run(2000);
  t.equal(engines.engine(1).peers.nodeOf(71, 1), "n1");
});

t.test("a node that stops does not begin what it was ordered and has not begun", async (t) => {
  const engines = Engines.started(2);
  engines.found(71, [0]);
  for (let group = 100; group < 200; group++) engines.order(0, group, [0]);
  const engine = engines.engine(0);
  let stopped = false;
  engine.stop(() => {
    stopped = true;
  });
  engines.until("it stopped", () => stopped, 200);
  t.ok(engine.home.identity.replicas.size <= 2, "the one that was under way, and no other");
  engines.kill(0);
  engines.restart(0);
  t.equal(engines.replica(0, 71)?.replica, 1);
});

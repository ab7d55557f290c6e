/** Many groups on each node: their births, broken off at any step, what is told of them meanwhile, and their ends. */
import t from "tap";
import { Engines } from "./engines.ts";

t.test("64 groups are ordered at once: each begins with its founders, and stays with them", async (t) => {
  const engines = Engines.started(3);
  const groups = Array.from({ length: 64 }, (_, i) => 1000 + i);
  for (const group of groups) for (const i of [0, 1, 2]) engines.order(i, group, [0, 1, 2]);
  engines.until("all are led", () => groups.every((group) => engines.leaderOf(group) !== null), 60_000);
  engines.run(4000); // no leader is young any more
  const configs = groups.map((group) => engines.leaderOf(group)?.core.config);
  t.ok(configs.every((config) => config?.version === 1 && config.learners.length === 0));
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
  group?.step({ kind: "heartbeat", from: 3, to: at + 1, term: term + 5, commit: 0, round: 1 });
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


/** Groups that nobody uses rest (raft/rest.ts): what their nodes do meanwhile, and what wakes them. */
import t from "tap";
import { Bundle } from "../../src/server/bundle.ts";
import type { GroupReplica } from "../../src/server/group.ts";
import type { Seat } from "../../src/server/seat.ts";
import { timingOf } from "../../src/server/timing.ts";
import { Cluster } from "./cluster.ts";
import { Engines } from "./engines.ts";

const MS = 1000;
const GROUPS = Array.from({ length: 24 }, (_, i) => 900 + i);
const ALL = [0, 1, 2];

/** Three nodes with groups at rest. Leaders are where elections put them. */
function resting(seed: number): Engines {
  const engines = Engines.started(3, seed);
  for (const group of GROUPS) engines.found(group, ALL);
  untilAtRest(engines, ALL);
  return engines;
}

function untilAtRest(engines: Engines, nodes: readonly number[]): void {
  engines.until("all rest", () => nodes.every((i) => engines.engine(i).roster.awake === 0), 60_000);
}

function replicas(engines: Engines, nodes: readonly number[]): GroupReplica[] {
  return nodes.flatMap((i) => GROUPS.flatMap((group) => engines.replica(i, group) ?? []));
}

function leaderAt(engines: Engines, group: number, nodes: readonly number[]): number {
  return nodes.find((i) => engines.replica(i, group)?.core.committedInTerm === true) ?? -1;
}

t.test(
  "C2: groups at rest send nothing, and a read or a write there takes no longer than ever",
  async (t) => {
    const engines = resting(1);
    const terms = replicas(engines, ALL).map(({ core }) => core.term);
    engines.run(60_000);
    t.same(
      replicas(engines, ALL).map(({ core }) => core.term),
      terms,
      "no elections in a minute",
    );
    t.ok(
      replicas(engines, ALL).every(({ core }) => core.atRest),
      "all of them rest",
    );
    const group = GROUPS[3] as number;
    const at = leaderAt(engines, group, ALL);
    const leader = engines.replica(at, group) as GroupReplica;
    const { nowUs } = engines.world;
    const { commitIndex } = leader.core;
    t.ok(leader.propose(new Bundle()));
    engines.engine(at).wake();
    engines.until("it is committed", () => leader.core.commitIndex > commitIndex, 40);
    t.ok(engines.world.nowUs - nowUs < 40 * MS);
    engines.run(100);
    t.equal(engines.engine(at).roster.awake, 1, "nobody else was roused");
    untilAtRest(engines, ALL);
  },
);

t.test(
  "A9: a node that dies at rest is missed as soon as one that beats: its groups have leaders in time",
  async () => {
    for (const seed of [1, 2, 3]) {
      const engines = resting(seed);
      const dead = leaderAt(engines, GROUPS[0] as number, ALL);
      const orphans = GROUPS.filter((group) => leaderAt(engines, group, ALL) === dead);
      const living = ALL.filter((i) => i !== dead);
      engines.kill(dead);
      // The longest time-out is 600 ms; two may stand at once, and then there is another one.
      engines.until(
        "all are led",
        () => orphans.every((group) => leaderAt(engines, group, living) >= 0),
        2500,
      );
      untilAtRest(engines, living); // without the dead one, too
      engines.restart(dead);
      engines.until(
        "it is back",
        () => GROUPS.every((group) => engines.replica(dead, group)?.core.leader !== 0),
        5000,
      );
      untilAtRest(engines, ALL);
    }
  },
);

t.test(
  "H3, H4: a machine that stands still while all rests, and goes on, believes nothing of before",
  async (t) => {
    for (const seed of [4, 5, 6]) {
      const engines = resting(seed);
      const paused = leaderAt(engines, GROUPS[0] as number, ALL);
      const terms = new Map(GROUPS.map((group) => [group, engines.leaderOf(group)?.core.term ?? 0]));
      engines.at(paused).machine.pause(1500 * MS);
      engines.run(1400);
      const others = ALL.filter((i) => i !== paused);
      t.ok(
        GROUPS.every((group) => leaderAt(engines, group, others) >= 0),
        "the others lead",
      );
      engines.run(1000);
      for (const group of GROUPS) {
        const leaders = ALL.filter((i) => engines.replica(i, group)?.isLeader === true);
        t.equal(leaders.length, 1, `one leader of ${group}`);
        const wasThere = (terms.get(group) ?? 0) === engines.leaderOf(group)?.core.term;
        if (wasThere) t.not(leaders[0], paused, "who slept leads no more in the old term");
      }
      untilAtRest(engines, ALL);
    }
  },
);

t.test(
  "A6, A9: a link that is cut one way, or both, while all rests: terms do not run away, and each group is led",
  async (t) => {
    for (const ways of [
      [[0, 1]],
      [
        [0, 1],
        [1, 0],
      ],
    ] as const) {
      const engines = resting(7);
      for (const [from, to] of ways) engines.net.setCut(from + 1, to + 1, true);
      engines.run(10_000);
      for (const group of GROUPS) t.not(leaderAt(engines, group, ALL), -1, `${group} is led`);
      const terms = GROUPS.map((group) => engines.leaderOf(group)?.core.term ?? 0);
      engines.run(10_000);
      t.same(
        GROUPS.map((group) => engines.leaderOf(group)?.core.term ?? 0),
        terms,
        "and stays so",
      );
      engines.net.healAll();
      untilAtRest(engines, ALL);
    }
  },
);

t.test(
  "A9: a connection for forwarded commands or snapshots that comes or goes rouses nobody, one that carries pulses those that rest by it",
  async (t) => {
    const engines = Engines.started(4, 9);
    const all = [...ALL, 3];
    const near = GROUPS.slice(0, 12);
    const far = GROUPS.slice(12);
    for (const group of near) engines.found(group, [0, 1, 2]);
    for (const group of far) engines.found(group, [1, 2, 3]);
    untilAtRest(engines, all);
    const resting = (groups: readonly number[]): number =>
      groups.filter((group) => all.every((i) => engines.replica(i, group)?.core.atRest !== false)).length;
    for (const kind of ["forward", "bulk"] as const) {
      engines.cut(0, 1, kind);
      let awake = 0;
      for (let ms = 0; ms < 1000; ms += 10) {
        engines.run(10);
        awake += all.reduce((sum, i) => sum + engines.engine(i).roster.awake, 0);
      }
      t.ok(engines.engine(0).peers.canForward("n2"), "there is another one by now");
      t.equal(awake, 0, `${kind}: nobody was ticked`);
    }
    const theirs = near.filter((group) => leaderAt(engines, group, [0, 1]) >= 0);
    const others = near.filter((group) => !theirs.includes(group));
    t.ok(theirs.length > 0 && others.length > 0);
    engines.cut(0, 1, "control");
    engines.run(20);
    t.equal(resting(theirs), 0, "a leader and a follower no longer share a rest");
    t.equal(resting(others), others.length, "two followers never did");
    t.equal(resting(far), far.length, "nor did groups that are on one of them only");
    untilAtRest(engines, all);
  },
);

t.test(
  "A9: a leader is missed also where a replica that rests has work of its own for its node",
  async () => {
    const engines = resting(8);
    const group = GROUPS[0] as number;
    const dead = leaderAt(engines, group, ALL);
    const living = ALL.filter((i) => i !== dead);
    for (const i of living) {
      const replica = engines.replica(i, group) as GroupReplica;
      replica.store.tidy = () => true; // as long as millions of keys that FLUSHALL left are given back
      engines.engine(i).roster.wake(engines.seat(i, group) as Seat);
    }
    engines.run(100);
    engines.kill(dead);
    engines.until("it is led", () => leaderAt(engines, group, living) >= 0, 2500);
  },
);

t.test(
  "A9, D6: a follower that lacks what its full disk has no room for does not rest: it has a vote to give",
  async (t) => {
    const cluster = Cluster.started();
    const leader = cluster.leader();
    const full = cluster.follower();
    const other = [0, 1, 2].find((i) => i !== leader && i !== full) as number;
    const { disk } = cluster.node(full).machine;
    disk.faults.occupiedBytes = disk.knobs.capacityBytes;
    for (let i = 0; i < 100; i++) cluster.call(leader, "SET", `k${i}`, "v".repeat(100_000));
    cluster.run(10_000);
    const { core } = cluster.node(full).group;
    t.ok(core.lastIndex < cluster.node(leader).group.core.lastIndex, "it lacks something");
    t.notOk(core.atRest);
    cluster.kill(leader);
    cluster.until("it is led", () => cluster.node(other).isLeader, 3000);
  },
);

t.test("who was heard last is known of groups at rest as well: what status pages show goes on", async (t) => {
  const engines = resting(10);
  const group = GROUPS[0] as number;
  const { electionTicks } = timingOf(300);
  engines.run(20_000);
  for (const { core } of replicas(engines, ALL)) {
    t.ok(core.atRest);
    t.ok(core.leaderSilenceTicks < electionTicks, `${core.leaderSilenceTicks} ticks`);
    for (const { lastContactTicks } of core.progress.values()) t.ok(lastContactTicks < electionTicks);
  }
  const dead = ALL.find((i) => i !== leaderAt(engines, group, ALL)) as number;
  const living = ALL.filter((i) => i !== dead);
  engines.kill(dead);
  engines.run(100);
  untilAtRest(engines, living);
  engines.run(20_000);
  const { core } = engines.leaderOf(group) as GroupReplica;
  t.ok(core.atRest);
  for (const [replica, { lastContactTicks }] of core.progress)
    t.equal(lastContactTicks > 2000, replica === dead + 1, `${replica}: ${lastContactTicks} ticks`);
});

t.test("keys of a group at rest expire in time", async (t) => {
  const cluster = Cluster.started();
  const { store } = cluster.node(cluster.leader()).group;
  for (let ms = 1500; ms < 12_000; ms += 700) {
    cluster.call(cluster.leader(), "SET", "k", "v", "PX", String(ms));
    t.equal(store.keyCount, 1);
    cluster.run(ms + 200);
    t.equal(store.keyCount, 0, `after ${ms} ms`);
  }
});

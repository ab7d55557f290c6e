/** What a node that lost its replica, and those who give it a new one, must survive: crashes, leaders that change. */
import t from "tap";
import { type Task, wait } from "../../src/base/task.ts";
import { readFile, replaceFile } from "../../src/platform/files.ts";
import type { Disk, DiskFile } from "../../src/platform/platform.ts";
import type { Message } from "../../src/raft/types.ts";
import { nextOrders } from "../../src/server/replacement.ts";
import { Cluster } from "./cluster.ts";
import { MembershipSoak } from "./membership_soak.ts";

const SOAK_SEEDS = [1, 2, 3, 4, 5, 6];
const SOAK_STEPS = 25;

function wipeAndStart(cluster: Cluster, i: number): void {
  cluster.kill(i);
  cluster.wipe(i);
  cluster.start(i);
}

/** "node:replica .. | learners", as the leader has it. */
function membersOf(cluster: Cluster): string {
  const leader = cluster.nodes.find(({ server }) => server?.groups[0]?.core.committedInTerm === true);
  if (leader === undefined) return "nobody leads";
  const { voters, outgoing, learners } = leader.group.core.config;
  if (outgoing.length > 0) return "joint";
  return [voters, learners].map((list) => list.map((m) => `${m.node}:${m.replica}`).join(" ")).join("|");
}

function untilMembers(cluster: Cluster, members: RegExp, ms = 15_000): void {
  try {
    cluster.until(`members ${members.source}`, () => members.test(membersOf(cluster)), ms);
  } catch (error) {
    throw new Error(`they are ${membersOf(cluster)}`, { cause: error });
  }
}

/** n1 leads, n3 was emptied and holds replica 4, which the leader knows to have everything, and did not promote yet. */
function withLearner(): Cluster {
  const cluster = Cluster.started();
  cluster.makeLeader(0);
  for (let i = 0; i < 200; i++) cluster.call(0, "SET", `k${i}`, "v");
  wipeAndStart(cluster, 2);
  cluster.until("it learned", () => (cluster.node(0).group.core.progress.get(4)?.match ?? 0) > 200);
  cluster.kill(2);
  if (membersOf(cluster) !== "n1:1 n2:2 n3:3|n3:4") throw new Error(membersOf(cluster));
  return cluster;
}

function* removeLog(disk: Disk, dir: string): Task<void> {
  for (const name of yield* wait<string[]>((done) => disk.list(dir, done)))
    yield* wait<void>((done) => disk.unlink(`${dir}/${name}`, done));
}

/** Turns the bytes of the first record of a replica that was made by an order. */
function* damageBirth(disk: Disk, dir: string): Task<void> {
  const [name] = (yield* wait<string[]>((done) => disk.list(dir, done))).filter((one) =>
    one.startsWith("log-"),
  );
  const file = yield* wait<DiskFile>((done) => disk.open(`${dir}/${name}`, "update", done));
  const bytes = new Uint8Array(64 * 1024);
  yield* wait<number>((done) => file.pread(bytes, 0, done));
  const at = 8192 + bytes.subarray(8192).findIndex((byte) => byte !== 0); // behind the mark of the idle log
  yield* wait<number>((done) => file.pwrite(new Uint8Array(80).fill(255), at + 80, done));
  yield* wait<void>((done) => file.datasync(done));
  yield* wait<void>((done) => file.close(done));
}

for (const [what, damage] of [
  ["deleted", removeLog],
  ["damaged", damageBirth],
] as const) {
  t.test(
    `A12, D2: a learner whose log is ${what} never goes on under its id, and the node gets the next`,
    (t) => {
      const cluster = withLearner();
      cluster.onDisk(2, (disk) => damage(disk, "/n3/wal"));
      cluster.start(2);
      untilMembers(cluster, /^n1:1 n2:2 n3:5\|$/);
      cluster.until(
        "it has everything",
        () =>
          cluster.node(2).server?.groups[0]?.store.appliedIndex === cluster.node(0).group.core.commitIndex,
      );
      t.equal(cluster.call(2, "GET", "k7"), "v");
      t.end();
    },
  );
}

t.test("A12: an order of an id that the node used is refused, though its log is gone", (t) => {
  const cluster = Cluster.started();
  cluster.makeLeader(0);
  cluster.kill(2);
  cluster.onDisk(2, (disk) => removeLog(disk, "/n3/wal"));
  const { group } = cluster.layout;
  let incarnation = "";
  cluster.onDisk(2, function* (disk) {
    incarnation = String(
      JSON.parse(Buffer.from(yield* readFile(disk, "/n3/node.json", 4096)).toString()).incarnation,
    );
  });
  cluster.isolate(2);
  cluster.start(2);
  cluster.until("it is up", () => cluster.node(2).started);
  // What a leader of the past would order, for whom replica 3 is still a learner.
  cluster.isolate(2, false);
  cluster.until("a connection", () => cluster.node(1).server?.peers.holdings(group).get("n3") !== undefined);
  const create = { group, replica: 3, incarnation, bootstrap: null };
  cluster.node(1).server?.peers.sendNote("n3", { kind: "create", create });
  cluster.node(1).server?.engine.wake();
  untilMembers(cluster, /^n1:1 n2:2 n3:4\|$/);
  t.end();
});

t.test(
  "A12: an id is used by one directory only, also if the leader changes before the node takes it",
  (t) => {
    const cluster = Cluster.started();
    cluster.makeLeader(0);
    cluster.kill(2);
    cluster.wipe(2);
    // n1 adds a learner and promises its id to the directory, whose orders do not come through.
    cluster.start(2);
    cluster.until("a learner", () => membersOf(cluster) === "n1:1 n2:2 n3:3|n3:4");
    cluster.kill(2);
    cluster.makeLeader(1);
    wipeAndStart(cluster, 2);
    untilMembers(cluster, /^n1:1 n2:2 n3:5\|$/);
    // n1 believes it too: it is needed, with n2 down.
    cluster.run(500);
    cluster.kill(1);
    t.equal(cluster.call(2, "SET", "needed", "1"), "OK");
    t.end();
  },
);

t.test("A12: a log of a replica that was given up since is not served from", (t) => {
  const cluster = Cluster.started();
  cluster.makeLeader(0);
  wipeAndStart(cluster, 1);
  untilMembers(cluster, /^n1:1 n2:4 n3:3\|$|^n1:1 n3:3 n2:4\|$/);
  cluster.kill(2);
  cluster.onDisk(2, function* (disk) {
    const identity = JSON.parse(
      Buffer.from(yield* readFile(disk, "/n3/node.json", 4096)).toString(),
    ) as object;
    const text = JSON.stringify({ ...identity, replicas: { [cluster.layout.group]: 4 } });
    yield* replaceFile(disk, "/n3", "node.json", Buffer.from(text));
  });
  cluster.start(2);
  cluster.until("it waits", () => /given up/.test(cluster.node(2).server?.waitsBecause ?? ""));
  untilMembers(cluster, /n3:5\|$/);
  t.end();
});

t.test("A12: a stale connection of the old directory does not vouch for a new one born by hand", (t) => {
  for (let seed = 1; seed <= 3; seed++) {
    const cluster = Cluster.started({ seed });
    cluster.makeLeader(0);
    cluster.run(97 * seed);
    cluster.power(2); // nobody is told: connections look up for a while
    cluster.wipe(2);
    cluster.start(2, true);
    const heard: string[] = [];
    for (const i of [0, 1]) {
      const { group } = cluster.node(i);
      const step = group.step.bind(group);
      group.step = (message: Message) => {
        if (message.from === 3) heard.push(message.kind);
        step(message);
      };
    }
    cluster.run(700);
    t.same(heard, [], `seed ${seed}`);
  }
  t.end();
});

t.test("five nodes, two lost: one that does not catch up does not hold up the other", (t) => {
  const cluster = Cluster.started({ nodes: 5 });
  cluster.makeLeader(0);
  for (let i = 0; i < 20; i++) cluster.call(0, "SET", `k${i}`, "v");
  for (const i of [3, 4]) cluster.kill(i);
  for (const i of [3, 4]) cluster.wipe(i);
  // n4 takes its order and then nothing: what it is sent does not come through, what it says does.
  cluster.start(3);
  cluster.until("a learner on n4", () => cluster.node(3).server?.groups[0]?.replica === 6);
  cluster.node(3).group.step = () => {};
  cluster.start(4);
  untilMembers(cluster, /^n1:1 n2:2 n3:3 n4:4 n5:7\|n4:6$/);
  t.end();
});

t.test("a learner whose node is gone for good, and for whom nobody waits, is removed", (t) => {
  const config = {
    version: 9,
    voters: [
      { replica: 1, node: "n1" },
      { replica: 2, node: "n2" },
      { replica: 5, node: "n4" },
    ],
    outgoing: [],
    learners: [{ replica: 4, node: "n3" }],
    nextReplica: 6,
  };
  const on = (replica: number) => ({
    incarnation: "a",
    replica,
    quarantined: false,
    standing: "sound" as const,
  });
  const now = {
    self: 1,
    config,
    wishes: new Map<string, string>(),
    wanted: null,
    isYoung: false,
    standing: () => "sound" as const,
  };
  const holdings = new Map([
    ["n2", on(2)],
    ["n4", on(5)],
  ]);
  t.same(nextOrders({ ...now, holdings }).changes, [{ version: 9, remove: [4] }]);
  t.same(
    nextOrders({ ...now, holdings, wishes: new Map([["n3", "n2"]]) }).changes,
    [],
    "it is to replace n2",
  );
  const voters = [...config.voters.slice(0, 2), { replica: 3, node: "n3" }];
  const three = { ...config, voters };
  t.same(nextOrders({ ...now, holdings, config: three }).changes, [], "it may come back");
  holdings.set("n3", on(3));
  const { changes, creates } = nextOrders({ ...now, holdings, config: three });
  t.same(
    [changes, creates],
    [[{ version: 9, remove: [4] }], []],
    "with what was lost: a sound voter is not given up",
  );
  t.end();
});

t.test("A12, D7: a kill or a power failure at any step of taking a replica uses no id twice", (t) => {
  const cluster = Cluster.started();
  cluster.makeLeader(0);
  for (let i = 0; i < 20; i++) cluster.call(0, "SET", `k${i}`, "v");
  const owners = new Map<number, number>();
  let sprung = 0;
  for (let left = 1; left <= 61; left += 3) {
    cluster.kill(2);
    cluster.wipe(2);
    const { faults } = cluster.node(2).machine.disk;
    const how = left % 2 === 1 ? "power" : "kill";
    let isSprung = false;
    faults.trap = {
      left,
      spring: () => {
        cluster[how](2);
        isSprung = true;
      },
    };
    cluster.start(2);
    const isReplaced = (): boolean => {
      const replica = cluster.node(2).server?.groups[0]?.replica;
      if (replica === undefined) return false;
      if ((owners.get(replica) ?? left) !== left) throw new Error(`replica ${replica} is of two directories`);
      owners.set(replica, left);
      return membersOf(cluster).endsWith(`n3:${replica}|`);
    };
    cluster.until("a crash, or a replica", () => isSprung || isReplaced());
    faults.trap = null;
    if (isSprung) {
      sprung++;
      cluster.run(20);
      cluster.start(2);
    }
    cluster.until(`a replica, after operation ${left}`, isReplaced, 30_000);
  }
  t.ok(sprung >= 12, `${sprung} crashes`);
  t.end();
});

t.test("peers.json and the config do not grow with a node that is emptied again and again", (t) => {
  const cluster = Cluster.started();
  cluster.makeLeader(0);
  for (let i = 0; i < 12; i++) {
    wipeAndStart(cluster, 2);
    cluster.until("a new replica", () => cluster.node(2).server?.groups[0] !== undefined);
    untilMembers(cluster, new RegExp(`n3:${cluster.node(2).group.replica}\\|$`));
  }
  cluster.run(500);
  for (const i of [0, 1, 2]) cluster.kill(i);
  for (const i of [0, 1]) {
    cluster.onDisk(i, function* (disk) {
      const text = Buffer.from(yield* readFile(disk, `/n${i + 1}/peers.json`, 4096)).toString();
      t.ok(Object.keys(JSON.parse(text)).length <= 5, `n${i + 1}: ${text}`);
    });
  }
  t.end();
});

t.test("a node that is told to stop while it takes a replica stops, and has it afterwards", (t) => {
  let joining = 0;
  for (let seed = 1; seed <= 8; seed++) {
    const cluster = Cluster.started({ seed });
    cluster.makeLeader(0);
    cluster.kill(2);
    cluster.wipe(2);
    cluster.start(2);
    cluster.until("a learner", () => membersOf(cluster).endsWith("|n3:4"));
    cluster.world.run(cluster.world.nowUs + 100_000 + 2500 * seed);
    const { server } = cluster.node(2);
    if (server?.groups.length === 0) joining++;
    let isStopped = false;
    server?.stop((error) => {
      t.equal(error, null);
      isStopped = true;
    });
    cluster.until("it stops", () => isStopped, 5000);
    cluster.kill(2);
    cluster.start(2);
    untilMembers(cluster, /^n1:1 n2:2 n3:[45]\|$/);
  }
  t.ok(joining > 0);
  t.end();
});

t.test(
  "D6: on a full disk a node with a damaged log waits, leaves nothing behind, and goes on when there is room",
  (t) => {
    const cluster = Cluster.started();
    cluster.makeLeader(0);
    for (let i = 0; i < 20; i++) cluster.call(0, "SET", `k${i}`, "v");
    cluster.run(200);
    cluster.kill(2);
    cluster.onDisk(2, (disk) => damageBirth(disk, "/n3/wal"));
    const { disk } = cluster.node(2).machine;
    disk.faults.occupiedBytes = disk.knobs.capacityBytes;
    cluster.start(2);
    cluster.run(10_000);
    const names = disk.tree.durableFiles().map(({ path }) => path);
    t.same(
      names.filter((path) => /damaged-/.test(path)),
      [],
    );
    t.match(cluster.node(2).server?.waitsBecause, /offset/);
    disk.faults.occupiedBytes = 0;
    untilMembers(cluster, /^n1:1 n2:2 n3:[4-9]\|$/);
    t.end();
  },
);

t.test("A12, E1-E7, H1: clusters that lose disks, power and members keep what they acknowledged", (t) => {
  const total: Record<string, number> = {};
  for (const seed of SOAK_SEEDS) {
    const soak = new MembershipSoak(seed);
    try {
      soak.run(SOAK_STEPS);
    } catch (error) {
      t.error(error, `new MembershipSoak(${seed}).run(${SOAK_STEPS})`);
    }
    for (const [what, count] of Object.entries(soak.counts)) total[what] = (total[what] ?? 0) + count;
  }
  for (const [what, least] of [
    ["acknowledged", 500],
    ["wiped", 10],
    ["log lost", 5],
    ["kill", 5],
    ["power", 5],
    ["paused", 5],
    ["snapshot", 10],
    ["cut off", 5],
    ["replace asked", 2],
  ] as const)
    t.ok((total[what] ?? 0) >= least, `${what}: ${total[what]}`);
  t.end();
});

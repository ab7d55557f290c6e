/** Replicas whose state differs: who is right, who gives way, and when nobody can tell. */
import t from "tap";
import type { GroupConfig, Index } from "../../src/raft/types.ts";
import { StateHashes } from "../../src/server/state_hashes.ts";
import { Cluster } from "./cluster.ts";

const voters = (...replicas: number[]): GroupConfig => ({
  version: 1,
  voters: replicas.map((replica) => ({ replica, node: `n${replica}` })),
  outgoing: [],
  learners: [],
  nextReplica: 9,
});

/** What replica 1 concludes. */
class Judge {
  config: GroupConfig | null;
  readonly verdicts: string[] = [];
  readonly hashes: StateHashes;

  constructor(config: GroupConfig | null) {
    this.config = config;
    this.hashes = new StateHashes(1, {
      config: () => this.config,
      tell: (index, hash) => void this.verdicts.push(`tell ${index} ${hash}`),
      onDiverged: (index) => void this.verdicts.push(`diverged at ${index}`),
      onUndecidable: (index) => void this.verdicts.push(`undecidable at ${index}`),
    });
  }

  own(index: Index, hash: string): void {
    this.hashes.applied(index, () => hash);
  }
}

t.test("G1: the hash that a majority of the voters share is right", (t) => {
  const judge = new Judge(voters(1, 2, 3));
  judge.own(127, "a");
  t.same(judge.verdicts, [], "only at fixed indexes");
  judge.own(128, "a");
  judge.hashes.hear(2, 128, "b");
  t.same(judge.verdicts.splice(0), ["tell 128 a"], "one against one: wait for the third");
  judge.hashes.hear(3, 128, "b");
  t.same(judge.verdicts.splice(0), ["diverged at 128"]);

  judge.hashes.hear(2, 256, "c");
  judge.hashes.hear(3, 256, "d");
  judge.own(256, "d");
  t.same(judge.verdicts.splice(0), ["tell 256 d"], "the other one is odd");

  judge.hashes.hear(2, 384, "e");
  judge.hashes.hear(3, 384, "f");
  judge.own(384, "g");
  t.same(judge.verdicts.splice(0), ["tell 384 g", "undecidable at 384"]);

  judge.config = null;
  judge.hashes.hear(2, 512, "e");
  judge.hashes.hear(3, 512, "e");
  judge.own(512, "g");
  t.same(judge.verdicts.splice(0), ["tell 512 g"], "not while the voters change");
  judge.config = voters(2, 3, 4);
  judge.hashes.hear(2, 640, "e");
  judge.hashes.hear(3, 640, "e");
  judge.own(640, "g");
  t.same(
    judge.verdicts.splice(0),
    ["tell 640 g", "diverged at 640"],
    "a learner too gives way to the voters",
  );
  t.end();
});

t.test("G1: what was heard is bounded: the oldest index goes", (t) => {
  const judge = new Judge(voters(1, 2, 3));
  for (let i = 1; i <= 20; i++) judge.hashes.hear(2, 128 * i, "x");
  judge.hashes.hear(3, 128, "x");
  judge.own(128, "y");
  t.same(judge.verdicts, ["tell 128 y"], "replica 2's word on it was forgotten");
  t.end();
});

/** From now on node `i` applies what is written to key "k" as if the value's last letter were another one. */
function breakApply(cluster: Cluster, i: number): void {
  const { store } = cluster.node(i).group;
  const apply = store.apply.bind(store);
  store.apply = (index, term, bytes, listener) => {
    const at = Buffer.from(bytes).indexOf("correct");
    const other = bytes.slice();
    if (at >= 0) other[at] = "C".charCodeAt(0);
    apply(index, term, other, listener);
  };
}

function write(cluster: Cluster, door: number, count: number): void {
  const client = cluster.client(door);
  for (let i = 0; i < count; i++) {
    client.send("SET", `k${i % 7}`, "correct");
    cluster.until("an answer", () => client.replies.length > i || client.closed);
  }
  client.close();
}

for (const who of ["follower", "leader"] as const) {
  t.test(`G1: a ${who} whose state differs closes its replica, and gets a new one`, (t) => {
    const cluster = Cluster.started();
    const odd = who === "leader" ? cluster.leader() : cluster.follower();
    breakApply(cluster, odd);
    const door = [0, 1, 2].find((i) => i !== odd) as number;
    write(cluster, door, 150);
    cluster.until("a new replica", () => cluster.node(odd).server?.groups[0]?.replica === 4);
    cluster.until("equal states", () => {
      const groups = cluster.nodes.map(({ group }) => group);
      return new Set(groups.map(({ store }) => `${store.appliedIndex} ${store.stateHash()}`)).size === 1;
    });
    t.equal(cluster.call(odd, "GET", "k3"), "correct");
    t.end();
  });
}

t.test("G1: when all three differ, they stop", (t) => {
  const cluster = Cluster.started();
  breakApply(cluster, 0);
  const { store } = cluster.node(1).group;
  const apply = store.apply.bind(store);
  store.apply = (index, term, bytes, listener) => {
    const other = bytes.slice();
    const at = Buffer.from(bytes).indexOf("correct");
    if (at >= 0) other[at] = "K".charCodeAt(0);
    apply(index, term, other, listener);
  };
  t.throws(() => write(cluster, cluster.leader(), 150), /none is a majority's/);
  t.end();
});

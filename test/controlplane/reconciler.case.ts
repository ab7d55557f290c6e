/** The reconciler against a model cluster: it leads to what is wished whatever goes wrong meanwhile, and then it rests. */
import t, { type Test } from "tap";
import xxhash from "xxhash-wasm";
import type { BodyOf } from "../../src/controlplane/commands.ts";
import type { View } from "../../src/controlplane/liveness.ts";
import { isAsWished } from "../../src/controlplane/membership.ts";
import { type PlanningTools, planFirst, planNext } from "../../src/controlplane/planner.ts";
import type { Addressed } from "../../src/controlplane/reconciler.ts";
import { heardOf, SETTINGS_DEFAULT } from "../../src/controlplane/state.ts";
import { compareVersions } from "../../src/wire/control_plane.ts";
import { id, imageOf, restoreInto } from "./driver.ts";
import { ModelCluster } from "./model_cluster.ts";

const { h64 } = await xxhash();
/** Worlds of the long test; SEEDS=100 by hand. */
const SEEDS = Number(process.env.SEEDS ?? 5);

function tools(cluster: ModelCluster): PlanningTools {
  let group = 1000 + cluster.state.version.index;
  return { state: cluster.state, view: cluster.view(), h64, newGroup: () => ++group };
}

function run(cluster: ModelCluster, steps: number): void {
  for (let i = 0; i < steps; i++) cluster.step();
}

/** What is not as wished yet; null if all is. */
function unrest(cluster: ModelCluster): string | null {
  const { state } = cluster;
  if (state.plan !== null) return `plan ${state.plan.number} is under way`;
  const view = cluster.view();
  for (const shard of state.shards.values()) {
    if (shard.state === "retiring") return `${shard.id} is not retired`;
    const lead = view.groups.get(shard.group)?.leader?.lead;
    if (lead === undefined) return `${shard.id} has no leader`;
    if (!isAsWished(lead, shard.replicas)) return `${shard.id} is not on ${shard.replicas.join()}`;
  }
  if (cluster.commands.length > 0) return `commands: ${cluster.commands.map(({ kind }) => kind).join()}`;
  if (cluster.orders.length > 0) return `orders: ${cluster.orders.map(({ order }) => order.kind).join()}`;
  return null;
}

function settles(t: Test, cluster: ModelCluster, what: string, stepsMax = 1500): void {
  let reason: string | null = "";
  for (let i = 0; i < stepsMax && reason !== null; i += 20) {
    run(cluster, 20);
    reason = unrest(cluster);
  }
  t.equal(reason, null, `${what}: all is as wished`);
}

/** Nothing is ordered any more, for long. */
function rests(t: Test, cluster: ModelCluster, what: string): void {
  const before = cluster.state;
  let orders = 0;
  cluster.onOrders = (all) => {
    orders += all.length;
  };
  run(cluster, 200);
  cluster.onOrders = () => {};
  t.equal(orders, 0, `${what}: no further orders`);
  t.equal(cluster.state, before, `${what}: no further commands`);
}

/** Every slot is with just one shard, as the assignment has it. */
function ownersAgree(t: Test, cluster: ModelCluster, what: string): void {
  const wrong: number[] = [];
  for (let slot = 0; slot < 16_384; slot += 7) {
    const owners = [...cluster.groups.values()]
      .filter((group) => group.slots.has(slot))
      .map(({ shard }) => shard);
    if (owners.length !== 1 || owners[0] !== cluster.state.assignment.shardAt(slot)) wrong.push(slot);
  }
  t.same(wrong, [], `${what}: one owner to each slot, and the index knows it`);
}

function begin(seed: number, nodes: number, shards: number, replicas = 3): ModelCluster {
  const cluster = new ModelCluster(seed, nodes);
  run(cluster, 8); // everybody is heard
  const names = Array.from({ length: shards }, (_, i) => ({ id: `s${i + 1}`, weight: 1, nodes: null }));
  const first = planFirst(tools(cluster), { replicas, vnodes: 64, shards: names });
  if (typeof first === "string") throw new Error(first);
  cluster.driver.run(first);
  return cluster;
}

function askPlan(cluster: ModelCluster, ids: readonly string[], manual = false): string {
  const shards = ids.map((id) => ({ id, weight: 1, nodes: null }));
  const planned = planNext(tools(cluster), {
    epoch: cluster.state.planNumber + 1,
    vnodes: null,
    shards,
    manual,
  });
  return typeof planned === "string" ? planned : cluster.driver.run(planned.plan);
}

t.test("a new cluster forms its groups and spreads their leaders, and rests", async (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    const cluster = begin(seed, 5, 10);
    settles(t, cluster, `seed ${seed}`);
    rests(t, cluster, `seed ${seed}`);
    ownersAgree(t, cluster, `seed ${seed}`);
    const leads = [...cluster.nodes.keys()].map(
      (node) => [...cluster.groups.values()].filter(({ leader }) => leader === node).length,
    );
    t.ok(Math.max(...leads) - Math.min(...leads) <= 2, `leaders ${leads.join()}`);
  }
});

/** By the test's own count of who was heard, no order would leave a group without a majority (pain 5, hazard E). */
function watchQuorum(t: Test, cluster: ModelCluster): () => number {
  let wants = 0;
  cluster.onOrders = (orders: readonly Addressed[], view: View) => {
    for (const { order } of orders) {
      if (order.kind !== "want") continue;
      wants++;
      const group = cluster.groups.get(order.group);
      const alive = (nodes: readonly string[]): number =>
        nodes.filter((node) => cluster.liveness.silentTicks(node, view.tick) < 350).length;
      if (2 * alive(order.voters) <= order.voters.length)
        t.fail(`${group?.shard}: too few of ${order.voters.join()}`);
      if (order.voters.length === 0) t.fail("nobody is left");
    }
  };
  return () => wants;
}

t.test(
  "E2, F3: nodes crash, are wiped, messages are lost, the control plane fails over: then all is as wished",
  async (t) => {
    let wants = 0;
    let moved = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const cluster = begin(seed, 6, 4);
      const count = watchQuorum(t, cluster);
      cluster.lossPercent = 20;
      cluster.delayMax = 6;
      run(cluster, 200);
      const { random } = cluster;
      for (let phase = 0; phase < 20; phase++) {
        disturb(cluster, phase);
        run(cluster, random.between(10, 60));
        for (let slot = 0; slot < 16_384; slot += 97) {
          const serving = [...cluster.groups.values()].filter((group) => group.serves(slot));
          if (serving.length > 1) t.fail(`seed ${seed}: slot ${slot} is served by ${serving.length}`);
        }
      }
      for (const node of cluster.nodes.values()) node.up = true;
      cluster.lossPercent = 5;
      settles(t, cluster, `seed ${seed}`, 6000);
      wants += count();
      cluster.lossPercent = 0;
      cluster.delayMax = 1;
      run(cluster, 40);
      rests(t, cluster, `seed ${seed}`);
      ownersAgree(t, cluster, `seed ${seed}`);
      moved += cluster.state.finished.length;
    }
    t.ok(wants > 20, `members were changed: ${wants}`);
    t.ok(moved > 20, "slots were moved");
  },
);

function disturb(cluster: ModelCluster, phase: number): void {
  const { random, state, driver } = cluster;
  const nodes = [...cluster.nodes.values()];
  const node = random.pick(nodes);
  const shard = random.pick([...state.shards.values()]);
  const down = nodes.filter(({ up }) => !up).length;
  switch (phase < 2 ? 11 : random.below(12)) {
    case 0:
    case 1:
      if (down < 2) node.up = false;
      break;
    case 2:
      for (const one of nodes) one.up = true;
      break;
    case 3:
      // One disk at a time, while the others are there: two at once may be a majority, which nothing can mend.
      if (down === 0 && state.shards.size === cluster.groups.size && cluster.isWhole) cluster.wipe(node.id);
      break;
    case 4:
      cluster.failOver();
      break;
    case 5: {
      const body: BodyOf<"desired"> = {
        kind: "desired",
        shard: shard.id,
        add: [node.id],
        remove: [],
        expected: null,
      };
      driver.run(body);
      break;
    }
    case 6:
    case 9:
      if (shard.replicas.length > 2)
        driver.run({
          kind: "desired",
          shard: shard.id,
          add: [],
          remove: [random.pick(shard.replicas)],
          expected: null,
        });
      break;
    case 7:
    case 10:
      driver.run({ kind: "node", node: node.id, action: random.chance(1, 2) ? "drain" : "undrain" });
      break;
    case 8:
      driver.run({ kind: "cancel", number: Math.max(1, state.planNumber) });
      break;
    default: {
      const ids = [...state.shards.values()].filter((one) => one.state === "active").map((one) => one.id);
      if (random.chance(1, 3) && ids.length > 2) askPlan(cluster, ids.slice(1));
      else askPlan(cluster, [...ids, `s${state.version.index + 50}`]);
    }
  }
}

t.test(
  "a node that stays dead is replaced, if that is wanted and most of the cluster is alive",
  async (t) => {
    const cluster = begin(21, 5, 6);
    settles(t, cluster, "at first");
    const dead = cluster.nodes.get("n1");
    if (dead === undefined) return;
    dead.up = false;
    run(cluster, 400);
    t.ok(
      [...cluster.state.shards.values()].some(({ replicas }) => replicas.includes("n1")),
      "not unless it is allowed",
    );
    cluster.driver.run({ kind: "settings", settings: { ...SETTINGS_DEFAULT, replaceDeadMs: 60_000 } });
    cluster.failOver();
    run(cluster, 200); // 5000 ticks: this leader has listened for 50 s
    t.ok(
      [...cluster.state.shards.values()].some(({ replicas }) => replicas.includes("n1")),
      "not before its time",
    );
    run(cluster, 100);
    settles(t, cluster, "replaced");
    t.notOk([...cluster.state.shards.values()].some(({ replicas }) => replicas.includes("n1")));
    dead.up = true;
    settles(t, cluster, "back again");
    rests(t, cluster, "back again");
    for (const name of ["n2", "n3", "n4"]) {
      const node = cluster.nodes.get(name);
      if (node !== undefined) node.up = false;
    }
    const before = cluster.state.shards;
    run(cluster, 1000);
    t.equal(cluster.state.shards, before, "when most are silent nobody is replaced");
  },
);

t.test(
  "a drained node gives everything away and leads nothing; its zone's fellows are avoided",
  async (t) => {
    const cluster = begin(22, 5, 6);
    settles(t, cluster, "at first");
    cluster.driver.run({ kind: "node", node: "n2", action: "drain" });
    settles(t, cluster, "drained");
    rests(t, cluster, "drained");
    t.equal(cluster.nodes.get("n2")?.held.size, 0);
    t.match(cluster.driver.run({ kind: "node", node: "n2", action: "remove" }), /^ok/);
  },
);

t.test(
  "F3: a manual plan copies and waits; cutover lets it go; a shard that is left out is retired",
  async (t) => {
    const cluster = begin(23, 6, 3);
    settles(t, cluster, "at first");
    t.match(askPlan(cluster, ["s1", "s2", "s3", "s4"], true), /^ok/);
    run(cluster, 300);
    t.equal(cluster.state.finished.length, 0, "nothing is moved before the cutover");
    t.ok(cluster.state.plan?.moves.some(({ state }) => state === "running"));
    cluster.driver.run({ kind: "cutover", number: cluster.state.planNumber });
    settles(t, cluster, "added", 6000);
    ownersAgree(t, cluster, "added");
    t.ok((cluster.state.assignment.counts().get("s4") ?? 0) > 3000);
    t.match(askPlan(cluster, ["s1", "s2", "s3"]), /^ok/);
    settles(t, cluster, "removed", 6000);
    rests(t, cluster, "removed");
    t.same([...cluster.state.shards.keys()].toSorted(), ["s1", "s2", "s3"]);
    const gone = cluster.state.retired.map(({ group }) => group);
    t.equal(gone.length, 1);
    const left = [...cluster.nodes.values()].filter(({ held }) => gone.some((group) => held.has(group)));
    t.same(left, [], "its replicas are closed");
  },
);

t.test(
  "F9: a control plane restored from an old backup finds out what has happened since, and goes on",
  async (t) => {
    for (let seed = 31; seed <= 33; seed++) {
      const cluster = begin(seed, 5, 3);
      settles(t, cluster, "at first");
      const { store } = cluster.driver;
      const backup = imageOf(store);
      const ids = ["s1", "s2", "s3", "s4"];
      t.match(askPlan(cluster, ids), /^ok/);
      settles(t, cluster, "after the backup", 6000);
      const lost = cluster.state;
      cluster.heard = heardOf(lost);
      const silent = cluster.nodes.get("n5");
      if (silent !== undefined) silent.up = false;
      run(cluster, 2); // its last words are on their way
      t.equal(restoreInto(store, backup), null);
      t.notOk(cluster.state.shards.has("s4"));
      cluster.driver.run({ kind: "restored", token: id("restore") });
      cluster.failOver();

      let orders = 0;
      cluster.onOrders = (all) => {
        orders += all.length;
      };
      run(cluster, 300);
      t.same([orders, cluster.state.awaited], [0, ["n5"]], "nothing is ordered while a node is missing");
      cluster.onOrders = () => {};
      if (silent !== undefined) silent.up = true;
      settles(t, cluster, "restored", 3000);
      const now = cluster.state;
      t.ok(compareVersions(now.version, lost.version) > 0);
      t.same(
        [now.epoch >= lost.epoch, now.planNumber >= lost.planNumber],
        [true, true],
        `${now.epoch} ${lost.epoch}`,
      );
      t.same(now.assignment.counts(), lost.assignment.counts(), "the shards' own logs tell who owns what");
      ownersAgree(t, cluster, "restored");
      t.match(askPlan(cluster, ["s1", "s2", "s3"]), /^ok/);
      settles(t, cluster, "the younger shard removed", 6000);
      rests(t, cluster, "the younger shard removed");
      ownersAgree(t, cluster, "the younger shard removed");
    }
  },
);

/**
 * The service among nodes that beat, die, lose their disks and speak late, under leaders that change and do not always
 * know it. F9, F10 and E: what nodes are told never goes back, and obeying it never costs a quorum.
 */
import t from "tap";
import xxhash from "xxhash-wasm";
import { isAsWished } from "../../src/controlplane/membership.ts";
import { ordered } from "../../src/controlplane/state.ts";
import { ServiceCluster } from "./service_cluster.ts";

const { h64 } = await xxhash();
/** Worlds; SEEDS=100 by hand. */
const SEEDS = Number(process.env.SEEDS ?? 2);
const WISH = {
  replicas: 3,
  vnodes: 32,
  shards: [1, 2, 3].map((i) => ({ id: `s${i}`, weight: 1, nodes: null })),
};

/** What is not as wished yet; null if all is. */
function unrest(cluster: ServiceCluster): string | null {
  const { state } = cluster;
  if (state.layout === null) return "there is no layout";
  if (state.plan !== null) return `plan ${state.plan.number} is under way`;
  const view = cluster.view();
  for (const shard of ordered(state.shards)) {
    if (shard.state === "retiring") return `${shard.id} is not retired`;
    const lead = view.groups.get(shard.group)?.leader?.lead;
    if (lead === undefined) return `${shard.id} has no leader`;
    if (!isAsWished(lead, shard.replicas)) return `${shard.id} is not on ${shard.replicas.join()}`;
  }
  return null;
}

function settle(cluster: ServiceCluster, stepsMax = 3000): string | null {
  let reason: string | null = "not begun";
  for (let i = 0; i < stepsMax && reason !== null; i += 20) {
    for (let k = 0; k < 20; k++) cluster.step();
    reason = unrest(cluster);
  }
  return reason;
}

/** One thing goes wrong, or somebody wants something. */
function disturb(cluster: ServiceCluster): void {
  const { random, world } = cluster;
  const node = `n${random.between(1, cluster.nodes.size)}`;
  const record = cluster.nodes.get(node);
  switch (random.below(10)) {
    case 0:
    case 1: {
      const next = random.pick(world.processes);
      world.elect(next);
      return;
    }
    case 2:
      for (const process of world.processes) if (process !== world.leader) process.stepDown();
      return;
    case 3:
      if (record !== undefined) record.up = !record.up;
      return;
    case 4:
      for (const one of cluster.nodes.values()) one.up = true;
      return;
    case 5: {
      // One disk at a time, while the others are there: two at once may be a majority, which nothing can mend.
      const isBorn = [...cluster.state.shards.values()].every(({ formed }) => formed);
      const areUp = [...cluster.nodes.values()].every(({ up }) => up);
      if (isBorn && areUp && cluster.isWhole) cluster.wipe(node);
      return;
    }
    case 6:
      return cluster.http("POST", "/shard/add", {});
    case 7: {
      const shard = random.pick(["s1", "s2", "s3", "s4", "s5"]);
      return cluster.http("POST", "/shard/remove", { id: shard });
    }
    case 8:
      return cluster.http("POST", "/node", { node, action: random.pick(["drain", "undrain", "undrain"]) });
    case 9:
      return cluster.http("POST", "/reshard/cancel", { epoch: cluster.state.planNumber });
  }
}

t.test("F9, F10: fences and versions at nodes never go back, whoever leads or believes to", async (t) => {
  const total = { orders: 0, fenced: 0, ghosts: 0, elsewhere: 0, refused: 0, maps: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const cluster = new ServiceCluster(seed, 5, 3, h64, WISH);
    t.equal(settle(cluster), null, `seed ${seed}: the first layout comes into being by itself`);
    cluster.lossPercent = 5;
    cluster.delayMax = 3;
    cluster.world.lagMax = 6;
    cluster.straysPercent = 5;
    for (let i = 0; i < 120; i++) {
      disturb(cluster);
      for (let k = 0; k < 12; k++) cluster.step();
    }
    cluster.lossPercent = 0;
    cluster.delayMax = 1;
    cluster.world.lagMax = 0;
    cluster.straysPercent = 0;
    for (const process of cluster.world.processes) if (process !== cluster.world.leader) process.stepDown();
    for (const node of cluster.nodes.values()) node.up = true;
    for (const { id } of cluster.nodes.values())
      cluster.http("POST", "/node", { node: id, action: "undrain" });
    t.equal(settle(cluster), null, `seed ${seed}: healed, all is as wished`);
    t.same(cluster.wrongs, [], `seed ${seed}`);
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += cluster.seen[key];
  }
  t.comment(JSON.stringify(total));
  for (const [what, count] of Object.entries(total)) t.ok(count > 0, `${what}: ${count}`);
});

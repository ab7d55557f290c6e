/** Control processes with their log, and storage nodes under them, in a simulated world. */
import t from "tap";
import xxhash from "xxhash-wasm";
import type { NucleusNode } from "../../src/server/node.ts";
import { NodeStatus } from "../../src/server/node_status.ts";
import { helloReply } from "../../src/wire/control.ts";
import { decodeShape, ShapeError } from "../../src/wire/msgpack.ts";
import { type Inhabitant, Town } from "./process_town.ts";

const { h64 } = await xxhash();
const CLUSTER = "ab".repeat(16);
const shards = [1, 2].map((i) => ({ id: `s${i}`, weight: 1, nodes: null }));
const firstLayout = { replicas: 3, vnodes: 32, shards };

t.test(
  "one control process and three nodes: shards come into being, and all is there after a power failure",
  async (t) => {
    const town = new Town(h64, { controls: 1, nodes: 3, firstLayout });
    town.startAll(true);
    town.until("both shards have a leader", () => town.isServed);
    const { state } = town;
    t.same([...(state?.shards.keys() ?? [])], ["s1", "s2"]);
    t.same(
      town.nodes.map(({ server }) => server?.cluster),
      Array.from({ length: 3 }, () => state?.cluster),
    );
    town.until("what the leaders say is written down", () =>
      [...(town.state?.shards.values() ?? [])].every(({ formed }) => formed),
    );
    for (const one of [...town.controls, ...town.nodes]) town.kill(one);
    town.startAll(false);
    town.until("both shards have a leader again", () => town.isServed);
    t.same(town.state?.cluster, state?.cluster);
    t.same(town.state?.shards.get("s1")?.birth, state?.shards.get("s1")?.birth);
    t.equal(town.http("POST", "/settings", { movesMax: 2 }).status, 200);
    t.match(town.http("GET", "/settings").text, /"movesMax":2/);
  },
);

t.test(
  "F10: three control processes: one dies, another leads on with all that was acknowledged",
  async (t) => {
    const town = new Town(h64, { seed: 2, controls: 3, nodes: 3, firstLayout, cluster: CLUSTER });
    town.startAll(true);
    town.until("both shards have a leader", () => town.isServed);
    for (let round = 1; round <= 3; round++) {
      t.equal(town.http("POST", "/settings", { movesMax: 10 + round }).status, 200);
      const before = town.leader;
      const term = before?.service.reign?.term ?? 0;
      const at = town.controls.findIndex(({ server }) => server === before);
      const one = town.controls[at];
      if (one === undefined) throw new Error("somebody leads");
      town.kill(one);
      town.until("another leads", () => (town.leader?.service.reign?.term ?? 0) > term);
      t.match(town.http("GET", "/settings").text, new RegExp(`"movesMax":${10 + round}`));
      const heard = (): boolean => {
        const view = town.leader?.service.reign?.view();
        return view !== undefined && town.nodes.every(({ id }) => view.standing(id) === "alive");
      };
      town.until("the nodes find it", heard);
      town.startControl(at);
    }
    t.equal(town.isServed, true, "shards were led all the time");
  },
);

t.test("shards go on without any control process", async (t) => {
  const town = new Town(h64, { seed: 3, controls: 1, nodes: 3, firstLayout });
  town.startAll(true);
  town.until("both shards have a leader", () => town.isServed);
  const groups = [...(town.state?.shards.values() ?? [])].map(({ group }) => group);
  town.run(3000); // the nodes have the map
  for (const one of town.controls) town.kill(one);
  const [dead] = town.nodes;
  if (dead === undefined) throw new Error("there are nodes");
  town.kill(dead);
  town.until("the other two lead", () => groups.every((group) => town.leadersOf(group).length === 1));
  town.startNode(0);
  town.until("it is back from its own disk", () => dead.server?.groups.length === 2);
  town.until("with the map that it had", () => (dead.server?.routing.map?.ranges.length ?? 0) > 0);
  t.same(town.controls[0]?.server, null);
});

t.test("E7: a control process that lost its disk comes back under a new replica id", async (t) => {
  const town = new Town(h64, { seed: 4, controls: 3, nodes: 0, cluster: CLUSTER });
  town.startAll(true);
  town.until("somebody leads", () => town.leader !== null);
  const at = town.controls.findIndex(({ server }) => server !== town.leader);
  const one = town.controls[at];
  if (one === undefined) throw new Error("somebody follows");
  town.lose(one);
  town.startControl(at);
  town.until("it is given a replica", () => (one.server?.engine.groups[0]?.replica ?? 0) > 3);
  town.until("and votes", () => {
    const group = town.leader?.engine.groups[0];
    const { voters = [], outgoing = [] } = group?.core.config ?? {};
    return outgoing.length === 0 && voters.length === 3 && voters.some(({ replica }) => replica > 3);
  });
  t.equal(town.http("POST", "/settings", { movesMax: 5 }).status, 200);
});

t.test("a node is drained: its replicas go elsewhere, one by one, and then it can be removed", async (t) => {
  const town = new Town(h64, { seed: 7, controls: 1, nodes: 4, firstLayout });
  town.startAll(true);
  town.until("both shards have a leader", () => town.isServed);
  const loser = [...(town.state?.shards.values() ?? [])][0]?.replicas[0] ?? "";
  t.equal(town.http("POST", "/node", { node: loser, action: "drain" }).status, 200);
  const node = town.nodes.find(({ id }) => id === loser);
  if (node === undefined) throw new Error("a replica is on a node");
  town.until("it holds nothing", () => node.server?.groups.length === 0, 60_000);
  town.until("the shards have three voters each, elsewhere", () => {
    const view = town.leader?.service.reign?.view();
    return [...(town.state?.shards.values() ?? [])].every(({ group }) => {
      const { voters = [], joint = true } = view?.groups.get(group)?.leader?.lead ?? {};
      return !joint && voters.length === 3 && voters.every((voter) => voter.node !== loser);
    });
  });
  t.equal(town.http("POST", "/node", { node: loser, action: "remove" }).status, 409, "it is alive");
  town.kill(node);
  town.run(4000);
  t.equal(town.http("POST", "/node", { node: loser, action: "remove" }).status, 200);
  t.equal(town.state?.nodes.has(loser), false);
});

t.test(
  "F3: slots move to a new shard and from one that goes, while the control plane loses its leader",
  async (t) => {
    const town = new Town(h64, { seed: 9, controls: 3, nodes: 4, firstLayout, cluster: CLUSTER });
    town.startAll(true);
    town.until("both shards have a leader", () => town.isServed);
    const client = town.client("n1");
    const keys = Array.from({ length: 200 }, (_, i) => `key ${i}`);
    const answers = (count: number): void => town.until("answers", () => client.replies.length >= count);
    client.pipeline(...keys.map((key) => ["SET", key, `value of ${key}`]));
    answers(200);
    t.ok(client.replies.every((reply) => reply === "OK"));

    const isOver = (number: number): boolean =>
      town.state?.plan === null && town.state.planEnd?.number === number;
    const added = JSON.parse(town.http("POST", "/shard/add", { weight: 0.2 }).text);
    t.equal(added.epoch, 2);
    town.until("some moves are done", () => (town.state?.finished.length ?? 0) >= 2, 60_000);
    const at = town.controls.findIndex(({ server }) => server === town.leader);
    const one = town.controls[at];
    if (one === undefined) throw new Error("somebody leads");
    town.kill(one);
    town.until("the plan is carried out by the next leader", () => isOver(2), 120_000);
    town.startControl(at);
    t.same(town.state?.planEnd, { number: 2, cancelled: false, done: added.moves, moves: added.moves });

    t.equal(town.http("POST", "/shard/remove", { id: added.shard }).status, 200);
    town.until(
      "the shard gave all away and is gone",
      () => isOver(3) && !town.state?.shards.has(added.shard),
      240_000,
    );
    town.until("its replicas are closed", () =>
      town.nodes.every(
        ({ server }) => server?.groups.every(({ store }) => store.shard !== added.shard) === true,
      ),
    );
    t.equal(town.state?.assignment.counts().has(added.shard), false);
    client.replies.length = 0;
    client.pipeline(...keys.map((key) => ["GET", key]), ["DBSIZE"]);
    answers(201);
    t.same(
      client.replies,
      [...keys.map((key) => `value of ${key}`), "200"],
      "nothing is lost, nothing is twice",
    );
  },
);

t.test("a blank directory does not begin by itself", async (t) => {
  const town = new Town(h64, { seed: 5, controls: 1, nodes: 0 });
  town.startControl(0);
  t.throws(() => town.run(1000), /empty|--init/);
});

/** The leader's time as a node tells clients of the library that connect: by it they reckon until when a write may be tried. */
function toldTimeMs(node: NucleusNode): number {
  const hello = decodeShape(helloReply, new NodeStatus(node).helloReply(), "hello");
  if (hello instanceof ShapeError) throw hello;
  return hello.leaderTimeMs;
}

function logTimeOf(town: Town, shard: string): number {
  const group = town.state?.shards.get(shard)?.group ?? 0;
  const groups = town.nodes.flatMap(({ server }) => [...(server?.groups ?? [])]);
  return groups.find((one) => one.group === group && one.isLeader)?.leaderTimeMs() ?? Number.NaN;
}

const NAMED = [1, 2].map((i) => ({ id: `s${i}`, weight: 1, nodes: ["n1", "n2", "n3"] }));

t.test("a node without replicas tells clients the time too", async (t) => {
  const town = new Town(h64, {
    seed: 8,
    controls: 1,
    nodes: 4,
    firstLayout: { ...firstLayout, shards: NAMED },
  });
  town.startAll(true);
  town.until("both shards have a leader", () => town.isServed);
  town.run(3000);
  const spare = town.nodes[3]?.server;
  if (spare == null) throw new Error("n4 runs");
  t.equal(spare.groups.length, 0);
  t.ok(Math.abs(toldTimeMs(spare) - logTimeOf(town, "s1")) < 1000, `${toldTimeMs(spare)}`);
});

t.test(
  "a node that was away for long tells clients no old time while it learns what it missed",
  async (t) => {
    const town = new Town(h64, {
      seed: 9,
      controls: 1,
      nodes: 3,
      firstLayout: { ...firstLayout, shards: NAMED },
    });
    town.startAll(true);
    town.until("both shards have a leader", () => town.isServed);
    town.run(3000);
    const group = town.state?.shards.get("s1")?.group ?? 0;
    const follower = town.nodes.find(
      ({ server }) => server?.groups.every((one) => one.group !== group || !one.isLeader) === true,
    ) as Inhabitant<NucleusNode>;
    town.kill(follower);
    const other = town.nodes.find((one) => one !== follower) as Inhabitant<NucleusNode>;
    const client = town.client(other.id);
    for (let i = 0; i < 20; i++) client.send("SET", `key${i}`, "before");
    town.until("what it will miss is written", () => client.replies.length === 20);
    town.run(90_000);
    town.startNode(town.nodes.indexOf(follower));
    let worstMs = 0;
    town.until("it has learnt it", () => {
      const { server } = follower;
      if (server == null || server.groups.length < 2) return false;
      for (const one of server.groups) {
        const errorMs = Math.abs(one.leaderTimeEstimateMs() - logTimeOf(town, "s1"));
        if (one.core.leader !== 0 && errorMs > worstMs) worstMs = errorMs;
      }
      return (
        server.groups.every((one) => one.core.leader !== 0) &&
        server.groups.some(({ store }) => store.keyCount > 0)
      );
    });
    t.ok(worstMs < 5000, `${worstMs} ms`);
  },
);

t.test(
  "F2: a shard that is lost for good: what runs is ended, and others take its slots, empty",
  async (t) => {
    const town = new Town(h64, {
      seed: 12,
      controls: 1,
      nodes: 6,
      firstLayout: {
        ...firstLayout,
        shards: [
          { id: "s1", weight: 1, nodes: ["n1", "n2", "n3"] },
          { id: "s2", weight: 1, nodes: ["n4", "n5", "n6"] },
        ],
      },
    });
    town.startAll(true);
    town.until("both shards have a leader", () => town.isServed);
    town.until("its node has heard of them", () => town.nodes[0]?.server?.routing.routerAt(0) != null);
    const client = town.client("n1");
    const keys = Array.from({ length: 200 }, (_, i) => `key ${i}`);
    client.pipeline(...keys.map((key) => ["SET", key, `value of ${key}`]));
    town.until("answers", () => client.replies.length >= 200);
    t.ok(client.replies.every((reply) => reply === "OK"));
    // A plan is under way between the two when one of them is lost.
    const plan = { epoch: 2, vnodes: 64, shards: [{ id: "s1" }, { id: "s2" }] };
    t.equal(town.http("POST", "/reshard/plan", plan).status, 200);
    town.until("something moves", () => (town.state?.finished.length ?? 0) > 0, 60_000);
    const dead = town.nodes.slice(3);
    for (const one of dead) town.kill(one);
    t.equal(town.http("POST", "/shard/remove", { id: "s2" }).status, 409, "a plan is under way");
    town.until("its leader is not heard any more", () => {
      const group = town.state?.shards.get("s2")?.group ?? 0;
      return town.leader?.service.reign?.view().groups.get(group)?.leader == null;
    });
    t.equal(town.http("POST", "/shard/declare-lost", { id: "s2", yes: true }).status, 200);
    town.until("the plan is over", () => town.state?.plan === null, 60_000);
    t.ok((town.state?.assignment.slotsOf("s2").length ?? 0) > 0);

    const given = town.http("POST", "/shard/remove", { id: "s2" });
    t.equal(given.status, 200, given.text);
    t.match(JSON.parse(given.text), { empty: { shards: ["s2"] } });
    town.until("the lost shard is gone", () => town.state?.shards.has("s2") === false, 120_000);
    t.same(town.state?.planEnd?.cancelled, false);
    t.same(town.state?.assignment.counts(), new Map([["s1", 16_384]]));
    client.replies.length = 0;
    client.pipeline(...keys.map((key) => ["GET", key]));
    town.until("answers", () => client.replies.length >= 200);
    const left = client.replies.filter((reply) => String(reply).startsWith("value of")).length;
    t.ok(left > 0 && left < 200, `${left} of 200 keys are left`);
    client.replies.length = 0;
    client.pipeline(...keys.map((key) => ["SET", key, "again"]));
    town.until("answers", () => client.replies.length >= 200);
    t.ok(
      client.replies.every((reply) => reply === "OK"),
      "all slots are served again",
    );

    // They turn up again, all three of them: nobody listens, and they are closed.
    for (let i = 3; i < 6; i++) town.startNode(i);
    town.until("its replicas are closed", () => dead.every(({ server }) => server?.groups.length === 0));
    client.replies.length = 0;
    client.pipeline(...keys.map((key) => ["GET", key]));
    town.until("answers", () => client.replies.length >= 200);
    t.ok(client.replies.every((reply) => reply === "again"));
  },
);

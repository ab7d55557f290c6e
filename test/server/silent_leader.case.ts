/**
 * A leader's node that falls silent and closes nothing - its power failed, its process was stopped, its cables are cut -, as
 * seen by doors without a replica of the shard: nobody tells them who leads next. Times are the simulated world's.
 */
import t from "tap";
import xxhash from "xxhash-wasm";
import type { SimClient } from "./client.ts";
import { MoveTown } from "./town.ts";

const { h64 } = await xxhash();
const MS = 1000;
type Node = MoveTown["nodes"][number];
/** n4 has no replica of the shard. */
const FOUR = { shards: { s1: ["n1", "n2", "n3"] }, nodes: 4 };

/** Links between a machine and others carry nothing, and nobody is told. */
function setCut(
  town: MoveTown,
  node: Node,
  others: readonly { readonly machine: Node["machine"] }[],
  cut: boolean,
): void {
  for (const { machine } of others) {
    if (machine === node.machine) continue;
    town.net.setCut(node.machine.number, machine.number, cut);
    town.net.setCut(machine.number, node.machine.number, cut);
  }
}

/** Two elections, if two stood at once. */
const GAP_MS_MAX = 1300;

/** The client's next write is done before that, and it is not told of an error. */
function checkGap(t: Pick<typeof import("tap").t, "ok" | "same">, town: MoveTown, client: SimClient): void {
  const fromUs = town.world.nowUs;
  t.same(town.call(client, ["SET", "k", "after"]), ["OK"]);
  const ms = (town.world.nowUs - fromUs) / MS;
  t.ok(ms < GAP_MS_MAX, `${ms} ms`);
}

/** A town of that kind with a client at n4, that was served. */
function withDoor(seed: number): { town: MoveTown; client: SimClient; leader: Node; door: Node } {
  const town = MoveTown.started(h64, { ...FOUR, seed });
  const client = town.client("n4");
  if (town.call(client, ["SET", "k", "before"])[0] !== "OK") throw new Error("it is served");
  return { town, client, leader: town.leaderOf("s1").node, door: town.nodes[3] as Node };
}

/** To whom the node forwards from now on. */
function forwardsOf(node: Node): string[] {
  const asked: string[] = [];
  const peers = (node.server as NonNullable<Node["server"]>).engine.peers;
  const send = peers.sendForward.bind(peers);
  peers.sendForward = (to, ...request) => {
    asked.push(to);
    send(to, ...request);
  };
  return asked;
}

t.test(
  "H8: a door without a replica asks another holder when the leader's node is not heard any more",
  async (t) => {
    for (const seed of [1, 2, 3, 4]) {
      const { town, client, leader } = withDoor(seed);
      if (seed % 2 === 0) setCut(town, leader, [...town.nodes, ...town.controls], true);
      else leader.machine.pause(20_000 * MS);
      checkGap(t, town, client);
    }
  },
);

t.test("H8: a door whose node has a replica hears of the next leader by that", async (t) => {
  for (const seed of [1, 2, 3]) {
    const { town, leader } = withDoor(seed);
    const client = town.client(town.nodes.find((node) => node !== leader)?.id as string);
    town.call(client, ["SET", "k", "before"]);
    leader.machine.pause(20_000 * MS);
    checkGap(t, town, client);
  }
});

t.test("C8, F9: a leader that was paused and wakes up repeats nothing, and is not asked again", async (t) => {
  for (const seed of [1, 2, 3]) {
    const { town, client, leader, door } = withDoor(seed);
    leader.machine.pause(1500 * MS);
    const asked = forwardsOf(door);
    let awakeAt = 0;
    for (let i = 0; i < 300; i++) {
      client.pipeline(["INCR", "count"], ["GET", "count"]);
      if (i === 160) awakeAt = asked.length;
      town.run(10);
    }
    town.until("all are answered", () => client.replies.length === 601);
    t.same(
      client.replies.slice(1),
      Array.from({ length: 300 }, (_, i) => [`${i + 1}`, `${i + 1}`]).flat(),
      "each once, in order, although the paused node had some of them before it",
    );
    const next = town.leaderOf("s1").node.id;
    t.not(next, leader.id);
    t.same([...new Set(asked.slice(awakeAt))], [next], "whoever leads is asked all the rest of the time");
  }
});

t.test("C7: a write on two slots stays with a silent node, and is told what became of it", async (t) => {
  const { town } = withDoor(1);
  town.call(town.client("n4"), ["SET", "a", "1"]);
  const answers = [600, 20_000].map((ms) => {
    const client = town.client("n4");
    const other = town.client("n4");
    const { node } = town.leaderOf("s1");
    town.run(500);
    node.machine.pause(ms * MS);
    const [from, to] = ms === 600 ? ["a", "b"] : ["b", "c"];
    client.send("RENAME", from, to);
    t.same(town.call(other, ["SET", "k", `${ms}`]), ["OK"], "others are not held up");
    t.equal(client.replies.length, 0);
    const fromUs = town.world.nowUs;
    town.until("it is answered", () => client.replies.length === 1);
    t.ok(town.world.nowUs - fromUs < 2500 * MS);
    return client.replies[0];
  });
  t.equal(answers[0], "OK", "it woke up, refused what it found, and the next leader did it");
  t.match(answers[1], /^-UNCERTAIN/);
});

t.test(
  "H8: a leader that is cut off from the others, and not from the door, is left when it answers nothing",
  async (t) => {
    for (const seed of [1, 2, 3]) {
      const { town, client, leader, door } = withDoor(seed);
      setCut(
        town,
        leader,
        town.nodes.filter((node) => node !== door),
        true,
      );
      checkGap(t, town, client);
    }
  },
);

t.test("C8: a leader that only the door does not hear is asked again when it is heard", async (t) => {
  for (const seed of [1, 2, 3]) {
    const { town, client, leader, door } = withDoor(seed);
    const { term } = town.leaderOf("s1").group.core;
    for (let i = 0; i < 20; i++) client.send("INCR", "count");
    setCut(town, leader, [door], true);
    for (let i = 0; i < 20; i++) client.send("INCR", "count");
    town.run(1000);
    t.ok(client.replies.length < 41, "nobody else leads");
    setCut(town, leader, [door], false);
    town.until("all are answered", () => client.replies.length === 41, 1500);
    t.same(
      client.replies.slice(1),
      Array.from({ length: 40 }, (_, i) => `${i + 1}`),
    );
    t.equal(town.leaderOf("s1").group.core.term, term);
  }
});

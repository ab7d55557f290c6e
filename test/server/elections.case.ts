/** What one shard's election is to a connection that has commands for others as well. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { keysIn, MoveTown, type Ranges } from "./town.ts";

const { h64 } = await xxhash();
const SHORTEST_ELECTION_MS = 300;
const APART = { shards: { s1: ["n1", "n2", "n3"], s2: ["n4", "n5", "n6"] }, nodes: 6 };

function keyIn(town: MoveTown, shard: string): string {
  const store = town.storeOf(shard);
  const slot = Array.from({ length: 16_384 }, (_, n) => n).find((n) => store.isServed(n)) as number;
  const slots: Ranges = [[slot, slot]];
  return keysIn(slots, 1)[0] as string;
}

t.test(
  "H7: a shard without a leader holds up its own commands of a connection, not those behind them",
  (t) => {
    const town = MoveTown.started(h64, { ...APART, seed: 5 });
    const [mine, other] = [keyIn(town, "s1"), keyIn(town, "s2")];
    const leader = town.leaderOf("s1").node;
    const door = town.leaderOf("s2").node.id;
    const client = town.client(door);
    const watch = town.client(door);
    t.same(town.call(client, ["SET", mine, "1"], ["SET", other, "1"]), ["OK", "OK"]);
    leader.server = null;
    leader.machine.kill();
    const before = client.replies.length;
    client.pipeline(["GET", mine], ["SET", mine, "2"], ["SET", other, "2"], ["GET", mine], ["GET", other]);
    town.run(5);
    t.notOk(town.leading("s1"), "there is no new leader yet");
    t.same(town.call(watch, ["GET", other]), ["2"]);
    town.until("all are answered", () => client.replies.length === before + 5);
    t.same(client.replies.slice(before), ["1", "OK", "OK", "2", "2"], "in the order in which they were sent");
    t.end();
  },
);

t.test(
  "the end of a leader's process is noticed by its connections: nobody waits an election timeout for it",
  (t) => {
    for (const seed of [1, 2, 3]) {
      const town = MoveTown.started(h64, { ...APART, seed });
      const key = keyIn(town, "s1");
      const leader = town.leaderOf("s1").node;
      const client = town.client(town.leaderOf("s2").node.id);
      t.same(town.call(client, ["SET", key, "1"]), ["OK"]);
      leader.server = null;
      leader.machine.kill();
      town.run(SHORTEST_ELECTION_MS - 50);
      t.ok(town.leading("s1"), `seed ${seed}`);
      t.same(town.call(client, ["GET", key]), ["1"], "nothing is lost");
    }
    t.end();
  },
);

t.test("A6: a connection that breaks between two nodes deposes nobody", (t) => {
  for (const seed of [1, 2, 3]) {
    const town = MoveTown.started(h64, { ...APART, seed });
    const { node, group } = town.leaderOf("s1");
    const { term } = group.core;
    const follower = town.nodes.slice(0, 3).find((other) => other !== node) as typeof node;
    for (let i = 0; i < 5; i++) {
      town.net.resetBetween(node.machine.number, follower.machine.number);
      town.net.resetBetween(follower.machine.number, node.machine.number);
      town.run(300);
    }
    t.equal(town.leaderOf("s1").node, node, `seed ${seed}`);
    t.equal(group.core.term, term);
  }
  t.end();
});

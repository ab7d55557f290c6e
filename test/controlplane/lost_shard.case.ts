/** What the taker of a lost shard's slots gives out. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { KeyValueStore } from "../../src/store/store.ts";
import { ERA_REVISIONS, eraAfter, revisionFloor } from "../../src/wire/epochs.ts";
import { keysIn, MoveTown } from "../server/town.ts";

const { h64 } = await xxhash();

t.test("F2: who takes a lost shard's slots gives out no revision that the lost one gave out", async (t) => {
  const shards = { s1: ["n1", "n2", "n3"], s2: ["n4", "n5", "n6"] };
  const town = MoveTown.started(h64, { seed: 46, shards, nodes: 6 });
  const client = town.client("n1");
  const keys = keysIn(
    town
      .storeOf("s2")
      .slotsHeld()
      .ranges.map(([first, last]) => [first, last]),
    20,
  );
  for (let round = 0; round < 10; round++)
    town.call(client, ...keys.map((key) => ["SET", key, `value ${round}`]));
  const given = town.storeOf("s2").revision;
  t.ok(given > town.storeOf("s1").revision, "it has given out more than the other");
  for (const one of town.nodes.slice(3)) town.kill(one);
  town.run(15_000); // dead
  t.equal(town.http("POST", "/shard/declare-lost", { id: "s2", yes: true }).status, 200);
  t.equal(town.http("POST", "/shard/remove", { id: "s2" }).status, 200);
  town.until("the lost shard is gone", () => town.state?.shards.has("s2") === false, 120_000);
  const taker = town.leaderOf("s1").group.store;
  if (!(taker instanceof KeyValueStore)) throw new Error("a shard holds keys");
  t.ok(taker.revision >= ERA_REVISIONS, `${taker.revision}`);
  const before = taker.revision;
  t.same(new Set(town.call(client, ...keys.map((key) => ["SET", key, "again"]))), new Set(["OK"]));
  t.equal(taker.revision, before + keys.length, "and goes on from there, one by one");
  t.ok((town.state?.epoch ?? 0) > eraAfter(1));
});

t.test("eras: epochs of one are above all of those before, and so are the floors of revisions", async (t) => {
  t.same(
    [eraAfter(0), eraAfter(1), eraAfter(2 ** 32), eraAfter(2 ** 32 + 7)],
    [0, 2 ** 32, 2 ** 33, 2 ** 33],
  );
  t.same(
    [revisionFloor(9), revisionFloor(2 ** 32 + 1), revisionFloor(3 * 2 ** 32)],
    [0, 2 ** 42, 3 * 2 ** 42],
  );
  t.equal(eraAfter(2 ** 52), 2 ** 52, "there is none behind the last");
  const last = revisionFloor(2 ** 52);
  t.ok(last + ERA_REVISIONS <= 2 ** 48, "there is room for an era's changes behind the last floor");
  t.equal(revisionFloor(64 * 2 ** 32), last);
});

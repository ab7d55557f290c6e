/** One epoch, issued for two moves: by a control plane of before and by the one that was restored in its place. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { encodeMoveStep } from "../../src/wire/move_entry.ts";
import { keysIn, MoveTown, type Ranges } from "./town.ts";

const { h64 } = await xxhash();
const ON = ["n1", "n2", "n3"];
const EPOCH = 100;

/** `isApart`: the first shard is on nodes of its own. */
function townOf(seed: number, isApart = false): MoveTown {
  const [s2, nodes] = isApart ? [["n4", "n5", "n6"], 6] : [ON, 3];
  const town = MoveTown.started(h64, { shards: { s1: ON, s2, s3: s2 }, nodes, seed });
  town.run(3000); // leaders are where they are to be
  town.killControls();
  return town;
}

/** Slots that the shard serves, but for the first `skip` ones. */
function slotsOf(town: MoveTown, shard: string, skip = 0): Ranges {
  const store = town.storeOf(shard);
  const slots: [number, number][] = [];
  for (let slot = 0; slots.length < skip + 64; slot++) if (store.isServed(slot)) slots.push([slot, slot]);
  return slots.slice(skip);
}

/** s3 has imported slots of s1, which can say nothing to anybody from here on. */
function importing(seed: number): { town: MoveTown; others: Ranges } {
  const town = townOf(seed);
  const others = slotsOf(town, "s2");
  const first = town.groupOf("s1");
  town.apart("s1", "s3");
  town.passesMove = (_from, _to, message) => message.from !== first;
  town.begin(EPOCH, "s1", "s3", slotsOf(town, "s1"));
  town.untilPhase("s3", EPOCH, "importing");
  return { town, others };
}

/** Its source hears that the move was aborted, and serves on. */
function untilServed(town: MoveTown): void {
  town.passesMove = () => true;
  town.untilPhase("s1", EPOCH, "unsealed");
  town.checkAllServed();
}

t.test("F2: a source has one move under an epoch: other slots and another target are refused", async (t) => {
  const town = townOf(41);
  const client = town.client("n1");
  const [slots, others] = [slotsOf(town, "s1"), slotsOf(town, "s1", 64)];
  const keys = keysIn([...slots, ...others], 200);
  town.call(client, ...keys.map((key) => ["SET", key, `of ${key}`]));
  town.begin(EPOCH, "s1", "s2", slots, true);
  town.until("all but the rest is sent", () => town.phase("s2", EPOCH) === "copying");
  town.begin(EPOCH, "s1", "s3", others);
  town.untilPhase("s3", EPOCH, "aborted");
  t.equal(town.phase("s2", EPOCH), "copying", "the first one goes on");
  town.begin(EPOCH, "s1", "s2", others);
  town.begin(EPOCH, "s1", "s2", slots);
  town.untilMoved("s1", "s2", EPOCH);
  t.same(town.moveAt("s2", EPOCH)?.slots, slots);
  t.same(
    town.call(client, ...keys.map((key) => ["GET", key])),
    keys.map((key) => `of ${key}`),
  );
  town.checkAllServed();
});

t.test("F2: a sealed source waits for the word of its own target, whatever another one says", async (t) => {
  const town = townOf(42, true);
  const [slots, others] = [slotsOf(town, "s1"), slotsOf(town, "s1", 64)];
  const target = town.groupOf("s2");
  town.passesMove = (_from, _to, message) => message.kind !== "status" || message.phase !== "owned";
  town.begin(EPOCH, "s1", "s2", slots);
  town.untilPhase("s2", EPOCH, "owned");
  t.equal(town.phase("s1", EPOCH), "sealed");
  town.passesMove = (_from, _to, message) => message.to !== target;
  town.begin(EPOCH, "s1", "s3", others);
  town.run(3000);
  const { node } = town.leaderOf("s1");
  town.kill(node);
  town.restart(node);
  town.until("another leads", () => town.leading("s1") !== null);
  town.begin(EPOCH, "s1", "s3", others);
  town.run(3000);
  t.equal(town.phase("s1", EPOCH), "sealed");
  town.passesMove = () => true;
  town.untilMoved("s1", "s2", EPOCH);
  town.checkAllServed();
});

t.test(
  "F2: a target owns what its import names, and only when that one's source has sealed it",
  async (t) => {
    const { town, others } = importing(43);
    town.begin(EPOCH, "s2", "s3", others); // no keys are in either: counts and hashes would agree
    town.untilPhase("s2", EPOCH, "unsealed");
    t.equal(town.phase("s3", EPOCH), "aborted");
    untilServed(town);
  },
);

t.test("F2: what was owned from one shard is not the outcome that another one waits for", async () => {
  const town = townOf(44);
  const [slots, others] = [slotsOf(town, "s1"), slotsOf(town, "s2")];
  town.begin(EPOCH, "s2", "s3", others);
  town.untilMoved("s2", "s3", EPOCH);
  const { group, node } = town.leaderOf("s1");
  const seal = { kind: "seal", epoch: EPOCH, slots, shard: "s3", group: town.groupOf("s3") } as const;
  if (!group.proposeMove(encodeMoveStep(seal))) throw new Error("the log takes it");
  node.server?.engine.wake();
  town.untilPhase("s1", EPOCH, "unsealed");
  town.checkAllServed();
});

t.test("F2: a lost shard's slots are not taken under an epoch that is another move's", async () => {
  const { town, others } = importing(45);
  town.order("s3", { kind: "take", epoch: EPOCH, from: "s2", to: "s3", slots: others });
  town.untilPhase("s3", EPOCH, "aborted");
  untilServed(town);
});

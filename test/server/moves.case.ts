/** Moves of slots between shards on real nodes: what each side does when anything dies, is lost, late or told twice. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { encodeMoveStep, type MoveStep } from "../../src/wire/move_entry.ts";
import type { SimClient } from "./client.ts";
import { keysIn, MoveTown, type MoveTownOptions, type Ranges } from "./town.ts";

const { h64 } = await xxhash();
const TOGETHER = { shards: { s1: ["n1", "n2", "n3"], s2: ["n1", "n2", "n3"] }, nodes: 3 };
const APART = { shards: { s1: ["n1", "n2", "n3"], s2: ["n4", "n5", "n6"] }, nodes: 6 };
const EPOCH = 100;

function townOf(options: Partial<MoveTownOptions> & { seed: number }): MoveTown {
  return MoveTown.started(h64, { ...TOGETHER, ...options });
}

/** Some slots that the shard serves. */
function slotsOf(town: MoveTown, shard: string, count = 64): Ranges {
  const store = town.storeOf(shard);
  const slots: [number, number][] = [];
  for (let slot = 0; slots.length < count; slot++) if (store.isServed(slot)) slots.push([slot, slot]);
  return slots;
}

/** Puts a step into a shard's log by hand, as some earlier leader may have. */
function propose(town: MoveTown, shard: string, step: MoveStep): void {
  const { group, node } = town.leaderOf(shard);
  if (!group.proposeMove(encodeMoveStep(step))) throw new Error("the log takes it");
  node.server?.engine.wake();
}

function load(town: MoveTown, client: SimClient, keys: readonly string[]): void {
  const replies = town.call(client, ...keys.map((key) => ["SET", key, `of ${key}`]));
  if (!replies.every((reply) => reply === "OK")) throw new Error(`loading: ${replies.join()}`);
}

function allThere(
  t: Pick<typeof import("tap").t, "same">,
  town: MoveTown,
  client: SimClient,
  keys: readonly string[],
): void {
  t.same(
    town.call(client, ...keys.map((key) => ["GET", key])),
    keys.map((key) => `of ${key}`),
  );
}

t.test("F5: a calm move takes keys, deadlines and counts along", async (t) => {
  const town = townOf({ seed: 1 });
  const slots = slotsOf(town, "s1");
  const keys = keysIn(slots, 300);
  const client = town.client("n1");
  load(town, client, keys);
  town.call(client, ...keys.slice(0, 100).map((key) => ["PEXPIRE", key, "100000"]));
  town.call(client, ...keys.slice(100, 120).map((key) => ["PEXPIRE", key, "1"]));
  town.begin(EPOCH, "s1", "s2", slots);
  town.untilMoved("s1", "s2", EPOCH);
  allThere(t, town, client, [...keys.slice(0, 100), ...keys.slice(120)]);
  t.same(town.call(client, ["DBSIZE"], ["EXISTS", keys[100] as string]), ["280", "0"]);
  const left = town.call(client, ...keys.slice(0, 100).map((key) => ["PTTL", key])).map(Number);
  t.ok(left.every((ms) => ms > 50_000 && ms <= 100_000));
  town.checkAllServed();
});

t.test("F2, F3: what is late, stale or meant for a former state ends no move and begins none", async (t) => {
  const town = townOf({ seed: 2 });
  const client = town.client("n2");
  const slots = slotsOf(town, "s1");
  const keys = keysIn(slots, 200);
  load(town, client, keys);
  town.apart("s1", "s2"); // messages between them are held back and changed below
  town.killControls();
  let epoch = EPOCH;
  const next = (): number => ++epoch;
  const moveBack = (moved: Ranges): void => {
    const back = next();
    town.begin(back, "s2", "s1", moved);
    town.untilMoved("s2", "s1", back);
  };

  t.test("told that a move is over, a source whose seal is still to be applied stays sealed", async (t) => {
    const epoch = next();
    const seen: string[] = [];
    town.onStep = (shard, kind) => {
      if (shard === "s1") seen.push(`${kind} ${town.phase("s1", epoch)}`);
    };
    town.hook();
    town.passesMove = () => false;
    propose(town, "s1", { kind: "seal", epoch, slots, shard: "s2", group: town.groupOf("s2") });
    town.order("s1", { kind: "settle", epoch, from: "s1", to: "s2" });
    town.run(300);
    t.equal(seen[0], "seal sealed");
    t.equal(town.phase("s1", epoch), "sealed", "nobody has read an outcome");
    town.passesMove = () => true;
    town.untilPhase("s1", epoch, "unsealed");
    t.equal(town.phase("s2", epoch), "aborted", "the target's log has decided");
    town.onStep = () => {};
  });

  t.test("a move that was never begun is closed when told that it is over, and never begins", async (t) => {
    const epoch = next();
    town.order("s1", { kind: "settle", epoch, from: "s1", to: "s2" });
    town.untilPhase("s1", epoch, "unsealed");
    town.begin(epoch, "s1", "s2", slots);
    town.untilPhase("s2", epoch, "aborted");
    t.equal(town.phase("s1", epoch), "unsealed");
  });

  t.test("a refusal of another move does not end this one", async (t) => {
    propose(town, "s2", { kind: "begin", epoch: 50, term: 1, n: 1 });
    town.run(200);
    const epoch = next();
    town.begin(epoch, "s1", "s2", slots);
    town.untilMoved("s1", "s2", epoch);
    allThere(t, town, client, keys);
    moveBack(slots);
  });

  t.test("a move under an epoch that the slots are past is aborted, not tried for ever", async (t) => {
    const late = EPOCH - 1;
    town.begin(late, "s1", "s2", slots);
    town.untilPhase("s2", late, "aborted");
    town.untilPhase("s1", late, "unsealed");
    t.equal(town.storeOf("s2").incoming, null);
  });

  t.test("what is sealed is brought to its end before anything else is given away", async (t) => {
    const [sealed, other] = [next(), next()];
    const others = slotsOf(town, "s1", 128).slice(64);
    town.passesMove = () => false;
    propose(town, "s1", { kind: "seal", epoch: sealed, slots, shard: "s2", group: town.groupOf("s2") });
    town.untilPhase("s1", sealed, "sealed");
    town.begin(other, "s1", "s2", others);
    town.run(300);
    const { group, node } = town.leaderOf("s1");
    const told = town.moversOf(node).reportsOf(group);
    t.notOk(told.some((report) => report.epoch === other));
    t.equal(town.phase("s1", sealed), "sealed");
    town.passesMove = () => true;
    town.untilPhase("s1", sealed, "unsealed");
    town.begin(other, "s1", "s2", others);
    town.untilMoved("s1", "s2", other);
  });

  t.test(
    "F4: begun anew in one term, a move is another attempt: nothing of the first one counts",
    async (t) => {
      const [sealed, other] = [next(), next()];
      const others = slotsOf(town, "s1", 128).slice(64);
      const more = keysIn(others, 200, "more");
      load(town, client, more);
      town.begin(other, "s1", "s2", others, true);
      town.until("some of it is there", () => (town.moveAt("s2", other)?.nextChunk ?? 0) > 0);
      propose(town, "s1", { kind: "seal", epoch: sealed, slots, shard: "s2", group: town.groupOf("s2") });
      town.untilPhase("s1", sealed, "unsealed");
      load(town, client, more);
      town.begin(other, "s1", "s2", others);
      town.untilMoved("s1", "s2", other);
      allThere(t, town, client, more);
      moveBack(others);
      town.call(client, ...more.map((key) => ["DEL", key]));
    },
  );

  t.test("the target of a move that its source has closed aborts it", async () => {
    const epoch = next();
    propose(town, "s1", { kind: "decline", epoch });
    const group = town.groupOf("s1");
    propose(town, "s2", { kind: "import", epoch, slots, shard: "s1", group, hold: false });
    town.untilPhase("s2", epoch, "aborted");
  });

  t.test("a target that has something else than was sent aborts, and the source serves on", async (t) => {
    const epoch = next();
    town.passesMove = (_from, _to, message) => {
      if (message.kind === "own") (message as { recordsHash: string }).recordsHash = "0123456789abcdef";
      return true;
    };
    town.begin(epoch, "s1", "s2", slots);
    town.untilPhase("s1", epoch, "unsealed");
    t.equal(town.phase("s2", epoch), "aborted");
    town.passesMove = () => true;
    allThere(t, town, client, keys);
  });

  t.test("a target without memory aborts, and the source serves on", async (t) => {
    const epoch = next();
    const target = town.storeOf("s2");
    const { settings } = target;
    target.settings = { ...settings, memoryBytesMax: 1 };
    town.begin(epoch, "s1", "s2", slots);
    town.untilPhase("s1", epoch, "unsealed");
    t.equal(town.phase("s2", epoch), "aborted");
    target.settings = settings;
    allThere(t, town, client, keys);
  });

  t.test("everything twice, and each tenth message lost: the move takes place once", async (t) => {
    const epoch = next();
    let count = 0;
    const again: (() => void)[] = [];
    town.passesMove = (from, to, message) => {
      const peers = town.nodes.find(({ id }) => id === from)?.server?.engine.peers;
      if (message.kind !== "poke" && again.length < 500) again.push(() => void peers?.sendMove(to, message));
      return count++ % 10 !== 9;
    };
    town.begin(epoch, "s1", "s2", slots);
    town.untilPhase("s2", epoch, "owned");
    town.passesMove = () => true;
    for (const say of again) say();
    town.untilMoved("s1", "s2", epoch);
    for (const say of again) say();
    town.run(500);
    allThere(t, town, client, keys);
    t.same(town.call(client, ["DBSIZE"]), ["200"]);
    town.checkAllServed();
  });
});

t.test(
  "F3: without a control plane a begun move ends although both leaders die, and neither side knows the other's",
  async (t) => {
    const town = townOf({ seed: 3, ...APART });
    const slots = slotsOf(town, "s1");
    const keys = keysIn(slots, 200);
    const client = town.client("n1");
    load(town, client, keys);
    town.killControls();
    for (const epoch of [EPOCH, EPOCH + 1]) {
      const [from, to] = epoch === EPOCH ? ["s1", "s2"] : ["s2", "s1"];
      let chunks = 0;
      town.hook();
      town.passesMove = (_from, _to, { kind }) => kind !== "chunk" || ++chunks < 1;
      town.begin(epoch, from as string, to as string, slots);
      town.untilPhase(to as string, epoch, "copying");
      const dead = [town.leaderOf("s1").node, town.leaderOf("s2").node];
      for (const node of dead) town.kill(node);
      town.passesMove = () => true;
      town.hook();
      town.untilMoved(from as string, to as string, epoch);
      for (const node of dead) town.restart(node);
    }
    town.until("the client's node is up", () => town.leading("s1") !== null);
    allThere(t, town, town.client("n2"), keys);
    town.checkAllServed();
  },
);

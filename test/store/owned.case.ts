/** Slots that a shard serves, and those that it does not: commands, reads, whole-space commands, the birth entry. */
import t from "tap";
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { slotOf } from "../../src/ring/slot.ts";
import { type Birth, decodeBirth, encodeBirth, wholeBirth } from "../../src/store/birth_entry.ts";
import { OP, SLOT_SET_BYTES } from "../../src/wire/command.ts";
import { Driver, SETTINGS } from "./driver.ts";
import { bytesOf, joined, settingsBody } from "./frames.ts";
import { IMAGE_V1 } from "./image_v1.ts";
import { reload } from "./images.ts";

export function born(birth: Birth): Driver {
  const driver = new Driver();
  driver.applyEntry(ENTRY_KIND.bootstrap, joined([new Uint8Array(4), encodeBirth(birth)]));
  return driver;
}

const bytes = (key: string): Uint8Array => bytesOf(key);
const slotOfKey = (key: string): number => slotOf(bytes(key), 0, bytes(key).length);
const half: Birth = { settings: SETTINGS, shard: "s7", epoch: 2 ** 52, slots: [[0, 8191]] };
/** Keys of the lower half of the slots, and of the upper one. */
const names = Array.from({ length: 200 }, (_, i) => `key${i}`);
const here = names.filter((key) => slotOfKey(key) < 8192);
const away = names.filter((key) => slotOfKey(key) >= 8192);
const refusal = (key: string): { error: string } => ({ error: `NOT SERVED ${slotOfKey(key)}` });

function setOf(...slots: number[]): Uint8Array {
  const set = new Uint8Array(SLOT_SET_BYTES);
  for (const slot of slots) set[slot >>> 3] = (set[slot >>> 3] as number) | (1 << (slot & 7));
  return set;
}

t.test(
  "a shard is born with its id, its epoch and its slots; an entry of the old form means all of them",
  async (t) => {
    const { store } = born(half);
    t.equal(store.shard, "s7");
    t.same(store.slotsServed(), { count: 8192, ranges: [[0, 8191, 2 ** 52]] });
    t.same(store.slotFate(8191), { state: "serving", epoch: 2 ** 52, movedTo: null });
    t.same(store.slotFate(8192), { state: "absent", epoch: 0, movedTo: null });
    t.same(decodeBirth(settingsBody(SETTINGS)), wholeBirth(SETTINGS));
    t.same(decodeBirth(encodeBirth(half)), half);
    const encoded = encodeBirth({
      ...half,
      slots: [
        [0, 5],
        [7, 9],
      ],
    });
    for (let length = settingsBody(SETTINGS).length + 1; length < encoded.length; length++)
      t.equal(decodeBirth(encoded.slice(0, length)), null);
    const crossed = encodeBirth({
      ...half,
      slots: [
        [7, 9],
        [0, 5],
      ],
    });
    t.equal(decodeBirth(crossed), null);
  },
);

t.test("F1: a command for a slot that is not served changes nothing, in a batch as in a read", async (t) => {
  const driver = born(half);
  const [mine = "", other = ""] = [here[0], away[0]];
  const session = { client: 1, seq: 1, floor: 1, notAfter: driver.timeMs + 1000, after: 0 };
  const hash = driver.store.stateHash();
  t.same(
    driver.apply([OP.set, [other, "v", 0, 0]], [OP.set, [other, "v", 0, 0], session], [OP.get, [other]]),
    [refusal(other), refusal(other), refusal(other)],
  );
  t.equal(driver.store.stateHash(), hash, "not even a session is known of it");
  t.equal(driver.store.revision, 0);
  t.same(driver.read(driver.timeMs, OP.get, other), refusal(other));
  t.equal(driver.store.refusedSlot, slotOfKey(other));
  t.same(driver.run(OP.set, mine, "v", 0, 0), { status: "OK" });
  t.same(driver.read(driver.timeMs, OP.get, mine), "v");
});

t.test("F11: a command on several slots is judged as a whole, at one position", async (t) => {
  const driver = born(half);
  const [a = "", b = ""] = here;
  const [other = ""] = away;
  t.same(driver.run(OP.mset, a, "1", other, "2", b, "3"), refusal(other));
  t.same(driver.run(OP.mset, a, "1", b, "3"), { status: "OK" });
  t.same(driver.run(OP.mget, a, b, other), refusal(other));
  t.same(driver.run(OP.del, a, other), refusal(other));
  t.same(driver.run(OP.rename, a, other, 0), refusal(other));
  t.same(driver.read(0, OP.mget, a, b), ["1", "3"]);
});

t.test("commands on the whole key space: on a set of slots, all of which must be served", async (t) => {
  const driver = born(half);
  for (const key of here) driver.run(OP.set, key, "v", 0, 0);
  const [a = "", b = ""] = here;
  const both = setOf(slotOfKey(a), slotOfKey(b));
  const wrong = setOf(slotOfKey(a), 9000);
  t.equal(driver.run(OP.dbSize), here.length);
  t.equal(driver.run(OP.dbSize, both), 2);
  t.same((driver.run(OP.keys, "*", both) as string[]).sort(), [a, b].sort());
  t.equal((driver.run(OP.keys, "*") as string[]).length, here.length);
  t.ok([a, b].includes(driver.run(OP.randomKey, 77, both) as string));
  for (const [op, ...args] of [[OP.dbSize], [OP.keys, "*"], [OP.randomKey, 1], [OP.flushAll]] as const) {
    t.same(driver.apply([op, [...args, wrong]])[0], { error: "NOT SERVED 9000" });
    t.match(driver.apply([op, [...args, wrong.slice(1)]])[0], { error: /wrong size/ });
  }
  const { revision } = driver.store;
  t.same(driver.run(OP.flushAll, both), { status: "OK" });
  t.equal(driver.run(OP.dbSize), here.length - 2);
  t.equal(driver.store.revision, revision + 1, "one change");
  t.same(driver.run(OP.flushAll, both), { status: "OK" });
  t.equal(driver.store.revision, revision + 1, "of nothing: none");
  t.same(driver.run(OP.flushAll), { status: "OK" });
  t.equal(driver.store.keyCount, 0);
  t.same(driver.store.slotsServed(), { count: 8192, ranges: [[0, 8191, 2 ** 52]] });
});

t.test("F13: SCAN goes on where slots are served and stops at one that is not", async (t) => {
  const driver = born(half);
  for (const key of here) driver.run(OP.set, key, "v", 0, 0);
  const [cursor, keys] = driver.run(OP.scan, 0, 1000, "", "") as [string, string[]];
  t.equal(cursor, String(8192 * 2 ** 32), "the beginning of the first slot that is elsewhere");
  t.same(keys.sort(), [...here].sort());
  t.same(driver.run(OP.scan, BigInt(cursor), 10, "", ""), { error: "NOT SERVED 8192" });
  t.same(driver.read(0, OP.scan, BigInt(cursor), 10, "", ""), { error: "NOT SERVED 8192" });
});

t.test("keys of one slot", async (t) => {
  const driver = born(half);
  const tagged = Array.from({ length: 20 }, (_, i) => `{${here[0]}}${i}`);
  for (const key of tagged) driver.run(OP.set, key, "v", 0, 0);
  const slot = slotOfKey(here[0] as string);
  t.same((driver.run(OP.keysInSlot, slot, 100) as string[]).sort(), [...tagged].sort());
  t.equal((driver.run(OP.keysInSlot, slot, 7) as string[]).length, 7);
  t.same(driver.run(OP.keysInSlot, slot, 0), []);
  t.same(driver.run(OP.keysInSlot, 9000, 5), { error: "NOT SERVED 9000" });
});

t.test("what is served comes with the image", async (t) => {
  const driver = born({
    ...half,
    slots: [
      [3, 3],
      [5, 100],
      [16383, 16383],
    ],
  });
  const copy = reload(driver);
  t.same(copy.store.slotsServed(), driver.store.slotsServed());
  t.equal(copy.store.shard, "s7");
});

t.test("D19: an image of the version before is of a shard that serves everything at epoch 1", async (t) => {
  const driver = new Driver();
  const sink = driver.store.beginRestore();
  t.equal(sink.write(IMAGE_V1), null);
  t.equal(sink.finish(), null);
  driver.index = driver.store.appliedIndex;
  t.equal(driver.store.shard, "s1");
  t.same(driver.store.slotsServed(), { count: 16384, ranges: [[0, 16383, 1]] });
  t.equal(driver.run(OP.get, "b"), "two");
  const session = { client: 5, seq: 1, floor: 1, notAfter: driver.timeMs + 30_000, after: 0 };
  t.same(driver.apply([OP.incrBy, ["n", 7], session]), [7], "and remembers its sessions");
  t.equal(driver.run(OP.get, "n"), "7");
  t.same(driver.store.moves(), []);
  t.equal(reload(driver).store.stateHash(), driver.store.stateHash());
});

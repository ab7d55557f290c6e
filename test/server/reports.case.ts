/** What nodes tell the control plane of their replicas: the truth at every moment, and nothing made anew that is as it was. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { heartbeatOf } from "../../src/server/reports.ts";
import type { GroupReport } from "../../src/wire/control_plane.ts";
import { keysIn, MoveTown, type Ranges } from "./town.ts";

const { h64 } = await xxhash();
const THREE = { shards: { s1: ["n1", "n2", "n3"], s2: ["n1", "n2", "n3"] }, nodes: 3 };
const LOAD = { commandsPerSecond: 0, bytes: 0, diskFreeBytes: 0 };
const HEARD = { version: { restore: 0, index: 0 }, epoch: 0, plan: 0 };
const EPOCH = 100;

/** Every node's reports, by "node/shard". */
function reportsOf(town: MoveTown): Map<string, GroupReport> {
  const all = new Map<string, GroupReport>();
  for (const { id, server } of town.nodes) {
    if (server === null) continue;
    for (const report of heartbeatOf(server, HEARD, LOAD).groups) all.set(`${id}/${report.shard}`, report);
  }
  return all;
}

/** Each says what can be read off its replica now. */
function differences(town: MoveTown): string[] {
  const reports = reportsOf(town);
  const wrong: string[] = [];
  for (const { id, server } of town.nodes) {
    for (const { store, core, isLeader, replica } of server?.groups ?? []) {
      const report = reports.get(`${id}/${store.shard}`);
      const leads = isLeader && core.committedInTerm;
      const slots = leads
        ? store.slotsHeld().ranges.map(([first, last, epoch]) => `${first}-${last}@${epoch}`)
        : [];
      const told = (report?.lead?.slots ?? []).flatMap(({ epoch, slots }) =>
        slots.map(([first, last]) => `${first}-${last}@${epoch}`),
      );
      const truth = [replica, core.term, store.appliedIndex, store.keyCount, store.dataBytes, leads];
      const said = report && [
        report.replica,
        report.term,
        report.applied,
        report.keys,
        report.bytes,
        report.lead !== null,
      ];
      const voters = leads ? core.config.voters.map((voter) => voter.replica) : [];
      const named = report?.lead?.voters.map((voter) => voter.replica) ?? [];
      const both: [unknown, unknown][] = [
        [truth, said],
        [voters, named],
        [[...slots].sort(), [...told].sort()],
        [leads ? core.config.version : 0, report?.lead?.configVersion ?? 0],
      ];
      for (const [is, says] of both)
        if (JSON.stringify(is) !== JSON.stringify(says))
          wrong.push(`${id}/${store.shard}: ${JSON.stringify(is)}, not ${JSON.stringify(says)}`);
    }
  }
  return wrong;
}

t.test(
  "a report of a replica at which nothing changed is the same one, and one at which something did is not",
  (t) => {
    const town = MoveTown.started(h64, { ...THREE, seed: 1 });
    town.run(3000);
    const before = reportsOf(town);
    town.run(3000);
    const after = reportsOf(town);
    t.equal(after.size, 6);
    for (const [name, report] of after) t.equal(report, before.get(name), name);
    const store = town.storeOf("s1");
    const slot = Array.from({ length: 16_384 }, (_, n) => n).find((n) => store.isServed(n)) as number;
    const [key] = keysIn([[slot, slot]], 1);
    t.same(town.call(town.client("n1"), ["SET", key as string, "v"]), ["OK"]);
    town.run(1000);
    for (const [name, report] of reportsOf(town)) {
      t.equal(report === after.get(name), name.endsWith("/s2"), name);
      if (name.endsWith("/s1")) t.match(report, { keys: 1, applied: store.appliedIndex });
    }
    t.end();
  },
);

t.test("F9: reports are true through writes, elections and moves, whatever was told before", (t) => {
  const town = MoveTown.started(h64, { ...THREE, seed: 2 });
  const client = town.client("n2");
  const store = town.storeOf("s1");
  const slots: Ranges = Array.from({ length: 16_384 }, (_, n) => n)
    .filter((n) => store.isServed(n))
    .slice(0, 32)
    .map((n) => [n, n] as const);
  const keys = keysIn(slots, 50);
  const wrong = new Set<string>();
  const watch = (rounds: number): void => {
    for (let i = 0; i < rounds; i++) {
      town.run(7);
      for (const one of differences(town)) wrong.add(one);
    }
  };
  for (const key of keys) client.send("SET", key, "v");
  watch(20);
  const { group, node } = town.leaderOf("s1");
  group.core.transfer(
    group.core.config.voters.find(({ replica }) => replica !== group.replica)?.replica ?? 0,
  );
  node.server?.engine.touch(group.group);
  watch(30);
  town.begin(EPOCH, "s1", "s2", slots);
  watch(60);
  town.untilMoved("s1", "s2", EPOCH);
  for (const key of keys) client.send("DEL", key);
  watch(30);
  town.kill(town.leaderOf("s2").node);
  watch(200);
  t.same([...wrong], []);
  t.ok(town.leading("s2"));
  t.end();
});

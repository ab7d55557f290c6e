/** A control plane that is lost twice, and made anew from one and the same backup. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { backupOf, parseBackup, partOf, partsOf } from "../../src/controlplane/backup.ts";
import type { MetaStore } from "../../src/controlplane/meta_store.ts";
import { heardOf } from "../../src/controlplane/state.ts";
import { init, newborn, old, plan, register } from "./bodies.ts";
import { Driver, id } from "./driver.ts";
import { Town } from "./process_town.ts";

const { h64 } = await xxhash();
const FIRST = { replicas: 3, vnodes: 32, shards: [{ id: "s1", weight: 1, nodes: null }] };

const CLUSTER = "ab".repeat(16);

/** A cluster with one shard, of whose control plane there is a backup. */
function backedUp(seed: number, controls: number): Town {
  const town = new Town(h64, { seed, controls, nodes: 3, firstLayout: FIRST, cluster: CLUSTER });
  town.startAll(true);
  town.until("the shard has a leader", () => town.isServed);
  town.backup = parseBackup(town.http("GET", "/cluster/backup").text);
  return town;
}

/** These control processes lose their disks and begin anew, in the restore of that name. */
function restore(town: Town, at: readonly number[], name: string): void {
  for (const [i, one] of town.controls.entries()) if (at.includes(i)) town.lose(one);
  town.restoreId = name.repeat(16);
  for (const i of at) town.startControl(i, true);
}

function isCounted(town: Town): boolean {
  const { state } = town;
  return state !== null && state.version.restore > 0 && state.awaited === null;
}

t.test(
  "F10: of two restores from one backup, a disk of the first is no member of what the second makes",
  async (t) => {
    const town = backedUp(33, 3);
    const third = town.controls[2];
    if (third === undefined) throw new Error("three of them");

    restore(town, [0, 1, 2], "11");
    town.until("the nodes are heard", () => isCounted(town));
    const [before = 0] = town.leader?.groups.map(({ group }) => group) ?? [];
    for (let i = 0; i < 20; i++) t.equal(town.http("POST", "/settings", { movesMax: 10 + i }).status, 200);

    town.kill(third);
    restore(town, [0, 1], "22");
    town.run(10); // they have begun
    town.startControl(2); // with its log of the first restore, which is longer, in a higher term
    town.until("the nodes are heard", () => isCounted(town));
    t.equal(town.state?.settings.movesMax, 8, "as it was when the backup was taken");
    t.not(town.leader?.groups.at(-1)?.group, before, "it is another group");
    t.equal(town.http("POST", "/settings", { movesMax: 5 }).status, 200);
    town.until("the third has the state of the second restore", () => {
      return third.server?.service.settings.movesMax === 5;
    });
    town.until("and votes there, under a new id", () => {
      const { voters = [], outgoing = [] } = town.leader?.engine.groups.at(-1)?.core.config ?? {};
      return outgoing.length === 0 && voters.length === 3 && voters.some(({ replica }) => replica > 3);
    });
  },
);

t.test(
  "F10: a process with the disk of a restore that no node ever heard of can lead what the next one made",
  async (t) => {
    const town = backedUp(35, 3);
    const [third, late] = [town.controls[2], town.nodes[2]];
    if (third === undefined || late === undefined) throw new Error("three of each");
    const isWaiting = (): boolean => town.state?.awaited?.join() === late.id;

    town.kill(late); // so this restore does not get beyond its counting
    restore(town, [0, 1, 2], "11");
    town.until("it waits for the node that is down", isWaiting);
    town.until("on all of them", () =>
      town.controls.every(({ server }) => server?.service.isRestoring === false),
    );
    const number = town.state?.version.restore;
    // With the next term each writes down how much is committed, so the third finds it again on its own.
    town.leader?.engine.groups[0]?.core.transfer(3);
    town.leader?.engine.wake();
    town.until("the third leads", () => town.leader !== null && town.leader === third.server);

    town.kill(third);
    restore(town, [0, 1], "22");
    town.run(10); // they have begun
    town.startControl(2);
    const configNow = () => town.leader?.engine.groups.at(-1)?.core.config;
    const voterOn = (node: string) => configNow()?.voters.find((voter) => voter.node === node);
    town.until("the third votes there", () => {
      return configNow()?.outgoing.length === 0 && (voterOn(third.id)?.replica ?? 0) > 3;
    });
    town.until("the second one waits as well", isWaiting);
    const known = third.server?.groups.map(({ store }) => (store as MetaStore).state.version.restore);
    t.same(known, [number, number], "the numbers do not tell them apart");
    town.leader?.engine.groups.at(-1)?.core.transfer(voterOn(third.id)?.replica ?? 0);
    town.leader?.engine.wake();
    town.until("the third leads", () => town.leader !== null && town.leader === third.server);
    town.startNode(2);
    town.until("all nodes are heard", () => isCounted(town));
  },
);

t.test("a process that restores alone draws the number of its restore; others must be told it", async (t) => {
  const town = backedUp(34, 1);
  const groups = new Set<number>();
  for (let i = 0; i < 3; i++) {
    for (const one of town.controls) town.lose(one);
    town.startControl(0, true);
    town.until("the nodes are heard", () => isCounted(town));
    town.run(3000); // what is made is heard: the next one has a higher number
    t.equal(town.state?.version.restore, i + 1);
    for (const { group } of town.leader?.groups ?? []) groups.add(group);
  }
  t.equal(groups.size, 3, "each is a group of its own");
  const [one] = town.controls;
  if (one === undefined) throw new Error("there is one");
  town.kill(one);
  town.startControl(0);
  town.until("a start as always", () => isCounted(town));
  t.ok(groups.has(town.leader?.groups[0]?.group ?? 0));

  const untold = new Town(h64, { seed: 36, controls: 3, nodes: 0, cluster: CLUSTER });
  untold.backup = town.backup;
  untold.startControl(0, true);
  t.throws(() => untold.run(10), /processes that restore together need one restore id/);
});

t.test(
  "F9: no epoch is issued by two of them: a former control plane, one restored, and one restored once more",
  async (t) => {
    const nodes = ["n1", "n2", "n3"];
    const former = new Driver();
    for (const node of nodes) former.run(register(node));
    former.run(init(1, nodes));
    const backup = parseBackup(JSON.stringify(backupOf(former.state)));
    const issued = new Map<number, string>();
    let group = 200;
    /** Some tries of a move, each under an epoch of its own. */
    const issue = (name: string, driver: Driver): void => {
      const number = driver.state.planNumber + 1;
      const fresh = { id: `s${++group}`, weight: 1, newborn: newborn(group, ["n1"]) };
      const shards = [...old(...driver.state.shards.keys()), fresh];
      const move = { from: "s1", to: fresh.id, slots: [[group, group]] as const };
      if (!driver.run(plan(number, shards, [move])).startsWith("ok")) t.fail("a plan");
      for (let tries = 1; tries <= 5; tries++) {
        const epoch = Number(driver.run({ kind: "start", plan: number, move: 0, tries }).split(" ")[1]);
        if (issued.has(epoch)) t.fail(`${epoch} of ${name} is ${issued.get(epoch)}'s`);
        issued.set(epoch, name);
        for (const phase of ["aborted", "closed"] as const)
          driver.run({ kind: "outcome", epoch, phase, record: null });
      }
      driver.run({ kind: "cancel", number });
    };
    const hearAll = (driver: Driver, from: Driver): void => {
      const heard = heardOf(from.state);
      for (const node of nodes) driver.run({ kind: "heard", node, incarnation: id(node), heard });
    };
    const restored = (heardBy: Driver): Driver => {
      const driver = new Driver();
      for (let part = 0; part < partsOf(backup.image.length); part++) driver.run(partOf(backup, part));
      hearAll(driver, heardBy);
      t.equal(driver.state.awaited, null);
      return driver;
    };
    issue("the former", former);
    const first = restored(former);
    for (let i = 0; i < 3; i++) {
      issue("the former", former);
      issue("the restored", first);
    }
    const second = restored(first);
    for (const [name, driver] of [
      ["former", former],
      ["first", first],
      ["second", second],
    ] as const)
      issue(`the ${name} one`, driver);
    hearAll(former, second); // it learns that it is an old one, and counts as restored from there on
    t.ok(former.state.version.restore > second.state.version.restore);
    for (const [name, driver] of [
      ["former", former],
      ["second", second],
      ["first", first],
    ] as const)
      issue(`the ${name} one, later`, driver);
    t.equal(issued.size, 65);
  },
);

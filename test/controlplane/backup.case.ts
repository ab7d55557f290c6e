/** Backups of the control plane: the file, its way into a new log, and a cluster that goes on with it. */
import t from "tap";
import xxhash from "xxhash-wasm";
import { backupOf, parseBackup, partOf, partsOf } from "../../src/controlplane/backup.ts";
import { hashOf } from "../../src/controlplane/image.ts";
import { compareVersions } from "../../src/wire/control_plane.ts";
import { eraAfter } from "../../src/wire/epochs.ts";
import { init, register, SMALL } from "./bodies.ts";
import { CLUSTER, Driver, id, imageOf, restoreInto } from "./driver.ts";
import { Town } from "./process_town.ts";
import { Desk } from "./service_desk.ts";

const { h64 } = await xxhash();
const FIRST = {
  replicas: 3,
  vnodes: 32,
  shards: [1, 2].map((i) => ({ id: `s${i}`, weight: 1, nodes: null })),
};

function textOf(driver: Driver): string {
  return JSON.stringify({ takenAt: "today", ...backupOf(driver.state) });
}

function small(): Driver {
  const driver = new Driver();
  for (const [i, body] of SMALL.entries()) driver.run(body, id(`${i}`));
  return driver;
}

/** A state whose image has several parts. */
function large(): Driver {
  const driver = small();
  for (let i = 4; i < 200; i++) driver.run(register(`n${i}`));
  return driver;
}

t.test("a backup says what it is of, and is read back as it was", async (t) => {
  const driver = small();
  const text = textOf(driver);
  t.match(JSON.parse(text), { cluster: CLUSTER, format: 1, epoch: 1, plan: 1, nodes: 3, shards: 2 });
  t.equal(hashOf(parseBackup(text).state), hashOf(driver.state));
});

t.test(
  "D2: a backup that is damaged, changed, foreign or of another format is refused with the reason",
  async (t) => {
    const root = backupOf(small().state) as Record<string, unknown>;
    const image = String(root.image);
    const wrong: readonly (readonly [object, RegExp])[] = [
      [{ image: `${image.slice(0, 40)}A${image.slice(41)}` }, /damaged: its checksum/],
      [{ image: image.slice(0, -8) }, /damaged: its checksum/],
      [{ image: "*" }, /damaged/],
      [{ epoch: 7 }, /head and its image differ/],
      [{ format: 2 }, /format 2, this program reads 1/],
      [{ nucleus: "other" }, /no backup of a control plane/],
    ];
    for (const [part, why] of wrong) t.throws(() => parseBackup(JSON.stringify({ ...root, ...part })), why);
    t.throws(() => parseBackup("x"), /not JSON/);
    t.throws(() => parseBackup("null"), /no backup/);
  },
);

t.test(
  "F9: its parts make the state in another log, in order, each once or more often, and it counts the nodes",
  async (t) => {
    const before = large();
    const backup = parseBackup(textOf(before));
    const count = partsOf(backup.image.length);
    t.ok(count >= 2, `${count} parts`);
    const after = new Driver();
    t.match(after.run(partOf(backup, 1)), /^TRYAGAIN part 0/);
    t.equal(after.run(partOf(backup, 0)), "ok 1");
    t.equal(after.run(partOf(backup, 0)), "ok 1", "twice");
    const other = new Driver();
    t.equal(restoreInto(other.store, imageOf(after.store)), null, "half of it, in a snapshot");
    t.equal(hashOf(other.state), hashOf(after.state));
    for (let part = 1; part < count; part++) other.run(partOf(backup, part));
    const { state } = other;
    t.same([state.version.restore, state.awaited?.length, state.shards.size], [1, 199, 2]);
    t.equal(other.run(partOf(backup, 0)), "ok 1", "it is done");
    t.equal(
      hashOf({ ...state, awaited: null }),
      hashOf({
        ...before.state,
        version: state.version,
        restoreToken: backup.token,
        epoch: eraAfter(before.state.epoch),
      }),
    );
  },
);

t.test("a backup is taken by no control plane that has shards, nor one of another cluster", async (t) => {
  const backup = parseBackup(textOf(small()));
  const used = new Driver();
  for (const node of ["n1", "n2"]) used.run(register(node));
  used.run(init(1, ["n1", "n2"]));
  t.match(used.run(partOf(backup, 0)), /^CONFLICT this control plane has shards/);
  const foreign = parseBackup(JSON.stringify(backupOf({ ...small().state, cluster: "d".repeat(32) })));
  const blank = new Driver();
  t.match(blank.run(partOf(foreign, 0)), /^INVALID the backup is of cluster d+/);
  t.same([blank.state.restoring, blank.state.nodes.size], [null, 0], "nothing was changed");
});

t.test(
  "F10: while it is restored a process serves nobody; then it waits for the nodes of the backup",
  async (t) => {
    const backup = parseBackup(textOf(large()));
    const desk = new Desk(h64, null, 1, backup);
    const process = desk.world.processes[0];
    if (process === undefined) throw new Error("one process");
    desk.world.elect(process);
    desk.services[0]?.onLeaderChange();
    t.equal(desk.ask({ kind: "map" })?.kind, "elsewhere");
    t.match(desk.http("POST", "/cluster/init", { shards: 1 }), { status: 503, json: { error: "restoring" } });
    t.match(desk.http("GET", "/health").json, { restoring: /part \d of \d/ });
    desk.run(20);
    t.equal(desk.state.awaited?.length, 199);
    t.match(desk.http("GET", "/health").json, { restoring: null, waitingFor: desk.state.awaited });
    t.match(desk.http("GET", "/cluster/backup").json, { cluster: CLUSTER, version: { restore: 1 } });
    t.ok(desk.said.some((line) => line.startsWith("the backup is restored")));
    desk.run(50);
    t.equal(desk.world.log.length, 1 + partsOf(backup.image.length), "and no more of it");
  },
);

t.test("a backup for a control plane that has shards is told of, and that one goes on", async (t) => {
  const backup = parseBackup(textOf(small()));
  const desk = new Desk(h64, null, 1, backup);
  for (const body of [register("n1"), init(1, ["n1"])]) {
    desk.world.processes[0]?.begin(1);
    desk.world.leader = desk.world.processes[0] ?? null;
    desk.world.term = 1;
    desk.world.processes[0]?.propose({ request: null, body }, () => {});
    desk.world.step();
  }
  desk.run(10);
  t.ok(desk.said.some((line) => /not restored.*has shards of its own/.test(line)));
  t.equal(desk.http("GET", "/shard").status, 200);
});

t.test(
  "F9: a cluster whose control plane is lost goes on from an old backup: what moved stays, nothing is served twice, a shard more is added",
  async (t) => {
    for (const controls of [1, 3]) {
      const cluster = "ab".repeat(16);
      const town = new Town(h64, { seed: 20 + controls, controls, nodes: 4, firstLayout: FIRST, cluster });
      town.startAll(true);
      town.until("both shards have a leader", () => town.isServed);
      const client = town.client("n1");
      const keys = Array.from({ length: 100 }, (_, i) => `key ${i}`);
      client.pipeline(...keys.map((key) => ["SET", key, `value of ${key}`]));
      town.until("answers", () => client.replies.length >= 100);

      const text = town.http("GET", "/cluster/backup").text;
      const isOver = (number: number): boolean =>
        town.state?.plan === null && town.state.planEnd?.number === number;
      const added = JSON.parse(town.http("POST", "/shard/add", { weight: 0.2 }).text);
      town.until("slots moved after the backup", () => isOver(2), 120_000);
      town.run(2000);
      const lost = town.state;
      if (lost === null) throw new Error("somebody leads");
      for (const one of town.controls) town.lose(one);
      const late = town.nodes[2];
      if (late === undefined) throw new Error("four nodes");
      town.kill(late);
      town.run(3000);

      town.backup = parseBackup(text);
      if (controls > 1) town.restoreId = "cd".repeat(16);
      for (let i = 0; i < controls; i++) town.startControl(i, true);
      town.until("it waits for the node that is down", () => town.state?.awaited?.join() === late.id);
      t.equal(town.http("POST", "/shard/add", {}).status, 503);
      town.run(3000);
      t.same(town.state?.awaited, [late.id]);
      town.startNode(2);
      town.until("all were heard", () => town.state?.awaited === null);
      town.until("it knows who owns what", () => {
        const counts = town.state?.assignment.counts();
        return (
          JSON.stringify([...(counts ?? [])].sort()) === JSON.stringify([...lost.assignment.counts()].sort())
        );
      });
      const now = town.state;
      if (now == null) throw new Error("somebody leads");
      t.ok(compareVersions(now.version, lost.version) > 0);
      t.equal(now.version.restore, 1);
      t.ok(now.epoch >= lost.epoch && now.planNumber >= lost.planNumber, `${now.epoch} ${now.planNumber}`);
      t.ok(now.shards.has(added.shard), "the younger shard is known");
      t.same(
        [...now.shards.values()].map(({ group }) => group).sort(),
        [...lost.shards.values()].map(({ group }) => group).sort(),
      );

      const more = town.http("POST", "/shard/add", { weight: 0.2 });
      t.equal(more.status, 200, more.text);
      const { epoch } = JSON.parse(more.text);
      t.equal(epoch, lost.planNumber + 1);
      town.until("one more shard has its slots", () => isOver(epoch), 120_000);
      t.ok(
        (town.state?.finished ?? []).every((move) => move.epoch > lost.epoch),
        "no epoch is used twice",
      );
      town.run(3000);
      for (const { server } of town.nodes)
        t.equal(server?.routing.map?.version.restore, 1, "every node has a map of it");
      for (let slot = 0; slot < 16_384; slot += 97) {
        const owners = town.state?.shards ?? new Map();
        const serving = [...owners.values()].filter(({ group }) =>
          town.nodes.some(
            ({ server }) =>
              server?.groups.some(
                (one) => one.group === group && one.isLeader && one.store.isServed(slot),
              ) === true,
          ),
        );
        if (serving.length !== 1) t.fail(`slot ${slot} is served by ${serving.map((one) => one.id).join()}`);
      }
      client.replies.length = 0;
      client.pipeline(...keys.map((key) => ["GET", key]), ["DBSIZE"]);
      town.until("answers", () => client.replies.length >= 101);
      t.same(client.replies, [...keys.map((key) => `value of ${key}`), "100"]);
    }
  },
);

t.test(
  "F10: a control process of before the restore, with its old disk, does not speak for the new control plane",
  async (t) => {
    const cluster = "ab".repeat(16);
    const town = new Town(h64, { seed: 31, controls: 3, nodes: 3, firstLayout: FIRST, cluster });
    town.startAll(true);
    town.until("both shards have a leader", () => town.isServed);
    const text = town.http("GET", "/cluster/backup").text;
    for (let i = 0; i < 20; i++) t.equal(town.http("POST", "/settings", { movesMax: 10 + i }).status, 200);
    const [first, second, third] = town.controls;
    if (first === undefined || second === undefined || third === undefined) throw new Error("three of them");
    town.kill(third);
    for (const one of [first, second]) town.lose(one);
    town.backup = parseBackup(text);
    town.restoreId = "cd".repeat(16);
    town.startControl(0, true);
    town.startControl(1, true);
    town.run(10); // they have begun
    town.backup = null;
    town.startControl(2); // with its log of before, which is longer, in a higher term
    town.until("the nodes are heard", () => town.state?.version.restore === 1 && town.state.awaited === null);
    t.equal(town.state?.settings.movesMax, 8, "as it was when the backup was taken");
    t.equal(town.http("POST", "/settings", { movesMax: 5 }).status, 200);
    const has = (): number | undefined => third.server?.service.settings.movesMax;
    town.until("it has the state of the new one", () => has() === 5);
    town.until("and votes there, under a new id", () => {
      const { voters = [], outgoing = [] } = town.leader?.engine.groups[0]?.core.config ?? {};
      return outgoing.length === 0 && voters.length === 3 && voters.some(({ replica }) => replica > 3);
    });
    for (const one of [first, second]) {
      town.kill(one);
      town.until("another leads", () => town.leader !== null && town.leader !== one.server);
      t.equal(town.state?.settings.movesMax, 5);
      town.startControl(town.controls.indexOf(one));
      town.until("it is back", () => (one.server?.service.settings.movesMax ?? 0) === 5);
    }
  },
);

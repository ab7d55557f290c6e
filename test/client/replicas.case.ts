/** Reads that followers answer, by the client library: real nodes in a simulated world. */
import t from "tap";
import { NucleusClient, type ReadReport } from "../../src/client/client.ts";
import { ClientCore } from "../../src/client/core.ts";
import { asText } from "../../src/client/replies.ts";
import { Machine } from "../../src/sim/platform.ts";
import { Cluster } from "../server/cluster.ts";
import { A, town } from "./town_client.ts";

/** A client of three nodes, that leads at n1. */
function world() {
  const cluster = Cluster.started({ seed: 4 });
  cluster.makeLeader(0);
  const machine = new Machine(cluster.world, cluster.net, 90, "app");
  let core: ClientCore | null = null;
  machine.start((platform) => {
    const addresses = [0, 1, 2].map((i) => ({ host: `n${i + 1}`, port: 7001 }));
    core = new ClientCore(platform, { addresses, name: "app", version: "1", timeoutMs: 3000 });
  });
  cluster.until("the client is there", () => core !== null);
  const db = new NucleusClient(core as unknown as ClientCore, asText);
  const settled = async <T>(promise: Promise<T>): Promise<T> => {
    let isOpen = true;
    const close = (): void => {
      isOpen = false;
    };
    promise.then(close, close);
    for (let i = 0; isOpen && i < 20_000; i++) {
      cluster.run(1);
      await null;
    }
    return promise;
  };
  const told: ReadReport[] = [];
  const onRead = (report: ReadReport): void => void told.push(report);
  return { cluster, db, settled, told, onRead };
}

t.test("C2: follower reads of the client see all that was acknowledged, and say who answered", async (t) => {
  const { db, settled, told, onRead } = world();
  await settled(db.set("k", "0"));
  await settled(db.get("k", { consistency: "follower" })); // dials one
  for (let i = 1; i < 40; i++) {
    await settled(db.set("k", String(i)));
    t.equal(await settled(db.get("k", { consistency: "follower", onRead })), String(i));
  }
  t.ok(told.filter(({ by }) => by === "read-index").length > 30, "followers, and not the leader");
  t.ok(told.every(({ stalenessMs }) => stalenessMs === 0));
  told.length = 0;
  const read = { consistency: "follower", onRead } as const;
  t.same(await settled(db.mget(["k", "none"], read)), ["39", undefined]);
  t.equal(await settled(db.exists(["k", "none"], read)), 1);
  t.equal((await settled(db.getEntry("k", read)))?.value, "39");
  t.equal(await settled(db.ttl("none", read)), undefined);
  t.equal(told.length, 6, "once for each slot");
});

t.test("stale reads say how old they may be, and none is older than was asked for", async (t) => {
  const { cluster, db, settled, told, onRead } = world();
  await settled(db.set("k", "old"));
  await settled(db.get("k", { consistency: "follower" }));
  cluster.run(100);
  t.equal(await settled(db.get("k", { consistency: "stale", onRead })), "old");
  t.match(told.at(-1), { by: "stale" });
  cluster.run(400);
  await settled(db.get("k", { consistency: "stale", maxStalenessMs: 60_000, onRead }));
  t.ok((told.at(-1)?.stalenessMs ?? 0) >= 300, `${told.at(-1)?.stalenessMs} ms`);
  await settled(db.set("k", "new"));
  t.equal(await settled(db.get("k", { consistency: "stale", maxStalenessMs: 0, onRead })), "new");
  t.equal(told.at(-1)?.stalenessMs, 0);
});

t.test("follower reads go on when followers die, and when another node comes to lead", async (t) => {
  const { cluster, db, settled } = world();
  await settled(db.set("k", "v"));
  for (let i = 0; i < 3; i++) await settled(db.get("k", { consistency: "follower" }));
  cluster.kill(2);
  for (let i = 0; i < 5; i++) t.equal(await settled(db.get("k", { consistency: "follower" })), "v");
  cluster.start(2);
  cluster.until("it is back", () => cluster.node(2).started);
  cluster.makeLeader(1);
  for (let i = 0; i < 5; i++) t.equal(await settled(db.get("k", { consistency: "follower" })), "v");
});

t.test("what cannot be meant is said before anything is asked", async (t) => {
  const { db } = world();
  const wrong = [
    { consistency: "any" as "stale" },
    { maxStalenessMs: 5 },
    { consistency: "follower", maxStalenessMs: 5 } as const,
    { consistency: "stale", maxStalenessMs: -1 } as const,
  ];
  for (const options of wrong) await t.rejects(db.get("k", options), { code: "USAGE" });
});

t.test("nodes that know no such reads are asked as ever, and their answer is the leader's", async (t) => {
  const { town: at, core } = town(); // its doors speak wire version 1
  const db = new NucleusClient(core, asText);
  const told: ReadReport[] = [];
  const asked = db.get(A, { consistency: "follower", onRead: (report) => told.push(report) });
  const again = db.get(A, {
    consistency: "stale",
    maxStalenessMs: 10,
    onRead: (report) => told.push(report),
  });
  at.run(50);
  await Promise.all([asked, again]);
  t.same(told, [
    { by: "leader", stalenessMs: 0 },
    { by: "leader", stalenessMs: 0 },
  ]);
});

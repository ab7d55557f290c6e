/** Calls over keys of several slots, of one client and two shards. */
import t from "tap";
import { NucleusClient } from "../../src/client/client.ts";
import { asText } from "../../src/client/replies.ts";
import { bornIn, type Town } from "./town.ts";
import { A, B, keysOf, town } from "./town_client.ts";

/** Lets the world go on until `promise` is settled. */
async function settled<T>(at: Town, promise: Promise<T>): Promise<T> {
  let isOpen = true;
  const close = (): void => {
    isOpen = false;
  };
  promise.then(close, close);
  for (let i = 0; isOpen && i < 10_000; i++) {
    at.run(1);
    await null;
  }
  return promise;
}

t.test(
  "calls over several slots: one command to each shard or slot, and the answer in the caller's order",
  async (t) => {
    const { town: at, core } = town();
    const db = new NucleusClient(core, asText);
    const keys = [...keysOf(0, 5), ...keysOf(1, 5)].sort();
    await settled(at, db.mset(keys.map((key) => [key, `v${key}`] as const)));
    t.equal(at.arrivals.length, 10, "a session write to each slot");
    t.ok(at.arrivals.every(({ node, slot, seq }) => node === bornIn(slot, 2) && seq > 0));
    at.arrivals.length = 0;
    const asked = ["none", ...keys, keys[0] as string];
    t.same(await settled(at, db.mget(asked)), [undefined, ...keys.map((key) => `v${key}`), `v${keys[0]}`]);
    t.equal(at.arrivals.length, 2, "a read to each shard");
    t.equal(await settled(at, db.exists(asked)), 11);
    t.equal(await settled(at, db.del(asked)), 10);
    t.equal(await settled(at, db.exists(asked)), 0);
    t.same(await settled(at, db.mget([])), []);
  },
);

t.test("C7: a write in parts: unknown if a part is, or if some were executed and some not", async (t) => {
  const { town: at, core } = town();
  const db = new NucleusClient(core, asText);
  const entries: [string, string][] = [
    [A, "1"],
    [B, "2"],
  ];
  at.rules.fate = () => "again";
  await t.rejects(settled(at, db.mset(entries, { timeoutMs: 300 })), { code: "UNAVAILABLE" });
  at.rules.fate = ({ keys }) => (keys[0] === A ? "again" : "ok");
  await t.rejects(settled(at, db.mset(entries, { timeoutMs: 300 })), {
    code: "OUTCOME_UNKNOWN",
    message: /1 of 2 parts were executed/,
  });
  await t.rejects(settled(at, db.mget([A, B], { timeoutMs: 300 })), { code: "UNAVAILABLE" });
  at.rules.fate = ({ keys }) => (keys[0] === A ? "lost" : "again");
  await t.rejects(settled(at, db.del([A, B], { timeoutMs: 300 })), { code: "OUTCOME_UNKNOWN" });
  at.rules.fate = () => "lost";
  const aborted = new AbortController();
  const call = db.mget([A, B], { signal: aborted.signal });
  aborted.abort("enough");
  await t.rejects(settled(at, call), { code: "ABORTED" });
});

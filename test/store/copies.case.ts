/** A copy of slots at its source: what it keeps, when it is stale, how its rounds are counted. */
import t from "tap";
import { OP } from "../../src/wire/command.ts";
import { MOVED_KEY, pair } from "./shards.ts";

t.test("a copy keeps only what changed behind it, and a slot is walked in slices of any size", async (t) => {
  const { a, b, carrier } = pair(400);
  a.run(OP.set, MOVED_KEY, "x".repeat(200_000), 0, 0);
  carrier.import();
  carrier.begin();
  let sent = 0;
  while (carrier.copy?.isWalking) {
    carrier.send(1 + (sent++ % 700));
    a.run(OP.set, `{m}${sent % 400}`, `changed ${sent}`, 0, 0);
    a.run(OP.del, `{m}${(sent * 7) % 400}`);
  }
  t.ok(sent > 50);
  t.ok((carrier.copy?.left ?? 0) <= 401);
  carrier.sendAll(1);
  t.equal(carrier.copy?.left, 0);
  carrier.seal();
  t.equal(carrier.own(), null);
  t.same(b.store.keyCount, a.store.keyCount);
});

t.test("a restored state ends the copy that read the old one", async (t) => {
  const { a, carrier } = pair(10);
  carrier.import();
  carrier.begin();
  const source = a.store.beginSnapshot();
  const sink = a.store.beginRestore();
  for (let chunk = source.next(); chunk !== null; chunk = source.next()) sink.write(chunk);
  source.close();
  t.equal(sink.finish(), null);
  t.ok(carrier.copy?.isStale);
});

t.test(
  "F3: clients that write elsewhere all the time make rounds as keys do: so the seal does not wait for them for ever",
  async (t) => {
    const { a, carrier } = pair(3);
    let seq = 0;
    const writes = (): void => {
      seq++;
      for (let client = 1; client <= 40; client++)
        a.apply([
          OP.incrBy,
          ["elsewhere", 1],
          { client, seq, floor: seq, notAfter: a.timeMs + 5000, after: 0 },
        ]);
    };
    writes();
    carrier.import();
    carrier.begin();
    carrier.sendAll();
    t.equal(carrier.copy?.rounds, 0, "the first pass is none");
    for (let round = 1; round <= 5; round++) {
      writes();
      carrier.send(200);
      t.equal(carrier.copy?.rounds, round);
      writes(); // who was sent changes again before the round is over
      while ((carrier.copy?.left ?? 0) > 0) carrier.send(1_000_000);
      t.equal(carrier.copy?.rounds, round);
    }
  },
);

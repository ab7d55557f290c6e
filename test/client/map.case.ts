/** The client and the map of a cluster of several shards: where its commands go, and what happens when that changes. */
import t from "tap";
import type { ClientCore } from "../../src/client/core.ts";
import { WINDOW_MAX } from "../../src/client/session.ts";
import { type ClusterMap, clusterMap } from "../../src/wire/cluster_map.ts";
import { encodeShape } from "../../src/wire/msgpack.ts";
import { OPCODE } from "../../src/wire/native.ts";
import { bornIn, slotOfText, Town } from "./town.ts";
import { A, A2, append, B, Ends, get, keysOf, town } from "./town_client.ts";

t.test("each command goes straight to the leader of its slot's shard", async (t) => {
  const { town: at, ends, core } = town();
  const keys = [...keysOf(0, 20), ...keysOf(1, 20)];
  for (const key of keys) {
    append(core, key, "x", ends.caller(key));
    get(core, key, ends.caller(key));
  }
  at.run(50);
  t.equal(ends.said.length, 80);
  t.equal(at.arrivals.length, 80);
  for (const { node, slot } of at.arrivals) t.equal(node, bornIn(slot, 2));
  t.equal(at.doors.size <= 3, true, "one link to each leader, and home");
});

t.test("the first commands need no map to be served, and what is used opens its own link", async (t) => {
  const at = new Town(2, 3, 2);
  const ends = new Ends();
  at.client((core) => append(core, A, "x", ends.caller("first")));
  at.run(50);
  t.same(ends.said, ["first: ok"]);
  at.run(5000);
  t.ok(at.doors.size <= 2, "nothing of the other shard was used");
});

t.test("clients number the writes of each group by themselves", async (t) => {
  const { town: at, ends, core } = town();
  for (let i = 0; i < 10; i++) append(core, i % 2 === 0 ? A : B, "x", ends.caller(""));
  at.run(50);
  const clients = [0, 1].map(
    (shard) =>
      new Set(at.arrivals.filter(({ slot }) => bornIn(slot, 2) === shard).map(({ client }) => client)),
  );
  t.same(
    clients.map(({ size }) => size),
    [1, 1],
  );
  t.notSame(clients[0], clients[1]);
});

t.test("I4: a shard without a leader holds up nothing but its own commands", async (t) => {
  const { town: at, ends, core } = town();
  (at.shards[0] as { stuckUntilUs: number }).stuckUntilUs = at.world.nowUs + 60_000_000;
  for (let i = 0; i < 3 * WINDOW_MAX; i++) append(core, A, "x", ends.caller("stuck"));
  const slowest: number[] = [];
  for (let i = 0; i < 3 * WINDOW_MAX; i++) {
    const beganUs = at.world.nowUs;
    append(core, B, "x", {
      onReply: () => slowest.push(at.world.nowUs - beganUs),
      onError: (error) => t.fail(error.message),
    });
    if (i % 64 === 0) at.run(1);
  }
  at.run(1000);
  t.equal(slowest.length, 3 * WINDOW_MAX);
  t.ok(Math.max(...slowest) < 200_000, `the slowest took ${Math.max(...slowest)} us`);
  t.equal(ends.said.length, 0);
  at.run(10_000);
  t.equal(ends.said.length, 3 * WINDOW_MAX, "and those end when their time is up");
});

t.test("a map that is pushed is followed at once, under the numbers of the new group", async (t) => {
  const { town: at, ends, core } = town();
  at.move([slotOfText(A)], 1);
  at.publish();
  at.run(10);
  append(core, A, "x", ends.caller("moved"));
  append(core, B, "x", ends.caller("there"));
  at.run(50);
  t.same([...ends.said].sort(), ["moved: ok", "there: ok"]);
  t.same(
    at.arrivals.map(({ node }) => node),
    [1, 1],
  );
  t.equal(new Set(at.arrivals.map(({ client }) => client)).size, 1);
});

t.test("F9: neither an older map nor a leader of a lower term is believed", async (t) => {
  const { town: at, ends, core } = town();
  const old = at.told[2] as ClusterMap;
  at.move([slotOfText(A)], 1);
  at.lead(1, 2);
  at.publish();
  at.run(10);
  append(core, A, "x", ends.caller("warm"));
  at.run(50);
  for (const door of at.doors) {
    door.tell(old);
    door.tell({ ...old, cluster: "cd".repeat(16), version: { restore: 9, index: 9 } });
  }
  at.run(10);
  append(core, A, "x", ends.caller("later"));
  at.run(50);
  t.same(ends.said, ["warm: ok", "later: ok"]);
  t.equal(at.arrivals.at(-1)?.node, 2);
});

t.test("F9: a hint of a higher term counts, whatever the version of the map it came with", async (t) => {
  const { town: at, ends, core } = town();
  const old = at.told[0] as ClusterMap;
  const [s1, s2] = old.shards;
  if (s1 === undefined || s2 === undefined) throw new Error("two shards");
  at.move([16_000], 0);
  at.publish();
  at.run(10);
  for (const door of at.doors) door.tell({ ...old, shards: [{ ...s1, leader: { node: 2, term: 7 } }, s2] });
  at.run(10);
  get(core, A, ends.caller("dials n3"));
  at.run(50);
  get(core, A, ends.caller("there"));
  at.run(50);
  t.equal(at.arrivals.at(-1)?.node, 2);
});

t.test(
  "F8: MOVED, TRYAGAIN, CLUSTERDOWN: the same number again, after a pause, until the call's time is up",
  async (t) => {
    let refusals = 4;
    const {
      town: at,
      ends,
      core,
    } = town({
      fate: ({ keys }) =>
        keys[0] === A2 && refusals-- > 0 ? (refusals % 2 === 0 ? "moved" : "again") : "ok",
    });
    append(core, A2, "x", ends.caller("write"));
    at.run(2000);
    t.same(ends.said, ["write: ok"]);
    const sent = at.arrivals.filter(({ keys }) => keys[0] === A2);
    t.equal(sent.length, 5);
    t.equal(new Set(sent.map(({ client, seq }) => `${client} ${seq}`)).size, 1);
    at.rules.fate = ({ keys }) => (keys[0] === A2 ? "moved" : "ok");
    append(core, A2, "y", ends.caller("never"), 700);
    at.run(1000);
    t.match(ends.said[1], /^never: UNAVAILABLE MOVED/);
    const tries = at.arrivals.filter(({ keys }) => keys[0] === A2).length - 5;
    t.ok(tries > 5 && tries <= 35, `${tries} attempts in 700 ms: no bouncing`);
  },
);

t.test("I4: refusals ask for the map once at a time, in pauses that grow", async (t) => {
  const { town: at, ends, core } = town();
  at.rules.fate = ({ keys }) => (keys[0] === A ? "again" : "ok");
  const before = at.mapAsks;
  for (let i = 0; i < 1000; i++) append(core, A, "x", ends.caller(""), 5000);
  at.run(4900);
  const asks = at.mapAsks - before;
  t.ok(asks >= 3 && asks <= 15, `${asks} asks in 5 s, for 1000 refused calls`);
});

t.test(
  "a slot that changes its group is held until what was sent has its answer: a read sees the write before it",
  async (t) => {
    const { town: at, ends, core } = town({ delayUs: () => 20_000 });
    append(core, A, "1", ends.caller("write"));
    at.run(5);
    at.move([slotOfText(A)], 1);
    at.publish();
    at.run(5);
    get(core, A, ends.caller("read"));
    append(core, A, "2", ends.caller("write 2"));
    get(core, B, ends.caller("other slot"));
    at.run(5);
    t.same(
      at.arrivals.map(({ node, slot }) => [node, slot]),
      [
        [0, slotOfText(A)],
        [1, slotOfText(B)],
      ],
    );
    at.run(100);
    t.same(ends.said.slice(0, 2).sort(), ["other slot: ", "write: ok"]);
    t.same(ends.said.slice(2), ["read: 1", "write 2: ok"]);
    t.equal(at.arrivals.at(-1)?.node, 1);
  },
);

t.test(
  "C8: a write of unknown fate whose slot moved is repeated there under its number, and executed once",
  async (t) => {
    for (const fate of ["cut_after", "cut_before", "uncertain_done", "uncertain_not", "late"] as const) {
      const { town: at, ends, core } = town();
      at.rules.fate = ({ keys }) => {
        if (keys[0] !== A) return "ok";
        at.rules.fate = () => "ok";
        // Whatever the old owner did, it did before the move; the client is told of both at about the same time.
        at.world.after(300, null, () => {
          at.move([slotOfText(A)], 1);
          at.publish();
        });
        return fate;
      };
      append(core, A, "x", ends.caller("write"));
      append(core, A, "y", ends.caller("behind"));
      at.run(3000);
      t.same([...ends.said].sort(), ["behind: ok", "write: ok"], fate);
      t.equal(at.shards[1]?.values.get(A), "xy", fate);
      t.equal(new Set(at.arrivals.map(({ client }) => client)).size, 1, "the slot kept its id");
      const counts = at.shards.flatMap(({ executed }) => [...executed.entries()]);
      t.equal(new Set(counts.map(([name]) => name)).size, counts.length, "in one shard each");
      t.ok(counts.every(([, count]) => count === 1));
      const isRefusal = fate === "uncertain_done" || fate === "uncertain_not";
      if (isRefusal) t.equal(at.arrivals.at(-1)?.node, 1, "it went to the new owner");
    }
  },
);

t.test(
  "the floor of an id passes no number that is open in any group, and what strayed holds back no window",
  async (t) => {
    let isStuck = false;
    const {
      town: at,
      ends,
      core,
    } = town({
      fate: ({ slot }) => (slot === slotOfText(A) && isStuck ? "again" : "ok"),
    });
    isStuck = true;
    append(core, A, "x", ends.caller("strays"), 40_000);
    at.run(100);
    const [{ client, seq }] = at.arrivals as unknown as [{ client: string; seq: number }];
    at.move([slotOfText(A)], 1);
    at.publish();
    at.run(500);
    for (let i = 0; i < 2 * WINDOW_MAX; i++) append(core, A2, "y", ends.caller("home"), 40_000);
    append(core, A, "z", ends.caller("behind"), 40_000);
    at.run(1000);
    t.equal(ends.said.length, 2 * WINDOW_MAX, "the old group goes on, more than a window of it");
    const own = at.arrivals.filter((arrival) => arrival.client === client);
    t.ok(own.length > 5);
    for (const { floor } of own) t.ok(floor <= seq, "the id's floor waits for the write, wherever it is now");
    t.notOk(at.arrivals.some((arrival) => arrival.keys[0] === A2 && arrival.client === client));
    isStuck = false;
    at.run(500);
    t.same(ends.said.slice(2 * WINDOW_MAX), ["strays: ok", "behind: ok"]);
    t.equal(at.shards[1]?.values.get(A), "xz");
  },
);

t.test(
  "I1: a silent leader is left when another leads its shard; the other shard sees nothing of it",
  async (t) => {
    const { town: at, ends, core } = town();
    at.nodes[0]?.pause(20_000_000);
    at.lead(0, 2);
    at.publish([1, 2]);
    append(core, A, "x", ends.caller("silent"));
    for (let i = 0; i < 20; i++) {
      append(core, B, "y", ends.caller("beside"));
      at.run(5);
    }
    t.same(
      ends.said,
      Array.from({ length: 20 }, () => "beside: ok"),
    );
    at.run(2500);
    t.equal(ends.said.at(-1), "silent: ok");
    t.equal(at.shards[0]?.values.get(A), "x");
  },
);

t.test("a leader that dies: its shard's commands go by way of others, and on to its successor", async (t) => {
  const { town: at, ends, core } = town();
  at.nodes[1]?.kill();
  append(core, B, "x", ends.caller("write"));
  at.run(500);
  t.same(ends.said, ["write: ok"], "another node forwards");
  at.lead(1, 2);
  at.publish([0, 2]);
  at.run(100);
  get(core, B, ends.caller("read"));
  at.run(100);
  get(core, B, ends.caller("again"));
  at.run(100);
  t.equal(at.arrivals.at(-1)?.node, 2);
});

for (const maps of ["refuse", "ignore"] as const) {
  t.test(`a server that knows no maps (${maps}): one group over one link`, async (t) => {
    const {
      town: at,
      ends,
      core,
    } = (() => {
      const at = new Town(3, 1, 2, { maps });
      const ends = new Ends();
      let core: ClientCore | null = null;
      at.client((made) => {
        core = made;
      });
      return { town: at, ends, core: () => core as unknown as ClientCore };
    })();
    at.run(3000);
    for (const key of [A, B]) append(core(), key, "x", ends.caller(key));
    at.run(100);
    t.same([...ends.said].sort(), [`${A}: ok`, `${B}: ok`].sort());
    t.equal(new Set(at.arrivals.map(({ client }) => client)).size, 1);
    t.equal(at.doors.size, 1);
  });
}

t.test("a node that gets its map later tells it then, and is followed", async (t) => {
  const at = new Town(4, 3, 2, { maps: "ignore" });
  const ends = new Ends();
  let core: ClientCore | null = null;
  at.client((made) => {
    core = made;
  });
  at.run(1000);
  for (const door of at.doors) door.tell(at.map());
  at.run(10);
  for (let i = 0; i < 2; i++) {
    for (const key of [A, B]) append(core as unknown as ClientCore, key, "x", ends.caller(key));
    at.run(100);
  }
  t.same(
    at.arrivals.slice(-2).map(({ node }) => node),
    at.arrivals.slice(-2).map(({ slot }) => bornIn(slot, 2)),
  );
});

t.test("J1: a map that makes no sense ends the link, and nothing else", async (t) => {
  const { town: at, ends, core } = town();
  const good = at.told[0] as ClusterMap;
  for (const body of [
    Uint8Array.of(0xc1),
    encodeShape(clusterMap, { ...good, ranges: [[0, 5, 7, 1]] }),
    encodeShape(clusterMap, { ...good, nodes: [] }),
  ]) {
    for (const door of [...at.doors]) door.sendRaw(OPCODE.mapReply, body);
    append(core, A, "x", ends.caller("write"));
    at.run(1500);
    t.equal(ends.said.at(-1), "write: ok");
  }
  for (const door of at.doors) door.sendRaw(OPCODE.mapReply, new Uint8Array(0));
  append(core, A, "x", ends.caller("none yet"));
  at.run(100);
  t.equal(ends.said.at(-1), "none yet: ok");
});

t.test("another cluster under the old addresses is another cluster: nothing is carried over", async (t) => {
  const { town: at, ends, core } = town();
  at.cluster = "cd".repeat(16);
  for (const door of [...at.doors]) if (door.node === 1) door.close();
  append(core, B, "x", ends.caller("beside"));
  at.run(300);
  t.same(ends.said, ["beside: ok"]);
  t.notOk(
    at.arrivals.some(({ node }) => node === 1),
    "a node of another cluster is not talked to",
  );
  at.told[0] = { ...at.map(), version: { restore: 0, index: 0 } };
  at.told[1] = at.told[0];
  at.told[2] = at.told[0];
  for (const door of [...at.doors]) door.close();
  append(core, A, "x", ends.caller("after"));
  append(core, B, "x", ends.caller("after"));
  at.run(3000);
  t.same(ends.said.slice(1), ["after: ok", "after: ok"]);
  for (let i = 0; i < 2; i++) {
    append(core, B, "x", ends.caller("dials, then straight"));
    at.run(100);
  }
  t.equal(at.arrivals.at(-1)?.node, 1, "its map counts, although its version is lower");
});

t.test(
  "a link that carried nothing for a minute is closed, and opened again when it is wanted",
  async (t) => {
    const { town: at, ends, core } = town();
    const before = at.doors.size;
    at.run(70_000);
    t.ok(at.doors.size < before, `${before} links before, ${at.doors.size} now`);
    append(core, A, "x", ends.caller("a"));
    append(core, B, "x", ends.caller("b"));
    at.run(100);
    t.same([...ends.said].sort(), ["a: ok", "b: ok"]);
  },
);

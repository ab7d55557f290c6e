/** Reads that followers answer, by HTTP, in simulated clusters: fresh ones, and stale ones with a true bound. */
import t from "tap";
import { KiB } from "../../src/base/units.ts";
import { frameOf } from "../../src/server/http_call.ts";
import { LocalReads } from "../../src/server/local_reads.ts";
import type { LocalOutcome, LocalRead } from "../../src/server/replica_reads.ts";
import { OP } from "../../src/wire/command.ts";
import { DISCARD } from "../../src/wire/reply.ts";
import { Cluster } from "./cluster.ts";
import { type Answered, askSoon, http, jsonOf, textOf } from "./http.ts";

const stalenessOf = ({ headers }: Answered): number => Number(headers["nucleus-staleness-ms"]);

t.test("C2: a follower's read sees what was acknowledged before it came", (t) => {
  const cluster = Cluster.started();
  const leader = cluster.leader();
  const other = cluster.follower();
  for (let i = 0; i < 50; i++) {
    const value = `v${i}`;
    t.equal(http(cluster, leader, "PUT", "/kv/k", { body: value }).status, 200);
    const many = [0, 1, 2].map(() => askSoon(cluster, other, "GET", "/kv/k?read=follower"));
    cluster.until("answers", () => many.every(({ answer }) => answer !== null));
    for (const { answer } of many as { answer: Answered }[]) {
      t.equal(textOf(answer), value);
      t.match(answer.headers, { "nucleus-read": "read-index", "nucleus-staleness-ms": "0" });
    }
  }
  const atLeader = http(cluster, leader, "GET", "/kv/k?read=follower");
  t.equal(atLeader.headers["nucleus-read"], "leader");
  t.equal(http(cluster, other, "GET", "/kv/none?read=follower").status, 404);
  t.end();
});

t.test("a stale read says how old it can be, and is refused if that is too old", (t) => {
  const cluster = Cluster.started();
  const leader = cluster.leader();
  const other = cluster.follower();
  http(cluster, leader, "PUT", "/kv/k", { body: "old" });
  const first = http(cluster, other, "GET", "/kv/k?read=stale");
  t.equal(textOf(first), "old", "nothing was known: it asked");
  t.match(first.headers, { "nucleus-read": "stale", "nucleus-staleness-ms": "0" });
  cluster.run(300);
  const later = http(cluster, other, "GET", "/kv/k?read=follower_ok");
  t.ok(stalenessOf(later) >= 300 && stalenessOf(later) < 1000, "good enough for whoever did not say");
  t.equal(stalenessOf(http(cluster, other, "GET", "/kv/k?read=stale&maxStaleness=100")), 0, "it asked again");
  cluster.isolate(other);
  cluster.run(1000);
  http(cluster, leader, "PUT", "/kv/k", { body: "new" });
  const refused = http(cluster, other, "GET", "/kv/k?read=stale&maxStaleness=500");
  t.equal(refused.status, 503);
  t.equal(jsonOf(refused).error, "TRYAGAIN");
  t.equal(http(cluster, other, "GET", "/kv/k?read=follower").status, 503);
  const cut = http(cluster, other, "GET", "/kv/k?read=stale");
  t.equal(textOf(cut), "old");
  t.ok(stalenessOf(cut) >= 3000, `${stalenessOf(cut)} ms`);
  t.equal(textOf(http(cluster, other, "GET", "/kv/k?read=stale&maxStaleness=60000")), "old");
  cluster.isolate(other, false);
  cluster.until(
    "it has heard",
    () => textOf(http(cluster, other, "GET", "/kv/k?read=stale&maxStaleness=0")) === "new",
  );
  t.end();
});

t.test("after a start nothing is known of a state's age", (t) => {
  const cluster = Cluster.started();
  const leader = cluster.leader();
  for (let i = 0; i < 200; i++) http(cluster, leader, "PUT", "/kv/k", { body: String(i) }); // the log tells what is committed
  cluster.run(500);
  for (let i = 0; i < 3; i++) cluster.kill(i);
  cluster.start(0);
  cluster.until("it is up", () => cluster.node(0).started && cluster.node(0).group.store.appliedIndex > 64);
  const alone = http(cluster, 0, "GET", "/kv/k?read=stale");
  t.equal(alone.headers["nucleus-staleness-ms"], "unknown");
  t.equal(http(cluster, 0, "GET", "/kv/k?read=stale&maxStaleness=1000000").status, 503);
  t.end();
});

function readOf(keys: number, keyBytes: number): Uint8Array {
  const key = new Uint8Array(keyBytes);
  const frame = frameOf(keys * key.length, (to) => {
    to.begin(OP.mget);
    for (let i = 0; i < keys; i++) to.arg(key);
  });
  if (typeof frame === "string") throw new Error(frame);
  return frame;
}

/** What becomes of reads at a follower that is cut off: they wait. */
function cutOff() {
  const cluster = Cluster.started();
  const other = cluster.follower();
  cluster.isolate(other);
  const { group, server } = cluster.node(other);
  if (server === null) throw new Error("it runs");
  const { clock, random } = server.platform;
  const reads = new LocalReads(group.core, group.store, clock, random);
  const read = (frame: Uint8Array, hasRoom = () => true): { outcome: LocalOutcome | null } => {
    const asked: { outcome: LocalOutcome | null } = { outcome: null };
    const done = (outcome: LocalOutcome): void => {
      asked.outcome = outcome;
    };
    const one: LocalRead = {
      frame,
      slot: 0,
      mode: "follower",
      stalenessMsMax: -1,
      begin: () => DISCARD,
      hasRoom,
      done,
    };
    reads.read(one);
    return asked;
  };
  return { cluster, reads, read };
}

t.test("reads that wait at a follower are bounded by their bytes as well", (t) => {
  const { cluster, reads, read } = cutOff();
  const large = readOf(50, 16 * KiB);
  const first = Array.from({ length: 100 }, () => read(large));
  t.equal(first.filter(({ outcome }) => outcome === null).length, 82, "64 MiB, and not one more");
  t.match(first.at(-1)?.outcome, { kind: "refused", text: /^TRYAGAIN too many reads/ });
  cluster.run(1100);
  reads.serve();
  t.match(first[0]?.outcome, { kind: "refused", text: /fresh enough/ });
  t.equal(read(large).outcome, null, "and there is room again");
  t.end();
});

t.test("callers that do not take their answers do not fill a follower's room for good", (t) => {
  const { cluster, reads, read } = cutOff();
  const small = readOf(1, 16);
  const stalled = Array.from({ length: 8192 }, () => read(small, () => false));
  t.match(read(small).outcome, { kind: "refused", text: /^TRYAGAIN too many reads/ });
  reads.serve();
  t.equal(stalled[0]?.outcome, null, "they may be about to");
  cluster.run(1100);
  reads.serve();
  t.equal(read(small).outcome, null);
  t.match(stalled[0]?.outcome, { kind: "refused" });
  const few = read(small, () => false);
  cluster.run(5000);
  reads.serve();
  t.equal(few.outcome, null, "while there is room they wait");
  t.end();
});

/**
 * Writes count up at one node while others are cut off, stopped and let go on, in turns that a seed draws. Messages
 * wait on cut links and come late. Every stale answer must hold what was acknowledged before the time it names.
 */
function boundHolds(t: { fail(message: string): unknown }, seed: number): { stale: number; old: number } {
  const cluster = Cluster.started({ seed, nodes: 3 });
  const random = cluster.world.stream("faults of the test");
  const acknowledged: { readonly atUs: number; readonly value: number }[] = [];
  let written = 0;
  let pending: ReturnType<typeof askSoon> | null = null;
  let stale = 0;
  let old = 0;
  for (let step = 0; step < 400; step++) {
    const victim = random.below(3);
    const what = random.below(12);
    if (what === 0) cluster.isolate(victim);
    else if (what < 3) cluster.isolate(victim, false);
    else if (what === 3) cluster.node(victim).machine.pause(random.below(800_000));
    if (pending === null || pending.answer !== null) {
      if (pending?.answer?.status === 200) acknowledged.push({ atUs: cluster.world.nowUs, value: written });
      pending = askSoon(cluster, random.below(3), "PUT", "/kv/n", { body: String(++written) });
    }
    const i = random.below(3);
    if (!cluster.node(i).machine.paused) {
      const most = random.below(2) === 0 ? "" : `&maxStaleness=${random.below(2000)}`;
      const atUs = cluster.world.nowUs;
      const known = acknowledged.length;
      const asked = askSoon(
        cluster,
        i,
        "GET",
        `/kv/n?read=${random.below(4) === 0 ? "follower" : `stale${most}`}`,
      );
      cluster.world.run(cluster.world.nowUs + 1000 * (1 + random.below(60)));
      const { answer } = asked as { answer: Answered | null };
      if (answer !== null && answer.status < 500 && answer.headers["nucleus-read"] !== "leader") {
        stale++;
        const bound = answer.headers["nucleus-staleness-ms"];
        const sinceUs = bound === "unknown" ? -1 : atUs - Number(bound) * 1000;
        const least = acknowledged.slice(0, known).findLast((one) => one.atUs < sinceUs)?.value ?? 0;
        const seen = answer.status === 404 ? 0 : Number(textOf(answer));
        if (seen < (acknowledged.at(-1)?.value ?? 0)) old++;
        if (seen < least) t.fail(`seed ${seed}, step ${step}: saw ${seen}, must be ${least} by ${bound} ms`);
      }
    } else cluster.world.run(cluster.world.nowUs + 20_000);
    cluster.check();
  }
  return { stale, old };
}

t.test("the bound of a stale read is true, whatever waits on links and whoever stood still", (t) => {
  let stale = 0;
  let old = 0;
  for (let seed = 1; seed <= 6; seed++) {
    const found = boundHolds(t, seed);
    stale += found.stale;
    old += found.old;
  }
  t.ok(stale > 400, `${stale} answers of followers`);
  t.ok(old > 20, `${old} of them were old`);
  t.comment(`${stale} answers of followers, ${old} of them old`);
  t.end();
});

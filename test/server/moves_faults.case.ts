/** Moves of slots while nodes die at every step, links are cut, operators change their minds, and clients go on. */
import t from "tap";
import xxhash from "xxhash-wasm";
import type { SimClient } from "./client.ts";
import { keysIn, MoveTown, type Ranges } from "./town.ts";

const { h64 } = await xxhash();
const TOGETHER = { shards: { s1: ["n1", "n2", "n3"], s2: ["n1", "n2", "n3"] }, nodes: 4 };
const APART = { shards: { s1: ["n1", "n2", "n3"], s2: ["n4", "n5", "n6"] }, nodes: 7 };

function slotsOf(town: MoveTown, shard: string, count = 64): Ranges {
  const store = town.storeOf(shard);
  const slots: [number, number][] = [];
  for (let slot = 0; slots.length < count; slot++) if (store.isServed(slot)) slots.push([slot, slot]);
  return slots;
}

/** Adds to sums over one connection, a few at a time, and knows what was acknowledged. */
class Adders {
  readonly #town: MoveTown;
  readonly #keys: readonly string[];
  readonly #hosts: readonly string[];
  #lanes: { client: SimClient; asked: string[]; heard: number }[] = [];
  readonly acked = new Map<string, number>();
  readonly unknown = new Map<string, number>();
  readonly said: string[] = [];
  #at = 0;

  constructor(town: MoveTown, keys: readonly string[], hosts: readonly string[]) {
    this.#town = town;
    this.#keys = keys;
    this.#hosts = hosts;
  }

  /** Takes answers, and sends the next ones. */
  step(sendsMore = true): void {
    this.#lanes = this.#lanes.filter((lane) => this.#hear(lane));
    if (!sendsMore) return;
    for (const host of this.#hosts.slice(this.#lanes.length)) {
      const isUp = this.#town.nodes.some(({ id, server }) => id === host && server !== null);
      if (isUp) this.#lanes.push({ client: this.#town.client(host), asked: [], heard: 0 });
    }
    for (const { client, asked, heard } of this.#lanes) {
      if (asked.length - heard > 8) continue;
      const key = this.#keys[this.#at++ % this.#keys.length] as string;
      asked.push(key);
      client.send("INCR", key);
    }
  }

  /** False: the connection is gone, with what was asked on it. */
  #hear(lane: { client: SimClient; asked: string[]; heard: number }): boolean {
    const { client, asked } = lane;
    for (; lane.heard < client.replies.length; lane.heard++) {
      const reply = client.replies[lane.heard] as string;
      const key = asked[lane.heard] as string;
      if (/^\d+$/.test(reply)) count(this.acked, key);
      else this.said.push(reply);
      if (reply.startsWith("-UNCERTAIN")) count(this.unknown, key);
    }
    if (!client.closed) return true;
    for (const key of asked.slice(lane.heard)) count(this.unknown, key);
    return false;
  }

  get open(): number {
    return this.#lanes.reduce((sum, { asked, heard }) => sum + asked.length - heard, 0);
  }

  runFor(ms: number): void {
    for (let i = 0; i < ms / 5; i++) {
      this.step();
      this.#town.run(5);
    }
  }

  /** Nothing is asked any more; what is on its way is answered. */
  drain(): void {
    this.#town.until("all is answered", () => {
      this.step(false);
      return this.open === 0;
    });
  }

  problems(): string[] {
    const client = this.#town.client(this.#hosts[0] as string);
    const sums = this.#town.call(client, ...this.#keys.map((key) => ["GET", key])).map(Number);
    return this.#keys.flatMap((key, i) => {
      const [acked, unknown] = [this.acked.get(key) ?? 0, this.unknown.get(key) ?? 0];
      const sum = Number.isNaN(sums[i]) ? 0 : (sums[i] as number);
      const isRight = sum >= acked && sum <= acked + unknown;
      return isRight ? [] : [`${key} is ${sum}: ${acked} acknowledged, ${unknown} unknown`];
    });
  }
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/** Both logs have closed the move, in the same way; gives which. */
function ends(town: MoveTown, from: string, to: string, epoch: number): string {
  town.until(
    `epoch ${epoch} is closed on both sides`,
    () => {
      const [source, target] = [town.phase(from, epoch), town.phase(to, epoch)];
      const moved = source === "released" && target === "owned";
      const isBack = (source === "unsealed" || source === "none") && target === "aborted";
      return moved || isBack;
    },
    30_000,
  );
  return town.phase(to, epoch);
}

const STEPS = ["s2 import", "s2 begin", "s1 seal", "s2 own", "s1 release"];

t.test(
  "F3: whoever dies at whatever step, a begun move ends, nothing is lost and nothing counts twice",
  async (t) => {
    const town = MoveTown.started(h64, { seed: 11, ...TOGETHER });
    const slots = slotsOf(town, "s1");
    const keys = keysIn(slots, 40, "sum");
    const adders = new Adders(town, keys, ["n4", "n4", "n1", "n2"]);
    adders.runFor(200);
    town.killControls();
    let epoch = 200;
    const outcomes: string[] = [];
    for (const victim of ["source", "target", "both"]) {
      for (const [at, name] of STEPS.entries()) {
        epoch++;
        const isThere = town.storeOf("s1").isServed(slots[0]?.[0] ?? 0);
        const [from, to] = isThere ? ["s1", "s2"] : ["s2", "s1"];
        const step = (name.startsWith("s1") === isThere ? "s1" : "s2") + name.slice(2);
        let isDue = false;
        town.onStep = (shard, kind) => {
          if (`${shard} ${kind}` === step) isDue = true;
        };
        town.begin(epoch, from as string, to as string, slots);
        for (let i = 0; i < 400 && !isDue; i++) {
          adders.step();
          town.world.runUntil(town.world.nowUs + 5000, () => isDue);
        }
        t.ok(isDue, `${step} was reached`);
        const leaders = [town.leading(from as string)?.node, town.leading(to as string)?.node];
        const dead = new Set(victim === "both" ? leaders : [leaders[victim === "source" ? 0 : 1]]);
        for (const node of dead) if (node !== undefined) town.kill(node);
        adders.runFor(at % 2 === 0 ? 150 : 900);
        for (const node of dead) if (node !== undefined) town.restart(node);
        town.onStep = () => {};
        outcomes.push(`${victim} at ${name}: ${ends(town, from as string, to as string, epoch)}`);
        adders.runFor(50);
      }
    }
    adders.drain();
    t.same(adders.problems(), []);
    const uncertain = adders.said.filter((text) => text.startsWith("-UNCERTAIN")).length;
    t.comment(
      `${[...adders.acked.values()].reduce((a, b) => a + b, 0)} acknowledged, ${uncertain} uncertain`,
    );
    for (const text of outcomes) t.comment(text);
    town.checkAllServed();
  },
);

t.test(
  "F3, F6: a link that is cut at the seal; commands wait a second at most, and each counts once",
  async (t) => {
    const town = MoveTown.started(h64, { seed: 12, ...APART });
    const slots = slotsOf(town, "s1");
    const keys = keysIn(slots, 20, "sum");
    const adders = new Adders(town, keys, ["n7", "n7", "n4", "n1"]);
    adders.runFor(100);
    let isSealed = false;
    town.onStep = (shard, kind) => {
      if (shard !== "s1" || kind !== "seal") return;
      isSealed = true;
      for (let i = 0; i < 3; i++) for (let j = 3; j < 6; j++) cut(town, i, j, true);
    };
    town.begin(300, "s1", "s2", slots);
    for (let i = 0; i < 200 && !isSealed; i++) adders.runFor(5);
    t.ok(isSealed);
    adders.runFor(2500);
    t.equal(town.phase("s1", 300), "sealed", "nothing unseals by time-out");
    t.ok(adders.said.some((text) => text.startsWith("-TRYAGAIN")));
    t.ok(
      adders.said.every((text) => /^-(TRYAGAIN|CLUSTERDOWN|UNCERTAIN)/.test(text)),
      adders.said.join(),
    );
    town.onStep = () => {};
    for (let i = 0; i < 3; i++) for (let j = 3; j < 6; j++) cut(town, i, j, false);
    ends(town, "s1", "s2", 300);
    adders.runFor(100);
    adders.drain();
    t.same(adders.problems(), []);
    town.checkAllServed();
  },
);

function cut(town: MoveTown, i: number, j: number, isCut: boolean): void {
  const [a, b] = [town.nodes[i]?.machine.number ?? 0, town.nodes[j]?.machine.number ?? 0];
  town.net.setCut(a, b, isCut);
  town.net.setCut(b, a, isCut);
}

t.test(
  "F6: a write whose reply the old owner lost is answered by the new one, and counted once",
  async (t) => {
    const town = MoveTown.started(h64, { seed: 13, ...APART });
    const slots = slotsOf(town, "s1");
    const [key = ""] = keysIn(slots, 1, "once");
    const door = town.client("n7");
    t.same(town.call(door, ["INCR", key]), ["1"]);
    // The door's commands arrive at the shard; nothing comes back.
    for (let i = 0; i < 3; i++)
      town.net.setCut(town.nodes[i]?.machine.number ?? 0, town.nodes[6]?.machine.number ?? 0, true);
    door.pipeline(...Array.from({ length: 10 }, () => ["INCR", key]));
    const other = town.client("n1");
    town.until("they took effect", () => town.call(other, ["GET", key])[0] === "11");
    t.equal(door.replies.length, 1, "and the door does not know");
    town.begin(310, "s1", "s2", slots);
    town.untilMoved("s1", "s2", 310);
    for (let i = 0; i < 3; i++)
      town.net.setCut(town.nodes[i]?.machine.number ?? 0, town.nodes[6]?.machine.number ?? 0, false);
    town.until("the door has its answers", () => door.replies.length === 11);
    const uncertain = door.replies.filter((text) => text.startsWith("-UNCERTAIN")).length;
    if (uncertain === 0)
      t.same(
        door.replies.slice(1),
        Array.from({ length: 10 }, (_, i) => String(i + 2)),
      );
    t.ok(uncertain < 10, "some were answered from what the move brought along");
    t.same(town.call(other, ["GET", key]), ["11"]);
  },
);

t.test(
  "F3, F7: cancelled at each phase, what was staged is gone, and the slots stay where they are",
  async (t) => {
    const town = MoveTown.started(h64, { seed: 14, ...TOGETHER });
    const slots = slotsOf(town, "s1");
    const keys = keysIn(slots, 100);
    const client = town.client("n1");
    town.call(client, ...keys.map((key) => ["SET", key, key]));
    let epoch = 400;
    const cancelAt = (step: string, hold: boolean): string => {
      const at = ++epoch;
      if (step === "none") town.order("s2", { kind: "abort", epoch: at, to: "s2" });
      town.onStep = (shard, kind) => {
        if (`${shard} ${kind}` === step) town.order("s2", { kind: "abort", epoch: at, to: "s2" });
      };
      town.begin(at, "s1", "s2", slots, hold);
      if (step === "held") {
        town.run(500);
        town.order("s2", { kind: "abort", epoch: at, to: "s2" });
      }
      const outcome = ends(town, "s1", "s2", at);
      town.onStep = () => {};
      if (town.phase("s1", at) === "none")
        town.order("s1", { kind: "settle", epoch: at, from: "s1", to: "s2" });
      return outcome;
    };
    for (const step of ["none", "s2 import", "s2 begin", "held"]) {
      t.equal(cancelAt(step, step === "held"), "aborted", `cancelled: ${step}`);
      t.same(town.call(client, ["DBSIZE"]), ["100"]);
      t.equal(town.storeOf("s2").keysIn(slots), 0, "nothing stays behind");
    }
    const last = cancelAt("s1 seal", false);
    t.match(last, /aborted|owned/, "the first of both that the target's log has");
    t.same(town.call(client, ...keys.map((key) => ["GET", key]), ["DBSIZE"]), [...keys, "100"]);
    town.checkAllServed();
  },
);

t.test(
  "F3: an operator's cutover: held as long as it is wished, through elections, and then quick",
  async (t) => {
    const town = MoveTown.started(h64, { seed: 15, ...TOGETHER });
    const client = town.client("n4");
    const keys = Array.from({ length: 300 }, (_, i) => `key ${i}`);
    town.call(client, ...keys.map((key) => ["SET", key, key]));
    const begun = JSON.parse(town.http("POST", "/shard/add", { weight: 0.1, manual: true }).text);
    const status = (): { moves: { state: string; keys: number; keysTotal: number }[] } =>
      JSON.parse(town.http("GET", "/reshard/status").text);
    town.hook();
    const running = (): number => status().moves.filter(({ state }) => state === "running").length;
    town.until("it runs", () => running() > 0, 30_000);
    town.run(1500);
    for (const shard of ["s1", "s2"]) {
      const { node } = town.leaderOf(shard);
      town.kill(node);
      town.run(1500);
      town.restart(node);
      town.run(1500);
    }
    t.equal(
      status().moves.some(({ state }) => state === "owned" || state === "done"),
      false,
      "nothing was cut over",
    );
    t.equal(town.http("POST", "/reshard/cutover", { epoch: begun.epoch }).status, 200);
    town.until("the plan ends", () => town.state?.planEnd?.number === begun.epoch, 60_000);
    const reader = town.client("n4");
    t.same(town.call(reader, ...keys.map((key) => ["GET", key]), ["DBSIZE"]), [...keys, "300"]);
  },
);

t.test("F11, F12, F13: FLUSHALL, SCAN, KEYS, DBSIZE and MSETNX while slots move", async (t) => {
  const town = MoveTown.started(h64, { seed: 16, ...TOGETHER });
  const slots = slotsOf(town, "s1");
  const keys = keysIn(slots, 150);
  const client = town.client("n4");
  town.call(client, ...keys.map((key) => ["SET", key, key]));
  const scan = (): string[] => {
    const found: string[] = [];
    let cursor = "0";
    do {
      const [next = "", ...page] = (town.call(client, ["SCAN", cursor, "COUNT", "20"])[0] ?? "").split(" ");
      if (!/^\d+$/.test(next)) throw new Error(`SCAN: ${next} ${page.join(" ")}`);
      found.push(...page.filter((name) => name !== ""));
      cursor = next;
    } while (cursor !== "0");
    return found.sort();
  };
  let epoch = 500;
  for (const [from, to] of [
    ["s1", "s2"],
    ["s2", "s1"],
  ] as const) {
    town.begin(++epoch, from, to, slots);
    t.same(scan(), [...keys].sort(), "SCAN gives each key once across the cut");
    t.same(town.call(client, ["DBSIZE"]), ["150"]);
    t.equal((town.call(client, ["KEYS", "*"])[0] ?? "").split(" ").length, 150);
    town.untilMoved(from, to, epoch);
  }
  const tag = keysIn(slots, 1, "tag")[0] as string;
  town.begin(++epoch, "s1", "s2", slots);
  const both = town.call(
    client,
    ["MSETNX", `{${tag}}a`, "1", `{${tag}}b`, "2"],
    ["MGET", `{${tag}}a`, `{${tag}}b`],
  );
  t.same(both, ["1", "1 2"]);
  town.untilMoved("s1", "s2", epoch);
  // Flushed in the middle of a copy: nothing that was sent before comes back (hazard F4).
  let isFlushed = false;
  town.onStep = (shard, kind) => {
    if (shard !== "s1" || kind !== "begin" || isFlushed) return;
    isFlushed = true;
    client.send("FLUSHALL");
  };
  const isDone = (): boolean => client.replies.at(-1) === "OK";
  town.passesMove = (_from, _to, { kind }) => kind !== "own" || isDone(); // what was sent before it has arrived
  town.begin(++epoch, "s2", "s1", slots);
  town.untilMoved("s2", "s1", epoch);
  t.ok(isFlushed);
  town.until("it is flushed", isDone);
  t.same(town.call(client, ["DBSIZE"], ["KEYS", "*"]), ["0", ""]);
  town.checkAllServed();
});

t.test(
  "F3: a full disk at the target: what is sealed is brought to its end, by the log's reserve",
  async (t) => {
    const town = MoveTown.started(h64, { seed: 17, ...APART });
    const slots = slotsOf(town, "s1");
    const keys = keysIn(slots, 50);
    const client = town.client("n7");
    town.call(client, ...keys.map((key) => ["SET", key, key]));
    town.begin(600, "s1", "s2", slots, true);
    town.untilPhase("s2", 600, "copying");
    town.run(500);
    for (const { machine } of town.nodes.slice(3, 6)) {
      const { disk } = machine;
      Object.assign(disk, { knobs: { ...disk.knobs, capacityBytes: disk.usedBytes() } });
    }
    const [filler = ""] = keysIn(slotsOf(town, "s2"), 1, "fill");
    let said = "";
    for (const size of [500_000, 4000, 1]) {
      said = "";
      for (let i = 0; i < 200 && !said.startsWith("-MISCONF"); i++)
        said = town.call(client, ["SET", filler, "x".repeat(size)])[0] as string;
    }
    t.match(said, /^-MISCONF/, "not even the smallest write finds room");
    town.begin(600, "s1", "s2", slots, false);
    t.match(ends(town, "s1", "s2", 600), /owned|aborted/);
    t.same(town.call(client, ...keys.map((key) => ["GET", key])), keys);
  },
);

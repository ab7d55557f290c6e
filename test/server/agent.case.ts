/** A node's hand of the control plane, with control processes that say what the test wants. */
import t from "tap";
import { runTask } from "../../src/base/task.ts";
import { AdminDoor } from "../../src/controlplane/admin_door.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { Agent } from "../../src/server/agent.ts";
import { type KeptMap, loadMap } from "../../src/server/map_file.ts";
import { Network } from "../../src/sim/net.ts";
import { Machine } from "../../src/sim/platform.ts";
import { World } from "../../src/sim/world.ts";
import type { ClusterMap } from "../../src/wire/cluster_map.ts";
import type { Fence, HeartbeatReply, Order } from "../../src/wire/control_plane.ts";
import type { ControlReply, ControlRequest } from "../../src/wire/control_request.ts";

const MS = 1000;
const PORT = 7000;
const CLUSTER = "ab".repeat(16);
const EMPTY_MAP: ClusterMap = {
  cluster: CLUSTER,
  version: { restore: 0, index: 1 },
  nodes: [],
  shards: [],
  ranges: [],
};

type Answer = (request: ControlRequest, reply: (answer: ControlReply) => void) => void;

class Script {
  readonly world = new World(1);
  readonly net = new Network(this.world);
  readonly node = new Machine(this.world, this.net, 0, "n1");
  readonly obeyed: Order[] = [];
  /** What was asked of whom. */
  readonly asked: string[] = [];
  agent: Agent | null = null;
  fence: Fence = { restore: 0, term: 1 };
  /** The highest epoch and plan number that the control plane says it has issued. */
  issued = { epoch: 0, plan: 0 };
  orders: Order[] = [];
  map = EMPTY_MAP;
  /** Of a beat's reply; else that of the map. */
  version: ClusterMap["version"] | null = null;
  answer: Answer = (request, reply) => reply(this.usual(request));

  constructor(controls: number) {
    this.node.disk.makeDurableDir("/n1");
    for (let i = 1; i <= controls; i++) this.#startControl(i);
  }

  #startControl(number: number): void {
    const id = `c${number}`;
    new Machine(this.world, this.net, number, id).start(({ net, clock }) => {
      const door = new AdminDoor({
        onRequest: (request, reply) => {
          this.asked.push(`${id} ${request.kind}`);
          this.answer(request, reply);
        },
        onPeer: () => {},
        wake: () => clock.turn(() => door.flush()),
      });
      net.listen(
        id,
        PORT,
        (connection) => door.accept(connection),
        () => {},
      );
    });
  }

  usual({ kind }: ControlRequest): ControlReply {
    if (kind === "register") return { kind: "registered", cluster: CLUSTER, fence: this.fence };
    if (kind === "map") return { kind: "map", map: this.map };
    if (kind === "http") return { kind: "http", status: 200, type: "text/plain", body: new Uint8Array(0) };
    return { kind: "beat", reply: this.beat() };
  }

  beat(): HeartbeatReply {
    const version = this.version ?? this.map.version;
    const { fence, issued, orders } = this;
    return { fence, standing: "known", version, issued, beatMs: 500, orders };
  }

  startAgent(addresses: readonly string[]): Agent {
    this.node.start((platform) => {
      runTask(loadMap(platform.disk, "/n1"), (error, kept) => {
        if (error !== null) throw error;
        this.agent = this.#makeAgent(platform, kept, addresses);
      });
    });
    this.until("it runs", () => this.agent !== null);
    return this.agent as Agent;
  }

  #makeAgent(platform: Platform, kept: KeptMap, addresses: readonly string[]): Agent {
    const load = { commandsPerSecond: 0, bytes: 0, diskFreeBytes: 0 };
    const incarnation = "cd".repeat(16);
    const who = { node: "n1", incarnation };
    const agent = new Agent(kept, {
      platform,
      dir: "/n1",
      addresses: addresses.map((host) => ({ host, port: PORT, http: "" })),
      cluster: () => CLUSTER,
      registration: (heard) => ({ ...who, address: "n1:7000", http: "", zone: "", capacity: 100, heard }),
      beat: (heard) => ({ ...who, heard, load, groups: [] }),
      joinCluster: (_cluster, done) => done(null),
      onMap: () => {},
      obey: (order) => void this.obeyed.push(order),
    });
    platform.clock.ticks(10, () => agent.tick());
    return agent;
  }

  count(what: string): number {
    return this.asked.filter((one) => one.endsWith(what)).length;
  }

  run(ms: number): void {
    this.world.run(this.world.nowUs + ms * MS);
    if (this.world.violation !== null) throw this.world.violation;
  }

  until(what: string, holds: () => boolean, ms = 10_000): void {
    const held = this.world.runUntil(this.world.nowUs + ms * MS, holds);
    if (this.world.violation !== null) throw this.world.violation;
    if (!held) throw new Error(`not within ${ms} ms: ${what}`);
  }
}

const CLOSE: Order = { kind: "close", group: 5, replica: 1 };

t.test(
  "F10: what comes under a new fence waits for the disk; what is lower is not obeyed, after a start neither",
  async (t) => {
    const script = new Script(1);
    const agent = script.startAgent(["c1"]);
    script.until("it is known", () => agent.isConnected);
    script.orders = [CLOSE];
    script.fence = { restore: 0, term: 5 };
    script.until("it obeys", () => script.obeyed.length > 0);
    t.same(agent.lasting.fence, { restore: 0, term: 5 });
    script.fence = { restore: 0, term: 4 };
    script.run(600);
    const count = script.obeyed.length;
    script.run(3000);
    t.equal(script.obeyed.length, count, "of a deposed control plane");
    script.node.powerFailure();
    script.agent = null;
    const again = script.startAgent(["c1"]);
    script.until("it is known", () => again.isConnected);
    script.run(3000);
    t.equal(script.obeyed.length, count, "nor after a power failure");
    script.fence = { restore: 1, term: 1 };
    script.until("a restored one is newer", () => script.obeyed.length > count);
  },
);

t.test("F10: orders go on when the disk takes writes again, and what was to last lasts then", async (t) => {
  const script = new Script(1);
  const agent = script.startAgent(["c1"]);
  script.until("it is known", () => agent.isConnected);
  script.run(1000);
  const { disk } = script.node;
  disk.faults.occupiedBytes = disk.knobs.capacityBytes;
  script.fence = { restore: 0, term: 9 };
  script.orders = [CLOSE];
  script.issued = { epoch: 18, plan: 0 };
  agent.noteEpoch(17);
  agent.noteEpoch(18); // while the first is being written
  script.run(3000);
  t.same(script.obeyed, [], "the disk does not know of the fence");
  disk.faults.occupiedBytes = 0;
  script.until("it obeys", () => script.obeyed.length > 0);
  script.run(1000);
  t.equal(agent.lasting.epoch, 18);
  t.equal(agent.lasting.fence.term, 9);
});

t.test(
  "F9: an epoch that could not be written is written when that is possible, if nothing else happens",
  async (t) => {
    const script = new Script(1);
    const agent = script.startAgent(["c1"]);
    script.until("it is known", () => agent.isConnected);
    script.orders = [CLOSE];
    script.until("it obeys", () => script.obeyed.length > 0);
    const { disk } = script.node;
    script.issued = { epoch: 18, plan: 0 };
    disk.faults.occupiedBytes = disk.knobs.capacityBytes;
    agent.noteEpoch(17);
    agent.noteEpoch(18);
    script.run(1000);
    disk.faults.occupiedBytes = 0;
    const count = script.obeyed.length;
    script.run(3000);
    t.equal(agent.lasting.epoch, 18);
    t.ok(script.obeyed.length > count, "and orders under the fence that it knows are obeyed");
  },
);

t.test(
  "a map that came last before the control plane died is on the disk soon, with nobody to beat to",
  async (t) => {
    const script = new Script(1);
    const agent = script.startAgent(["c1"]);
    script.until("it is known", () => agent.isConnected);
    for (const index of [1, 2, 3]) {
      script.map = { ...EMPTY_MAP, version: { restore: 0, index } };
      script.until("it has the map", () => agent.heard.version.index === index);
    }
    script.net.setCut(0, 1, true);
    script.net.setCut(1, 0, true);
    agent.noteEpoch(77);
    script.run(3000);
    t.equal(agent.lasting.map?.version.index, 3);
    t.equal(agent.lasting.epoch, 77);
  },
);

t.test("a map that cannot be used is not asked for without a pause", async (t) => {
  const script = new Script(1);
  script.map = { ...EMPTY_MAP, ranges: [[0, 5, 3, 1]] }; // of a shard that it does not name
  const agent = script.startAgent(["c1"]);
  script.until("it is known", () => agent.isConnected);
  script.run(3000);
  t.ok(script.count("map") <= 10, `${script.count("map")} times`);
});

t.test("H8: a control process that answers nothing, not even a call, is left for the next", async (t) => {
  const script = new Script(2);
  script.net.setCut(0, 1, true);
  script.net.setCut(1, 0, true);
  const agent = script.startAgent(["c1", "c2", "c1"]);
  script.until("the other one knows it", () => agent.isConnected, 9000);
  t.ok(script.asked.every((one) => one.startsWith("c2")));
});

t.test("J14: calls by way of this node never keep its heartbeats back", async (t) => {
  const script = new Script(1);
  const agent = script.startAgent(["c1"]);
  script.until("it is known", () => agent.isConnected);
  const late: (() => void)[] = [];
  script.answer = (request, reply) => {
    if (request.kind === "http") late.push(() => reply(script.usual(request)));
    else reply(script.usual(request));
  };
  let unreached = 0;
  const ask = (): void =>
    agent.http("GET", "/cluster/map", new Uint8Array(0), (reply) => {
      if (reply === null) unreached++;
      else ask();
    });
  for (let i = 0; i < 100; i++) ask();
  t.ok(unreached > 0, "there is a bound");
  const before = script.count("beat");
  for (let i = 0; i < 40; i++) {
    script.run(100);
    for (const reply of late.splice(0)) reply();
  }
  t.ok(script.count("beat") - before >= 6, `${script.count("beat") - before} beats in 4 seconds`);
});

t.test("J14: a call that is larger than the line takes is refused here, and the line stands", async (t) => {
  const script = new Script(1);
  const agent = script.startAgent(["c1"]);
  script.until("it is known", () => agent.isConnected);
  const statuses: (number | null)[] = [];
  const note = (reply: ControlReply | null): void =>
    void statuses.push(reply?.kind === "http" ? reply.status : null);
  agent.http("POST", "/reshard/plan", new Uint8Array(900 * 1024), note);
  agent.http("GET", `/${"x".repeat(3000)}`, new Uint8Array(0), note);
  agent.http("GET", "/cluster/map", new Uint8Array(0), note);
  script.run(500);
  t.same(statuses, [413, 413, 200]);
  t.equal(agent.isConnected, true);
});

t.test(
  "F10: nothing is obeyed that comes from a control plane which knows less than this node; what was issued is remembered",
  async (t) => {
    const script = new Script(1);
    const agent = script.startAgent(["c1"]);
    script.until("it is known", () => agent.isConnected);
    script.issued = { epoch: 20, plan: 7 };
    script.orders = [CLOSE];
    script.until("it obeys", () => script.obeyed.length > 0);
    script.run(1000);
    t.same([agent.heard.epoch, agent.heard.plan], [20, 7]);
    script.node.powerFailure();
    script.agent = null;
    const again = script.startAgent(["c1"]);
    script.until("it is known again", () => again.isConnected);
    script.run(1000);
    t.same([again.heard.epoch, again.heard.plan], [20, 7], "also after a power failure");
    const count = script.obeyed.length;
    for (const issued of [
      { epoch: 19, plan: 7 },
      { epoch: 20, plan: 6 },
    ]) {
      script.issued = issued;
      script.fence = { restore: 0, term: script.fence.term + 1 };
      script.map = { ...EMPTY_MAP, version: { restore: 0, index: script.map.version.index + 1 } };
      script.run(3000);
      t.equal(script.obeyed.length, count);
      t.equal(again.heard.version.index, 1, "its map neither");
    }
    script.issued = { epoch: 20, plan: 7 };
    script.until("it obeys again", () => script.obeyed.length > count);
  },
);

t.test("F9: a node says of which restore it has obeyed orders, though it has no map of it", async (t) => {
  const script = new Script(1);
  const agent = script.startAgent(["c1"]);
  script.until("it is known", () => agent.isConnected);
  script.fence = { restore: 3, term: 1 };
  script.until("it has heard of it", () => agent.lasting.fence.restore === 3);
  t.same(agent.heard.version, { restore: 3, index: 0 });
});

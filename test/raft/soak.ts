/**
 * A cluster under random faults, from one seed: packets are lost, doubled and reordered, links are cut, replicas
 * crash and lose what was not synced (or keep some of it without knowing), members come and go, leadership is
 * handed over, logs are compacted. Every seed draws its own mix. Afterwards everything heals, and must converge.
 */
import { strict as assert } from "node:assert";
import { Prng } from "../../src/base/prng.ts";
import type { ReplicaId } from "../../src/raft/types.ts";
import { Cluster, type Replica } from "./cluster.ts";
import { membersOf, Oracle } from "./oracle.ts";
import { changeOf, configOf, type Mix, namedBy, snapshotIndexOf, textOf } from "./soak_parts.ts";

const PACKETS_MAX = 150;
const MEMBERS_MAX = 6;
const REPLICAS_MAX = 12;
const HEAL_ROUNDS_MAX = 600;

/** Each has its chance at each step. */
type Fault =
  | "lose"
  | "double"
  | "reorder"
  | "sync"
  | "crash"
  | "cut"
  | "change"
  | "transfer"
  | "compact"
  | "hold"
  | "part"
  | "tick";

export class Soak {
  readonly oracle = new Oracle();
  readonly #random: Prng;
  readonly #cluster: Cluster;
  readonly #mix: Mix<Fault>;
  readonly #wanted: [ReplicaId, ReplicaId][] = [];
  #read = 0;
  #text = 0;
  readonly counts = { crashes: 0, transfers: 0, changes: 0, compactions: 0, busy: 0 };

  constructor(seed: number) {
    this.#random = Prng.fromSeed(seed);
    const random = this.#random;
    const some = (max: number): number => (random.chance(1, 3) ? 0 : random.between(1, max));
    this.#mix = {
      lose: some(150),
      double: some(100),
      reorder: some(500),
      sync: random.between(200, 900),
      crash: some(20),
      cut: some(40),
      change: some(250),
      transfer: some(40),
      compact: some(20),
      hold: some(5),
      part: some(5),
      tick: random.between(100, 500),
    };
    const size = random.pick([3, 3, 4, 5]);
    const jitter = random.fork("jitter");
    const options = {
      rest: null,
      heartbeatTicks: 1,
      electionTicksMin: 4,
      electionTicksMax: 8,
      inflightMessagesMax: random.pick([1, 2, 8]),
      inflightBytesMax: random.pick([200, 4000]),
      appendBytesMax: random.pick([60, 200, 1000]),
      uncommittedBytesMax: 1000,
      randomOf: () => (bound: number) => jitter.below(bound),
    };
    this.#cluster = new Cluster(configOf(size), options, this.oracle);
    this.oracle.cluster = this.#cluster;
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i++) this.#step();
    this.#heal();
  }

  #chance(what: Fault): boolean {
    return this.#random.chance(this.#mix[what], 1000);
  }

  /** Every call into a replica goes through here. */
  #at(replica: Replica, call: (replica: Replica) => void): void {
    if (!replica.up) return;
    call(replica);
    this.oracle.inspect(replica);
  }

  #step(): void {
    const random = this.#random;
    const replica = random.pick([...this.#cluster.replicas.values()]);
    if (!replica.up) {
      if (random.chance(1, 20)) this.#restart(replica);
      return;
    }
    this.#meddle(replica);
    this.#network();
    if (this.#chance("tick")) this.#at(replica, ({ core }) => core.tick());
    this.#work(replica);
    this.#turn(replica);
    if (this.#chance("sync")) this.#sync(replica);
  }

  #turn(replica: Replica): void {
    this.#at(replica, () => {
      for (const to of replica.take()?.snapshotsWanted ?? []) this.#wanted.push([replica.id, to]);
    });
    this.#arrange(replica);
  }

  #sync(replica: Replica): void {
    const { length } = replica.disk.queue;
    if (length > 0) this.#at(replica, () => replica.persist(this.#random.between(1, length)));
  }

  #restart(replica: Replica): void {
    replica.restart();
    this.oracle.restarted(replica);
  }

  /** Delivers one packet, or does it a wrong. */
  #network(): void {
    const random = this.#random;
    const { packets } = this.#cluster;
    if (packets.length > PACKETS_MAX) packets.splice(0, packets.length - PACKETS_MAX);
    for (let n = random.between(1, 4); n > 0 && packets.length > 0; n--) {
      const packet = packets[this.#chance("reorder") ? random.below(packets.length) : 0];
      if (packet === undefined) continue;
      if (this.#chance("lose")) {
        packets.splice(packets.indexOf(packet), 1);
        continue;
      }
      const again = this.#chance("double");
      this.#cluster.deliver(packet);
      if (again) packets.push(packet);
      const to = this.#cluster.replicas.get(packet.message.to);
      if (to?.up === true) this.oracle.inspect(to);
    }
  }

  #work(replica: Replica): void {
    const random = this.#random;
    if (replica.core.role !== "leader") return;
    if (random.chance(1, 4)) {
      const text = textOf(random, this.#text++);
      this.#at(replica, ({ core }) => {
        const refusal = core.proposable(text.length);
        if (refusal === null) replica.propose(text);
        else if (refusal === "busy") this.counts.busy++;
      });
    }
    if (random.chance(1, 6)) {
      const id = ++this.#read;
      this.#at(replica, ({ core }) => {
        if (core.readIndex(id)) this.oracle.asked(id);
      });
    }
    if (this.#chance("change")) this.#change(replica);
    if (this.#chance("transfer")) {
      const to = random.pick(membersOf(replica));
      this.#at(replica, ({ core }) => {
        if (core.transfer(to) === null) this.counts.transfers++;
      });
    }
  }

  #change(replica: Replica): void {
    const random = this.#random;
    const members = membersOf(replica);
    const hasRoom = this.#cluster.replicas.size < REPLICAS_MAX && members.length < MEMBERS_MAX;
    const change = changeOf(random, replica, members, hasRoom, () => random.chance(2, 3));
    this.#at(replica, ({ core }) => {
      if (core.proposeConfig(change) === null) this.counts.changes++;
    });
  }

  /** Replicas come into being when the config that names them is committed, and end some time after they left. */
  #arrange(replica: Replica): void {
    const members = namedBy(replica);
    if (members === null) return;
    const { replicas } = this.#cluster;
    for (const id of members) if (!replicas.has(id)) this.#cluster.create(id);
    for (const id of [...replicas.keys()]) {
      if (!members.has(id) && this.#random.chance(1, 50)) replicas.delete(id);
    }
  }

  #meddle(replica: Replica): void {
    const random = this.#random;
    if (this.#chance("crash")) {
      this.counts.crashes++;
      replica.crash(random.between(0, replica.disk.queue.length));
      return;
    }
    if (this.#chance("cut")) this.#cut();
    if (this.#chance("hold")) this.#at(replica, ({ core }) => core.holdElection());
    if (this.#chance("part")) this.#at(replica, ({ core }) => core.loseLeader());
    if (this.#chance("compact")) this.#compact(replica);
    if (this.#wanted.length > 0 && random.chance(1, 10)) this.#stream();
  }

  /** Other links than before: none, some one way, one replica (a leader, if there is one), or two halves. */
  #cut(): void {
    const random = this.#random;
    const { cuts, replicas } = this.#cluster;
    const ids = [...replicas.keys()];
    const pairs = ids.flatMap((from) => ids.map((to) => [from, to] as const));
    const alone = this.#leader()?.id ?? random.pick(ids);
    const half = new Set(ids.filter(() => random.chance(1, 2)));
    const shapes: ((from: ReplicaId, to: ReplicaId) => boolean)[] = [
      () => false,
      () => random.chance(1, 4),
      (from, to) => from === alone || to === alone,
      (from) => from === alone,
      (_, to) => to === alone,
      (from, to) => half.has(from) !== half.has(to),
    ];
    const isCut = random.pick(shapes);
    cuts.clear();
    for (const [from, to] of pairs) if (isCut(from, to)) cuts.add(`${from}>${to}`);
  }

  #compact(replica: Replica): void {
    const index = snapshotIndexOf(this.#random, replica);
    if (index === replica.core.snapshotIndex) return;
    this.counts.compactions++;
    this.#at(replica, () => replica.compact(index));
  }

  #stream(): void {
    const [from, to] = this.#wanted.shift() as [ReplicaId, ReplicaId];
    const replica = this.#cluster.replicas.get(from);
    if (replica === undefined) return;
    const ok = replica.up && replica.disk.held.meta.index > 0 && !this.#random.chance(1, 5);
    this.#at(replica, () => replica.stream(to, ok));
  }

  /** All faults end; within bounded time there is one leader, it commits, and every member applies that. */
  #heal(): void {
    this.#cluster.cuts.clear();
    for (const replica of this.#cluster.replicas.values()) if (!replica.up) this.#restart(replica);
    let probe = 0;
    for (let round = 0; round < HEAL_ROUNDS_MAX; round++) {
      this.#calmRound();
      const leader = this.#leader();
      if (leader === undefined || round < HEAL_ROUNDS_MAX / 2) continue;
      if (probe === 0 && leader.core.proposable(10) === null) {
        leader.propose("the end");
        probe = leader.core.lastIndex;
      }
      const members = membersOf(leader).map((id) => this.#cluster.replicas.get(id));
      if (probe > 0 && members.every((member) => (member?.core.appliedIndex ?? 0) >= probe)) return;
    }
    assert.fail("the healed cluster converges");
  }

  #leader(): Replica | undefined {
    return [...this.#cluster.replicas.values()]
      .filter(({ core }) => core.role === "leader")
      .sort((a, b) => b.core.term - a.core.term)[0];
  }

  #calmRound(): void {
    const replicas = [...this.#cluster.replicas.values()];
    for (const replica of replicas) this.#at(replica, ({ core }) => core.tick());
    for (let hop = 0; hop < 6; hop++) {
      for (const packet of [...this.#cluster.packets]) {
        this.#cluster.deliver(packet);
        const to = this.#cluster.replicas.get(packet.message.to);
        if (to !== undefined) this.oracle.inspect(to);
      }
      for (const replica of replicas) {
        this.#turn(replica);
        this.#sync(replica);
      }
    }
    while (this.#wanted.length > 0) this.#stream();
  }
}

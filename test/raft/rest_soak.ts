/**
 * A cluster that nobody uses most of the time, under random faults, from one seed: it rests, and connections break, stall and
 * come back, nodes stop, die and start, somebody writes, members change. As in soak.ts, every seed draws its own mix, and
 * the oracle watches; but links keep the order (rest_links.ts), since rests live by that.
 *
 * Besides: a follower rests only while its leader leads, a leader only while all whom it can reach keep that rest. In
 * the end everything heals, all must rest, wake up for a write, rest again, and miss a leader that dies then.
 */
import { strict as assert } from "node:assert";
import { Prng } from "../../src/base/prng.ts";
import type { ReplicaId } from "../../src/raft/types.ts";
import { Cluster, type Packet, type Replica } from "./cluster.ts";
import { membersOf, Oracle } from "./oracle.ts";
import { RestLinks } from "./rest_links.ts";
import { changeOf, configOf, type Mix, namedBy, snapshotIndexOf, textOf } from "./soak_parts.ts";

const MEMBERS_MAX = 5;
const REPLICAS_MAX = 8;
const HEAL_ROUNDS_MAX = 800;
/** Several elections, if some fail; less than the looks after which a follower would find out by itself (rest.ts). */
const NOTICE_ROUNDS_MAX = 120;
const SNAPSHOTS_MAX = 20;

/** Each has its chance in each round. */
type Fault =
  | "skip"
  | "sync"
  | "break"
  | "stall"
  | "heal"
  | "crash"
  | "pause"
  | "use"
  | "transfer"
  | "change"
  | "compact";

export class RestSoak {
  readonly oracle = new Oracle();
  readonly counts = {
    rests: 0,
    roused: 0,
    breaks: 0,
    stalls: 0,
    crashes: 0,
    pauses: 0,
    transfers: 0,
    changes: 0,
  };
  readonly #random: Prng;
  readonly #links = new RestLinks();
  readonly #cluster: Cluster;
  readonly #mix: Mix<Fault>;
  readonly #paused = new Set<ReplicaId>();
  readonly #wanted: [ReplicaId, ReplicaId][] = [];
  #snapshots: Packet[] = [];
  #wasAtRest = false;
  #read = 0;
  #text = 0;

  /** `isDeaf`: with a mistake in it (rest_links.ts). */
  constructor(seed: number, isDeaf = false) {
    this.#links.isDeaf = isDeaf;
    this.#random = Prng.fromSeed(seed);
    const random = this.#random;
    const some = (max: number): number => (random.chance(1, 2) ? 0 : random.between(1, max));
    this.#mix = {
      skip: some(300),
      sync: random.pick([30, 200, 600, 1000]),
      break: some(30),
      stall: some(20),
      heal: random.between(10, 60),
      crash: some(12),
      pause: some(15),
      use: random.between(5, 80),
      transfer: some(100),
      change: some(8),
      compact: some(20),
    };
    const size = random.pick([1, 2, 3, 3, 3, 4, 5]);
    const jitter = random.fork("jitter");
    const options = {
      rest: null,
      restOf: (self: ReplicaId) => this.#links.restOptions(self, 16),
      heartbeatTicks: 2,
      electionTicksMin: 12,
      electionTicksMax: 24,
      inflightMessagesMax: random.pick([1, 8]),
      inflightBytesMax: 4000,
      appendBytesMax: random.pick([60, 1000]),
      uncommittedBytesMax: 1000,
      randomOf: () => (bound: number) => jitter.below(bound),
    };
    this.#cluster = new Cluster(configOf(size), options, this.oracle);
    this.oracle.cluster = this.#cluster;
    this.#links.cluster = this.#cluster;
    for (const replica of this.#replicas) this.#dialAll(replica);
  }

  run(rounds: number): void {
    for (let i = 0; i < rounds; i++) {
      this.#meddle();
      this.#round(this.#mix.skip, this.#mix.sync);
    }
    this.#heal();
  }

  get #replicas(): Replica[] {
    return [...this.#cluster.replicas.values()];
  }

  #chance(what: Fault): boolean {
    return this.#random.chance(this.#mix[what], 1000);
  }

  #at(replica: Replica, call: (replica: Replica) => void): void {
    if (!replica.up) return;
    call(replica);
    this.oracle.inspect(replica);
  }

  // ------------------------------------------------------------------------------------------- a round

  /** Everybody who is not stopped hears, does a tick, and works; in a drawn order. */
  #round(skip: number, sync: number): void {
    const random = this.#random;
    const order = this.#replicas
      .map((replica) => ({ replica, at: random.below(1000) }))
      .sort((a, b) => a.at - b.at);
    for (const { replica } of order) {
      if (!replica.up || this.#paused.has(replica.id)) continue;
      this.#hear(replica);
      if (!random.chance(skip, 1000)) this.#at(replica, () => this.#links.tick(replica));
      this.#turn(replica);
      if (random.chance(sync, 1000)) this.#at(replica, () => replica.persist());
      this.#turn(replica);
    }
    this.#checkRests();
  }

  #hear(replica: Replica): void {
    const random = this.#random;
    for (let n = random.between(0, 30); n > 0; n--) {
      const peers = this.#links.comingTo(replica.id);
      if (peers.length === 0) break;
      this.#at(replica, () =>
        this.#links.deliver(replica, random.pick(peers), (packet) => replica.receive(packet)),
      );
      this.#turn(replica);
    }
    const mine = this.#snapshots.filter(({ message }) => message.to === replica.id);
    for (const packet of mine) {
      this.#snapshots.splice(this.#snapshots.indexOf(packet), 1);
      if (random.chance(4, 5)) this.#at(replica, () => replica.receive(packet));
      this.#turn(replica);
    }
  }

  #turn(replica: Replica): void {
    this.#at(replica, () => {
      for (const to of replica.take()?.snapshotsWanted ?? []) this.#wanted.push([replica.id, to]);
    });
    this.#snapshots.push(...this.#links.take(this.#cluster));
    this.#snapshots.splice(0, this.#snapshots.length - SNAPSHOTS_MAX);
    this.#arrange(replica);
    while (this.#wanted.length > 0) this.#stream();
  }

  #stream(): void {
    const [from, to] = this.#wanted.shift() as [ReplicaId, ReplicaId];
    const replica = this.#cluster.replicas.get(from);
    if (replica === undefined) return;
    const ok = replica.up && replica.disk.held.meta.index > 0;
    this.#at(replica, () => replica.stream(to, ok));
  }

  /** Replicas come into being when the config that names them is committed, and end some time after they left. */
  #arrange(leader: Replica): void {
    const members = namedBy(leader);
    if (members === null) return;
    const { replicas } = this.#cluster;
    for (const id of members) if (!replicas.has(id)) this.#dialAll(this.#cluster.create(id));
    for (const [id, replica] of replicas) {
      if (members.has(id) || !this.#random.chance(1, 50)) continue;
      this.#links.died(replica);
      replicas.delete(id);
      for (const other of replicas.values()) this.#at(other, () => this.#links.notice(other, id));
    }
  }

  #dialAll(replica: Replica): void {
    for (const other of this.#replicas)
      if (other !== replica) this.#at(other, () => this.#at(replica, () => this.#links.dial(replica, other)));
  }

  // ------------------------------------------------------------------------------------------- what is done to it

  #meddle(): void {
    const random = this.#random;
    const replica = random.pick(this.#replicas);
    if (!replica.up) {
      if (random.chance(1, 10)) this.#restart(replica);
      return;
    }
    // Some of one node's links: mostly a leader's.
    const whose = random.chance(1, 3) ? replica : (this.#leader() ?? replica);
    const others = this.#replicas.filter((other) => other !== whose && random.chance(1, 2));
    if (this.#chance("break")) {
      this.counts.breaks++;
      for (const { id } of others) this.#links.break(whose.id, id);
    }
    if (this.#chance("stall")) {
      this.counts.stalls++;
      const ways = random.between(1, 3);
      for (const { id } of others) {
        if (ways !== 2) this.#links.stalls.add(`${whose.id}>${id}`);
        if (ways !== 1) this.#links.stalls.add(`${id}>${whose.id}`);
      }
    }
    if (this.#chance("heal")) this.#links.stalls.clear();
    for (const [at, peer] of this.#links.broken())
      if (random.chance(1, 8)) this.#at(at, () => this.#links.notice(at, peer));
    if (random.chance(1, 4)) this.#dialAll(replica);
    this.#stop(replica);
    if (this.#chance("use")) this.#use();
  }

  #stop(replica: Replica): void {
    const random = this.#random;
    if (this.#chance("crash")) {
      this.counts.crashes++;
      replica.crash(random.between(0, replica.disk.queue.length));
      this.#links.died(replica);
      this.#paused.delete(replica.id);
    } else if (this.#chance("pause")) {
      this.counts.pauses++;
      this.#paused.add(replica.id);
    }
    for (const id of this.#paused) if (random.chance(1, 30)) this.#resume(id);
  }

  /** What came meanwhile is read before time is counted (hazard H4), or some of it. */
  #resume(id: ReplicaId): void {
    this.#paused.delete(id);
    const replica = this.#cluster.replicas.get(id);
    if (replica === undefined) return;
    this.#hear(replica);
    this.#at(replica, ({ core }) => core.holdElection());
  }

  #restart(replica: Replica): void {
    replica.restart();
    this.oracle.restarted(replica);
    this.#dialAll(replica);
  }

  /** Somebody comes and goes again. */
  #use(): void {
    const random = this.#random;
    const leaders = this.#replicas.filter(
      ({ id, up, core }) => up && core.role === "leader" && !this.#paused.has(id),
    );
    for (const replica of leaders) {
      for (let n = random.between(0, 3); n > 0; n--) {
        const text = textOf(random, this.#text++);
        this.#at(replica, ({ core }) => {
          if (core.proposable(text.length) === null) replica.propose(text);
        });
      }
      if (random.chance(1, 2)) {
        const id = ++this.#read;
        this.#at(replica, ({ core }) => {
          if (core.readIndex(id)) this.oracle.asked(id);
        });
      }
      if (this.#chance("transfer"))
        this.#at(replica, ({ core }) => {
          if (core.transfer(random.pick(membersOf(replica))) === null) this.counts.transfers++;
        });
      if (random.chance(this.#mix.change, 100)) this.#change(replica);
      if (random.chance(this.#mix.compact, 100)) this.#compact(replica);
      this.#turn(replica);
    }
  }

  #change(replica: Replica): void {
    const members = membersOf(replica);
    const hasRoom = this.#cluster.replicas.size < REPLICAS_MAX && members.length < MEMBERS_MAX;
    const change = changeOf(this.#random, replica, members, hasRoom, () => true);
    this.#at(replica, ({ core }) => {
      if (core.proposeConfig(change) === null) this.counts.changes++;
    });
  }

  #compact(replica: Replica): void {
    const index = snapshotIndexOf(this.#random, replica);
    if (index > replica.core.snapshotIndex) this.#at(replica, () => replica.compact(index));
  }

  // ------------------------------------------------------------------------------------------- what must hold

  #checkRests(): void {
    let isAtRest = false;
    for (const replica of this.#replicas) {
      const { core, id, up } = replica;
      if (!up || !core.atRest) continue;
      assert.equal(core.commitIndex, core.lastIndex, `replica ${id} rests with all of its log committed`);
      assert.equal(
        replica.disk.lastIndex,
        core.lastIndex,
        `replica ${id} rests with all of its log on its disk`,
      );
      if (core.role === "leader") {
        isAtRest = true;
        for (const other of membersOf(replica)) this.#checkFollower(replica, other);
      } else this.#checkLeader(replica);
    }
    if (isAtRest !== this.#wasAtRest) this.counts[isAtRest ? "rests" : "roused"]++;
    this.#wasAtRest = isAtRest;
  }

  /** All that the leader has said reached the follower. */
  #checkLeader({ id, core }: Replica): void {
    const leader = this.#cluster.replicas.get(core.leader);
    if (leader?.up !== true || leader.core.hasWork || !this.#links.isCalm(id, leader.id)) return;
    assert.equal(leader.core.role, "leader", `replica ${id} rests while ${leader.id} leads`);
    assert.equal(leader.core.term, core.term, `replica ${id} rests in the term of ${leader.id}`);
    assert.equal(leader.core.lastIndex, core.lastIndex, `replica ${id} rests and lacks nothing`);
  }

  /** And the other way round. */
  #checkFollower(leader: Replica, id: ReplicaId): void {
    const follower = this.#cluster.replicas.get(id);
    if (follower?.up !== true || follower === leader || follower.core.hasWork) return;
    if (!this.#links.isCalm(id, leader.id)) return;
    assert.ok(follower.core.atRest, `replica ${id} keeps the rest of its leader ${leader.id}`);
    assert.equal(follower.core.leader, leader.id, `replica ${id} keeps the rest of its leader`);
  }

  // ------------------------------------------------------------------------------------------- the end

  /** All faults end; then what is asked of a group at rest must happen in bounded time. */
  #heal(): void {
    this.#links.stalls.clear();
    for (const id of [...this.#paused]) this.#resume(id);
    for (const replica of this.#replicas) if (!replica.up) this.#restart(replica);
    this.#until("the healed cluster rests", () => this.#rests());
    const leader = this.#leader() as Replica;
    const { lastIndex } = leader.core;
    this.#at(leader, () => leader.propose("the end"));
    this.#until("all apply what is written then", () =>
      membersOf(leader).every((id) => (this.#cluster.replicas.get(id)?.core.appliedIndex ?? 0) > lastIndex),
    );
    this.#until("it rests again", () => this.#rests());
    if (leader.core.config.voters.length < 3) return;
    this.#lose(leader);
    const isNoticed = (): boolean => {
      const next = this.#leader();
      return next !== undefined && next.core.term > leader.core.term && next.core.committedInTerm;
    };
    this.#until("the leader's death is noticed", isNoticed, NOTICE_ROUNDS_MAX);
  }

  /** It dies, and its connections end; or it stops, and they do not. */
  #lose(leader: Replica): void {
    if (this.#random.chance(1, 2)) {
      leader.crash();
      this.#links.died(leader);
      return;
    }
    this.#paused.add(leader.id);
    for (const { id } of this.#replicas) this.#links.stalls.add(`${leader.id}>${id}`);
  }

  #until(what: string, holds: () => boolean, roundsMax = HEAL_ROUNDS_MAX): void {
    for (let round = 0; round < roundsMax; round++) {
      for (const [at, peer] of this.#links.broken()) this.#at(at, () => this.#links.notice(at, peer));
      for (const replica of this.#replicas) this.#dialAll(replica);
      this.#round(0, 1000);
      if (holds()) return;
    }
    assert.fail(what);
  }

  #leader(): Replica | undefined {
    return this.#replicas
      .filter(({ up, core }) => up && core.role === "leader")
      .sort((a, b) => b.core.term - a.core.term)[0];
  }

  #rests(): boolean {
    const leader = this.#leader();
    if (leader === undefined) return false;
    return membersOf(leader).every((id) => this.#cluster.replicas.get(id)?.core.atRest === true);
  }
}

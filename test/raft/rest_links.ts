/**
 * What connects the nodes of a cluster whose groups rest: to each pair a connection that keeps the order and loses nothing
 * while it stands, pulses over it, and each end's own opinion of whether it stands. One replica to a node, so a node has
 * its replica's number. The driver's part of raft/rest.ts is here, as src/server has it (pulses.ts, peers.ts, roster.ts).
 *
 *     dialler (smaller number)   down --dial--> greeting --hello comes--> up --it notices--> down
 *     other end                  down --dialled------------------------> up --it notices, or is dialled again--> down
 *
 * A connection that breaks loses what is on its way after what was delivered; each end notices in its own time, and what it
 * sends until then is lost.
 */
import { present } from "../../src/base/assert.ts";
import type { ReplicaId, RestOptions } from "../../src/raft/types.ts";
import type { Cluster, Packet, Replica } from "./cluster.ts";

const PULSE_TICKS = 4;
const SILENCE_TICKS_MAX = 10;
const LOOK_TICKS = 50;

type End = {
  state: "down" | "greeting" | "up";
  /** It broke, and this end has not noticed. */
  isBroken: boolean;
  /** On its way to this end. */
  coming: (Packet | "pulse" | "hello")[];
  /** Ticks since a pulse came; infinite before the first one. */
  silence: number;
};

export class RestLinks {
  /** "1>2": what 1 sends to 2 waits, and is not lost. */
  readonly stalls = new Set<string>();
  /** A mistake: nobody is roused when a node falls silent. */
  isDeaf = false;
  readonly #ends = new Map<string, End>();
  readonly #ticks = new Map<ReplicaId, number>();
  #cluster: Cluster | null = null;

  set cluster(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get #replicas(): ReadonlyMap<ReplicaId, Replica> {
    return present(this.#cluster, "there is a cluster").replicas;
  }

  /** What `at` has of its connection to `peer`. */
  #end(at: ReplicaId, peer: ReplicaId): End {
    const name = `${at}-${peer}`;
    let end = this.#ends.get(name);
    if (end === undefined) {
      end = { state: "down", isBroken: false, coming: [], silence: Number.POSITIVE_INFINITY };
      this.#ends.set(name, end);
    }
    return end;
  }

  restOptions(self: ReplicaId, afterTicks: number): RestOptions {
    return {
      afterTicks,
      of: (replica) => {
        const { state, silence } = this.#end(self, replica);
        if (state !== "up") return "away";
        return silence < SILENCE_TICKS_MAX ? "can" : "cannot";
      },
      silenceTicks: (replica) => this.#end(self, replica).silence,
    };
  }

  // ------------------------------------------------------------------------------------------- traffic

  /** What the cluster posted goes into the connections; snapshots have one of their own, and are given back. */
  take(cluster: Cluster): Packet[] {
    const snapshots: Packet[] = [];
    for (const packet of cluster.packets) {
      const { from, to, kind } = packet.message;
      if (kind === "snapshot") snapshots.push(packet);
      else this.#send(from, to, packet);
    }
    cluster.packets = [];
    return snapshots;
  }

  #send(from: ReplicaId, to: ReplicaId, what: Packet | "pulse"): void {
    const end = this.#end(from, to);
    if (end.state === "up" && !end.isBroken) this.#end(to, from).coming.push(what);
  }

  /** Peers from which something can come now. */
  comingTo(at: ReplicaId): ReplicaId[] {
    return [...this.#replicas.keys()].filter(
      (peer) => peer !== at && this.#end(at, peer).coming.length > 0 && !this.stalls.has(`${peer}>${at}`),
    );
  }

  /** The next thing comes; a message is given to `step`. */
  deliver(at: Replica, peer: ReplicaId, step: (message: Packet) => void): void {
    const end = this.#end(at.id, peer);
    const what = end.coming.shift();
    if (what === undefined) return;
    if (what === "pulse") end.silence = 0;
    else if (what !== "hello") step(what);
    else {
      end.state = "up";
      rouse(at, peer);
    }
  }

  /** Nothing is on its way between them that either would have to hear, and both know how things stand. */
  isCalm(a: ReplicaId, b: ReplicaId): boolean {
    return [this.#end(a, b), this.#end(b, a)].every(
      ({ state, isBroken, coming }) =>
        state === "up" && !isBroken && coming.every((what) => what === "pulse"),
    );
  }

  // ------------------------------------------------------------------------------------------- time

  /** A tick of a node; its replica is ticked, or looked at. */
  tick(replica: Replica): void {
    const ticks = (this.#ticks.get(replica.id) ?? 0) + 1;
    this.#ticks.set(replica.id, ticks);
    for (const peer of this.#replicas.keys()) {
      if (peer === replica.id) continue;
      if (++this.#end(replica.id, peer).silence === SILENCE_TICKS_MAX && !this.isDeaf) rouse(replica, peer);
      if (ticks % PULSE_TICKS === 0) this.#send(replica.id, peer, "pulse");
    }
    if (!replica.core.atRest) replica.core.tick();
    else if (ticks % LOOK_TICKS === 0) replica.core.look();
  }

  // ------------------------------------------------------------------------------------------- connections

  /** Between two nodes that are up, if the one that dials has noticed that there is none. */
  dial(a: Replica, b: Replica): void {
    const [dialler, other] = a.id < b.id ? [a, b] : [b, a];
    const near = this.#end(dialler.id, other.id);
    if (near.state !== "down" || !a.up || !b.up) return;
    this.notice(other, dialler.id);
    near.state = "greeting";
    near.isBroken = false;
    near.coming = ["hello"];
    const far = this.#end(other.id, dialler.id);
    far.state = "up";
    far.coming = [];
    rouse(other, dialler.id);
  }

  /** It ends; neither has noticed. */
  break(a: ReplicaId, b: ReplicaId): void {
    for (const end of [this.#end(a, b), this.#end(b, a)]) if (end.state !== "down") end.isBroken = true;
  }

  /** `at` finds out that its connection ended, or is taken to have. */
  notice(at: Replica, peer: ReplicaId): void {
    const end = this.#end(at.id, peer);
    if (end.state === "down") return;
    this.break(at.id, peer);
    const wasUp = end.state === "up";
    end.state = "down";
    end.isBroken = false;
    end.coming = [];
    if (!wasUp || !at.up) return;
    rouse(at, peer);
    if (at.core.leader === peer) at.core.loseLeader();
  }

  /** Ends that have something to notice. */
  broken(): [Replica, ReplicaId][] {
    const found: [Replica, ReplicaId][] = [];
    for (const replica of this.#replicas.values())
      for (const peer of this.#replicas.keys())
        if (this.#end(replica.id, peer).isBroken && replica.up) found.push([replica, peer]);
    return found;
  }

  /** The node died: whoever is connected to it has yet to notice. */
  died(replica: Replica): void {
    for (const peer of this.#replicas.keys()) {
      if (peer === replica.id) continue;
      this.notice(replica, peer);
      this.#end(replica.id, peer).silence = Number.POSITIVE_INFINITY;
    }
    this.#ticks.delete(replica.id);
  }
}

/** Its node tells it that the other one fell silent, came or went. */
function rouse(at: Replica, peer: ReplicaId): void {
  const { core } = at;
  if (!at.up) return;
  const { voters, outgoing, learners } = core.config;
  const isMember = [...voters, ...outgoing, ...learners].some(({ replica }) => replica === peer);
  if (core.role === "leader" ? isMember : core.leader === peer) core.rouse();
}

/**
 * Watches a cluster from outside and keeps its own account of what must never change (thesis figure 3.2, and what
 * this core promises besides). It reads disks, logs and messages, and trusts no replica's word.
 */
import { strict as assert } from "node:assert";
import { crc32 } from "../../src/base/checksum.ts";
import { includes } from "../../src/raft/config.ts";
import type {
  Entry,
  GroupConfig,
  Index,
  Member,
  ReadState,
  Ready,
  ReplicaId,
  Term,
} from "../../src/raft/types.ts";
import type { Cluster, Observer, Packet, Replica } from "./cluster.ts";

type Seen = { commit: Index; config: GroupConfig; role: string };

export class Oracle implements Observer {
  cluster: Cluster | null = null;
  readonly counts = {
    commits: 0,
    reads: 0,
    readsLost: 0,
    elections: 0,
    configs: 0,
    installs: 0,
    truncations: 0,
  };
  /** The highest index that anyone ever knew to be committed. */
  committedIndex: Index = 0;
  readonly #committed = new Map<Index, Term>();
  /** The term in which each was first known to be committed. */
  readonly #committedIn = new Map<Index, Term>();
  readonly #leaders = new Map<Term, string>();
  /** What (index, term) names: its content, and the term before it. */
  readonly #entries = new Map<string, string>();
  readonly #states = new Map<Index, number>();
  /** What was committed when a read was asked. */
  readonly #reads = new Map<number, Index>();
  readonly #seen = new Map<ReplicaId, Seen>();
  readonly #lives = new Map<ReplicaId, number>();
  #configVersion = 1;

  /** Call after every call into a replica. */
  inspect(replica: Replica): void {
    const { core, id } = replica;
    const seen = this.#seen.get(id) ?? { commit: 0, config: core.config, role: "follower" };
    if (core.role === "leader") this.#checkLeader(replica, seen.role !== "leader");
    if (core.commitIndex > seen.commit) this.#checkCommit(replica, seen);
    this.#seen.set(id, { commit: core.commitIndex, config: core.config, role: core.role });
  }

  restarted(replica: Replica): void {
    this.#lives.set(replica.id, (this.#lives.get(replica.id) ?? 0) + 1);
    this.#seen.delete(replica.id);
    this.inspect(replica);
  }

  asked(id: number): void {
    this.#reads.set(id, this.committedIndex);
  }

  /** Election safety; leader completeness. */
  #checkLeader(replica: Replica, fresh: boolean): void {
    const { core, id } = replica;
    const name = `${id}, life ${this.#lives.get(id) ?? 0}`;
    const known = this.#leaders.get(core.term);
    if (known === undefined) {
      this.counts.elections++;
      this.#leaders.set(core.term, name);
    }
    assert.equal(known ?? name, name, `one leader in term ${core.term}`);
    if (!fresh) return;
    for (let index = core.snapshotIndex + 1; index <= this.committedIndex; index++) {
      const term = this.#committed.get(index);
      // One who is elected late, when another leads in a higher term, need not have what that one committed.
      if (term === undefined || (this.#committedIn.get(index) ?? 0) >= core.term) continue;
      assert.ok(index <= core.lastIndex, `leader ${name} has committed entry ${index}`);
      assert.equal(core.termAt(index), term, `leader ${name} has committed entry ${index} of term ${term}`);
    }
  }

  /** A committed index never changes its entry; what a leader commits is on a quorum of disks. */
  #checkCommit(replica: Replica, seen: Seen): void {
    const { core, id } = replica;
    for (let index = Math.max(seen.commit, core.snapshotIndex) + 1; index <= core.commitIndex; index++) {
      const term = core.termAt(index);
      assert.equal(
        this.#committed.get(index) ?? term,
        term,
        `replica ${id} commits what others did at ${index}`,
      );
      this.#committed.set(index, term);
      if (!this.#committedIn.has(index)) this.#committedIn.set(index, core.term);
    }
    const { commitIndex } = core;
    if (core.role === "leader" && seen.role === "leader") {
      const onDisk = ({ replica: member }: Member): boolean =>
        this.cluster?.replicas.get(member)?.disk.has(commitIndex, core.termAt(commitIndex)) === true;
      for (const list of [seen.config.voters, seen.config.outgoing]) {
        const count = list.filter(onDisk).length;
        assert.ok(
          list.length === 0 || count > list.length / 2,
          `entry ${commitIndex} is on a majority of disks`,
        );
      }
      if (core.config.version > this.#configVersion && core.configIndex <= commitIndex) {
        this.counts.configs++;
        this.#configVersion = core.config.version;
      }
    }
    if (commitIndex > this.committedIndex) this.counts.commits += commitIndex - this.committedIndex;
    this.committedIndex = Math.max(this.committedIndex, commitIndex);
  }

  /** Log matching: an (index, term) names one entry, with one history. */
  took(replica: Replica, ready: Ready): void {
    if (ready.snapshot !== null) this.counts.installs++;
    else if (ready.truncatedFrom !== null) this.counts.truncations++;
    this.counts.readsLost += ready.readsLost.length;
    for (const entry of ready.entries) {
      const key = `${entry.index}/${entry.term}`;
      const before = replica.core.termAt(entry.index - 1);
      const name = `${entry.kind} ${crc32(entry.bytes)} after ${before}`;
      assert.equal(this.#entries.get(key) ?? name, name, `${key} is one entry`);
      this.#entries.set(key, name);
    }
  }

  /** What a replica promises is on its disk. */
  sent(replica: Replica, { message }: Packet): void {
    const { disk, core, id } = replica;
    const { hardState } = disk;
    if (message.kind === "append_reply" && message.accepted) {
      assert.ok(disk.lastIndex >= message.index, `replica ${id} has ${message.index} on disk`);
      assert.ok(hardState.term >= message.term, `replica ${id} has its term on disk`);
      if (message.index > core.snapshotIndex && core.term === message.term) {
        assert.ok(
          disk.has(message.index, core.termAt(message.index)),
          `replica ${id} has this very entry on disk`,
        );
      }
    } else if (message.kind === "vote_reply" && message.granted) {
      assert.deepEqual(
        [hardState.term, hardState.vote],
        [message.term, message.to],
        `vote of ${id} is on disk`,
      );
    } else if (message.kind === "vote") {
      assert.deepEqual([hardState.term, hardState.vote], [message.term, id], `candidacy of ${id} is on disk`);
      assert.ok(disk.has(message.lastIndex, message.lastTerm), `candidate ${id} has the log it boasts of`);
    }
  }

  /** State machine safety. */
  applied(replica: Replica, entry: Entry): void {
    const { state } = replica.applied;
    assert.equal(
      this.#states.get(entry.index) ?? state,
      state,
      `state at ${entry.index} is one, also at ${replica.id}`,
    );
    this.#states.set(entry.index, state);
  }

  /** Linearizable reads: nothing committed before the question is missing from the answer. */
  answered(replica: Replica, read: ReadState): void {
    const floor = this.#reads.get(read.id);
    assert.ok(floor !== undefined, `read ${read.id} was asked`);
    assert.ok(read.index >= floor, `read at ${replica.id} sees ${read.index}, ${floor} was committed before`);
    this.#reads.delete(read.id);
    this.counts.reads++;
  }
}

/** Members of the config in force at `replica`. */
export function membersOf(replica: Replica): ReplicaId[] {
  const { voters, outgoing, learners } = replica.core.config;
  const all = [...voters, ...learners, ...outgoing.filter((old) => !includes(voters, old.replica))];
  return all.map((member) => member.replica);
}

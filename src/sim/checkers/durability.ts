/**
 * Nobody vouches for what a power failure could take back. Judged against the durable images of the disks at the
 * very moment a node speaks or acts (hazards A2, A4, A5, B8, and the promise "acknowledged is durable").
 *
 *     vote granted       the voter's disk holds (term, vote), or a later term
 *     append accepted    the follower's disk holds the leader's log up to that index, and a term not below
 *     entry applied      a majority of the voters' disks hold it: replies leave only after that. Not of a shard that the control
 *                        plane has retired: it owns nothing, so there is nothing in it that anybody was promised
 *     hard state         on one disk the term never falls, and in one term the vote never changes (A3, D12)
 */
import { MetaStore } from "../../controlplane/meta_store.ts";
import type { AppendReply, Entry, Message, ReplicaId, Term, VoteReply } from "../../raft/types.ts";
import type { GroupReplica } from "../../server/group.ts";
import { NODE_DIR, type SimNode } from "../cluster.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";
import { type DurableGroup, DurableLog } from "./durable_log.ts";
import type { LeaderChecker } from "./leaders.ts";

export class DurabilityChecker implements Checker {
  readonly name = "durability";
  judged = 0;
  readonly #world: World;
  readonly #nodes: readonly SimNode[];
  readonly #leaders: LeaderChecker;
  readonly #logs = new Map<SimNode, DurableLog>();
  /** Groups of shards that are no more: their replicas are closed one by one, whatever the others still agree on. */
  readonly #retired = new Set<number>();
  /** Highest index that was applied anywhere, per group. */
  #highest = new Map<number, number>();

  constructor(world: World, nodes: readonly SimNode[], leaders: LeaderChecker) {
    this.#world = world;
    this.#nodes = nodes;
    this.#leaders = leaders;
    for (const node of nodes) {
      const log = new DurableLog(node.machine.disk, `${NODE_DIR}/wal`);
      log.onHardState = (group, state, term, vote) => this.#onHardState(node, group, state, term, vote);
      this.#logs.set(node, log);
    }
  }

  onMessage(node: SimNode, group: number, message: Message): void {
    if (node.diskDamaged) return; // its disk lies; whether it should have noticed is judged elsewhere
    if (message.kind === "vote_reply" && message.granted) this.#onVote(node, group, message);
    if (message.kind === "append_reply" && message.accepted) this.#onAccepted(node, group, message);
  }

  onApplied(node: SimNode, replica: GroupReplica, entry: Entry): void {
    const { group, store } = replica;
    if (store instanceof MetaStore) for (const gone of store.state.retired) this.#retired.add(gone.group);
    if (this.#retired.has(group)) return;
    if (entry.index <= (this.#highest.get(group) ?? 0)) return;
    this.#highest.set(group, entry.index);
    this.judged++;
    const { core } = replica;
    const { voters, outgoing } = core.config;
    // Before a change of members had its entry, the former members alone had to agree.
    const judged = outgoing.length > 0 && entry.index < core.configIndex ? [outgoing] : [voters, outgoing];
    for (const members of judged) {
      const holders = members.filter((member) => this.holds(member.node, group, entry));
      if (members.length === 0 || holders.length > members.length / 2) continue;
      const names = holders.map((member) => member.node).join(", ");
      this.#world.fail(
        "acknowledged is durable",
        `${node.id} applied entry ${entry.index} of term ${entry.term}, which only these disks hold: ${names || "none"}`,
      );
    }
  }

  /** Its disk has the entry for certain, or is harmed and says nothing. */
  holds(id: string, group: number, entry: Pick<Entry, "index" | "term">): boolean {
    const node = this.#nodes.find((candidate) => candidate.id === id);
    if (node === undefined) return false;
    return node.diskDamaged || this.#log(node).holds(group, entry.index, entry.term);
  }

  #log(node: SimNode): DurableLog {
    return this.#logs.get(node) as DurableLog;
  }

  #onVote(node: SimNode, group: number, message: VoteReply): void {
    this.judged++;
    const state = this.#log(node).group(group);
    const kept =
      state !== undefined &&
      (state.term > message.term || (state.term === message.term && state.vote === message.to));
    if (kept) return;
    const holds = state === undefined ? "nothing" : `term ${state.term}, vote ${state.vote}`;
    this.#world.fail(
      "votes are durable",
      `${node.id} granted replica ${message.to} its vote in term ${message.term}; its disk holds ${holds}`,
    );
  }

  #onAccepted(node: SimNode, group: number, message: AppendReply): void {
    this.judged++;
    const state = this.#log(node).group(group);
    const { index, term } = message;
    if (state === undefined || state.term < term) {
      this.#world.fail(
        "acks are durable",
        `${node.id} accepted entries in term ${term}; its disk knows ${state?.term}`,
      );
      return;
    }
    if (index <= state.snapshotIndex) return;
    const entry = state.entries.get(index);
    const expected = this.#leaders.termAt(group, term, index);
    if (entry !== undefined && (expected === undefined || entry.term === expected)) return;
    const holds = entry === undefined ? `ends at ${state.lastIndex}` : `has term ${entry.term} there`;
    this.#world.fail(
      "acks are durable",
      `${node.id} acknowledged index ${index} (term ${expected ?? "?"}) to the leader of term ${term}; its disk ${holds}`,
    );
  }

  #onHardState(node: SimNode, _group: number, state: DurableGroup, term: Term, vote: ReplicaId): void {
    if (node.diskDamaged) return;
    if (term < state.term) {
      this.#world.fail("hard state is monotone", `${node.id} went from term ${state.term} back to ${term}`);
    } else if (term === state.term && state.vote !== 0 && vote !== state.vote) {
      const votes = `from ${state.vote} to ${vote}`;
      this.#world.fail("hard state is monotone", `${node.id} changed its vote in term ${term} ${votes}`);
    }
  }
}

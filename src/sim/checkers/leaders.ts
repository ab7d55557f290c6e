/**
 * Election safety, log matching, leader completeness and the commit rule, mostly from what leaders send.
 *
 *     election safety       one replica speaks as the leader of a term (thesis 3.4)
 *     log matching          entries of one index and term are the same, and so is the entry before them (3.5)
 *     commit rule           a leader moves the commit index only to an entry of its own term (3.6.2)
 *     leader completeness   a leader of a later term sends no other entry where one was applied (3.6.3)
 *
 * The oracle grows with all that is seen, so a run's end is judged by all of its past (hazards A1, A3, B1).
 */
import { getU32 } from "../../base/bytes.ts";
import type { AppendRequest, Entry, Index, Message, ReplicaId, Term } from "../../raft/types.ts";
import type { GroupReplica } from "../../server/group.ts";
import type { SimNode } from "../cluster.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";

/** Where a sealed batch keeps its checksum (src/wire/batch.ts). */
const BATCH_CHECKSUM_AT = 4;

type Written = { readonly checksum: number; readonly previousTerm: Term; readonly node: string };
type Applied = { readonly term: Term; readonly byTerm: Term; readonly node: string };

export class LeaderChecker implements Checker {
  readonly name = "leaders";
  judged = 0;
  /** A term has a leader. */
  onElected: () => void = () => {};
  readonly #world: World;
  #leaders = new Map<string, { replica: ReplicaId; node: string }>();
  #written = new Map<string, Written>();
  #applied = new Map<string, Applied>();
  /** Terms of entries as the leader of a term has them: (group, leader's term) -> index -> entry's term. */
  #logs = new Map<string, Map<Index, Term>>();
  /** The commit index with which a node entered on its present leadership. */
  #commitBefore = new Map<string, { term: Term; index: Index }>();

  constructor(world: World) {
    this.#world = world;
  }

  onMessage(node: SimNode, group: number, message: Message): void {
    if (message.kind !== "append" && message.kind !== "heartbeat") return;
    this.judged++;
    this.#oneLeader(node, group, message.term, message.from);
    if (message.kind === "append") this.#append(node, group, message);
  }

  onLeader(node: SimNode, replica: GroupReplica): void {
    const { role, term, commitIndex } = replica.core;
    const key = `${node.id}/${replica.group}`;
    if (role === "leader" && this.#commitBefore.get(key)?.term !== term) {
      this.#commitBefore.set(key, { term, index: commitIndex });
    }
  }

  onApplied(node: SimNode, replica: GroupReplica, entry: Entry): void {
    this.#commitRule(node, replica);
    const key = `${replica.group}/${entry.index}`;
    if (!this.#applied.has(key))
      this.#applied.set(key, { term: entry.term, byTerm: replica.core.term, node: node.id });
  }

  /** The term of the entry at `index` in the log of the leader of `term`; undefined if it never said. */
  termAt(group: number, term: Term, index: Index): Term | undefined {
    return this.#logs.get(`${group}/${term}`)?.get(index);
  }

  #commitRule(node: SimNode, { group, core }: GroupReplica): void {
    const before = this.#commitBefore.get(`${node.id}/${group}`);
    if (core.role !== "leader" || before?.term !== core.term || core.commitIndex <= before.index) return;
    const term = this.termAt(group, core.term, core.commitIndex);
    if (term === undefined || term === core.term) return;
    this.#world.fail(
      "commit rule",
      `${node.id}, leading term ${core.term}, committed index ${core.commitIndex}, an entry of term ${term}`,
    );
  }

  #oneLeader(node: SimNode, group: number, term: Term, replica: ReplicaId): void {
    const key = `${group}/${term}`;
    const known = this.#leaders.get(key);
    if (known === undefined) {
      this.#leaders.set(key, { replica, node: node.id });
      this.onElected();
      this.#world.note("leader", node.index, term, replica, `term ${term}`);
    } else if (known.replica !== replica) {
      this.#world.fail("election safety", `${known.node} and ${node.id} both lead term ${term}`);
    }
  }

  #append(node: SimNode, group: number, message: AppendRequest): void {
    const logKey = `${group}/${message.term}`;
    let log = this.#logs.get(logKey);
    if (log === undefined) {
      log = new Map();
      this.#logs.set(logKey, log);
    }
    log.set(message.prevIndex, message.prevTerm);
    this.#complete(node, group, message.term, message.prevIndex, message.prevTerm);
    let previousTerm = message.prevTerm;
    for (const { index, term, bytes } of message.entries) {
      log.set(index, term);
      this.#complete(node, group, message.term, index, term);
      this.#matching(node, `${group}/${index}/${term}`, getU32(bytes, BATCH_CHECKSUM_AT), previousTerm);
      previousTerm = term;
    }
  }

  #matching(node: SimNode, key: string, checksum: number, previousTerm: Term): void {
    const known = this.#written.get(key);
    if (known === undefined) {
      this.#written.set(key, { checksum, previousTerm, node: node.id });
      return;
    }
    if (known.checksum !== checksum) {
      this.#world.fail(
        "log matching",
        `${known.node} and ${node.id} hold different entries group/index/term ${key}`,
      );
    }
    if (known.previousTerm !== previousTerm) {
      const terms = `${known.previousTerm} at ${known.node}, ${previousTerm} at ${node.id}`;
      this.#world.fail("log matching", `before entry group/index/term ${key} stands one of term ${terms}`);
    }
  }

  #complete(node: SimNode, group: number, leaderTerm: Term, index: Index, term: Term): void {
    const applied = this.#applied.get(`${group}/${index}`);
    if (applied === undefined || leaderTerm <= applied.byTerm || applied.term === term) return;
    this.#world.fail(
      "leader completeness",
      `${node.id}, leading term ${leaderTerm}, sends term ${term} at index ${index}, ` +
        `where ${applied.node} applied term ${applied.term} during term ${applied.byTerm}`,
    );
  }
}

/**
 * Membership, as the leader of a group sees to it: a node that lost its replica gets a new one under a new id, a
 * node that is to take another's place does so, and replicas that the config no longer names are closed.
 *
 *     a voter's node does not hold it      ->  a learner on that node, under the next id     (committed)
 *     a learner that is not there yet      ->  order `create`, for the incarnation that was first meant
 *     a learner that has caught up         ->  joint change: it votes, the one it replaces is removed
 *     a learner that can become nothing    ->  removed: its id is used up, or meant for a directory that is gone;
 *                                              what was lost is there again; its node is gone and nobody waits for it
 *     a node that is wanted, and no member ->  a learner there; when all that are wanted have caught up, one joint
 *                                              change makes them the voters and removes the others
 *     a replica that no config names       ->  order `close`
 *
 * Everything is read off the config in force and what the other nodes say they hold, so whoever leads next goes on
 * where this leader stopped; only whose place a node is to take (`replace`), and who is wanted (`want`: the control
 * plane says it each second), must be asked for again.
 * One change at a time, each by a majority that does without the lost replica: if the lost ones are a majority,
 * nothing can be committed and nothing happens (hazards A12, E1, E2, E4, E7; thesis 4.2, 4.3).
 */
import type { ConfigChange } from "../raft/config.ts";
import type { GroupConfig, Member, ReplicaId } from "../raft/types.ts";
import type { PeerNote } from "../wire/control.ts";
import type { GroupReplica } from "./group.ts";
import type { KnownPeers, Standing } from "./known_peers.ts";
import { membersOf } from "./layout.ts";
import type { Peers } from "./peers.ts";
import type { NodeHolding } from "./whereabouts.ts";

/** Ten times a second; each step waits for the one before it to be committed anyway. */
const MEMBERS_LOOK_TICKS = 10;
/** An order is repeated until it was obeyed. */
const ORDER_LOOKS = 10;
/** Three seconds from the first election on: orders come with heartbeats, one a second. */
const YOUNG_LOOKS = 30;

export type Orders = {
  /** The first that is possible is proposed: one may have to wait, for a learner to catch up. */
  readonly changes: readonly ConfigChange[];
  readonly creates: readonly { readonly node: string; readonly replica: ReplicaId }[];
  readonly closes: readonly { readonly node: string; readonly replica: ReplicaId }[];
};

export type Situation = {
  readonly self: ReplicaId;
  /** Committed and not joint. */
  readonly config: GroupConfig;
  /** Of the nodes that can be reached. */
  readonly holdings: ReadonlyMap<string, NodeHolding>;
  /** Whose place a node is to take: new node -> old node. */
  readonly wishes: ReadonlyMap<string, string>;
  /** The nodes that are to have the votes, and no others; null: nobody said. */
  readonly wanted: readonly string[] | null;
  /** The group has just begun: a founder that is not there may not have had its order yet. */
  readonly isYoung: boolean;
  /** Whether a replica id may still be promised to a node as it is now. */
  standing(replica: ReplicaId, incarnation: string): Standing;
};

/** What to do next. Pure. */
export function nextOrders(now: Situation): Orders {
  const { config, holdings } = now;
  const changes: ConfigChange[] = [];
  const propose = (wanted: Omit<ConfigChange, "version">): void => {
    changes.push({ version: config.version, ...wanted });
  };
  const creates: { node: string; replica: ReplicaId }[] = [];
  for (const learner of config.learners) {
    const holding = holdings.get(learner.node);
    const { replica, node } = learner;
    const remove = replacedBy(now, learner);
    const mayVote = remove.length > 0 || (now.wanted?.includes(node) ?? false);
    if (holding === undefined) {
      if (!mayVote) propose({ remove: [replica] }); // its node may be gone for good
      continue;
    }
    if (!mayVote && now.wanted !== null) {
      propose({ remove: [replica] });
      continue;
    }
    if (holds(holding, learner)) {
      if (holding.standing === "sound" && remove.length > 0) propose({ promote: [replica], remove });
      continue;
    }
    // An id belongs to the incarnation that it was first meant for: another one may not go on with its promises.
    const isUsedUp = holding.quarantined && holding.replica >= replica;
    const isNeeded = config.voters.every((voter) => voter.node !== node || !holds(holding, voter));
    const standing = isUsedUp || !isNeeded ? "foreign" : now.standing(replica, holding.incarnation);
    if (standing === "sound") creates.push({ node, replica });
    else if (standing === "foreign") propose({ remove: [replica] });
  }
  for (const voter of config.voters) {
    const isUnwanted = now.wanted?.includes(voter.node) === false;
    if (!isUnwanted && isLost(now, voter)) propose({ addLearners: [voter.node] });
  }
  for (const [node, old] of now.wishes) {
    const isMember = membersOf(config).some((member) => member.node === node);
    const isThere = config.voters.some((voter) => voter.node === old);
    if (!isMember && isThere && holdings.has(node)) propose({ addLearners: [node] });
  }
  for (const change of wantedChanges(now)) propose(change);
  return { changes, creates, closes: closesOf(now) };
}

/** From the voters that are to the ones that are wanted: learners first, then all in one joint change. */
function wantedChanges({ config, holdings, wanted }: Situation): Omit<ConfigChange, "version">[] {
  if (wanted === null) return [];
  const members = membersOf(config);
  const missing = wanted.filter((node) => !members.some((member) => member.node === node));
  const reachable = missing.filter((node) => holdings.has(node));
  if (reachable.length > 0) return [{ addLearners: reachable }];
  const isVoter = (node: string): boolean => config.voters.some((voter) => voter.node === node);
  const coming = config.learners.filter(({ node }) => wanted.includes(node) && !isVoter(node));
  const areThere = coming.every((learner) => {
    const holding = holdings.get(learner.node);
    return holding !== undefined && holds(holding, learner) && holding.standing === "sound";
  });
  if (missing.length > 0 || !areThere) return [];
  const promote = coming.map(({ replica }) => replica);
  const remove = config.voters.filter(({ node }) => !wanted.includes(node)).map(({ replica }) => replica);
  return promote.length + remove.length === 0 ? [] : [{ promote, remove }];
}

/** The replica is there, and may be used. */
export function holds(holding: NodeHolding, { replica }: Member): boolean {
  return holding.replica === replica && holding.standing !== "foreign" && !holding.quarantined;
}

/** Its node can be reached and does not hold it, and no new one is on its way there. */
function isLost({ self, config, holdings, isYoung }: Situation, voter: Member): boolean {
  const holding = holdings.get(voter.node);
  if (holding === undefined || voter.replica === self || holds(holding, voter)) return false;
  if (config.learners.some((learner) => learner.node === voter.node)) return false;
  if (isYoung && holding.replica === 0) return false;
  return holding.replica < config.nextReplica; // else it was born by hand under an id of the future
}

/** The voters whose place `learner` takes. */
function replacedBy({ config, wishes }: Situation, learner: Member): ReplicaId[] {
  const old = wishes.get(learner.node) ?? learner.node;
  return config.voters.filter(({ node }) => node === old).map(({ replica }) => replica);
}

/** Replicas that were removed, and may not know. */
function closesOf({ config, holdings }: Situation): Orders["closes"] {
  const members = membersOf(config);
  const closes: { node: string; replica: ReplicaId }[] = [];
  for (const [node, { replica, quarantined }] of holdings) {
    if (replica === 0 || quarantined || replica >= config.nextReplica) continue;
    if (!members.some((member) => member.replica === replica)) closes.push({ node, replica });
  }
  return closes;
}

/** Why a node cannot take another's place; null if it can. */
export function replaceProblem(
  config: GroupConfig,
  holdings: ReadonlyMap<string, NodeHolding>,
  old: string,
  node: string,
): string | null {
  if (!config.voters.some((voter) => voter.node === old))
    return `ERR node '${old}' has no vote in this shard`;
  if (config.voters.some((voter) => voter.node === node)) return `ERR node '${node}' has a vote already`;
  const holding = holdings.get(node);
  if (holding === undefined)
    return `TRYAGAIN node '${node}' cannot be reached: it must be in the layout file of the leader's node, and run`;
  if (holding.replica < config.nextReplica) return null;
  return `ERR node '${node}' was started with --init, which only founders are: empty its directory and start it without`;
}

export type ReplacementHost = {
  readonly group: GroupReplica;
  readonly peers: Peers;
  readonly known: KnownPeers;
  log(text: string, fields: Readonly<Record<string, string | number>>): void;
  wake(): void;
};

/** Looks after one group, as long as this node leads it. */
export class Replacement {
  readonly #host: ReplacementHost;
  readonly #wishes = new Map<string, string>();
  #wanted: readonly string[] | null = null;
  /** When an order was last sent, in looks. */
  readonly #sent = new Map<ReplicaId, number>();
  #ticks = 0;
  /** Tenths of a second. */
  #looks = 0;
  #configSeen = 0;
  /** Ids that this leader handed out in `#term`: nobody else can have promised them to a directory. */
  readonly #own = new Set<ReplicaId>();
  #term = 0;

  constructor(host: ReplacementHost) {
    this.#host = host;
  }

  /** `node` is to take the place of `old`; why not, as an error text, or null. Repeating it changes nothing. */
  replace(old: string, node: string): string | null {
    const { group, peers } = this.#host;
    const problem = replaceProblem(group.core.config, peers.holdings(group.group), old, node);
    if (problem === null) this.#wishes.set(node, old);
    group.rouse();
    return problem;
  }

  /** The control plane wants these voters, made up for config `version`; an order for another one came late. */
  want(version: number, voters: readonly string[]): void {
    const { group } = this.#host;
    if (!group.isLeader || group.core.config.version !== version) return;
    this.#wanted = voters;
    group.rouse();
  }

  tick(): void {
    if (++this.#ticks % MEMBERS_LOOK_TICKS === 0) this.look(MEMBERS_LOOK_TICKS);
  }

  /** `ticks`: since it looked last. */
  look(ticks: number): void {
    const { group } = this.#host;
    const { core } = group;
    if (core.configIndex > group.store.appliedIndex || core.config.outgoing.length > 0) return;
    if (core.configIndex !== this.#configSeen) this.#noteConfig();
    if (!group.isLeader) {
      this.#wanted = null;
      return this.#wishes.clear();
    }
    if (!core.committedInTerm) return;
    if (core.term !== this.#term) this.#own.clear();
    this.#term = core.term;
    this.#looks += ticks / MEMBERS_LOOK_TICKS;
    const { config } = core;
    const orders = nextOrders({
      self: group.replica,
      config,
      holdings: this.#host.peers.holdings(group.group),
      wishes: this.#wishes,
      wanted: this.#wanted,
      isYoung: config.version === 1 && this.#looks < YOUNG_LOOKS,
      standing: (replica, incarnation) => this.#standing(replica, incarnation),
    });
    orders.changes.some((change) => this.#propose(change));
    for (const { node, replica } of orders.creates) this.#order("create", node, replica);
    for (const { node, replica } of orders.closes) this.#order("close", node, replica);
  }

  /**
   * A learner that a former leader added, and that nobody has claimed yet: it may have been promised to a directory
   * that is gone by now, or to the one that is there. An id is never used by two, so it is not used at all.
   */
  #standing(replica: ReplicaId, incarnation: string): Standing {
    const { group, known } = this.#host;
    const isOpen = this.#own.has(replica) || known.isKnown(group.group, replica);
    return isOpen ? known.standing(group.group, replica, incarnation) : "foreign";
  }

  #noteConfig(): void {
    const { group, known } = this.#host;
    const { config, configIndex } = group.core;
    this.#configSeen = configIndex;
    const members = membersOf(config);
    const ids = members.map(({ replica }) => replica);
    known.forgetOthers(group.group, ids, config.nextReplica);
    for (const id of this.#sent.keys()) if (!ids.includes(id)) this.#sent.delete(id);
    for (const [node, old] of this.#wishes) {
      const isDone = config.voters.some((voter) => voter.node === node);
      if (isDone || !config.voters.some((voter) => voter.node === old)) this.#wishes.delete(node);
    }
  }

  /** False: not now. Not caught up, mostly: looked at again. */
  #propose(change: ConfigChange): boolean {
    const { group } = this.#host;
    const { nextReplica } = group.core.config;
    if (group.proposeConfig(change) !== null) return false;
    const { addLearners = [], promote = [], remove = [] } = change;
    for (const i of addLearners.keys()) this.#own.add(nextReplica + i);
    this.#host.log("membership", {
      learners: addLearners.join(" "),
      promoted: promote.join(" "),
      removed: remove.join(" "),
    });
    this.#host.wake();
    return true;
  }

  #order(kind: "create" | "close", node: string, replica: ReplicaId): void {
    if (this.#looks - (this.#sent.get(replica) ?? -ORDER_LOOKS) < ORDER_LOOKS) return;
    this.#sent.set(replica, this.#looks);
    const { group, peers } = this.#host;
    const incarnation = peers.holdings(group.group).get(node)?.incarnation;
    if (incarnation === undefined) return;
    const create = { group: group.group, replica, incarnation, bootstrap: null };
    const close = { group: group.group, replica };
    const note: PeerNote = kind === "create" ? { kind, create } : { kind, close };
    peers.sendNote(node, note);
    this.#host.wake();
  }
}

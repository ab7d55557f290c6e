/**
 * Who is there: what the nodes' heartbeats say, in the memory of the control plane's leader alone. A new leader begins
 * with nothing and learns all of it again within a heartbeat's interval; so nobody counts as silent from before this
 * leader began, and nobody is dead until it has listened for the whole time itself.
 *
 *     heard within suspectTicks: alive      within deadTicks: suspect      later: dead
 *
 * Hints of leaders are ordered by term: a late word never replaces a newer one (hazard F9).
 *
 * A group whose leadership went to another node is unsettled for a minute: whoever moved it there had a reason, most of all
 * an operator, and its leader is not moved on meanwhile only to spread leaders evenly.
 */
import { assert } from "../base/assert.ts";
import { compareIds } from "../ring/layout.ts";
import { type Heartbeat, type LeadReport, NODES_MAX, type Registration } from "../wire/control_plane.ts";
import type { MetaState } from "./state.ts";

export type Standing = "alive" | "suspect" | "dead";

export type LivenessOptions = {
  readonly tickMs: number;
  /** Three heartbeats may be lost or late before a node is given nothing new. */
  readonly suspectTicks: number;
  readonly deadTicks: number;
  readonly settleTicks: number;
};

const LIVENESS_DEFAULT: LivenessOptions = {
  tickMs: 10,
  suspectTicks: 350,
  deadTicks: 1000,
  settleTicks: 6000,
};

export type Hint = { readonly node: string; readonly term: number };
/** `movedTick`: when another node was last seen to take over; null if that was not seen. */
type Led = Hint & { readonly movedTick: number | null };

/** One group, as its members tell. */
export type GroupView = {
  readonly group: number;
  /** What it is the group of, by their words; the state knows it too, except after a restore. */
  readonly shard: string;
  /** The replica on each node that was heard. */
  readonly holders: ReadonlyMap<string, { readonly replica: number; readonly quarantined: boolean }>;
  /** The living node that says it leads, in the highest term; null if none does. */
  readonly leader: (Hint & { readonly lead: LeadReport }) | null;
};

/** All that was heard, at one tick. */
export type View = {
  readonly tick: number;
  readonly standing: (node: string) => Standing;
  /** Not heard by this leader, which has not listened long enough to call it dead. */
  readonly isUnheard: (node: string) => boolean;
  readonly silentMs: (node: string) => number;
  /** The leadership of the group did not go to another node lately. */
  readonly isSettled: (group: number) => boolean;
  /** The last heartbeat of each registered node that is not dead. */
  readonly beats: ReadonlyMap<string, Heartbeat>;
  readonly groups: ReadonlyMap<number, GroupView>;
  /** Nodes that know of shards of which the state knows nothing: they were refused, or report replicas. */
  readonly strangers: readonly string[];
};

export class Liveness {
  readonly #beganTick: number;
  readonly #options: LivenessOptions;
  readonly #heard = new Map<string, { readonly beat: Heartbeat; readonly tick: number }>();
  readonly #hints = new Map<number, Led>();
  readonly #strangers = new Set<string>();
  /** Rises with every change of a hint. */
  hintChanges = 0;

  constructor(beganTick: number, options: LivenessOptions = LIVENESS_DEFAULT) {
    assert(options.suspectTicks < options.deadTicks, "a node is suspect before it is dead");
    this.#beganTick = beganTick;
    this.#options = options;
  }

  /** What the node is to be told of itself. */
  hear(state: MetaState, beat: Heartbeat, tick: number): "known" | "unknown" | "stale" {
    const node = state.nodes.get(beat.node);
    if (node === undefined) return "unknown";
    if (node.incarnation !== beat.incarnation)
      return node.former.includes(beat.incarnation) ? "stale" : "unknown";
    if (node.excluded) return "stale";
    this.#heard.set(beat.node, { beat, tick });
    for (const { group, term, leader } of beat.groups)
      if (leader !== null) this.#hint(group, { node: leader, term }, tick);
    return "known";
  }

  /**
   * Why a registration must not be put into the log although a transition would take it; null if it may. Who has an id
   * or an address, and is alive, keeps it: two directories under one id are a mistake of whoever started the second.
   */
  registrationProblem(state: MetaState, given: Registration, tick: number): string | null {
    const { node: id, incarnation, address } = given;
    const isAlive = (node: string): boolean => this.standing(node, tick) === "alive";
    const known = state.nodes.get(id);
    if (known !== undefined && known.incarnation !== incarnation && isAlive(id))
      return `CONFLICT a node '${id}' with another directory is alive, or was seconds ago`;
    const twin = [...state.nodes.values()].find((node) => node.address === address && node.id !== id);
    if (twin === undefined || !isAlive(twin.id)) return null;
    return `CONFLICT node '${twin.id}' is at ${address} already`;
  }

  /** A node that was refused because it has seen more than this state can have issued. */
  noteStranger(node: string): void {
    if (this.#strangers.size < NODES_MAX) this.#strangers.add(node);
  }

  #strangersTo(state: MetaState, beats: ReadonlyMap<string, Heartbeat>): string[] {
    const holders = [...beats.values()].filter(({ groups }) => groups.length > 0).map(({ node }) => node);
    const strange = state.shards.size === 0 ? [...this.#strangers, ...holders] : [...this.#strangers];
    return [...new Set(strange)].sort(compareIds);
  }

  #hint(group: number, { node, term }: Hint, tick: number): void {
    const known = this.#hints.get(group);
    if (known !== undefined && term <= known.term) return;
    const movedTick = known === undefined || known.node === node ? (known?.movedTick ?? null) : tick;
    this.#hints.set(group, { node, term, movedTick });
    this.hintChanges++;
  }

  /** Who leads a group as last heard, whether it is alive or not. */
  hint(group: number): Hint | null {
    return this.#hints.get(group) ?? null;
  }

  /** The last heartbeat of a node. */
  beatOf(node: string): Heartbeat | null {
    return this.#heard.get(node)?.beat ?? null;
  }

  silentTicks(node: string, tick: number): number {
    return tick - (this.#heard.get(node)?.tick ?? this.#beganTick);
  }

  /** Never heard, but perhaps silent no longer than this leader listens: suspect, as nothing can be said. */
  standing(node: string, tick: number): Standing {
    const silent = this.silentTicks(node, tick);
    if (silent >= this.#options.deadTicks) return "dead";
    return this.#heard.has(node) && silent < this.#options.suspectTicks ? "alive" : "suspect";
  }

  view(state: MetaState, tick: number): View {
    this.#forget(state);
    const beats = new Map<string, Heartbeat>();
    for (const [node, { beat }] of this.#heard) {
      if (this.standing(node, tick) !== "dead") beats.set(node, beat);
    }
    const standing = (node: string): Standing => this.standing(node, tick);
    return {
      tick,
      standing,
      isUnheard: (node) => !this.#heard.has(node) && standing(node) !== "dead",
      isSettled: (group) =>
        tick - (this.#hints.get(group)?.movedTick ?? -Infinity) >= this.#options.settleTicks,
      silentMs: (node) => this.silentTicks(node, tick) * this.#options.tickMs,
      beats,
      groups: groupsOf(beats, standing),
      strangers: this.#strangersTo(state, beats),
    };
  }

  /** Nodes that were removed, excluded or begun anew; and groups that are gone. */
  #forget(state: MetaState): void {
    for (const [id, { beat }] of this.#heard) {
      const node = state.nodes.get(id);
      if (node === undefined || node.excluded || node.incarnation !== beat.incarnation)
        this.#heard.delete(id);
    }
    const groups = new Set([...state.shards.values()].map(({ group }) => group));
    for (const group of this.#hints.keys())
      if (!groups.has(group) && this.#hints.delete(group)) this.hintChanges++;
  }
}

type Building = {
  group: number;
  shard: string;
  holders: Map<string, { replica: number; quarantined: boolean }>;
  leader: GroupView["leader"];
};

function groupsOf(
  beats: ReadonlyMap<string, Heartbeat>,
  standing: (node: string) => Standing,
): ReadonlyMap<number, GroupView> {
  const groups = new Map<number, Building>();
  for (const [node, beat] of beats) {
    for (const { group, shard, replica, quarantined, term, lead } of beat.groups) {
      const view = groups.get(group) ?? { group, shard, holders: new Map(), leader: null };
      groups.set(group, view);
      view.holders.set(node, { replica, quarantined });
      if (lead === null || quarantined || standing(node) !== "alive") continue;
      if (view.leader === null || term > view.leader.term) view.leader = { node, term, lead };
    }
  }
  return groups;
}

/**
 * Where replicas are. Each node says what it holds, in its hello and in notes; that it is the one that promised what stands
 * under a replica's id, this node's own memory says (known_peers.ts). Both must hold before a replica is sent anything or
 * listened to: then there is a route to it.
 */
import type { ReplicaId } from "../raft/types.ts";
import type { GroupId } from "../wal/types.ts";
import type { PeerHello } from "../wire/control.ts";
import type { KnownPeers, Standing } from "./known_peers.ts";

export type Held = PeerHello["held"][number];

/** What is known of one group on another node that can be reached. */
export type NodeHolding = {
  readonly incarnation: string;
  /** The replica it says it holds; 0: none. */
  readonly replica: ReplicaId;
  readonly quarantined: boolean;
  /** Of that replica; null if there is none. */
  readonly standing: Standing | null;
};

/** What a node says it holds, and the directory that says so. */
type Word = { readonly incarnation: string; readonly held: ReadonlyMap<GroupId, Held> };
/** Where a replica is, and the directory there that speaks for it. */
type Route = { readonly node: string; readonly incarnation: string };

export class Whereabouts {
  readonly #known: KnownPeers;
  /** By node. */
  readonly #words = new Map<string, Word>();
  readonly #routes = new Map<GroupId, Map<ReplicaId, Route>>();

  constructor(known: KnownPeers) {
    this.#known = known;
  }

  /** The node said what it holds; none of that counts before `reroute`. */
  hear(node: string, incarnation: string, held: readonly Held[]): void {
    this.#words.set(node, { incarnation, held: new Map(held.map((one) => [one.group, one])) });
  }

  forget(node: string): void {
    this.#words.delete(node);
  }

  isHeard(node: string): boolean {
    return this.#words.has(node);
  }

  /** Something was said, or is believed by now. */
  reroute(): void {
    this.#routes.clear();
    for (const [node, { incarnation, held }] of this.#words) {
      for (const { group, replica, quarantined } of held.values()) {
        if (quarantined || this.#known.standing(group, replica, incarnation) !== "sound") continue;
        const routes = this.#routes.get(group) ?? new Map<ReplicaId, Route>();
        routes.set(replica, { node, incarnation });
        this.#routes.set(group, routes);
      }
    }
  }

  /** The node that a replica can be reached at; null if there is none. */
  nodeOf(group: GroupId, replica: ReplicaId): string | null {
    return this.#routes.get(group)?.get(replica)?.node ?? null;
  }

  /** That directory of the node is the one that speaks for the replica. */
  speaksFor(node: string, incarnation: string | undefined, group: GroupId, replica: ReplicaId): boolean {
    const route = this.#routes.get(group)?.get(replica);
    return route?.node === node && route.incarnation === incarnation;
  }

  /** The node says that it holds that replica. */
  claims(node: string, group: GroupId, replica: ReplicaId): boolean {
    return this.#words.get(node)?.held.get(group)?.replica === replica;
  }

  /** Null: the node said nothing yet. */
  holding(node: string, group: GroupId): NodeHolding | null {
    const word = this.#words.get(node);
    if (word === undefined) return null;
    const { incarnation, held } = word;
    const claim = held.get(group);
    if (claim === undefined) return { incarnation, replica: 0, quarantined: false, standing: null };
    const { replica, quarantined } = claim;
    return { incarnation, replica, quarantined, standing: this.#known.standing(group, replica, incarnation) };
  }

  /** Replicas that the node says it holds, and that were another directory's. */
  foreignAt(node: string): { readonly incarnation: string; readonly replica: ReplicaId }[] {
    const word = this.#words.get(node);
    if (word === undefined) return [];
    const { incarnation, held } = word;
    return [...held.values()]
      .filter(({ group, replica }) => this.#known.standing(group, replica, incarnation) === "foreign")
      .map(({ replica }) => ({ incarnation, replica }));
  }
}

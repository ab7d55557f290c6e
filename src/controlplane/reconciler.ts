/**
 * The reconciler: what is wished (state) against what is heard (view), as the next steps. A pure function, asked again
 * every round; it remembers nothing. A step that was ordered and is not seen yet is ordered again, and every order may
 * come late, twice or never (wire/control_plane.ts); so orders need no answers, and a new leader of the control plane
 * goes on where the last one stopped.
 *
 *     commands   for the control plane's own log: what was seen, and what follows from it
 *     orders     for nodes, each to one
 *
 * It does not swing: each step makes a whole number smaller that no other step makes larger - members that are not as
 * wished, the inequality of leaders, moves not done - and nothing is done about a node that is only suspect.
 *
 * Bounded: so many of each in a round; which shards come first turns with the rounds, so that none waits for ever
 * behind others that cannot be helped.
 */
import { slotsOfRanges } from "../ring/range.ts";
import type { Order } from "../wire/control_plane.ts";
import type { Body } from "./commands.ts";
import { leaderOrders } from "./leaders.ts";
import type { View } from "./liveness.ts";
import { creates, replacements, wants } from "./membership.ts";
import { moveOrders, moveStarts } from "./move_orders.ts";
import { observations } from "./observe.ts";
import { type MetaState, ordered, type ShardRecord } from "./state.ts";

/** Each is one entry's worth of work at the node that gets it. */
export const ORDERS_PER_ROUND_MAX = 256;
const COMMANDS_PER_ROUND_MAX = 64;

export type Situation = {
  readonly state: MetaState;
  readonly view: View;
  /** Counts the rounds of this leader. */
  readonly round: number;
  /** The sealed first entry of a shard's group. */
  readonly bootstrapOf: (shard: ShardRecord) => Uint8Array;
};

export type Addressed = { readonly node: string; readonly order: Order };
export type Steps = { readonly commands: readonly Body[]; readonly orders: readonly Addressed[] };

export function reconcile(now: Situation): Steps {
  const seen = observations(now);
  // After a restore nothing is ordered before everybody was heard: what is known here may be long past.
  if (now.state.awaited !== null) return { commands: seen.slice(0, COMMANDS_PER_ROUND_MAX), orders: [] };
  const shards = turned(ordered(now.state.shards), now.round);
  const commands = [...seen, ...retirements(now), ...replacements(now, shards), ...moveStarts(now)];
  const orders = [
    ...moveOrders(now),
    ...wants(now, shards),
    ...creates(now, shards),
    ...leaderOrders(now, shards),
    ...closes(now),
  ];
  return {
    commands: commands.slice(0, COMMANDS_PER_ROUND_MAX),
    orders: orders.slice(0, ORDERS_PER_ROUND_MAX),
  };
}

/** The list from another place on: where, goes on with the rounds. */
function turned<T>(list: readonly T[], round: number): T[] {
  if (list.length === 0) return [];
  const first = (round * 61) % list.length; // 61 is prime: every place comes to be the first
  return [...list.slice(first), ...list.slice(0, first)];
}

/** Shards that are left out of the layout and have given everything away, by their own words; and lost ones that own nothing. */
function retirements({ state, view }: Situation): Body[] {
  if (state.plan !== null) return [];
  const leaving = ordered(state.shards).filter((shard) => shard.state !== "active");
  return leaving.flatMap(({ id, group, state: is }): Body[] => {
    if (state.assignment.slotsOf(id).length > 0) return [];
    const lead = view.groups.get(group)?.leader?.lead;
    // A lost one says nothing any more, or nothing that counts.
    if (is !== "lost" && (lead === undefined || lead.slots.length > 0)) return [];
    return [{ kind: "retire", shard: id }];
  });
}

/**
 * Replicas of groups that are gone, and of lost ones as soon as a plan gives away what they own, or if they come back and say
 * that they own what others have: two must not serve it. A group that is not known at all is left alone: nobody said what it is.
 */
function closes({ state, view }: Situation): Addressed[] {
  const given = new Set((state.plan?.moves ?? []).map(({ from }) => from));
  const lost = ordered(state.shards).filter(
    (shard) => shard.state === "lost" && (given.has(shard.id) || hasOthers(state, view, shard)),
  );
  const gone = new Set([...state.retired, ...lost].map(({ group }) => group));
  return [...gone].flatMap((group) =>
    [...(view.groups.get(group)?.holders ?? [])].map(([node, { replica }]) => ({
      node,
      order: { kind: "close" as const, group, replica },
    })),
  );
}

/** The shard says that it owns slots of others: it had taken them when it was lost, and nobody had heard of that. */
function hasOthers({ assignment }: MetaState, view: View, { id, group }: ShardRecord): boolean {
  const claims = view.groups.get(group)?.leader?.lead.slots ?? [];
  return claims.some(({ slots }) =>
    [...slotsOfRanges(slots)].some((slot) => assignment.shardAt(slot) !== id),
  );
}

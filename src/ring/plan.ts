/**
 * The plan: the assignment compared with the layout, as a list of moves. A slot moves if its owner is not the one that the
 * ring gives it; no other slot does. A move takes at most 256 slots from one shard to another.
 *
 * A plan is nothing but that difference. Computed again when a part of it is done, by whoever, it is the rest: so nobody
 * has to remember a plan to finish it.
 *
 * A shard gives in one move at a time and takes in one move at a time (it may do both at once). The order of the list is
 * made for that: the shards that have the most to do begin, and `nextMoves` always takes the earliest moves that may
 * run. Were all moves equally long, they would run in waves; there are at most twice as many waves as the busiest shard
 * has moves, less one, and exactly as many if only one shard gives or only one takes.
 *
 * Slots that nobody is known to own cannot move: they are listed, and whoever orders the moves waits for their owners
 * to be heard.
 */
import { assert } from "../base/assert.ts";
import type { Assignment } from "./assignment.ts";
import type { ShardId } from "./circle.ts";
import { compareIds, ownerOf, type Ring } from "./layout.ts";
import { rangesOfSlots, type SlotRange } from "./range.ts";
import { SLOT_COUNT } from "./slot.ts";

/** A move holds back writes to its slots at its end, and is done again if it fails: so a small part of a shard. */
export const MOVE_SLOTS_MAX = 256;

export type Move = {
  readonly from: ShardId;
  readonly to: ShardId;
  readonly slots: readonly SlotRange[];
  readonly slotCount: number;
};

export type Plan = {
  /** The number of the layout that it leads to. */
  readonly layout: number;
  /** Earlier ones first. */
  readonly moves: readonly Move[];
  /** Slots that nobody is known to own. */
  readonly unowned: readonly SlotRange[];
};

/** All that one shard gives another; `next` moves are in the plan's order already. */
type Pair = { readonly from: ShardId; readonly to: ShardId; readonly moves: readonly Move[]; next: number };

export function planMoves(fact: Assignment, ring: Ring): Plan {
  const pairs = new Map<string, { from: ShardId; to: ShardId; slots: number[] }>();
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    const from = fact.shardAt(slot);
    const to = ownerOf(ring, slot);
    if (from === null || from === to) continue;
    const key = `${from} ${to}`;
    const pair = pairs.get(key);
    if (pair === undefined) pairs.set(key, { from, to, slots: [slot] });
    else pair.slots.push(slot);
  }
  const cut = [...pairs.values()].map(({ from, to, slots }) => ({
    from,
    to,
    moves: cutIntoMoves(from, to, slots),
    next: 0,
  }));
  return { layout: ring.layout.number, moves: inWaves(cut), unowned: fact.unowned() };
}

function cutIntoMoves(from: ShardId, to: ShardId, slots: readonly number[]): Move[] {
  const moves: Move[] = [];
  for (let at = 0; at < slots.length; at += MOVE_SLOTS_MAX) {
    const part = slots.slice(at, at + MOVE_SLOTS_MAX);
    moves.push({ from, to, slots: rangesOfSlots(part), slotCount: part.length });
  }
  return moves;
}

/** Wave after wave; in each, whoever has the most left to do chooses first. */
function inWaves(pairs: readonly Pair[]): Move[] {
  const ordered: Move[] = [];
  let open = [...pairs];
  while (open.length > 0) {
    const left = movesLeft(open);
    const urgency = ({ from, to }: Pair): [number, number] => {
      const [gives, takes] = [left.gives.get(from) ?? 0, left.takes.get(to) ?? 0];
      return [Math.max(gives, takes), Math.min(gives, takes)];
    };
    const ranked = open.map((pair) => ({ pair, rank: urgency(pair) }));
    ranked.sort((a, b) => b.rank[0] - a.rank[0] || b.rank[1] - a.rank[1] || byEnds(a.pair, b.pair));
    const heads = ranked.map(({ pair }) => pair.moves[pair.next] as Move);
    const wave = new Set(nextMoves(heads, []));
    for (const [i, { pair }] of ranked.entries()) if (wave.has(heads[i] as Move)) pair.next++;
    ordered.push(...wave);
    open = open.filter(({ moves, next }) => next < moves.length);
  }
  return ordered;
}

function movesLeft(pairs: readonly Pair[]): { gives: Map<ShardId, number>; takes: Map<ShardId, number> } {
  const left = { gives: new Map<ShardId, number>(), takes: new Map<ShardId, number>() };
  for (const { from, to, moves, next } of pairs) {
    left.gives.set(from, (left.gives.get(from) ?? 0) + moves.length - next);
    left.takes.set(to, (left.takes.get(to) ?? 0) + moves.length - next);
  }
  return left;
}

function byEnds(a: Pair, b: Pair): number {
  return compareIds(a.from, b.from) || compareIds(a.to, b.to);
}

/** Which of the pending moves may begin while others run: in order, each whose source and target are free. */
export function nextMoves(pending: Iterable<Move>, running: Iterable<Move>): Move[] {
  const giving = new Set<ShardId>();
  const taking = new Set<ShardId>();
  for (const { from, to } of running) {
    assert(!giving.has(from), "a shard gives in one move at a time");
    assert(!taking.has(to), "a shard takes in one move at a time");
    giving.add(from);
    taking.add(to);
  }
  const next: Move[] = [];
  for (const move of pending) {
    if (giving.has(move.from) || taking.has(move.to)) continue;
    giving.add(move.from);
    taking.add(move.to);
    next.push(move);
  }
  return next;
}

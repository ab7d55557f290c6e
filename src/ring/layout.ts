/**
 * The layout: the wish. Which shards there should be, with what weights, and how many points a weight of 1 has on the
 * circle. All else follows: whoever has a layout computes the same ring, on every runtime.
 *
 *     { "number": 3, "vnodes": 256, "shards": [ {"id": "s1", "weight": 1}, {"id": "s2", "weight": 0.5} ] }
 *
 * `number` counts layouts: a new one is taken only if it is one above the last (the control plane compares).
 * Shards lie in order of their ids, by character codes ("s10" before "s2"), so that equal wishes are equal texts.
 *
 * Errors: NucleusError "ESHARDS", naming the field, what it may be, and what was there.
 */
import { NucleusError } from "../base/errors.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import { Circle, type Hash64, type ShardId } from "./circle.ts";
import { runsOfSlots, type SlotRange } from "./range.ts";
import { SLOT_COUNT } from "./slot.ts";

export type ShardWish = { readonly id: ShardId; readonly weight: number };

export type Layout = {
  readonly number: number;
  readonly vnodes: number;
  readonly shards: readonly ShardWish[];
};

/** A layout, laid out. */
export type Ring = {
  readonly layout: Layout;
  /** Of each slot, the place of its owner in `layout.shards`. */
  readonly owners: Uint16Array;
};

/** Points of a shard of weight 1. The load of equal shards varies by 1 / sqrt(256) = 6 % (one deviation). */
export const VNODES_DEFAULT = 256;
const VNODES_MAX = 4096;
/** 16 slots for each: with fewer, one slot more or less is too much. */
export const SHARDS_MAX = 1024;
const WEIGHT_MAX = 100;
/** SHARDS_MAX x VNODES_MAX / 4. Hashing them takes about 0.1 s, and there are 64 for each slot. */
const POINTS_MAX = 1024 * 1024;

/** Points of a shard on the circle. */
export function pointCount(weight: number, vnodes: number): number {
  return Math.round(weight * vnodes);
}

/**
 * Checks what somebody wrote, and puts the shards in order. A weight that is left out is 1; fields of a shard that say
 * something else, such as its nodes, are not looked at.
 */
export function makeLayout(wish: { number: unknown; vnodes?: unknown; shards: unknown }): Layout {
  const { number, vnodes = VNODES_DEFAULT, shards } = wish;
  if (!isWhole(number, 1, Number.MAX_SAFE_INTEGER)) throw bad("the layout's number", "1 or more", number);
  if (!isWhole(vnodes, 1, VNODES_MAX))
    throw bad(`"vnodes"`, `a whole number from 1 to ${VNODES_MAX}`, vnodes);
  if (!Array.isArray(shards) || shards.length < 1 || shards.length > SHARDS_MAX) {
    throw bad(
      `"shards"`,
      `a list of 1 to ${SHARDS_MAX} shards`,
      Array.isArray(shards) ? shards.length : shards,
    );
  }
  const checked = shards.map((shard, i) => makeShard(shard, i, vnodes)).sort(byId);
  for (const [i, { id }] of checked.entries()) {
    if (checked[i + 1]?.id === id) throw new NucleusError("ESHARDS", `shard "${id}" is listed twice`);
  }
  const points = checked.reduce((sum, { weight }) => sum + pointCount(weight, vnodes), 0);
  if (points > POINTS_MAX) {
    throw bad("the sum of round(weight x vnodes)", `at most ${POINTS_MAX}; lower "vnodes"`, points);
  }
  return { number, vnodes, shards: checked };
}

function makeShard(value: unknown, i: number, vnodes: number): ShardWish {
  const where = `shards[${i}]`;
  if (typeof value !== "object" || value === null) throw bad(where, `an object like {"id": "s1"}`, value);
  const { id, weight = 1 } = value as { id?: unknown; weight?: unknown };
  if (!isName(id)) throw bad(`${where}.id`, NAME_RULE, id);
  if (typeof weight !== "number" || !(weight > 0 && weight <= WEIGHT_MAX)) {
    throw bad(`${where}.weight`, `a number above 0, up to ${WEIGHT_MAX}`, weight);
  }
  if (pointCount(weight, vnodes) < 1) {
    throw bad(`${where}.weight`, `at least ${0.5 / vnodes}, which is half a point of ${vnodes}`, weight);
  }
  return { id, weight };
}

function isWhole(value: unknown, min: number, max: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
}

function byId(a: ShardWish, b: ShardWish): number {
  return compareIds(a.id, b.id);
}

/** By character codes: the same on every runtime and under every locale. */
export function compareIds(a: ShardId, b: ShardId): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function bad(what: string, mayBe: string, is: unknown): NucleusError {
  return new NucleusError("ESHARDS", `${what} must be ${mayBe}, not ${JSON.stringify(is) ?? "left out"}`);
}

/** Lays a layout out. */
export function ringOf(layout: Layout, h64: Hash64): Ring {
  const circle = new Circle(h64);
  for (const { id, weight } of layout.shards) circle.add(id, pointCount(weight, layout.vnodes));
  return { layout, owners: circle.owners() };
}

export function ownerOf(ring: Ring, slot: number): ShardId {
  return (ring.layout.shards[ring.owners[slot] as number] as ShardWish).id;
}

/** Who the slots belong to by the ring, in as few ranges as can be. */
export function rangesOfRing({ layout, owners }: Ring): { slots: SlotRange; shard: ShardId }[] {
  return runsOfSlots((slot) => owners[slot] === owners[slot - 1]).map((slots) => ({
    slots,
    shard: (layout.shards[owners[slots[0]] as number] as ShardWish).id,
  }));
}

/** The least and the most loaded shard, as shares of what would be fair by weight: 1 and 1 are perfect. */
export type Balance = { readonly min: number; readonly max: number };

/** Balance of shards that own so many slots. */
export function balanceOf(shards: readonly { readonly weight: number; readonly slots: number }[]): Balance {
  const weights = shards.reduce((sum, { weight }) => sum + weight, 0);
  const loads = shards.map(({ weight, slots }) => slots / ((SLOT_COUNT * weight) / weights));
  return { min: Math.min(...loads), max: Math.max(...loads) };
}

/** How many slots each shard of the layout has when so placed; in the layout's order. */
export function countOwners(owners: Uint16Array, shardCount: number): number[] {
  const counts = new Array<number>(shardCount).fill(0);
  for (const owner of owners) counts[owner] = (counts[owner] as number) + 1;
  return counts;
}

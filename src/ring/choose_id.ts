/**
 * An id for a shard that nobody named. The id decides where the shard's points lie, so some ids balance better than
 * others: a few are tried, and the best one is kept.
 *
 * The candidates for shard 4 are s4, s4a, s4b ..: the number is one above all that were ever used, so that an id never
 * comes back with other data, and the letter is what is chosen.
 */
import { assert } from "../base/assert.ts";
import { Circle, type Hash64, type ShardId } from "./circle.ts";
import { type Balance, balanceOf, countOwners, type Layout, pointCount } from "./layout.ts";

const SUFFIXES = ["", ..."abcdefghijklmno"];

export type IdTried = { readonly id: ShardId; readonly balance: Balance };

export type IdChoice = IdTried & {
  /** All candidates, the chosen one among them. */
  readonly tried: readonly IdTried[];
};

/** `used`: ids of shards that are no longer in the layout, or not yet. */
export function chooseShardId(
  { vnodes, shards }: Pick<Layout, "vnodes" | "shards">,
  weight: number,
  used: Iterable<ShardId>,
  h64: Hash64,
): IdChoice {
  const circle = new Circle(h64);
  for (const shard of shards) circle.add(shard.id, pointCount(shard.weight, vnodes));
  const weights = [...shards.map((shard) => shard.weight), weight];
  const number = 1 + highestNumber([...shards.map(({ id }) => id), ...used]);
  const tried = SUFFIXES.map((suffix) => {
    const id = `s${number}${suffix}`;
    const attempt = circle.copy();
    attempt.add(id, pointCount(weight, vnodes));
    const counts = countOwners(attempt.owners(), weights.length);
    return { id, balance: balanceOf(counts.map((slots, i) => ({ weight: weights[i] as number, slots }))) };
  });
  return { ...best(tried), tried };
}

function highestNumber(ids: readonly ShardId[]): number {
  return ids.reduce((highest, id) => Math.max(highest, Number(/^s(\d{1,9})[a-z]?$/.exec(id)?.[1] ?? 0)), 0);
}

function best(tried: readonly IdTried[]): IdTried {
  const [first, ...others] = tried;
  assert(first !== undefined, "there are candidates");
  return others.reduce((a, b) => (unevenness(b.balance) < unevenness(a.balance) ? b : a), first);
}

/** How far the worst shard is from its fair share, up or down. */
function unevenness({ min, max }: Balance): number {
  return Math.max(max - 1, 1 - min);
}

/**
 * More shapes for msgpack.ts: names, weights, ranges of slots, and values of which there are several kinds.
 *
 *     name          text, 1 to 64 letters, digits, "_", "." or "-"
 *     weight        a number above 0, up to 100; whole ones as integers, others as 64-bit floats
 *     slot range    [first, last], both included; in lists they ascend and are disjoint
 *     one of ..     a map whose first field, `kind`, says which of the declared records the rest is
 *
 * Errors: as in msgpack.ts, ShapeError for what comes in, an assertion for what goes out.
 */
import { assert } from "../base/assert.ts";
import { isName, NAME_RULE } from "../base/names.ts";
import { choice, integer, record, type Shape, ShapeError, type ValueOf } from "./msgpack.ts";

/** Number of slots (ring/slot.ts has it too, and this room may not look there). */
export const SLOT_COUNT = 16384;
const WEIGHT_MAX = 100;

export function isWeight(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value <= WEIGHT_MAX;
}

function checked<T extends string | number>(what: string, fits: (value: unknown) => value is T): Shape<T> {
  return {
    what,
    encode(value) {
      assert(fits(value), `a value to send is ${what}`);
      return value;
    },
    decode: (value, where) => (fits(value) ? value : new ShapeError(`${where}: ${what}`)),
  };
}

/** What a node or a shard is called; it goes into file names, metrics and the ring's points as it is. */
export function name(): Shape<string> {
  return checked(NAME_RULE, isName);
}

export function weight(): Shape<number> {
  return checked(`a number above 0, up to ${WEIGHT_MAX}`, isWeight);
}

export type Slots = readonly (readonly [first: number, last: number])[];

const place = integer(0, SLOT_COUNT - 1);

/** Ranges of slots, ascending and disjoint. */
export function slots(rangesMax: number): Shape<Slots> {
  const what = `at most ${rangesMax} ascending ranges of slots`;
  return {
    what,
    encode(ranges) {
      assert(ranges.length <= rangesMax && areSlots(ranges), `a value to send is ${what}`);
      return ranges.map((range) => range.map((slot) => place.encode(slot)));
    },
    decode(value, where) {
      if (!Array.isArray(value) || value.length > rangesMax || !areSlots(value))
        return new ShapeError(`${where}: ${what}`);
      return value;
    },
  };
}

function areSlots(ranges: readonly unknown[]): ranges is Slots {
  let next = 0;
  for (const range of ranges) {
    if (!Array.isArray(range) || range.length !== 2) return false;
    const [first, last] = range as unknown[];
    if (!Number.isInteger(first) || !Number.isInteger(last)) return false;
    if ((first as number) < next || (last as number) < (first as number)) return false;
    if ((last as number) >= SLOT_COUNT) return false;
    next = (last as number) + 1;
  }
  return true;
}

type Fields = Readonly<Record<string, Shape<never> | Shape<unknown>>>;
type Kinds = Readonly<Record<string, Fields>>;
/** One of the records in `M`, with its name as `kind`. */
export type OneOf<M extends Kinds> = {
  [K in keyof M & string]: { readonly kind: K } & { readonly [N in keyof M[K]]: ValueOf<M[K][N]> };
}[keyof M & string];

/** A value of one of several kinds; `kinds` gives the fields of each beside `kind` itself. */
export function oneOf<const M extends Kinds>(kinds: M): Shape<OneOf<M>> {
  const shapes = new Map<unknown, Shape<unknown>>();
  for (const [kind, fields] of Object.entries(kinds))
    shapes.set(kind, record({ kind: choice(kind), ...fields }) as Shape<unknown>);
  const what = `a record whose kind is one of ${Object.keys(kinds).join(", ")}`;
  return {
    what,
    encode(value) {
      const shape = shapes.get(value.kind);
      assert(shape !== undefined, `a value to send is ${what}`);
      return shape.encode(value);
    },
    decode(value, where) {
      const shape = isTagged(value) ? shapes.get(value.kind) : undefined;
      if (shape === undefined) return new ShapeError(`${where}: ${what}`);
      return shape.decode(value, where) as OneOf<M> | ShapeError;
    },
  };
}

function isTagged(value: unknown): value is { kind: unknown } {
  return typeof value === "object" && value !== null && Object.hasOwn(value, "kind");
}

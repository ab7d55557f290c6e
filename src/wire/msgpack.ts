/**
 * MessagePack under declared shapes: everything on the wire that is not hot.
 *
 * A `Shape<T>` says what a value may be, encodes it with its fields in declared order (equal values are equal
 * bytes on every runtime) and checks what comes in. A record travels as a map with short text keys.
 *
 * Integers travel as MessagePack integers, never as floats; in the program they are safe integers.
 *
 * Errors: bytes from elsewhere are first walked without building anything (lengths against the bytes that are
 * there, depth, no extension types), then decoded, then checked; whatever is wrong gives a `ShapeError`, never
 * an exception. A value of ours that does not fit its shape is a bug and trips an assertion.
 */
import { Decoder, Encoder } from "@msgpack/msgpack";
import { assert } from "../base/assert.ts";
import { getU16, getU32, utf8 } from "../base/bytes.ts";

/** Records in lists in records: nothing of ours goes deeper than six. */
export const DEPTH_MAX = 16;
const U32_MAX = 0xffffffff;

export class ShapeError {
  /** Where, and what was expected: "hello.name: text of at most 64 bytes". */
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** Encoded form of a value, as MessagePack's own types. */
type Plain = null | boolean | number | bigint | string | Uint8Array | Plain[] | { [key: string]: Plain };

export type Shape<T> = {
  /** For messages: "text of at most 64 bytes". */
  readonly what: string;
  encode(value: T): Plain;
  /** The checked value, or a ShapeError that begins with `where`. */
  decode(value: unknown, where: string): T | ShapeError;
};

/** The type of the values that a shape describes. */
export type ValueOf<S> = S extends Shape<infer T> ? T : never;

/** A shape whose values look the same inside and outside. */
function plain<T extends Plain>(what: string, fits: (value: unknown) => value is T): Shape<T> {
  return {
    what,
    encode(value) {
      assert(fits(value), `a value to send is ${what}`);
      return value;
    },
    decode(value, where) {
      return fits(value) ? value : new ShapeError(`${where}: ${what}`);
    },
  };
}

export function text(bytesMax: number): Shape<string> {
  const what = `text of at most ${bytesMax} bytes`;
  return plain(what, (value): value is string => typeof value === "string" && utf8(value).length <= bytesMax);
}

export function bytes(bytesMax: number): Shape<Uint8Array> {
  const what = `at most ${bytesMax} bytes`;
  return plain(what, (value): value is Uint8Array => value instanceof Uint8Array && value.length <= bytesMax);
}

export function flag(): Shape<boolean> {
  return plain("true or false", (value) => typeof value === "boolean");
}

/** `byteCount` bytes as small hex digits: ids. */
export function hex(byteCount: number): Shape<string> {
  const pattern = new RegExp(`^[0-9a-f]{${2 * byteCount}}$`);
  return plain(
    `${2 * byteCount} hex digits`,
    (value): value is string => typeof value === "string" && pattern.test(value),
  );
}

export function choice<const T extends string>(...words: readonly T[]): Shape<T> {
  const known = new Set<unknown>(words);
  return plain(`one of ${words.join(", ")}`, (value): value is T => known.has(value));
}

export function integer(min = 0, max = Number.MAX_SAFE_INTEGER): Shape<number> {
  const what = `a whole number from ${min} to ${max}`;
  const fits = (value: number): boolean => Number.isSafeInteger(value) && value >= min && value <= max;
  return {
    what,
    encode(value) {
      assert(fits(value), `a value to send is ${what}`);
      // The library writes wide numbers as floats; as bigints they stay integers.
      return value > U32_MAX || value < -(2 ** 31) ? BigInt(value) : value;
    },
    decode(value, where) {
      const number = typeof value === "bigint" ? Number(value) : value;
      return typeof number === "number" && fits(number) ? number : new ShapeError(`${where}: ${what}`);
    },
  };
}

export function nullable<T>(inner: Shape<T>): Shape<T | null> {
  return {
    what: `${inner.what}, or nothing`,
    encode: (value) => (value === null ? null : inner.encode(value)),
    decode: (value, where) => (value === null ? null : inner.decode(value, where)),
  };
}

export function list<T>(inner: Shape<T>, countMax: number): Shape<readonly T[]> {
  const what = `a list of at most ${countMax}`;
  return {
    what,
    encode(values) {
      assert(values.length <= countMax, `a value to send is ${what}`);
      return values.map((value) => inner.encode(value));
    },
    decode(value, where) {
      if (!Array.isArray(value) || value.length > countMax) return new ShapeError(`${where}: ${what}`);
      const values: T[] = [];
      for (const [i, item] of value.entries()) {
        const decoded = inner.decode(item, `${where}[${i}]`);
        if (decoded instanceof ShapeError) return decoded;
        values.push(decoded);
      }
      return values;
    },
  };
}

type Fields = Readonly<Record<string, Shape<never> | Shape<unknown>>>;
type RecordOf<F> = { readonly [K in keyof F]: ValueOf<F[K]> };

/**
 * All of `fields` and no other. `open` lets other fields pass unread: for the first message between two builds,
 * of which the newer may say more.
 */
export function record<const F extends Fields>(fields: F, open = false): Shape<RecordOf<F>> {
  const entries = Object.entries(fields) as [string, Shape<unknown>][];
  return {
    what: `a record of ${Object.keys(fields).join(", ")}`,
    encode(value) {
      const encoded: { [key: string]: Plain } = {};
      for (const [name, shape] of entries)
        encoded[name] = shape.encode((value as Record<string, unknown>)[name]);
      return encoded;
    },
    decode(value, where) {
      if (!isMap(value)) return new ShapeError(`${where}: a map`);
      const extra = open ? undefined : Object.keys(value).find((name) => !Object.hasOwn(fields, name));
      if (extra !== undefined) return new ShapeError(`${where}: unknown field`);
      const decoded: Record<string, unknown> = {};
      for (const [name, shape] of entries) {
        if (!Object.hasOwn(value, name)) return new ShapeError(`${where}.${name}: missing`);
        const field = shape.decode(value[name], `${where}.${name}`);
        if (field instanceof ShapeError) return field;
        decoded[name] = field;
      }
      return decoded as RecordOf<F>;
    },
  };
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}

const encoder = new Encoder({ useBigInt64: true, maxDepth: DEPTH_MAX });
// No key cache: it would keep what strangers sent.
const decoder = new Decoder({ useBigInt64: true, keyDecoder: null });

/** The bytes of `value`, owned by the caller. */
export function encodeShape<T>(shape: Shape<T>, value: T): Uint8Array {
  return encoder.encode(shape.encode(value));
}

/** The value that fills `source` exactly; `name` begins the reason of an error. Bytes in it are borrowed. */
export function decodeShape<T>(shape: Shape<T>, source: Uint8Array, name: string): T | ShapeError {
  if (skipValue(source, 0, 0) !== source.length)
    return new ShapeError(`${name}: not MessagePack of this form`);
  let decoded: unknown;
  try {
    decoded = decoder.decode(source);
  } catch {
    return new ShapeError(`${name}: not MessagePack of this form`);
  }
  return shape.decode(decoded, name);
}

/** One past the value at `at`; -1: it is cut short, too deep, or of a type that we never send. */
export function valueEnd(source: Uint8Array, at: number): number {
  return skipValue(source, at, 0);
}

/** Sizes of what follows the types 0xc0..0xdf; -1 = refused, -2 = a size or count follows. */
// biome-ignore format: grouped as the specification's own table is
const FOLLOWS: readonly number[] = [
  0, -1, 0, 0, // nil, (never used), false, true
  -2, -2, -2, -1, -1, -1, // bin 8 16 32; ext 8 16 32
  4, 8, 1, 2, 4, 8, 1, 2, 4, 8, // float 32 64; uint 8..64; int 8..64
  -1, -1, -1, -1, -1, // fixext
  -2, -2, -2, -2, -2, -2, -2, // str 8 16 32; array 16 32; map 16 32
];

/** One past the value at `at`, or -1 if it is cut short, too deep, or of a type that we never send. */
function skipValue(source: Uint8Array, at: number, depth: number): number {
  if (at >= source.length || depth > DEPTH_MAX) return -1;
  const type = source[at] as number;
  if (type < 0x80 || type >= 0xe0) return at + 1;
  if (type < 0x90) return skipMany(source, at + 1, 2 * (type & 15), depth);
  if (type < 0xa0) return skipMany(source, at + 1, type & 15, depth);
  if (type < 0xc0) return skipBytes(source, at + 1, type & 31);
  const follows = FOLLOWS[type - 0xc0] as number;
  if (follows >= 0) return skipBytes(source, at + 1, follows);
  return follows === -1 ? -1 : skipSized(source, at, type, depth);
}

/** Bytes of the size or count that follows: bin, str, array, map. */
const SIZE_WIDTHS = new Map<number, 1 | 2 | 4>([
  [0xc4, 1],
  [0xc5, 2],
  [0xc6, 4],
  [0xd9, 1],
  [0xda, 2],
  [0xdb, 4],
  [0xdc, 2],
  [0xdd, 4],
  [0xde, 2],
  [0xdf, 4],
]);

/** A value whose size or count stands after its type, big-endian. */
function skipSized(source: Uint8Array, at: number, type: number, depth: number): number {
  const isCount = type >= 0xdc;
  const width = SIZE_WIDTHS.get(type) as number;
  if (at + 1 + width > source.length) return -1;
  const size = bigEndian(source, at + 1, width);
  const next = at + 1 + width;
  if (!isCount) return skipBytes(source, next, size);
  return skipMany(source, next, type >= 0xde ? 2 * size : size, depth);
}

function bigEndian(source: Uint8Array, at: number, width: number): number {
  if (width === 1) return source[at] as number;
  if (width === 2) return ((getU16(source, at) & 0xff) << 8) | (getU16(source, at) >>> 8);
  const little = getU32(source, at);
  return (
    (((little & 0xff) << 24) | ((little & 0xff00) << 8) | ((little >>> 8) & 0xff00) | (little >>> 24)) >>> 0
  );
}

function skipBytes(source: Uint8Array, at: number, size: number): number {
  return size <= source.length - at ? at + size : -1;
}

function skipMany(source: Uint8Array, start: number, count: number, depth: number): number {
  if (count > source.length - start) return -1; // every value has at least one byte
  let at = start;
  for (let i = 0; i < count && at !== -1; i++) at = skipValue(source, at, depth + 1);
  return at;
}

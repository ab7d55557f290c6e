/**
 * Command frames: what a client asks, in the one form that doors validate, batches carry and the state machine
 * executes. RESP and HTTP become these frames once, at their door; the native protocol sends them as they are.
 *
 *     0   u32  size       of the whole frame, this field included
 *     4   u8   op         OP below
 *     5   u8   flags      bit 0: a session block follows
 *     6   u16  argCount
 *     8   [48 bytes session: client 16 bytes | seq u64 | floor u64 | notAfter u64 (ms) | after u64]
 *     ..  argCount times: u32 length, bytes
 *
 * Arguments are what each op's line below says, in that order; numbers are 8 bytes (i64, two's complement) so
 * that nothing is parsed twice. `key..` means one or more. Doors let through only safe integers (|n| < 2^53),
 * except for INCRBY's delta and SCAN's cursor, which use all 64 bits: read those with `bigint`.
 * `[slots]` is a set of slots (SLOT_SET_BYTES), the part of the key space that one shard is asked about; it may be
 * left out, and the command then runs on every slot that is served where it arrives.
 */
import { assert } from "../base/assert.ts";
import { getU16, getU32, getU64 } from "../base/bytes.ts";
import { KiB, MiB } from "../base/units.ts";

export const COMMAND_HEADER_BYTES = 8;
export const SESSION_BYTES = 48;
export const COMMAND_FLAG_SESSION = 1;
/** Most bytes of one command: a quarter of the smallest segment (4 MiB), less its header's share of a batch. */
export const COMMAND_BYTES_MAX = MiB - 64 * KiB;
export const KEY_BYTES_MAX = 16 * KiB;
export const ARGS_MAX = 4096;
/** A set of slots: slot s is bit s & 7 of byte s >> 3. */
export const SLOT_SET_BYTES = 16384 / 8;
/**
 * Expiries, relative or absolute, lie within +-2^52 ms (140000 years), so that log time (below 2^43) plus a
 * relative one stays a safe integer. Doors refuse what is above and raise what is below to the bound.
 */
export const EXPIRY_MS_MAX = 2 ** 52;

/**
 * Op numbers; part of the storage format: never renumber, never reuse. Below 64: reads, which change nothing and
 * may also ride in a batch. From 64 on: writes.
 */
export const OP = {
  get: 1, // key
  strlen: 2, // key
  getRange: 3, // key, start i64, end i64
  mget: 4, // key..
  exists: 5, // key.. (counts repeats)
  touch: 6, // key..
  ttl: 7, // key, unit i64 (1000 = seconds, 1 = ms), absolute i64 (0 = time left, 1 = deadline)
  type: 8, // key
  dbSize: 9, // [slots]
  keys: 10, // glob pattern, [slots]
  scan: 11, // cursor i64 (unsigned), count i64, match glob or "" , type name or ""
  randomKey: 12, // seed i64, [slots]
  getRecord: 13, // key -> array [value, revision, deadlineMs or -1], nil if absent
  keysInSlot: 14, // slot i64, count i64

  set: 64, // key, value, options i64 (SET_OPTION bits), expiry i64 (ms, meaning by the bits), [expected value or revision i64]
  getDel: 65, // key
  getEx: 66, // key, options i64 (the expiry bits of SET_OPTION, or persist), expiry i64
  getSet: 67, // key, value
  append: 68, // key, value
  setRange: 69, // key, offset i64, value
  incrBy: 70, // key, delta i64 (DECR commands negate; DECRBY of the smallest number is refused at the door)
  incrByFloat: 71, // key, delta as decimal text, validated
  mset: 72, // (key, value)..
  msetNx: 73, // (key, value)..
  del: 74, // key..
  expire: 75, // key, expiry i64 (ms), options i64 (EXPIRE_OPTION bits)
  persist: 76, // key
  rename: 77, // from, to, onlyIfAbsent i64 (1 = RENAMENX)
  copy: 78, // from, to, replace i64
  flushAll: 79, // [slots]
  delIf: 80, // key, options i64 (SET_OPTION.ifRevision or ifValue), expected
} as const;
export type Op = (typeof OP)[keyof typeof OP];
export const OP_WRITE_MIN = 64;

export const SET_OPTION = {
  onlyIfAbsent: 1, // NX
  onlyIfPresent: 2, // XX
  returnOld: 4, // GET
  keepDeadline: 8, // KEEPTTL
  expiryRelative: 16, // EX, PX: ms from the batch's time
  expiryAbsolute: 32, // EXAT, PXAT: ms since 1970
  ifRevision: 64, // fifth argument: the record's revision as i64; 0 = must be absent
  ifValue: 128, // fifth argument: the value it must have
  persist: 256, // GETEX PERSIST
  /** Replies [ok 0|1, revision] instead of OK or nil: what CAS callers need. */
  returnRevision: 512,
  /** Replies 1 or 0 instead of OK or nil: SETNX. Not together with returnOld or returnRevision. */
  replyInteger: 1024,
} as const;

export const EXPIRE_OPTION = {
  relative: 1,
  onlyIfNone: 2,
  onlyIfAny: 4,
  onlyIfLater: 8,
  onlyIfSooner: 16,
} as const;

export type Session = { client: Uint8Array; seq: number; floor: number; notAfter: number; after: number };

export type CommandError = "short" | "size" | "op_unknown" | "flags" | "arguments" | "number_range";

const OPS = new Set<number>(Object.values(OP));

/** A checked command frame: offsets into `bytes`, so that nothing is copied until the store keeps it. Reused. */
export class CommandView {
  bytes: Uint8Array = new Uint8Array(0);
  op: Op = OP.get;
  hasSession = false;
  /** Where the session block starts, if there is one. */
  sessionAt = 0;
  argCount = 0;
  /** Offsets [start, end) of argument i at [2i, 2i + 1]; grows to the largest command seen. */
  bounds: Int32Array = new Int32Array(16);
  /** One past the frame's last byte. */
  end = 0;

  argStart(i: number): number {
    return this.bounds[2 * i] as number;
  }

  argEnd(i: number): number {
    return this.bounds[2 * i + 1] as number;
  }

  argSize(i: number): number {
    return this.argEnd(i) - this.argStart(i);
  }

  /** A borrowed view of argument `i`. */
  arg(i: number): Uint8Array {
    return this.bytes.subarray(this.argStart(i), this.argEnd(i));
  }

  /** Argument `i` as i64 when it is known to be 8 bytes and inside the safe integers. */
  number(i: number): number {
    const at = this.argStart(i);
    return (getU32(this.bytes, at + 4) | 0) * 2 ** 32 + getU32(this.bytes, at);
  }

  bigint(i: number): bigint {
    const at = this.argStart(i);
    const low = BigInt(getU32(this.bytes, at));
    return BigInt.asIntN(64, (BigInt(getU32(this.bytes, at + 4)) << 32n) | low);
  }

  session(): Session {
    const at = this.sessionAt;
    return {
      client: this.bytes.subarray(at, at + 16),
      seq: getU64(this.bytes, at + 16),
      floor: getU64(this.bytes, at + 24),
      notAfter: getU64(this.bytes, at + 32),
      after: getU64(this.bytes, at + 40),
    };
  }

  get isWrite(): boolean {
    return this.op >= OP_WRITE_MIN;
  }

  /**
   * Reads the frame's structure at `bytes[at, limit)`: sizes, op, argument bounds. What the arguments must be
   * for the op is `validateCommand`'s business (wire/validate.ts), which doors call and batches rely on.
   */
  read(bytes: Uint8Array, at: number, limit: number): CommandError | null {
    if (at + COMMAND_HEADER_BYTES > limit) return "short";
    const size = getU32(bytes, at);
    if (size < COMMAND_HEADER_BYTES || size > COMMAND_BYTES_MAX || at + size > limit) return "size";
    const op = bytes[at + 4] as number;
    if (!OPS.has(op)) return "op_unknown";
    const flags = bytes[at + 5] as number;
    if ((flags & ~COMMAND_FLAG_SESSION) !== 0) return "flags";
    this.bytes = bytes;
    this.op = op as Op;
    this.end = at + size;
    this.argCount = getU16(bytes, at + 6);
    this.hasSession = (flags & COMMAND_FLAG_SESSION) !== 0;
    this.sessionAt = at + COMMAND_HEADER_BYTES;
    const argsAt = this.sessionAt + (this.hasSession ? SESSION_BYTES : 0);
    if (argsAt > this.end) return "size";
    if (this.hasSession && !this.#sessionInRange()) return "number_range";
    return this.#readArguments(argsAt);
  }

  /** The same of a frame that was checked before, or written here. */
  readGood(bytes: Uint8Array, at: number, limit: number): void {
    const bad = this.read(bytes, at, limit);
    assert(bad === null, "what was checked, or written here, is a good frame");
  }

  #sessionInRange(): boolean {
    for (let at = this.sessionAt + 16; at < this.sessionAt + SESSION_BYTES; at += 8) {
      if (getU64(this.bytes, at) < 0) return false;
    }
    return true;
  }

  #readArguments(start: number): CommandError | null {
    if (this.argCount > ARGS_MAX) return "arguments";
    if (this.bounds.length < 2 * this.argCount) this.bounds = new Int32Array(4 * this.argCount);
    let at = start;
    for (let i = 0; i < this.argCount; i++) {
      if (at + 4 > this.end) return "arguments";
      const length = getU32(this.bytes, at);
      at += 4;
      if (length > this.end - at) return "arguments";
      this.bounds[2 * i] = at;
      at += length;
      this.bounds[2 * i + 1] = at;
    }
    return at === this.end ? null : "arguments";
  }
}

/**
 * From the words of a Redis-shaped command to the one command frame that means it, or to the error that Redis
 * would answer. Each handler checks all its words first and only then begins the frame, so an error leaves
 * nothing behind.
 *
 * What Redis finds out only after it looked at the key (GETEX with a bad time on a missing key) is found here
 * before, because the door cannot see the key. Handlers stand in the order of the table.
 */
import { type Args, argIs, argText } from "./args.ts";
import {
  ARGS_MAX,
  COMMAND_BYTES_MAX,
  EXPIRE_OPTION,
  EXPIRY_MS_MAX,
  KEY_BYTES_MAX,
  OP,
  type Op,
  SET_OPTION,
} from "./command.ts";
import type { CommandEncoder } from "./command_encode.ts";
import { arityError, COMMANDS, type CommandInfo } from "./command_table.ts";
import { parseInteger, parseUnsigned } from "./decimal.ts";
import { ERROR, expireTimeError } from "./error_text.ts";

/** Where RANDOMKEY's choice comes from: it is made before the command is sent anywhere. */
export type RandomSource = { u32(): number };

type Handler = (args: Args, out: CommandEncoder, command: CommandInfo, random: RandomSource) => string | null;

const SECOND_MS = 1000;
const I64_MIN = -(2n ** 63n);
const COUNT_DEFAULT = 10;

/**
 * Appends the frame of `args`, a command of the table with an `op` and words in the right number
 * (`resolveCommand`), and gives null; or leaves `out` as it was and gives an error text.
 */
export function translate(
  command: CommandInfo,
  args: Args,
  out: CommandEncoder,
  random: RandomSource,
): string | null {
  if (args.argCount > ARGS_MAX + 1) return ERROR.argCount;
  if (command.firstKey > 0) {
    const last = command.lastKey < 0 ? args.argCount - 1 : command.lastKey;
    for (let i = command.firstKey; i <= last; i += command.keyStep) {
      if (sizeOf(args, i) > KEY_BYTES_MAX) return ERROR.keySize;
    }
  }
  const error = (HANDLERS[command.id] as Handler)(args, out, command, random);
  if (error !== null) return error;
  if (out.end() <= COMMAND_BYTES_MAX) return null;
  out.abort();
  return ERROR.commandSize;
}

function sizeOf(args: Args, i: number): number {
  return (args.bounds[2 * i + 1] as number) - (args.bounds[2 * i] as number);
}

function copyArg(args: Args, i: number, out: CommandEncoder): void {
  out.argRange(args.bytes, args.bounds[2 * i] as number, args.bounds[2 * i + 1] as number);
}

function integerOf(args: Args, i: number): number | bigint | null {
  return parseInteger(args.bytes, args.bounds[2 * i] as number, args.bounds[2 * i + 1] as number);
}

/** For numbers of which only "large" matters once they are large: offsets and counts. */
function toSafe(value: number | bigint): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}

/** All words after the name, as they are. */
function verbatim(op: Op): Handler {
  return (args, out) => {
    out.begin(op);
    for (let i = 1; i < args.argCount; i++) copyArg(args, i, out);
    return null;
  };
}

function pairs(op: Op): Handler {
  const copy = verbatim(op);
  return (args, out, command, random) =>
    args.argCount % 2 === 0 ? arityError(command.name) : copy(args, out, command, random);
}

/** `op` key, then fixed numbers. */
function keyAndNumbers(op: Op, ...numbers: readonly number[]): Handler {
  return (args, out) => {
    out.begin(op);
    copyArg(args, 1, out);
    for (const number of numbers) out.argI64(number);
    return null;
  };
}

// ---- SET and its relatives

/** Kinds of deadline that a command may ask for at most one of. */
type ExpiryKind = "none" | "ex" | "px" | "exat" | "pxat" | "keep" | "persist";
const EXPIRY_WORDS = ["ex", "px", "exat", "pxat"] as const;

/** Reused: the options of the SET or GETEX being read. */
const options = { bits: 0, expiry: "none" as ExpiryKind, timeAt: 0, expectedAt: 0 };

function set(args: Args, out: CommandEncoder, command: CommandInfo): string | null {
  let bits = 0;
  let expiryMs = 0;
  let expectedAt = 0;
  if (args.argCount > 3) {
    if (!readOptions(args, 3, true)) return ERROR.syntax;
    const time = readTime(args, command);
    if (typeof time === "string") return time;
    bits = options.bits;
    expiryMs = time;
    expectedAt = options.expectedAt;
  }
  writeSet(args, 2, out, bits, expiryMs);
  if (expectedAt > 0) copyArg(args, expectedAt, out);
  return null;
}

function writeSet(args: Args, valueAt: number, out: CommandEncoder, bits: number, expiryMs: number): void {
  out.begin(OP.set);
  copyArg(args, 1, out);
  copyArg(args, valueAt, out);
  out.argI64(bits);
  out.argI64(expiryMs);
}

function getEx(args: Args, out: CommandEncoder, command: CommandInfo): string | null {
  if (!readOptions(args, 2, false)) return ERROR.syntax;
  const time = readTime(args, command);
  if (typeof time === "string") return time;
  out.begin(OP.getEx);
  copyArg(args, 1, out);
  out.argI64(options.bits);
  out.argI64(time);
  return null;
}

/** Reads the words from `from` on into `options`. False: they do not go together. */
function readOptions(args: Args, from: number, forSet: boolean): boolean {
  options.bits = 0;
  options.expiry = "none";
  options.timeAt = 0;
  options.expectedAt = 0;
  for (let i = from; i < args.argCount; ) {
    const used = readExpiryOption(args, i, forSet) || (forSet ? readSetOption(args, i) : 0);
    if (used === 0) return false;
    i += used;
  }
  return true;
}

/** Words used by the expiry option at `i`: 0 if it is none, or clashes with an earlier one of another kind. */
function readExpiryOption(args: Args, i: number, forSet: boolean): number {
  for (const word of EXPIRY_WORDS) {
    if (!argIs(args, i, word)) continue;
    if (i + 1 >= args.argCount || !chooseExpiry(word)) return 0;
    options.timeAt = i + 1;
    return 2;
  }
  if (forSet) return argIs(args, i, "keepttl") && chooseExpiry("keep") ? 1 : 0;
  return argIs(args, i, "persist") && chooseExpiry("persist") ? 1 : 0;
}

function chooseExpiry(kind: ExpiryKind): boolean {
  if (options.expiry !== "none" && options.expiry !== kind) return false;
  options.expiry = kind;
  if (kind === "keep") options.bits |= SET_OPTION.keepDeadline;
  else if (kind === "persist") options.bits |= SET_OPTION.persist;
  else options.bits |= kind === "ex" || kind === "px" ? SET_OPTION.expiryRelative : SET_OPTION.expiryAbsolute;
  return true;
}

const CONDITIONS = SET_OPTION.onlyIfAbsent | SET_OPTION.onlyIfPresent | SET_OPTION.ifValue;

function readSetOption(args: Args, i: number): number {
  if (argIs(args, i, "get")) {
    options.bits |= SET_OPTION.returnOld;
    return 1;
  }
  if (argIs(args, i, "nx")) return chooseCondition(SET_OPTION.onlyIfAbsent) ? 1 : 0;
  if (argIs(args, i, "xx")) return chooseCondition(SET_OPTION.onlyIfPresent) ? 1 : 0;
  if (argIs(args, i, "ifeq") && i + 1 < args.argCount && chooseCondition(SET_OPTION.ifValue)) {
    options.expectedAt = i + 1;
    return 2;
  }
  return 0;
}

function chooseCondition(bit: number): boolean {
  if ((options.bits & CONDITIONS & ~bit) !== 0) return false;
  options.bits |= bit;
  return true;
}

/** The time that `options` found, in ms; 0 if there is none; or an error. */
function readTime(args: Args, command: CommandInfo): number | string {
  if (options.timeAt === 0) return 0;
  const seconds = options.expiry === "ex" || options.expiry === "exat";
  return positiveTime(args, options.timeAt, seconds ? SECOND_MS : 1, command);
}

function positiveTime(args: Args, i: number, unitMs: number, command: CommandInfo): number | string {
  const value = integerOf(args, i);
  if (value === null) return ERROR.notInteger;
  const ms = Number(value) * unitMs;
  return ms > 0 && ms <= EXPIRY_MS_MAX ? ms : expireTimeError(command.name);
}

function setNx(args: Args, out: CommandEncoder): string | null {
  writeSet(args, 2, out, SET_OPTION.onlyIfAbsent | SET_OPTION.replyInteger, 0);
  return null;
}

function setWithTime(unitMs: number): Handler {
  return (args, out, command) => {
    const time = positiveTime(args, 2, unitMs, command);
    if (typeof time === "string") return time;
    writeSet(args, 3, out, SET_OPTION.expiryRelative, time);
    return null;
  };
}

const del = verbatim(OP.del);

function delEx(args: Args, out: CommandEncoder, command: CommandInfo, random: RandomSource): string | null {
  if (args.argCount === 2) return del(args, out, command, random);
  if (args.argCount !== 4 || !argIs(args, 2, "ifeq")) return ERROR.syntax;
  out.begin(OP.delIf);
  copyArg(args, 1, out);
  out.argI64(SET_OPTION.ifValue);
  copyArg(args, 3, out);
  return null;
}

// ---- parts of strings, and numbers

function getRange(args: Args, out: CommandEncoder): string | null {
  const start = integerOf(args, 2);
  const end = integerOf(args, 3);
  if (start === null || end === null) return ERROR.notInteger;
  out.begin(OP.getRange);
  copyArg(args, 1, out);
  out.argI64(toSafe(start));
  out.argI64(toSafe(end));
  return null;
}

function setRange(args: Args, out: CommandEncoder): string | null {
  const offset = integerOf(args, 2);
  if (offset === null) return ERROR.notInteger;
  if (offset < 0) return ERROR.offsetRange;
  out.begin(OP.setRange);
  copyArg(args, 1, out);
  out.argI64(toSafe(offset));
  copyArg(args, 3, out);
  return null;
}

function incrBy(sign: 1 | -1): Handler {
  return (args, out) => {
    const delta = integerOf(args, 2);
    if (delta === null) return ERROR.notInteger;
    if (sign === -1 && delta === I64_MIN) return ERROR.decrementOverflow;
    out.begin(OP.incrBy);
    copyArg(args, 1, out);
    if (sign === 1) out.argI64(delta);
    else out.argI64(typeof delta === "bigint" ? -delta : 0 - delta);
    return null;
  };
}

/** A decimal number as the store reads it: digits, a point, an exponent; bounded so that summing it is cheap. */
export const FLOAT_BYTES_MAX = 64;
const FLOAT = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const INFINITE = /^[+-]?inf(?:inity)?$/i;

/** What is wrong with `text` as an increment, or null. */
export function floatError(text: string): string | null {
  if (INFINITE.test(text)) return ERROR.nanOrInfinity;
  if (text.length > FLOAT_BYTES_MAX || !FLOAT.test(text)) return ERROR.notFloat;
  return Number.isFinite(Number(text)) ? null : ERROR.nanOrInfinity;
}

function incrByFloat(args: Args, out: CommandEncoder): string | null {
  const error = floatError(argText(args, 2, FLOAT_BYTES_MAX + 1));
  if (error !== null) return error;
  out.begin(OP.incrByFloat);
  copyArg(args, 1, out);
  copyArg(args, 2, out);
  return null;
}

// ---- deadlines

function expire(unitMs: number, relative: boolean): Handler {
  return (args, out, command) => {
    const bits = readExpireOptions(args);
    if (typeof bits === "string") return bits;
    const value = integerOf(args, 2);
    if (value === null) return ERROR.notInteger;
    const ms = Number(value) * unitMs;
    // A time in the past is a way to delete; only what 64 bits could not hold is refused there.
    if (ms > EXPIRY_MS_MAX || ms < Number(I64_MIN)) return expireTimeError(command.name);
    out.begin(OP.expire);
    copyArg(args, 1, out);
    out.argI64(Math.max(ms, -EXPIRY_MS_MAX));
    out.argI64(relative ? bits | EXPIRE_OPTION.relative : bits);
    return null;
  };
}

function readExpireOptions(args: Args): number | string {
  let bits = 0;
  for (let i = 3; i < args.argCount; i++) {
    if (argIs(args, i, "nx")) bits |= EXPIRE_OPTION.onlyIfNone;
    else if (argIs(args, i, "xx")) bits |= EXPIRE_OPTION.onlyIfAny;
    else if (argIs(args, i, "gt")) bits |= EXPIRE_OPTION.onlyIfLater;
    else if (argIs(args, i, "lt")) bits |= EXPIRE_OPTION.onlyIfSooner;
    else return `ERR Unsupported option ${argText(args, i, 128)}`;
  }
  const none = (bits & EXPIRE_OPTION.onlyIfNone) !== 0;
  const later = (bits & EXPIRE_OPTION.onlyIfLater) !== 0;
  const sooner = (bits & EXPIRE_OPTION.onlyIfSooner) !== 0;
  if (none && bits !== EXPIRE_OPTION.onlyIfNone) return ERROR.expireNx;
  return later && sooner ? ERROR.expireGtLt : bits;
}

// ---- names and the whole key space

function rename(onlyIfAbsent: 0 | 1): Handler {
  return (args, out) => {
    out.begin(OP.rename);
    copyArg(args, 1, out);
    copyArg(args, 2, out);
    out.argI64(onlyIfAbsent);
    return null;
  };
}

function copy(args: Args, out: CommandEncoder): string | null {
  let replace = 0;
  for (let i = 3; i < args.argCount; i++) {
    if (argIs(args, i, "replace")) {
      replace = 1;
    } else if (argIs(args, i, "db") && i + 1 < args.argCount) {
      const database = integerOf(args, ++i);
      if (database === null) return ERROR.notInteger;
      if (database !== 0) return ERROR.databaseRange;
    } else {
      return ERROR.syntax;
    }
  }
  if (sameBytes(args, 1, 2)) return ERROR.sameObject;
  out.begin(OP.copy);
  copyArg(args, 1, out);
  copyArg(args, 2, out);
  out.argI64(replace);
  return null;
}

function sameBytes(args: Args, i: number, k: number): boolean {
  const size = sizeOf(args, i);
  if (size !== sizeOf(args, k)) return false;
  const a = args.bounds[2 * i] as number;
  const b = args.bounds[2 * k] as number;
  for (let at = 0; at < size; at++) if (args.bytes[a + at] !== args.bytes[b + at]) return false;
  return true;
}

function flush(args: Args, out: CommandEncoder): string | null {
  const known =
    args.argCount === 1 || (args.argCount === 2 && (argIs(args, 1, "sync") || argIs(args, 1, "async")));
  if (!known) return ERROR.syntax;
  out.begin(OP.flushAll);
  return null;
}

function keys(args: Args, out: CommandEncoder): string | null {
  if (sizeOf(args, 1) > KEY_BYTES_MAX) return ERROR.patternSize;
  out.begin(OP.keys);
  copyArg(args, 1, out);
  return null;
}

function scan(args: Args, out: CommandEncoder): string | null {
  const cursor = parseUnsigned(args.bytes, args.bounds[2] as number, args.bounds[3] as number);
  if (cursor === null) return ERROR.cursor;
  let count: number | bigint | null = COUNT_DEFAULT;
  let matchAt = 0;
  let typeAt = 0;
  for (let i = 2; i < args.argCount; i += 2) {
    if (i + 1 >= args.argCount) return ERROR.syntax;
    if (argIs(args, i, "match")) matchAt = i + 1;
    else if (argIs(args, i, "type")) typeAt = i + 1;
    else if (argIs(args, i, "count")) {
      count = integerOf(args, i + 1);
      if (count === null) return ERROR.notInteger;
      if (count < 1) return ERROR.syntax;
    } else return ERROR.syntax;
  }
  if (matchAt > 0 && sizeOf(args, matchAt) > KEY_BYTES_MAX) return ERROR.patternSize;
  out.begin(OP.scan);
  out.argI64(cursor);
  out.argI64(toSafe(count));
  if (matchAt > 0) copyArg(args, matchAt, out);
  else out.argRange(args.bytes, 0, 0);
  writeTypeName(args, typeAt, out);
  return null;
}

const TYPE_NAME_BYTES_MAX = 64;

/** The type's name in small letters; "" = any type, so a filter that no type has becomes "none". */
function writeTypeName(args: Args, at: number, out: CommandEncoder): void {
  const name = at > 0 ? argText(args, at, TYPE_NAME_BYTES_MAX).toLowerCase() : "";
  const shown = at > 0 && !/^[a-z]+$/.test(name) ? "none" : name;
  const bytes = Uint8Array.from(shown, (letter) => letter.charCodeAt(0));
  out.arg(bytes);
}

function randomKey(_args: Args, out: CommandEncoder, _command: CommandInfo, random: RandomSource): null {
  out.begin(OP.randomKey);
  out.argI64(random.u32());
  return null;
}

const BY_NAME: Readonly<Record<string, Handler>> = {
  append: verbatim(OP.append),
  decr: keyAndNumbers(OP.incrBy, -1),
  decrby: incrBy(-1),
  delex: delEx,
  get: verbatim(OP.get),
  getdel: verbatim(OP.getDel),
  getex: getEx,
  getrange: getRange,
  getset: verbatim(OP.getSet),
  incr: keyAndNumbers(OP.incrBy, 1),
  incrby: incrBy(1),
  incrbyfloat: incrByFloat,
  mget: verbatim(OP.mget),
  mset: pairs(OP.mset),
  msetnx: pairs(OP.msetNx),
  psetex: setWithTime(1),
  set,
  setex: setWithTime(SECOND_MS),
  setnx: setNx,
  setrange: setRange,
  strlen: verbatim(OP.strlen),
  substr: getRange,

  copy,
  del,
  exists: verbatim(OP.exists),
  expire: expire(SECOND_MS, true),
  expireat: expire(SECOND_MS, false),
  expiretime: keyAndNumbers(OP.ttl, SECOND_MS, 1),
  keys,
  persist: verbatim(OP.persist),
  pexpire: expire(1, true),
  pexpireat: expire(1, false),
  pexpiretime: keyAndNumbers(OP.ttl, 1, 1),
  pttl: keyAndNumbers(OP.ttl, 1, 0),
  randomkey: randomKey,
  rename: rename(0),
  renamenx: rename(1),
  scan,
  touch: verbatim(OP.touch),
  ttl: keyAndNumbers(OP.ttl, SECOND_MS, 0),
  type: verbatim(OP.type),
  unlink: del,

  dbsize: verbatim(OP.dbSize),
  flushall: flush,
  flushdb: flush,
};

/** By `CommandInfo.id`; a hole for each command that its door answers. */
const HANDLERS: readonly (Handler | undefined)[] = COMMANDS.map(({ name }) => BY_NAME[name]);

/** Keys as such: removing, deadlines, names, and the whole key space. */
import { type Args, argEcho, argIs, argText } from "./args.ts";
import { EXPIRE_OPTION, EXPIRY_MS_MAX, KEY_BYTES_MAX, OP, SET_OPTION } from "./command.ts";
import type { CommandEncoder } from "./command_encode.ts";
import type { CommandInfo } from "./command_table.ts";
import { parseUnsigned } from "./decimal.ts";
import { ERROR, expireTimeError } from "./error_text.ts";
import {
  copyArg,
  type Handler,
  I64_MIN,
  integerOf,
  type RandomSource,
  sizeOf,
  toSafe,
  verbatim,
} from "./handler.ts";

const COUNT_DEFAULT = 10;
const ECHO_BYTES_MAX = 128;

export const del = verbatim(OP.del);

export function delEx(
  args: Args,
  out: CommandEncoder,
  command: CommandInfo,
  random: RandomSource,
): string | null {
  if (args.argCount === 2) return del(args, out, command, random);
  if (args.argCount !== 4 || !argIs(args, 2, "ifeq")) return ERROR.syntax;
  out.begin(OP.delIf);
  copyArg(args, 1, out);
  out.argI64(SET_OPTION.ifValue);
  copyArg(args, 3, out);
  return null;
}

export function expire(unitMs: number, relative: boolean): Handler {
  return (args, out, command) => {
    const bits = readExpireOptions(args);
    if (typeof bits === "string") return bits;
    const value = integerOf(args, 2);
    if (value === null) return ERROR.notInteger;
    const ms = Number(value) * unitMs;
    // A time in the past is a way to delete; only what 64 bits could not hold is refused there.
    const overflows = typeof value === "bigint" && value * BigInt(unitMs) < I64_MIN;
    if (ms > EXPIRY_MS_MAX || overflows) return expireTimeError(command.name);
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
    else return `ERR Unsupported option ${argEcho(args, i, ECHO_BYTES_MAX)}`;
  }
  const none = (bits & EXPIRE_OPTION.onlyIfNone) !== 0;
  const later = (bits & EXPIRE_OPTION.onlyIfLater) !== 0;
  const sooner = (bits & EXPIRE_OPTION.onlyIfSooner) !== 0;
  if (none && bits !== EXPIRE_OPTION.onlyIfNone) return ERROR.expireNx;
  return later && sooner ? ERROR.expireGtLt : bits;
}

export function rename(onlyIfAbsent: 0 | 1): Handler {
  return (args, out) => {
    out.begin(OP.rename);
    copyArg(args, 1, out);
    copyArg(args, 2, out);
    out.argI64(onlyIfAbsent);
    return null;
  };
}

export function copy(args: Args, out: CommandEncoder): string | null {
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

export function flush(args: Args, out: CommandEncoder): string | null {
  const known =
    args.argCount === 1 || (args.argCount === 2 && (argIs(args, 1, "sync") || argIs(args, 1, "async")));
  if (!known) return ERROR.syntax;
  out.begin(OP.flushAll);
  return null;
}

export function keys(args: Args, out: CommandEncoder): string | null {
  if (sizeOf(args, 1) > KEY_BYTES_MAX) return ERROR.patternSize;
  out.begin(OP.keys);
  copyArg(args, 1, out);
  return null;
}

export function scan(args: Args, out: CommandEncoder): string | null {
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

export function randomKey(
  _args: Args,
  out: CommandEncoder,
  _command: CommandInfo,
  random: RandomSource,
): null {
  out.begin(OP.randomKey);
  out.argI64(random.u32());
  return null;
}

/** SET and its relatives: options in any order, deadlines, conditions. */
import { type Args, argIs } from "./args.ts";
import { EXPIRY_MS_MAX, OP, SET_OPTION } from "./command.ts";
import type { CommandEncoder } from "./command_encode.ts";
import type { CommandInfo } from "./command_table.ts";
import { ERROR, expireTimeError } from "./error_text.ts";
import { copyArg, type Handler, integerOf, SECOND_MS } from "./handler.ts";

/** Kinds of deadline that a command may ask for at most one of. */
type ExpiryKind = "none" | "ex" | "px" | "exat" | "pxat" | "keep" | "persist";
const EXPIRY_WORDS = ["ex", "px", "exat", "pxat"] as const;

/** Reused: the options of the SET or GETEX being read. */
const options = { bits: 0, expiry: "none" as ExpiryKind, timeAt: 0, expectedAt: 0 };

export function set(args: Args, out: CommandEncoder, command: CommandInfo): string | null {
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

export function getEx(args: Args, out: CommandEncoder, command: CommandInfo): string | null {
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

export function setNx(args: Args, out: CommandEncoder): string | null {
  writeSet(args, 2, out, SET_OPTION.onlyIfAbsent | SET_OPTION.replyInteger, 0);
  return null;
}

export function setWithTime(unitMs: number): Handler {
  return (args, out, command) => {
    const time = positiveTime(args, 2, unitMs, command);
    if (typeof time === "string") return time;
    writeSet(args, 3, out, SET_OPTION.expiryRelative, time);
    return null;
  };
}

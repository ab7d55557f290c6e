/**
 * What the arguments of a command frame must be for its op. Doors call this on every frame that a client sends;
 * batches, logs and the state machine rely on it and look no further.
 *
 * A shape (ARGUMENT_SHAPES) is one letter to each argument; a `*` behind the last group means that it repeats, one time or more:
 *     k key   b bytes   i safe integer   w any 64 bits   f decimal number   m set of slots, may be left out
 */
import { fromUtf8 } from "../base/bytes.ts";
import {
  type CommandView,
  EXPIRE_OPTION,
  EXPIRY_MS_MAX,
  KEY_BYTES_MAX,
  OP,
  type Op,
  SET_OPTION,
  SLOT_SET_BYTES,
} from "./command.ts";
import { FLOAT_BYTES_MAX, floatError } from "./decimal.ts";
import { ERROR } from "./error_text.ts";

export const ARGUMENT_SHAPES: Readonly<Record<Op, string>> = {
  [OP.get]: "k",
  [OP.strlen]: "k",
  [OP.getRange]: "kii",
  [OP.mget]: "k*",
  [OP.exists]: "k*",
  [OP.touch]: "k*",
  [OP.ttl]: "kii",
  [OP.type]: "k",
  [OP.dbSize]: "m",
  [OP.keys]: "bm",
  [OP.scan]: "wibb",
  [OP.randomKey]: "im",
  [OP.getRecord]: "k",
  [OP.keysInSlot]: "ii",
  [OP.set]: "kbii",
  [OP.getDel]: "k",
  [OP.getEx]: "kii",
  [OP.getSet]: "kb",
  [OP.append]: "kb",
  [OP.setRange]: "kib",
  [OP.incrBy]: "kw",
  [OP.incrByFloat]: "kf",
  [OP.mset]: "kb*",
  [OP.msetNx]: "kb*",
  [OP.del]: "k*",
  [OP.expire]: "kii",
  [OP.persist]: "k",
  [OP.rename]: "kki",
  [OP.copy]: "kki",
  [OP.flushAll]: "m",
  [OP.delIf]: "kib",
};

const ARGUMENTS = "ERR wrong number of arguments in command frame";
const ARGUMENT_SIZE = "ERR argument of command frame has the wrong size";
const ARGUMENT_RANGE = "ERR argument of command frame is out of range";

/** What is wrong with a frame that `view.read` accepted, as the error to answer; or null. */
export function validateCommand(view: CommandView): string | null {
  const isSet = view.op === OP.set;
  const shape = isSet && view.argCount === 5 ? "kbiib" : ARGUMENT_SHAPES[view.op];
  const error = checkShape(view, shape);
  if (error !== null) return error;
  if (isSet) return checkSet(view);
  if (view.op === OP.getEx) return checkGetEx(view);
  if (view.op === OP.expire) return checkExpire(view);
  if (view.op === OP.delIf) return checkDelIf(view);
  return checkNumbers(view);
}

function checkShape(view: CommandView, shape: string): string | null {
  const repeats = shape.endsWith("*");
  const isShort = shape.endsWith("m") && view.argCount === shape.length - 1;
  const group = repeats || isShort ? shape.length - 1 : shape.length;
  const fits = repeats ? view.argCount > 0 && view.argCount % group === 0 : view.argCount === group;
  if (!fits) return ARGUMENTS;
  for (let i = 0; i < view.argCount; i++) {
    const error = checkArgument(view, i, shape.charAt(repeats ? i % group : i));
    if (error !== null) return error;
  }
  return null;
}

function checkArgument(view: CommandView, i: number, kind: string): string | null {
  const size = view.argSize(i);
  if (kind === "b") return null;
  if (kind === "m") return size === SLOT_SET_BYTES ? null : ARGUMENT_SIZE;
  if (kind === "k") return size > KEY_BYTES_MAX ? ERROR.keySize : null;
  if (kind === "f") {
    return size > FLOAT_BYTES_MAX ? ERROR.notFloat : floatError(fromUtf8(view.arg(i)));
  }
  if (size !== 8) return ARGUMENT_SIZE;
  return kind === "i" && !Number.isSafeInteger(view.number(i)) ? ARGUMENT_RANGE : null;
}

const SET_CONDITIONS = [
  SET_OPTION.onlyIfAbsent,
  SET_OPTION.onlyIfPresent,
  SET_OPTION.ifRevision,
  SET_OPTION.ifValue,
];
const SET_EXPIRIES = [SET_OPTION.keepDeadline, SET_OPTION.expiryRelative, SET_OPTION.expiryAbsolute];
const SET_REPLIES = [SET_OPTION.returnOld, SET_OPTION.returnRevision, SET_OPTION.replyInteger];
const GETEX_EXPIRIES = [SET_OPTION.persist, SET_OPTION.expiryRelative, SET_OPTION.expiryAbsolute];

function checkSet(view: CommandView): string | null {
  const bits = view.number(2);
  if (!isChoice(bits, [SET_CONDITIONS, SET_EXPIRIES, SET_REPLIES])) return ERROR.syntax;
  const compares = (bits & (SET_OPTION.ifRevision | SET_OPTION.ifValue)) !== 0;
  if (compares !== (view.argCount === 5)) return ARGUMENTS;
  if ((bits & SET_OPTION.ifRevision) !== 0 && !isRevision(view, 4)) return ARGUMENT_RANGE;
  return checkTime(bits, view.number(3));
}

function checkGetEx(view: CommandView): string | null {
  const bits = view.number(1);
  return isChoice(bits, [GETEX_EXPIRIES]) ? checkTime(bits, view.number(2)) : ERROR.syntax;
}

/** NX stands alone; XX goes with GT or with LT. */
const EXPIRE_CONDITIONS = new Set<number>([
  0,
  EXPIRE_OPTION.onlyIfNone,
  EXPIRE_OPTION.onlyIfAny,
  EXPIRE_OPTION.onlyIfLater,
  EXPIRE_OPTION.onlyIfSooner,
  EXPIRE_OPTION.onlyIfAny | EXPIRE_OPTION.onlyIfLater,
  EXPIRE_OPTION.onlyIfAny | EXPIRE_OPTION.onlyIfSooner,
]);

function checkExpire(view: CommandView): string | null {
  const bits = view.number(2);
  const conditions = bits & ~EXPIRE_OPTION.relative;
  if (!isBits(bits) || !EXPIRE_CONDITIONS.has(conditions)) return ERROR.syntax;
  return Math.abs(view.number(1)) <= EXPIRY_MS_MAX ? null : ARGUMENT_RANGE;
}

function checkDelIf(view: CommandView): string | null {
  const bits = view.number(1);
  if (bits === SET_OPTION.ifValue) return null;
  if (bits !== SET_OPTION.ifRevision) return ERROR.syntax;
  return isRevision(view, 2) ? null : ARGUMENT_RANGE;
}

function checkNumbers(view: CommandView): string | null {
  switch (view.op) {
    case OP.ttl: {
      const unit = view.number(1);
      const absolute = view.number(2);
      return (unit === 1 || unit === 1000) && (absolute === 0 || absolute === 1) ? null : ARGUMENT_RANGE;
    }
    case OP.keys:
      return view.argSize(0) > KEY_BYTES_MAX ? ERROR.patternSize : null;
    case OP.scan:
      if (view.argSize(2) > KEY_BYTES_MAX) return ERROR.patternSize;
      return view.number(1) >= 1 && view.argSize(3) <= KEY_BYTES_MAX ? null : ARGUMENT_RANGE;
    case OP.randomKey:
      return view.number(0) >= 0 ? null : ARGUMENT_RANGE;
    case OP.keysInSlot:
      return isSlot(view.number(0)) && view.number(1) >= 0 ? null : ARGUMENT_RANGE;
    case OP.setRange:
      return view.number(1) >= 0 ? null : ERROR.offsetRange;
    case OP.rename:
    case OP.copy:
      return view.number(2) === 0 || view.number(2) === 1 ? null : ARGUMENT_RANGE;
    default:
      return null;
  }
}

function isSlot(value: number): boolean {
  return value >= 0 && value < 8 * SLOT_SET_BYTES;
}

/** Bitwise operators see 32 bits: more must not hide behind them. */
function isBits(value: number): boolean {
  return value >= 0 && value < 2 ** 31;
}

/** Whether `bits` takes at most one bit of each group and none beside them. */
function isChoice(bits: number, groups: readonly (readonly number[])[]): boolean {
  if (!isBits(bits)) return false;
  let known = 0;
  for (const group of groups) {
    let taken = 0;
    for (const bit of group) {
      known |= bit;
      if ((bits & bit) !== 0) taken++;
    }
    if (taken > 1) return false;
  }
  return (bits & ~known) === 0;
}

/** A time belongs to an expiry bit and is then above 0; without one it is 0. */
function checkTime(bits: number, ms: number): string | null {
  const timed = (bits & (SET_OPTION.expiryRelative | SET_OPTION.expiryAbsolute)) !== 0;
  const fits = timed ? ms > 0 && ms <= EXPIRY_MS_MAX : ms === 0;
  return fits ? null : ARGUMENT_RANGE;
}

function isRevision(view: CommandView, i: number): boolean {
  if (view.argSize(i) !== 8) return false;
  const revision = view.number(i);
  return Number.isSafeInteger(revision) && revision >= 0;
}

/** Parts of strings, and strings as numbers. */
import { type Args, argText } from "./args.ts";
import { OP } from "./command.ts";
import type { CommandEncoder } from "./command_encode.ts";
import { FLOAT_BYTES_MAX, floatError } from "./decimal.ts";
import { ERROR } from "./error_text.ts";
import { copyArg, type Handler, I64_MIN, integerOf, toSafe } from "./handler.ts";

export function getRange(args: Args, out: CommandEncoder): string | null {
  const start = integerOf(args, 2);
  const end = integerOf(args, 3);
  if (start === null || end === null) return ERROR.notInteger;
  out.begin(OP.getRange);
  copyArg(args, 1, out);
  out.argI64(toSafe(start));
  out.argI64(toSafe(end));
  return null;
}

export function setRange(args: Args, out: CommandEncoder): string | null {
  const offset = integerOf(args, 2);
  if (offset === null) return ERROR.notInteger;
  if (offset < 0) return ERROR.offsetRange;
  out.begin(OP.setRange);
  copyArg(args, 1, out);
  out.argI64(toSafe(offset));
  copyArg(args, 3, out);
  return null;
}

export function incrBy(sign: 1 | -1): Handler {
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

export function incrByFloat(args: Args, out: CommandEncoder): string | null {
  const error = floatError(argText(args, 2, FLOAT_BYTES_MAX + 1));
  if (error !== null) return error;
  out.begin(OP.incrByFloat);
  copyArg(args, 1, out);
  copyArg(args, 2, out);
  return null;
}

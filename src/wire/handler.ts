/** What the translators of single commands (handle_*.ts) share. */
import type { Args } from "./args.ts";
import type { Op } from "./command.ts";
import type { CommandEncoder } from "./command_encode.ts";
import { arityError, type CommandInfo } from "./command_table.ts";
import { parseInteger } from "./decimal.ts";

/** Where RANDOMKEY's choice comes from: it is made before the command is sent anywhere. */
export type RandomSource = { u32(): number };

/** Begins a frame and writes its arguments, or returns an error text before it has begun one. */
export type Handler = (
  args: Args,
  out: CommandEncoder,
  command: CommandInfo,
  random: RandomSource,
) => string | null;

export const SECOND_MS = 1000;
export const I64_MIN = -(2n ** 63n);

export function sizeOf(args: Args, i: number): number {
  return (args.bounds[2 * i + 1] as number) - (args.bounds[2 * i] as number);
}

export function copyArg(args: Args, i: number, out: CommandEncoder): void {
  out.argRange(args.bytes, args.bounds[2 * i] as number, args.bounds[2 * i + 1] as number);
}

export function integerOf(args: Args, i: number): number | bigint | null {
  return parseInteger(args.bytes, args.bounds[2 * i] as number, args.bounds[2 * i + 1] as number);
}

/** For numbers of which only "large" matters once they are large: offsets and counts. */
export function toSafe(value: number | bigint): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}

/** All words after the name, as they are. */
export function verbatim(op: Op): Handler {
  return (args, out) => {
    out.begin(op);
    for (let i = 1; i < args.argCount; i++) copyArg(args, i, out);
    return null;
  };
}

export function pairs(op: Op): Handler {
  const copy = verbatim(op);
  return (args, out, command, random) =>
    args.argCount % 2 === 0 ? arityError(command.name) : copy(args, out, command, random);
}

/** `op` key, then fixed numbers. */
export function keyAndNumbers(op: Op, ...numbers: readonly number[]): Handler {
  return (args, out) => {
    out.begin(op);
    copyArg(args, 1, out);
    for (const number of numbers) out.argI64(number);
    return null;
  };
}

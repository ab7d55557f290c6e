/** Command frames from lines of text, and as lines of text. */
import { utf8, Writer } from "../../src/base/bytes.ts";
import { type Args, argsOf } from "../../src/wire/args.ts";
import { CommandView, EXPIRE_OPTION, OP, SET_OPTION } from "../../src/wire/command.ts";
import { CommandEncoder } from "../../src/wire/command_encode.ts";
import { resolveCommand } from "../../src/wire/command_table.ts";
import { translate } from "../../src/wire/command_translate.ts";
import { InlineWords } from "../../src/wire/resp_inline.ts";
import { ARGUMENT_SHAPES, validateCommand } from "../../src/wire/validate.ts";
import { quote } from "./script.ts";

/** The words of an inline command. */
export function wordsOf(line: string): Uint8Array[] {
  const words = new InlineWords(10_000);
  const bytes = utf8(line);
  if (!words.split(bytes, 0, bytes.length)) throw new Error(`quotes in ${line}`);
  return Array.from({ length: words.count }, (_, i) =>
    words.bytes.slice(words.bounds[2 * i], words.bounds[2 * i + 1]),
  );
}

/** The frame of a command, or the error that it gets. RANDOMKEY draws 7. */
export function frameOf(words: readonly (string | Uint8Array)[]): Uint8Array | string {
  const out = new CommandEncoder(new Writer(1));
  const error = translateInto(argsOf(words), out);
  return error ?? out.writer.copy();
}

export function translateInto(args: Args, out: CommandEncoder): string | null {
  const command = resolveCommand(args);
  if (typeof command === "string") return command;
  if (command.op === null) return `(the door answers ${command.name})`;
  return translate(command, args, out, { u32: () => 7 });
}

export function viewOf(frame: Uint8Array): CommandView {
  const view = new CommandView();
  const error = view.read(frame, 0, frame.length);
  if (error !== null) throw new Error(error);
  return view;
}

const OP_NAMES = new Map<number, string>(Object.entries(OP).map(([name, op]) => [op, name]));
const OPTION_OPS = new Map<number, number>([
  [OP.set, 2],
  [OP.getEx, 1],
  [OP.delIf, 1],
  [OP.expire, 2],
]);

/** "set [k] [v] onlyIfAbsent 0": bytes in brackets, numbers bare, option bits by name. */
export function showFrame(frame: Uint8Array): string {
  const view = viewOf(frame);
  const shape = ARGUMENT_SHAPES[view.op].replace("*", "");
  const parts = [OP_NAMES.get(view.op) ?? "?"];
  for (let i = 0; i < view.argCount; i++) {
    const kind = shape.charAt(i % shape.length);
    if (i === OPTION_OPS.get(view.op)) parts.push(showBits(view.op, view.number(i)));
    else if (i < shape.length && "iw".includes(kind)) parts.push(String(view.bigint(i)));
    else parts.push(`[${quote(view.arg(i))}]`);
  }
  const error = validateCommand(view);
  return error === null ? parts.join(" ") : `${parts.join(" ")}  INVALID: ${error}`;
}

function showBits(op: number, bits: number): string {
  const names = Object.entries(op === OP.expire ? EXPIRE_OPTION : SET_OPTION)
    .filter(([, bit]) => (bits & bit) !== 0)
    .map(([name]) => name);
  return names.length === 0 ? "-" : names.join("+");
}

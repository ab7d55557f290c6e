/** The words of one command as a door received them: offsets into bytes that belong to somebody else. */
import { concat, fromUtf8, utf8 } from "../base/bytes.ts";

export type Args = {
  /** Borrowed: see the owner for how long. */
  readonly bytes: Uint8Array;
  /** The command's name included. */
  readonly argCount: number;
  /** Offsets [start, end) of word i at [2i, 2i + 1]. */
  readonly bounds: Int32Array;
};

/** Word `i` as text; at most `bytesMax` bytes of it. */
export function argText(args: Args, i: number, bytesMax = 1024): string {
  const start = args.bounds[2 * i] as number;
  const end = Math.min(args.bounds[2 * i + 1] as number, start + bytesMax);
  return fromUtf8(args.bytes.subarray(start, end));
}

/** Word `i` for an error text: at most `bytesMax` bytes of it, blanks in place of control characters. */
export function argEcho(args: Args, i: number, bytesMax: number): string {
  return argText(args, i, bytesMax).replace(/\p{Cc}/gu, " ");
}

/** A borrowed view of word `i`. */
export function argBytes(args: Args, i: number): Uint8Array {
  return args.bytes.subarray(args.bounds[2 * i], args.bounds[2 * i + 1]);
}

/** Whether word `i` is `word`, which is given in small letters; capitals in the argument count as small. */
export function argIs(args: Args, i: number, word: string): boolean {
  let at = args.bounds[2 * i] as number;
  if ((args.bounds[2 * i + 1] as number) - at !== word.length) return false;
  for (let k = 0; k < word.length; k++, at++) {
    const byte = args.bytes[at] as number;
    const small = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
    if (small !== word.charCodeAt(k)) return false;
  }
  return true;
}

/** Words that did not come out of a parser: HTTP routes, the REPL, tests. */
export function argsOf(words: readonly (string | Uint8Array)[]): Args {
  const parts = words.map((word) => (typeof word === "string" ? utf8(word) : word));
  const bounds = new Int32Array(2 * parts.length);
  let at = 0;
  for (const [i, part] of parts.entries()) {
    bounds[2 * i] = at;
    at += part.length;
    bounds[2 * i + 1] = at;
  }
  return { bytes: concat(parts), argCount: parts.length, bounds };
}

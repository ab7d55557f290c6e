/** A typed line as the words of a command, with the quotes that redis-cli understands (wire/resp_inline.ts). */
import { utf8 } from "../base/bytes.ts";
import { argBytes } from "../wire/args.ts";
import { InlineWords } from "../wire/resp_inline.ts";

/** A line longer than this many words is somebody's mistake, and the server would refuse it too. */
const WORDS_MAX = 1 << 20;

/** Null: the quotes do not match. No words: a blank line. */
export function splitLine(line: string | Uint8Array): Uint8Array[] | null {
  const bytes = typeof line === "string" ? utf8(line) : line;
  const words = new InlineWords(WORDS_MAX);
  if (!words.split(bytes, 0, bytes.length)) return null;
  const args = { bytes: words.bytes, bounds: words.bounds, argCount: words.count };
  return Array.from({ length: words.count }, (_, i) => argBytes(args, i));
}

/**
 * Golden scripts of the command line: a file is a title and then blocks of one line of input, `> ..`, and the
 * output below it. UPDATE=1 rewrites the outputs.
 */
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { concat, utf8 } from "../../src/base/bytes.ts";

export function golden(name: string, outputOf: (input: string) => string): void {
  const path = `testdata/cli/${name}`;
  const text = readFileSync(path, "utf8");
  const title = text.slice(2, text.indexOf("\n"));
  t.test(title, async (t) => {
    const blocks = inputsOf(text).map((input) => `> ${input}\n${outputOf(input)}`.trimEnd());
    const now = `# ${title}\n\n${blocks.join("\n\n")}\n`;
    if (process.env.UPDATE !== "1") return t.equal(now, text, name);
    writeFileSync(path, now);
    return t.pass(`${name} is rewritten`);
  });
}

export function inputsOf(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("> "))
    .map((line) => line.slice(2));
}

const LETTERS: Readonly<Record<string, number>> = { r: 0x0d, n: 0x0a, t: 0x09, "\\": 0x5c };

/** "\r\n", "\x00" and the like as bytes. */
export function bytesOf(text: string): Uint8Array {
  const parts = text.match(/\\x[0-9a-f]{2}|\\.|[^\\]+/g) ?? [];
  return concat(
    parts.map((part) => {
      if (part.startsWith("\\x")) return Uint8Array.of(Number.parseInt(part.slice(2), 16));
      return part.startsWith("\\") ? Uint8Array.of(LETTERS[part.slice(1)] ?? 0) : utf8(part);
    }),
  );
}

/** What `run` throws, to be matched field by field. */
export function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return null;
}

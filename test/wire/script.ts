/**
 * Golden scripts of this room: inputs at the margin, what came of each indented below it.
 *
 *     # why these lines are here
 *     *1\r\n$4\r\nPING\r\n
 *       command PING
 *
 * `UPDATE=1` writes what comes out now into the file; the diff is then for a person to judge. In inputs and
 * outputs, bytes outside printable ASCII stand as \r \n \t \\ \xHH.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { Test } from "tap";

export function runScript(t: Test, name: string, run: (input: string) => readonly string[]): void {
  const path = `testdata/wire/${name}.txt`;
  const before = readFileSync(path, "utf8");
  let after = "";
  let count = 0;
  for (const line of before.split("\n").slice(0, -1)) {
    if (line.startsWith("  ")) continue;
    after += `${line}\n`;
    if (line === "" || line.startsWith("#")) continue;
    for (const output of run(line)) after += `  ${output}\n`;
    count++;
  }
  compare(t, path, before, after, `${name}: ${count} inputs`);
}

/** A file that holds outputs alone. */
export function golden(t: Test, name: string, after: string): void {
  const path = `testdata/wire/${name}.txt`;
  let before = "";
  try {
    before = readFileSync(path, "utf8");
  } catch {
    // compared below: a missing file differs from every output
  }
  compare(t, path, before, after, name);
}

function compare(t: Test, path: string, before: string, after: string, title: string): void {
  if (process.env.UPDATE === "1" && before !== after) writeFileSync(path, after);
  else t.equal(after, before, title);
  t.ok(after.length > 0, "a script that checks nothing is a defect");
}

const NAMES = new Map([
  ["n", 0x0a],
  ["r", 0x0d],
  ["t", 0x09],
  ["\\", 0x5c],
]);

export function unquote(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const match of text.matchAll(/\\x([0-9a-f]{2})|\\(.)|(.)/g)) {
    const [, hex, name, plain] = match;
    if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else if (name !== undefined) bytes.push(NAMES.get(name) ?? name.charCodeAt(0));
    else bytes.push((plain as string).charCodeAt(0));
  }
  return Uint8Array.from(bytes);
}

export function quote(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    const name = [...NAMES].find(([, value]) => value === byte)?.[0];
    if (name !== undefined) text += `\\${name}`;
    else if (byte >= 0x20 && byte <= 0x7e) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return text;
}

/** "0000  2a 33 0d .." sixteen to a line. */
export function hexDump(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, "0"));
    lines.push(`${at.toString(16).padStart(4, "0")}  ${row.join(" ")}`);
  }
  return lines;
}

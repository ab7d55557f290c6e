/**
 * What people see: tables, colours, errors. Data goes to stdout and talk to stderr; nothing here decides what is
 * said, only how it looks.
 *
 * Colours are used on a terminal only, and never if NO_COLOR is set to anything (no-color.org) or TERM is "dumb".
 */
import { styleText } from "node:util";
import { NucleusError } from "../base/errors.ts";
import { formatCount } from "../base/units.ts";
import type { ExitCode } from "./exit_codes.ts";

export type Style = "bold" | "gray" | "red" | "green" | "yellow" | "cyan";
/** Puts a style on a text, or leaves it as it is. */
export type Paint = (style: Style, text: string) => string;

export const plain: Paint = (_style, text) => text;
const coloured: Paint = (style, text) => styleText(style, text, { validateStream: false });

type Terminal = { readonly isTTY?: boolean };
type Environment = Readonly<Record<string, string | undefined>>;

export function paintFor(stream: Terminal, environment: Environment): Paint {
  const wanted = (environment.NO_COLOR ?? "") === "" && environment.TERM !== "dumb";
  return wanted && stream.isTTY === true ? coloured : plain;
}

/** A column that holds numbers stands to the right. */
export type Column = { readonly title: string; readonly numbers?: true };
/** A cell with a style: its width is that of the bare text. */
export type Cell = string | { readonly text: string; readonly style: Style };

/**
 * Columns as wide as their widest cell, two blanks between them, no lines drawn: it reads well, and awk reads it
 * too. A table without rows is its titles.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  paint: Paint,
  indent = "",
): string {
  const widths = columns.map(({ title }, i) =>
    Math.max(title.length, ...rows.map((row) => textOf(row[i]).length)),
  );
  const line = (cells: readonly (Cell | undefined)[], style?: Style): string => {
    const padded = columns.map((column, i) => {
      const text = textOf(cells[i]);
      const blanks = " ".repeat((widths[i] as number) - text.length);
      const cell = cells[i];
      const shown = typeof cell === "object" ? paint(cell.style, text) : text;
      return column.numbers ? blanks + shown : shown + blanks;
    });
    const joined = padded.join("  ").trimEnd();
    return indent + (style === undefined ? joined : paint(style, joined));
  };
  return [
    line(
      columns.map(({ title }) => title),
      "gray",
    ),
    ...rows.map((row) => line(row)),
  ].join("\n");
}

function textOf(cell: Cell | undefined): string {
  return typeof cell === "object" ? cell.text : (cell ?? "");
}

/**
 * A failure that its reader can do something about: what happened, why, and what to do next, one line each.
 * The outermost shell prints it and exits with its code; it never shows a stack.
 */
export class CliError extends NucleusError {
  override readonly name = "CliError";
  readonly exitCode: ExitCode;
  readonly why: string;
  readonly next: string;

  constructor(exitCode: ExitCode, what: string, why = "", next = "") {
    super("ECLI", what);
    this.exitCode = exitCode;
    this.why = why;
    this.next = next;
  }
}

/** The lines for stderr. */
export function errorText(error: CliError, paint: Paint): string {
  const lines = [`${paint("red", "nucleus:")} ${error.message}`];
  for (const line of [error.why, error.next])
    if (line !== "") lines.push(`  ${line.replaceAll("\n", "\n  ")}`);
  return lines.join("\n");
}

/** A word as a shell needs it, so that a printed command can be copied. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

export function shellCommand(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}

/** A message of ours as a line of its own: a capital first, a full stop last. */
export function sentence(text: string): string {
  const full = /[.!?]$/.test(text) ? text : `${text}.`;
  return full.charAt(0).toUpperCase() + full.slice(1);
}

/** "1 node", "3 nodes", "1,234 keys", "2 processes". */
export function counted(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

/** "n1", "n1 and n2", "n1, n2 and n3". */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? (names[0] ?? "") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

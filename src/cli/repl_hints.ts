/**
 * What stands in grey after the cursor: the arguments that may still follow. Words already typed are taken off a
 * command's usage from the left; an option's word takes its alternatives with it and leaves its own value.
 *
 *     SET            key value [NX | XX | IFEQ value] [GET] [EX seconds | ..]
 *     SET k v ex     seconds [NX | XX | IFEQ value] [GET]
 */
import { fromUtf8 } from "../base/bytes.ts";
import { COMMANDS } from "../wire/command_table.ts";
import { COLON_COMMANDS } from "./repl_colon_table.ts";
import { splitLine } from "./repl_words.ts";

const USAGE = new Map<string, string>([
  ...COMMANDS.map(({ name, usage }) => [name, usage] as const),
  ...COLON_COMMANDS.map(({ name, usage }) => [name, usage] as const),
]);

/** "" if there is nothing to say. Begins with a blank if the line does not end with one. */
export function hintFor(line: string): string {
  const words = splitLine(line)?.map(fromUtf8);
  const [name, ...typed] = words ?? [];
  if (name === undefined) return "";
  const usage = USAGE.get(name.toLowerCase());
  if (usage === undefined || usage === "") return "";
  const left = usageLeft(usage, typed);
  if (left === "") return "";
  return /\s$/.test(line) ? left : ` ${left}`;
}

function usageLeft(usage: string, typed: readonly string[]): string {
  let elements = splitUsage(usage);
  // Alternatives on the outermost level: too many shapes to follow.
  if (elements.includes("|")) return typed.length === 0 ? usage : "";
  for (const word of typed) elements = take(elements, word);
  return elements.join(" ");
}

/** Words and bracketed groups, in order. */
function splitUsage(usage: string): string[] {
  const elements: string[] = [];
  let depth = 0;
  let element = "";
  for (const letter of usage) {
    if (letter === "[") depth++;
    if (letter === "]") depth--;
    if (letter !== " " || depth > 0) {
      element += letter;
    } else if (element !== "") {
      elements.push(element);
      element = "";
    }
  }
  return element === "" ? elements : [...elements, element];
}

function take(elements: readonly string[], word: string): string[] {
  const [next = "", ...rest] = elements;
  if (!next.startsWith("[")) return rest;
  for (const [i, element] of elements.entries()) {
    const value = optionValue(element, word);
    if (value !== null) return [...value, ...elements.slice(0, i), ...elements.slice(i + 1)];
  }
  return isOption(next) || next.endsWith("...]") ? [...elements] : rest;
}

/** "[EX seconds | GET]": its alternatives begin with words in capitals, to be typed as they are. */
function isOption(element: string): boolean {
  return /^\[[A-Z]/.test(element);
}

/** What follows `word` inside the option that it chooses; null if it is none of this element's. */
function optionValue(element: string, word: string): string[] | null {
  if (!isOption(element)) return null;
  for (const alternative of element.slice(1, -1).split("|")) {
    const [name = "", ...value] = alternative.trim().split(/\s+/);
    if (name === word.toUpperCase()) return value;
  }
  return null;
}

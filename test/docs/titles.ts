/**
 * Titles of all tests, and the hazards that they name: `A5`, `B1-B8`, anywhere in a title. A checker of the simulator
 * counts as a test: its title is the first sentence of its file, and it names what that file's head names.
 */
import { readdirSync, readFileSync } from "node:fs";

export type Title = { readonly room: string; readonly text: string; readonly hazards: ReadonlySet<string> };

/** Rooms whose golden scripts are tests by themselves, titled by their first line. */
const TITLED_SCRIPTS = ["raft"];
const CHECKERS = "src/sim/checkers";

export function allTitles(): Title[] {
  const titles: Title[] = [];
  const add = (room: string, text: string): void => {
    titles.push({ room, text, hazards: hazardsIn(text) });
  };
  for (const name of readdirSync("test", { recursive: true, encoding: "utf8" }).sort()) {
    if (!name.endsWith(".ts") || name.startsWith("docs/")) continue;
    const source = readFileSync(`test/${name}`, "utf8");
    for (const match of source.matchAll(/\btest\(\s*("(?:[^"\\\n]|\\.)*"|`[^`]*`)/g)) {
      add(name.split("/")[0] as string, textOf(match[1] as string));
    }
  }
  for (const room of TITLED_SCRIPTS) {
    for (const name of readdirSync(`testdata/${room}`).sort()) {
      add(room, readFileSync(`testdata/${room}/${name}`, "utf8").split("\n", 1)[0]?.slice(2) ?? "");
    }
  }
  for (const name of readdirSync(CHECKERS).sort()) {
    const [head = ""] = /\/\*\*[\s\S]*?\*\//.exec(readFileSync(`${CHECKERS}/${name}`, "utf8")) ?? [];
    const words = head.replace(/^[/* ]+/gm, "").replace(/\s+/g, " ");
    const text = `checker ${name.replace(".ts", "")}: ${words.trim().split(/[.:] /)[0]}`;
    titles.push({ room: "sim", text, hazards: hazardsIn(head) });
  }
  return titles;
}

/** What a string literal says; ".." where a template fills something in. */
function textOf(literal: string): string {
  return literal.startsWith('"') ? JSON.parse(literal) : literal.slice(1, -1).replace(/\$\{[^}]*\}/g, "..");
}

function hazardsIn(title: string): Set<string> {
  const found = new Set<string>();
  for (const match of title.matchAll(/\b([A-J])(\d+)(?:-\1(\d+))?\b/g)) {
    const [, family = "", first = "", last = first] = match;
    for (let n = Number(first); n <= Number(last); n++) found.add(`${family}${n}`);
  }
  return found;
}

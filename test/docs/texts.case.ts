/** What the program says to people is explained to them: errors by their text or code, log lines by their words. */
import { readdirSync, readFileSync } from "node:fs";
import * as fate from "../../src/server/fate.ts";
import { STORE_ERROR } from "../../src/store/errors.ts";
import { SESSION_ERROR } from "../../src/store/session_cells.ts";
import { upToDate } from "./lag.ts";
import { Page } from "./markdown.ts";

/** Lines that wrap are one line again. */
const flat = (text: string): string => text.replace(/\s+/g, " ");
const consistency = flat(new Page("docs/consistency.md").text);
const operations = flat(new Page("docs/operations.md").text);

/** All matches of `pattern`'s first group in the source of these rooms. */
function found(pattern: RegExp, ...rooms: readonly string[]): string[] {
  const all = rooms.flatMap((room) =>
    readdirSync(`src/${room}`)
      .filter((name) => name.endsWith(".ts"))
      .flatMap((name) => [...readFileSync(`src/${room}/${name}`, "utf8").matchAll(pattern)]),
  );
  const texts = [...new Set(all.map((match) => match[1] as string))];
  if (texts.length < 8) throw new Error(`${pattern} finds too little to be right`);
  return texts;
}

const { sessionsFull, sessionRepliesFull, memory } = STORE_ERROR;
const answers = [
  ...Object.values(fate),
  ...Object.values(SESSION_ERROR),
  sessionsFull,
  sessionRepliesFull,
  memory,
];
upToDate(
  "consistency.md tells of every answer that says what became of a command",
  answers.filter((answer) => typeof answer === "string" && !consistency.includes(flat(answer))).map(String),
);

const logged = found(
  /(?:\.write\(\s*"(?:debug|info|warn|error)",|#host\.log\()\s*["`]([^"`$]+)/g,
  "server",
  "controlplane",
  "wal",
  "cli",
);
upToDate(
  "operations.md tells of every line that a node logs",
  logged.filter((words) => !operations.includes(`\`${words.trim().replace(/:$/, "")}`)),
);

const codes = found(/NucleusError\(\s*"(\w+)"/g, "server", "controlplane", "wal");
upToDate(
  "operations.md tells of every error code that ends a start or a node",
  codes.filter((code) => !operations.includes(`\`${code}\``)),
);

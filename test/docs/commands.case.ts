/** What the pages tell people to type can be typed: verbs, options, scripts and files exist. */
import { existsSync, readFileSync } from "node:fs";
import t from "tap";
import yargs, { type Argv } from "yargs";
import { COLON_COMMANDS } from "../../src/cli/repl_colon_table.ts";
import { COMMANDS } from "../../src/wire/command_table.ts";
import { upToDate } from "./lag.ts";
import { Page, pages } from "./markdown.ts";

type Verb = { readonly command: string; readonly builder: (yargs: Argv) => Argv };

/** The verbs that main.ts knows. It cannot be imported itself: it would run. */
async function verbs(): Promise<Verb[]> {
  const main = readFileSync("src/cli/main.ts", "utf8");
  const imports = [...main.matchAll(/import \{ (\w+Command) \} from "\.\/(\w+_command\.ts)";/g)];
  const modules = imports.map(async ([, name = "", file = ""]) => {
    const module = (await import(`../../src/cli/${file}`)) as Record<string, unknown>;
    const verb = module[name] as Verb | ((platform: null) => Verb);
    return typeof verb === "function" ? verb(null) : verb; // one is made for a platform
  });
  return Promise.all(modules);
}

/** By verb: its options as its help shows them, "--long" and "-x" forms, and those of the verbs under it. */
async function optionsByVerb(): Promise<Map<string, string[]>> {
  const options = new Map<string, string[]>([["", ["--help", "--version"]]]);
  for (const { command, builder } of await verbs()) {
    const help = (words: readonly string[]): Promise<string> =>
      new Promise((done) => {
        const program = builder(yargs([]).scriptName("nucleus"));
        program.parse([...words, "--help"], (_error: unknown, _args: unknown, text: string) => done(text));
      });
    const own = await help([]);
    const under = [...own.matchAll(/^ {2}nucleus (\w+) /gm)].map((match) => help([match[1] as string]));
    const texts = [own, ...(await Promise.all(under))];
    const found = texts.flatMap((text) =>
      [...text.matchAll(/^\s+(?:(-\w)(?:, )?)?(--[\w-]+)?\s/gm)].flatMap((match) => match.slice(1)),
    );
    options.set(command.split(" ")[0] ?? "", [...new Set(found.filter((name) => name !== undefined))]);
  }
  return options;
}

type Typed = { readonly where: string; readonly words: readonly string[] };

/** Lines of shell blocks; in a session (`console`), those behind the prompt. */
function typedLines(page: Page): Typed[] {
  const typed: Typed[] = [];
  for (const { language, text, line } of page.blocks) {
    if (language !== "sh" && language !== "console") continue;
    for (const [i, whole] of text.split("\n").entries()) {
      const prompt = /^(?:\d+)?\$ (.*)$/.exec(whole);
      if (language === "console" && prompt === null) continue;
      const shell = (prompt?.[1] ?? whole).replace(/(^|\s)#.*$/, "");
      for (const part of shell.split(/&&|\||;|&$/)) {
        const words = part.trim().split(/\s+/);
        if (words[0] !== "") typed.push({ where: `${page.path}:${line + i}`, words });
      }
    }
  }
  return typed;
}

function judgeNucleus(words: readonly string[], options: ReadonlyMap<string, string[]>): string | null {
  const [first = "", ...rest] = words;
  const verb = first.startsWith("-") ? "" : first;
  const known = options.get(verb);
  if (known === undefined) return `there is no verb ${verb}`;
  for (const word of verb === "" ? words : rest) {
    if (!word.startsWith("-")) {
      if (verb === "repl" && !/^[\d.:]+$/.test(word)) break; // a command's own words follow
      continue;
    }
    const name = word.split("=")[0]?.replace(/^--no-(?=raw$)/, "--") ?? "";
    if (!known.includes(name)) return `${verb} has no option ${name}`;
  }
  return null;
}

const SCRIPTS = Object.keys(
  (JSON.parse(readFileSync("package.json", "utf8")) as { scripts: object }).scripts,
);
const BUILT_IN = ["ci", "start", "test"];

function judgeTool(words: readonly string[]): string | null {
  const [program = "", ...args] = words;
  if (program === "npm") {
    const script = args[0] === "run" ? args[1] : args[0];
    const known = args[0] === "run" ? SCRIPTS.includes(script ?? "") : BUILT_IN.includes(script ?? "");
    return known ? null : `npm has no ${args.join(" ")}`;
  }
  if (program === "./compile.sh") {
    const text = readFileSync("compile.sh", "utf8");
    const wrong = args.find((argument) => !text.includes(`${argument})`));
    return wrong === undefined ? null : `compile.sh does not know ${wrong}`;
  }
  const file = args.find((argument) => /^(?:test|bench|scripts|src)\/.*\.ts$/.test(argument));
  return file === undefined || existsSync(file) ? null : `${file} does not exist`;
}

t.test("commands in the pages have existing verbs, options, scripts and files", async (t) => {
  const options = await optionsByVerb();
  const wrong: string[] = [];
  let count = 0;
  for (const page of pages()) {
    for (const { where, words } of typedLines(page)) {
      count++;
      const isOurs = /^(?:\.\/)?(?:dist\/)?nucleus$/.test(words[0] ?? "");
      const verdict = isOurs ? judgeNucleus(words.slice(1), options) : judgeTool(words);
      if (verdict !== null) wrong.push(`${where} ${words.join(" ")}: ${verdict}`);
    }
  }
  t.same(wrong, []);
  t.ok(count > 20, "there are commands to check");
});

const { text: operations } = new Page("docs/operations.md");
const named = (name: string): boolean => operations.includes(`\`${name}`);
const lacking = COLON_COMMANDS.map(({ name }) => name).filter((name) => !named(name));
for (const [verb, names] of await optionsByVerb()) {
  if (!operations.includes(`nucleus ${verb}`)) lacking.push(verb);
  lacking.push(...names.filter((name) => name.startsWith("--") && !named(name)));
}
upToDate("operations.md names every verb and every option of it", [...new Set(lacking)]);

t.test("Redis-style commands in the pages are commands of this version", async (t) => {
  const known = new Set(COMMANDS.map(({ name }) => name));
  const wrong: string[] = [];
  for (const page of pages()) {
    for (const { where, words } of typedLines(page)) {
      const at = words[0] === "redis-cli" ? 1 : words[0]?.endsWith("nucleus") && words[1] === "repl" ? 2 : 0;
      if (at === 0) continue;
      const name = words.slice(at).find((word, i, rest) => {
        return /^:?[A-Za-z]/.test(word) && !/^-[hp]$/.test(rest[i - 1] ?? "");
      });
      if (name === undefined) continue;
      const fits = name.startsWith(":")
        ? COLON_COMMANDS.some((command) => command.name === name)
        : known.has(name.toLowerCase());
      if (!fits) wrong.push(`${where} ${name}`);
    }
  }
  t.same(wrong, []);
});

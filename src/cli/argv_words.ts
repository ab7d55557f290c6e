/**
 * `nucleus repl [options] COMMAND arguments..`: from the first word that is not an option on, everything belongs to
 * the command, however it looks (`SET x -5`, `GET --json`). yargs cannot know, so a "--" is put there for it.
 */
const WITH_VALUE = ["-h", "-p", "--host", "--port"];

export function markCommandWords(argv: readonly string[]): string[] {
  if (argv[0] !== "repl") return [...argv];
  let at = 1;
  while (at < argv.length) {
    const word = argv[at] as string;
    if (word === "--") return [...argv];
    if (!word.startsWith("-") || word === "-") break;
    at += WITH_VALUE.includes(word) ? 2 : 1;
  }
  return at >= argv.length ? [...argv] : [...argv.slice(0, at), "--", ...argv.slice(at)];
}

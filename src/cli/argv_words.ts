/** Words of a command line that yargs cannot judge by itself. */

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

/**
 * Options in `argv` that the verb's `help` does not name. yargs looks first for what is missing, so who mistypes a required
 * option would only hear that it is not there.
 */
export function unknownOptions(argv: readonly string[], help: string): string[] {
  const known = new Set(help.match(OPTION));
  const end = argv.indexOf("--");
  const words = argv.slice(0, end < 0 ? argv.length : end);
  const asked = words.filter((word) => word.startsWith("--")).map((word) => word.split("=", 1)[0] as string);
  return asked.filter((word) => {
    const dashed = word.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`); // yargs takes both
    return !known.has(dashed) && !known.has(dashed.replace(/^--no-/, "--"));
  });
}
const OPTION = /--[a-z][a-z-]*/g;

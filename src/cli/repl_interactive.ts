/** The REPL with a person at a terminal: what is typed, hinted, completed and printed. */
import { performance } from "node:perf_hooks";
import { fromUtf8 } from "../base/bytes.ts";
import { codeOf, messageOf } from "../base/errors.ts";
import { formatDuration } from "../base/units.ts";
import { COMMANDS } from "../wire/command_table.ts";
import { showAddress } from "./address.ts";
import type { ClusterView } from "./cluster_view.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { type Paint, paintFor, plain } from "./output.ts";
import { colonArguments, helpText, runColon } from "./repl_colon.ts";
import { colonNames } from "./repl_colon_table.ts";
import { hintFor } from "./repl_hints.ts";
import { History, historyPath } from "./repl_history.ts";
import type { LocalCluster } from "./repl_kill.ts";
import { failedCallText, type Session, showMove } from "./repl_session.ts";
import { LineTerminal } from "./repl_terminal.ts";
import { splitLine } from "./repl_words.ts";
import { terminalText } from "./reply_format.ts";
import { notReached } from "./status_command.ts";

/** As redis-cli does: whoever waited this long wants to know how long it was. */
const SLOW_MS = 500;

export type InteractiveOptions = {
  /** The nodes are children of this process. */
  readonly local: LocalCluster | null;
  /** Say how to get help. */
  readonly greet: boolean;
  /** Gets the terminal as soon as there is one, for notices and to close it. */
  readonly onTerminal?: (terminal: LineTerminal) => void;
};

export async function runInteractive(session: Session, options: InteractiveOptions): Promise<ExitCode> {
  try {
    await session.connect();
  } catch (error) {
    throw notReached(error);
  }
  const repl = new Interactive(session, options);
  await session.learn();
  await repl.run();
  return EXIT.ok;
}

class Interactive {
  readonly #session: Session;
  readonly #options: InteractiveOptions;
  readonly #paint: Paint;
  readonly #terminal: LineTerminal;
  /** The nodes as last seen, for completion. */
  #view: ClusterView | null = null;
  #timing = false;

  constructor(session: Session, options: InteractiveOptions) {
    this.#session = session;
    this.#options = options;
    this.#paint = paintFor(process.stdout, process.env);
    this.#terminal = new LineTerminal({
      prompt: () => `${session.connected ? showAddress(session.address) : "not connected"}> `,
      history: new History(historyPath(process.env)),
      hint: hintFor,
      complete: (line) => complete(line, this.#view),
      run: (line) => this.#runLine(line),
      interrupt: () => session.close(),
      paint: this.#paint,
      coloured: this.#paint !== plain,
    });
    session.onMoved = (from, to) => console.log(this.#paint("yellow", showMove(from, to)));
  }

  async run(): Promise<void> {
    this.#view = await this.#session.view().catch(() => null);
    if (this.#options.greet)
      console.log(this.#paint("gray", ":help lists what you can type; Ctrl-D leaves."));
    this.#options.onTerminal?.(this.#terminal);
    await this.#terminal.run();
    console.log();
  }

  /** False: leave. */
  async #runLine(line: string): Promise<boolean> {
    const words = splitLine(line);
    if (words === null) {
      console.log(this.#paint("red", "The quotes do not match."));
      return true;
    }
    const name = words[0] === undefined ? "" : fromUtf8(words[0]).toLowerCase();
    if (name === "") return true;
    if ([":quit", ":q", ":exit", "quit", "exit"].includes(name)) return false;
    const startMs = performance.now();
    await this.#runWords(name, words, line);
    const tookMs = performance.now() - startMs;
    if (this.#timing || (tookMs > SLOW_MS && !name.startsWith(":"))) {
      console.log(this.#paint("gray", `(${formatDuration(tookMs)})`));
    }
    return true;
  }

  async #runWords(name: string, words: readonly Uint8Array[], line: string): Promise<void> {
    try {
      if (name === ":time") this.#toggleTiming();
      else if (name === "clear" || name === ":clear") console.clear();
      else if (name === "help" || name === "?") console.log(helpText(about(words), this.#paint));
      else if (name.startsWith(":")) await this.#runColon(name, words.slice(1));
      else console.log(terminalText(await this.#session.call(words), "", this.#paint));
    } catch (error) {
      const text = name.startsWith(":") ? messageOf(error) : failedCallText(error, words);
      console.log(this.#paint("red", text));
      if (codeOf(error) === "ECONNECT" && line !== "")
        console.log("No node answers. The next command tries again.");
    }
  }

  async #runColon(name: string, words: readonly Uint8Array[]): Promise<void> {
    const say = (text: string): void => console.log(text);
    const context = { session: this.#session, paint: this.#paint, say, local: this.#options.local };
    console.log(await runColon(name, words, context));
  }

  #toggleTiming(): void {
    this.#timing = !this.#timing;
    console.log(this.#timing ? "Each command's time is printed now." : "Times are no longer printed.");
  }
}

function about(words: readonly Uint8Array[]): string {
  return words[1] === undefined ? "" : fromUtf8(words[1]);
}

const NAMES: readonly string[] = COMMANDS.map(({ name }) => name);

/** Candidates for the word before the cursor, and that word. Commands come in the letters that were begun with. */
export function complete(line: string, view: ClusterView | null): [string[], string] {
  const [, before = "", word = ""] = /^(.*\s)?(\S*)$/.exec(line) ?? [];
  const name = before.trim().toLowerCase();
  if (name !== "") {
    const found = colonArguments(name, view).filter((candidate) => candidate.startsWith(word.toLowerCase()));
    return [found.map((candidate) => `${candidate} `), word];
  }
  const capitals = word === word.toUpperCase() && /[A-Z]/.test(word);
  const found = [...NAMES, ...colonNames(), "help"].filter((candidate) =>
    candidate.startsWith(word.toLowerCase()),
  );
  const spelled = found.map((candidate) => (capitals || word === "" ? candidate.toUpperCase() : candidate));
  return [
    spelled.map((candidate) => `${candidate.startsWith(":") ? candidate.toLowerCase() : candidate} `),
    word,
  ];
}

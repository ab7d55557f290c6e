/**
 * A line editor with grey hints, on node:readline: history, completion, Ctrl-C and notices that do not tear the
 * line being typed.
 *
 * A hint is drawn after readline has drawn the line and only while the cursor stands at its end; it is wiped
 * before readline sees the next key, so readline never knows of it. It never reaches the edge of the terminal,
 * where it would wrap.
 */
import { clearLine, createInterface, cursorTo, type Interface } from "node:readline";
import type { Paint } from "./output.ts";
import type { History } from "./repl_history.ts";

export type TerminalOptions = {
  readonly prompt: () => string;
  readonly history: History;
  /** What may follow the typed text; "" for nothing. */
  readonly hint: (line: string) => string;
  /** Candidates, and the part of the line that they would replace. */
  readonly complete: (line: string) => [string[], string];
  /** Carries out one line; false = leave. */
  readonly run: (line: string) => Promise<boolean>;
  /** Ctrl-C while a line is carried out. */
  readonly interrupt: () => void;
  readonly paint: Paint;
  /** Colours are wanted; without them a hint would look like typed text. */
  readonly coloured: boolean;
};

export class LineTerminal {
  readonly #options: TerminalOptions;
  readonly #lines: string[] = [];
  readonly #input = process.stdin;
  readonly #output = process.stdout;
  #editor: Interface | null = null;
  #busy = false;
  #hintShown = false;
  #closed = false;

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  /** Reads and carries out lines until the person leaves. */
  run(): Promise<void> {
    const editor = createInterface({
      input: this.#input,
      output: this.#output,
      terminal: true,
      prompt: this.#options.prompt(),
      history: this.#options.history.load(),
      historySize: 1000,
      removeHistoryDuplicates: true,
      completer: (line: string) => this.#options.complete(line),
    });
    this.#editor = editor;
    if (this.#options.coloured) {
      this.#input.prependListener("keypress", this.#wipeHint);
      this.#input.on("keypress", this.#drawHint);
    }
    editor.on("line", (line) => this.#onLine(line));
    editor.on("SIGINT", () => this.#onInterrupt());
    editor.prompt();
    return new Promise((resolve) => {
      editor.on("close", () => {
        this.#closed = true;
        this.#input.off("keypress", this.#wipeHint);
        this.#input.off("keypress", this.#drawHint);
        resolve();
      });
    });
  }

  /** Prints something that nobody asked for, above the line that is being typed. */
  notice(text: string): void {
    if (this.#editor === null || this.#closed || this.#busy) {
      console.log(text);
      return;
    }
    cursorTo(this.#output, 0);
    clearLine(this.#output, 0);
    console.log(text);
    this.#editor.prompt(true);
  }

  close(): void {
    this.#editor?.close();
  }

  #onLine(line: string): void {
    this.#options.history.add(line);
    this.#lines.push(line);
    if (!this.#busy) void this.#drain();
  }

  /** One line after another, even if several were pasted at once. */
  async #drain(): Promise<void> {
    this.#busy = true;
    for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) {
      if (!(await this.#options.run(line))) {
        this.close();
        return;
      }
    }
    this.#busy = false;
    if (this.#closed) return;
    this.#editor?.setPrompt(this.#options.prompt());
    this.#editor?.prompt();
  }

  /** Ctrl-C gives up what is under way, else the line being typed, else leaves. */
  #onInterrupt(): void {
    if (this.#busy) {
      this.#lines.length = 0;
      this.#options.interrupt();
    } else if (this.#editor?.line === "") {
      this.close();
    } else {
      this.#output.write("^C\n");
      this.#editor?.write(null, { ctrl: true, name: "e" });
      this.#editor?.write(null, { ctrl: true, name: "u" });
    }
  }

  readonly #wipeHint = (): void => {
    if (!this.#hintShown) return;
    this.#hintShown = false;
    clearLine(this.#output, 1);
  };

  readonly #drawHint = (): void => {
    const editor = this.#editor;
    if (editor === null || this.#closed || this.#busy || editor.cursor !== editor.line.length) return;
    const room = (this.#output.columns ?? 80) - editor.getCursorPos().cols - 1;
    const hint = this.#options.hint(editor.line).slice(0, Math.max(room, 0));
    if (hint === "") return;
    this.#output.write(`${this.#options.paint("gray", hint)}\x1b[${hint.length}D`);
    this.#hintShown = true;
  };
}

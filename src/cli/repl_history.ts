/**
 * What was typed before: $XDG_STATE_HOME/nucleus/history (~/.local/state by default), one line each, oldest first,
 * for this user's eyes only. A line that may hold a password, or begins with a blank, is not kept. A history that
 * cannot be read or written is no reason to stop anyone from working: it is silently done without.
 */
import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

const LINES_MAX = 1000;
const SECRET = /^\s*(auth\b|hello\b.*\bauth\b|config\s+set\b.*pass|acl\s+setuser\b)/i;

export class History {
  readonly #path: string;
  #last = "";

  constructor(path: string) {
    this.#path = path;
  }

  /** Newest first, as readline wants them. */
  load(): string[] {
    try {
      const lines = readFileSync(this.#path, "utf8")
        .split("\n")
        .filter((line) => line !== "");
      chmodSync(this.#path, 0o600);
      if (lines.length > 2 * LINES_MAX) this.#replace(lines.slice(-LINES_MAX));
      this.#last = lines.at(-1) ?? "";
      return lines.slice(-LINES_MAX).reverse();
    } catch {
      return [];
    }
  }

  add(line: string): void {
    if (!isKept(line) || line === this.#last) return;
    this.#last = line;
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
      appendFileSync(this.#path, `${line}\n`, { mode: 0o600 });
    } catch {
      // Done without.
    }
  }

  #replace(lines: readonly string[]): void {
    const aside = `${this.#path}.${process.pid}`;
    writeFileSync(aside, `${lines.join("\n")}\n`, { mode: 0o600 });
    renameSync(aside, this.#path);
  }
}

export function isKept(line: string): boolean {
  return line.trim() !== "" && !/^\s/.test(line) && !SECRET.test(line);
}

export function historyPath(environment: Readonly<Record<string, string | undefined>>): string {
  const state = environment.XDG_STATE_HOME;
  return join(
    state === undefined || state === "" ? join(homedir(), ".local", "state") : state,
    "nucleus",
    "history",
  );
}

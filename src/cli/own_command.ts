/**
 * How to start this very program again: for child processes, and for the commands that are printed to be copied.
 *
 *     compiled            argv = ["bun", "/$bunfs/root/nucleus", ..], execPath = the file itself
 *     a runtime + script  argv = [runtime, script, ..], execPath = the runtime, execArgv = its own options
 */
import { existsSync, realpathSync } from "node:fs";
import { basename, delimiter, join, relative, resolve } from "node:path";
import { shellCommand } from "./output.ts";

/** Taken at the start: a rebuilt file changes what the system calls the running one. */
const EXECUTABLE = process.execPath;
const SCRIPT = process.argv[1] ?? "";

/** True inside an executable made by `bun build --compile`: its script lies in a file system of its own. */
export function isCompiled(script = SCRIPT): boolean {
  return /^(\/\$bunfs\/|[A-Z]:[\\/]~BUN[\\/])/.test(script);
}

/** Program and leading arguments: a verb and its options follow. */
export function ownCommand(): readonly [string, ...string[]] {
  if (isCompiled()) return [EXECUTABLE];
  if (process.versions.deno !== undefined) return [EXECUTABLE, "run", "-A", resolve(SCRIPT)];
  return [EXECUTABLE, ...process.execArgv, resolve(SCRIPT)];
}

/** The same as short as it can be said here, for people: "nucleus" if the shell finds it, else a path. */
export function ownCommandText(): string {
  if (isCompiled()) return onPath("nucleus", EXECUTABLE) ? "nucleus" : shellCommand([shortPath(EXECUTABLE)]);
  if (process.execArgv.some((argument) => /[\\/]tsx[\\/]/.test(argument))) {
    return shellCommand(["npx", "tsx", shortPath(SCRIPT)]);
  }
  if (onPath("nucleus", SCRIPT)) return "nucleus";
  const [, ...rest] = ownCommand();
  const runtime = basename(EXECUTABLE).replace(/\.exe$/, ""); // npm's bun is called so everywhere
  return shellCommand([runtime, ...rest.slice(0, -1), shortPath(SCRIPT)]);
}

/** From here if that is shorter, and never without a slash: the shell would look for it elsewhere. */
export function shortPath(path: string): string {
  const whole = resolve(path);
  const fromHere = relative(process.cwd(), whole) || ".";
  if (fromHere.startsWith("../..") || fromHere.length >= whole.length) return whole;
  return fromHere.startsWith(".") ? fromHere : `./${fromHere}`;
}

function onPath(name: string, file: string): boolean {
  const first = (process.env.PATH ?? "")
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find((path) => existsSync(path));
  return first !== undefined && realpathSync(first) === realpathSync(file);
}

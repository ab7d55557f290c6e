/**
 * Which `nucleus` a script runs, by its options:
 *
 *     --binary PATH     the program; dist/nucleus, or dist/nucleus.mjs with --runtime node
 *     --runtime node    that file is a bundle, which Node runs
 */
import { resolve } from "node:path";

export const PROGRAM_OPTIONS = {
  binary: { type: "string" },
  runtime: { type: "string", default: "bun" },
} as const;

export type Chosen = { readonly binary?: string | undefined; readonly runtime: string };

export type Program = { readonly command: string; readonly args: readonly string[] };

export function chosenProgram({ binary, runtime }: Chosen): Program {
  return programOf(runtime, resolve(binary ?? (runtime === "node" ? "dist/nucleus.mjs" : "dist/nucleus")));
}

/** How to run `nucleus`: the file itself, or a bundle under Node. */
export function programOf(runtime: string, binary: string): Program {
  return runtime === "node" ? { command: process.execPath, args: [binary] } : { command: binary, args: [] };
}

/** For people: what is run. */
export function shownProgram({ command, args }: Program): string {
  return [command, ...args].join(" ");
}

/** What verbs that change something share: their options, and the question before what cannot be taken back. */
import { createInterface } from "node:readline/promises";
import { ADDRESS_OPTIONS, type AddressArguments } from "./address.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError } from "./output.ts";

export type VerbArguments = AddressArguments & { readonly json: boolean };
export type ChangeArguments = VerbArguments & { readonly yes: boolean };

export const VERB_OPTIONS = {
  ...ADDRESS_OPTIONS,
  json: { type: "boolean", default: false, describe: "JSON instead of sentences and tables" },
} as const;

export const CHANGE_OPTIONS = {
  ...VERB_OPTIONS,
  yes: { type: "boolean", default: false, describe: "Do not ask whether it is meant" },
} as const;

export const WAIT_OPTION = {
  wait: { type: "boolean", default: false, describe: "Return when it is done, not when it is taken" },
} as const;

/** Asks at a terminal. Without one nobody can be asked, so --yes has to be said. */
export async function confirm(what: string, { yes }: { readonly yes: boolean }): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new CliError(EXIT.usage, what, "Nothing was changed.", "If it is meant, say so: --yes");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const said = await terminal.question(`${what} Go on? [y/N] `).catch(() => "");
    if (/^y(es)?$/i.test(said.trim())) return;
  } finally {
    terminal.close();
  }
  throw new CliError(EXIT.failed, "Nothing was changed.");
}

/** "n1,n2 n3" as names, in that order. */
export function namesOf(text: string, option: string): string[] {
  const names = text.split(/[\s,]+/).filter((name) => name !== "");
  if (names.length > 0) return names;
  throw new CliError(EXIT.usage, `${option} names nobody.`, "", `For example: ${option} n1,n2,n3`);
}

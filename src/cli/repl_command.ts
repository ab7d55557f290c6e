/**
 * `nucleus repl`: a shell for the cluster with redis-cli's habits.
 *
 *     nucleus repl                      lines from a terminal, with hints, history and completion
 *     nucleus repl GET hello            one command; into a pipe, the bare value (--raw, --no-raw, --json choose)
 *     nucleus repl < commands.txt       lines from a pipe, replies in their order
 *     cat file | nucleus repl -x SET k  the last argument is what stdin gives
 *
 * Where output is raw, error replies go to stderr (with their line's number, from a pipe) and never mix with
 * values. The exit code is that of the first error.
 */
import type { Argv } from "yargs";
import { concat } from "../base/bytes.ts";
import { ADDRESS_OPTIONS, type AddressArguments, addressFrom } from "./address.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError, paintFor } from "./output.ts";
import { type Printer, runLines, runOnce } from "./repl_batch.ts";
import { runInteractive } from "./repl_interactive.ts";
import { Session } from "./repl_session.ts";
import type { ReplyFormat } from "./reply_format.ts";

type ReplArguments = AddressArguments & {
  readonly raw?: boolean;
  readonly json: boolean;
  readonly x: boolean;
  /** The command's words, behind a "--" that argv_words.ts has put before them. */
  readonly "--"?: readonly (string | number)[];
};

export const replCommand = {
  command: "repl",
  describe: "Talk to the cluster as redis-cli does: a shell, or one COMMAND with its arguments",
  builder: (yargs: Argv) =>
    yargs
      .usage("$0 repl [-h host] [-p port] [COMMAND arguments..]")
      .options(ADDRESS_OPTIONS)
      .option("raw", { type: "boolean", describe: "Bare values, as into a pipe; --no-raw: as on a terminal" })
      .option("json", { type: "boolean", default: false, describe: "Replies as JSON" })
      .option("x", { type: "boolean", default: false, describe: "Take the last argument from stdin" }),
  handler: (args: unknown) => runRepl(args as ReplArguments),
};

async function runRepl(args: ReplArguments): Promise<void> {
  const session = new Session(addressFrom(args, process.env.NUCLEUS_ADDR));
  const printer: Printer = {
    format: formatFor(args),
    paint: paintFor(process.stdout, process.env),
    local: null,
  };
  const words: (string | Uint8Array)[] = (args["--"] ?? []).map(String);
  try {
    if (words.length > 0) {
      if (args.x) words.push(await readAllOf(process.stdin));
      process.exitCode = await runOnce(session, words, printer);
    } else if (process.stdin.isTTY && process.stdout.isTTY) {
      process.exitCode = await runInteractive(session, { local: null, greet: true });
    } else {
      process.exitCode = await runLines(session, process.stdin, printer);
    }
  } finally {
    session.close();
  }
}

function formatFor({ json, raw }: ReplArguments): ReplyFormat {
  if (json && raw !== undefined) throw new CliError(EXIT.usage, "--json and --raw exclude each other.");
  if (json) return "json";
  return (raw ?? process.stdout.isTTY !== true) ? "raw" : "terminal";
}

async function readAllOf(input: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of input) chunks.push(chunk);
  return concat(chunks);
}

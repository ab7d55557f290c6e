#!/usr/bin/env node
/** The program `nucleus`: reads the command line and runs one verb. Each verb is a module of its own. */
import yargs, { type CommandModule } from "yargs";
import { createPlatform } from "../platform/node.ts";
import { createHttp } from "../platform/node_http.ts";
import type { Log, Platform } from "../platform/platform.ts";
import { markCommandWords, unknownOptions } from "./argv_words.ts";
import { clusterCommand } from "./cluster_command.ts";
import { controlCommand } from "./control_command.ts";
import { EXIT, EXIT_CODES_TEXT } from "./exit_codes.ts";
import { leaderCommand } from "./leader_command.ts";
import { nodeCommand } from "./node_command.ts";
import { CliError, errorText, paintFor } from "./output.ts";
import { replCommand } from "./repl_command.ts";
import { reshardCommand } from "./reshard_command.ts";
import { shardCommand } from "./shard_command.ts";
import { simCommand } from "./sim_command.ts";
import { statusCommand } from "./status_command.ts";
import { upCommand } from "./up_command.ts";
import { versionText } from "./version.ts";

function exitWith(error: CliError): never {
  console.error(errorText(error, paintFor(process.stderr, process.env)));
  process.exit(error.exitCode);
}

/** yargs calls it with a message for bad usage, and with what a verb threw; `usage` is its own, whatever its types say. */
function fail(message: string | undefined, error: Error | undefined, usage?: unknown): never {
  if (error instanceof CliError) exitWith(error);
  if (error !== undefined && error.name !== "YError") throw error;
  const verb = process.argv[2] ?? "";
  const about = verb === "" || verb.startsWith("-") || !VERBS.includes(verb) ? "" : ` ${verb}`;
  const help = (usage as { help?(): string } | undefined)?.help?.() ?? "";
  const unknown = help === "" ? [] : unknownOptions(markCommandWords(process.argv.slice(2)), help);
  const isNamed = unknown.every((word) => message?.includes(word.slice(2)));
  const why = !isNamed ? `There is no option ${unknown.join(", ")} here.` : "";
  exitWith(new CliError(EXIT.usage, message ?? "bad usage", why, `See: nucleus${about} --help`));
}

/** All that a server may use. */
const createWorld = (log: Log): Platform => ({ ...createPlatform(log), http: createHttp() });

type Verb = Pick<CommandModule, "describe" | "builder" | "handler"> & { readonly command: string };
const commands: readonly Verb[] = [
  upCommand,
  replCommand,
  statusCommand,
  clusterCommand,
  shardCommand,
  reshardCommand,
  leaderCommand,
  simCommand,
  nodeCommand(createWorld),
  controlCommand(createWorld),
];
const VERBS = commands.map(({ command }) => command.split(" ", 1)[0] as string);

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(EXIT.ok);
});

const program = yargs(markCommandWords(process.argv.slice(2)))
  .scriptName("nucleus")
  .usage("$0 <verb> [options]")
  .version(versionText())
  .help()
  .strict()
  .parserConfiguration({ "populate--": true, "parse-positional-numbers": false })
  .epilogue(EXIT_CODES_TEXT)
  .detectLocale(false)
  .fail(fail);
for (const command of commands) program.command(command);
program.command("$0", false, {}, () => fail("Say what to do: a verb is missing.", undefined));
await program.parseAsync();

#!/usr/bin/env node
/** The program `nucleus`: reads the command line and runs one verb. Exit code 2 means bad usage. */
import yargs from "yargs";
import { versionText } from "./version.ts";

const EXIT_USAGE = 2;

function fail(message: string | undefined, error: Error | undefined): never {
  if (error !== undefined) throw error;
  console.error(message ?? "bad usage");
  console.error("Try: nucleus --help");
  process.exit(EXIT_USAGE);
}

await yargs(process.argv.slice(2))
  .scriptName("nucleus")
  .usage("$0 <verb> [options]")
  .version(versionText())
  .help()
  .alias("help", "h")
  .strict()
  .command("$0", false, {}, () => fail("Say what to do: a verb is missing.", undefined))
  .detectLocale(false)
  .fail(fail)
  .parseAsync();

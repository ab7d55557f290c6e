/**
 * `nucleus cluster backup FILE`: what the control plane knows, in a file from which `nucleus control --restore` makes a new
 * one. It holds no keys: those are with the shards. The file is put in place as a whole, and read back before that is said.
 */
import * as fs from "node:fs";
import type { Argv } from "yargs";
import { messageOf, NucleusError } from "../base/errors.ts";
import { type Backup, parseBackup } from "../controlplane/backup.ts";
import { addressFrom } from "./address.ts";
import { VERB_OPTIONS, type VerbArguments } from "./change.ts";
import { askControl } from "./control_call.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError, counted } from "./output.ts";
import { replaceSynced } from "./synced_files.ts";

type BackupArguments = VerbArguments & { readonly file: string };

export const backupCommand = {
  command: "backup <file>",
  describe: "Write what the control plane knows into a file, for: control --restore FILE",
  builder: (yargs: Argv) =>
    yargs.options(VERB_OPTIONS).positional("file", {
      type: "string",
      demandOption: true,
      describe: 'The file; one that is there is replaced if it is an older backup. "-": standard output',
    }),
  handler: (args: unknown) => runBackup(args as BackupArguments),
};

async function runBackup(args: BackupArguments): Promise<void> {
  const { file } = args;
  if (file !== "-") mayBeReplaced(file);
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const reply = await askControl(address, { method: "GET", path: "/cluster/backup" });
  const text = `${JSON.stringify({ takenAt: new Date().toISOString(), ...(reply.raw as object) })}\n`;
  const backup = readable(text);
  if (file === "-") return void process.stdout.write(text);
  write(file, text);
  const { cluster, version, nodes, shards } = backup.state;
  const facts = { file, cluster, version, nodes: nodes.size, shards: shards.size, bytes: text.length };
  if (args.json) return console.log(JSON.stringify(facts));
  const what = `${counted(nodes.size, "node")}, ${counted(shards.size, "shard")}`;
  console.log(
    `${file} has what the control plane knows: ${what}. It has no keys; those are with the shards.`,
  );
  console.log(`If the control processes are lost: nucleus control --restore ${file} ..`);
}

/** Nothing else is overwritten: a name is soon mistyped. */
function mayBeReplaced(file: string): void {
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new CliError(EXIT.usage, `${file} cannot be replaced.`, messageOf(error));
  }
  if (text === "" || /^\{[^{]*"nucleus":"control plane backup"/.test(text)) return;
  throw new CliError(
    EXIT.usage,
    `${file} is there, and is no backup.`,
    "",
    "Name another file, or remove it.",
  );
}

function readable(text: string): Backup {
  try {
    return parseBackup(text);
  } catch (error) {
    throw new CliError(EXIT.failed, `What was sent cannot be used: ${messageOf(error)}.`);
  }
}

function write(file: string, text: string): void {
  try {
    replaceSynced(file, text);
  } catch (error) {
    throw new CliError(EXIT.failed, `${file} cannot be written.`, messageOf(error));
  }
}

/** The file of `control --restore`. */
export function readBackup(path: string): Backup {
  let text: string;
  try {
    text = fs.readFileSync(path, "utf8");
  } catch (error) {
    throw new NucleusError("EUSAGE", `cannot read the backup: ${messageOf(error)}`);
  }
  try {
    return parseBackup(text);
  } catch (error) {
    throw new NucleusError("EUSAGE", `${path} cannot be used: ${messageOf(error)}`);
  }
}

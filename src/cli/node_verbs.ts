/** The verbs under `nucleus node`, beside running one. */
import type { Argv } from "yargs";
import { nodeListCommand } from "./node_list.ts";
import { nodeAddCommand, nodeDrainCommand, nodeExcludeCommand, nodeRemoveCommand } from "./node_members.ts";
import { replaceCommand } from "./node_replace.ts";

export function nodeVerbs(yargs: Argv): Argv {
  return yargs
    .command(nodeListCommand)
    .command(nodeAddCommand)
    .command(nodeRemoveCommand)
    .command(nodeDrainCommand)
    .command(nodeExcludeCommand)
    .command(replaceCommand);
}

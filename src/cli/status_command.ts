/** `nucleus status`: how the whole cluster is, asked of any one node. Exit code 4 if some keys cannot be written. */
import type { Argv } from "yargs";
import { codeOf, messageOf } from "../base/errors.ts";
import { ADDRESS_OPTIONS, type Address, type AddressArguments, addressFrom } from "./address.ts";
import { type ClusterView, healthOf, viewCluster, viewJson } from "./cluster_view.ts";
import { controlNote } from "./control_call.ts";
import { EXIT, exitCodeOf } from "./exit_codes.ts";
import { CliError, paintFor, sentence } from "./output.ts";
import { ownCommandText } from "./own_command.ts";
import { nodesText, shardsText, verdictText, waitsText } from "./view_text.ts";

type StatusArguments = AddressArguments & { readonly json: boolean };

export const statusCommand = {
  command: "status",
  describe: "Tell how the cluster is",
  builder: (yargs: Argv) =>
    yargs
      .options(ADDRESS_OPTIONS)
      .option("json", { type: "boolean", default: false, describe: "One JSON object instead of tables" }),
  handler: (args: unknown) => runStatus(args as StatusArguments),
};

async function runStatus(args: StatusArguments): Promise<void> {
  const address = addressFrom(args, process.env.NUCLEUS_ADDR);
  const [view, note] = await Promise.all([viewOrExplain(address), args.json ? "" : controlNote(address)]);
  if (args.json) {
    console.log(viewJson(view));
  } else {
    const paint = paintFor(process.stdout, process.env);
    const texts = [
      verdictText(view, paint),
      nodesText(view, paint),
      shardsText(view, paint),
      waitsText(view),
      note,
    ];
    console.log(texts.filter((text) => text !== "").join("\n\n"));
  }
  process.exitCode = healthOf(view) === "unavailable" ? EXIT.unavailable : EXIT.ok;
}

export async function viewOrExplain(address: Address): Promise<ClusterView> {
  try {
    return await viewCluster(address);
  } catch (error) {
    throw notReached(error);
  }
}

/** What to tell somebody whose first node gave no answer. */
export function notReached(error: unknown): CliError {
  const next = `Start a local cluster with: ${ownCommandText()} up\nOr name a node that runs: -h HOST -p PORT, or NUCLEUS_ADDR=HOST:PORT.`;
  const what = sentence(messageOf(error));
  if (codeOf(error) === "EREPORT") {
    return new CliError(EXIT.failed, what, "It may be another server.", next);
  }
  const exitCode = codeOf(error) === "" ? EXIT.failed : exitCodeOf(error);
  return new CliError(exitCode, what, "", next);
}

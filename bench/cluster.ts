/**
 * What scripts here have in common that measure a cluster of their own: its options, its start, and its end whatever
 * happens.
 *
 *     --binary PATH    the program (dist/nucleus); or dist/nucleus.mjs with --runtime node
 *     --keep           leave the directory
 *     --json           one JSON object
 */
import { ProcessCluster } from "../chaos/processes.ts";
import { type Chosen, chosenProgram, PROGRAM_OPTIONS } from "../chaos/program.ts";

export const CLUSTER_OPTIONS = {
  ...PROGRAM_OPTIONS,
  keep: { type: "boolean", default: false },
  json: { type: "boolean", default: false },
} as const;

/** Ends the process with the code that `run` gives. */
export async function onCluster(
  nodes: number,
  chosen: Chosen & { readonly keep: boolean },
  run: (cluster: ProcessCluster) => Promise<number>,
): Promise<never> {
  const cluster = await ProcessCluster.start(chosenProgram(chosen), nodes);
  let exitCode = 1;
  try {
    exitCode = await run(cluster);
  } finally {
    if (chosen.keep) console.error(`kept: ${cluster.root}`);
    await cluster.end(chosen.keep);
  }
  process.exit(exitCode);
}

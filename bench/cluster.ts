/**
 * What scripts here have in common that measure a cluster of their own: its options, its start, and its end whatever
 * happens.
 *
 *     --binary PATH    the program (dist/nucleus); or dist/nucleus.mjs with --runtime node
 *     --keep           leave the directory
 *     --json           one JSON object
 */
import { resolve } from "node:path";
import { ProcessCluster, type Program, programOf } from "../chaos/processes.ts";

export const PROGRAM_OPTIONS = {
  binary: { type: "string" },
  runtime: { type: "string", default: "bun" },
} as const;

export const CLUSTER_OPTIONS = {
  ...PROGRAM_OPTIONS,
  keep: { type: "boolean", default: false },
  json: { type: "boolean", default: false },
} as const;

type Chosen = { readonly binary?: string | undefined; readonly runtime: string };

export function chosenProgram({ binary, runtime }: Chosen): Program {
  return programOf(runtime, resolve(binary ?? (runtime === "node" ? "dist/nucleus.mjs" : "dist/nucleus")));
}

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

/**
 * What the runtime must be told before it starts, of servers under Bun (measured in docs/decisions.md):
 *
 *     the last compiler late (FTL)  most of a server's time goes into the kernel and into many functions of middling heat: that
 *                                   compiler spends half a minute of two cores on them for one percent. Those that run
 *                                   millions of times are worth it: pipelined commands on one shard gain a third
 *     memory given back seldom      whenever the loop waits, but no more often than this, the allocator's own thread walks its
 *                                   pages and gives the free parts of them back, which the next turn then has to ask for again
 *
 * The runtime takes these from its environment only, so a process that was started without them becomes itself again
 * with them: same pid, same pipes, 7 ms.
 */
import { ownCommand } from "./own_command.ts";

const TUNING: Readonly<Record<string, string>> = {
  BUN_JSC_thresholdForFTLOptimizeAfterWarmUp: "4000000", // executions; 64,000 by itself
  BUN_JSC_thresholdForFTLOptimizeSoon: "64000", // 1000 by itself
  MIMALLOC_PURGE_HOLES_MIN_INTERVAL: "10000", // ms; 100 by itself
};

/** Of Bun, and of newer Nodes than the types know. */
type Exec = (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => void;

/** The environment for a server's process. What the operator has set stays. */
export function tunedEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...TUNING, ...env };
}

/** To be called before anything is opened. Comes back if this process is as it should be, or cannot be otherwise. */
export function becomeTuned(): void {
  const isTuned = Object.keys(TUNING).every((name) => process.env[name] !== undefined);
  if (process.versions.bun === undefined || isTuned) return;
  const { execve } = process as { readonly execve?: Exec };
  if (execve === undefined) return;
  const [program, ...leading] = ownCommand();
  const words = [process.argv0, ...leading, ...process.argv.slice(2)]; // it goes on under the name that it was called by
  try {
    execve.call(process, program, words, tunedEnvironment(process.env));
  } catch {
    // A system without it: the process works as it is.
  }
}

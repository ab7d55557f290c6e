/**
 * What the runtime must be told before it starts: a server under Bun runs without its last compiler (FTL). A server's
 * time goes into the kernel and into many functions of middling heat; that compiler spends half a minute of two cores on them
 * and gains three percent (docs/decisions.md). The runtime takes the option from its environment only, so a process
 * that was started without it becomes itself again with it: same pid, same pipes, 7 ms.
 */
import { ownCommand } from "./own_command.ts";

const NAME = "BUN_JSC_useFTLJIT";

/** Of Bun, and of newer Nodes than the types know. */
type Exec = (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => void;

/** The environment for a server's process. What the operator has set stays. */
export function tunedEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { [NAME]: "0", ...env };
}

/** To be called before anything is opened. Comes back if this process is as it should be, or cannot be otherwise. */
export function becomeTuned(): void {
  if (process.versions.bun === undefined || process.env[NAME] !== undefined) return;
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

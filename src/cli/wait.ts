/**
 * `--wait`: looks again and again until something has come about, and says on stderr how far it is whenever that
 * changes. If nothing changes for long it gives up; what was asked for goes on.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError } from "./output.ts";

export type Progress = { readonly isDone: boolean; readonly progress: string };

const LOOK_EVERY_MS = 250;
const STUCK_MS_MAX = 60_000;

export async function waitUntil(look: () => Promise<Progress>): Promise<void> {
  let seen = "";
  let movedMs = performance.now();
  for (;;) {
    // Nodes come and go while a cluster changes: one that does not answer now is no end of it.
    const { isDone, progress } = await look().catch((error: unknown) => {
      return { isDone: false, progress: messageOf(error) };
    });
    if (isDone) return;
    if (progress !== seen) {
      seen = progress;
      movedMs = performance.now();
      console.error(`${progress} ..`);
    }
    if (performance.now() - movedMs > STUCK_MS_MAX) throw stuck(seen);
    await sleep(LOOK_EVERY_MS);
  }
}

function stuck(seen: string): CliError {
  return new CliError(
    EXIT.unknownOutcome,
    `Nothing moved for ${STUCK_MS_MAX / 1000} s: ${seen}.`,
    "It was taken, and goes on when it can.",
    "See: nucleus status, nucleus node list",
  );
}

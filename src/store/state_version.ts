/** A replica applies no batch that was sealed under a newer version of its state machine than this program knows. */
import { NucleusError } from "../base/errors.ts";
import type { Index } from "../raft/types.ts";
import { batchStateVersion } from "../wire/batch.ts";
import { STATE_VERSION } from "./types.ts";

/** Throws NucleusError "state_version". */
export function checkStateVersion(index: Index, batch: Uint8Array): void {
  const version = batchStateVersion(batch);
  if (version <= STATE_VERSION) return;
  throw new NucleusError(
    "state_version",
    `entry ${index} needs state version ${version}, this program knows ${STATE_VERSION}: install the newer release`,
  );
}

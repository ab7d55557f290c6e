/** Which build this is, and what it runs on. */
import { STORAGE_VERSION, WIRE_VERSION } from "../base/version.ts";

/** The version in package.json. */
export const VERSION = "0.1.0";

/** Put in by compile.sh; run from source there is no such name. */
declare const NUCLEUS_COMMIT: string | undefined;
export const COMMIT = typeof NUCLEUS_COMMIT === "string" ? NUCLEUS_COMMIT : "source";

/** "bun 1.4.5", "deno 2.9.6" or "node 20.19.0". Bun and Deno also claim to be a Node, so they are asked first. */
function runtimeName(): string {
  const { bun, deno, node } = process.versions;
  if (bun !== undefined) return `bun ${bun}`;
  if (deno !== undefined) return `deno ${deno}`;
  return `node ${node}`;
}

/** The answer to `nucleus --version`. */
export function versionText(): string {
  return [
    `nucleus ${VERSION} (${COMMIT})`,
    `runtime ${runtimeName()}`,
    `wire ${WIRE_VERSION}`,
    `storage ${STORAGE_VERSION}`,
  ].join("\n");
}

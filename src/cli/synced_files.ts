/** Files that are on the disk when a call returns. Errors are those of node:fs. */
import * as fs from "node:fs";
import { dirname } from "node:path";

/** Puts a file in place as a whole: whatever happens meanwhile, the name has the old text or the new one. */
export function replaceSynced(path: string, text: string): void {
  const beside = `${path}.tmp`;
  try {
    writeSynced(beside, text);
    fs.renameSync(beside, path);
  } catch (error) {
    fs.rmSync(beside, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** The text; the file's name only with its directory (`syncDirectory`). */
export function writeSynced(path: string, text: string): void {
  const file = fs.openSync(path, "w", 0o600);
  try {
    fs.writeFileSync(file, text);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

export function syncDirectory(dir: string): void {
  const file = fs.openSync(dir, "r");
  try {
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

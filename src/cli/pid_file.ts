/**
 * `DIR/nucleus.pid`: which process uses a data directory. It keeps two processes from writing one log; a stale
 * file, left by a killed process, is taken over.
 */
import * as fs from "node:fs";
import { NucleusError } from "../base/errors.ts";

const FILE = "nucleus.pid";

/** Takes the directory for this process; error "EINUSE" if a living one has it. */
export function takePidFile(dir: string): void {
  const holder = readPid(dir);
  if (holder !== null && holder !== process.pid && isAlive(holder)) {
    throw new NucleusError(
      "EINUSE",
      `${dir} is in use by process ${holder}; stop that one first (kill ${holder})`,
    );
  }
  fs.writeFileSync(`${dir}/${FILE}`, `${process.pid}\n`, { mode: 0o600 });
}

export function dropPidFile(dir: string): void {
  if (readPid(dir) === process.pid) fs.rmSync(`${dir}/${FILE}`, { force: true });
}

export function readPid(dir: string): number | null {
  try {
    const pid = Number(fs.readFileSync(`${dir}/${FILE}`, "utf8").trim());
    return Number.isSafeInteger(pid) && pid > 1 ? pid : null;
  } catch {
    return null;
  }
}

/** A process with this id runs and is one of ours, as far as the system tells. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  try {
    const command = fs.readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return command.includes("nucleus") || command.includes("main.ts");
  } catch {
    return true; // no /proc here: better refuse than write one log twice
  }
}

/**
 * Processes of this machine, as far as it lets us see them (/proc, so Linux; elsewhere the answers are null): who
 * holds a port, and how a process was started.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";

export type ProcessName = { readonly pid: number; readonly name: string };

/** The words a process was started with. */
export function commandOf(pid: number): string[] | null {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return words.length > 1 ? words.slice(0, -1) : null;
  } catch {
    return null;
  }
}

/** True if `pid` is, for all that can be seen, the process of node (or control process) `id`. */
export function isOwnProcess(pid: number, id: string, kind: "node" | "control" = "node"): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const command = commandOf(pid);
  if (command === null) return !process.platform.startsWith("linux");
  const at = command.indexOf("--id");
  return command.includes(kind) && (at >= 0 ? command[at + 1] === id : command.includes(`--id=${id}`));
}

/** Options that a process is given by `up` alone, or at its birth alone. */
const NOT_FOR_RESTART = ["--init", "--parent-pipe"];
/** The same, with a value. */
const PAIRS_NOT_FOR_RESTART = ["--cluster", "--cluster-id"];

/** The command that starts a dead process again, from the one that had started it. */
export function restartCommand(command: readonly string[]): string[] {
  return command.filter((word, i) => {
    const isValue = PAIRS_NOT_FOR_RESTART.includes(command[i - 1] ?? "");
    return !isValue && !PAIRS_NOT_FOR_RESTART.includes(word) && !NOT_FOR_RESTART.includes(word);
  });
}

/** The process that listens on a TCP port of this machine; null if nobody does or it cannot be seen. */
export function listenerOf(port: number): ProcessName | null {
  const inodes = new Set([
    ...listeningInodes("/proc/net/tcp", port),
    ...listeningInodes("/proc/net/tcp6", port),
  ]);
  if (inodes.size === 0) return null;
  for (const entry of listDirectory("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    for (const fd of listDirectory(`/proc/${entry}/fd`)) {
      const target = readLink(`/proc/${entry}/fd/${fd}`);
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode !== undefined && inodes.has(inode))
        return { pid: Number(entry), name: nameOf(Number(entry)) };
    }
  }
  return null;
}

/** Rows of the table: number, local address "0100007F:1B59", remote address, state (0A = listening), .., inode. */
function listeningInodes(path: string, port: number): string[] {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .slice(1)
      .map((row) => row.trim().split(/\s+/))
      .filter((columns) => columns[1]?.endsWith(ending) && columns[3] === "0A")
      .map((columns) => columns[9] as string);
  } catch {
    return [];
  }
}

/** "redis-server", or "nucleus node n1", "nucleus control c1" for ours. */
function nameOf(pid: number): string {
  const command = commandOf(pid);
  if (command === null) return "unknown";
  const at = command.indexOf("--id");
  const name = basename(command[0] ?? "").split(" ")[0] ?? "";
  const verb = ["node", "control"].find((word) => command.includes(word));
  return at > 0 && verb !== undefined ? `nucleus ${verb} ${command[at + 1]}` : name;
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return []; // gone meanwhile, or another user's
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

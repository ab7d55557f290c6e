/** The log of a server process: one JSON object a line, on stderr. Never values or secrets. */
import type { Log, LogLevel } from "../platform/platform.ts";

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export function jsonLog(node: string, levelMin: LogLevel, write: (line: string) => void): Log {
  return {
    write: (level, message, facts) => {
      if (RANK[level] < RANK[levelMin]) return;
      write(`${JSON.stringify({ ts: new Date().toISOString(), level, node, msg: message, ...facts })}\n`);
    },
  };
}

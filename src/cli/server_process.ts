/**
 * What running a server in the foreground takes, whether it is a storage node or a control process: addresses of the
 * command line, why it cannot start, how it stops, and that it ends at once when it is broken.
 */
import * as fs from "node:fs";
import { codeOf, messageOf, NucleusError } from "../base/errors.ts";
import type { Log, LogLevel } from "../platform/platform.ts";
import { parseAddress } from "../server/layout.ts";
import { EXIT } from "./exit_codes.ts";
import { jsonLog } from "./json_log.ts";
import { listenerOf } from "./local_process.ts";
import { dropPidFile, takePidFile } from "./pid_file.ts";
import { becomeTuned } from "./runtime_tuning.ts";

/** A clean stop that takes longer than this is abandoned: the log can be recovered, an operator cannot. */
const STOP_MS_MAX = 10_000;

export type HostPort = { readonly host: string; readonly port: number };

export function hostPort(text: string, option: string): HostPort {
  const address = parseAddress(text);
  if (address !== null) return address;
  throw new NucleusError("EUSAGE", `${option} must be HOST:PORT, for example 127.0.0.1:7001, not "${text}"`);
}

/** What both kinds of server are told on the command line. */
export type ServerArgs = {
  readonly id: string;
  readonly listen: string;
  readonly dir: string;
  readonly "log-level": string;
  readonly "parent-pipe": boolean;
};

type Done = (error: Error | null) => void;
type Server = { start(done: Done): void; stop(done: Done): void };

export type ServerKind<S extends Server> = {
  /** Judges the command line, before anything is written; what it gives makes the server. `fatal` ends the process. */
  readonly prepare: (log: Log) => (fatal: (error: Error) => void) => S;
  /** For the line that says that it listens. */
  readonly facts: (server: S) => Readonly<Record<string, string | number>>;
};

/** Runs a server in the foreground until it is told to stop. */
export function runServer<S extends Server>(args: ServerArgs, { prepare, facts }: ServerKind<S>): void {
  becomeTuned();
  const { dir } = args;
  const log = jsonLog(args.id, args["log-level"] as LogLevel, (line) => void process.stderr.write(line));
  stopOnBugs(log);
  const refuse = (error: unknown): never => {
    log.write("error", `cannot start: ${explainStart(error, args)}`);
    process.exit(startExitCode(error));
  };
  let server: S;
  try {
    const make = prepare(log);
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    takePidFile(dir);
    server = make((error) => {
      log.write("error", `stopped at once: ${messageOf(error)}`, { code: codeOf(error) });
      process.exit(EXIT.failed); // nothing after a failed write or a broken rule may leave this process
    });
  } catch (error) {
    return refuse(error);
  }
  server.start((error) => {
    if (error !== null) {
      dropPidFile(dir);
      refuse(error);
    }
    log.write("info", "listening", { addr: args.listen, dir, ...facts(server) });
  });
  stopOnSignals(server, dir, args["parent-pipe"]);
}

function startExitCode(error: unknown): number {
  return ["EUSAGE", "ELAYOUT", "EREQUEST"].includes(codeOf(error)) ? EXIT.usage : EXIT.failed;
}

/**
 * A broken rule, or what nobody foresaw: one line, and the process ends at once. What it knows may be wrong, so
 * nothing of it may be written, sent or served (hazard H2).
 */
function stopOnBugs(log: Log): void {
  const stop = (error: unknown): never => {
    const where = error instanceof Error ? (error.stack?.split("\n")[1]?.trim() ?? "") : "";
    log.write("error", `stopped at once: ${messageOf(error)}`, { code: codeOf(error), where });
    process.exit(EXIT.failed);
  };
  process.on("uncaughtException", stop);
  process.on("unhandledRejection", stop);
}

/** `hasParent`: whoever started this process holds its standard input open as long as it lives. */
function stopOnSignals(server: Server, dir: string, hasParent: boolean): void {
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(EXIT.failed), STOP_MS_MAX).unref();
    server.stop((error) => {
      dropPidFile(dir);
      process.exit(error === null ? EXIT.ok : EXIT.failed);
    });
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  if (!hasParent) return;
  process.stdin.on("end", stop);
  process.stdin.on("error", stop);
  process.stdin.resume();
}

/** Where it could not listen: on its main port, or for HTTP. */
function placeOf(error: unknown): string | null {
  const { address, port } = error as { readonly address?: unknown; readonly port?: unknown };
  const isKnown = typeof address === "string" && typeof port === "number";
  return isKnown ? `${address.includes(":") ? `[${address}]` : address}:${port}` : null;
}

/** Says who has the address, as far as this machine lets us see. */
function takenText(listen: string): string {
  const holder = listenerOf(parseAddress(listen)?.port ?? 0);
  const who = holder === null ? "another process" : `another process: ${holder.name} (pid ${holder.pid})`;
  const look = holder === null ? " (see who: ss -ltnp)" : "";
  return `${listen} is taken by ${who}; stop it or choose another address${look}`;
}

/** What happened, why, and what to do next. */
function explainStart(error: unknown, { listen, dir }: ServerArgs): string {
  const reason = messageOf(error);
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return takenText(placeOf(error) ?? listen);
    case "EADDRNOTAVAIL":
      return `${placeOf(error) ?? listen} is not an address of this machine`;
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return `${dir} cannot be written: ${reason}; check its owner and mode`;
    case "EIO":
      return `the disk of ${dir} cannot be read or written: ${reason}; look at the disk (dmesg), and replace it if it fails`;
    case "ENOSPC":
      return `the disk of ${dir} is full: ${reason}; free some space and start again`;
    default:
      return reason;
  }
}

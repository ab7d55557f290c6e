/**
 * The world as a parameter: everything the server, the control plane and the client may know of time, chance,
 * disk and network. node.ts gives the real one (node:fs and node:net, on Bun, Deno and Node alike); the
 * simulator gives one that lives in memory and lies on purpose.
 *
 * Rules that hold for every implementation:
 * - A completion (`Done`) is called exactly once, possibly before the call that started it returns.
 * - Nothing here throws for what the world did; errors arrive in completions and in `onClose`.
 * - Timeouts count ticks. Only the outermost shell knows how long a tick is.
 */
import type { Done } from "../base/task.ts";

export type Platform = {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly net: Net;
  readonly log: Log;
  /** Absent in the simulator and in the client library: there, handlers are called without sockets, or not at all. */
  readonly http?: HttpServe;
};

export interface Clock {
  /** Milliseconds since some start, with fractions; never goes back. */
  monotonicMs(): number;
  /**
   * Milliseconds of processor time that this thread has used, or the process if the runtime cannot tell threads
   * apart. Time in which the machine ran something else does not count: it tells how much work a step is.
   */
  cpuMs(): number;
  /** Milliseconds since 1970 by the wall clock, a whole number; may step either way. */
  wallMs(): number;
  /**
   * Calls `onTick` every `intervalMs` until the returned function is called. `lateMs` says how much later than
   * due: after a stall there is one late tick, not a burst, and input that was waiting has been read before it.
   */
  ticks(intervalMs: number, onTick: (lateMs: number) => void): () => void;
  /** Calls `run` once, after the sockets that are ready now have been read. One call to each turn of the loop. */
  turn(run: () => void): void;
}

/** Unpredictable in the real world, seeded in the simulated one. */
export interface Random {
  u32(): number;
  fill(bytes: Uint8Array): void;
}

export type OpenMode =
  | "read" // must exist
  | "update" // must exist; read and write
  | "create"; // must not exist; read and write

export interface Disk {
  open(path: string, mode: OpenMode, done: Done<DiskFile>): void;
  /** Names in a directory, in no particular order. */
  list(path: string, done: Done<string[]>): void;
  /** Makes a directory and those above it; none of it lasts before `syncDir` of each parent. */
  makeDir(path: string, done: Done<void>): void;
  /** Replaces `to` if it exists. Lasts only after `syncDir`. */
  rename(from: string, to: string, done: Done<void>): void;
  unlink(path: string, done: Done<void>): void;
  /** Makes creations, renames and unlinks in this directory last. */
  syncDir(path: string, done: Done<void>): void;
  /** Bytes that an unprivileged writer may still fill on the file system of `path`. */
  freeBytes(path: string, done: Done<number>): void;
}

export interface DiskFile {
  size(done: Done<number>): void;
  /** May read fewer bytes than asked; 0 = end of file. Use `readAll` of files.ts. */
  pread(target: Uint8Array, position: number, done: Done<number>): void;
  /** May write fewer bytes than asked. Use `writeAll` of files.ts. `source` must stay as it is until done. */
  pwrite(source: Uint8Array, position: number, done: Done<number>): void;
  /** Written bytes and the file's size last after this. An error is final: nothing may be retried. */
  datasync(done: Done<void>): void;
  close(done: Done<void>): void;
}

export interface Net {
  /** Calls `onConnection` for each caller; set its `events` before returning. */
  listen(
    host: string,
    port: number,
    onConnection: (connection: Connection) => void,
    done: Done<Listener>,
  ): void;
  /** Dials at once; `onOpen` or `onClose` tells how it went. */
  dial(host: string, port: number, events: ConnectionEvents): Connection;
}

export interface Listener {
  readonly port: number;
  close(done: Done<void>): void;
}

export interface Connection {
  /** "127.0.0.1:53412", for messages and CLIENT LIST. */
  readonly remote: string;
  /** Who listens to this connection; an accepted one is handed over without. */
  events: ConnectionEvents;
  /**
   * Queues `bytes`, always. False: `queuedBytes` is now over the connection's cap; stop until `onDrain`.
   * The bytes belong to the connection until `queuedBytes` is 0: the caller must not change them before.
   */
  send(bytes: Uint8Array): boolean;
  queuedBytes(): number;
  /** Stops and resumes reading. Some data that was already read may still arrive after a pause. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes. */
  close(): void;
  /** Closes now; what is queued is lost. */
  destroy(): void;
}

export interface ConnectionEvents {
  onOpen(): void;
  /** `bytes` are borrowed: they may be overwritten as soon as this returns. */
  onData(bytes: Uint8Array): void;
  /** `queuedBytes` fell to 0 after `send` had returned false. */
  onDrain(): void;
  /** Once, after everything else. `reason` is for the log. */
  onClose(reason: string): void;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface Log {
  /** One line: what happened, with named facts beside it. Never values or secrets. */
  write(level: LogLevel, message: string, facts?: Readonly<Record<string, string | number | boolean>>): void;
}

/** HTTP/1.1 for people, scripts and browsers; nodes and client libraries speak frames over `Net`. */
export interface HttpServe {
  /** Calls `onRequest` once a request has come whole; it answers then or later, exactly once. */
  listen(
    host: string,
    port: number,
    onRequest: (request: HttpRequest, answer: HttpAnswer) => void,
    done: Done<HttpListener>,
  ): void;
}

export interface HttpListener extends Listener {
  /** Requests that are not answered, or whose answer is not taken yet. */
  readonly requestsOpen: number;
  /** Bytes of bodies that are held for them, both ways. */
  readonly bytesHeld: number;
}

export type HttpHeaders = Readonly<Record<string, string>>;

export type HttpRequest = {
  readonly method: string;
  /** As it was sent, percent signs and all; without what stands behind "?". */
  readonly path: string;
  /** What stands behind "?"; "" if there is none. */
  readonly query: string;
  /** Names in small letters. */
  readonly headers: HttpHeaders;
  readonly body: Uint8Array;
  /** The same object for every request of one connection. */
  readonly connection: HttpConnection;
};

export type HttpConnection = { readonly remote: string };

export interface HttpAnswer {
  /** The whole answer. The answer to HEAD is what GET's would be: its body is counted, and left out here. */
  send(status: number, headers: HttpHeaders, body: Uint8Array): void;
  /** The head now, and text as it comes: server-sent events. */
  stream(status: number, headers: HttpHeaders): HttpStream;
}

export interface HttpStream {
  /** False: it is closed, or was cut just now, since its reader takes too little. */
  write(text: string): boolean;
  close(): void;
  /** Called once, whoever closed it. */
  onClose: () => void;
}

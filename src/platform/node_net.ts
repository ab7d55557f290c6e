/**
 * TCP by node:net. Every socket has an error listener (hazard H8), no delay, and one owner of its events.
 *
 * A closed or failed write is never reported as such: only answers of the other side mean delivery (H5). What
 * `send` was given is the socket's until `queuedBytes()` is 0; that `writableLength` falls to 0 at once when the
 * kernel took everything holds on all three runtimes (test/conformance).
 */
import * as dns from "node:dns";
import * as net from "node:net";
import { messageOf } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import type { Connection, ConnectionEvents, Net } from "./platform.ts";

/** `send` returns false above this: one full append window to a slow peer. */
const QUEUED_BYTES_MAX = 8 * MiB;
const BACKLOG = 1024;
/** A connection that is silent for this long is asked by the kernel whether it is still there. */
const KEEP_ALIVE_MS = 60_000;

const NOBODY: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClose() {} };

export function createNet(): Net {
  return {
    listen: (host, port, onConnection, done) => {
      const server = net.createServer({ noDelay: true, allowHalfOpen: false }, (socket) => {
        onConnection(new SocketConnection(socket, NOBODY));
      });
      const failed = (error: Error): void => done(error, undefined as never);
      server.once("error", failed);
      server.listen({ host, port, backlog: BACKLOG }, () => {
        server.off("error", failed);
        server.on("error", () => {}); // accept errors (EMFILE) pass; callers see a refused connection
        const address = server.address();
        const bound = typeof address === "object" && address !== null ? address.port : port;
        done(null, {
          port: bound,
          close: (closed) => {
            server.close(() => closed(null, undefined));
          },
        });
      });
    },
    dial: (host, port, events) => {
      const socket = net.connect({ host, port, noDelay: true, lookup: lookUpInTurn });
      const connection = new SocketConnection(socket, events);
      socket.once("connect", () => connection.events.onOpen());
      return connection;
    },
  };
}

type Answer = Parameters<net.LookupFunction>[2];
type Question = { readonly host: string; readonly options: dns.LookupOptions; readonly askers: Answer[] };

/** The first one is under way. */
const questions: Question[] = [];

/**
 * Name look-ups, one at a time, each asked once for all who want it. They hold a thread of the pool that syncs
 * need for as long as a name server says nothing, and the pool may have two (hazard H10). Bound: the names of a
 * layout; nobody dials one again before the dial before it has ended.
 */
function lookUpInTurn(host: string, options: dns.LookupOptions, done: Answer): void {
  const same = questions.find(
    (question) =>
      question.host === host &&
      question.options.all === options.all &&
      question.options.family === options.family,
  );
  if (same !== undefined) {
    same.askers.push(done);
    return;
  }
  questions.push({ host, options, askers: [done] });
  if (questions.length === 1) askNext();
}

function askNext(): void {
  const [question] = questions;
  if (question === undefined) return;
  dns.lookup(question.host, question.options, (error, address, family) => {
    questions.shift();
    for (const done of question.askers) done(error, address, family);
    askNext();
  });
}

class SocketConnection implements Connection {
  events: ConnectionEvents;
  readonly remote: string;
  readonly #socket: net.Socket;
  #reason = "closed by the other side";
  #overCap = false;
  #closed = false;

  constructor(socket: net.Socket, events: ConnectionEvents) {
    this.#socket = socket;
    this.events = events;
    this.remote = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
    // The other side may be gone without a word, and nothing waits to be sent (hazard H8).
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on("data", (bytes: Uint8Array) => this.events.onData(bytes));
    socket.on("drain", () => {
      if (!this.#overCap) return;
      this.#overCap = false;
      this.events.onDrain();
    });
    socket.on("error", (error) => {
      this.#reason = messageOf(error);
    });
    socket.on("close", () => {
      if (this.#closed) return;
      this.#closed = true;
      this.events.onClose(this.#reason);
    });
  }

  send(bytes: Uint8Array): boolean {
    if (this.#closed || this.#socket.destroyed) return true; // onClose tells
    this.#socket.write(bytes);
    if (this.#socket.writableLength <= QUEUED_BYTES_MAX) return true;
    this.#overCap = true;
    return false;
  }

  queuedBytes(): number {
    return this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#reason = "closed by this side";
    this.#socket.end();
    // end() waits for the other side's FIN, which may never come.
    this.#socket.once("finish", () => this.#socket.destroy());
  }

  destroy(): void {
    this.#reason = "cut by this side";
    this.#socket.destroy();
  }
}

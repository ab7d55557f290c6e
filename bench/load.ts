/**
 * SETs by the million: keys of 16 bytes, values of 100, pipelined over a few connections. Replies are
 * counted, not kept. A chunk that was answered with an error is sent again: setting a key twice is setting it.
 */
import { connect, type Socket } from "node:net";

export const KEY_BYTES = 16;
export const VALUE_BYTES = 100;
export const PIPELINE = 512;
const CHUNKS_OUTSTANDING = 4;
const CONNECTIONS = 4;
const RETRY_MS = 50;
const RETRIES_MAX = 1200;

const HEAD = `*3\r\n$3\r\nSET\r\n$${KEY_BYTES}\r\n`;
const BETWEEN = `\r\n$${VALUE_BYTES}\r\n`;

/** `key:` and twelve digits. */
export function keyOf(n: number): string {
  return `key:${String(n).padStart(KEY_BYTES - 4, "0")}`;
}

export function valueAt(n: number, round: number): string {
  return `${round}:${n}:`.padEnd(VALUE_BYTES, "abcdefghijklmnopqrstuvwxyz");
}

export type Load = {
  readonly port: number;
  /** Commands to send; command i sets key `keyAt(i)`. */
  readonly commands: number;
  readonly keyAt: (i: number) => number;
  readonly round: number;
  /** Commands sent at once by each connection: what a batch of the log holds follows from it. */
  readonly pipeline: number;
};

/** Sends all of it; the seconds that took. */
export async function load(what: Load): Promise<number> {
  const startMs = performance.now();
  const next = { at: 0 };
  await Promise.all(Array.from({ length: CONNECTIONS }, () => new Sender(what, next).run()));
  return (performance.now() - startMs) / 1000;
}

type Chunk = { readonly bytes: Buffer; readonly count: number };

const MINUS = 0x2d;
const LINE_FEED = 0x0a;

class Sender {
  readonly #load: Load;
  /** Shared by all senders: the next command that nobody has taken. */
  readonly #next: { at: number };
  /** Oldest first. */
  readonly #sent: Chunk[] = [];
  /** Lines that have arrived of the answer to the oldest chunk, and the first error among them. */
  #lines = 0;
  #error = "";
  #atLineStart = true;
  #waiting = 0;
  #retries = 0;
  #socket: Socket | null = null;
  #fail: (error: Error) => void = () => {};
  #done: () => void = () => {};

  constructor(what: Load, next: { at: number }) {
    this.#load = what;
    this.#next = next;
  }

  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port: this.#load.port, noDelay: true });
      this.#socket = socket;
      this.#fail = (error) => {
        socket.destroy();
        reject(error);
      };
      this.#done = () => {
        socket.destroy();
        resolve();
      };
      socket.on("error", this.#fail);
      socket.on("close", () => this.#fail(new Error("the node closed the connection")));
      socket.on("connect", () => this.#fill());
      socket.on("data", (bytes) => this.#onData(bytes));
    });
  }

  #fill(): void {
    while (this.#sent.length < CHUNKS_OUTSTANDING && this.#next.at < this.#load.commands) {
      const first = this.#next.at;
      const count = Math.min(this.#load.pipeline, this.#load.commands - first);
      this.#next.at += count;
      this.#send({ bytes: this.#encode(first, count), count });
    }
    if (this.#sent.length === 0 && this.#waiting === 0) this.#done();
  }

  #send(chunk: Chunk): void {
    this.#sent.push(chunk);
    this.#socket?.write(chunk.bytes);
  }

  #encode(first: number, count: number): Buffer {
    const { keyAt, round } = this.#load;
    let text = "";
    for (let i = first; i < first + count; i++) {
      const n = keyAt(i);
      text += `${HEAD}${keyOf(n)}${BETWEEN}${valueAt(n, round)}\r\n`;
    }
    return Buffer.from(text, "latin1");
  }

  /** Every reply is one line; an error's begins with a minus. */
  #onData(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at];
      if (this.#atLineStart && byte === MINUS && this.#error === "") {
        this.#error =
          Buffer.from(bytes.subarray(at, at + 100))
            .toString("latin1")
            .split("\r")[0] ?? "-";
      }
      this.#atLineStart = byte === LINE_FEED;
      if (this.#atLineStart) this.#onLine();
    }
    this.#fill();
  }

  #onLine(): void {
    const chunk = this.#sent[0];
    if (chunk === undefined) return this.#fail(new Error("the node answers what nobody asked"));
    if (++this.#lines < chunk.count) return;
    this.#sent.shift();
    this.#lines = 0;
    if (this.#error !== "") this.#retry(chunk);
  }

  #retry(chunk: Chunk): void {
    if (++this.#retries > RETRIES_MAX) return this.#fail(new Error(`it keeps answering ${this.#error}`));
    this.#error = "";
    this.#waiting++;
    setTimeout(() => {
      this.#waiting--;
      this.#send(chunk);
    }, RETRY_MS);
  }
}

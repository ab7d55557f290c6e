/** A RESP client in the simulated world: what it is told to send goes at once, answers are kept as text. */
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import type { Connection } from "../../src/platform/platform.ts";
import type { Machine } from "../../src/sim/platform.ts";
import { type Reply, ReplyParser } from "../../src/wire/resp_client_parse.ts";

export class SimClient {
  /** Answers in order: "OK", "1", "(nil)", "-ERR ..", a value; arrays joined by blanks. */
  readonly replies: string[] = [];
  closed = false;
  readonly #machine: Machine;
  readonly #parser = new ReplyParser();
  #connection: Connection | null = null;
  #early: Uint8Array[] = [];

  constructor(machine: Machine, host: string, port: number) {
    this.#machine = machine;
    machine.start((platform) => {
      const events = {
        onOpen: () => {
          for (const bytes of this.#early) this.#connection?.send(bytes);
          this.#early = [];
        },
        onData: (bytes: Uint8Array) => this.#hear(bytes),
        onDrain: () => {},
        onClose: () => {
          this.closed = true;
        },
      };
      this.#connection = platform.net.dial(host, port, events);
    });
  }

  send(...words: string[]): void {
    this.sendBytes(command(...words));
  }

  /** Several commands in one write. */
  pipeline(...commands: readonly (readonly string[])[]): void {
    const parts = commands.map((words) => fromUtf8(command(...words)));
    this.sendBytes(utf8(parts.join("")));
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.#connection === null || this.#early.length > 0) this.#early.push(bytes);
    else this.#connection.send(bytes);
  }

  /** Stops reading. */
  pause(): void {
    this.#connection?.pause();
  }

  resume(): void {
    this.#connection?.resume();
  }

  close(): void {
    if (this.#machine.running) this.#machine.kill();
  }

  #hear(bytes: Uint8Array): void {
    this.#parser.feed(bytes);
    for (let reply = this.#parser.next(); reply !== "more"; reply = this.#parser.next()) {
      if (reply === "error") throw new Error(`not RESP: ${this.#parser.errorText}`);
      this.replies.push(show(reply));
    }
  }
}

export function command(...words: string[]): Uint8Array {
  const parts = words.map((word) => `$${utf8(word).length}\r\n${word}\r\n`);
  return utf8(`*${words.length}\r\n${parts.join("")}`);
}

function show(reply: Reply): string {
  switch (reply.kind) {
    case "simple":
      return reply.text;
    case "error":
      return `-${reply.text}`;
    case "integer":
      return String(reply.value);
    case "bulk":
      return fromUtf8(reply.bytes);
    case "nil":
      return "(nil)";
    default:
      return "items" in reply ? reply.items.map(show).join(" ") : reply.kind;
  }
}

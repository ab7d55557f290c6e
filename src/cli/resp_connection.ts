/**
 * A connection of the command line to one node, in RESP3 (RESP2 if the server knows no better): calls go out as
 * they are made, replies come back in the same order.
 *
 * Errors (NucleusError): "ECONNECT" nobody could be reached; "ECLOSED" the connection broke with the call under
 * way; "ETIMEOUT" no reply in time. After either of the last two the outcome of a write is not known, and the
 * connection is gone: what was asked and what comes back could no longer be told apart.
 */
import { connect, type Socket } from "node:net";
import { utf8, Writer } from "../base/bytes.ts";
import { codeOf, messageOf, NucleusError } from "../base/errors.ts";
import { type Reply, ReplyParser } from "../wire/resp_client_parse.ts";
import { type Address, showAddress } from "./address.ts";

export type Word = string | Uint8Array;

type Call = {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: NucleusError) => void;
  readonly timer: NodeJS.Timeout | undefined;
};

const CONNECT_MS_MAX = 3000;

export class RespConnection {
  readonly address: Address;
  /** Called once when the connection is gone for another reason than `close`. */
  onLost: ((reason: string) => void) | null = null;
  readonly #socket: Socket;
  readonly #parser = new ReplyParser();
  readonly #calls: Call[] = [];
  #closed = false;

  private constructor(address: Address, socket: Socket) {
    this.address = address;
    this.#socket = socket;
    socket.on("data", (chunk) => this.#onData(chunk));
    socket.on("error", (error) => this.#end(messageOf(error)));
    socket.on("close", () => this.#end("the other side closed it"));
  }

  static async open(address: Address, timeoutMs = CONNECT_MS_MAX): Promise<RespConnection> {
    const connection = new RespConnection(address, await dial(address, timeoutMs));
    // An error reply is a server that knows only RESP2: fine too.
    await connection.call(["HELLO", "3", "SETNAME", "nucleus-cli"], timeoutMs);
    return connection;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Calls under way. */
  get outstanding(): number {
    return this.#calls.length;
  }

  /** Without `timeoutMs` it waits as long as the connection lives. */
  call(words: readonly Word[], timeoutMs?: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new NucleusError("ECLOSED", `${this.#name()} is closed`));
      const late = (): void => this.#end(`no reply within ${timeoutMs} ms`, "ETIMEOUT");
      const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
      this.#calls.push({ resolve, reject, timer });
      this.#socket.write(encodeRequest(words));
    });
  }

  close(): void {
    this.onLost = null;
    this.#end("it was closed here");
  }

  #onData(chunk: Uint8Array): void {
    if (this.#closed) return;
    this.#parser.feed(chunk);
    let reply = this.#parser.next();
    while (reply !== "more" && reply !== "error") {
      if (reply.kind !== "push") this.#onReply(reply); // nobody asked for a push
      if (this.#closed) return;
      reply = this.#parser.next();
    }
    if (reply === "error") this.#end(this.#parser.errorText);
  }

  #onReply(reply: Reply): void {
    const call = this.#calls.shift();
    if (call === undefined) {
      this.#end("it sent a reply that nobody asked for");
    } else {
      clearTimeout(call.timer);
      call.resolve(reply);
    }
  }

  #end(reason: string, code: "ECLOSED" | "ETIMEOUT" = "ECLOSED"): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    for (const { reject, timer } of this.#calls.splice(0)) {
      clearTimeout(timer);
      reject(new NucleusError(code, `${this.#name()}: ${reason}`));
    }
    this.onLost?.(reason);
  }

  #name(): string {
    return `the connection to ${showAddress(this.address)}`;
  }
}

function dial(address: Address, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address.host, port: address.port, noDelay: true });
    const fail = (why: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new NucleusError("ECONNECT", `cannot connect to ${showAddress(address)}: ${why}`));
    };
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    const onError = (error: Error): void => fail(WHY[codeOf(error)] ?? messageOf(error));
    socket.once("error", onError);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", onError);
      resolve(socket);
    });
  });
}

const WHY: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the host's name could not be looked up",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
};

function encodeRequest(words: readonly Word[]): Uint8Array {
  const writer = new Writer(256);
  writer.ascii(`*${words.length}\r\n`);
  for (const word of words) {
    const bytes = typeof word === "string" ? utf8(word) : word;
    writer.ascii(`$${bytes.length}\r\n`);
    writer.raw(bytes);
    writer.ascii("\r\n");
  }
  return writer.view();
}

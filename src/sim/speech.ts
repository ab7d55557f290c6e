/**
 * What a simulated client says and hears, in either protocol: register operations as requests, replies as answers.
 *
 * The bytes go through the product's own codecs where a client library would use them (native frames, the RESP
 * reply parser), so both doors are exercised as they are.
 */
import { fromUtf8, utf8, Writer } from "../base/bytes.ts";
import { OP, type Op, SET_OPTION } from "../wire/command.ts";
import { CommandEncoder } from "../wire/command_encode.ts";
import { beginNative, endNative, NativeFrame, nativeParser, OPCODE } from "../wire/native.ts";
import { replayReply } from "../wire/native_reply.ts";
import { preamble } from "../wire/preamble.ts";
import type { ReplySink } from "../wire/reply.ts";
import { type Reply, ReplyParser } from "../wire/resp_client_parse.ts";
import type { RegisterOp, Result } from "./history.ts";

export type Answer =
  | { readonly kind: "nil" }
  | { readonly kind: "text" | "error"; readonly text: string }
  | { readonly kind: "integer"; readonly value: number }
  | { readonly kind: "other" };

/** One connection's way of speaking. */
export interface Speech {
  /** What opens the connection. */
  greeting(): Uint8Array;
  request(id: number, key: string, op: RegisterOp): Uint8Array;
  /** Calls `answer` for each reply in `bytes`; `id` is -1 where replies come in the order of the requests. */
  hear(bytes: Uint8Array, answer: (id: number, answer: Answer) => void): "fine" | "malformed";
}

export class RespSpeech implements Speech {
  readonly #parser = new ReplyParser();

  greeting(): Uint8Array {
    return new Uint8Array(0);
  }

  request(_id: number, key: string, op: RegisterOp): Uint8Array {
    const words = respWords(key, op);
    const parts = words.map((word) => `$${utf8(word).length}\r\n${word}\r\n`);
    return utf8(`*${words.length}\r\n${parts.join("")}`);
  }

  hear(bytes: Uint8Array, answer: (id: number, answer: Answer) => void): "fine" | "malformed" {
    this.#parser.feed(bytes);
    for (;;) {
      const reply = this.#parser.next();
      if (reply === "more") return "fine";
      if (reply === "error") return "malformed";
      answer(-1, respAnswer(reply));
    }
  }
}

function respWords(key: string, op: RegisterOp): string[] {
  switch (op.kind) {
    case "get":
      return ["GET", key];
    case "set":
      return ["SET", key, op.value, ...(op.ttlMs === undefined ? [] : ["PX", String(op.ttlMs)])];
    case "del":
      return ["DEL", key];
    case "cas":
      return op.expected === null
        ? ["SET", key, op.value, "NX"]
        : ["SET", key, op.value, "IFEQ", op.expected];
    case "incr":
      return ["INCRBY", key, String(op.delta)];
  }
}

function respAnswer(reply: Reply): Answer {
  switch (reply.kind) {
    case "nil":
      return { kind: "nil" };
    case "simple":
      return { kind: "text", text: reply.text };
    case "error":
      return { kind: "error", text: reply.text };
    case "bulk":
      return { kind: "text", text: fromUtf8(reply.bytes) };
    case "integer":
      return { kind: "integer", value: Number(reply.value) };
    default:
      return { kind: "other" };
  }
}

export class NativeSpeech implements Speech {
  readonly #parser = nativeParser("server");
  readonly #frame = new NativeFrame();
  readonly #hearer = new AnswerSink();

  greeting(): Uint8Array {
    return preamble("client");
  }

  request(id: number, key: string, op: RegisterOp): Uint8Array {
    const writer = new Writer(128);
    const at = beginNative(writer, OPCODE.command, id);
    const encoder = new CommandEncoder(writer);
    encoder.begin(opOf(op));
    writeArguments(encoder, utf8(key), op);
    encoder.end();
    endNative(writer, at);
    return writer.copy();
  }

  hear(bytes: Uint8Array, answer: (id: number, answer: Answer) => void): "fine" | "malformed" {
    this.#parser.feed(bytes);
    for (;;) {
      const event = this.#parser.next();
      if (event === "more") return "fine";
      if (event === "error") return "malformed";
      const frame = this.#frame;
      if (frame.read(this.#parser.bytes, this.#parser.start, this.#parser.end) !== null) return "malformed";
      if (frame.opcode !== OPCODE.reply) continue;
      if (!replayReply(frame.bytes, frame.bodyStart, frame.bodyEnd, this.#hearer)) return "malformed";
      answer(frame.requestId, this.#hearer.answer);
    }
  }
}

/** The command that does it. */
export function opOf(op: RegisterOp): Op {
  switch (op.kind) {
    case "get":
      return OP.get;
    case "set":
    case "cas":
      return OP.set;
    case "del":
      return OP.del;
    case "incr":
      return OP.incrBy;
  }
}

export function writeArguments(out: CommandEncoder, key: Uint8Array, op: RegisterOp): void {
  out.arg(key);
  if (op.kind === "incr") out.argI64(op.delta);
  if (op.kind !== "set" && op.kind !== "cas") return;
  const expected = op.kind === "cas" ? op.expected : undefined;
  const ttlMs = op.kind === "set" ? op.ttlMs : undefined;
  const condition =
    expected === undefined ? 0 : expected === null ? SET_OPTION.onlyIfAbsent : SET_OPTION.ifValue;
  out.arg(utf8(op.value));
  out.argI64(condition | (ttlMs === undefined ? 0 : SET_OPTION.expiryRelative));
  out.argI64(ttlMs ?? 0);
  if (typeof expected === "string") out.arg(utf8(expected));
}

export class AnswerSink implements ReplySink {
  answer: Answer = { kind: "other" };

  nil(): void {
    this.answer = { kind: "nil" };
  }
  simple(text: string): void {
    this.answer = { kind: "text", text };
  }
  error(text: string): void {
    this.answer = { kind: "error", text };
  }
  integer(value: number | bigint): void {
    this.answer = { kind: "integer", value: Number(value) };
  }
  blob(bytes: Uint8Array, start: number, end: number): void {
    this.answer = { kind: "text", text: fromUtf8(bytes.subarray(start, end)) };
  }
  array(): void {
    this.answer = { kind: "other" };
  }
  map(): void {
    this.answer = { kind: "other" };
  }
}

/** What an answer means for its operation. */
export type Meaning =
  | { readonly outcome: "ok"; readonly result: Result }
  | { readonly outcome: "not_executed" | "unknown" }
  /** No server may say this. */
  | { readonly outcome: "nonsense" };

/** First words of errors that promise: nothing was done by any attempt. */
const NOTHING_DONE = new Set([
  "CLUSTERDOWN",
  "TRYAGAIN",
  "MOVED",
  "MISCONF",
  "LOADING",
  "OOM",
  "READONLY",
  "CROSSSLOT",
]);

/** .. and those that leave it open: STALE speaks of one attempt alone. */
const UNCERTAIN = new Set(["UNCERTAIN", "STALE"]);

export function meaningOf(op: RegisterOp, answer: Answer): Meaning {
  if (answer.kind === "error") return meaningOfError(op, answer.text);
  switch (op.kind) {
    case "get":
      if (answer.kind === "nil") return { outcome: "ok", result: null };
      return answer.kind === "text" ? { outcome: "ok", result: answer.text } : { outcome: "nonsense" };
    case "set":
      return isOk(answer) ? { outcome: "ok", result: true } : { outcome: "nonsense" };
    case "cas":
      if (answer.kind === "nil") return { outcome: "ok", result: false };
      return isOk(answer) ? { outcome: "ok", result: true } : { outcome: "nonsense" };
    case "del":
      return answer.kind === "integer"
        ? { outcome: "ok", result: answer.value > 0 }
        : { outcome: "nonsense" };
    case "incr":
      return answer.kind === "integer" ? { outcome: "ok", result: answer.value } : { outcome: "nonsense" };
  }
}

function meaningOfError(op: RegisterOp, text: string): Meaning {
  const word = text.split(" ", 1)[0] ?? "";
  // The write was done once, and its reply is gone: good enough for one whose reply says nothing else.
  if (word === "DONE" && op.kind !== "get")
    return op.kind === "set" ? { outcome: "ok", result: true } : { outcome: "unknown" };
  if (UNCERTAIN.has(word)) return { outcome: "unknown" };
  if (NOTHING_DONE.has(word)) return { outcome: "not_executed" };
  if (op.kind === "incr" && text.includes("not an integer")) return { outcome: "ok", result: "error" };
  return { outcome: "nonsense" };
}

function isOk(answer: Answer): boolean {
  return answer.kind === "text" && answer.text === "OK";
}

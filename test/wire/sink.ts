/** A sink that writes down what it is told, one value to a line of text; and values to tell it. */
import fc from "fast-check";
import type { ReplySink } from "../../src/wire/reply.ts";
import { quote } from "./script.ts";

export class Recorder implements ReplySink {
  readonly said: string[] = [];

  nil(): void {
    this.said.push("nil");
  }
  simple(text: string): void {
    this.said.push(`simple ${text}`);
  }
  error(text: string): void {
    this.said.push(`error ${text}`);
  }
  integer(value: number | bigint): void {
    this.said.push(`integer ${value}`);
  }
  blob(bytes: Uint8Array, start: number, end: number): void {
    this.said.push(`blob ${quote(bytes.subarray(start, end))}`);
  }
  array(count: number): void {
    this.said.push(`array ${count}`);
  }
  map(count: number): void {
    this.said.push(`map ${count}`);
  }
}

/** A reply as data. */
export type Reply =
  | { kind: "nil" }
  | { kind: "simple"; text: string }
  | { kind: "error"; text: string }
  | { kind: "integer"; value: number | bigint }
  | { kind: "blob"; bytes: Uint8Array }
  | { kind: "array"; items: Reply[] }
  | { kind: "map"; items: Reply[] };

export function tell(sink: ReplySink, reply: Reply): void {
  if (reply.kind === "nil") sink.nil();
  else if (reply.kind === "simple") sink.simple(reply.text);
  else if (reply.kind === "error") sink.error(reply.text);
  else if (reply.kind === "integer") sink.integer(reply.value);
  else if (reply.kind === "blob") sink.blob(reply.bytes, 0, reply.bytes.length);
  else if (reply.kind === "array") sink.array(reply.items.length);
  else sink.map(reply.items.length / 2);
  if ("items" in reply) for (const item of reply.items) tell(sink, item);
}

const line = fc.string({ unit: fc.constantFrom(..."abcXYZ 019'*$:"), maxLength: 20 });
const leaf: fc.Arbitrary<Reply> = fc.oneof(
  fc.constant<Reply>({ kind: "nil" }),
  line.map((text): Reply => ({ kind: "simple", text })),
  fc.oneof(line, fc.constant("é ∞ 😀")).map((text): Reply => ({ kind: "error", text: `ERR ${text}` })),
  fc.maxSafeInteger().map((value): Reply => ({ kind: "integer", value })),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value): Reply => ({ kind: "integer", value })),
  fc.uint8Array({ maxLength: 70 }).map((bytes): Reply => ({ kind: "blob", bytes })),
);

/** Any reply, a few levels deep. */
export const anyReply: fc.Arbitrary<Reply> = fc.letrec<{ reply: Reply; items: Reply[] }>((tie) => ({
  reply: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    leaf,
    tie("items").map((items): Reply => ({ kind: "array", items })),
    tie("items").map((items): Reply => ({ kind: "map", items: items.slice(0, items.length & ~1) })),
  ),
  items: fc.array(tie("reply"), { maxLength: 5 }),
})).reply;

/** What a sink would have been told, with numbers as both sides see them. */
export function toldOf(reply: Reply): string[] {
  const recorder = new Recorder();
  tell(recorder, reply);
  return recorder.said;
}
